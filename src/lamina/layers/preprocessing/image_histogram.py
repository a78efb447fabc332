"""Layers that spread the values of images over the whole range.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.registry import builtin
from lamina.layers.preprocessing.image_base import transform_value_range
from lamina.layers.preprocessing.image_colour import BYTES, PixelLayer


@builtin("keras.layers")
class AutoContrast(PixelLayer):
    """Images with the values of each channel stretched over the whole range, in training and otherwise.

    Args:
        value_range: the least and the greatest value that pixels can have.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> AutoContrast()(torch.tensor([10.0, 20.0, 30.0]).reshape(3, 1, 1)).flatten()
        tensor([  0.0000, 127.5000, 255.0000])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/auto_contrast/
    """

    _USE_BASE_FACTOR = False

    def __init__(self, value_range: Any = BYTES, **kwargs: Any) -> None:
        super().__init__(value_range, **kwargs)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images with full contrast."""
        return super().transform_images(images, transformation)

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        levels = transform_value_range(images, self.value_range, BYTES, images.dtype)
        axes = self.height_axis, self.width_axis
        low, high = levels.amin(axes, keepdim=True), levels.amax(axes, keepdim=True)
        scale = 255.0 / (high - low)
        levels = (levels * scale - low * scale).clip(0, 255)
        levels = transform_value_range(levels, BYTES, self.value_range, images.dtype)
        return torch.where(high > low, levels, images)


def counted(values: Tensor, bins: int) -> Tensor:
    """How often each of the integers below `bins` occurs along the last axis.

    Args:
        values: the integers.
        bins: how many there are, which is the size of the last axis of the result.

    Example:
        >>> counted(torch.tensor([0, 2, 2]), 4)
        tensor([1, 0, 2, 0])
    """
    zeros = torch.zeros((*values.shape[:-1], bins), dtype=torch.int64, device=values.device)
    return zeros.scatter_add(-1, values, torch.ones_like(values))


@builtin("keras.layers")
class Equalization(PixelLayer):
    """Images with the values of each channel, counted over the batch, spread evenly while training.

    Args:
        value_range: the least and the greatest value that pixels can have.
        bins: how many values are told apart.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> Equalization()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)).flatten()
        tensor([  0., 128., 255.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/equalization/
    """

    def __init__(
        self, value_range: Any = BYTES, bins: int = 256, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(value_range, data_format=data_format, **kwargs)
        self.bins = bins

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        least, most = self.value_range
        scale = 255 / (most - least)
        levels = images.movedim(self.channel_axis, 0) * scale - least * scale
        flat, last = levels.flatten(1), self.bins - 1
        # The two ways to a bin, alike but for rounding, are those of Keras.
        counts = counted((flat * last / 255.0).clip(0, last).long(), self.bins)
        totals = counts.cumsum(-1)
        first = torch.where(totals > 0, totals, totals[:, -1:]).amin(-1, keepdim=True)
        table = ((totals - first) * 255 / (totals[:, -1:] - first).clip(min=1)).round().to(flat.dtype)
        spread = table.gather(1, (flat / 255.0 * last).clip(0, last).long())
        spread = torch.where((counts > 0).sum(-1, keepdim=True) > 1, spread, flat)
        return (spread.view_as(levels) / scale + least).movedim(0, self.channel_axis)


@builtin("keras.layers")
class ContrastLimitedAdaptiveHistogramEqualization(PixelLayer):
    """Images with the values of each channel spread evenly within tiles, in training and otherwise; the dtype stays.

    Between the middles of tiles the result goes over smoothly from one to the next.

    Args:
        value_range: the least and the greatest value that pixels can have.
        clip_limit: a value counts at most for so many times the mean count, what lies above is shared among all values;
            this keeps noise down. 0 for no limit.
        tile_grid_size: how many tiles there are along the height and the width.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> layer = ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(1, 1))
        >>> layer(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)).flatten()
        tensor([ 4.9522,  9.9044, 14.8566])

    Source: Zuiderveld, 1994. Contrast limited adaptive histogram equalization.
    """

    def __init__(
        self,
        value_range: Any = BYTES,
        clip_limit: float = 4.0,
        tile_grid_size: tuple[int, int] = (8, 8),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, data_format=data_format, **kwargs)
        self.clip_limit, self.tile_grid_size = clip_limit, tile_grid_size

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images with full contrast everywhere, in their own dtype."""
        images = self._in_own_dtype(images)
        levels = transform_value_range(images.to(torch.float32), self.value_range, BYTES)
        levels = self._spread(levels.movedim(self.channel_axis, 1)).movedim(1, self.channel_axis)
        return transform_value_range(levels, BYTES, self.value_range).to(images.dtype)

    def _spread(self, images: Tensor) -> Tensor:
        """Images of shape (batch, channels, height, width), with values as bytes have them."""
        (height, width), (rows, columns) = images.shape[2:], self.tile_grid_size
        tall, wide = -(-height // rows), -(-width // columns)
        down, across = (_mirrored(*sizes, images.device) for sizes in ((height, rows * tall), (width, columns * wide)))
        levels = images.clip(0, 255).long()
        tiles = levels[:, :, down][..., across].unflatten(3, (columns, wide)).unflatten(2, (rows, tall))
        table = self._table(tiles.transpose(3, 4).flatten(4)).flatten(2)
        top, bottom, along_height = _neighbours(height, tall, rows, images.device)
        left, right, along_width = _neighbours(width, wide, columns, images.device)

        def looked_up(row: Tensor, column: Tensor) -> Tensor:
            places = (row[:, None] * columns + column) * 256 + levels
            return table.gather(2, places.flatten(2)).view_as(levels)

        above = torch.lerp(looked_up(top, left), looked_up(top, right), along_width)
        below = torch.lerp(looked_up(bottom, left), looked_up(bottom, right), along_width)
        return torch.lerp(above, below, along_height[:, None])

    def _table(self, tiles: Tensor) -> Tensor:
        """What each byte becomes in each tile, from the pixels of the tiles on the last axis."""
        size = tiles.shape[-1]
        counts = counted(tiles, 256).float()
        if self.clip_limit > 0:
            kept = counts.clip(max=self.clip_limit * size / 256.0)
            counts = kept + (counts - kept).sum(-1, keepdim=True) / 256.0
        totals = counts.cumsum(-1)
        least = totals[..., :1]
        room = size - least
        return ((totals - least) * 255.0 / torch.where(room == 0, 1.0, room)).clip(0, 255)


def _mirrored(size: int, length: int, device: torch.device) -> Tensor:
    """Indices that make an axis of one size as long as another, by repeating it backwards and forwards."""
    places = torch.arange(length, device=device) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def _neighbours(length: int, size: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel along an axis the tiles whose middles it lies between, and how near it is to the second."""
    place = (torch.arange(length, dtype=torch.float32, device=device) - size / 2.0) / size
    before = place.floor()
    first, second = (tile.long().clip(0, count - 1) for tile in (before, before + 1))
    return first, second, place - before
