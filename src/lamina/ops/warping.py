"""Images seen through a bent grid: every pixel of the result is looked up at some place of the input.

Places are coordinates between the pixels; the value there is that of the nearest pixel or a mixture of its neighbours.
`fill_mode` says what is found outside of an axis (a b c d): "constant" the `fill_value`, "nearest" a a|a b c d|d d,
"wrap" c d|a b c d|a b, "mirror" c b|a b c d|c b, "reflect" b a|a b c d|d c. Images have the layouts that
`lamina.ops.resampling` tells of, and keep shape and dtype; integers are rounded.

Source: https://keras.io/api/ops/image/
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina.core.errors import ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops.operands import TensorLike, as_float, as_tensor
from lamina.ops.random import Seed, normal
from lamina.ops.resampling import image_axes

_ORDERS = {"nearest": 0, "bilinear": 1}


def _clamped(index: Tensor, size: int) -> Tensor:
    return index.clamp(0, size - 1)


def _mirrored(index: Tensor, size: int) -> Tensor:
    place = index % max(2 * size - 2, 1)
    return torch.minimum(place, 2 * size - 2 - place)


def _reflected(index: Tensor, size: int) -> Tensor:
    place = index % (2 * size)
    return torch.minimum(place, 2 * size - 1 - place)


_FOLDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": _clamped,
    "nearest": _clamped,
    "wrap": operator.mod,
    "mirror": _mirrored,
    "reflect": _reflected,
}


@op
def map_coordinates(
    inputs: TensorLike, coordinates: TensorLike, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Tensor:
    """The values of an array at places given by their coordinates.

    Args:
        inputs: an array of any rank.
        coordinates: shape (rank of the inputs, *shape of the result), or a list of one tensor for each axis.
        order: 0 for the nearest element, 1 for linear interpolation.
        fill_mode: "constant", "nearest", "wrap", "mirror" or "reflect".
        fill_value: what is found outside when `fill_mode` is "constant".

    Raises:
        ShapeError: there are not as many coordinates as axes, or they have no axis of their own.
        ArgumentError: `order` or `fill_mode` is unknown.

    Example:
        >>> map_coordinates(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[0.5, 2.0, 9.0]]), order=1)
        tensor([1.5000, 4.0000, 0.0000])

    Source: https://keras.io/api/ops/image/#map_coordinates-function
    """
    x = as_tensor(inputs)
    one_of(order, (0, 1), "map_coordinates, order")
    one_of(fill_mode, tuple(_FOLDS), "map_coordinates, fill_mode")
    axes = coordinates if isinstance(coordinates, (list, tuple)) else as_tensor(coordinates)
    places = [as_tensor(place).to(x.device) for place in axes]
    if len(places) != x.ndim or any(place.ndim == 0 for place in places):
        raise ShapeError(
            "The coordinates do not fit the inputs.",
            where="map_coordinates",
            expected=f"shape ({x.ndim}, ...) of at least two axes, for inputs of shape {tuple(x.shape)}",
            received=f"{len(places)} coordinates of shape {tuple(places[0].shape) if places else ()}",
        )
    return _looked_up(x, places, order, fill_mode, fill_value)


class _Neighbour(NamedTuple):
    """An element beside each place of one axis."""

    element: Tensor
    is_inside: Tensor | None
    """Where it exists; None if there is one everywhere."""
    weight: Tensor | None
    """Its share in the value; None for all of it."""


def _neighbours(places: Tensor, size: int, order: int, fill_mode: str) -> list[_Neighbour]:
    def neighbour(index: Tensor, weight: Tensor | None) -> _Neighbour:
        is_inside = (index >= 0) & (index < size) if fill_mode == "constant" else None
        return _Neighbour(_FOLDS[fill_mode](index, size), is_inside, weight)

    if not places.is_floating_point():
        return [neighbour(places.long(), None)]
    if order == 0:
        return [neighbour(places.round().long(), None)]
    lower = places.floor()
    share, index = places - lower, lower.long()
    return [neighbour(index, 1 - share), neighbour(index + 1, share)]


def _looked_up(
    x: Tensor, places: Sequence[Tensor], order: int, fill_mode: str, fill_value: Any, batch: Tensor | None = None
) -> Tensor:
    """The values of `x` at places of its first axes; further axes are kept whole.

    With `batch`, the first axis is looked up as it is, and the places are those of the axes behind it.
    """
    is_whole = not x.is_floating_point() and not x.is_complex()
    leading = 0 if batch is None else 1
    sizes = x.shape[leading : leading + len(places)]
    kept = (..., *[None] * (x.ndim - leading - len(places)))
    # One table of rows, and the number of a row for each place: far faster than an index for each axis.
    table = x.flatten(0, leading + len(places) - 1)
    outside = table.shape[0]
    if fill_mode == "constant":
        fill = int(fill_value) if is_whole and isinstance(fill_value, (int, float)) else fill_value
        row = torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand(1, *table.shape[1:])
        table = torch.cat([table, row])
    parts = []
    for corner in itertools.product(
        *[_neighbours(*axis, order, fill_mode) for axis in zip(places, sizes, strict=True)]
    ):
        number: Any = 0 if batch is None else batch
        for neighbour, size in zip(corner, sizes, strict=True):
            number = number * size + neighbour.element
        inside = [neighbour.is_inside for neighbour in corner if neighbour.is_inside is not None]
        if inside:
            number = torch.where(functools.reduce(operator.and_, inside), number, outside)
        values = table.index_select(0, number.flatten()).unflatten(0, number.shape)
        weights = [neighbour.weight for neighbour in corner if neighbour.weight is not None]
        parts.append(values * functools.reduce(operator.mul, weights)[kept] if weights else values)
    result = functools.reduce(operator.add, parts)
    return (result.round() if is_whole and result.is_floating_point() else result).to(x.dtype)


@op
def affine_transform(
    images: TensorLike,
    transform: TensorLike,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Tensor:
    """The images turned, sheared, scaled, moved or tilted.

    Args:
        images: one image or a batch.
        transform: eight numbers (a0, a1, a2, b0, b1, b2, c0, c1), or a row of them for each image. The pixel (x, y) of
            the result is found at ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
        interpolation: "nearest" or "bilinear".
        fill_mode: "constant", "nearest", "wrap", "mirror" or "reflect".
        fill_value: what is found outside when `fill_mode` is "constant".
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: images or transform have another shape.
        ArgumentError: another argument has none of the values above.

    Example:
        >>> image = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> affine_transform(image, [1, 0, 1, 0, 1, 0, 0, 0]).flatten()
        tensor([2., 3., 0.])

    Source: https://keras.io/api/ops/image/#affine_transform-function
    """
    x, back = _batched(images, data_format, "affine_transform")
    one_of(interpolation, tuple(_ORDERS), "affine_transform, interpolation")
    one_of(fill_mode, tuple(_FOLDS), "affine_transform, fill_mode")
    transform = as_float(transform).to(x.device)
    if transform.ndim not in (1, 2) or transform.shape[-1] not in (8, unknown_stand_in()):
        raise ShapeError(
            "Unusable transform.",
            where="affine_transform",
            expected="shape (8,) or (batch, 8)",
            received=tuple(transform.shape),
        )
    transform = transform.to(torch.promote_types(transform.dtype, torch.float32))
    result = _projected(x, transform.reshape(-1, 8), interpolation, fill_mode, fill_value, "affine_transform")
    return back(result)


@op
def perspective_transform(
    images: TensorLike,
    start_points: TensorLike,
    end_points: TensorLike,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Tensor:
    """The images seen from another point: four places of the input go to four places of the result.

    Args:
        images: one image or a batch.
        start_points: four points (x, y) of the input, shape (4, 2), or (batch, 4, 2) for others in each image.
        end_points: where they are in the result, of the same shape.
        interpolation: "nearest" or "bilinear".
        fill_value: what is found outside of the input.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: images or points have another shape.
        ArgumentError: the interpolation is unknown.

    Example:
        >>> corners = torch.tensor([[0, 0], [3, 0], [0, 3], [3, 3]])
        >>> perspective_transform(torch.eye(4)[..., None], corners, corners.flip(1))[..., 0].diagonal()
        tensor([1., 1., 1., 1.])

    Source: https://keras.io/api/ops/image/#perspective_transform-function
    """
    x, back = _batched(images, data_format, "perspective_transform")
    one_of(interpolation, tuple(_ORDERS), "perspective_transform, interpolation")
    # Points lie between and outside of pixels even where those are bytes or half floats.
    dtype = torch.float64 if x.dtype is torch.float64 else torch.float32
    start, end = (as_tensor(points).to(x.device, dtype) for points in (start_points, end_points))
    if start.ndim not in (2, 3) or tuple(start.shape[-2:]) != (4, 2) or start.shape != end.shape:
        raise ShapeError(
            "Unusable points.",
            where="perspective_transform",
            expected="start_points and end_points both of shape (4, 2) or (batch, 4, 2)",
            received=f"{tuple(start.shape)} and {tuple(end.shape)}",
        )
    transform = homography(start.reshape(-1, 4, 2), end.reshape(-1, 4, 2))
    result = _projected(x, transform, interpolation, "constant", fill_value, "perspective_transform")
    return back(result)


def homography(start: Tensor, end: Tensor) -> Tensor:
    """The eight numbers, shape (batch, 8), of the projection that sends the end points to the start points."""
    (u, v), (x, y) = start.unbind(-1), end.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    of_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    of_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    return torch.linalg.solve(torch.cat([of_u, of_v], dim=-2), torch.cat([u, v], dim=-1))


def project(transform: Tensor, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Where the eight numbers in the last axis of `transform` send the point (x, y)."""
    a0, a1, a2, b0, b1, b2, c0, c1 = transform.unbind(-1)
    depth = c0 * x + c1 * y + 1
    # What lies on the horizon is infinitely far away: outside, but not undefined.
    depth = torch.where(depth == 0, torch.finfo(depth.dtype).eps, depth)
    return (a0 * x + a1 * y + a2) / depth, (b0 * x + b1 * y + b2) / depth


