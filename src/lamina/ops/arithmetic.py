"""Sums, products, powers and rounding, element by element.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import torch_dtype
from lamina.core.errors import DTypeError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import broadcast_shapes, op
from lamina.ops.operands import (
    TensorLike,
    as_common,
    as_float,
    as_floats,
    as_operands,
    as_tensor,
    as_tensors,
    as_wide_float,
    dtype_of,
    own_floats,
    without_booleans,
)


@op(shape=broadcast_shapes)
def add(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The sum, element by element.

    Example:
        >>> add([1, 2], 0.5)
        tensor([1.5000, 2.5000])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 + x2


@op(shape=broadcast_shapes)
def subtract(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The difference, element by element; booleans count as 0 and 1 beside numbers.

    Example:
        >>> subtract([1, 2], 3)
        tensor([-2, -1], dtype=torch.int32)
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    if getattr(x1, "dtype", None) is torch.bool or getattr(x2, "dtype", None) is torch.bool:
        x1, x2 = as_common(x1, x2)
    return x1 - x2


@op(shape=broadcast_shapes)
def multiply(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The product, element by element.

    Example:
        >>> multiply([1, 2], [3, 4])
        tensor([3, 8], dtype=torch.int32)
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return x1 * x2


@op(shape=broadcast_shapes)
def divide(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The quotient, element by element; always a float.

    Example:
        >>> divide([1, 2], 4)
        tensor([0.2500, 0.5000])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    if isinstance(x1, Tensor) and (x1.is_floating_point() or x1.is_complex()):
        return torch.true_divide(x1, x2)
    return torch.true_divide(x1, x2) if _is_inexact(x2) else torch.true_divide(as_float(x1), x2)


def _is_inexact(x: Any) -> bool:
    return isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())


@op(shape=broadcast_shapes)
def true_divide(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The quotient, element by element: `divide` by NumPy's other name."""
    return divide(x1, x2)


