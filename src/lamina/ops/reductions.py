"""Sums, means, extremes and counts along axes, and running totals.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ShapeError
from lamina.graph.op import op
from lamina.ops.operands import (
    Axes,
    Axis,
    DType,
    TensorLike,
    as_float,
    as_tensor,
    as_tensors,
    axes_of,
    axes_tuple,
    axis_of,
    small_int_sum_dtype,
)


@op(casts=True)
def sum(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum along the axes; booleans and short integers are summed as int32.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> sum([[1, 2], [3, 4]], axis=0)
        tensor([4, 6], dtype=torch.int32)
    """
    x = as_tensor(x)
    if axis == () or axis == []:
        return x.to(small_int_sum_dtype(x.dtype))
    if x.is_floating_point():
        return torch.sum(x, axes_of(axis), keepdims)
    target = small_int_sum_dtype(x.dtype)
    return torch.sum(x.to(target), axes_of(axis), keepdims, dtype=target)


@op
def mean(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean along the axes, always a float.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> mean([[1, 2], [3, 4]], axis=0)
        tensor([2., 3.])
    """
    x = as_float(x)
    return x if axis == () or axis == [] else torch.mean(x, axes_of(axis), keepdims)


@op(casts=True)
def prod(x: TensorLike, axis: Axes = None, keepdims: bool = False, dtype: DType = None) -> Tensor:
    """The product along the axes.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.
        dtype: the dtype to multiply in and to return; int32 for booleans and short integers by default.

    Example:
        >>> prod([[1, 2], [3, 4]], axis=1)
        tensor([ 2, 12], dtype=torch.int32)
    """
    x = as_tensor(x)
    target = small_int_sum_dtype(x.dtype) if dtype is None else torch_dtype(dtype)
    x = x.to(target)
    if axis is None and not keepdims:
        return torch.prod(x, dtype=target)
    for a in sorted(axes_tuple(axis, x.ndim), reverse=True):
        x = torch.prod(x, dim=a, keepdim=keepdims, dtype=target)
    return x


@op
def amax(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The greatest value along the axes.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> amax([[1, 4], [3, 2]], axis=1)
        tensor([4, 3], dtype=torch.int32)
    """
    return _amax(as_tensor(x), axis, keepdims)


def _amax(x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return x if axis == () or axis == [] else torch.amax(x, () if axis is None else axes_of(axis), keepdims)


@op
def amin(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The least value along the axes.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> amin([[1, 4], [3, 2]], axis=1)
        tensor([1, 2], dtype=torch.int32)
    """
    return _amin(as_tensor(x), axis, keepdims)


def _amin(x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    return x if axis == () or axis == [] else torch.amin(x, () if axis is None else axes_of(axis), keepdims)


@op
def max(x: TensorLike, axis: Axes = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The greatest value along the axes.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.
        initial: the least the result can be; also the result for empty tensors.

    Raises:
        ShapeError: the tensor is empty and `initial` is not given.

    Example:
        >>> max([[1, 4], [3, 2]], axis=1)
        tensor([4, 3], dtype=torch.int32)
    """
    x = as_tensor(x)
    if x.numel() == 0:
        return _of_nothing(x, axis, keepdims, initial, "max")
    result = _amax(x, axis, keepdims)
    return result if initial is None else torch.maximum(result, as_tensors(result, initial)[1].to(result.dtype))


@op
def min(x: TensorLike, axis: Axes = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The least value along the axes.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.
        initial: the most the result can be; also the result for empty tensors.

    Raises:
        ShapeError: the tensor is empty and `initial` is not given.

    Example:
        >>> min([[1, 4], [3, 2]], axis=1)
        tensor([1, 2], dtype=torch.int32)
    """
    x = as_tensor(x)
    if x.numel() == 0:
        return _of_nothing(x, axis, keepdims, initial, "min")
    result = _amin(x, axis, keepdims)
    return result if initial is None else torch.minimum(result, as_tensors(result, initial)[1].to(result.dtype))


def _of_nothing(x: Tensor, axis: Axes, keepdims: bool, initial: Any, name: str) -> Tensor:
    """The extreme of an empty tensor: `initial` in the reduced shape."""
    if initial is None:
        raise ShapeError(
            f"An empty tensor has no {name}.", where=f"ops.{name}", received=tuple(x.shape), fix="pass initial=..."
        )
    return torch.sum(x, axes_of(axis), keepdims).to(x.dtype).fill_(initial)


@op
def argmax(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The index (int32) of the greatest value along an axis.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.
        keepdims: whether the reduced axis stays, with size 1.

    Example:
        >>> argmax([[1, 4], [3, 2]], axis=1)
        tensor([1, 0], dtype=torch.int32)
    """
    x = as_tensor(x)
    return torch.argmax(x.to(torch.uint8) if x.dtype is torch.bool else x, axis, keepdims).to(torch.int32)


@op
def argmin(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The index (int32) of the least value along an axis.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.
        keepdims: whether the reduced axis stays, with size 1.

    Example:
        >>> argmin([[1, 4], [3, 2]], axis=1)
        tensor([0, 1], dtype=torch.int32)
    """
    x = as_tensor(x)
    return torch.argmin(x.to(torch.uint8) if x.dtype is torch.bool else x, axis, keepdims).to(torch.int32)


@op
def all(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether every value along the axes is true (not 0).

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> all([[True, False], [True, True]], axis=1)
        tensor([False,  True])
    """
    x = as_tensor(x).to(torch.bool)
    return x if axis == () or axis == [] else torch.all(x, axes_of(axis), keepdims)


@op
def any(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether some value along the axes is true (not 0).

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> any([[True, False], [False, False]], axis=1)
        tensor([ True, False])
    """
    x = as_tensor(x).to(torch.bool)
    return x if axis == () or axis == [] else torch.any(x, axes_of(axis), keepdims)


@op
def var(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The variance along the axes: the mean squared distance to the mean.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> var([1.0, 3.0])
        tensor(1.)
    """
    x = as_float(x)
    return (
        torch.zeros_like(x) if axis == () or axis == [] else torch.var(x, axes_of(axis), correction=0, keepdim=keepdims)
    )


@op
def std(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The standard deviation along the axes: the root of the variance.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> std([1.0, 3.0])
        tensor(1.)
    """
    x = as_float(x)
    return (
        torch.zeros_like(x) if axis == () or axis == [] else torch.std(x, axes_of(axis), correction=0, keepdim=keepdims)
    )


@op
def ptp(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The greatest value minus the least, along the axes.

    Example:
        >>> ptp([1.0, 5.0, 3.0])
        tensor(4.)
    """
    x = as_tensor(x)
    return _amax(x, axis, keepdims) - _amin(x, axis, keepdims)


@op
def count_nonzero(x: TensorLike, axis: Axes = None) -> Tensor:
    """How many values along the axes are not 0, as int32.

    Example:
        >>> count_nonzero([[0, 1], [2, 3]], axis=0)
        tensor([1, 2], dtype=torch.int32)
    """
    x = as_tensor(x) != 0
    return x.to(torch.int32) if axis == () or axis == [] else torch.sum(x, axes_of(axis), dtype=torch.int32)


@op
def logsumexp(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The logarithm of the sum of exponentials along the axes, without overflow.

    Args:
        x: the values.
        axis: one axis or several; None for all.
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> logsumexp([0.0, 0.0])
        tensor(0.6931)
    """
    x = as_float(x)
    # Torch derives from the result as it was rounded: with 16 bits and values around 100 that is a fifth off.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.logsumexp(wide, axes_tuple(axis, x.ndim), keepdims).to(x.dtype)


@op
def cumsum(x: TensorLike, axis: Axis = None, dtype: DType = None) -> Tensor:
    """The running sum along an axis.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.
        dtype: the dtype to add in and to return; that of the values by default.

    Example:
        >>> cumsum([1, 2, 3])
        tensor([1, 3, 6], dtype=torch.int32)
    """
    x, axis, target = _running(x, axis, dtype)
    return torch.cumsum(x, axis, dtype=target)


@op
def cumprod(x: TensorLike, axis: Axis = None, dtype: DType = None) -> Tensor:
    """The running product along an axis.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.
        dtype: the dtype to multiply in and to return; that of the values by default.

    Example:
        >>> cumprod([1, 2, 3])
        tensor([1, 2, 6], dtype=torch.int32)
    """
    x, axis, target = _running(x, axis, dtype)
    return torch.cumprod(x, axis, dtype=target)


def _running(x: TensorLike, axis: Axes, dtype: DType) -> tuple[Tensor, int, torch.dtype]:
    """The arguments of a running total: the tensor, the axis and the dtype to compute in."""
    x = as_tensor(x)
    if axis is not None and not isinstance(axis, int):
        (axis,) = axis
    target = x.dtype if dtype is None else torch_dtype(dtype)
    target = torch.int32 if target is torch.bool else target
    return (x.reshape(-1), 0, target) if axis is None else (x, axis_of(axis, x.ndim), target)


def _without_nan(x: Tensor, number: float) -> Tensor:
    return torch.nan_to_num(x, number, torch.inf, -torch.inf) if x.is_floating_point() or x.is_complex() else x


@op(casts=True)
def nansum(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum along the axes, NaN counting as 0.

    Example:
        >>> nansum([1.0, float("nan"), 2.0])
        tensor(3.)
    """
    x = as_tensor(x)
    return sum(_without_nan(x, 0.0), axis, keepdims)


@op(casts=True)
def nanprod(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product along the axes, NaN counting as 1.

    Example:
        >>> nanprod([2.0, float("nan"), 3.0])
        tensor(6.)
    """
    x = as_tensor(x)
    return prod(_without_nan(x, 1.0), axis, keepdims)


@op
def nancumsum(x: TensorLike, axis: Axis = None, dtype: DType = None) -> Tensor:
    """The running sum along an axis, NaN counting as 0.

    Example:
        >>> nancumsum([1.0, float("nan"), 2.0])
        tensor([1., 1., 3.])
    """
    x = _without_nan(as_tensor(x), 0.0)
    return x if axis == () or axis == [] else cumsum(x, axis, dtype)


@op
def nancumprod(x: TensorLike, axis: Axis = None, dtype: DType = None) -> Tensor:
    """The running product along an axis, NaN counting as 1.

    Example:
        >>> nancumprod([2.0, float("nan"), 3.0])
        tensor([2., 2., 6.])
    """
    x = _without_nan(as_tensor(x), 1.0)
    return x if axis == () or axis == [] else cumprod(x, axis, dtype)


@op
def nanmean(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean along the axes of the values that are not NaN.

    Example:
        >>> nanmean([1.0, float("nan"), 3.0])
        tensor(2.)
    """
    x = as_float(x)
    if axis == () or axis == []:
        return x
    valid = ~torch.isnan(x)
    return torch.sum(torch.where(valid, x, 0), axes_of(axis), keepdims) / torch.sum(valid, axes_of(axis), keepdims)


@op
def nanvar(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The variance along the axes of the values that are not NaN.

    Example:
        >>> nanvar([1.0, float("nan"), 3.0])
        tensor(1.)
    """
    x = as_float(x)
    if axis == () or axis == []:
        return torch.where(torch.isnan(x), x, 0)
    valid = ~torch.isnan(x)
    count = torch.sum(valid, axes_of(axis), True)
    mean = torch.sum(torch.where(valid, x, 0), axes_of(axis), True) / count
    centered = torch.where(valid, x - mean, 0)
    squares = (centered * centered.conj()).real if x.is_complex() else centered * centered
    return torch.sum(squares, axes_of(axis), keepdims) / (count if keepdims else torch.sum(valid, axes_of(axis)))


@op
def nanstd(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The standard deviation along the axes of the values that are not NaN.

    Example:
        >>> nanstd([1.0, float("nan"), 3.0])
        tensor(1.)
    """
    variance = nanvar(x, axis, keepdims)
    # Equal values get the gradient 0, as from `std`; that of a square root at 0 is infinite.
    return torch.sqrt(torch.where(variance == 0, 0, variance))


@op
def nanmax(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The greatest value along the axes that is not NaN; NaN where there is none.

    Example:
        >>> nanmax([1.0, float("nan"), 3.0])
        tensor(3.)
    """
    return _nan_extreme(x, axis, keepdims, -torch.inf, _amax)


@op
def nanmin(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The least value along the axes that is not NaN; NaN where there is none.

    Example:
        >>> nanmin([1.0, float("nan"), 3.0])
        tensor(1.)
    """
    return _nan_extreme(x, axis, keepdims, torch.inf, _amin)


def _nan_extreme(x: TensorLike, axis: Axes, keepdims: bool, worst: float, extreme: Any) -> Tensor:
    x = as_tensor(x)
    if not x.is_floating_point() or axis == () or axis == []:
        return extreme(x, axis, keepdims)
    missing = torch.isnan(x)
    result = extreme(torch.where(missing, worst, x), axis, keepdims)
    return torch.where(torch.all(missing, axes_of(axis), keepdims), torch.nan, result)


@op
def nanargmax(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The index (int32) of the greatest value that is not NaN; -1 where there is none.

    Example:
        >>> nanargmax([1.0, float("nan"), 3.0])
        tensor(2, dtype=torch.int32)
    """
    return _nan_position(x, axis, keepdims, -torch.inf, argmax)


@op
def nanargmin(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The index (int32) of the least value that is not NaN; -1 where there is none.

    Example:
        >>> nanargmin([1.0, float("nan"), 3.0])
        tensor(0, dtype=torch.int32)
    """
    return _nan_position(x, axis, keepdims, torch.inf, argmin)


def _nan_position(x: TensorLike, axis: Axis, keepdims: bool, worst: float, position: Any) -> Tensor:
    x = as_tensor(x)
    if not x.is_floating_point():
        return position(x, axis, keepdims)
    missing = torch.isnan(x)
    result = position(torch.where(missing, worst, x), axis, keepdims)
    return torch.where(torch.all(missing, axes_of(axis), keepdims), -1, result)
