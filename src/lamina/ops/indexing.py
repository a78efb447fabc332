"""Values picked by position, by condition or in order; diagonals and triangles.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import result_type
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph import op as graph_op
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import (
    Axis,
    Shape,
    TensorLike,
    as_common,
    as_index,
    as_operands,
    as_tensor,
    axis_of,
    broadcast_in,
    shape_of,
)

get_item = graph_op.get_item

_ALL = slice(None)
_INDICES = frozenset({torch.int32, torch.int64})


def _positions(condition: Any) -> tuple[KerasTensor, ...]:
    """The symbolic result of a search for true values: their number is not known."""
    return tuple(KerasTensor((None,), "int32") for _ in condition.shape)


@op(symbolic=lambda x: _positions(x))
def nonzero(x: TensorLike) -> tuple[Tensor, ...]:
    """Where the values are not 0: the indices (int32) along each axis of `x`.

    Example:
        >>> nonzero([[0, 1], [2, 0]])
        (tensor([0, 1], dtype=torch.int32), tensor([1, 0], dtype=torch.int32))
    """
    return torch.nonzero(as_tensor(x)).to(torch.int32).unbind(-1)


def _where_spec(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """The symbolic result of `where`."""
    if x1 is None or x2 is None:
        return _positions(condition)
    parts = [x if isinstance(x, (KerasTensor, bool, int, float)) else as_tensor(x) for x in (condition, x1, x2)]
    shape = broadcast_in("op where", *(tuple(getattr(x, "shape", ())) for x in parts))
    return KerasTensor(shape, result_type(*(getattr(x, "dtype", type(x)) for x in parts[1:])))


@op(symbolic=_where_spec)
def where(condition: TensorLike, x1: TensorLike | None = None, x2: TensorLike | None = None) -> Any:
    """`x1` where the condition holds and `x2` elsewhere; or, without these, the positions where it holds.

    Args:
        condition: booleans.
        x1: values that broadcast with the condition.
        x2: values likewise.

    Raises:
        ArgumentError: only one of `x1` and `x2` is given.

    Example:
        >>> where([True, False], [1, 2], 0)
        tensor([1, 0], dtype=torch.int32)
    """
    condition = as_tensor(condition)
    if x1 is None and x2 is None:
        return nonzero(condition)
    if x1 is None or x2 is None:
        raise ArgumentError(
            "One of x1 and x2 is missing.",
            where="ops.where",
            fix="ops.where(condition, x1, x2), or ops.where(condition) for the places",
        )
    if condition.dtype is not torch.bool:
        condition = condition.to(torch.bool)
    first, second = as_operands(x1, x2)
    return torch.where(condition, first, second)


@op
def select(condlist: Sequence[TensorLike], choicelist: Sequence[TensorLike], default: TensorLike = 0) -> Tensor:
    """For each element the choice that belongs to the first condition that holds.

    Args:
        condlist: conditions.
        choicelist: as many choices.
        default: the value where none holds.

    Example:
        >>> select([[True, False], [True, True]], [[1, 2], [3, 4]])
        tensor([1, 4], dtype=torch.int32)
    """
    if len(condlist) != len(choicelist):
        raise ArgumentError(
            "There is one choice for each condition.",
            where="ops.select",
            expected=f"{len(condlist)} choices",
            received=len(choicelist),
        )
    result: Any = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = where(condition, choice, result)
    return result


@op
def take(x: TensorLike, indices: TensorLike, axis: Axis = None) -> Tensor:
    """Slices along an axis, picked by index.

    Args:
        x: the tensor.
        indices: integers of any shape, which takes the place of the axis; negative ones count from the end.
        axis: the axis; None for the flattened tensor.

    Example:
        >>> take([10, 20, 30], [0, -1])
        tensor([10, 30], dtype=torch.int32)
    """
    x = as_tensor(x)
    index = indices if isinstance(indices, Tensor) else as_tensor(indices)
    if index.dtype not in _INDICES:
        index = index.long()
    if axis == 0:
        if x.requires_grad and x.ndim == 2:
            # The gradient of an embedding is much faster than that of an index.
            return torch.nn.functional.embedding(as_index(index, x.shape[0]), x)
        return x[index]
    return x.reshape(-1)[index] if axis is None else x[(_ALL,) * axis_of(axis, x.ndim) + (index,)]


def _along_spec(x: Any, indices: Any, axis: Axis = None) -> KerasTensor:
    """The symbolic result of `take_along_axis`."""
    x, indices = (part if isinstance(part, KerasTensor) else as_tensor(part) for part in (x, indices))
    sizes = list(indices.shape)
    if axis is None:
        return KerasTensor((None if None in sizes else math.prod(sizes),), x.dtype)
    if len(sizes) != len(x.shape):
        raise ShapeError(
            "The indices have another number of axes than the tensor.",
            where="op take_along_axis",
            expected=f"indices of {len(x.shape)} axes",
            received=f"shapes {tuple(x.shape)} and {tuple(sizes)}",
        )
    axis = axis_of(axis, len(sizes))
    rest = [tuple(size for a, size in enumerate(part.shape) if a != axis) for part in (x, indices)]
    shape = list(broadcast_in("op take_along_axis", *rest))
    shape.insert(axis, sizes[axis])
    return KerasTensor(shape, x.dtype)


@op(symbolic=_along_spec)
def take_along_axis(x: TensorLike, indices: TensorLike, axis: Axis = None) -> Tensor:
    """For each slice along an axis, the elements that the matching slice of indices picks.

    Args:
        x: the tensor.
        indices: integers that broadcast with `x` but for the axis; negative ones count from the end.
        axis: the axis; None for the flattened tensor.

    Example:
        >>> take_along_axis([[1, 2], [3, 4]], [[1], [0]], axis=1)
        tensor([[2],
                [3]], dtype=torch.int32)
    """
    x = as_tensor(x)
    if axis is None:
        x = x.reshape(-1)
        return torch.take_along_dim(x, as_index(indices, x.shape[0]).reshape(-1), 0)
    return torch.take_along_dim(x, as_index(indices, x.shape[axis]), axis)


@op
def sort(x: TensorLike, axis: Axis = -1) -> Tensor:
    """The values along an axis in ascending order.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.

    Example:
        >>> sort([3, 1, 2])
        tensor([1, 2, 3], dtype=torch.int32)
    """
    x = as_tensor(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis_of(axis, x.ndim))
    return torch.sort(x, dim=axis).values


@op
def argsort(x: TensorLike, axis: Axis = -1) -> Tensor:
    """The indices (int32) that put the values along an axis in ascending order; equal values keep theirs.

    Args:
        x: the values.
        axis: the axis; None for the flattened tensor.

    Example:
        >>> argsort([3, 1, 2])
        tensor([1, 2, 0], dtype=torch.int32)
    """
    x = as_tensor(x)
    x = x.to(torch.uint8) if x.dtype is torch.bool else x
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis_of(axis, x.ndim))
    return torch.argsort(x, dim=axis, stable=True).to(torch.int32)


@op
def argpartition(x: TensorLike, kth: int, axis: Axis = -1) -> Tensor:
    """Indices (int32) along an axis that put the `kth` smallest value in its place, smaller ones before it.

    Example:
        >>> argpartition([3, 1, 2], 1)[1]
        tensor(2, dtype=torch.int32)
    """
    x = as_tensor(x)
    size = x.numel() if axis is None else x.shape[axis]
    axis_of(kth, size)
    return argsort(x, axis)


@op
def top_k(x: TensorLike, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The `k` greatest values along the last axis, and their indices (int32).

    Args:
        x: the values.
        k: how many.
        sorted: whether they come in descending order.

    Example:
        >>> top_k([1, 5, 3], 2)
        (tensor([5, 3], dtype=torch.int32), tensor([1, 2], dtype=torch.int32))
    """
    x = as_tensor(x)
    values, indices = torch.topk(_ordered(x), k, sorted=sorted)
    return values.to(x.dtype), indices.to(torch.int32)


