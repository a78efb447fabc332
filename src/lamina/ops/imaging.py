"""Colours, filters and patches of images.

Images have the shape (height, width, channels), or (batch, height, width, channels) for several; with
data_format="channels_first" the channels stand before the height. The default layout is that of
`config.image_data_format()`.

Source: https://keras.io/api/ops/image/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.dtypes import result_type
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.core.tensors import convert_to_tensor
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops import windows
from lamina.ops.convolution import depthwise_conv
from lamina.ops.operands import TensorLike, as_float, as_floats, as_tensor

Pair = Sequence[Any] | Tensor


@op
def rgb_to_grayscale(images: TensorLike, data_format: str | None = None) -> Tensor:
    """The brightness of RGB images; images of one channel stay as they are.

    Args:
        images: one image or several, of 3 channels or 1.
        data_format: "channels_last" or "channels_first".

    Returns:
        Images of one channel and the same dtype.

    Raises:
        ShapeError: these are no images of 3 channels or 1.

    Example:
        >>> rgb_to_grayscale([[[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]).flatten()
        tensor([0.2989, 0.9999])
    """
    images, axis = _images(images, "rgb_to_grayscale", data_format, (1, 3))
    if images.shape[axis] == 1:
        return images.clone()
    red, green, blue = (images.select(axis, i) for i in range(3))
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(images.dtype).unsqueeze(axis)


@op
def rgb_to_hsv(images: TensorLike, data_format: str | None = None) -> Tensor:
    """RGB images by hue (0 is red, 1/3 green, 2/3 blue), saturation and value, all between 0 and 1.

    Args:
        images: one image or several, floats between 0 and 1.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: these are no images of 3 channels.
        ArgumentError: they are not floats.

    Example:
        >>> rgb_to_hsv([[[0.0, 0.5, 0.0]]])
        tensor([[[0.3333, 1.0000, 0.5000]]])
    """
    images, axis = _images(images, "rgb_to_hsv", data_format, (3,), floats=True)
    images = torch.where(images.abs() < torch.finfo(images.dtype).eps, 0.0, images)
    red, green, blue = (images.select(axis, i) for i in range(3))
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    # Where a divisor is zero another one takes its place, for the sake of the gradient.
    sixth = 1.0 / (6.0 * torch.where(spread > 0, spread, 1.0))
    hue = torch.where(value == green, sixth * (blue - red) + 2.0 / 6.0, sixth * (red - green) + 4.0 / 6.0)
    hue = torch.where(value == red, sixth * (green - blue), hue)
    hue = torch.where(spread > 0, hue.remainder(1.0), 0.0)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    return torch.stack([hue, saturation, value], axis)


@op
def hsv_to_rgb(images: TensorLike, data_format: str | None = None) -> Tensor:
    """Images given by hue, saturation and value as RGB.

    Args:
        images: one image or several, floats between 0 and 1.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: these are no images of 3 channels.
        ArgumentError: they are not floats.

    Example:
        >>> hsv_to_rgb([[[0.5, 1.0, 1.0]]])
        tensor([[[0., 1., 1.]]])
    """
    images, axis = _images(images, "hsv_to_rgb", data_format, (3,), floats=True)
    hue, saturation, value = (images.select(axis, i) for i in range(3))
    hue = hue.remainder(1.0) * 6.0
    shares = [(hue - 3.0).abs() - 1.0, 2.0 - (hue - 2.0).abs(), 2.0 - (hue - 4.0).abs()]
    return torch.stack([value * (1.0 - saturation + saturation * share.clip(0.0, 1.0)) for share in shares], axis)


def _blur_spec(images: Any, kernel_size: Any = 3, sigma: Any = 1.0, data_format: str | None = None) -> KerasTensor:
    """Blurred symbolic images; size and deviation may be symbolic too."""
    _check_rank("image.gaussian_blur", images.shape, (3, 4))
    if not isinstance(kernel_size, KerasTensor):
        windows.sizes(kernel_size, 2, "kernel_size")
    return KerasTensor(images.shape, images.dtype)


@op(symbolic=_blur_spec)
def gaussian_blur(
    images: TensorLike,
    kernel_size: Pair = (3, 3),
    sigma: Pair = (1.0, 1.0),
    data_format: str | None = None,
) -> Tensor:
    """Images with each pixel replaced by a weighted mean of those around it; outside the image all is zero.

    As in Keras, whose page has it the other way round, the first number of a pair is for the width.

    Args:
        images: one image or several; integers are rounded.
        kernel_size: how many pixels the mean takes in along the width and the height.
        sigma: the standard deviation of the weights along the width and the height, in pixels.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: these are no images.

    Example:
        >>> gaussian_blur(torch.ones(3, 3, 1))[1].flatten()
        tensor([0.7259, 1.0000, 0.7259])
    """
    images, axis = _images(images, "gaussian_blur", data_format)
    x = as_float(images)
    y = _blurred(_batched(x), axis, windows.sizes(kernel_size, 2, "kernel_size"), sigma, "same").reshape(x.shape)
    return y if images.dtype is y.dtype else y.round().to(images.dtype)


@op
def sobel_edges(images: TensorLike, data_format: str | None = None) -> Tensor:
    """How fast images change along the height and the width; outside the image all is zero.

    Args:
        images: several images.
        data_format: "channels_last" or "channels_first".

    Returns:
        Both slopes, on a new last axis of size 2.

    Raises:
        ShapeError: these are not several images.

    Example:
        >>> sobel_edges(torch.arange(9.0).reshape(1, 3, 3, 1))[0, 1, 1]
        tensor([[24.,  8.]])
    """
    images, axis = _images(images, "sobel_edges", data_format, ranks=(4,))
    x = images if images.is_floating_point() else images.double()
    slope = torch.arange(-1.0, 2.0, dtype=x.dtype, device=x.device)
    across = torch.outer(2.0 - slope.abs(), slope)
    kernel = torch.stack([across.t(), across], -1).unsqueeze(2).expand(3, 3, x.shape[axis], 2)
    y = depthwise_conv(x, kernel, padding="same", data_format=_layout(axis))
    y = y.unflatten(axis, (x.shape[axis], 2)).movedim(axis, -1)
    # By way of signed integers, so that a negative slope wraps around in unsigned ones wherever this runs.
    return y if x is images else y.long().to(images.dtype)


def _ssim_spec(image1: Any, image2: Any, *args: Any, **kwargs: Any) -> KerasTensor:
    """A number for each pair of symbolic images."""
    _check_alike("image.ssim", image1, image2)
    _check_rank("image.ssim", image1.shape, (3, 4))
    return KerasTensor(image1.shape[:-3], image1.dtype)


@op(symbolic=_ssim_spec)
def ssim(
    image1: TensorLike,
    image2: TensorLike,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> Tensor:
    """The structural similarity of images: 1 for equal ones, and never below -1.

    Args:
        image1: one image or several.
        image2: those they are compared with, of the same shape.
        max_val: the largest possible value of a pixel.
        filter_size: the size of the Gaussian window that means and variances are taken over, in pixels.
        filter_sigma: its standard deviation, in pixels.
        k1: steadies the quotient of the means.
        k2: steadies that of the variances.
        data_format: "channels_last" or "channels_first".

    Returns:
        The mean over each image, of the dtype of `image1`: give floats, since integers cut off all below 1.

    Raises:
        ShapeError: these are no images of one shape, or they are smaller than the window.

    Example:
        >>> ssim(torch.ones(2, 16, 16, 3), torch.ones(2, 16, 16, 3))
        tensor([1., 1.])

    Source: Wang et al., 2004. Image quality assessment: from error visibility to structural similarity.
    """
    image1, axis = _images(image1, "ssim", data_format)
    image2 = as_tensor(image2)
    _check_alike("image.ssim", image1, image2)
    # Variances are small differences of large numbers: half precision would leave nothing of them.
    dtype = torch.promote_types(as_float(image1).dtype, torch.float32)
    x, y = (_batched(x.to(dtype)) for x in (image1, image2))
    window = windows.sizes(filter_size, 2, "filter_size")
    if min(x.shape[1:3] if axis == -1 else x.shape[2:]) < window[0]:
        raise ShapeError(
            "The images are smaller than the window.",
            where="ops.image.ssim",
            expected=f"height and width of at least {window[0]}",
            received=f"shape {tuple(image1.shape)}",
            fix="a smaller filter_size",
        )
    means = _blurred(torch.cat([x, y, x * x, y * y, x * y]), axis, window, (filter_sigma, filter_sigma), "valid")
    mean1, mean2, of_square1, of_square2, of_product = means.chunk(5)
    product, squares = mean1 * mean2, mean1 * mean1 + mean2 * mean2
    steady1, steady2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    above = (2.0 * product + steady1) * (2.0 * (of_product - product) + steady2)
    below = (squares + steady1) * (of_square1 + of_square2 - squares + steady2)
    return (above / below).mean((1, 2, 3)).reshape(image1.shape[:-3]).to(image1.dtype)


def _psnr_spec(x1: Any, x2: Any, max_val: Any) -> KerasTensor:
    """One number for two symbolic signals."""
    _check_alike("psnr", x1, x2)
    return KerasTensor((), result_type(x1.dtype, x2.dtype, float))


@op(symbolic=_psnr_spec)
def psnr(x1: TensorLike, x2: TensorLike, max_val: TensorLike) -> Tensor:
    """The peak signal-to-noise ratio of two signals, in decibels: infinite for equal ones.

    Args:
        x1: the first signal.
        x2: the second signal, of the same shape.
        max_val: the largest possible value of a signal.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> psnr([0.0, 1.0], [0.5, 1.0], 1.0)
        tensor(9.0309)

    Source: https://keras.io/api/ops/nn/
    """
    x1, x2 = as_floats(x1, x2)
    _check_alike("psnr", x1, x2)
    peak = convert_to_tensor(max_val, x1.dtype, x1.device)
    return 20.0 * peak.log10() - 10.0 * (x1 - x2).square().mean().log10()


@op
def extract_patches(
    images: TensorLike,
    size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    dilation_rate: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The patches of images or volumes, the pixels of each one after another in place of the channels.

    Args:
        images: one or several; volumes, with a depth before the height, for a size of three numbers.
        size: the height and width of a patch, with a depth before them for volumes; an integer is for both.
        strides: the step from patch to patch along each; the size by default.
        dilation_rate: the step from pixel to pixel within a patch along each.
        padding: "valid", or "same" for patches that reach beyond the border, where all is zero.
        data_format: "channels_last" or "channels_first".

    Raises:
        ArgumentTypeError: the size is neither an integer nor a tuple.
        ArgumentError: it has other than two or three numbers.
        ShapeError: the images have the wrong number of axes, or are smaller than a patch.

    Example:
        >>> extract_patches(torch.ones(2, 20, 20, 3), (5, 5)).shape
        torch.Size([2, 4, 4, 75])
    """
    rank = len(size) if isinstance(size, (tuple, list)) else 2
    if rank not in (2, 3) or not isinstance(size, (int, tuple, list)):
        raise (ArgumentError if isinstance(size, (tuple, list)) else ArgumentTypeError)(
            "Unusable size of patches.",
            where="ops.image.extract_patches",
            expected="an integer, or a tuple of 2 or 3",
            received=repr(size),
        )
    x = as_tensor(images)
    _check_rank("image.extract_patches", x.shape, (rank + 1, rank + 2))
    window = windows.sizes(size, rank, "size")
    steps = window if strides is None else windows.sizes(strides, rank, "strides")
    dilation = windows.sizes(dilation_rate, rank, "dilation_rate")
    last = config.standardize_data_format(data_format) == "channels_last"
    channels = x.ndim - rank - 1
    if last:
        x = x.movedim(-1, channels)
    amounts = windows.pads(windows.padding_mode(padding), x.shape[-rank:], window, steps, dilation)
    if any(map(any, amounts)):
        x = F.pad(x, windows.flat(amounts))
    for i in range(rank):
        x = _windows(x, channels + 1 + i, window[i], steps[i], dilation[i])
    x = x.movedim(channels, -1).flatten(-rank - 1)
    return x if last else x.movedim(-1, channels)


def extract_patches_3d(
    volumes: TensorLike,
    size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    dilation_rate: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The patches of volumes, the points of each one after another in place of the channels.

    Args:
        volumes: one or several, with a depth before the height.
        size: the depth, height and width of a patch; an integer is for all.
        strides: the step from patch to patch along each; the size by default.
        dilation_rate: the step from point to point within a patch along each.
        padding: "valid", or "same" for patches that reach beyond the border, where all is zero.
        data_format: "channels_last" or "channels_first".

    Raises:
        ArgumentTypeError: the size is neither an integer nor a tuple of three.
        ShapeError: the volumes have the wrong number of axes, or are smaller than a patch.

    Example:
        >>> extract_patches_3d(torch.ones(10, 10, 10, 3), 3).shape
        torch.Size([3, 3, 3, 81])
    """
    size = (size,) * 3 if isinstance(size, int) else size
    if not isinstance(size, (tuple, list)) or len(size) != 3:
        raise ArgumentTypeError(
            "Unusable size of patches.",
            where="ops.image.extract_patches_3d",
            expected="an integer, or a tuple of 3",
            received=repr(size),
        )
    return extract_patches(volumes, size, strides, dilation_rate, padding, data_format)


def _images(
    images: Any,
    where: str,
    data_format: str | None,
    channels: tuple[int, ...] = (),
    ranks: tuple[int, ...] = (3, 4),
    floats: bool = False,
) -> tuple[Tensor, int]:
    """The images as a checked tensor, and the axis of their channels, counted from the end."""
    x = as_tensor(images)
    axis = -1 if config.standardize_data_format(data_format) == "channels_last" else -3
    _check_rank(f"image.{where}", x.shape, ranks)
    if channels and x.shape[axis] not in (*channels, unknown_stand_in()):
        raise ShapeError(
            "The images have the wrong number of channels.",
            where=f"ops.image.{where}",
            expected=f"{' or '.join(map(str, channels))} on axis {axis}",
            received=f"shape {tuple(x.shape)}",
        )
    if floats and not x.is_floating_point():
        raise ArgumentError(
            "The images are no floats.",
            where=f"ops.image.{where}",
            expected="floats between 0 and 1",
            received=x.dtype,
            fix='cast(images, "float32") / 255',
        )
    return x, axis


def _check_rank(where: str, shape: Sequence[int | None], ranks: tuple[int, ...]) -> None:
    if len(shape) not in ranks:
        raise ShapeError(
            "The number of axes is wrong.",
            where=f"ops.{where}",
            expected=f"{' or '.join(map(str, ranks))} axes",
            received=f"shape {tuple(shape)}",
        )


def _check_alike(where: str, x1: Any, x2: Any) -> None:
    """Raise an error if the shapes differ, in more than what is not known of them."""
    pairs = list(zip(x1.shape, x2.shape, strict=False))
    if len(x1.shape) != len(x2.shape) or any(a != b and None not in (a, b) for a, b in pairs):
        raise ShapeError(
            "The shapes differ.",
            where=f"ops.{where}",
            expected=f"shape {tuple(x1.shape)} for both",
            received=f"shape {tuple(x2.shape)} for the second",
        )


def _batched(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x[None]


def _layout(axis: int) -> str:
    return "channels_last" if axis == -1 else "channels_first"


def _blurred(x: Tensor, axis: int, size: tuple[int, ...], sigma: Pair, padding: str) -> Tensor:
    """Weighted means of the pixels, first along the height, then along the width."""
    for along, i in enumerate((1, 0)):
        offsets = torch.arange(size[i], dtype=x.dtype, device=x.device) - (size[i] - 1) / 2
        weights = torch.exp(-0.5 * (offsets / sigma[i]) ** 2)
        weights = weights / weights.sum()
        kernel = weights.reshape((1, -1, 1, 1) if along else (-1, 1, 1, 1)).expand(-1, -1, x.shape[axis], -1)
        x = depthwise_conv(x, kernel, padding=padding, data_format=_layout(axis))
    return x


def _windows(x: Tensor, axis: int, size: int, step: int, rate: int) -> Tensor:
    """The windows along an axis, their elements on a new last axis."""
    count = x.shape[axis] // size
    if count and step == size and rate == 1:
        # The same as below, with a gradient that is only a copy: nine times as fast for patches of 16 x 16.
        return x.narrow(axis, 0, count * size).unflatten(axis, (count, size)).movedim(axis + 1, -1)
    return x.unfold(axis, (size - 1) * rate + 1, step)[..., ::rate]
