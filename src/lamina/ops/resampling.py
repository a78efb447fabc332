"""Images in other sizes: resized, scaled and moved, padded, cropped.

All take `images` of shape (height, width, channels) or (batch, height, width, channels), with
data_format="channels_first" (channels, height, width) or (batch, channels, height, width); the default layout is that
of `config.image_data_format()`. The result has the dtype of the images: integers are computed as floats, rounded, and
kept within what their dtype can hold.

Two ways lead to a new size. Torch has kernels for the common interpolations. The others are linear in the pixels of an
axis, so each is a matrix of weights (new size, old size), one for the rows and one for the columns.

Source: https://keras.io/api/ops/image/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import TensorLike, as_floats, as_tensor, axis_of, shape_of

_TORCH_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


@op
def resize(
    images: TensorLike,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """The images with another height and width.

    Args:
        images: one image or a batch.
        size: the new (height, width).
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3", "lanczos5" or "area".
        antialias: whether to smooth before an axis is made shorter; "nearest" and "area" know no such thing.
        crop_to_aspect_ratio: whether to first cut the images, around their middle, to the proportions of `size`.
        pad_to_aspect_ratio: whether to first widen the images, on both sides alike, to the proportions of `size`.
        fill_mode: "constant", the only way to fill what is widened.
        fill_value: the value to fill it with.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the images have neither three nor four axes.
        ArgumentError: an argument has none of the values above, or both aspect ratio arguments are set.

    Example:
        >>> resize(torch.ones(2, 4, 6, 3), (8, 3)).shape
        torch.Size([2, 8, 3, 3])

    Source: https://keras.io/api/ops/image/#resize-function
    """
    images = as_tensor(images)
    height_axis, _ = image_axes(images, data_format, "resize")
    height, width = _size(size)
    one_of(interpolation, (*_TORCH_MODES, *_MATRICES), "resize, interpolation")
    one_of(fill_mode, ("constant",), "resize, fill_mode")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ArgumentError(
            "Images are either cropped or padded to the aspect ratio.",
            where="resize",
            expected="at most one of crop_to_aspect_ratio and pad_to_aspect_ratio",
            received="both",
        )
    x = _as_computed(images, interpolation)
    x = x.unsqueeze(0) if images.ndim == 3 else x
    x = x.movedim(-1, 1) if height_axis == -3 else x
    if crop_to_aspect_ratio:
        x = _cropped_like(x, height, width)
    elif pad_to_aspect_ratio:
        x = _padded_like(x, height, width, fill_value)
    if interpolation in _TORCH_MODES:
        smooth = interpolation != "nearest"
        mode, align = _TORCH_MODES[interpolation], False if smooth else None
        x = F.interpolate(x, (height, width), mode=mode, align_corners=align, antialias=antialias and smooth)
    else:
        matrix = _MATRICES[interpolation]
        rows, columns = matrix(x.shape[-2], height, antialias, x), matrix(x.shape[-1], width, antialias, x)
        x = rows @ x @ columns.t()
    x = x.movedim(1, -1) if height_axis == -3 else x
    return _settled(x.squeeze(0) if images.ndim == 3 else x, images.dtype)


def image_axes(images: Tensor, data_format: str | None, where: str) -> tuple[int, int]:
    """Where height and width stand, counted from the end.

    Raises:
        ShapeError: the images have neither three nor four axes.
    """
    if images.ndim not in (3, 4):
        raise ShapeError(
            "Unusable rank of images.",
            where=where,
            expected="one image of three axes or a batch of four",
            received=tuple(images.shape),
        )
    return (-3, -2) if config.standardize_data_format(data_format) == "channels_last" else (-2, -1)


def _size(size: Any) -> tuple[int, int]:
    sizes = shape_of(size)
    if len(sizes) != 2 or min(sizes) <= 0:
        raise ArgumentError(
            "Unusable size.", where="resize, size", expected="two positive integers (height, width)", received=size
        )
    return sizes


def _as_computed(images: Tensor, interpolation: str) -> Tensor:
    """The images in the float dtype to compute in: at least float32, and exact where pixels are merely copied."""
    if images.dtype is torch.float64:
        return images
    is_long = not images.is_floating_point() and images.dtype.itemsize >= 4
    return images.double() if is_long and interpolation == "nearest" else images.float()


def _settled(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Computed values in the dtype of the images."""
    if not dtype.is_floating_point and dtype is not torch.bool:
        limits = torch.iinfo(dtype)
        x = x.round().clamp(limits.min, limits.max)
    return x.to(dtype)


