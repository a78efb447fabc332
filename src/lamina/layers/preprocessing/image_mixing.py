"""Layers that replace a part of an image, or mix the images of a batch, while training.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, UnsupportedError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.layers.preprocessing.image_base import BaseImagePreprocessingLayer, Frame, Range, images_in
from lamina.layers.preprocessing.image_colour import BYTES, PixelLayer, per_image
from lamina.ops.random import beta, normal, shuffle


def _spans(length: int, shares: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Where parts of an axis begin and end that take so much of it; 0 and 1 are the first and the last beginning."""
    sizes = shares * length
    begin = starts * (length - sizes)
    return begin, begin + sizes


def _rectangles(frame: Frame, shares: Tensor, starts: Tensor, channel_axis: int) -> tuple[Tensor, Tensor]:
    """Which pixels lie in a rectangle of each image, in one channel, and which share of its area that rectangle has.

    Args:
        frame: the sizes of the images.
        shares: how much of the width and of the height it takes, shape (batch, 2).
        starts: where it lies, from 0 for leftmost and topmost to 1, likewise.
        channel_axis: the axis of the channel.
    """
    inside, share = [], torch.ones_like(shares[:, 0])
    for i, length in enumerate((frame.width, frame.height)):
        begin, end = _spans(length, shares[:, i, None], starts[:, i, None])
        places = torch.arange(length, dtype=shares.dtype, device=shares.device)
        inside.append((places >= begin) & (places < end))
        share = share * ((end - begin) / length).squeeze(1)
    across, down = inside
    return (down[:, :, None] & across[:, None, :]).unsqueeze(channel_axis), share


