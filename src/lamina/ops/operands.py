"""What ops do to their arguments before computing: to tensors, to a common dtype, axes in order."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.tensors import convert_to_tensor
from lamina.graph.op import broadcast_shapes

TensorLike: TypeAlias = Any
"""What every op takes: tensors (symbolic ones too), variables, NumPy arrays, numbers and lists of these."""

DType: TypeAlias = str | torch.dtype | type | None
Axis: TypeAlias = int | None
Axes: TypeAlias = int | Sequence[int] | None
Shape: TypeAlias = int | Sequence[Any]

_NUMBERS = (int, float, complex, torch.SymInt, torch.SymFloat)
_REAL_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def as_tensor(x: Any) -> Tensor:
    """The argument as a tensor."""
    return x if isinstance(x, Tensor) else convert_to_tensor(x)


def as_float(x: Any) -> Tensor:
    """The argument as a tensor of floats (or complex numbers): integers and booleans become floatx."""
    if not isinstance(x, Tensor):
        x = convert_to_tensor(x)
    if x.is_floating_point() or x.is_complex():
        return x
    return x.to(torch_dtype(None))


def as_index(x: Any, size: int) -> Tensor:
    """The argument as int64 indices into an axis of `size`, negative ones counted from the end."""
    x = as_tensor(x).long()
    return torch.where(x < 0, x + size, x)


def as_operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both as tensors, but one may stay a number: torch's operators then give Keras's dtype."""
    if isinstance(x1, Tensor):
        return (x1, x2) if isinstance(x2, Tensor) else _beside(x1, x2)
    if not isinstance(x2, Tensor):
        x1 = convert_to_tensor(x1)
        return _beside(x1, x2)
    x2, x1 = _beside(x2, x1)
    return x1, x2


def _beside(x: Tensor, other: Any) -> tuple[Tensor, Any]:
    """A tensor and the other argument; the tensor is cast where torch would choose another dtype."""
    if isinstance(other, np.generic) and other.dtype.kind in "biufc":
        other = other.item()
    if not isinstance(other, _NUMBERS):
        return x, convert_to_tensor(other, device=x.device)
    if isinstance(other, bool):
        return x, torch.tensor(other, device=x.device) if x.dtype is torch.bool else int(other)
    if isinstance(other, (int, torch.SymInt)):
        return (x.to(torch.int32) if x.dtype is torch.bool else x), other
    if isinstance(other, complex):
        return x, other
    return as_float(x), other


def as_tensors(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both arguments as tensors; torch's own promotion then gives Keras's dtype."""
    x1, x2 = as_operands(x1, x2)
    if not isinstance(x2, Tensor):
        return x1, torch.tensor(x2, dtype=dtype_of(x1, x2), device=x1.device)
    if not isinstance(x1, Tensor):
        return torch.tensor(x1, dtype=dtype_of(x2, x1), device=x2.device), x2
    return x1, x2


def dtype_of(*xs: Any, also: Sequence[Any] = ()) -> torch.dtype:
    """The dtype Keras's lattice gives tensors, numbers and the kinds of `also` (dtypes, or Python's int or float).

    Torch's promotion is the same for tensors; numbers give way to them.
    """
    dtype = torch.bool
    weak = 0
    for x in (*xs, *also):
        if isinstance(x, Tensor):
            dtype = torch.promote_types(dtype, x.dtype)
        elif isinstance(x, torch.dtype):
            dtype = torch.promote_types(dtype, x)
        elif x is float or isinstance(x, (float, torch.SymFloat)):
            weak = 2
        elif x is int or (isinstance(x, (int, torch.SymInt)) and not isinstance(x, bool)):
            weak = max(weak, 1)
        elif isinstance(x, complex):
            dtype = torch.promote_types(dtype, torch.complex64)
    if weak == 2 and not (dtype.is_floating_point or dtype.is_complex):
        return torch_dtype(None)
    return torch.int32 if weak and dtype is torch.bool else dtype


def kind_of(x: Any) -> Any:
    """What `result_type` takes for an argument: the dtype of a tensor, symbolic or not, the type of a number."""
    if isinstance(x, (int, float)):
        return type(x)
    return x.dtype if hasattr(x, "dtype") else convert_to_tensor(x).dtype


def without_booleans(x1: Any, x2: Any) -> tuple[Any, Any]:
    """The operands; int32 instead of booleans when both are such."""
    if getattr(x1, "dtype", None) is torch.bool and getattr(x2, "dtype", None) is torch.bool:
        return x1.to(torch.int32), x2.to(torch.int32)
    return x1, x2


def as_common(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both arguments as tensors of the dtype that Keras's lattice gives them."""
    if isinstance(x1, Tensor) and isinstance(x2, Tensor):
        if x1.dtype is x2.dtype:
            return x1, x2
        dtype = dtype_of(x1, x2)
        return x1.to(dtype), x2.to(dtype)
    x1, x2 = all_common((x1, x2))
    return x1, x2


