"""Tensors with their axes, or the values along them, in another order.

Source: https://keras.io/api/ops/numpy/
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops.operands import Axes, TensorLike, as_tensor, axes_tuple

_DEEP_AND_WIDE = {
    "channels_last": ("n h w (p q c)", "n (h p) (w q) c"),
    "channels_first": ("n (c p q) h w", "n c (h p) (w q)"),
}


@op
def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """The tensor with its axes in another order.

    Args:
        x: the tensor.
        axes: for each axis of the result, which axis of `x` it is; by default they are reversed.

    Example:
        >>> transpose(torch.ones(2, 3, 4), (1, 2, 0)).shape
        torch.Size([3, 4, 2])
    """
    x = as_tensor(x)
    if axes is None:
        axes = tuple(reversed(range(x.ndim)))
    return torch.permute(x, axes if type(axes) is tuple else tuple(axes))


@op
def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """The tensor with two axes exchanged."""
    return torch.transpose(as_tensor(x), axis1, axis2)


@op
def moveaxis(x: TensorLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The tensor with axes moved from `source` to `destination`, the others in order.

    Example:
        >>> moveaxis(torch.ones(2, 3, 4), 0, -1).shape
        torch.Size([3, 4, 2])
    """
    if isinstance(source, int) and isinstance(destination, int):
        return torch.movedim(as_tensor(x), source, destination)
    places = [(axis,) if isinstance(axis, int) else tuple(axis) for axis in (source, destination)]
    return torch.movedim(as_tensor(x), *places)


@op
def flip(x: TensorLike, axis: Axes = None) -> Tensor:
    """The tensor in reverse order along the axes.

    Example:
        >>> flip([1, 2, 3])
        tensor([3, 2, 1], dtype=torch.int32)
    """
    x = as_tensor(x)
    return torch.flip(x, axes_tuple(axis, x.ndim))


@op
def flipud(x: TensorLike) -> Tensor:
    """The tensor in reverse order along its first axis."""
    return torch.flipud(as_tensor(x))


@op
def fliplr(x: TensorLike) -> Tensor:
    """The tensor in reverse order along its second axis."""
    return torch.fliplr(as_tensor(x))


@op
def roll(x: TensorLike, shift: int | Sequence[int], axis: Axes = None) -> Tensor:
    """The tensor moved along the axes; what leaves at one end enters at the other.

    Args:
        x: the tensor.
        shift: by how many places, for each axis.
        axis: the axis or axes; None for the flattened tensor, back in shape afterwards.

    Example:
        >>> roll([1, 2, 3], 1)
        tensor([3, 1, 2], dtype=torch.int32)
    """
    x = as_tensor(x)
    if axis is None:
        return torch.roll(x, shift)
    axes = axes_tuple(axis, x.ndim)
    return torch.roll(x, (shift,) * len(axes) if isinstance(shift, int) else tuple(shift), axes)


