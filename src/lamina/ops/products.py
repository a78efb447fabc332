"""Products of matrices and tensors.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import result_type
from lamina.core.errors import ShapeError
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import (
    TensorLike,
    all_common,
    as_common,
    as_tensor,
    as_tensors,
    axis_of,
    broadcast_in,
    kind_of,
    small_int_sum_dtype,
)


def _spec(
    where: str, first: Any, second: Any, pairs: Sequence[tuple[int, int]], shape: Sequence[Any], dtype: str
) -> KerasTensor:
    """The symbolic result of a product: the shape found for it, once the axes that meet are seen to fit."""
    for axis1, axis2 in pairs:
        sizes = first.shape[axis1], second.shape[axis2]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ShapeError(
                f"Axis {axis1} of the first factor and axis {axis2} of the second differ in size.",
                where=f"op {where}",
                expected="equal sizes",
                received=f"shapes {tuple(first.shape)} and {tuple(second.shape)}",
            )
    return KerasTensor(tuple(shape), dtype)


def _common_dtype(*factors: Any, wide: bool = False) -> str:
    """The dtype of the lattice for tensors, symbolic or not, and numbers, which give way; int8 may become int32."""
    kinds = [kind_of(x) for x in factors]
    return "int32" if wide and all(kind in ("int8", torch.int8) for kind in kinds) else result_type(*kinds)


def _factor_specs(*factors: Any) -> list[Any]:
    """The factors with a shape and a dtype, symbolic or not."""
    return [x if isinstance(x, KerasTensor) else as_tensor(x) for x in factors]


def _matmul_spec(x1: Any, x2: Any) -> KerasTensor:
    """The symbolic result of `matmul`; a size that is not known fits any other."""
    dtype = _common_dtype(x1, x2, wide=True)
    x1, x2 = _factor_specs(x1, x2)
    if not x1.shape or not x2.shape:
        raise ShapeError(
            "A number is no matrix.",
            where="op matmul",
            expected="at least one axis on each side",
            received=f"shapes {x1.shape} and {x2.shape}",
            fix="multiply by numbers with *",
        )
    rows = x1.shape[-2:-1]
    columns = x2.shape[-1:] if len(x2.shape) > 1 else ()
    batch = broadcast_in("op matmul", tuple(x1.shape[:-2]), tuple(x2.shape[:-2]))
    return _spec("matmul", x1, x2, [(-1, -2 if len(x2.shape) > 1 else -1)], (*batch, *rows, *columns), dtype)


def _dot_spec(x1: Any, x2: Any) -> KerasTensor:
    """The symbolic result of `dot`."""
    dtype = _common_dtype(x1, x2)
    x1, x2 = _factor_specs(x1, x2)
    if not x1.shape or not x2.shape:
        return KerasTensor((*x1.shape, *x2.shape), dtype)
    meeting = -2 if len(x2.shape) > 1 else -1
    shape = (*x1.shape[:-1], *x2.shape[:meeting], *x2.shape[meeting:][1:])
    return _spec("dot", x1, x2, [(-1, meeting)], shape, dtype)


def _inner_spec(x1: Any, x2: Any) -> KerasTensor:
    """The symbolic result of `inner`."""
    dtype = _common_dtype(x1, x2)
    x1, x2 = _factor_specs(x1, x2)
    if not x1.shape or not x2.shape:
        return KerasTensor((*x1.shape, *x2.shape), dtype)
    return _spec("inner", x1, x2, [(-1, -1)], (*x1.shape[:-1], *x2.shape[:-1]), dtype)


def _tensordot_spec(x1: Any, x2: Any, axes: Any = 2) -> KerasTensor:
    """The symbolic result of `tensordot`."""
    dtype = _common_dtype(x1, x2)
    x1, x2 = _factor_specs(x1, x2)
    if isinstance(axes, int):
        axes = (range(len(x1.shape) - axes, len(x1.shape)), range(axes))
    axes = [(a,) if isinstance(a, int) else tuple(a) for a in axes]
    first, second = ([axis_of(a, len(x.shape)) for a in side] for x, side in zip((x1, x2), axes, strict=True))
    kept = [size for a, size in enumerate(x1.shape) if a not in first]
    kept += [size for a, size in enumerate(x2.shape) if a not in second]
    return _spec("tensordot", x1, x2, list(zip(first, second, strict=True)), kept, dtype)


def _cross_spec(
    x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> KerasTensor:
    """The symbolic result of `cross`; a size that is not known counts as 2."""
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    dtype = _common_dtype(x1, x2)
    rest, sizes = [], []
    for x, a in zip(_factor_specs(x1, x2), (axisa, axisb), strict=True):
        shape = list(x.shape)
        sizes.append(shape.pop(axis_of(a, len(shape))) if shape else 0)
        rest.append(tuple(shape))
    _check_vectors(sizes)
    result = list(broadcast_in("op cross", *rest))
    if 3 in sizes:
        result.insert(axis_of(axisc, len(result) + 1), 3)
    return KerasTensor(tuple(result), dtype)


def _check_vectors(sizes: Sequence[int | None]) -> None:
    if not set(sizes) <= {2, 3, None}:
        raise ShapeError(
            "Cross products are of vectors of size 2 or 3.",
            where="ops.cross",
            expected="2 or 3 numbers along the last axis",
            received=f"sizes {tuple(sizes)}",
        )


def _einsum_spec(subscripts: str, *operands: Any, **kwargs: Any) -> KerasTensor:
    """The symbolic result of `einsum`; a size that is not known fits any other."""
    dtype = _common_dtype(*operands, wide=True)
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms, factors = inputs.split(","), _factor_specs(*operands)
    sizes: dict[str, list[Any]] = {}
    middles: list[tuple[Any, ...]] = []
    if len(terms) != len(factors) or not set(output.replace("...", "")) <= set(inputs):
        raise ShapeError(
            "The equation does not fit the operands.",
            where="op einsum",
            expected=f"{len(factors)} terms with commas between, then '->' and letters of these",
            received=repr(subscripts),
        )
    for term, x in zip(terms, factors, strict=True):
        before, dots, after = term.partition("...")
        shape, letters = tuple(x.shape), before + after
        if len(letters) > len(shape) or (len(letters) < len(shape) and not dots):
            raise ShapeError(
                "The operand does not fit its term.", where="op einsum", expected=repr(term), received=f"shape {shape}"
            )
        split = len(shape) - len(after)
        middles.append(shape[len(before) : split])
        for letter, size in zip(letters, (*shape[: len(before)], *shape[split:]), strict=True):
            sizes.setdefault(letter, []).append(size)
    if not arrow:
        once = sorted(letter for letter in sizes if inputs.count(letter) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    before, _, after = output.partition("...")
    where = f"op einsum, {subscripts!r} of {', '.join(str(tuple(x.shape)) for x in factors)}"
    middle = broadcast_in(where, *middles) if "..." in output else ()
    known = {letter: broadcast_in(where, *((size,) for size in found))[0] for letter, found in sizes.items()}
    return KerasTensor((*(known[a] for a in before), *middle, *(known[a] for a in after)), dtype)


def _multipliable(x: Tensor) -> Tensor:
    """The tensor in a dtype that torch multiplies matrices in."""
    if x.dtype is torch.bool or (x.device.type == "cuda" and not (x.is_floating_point() or x.is_complex())):
        return x.to(torch.float32 if x.dtype is torch.bool else torch.float64)
    return x


def _factors(x1: TensorLike, x2: TensorLike) -> tuple[Tensor, Tensor, torch.dtype]:
    """Both factors ready for torch, and the dtype of the product."""
    if isinstance(x1, Tensor) and isinstance(x2, Tensor) and x1.dtype is x2.dtype and x1.is_floating_point():
        return x1, x2, x1.dtype
    x1, x2 = as_common(x1, x2)
    return _multipliable(x1), _multipliable(x2), x1.dtype


@op(symbolic=_matmul_spec)
def matmul(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The product of matrices; leading axes broadcast, int8 factors give int32.

    Args:
        x1: shape (..., n, k) or (k,).
        x2: shape (..., k, m) or (k,).

    Returns:
        The product, shape (..., n, m), without the axis that a vector lacks.

    Example:
        >>> matmul([[1, 2], [3, 4]], [1, 1])
        tensor([3, 7], dtype=torch.int32)
    """
    if isinstance(x1, Tensor) and isinstance(x2, Tensor) and x1.dtype is x2.dtype and x1.is_floating_point():
        return torch.matmul(x1, x2)
    x1, x2 = as_tensors(x1, x2)
    if x1.dtype is torch.int8 and x2.dtype is torch.int8:
        x1, x2 = x1.to(torch.int32), x2.to(torch.int32)
    x1, x2, dtype = _factors(x1, x2)
    return torch.matmul(x1, x2).to(dtype)


