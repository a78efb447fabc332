"""Comparisons, truth values, classification of floats, and bits.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.graph.op import broadcast_shapes, op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import TensorLike, as_common, as_operands, as_tensor, as_tensors, without_booleans


@op(shape=broadcast_shapes)
def equal(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether both are equal, element by element.

    Example:
        >>> equal([1, 2], 2)
        tensor([False,  True])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 == x2


@op(shape=broadcast_shapes)
def not_equal(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether both differ, element by element.

    Example:
        >>> not_equal([1, 2], 2)
        tensor([ True, False])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 != x2


@op(shape=broadcast_shapes)
def greater(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether `x1` is greater than `x2`, element by element.

    Example:
        >>> greater([1, 2, 3], 2)
        tensor([False, False,  True])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 > x2


@op(shape=broadcast_shapes)
def greater_equal(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether `x1` is at least `x2`, element by element.

    Example:
        >>> greater_equal([1, 2, 3], 2)
        tensor([False,  True,  True])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 >= x2


@op(shape=broadcast_shapes)
def less(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether `x1` is less than `x2`, element by element.

    Example:
        >>> less([1, 2, 3], 2)
        tensor([ True, False, False])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 < x2


@op(shape=broadcast_shapes)
def less_equal(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether `x1` is at most `x2`, element by element.

    Example:
        >>> less_equal([1, 2, 3], 2)
        tensor([ True,  True, False])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 <= x2


@op(shape=broadcast_shapes)
def logical_and(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether both are true (not 0), element by element.

    Example:
        >>> logical_and([True, True], [True, False])
        tensor([ True, False])
    """
    x1, x2 = as_tensors(x1, x2)
    return torch.logical_and(x1, x2)


@op(shape=broadcast_shapes)
def logical_or(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether at least one is true (not 0), element by element.

    Example:
        >>> logical_or([True, False], [False, False])
        tensor([ True, False])
    """
    x1, x2 = as_tensors(x1, x2)
    return torch.logical_or(x1, x2)


@op(shape=broadcast_shapes)
def logical_xor(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Whether exactly one is true (not 0), element by element.

    Example:
        >>> logical_xor([True, True], [True, False])
        tensor([False,  True])
    """
    x1, x2 = as_tensors(x1, x2)
    return torch.logical_xor(x1, x2)


@op
def logical_not(x: TensorLike) -> Tensor:
    """Whether each value is false (0).

    Example:
        >>> logical_not([True, False])
        tensor([False,  True])
    """
    return torch.logical_not(as_tensor(x))


@op
def isfinite(x: TensorLike) -> Tensor:
    """Whether each value is a finite number.

    Example:
        >>> isfinite([1.0, float("inf"), float("nan")])
        tensor([ True, False, False])
    """
    return torch.isfinite(as_tensor(x))


@op
def isinf(x: TensorLike) -> Tensor:
    """Whether each value is infinite, of either sign.

    Example:
        >>> isinf([1.0, float("inf"), float("nan")])
        tensor([False,  True, False])
    """
    return torch.isinf(as_tensor(x))


@op
def isnan(x: TensorLike) -> Tensor:
    """Whether each value is NaN.

    Example:
        >>> isnan([1.0, float("inf"), float("nan")])
        tensor([False, False,  True])
    """
    return torch.isnan(as_tensor(x))


@op
def isposinf(x: TensorLike) -> Tensor:
    """Whether each value is infinity.

    Example:
        >>> isposinf([1.0, float("inf"), float("nan")])
        tensor([False,  True, False])
    """
    return torch.isposinf(as_tensor(x))


@op
def isneginf(x: TensorLike) -> Tensor:
    """Whether each value is minus infinity.

    Example:
        >>> isneginf([1.0, float("inf"), float("nan")])
        tensor([False, False, False])
    """
    return torch.isneginf(as_tensor(x))


@op
def isreal(x: TensorLike) -> Tensor:
    """Whether each value has no imaginary part."""
    return torch.isreal(as_tensor(x))


@op(shape=broadcast_shapes)
def isclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| is at most `atol + rtol * |x2|`, element by element.

    Args:
        x1: values.
        x2: values to compare with.
        rtol: the relative tolerance.
        atol: the absolute tolerance.
        equal_nan: whether NaN is close to NaN.

    Example:
        >>> isclose([1.0, 2.0], [1.0, 2.1])
        tensor([ True, False])
    """
    x1, x2 = as_common(x1, x2)
    if x1.is_floating_point() or x1.is_complex():
        return torch.isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return torch.eq(x1, x2)


@op(symbolic=lambda *args, **kwargs: KerasTensor((), "bool"))
def allclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether all values are close, as `isclose` understands it; a 0-d tensor.

    Example:
        >>> allclose([1.0, 2.0], [1.0, 2.0000001])
        tensor(True)
    """
    return torch.all(isclose(x1, x2, rtol, atol, equal_nan))


@op
def isin(x1: TensorLike, x2: TensorLike, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each value of `x1` is among those of `x2`.

    Args:
        x1: the values asked about.
        x2: the values looked through, of any shape.
        assume_unique: whether both are known to hold no value twice, which is quicker.
        invert: whether to ask for the absent ones instead.

    Example:
        >>> isin([1, 2, 3], [2, 5])
        tensor([False,  True, False])
    """
    x1, x2 = as_common(x1, x2)
    if x1.dtype is torch.bool:
        x1, x2 = x1.to(torch.int32), x2.to(torch.int32)
    return torch.isin(x1, x2, assume_unique=assume_unique, invert=invert)


@op(shape=broadcast_shapes)
def bitwise_and(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits set in both.

    Example:
        >>> bitwise_and([12], [10])
        tensor([8], dtype=torch.int32)
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = as_operands(x, y)
    return x & y


@op(shape=broadcast_shapes)
def bitwise_or(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits set in at least one.

    Example:
        >>> bitwise_or([12], [10])
        tensor([14], dtype=torch.int32)
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = as_operands(x, y)
    return x | y


@op(shape=broadcast_shapes)
def bitwise_xor(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits set in exactly one.

    Example:
        >>> bitwise_xor([12], [10])
        tensor([6], dtype=torch.int32)
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = as_operands(x, y)
    return x ^ y


@op(shape=broadcast_shapes)
def bitwise_left_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits of `x` moved left by `y` places.

    Example:
        >>> bitwise_left_shift([1, 2], 3)
        tensor([ 8, 16], dtype=torch.int32)
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = as_operands(x, y)
    x, y = without_booleans(x, y)
    return x << y


@op(shape=broadcast_shapes)
def left_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits of `x` moved left by `y` places: `bitwise_left_shift` by its short name."""
    return bitwise_left_shift(x, y)


@op(shape=broadcast_shapes)
def bitwise_right_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits of `x` moved right by `y` places.

    Example:
        >>> bitwise_right_shift([8, 17], 3)
        tensor([1, 2], dtype=torch.int32)
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = as_operands(x, y)
    x, y = without_booleans(x, y)
    return x >> y


@op(shape=broadcast_shapes)
def right_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """The bits of `x` moved right by `y` places: `bitwise_right_shift` by its short name."""
    return bitwise_right_shift(x, y)


@op
def bitwise_not(x: TensorLike) -> Tensor:
    """Every bit turned.

    Example:
        >>> bitwise_not([0, 5])
        tensor([-1, -6], dtype=torch.int32)
    """
    return torch.bitwise_not(as_tensor(x))


@op
def bitwise_invert(x: TensorLike) -> Tensor:
    """Every bit turned: `bitwise_not` by NumPy's other name."""
    return bitwise_not(x)
