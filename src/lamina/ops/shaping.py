"""Tensors with the same values in another shape: reshaped, joined, split, repeated, padded, turned.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.dtypes import result_type, torch_dtype
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.infer import infer
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import (
    Axes,
    Axis,
    DType,
    Shape,
    TensorLike,
    all_tensors,
    as_tensor,
    axes_tuple,
    axis_of,
    indices_of,
    shape_of,
)


@op
def reshape(x: TensorLike, newshape: Shape) -> Tensor:
    """The values in another shape.

    Args:
        x: the values.
        newshape: the shape; one size may be -1 and follows from the others, None keeps the size at its place.

    Raises:
        ShapeError: the number of values does not fit.

    Example:
        >>> reshape([1, 2, 3, 4], (2, -1))
        tensor([[1, 2],
                [3, 4]], dtype=torch.int32)
    """
    x = as_tensor(x)
    sizes: Any = newshape if type(newshape) is tuple else shape_of(newshape)
    if None in sizes:
        sizes = tuple(x.shape[i] if size is None and i < x.ndim else size for i, size in enumerate(sizes))
    try:
        return torch.reshape(x, sizes)
    except (RuntimeError, TypeError) as error:
        if unknown_stand_in() in x.shape:
            known = max(math.prod(size for size in sizes if isinstance(size, int) and size != -1), 1)
            return x.new_empty([math.prod(x.shape) // known if size == -1 else size for size in sizes])
        raise ShapeError(
            "The values do not fit the new shape.",
            where="ops.reshape",
            expected=f"{math.prod(x.shape)} values, as in shape {tuple(x.shape)}",
            received=f"newshape {sizes}",
        ) from error


@op
def ravel(x: TensorLike) -> Tensor:
    """The values on a single axis."""
    return torch.ravel(as_tensor(x))


@op
def squeeze(x: TensorLike, axis: Axes = None) -> Tensor:
    """The tensor without axes of size 1.

    Args:
        x: the tensor.
        axis: the axis or axes to drop; None for all of size 1.

    Raises:
        ShapeError: an axis named has another size.

    Example:
        >>> squeeze([[[1, 2]]], axis=0)
        tensor([[1, 2]], dtype=torch.int32)
    """
    x = as_tensor(x)
    if axis is None:
        return torch.squeeze(x)
    axes = axes_tuple(axis, x.ndim)
    wrong = [a for a in axes if x.shape[a] not in (1, unknown_stand_in())]
    if wrong:
        raise ShapeError(
            "Only axes of size 1 can be dropped.",
            where=f"ops.squeeze, axis={axis}",
            expected="axes of size 1",
            received=f"shape {tuple(x.shape)}",
        )
    if any(x.shape[a] != 1 for a in axes):
        return x.new_empty([size for a, size in enumerate(x.shape) if a not in axes])
    return torch.squeeze(x, axes)


@op
def expand_dims(x: TensorLike, axis: int | Sequence[int]) -> Tensor:
    """The tensor with new axes of size 1.

    Args:
        x: the tensor.
        axis: where the new axes stand in the result.

    Example:
        >>> expand_dims([1, 2], -1)
        tensor([[1],
                [2]], dtype=torch.int32)
    """
    x = as_tensor(x)
    if isinstance(axis, int):
        return torch.unsqueeze(x, axis)
    for a in sorted(axes_tuple(axis, x.ndim + len(axis))):
        x = torch.unsqueeze(x, a)
    return x


@op
def broadcast_to(x: TensorLike, shape: Shape) -> Tensor:
    """The tensor repeated (without copying) to a shape it broadcasts to.

    Example:
        >>> broadcast_to([1, 2], (2, 2))
        tensor([[1, 2],
                [1, 2]], dtype=torch.int32)
    """
    x = as_tensor(x)
    return x.new_empty(shape_of(shape)) if unknown_stand_in() in x.shape else torch.broadcast_to(x, shape_of(shape))


def _agreed(specs: list[Any], axis: int | None, where: str) -> list[Any]:
    """The sizes of tensors that are equal but for one axis, known where any of them knows it."""
    sizes: list[Any] = list(specs[0].shape)
    for x in specs[1:]:
        fit = len(x.shape) == len(sizes) and all(
            a == axis or None in (known, size) or known == size
            for a, (known, size) in enumerate(zip(sizes, x.shape, strict=True))
        )
        if not fit:
            raise ShapeError(
                "The tensors differ in shape" + (f" outside axis {axis}." if axis is not None else "."),
                where=f"op {where}",
                expected="one shape for all" if axis is None else f"equal sizes on all axes but {axis}",
                received=", ".join(str(tuple(x.shape)) for x in specs),
            )
        sizes = [size if known is None else known for known, size in zip(sizes, x.shape, strict=True)]
    return sizes


def _specs(xs: Any) -> list[Any]:
    return [x if isinstance(x, KerasTensor) else as_tensor(x) for x in xs]


def _concatenate_spec(xs: Any, axis: Axis = 0) -> KerasTensor:
    """The symbolic result of `concatenate`."""
    specs = _specs(xs)
    dtype = result_type(*(x.dtype for x in specs))
    if axis is None:
        sizes: list[Any] = [None if None in x.shape else math.prod(x.shape) for x in specs]
        return KerasTensor((None if None in sizes else sum(sizes),), dtype)
    axis = axis_of(axis, len(specs[0].shape))
    shape = _agreed(specs, axis, "concatenate")
    sizes = [x.shape[axis] for x in specs]
    shape[axis] = None if None in sizes else sum(sizes)
    return KerasTensor(shape, dtype)


def _stack_spec(x: Any, axis: int = 0) -> KerasTensor:
    """The symbolic result of `stack`."""
    specs = _specs(x)
    shape = _agreed(specs, None, "stack")
    shape.insert(axis_of(axis, len(shape) + 1), len(specs))
    return KerasTensor(shape, result_type(*(x.dtype for x in specs)))


def _joined_spec(xs: Any, ndim: int) -> KerasTensor:
    """The symbolic result of `vstack` (2), `hstack` (1) or `dstack` (3), by the axes tensors have at least."""
    if isinstance(xs, KerasTensor):
        join = (torch.hstack, torch.vstack, torch.dstack)[ndim - 1]
        return infer(lambda rows: join(list(rows)), (xs,), {}, f"op {join.__name__}")
    specs = []
    for x in _specs(xs):
        sizes = (1, *x.shape) if ndim > 1 and len(x.shape) == 1 else tuple(x.shape)
        specs.append(KerasTensor((*sizes, *(1,) * (ndim - len(sizes))), x.dtype))
    return _concatenate_spec(specs, {2: 0, 3: 2}.get(ndim, min(len(specs[0].shape) - 1, 1)))


@op(symbolic=_concatenate_spec)
def concatenate(xs: Sequence[TensorLike] | TensorLike, axis: Axis = 0) -> Tensor:
    """Tensors joined along an axis that they have.

    Args:
        xs: tensors of equal shape but for the size of that axis.
        axis: the axis; None flattens the tensors first.

    Example:
        >>> concatenate([[1, 2], [3]])
        tensor([1, 2, 3], dtype=torch.int32)
    """
    tensors = _tensors(xs)
    if axis is None:
        return torch.cat([x.reshape(-1) for x in tensors])
    return torch.cat(tensors, axis)


def _tensors(xs: Any) -> Any:
    """Every element of a sequence (or row of a tensor) as a tensor; torch promotes tensors as Keras does."""
    dtype = None
    if (type(xs) is list or type(xs) is tuple) and xs:
        for x in xs:
            if not isinstance(x, Tensor):
                break
            if x.dtype is not dtype:
                if dtype is not None:
                    break
                dtype = x.dtype
        else:
            return xs
    return all_tensors(xs)


@op
def append(x1: TensorLike, x2: TensorLike, axis: Axis = None) -> Tensor:
    """`x2` joined to the end of `x1`.

    Args:
        x1: a tensor.
        x2: the tensor that follows.
        axis: the axis to join along; None flattens both first.

    Example:
        >>> append([1, 2], 3)
        tensor([1, 2, 3], dtype=torch.int32)
    """
    x1, x2 = all_tensors((x1, x2))
    return torch.cat((x1.reshape(-1), x2.reshape(-1))) if axis is None else torch.cat((x1, x2), axis)


@op(symbolic=_stack_spec)
def stack(x: Sequence[TensorLike] | TensorLike, axis: int = 0) -> Tensor:
    """Tensors of equal shape joined along a new axis.

    Args:
        x: the tensors.
        axis: where the new axis stands in the result.

    Example:
        >>> stack([[1, 2], [3, 4]], axis=1)
        tensor([[1, 3],
                [2, 4]], dtype=torch.int32)
    """
    return torch.stack(_tensors(x), axis)


@op(symbolic=lambda xs: _joined_spec(xs, 2))
def vstack(xs: Sequence[TensorLike] | TensorLike) -> Tensor:
    """Tensors joined along their first axis; vectors count as rows.

    Example:
        >>> vstack([[1, 2], [3, 4]]).shape
        torch.Size([2, 2])
    """
    return torch.vstack(_tensors(xs))


@op(symbolic=lambda xs: _joined_spec(xs, 1))
def hstack(xs: Sequence[TensorLike] | TensorLike) -> Tensor:
    """Tensors joined along their second axis; vectors along their only one.

    Example:
        >>> hstack([[1, 2], [3, 4]]).shape
        torch.Size([4])
    """
    return torch.hstack(_tensors(xs))


@op(symbolic=lambda xs: _joined_spec(xs, 3))
def dstack(xs: Sequence[TensorLike] | TensorLike) -> Tensor:
    """Tensors joined along their third axis, which is made where missing.

    Example:
        >>> dstack([[1, 2], [3, 4]]).shape
        torch.Size([1, 2, 2])
    """
    return torch.dstack(_tensors(xs))


@op
def split(x: TensorLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The tensor cut along an axis, as a list.

    Args:
        x: the tensor.
        indices_or_sections: how many equal parts, or the positions to cut at.
        axis: the axis.

    Raises:
        ShapeError: the axis cannot be cut into so many equal parts.

    Example:
        >>> split([1, 2, 3, 4], 2)
        [tensor([1, 2], dtype=torch.int32), tensor([3, 4], dtype=torch.int32)]
    """
    x, where = as_tensor(x), indices_of(indices_or_sections)
    size = x.shape[axis_of(axis, x.ndim)]
    if isinstance(where, int) and size % where and size != unknown_stand_in():
        raise ShapeError(
            f"An axis of size {size} cannot be cut into {where} equal parts.",
            where=f"ops.split, axis={axis}",
            received=f"shape {tuple(x.shape)}",
            fix="use ops.array_split for unequal parts",
        )
    return list(torch.tensor_split(x, where, axis))


