"""Tensors made from sizes: filled, counted up, spaced, triangular; window functions.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.signal import windows

from lamina.core.dtypes import result_type, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError
from lamina.core.tensors import convert_to_tensor, default_device
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import (
    DType,
    Shape,
    TensorLike,
    all_common,
    as_tensor,
    axis_of,
    broadcast_in,
    dtype_of,
    kind_of,
    shape_of,
)


def zeros(shape: Shape, dtype: DType = None) -> Tensor:
    """A tensor of zeros.

    Args:
        shape: its shape.
        dtype: its dtype, floatx by default.

    Example:
        >>> zeros((2,))
        tensor([0., 0.])
    """
    return torch.zeros(shape_of(shape), dtype=torch_dtype(dtype), device=default_device())


def ones(shape: Shape, dtype: DType = None) -> Tensor:
    """A tensor of ones.

    Args:
        shape: its shape.
        dtype: its dtype, floatx by default.

    Example:
        >>> ones((2,), dtype="int32")
        tensor([1, 1], dtype=torch.int32)
    """
    return torch.ones(shape_of(shape), dtype=torch_dtype(dtype), device=default_device())


def empty(shape: Shape, dtype: DType = None) -> Tensor:
    """A tensor whose values are whatever its memory held.

    Args:
        shape: its shape.
        dtype: its dtype, floatx by default.
    """
    return torch.empty(shape_of(shape), dtype=torch_dtype(dtype), device=default_device())


def _full_spec(shape: Shape, fill_value: Any, dtype: DType = None) -> KerasTensor:
    return KerasTensor(shape_of(shape), torch_dtype(dtype))


@op(symbolic=_full_spec)
def full(shape: Shape, fill_value: TensorLike, dtype: DType = None) -> Tensor:
    """A tensor filled with one value, or with a tensor that broadcasts.

    Args:
        shape: its shape.
        fill_value: the value.
        dtype: its dtype, floatx by default.

    Example:
        >>> full((2,), 3.0)
        tensor([3., 3.])
    """
    sizes = shape_of(shape)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full(sizes, fill_value, dtype=torch_dtype(dtype), device=default_device())
    return convert_to_tensor(fill_value, torch_dtype(dtype)).expand(sizes).clone()


@op
def zeros_like(x: TensorLike, dtype: DType = None) -> Tensor:
    """Zeros in the shape and dtype of `x`, unless a dtype is given."""
    return torch.zeros_like(as_tensor(x), dtype=None if dtype is None else torch_dtype(dtype))


@op
def ones_like(x: TensorLike, dtype: DType = None) -> Tensor:
    """Ones in the shape and dtype of `x`, unless a dtype is given."""
    return torch.ones_like(as_tensor(x), dtype=None if dtype is None else torch_dtype(dtype))


@op
def empty_like(x: TensorLike, dtype: DType = None) -> Tensor:
    """A tensor in the shape and dtype of `x`, whose values are whatever its memory held."""
    return torch.empty_like(as_tensor(x), dtype=None if dtype is None else torch_dtype(dtype))


@op
def full_like(x: TensorLike, fill_value: TensorLike, dtype: DType = None) -> Tensor:
    """A value in the shape and dtype of `x`, unless a dtype is given.

    Example:
        >>> full_like([1.0, 2.0], 5)
        tensor([5., 5.])
    """
    x = as_tensor(x)
    target = x.dtype if dtype is None else torch_dtype(dtype)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full_like(x, fill_value, dtype=target)
    return convert_to_tensor(fill_value, target, x.device).expand(x.shape).clone()


@op
def array(x: TensorLike, dtype: DType = None) -> Tensor:
    """Anything array-like as a tensor.

    Example:
        >>> array([1, 2], dtype="float32")
        tensor([1., 2.])
    """
    return convert_to_tensor(x, dtype)


@op
def arange(start: Any, stop: Any = None, step: Any = None, dtype: DType = None) -> Tensor:
    """Numbers from `start` up to, not including, `stop`.

    Args:
        start: the first number; the end, starting at 0, when it is the only argument.
        stop: the end.
        step: the distance, 1 by default.
        dtype: the dtype; that of the arguments by default.

    Example:
        >>> arange(3), arange(1.0, 2.0, 0.5)
        (tensor([0, 1, 2], dtype=torch.int32), tensor([1.0000, 1.5000]))
    """
    given = [number for number in (start, stop, step) if number is not None]
    target = dtype_of(*given) if dtype is None else torch_dtype(dtype)
    if stop is None:
        start, stop = 0, start
    return torch.arange(start, stop, 1 if step is None else step, dtype=target, device=default_device())


def _spaced_spec(where: str, start: Any, stop: Any, num: int, dtype: DType, axis: int) -> KerasTensor:
    """The symbolic result of `linspace` and its relatives; a size that is not known fits any other."""
    shapes = [tuple((x if isinstance(x, KerasTensor) else as_tensor(x)).shape) for x in (start, stop)]
    sizes = list(broadcast_in(f"op {where}", *shapes))
    sizes.insert(axis_of(axis, len(sizes) + 1), num)
    return KerasTensor(sizes, result_type(kind_of(start), kind_of(stop), float) if dtype is None else dtype)


def _linspace_spec(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DType = None,
    axis: int = 0,
) -> Any:
    values = _spaced_spec("linspace", start, stop, num, dtype, axis)
    step = _spaced_spec("linspace", start, stop, 1, None, 0)
    return (values, KerasTensor(step.shape[1:], step.dtype)) if retstep else values


def _logspace_spec(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: DType = None, axis: int = 0
) -> KerasTensor:
    return _spaced_spec("logspace", start, stop, num, dtype, axis)


def _geomspace_spec(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: DType = None, axis: int = 0
) -> KerasTensor:
    return _spaced_spec("geomspace", start, stop, num, dtype, axis)


@op(symbolic=_linspace_spec)
def linspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DType = None,
    axis: int = 0,
) -> Any:
    """Evenly spaced numbers.

    Args:
        start: the first number; tensors broadcast with `stop` and give a new axis.
        stop: the last one.
        num: how many.
        endpoint: whether `stop` is among them.
        retstep: whether to return the distance too.
        dtype: the dtype; a float by default.
        axis: where the new axis stands.

    Example:
        >>> linspace(0.0, 1.0, 3)
        tensor([0.0000, 0.5000, 1.0000])
    """
    first, last = all_common((start, stop), float)
    parts = num - 1 if endpoint else num
    step = (last - first) / parts if parts > 0 else torch.full_like(last - first, torch.nan)
    if first.ndim == 0 and last.ndim == 0 and num > 0 and not (first.is_complex() or _need_gradient(first, last)):
        end = last if endpoint else last - step
        values = torch.linspace(first, end, num, dtype=first.dtype, device=first.device)
    else:
        first, last = torch.broadcast_tensors(first, last)
        places = torch.arange(num, dtype=first.dtype, device=first.device).reshape(-1, *(1,) * first.ndim)
        fractions = places / parts if parts > 0 else places
        values = torch.movedim(torch.lerp(first, last, fractions) if num else first.expand(0, *first.shape), 0, axis)
    values = values if dtype is None else values.to(torch_dtype(dtype))
    return (values, step) if retstep else values


def _need_gradient(*xs: Tensor) -> bool:
    return any(x.requires_grad for x in xs)


@op(symbolic=_logspace_spec)
def logspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    base: TensorLike = 10,
    dtype: DType = None,
    axis: int = 0,
) -> Tensor:
    """Powers of `base` with evenly spaced exponents.

    Args:
        start: the first exponent.
        stop: the last exponent.
        num: how many.
        endpoint: whether the last power is among them.
        base: the base.
        dtype: the dtype; a float by default.
        axis: where the new axis stands when `start` or `stop` are tensors.

    Example:
        >>> logspace(0, 2, 3)
        tensor([  1.,  10., 100.])
    """
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    values = torch.pow(as_tensor(base).to(exponents.dtype), exponents)
    return values if dtype is None else values.to(torch_dtype(dtype))


@op(symbolic=_geomspace_spec)
def geomspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DType = None,
    axis: int = 0,
) -> Tensor:
    """Numbers of which each is the same multiple of the one before.

    Args:
        start: the first number, not 0.
        stop: the last number, of the same sign.
        num: how many.
        endpoint: whether `stop` is among them.
        dtype: the dtype; a float by default.
        axis: where the new axis stands when `start` or `stop` are tensors.

    Example:
        >>> geomspace(1, 100, 3)
        tensor([  1.,  10., 100.])
    """
    first, last = all_common((start, stop), float)
    exponents = linspace(torch.log10(torch.abs(first)), torch.log10(torch.abs(last)), num, endpoint, axis=axis)
    sign = torch.sign(first.expand(torch.broadcast_shapes(first.shape, last.shape))).unsqueeze(axis)
    values = torch.pow(10.0, exponents) * (sign if exponents.ndim > 1 else torch.sign(first))
    return values if dtype is None else values.to(torch_dtype(dtype))


def eye(N: int, M: int | None = None, k: int = 0, dtype: DType = None) -> Tensor:
    """A matrix with ones on a diagonal and zeros elsewhere.

    Args:
        N: the number of rows.
        M: the number of columns, `N` by default.
        k: which diagonal: above the main one when positive, below when negative.
        dtype: its dtype, floatx by default.

    Example:
        >>> eye(2, 3, k=1)
        tensor([[0., 1., 0.],
                [0., 0., 1.]])
    """
    if not isinstance(N, int) or not (M is None or isinstance(M, int)):
        raise ArgumentTypeError(
            "The number of rows or columns is no integer.",
            where="ops.eye",
            expected="ops.eye(rows) or ops.eye(rows, columns)",
            received=(N, M),
        )
    columns = N if M is None else M
    target, device = torch_dtype(dtype), default_device()
    if not k:
        return torch.eye(N, columns, dtype=target, device=device)
    rows = torch.arange(N, device=device)[:, None] + k
    return (rows == torch.arange(columns, device=device)).to(target)


def identity(n: int, dtype: DType = None) -> Tensor:
    """The square matrix with ones on its main diagonal and zeros elsewhere."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DType = None) -> Tensor:
    """A matrix with ones on and below a diagonal and zeros elsewhere.

    Args:
        N: the number of rows.
        M: the number of columns, `N` by default.
        k: which diagonal.
        dtype: its dtype, floatx by default.

    Example:
        >>> tri(2, 3)
        tensor([[1., 0., 0.],
                [1., 1., 0.]])
    """
    return torch.tril(ones((N, N if M is None else M), dtype), k)


