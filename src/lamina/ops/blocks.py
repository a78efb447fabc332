"""Blocks cut out of tensors, and values written into copies of them.

Source: https://keras.io/api/ops/core/
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import Shape, TensorLike, as_tensor, shape_of


def _block_sizes(x: Any, start_indices: Any, shape: Shape) -> tuple[Any, ...]:
    """The sizes of a block, -1 among them, once there is a start and a size for each axis."""
    sizes, ndim = shape_of(shape), len(x.shape)
    starts = start_indices.shape[0] if isinstance(start_indices, KerasTensor) else len(start_indices)
    if len(sizes) != ndim or starts not in (None, ndim):
        raise ShapeError(
            "A block needs a start and a size for each axis.",
            where="ops.slice",
            expected=f"{ndim} of each",
            received=f"start_indices {start_indices}, shape {sizes}",
        )
    return sizes


def _slice_spec(inputs: Any, start_indices: Any, shape: Shape) -> KerasTensor:
    """The symbolic result of `slice`: what is left after a start that is not known has no known size."""
    x: Any = inputs if isinstance(inputs, KerasTensor) else as_tensor(inputs)
    sizes = list(_block_sizes(x, start_indices, shape))
    for axis, size in enumerate(sizes):
        if size == -1:
            start: Any = start_indices if isinstance(start_indices, KerasTensor) else start_indices[axis]
            unknown = isinstance(start, KerasTensor) or x.shape[axis] is None
            sizes[axis] = None if unknown else x.shape[axis] - int(start)
    return KerasTensor(sizes, x.dtype)


@op(symbolic=_slice_spec)
def slice(inputs: TensorLike, start_indices: Any, shape: Shape) -> Tensor:
    """A block of a tensor.

    Args:
        inputs: the tensor.
        start_indices: where the block starts, one index for each axis.
        shape: its size along each axis; -1 for all that is left.

    Raises:
        ShapeError: there is not one index and one size for each axis.

    Example:
        >>> slice([[1, 2, 3], [4, 5, 6]], (0, 1), (2, 2))
        tensor([[2, 3],
                [5, 6]], dtype=torch.int32)
    """
    x = as_tensor(inputs)
    for axis, length in enumerate(_block_sizes(x, start_indices, shape)):
        start = start_indices[axis]
        if isinstance(start, Tensor) and length != -1:
            # Without a look at the value: no wait for the device, and shapes can be inferred.
            x = torch.index_select(x, axis, start.long() + torch.arange(length, device=x.device))
        else:
            start = int(start)
            x = torch.narrow(x, axis, start, x.shape[axis] - start if length == -1 else length)
    return x


@op
def slice_update(inputs: TensorLike, start_indices: Any, updates: TensorLike) -> Tensor:
    """The tensor with a block replaced.

    Args:
        inputs: the tensor.
        start_indices: where the block starts, one index for each axis.
        updates: the block.

    Example:
        >>> slice_update(torch.zeros(3), [1], torch.ones(2))
        tensor([0., 1., 1.])
    """
    x, block = as_tensor(inputs).clone(), as_tensor(updates)
    if unknown_stand_in() in (*x.shape, *block.shape):
        return x
    starts = [start.long() if isinstance(start, Tensor) else int(start) for start in start_indices]
    if not any(isinstance(start, Tensor) for start in starts):
        x[tuple(np.s_[start : start + size] for start, size in zip(starts, block.shape, strict=False))] = block.to(
            x.dtype
        )
        return x
    places = []
    for axis, (start, size) in enumerate(zip(starts, block.shape, strict=True)):
        places.append((start + torch.arange(size, device=x.device)).reshape(-1, *(1,) * (block.ndim - 1 - axis)))
    return x.index_put(tuple(places), block.to(x.dtype))


@op
def scatter(indices: TensorLike, values: TensorLike, shape: Shape) -> Tensor:
    """A tensor of zeros to which values are added at the places given.

    Args:
        indices: shape (..., k): the first k coordinates of each place.
        values: what to add there, shape (..., *shape[k:]).
        shape: the shape of the result.

    Example:
        >>> scatter([[0], [2], [2]], [1.0, 2.0, 3.0], (4,))
        tensor([1., 0., 5., 0.])
    """
    index, values, sizes = as_tensor(indices).long(), as_tensor(values), shape_of(shape)
    depth = index.shape[-1]
    flat = values.reshape(-1, *sizes[depth:])
    places = index.reshape(-1, depth).unbind(-1)
    return values.new_zeros(sizes).index_put(places, flat, accumulate=True)


def _update_spec(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> KerasTensor:
    """The symbolic result of `scatter_update`: the tensor it began with."""
    x = inputs if isinstance(inputs, KerasTensor) else as_tensor(inputs)
    return KerasTensor(tuple(x.shape), x.dtype)


@op(symbolic=_update_spec)
def scatter_update(
    inputs: TensorLike, indices: TensorLike, updates: TensorLike, reduction: str | None = None
) -> Tensor:
    """The tensor with values written at the places given.

    Args:
        inputs: the tensor.
        indices: shape (n, k): the first k coordinates of each place.
        updates: what to write there, shape (n, *inputs.shape[k:]).
        reduction: None to overwrite; "add", "mul", "max" or "min" to combine with what is there.

    Raises:
        ArgumentError: the reduction is not known.

    Example:
        >>> scatter_update(torch.zeros(3), [[1]], [5.0])
        tensor([0., 5., 0.])
    """
    x, index = as_tensor(inputs), as_tensor(indices).long()
    updates = as_tensor(updates).to(x.dtype)
    places = index.reshape(-1, index.shape[-1]).unbind(-1)
    updates = updates.reshape(-1, *x.shape[index.shape[-1] :])
    if reduction in (None, "add"):
        return x.index_put(places, updates, accumulate=reduction == "add")
    modes = {"mul": "prod", "max": "amax", "min": "amin"}
    one_of(reduction, (None, "add", *modes), "ops.scatter_update, reduction")
    # One row for each place: coordinates as an index into the leading axes made one.
    lead = x.shape[: index.shape[-1]]
    row = torch.zeros_like(places[0])
    for place, size in zip(places, lead, strict=True):
        row = row * size + torch.where(place < 0, place + size, place)
    rows = x.reshape(-1, *x.shape[len(lead) :])
    row = row.reshape(-1, *(1,) * (rows.ndim - 1)).expand(updates.shape)
    return rows.scatter_reduce(0, row, updates, modes[reduction], include_self=True).reshape(x.shape)
