"""Layers made in a RematScope: their `call` is computed once more in the backward pass, with the state it then met."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from lamina.core.rematerialization import RematMode, remat
from lamina.graph.operation import is_larger
from lamina.layers.stateless import kept_losses, like, replaced
from lamina.layers.weights import WeightOwner


class Rematerialized:
    """Stands in a layer for its `call`.

    Args:
        layer: the layer.
        mode: what the RematScope asked for.
    """

    def __init__(self, layer: Any, mode: RematMode) -> None:
        self.layer, self.mode = layer, mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer's class computes."""
        call = type(self.layer).call.__get__(self.layer)
        if not torch.is_grad_enabled():
            return call(*args, **kwargs)
        return rematerialized(self.layer, self.mode, call, args, kwargs)(*args, **kwargs)


def rematerialized(
    layer: Any, mode: RematMode, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[..., Any]:
    """The function that computes what `call` does, and keeps what the mode wants kept.

    Args:
        layer: the layer to which `call` belongs.
        mode: what the RematScope asked for.
        call: the method.
        args: what it will be called with.
        kwargs: what it will be called with.
    """
    chosen = mode.mode == "full" or (mode.mode == "list_of_layers" and layer.name in mode.layer_names)
    if chosen or is_larger(layer, mode, args, kwargs):
        return remat(_Twice(layer, call))
    if mode.mode == "activations" and getattr(layer, "activation", None) is not None:
        return _with_activation(layer, call)
    return call


def _with_activation(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        own, attributes = layer.activation, vars(layer)
        held = attributes.get("activation")
        # Beside a submodule of that name, which an activation may be.
        attributes["activation"] = remat(own)
        try:
            return call(*args, **kwargs)
        finally:
            if held is None:
                del attributes["activation"]
            else:
                attributes["activation"] = held

    return wrapper


class _Twice:
    """A call that may be repeated: the second time it finds the state that the first one found, and leaves none."""

    def __init__(self, layer: WeightOwner, call: Callable[..., Any]) -> None:
        self.layer, self.call = layer, call
        self.found: dict[int, torch.Tensor] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.found is None:
            state = [variable for variable in self.layer.non_trainable_variables if not variable.requires_grad]
            self.found = {id(variable): like(variable, variable.detach().clone()) for variable in state}
            return self.call(*args, **kwargs)
        with contextlib.ExitStack() as stack:
            again = {key: like(value, value.detach().clone()) for key, value in self.found.items()}
            stack.enter_context(replaced(self.layer, again))
            stack.enter_context(kept_losses(self.layer))
            return self.call(*args, **kwargs)