def _ordered(x: Tensor) -> Tensor:
    """The tensor in a dtype that torch sorts in."""
    return x.to(torch.uint8) if x.dtype is torch.bool else x


@op
def in_top_k(targets: TensorLike, predictions: TensorLike, k: int) -> Tensor:
    """Whether the prediction for each target is among the `k` greatest of its row.

    Args:
        targets: class indices, shape (batch,).
        predictions: scores, shape (batch, classes).
        k: how many places count; scores equal to the last one count too.

    Example:
        >>> in_top_k([2, 0], [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]], k=2)
        tensor([ True, False])
    """
    index, scores = as_tensor(targets).long(), _ordered(as_tensor(predictions))
    least = torch.topk(scores, k).values[..., -1]
    return torch.take_along_dim(scores, index[..., None], -1)[..., 0] >= least


@op
def searchsorted(sorted_sequence: TensorLike, values: TensorLike, side: str = "left") -> Tensor:
    """Where values would have to stand in an ascending vector, as int32.

    Args:
        sorted_sequence: the vector.
        values: the values.
        side: "left" for before equal values, "right" for after them.

    Raises:
        ShapeError: the sequence is not a vector.

    Example:
        >>> searchsorted([1, 3, 5], [3, 4])
        tensor([1, 2], dtype=torch.int32)
    """
    sequence, wanted = as_common(sorted_sequence, values)
    if sequence.ndim != 1:
        raise ShapeError(
            "The sorted sequence is a vector.",
            where="ops.searchsorted",
            received=f"shape {tuple(sequence.shape)}",
            fix="use ops.vectorized_map for several sequences",
        )
    return torch.searchsorted(_ordered(sequence), _ordered(wanted), side=side, out_int32=True)