def _projected(x: Tensor, transform: Tensor, interpolation: str, fill_mode: str, fill_value: Any, where: str) -> Tensor:
    """Images (batch, height, width, channels) looked up where `transform`, one row or a row for each, sends a pixel."""
    batch, height, width, _ = x.shape
    if unknown_stand_in() is not None:
        return torch.empty_like(x)
    if transform.shape[0] not in (1, batch):
        raise ShapeError(
            "There must be one transform for all images or one for each.",
            where=where,
            expected=f"1 or {batch}",
            received=transform.shape[0],
        )
    row = torch.arange(height, dtype=transform.dtype, device=x.device)[:, None]
    column = torch.arange(width, dtype=transform.dtype, device=x.device)
    right, down = project(transform[:, None, None], column, row)
    return _looked_up(x, (down, right), _ORDERS[interpolation], fill_mode, fill_value, _numbers(x))


def _numbers(x: Tensor) -> Tensor:
    """The number of each image of a batch, beside the axes of its pixels."""
    return torch.arange(x.shape[0], device=x.device)[:, None, None]


@op
def elastic_transform(
    images: TensorLike,
    alpha: float | Tensor = 20.0,
    sigma: float | Tensor = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Seed = None,
    data_format: str | None = None,
) -> Tensor:
    """The images bent like rubber: every pixel is moved by smooth random noise.

    Args:
        images: one image or a batch; each is bent in its own way.
        alpha: how far pixels move: the factor of the noise.
        sigma: how smooth the noise is: its standard deviation, and that of the Gaussian filter it goes through. As a
            tensor, at most the longer side of the images.
        interpolation: "nearest" or "bilinear".
        fill_mode: "constant", "nearest", "wrap", "mirror" or "reflect".
        fill_value: what is found outside when `fill_mode` is "constant".
        seed: an integer for the same noise at each call, a SeedGenerator for new noise at each call, or None.
        data_format: "channels_last" or "channels_first".

    Raises:
        ShapeError: the images have neither three nor four axes.
        ArgumentError: another argument has none of the values above.

    Example:
        >>> elastic_transform(torch.ones(2, 64, 80, 3), seed=1).shape
        torch.Size([2, 64, 80, 3])

    Source: https://keras.io/api/ops/image/#elastic_transform-function
    """
    x, back = _batched(images, data_format, "elastic_transform")
    one_of(interpolation, tuple(_ORDERS), "elastic_transform, interpolation")
    one_of(fill_mode, tuple(_FOLDS), "elastic_transform, fill_mode")
    if unknown_stand_in() is not None:
        return back(torch.empty_like(x))
    batch, height, width, _ = x.shape
    dtype = torch.float64 if x.dtype is torch.float64 else torch.float32
    rows, columns = _smoothing(height, sigma, dtype, x.device), _smoothing(width, sigma, dtype, x.device)
    noise = normal((2, batch, height, width), dtype=dtype, seed=seed).to(x.device)
    by_x, by_y = alpha * (rows @ (noise * sigma) @ columns)
    places = torch.arange(height, device=x.device)[:, None] + by_y, torch.arange(width, device=x.device) + by_x
    result = _looked_up(x, places, _ORDERS[interpolation], fill_mode, fill_value, _numbers(x))
    return back(result)