@op(shape=broadcast_shapes)
def divide_no_nan(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The quotient, element by element, and 0 where the divisor is 0.

    Example:
        >>> divide_no_nan([1.0, 2.0], [0.0, 4.0])
        tensor([0.0000, 0.5000])
    """
    x1, x2 = as_floats(x1, x2)
    zero = x2 == 0
    return torch.where(zero, 0, x1 / torch.where(zero, 1, x2))


@op(shape=broadcast_shapes)
def floor_divide(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The largest integer not above the quotient, element by element.

    Example:
        >>> floor_divide([7, -7], 2)
        tensor([ 3, -4], dtype=torch.int32)
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    x1, x2 = without_booleans(x1, x2)
    return torch.div(x1, x2, rounding_mode="floor")


@op(shape=broadcast_shapes)
def mod(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The remainder of the division, with the divisor's sign.

    Example:
        >>> mod([7, -7], 3)
        tensor([1, 2], dtype=torch.int32)
    """
    x1, x2 = without_booleans(*as_operands(x1, x2))
    return torch.remainder(x1, x2)


@op(shape=broadcast_shapes)
def fmod(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The remainder of the division, with the dividend's sign.

    Example:
        >>> fmod([7, -7], [3, 3])
        tensor([ 1, -1], dtype=torch.int32)
    """
    x1, x2 = without_booleans(*as_tensors(x1, x2))
    return torch.fmod(x1, x2)


@op(shape=broadcast_shapes)
def power(x1: TensorLike, x2: TensorLike) -> Tensor:
    """`x1` to the power `x2`, element by element.

    Example:
        >>> power([2.0, 3.0], 2)
        tensor([4., 9.])
    """
    if not (isinstance(x1, Tensor) and isinstance(x2, Tensor)):
        x1, x2 = as_operands(x1, x2)
    return torch.pow(*without_booleans(x1, x2))


@op
def negative(x: TensorLike) -> Tensor:
    """The values with their signs turned."""
    return torch.neg(x if isinstance(x, Tensor) else as_tensor(x))


@op
def absolute(x: TensorLike) -> Tensor:
    """The magnitude of each value.

    Example:
        >>> absolute([-1.5, 2.0])
        tensor([1.5000, 2.0000])
    """
    x = as_tensor(x)
    return x if x.dtype is torch.bool else torch.abs(x)


@op
def abs(x: TensorLike) -> Tensor:
    """The magnitude of each value: `absolute` by its short name."""
    return absolute(x)


@op
def fabs(x: TensorLike) -> Tensor:
    """The magnitude of each value, as a float.

    Raises:
        DTypeError: the values are complex.
    """
    x = as_float(x)
    if x.is_complex():
        raise DTypeError(
            "fabs takes real numbers.", where="ops.fabs", received=f"dtype {x.dtype}", fix="use absolute instead"
        )
    return torch.abs(x)


@op
def square(x: TensorLike) -> Tensor:
    """Each value times itself."""
    x = as_tensor(x)
    return torch.square(x.to(torch.int32) if x.dtype is torch.bool else x)


@op
def sqrt(x: TensorLike) -> Tensor:
    """The square root of each value.

    Example:
        >>> sqrt([4, 9])
        tensor([2., 3.])
    """
    return torch.sqrt(as_float(x))


@op
def rsqrt(x: TensorLike) -> Tensor:
    """One over the square root of each value.

    Example:
        >>> rsqrt([4.0, 16.0])
        tensor([0.5000, 0.2500])
    """
    return torch.rsqrt(as_float(x))


@op(casts=True)
def cbrt(x: TensorLike) -> Tensor:
    """The cube root of each value, negative ones included.

    Example:
        >>> cbrt([8.0, -27.0])
        tensor([ 2., -3.])
    """
    x = as_wide_float(x)
    return torch.sign(x) * torch.abs(x) ** (1 / 3)


@op
def reciprocal(x: TensorLike) -> Tensor:
    """One over each value.

    Example:
        >>> reciprocal([2.0, 4.0])
        tensor([0.5000, 0.2500])
    """
    return torch.reciprocal(as_float(x))


@op
def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1 by the sign of each value.

    Example:
        >>> sign([-3.0, 0.0, 2.0])
        tensor([-1.,  0.,  1.])
    """
    return torch.sign(as_tensor(x))


@op
def signbit(x: TensorLike) -> Tensor:
    """Whether the sign bit is set: true for negative values and -0.0."""
    return torch.signbit(as_tensor(x))


@op
def ceil(x: TensorLike) -> Tensor:
    """The smallest integer not below each value, as a float.

    Example:
        >>> ceil([1.2, -1.2])
        tensor([ 2., -1.])
    """
    return torch.ceil(as_float(x))


@op
def floor(x: TensorLike) -> Tensor:
    """The largest integer not above each value, as a float.

    Example:
        >>> floor([1.2, -1.2])
        tensor([ 1., -2.])
    """
    return torch.floor(as_float(x))


@op
def trunc(x: TensorLike) -> Tensor:
    """Each value without its decimals; integers and booleans stay as they are.

    Example:
        >>> trunc([1.8, -1.8])
        tensor([ 1., -1.])
    """
    x = as_tensor(x)
    return torch.trunc(x) if x.is_floating_point() else x


@op
def round(x: TensorLike, decimals: int = 0) -> Tensor:
    """Each value rounded, halves to the even neighbour.

    Args:
        x: the values.
        decimals: how many decimals stay; a negative number rounds to tens, hundreds, ...

    Example:
        >>> round([1.26, 2.5], decimals=1)
        tensor([1.3000, 2.5000])
    """
    x = as_tensor(x)
    if x.is_floating_point():
        return torch.round(x, decimals=decimals)
    return torch.round(as_float(x), decimals=decimals).to(torch.int32 if x.dtype is torch.bool else x.dtype)


@op(shape=broadcast_shapes)
def clip(x: TensorLike, x_min: TensorLike | None, x_max: TensorLike | None) -> Tensor:
    """Each value, but not below `x_min` and not above `x_max`.

    Args:
        x: the values.
        x_min: the least value, a number or something that broadcasts; None for no bound.
        x_max: the greatest value, in the same way.

    Example:
        >>> clip([1.0, 5.0, 9.0], 2.0, 6.0)
        tensor([2., 5., 6.])
    """
    x = as_tensor(x)
    if x.dtype is torch.bool:
        x = x.to(torch.int32)
    if isinstance(x_min, (int, float)) and isinstance(x_max, (int, float)):
        both_fit = x.is_floating_point() or (isinstance(x_min, int) and isinstance(x_max, int))
        return torch.clamp(x if both_fit else as_float(x), x_min, x_max)
    bounds = [None if bound is None else as_tensors(x, bound)[1] for bound in (x_min, x_max)]
    clipped = torch.clamp(x, *bounds)
    # Keras on torch keeps float16 beside wider bounds, and no other dtype.
    return clipped.to(x.dtype) if x.dtype is torch.float16 else clipped


@op(shape=broadcast_shapes)
def maximum(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The greater of both, element by element; NaN where either is NaN.

    Example:
        >>> maximum([1, 5], 3)
        tensor([3, 5], dtype=torch.int32)
    """
    x1, x2 = as_common(x1, x2)
    return torch.maximum(x1, x2)


@op(shape=broadcast_shapes)
def minimum(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The smaller of both, element by element; NaN where either is NaN.

    Example:
        >>> minimum([1, 5], 3)
        tensor([1, 3], dtype=torch.int32)
    """
    x1, x2 = as_common(x1, x2)
    return torch.minimum(x1, x2)


@op(shape=broadcast_shapes)
def fmax(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The greater of both, element by element; a number beside a NaN wins.

    Example:
        >>> fmax([1.0, float("nan")], [0.0, 2.0])
        tensor([1., 2.])
    """
    x1, x2 = as_common(x1, x2)
    return torch.fmax(x1, x2)


@op(shape=broadcast_shapes)
def fmin(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The smaller of both, element by element; a number beside a NaN wins.

    Example:
        >>> fmin([1.0, float("nan")], [0.0, 2.0])
        tensor([0., 2.])
    """
    x1, x2 = as_common(x1, x2)
    return torch.fmin(x1, x2)


@op(shape=broadcast_shapes)
def gcd(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The greatest common divisor of integers, element by element.

    Example:
        >>> gcd([12, 9], [18, 6])
        tensor([6, 3], dtype=torch.int32)
    """
    x1, x2 = as_tensors(x1, x2)
    return torch.gcd(x1, x2)


@op(shape=broadcast_shapes)
def lcm(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The least common multiple of integers, element by element.

    Example:
        >>> lcm([4, 3], [6, 5])
        tensor([12, 15], dtype=torch.int32)
    """
    x1, x2 = as_tensors(x1, x2)
    return torch.lcm(x1, x2)


@op(shape=broadcast_shapes)
def hypot(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The length of the hypotenuse over the legs `x1` and `x2`.

    Example:
        >>> hypot([3.0], [4.0])
        tensor([5.])
    """
    x1, x2 = own_floats(x1, x2)
    # Where both are 0, torch's gradient is NaN; this one is 0.
    corner = (x1 == 0) & (x2 == 0)
    return torch.hypot(torch.where(corner, 0, x1), torch.where(corner, 0, x2))


@op(shape=broadcast_shapes)
def heaviside(x1: TensorLike, x2: TensorLike) -> Tensor:
    """0 where `x1` is negative, 1 where it is positive, and `x2` where it is 0.

    Example:
        >>> heaviside([-1.0, 0.0, 2.0], [0.5])
        tensor([0.0000, 0.5000, 1.0000])
    """
    x1, x2 = as_common(as_tensor(x1), as_tensor(x2))
    if not (x1.is_floating_point() or x1.dtype is torch.bool):
        x1, x2 = as_float(x1), as_float(x2)
    # torch.heaviside has no gradient at all: a loss with one in it would fail.
    return torch.where(x1 == 0, x2, (x1 > 0).to(x1.dtype))


@op(shape=broadcast_shapes)
def nextafter(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The next float64 after `x1` in the direction of `x2`, rounded to the dtype of the arguments."""
    x1, x2 = own_floats(x1, x2)
    return torch.nextafter(x1.double(), x2.double()).to(x1.dtype)


@op(shape=broadcast_shapes)
def ldexp(x1: TensorLike, x2: TensorLike) -> Tensor:
    """`x1 * 2**x2`.

    Raises:
        DTypeError: `x2` does not hold integers.

    Example:
        >>> ldexp([0.5, 3.0], [2, 3])
        tensor([ 2., 24.])
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if x2.is_floating_point() or x2.is_complex() or x2.dtype is torch.bool:
        raise DTypeError(
            "The exponent is no integer.",
            where="ops.ldexp, x2",
            received=f"dtype {x2.dtype}",
            fix="x1 * 2**x2 takes floats as well",
        )
    return torch.ldexp(x1, x2).to(dtype_of(x1, x2, also=(float,)))


@op
def nan_to_num(x: TensorLike, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """The values, with numbers in the place of NaN and the infinities.

    Args:
        x: the values.
        nan: stands in for NaN.
        posinf: stands in for infinity; by default the greatest number of the dtype.
        neginf: stands in for minus infinity; by default the least number of the dtype.

    Example:
        >>> nan_to_num([1.0, float("nan")])
        tensor([1., 0.])
    """
    return torch.nan_to_num(as_tensor(x), nan=nan, posinf=posinf, neginf=neginf)


@op
def conjugate(x: TensorLike) -> Tensor:
    """The complex conjugate of each value."""
    return torch.conj(as_tensor(x)).resolve_conj()


@op
def conj(x: TensorLike) -> Tensor:
    """The complex conjugate of each value: `conjugate` by its short name."""
    return conjugate(x)


@op
def real(x: TensorLike) -> Tensor:
    """The real part of each value."""
    return torch.real(as_tensor(x))


@op
def imag(x: TensorLike) -> Tensor:
    """The imaginary part of each value; 0 for real numbers."""
    x = as_tensor(x)
    return torch.imag(x) if x.is_complex() else torch.zeros_like(x)


@op
def angle(x: TensorLike) -> Tensor:
    """The angle of each complex value, in radians.

    Example:
        >>> angle([1.0, -1.0])
        tensor([0.0000, 3.1416])
    """
    x = as_float(x)
    if x.dtype is torch.float16 or x.dtype is torch.bfloat16:
        return torch.angle(x.float()).to(x.dtype)
    return torch.angle(x)


@op(casts=True)
def deg2rad(x: TensorLike) -> Tensor:
    """Degrees to radians.

    Example:
        >>> deg2rad([180.0])
        tensor([3.1416])
    """
    return torch.deg2rad(as_wide_float(x))


@op(casts=True)
def rad2deg(x: TensorLike) -> Tensor:
    """Radians to degrees.

    Example:
        >>> rad2deg([0.0, 3.14159274])
        tensor([  0., 180.])
    """
    return torch.rad2deg(as_wide_float(x))


@op
def view_as_complex(x: TensorLike) -> Tensor:
    """Pairs of real numbers (the last axis, of size 2) as complex64 numbers.

    Raises:
        ShapeError: the last axis has another size.

    Example:
        >>> view_as_complex([[1.0, 2.0]])
        tensor([1.+2.j])
    """
    x = as_tensor(x)
    if x.ndim == 0 or x.shape[-1] not in (2, unknown_stand_in()):
        raise ShapeError(
            "Pairs of numbers are needed.",
            where="ops.view_as_complex",
            expected="shape (..., 2)",
            received=f"shape {tuple(x.shape)}",
        )
    return torch.complex(x[..., 0].float(), x[..., 1].float())


@op
def view_as_real(x: TensorLike) -> Tensor:
    """Complex numbers as pairs of real ones, on a new last axis of size 2."""
    x = as_tensor(x)
    return torch.view_as_real(x if x.is_complex() else x.to(torch_dtype("complex64")))


@op(shape=broadcast_shapes)
def polar(abs_: TensorLike, angle: TensorLike) -> Tensor:
    """The complex numbers of these lengths and angles.

    Args:
        abs_: the lengths.
        angle: the angles, in radians.

    Example:
        >>> polar([2.0], [0.0])
        tensor([2.+0.j])
    """
    length, turn = as_floats(abs_, angle)
    if length.dtype in (torch.float16, torch.bfloat16):  # which have no complex counterpart
        length, turn = length.float(), turn.float()
    return torch.complex(length * turn.cos(), length * turn.sin())
