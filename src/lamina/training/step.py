"""One step of training, of evaluation and of prediction, each a function of explicit state and a batch.

Nothing here waits for the device, walks a structure that could have been walked before, or builds results: the running
results stay in the state, where the loop reads them when someone asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lamina.core import scopes, tree
from lamina.core.errors import StateError
from lamina.data.source import unpack_x_y_sample_weight
from lamina.layers.base import Layer
from lamina.training.losses import track

Tensor = torch.Tensor
Loss = Callable[[Any, Any, Any], "Tensor | None"]
Update = Callable[[Any, Any, Any], None]


@dataclass(slots=True)
class TrainState:
    """All that a step reads and changes.

    Args:
        model: the forward pass; its parameters and buffers.
        variables: the trainable ones, in the optimizer's order.
        optimizer: update rule and slots; None where nothing is trained.
        loss: gives the loss for (y, y_pred, sample_weight).
        penalties: losses beside those of the targets.
        loss_tracker: the running loss.
        update_metrics: takes (y, y_pred, sample_weight) into the running metrics.
    """

    model: torch.nn.Module
    variables: list[Tensor]
    optimizer: Any
    loss: Loss | None
    penalties: Penalties
    loss_tracker: Any
    update_metrics: Update | None = None


@dataclass(slots=True)
class Penalties:
    """Losses beside those of the targets: penalties on weights, and what layers add in their calls.

    Args:
        layers: the layers that may add losses.
        weights: (layer, attribute, regularizer) of every weight with a penalty.
    """

    layers: list[Any]
    weights: list[tuple[Any, str, Any]]
    _added: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, model: torch.nn.Module) -> Penalties:
        """Those of a model, as it is now; what layers added in earlier calls is dropped."""
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        for layer in layers:
            layer._call_losses.clear()
        weights = [
            (layer, key, spec.regularizer)
            for layer in layers
            for key, spec in layer._weight_specs.items()
            if spec.regularizer is not None and key in layer._parameters
        ]
        return cls(layers, weights)

    def forget(self) -> None:
        """Drop what layers added in the last step, so that a layer not called in this one adds nothing."""
        for layer in self._added:
            layer._call_losses.clear()
        self._added = []

    def add_to(self, loss: Tensor | None) -> Tensor | None:
        """The loss with all penalties."""
        for layer in self.layers:
            if layer._call_losses:
                self._added.append(layer)
                for value in layer._call_losses:
                    loss = add(loss, value)
        for layer, key, regularizer in self.weights:
            weight = layer._parameters[key]
            if weight.requires_grad:
                loss = add(loss, regularizer(weight))
        return loss


def add(loss: Tensor | None, value: Tensor) -> Tensor:
    """A loss and one more, which may have several values or be of an integer type."""
    if value.ndim:
        value = value.sum()
    if not value.is_floating_point():
        value = value.float()
    return value if loss is None else loss + value


def no_loss() -> StateError:
    """The error for a step with nothing to minimise."""
    return StateError(
        "There is no loss to minimise.",
        where="compile",
        fix="pass loss=... to compile(), or call add_loss() in a layer",
    )


def no_gradient() -> StateError:
    """The error for a loss from which no weight can learn."""
    return StateError(
        "The loss does not depend on the weights, so there is no gradient.",
        where="compile(loss=...), or a layer's call()",
        fix="compute it from y_pred with lamina.ops or torch: no NumPy, no .detach(), .item() or argmax in between",
    )


def forward(state: TrainState, data: Any) -> tuple[Any, Any, Any, Tensor]:
    """Targets, outputs, sample weights and loss of a batch; the running loss takes it in."""
    if type(data) is tuple and len(data) == 2:
        x, y = data
        sample_weight = None
    else:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
    state.penalties.forget()
    with scopes.entry():  # so that what a layer adds in several calls is kept together
        y_pred = state.model(x)
    loss = None if state.loss is None else state.loss(y, y_pred, sample_weight)
    loss = state.penalties.add_to(loss)
    if loss is None:
        raise no_loss()
    first = x if isinstance(x, Tensor) else next(leaf for leaf in tree.flatten(x) if leaf is not None)
    track(state.loss_tracker, loss, first.shape[0])
    return y, y_pred, sample_weight, loss


def train_step(state: TrainState, data: Any) -> None:
    """One update: forward, loss, gradients, optimizer, metrics.

    Args:
        state: what is read, and changed in place.
        data: a batch on the device: x, (x, y) or (x, y, sample_weight).
    """
    y, y_pred, sample_weight, loss = forward(state, data)
    variables = state.variables
    if variables and state.optimizer is not None:
        if not loss.requires_grad:
            raise no_gradient()
        state.optimizer.scale_loss(loss).backward()
        gradients = [variable.grad for variable in variables]
        with torch.no_grad():
            state.optimizer.apply(gradients, variables)
        for variable in variables:
            variable.grad = None
    if state.update_metrics is not None:
        with torch.no_grad():
            state.update_metrics(y, y_pred, sample_weight)


@torch.no_grad()
def test_step(state: TrainState, data: Any) -> None:
    """One batch of evaluation: forward, loss, metrics.

    Args:
        state: what is read; the running loss and metrics are changed in place.
        data: a batch on the device.
    """
    y, y_pred, sample_weight, _ = forward(state, data)
    if state.update_metrics is not None:
        state.update_metrics(y, y_pred, sample_weight)


@torch.no_grad()
def predict_step(state: TrainState, data: Any) -> Any:
    """The outputs for a batch.

    Args:
        state: the model.
        data: a batch on the device; targets are left aside.
    """
    x, _, _ = unpack_x_y_sample_weight(data)
    return state.model(x)
