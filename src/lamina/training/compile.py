"""What compile() was given, resolved: the optimizer, the losses and the metrics of a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from lamina import metrics, optimizers
from lamina.core import tree
from lamina.core.errors import ArgumentError, LaminaError
from lamina.core.serialization import serialize_keras_object
from lamina.training.foreign import TorchOptimizer, is_torch_optimizer
from lamina.training.losses import CompiledLoss
from lamina.training.metrics import CompiledMetrics


class Compiled:
    """The optimizer, losses and metrics of a model, and the options of its training.

    Args:
        given: the arguments of compile() by name.
        output_names: the names of the model's outputs, if it has names.
        mixed_float16: whether the model computes in float16, so that the loss needs scaling.

    Raises:
        UnknownNameError: an optimizer, loss or metric of an unknown name.
        ArgumentError: steps_per_execution is not a positive integer.
    """

    def __init__(
        self, given: dict[str, Any], output_names: Sequence[str] | None = None, mixed_float16: bool = False
    ) -> None:
        self.given = given
        self.optimizer = resolve_optimizer(given["optimizer"])
        if mixed_float16 and given["auto_scale_loss"]:
            self.optimizer = _scaled(self.optimizer)
        loss, weights = given["loss"], given["loss_weights"]
        has_loss = any(part is not None for part in tree.flatten(loss))
        self.loss = CompiledLoss(loss, weights, output_names) if has_loss else None
        plain, weighted = given["metrics"], given["weighted_metrics"]
        self.metrics = CompiledMetrics(plain, weighted, output_names) if plain or weighted else None
        self.loss_tracker = metrics.Mean(name="loss")
        # The kind of batch that has been compared with the model, and the outputs it makes.
        self.seen: Any = None
        self.seen_outputs: Any = None
        steps = given["steps_per_execution"]
        if not isinstance(steps, int) or steps < 1:
            raise ArgumentError(
                "steps_per_execution is not usable.",
                where="compile(steps_per_execution=...)",
                expected="a positive integer",
                received=repr(steps),
            )
        self.steps_per_execution = steps

    @property
    def built(self) -> bool:
        """Whether losses and metrics know the outputs."""
        return (self.loss is None or self.loss.built) and (self.metrics is None or self.metrics.built)

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Put losses and metrics beside the outputs of a call, where that has not been done."""
        if self.loss is not None and not self.loss.built:
            self.loss.build(y_true, y_pred)
        if self.metrics is not None and not self.metrics.built:
            self.metrics.build(y_true, y_pred)

    def own_metrics(self) -> list[Any]:
        """The running loss, the metrics, and the running losses of single outputs."""
        named = [] if self.metrics is None else [self.metrics]
        return [self.loss_tracker, *named, *(self.loss.trackers if self.loss is not None else ())]

    def config(self) -> dict[str, Any]:
        """The arguments of compile() as values that fit into JSON; empty, with a warning, where one cannot be saved."""
        kept = {key: value for key, value in self.given.items() if key != "auto_scale_loss"}
        kept["optimizer"] = self.optimizer
        kept["jit_compile"] = self.given["jit_compile"] is True and not self.given["run_eagerly"]
        try:
            return serialize_keras_object(kept)
        except LaminaError as error:
            warnings.warn(
                f"What compile() was given cannot be saved, so a loaded model must be compiled anew: {error.what}",
                stacklevel=3,
            )
            return {}

    def given_anew(self) -> dict[str, Any] | None:
        """The arguments of compile() for a copy of the model, nothing that is trained shared; None if that cannot be.

        An optimizer object of torch belongs to the weights it was made with.
        """
        optimizer = self.given["optimizer"]
        if isinstance(optimizer, torch.optim.Optimizer):
            return None
        if isinstance(optimizer, optimizers.Optimizer):
            optimizer = type(optimizer).from_config(optimizer.get_config())
        anew = {key: tree.map_structure(_fresh, self.given[key]) for key in ("metrics", "weighted_metrics")}
        return {**self.given, **anew, "optimizer": optimizer}


def _fresh(metric: Any) -> Any:
    return type(metric).from_config(metric.get_config()) if isinstance(metric, metrics.Metric) else metric


def resolve_optimizer(identifier: Any) -> Any:
    """An optimizer object for a name, config, class or object, torch's own included.

    Raises:
        UnknownNameError: the name is no optimizer.
    """
    if is_torch_optimizer(identifier):
        return TorchOptimizer(identifier)
    return optimizers.get(identifier)


def _scaled(optimizer: Any) -> Any:
    wrapper = getattr(optimizers, "LossScaleOptimizer", None)
    if wrapper is None or optimizer is None or isinstance(optimizer, (wrapper, TorchOptimizer)):
        return optimizer
    return wrapper(optimizer, name="loss_scale_optimizer")