@op
def vander(x: TensorLike, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix whose columns are powers of a vector.

    Args:
        x: a vector.
        N: how many columns, the length of the vector by default.
        increasing: whether the powers grow from left to right.

    Example:
        >>> vander([1, 2, 3], 2)
        tensor([[1, 1],
                [2, 1],
                [3, 1]], dtype=torch.int32)
    """
    x = as_tensor(x)
    columns = x.shape[0] if N is None else N
    powers = torch.arange(columns, device=x.device)
    return torch.pow(x[:, None], powers if increasing else torch.flip(powers, (0,))).to(x.dtype)


def _window(name: str, x: Any, **options: float) -> Tensor:
    """A symmetric window of torch's, of a length given as a number or a 0-d tensor."""
    if isinstance(x, KerasTensor):
        raise ArgumentTypeError(
            "The length of a window is a symbolic tensor.", where=f"ops.{name}", expected="a number", received=x
        )
    length = int(x)
    if length < 0:
        raise ArgumentError(
            "The length of a window is negative.", where=f"ops.{name}", expected="at least 0", received=length
        )
    function = getattr(windows, "hann" if name == "hanning" else name)
    return function(length, **options, dtype=torch_dtype(None), device=default_device())


def bartlett(x: TensorLike) -> Tensor:
    """A triangular window of `x` points.

    Example:
        >>> bartlett(5)
        tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return _window("bartlett", x)


def blackman(x: TensorLike) -> Tensor:
    """A Blackman window of `x` points: a sum of three cosines."""
    return _window("blackman", x)


def hamming(x: TensorLike) -> Tensor:
    """A Hamming window of `x` points: a raised cosine.

    Example:
        >>> hamming(3)
        tensor([0.0800, 1.0000, 0.0800])
    """
    return _window("hamming", x)


def hanning(x: TensorLike) -> Tensor:
    """A Hann window of `x` points: a cosine raised to end in 0.

    Example:
        >>> hanning(3)
        tensor([0., 1., 0.])
    """
    return _window("hanning", x)


def kaiser(x: TensorLike, beta: float) -> Tensor:
    """A Kaiser window of `x` points; the greater `beta`, the narrower."""
    return _window("kaiser", x, beta=float(beta))
