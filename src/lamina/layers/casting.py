"""Mixed precision: while a layer computes in 16 bits, its float32 weights read as tensors of 16 bits.

A layer of a mixed policy asks for its weights through `read`, and `Computing` tells in which dtype. Each weight is cast
once in an outermost call, through autograd, so that gradients reach it in float32. What layers hold in other ways
(lists of weights, torch's modules, state of a program's own layers) cannot be met like that: such layers run under
`torch.autocast`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import scopes
from lamina.core.variable import Variable
from lamina.layers.weights import WeightOwner


class _Local(threading.local):
    def __init__(self) -> None:
        self.dtype: torch.dtype | None = None
        self.autocasts = False
        self.casts: dict[tuple[int, bool, torch.dtype], tuple[Tensor, int, Tensor]] = {}


_local = _Local()


class Computing:
    """Within it, layers of a mixed policy read their weights in a dtype.

    Args:
        dtype: the dtype.

    Example:
        >>> with Computing(torch.bfloat16):
        ...     read(torch.ones(2)).dtype
        torch.bfloat16
    """

    __slots__ = ("dtype", "outer")

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.outer, _local.dtype = _local.dtype, self.dtype

    def __exit__(self, *error: object) -> None:
        _local.dtype = self.outer
        if self.outer is None:
            _local.casts.clear()


def read(weight: Tensor, as_variable: bool = False) -> Tensor:
    """A weight as a layer's `call` sees it.

    Args:
        weight: the weight.
        as_variable: whether the result shall have the attributes of a variable that a program's layers may use.
    """
    dtype = _local.dtype
    if dtype is None or weight.dtype is dtype or not weight.is_floating_point():
        return weight
    if torch.compiler.is_compiling() or scopes.unknown_stand_in() is not None:
        return _cast(weight, dtype, as_variable)
    key = id(weight), torch.is_grad_enabled(), dtype
    version = 0 if weight.is_inference() else weight._version
    known = _local.casts.get(key)
    if known is not None and known[0] is weight and known[1] == version:
        return known[2]
    cast = _cast(weight, dtype, as_variable)
    _local.casts[key] = weight, version, cast
    return cast


def _cast(weight: Tensor, dtype: torch.dtype, as_variable: bool) -> Tensor:
    cast: Any = weight.to(dtype)
    if as_variable and isinstance(weight, Variable) and not torch.compiler.is_compiling():
        cast.value = cast.view(cast.shape)
        cast.path, cast.trainable = weight.path, weight.trainable
        cast.assign, cast.assign_add, cast.assign_sub = weight.assign, weight.assign_add, weight.assign_sub
    return cast


def autocasts() -> bool:
    """Whether a layer that needs `torch.autocast` is being called, and this one stands in it."""
    return _local.autocasts


@contextlib.contextmanager
def autocasting(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it, torch casts what its functions are given; with None it does not, as layers do that themselves."""
    saved, _local.autocasts = _local.autocasts, dtype is not None
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        _local.autocasts = saved


def holds_other_weights(layer: WeightOwner, is_ours: bool) -> bool:
    """Whether a layer has float weights that it does not read as its attributes: in lists, or in torch's modules.

    Args:
        layer: the layer.
        is_ours: whether it is one of lamina's, which deal with their state themselves. A graph of these may have
            adopted weights of torch's functions in it; those of a program's layers may be in products with its state.
    """
    if is_ours:
        if any(_is_float(weight) and key not in layer._weight_specs for key, weight in layer._parameters.items()):
            return True
    elif any(_is_float(buffer) for buffer in layer._buffers.values()):
        return True
    others: list[nn.Module] = [module for module in layer._modules.values() if module is not None]
    for module in others:
        if isinstance(module, WeightOwner):
            continue
        if any(_is_float(weight) for weight in (*module._parameters.values(), *module._buffers.values())):
            return True
        others += [child for child in module._modules.values() if child is not None]
    return False


def _is_float(weight: Tensor | None) -> bool:
    return weight is not None and weight.is_floating_point()
