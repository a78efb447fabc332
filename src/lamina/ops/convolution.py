"""Convolution over one, two or three spatial axes, and its windows themselves.

Convolutions take `inputs` of shape (batch, *spatial, channels), or (batch, channels, *spatial) with
data_format="channels_first"; the default layout is that of `config.image_data_format()`. "valid" padding keeps windows
inside the input; "same" makes ceil(size / stride) of them, and what they see outside counts for nothing.

Source: https://keras.io/api/ops/nn/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.errors import ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops import windows
from lamina.ops.operands import TensorLike, all_common, as_tensor

# By rank, the order of axes in which a kernel (spatial..., in, out) is torch's weight (out, in, spatial...).
KERNEL_LAYOUT = {1: (2, 1, 0), 2: (3, 2, 0, 1), 3: (4, 3, 0, 1, 2)}


@op
def conv(
    inputs: TensorLike,
    kernel: TensorLike,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    """The weighted sums of all windows of the input, one for each filter.

    Args:
        inputs: the input.
        kernel: the weights, of shape (*window, input channels of a group, filters); as many groups are made as that
            many channels go into those of the input.
        strides: the step of the window along each spatial axis.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
        dilation_rate: the step between the inputs of a window along each spatial axis.

    Raises:
        ShapeError: the ranks or the channels do not fit.

    Example:
        >>> conv(torch.ones(1, 5, 2), torch.ones(3, 2, 4), strides=2).shape
        torch.Size([1, 2, 4])
    """
    inputs, kernel = all_common((inputs, kernel), int)
    rank = windows.rank_of(inputs)
    if kernel.ndim != rank + 2:
        raise ShapeError(
            "The kernel does not fit the input.",
            where="conv",
            expected=f"{rank + 2} axes: (*window, channels, filters)",
            received=tuple(kernel.shape),
        )
    data_format = config.standardize_data_format(data_format)
    inputs, kernel = _with_known_channels(inputs, _channel_axis(data_format), kernel, -2)
    channels = inputs.shape[_channel_axis(data_format)]
    if channels % kernel.shape[-2]:
        raise ShapeError(
            "The kernel's channels must divide those of the input.",
            where="conv",
            expected=f"a divisor of {channels}",
            received=kernel.shape[-2],
        )
    steps = windows.sizes(strides, rank, "strides")
    dilation = windows.sizes(dilation_rate, rank, "dilation_rate")
    x, before = _padded(inputs, tuple(kernel.shape[:rank]), steps, dilation, padding, data_format)
    weight = kernel.permute(KERNEL_LAYOUT[rank])
    if rank == 1:
        weight = weight.unsqueeze(2)
    function = torch.conv3d if rank == 3 else torch.conv2d
    groups = channels // kernel.shape[-2]
    geometry = windows.plane(steps, 1), before, windows.plane(dilation, 1), groups
    y = windows.through_floats(lambda x, weight: function(x, weight, None, *geometry), x, weight)
    return windows.from_torch(y, rank, data_format)


@op
def depthwise_conv(
    inputs: TensorLike,
    kernel: TensorLike,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    """A convolution of each channel by itself.

    Args:
        inputs: the input.
        kernel: the weights, of shape (*window, channels, filters per channel).
        strides: the step of the window along each spatial axis.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
        dilation_rate: the step between the inputs of a window along each spatial axis.

    Raises:
        ShapeError: the ranks or the channels do not fit.

    Example:
        >>> depthwise_conv(torch.ones(1, 5, 2), torch.ones(3, 2, 4)).shape
        torch.Size([1, 3, 8])
    """
    inputs, kernel = all_common((inputs, kernel), int)
    axis = _channel_axis(config.standardize_data_format(data_format))
    inputs, kernel = _with_known_channels(inputs, axis, kernel, -2)
    channels = inputs.shape[axis]
    if kernel.ndim != inputs.ndim or kernel.shape[-2] != channels:
        raise ShapeError(
            "The kernel does not fit the input.",
            where="depthwise_conv",
            expected=f"(*window, {channels}, filters per channel)",
            received=tuple(kernel.shape),
        )
    kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return conv(inputs, kernel, strides, padding, data_format, dilation_rate)


@op
def separable_conv(
    inputs: TensorLike,
    depthwise_kernel: TensorLike,
    pointwise_kernel: TensorLike,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    """A depthwise convolution, its channels then mixed.

    Args:
        inputs: the input.
        depthwise_kernel: the weights of `depthwise_conv`.
        pointwise_kernel: how they are mixed, of shape (1, ..., 1, channels * filters per channel, filters).
        strides: the step of the window along each spatial axis.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
        dilation_rate: the step between the inputs of a window along each spatial axis.

    Raises:
        ShapeError: the ranks or the channels do not fit.

    Example:
        >>> separable_conv(torch.ones(1, 5, 2), torch.ones(3, 2, 1), torch.ones(1, 2, 7)).shape
        torch.Size([1, 3, 7])
    """
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    if unknown_stand_in() in getattr(pointwise_kernel, "shape", ())[:-2]:
        pointwise_kernel = pointwise_kernel.new_empty((*(1,) * (y.ndim - 2), *pointwise_kernel.shape[-2:]))
    return conv(y, pointwise_kernel, data_format=data_format)


@op
def conv_transpose(
    inputs: TensorLike,
    kernel: TensorLike,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    output_padding: int | Sequence[int] | None = None,
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    """A convolution run backwards: each input is spread over a window of the output.

    Args:
        inputs: the input.
        kernel: the weights, of shape (*window, filters, channels).
        strides: how far apart the windows of neighbouring inputs lie; the output grows by this factor.
        padding: "valid" keeps all that the windows reach; "same" gives outputs of length input * stride.
        output_padding: elements added behind each spatial axis of the output; by default as many as give the lengths
            named above.
        data_format: "channels_last" or "channels_first".
        dilation_rate: the step between the outputs of a window along each spatial axis.

    Raises:
        ShapeError: the ranks or the channels do not fit.

    Example:
        >>> conv_transpose(torch.ones(1, 5, 2), torch.ones(3, 4, 2), strides=2, padding="same").shape
        torch.Size([1, 10, 4])
    """
    inputs, kernel = all_common((inputs, kernel), int)
    rank = windows.rank_of(inputs)
    data_format = config.standardize_data_format(data_format)
    inputs, kernel = _with_known_channels(inputs, _channel_axis(data_format), kernel, -1)
    channels = inputs.shape[_channel_axis(data_format)]
    if kernel.ndim != rank + 2 or kernel.shape[-1] != channels:
        raise ShapeError(
            "The kernel does not fit the input.",
            where="conv_transpose",
            expected=f"{rank + 2} axes: (*window, filters, {channels})",
            received=tuple(kernel.shape),
        )
    steps = windows.sizes(strides, rank, "strides")
    dilation = windows.sizes(dilation_rate, rank, "dilation_rate")
    extras = None if output_padding is None else windows.sizes(output_padding, rank, "output_padding", least=0)
    margins = windows.margins(windows.padding_mode(padding), kernel.shape[:rank], steps, dilation, extras)
    return windows.through_floats(
        lambda x, weight: convolve_back(x, weight, None, steps, dilation, margins, data_format), inputs, kernel
    )


def convolve_back(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    margins: windows.Margins,
    data_format: str,
) -> Tensor:
    """The transposed convolution of tensors in Keras's layouts."""
    # Written out, since layers go through here: a call of a helper is a frame more.
    rank, last = len(strides), data_format == "channels_last"
    weight, (both, added, besides, fits) = kernel.permute(KERNEL_LAYOUT[rank]), margins
    front, behind = (both, added) if fits else ((0,) * rank, (0,) * rank)
    if rank == 1:
        x, weight = x.unsqueeze(1 if last else 2), weight.unsqueeze(2)
        strides, dilation, front, behind = (1, *strides), (1, *dilation), (0, *front), (0, *behind)
    if last:
        x = x.permute(windows.TO_FIRST[rank])
    operation = torch.conv_transpose3d if rank == 3 else torch.conv_transpose2d
    y = operation(x, weight, bias, strides, front, behind, 1, dilation)
    if fits:
        for axis, more in enumerate(besides, start=-rank):
            if more:
                y = y.narrow(axis, 0, y.shape[axis] - more)
    else:
        sides = [(-cut, extra - cut - more) for cut, extra, more in zip(both, added, besides, strict=True)]
        y = F.pad(y, windows.flat(sides))
    if last:
        y = y.permute(windows.TO_LAST[rank])
    return y.squeeze(1 if last else 2) if rank == 1 else y