def as_floats(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both arguments as tensors of one float dtype."""
    if isinstance(x1, Tensor) and isinstance(x2, Tensor) and x1.dtype is x2.dtype and x1.is_floating_point():
        return x1, x2
    x1, x2 = all_common((x1, x2), float)
    return x1, x2


def own_floats(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both arguments as tensors of one float dtype, to which a number brings its own: int32 or floatx."""
    if isinstance(x1, Tensor) and isinstance(x2, Tensor):
        return as_floats(x1, x2)
    return as_floats(as_tensor(x1), as_tensor(x2))


def as_wide_float(x: Any) -> Tensor:
    """The argument as a tensor of floats; 64-bit integers keep their width."""
    x = as_tensor(x)
    return x.double() if x.dtype is torch.int64 else as_float(x)


def all_common(xs: Sequence[Any], *also: Any) -> list[Tensor]:
    """All arguments as tensors of the dtype that Keras's lattice gives them (and the kinds of `also`)."""
    device = next((x.device for x in xs if isinstance(x, Tensor)), None)
    parts = [x if isinstance(x, (Tensor, *_REAL_NUMBERS)) else convert_to_tensor(x, device=device) for x in xs]
    dtype = dtype_of(*parts, also=also)
    return [convert_to_tensor(x, dtype, device) for x in parts]


def all_tensors(xs: Any) -> list[Tensor]:
    """Every element of a sequence (or row of a tensor) as a tensor, all of the dtype of their promotion."""
    tensors = [x if isinstance(x, Tensor) else convert_to_tensor(x) for x in xs]
    if not tensors:
        raise ArgumentError(
            "There are no tensors.", where="the list of tensors", expected="at least one tensor", received=xs
        )
    dtype = tensors[0].dtype
    for x in tensors:
        if x.dtype is not dtype:
            dtype = dtype_of(*tensors)
            return [x.to(dtype) for x in tensors]
    return tensors


def axes_of(axis: Axes) -> Any:
    """The axis or axes as torch takes them."""
    if axis is None or isinstance(axis, int):
        return axis
    return tuple(int(a) for a in axis)


def axes_tuple(axis: Axes, ndim: int) -> tuple[int, ...]:
    """The axes counted from the front, all of them for None.

    Raises:
        ArgumentError: an axis lies outside the tensor.
    """
    if axis is None:
        return tuple(range(ndim))
    return tuple(axis_of(a, ndim) for a in ((axis,) if isinstance(axis, int) else axis))


def axis_of(axis: int, ndim: int) -> int:
    """One axis counted from the front; a single number counts as having one."""
    if not -max(ndim, 1) <= axis < max(ndim, 1):
        raise ArgumentError(
            "The axis lies outside the tensor.",
            where="axis",
            expected=f"{-max(ndim, 1)} <= axis < {max(ndim, 1)}, for {ndim} axes",
            received=axis,
        )
    return axis % ndim if ndim else 0


def shape_of(shape: Any) -> tuple[Any, ...]:
    """A shape given as an int, a sequence or a tensor, as a tuple."""
    if isinstance(shape, Tensor):
        shape = shape.tolist()
    if isinstance(shape, (int, torch.SymInt, np.integer)):
        return (int(shape) if isinstance(shape, np.integer) else shape,)
    try:
        return tuple(size if size is None or isinstance(size, torch.SymInt) else operator.index(size) for size in shape)
    except TypeError:
        raise ArgumentTypeError(
            "This is no shape.", where="shape", expected="an integer, or a sequence of integers", received=repr(shape)
        ) from None


def indices_of(indices_or_sections: Any) -> int | list[int]:
    """Where to split: a number of parts, or a list of positions."""
    if isinstance(indices_or_sections, (int, np.integer)):
        return int(indices_or_sections)
    if isinstance(indices_or_sections, (Tensor, np.ndarray)):
        return indices_or_sections.tolist()
    return [int(index) for index in indices_or_sections]


def small_int_sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which Keras adds up: int32 for booleans and short integers, otherwise the dtype itself."""
    return _SUMS.get(dtype, dtype)


_SHORT = (torch.bool, torch.uint8, torch.uint16, torch.int8, torch.int16)
# Torch hardly computes with uint32 and uint64.
_SUMS = dict.fromkeys(_SHORT, torch.int32) | {torch.uint32: torch.int64, torch.uint64: torch.int64}


def broadcast_in(where: str, *shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """`broadcast_shapes`, whose error names the op."""
    try:
        return broadcast_shapes(*shapes)
    except ShapeError as error:
        raise ShapeError(error.what, where=where, expected=error.expected, received=error.received) from None
