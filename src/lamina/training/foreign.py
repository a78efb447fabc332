"""torch's own losses and optimizers, and metrics of torchmetrics, where lamina's would stand."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lamina.core.errors import ArgumentError
from lamina.core.naming import auto_name, to_snake_case
from lamina.losses.base import align_ranks

Tensor = torch.Tensor


def is_torch_loss(loss: Any) -> bool:
    """Whether it is a loss module of torch, or a function of torch.nn.functional."""
    return isinstance(loss, nn.Module) or getattr(loss, "__module__", None) == "torch.nn.functional"


def is_torch_metric(metric: Any) -> bool:
    """Whether it has the interface of torchmetrics: update(preds, target), compute(), reset()."""
    return all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset"))


class TorchLoss:
    """A loss of torch, which takes (prediction, target) and reduces by itself.

    Args:
        loss: the module or function.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.name = to_snake_case(getattr(loss, "__name__", type(loss).__name__))

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of a batch."""
        if _wants_classes(self.loss) and not y_true.is_floating_point():
            if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
                y_true = y_true.squeeze(-1)
            y_true = y_true.long()
        elif y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y_true = y_true.unsqueeze(-1)
        if y_true.is_floating_point() or not _wants_classes(self.loss):
            y_true = y_true.to(y_pred.dtype)
        if sample_weight is None:
            return self.loss(y_pred, y_true)
        values = self._values(y_pred, y_true)
        weights = sample_weight.to(values.dtype).reshape(sample_weight.shape[:1] + (1,) * (values.ndim - 1))
        return (values * weights).mean()

    def _values(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        if isinstance(self.loss, nn.Module) and hasattr(self.loss, "reduction"):
            each = copy.copy(self.loss)
            each.reduction = "none"  # type: ignore[assignment]
            return each(y_pred, y_true)
        if not isinstance(self.loss, nn.Module):
            return self.loss(y_pred, y_true, reduction="none")
        raise ArgumentError(
            "This loss cannot be weighted by sample.",
            where=f"loss {self.name}",
            fix="leave sample_weight and class_weight out, or write the loss as a lamina.losses.Loss",
        )


def _wants_classes(loss: Any) -> bool:
    name = getattr(loss, "__name__", type(loss).__name__)
    return name in (
        "CrossEntropyLoss",
        "NLLLoss",
        "MultiMarginLoss",
        "cross_entropy",
        "nll_loss",
        "multi_margin_loss",
    )


class TorchMetric:
    """A metric with the interface of torchmetrics, or a collection of such.

    Args:
        metric: the metric.
    """

    variables: Sequence[Any] = ()

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self._parts = list(metric.values()) if callable(getattr(metric, "values", None)) else [metric]
        self.name = to_snake_case(type(metric).__name__)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None) -> None:
        """Take a batch in."""
        if getattr(self._parts[0], "device", y_pred.device) != y_pred.device:
            self.metric.to(y_pred.device)
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 < y_pred.shape[-1]:
            y_true = y_true.squeeze(-1)
        elif y_pred.shape[-1:] == (1,):
            y_true, y_pred = align_ranks(y_true, y_pred)
        self.metric.update(y_pred.detach(), y_true)

    def result(self) -> Any:
        """The value so far; 0 before the first batch."""
        if getattr(self._parts[0], "update_called", True):
            return self.metric.compute()
        return torch.zeros(())

    def reset_state(self) -> None:
        """Begin anew."""
        self.metric.reset()


class TorchOptimizer:
    """An optimizer of torch, which holds its parameters and reads their gradients.

    Args:
        optimizer: the optimizer, or a class or function that makes one from parameters.

    Raises:
        ArgumentError: its step evaluates the loss by itself, as that of LBFGS does.
    """

    def __init__(self, optimizer: Any) -> None:
        step = getattr(optimizer, "step", None)
        closure = inspect.signature(step).parameters.get("closure") if callable(step) else None
        if closure is not None and closure.default is closure.empty:
            raise ArgumentError(
                "This optimizer evaluates the loss several times in a step, which fit cannot do.",
                where="compile(optimizer=...)",
                received=getattr(optimizer, "__name__", type(optimizer).__name__),
                fix="use another one, or a loop of your own: a model is an nn.Module",
            )
        self._make = None if isinstance(optimizer, torch.optim.Optimizer) else optimizer
        self.optimizer: Any = optimizer if self._make is None else None
        self.name = auto_name(getattr(optimizer, "__name__", type(optimizer).__name__))
        self.iterations = 0
        self.variables: list[Any] = []

    @property
    def built(self) -> bool:
        """Whether the parameters are known."""
        return self.optimizer is not None

    def build(self, variables: Sequence[Tensor]) -> None:
        """Make the optimizer for these parameters, if only its class was given."""
        if self.optimizer is None and self._make is not None:
            self.optimizer = self._make(list(variables))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = float(value)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss itself."""
        return loss

    def apply(self, gradients: Sequence[Tensor | None], trainable_variables: Sequence[Tensor] | None = None) -> None:
        """One step with these gradients."""
        for variable, gradient in zip(trainable_variables or (), gradients, strict=False):
            variable.grad = gradient
        self.iterations += 1
        self.optimizer.step()

    def finalize_variable_values(self, variables: Any) -> None:
        """Nothing to do."""


def is_torch_optimizer(optimizer: Any) -> bool:
    """Whether it is an optimizer of torch, or a class of such."""
    return isinstance(optimizer, torch.optim.Optimizer) or (
        isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
    )
