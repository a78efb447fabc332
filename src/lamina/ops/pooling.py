"""Pooling over one, two or three spatial axes: one number for each window of each channel.

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
from lamina.graph.op import op
from lamina.ops import windows
from lamina.ops.operands import TensorLike, as_float, as_tensor

Sizes = tuple[int, ...]


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
    return _pool(largest, as_tensor(inputs), pool_size, strides, padding, data_format)


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
    return _pool(mean_of_volumes if x.ndim == 5 else mean, x, pool_size, strides, padding, data_format)


@op
def adaptive_max_pool(inputs: TensorLike, output_size: int | Sequence[int], data_format: str | None = None) -> Tensor:
    """The largest value of each of `output_size` windows, spread evenly over the input.

    Args:
        inputs: the input.
        output_size: the number of windows along each spatial axis.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the input has the wrong number of axes.

    Example:
        >>> adaptive_max_pool(torch.tensor([[[1.0], [3.0], [2.0]]]), 2).flatten()
        tensor([3., 3.])
    """
    return _adapt(adaptive_largest, as_tensor(inputs), output_size, data_format)


@op
def adaptive_average_pool(
    inputs: TensorLike, output_size: int | Sequence[int], data_format: str | None = None
) -> Tensor:
    """The mean of each of `output_size` windows, spread evenly over the input.

    Args:
        inputs: the input.
        output_size: the number of windows along each spatial axis.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the input has the wrong number of axes.

    Example:
        >>> adaptive_average_pool(torch.tensor([[[1.0], [3.0], [2.0]]]), 2).flatten()
        tensor([2.0000, 2.5000])
    """
    return _adapt(adaptive_mean, as_float(inputs), output_size, data_format)


def _adapt(function: Any, x: Tensor, output_size: Any, data_format: Any) -> Tensor:
    """The arguments checked and completed, then `adapt`."""
    size = windows.sizes(output_size, windows.rank_of(x), "output_size")
    data_format = config.standardize_data_format(data_format)
    return windows.through_floats(lambda x: adapt(function, x, size, data_format), x)


def adapt(function: Callable[[Tensor, Sizes], Tensor], x: Tensor, output_size: Sizes, data_format: str) -> Tensor:
    """`adaptive_largest` or `adaptive_mean` of each window of a float tensor in Keras's layout."""
    rank, last = len(output_size), data_format == "channels_last"
    if rank == 1:
        x, output_size = x.unsqueeze(1 if last else 2), (1, *output_size)
    y = function(x.permute(windows.TO_FIRST[rank]) if last else x, output_size)
    if last:
        y = y.permute(windows.TO_LAST[rank])
    return y.squeeze(1 if last else 2) if rank == 1 else y


def adaptive_largest(x: Tensor, size: Sizes) -> Tensor:
    """The largest value of each of evenly spread windows of a tensor in torch's layout."""
    pool = torch.ops.aten.adaptive_max_pool3d if len(size) == 3 else torch.ops.aten.adaptive_max_pool2d
    return pool(x, size)[0]


def adaptive_mean(x: Tensor, size: Sizes) -> Tensor:
    """The mean of each of evenly spread windows of a tensor in torch's layout."""
    pool: Any = F.adaptive_avg_pool3d if len(size) == 3 else F.adaptive_avg_pool2d
    return pool(x, size)


def _pool(function: Any, x: Tensor, pool_size: Any, strides: Any, padding: Any, data_format: Any) -> Tensor:
    """The arguments checked and completed, then `slide`."""
    rank = windows.rank_of(x)
    window = windows.sizes(pool_size, rank, "pool_size")
    steps = window if strides is None else windows.sizes(strides, rank, "strides")
    mode, data_format = windows.padding_mode(padding), config.standardize_data_format(data_format)
    return windows.through_floats(lambda x: slide(function, x, window, steps, mode, data_format), x)


def slide(
    function: Callable[..., Tensor], x: Tensor, window: Sizes, strides: Sizes, padding: str, data_format: str
) -> Tensor:
    """`largest`, `mean` or `mean_of_volumes` of each window of a float tensor in Keras's layout."""
    # Written out, since every layer of this family goes through here: a call of a helper is a frame more.
    rank, last = len(window), data_format == "channels_last"
    if rank == 1:
        x = x.unsqueeze(1 if last else 2)
    if last:
        x = x.permute(windows.TO_FIRST[rank])
    around, ceil_mode, shortened = (0,) * rank, False, []
    if padding == "same":
        around, ceil_mode, shortened = _same_windows(x.shape[-rank:], window, strides)
    if rank == 1:
        window, strides, around = (1, *window), (1, *strides), (0, *around)
    y = function(x, window, strides, around, ceil_mode, last)
    for axis in shortened:
        y = y.narrow(axis, 1, y.shape[axis] - 1)
    if last:
        y = y.permute(windows.TO_LAST[rank])
    return y.squeeze(1 if last else 2) if rank == 1 else y


def largest(x: Tensor, window: Sizes, strides: Sizes, padding: Sizes, ceil_mode: bool, _: bool) -> Tensor:
    """The largest value of each window of a tensor in torch's layout."""
    return (torch.max_pool3d if len(window) == 3 else torch.max_pool2d)(x, window, strides, padding, 1, ceil_mode)


def mean(x: Tensor, window: Sizes, strides: Sizes, padding: Sizes, ceil_mode: bool, _: bool) -> Tensor:
    """The mean of each window of images in torch's layout."""
    return F.avg_pool2d(x, window, strides, padding, ceil_mode, False)


def _same_windows(lengths: Sequence[int], window: Sizes, strides: Sizes) -> tuple[Sizes, bool, list[int]]:
    """For "same" padding without a padded copy of the input: torch's padding, ceil mode, and axes to shorten.

    Torch pads both sides alike. Where one element more is needed behind, a stride above 1 lets its ceil mode open
    the last window; a stride of 1 gets the larger padding on both sides, and its first window is dropped.
    """
    rank = len(window)
    around, ceil_mode, shortened = [], False, []
    amounts = windows.pads("same", lengths, window, strides, (1,) * rank)
    for axis, ((before, behind), stride) in enumerate(zip(amounts, strides, strict=True), start=-rank):
        around.append(behind if stride == 1 else before)
        if before < behind:
            ceil_mode = True
            if stride == 1:
                shortened.append(axis)
    return tuple(around), ceil_mode, shortened


def mean_of_volumes(x: Tensor, window: Sizes, strides: Sizes, padding: Sizes, ceil_mode: bool, last: bool) -> Tensor:
    """The mean of each window of volumes in torch's layout, whose channels stand last in memory or not.

    It is taken over planes, then over depth. Torch's 3-D kernel copies channels-last inputs and takes no half precision
    on CPUs; its 2-D one is better at both.
    """
    batch, channels, depth, height, width = x.shape
    if last:
        planes = x.permute(0, 2, 3, 4, 1).reshape(batch * depth, height, width, channels).permute(0, 3, 1, 2)
    else:
        planes = x.reshape(batch, channels * depth, height, width)
    y = F.avg_pool2d(planes, window[1:], strides[1:], padding[1:], ceil_mode, False)
    height, width = y.shape[2:]
    if last:
        columns = y.permute(0, 2, 3, 1).reshape(batch, depth, height * width, channels).permute(0, 3, 1, 2)
    else:
        columns = y.reshape(batch, channels, depth, height * width)
    y = F.avg_pool2d(columns, (window[0], 1), (strides[0], 1), (padding[0], 0), ceil_mode, False)
    return y.unflatten(3, (height, width))