@op
def array_split(x: TensorLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The tensor cut along an axis into parts of nearly equal size, as a list.

    Example:
        >>> array_split([1, 2, 3], 2)
        [tensor([1, 2], dtype=torch.int32), tensor([3], dtype=torch.int32)]
    """
    return list(torch.tensor_split(as_tensor(x), indices_of(indices_or_sections), axis))


@op
def hsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The tensor cut along its second axis (a vector along its only one), as a list."""
    x = as_tensor(x)
    return split(x, indices_or_sections, axis=1 if x.ndim > 1 else 0)


@op
def vsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The tensor cut along its first axis, as a list."""
    return split(x, indices_or_sections, axis=0)


@op
def dsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The tensor cut along its third axis, as a list."""
    return split(x, indices_or_sections, axis=2)


@op
def unstack(x: TensorLike, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The slices along an axis, as a list; the axis is gone from them.

    Args:
        x: the tensor.
        num: how many slices; only needed where the size of the axis is not known.
        axis: the axis.

    Example:
        >>> unstack([[1, 2], [3, 4]])
        [tensor([1, 2], dtype=torch.int32), tensor([3, 4], dtype=torch.int32)]
    """
    x = as_tensor(x)
    if x.shape[axis] == unknown_stand_in():
        if num is None:
            raise ShapeError(
                "The number of slices is not known.", where=f"ops.unstack, axis={axis}", fix="pass num=..."
            )
        return list(torch.narrow(x, axis, 0, num).unbind(axis))
    return list(x.unbind(axis))


@op
def tile(x: TensorLike, repeats: int | Sequence[int]) -> Tensor:
    """The tensor laid out several times along its axes.

    Args:
        x: the tensor.
        repeats: how often along each axis; fewer numbers stand for the last axes.

    Example:
        >>> tile([1, 2], 2)
        tensor([1, 2, 1, 2], dtype=torch.int32)
    """
    return torch.tile(as_tensor(x), shape_of(repeats))


@op
def repeat(x: TensorLike, repeats: int | Sequence[int] | Tensor, axis: Axis = None) -> Tensor:
    """Each element repeated in place.

    Args:
        x: the values.
        repeats: how often; one number, or one for each element along the axis.
        axis: the axis; None for the flattened tensor.

    Raises:
        ShapeError: there are more or fewer numbers than elements along the axis.

    Example:
        >>> repeat([1, 2], 2)
        tensor([1, 1, 2, 2], dtype=torch.int32)
    """
    x = as_tensor(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis_of(axis, x.ndim))
    counts = repeats if isinstance(repeats, Tensor) else shape_of(repeats)
    if len(counts) == 1 and not isinstance(counts, Tensor):
        sizes = list(x.shape)
        sizes[axis] = sizes[axis] * counts[0]
        return x.unsqueeze(axis + 1).expand(*x.shape[: axis + 1], counts[0], *x.shape[axis + 1 :]).reshape(sizes)
    if isinstance(counts, Tensor):
        return torch.repeat_interleave(x, counts.to(x.device), axis)
    if x.shape[axis] not in (len(counts), unknown_stand_in()):
        raise ShapeError(
            "There must be one count, or one for each element along the axis.",
            where="ops.repeat",
            expected=f"{x.shape[axis]} counts",
            received=len(counts),
        )
    index = np.repeat(np.arange(len(counts)), counts)
    return torch.index_select(x, axis, torch.tensor(index, device=x.device))


@op
def pad(x: TensorLike, pad_width: int | Sequence[Any], mode: str = "constant", constant_values: Any = None) -> Tensor:
    """The tensor with a border.

    Args:
        x: the tensor.
        pad_width: how wide: (before, after) for each axis, or one such pair or number for all.
        mode: what the border holds: "constant", or the values mirrored, "symmetric" with the edge and
            "reflect" without it.
        constant_values: the constant, 0 by default.

    Raises:
        ArgumentError: the mode is not known, or a constant is given with another mode.

    Example:
        >>> pad([1, 2], (1, 2))
        tensor([0, 1, 2, 0, 0], dtype=torch.int32)
    """
    x = as_tensor(x)
    widths = _pad_widths(pad_width, x.ndim)
    if mode == "constant":
        flat = [width for pair in reversed(widths) for width in pair]
        return torch.nn.functional.pad(x, flat, value=constant_values)
    one_of(mode, ("constant", "reflect", "symmetric"), "ops.pad, mode")
    if constant_values is not None:
        raise ArgumentError(
            "A constant goes with mode='constant' only.",
            where="ops.pad",
            received=f"mode={mode!r}",
            fix='mode="constant", or leave constant_values out',
        )
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = torch.index_select(x, axis, _mirror(x.shape[axis], before, after, mode == "symmetric", x.device))
    return x


def _pad_widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """(before, after) for each axis, from any of the spellings."""
    if isinstance(pad_width, (Tensor, np.ndarray)):
        pad_width = pad_width.tolist()
    rows = [pad_width] if isinstance(pad_width, int) or isinstance(pad_width[0], int) else list(pad_width)
    pairs = [(row, row) if isinstance(row, int) else (int(row[0]), int(row[-1])) for row in rows]
    if len(pairs) == 1:
        return pairs * ndim
    if len(pairs) != ndim:
        raise ArgumentError(
            "There is one pair for each axis.", where="ops.pad, pad_width", expected=f"{ndim} pairs", received=pad_width
        )
    return pairs


def _mirror(size: int, before: int, after: int, with_edge: bool, device: torch.device) -> Tensor:
    """The indices along an axis that is mirrored at both ends as often as needed."""
    places = torch.arange(-before, size + after, device=device)
    if with_edge:
        places = torch.remainder(places, 2 * size)
        return torch.where(places < size, places, 2 * size - 1 - places)
    period = max(2 * (size - 1), 1)
    places = torch.remainder(places, period)
    return torch.where(places < size, places, period - places)


@op(casts=True)
def meshgrid(*x: TensorLike, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of a grid whose axes hold the given values.

    Args:
        *x: the coordinates along each axis.
        indexing: "xy" (the first two axes exchanged, as in pictures) or "ij".

    Example:
        >>> meshgrid([1, 2], [3, 4])[0]
        tensor([[1, 2],
                [1, 2]], dtype=torch.int32)
    """
    one_of(indexing, ("xy", "ij"), "ops.meshgrid, indexing")
    vectors = [as_tensor(values).reshape(-1) for values in x]
    axes = list(range(len(vectors)))
    if indexing == "xy":
        axes[:2] = axes[:2][::-1]
    sizes = [len(vectors[axis]) for axis in axes]
    return [
        vector.reshape([-1 if a == axis else 1 for a in range(len(axes))]).expand(sizes)
        for vector, axis in zip(vectors, axes, strict=True)
    ]


@op(casts=True)
def view(x: TensorLike, dtype: DType = None) -> Tensor:
    """The same memory read as another dtype.

    Args:
        x: the tensor.
        dtype: the dtype; when its items are smaller or larger, the last axis grows or shrinks.

    Example:
        >>> view(torch.ones(1), "int32")
        tensor([1065353216], dtype=torch.int32)
    """
    x = as_tensor(x)
    return x.view(x.dtype if dtype is None else torch_dtype(dtype))


@op
def copy(x: TensorLike) -> Tensor:
    """A copy with memory of its own."""
    return torch.clone(as_tensor(x))