@builtin("keras.layers")
class RandomErasing(PixelLayer):
    """Some images with a rectangle in them painted over while training.

    Args:
        factor: the chance of each image: drawn from a range within 0 to 1, or from 0 to one number.
        scale: the share of the area that the rectangle would take if its width and its height were drawn alike: each is
            the root of a number drawn from a range within 0 to 1, or from 0 to one number.
        fill_value: the paint: a number, one for each of three channels, or None for noise.
        value_range: the least and the greatest value that pixels can have.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomErasing((1.0, 1.0), scale=(1.0, 1.0), fill_value=7)(torch.zeros(1, 1, 3)).flatten()
        tensor([7., 7., 7.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_erasing/
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        factor: Range = 1.0,
        scale: Range = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = BYTES,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor=factor, seed=seed, data_format=data_format, **kwargs)
        self.scale = self._range(scale, "scale")
        several = isinstance(fill_value, (tuple, list))
        if fill_value is not None and (len(fill_value) != 3 if several else not isinstance(fill_value, (int, float))):
            raise ArgumentError(
                "Unusable paint.",
                where=f"{self._where()}, fill_value",
                expected="a number, three numbers or None",
                received=repr(fill_value),
            )
        self.fill_value = fill_value

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        frame = self._frame(data)
        shares = self._uniform(data, (frame.batch, 2), self.scale, seed).sqrt()
        starts = self._uniform(data, (frame.batch, 2), (0.0, 1.0), seed)
        masks, _ = _rectangles(frame, shares, starts, self.channel_axis)
        paint = self._paint(data, seed).clip(*self.value_range)
        return {"apply_erasing": self._happens(data, seed), "batch_masks": masks, "fill_value": paint}

    def _paint(self, data: Any, seed: Any) -> Tensor:
        """The paint, in a shape that broadcasts with the images."""
        if self.fill_value is None:
            return (
                normal(tuple(images_in(data).shape), seed=self._source() if seed is None else seed)
                * self.value_range[1]
            )
        paint = torch.as_tensor(self.fill_value, dtype=torch.float32)
        return paint.reshape(-1, 1, 1) if self.channel_axis == -3 else paint.reshape(-1)

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        masks = convert_to_tensor(transformation["batch_masks"], torch.bool, images.device)
        chosen = masks & per_image(transformation["apply_erasing"], images, torch.bool)
        return torch.where(chosen, convert_to_tensor(transformation["fill_value"], images.dtype, images.device), images)


class _MixingLayer(BaseImagePreprocessingLayer):
    """Base of the layers that give each image of a batch a partner from the same batch."""

    def _partners(self, data: Any, seed: Any) -> Tensor:
        return shuffle(torch.arange(self._frame(data).batch), seed=seed)

    @staticmethod
    def _of_partners(part: Any, transformation: Any) -> Tensor:
        part = convert_to_tensor(part)
        order = convert_to_tensor(transformation["permutation_order"], torch.int64, part.device)
        return part.index_select(0, order)

    def _blend(self, part: Any, transformation: Any, rank: int = 4) -> Tensor:
        """Values mixed with those of the partners, by the weight that was drawn; integers become floats."""
        part = convert_to_tensor(part)
        part = part if part.is_floating_point() else self.cast(part)
        weight = convert_to_tensor(transformation["mix_weight"], part.dtype, part.device)
        weight = weight.reshape(-1, *(1,) * (rank - 1))
        return weight * part + (1.0 - weight) * self._of_partners(part, transformation)

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """Their labels, which are vectors or probabilities, mixed as the images are."""
        if not training or transformation is None:
            return labels
        return self._blend(labels, transformation, len(labels.shape))


@builtin("keras.layers")
class MixUp(_MixingLayer):
    """Images laid over others of the same batch while training, and their labels and masks mixed likewise.

    An image has the boxes of both afterwards.

    Args:
        alpha: both parameters of the beta distribution that the weights are drawn from; the smaller, the more often one
            of two images is hardly seen.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Example:
        >>> layer = MixUp()
        >>> transformation = {"mix_weight": [0.9, 0.9], "permutation_order": [1, 0]}
        >>> layer.transform_labels(torch.tensor([0.0, 1.0]), transformation)
        tensor([0.1000, 0.9000])

    Source: Zhang et al., 2017. mixup: beyond empirical risk minimization.
    """

    def __init__(
        self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.alpha = alpha

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The partner of each image, and its own weight; None when not training."""
        if not training:
            return None
        source = self._source() if seed is None else seed
        weight = beta((self._frame(data).batch,), self.alpha, self.alpha, seed=source)
        return {"mix_weight": weight, "permutation_order": self._partners(data, source)}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images mixed."""
        images = self.cast(convert_to_tensor(images))
        return self._blend(images, transformation) if training else images

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """The boxes of both images, one after the other."""
        if not training:
            return bounding_boxes
        both = {
            key: (convert_to_tensor(part), self._of_partners(part, transformation))
            for key, part in bounding_boxes.items()
        }
        return {"boxes": torch.cat(both["boxes"], 1), "labels": torch.cat(both["labels"], -1)}

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        """Their masks mixed."""
        return self._blend(segmentation_masks, transformation) if training else segmentation_masks


@builtin("keras.layers")
class CutMix(_MixingLayer):
    """Images with a rectangle replaced by that of another image of the same batch while training; so are their masks.

    Labels are mixed by area. There is no telling which boxes would be left, so there must be none.

    Args:
        factor: both parameters of the beta distribution that the share of an image's own area is drawn from: drawn
            themselves from a range within 0 to 1, or from 0 to one number.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> layer = CutMix()
        >>> layer.transform_labels(torch.tensor([0.0, 1.0]), {"mix_weight": [0.75, 0.5], "permutation_order": [1, 0]})
        tensor([0.2500, 0.5000])

    Source: Yun et al., 2019. CutMix: regularization strategy to train strong classifiers with localizable features.
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self, factor: Range = 1.0, seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(factor, seed=seed, data_format=data_format, **kwargs)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The partner of each image, its rectangle and the rest of the area; None for one image, or not training."""
        if not training or len(images_in(data).shape) == 3:
            return None
        frame = self._frame(data)
        source = self._source() if seed is None else seed
        alpha = self._uniform(data, (), self.factor, source) + 1e-6
        shares = (1.0 - beta((frame.batch,), alpha, alpha, seed=source).to(alpha.device)).sqrt()
        starts = self._uniform(data, (frame.batch, 2), (0.0, 1.0), source)
        masks, share = _rectangles(frame, shares[:, None].expand(-1, 2), starts, self.channel_axis)
        weight = (1.0 - share).reshape(-1, 1, 1, 1)
        return {"permutation_order": self._partners(data, source), "batch_masks": masks, "mix_weight": weight}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images with their rectangles replaced."""
        images = self.cast(convert_to_tensor(images))
        if not training or transformation is None:
            return images
        masks = convert_to_tensor(transformation["batch_masks"], torch.bool, images.device)
        return torch.where(masks, self._of_partners(images, transformation), images)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Never: boxes cannot be cut.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "CutMix cannot cut bounding boxes.", where=self._where(), fix='leave "bounding_boxes" out, or take MixUp'
        )

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        """Their masks with the same rectangles replaced."""
        return self.transform_images(segmentation_masks, transformation, training)
