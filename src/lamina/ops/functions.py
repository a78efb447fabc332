"""Exponentials, logarithms, trigonometric and special functions, element by element.

Integers and booleans give floats of dtype floatx. Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.graph.op import broadcast_shapes, op
from lamina.ops.operands import TensorLike, as_float, as_wide_float, own_floats


@op
def exp(x: TensorLike) -> Tensor:
    """The exponential of each value.

    Example:
        >>> exp([0.0, 1.0])
        tensor([1.0000, 2.7183])
    """
    return torch.exp(as_float(x))


@op
def exp2(x: TensorLike) -> Tensor:
    """2 to the power of each value.

    Example:
        >>> exp2([0.0, 3.0])
        tensor([1., 8.])
    """
    return torch.exp2(as_float(x))


@op
def expm1(x: TensorLike) -> Tensor:
    """The exponential of each value minus 1, exact near 0.

    Example:
        >>> expm1([0.0])
        tensor([0.])
    """
    return torch.expm1(as_float(x))


@op
def log(x: TensorLike) -> Tensor:
    """The natural logarithm of each value.

    Example:
        >>> log([1.0])
        tensor([0.])
    """
    return torch.log(as_float(x))


@op
def log10(x: TensorLike) -> Tensor:
    """The logarithm to base 10 of each value.

    Example:
        >>> log10([1.0, 100.0])
        tensor([0., 2.])
    """
    return torch.log10(as_float(x))


@op
def log1p(x: TensorLike) -> Tensor:
    """The natural logarithm of 1 plus each value, exact near 0.

    Example:
        >>> log1p([0.0])
        tensor([0.])
    """
    return torch.log1p(as_float(x))


@op
def log2(x: TensorLike) -> Tensor:
    """The logarithm to base 2 of each value.

    Example:
        >>> log2([1.0, 8.0])
        tensor([0., 3.])
    """
    return torch.log2(as_float(x))


@op
def sin(x: TensorLike) -> Tensor:
    """The sine of each angle, in radians.

    Example:
        >>> sin([0.0])
        tensor([0.])
    """
    return torch.sin(as_float(x))


@op
def cos(x: TensorLike) -> Tensor:
    """The cosine of each angle, in radians.

    Example:
        >>> cos([0.0])
        tensor([1.])
    """
    return torch.cos(as_float(x))


@op
def tan(x: TensorLike) -> Tensor:
    """The tangent of each angle, in radians.

    Example:
        >>> tan([0.0])
        tensor([0.])
    """
    return torch.tan(as_float(x))


@op
def arcsin(x: TensorLike) -> Tensor:
    """The angle, in radians, whose sine is each value.

    Example:
        >>> arcsin([0.0])
        tensor([0.])
    """
    return torch.asin(as_float(x))


@op
def arccos(x: TensorLike) -> Tensor:
    """The angle, in radians, whose cosine is each value.

    Example:
        >>> arccos([1.0])
        tensor([0.])
    """
    return torch.acos(as_float(x))


@op
def arctan(x: TensorLike) -> Tensor:
    """The angle, in radians, whose tangent is each value.

    Example:
        >>> arctan([0.0])
        tensor([0.])
    """
    return torch.atan(as_float(x))


@op
def sinh(x: TensorLike) -> Tensor:
    """The hyperbolic sine of each value.

    Example:
        >>> sinh([0.0])
        tensor([0.])
    """
    return torch.sinh(as_float(x))


@op
def cosh(x: TensorLike) -> Tensor:
    """The hyperbolic cosine of each value.

    Example:
        >>> cosh([0.0])
        tensor([1.])
    """
    return torch.cosh(as_float(x))


@op
def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent of each value.

    Example:
        >>> tanh([0.0])
        tensor([0.])
    """
    return torch.tanh(as_float(x))


@op
def arcsinh(x: TensorLike) -> Tensor:
    """The inverse hyperbolic sine of each value.

    Example:
        >>> arcsinh([0.0])
        tensor([0.])
    """
    return torch.asinh(as_float(x))


@op
def arccosh(x: TensorLike) -> Tensor:
    """The inverse hyperbolic cosine of each value.

    Example:
        >>> arccosh([1.0])
        tensor([0.])
    """
    return torch.acosh(as_float(x))


@op
def arctanh(x: TensorLike) -> Tensor:
    """The inverse hyperbolic tangent of each value.

    Example:
        >>> arctanh([0.0])
        tensor([0.])
    """
    return torch.atanh(as_float(x))


@op
def sinc(x: TensorLike) -> Tensor:
    """sin(pi x) / (pi x) for each value x, and 1 at 0.

    Example:
        >>> sinc([0.0])
        tensor([1.])
    """
    return torch.sinc(as_float(x))


@op(casts=True)
def i0(x: TensorLike) -> Tensor:
    """The modified Bessel function of the first kind, of order 0.

    Example:
        >>> i0([0.0])
        tensor([1.0000])
    """
    return torch.i0(as_wide_float(x))


@op
def erf(x: TensorLike) -> Tensor:
    """The error function of each value.

    Example:
        >>> erf([0.0])
        tensor([0.])
    """
    return torch.erf(as_float(x))


@op
def erfc(x: TensorLike) -> Tensor:
    """1 minus the error function of each value.

    Example:
        >>> erfc([0.0])
        tensor([1.])
    """
    return torch.erfc(as_float(x))


@op
def erfinv(x: TensorLike) -> Tensor:
    """The inverse of the error function.

    Example:
        >>> erfinv([0.0])
        tensor([0.])
    """
    return torch.erfinv(as_float(x))


@op(shape=broadcast_shapes)
def arctan2(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The angle, in radians, of the point (x2, x1), in its right quadrant.

    Example:
        >>> arctan2([1.0], [1.0])
        tensor([0.7854])
    """
    x1, x2 = own_floats(x1, x2)
    return torch.atan2(x1, x2)


@op(shape=broadcast_shapes)
def logaddexp(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The logarithm of exp(x1) + exp(x2), without overflow.

    Example:
        >>> logaddexp([0.0], [0.0])
        tensor([0.6931])
    """
    x1, x2 = own_floats(x1, x2)
    return torch.logaddexp(x1, x2)


@op(shape=broadcast_shapes)
def logaddexp2(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The logarithm to base 2 of 2**x1 + 2**x2, without overflow.

    Example:
        >>> logaddexp2([0.0], [0.0])
        tensor([1.])
    """
    x1, x2 = own_floats(x1, x2)
    return torch.logaddexp2(x1, x2)