@op
def digitize(x: TensorLike, bins: TensorLike) -> Tensor:
    """The bin (int32) that each value falls into: how many of the ascending edges are at most the value.

    Example:
        >>> digitize([0.5, 2.0], [1.0, 2.0])
        tensor([0, 2], dtype=torch.int32)
    """
    x, bins = as_tensor(x), as_tensor(bins)
    if bins.ndim != 1:
        raise ShapeError(
            "The edges of bins are no vector.",
            where="ops.digitize",
            expected="one axis",
            received=f"shape {tuple(bins.shape)}",
        )
    return torch.bucketize(x.to(torch.uint8) if x.dtype is torch.bool else x, bins, right=True, out_int32=True)


@op
def diag(x: TensorLike, k: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal.

    Args:
        x: a matrix or a vector.
        k: which diagonal: above the main one when positive, below when negative.

    Raises:
        ShapeError: the input is neither.

    Example:
        >>> diag([1, 2])
        tensor([[1, 0],
                [0, 2]], dtype=torch.int32)
    """
    x = as_tensor(x)
    if x.ndim not in (1, 2):
        raise ShapeError(
            "Only vectors and matrices have one diagonal.",
            where="ops.diag",
            expected="one axis or two",
            received=f"shape {tuple(x.shape)}",
            fix="ops.diagonal(x) takes the diagonals of many matrices",
        )
    return torch.diag(x, k) if x.ndim == 1 else diagonal(x, k)


@op
def diagflat(x: TensorLike, k: int = 0) -> Tensor:
    """The matrix with the flattened values on its diagonal `k`."""
    return torch.diagflat(as_tensor(x), k)


@op
def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonals of the matrices that two axes span, along a new last axis.

    Args:
        x: a tensor of rank 2 or more.
        offset: which diagonal.
        axis1: the axis of the rows.
        axis2: the axis of the columns.

    Example:
        >>> diagonal([[1, 2], [3, 4]])
        tensor([1, 4], dtype=torch.int32)
    """
    x = as_tensor(x)
    result = torch.diagonal(x, offset, axis1, axis2)
    unknown = unknown_stand_in()
    if unknown is not None and unknown in (x.shape[axis1], x.shape[axis2]):
        return result.new_empty((*result.shape[:-1], unknown))
    return result


@op
def tril(x: TensorLike, k: int = 0) -> Tensor:
    """Matrices with zeros above the diagonal `k`.

    Example:
        >>> tril([[1, 2], [3, 4]])
        tensor([[1, 0],
                [3, 4]], dtype=torch.int32)
    """
    return torch.tril(as_tensor(x), k)


@op
def triu(x: TensorLike, k: int = 0) -> Tensor:
    """Matrices with zeros below the diagonal `k`.

    Example:
        >>> triu([[1, 2], [3, 4]])
        tensor([[1, 2],
                [0, 4]], dtype=torch.int32)
    """
    return torch.triu(as_tensor(x), k)


@op(casts=True)
def unravel_index(indices: TensorLike, shape: Shape) -> tuple[Tensor, ...]:
    """Indices into the flattened tensor as one index for each axis.

    Args:
        indices: integers.
        shape: the shape of the tensor that was flattened.

    Example:
        >>> unravel_index([1, 5], (2, 3))
        (tensor([0, 1], dtype=torch.int32), tensor([1, 2], dtype=torch.int32))
    """
    indices, sizes = as_tensor(indices), shape_of(shape)
    dtype = torch.int32 if indices.dtype is torch.bool else indices.dtype
    flat = indices.long()
    flat = torch.where(flat < 0, flat + math.prod(sizes), flat)
    parts: list[Tensor] = []
    for size in reversed(sizes):
        parts.append(torch.remainder(flat, size).to(dtype))
        flat = torch.div(flat, size, rounding_mode="floor")
    return tuple(reversed(parts))


def _unique_spec(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Axis = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The symbolic result of `unique`: without `size`, the number of values is not known."""
    shape = list(x.shape)
    if axis is None:
        values, inverse = [size], shape
    else:
        values, inverse = list(shape), [shape[axis]]
        values[axis] = size
    extras = [(return_index, [size]), (return_inverse, inverse), (return_counts, [size])]
    results = [
        KerasTensor(values, x.dtype),
        *(KerasTensor(sizes, "int32") for wanted, sizes in extras if wanted),
    ]
    return results[0] if len(results) == 1 else tuple(results)


@op(symbolic=_unique_spec)
def unique(
    x: TensorLike,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Axis = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Each value once.

    Args:
        x: the values.
        sorted: whether they come in ascending order.
        return_index: whether to return the index of each value's first occurrence.
        return_inverse: whether to return, for each element, the index of its value in the result.
        return_counts: whether to return how often each value occurs.
        axis: compare slices along this axis; None for single values.
        size: cut or fill up the result to this many values.
        fill_value: what to fill up with, 0 by default.

    Returns:
        The values, or a tuple of them and what else was asked for, in the order above (int32).

    Example:
        >>> unique([3, 1, 3], return_counts=True)
        (tensor([1, 3], dtype=torch.int32), tensor([1, 2], dtype=torch.int32))
    """
    x = as_tensor(x)
    values, inverse, counts = torch.unique(x, sorted=sorted, return_inverse=True, return_counts=True, dim=axis)
    dim = 0 if axis is None else axis_of(axis, x.ndim)
    flat = inverse.reshape(-1)
    order = torch.arange(flat.numel(), device=x.device)
    first = flat.new_zeros(values.shape[dim]).scatter_reduce(0, flat, order, "amin", include_self=False)
    if size is not None:
        values = _sized(values, dim, size, 0 if fill_value is None else fill_value)
        first, counts = _sized(first, 0, size, 1), _sized(counts, 0, size, 0)
    extras = [(return_index, first), (return_inverse, inverse), (return_counts, counts)]
    results = [values, *(extra.to(torch.int32) for wanted, extra in extras if wanted)]
    return results[0] if len(results) == 1 else tuple(results)


def _sized(x: Tensor, dim: int, size: int, fill: Any) -> Tensor:
    """The tensor cut or filled up to `size` along an axis."""
    missing = size - x.shape[dim]
    if missing <= 0:
        return torch.narrow(x, dim, 0, size)
    shape = [missing if axis == dim else length for axis, length in enumerate(x.shape)]
    return torch.cat((x, x.new_full(shape, fill)), dim)


def vectorize(pyfunc: Any, *, excluded: Any = None, signature: str | None = None) -> Any:
    """A function of single values (or small arrays) as one of whole tensors.

    Args:
        pyfunc: the function.
        excluded: positions and names of arguments that are passed on as they are.
        signature: the core dimensions of arguments and result, e.g. "(m,n),(n)->(m)"; numbers by default.

    Raises:
        ArgumentTypeError: `pyfunc` cannot be called.

    Example:
        >>> vectorize(lambda a, b: torch.where(a > b, a - b, a + b))([1, 5], [2, 3])
        tensor([3, 2], dtype=torch.int32)
    """
    if not callable(pyfunc):
        raise ArgumentTypeError(
            "`pyfunc` is no function.", where="ops.vectorize", expected="a function of elements", received=repr(pyfunc)
        )
    kept = set(excluded or ())
    cores = None if signature is None else [_core_rank(part) for part in _inputs_of(signature)]

    def vectorized(*args: Any, **kwargs: Any) -> Any:
        mapped = [i for i in range(len(args)) if i not in kept]
        tensors = [as_tensor(args[i]) for i in mapped]
        ranks = cores or [0] * len(tensors)
        if len(ranks) != len(tensors):
            raise ArgumentError(
                "The call does not fit the signature.", where="ops.vectorize", expected=signature, received=len(tensors)
            )
        loops = torch.broadcast_shapes(*(x.shape[: x.ndim - rank] for x, rank in zip(tensors, ranks, strict=True)))
        wide = [x.expand((*loops, *x.shape[x.ndim - rank :])) for x, rank in zip(tensors, ranks, strict=True)]

        def single(*parts: Tensor) -> Any:
            full = list(args)
            for i, part in zip(mapped, parts, strict=True):
                full[i] = part
            return pyfunc(*full, **kwargs)

        function = single
        for _ in loops:
            function = torch.vmap(function)
        return function(*wide)

    return vectorized


def _inputs_of(signature: str) -> list[str]:
    """The core dimensions of each input, from "(m,n),(n)->(m)"."""
    left = signature.replace(" ", "").partition("->")[0]
    return [part.strip("()") for part in left.replace("),(", ");(").split(";")]


def _core_rank(part: str) -> int:
    return len([name for name in part.split(",") if name])