def _cropped_like(x: Tensor, height: int, width: int) -> Tensor:
    """The largest window in the middle whose sides are as `height` to `width`."""
    tall, wide = x.shape[-2:]
    rows, columns = max(min(tall, wide * height // width), 1), max(min(wide, tall * width // height), 1)
    return x.narrow(-2, (tall - rows) // 2, rows).narrow(-1, (wide - columns) // 2, columns)


def _padded_like(x: Tensor, height: int, width: int, value: float) -> Tensor:
    """The images with equal borders that bring their sides (but for an odd pixel) to `height` by `width`."""
    tall, wide = x.shape[-2:]
    above, beside = max(wide * height // width - tall, 0) // 2, max(tall * width // height - wide, 0) // 2
    return F.pad(x, (beside, beside, above, above), value=value)


def _scale_spec(
    images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Any, method: str, antialias: bool = True
) -> KerasTensor:
    """The symbolic result of `scale_and_translate`."""
    images, scale, translation = (
        x if isinstance(x, KerasTensor) else as_tensor(x) for x in (images, scale, translation)
    )
    _scaled_axes(images, output_shape, scale, translation, spatial_dims, method)
    sizes = zip(images.shape, output_shape, strict=True)
    return KerasTensor(tuple(own if size is None else size for own, size in sizes), images.dtype)


@op(symbolic=_scale_spec)
def scale_and_translate(
    images: TensorLike,
    output_shape: Sequence[int | None],
    scale: TensorLike,
    translation: TensorLike,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> Tensor:
    """The images scaled, then moved, and seen through a frame of another size; what lies outside of them is zero.

    A pixel covers the unit interval around its centre, so that the first centre is at 0.5; a place x of an axis goes
    to x * scale + translation.

    Args:
        images: an array of any rank.
        output_shape: the shape of the result; sizes of axes that stay may be None.
        scale: the factor of each of the `spatial_dims`, shape (k,).
        translation: the shift of each, in pixels of the result, shape (k,).
        spatial_dims: the k axes to work on.
        method: "linear", "bilinear", "trilinear", "triangle", "cubic", "bicubic", "tricubic", "lanczos3" or "lanczos5".
        antialias: whether to smooth where an axis is made shorter.

    Raises:
        ShapeError: the sequences do not fit each other or the images.
        ArgumentError: the method is unknown.

    Example:
        >>> halves = torch.tensor([0.5, 0.5])
        >>> scale_and_translate(torch.ones(4, 4), (2, 2), halves, torch.zeros(2), (0, 1), "linear")
        tensor([[1., 1.],
                [1., 1.]])

    Source: https://keras.io/api/ops/image/
    """
    images = as_tensor(images)
    scale, translation = as_floats(scale, translation)
    scale, translation = scale.to(images.device), translation.to(images.device)
    axes = _scaled_axes(images, output_shape, scale, translation, spatial_dims, method)
    x = images if images.is_floating_point() else images.float()
    for axis, factor, shift in zip(axes, scale, translation, strict=True):
        size: Any = output_shape[axis]
        x = _weighed(x, axis, _weights(x.shape[axis], size, factor, shift, _KERNELS[method], antialias).to(x.dtype))
    if images.is_floating_point() or not axes:
        return x.to(images.dtype)
    # Cubic and Lanczos kernels overshoot at edges.
    return x.round().clamp(images.min(), images.max()).to(images.dtype)


def _scaled_axes(
    images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Sequence[int], method: str
) -> list[int]:
    """The axes to work on, after a check of all arguments of `scale_and_translate`."""
    one_of(method, tuple(_KERNELS), "scale_and_translate, method")
    axes = [axis_of(axis, len(images.shape)) for axis in spatial_dims]
    fitting = {(len(axes),), (None,)}
    if len(output_shape) != len(images.shape) or not {tuple(scale.shape), tuple(translation.shape)} <= fitting:
        raise ShapeError(
            "The arguments do not fit each other.",
            where="scale_and_translate",
            expected=f"an output_shape of {len(images.shape)} sizes; scale and translation of shape ({len(axes)},)",
            received=f"{tuple(output_shape)}; {tuple(scale.shape)} and {tuple(translation.shape)}",
        )
    return axes


def _weighed(x: Tensor, axis: int, weights: Tensor) -> Tensor:
    """The product of a matrix (new size, old size) with one axis."""
    return torch.tensordot(x, weights, ([axis], [1])).movedim(-1, axis)  # type: ignore[arg-type]


def _weights(
    size: int, count: int, scale: Tensor, shift: Tensor, kernel: Callable[[Tensor], Tensor], antialias: bool
) -> Tensor:
    """What each of `size` pixels adds to each of `count` new ones, by the kernel's value at their distance."""
    stride = 1 / scale
    centres = torch.arange(count, dtype=scale.dtype, device=scale.device) + 0.5
    places = centres * stride - shift * stride - 0.5
    distances = (places[:, None] - torch.arange(size, dtype=scale.dtype, device=scale.device)).abs()
    weights = kernel(distances / stride.clamp(min=1) if antialias else distances)
    total = weights.sum(1, keepdim=True)
    # Where hardly any weight is found, dividing by it would blow up rounding errors.
    usable = (total.abs() > 1000 * torch.finfo(torch.float32).eps) & (places >= -0.5)[:, None]
    usable = usable & (places <= size - 0.5)[:, None]
    return torch.where(usable, weights / torch.where(usable, total, 1), 0)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """The cubic convolution kernel of Keys (1981) with a slope of -1/2 at distance 1."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


def _lanczos(distance: Tensor, radius: int) -> Tensor:
    return torch.where(distance <= radius, torch.sinc(distance) * torch.sinc(distance / radius), 0)


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), _triangle),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), _cubic),
    "lanczos3": partial(_lanczos, radius=3),
    "lanczos5": partial(_lanczos, radius=5),
}


def _kernel_matrix(size: int, count: int, antialias: bool, like: Tensor, *, kernel: str) -> Tensor:
    """The weights that stretch an axis over its new length."""
    return _weights(size, count, like.new_full((), count / size), like.new_zeros(()), _KERNELS[kernel], antialias)


def _area_matrix(size: int, count: int, _: bool, like: Tensor) -> Tensor:
    """The share of each old pixel in the interval that a new one covers."""
    edges = torch.arange(count + 1, dtype=like.dtype, device=like.device) * (size / count)
    starts = torch.arange(size, dtype=like.dtype, device=like.device)
    overlap = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return overlap.clamp(min=0) * (count / size)


_MATRICES: dict[str, Callable[[int, int, bool, Tensor], Tensor]] = {
    "lanczos3": partial(_kernel_matrix, kernel="lanczos3"),
    "lanczos5": partial(_kernel_matrix, kernel="lanczos5"),
    "area": _area_matrix,
}


@op
def pad_images(
    images: TensorLike,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """The images with borders of zeros. Of each axis exactly two of three arguments are given.

    Args:
        images: one image or a batch.
        top_padding: how many rows to add above.
        left_padding: how many columns to add on the left.
        bottom_padding: how many rows to add below.
        right_padding: how many columns to add on the right.
        target_height: the height of the result.
        target_width: the width of the result.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the images have neither three nor four axes.
        ArgumentError: too many or too few arguments are given, or one of them is (or makes another) negative.

    Example:
        >>> pad_images(torch.ones(15, 25, 3), 2, 3, target_height=20, target_width=30).shape
        torch.Size([20, 30, 3])

    Source: https://keras.io/api/ops/image/#pad_images-function
    """
    images = as_tensor(images)
    sides = (top_padding, bottom_padding, left_padding, right_padding)
    return _reframed(images, sides, (target_height, target_width), data_format, "padding")


@op
def crop_images(
    images: TensorLike,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """The images without some of their borders. Of each axis exactly two of three arguments are given.

    Args:
        images: one image or a batch.
        top_cropping: how many rows to cut off above.
        left_cropping: how many columns to cut off on the left.
        bottom_cropping: how many rows to cut off below.
        right_cropping: how many columns to cut off on the right.
        target_height: the height of the result.
        target_width: the width of the result.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the images have neither three nor four axes.
        ArgumentError: too many or too few arguments are given, or one of them is (or makes another) negative.

    Example:
        >>> crop_images(torch.ones(15, 25, 3), 2, 3, target_height=10, target_width=20).shape
        torch.Size([10, 20, 3])

    Source: https://keras.io/api/ops/image/#crop_images-function
    """
    images = as_tensor(images)
    sides = (top_cropping, bottom_cropping, left_cropping, right_cropping)
    return _reframed(images, sides, (target_height, target_width), data_format, "cropping")


def _reframed(
    images: Tensor,
    sides: tuple[int | None, int | None, int | None, int | None],
    target: tuple[int | None, int | None],
    data_format: str | None,
    word: str,
) -> Tensor:
    """The images with their frame moved outwards ("padding") or inwards ("cropping")."""
    where = "pad_images" if word == "padding" else "crop_images"
    axes = image_axes(images, data_format, where)
    rows = {f"top_{word}": sides[0], f"bottom_{word}": sides[1], "target_height": target[0]}
    columns = {f"left_{word}": sides[2], f"right_{word}": sides[3], "target_width": target[1]}
    sign = 1 if word == "padding" else -1
    high, wide = (_ends(images.shape[a], given, sign, where) for a, given in zip(axes, (rows, columns), strict=True))
    return F.pad(images, (0, 0, *wide, *high) if axes == (-3, -2) else (*wide, *high))


def _ends(size: int, given: dict[str, int | None], sign: int, where: str) -> tuple[int, int]:
    """What to add in front of and behind an axis, negative for what is cut off."""
    amounts = {name: value for name, value in given.items() if value is not None}
    if len(amounts) != 2:
        raise ArgumentError(
            "Exactly two of three arguments are needed.",
            where=where,
            expected="two of " + ", ".join(given),
            received=", ".join(f"{name}={value}" for name, value in given.items()),
        )
    before, after, target = given.values()
    first, last = before or 0, after or 0
    if target is not None:
        rest = sign * (target - size) - first - last
        first, last = (rest, last) if before is None else (first, rest)
    # The stand-in for an unknown size says nothing about what follows from it.
    if size != unknown_stand_in():
        amounts |= zip(given, (first, last, size + sign * (first + last)), strict=True)
    for name, amount in amounts.items():
        if amount < 0:
            raise ArgumentError(
                f"{name} must be >= 0.",
                where=where,
                expected="0 or more",
                received=f"{name}={amount}, an axis of {size}",
            )
    return sign * first, sign * last
