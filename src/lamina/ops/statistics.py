"""Averages, quantiles, histograms, correlations and differences.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import result_type, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import (
    Axes,
    TensorLike,
    as_float,
    as_floats,
    as_tensor,
    as_wide_float,
    axes_tuple,
    axis_of,
    kind_of,
)


@op
def average(x: TensorLike, axis: Axes = None, weights: TensorLike | None = None) -> Tensor:
    """The mean along an axis, each value counting by its weight.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.
        weights: weights in the shape of `x`, or a vector along the axis; 1 by default.

    Raises:
        ShapeError: the weights have another shape.

    Example:
        >>> average([1.0, 4.0], weights=[2.0, 1.0])
        tensor(2.)
    """
    if weights is None:
        x = as_float(x)
        return x if axis == () else torch.mean(x, axes_tuple(axis, x.ndim))
    x, factors = as_floats(x, weights)
    if factors.shape != x.shape and unknown_stand_in() in (*x.shape, *factors.shape):
        factors = _agreeing(factors, x, axis)
    if factors.shape != x.shape:
        if not isinstance(axis, int) or factors.shape != (x.shape[axis],):
            raise ShapeError(
                "The weights fit neither the tensor nor its axis.",
                where=f"ops.average, axis={axis}",
                expected=f"shape {tuple(x.shape)}" + (f" or ({x.shape[axis]},)" if isinstance(axis, int) else ""),
                received=f"shape {tuple(factors.shape)}",
            )
        factors = factors.reshape(-1, *(1,) * (x.ndim - 1 - axis_of(axis, x.ndim))).expand(x.shape)
    axes = axes_tuple(axis, x.ndim)
    return torch.sum(x * factors, axes) / torch.sum(factors, axes)


def _agreeing(factors: Tensor, x: Tensor, axis: Axes) -> Tensor:
    """The weights in the shape of the tensor, or of its axis, where sizes are not known but may be the same."""
    target = (x.shape[axis],) if isinstance(axis, int) and factors.ndim == 1 else tuple(x.shape)
    sizes = zip(factors.shape, target, strict=False)
    fit = factors.ndim == len(target) and all(a == b or unknown_stand_in() in (a, b) for a, b in sizes)
    return x.new_empty(target) if fit else factors


@op
def median(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The middle value along the axes; the mean of the two middle ones where their number is even.

    Example:
        >>> median([1.0, 2.0, 4.0, 8.0])
        tensor(3.)
    """
    return quantile(x, 0.5, axis, keepdims=keepdims)