@op(symbolic=_dot_spec)
def dot(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The product over the last axis of `x1` and the last but one of `x2`.

    Args:
        x1: a tensor; with a 0-d one or a number, the result is the plain product.
        x2: a tensor likewise; a vector is summed over its only axis.

    Example:
        >>> dot([1.0, 2.0], [3.0, 4.0])
        tensor(11.)
    """
    x1, x2, dtype = _factors(x1, x2)
    if x1.ndim == 0 or x2.ndim == 0:
        return (x1 * x2).to(dtype)
    if x2.ndim <= 2:
        return torch.matmul(x1, x2).to(dtype)
    last: Any = ([-1], [-2])
    return torch.tensordot(x1, x2, last).to(dtype)


@op
def vdot(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The dot product of the flattened tensors, the first one conjugated.

    Example:
        >>> vdot([1.0, 2.0], [3.0, 4.0])
        tensor(11.)
    """
    x1, x2, dtype = _factors(x1, x2)
    return torch.vdot(x1.reshape(-1), x2.reshape(-1)).to(dtype)


@op(symbolic=_inner_spec)
def inner(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The sum of products over the last axes of both.

    Example:
        >>> inner([[1, 2], [3, 4]], [1, 1])
        tensor([3, 7], dtype=torch.int32)
    """
    x1, x2, dtype = _factors(x1, x2)
    return torch.inner(x1, x2).to(dtype)


@op
def outer(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The product of each value of one with each value of the other, both flattened.

    Example:
        >>> outer([1, 2], [3, 4])
        tensor([[3, 4],
                [6, 8]], dtype=torch.int32)
    """
    x1, x2 = as_common(x1, x2)
    return x1.reshape(-1, 1) * x2.reshape(-1)


@op
def kron(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The Kronecker product: `x2` once for each value of `x1`, times that value.

    Example:
        >>> kron([1, 10], [1, 2])
        tensor([ 1,  2, 10, 20], dtype=torch.int32)
    """
    x1, x2 = as_common(as_tensor(x1), as_tensor(x2))
    return torch.kron(x1, x2)


@op(symbolic=_tensordot_spec)
def tensordot(x1: TensorLike, x2: TensorLike, axes: int | Sequence[Any] = 2) -> Tensor:
    """The sum of products over several axes.

    Args:
        x1: a tensor.
        x2: a tensor.
        axes: how many axes, the last of `x1` and the first of `x2`; or two lists of axes.

    Example:
        >>> tensordot([[1, 2], [3, 4]], [[1, 0], [0, 1]], axes=1)
        tensor([[1, 2],
                [3, 4]], dtype=torch.int32)
    """
    x1, x2, dtype = _factors(x1, x2)
    if isinstance(axes, int):
        return torch.tensordot(x1, x2, axes).to(dtype)
    pair: Any = tuple([a] if isinstance(a, int) else list(a) for a in axes)
    return torch.tensordot(x1, x2, pair).to(dtype)


@op(symbolic=_einsum_spec)
def einsum(subscripts: str, *operands: TensorLike, **kwargs: Any) -> Tensor:
    """Sums of products in Einstein's notation; int8 operands give int32.

    Args:
        subscripts: the axes of each operand and of the result, e.g. "ij,jk->ik".
        *operands: the tensors.
        **kwargs: accepted for Keras; torch finds the order of the products itself.

    Example:
        >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
        tensor([3, 7], dtype=torch.int32)
    """
    first = operands[0]
    if isinstance(first, Tensor) and first.is_floating_point():
        dtype = first.dtype
        if all(isinstance(x, Tensor) and x.dtype is dtype for x in operands):
            return torch.einsum(subscripts, *operands)
    parts = all_common(operands)
    if all(getattr(x, "dtype", None) is torch.int8 for x in operands):
        parts = [x.to(torch.int32) for x in parts]
    return torch.einsum(subscripts, *map(_multipliable, parts)).to(parts[0].dtype)


@op(symbolic=_cross_spec)
def cross(
    x1: TensorLike, x2: TensorLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tensor:
    """The cross product of vectors of size 2 or 3.

    Args:
        x1: vectors along an axis.
        x2: vectors along an axis; the other axes broadcast.
        axisa: the axis of `x1`.
        axisb: the axis of `x2`.
        axisc: the axis of the result; two vectors of size 2 give numbers instead.
        axis: one value for all three.

    Raises:
        ShapeError: the vectors have another size.

    Example:
        >>> cross([1, 0, 0], [0, 1, 0])
        tensor([0, 0, 1], dtype=torch.int32)
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    x1, x2 = as_common(x1, x2)
    x1, x2 = torch.movedim(x1, axisa, -1), torch.movedim(x2, axisb, -1)
    _check_vectors((x1.shape[-1], x2.shape[-1]))
    if x1.shape[-1] == x2.shape[-1] == 2:
        return x1[..., 0] * x2[..., 1] - x1[..., 1] * x2[..., 0]
    x1, x2 = (torch.nn.functional.pad(x, (0, 3 - x.shape[-1])) for x in (x1, x2))
    x1, x2 = torch.broadcast_tensors(x1, x2)
    return torch.movedim(torch.linalg.cross(x1, x2), -1, axisc)


@op(casts=True)
def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum over a diagonal of the matrices that two axes span.

    Args:
        x: a tensor of rank 2 or more.
        offset: which diagonal.
        axis1: the axis of the rows.
        axis2: the axis of the columns.

    Example:
        >>> trace([[1, 2], [3, 4]])
        tensor(5, dtype=torch.int32)
    """
    x = as_tensor(x)
    axis_of(axis1, x.ndim)
    target = small_int_sum_dtype(x.dtype)
    return torch.sum(torch.diagonal(x.to(target), offset, axis1, axis2), -1, dtype=target)
