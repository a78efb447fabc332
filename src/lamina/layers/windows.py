"""Sliding windows: the arithmetic and the memory layouts that convolution and pooling share.

Torch wants channels in front. An array of Keras's layout (batch, height, width, channels), seen with its axes
permuted, is exactly torch's `channels_last` format, so going there and back costs a view and never a copy.
One-dimensional windows run as two-dimensional ones of height 1, because torch's own 1-D kernels copy such a
view first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lamina.core.errors import ArgumentError, ShapeError

Pads = list[tuple[int, int]]

# By rank, the order of axes that puts the channels in front, and back behind.
TO_FIRST = {1: (0, 3, 1, 2), 2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}
TO_LAST = {1: (0, 2, 3, 1), 2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}
_SPATIAL_NAMES = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def sizes(value: Any, rank: int, name: str, *, least: int = 1) -> tuple[int, ...]:
    """An integer, or one per spatial axis, as a tuple of `rank` integers not below `least`."""
    values = (value,) * rank if isinstance(value, int) else value
    try:
        result = tuple(values)
    except TypeError:
        result = ()
    if len(result) != rank or not all(_is_integer(v) and v >= least for v in result):
        kind = "positive integers" if least else "integers that are not negative"
        raise ArgumentError(
            f"Unusable {name}.",
            where=name,
            expected=f"an integer, or a tuple of {rank} {kind}",
            received=repr(value),
        )
    return tuple(int(v) for v in result)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def padding_mode(padding: Any, *, causal: bool = False) -> str:
    """The name of the padding in lower case, checked."""
    modes = ("valid", "same", "causal") if causal else ("valid", "same")
    mode = padding.lower() if isinstance(padding, str) else padding
    if mode not in modes:
        fix = "causal padding exists for Conv1D only" if mode == "causal" else None
        raise ArgumentError("Unknown padding.", where="padding", expected=modes, received=repr(padding), fix=fix)
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
        raise ShapeError(
            "The window is larger than the input, so there would be no output.",
            where=f"layer '{layer.name}' ({type(layer).__name__})",
            expected=f"at least {least} elements along the spatial axes",
            received=f"{tuple(spatial)} for a window of {tuple(window)}{spread}",
            fix='use a smaller window, larger inputs, fewer layers that shrink them, or padding="same"',
        )
    return (input_shape[0], *result, channels) if last else (input_shape[0], channels, *result)


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


def torch_padding(
    mode: str, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, ...], list[int]]:
    """A convolution's padding: what torch's kernel adds on both sides, and what torch's pad must add before."""
    amounts = pads(mode, lengths, window, strides, dilation)
    if all(before == behind for before, behind in amounts):
        return tuple(before for before, _ in amounts), []
    return (0,) * len(window), [amount for pair in reversed(amounts) for amount in pair]
