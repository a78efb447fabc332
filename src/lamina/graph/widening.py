"""Dtypes that torch can store but hardly compute in: functions of them run in a wider dtype, results are cast back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import result_type, standardize_dtype, torch_dtype
from lamina.core.tensors import convert_to_tensor
from lamina.graph.tensor import KerasTensor

_UNSIGNED = {torch.uint16: torch.int64, torch.uint32: torch.int64, torch.uint64: torch.int64}
_HALF = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_WIDER = _UNSIGNED | _HALF
# Parameters that say where or which, or are cast to what they are written into, so that their dtypes have no part in
# that of the result.
_POSITIONS = {"condlist", "indices", "segment_ids", "start_indices", "shift", "repeats", "updates"}
_POSITIONS |= {"coordinates", "transform", "start_points", "end_points", "gamma", "beta", "scale"}
# How torch names these dtypes when it has no kernel for them.
_NAMES = ("UInt", "uint16", "Half", "BFloat16", "Low precision", "Unsupported dtype")


# Functions that cast unsigned integers themselves, and those that torch has no kernels for in half precision.
CASTING: set[Callable[..., Any]] = set()
WIDENED: set[Callable[..., Any]] = set()


def suited(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
    """The function as it can take arguments of these dtypes, symbolic ones among them.

    Without data torch does not notice that it has no kernel, and promotes unsigned integers to no good: these are
    always computed with in a wider dtype unless the function casts them itself, other dtypes where that is needed.
    """
    dtypes = _dtypes_of((args, kwargs))
    decided = function in WIDENED and not dtypes.isdisjoint(_HALF)
    if decided or (function not in CASTING and not dtypes.isdisjoint(_UNSIGNED)):
        return functools.wraps(function)(lambda *args, **kwargs: in_wider_dtype(function, args, kwargs))
    return widened(function) if not dtypes.isdisjoint(_WIDER) else function


def widened(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which runs in a wider dtype where torch has no kernel for that of its arguments."""

    @functools.wraps(function)
    def wide(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            if not lacks_kernel(error):
                raise
        return in_wider_dtype(function, args, kwargs)

    return wide


def widening_half(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which always runs in float32 on tensors of half precision."""

    @functools.wraps(function)
    def wide(*args: Any, **kwargs: Any) -> Any:
        leaves = tree.flatten((args, kwargs))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype in _HALF for leaf in leaves):
            return in_wider_dtype(function, args, kwargs)
        return function(*args, **kwargs)

    return wide


def lacks_kernel(error: Exception) -> bool:
    """Whether torch fails for want of a kernel for such a dtype."""
    message = str(error)
    return any(name in message for name in _NAMES)


def in_wider_dtype(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the function gives when its arguments are cast to wider dtypes, cast back to what theirs make."""
    dtypes = _dtypes_of(_values(function, args, kwargs))
    wide_args, wide_kwargs = tree.map_structure(_wide, (args, kwargs))
    return tree.map_structure(lambda leaf: _narrow(leaf, dtypes), function(*wide_args, **wide_kwargs))


def _values(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments that are no positions; all of them where a function, like torch's own, hides its parameters."""
    try:
        named = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return args, kwargs
    return [value for name, value in named.items() if name not in _POSITIONS]


def _wide(leaf: Any) -> Any:
    return convert_to_tensor(leaf, _WIDER.get(torch_dtype(leaf.dtype))) if _has_values(leaf) else leaf


def _has_values(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) or (isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc")


def _narrow(leaf: Any, dtypes: set[torch.dtype]) -> Any:
    """A result that has a wider dtype for no other reason than its arguments' being cast, cast back."""
    if not isinstance(leaf, torch.Tensor) or leaf.dtype in dtypes or leaf.dtype not in _WIDER.values():
        return leaf
    alike = [x for x in dtypes if x is not torch.bool and x.is_floating_point == leaf.dtype.is_floating_point]
    if not any(x in _WIDER for x in alike):
        return leaf
    return leaf.to(torch_dtype(result_type(*map(standardize_dtype, alike))))


def _dtypes_of(values: Any) -> set[torch.dtype]:
    """The dtypes of the tensors and arrays, symbolic ones too, among nested values."""
    leaves = tree.flatten(values)
    return {torch_dtype(leaf.dtype) for leaf in leaves if isinstance(leaf, KerasTensor) or _has_values(leaf)}
