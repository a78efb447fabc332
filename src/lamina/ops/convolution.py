"""Convolution and pooling over one, two or three spatial axes.

All take `inputs` of shape (batch, *spatial, channels), or (batch, channels, *spatial) with
data_format="channels_first"; the default layout is that of `config.image_data_format()`. "valid" padding keeps windows
inside the input; "same" makes ceil(size / stride) of them, and what they see outside counts for nothing.

Source: https://keras.io/api/ops/nn/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.errors import ShapeError
from lamina.graph.op import op
from lamina.ops import windows
from lamina.ops.operands import TensorLike, as_float, as_floats, as_tensor

_KERNEL_TO_TORCH = {1: (2, 1, 0), 2: (3, 2, 0, 1), 3: (4, 3, 0, 1, 2)}


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
    inputs, kernel = as_floats(inputs, kernel)
    rank = _rank(inputs)
    if kernel.ndim != rank + 2:
        raise ShapeError(
            "The kernel does not fit the input.",
            where="conv",
            expected=f"{rank + 2} axes: (*window, channels, filters)",
            received=tuple(kernel.shape),
        )
    data_format = config.standardize_data_format(data_format)
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
    weight = kernel.permute(_KERNEL_TO_TORCH[rank])
    if rank == 1:
        weight = weight.unsqueeze(2)
    function = torch.conv3d if rank == 3 else torch.conv2d
    groups = channels // kernel.shape[-2]
    y = function(x, weight, None, windows.plane(steps, 1), before, windows.plane(dilation, 1), groups)
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
    inputs, kernel = as_floats(inputs, kernel)
    channels = inputs.shape[_channel_axis(config.standardize_data_format(data_format))]
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
    return conv(y, pointwise_kernel, data_format=data_format)


@op
def max_pool(
    inputs: TensorLike,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The largest value of each window.

    Args:
        inputs: the input.
        pool_size: the size of the window along each spatial axis.
        strides: its step along each; the size by default.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the input has the wrong number of axes.

    Example:
        >>> max_pool(torch.tensor([[[1.0], [3.0], [2.0]]]), 2, padding="same").flatten()
        tensor([3., 2.])
    """
    x = as_tensor(inputs)
    lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min

    def pool(x: Tensor, window: Any, step: Any, before: Any) -> Tensor:
        return (F.max_pool3d if len(window) == 3 else F.max_pool2d)(x, window, step, before)

    return _pool(pool, x, pool_size, strides, padding, data_format, fill=lowest)


@op
def average_pool(
    inputs: TensorLike,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The mean of each window, of what lies inside the input alone.

    Args:
        inputs: the input.
        pool_size: the size of the window along each spatial axis.
        strides: its step along each; the size by default.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the input has the wrong number of axes.

    Example:
        >>> average_pool(torch.tensor([[[1.0], [3.0], [2.0]]]), 2, padding="same").flatten()
        tensor([2., 2.])
    """
    x = as_float(inputs)

    def pool(x: Tensor, window: Any, step: Any, before: Any) -> Tensor:
        function = F.avg_pool3d if len(window) == 3 else F.avg_pool2d
        return function(x, window, step, before, count_include_pad=True)

    y = _pool(pool, x, pool_size, strides, padding, data_format, fill=0.0)
    if padding.lower() == "valid":
        return y
    # The same on ones gives the share of each window that lies inside.
    last = config.standardize_data_format(data_format) == "channels_last"
    ones = x.new_ones((1, *x.shape[1:-1], 1) if last else (1, 1, *x.shape[2:]))
    return y / _pool(pool, ones, pool_size, strides, padding, data_format, fill=0.0)


def _pool(
    function: Callable[..., Tensor],
    x: Tensor,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: str,
    data_format: str | None,
    fill: float,
) -> Tensor:
    """Pool, what lies outside the input being `fill` where torch has no padding of its own for it."""
    rank = _rank(x)
    data_format = config.standardize_data_format(data_format)
    window = windows.sizes(pool_size, rank, "pool_size")
    steps = window if strides is None else windows.sizes(strides, rank, "strides")
    x, before = _padded(x, window, steps, (1,) * rank, padding, data_format, fill)
    y = function(x, windows.plane(window, 1), windows.plane(steps, 1), before)
    return windows.from_torch(y, rank, data_format)


def _padded(
    x: Tensor,
    window: tuple[int, ...],
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str,
    data_format: str,
    fill: float = 0.0,
) -> tuple[Tensor, tuple[int, ...]]:
    """The input in torch's layout, and the padding left to torch's kernel; padded here where sides differ."""
    rank = len(window)
    x = windows.to_torch(x, rank, data_format)
    amounts = windows.pads(windows.padding_mode(padding), x.shape[-rank:], window, steps, dilation)
    if windows.is_symmetric(amounts):
        return x, windows.plane(tuple(before for before, _ in amounts), 0)
    return F.pad(x, windows.flat(amounts), value=fill), windows.plane((0,) * rank, 0)


def _rank(x: Tensor) -> int:
    """The number of spatial axes."""
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            "The input has the wrong number of axes.",
            expected="3, 4 or 5 axes: batch, channels and one to three spatial ones",
            received=tuple(x.shape),
        )
    return x.ndim - 2


def _channel_axis(data_format: str) -> int:
    return -1 if data_format == "channels_last" else 1