def _smoothing(size: int, sigma: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (size, size) of a Gaussian filter that is cut off at three standard deviations and sees zeros outside.

    Its rows sum to 1 over the whole filter, of which an unknown (tensor) `sigma` is looked for within four sizes.
    """
    reach = 4 * size if isinstance(sigma, Tensor) else int(6 * sigma) // 2
    sigma = torch.as_tensor(sigma, dtype=dtype, device=device)

    def bell(distance: Tensor) -> Tensor:
        height = torch.exp(-0.5 * (distance / sigma.clamp(min=torch.finfo(dtype).tiny)) ** 2)
        return torch.where(distance.abs() <= (6 * sigma).floor() // 2, height, 0)

    places = torch.arange(size, dtype=dtype, device=device)
    total = bell(torch.arange(-reach, reach + 1, dtype=dtype, device=device)).sum()
    return bell(places[:, None] - places) / total


def _batched(images: TensorLike, data_format: str | None, where: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The images as (batch, height, width, channels), and the way back to their layout."""
    images = as_tensor(images)
    is_last = image_axes(images, data_format, where) == (-3, -2)
    x = images if is_last else images.movedim(-3, -1)

    def back(result: Tensor) -> Tensor:
        result = result if images.ndim == 4 else result.squeeze(0)
        return result if is_last else result.movedim(-1, -3)

    return (x if images.ndim == 4 else x.unsqueeze(0)), back
