"""How far a student is from its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch

from lamina import losses
from lamina.core import tree
from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, LaminaError, listing, unwritten
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor

Tensor = torch.Tensor


class DistillationLoss(Captured):
    """Base of the losses between a teacher's outputs and a student's: a subclass writes `compute_loss`.

    Attributes:
        teacher_layer_name: the layer of the teacher whose output is compared; None for the model's.
        student_layer_name: the layer of the student, likewise.

    Example:
        >>> class Distance(DistillationLoss):
        ...     def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        ...         return (teacher_outputs - student_outputs).abs().mean()
        >>> float(Distance().compute_loss(torch.ones(2), torch.zeros(2)))
        1.0

    Source: https://keras.io/api/distillation/
    """

    teacher_layer_name: str | None = None
    student_layer_name: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A loss made from a config."""
        return super().from_config({key: _by_name(value) for key, value in config.items()})

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar.

        Args:
            teacher_outputs: a tensor or a structure of them.
            student_outputs: likewise.
            **kwargs: for losses of a program's own.
        """
        raise unwritten(self, "compute_loss(self, teacher_outputs, student_outputs)")

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Check that both have the same structure.

        Raises:
            ArgumentError: they have not.
        """
        tree.assert_same_structure(teacher_outputs, student_outputs)

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Check that the loss can be used with both models; any can by default."""


@builtin("keras.distillation")
class FeatureDistillation(DistillationLoss):
    """The distance between the outputs of a layer of the teacher and of one of the student.

    Args:
        loss: a name, a function of (teacher, student), a loss object, or a structure of these like the outputs; None
            leaves an output out.
        teacher_layer_name: the teacher's layer; None for the model's output.
        student_layer_name: the student's layer; None for the model's output.

    Raises:
        ArgumentError: all losses are None.

    Example:
        >>> float(FeatureDistillation("mse").compute_loss(torch.ones(2, 3), torch.zeros(2, 3)))
        1.0

    Source: https://keras.io/api/distillation/
    """

    def __init__(
        self, loss: Any = "mse", teacher_layer_name: str | None = None, student_layer_name: str | None = None
    ) -> None:
        self.loss = _functions_of(loss)
        self.teacher_layer_name, self.student_layer_name = teacher_layer_name, student_layer_name

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Check that the layers exist, in models that are graphs.

        Raises:
            ArgumentError: there is no such layer, or one of the models is no graph.
        """
        models = {"teacher": (teacher, self.teacher_layer_name), "student": (student, self.student_layer_name)}
        if any(name is not None for _, name in models.values()):
            for role, (model, _) in models.items():
                if getattr(model, "inputs", None) is None:
                    raise ArgumentError(
                        "Layers inside can be named only where the model is a graph.",
                        where=f"FeatureDistillation, {role} '{model.name}'",
                        expected="a functional or Sequential model with known inputs",
                        fix="leave the names of layers out, to compare the outputs of the models",
                    )
        for role, (model, name) in models.items():
            if name is not None:
                try:
                    model.get_layer(name=name)
                except LaminaError as error:
                    where = f"FeatureDistillation, {role} '{model.name}'"
                    fix = f"{role}_layer_name=... of one of the layers: {listing(layer.name for layer in model.layers)}"
                    raise ArgumentError(error.what, where=where, received=repr(name), fix=fix) from error

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Check that both have the same structure, and the losses too.

        Raises:
            ArgumentError: they have not.
        """
        super().validate_outputs(teacher_outputs, student_outputs)
        tree.assert_same_structure(self.loss, teacher_outputs)

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Tensor:
        """The sum of the mean losses of all outputs.

        Args:
            teacher_outputs: what the teacher's layer gave.
            student_outputs: what the student's layer gave.
            **kwargs: left aside.
        """
        return _total(_mean_loss, self.loss, teacher_outputs, student_outputs)


@builtin("keras.distillation")
class LogitsDistillation(DistillationLoss):
    """The distance between the outputs of teacher and student, both divided by a temperature.

    With a `losses.KLDivergence` object the outputs are taken for logits: the divergence is that of their softmax,
    times the squared temperature. As in Keras, the name "kl_divergence" stands for the plain function, which is applied
    to the scaled outputs as they are, and so suits outputs that are probabilities.

    Args:
        temperature: higher makes both distributions softer.
        loss: a name, a function of (teacher, student), a loss object, or a structure of these like the outputs; None
            leaves an output out.

    Raises:
        ArgumentError: all losses are None, or the temperature is no positive number.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> float(LogitsDistillation(4.0, losses.KLDivergence()).compute_loss(logits, logits))
        0.0

    Source: https://keras.io/api/distillation/
    """

    def __init__(self, temperature: float = 3.0, loss: Any = "kl_divergence") -> None:
        if not isinstance(temperature, (int, float)) or temperature <= 0:
            where, expected = "LogitsDistillation(temperature=...)", "a positive number, e.g. 3.0"
            raise ArgumentError("This is no temperature.", where=where, expected=expected, received=repr(temperature))
        self.temperature = temperature
        self.loss = _functions_of(loss)

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Tensor:
        """The sum of the mean losses of all outputs.

        Args:
            teacher_outputs: the teacher's outputs.
            student_outputs: the student's outputs.
            **kwargs: left aside.
        """
        return _total(self._compare, self.loss, teacher_outputs, student_outputs)

    def _compare(self, loss: Any, teacher: Any, student: Any) -> Any:
        teacher, student = (convert_to_tensor(x) / self.temperature for x in (teacher, student))
        if not isinstance(loss, losses.KLDivergence):
            return _mean_loss(loss, teacher, student)
        return _mean_loss(loss, teacher.softmax(-1), student.softmax(-1)) * self.temperature**2


def _by_name(value: Any) -> Any:
    """A config with the functions in it, which Keras writes out, as their names."""
    if isinstance(value, (list, tuple)):
        return [_by_name(part) for part in value]
    if isinstance(value, Mapping):
        is_function = value.get("class_name") == "function" and value.get("module") == "builtins"
        return value["config"] if is_function else {key: _by_name(part) for key, part in value.items()}
    return value


def _functions_of(loss: Any) -> Any:
    """Losses by name made real, in their structure."""
    made = tree.map_structure(lambda one: losses.get(one) if isinstance(one, str) else one, loss)
    if all(one is None for one in tree.flatten(made)):
        fix = 'loss="kl_divergence"'
        raise ArgumentError("At least one loss is needed.", where="loss=...", received=repr(loss), fix=fix)
    return made


def _mean_loss(loss: Any, teacher: Any, student: Any) -> Any:
    return 0.0 if loss is None else loss(teacher, student).mean()


def _total(compare: Any, loss: Any, teacher: Any, student: Any) -> Tensor:
    return convert_to_tensor(sum(tree.flatten(tree.map_structure(compare, loss, teacher, student))))
