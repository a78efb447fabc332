"""Layers that change the brightness, the colours and the sharpness of images while training.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.config import epsilon
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.layers.preprocessing.image_base import BaseImagePreprocessingLayer, Range, transform_value_range
from lamina.ops.image import gaussian_blur, hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from lamina.ops.random import randint

BYTES = (0, 255)
"""The range of values that formulas for images are written for."""

EACH = (-1, 1, 1, 1)
"""The shape in which a number for each image broadcasts with a batch."""


class PixelLayer(BaseImagePreprocessingLayer):
    """Base of the layers that change the values of pixels, and leave labels, boxes and masks as they are.

    A subclass writes `_drawn`, which gives the transformation as a dict with a number or truth for each image, and
    `_changed`, which carries it out on a batch in at least single precision.

    Args:
        value_range: the least and the greatest value that pixels can have.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(self, value_range: Any = BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise ArgumentError(
                "`value_range` is no range.", where=self._where(), expected="two numbers", received=repr(value_range)
            )
        self.value_range = sorted(value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What shall be done to these images, drawn at random; None for nothing."""
        return self._drawn(data, seed) if training else None

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images transformed, in the compute dtype."""
        images = convert_to_tensor(images)
        if training:
            images = self._changed(images.to(torch.promote_types(self._compute_dtype, torch.float32)), transformation)
        return self.cast(images)

    def _drawn(self, data: Any, seed: Any) -> Any:
        return None

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        raise NotImplementedError

    def _each(self, data: Any, ends: tuple[float, float], seed: Any) -> Tensor:
        """A number for each image, drawn evenly between two ends."""
        return self._uniform(data, (self._frame(data).batch,), ends, seed)

    def _happens(self, data: Any, seed: Any) -> Tensor:
        """For each image whether something happens, with a chance that is itself drawn from `factor`."""
        chance = self._each(data, self.factor, seed)
        return self._each(data, (0.0, 1.0), seed) < chance

    def _in_own_dtype(self, images: Any) -> Tensor:
        """The images as a tensor: integers as they are, floats in the compute dtype."""
        images = convert_to_tensor(images)
        return self.cast(images) if images.is_floating_point() else images

    def _clipped(self, images: Tensor) -> Tensor:
        least, most = self.value_range
        return images.clip(least, most)


def per_image(value: Any, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """What a transformation holds for each image, in a shape that broadcasts with the images.

    Args:
        value: a number or truth for each image, or one for all.
        images: a batch of images.
        dtype: the dtype of the result; that of the images by default.

    Example:
        >>> per_image([1, 2], torch.ones(2, 3, 3, 1)).shape
        torch.Size([2, 1, 1, 1])
    """
    return convert_to_tensor(value, dtype or images.dtype, images.device).reshape(EACH)


@builtin("keras.layers")
class RandomBrightness(PixelLayer):
    """Images made brighter or darker while training.

    Args:
        factor: what is added, as a share of the value range: drawn from a range within -1 to 1, or from minus to plus
            one number.
        value_range: the least and the greatest value that pixels can have.
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomBrightness((0.1, 0.1))(torch.zeros(1, 1, 3)).flatten()
        tensor([25.5000, 25.5000, 25.5000])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_brightness/
    """

    def __init__(self, factor: Range, value_range: Any = BYTES, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(value_range, factor=factor, seed=seed, **kwargs)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        least, most = self.value_range
        return {"rgb_delta": self._each(data, self.factor, seed).reshape(EACH) * (most - least)}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        return self._clipped(images + per_image(transformation["rgb_delta"], images))


@builtin("keras.layers")
class RandomContrast(PixelLayer):
    """Images with the distance of each value from the mean of its channel made larger or smaller while training.

    Args:
        factor: the distance is multiplied by a number from 1 minus the first to 1 plus the second of two numbers from 0
            to 1; one number is the second, with 0 as the first.
        value_range: the least and the greatest value that pixels can have.
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> layer = RandomContrast((0.5, 0.5))
        >>> layer.transform_images(torch.tensor([0.0, 20.0]).reshape(1, 2, 1, 1), {"contrast_factor": [0.5]}).flatten()
        tensor([ 5., 15.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_contrast/
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(self, factor: Range, value_range: Any = BYTES, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(value_range, factor=factor, seed=seed, **kwargs)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        ends = 1.0 - self.factor[0], 1.0 + self.factor[1]
        return {"contrast_factor": self._each(data, ends, seed).reshape(EACH)}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        mean = images.mean((self.height_axis, self.width_axis), keepdim=True)
        return self._clipped((images - mean) * per_image(transformation["contrast_factor"], images) + mean)


class _FactorLayer(PixelLayer):
    """A layer that draws one factor for each image."""

    def __init__(
        self,
        factor: Range,
        value_range: Any = BYTES,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor=factor, data_format=data_format, seed=seed, **kwargs)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        return {"factor": self._each(data, self.factor, seed)}


@builtin("keras.layers")
class RandomHue(_FactorLayer):
    """Images with their hue turned while training, to either side of the circle of colours.

    Args:
        factor: how far, 1 for half of the circle: drawn from a range within 0 to 1, or from 0 to one number.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> RandomHue(0.5, (0, 1)).transform_images(red, {"factor": [1 / 3]}).flatten().round().abs()
        tensor([0., 1., 0.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_hue/
    """

    _FACTOR_BOUNDS = (0, 1)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        backwards = self._each(data, (0.0, 1.0), seed) > 0.5
        factor = self._each(data, self.factor, seed) * 0.5
        return {"factor": torch.where(backwards, -factor, factor)}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        images = transform_value_range(images, self.value_range, (0, 1), images.dtype)
        hue, saturation, value = rgb_to_hsv(images, self.data_format).split(1, self.channel_axis)
        turned = torch.cat([hue + per_image(transformation["factor"], images), saturation, value], self.channel_axis)
        images = hsv_to_rgb(turned, self.data_format).clip(0, 1)
        return transform_value_range(images, (0, 1), self.value_range, images.dtype)


@builtin("keras.layers")
class RandomSaturation(_FactorLayer):
    """Images with their colours made stronger or weaker while training.

    Args:
        factor: 0.5 leaves the colours, 0 takes them away, 1 makes them as strong as can be: drawn from a range within
            -1 to 1, or from minus to plus one number; below 0 is as 0.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomSaturation((0.0, 0.0))(torch.tensor([9.0, 3.0, 0.0]).reshape(1, 1, 3)).flatten()
        tensor([9., 9., 9.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_saturation/
    """

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        factor = self._each(data, self.factor, seed)
        return {"factor": factor / (1 - factor + epsilon())}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        hue, saturation, value = rgb_to_hsv(images, self.data_format).split(1, self.channel_axis)
        saturation = self._clipped(saturation * per_image(transformation["factor"], images))
        return hsv_to_rgb(torch.cat([hue, saturation, value], self.channel_axis), self.data_format)


@builtin("keras.layers")
class RandomSharpness(_FactorLayer):
    """Images made sharper or softer while training.

    Args:
        factor: 0.5 leaves the image, 0 smooths it, 1 sharpens it by as much: drawn from a range within 0 to 1, or from
            0 to one number.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomSharpness((0.0, 0.0))(torch.full((3, 3, 1), 13.0))[0].flatten()
        tensor([ 8., 10.,  8.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_sharpness/
    """

    _FACTOR_BOUNDS = (0, 1)

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        # The kernel has 5/13 in its middle and 1/13 elsewhere: nine thirteenths of the mean and four of the middle.
        means = F.avg_pool2d(images.movedim(self.channel_axis, 1), 3, 1, 1).movedim(1, self.channel_axis)
        smooth = (9.0 * means + 4.0 * images) / 13.0
        amount = 1.0 - 2.0 * per_image(transformation["factor"], images)
        return self._clipped(images + amount * (smooth - images))


@builtin("keras.layers")
class RandomColorDegeneration(_FactorLayer):
    """Images mixed with their own shades of grey while training.

    Args:
        factor: the share of grey: drawn from a range within -1 to 1, or from minus to plus one number; below 0 it makes
            colours stronger.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomColorDegeneration((1.0, 1.0))(torch.tensor([100.0, 0.0, 0.0]).reshape(1, 1, 3)).flatten()
        tensor([29.8900, 29.8900, 29.8900])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_color_degeneration/
    """

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        return {"factor": self._each(data, self.factor, seed).reshape(EACH)}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        grey = rgb_to_grayscale(images, self.data_format)
        return self._clipped(images + per_image(transformation["factor"], images) * (grey - images))


@builtin("keras.layers")
class RandomPosterization(_FactorLayer):
    """Images with fewer different values while training: only the upper bits of each byte are kept.

    Args:
        factor: how many bits of 8: a whole number drawn from the first of two numbers up to, not including, the second,
            or from 1 up to one number; equal ends are taken as they are.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomPosterization((2, 2))(torch.tensor([63.0, 64.0, 200.0]).reshape(1, 1, 3)).flatten()
        tensor([  0.,  64., 192.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_posterization/
    """

    _FACTOR_BOUNDS = (1, 8)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        least, most = (int(end) for end in self.factor)
        shape = (self._frame(data).batch,)
        kept = randint(shape, least, max(most, least + 1), "uint8", self._source() if seed is None else seed)
        return {"shift_factor": 8 - kept}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        shift = per_image(transformation["shift_factor"], images, torch.uint8)
        levels = transform_value_range(images, self.value_range, BYTES, images.dtype).to(torch.uint8)
        levels = ((levels >> shift) << shift).to(images.dtype)
        return transform_value_range(levels, BYTES, self.value_range, images.dtype)


@builtin("keras.layers")
class RandomGrayscale(PixelLayer):
    """Some images made grey while training; the number of channels and the dtype stay.

    Args:
        factor: the chance of each image, 0 to 1.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomGrayscale(1.0)(torch.tensor([100.0, 0.0, 0.0]).reshape(1, 1, 3)).flatten()
        tensor([29.8900, 29.8900, 29.8900])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_grayscale/
    """

    _USE_BASE_FACTOR = False

    factor: Any

    def __init__(
        self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = self._range(factor, "factor", (0, 1))[1]

    def _drawn(self, data: Any, seed: Any) -> Tensor:
        return self._each(data, (0.0, 1.0), seed).reshape(EACH) < self.factor

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """A batch of images, some of them grey, in their own dtype."""
        images = self._in_own_dtype(images)
        if not training:
            return images
        chosen = self._drawn(images, None) if transformation is None else transformation
        return torch.where(per_image(chosen, images, torch.bool), rgb_to_grayscale(images, self.data_format), images)


@builtin("keras.layers")
class RandomInvert(PixelLayer):
    """Some images replaced by their negatives while training.

    Args:
        factor: the chance of each image: drawn from a range within 0 to 1, or from 0 to one number.
        value_range: the least and the greatest value that pixels can have.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomInvert((1.0, 1.0))(torch.tensor([55.0, 255.0, 0.0]).reshape(1, 1, 3)).flatten()
        tensor([200.,   0., 255.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_invert/
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        factor: Range = 1.0,
        value_range: Any = BYTES,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor=factor, seed=seed, data_format=data_format, **kwargs)

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        return {"apply_inversion": self._happens(data, seed)}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        chosen = per_image(transformation["apply_inversion"], images, torch.bool)
        return torch.where(chosen, self.value_range[1] - images, images)


@builtin("keras.layers")
class Solarization(PixelLayer):
    """Images made brighter, and then those of their values that lie above a threshold inverted, while training.

    Args:
        addition_factor: what is added, as a share of 255: drawn from a range within 0 to 1, or from 0 to one number.
        threshold_factor: the threshold likewise.
        value_range: the least and the greatest value that pixels can have.
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> Solarization(threshold_factor=(0.5, 0.5))(torch.tensor([55.0, 255.0, 0.0]).reshape(1, 1, 3)).flatten()
        tensor([55.,  0.,  0.])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/solarization/
    """

    _USE_BASE_FACTOR = False
    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        addition_factor: Range = 0.0,
        threshold_factor: Range = 0.0,
        value_range: Any = BYTES,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed=seed, **kwargs)
        for name, factor in (("addition_factor", addition_factor), ("threshold_factor", threshold_factor)):
            for end in factor if isinstance(factor, (tuple, list)) else ():
                self._range(end, name)
            setattr(self, name, self._range(factor, name))

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        ranges = {"additions": self.addition_factor, "thresholds": self.threshold_factor}
        return {name: self._each(data, ends, seed).reshape(EACH) * 255 for name, ends in ranges.items()}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        if transformation is None:
            return images
        additions, thresholds = (per_image(transformation[name], images) for name in ("additions", "thresholds"))
        images = transform_value_range(images, self.value_range, BYTES, images.dtype)
        images = (images + additions).clip(0, 255)
        images = torch.where(images < thresholds, images, 255 - images)
        return transform_value_range(images, BYTES, self.value_range, images.dtype)


@builtin("keras.layers")
class RandomGaussianBlur(PixelLayer):
    """Some images blurred while training.

    Args:
        factor: the chance of each image: drawn from a range within 0 to 1, or from 0 to one number.
        kernel_size: how many pixels along the width and the height are averaged, odd; one number is for both.
        sigma: the standard deviation of the weights, in pixels: for the width and for the height drawn from a range
            within 0 to 1, or from 0 to one number.
        value_range: the least and the greatest value that pixels can have.
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> layer = RandomGaussianBlur()
        >>> layer.transform_images(torch.ones(1, 1, 1, 1), {"should_apply_blur": [True], "blur_factor": [1.0, 1.0]})
        tensor([[[[0.2042]]]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_gaussian_blur/
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        factor: Range = 1.0,
        kernel_size: int | tuple[int, int] = 3,
        sigma: Range = 1.0,
        value_range: Any = BYTES,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor=factor, data_format=data_format, seed=seed, **kwargs)
        size = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
        if len(size) != 2 or not all(isinstance(part, (int, float)) and part % 2 == 1 for part in size):
            raise ArgumentError(
                "Unusable kernel size.",
                where=self._where(),
                expected="an odd number, or two",
                received=repr(kernel_size),
            )
        self.kernel_size = tuple(size)
        self.sigma = self._range(sigma, "sigma")

    def _drawn(self, data: Any, seed: Any) -> dict[str, Tensor]:
        chosen = self._happens(data, seed)
        return {"should_apply_blur": chosen, "blur_factor": self._uniform(data, (2,), self.sigma, seed) + 1e-6}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        if transformation is None:
            return images
        sigma = convert_to_tensor(transformation["blur_factor"], images.dtype, images.device)
        blurred = gaussian_blur(images, self.kernel_size, sigma, self.data_format)
        chosen = per_image(transformation["should_apply_blur"], images, torch.bool)
        return self._clipped(torch.where(chosen, blurred, images))
