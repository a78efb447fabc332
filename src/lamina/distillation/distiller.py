"""Distiller: a model that trains a student on targets and on what a teacher says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lamina import losses
from lamina.core import tree
from lamina.core.errors import ArgumentError, ShapeError, check_type
from lamina.core.registry import builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_tensor
from lamina.distillation.losses import DistillationLoss
from lamina.metrics import Mean
from lamina.models.model import Model

_FINAL = "final_output"


@builtin("keras.distillation")
class Distiller(Model):
    """Trains a student to reach the targets, and to come close to a teacher that stays as it is.

    The loss is `student_loss_weight` times that of `compile` on the targets, plus the rest times the weighted sum of
    the distillation losses. As a model it is the student.

    Args:
        teacher: a trained model; it is frozen.
        student: the model to be trained.
        distillation_losses: one distillation loss, or a list of them.
        distillation_loss_weights: their factors; 1 by default.
        student_loss_weight: the share of the loss on the targets, from 0 to 1.
        name: its name.
        **kwargs: as for every model.

    Raises:
        ArgumentError: an argument cannot be used, or the models do not go together.
        ShapeError: the shapes of their inputs or outputs differ.

    Example:
        >>> import numpy as np
        >>> from lamina import layers
        >>> from lamina.distillation import LogitsDistillation
        >>> from lamina.models import Sequential
        >>> teacher = Sequential([layers.Input((4,)), layers.Dense(16), layers.Dense(2)])
        >>> student = Sequential([layers.Input((4,)), layers.Dense(2)])
        >>> distiller = Distiller(teacher, student, LogitsDistillation(2.0, losses.KLDivergence()))
        >>> distiller.compile("sgd", loss="mse")
        >>> history = distiller.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        >>> sorted(history.history)
        ['distillation_loss', 'loss', 'student_loss', 'total_loss']

    Source: https://keras.io/api/distillation/
    """

    def __init__(
        self,
        teacher: Any,
        student: Any,
        distillation_losses: Any,
        distillation_loss_weights: Sequence[float] | None = None,
        student_loss_weight: float = 0.5,
        name: str = "distiller",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        _check_models(teacher, student)
        if not isinstance(student_loss_weight, (int, float)) or not 0 <= student_loss_weight <= 1:
            raise ArgumentError(
                "student_loss_weight is no share.",
                where="Distiller(student_loss_weight=...)",
                expected="0 to 1, e.g. 0.5",
                received=repr(student_loss_weight),
            )
        if distillation_losses is None:
            raise ArgumentError(
                "A distillation loss is needed.",
                where="Distiller(distillation_losses=...)",
                fix="distillation_losses=lamina.distillation.LogitsDistillation()",
            )
        alone = not isinstance(distillation_losses, (list, tuple))
        chosen = [distillation_losses] if alone else list(distillation_losses)
        weights = None if alone else distillation_loss_weights
        if weights is not None:
            check_type(weights, (list, tuple), "Distiller(distillation_loss_weights=...)", "a list of numbers")
        if weights is not None and len(weights) != len(chosen):
            raise ArgumentError(
                "Each distillation loss has one weight.",
                where="Distiller(distillation_loss_weights=...)",
                expected=f"{len(chosen)} weights",
                received=len(weights),
            )
        for loss in chosen:
            check_type(loss, DistillationLoss, "Distiller(distillation_losses=...)", "e.g. LogitsDistillation()")
            loss.validate_model_compatibility(teacher, student)
        self.teacher, self.student = teacher, student
        self.distillation_losses = chosen
        self.distillation_loss_weights = [1.0] * len(chosen) if weights is None else list(weights)
        self.student_loss_weight = student_loss_weight
        # Beside the tracked attributes: their layers are those of teacher and student.
        named = [loss for loss in chosen if _names_layers(loss)]
        self.__dict__.update(
            _teacher_feature_extractor=_extractor(teacher, [loss.teacher_layer_name for loss in named]),
            _student_feature_extractor=_extractor(student, [loss.student_layer_name for loss in named]),
        )
        teacher.trainable = False
        self.student_loss_tracker = Mean(name="student_loss")
        self.distillation_loss_tracker = Mean(name="distillation_loss")
        self.total_loss_tracker = Mean(name="total_loss")

    def compile(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, optimizer: Any = "adam", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Say how to train the student.

        Args:
            optimizer: a name or an optimizer.
            loss: the loss on the targets: a name, a function, a loss object, or a structure of these like the outputs.
            metrics: in a list.
            **kwargs: as for `Model.compile`.

        Raises:
            ArgumentError: there is no loss, or the metrics are not in a list.
        """
        if loss is None:
            where, fix = "Distiller.compile(loss=...)", 'compile(loss="sparse_categorical_crossentropy")'
            raise ArgumentError("A loss on the targets is needed.", where=where, fix=fix)
        if metrics is not None and not isinstance(metrics, (list, tuple)):
            where, fix = "Distiller.compile(metrics=...)", 'metrics=["accuracy"]'
            raise ArgumentError("Metrics come in a list.", where=where, received=repr(metrics), fix=fix)
        made = tree.map_structure(lambda one: losses.get(one) if isinstance(one, str) else one, loss)
        self.__dict__.update(_student_loss=made, _student_loss_given=loss)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of compile(); empty if it was not called."""
        config = super().get_compile_config()
        return {**config, "loss": serialize_keras_object(self._student_loss_given)} if config else config

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as `get_compile_config` describes."""
        self.compile(**deserialize_keras_object(dict(config)))

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """What the student says."""
        return self.student(inputs, training=training, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The weighted sum of the loss on the targets and the distillation losses.

        Args:
            x: the inputs.
            y: the targets.
            y_pred: the student's outputs; computed where they are not given.
            sample_weight: left aside.
            training: whether it is a training step.

        Raises:
            ShapeError: a distillation loss is no scalar.
        """
        y_pred = self(x, training=training) if y_pred is None else y_pred
        share = self.student_loss_weight
        student = self._loss_on_targets(y, y_pred) if share > 0 and y is not None else 0.0
        distance = self._distance(x, y_pred, training) if share < 1 else 0.0
        student, distance = convert_to_tensor(student), convert_to_tensor(distance)
        total = share * student + (1 - share) * distance
        self.student_loss_tracker.update_state(student)
        self.distillation_loss_tracker.update_state(distance)
        self.total_loss_tracker.update_state(total)
        return total

    def _loss_on_targets(self, y: Any, y_pred: Any) -> torch.Tensor:
        values = tree.flatten(
            tree.map_structure(
                lambda loss, true, told: convert_to_tensor(loss(true, told)), self._student_loss, y, y_pred
            )
        )
        return values[0].mean() if len(values) == 1 else torch.stack(values).sum()

    def _distance(self, x: Any, y_pred: Any, training: bool) -> Any:
        """The weighted sum of the distillation losses."""
        of_teacher, of_student = self._teacher_feature_extractor, self._student_feature_extractor
        with torch.no_grad():
            teacher = of_teacher(x, training=False) if of_teacher else {_FINAL: self.teacher(x, training=False)}
        student = of_student(x, training=training) if of_student else {_FINAL: y_pred}
        total: Any = 0.0
        for loss, weight in zip(self.distillation_losses, self.distillation_loss_weights, strict=True):
            told, shown = teacher[_FINAL], y_pred
            if _names_layers(loss):
                told, shown = teacher[loss.teacher_layer_name], student[loss.student_layer_name or _FINAL]
            loss.validate_outputs(told, shown)
            value = loss.compute_loss(told, shown)
            if getattr(value, "ndim", 0):
                raise ShapeError(
                    "A distillation loss is a scalar.",
                    where=f"{type(loss).__name__}.compute_loss()",
                    expected=(),
                    received=tuple(value.shape),
                )
            total = total + weight * value
        return total


def _names_layers(loss: DistillationLoss) -> bool:
    """Whether outputs inside the models are compared, and not those of the models."""
    return getattr(loss, "teacher_layer_name", None) is not None


def _extractor(model: Any, names: Sequence[str | None]) -> Any:
    """A model that gives the outputs of some layers and the final ones by name; None where no layer is named."""
    wanted = [name for name in dict.fromkeys(names) if name]
    if not wanted:
        return None
    outputs = {_FINAL: model.output, **{name: model.get_layer(name=name).output for name in wanted}}
    return Model(inputs=model.inputs, outputs=outputs, name=f"{model.name}_multi_feature_extractor")


def _check_models(teacher: Any, student: Any) -> None:
    """Check that both are models whose inputs and outputs agree, as far as these are known."""
    for role, model in (("teacher", teacher), ("student", student)):
        if not isinstance(model, Model):
            what, where = f"The {role} is no model.", f"Distiller({role}=...)"
            raise ArgumentError(what, where=where, expected="a lamina Model", received=type(model).__name__)
    for part in ("inputs", "outputs"):
        told, own = getattr(teacher, part, None), getattr(student, part, None)
        if told is None or own is None:
            continue
        tree.assert_same_structure(told, own)
        for a, b in zip(tree.flatten(told), tree.flatten(own), strict=True):
            sizes = len(a.shape) == len(b.shape) and all(
                None in (m, n) or m == n for m, n in zip(a.shape, b.shape, strict=True)
            )
            if not sizes:
                what = f"The {part} of teacher and student differ in shape."
                raise ShapeError(what, where="Distiller(teacher, student)", expected=a.shape, received=b.shape)
            if a.dtype != b.dtype:
                what = f"The {part} of teacher and student differ in dtype."
                raise ArgumentError(what, where="Distiller(teacher, student)", expected=a.dtype, received=b.dtype)
