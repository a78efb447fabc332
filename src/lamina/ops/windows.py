"""Sliding windows: the arithmetic and the memory layouts that convolution and pooling share.

Torch wants channels in front. An array of Keras's layout (batch, height, width, channels), seen with its axes
permuted, is exactly torch's `channels_last` format, so going there and back costs a view and never a copy.
One-dimensional windows run as two-dimensional ones of height 1, because torch's own 1-D kernels copy such a
view first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from lamina.core.errors import ArgumentError, ShapeError, nearest

Pads = list[tuple[int, int]]

# By rank, the order of axes that puts the channels in front, and back behind.
TO_FIRST = {1: (0, 3, 1, 2), 2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}
TO_LAST = {1: (0, 2, 3, 1), 2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}


def sizes(value: Any, rank: int, name: str, *, least: int = 1) -> tuple[int, ...]:
    """An integer, or one per spatial axis, as a tuple of `rank` integers not below `least`."""
    values = (value,) * rank if _is_integer(value) else value
    try:
        result = tuple(values)
    except TypeError:
        result = ()
    if len(result) != rank or not all(_is_integer(v) and v >= least for v in result):
        kind = "positive integers" if least else "integers that are not negative"
        raise ArgumentError(
            f"Unusable {name}.", where=name, expected=f"an integer, or a tuple of {rank} {kind}", received=repr(value)
        )
    return tuple(int(v) for v in result)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and not getattr(value, "ndim", 0)


def rank_of(x: torch.Tensor) -> int:
    """The number of spatial axes."""
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            "The input has the wrong number of axes.",
            where="inputs",
            expected="3, 4 or 5 axes: batch, channels and one to three spatial ones",
            received=tuple(x.shape),
        )
    return x.ndim - 2


def padding_mode(padding: Any, *, causal: bool = False) -> str:
    """The name of the padding in lower case, checked."""
    modes = ("valid", "same", "causal") if causal else ("valid", "same")
    mode = padding.lower() if isinstance(padding, str) else padding
    if mode not in modes:
        fix = "causal padding exists for Conv1D only" if mode == "causal" else None
        hint = nearest(str(padding), modes) if fix is None else ""
        raise ArgumentError(
            f"Unknown padding.{hint}", where="padding", expected=" or ".join(modes), received=repr(padding), fix=fix
        )
    return mode


def pads(
    mode: str, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Pads:
    """How many elements to add in front of and behind each spatial axis.

    "same" makes ceil(length / stride) windows and puts the odd element behind, as TensorFlow does; "causal"
    puts all in front, so that a step sees nothing of those after it.
    """
    if mode == "valid":
        return [(0, 0)] * len(window)
    reaches = [(size - 1) * rate + 1 for size, rate in zip(window, dilation, strict=True)]
    if mode == "causal":
        return [(reach - 1, 0) for reach in reaches]
    result = []
    for length, reach, stride in zip(lengths, reaches, strides, strict=True):
        # With a stride of 1 the length cancels out; leaving it out keeps dynamic shapes dynamic.
        total = reach - 1 if stride == 1 else max(0, (-(-length // stride) - 1) * stride + reach - length)
        result.append((total // 2, total - total // 2))
    return result


class Margins(NamedTuple):
    """What is cut off a transposed convolution, by axis: on both sides, put back behind, and cut behind besides.

    Torch cuts alike on both sides, and can only add behind, less than a step; `fits` tells whether that is enough.
    """

    both: tuple[int, ...]
    added: tuple[int, ...]
    besides: tuple[int, ...]
    fits: bool


def margins(
    mode: str,
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int] | None,
) -> Margins:
    """The margins of the full result, whose axes are (length - 1) * stride + reach long.

    By default outputs are length * stride long for "same", and long enough for every input and window for "valid".
    """
    cuts = []
    for axis, (size, stride, rate) in enumerate(zip(window, strides, dilation, strict=True)):
        reach, extra = (size - 1) * rate + 1, None if output_padding is None else output_padding[axis]
        if mode == "valid":
            cuts.append((0, -(max(stride - reach, 0) if extra is None else extra)))
            continue
        cut = reach - (stride if extra is None else reach % 2 + extra)
        front = max(cut // 2, 0)
        cuts.append((front, cut - front))
    added = tuple(max(front - behind, 0) for front, behind in cuts)
    besides = tuple(max(behind - front, 0) for front, behind in cuts)
    fits = all(extra < max(stride, rate) for extra, stride, rate in zip(added, strides, dilation, strict=True))
    return Margins(tuple(front for front, _ in cuts), added, besides, fits)


def through_floats(function: Callable[..., torch.Tensor], *xs: torch.Tensor) -> torch.Tensor:
    """The function's result in the dtype of its arguments, integers too: float64 holds them exactly.

    Torch's kernels take integers on some devices and for some ranks only.
    """
    dtype = xs[0].dtype
    if dtype.is_floating_point or dtype.is_complex:
        return function(*xs)
    return function(*(x.double() for x in xs)).long().to(dtype)


def to_torch(x: torch.Tensor, rank: int, data_format: str) -> torch.Tensor:
    """A view with the channels in front and at least two spatial axes."""
    last = data_format == "channels_last"
    if rank == 1:
        x = x.unsqueeze(1 if last else 2)
    return x.permute(TO_FIRST[rank]) if last else x


def from_torch(y: torch.Tensor, rank: int, data_format: str) -> torch.Tensor:
    """The view back from `to_torch`."""
    last = data_format == "channels_last"
    if last:
        y = y.permute(TO_LAST[rank])
    return y.squeeze(1 if last else 2) if rank == 1 else y


def plane(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """Values per spatial axis, with `fill` for the height that one-dimensional windows are given."""
    return (fill, *values) if len(values) == 1 else values


def flat(amounts: Pads) -> list[int]:
    """Paddings as torch's pad takes them: the last axis first."""
    return [amount for pair in reversed(amounts) for amount in pair]


def is_symmetric(amounts: Pads) -> bool:
    """Whether as much is added in front as behind, which torch's kernels do without a padded copy."""
    return all(before == behind for before, behind in amounts)
