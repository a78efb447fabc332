"""Rematerialization: results that are not kept for the backward pass but computed a second time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import torch
import torch.utils.checkpoint

from lamina.core.errors import ArgumentError, nearest

_MODES = ("full", "activations", "larger_than", "list_of_layers", None)


class RematMode(NamedTuple):
    """What the innermost open scope asks of the layers made in it."""

    mode: str | None
    output_size_threshold: int
    layer_names: list[str]


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.open: list[RematMode] = []


_scopes = _Scopes()


class RematScope:
    """Layers made within it keep fewer results for the backward pass, and compute them once more instead.

    Training then needs less memory and more time. The layers keep the mode for good.

    Args:
        mode: "full" for all layers, "activations" for the activation functions alone, "larger_than" for layers whose
            outputs have more elements than the threshold, "list_of_layers" for those named, None for none.
        output_size_threshold: elements of the outputs, for "larger_than".
        layer_names: names of layers, for "list_of_layers".

    Raises:
        ArgumentError: there is no such mode.

    Example:
        >>> with RematScope("larger_than", output_size_threshold=4096):
        ...     get_current_remat_mode().mode
        'larger_than'

    Source: https://keras.io/api/utils/
    """

    def __init__(
        self, mode: str | None = "full", output_size_threshold: int = 1024, layer_names: Iterable[str] | None = None
    ) -> None:
        if mode not in _MODES:
            raise ArgumentError(
                f"There is no such mode.{nearest(str(mode), filter(None, _MODES))}",
                where="RematScope(mode=...)",
                expected=f"one of {_MODES}",
                received=repr(mode),
            )
        self.mode, self.output_size_threshold = mode, output_size_threshold
        self.layer_names = list(layer_names or ())

    def __enter__(self) -> Self:
        _scopes.open.append(RematMode(self.mode, self.output_size_threshold, self.layer_names))
        return self

    def __exit__(self, *exception: object) -> None:
        _scopes.open.pop()


def get_current_remat_mode() -> RematMode | None:
    """What the innermost open RematScope asks for; None outside."""
    return _scopes.open[-1] if _scopes.open else None


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes the same, keeps no results for the backward pass, and runs once more there.

    Args:
        f: a function of tensors. What it writes down elsewhere, it writes twice: a layer with state of its own
            belongs into a `RematScope`, which puts the state back.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> remat(torch.exp)(x).sum().backward()
        >>> torch.equal(x.grad, x.exp())
        True

    Source: https://keras.io/api/utils/
    """

    @functools.wraps(f, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return f(*args, **kwargs)
        return torch.utils.checkpoint.checkpoint(f, *args, use_reentrant=False, **kwargs)

    return wrapper