@op
def rot90(array: TensorLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """The tensor turned by 90 degrees in the plane of two axes.

    Args:
        array: a tensor of rank 2 or more.
        k: how many times.
        axes: the plane; the turn goes from the first axis towards the second.

    Raises:
        ArgumentError: the axes are not two different ones.

    Example:
        >>> rot90([[1, 2], [3, 4]])
        tensor([[2, 4],
                [1, 3]], dtype=torch.int32)
    """
    x = as_tensor(array)
    if x.ndim < 2:
        raise ShapeError(
            "Only tensors of rank 2 or more can be turned.",
            where="ops.rot90",
            expected="at least two axes",
            received=f"shape {tuple(x.shape)}",
        )
    plane = axes_tuple(axes, x.ndim)
    if len(plane) != 2 or plane[0] == plane[1]:
        raise ArgumentError(
            "The axes span no plane.",
            where="ops.rot90(axes=...)",
            expected="two different axes, such as (0, 1)",
            received=axes,
        )
    return torch.rot90(x, k, plane)


@functools.cache
def _groups(side: str) -> list[list[str]]:
    """The axes of one side of a pattern; names in parentheses stand together."""
    return [token.strip("()").split() for token in re.findall(r"\([^)]*\)|\w+", side)]


@op
def rearrange(tensor: TensorLike, pattern: str, **axes_lengths: int) -> Tensor:
    """The tensor with its axes split, merged and reordered.

    Args:
        tensor: the tensor.
        pattern: its axes and those of the result by name, e.g. "b (h p) c -> b h (p c)"; names in
            parentheses are parts of one axis.
        **axes_lengths: the sizes of such parts; one part of each axis may be left out.

    Raises:
        ArgumentError: the pattern does not name the same axes on both sides.
        ShapeError: the tensor does not fit the pattern.

    Example:
        >>> rearrange([[1, 2, 3, 4]], "a (b c) -> b (a c)", b=2)
        tensor([[1, 2],
                [3, 4]], dtype=torch.int32)

    Source: https://keras.io/api/ops/einops/
    """
    return _rearranged(as_tensor(tensor), pattern, axes_lengths, "rearrange")


@op
def depth_to_space(x: TensorLike, block_size: int, data_format: str | None = "channels_last") -> Tensor:
    """Images with the channels of each pixel spread over a block of pixels; `space_to_depth` undoes it.

    The channels of a pixel are those of the block's pixels, one pixel after another; with "channels_first" they are
    the block's pixels, one channel after another.

    Args:
        x: images of shape (batch, height, width, channels), or (batch, channels, height, width).
        block_size: height and width of a block, at least 2; the channels must divide by its square.
        data_format: "channels_last" or "channels_first".

    Raises:
        ArgumentError: the block is too small.
        ShapeError: the images have not 4 axes, or do not divide into blocks.

    Example:
        >>> depth_to_space([[[[1, 2, 3, 4]]]], 2)[0, ..., 0]
        tensor([[1, 2],
                [3, 4]], dtype=torch.int32)

    Source: https://keras.io/api/ops/nn/
    """
    deep, wide = _DEEP_AND_WIDE[config.standardize_data_format(data_format)]
    return _in_blocks(x, block_size, f"{deep} -> {wide}", "depth_to_space")


@op
def space_to_depth(x: TensorLike, block_size: int, data_format: str | None = "channels_last") -> Tensor:
    """Images with each block of pixels made one pixel, of all their channels; `depth_to_space` undoes it.

    Args:
        x: images of shape (batch, height, width, channels), or (batch, channels, height, width).
        block_size: height and width of a block, at least 2; those of the images must divide by it.
        data_format: "channels_last" or "channels_first".

    Raises:
        ArgumentError: the block is too small.
        ShapeError: the images have not 4 axes, or do not divide into blocks.

    Example:
        >>> space_to_depth([[[[1], [2]], [[3], [4]]]], 2)
        tensor([[[[1, 2, 3, 4]]]], dtype=torch.int32)

    Source: https://keras.io/api/ops/nn/
    """
    deep, wide = _DEEP_AND_WIDE[config.standardize_data_format(data_format)]
    return _in_blocks(x, block_size, f"{wide} -> {deep}", "space_to_depth")


def _in_blocks(x: TensorLike, block_size: int, pattern: str, where: str) -> Tensor:
    if block_size < 2:
        raise ArgumentError("The block is too small.", where=f"ops.{where}", expected="2 or more", received=block_size)
    return _rearranged(as_tensor(x), pattern, {"p": block_size, "q": block_size}, where)


def _rearranged(x: Tensor, pattern: str, lengths: dict[str, int], where: str) -> Tensor:
    """The tensor in the order of the pattern's right side."""
    left, arrow, right = pattern.partition("->")
    before, after = _groups(left), _groups(right)
    names, wanted = [name for group in before for name in group], [name for group in after for name in group]
    if not arrow or sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise ArgumentError(
            "The two sides of the pattern do not name the same axes.",
            where=f"ops.{where}",
            expected="each axis once on both sides, such as 'b h w c -> b (h w) c'",
            received=repr(pattern),
        )
    if len(before) != x.ndim:
        raise ShapeError(
            "The tensor does not fit the pattern.", where=f"ops.{where}", expected=left.strip(), received=tuple(x.shape)
        )
    sizes: dict[str, int] = {}
    for axis, group in enumerate(before):
        parts = _parts(group, x.shape[axis], lengths, f"ops.{where}, {pattern!r}")
        if len(group) > 1 and x.shape[axis] == unknown_stand_in():
            x = x.narrow(axis, 0, math.prod(parts.values()))
        sizes |= parts
    x = x.reshape([sizes[name] for name in names])
    x = x.permute([names.index(name) for name in wanted])
    return x.reshape([math.prod(sizes[name] for name in group) for group in after])


def _parts(group: list[str], size: Any, given: dict[str, int], where: str) -> dict[str, int]:
    """The size of each part of one axis."""
    missing = [name for name in group if name not in given]
    known = math.prod(given[name] for name in group if name in given)
    if len(missing) > 1:
        raise ArgumentError(
            f"The sizes of {len(missing)} parts of one axis are missing.",
            where=where,
            expected="at most one part left out",
            received=", ".join(missing),
            fix=f"name its size: {missing[0]}=...",
        )
    if (size % known or (not missing and size != known)) and size != unknown_stand_in():
        raise ShapeError(
            "An axis does not split into these parts.",
            where=where,
            expected=f"a size that {' * '.join(group)} makes up",
            received=size,
        )
    return {name: given[name] if name in given else size // known for name in group}