@op
def unfold(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """All windows of images, each as a column.

    Args:
        x: images of shape (batch, channels, height, width).
        kernel_size: the size of the window, in rows and columns.
        dilation: the step between the values of a window.
        padding: the zeros added to both sides of each spatial axis.
        stride: the step of the window.

    Returns:
        A tensor of shape (batch, channels * window, windows).

    Raises:
        ShapeError: the images have another rank, or the window is larger than they are.

    Example:
        >>> unfold(torch.arange(4.0).reshape(1, 1, 2, 2), 2)[0, :, 0]
        tensor([0., 1., 2., 3.])
    """
    x = as_tensor(x)
    if x.ndim != 4:
        raise ShapeError(
            "unfold takes images.",
            where="ops.unfold",
            expected="(batch, channels, height, width)",
            received=tuple(x.shape),
        )
    grid = _grid(kernel_size, dilation, padding, stride)
    return windows.through_floats(lambda x: F.unfold(x, *grid), x)


@op
def fold(
    x: TensorLike,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Images put together from the windows of `unfold`; where windows overlap, they are added.

    Args:
        x: windows as columns, of shape (batch, channels * window, windows).
        output_size: the rows and columns of the images.
        kernel_size: the size of the window, in rows and columns.
        dilation: the step between the values of a window.
        padding: the zeros that were added to both sides of each spatial axis.
        stride: the step of the window.

    Returns:
        A tensor of shape (batch, channels, *output_size).

    Raises:
        ShapeError: the sizes do not make so many windows.

    Example:
        >>> fold(unfold(torch.ones(1, 1, 3, 3), 2), 3, 2)[0, 0, 1]
        tensor([2., 4., 2.])
    """
    size, grid = windows.sizes(output_size, 2, "output_size"), _grid(kernel_size, dilation, padding, stride)
    x = as_tensor(x)
    if x.shape[-1:] == (unknown_stand_in(),):
        counts = [
            (length + 2 * border - rate * (reach - 1) - 1) // step + 1
            for length, reach, rate, border, step in zip(size, *grid, strict=True)
        ]
        x = x.new_empty((*x.shape[:-1], math.prod(counts)))
    return windows.through_floats(lambda x: F.fold(x, size, *grid), x)


def _grid(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, ...], ...]:
    """The arguments of unfold and fold as pairs, in torch's order."""
    return (
        windows.sizes(kernel_size, 2, "kernel_size"),
        windows.sizes(dilation, 2, "dilation"),
        windows.sizes(padding, 2, "padding", least=0),
        windows.sizes(stride, 2, "stride"),
    )


def _padded(
    x: Tensor,
    window: tuple[int, ...],
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str,
    data_format: str,
) -> tuple[Tensor, tuple[int, ...]]:
    """The input in torch's layout, and the padding left to torch's kernel; padded here where sides differ."""
    rank = len(window)
    x = windows.to_torch(x, rank, data_format)
    amounts = windows.pads(windows.padding_mode(padding), x.shape[-rank:], window, steps, dilation)
    if windows.is_symmetric(amounts):
        return x, windows.plane(tuple(before for before, _ in amounts), 0)
    return F.pad(x, windows.flat(amounts)), windows.plane((0,) * rank, 0)


def _with_known_channels(x: Tensor, axis: int, kernel: Tensor, kernel_axis: int) -> tuple[Tensor, Tensor]:
    """Both with as many channels as the other has, if while shapes are inferred only one of the numbers is known."""
    unknown = unknown_stand_in()
    if unknown is None or x.shape[axis] == kernel.shape[kernel_axis]:
        return x, kernel
    if x.shape[axis] == unknown:
        return _resized(x, axis, kernel.shape[kernel_axis]), kernel
    return x, _resized(kernel, kernel_axis, x.shape[axis]) if kernel.shape[kernel_axis] == unknown else kernel


def _resized(x: Tensor, axis: int, size: int) -> Tensor:
    """A tensor without data of another size."""
    shape = list(x.shape)
    shape[axis] = size
    return x.new_empty(shape)


def _channel_axis(data_format: str) -> int:
    return -1 if data_format == "channels_last" else 1
