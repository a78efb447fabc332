"""Layers of sliding windows: the shapes they take and give. The arithmetic itself is that of `ops.windows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.core.errors import ShapeError
from lamina.ops.windows import TO_FIRST as TO_FIRST
from lamina.ops.windows import TO_LAST as TO_LAST
from lamina.ops.windows import from_torch as from_torch
from lamina.ops.windows import padding_mode as padding_mode
from lamina.ops.windows import pads as pads
from lamina.ops.windows import plane as plane
from lamina.ops.windows import sizes as sizes
from lamina.ops.windows import to_torch as to_torch

_SPATIAL_NAMES = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def output_length(mode: str, length: int | None, window: int, stride: int, dilation: int = 1) -> int | None:
    """How many windows fit on an axis; None for an unknown length."""
    if length is None:
        return None
    if mode == "valid":
        return (length - (window - 1) * dilation - 1) // stride + 1
    return -(-length // stride)


def output_shape(
    layer: Any,
    input_shape: Sequence[int | None],
    channels: int | None,
    window: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int | None, ...]:
    """The shape a layer of windows gives, `channels` last or first as the layer has it.

    Raises:
        ShapeError: the rank is wrong, or a window is larger than the input.
    """
    check_rank(layer, input_shape)
    last = layer.data_format == "channels_last"
    spatial = input_shape[1:-1] if last else input_shape[2:]
    result = tuple(
        output_length(layer.padding, *axis) for axis in zip(spatial, window, layer.strides, dilation, strict=True)
    )
    if any(length is not None and length <= 0 for length in result):
        least = tuple((size - 1) * rate + 1 for size, rate in zip(window, dilation, strict=True))
        spread = f" spread by dilation_rate={tuple(dilation)}" if max(dilation) > 1 else ""
        fix = 'use a smaller window, larger inputs, fewer layers that shrink them, or padding="same"'
        if _is_turned(input_shape, last):
            other = "first" if last else "last"
            fix = f'if the channels come {other} in the data, set data_format="channels_{other}" or transpose them'
        raise ShapeError(
            "The window is larger than the input, so there would be no output.",
            where=f"layer '{layer.name}' ({type(layer).__name__})",
            expected=f"at least {least} elements along the spatial axes",
            received=f"{tuple(spatial)} for a window of {tuple(window)}{spread}",
            fix=fix,
        )
    return (input_shape[0], *result, channels) if last else (input_shape[0], channels, *result)


def _is_turned(input_shape: Sequence[int | None], last: bool) -> bool:
    """Whether a shape looks like that of images with their channels on the other side."""
    sizes = [size or 0 for size in input_shape[1:]]
    channels, rest = (sizes[0], sizes[1:]) if last else (sizes[-1], sizes[:-1])
    return channels in (1, 3, 4) and min(rest) >= 8


def check_rank(layer: Any, input_shape: Sequence[int | None]) -> None:
    """Refuse an input of another rank, with special words for a missing channel axis."""
    rank, found = layer.rank, len(input_shape)
    if found == rank + 2:
        return
    last = layer.data_format == "channels_last"
    spatial, rest = ", ".join(_SPATIAL_NAMES[rank]), tuple(input_shape[1:])
    what, fix = "The input has the wrong number of axes.", None
    if found == rank + 1:
        what = "The input has one axis too few: the channel axis, or else the batch axis, is missing."
        index, target = ("...", (*rest, 1)) if last else (":", (1, *rest))
        fix = f"add a channel axis: x[{index}, None] for arrays, lamina.layers.Reshape({target}) in a model"
    raise ShapeError(
        what,
        where=f"layer '{layer.name}' ({type(layer).__name__})",
        expected=f"{rank + 2} axes: (batch, {f'{spatial}, channels' if last else f'channels, {spatial}'})",
        received=f"{found} axes: {tuple(input_shape)}",
        fix=fix,
    )


def channel_count(layer: Any, input_shape: Sequence[int | None]) -> int:
    """The number of channels of an input.

    Raises:
        ShapeError: the rank is wrong, or the number of channels is not known.
    """
    check_rank(layer, input_shape)
    channels = input_shape[channel_axis(layer)]
    if channels is None:
        raise ShapeError(
            "The number of channels must be known to create the weights.",
            where=f"layer '{layer.name}' ({type(layer).__name__})",
            received=tuple(input_shape),
            fix="name the channels in the Input, e.g. Input((None, None, 3))",
        )
    return channels


def channel_axis(layer: Any) -> int:
    """The axis of the channels: -1 or 1."""
    return -1 if layer.data_format == "channels_last" else 1


def torch_padding(
    mode: str, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, ...], list[int]]:
    """A convolution's padding: what torch's kernel adds on both sides, and what torch's pad must add before."""
    amounts = pads(mode, lengths, window, strides, dilation)
    if all(before == behind for before, behind in amounts):
        return tuple(before for before, _ in amounts), []
    return (0,) * len(window), [amount for pair in reversed(amounts) for amount in pair]