@op
def nanmedian(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The middle value along the axes of those that are not NaN.

    Example:
        >>> nanmedian([1.0, float("nan"), 3.0])
        tensor(2.)
    """
    return as_tensor(x) if axis == () or axis == [] else nanquantile(x, 0.5, axis, keepdims=keepdims)


@op(casts=True)
def quantile(x: TensorLike, q: TensorLike, axis: Axes = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The value below which a share `q` of the values along the axes lies.

    Args:
        x: the values.
        q: the share, from 0 to 1; a vector gives a new first axis.
        axis: one axis or several; None for all.
        method: what to give between two values: "linear", "lower", "higher", "midpoint" or "nearest".
        keepdims: whether the reduced axes stay, with size 1.

    Example:
        >>> quantile([1.0, 2.0, 3.0], 0.25)
        tensor(1.5000)
    """
    return _quantile(torch.quantile, x, as_tensor(q), axis, method, keepdims)


@op
def nanquantile(
    x: TensorLike, q: TensorLike, axis: Axes = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """The value below which a share `q` of the values that are not NaN lies; else as `quantile`."""
    return _quantile(torch.nanquantile, x, as_tensor(q), axis, method, keepdims)


@op
def percentile(
    x: TensorLike, q: TensorLike, axis: Axes = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """The value below which `q` percent of the values along the axes lie; else as `quantile`.

    Example:
        >>> percentile([1.0, 2.0, 3.0], 25)
        tensor(1.5000)
    """
    return _quantile(torch.quantile, x, as_float(q) / 100, axis, method, keepdims)


@op
def nanpercentile(
    x: TensorLike, q: TensorLike, axis: Axes = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """The value below which `q` percent of the values that are not NaN lie; else as `quantile`."""
    return _quantile(torch.nanquantile, x, as_float(q) / 100, axis, method, keepdims)


def _quantile(
    function: Callable[..., Tensor], x: TensorLike, q: Tensor, axis: Axes, method: str, keepdims: bool
) -> Tensor:
    """Torch's function over the axes, moved to the end and joined, in float32 at least."""
    x = as_float(x)
    axes = axes_tuple(axis, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    joined = math.prod(x.shape[a] for a in axes)
    flat = torch.permute(x, (*kept, *axes)).reshape(*(x.shape[a] for a in kept), joined)
    wide = flat.float() if x.dtype in (torch.float16, torch.bfloat16) else flat
    if unknown_stand_in() in x.shape:
        # Torch refuses to look for quantiles among as many values as stand-ins are.
        result = x.new_empty((*q.shape, *flat.shape[:-1]))
    else:
        result = function(wide, q.to(wide.device, wide.dtype), dim=-1, interpolation=method).to(x.dtype)
    if keepdims:
        result = result.reshape(*q.shape, *(1 if a in axes else x.shape[a] for a in range(x.ndim)))
    return result


def _bincount_spec(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> KerasTensor:
    """The symbolic result of `bincount`: the greatest value is not known."""
    dtype = "int32" if weights is None else getattr(weights, "dtype", "float32")
    return KerasTensor((*x.shape[:-1], None), dtype)


@op(symbolic=_bincount_spec)
def bincount(x: TensorLike, weights: TensorLike | None = None, minlength: int = 0, sparse: bool = False) -> Tensor:
    """How often each integer from 0 upwards occurs.

    Args:
        x: integers of at least 0; in a matrix each row is counted for itself.
        weights: what each occurrence counts, 1 by default.
        minlength: the least size of the result.
        sparse: not supported.

    Example:
        >>> bincount([0, 2, 2])
        tensor([1, 0, 2], dtype=torch.int32)
    """
    if sparse:
        raise ArgumentError("Sparse tensors are not supported.", where="ops.bincount, sparse", fix="leave sparse out")
    x = as_tensor(x).long()
    weights = None if weights is None else as_tensor(weights)
    dtype = torch.int32 if weights is None else weights.dtype
    if x.ndim == 1:
        return torch.bincount(x, weights, minlength).to(dtype)
    size = max(int(x.max()) + 1 if x.numel() else 0, minlength)
    ones = torch.ones_like(x, dtype=dtype) if weights is None else weights
    return torch.zeros(*x.shape[:-1], size, dtype=dtype, device=x.device).scatter_add(-1, x, ones)


@op
def histogram(x: TensorLike, bins: int = 10, range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """How many values fall into each of several bins of equal width, and the edges of the bins.

    Args:
        x: a vector.
        bins: how many bins.
        range: the outer edges; the least and the greatest value by default. Values outside are not counted.

    Returns:
        The counts, in the dtype of `x` made float, and the `bins + 1` edges.

    Raises:
        ArgumentTypeError: `bins` is not an integer.
        ArgumentError: `bins` or `range` make no sense.
        ShapeError: `x` is not a vector.

    Example:
        >>> histogram([1.0, 2.0, 2.0], bins=2)
        (tensor([1., 2.]), tensor([1.0000, 1.5000, 2.0000]))
    """
    if not isinstance(bins, int):
        raise ArgumentTypeError(
            "The number of bins is no integer.",
            where="ops.histogram, bins",
            expected="an integer >= 0",
            received=repr(bins),
        )
    if bins < 0:
        raise ArgumentError(
            "The number of bins is negative.", where="ops.histogram, bins", expected="an integer >= 0", received=bins
        )
    if range and (not isinstance(range, tuple) or len(range) != 2 or range[1] < range[0]):
        raise ArgumentError(
            "The range cannot be used.",
            where="ops.histogram, range",
            expected="a tuple of the lower and the upper edge",
            received=repr(range),
        )
    x = as_float(x)
    if x.ndim > 1:
        raise ShapeError(
            "Only vectors have a histogram.",
            where="ops.histogram",
            expected="one axis",
            received=f"shape {tuple(x.shape)}",
            fix="ops.histogram(ops.ravel(x), ...)",
        )
    low, high = torch.aminmax(x) if not range else (x.new_tensor(range[0]), x.new_tensor(range[1]))
    same = low == high
    low, high = torch.where(same, low - 0.5, low), torch.where(same, high + 0.5, high)
    edges = low + (high - low) * (torch.arange(bins + 1, dtype=x.dtype, device=x.device) / bins)
    inside = (x >= low) & (x <= high)
    places = (torch.bucketize(x.contiguous(), edges, right=True) - 1).clamp(0, bins - 1)
    return torch.zeros(bins, dtype=x.dtype, device=x.device).scatter_add(0, places, inside.to(x.dtype)), edges


@op
def diff(a: TensorLike, n: int = 1, axis: int = -1) -> Tensor:
    """The differences between neighbours along an axis.

    Args:
        a: the values.
        n: how many times to take differences.
        axis: the axis.

    Example:
        >>> diff([1, 4, 9])
        tensor([3, 5], dtype=torch.int32)
    """
    return torch.diff(as_tensor(a), n, axis)


@op
def trapezoid(y: TensorLike, x: TensorLike | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The integral along an axis by the trapezoidal rule.

    Args:
        y: the values of the function.
        x: where it has them; by default `dx` apart.
        dx: the distance between neighbours.
        axis: the axis.

    Example:
        >>> trapezoid([1.0, 2.0, 3.0])
        tensor(4.)
    """
    if x is None:
        return torch.trapezoid(as_float(y), dx=dx, dim=axis)
    y = as_tensor(y)
    y, x = as_floats(as_float(y) if y.dtype is torch.bool else y, x)
    return torch.trapezoid(y, x, dim=axis)


@op(casts=True)
def corrcoef(x: TensorLike) -> Tensor:
    """The correlation coefficients between the rows of a matrix.

    Example:
        >>> corrcoef([[1.0, 2.0], [2.0, 1.0]])
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    x = as_wide_float(x)
    if x.ndim < 2:
        return torch.corrcoef(x)
    centered = x - torch.mean(x, -1, keepdim=True)
    covariance = centered @ centered.conj().mT
    spread = torch.sqrt(torch.diagonal(covariance).real)
    return torch.clamp(covariance / spread[:, None] / spread, -1, 1)


@op(casts=True)
def correlate(x1: TensorLike, x2: TensorLike, mode: str = "valid") -> Tensor:
    """The cross-correlation of two vectors.

    Args:
        x1: a vector.
        x2: a vector.
        mode: "valid" where both overlap fully, "full" wherever they overlap, "same" in the greater size.

    Raises:
        ArgumentError: the mode is not known.
        ShapeError: the arguments are not vectors.

    Example:
        >>> correlate([1.0, 2.0, 3.0], [1.0, 1.0])
        tensor([3., 5.])
    """
    one_of(mode, ("valid", "same", "full"), "ops.correlate, mode")
    common = result_type(kind_of(x1), kind_of(x2))
    dtype = torch.float64 if common == "int64" else torch_dtype(None if common == "bool" or "int" in common else common)
    x1, x2 = as_tensor(x1).to(dtype), as_tensor(x2).to(dtype)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(
            "Only vectors can be correlated.",
            where="ops.correlate",
            expected="one axis each",
            received=f"shapes {tuple(x1.shape)} and {tuple(x2.shape)}",
        )
    n, m = x1.shape[0], x2.shape[0]
    if unknown_stand_in() in (n, m):
        return x1.new_empty(unknown_stand_in() or 0)
    full = torch.nn.functional.conv1d(x1[None, None], x2.conj()[None, None], padding=m - 1)[0, 0]
    size = {"full": n + m - 1, "same": max(n, m), "valid": max(n, m) - min(n, m) + 1}[mode]
    start = {"full": 0, "same": (m - 1) // 2 if n >= m else n // 2, "valid": min(n, m) - 1}[mode]
    return full[start : start + size]


@op(symbolic=lambda x: KerasTensor((), "int32"))
def size(x: Any) -> Any:
    """The number of values, as an int; of a symbolic tensor, a symbolic one.

    Example:
        >>> size([[1, 2], [3, 4]])
        4
    """
    return math.prod(as_tensor(x).shape)


def ndim(x: Any) -> int:
    """The number of axes.

    Example:
        >>> ndim([[1, 2], [3, 4]])
        2
    """
    return x.ndim if isinstance(x, KerasTensor) else as_tensor(x).ndim
