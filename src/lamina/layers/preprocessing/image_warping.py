"""Layers that move the pixels of images while training: turned, shifted, zoomed, sheared, tilted, bent.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, UnsupportedError, nearest
from lamina.core.registry import builtin
from lamina.core.seeds import SeedGenerator
from lamina.core.tensors import convert_to_tensor
from lamina.layers.preprocessing import boxes as bounding
from lamina.layers.preprocessing.image_base import BaseImagePreprocessingLayer, Range, images_in
from lamina.ops.warping import affine_transform, elastic_transform, homography, perspective_transform, project


class _Warp(BaseImagePreprocessingLayer):
    """Base of the layers that fetch each pixel from elsewhere; of masks always the nearest one.

    A subclass writes `get_random_transformation`, whose result tells the shape of the images as "input_shape";
    `_warped` for images; `_moved` for boxes.

    Args:
        interpolation: "nearest" or "bilinear".
        fill_mode: what lies outside of an image abcd: "reflect" for dcba|abcd|dcba, "wrap" for abcd|abcd|abcd,
            "nearest" for aaaa|abcd|dddd, or "constant".
        fill_value: what is found there with "constant".
        **kwargs: as for `BaseImagePreprocessingLayer`.
    """

    _USE_BASE_FACTOR = False
    _FILL_MODES: ClassVar[tuple[str, ...]] = ("reflect", "wrap", "constant", "nearest")

    def __init__(self, interpolation: str, fill_mode: str, fill_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.interpolation = self._known(interpolation, "interpolation", ("nearest", "bilinear"))
        self.fill_mode = self._known(fill_mode, "fill_mode", self._FILL_MODES)
        self.fill_value = fill_value

    def _known(self, value: str, name: str, options: tuple[str, ...]) -> str:
        if value not in options:
            what = f"Unknown {name}.{nearest(str(value), options)}"
            raise UnsupportedError(what, where=self._where(), expected=", ".join(options), received=repr(value))
        return value

    def _ends(self, value: Any, name: str, least: float, most: float = 1.0) -> tuple[float, float]:
        """The ends of a range within bounds; one number means from minus to plus that."""
        if isinstance(value, (tuple, list)) and len(value) == 2 and all(least <= end <= most for end in value):
            return min(value), max(value)
        if isinstance(value, (int, float)) and least <= value <= most:
            return -abs(value), abs(value)
        raise ArgumentError(
            f"`{name}` lies outside its range.",
            where=self._where(),
            expected=f"a number, or two, from {least} to {most}",
            received=repr(value),
        )

    def transform_images(self, images: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """The images moved."""
        images = self._pixels(images)
        return self._warped(images, transformation, self.interpolation) if training and transformation else images

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """Their masks moved alike."""
        masks = convert_to_tensor(segmentation_masks)
        return self._warped(masks, transformation, "nearest") if training and transformation else masks

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Upright boxes around the boxes moved alike."""
        if not training or not transformation:
            return bounding_boxes
        frame = self._sizes(transformation)
        result = bounding.convert_format(bounding_boxes, self._format, "xyxy", *frame)
        result["boxes"] = self._moved(result["boxes"], transformation)
        result = bounding.clip_to_image_size(result, *frame)
        return bounding.convert_format(result, "xyxy", self._format, *frame)

    def _sizes(self, transformation: Any) -> tuple[int, int]:
        """Height and width of the images that a transformation was drawn for."""
        shape = transformation["input_shape"]
        return shape[self.height_axis], shape[self.width_axis]

    def _warped(self, images: Tensor, transformation: Any, interpolation: str) -> Tensor:
        """A batch with its pixels fetched from where the matrix says."""
        return affine_transform(
            images,
            self._matrix(transformation),
            interpolation,
            self.fill_mode,
            self.fill_value,
            self.data_format,
        )

    def _matrix(self, transformation: Any) -> Tensor:
        """Where a pixel of the result is found: eight numbers for each image, as `ops.image.affine_transform` takes."""
        raise NotImplementedError

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        """Boxes "xyxy", shape (batch, boxes, 4), as they lie in the result."""
        raise NotImplementedError


def _eight(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The rows of an affine transformation, of which every number has shape (batch,), as eight numbers per image."""
    return torch.stack([*a, *b, torch.zeros_like(a[0]), torch.zeros_like(a[0])], dim=-1)


@builtin("keras.layers")
class RandomRotation(_Warp):
    """Images turned around their middle while training.

    Args:
        factor: the angle in parts of a full turn, counterclockwise: the two ends of a range, or one number for a range
            from minus to plus that.
        fill_mode: "reflect", "wrap", "constant" or "nearest": what lies outside of an image.
        interpolation: "nearest" or "bilinear".
        seed: an integer makes the draws repeatable.
        fill_value: what lies outside with "constant".
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Raises:
        ArgumentError: `factor` lies outside -1 to 1.
        UnsupportedError: `fill_mode` or `interpolation` is unknown.

    Example:
        >>> image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> RandomRotation((0.25, 0.25), interpolation="nearest")(image)[..., 0]
        tensor([[2., 4.],
                [1., 3.]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_rotation/
    """

    _USE_BASE_FACTOR = True

    def __init__(
        self,
        factor: Range,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            interpolation, fill_mode, fill_value, factor=factor, data_format=data_format, seed=seed, **kwargs
        )

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The angle of each image in degrees, the matrix that follows from it, and the sizes of the images."""
        if not training:
            return None
        batch, height, width = self._frame(data)
        low, high = self.factor
        angle = self._uniform(data, (batch,), (low * 360.0, high * 360.0), seed)
        cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
        x, y = (width - 1) / 2, (height - 1) / 2
        matrix = _eight((cos, -sin, x - x * cos + y * sin), (sin, cos, y - x * sin - y * cos))
        return {
            "angle": angle,
            "rotation_matrix": matrix if len(images_in(data).shape) == 4 else matrix.squeeze(0),
            "image_height": height,
            "image_width": width,
            "batch_size": batch,
        }

    def _sizes(self, transformation: Any) -> tuple[int, int]:
        return transformation["image_height"], transformation["image_width"]

    def _matrix(self, transformation: Any) -> Tensor:
        return transformation["rotation_matrix"]

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        angle = convert_to_tensor(transformation["angle"])
        zero = torch.zeros_like(angle)
        return bounding.affine_transform(boxes, angle, zero, zero, zero + 1, zero, zero, *self._sizes(transformation))


class _Affine(_Warp):
    """Base of the layers whose matrix has a number or two drawn for each image."""

    def get_transformed_x_y(self, x: Any, y: Any, transform: Any) -> tuple[Tensor, Tensor]:
        """Where a pixel (x, y) of the result is found, each of shape (batch, 1)."""
        return project(convert_to_tensor(transform)[:, None], x, y)

    def get_shifted_bbox(self, bounding_boxes: Any, w_shift_factor: Any, h_shift_factor: Any) -> dict[str, Any]:
        """Boxes "xyxy" moved to the left and up by numbers (batch, 1)."""
        boxes = bounding_boxes["boxes"]
        left, top = (_beside(boxes, shift) for shift in (w_shift_factor, h_shift_factor))
        return {**bounding_boxes, "boxes": bounding.pad(boxes, -top, -left)}


def _beside(boxes: Any, numbers: Any) -> Tensor:
    """A number for each image, shape (batch, 1), to compute with its boxes."""
    numbers = convert_to_tensor(numbers)
    return numbers[..., None] if len(boxes.shape) == 3 else numbers


@builtin("keras.layers")
class RandomTranslation(_Affine):
    """Images shifted up or down and sideways while training.

    Args:
        height_factor: how far down, in parts of the height (up, if negative): the two ends of a range, or one number
            for a range from minus to plus that.
        width_factor: how far to the right, in parts of the width.
        fill_mode: "reflect", "wrap", "constant" or "nearest": what lies outside of an image.
        interpolation: "nearest" or "bilinear".
        seed: an integer makes the draws repeatable.
        fill_value: what lies outside with "constant".
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Raises:
        ArgumentError: a factor lies outside -1 to 1.
        UnsupportedError: `fill_mode` or `interpolation` is unknown.

    Example:
        >>> image = torch.tensor([[1.0, 2.0, 3.0, 4.0]])[..., None]
        >>> RandomTranslation(0, (0.25, 0.25), fill_mode="constant")(image)[..., 0]
        tensor([[0., 1., 2., 3.]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_translation/
    """

    def __init__(
        self,
        height_factor: Range,
        width_factor: Range,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, data_format=data_format, seed=seed, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.height_lower, self.height_upper = self._ends(height_factor, "height_factor", -1.0)
        self.width_lower, self.width_upper = self._ends(width_factor, "width_factor", -1.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The shifts (x, y) of each image in pixels, and the shape of the images."""
        if not training:
            return None
        batch, height, width = self._frame(data)
        down = self._uniform(data, (batch, 1), (self.height_lower, self.height_upper), seed) * height
        right = self._uniform(data, (batch, 1), (self.width_lower, self.width_upper), seed) * width
        return {"translations": torch.cat([right, down], dim=1), "input_shape": tuple(images_in(data).shape)}

    def _matrix(self, transformation: Any) -> Tensor:
        right, down = convert_to_tensor(transformation["translations"]).unbind(1)
        one, zero = torch.ones_like(right), torch.zeros_like(right)
        return _eight((one, zero, -right), (zero, one, -down))

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        shifts = self.get_transformed_x_y(0, 0, self._matrix(transformation))
        return self.get_shifted_bbox({"boxes": boxes}, *shifts)["boxes"]


@builtin("keras.layers")
class RandomZoom(_Affine):
    """Images zoomed around their middle while training.

    Args:
        height_factor: how much more of the height is seen, in parts of it (less, if negative: zoomed in): the two ends
            of a range, or one number for a range from minus to plus that.
        width_factor: how much more of the width is seen; None keeps the proportions.
        fill_mode: "reflect", "wrap", "constant" or "nearest": what lies outside of an image.
        interpolation: "nearest" or "bilinear".
        seed: an integer makes the draws repeatable.
        fill_value: what lies outside with "constant".
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Raises:
        ArgumentError: a factor is not above -1, or above 1.
        UnsupportedError: `fill_mode` or `interpolation` is unknown.

    Example:
        >>> image = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])[..., None]
        >>> RandomZoom(0, (-0.5, -0.5))(image)[..., 0]
        tensor([[2.0000, 2.5000, 3.0000, 3.5000, 4.0000]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_zoom/
    """

    def __init__(
        self,
        height_factor: Range,
        width_factor: Range | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, data_format=data_format, seed=seed, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        above = math.nextafter(-1.0, 0.0)
        self.height_lower, self.height_upper = self._ends(height_factor, "height_factor", above)
        if width_factor is not None:
            self.width_lower, self.width_upper = self._ends(width_factor, "width_factor", above)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """How much of the height and of the width of each image is seen, and the shape of the images."""
        if not training:
            return None
        shape = (self._frame(data).batch, 1)
        tall = self._uniform(data, shape, (1.0 + self.height_lower, 1.0 + self.height_upper), seed)
        wide = tall
        if self.width_factor is not None:
            wide = self._uniform(data, shape, (1.0 + self.width_lower, 1.0 + self.width_upper), seed)
        return {"height_zoom": tall, "width_zoom": wide, "input_shape": tuple(images_in(data).shape)}

    def _matrix(self, transformation: Any) -> Tensor:
        height, width = self._sizes(transformation)
        tall, wide = (convert_to_tensor(transformation[key]).squeeze(1) for key in ("height_zoom", "width_zoom"))
        zero = torch.zeros_like(tall)
        return _eight((wide, zero, (width - 1) / 2 * (1 - wide)), (zero, tall, (height - 1) / 2 * (1 - tall)))

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        height, width = self._sizes(transformation)
        matrix = self._matrix(transformation)
        left, top = self.get_transformed_x_y(0, 0, matrix)
        right, bottom = self.get_transformed_x_y(width, height, matrix)
        boxes = self.get_clipped_bbox({"boxes": boxes}, bottom, top, right, left)["boxes"]
        return bounding.rescale(boxes, (width / (right - left))[..., None], (height / (bottom - top))[..., None])

    def get_clipped_bbox(
        self, bounding_boxes: Any, h_end: Any, h_start: Any, w_end: Any, w_start: Any
    ) -> dict[str, Any]:
        """Boxes "xyxy" as they lie in a window, the ends of which are numbers (batch, 1)."""
        boxes = bounding_boxes["boxes"]
        bottom, top, right, left = (_beside(boxes, end) for end in (h_end, h_start, w_end, w_start))
        return {**bounding_boxes, "boxes": bounding.crop(boxes, top, left, bottom - top, right - left)}


@builtin("keras.layers")
class RandomShear(_Affine):
    """Images slanted while training: rows move sideways the more the lower they are, columns up or down likewise.

    Args:
        x_factor: how far sideways for each row, 0 to 1: the two ends of a range, or one number for a range from minus
            to plus that. Half of all images are slanted the other way.
        y_factor: how far down for each column.
        interpolation: "nearest" or "bilinear".
        fill_mode: "reflect", "wrap", "constant" or "nearest": what lies outside of an image.
        fill_value: what lies outside with "constant".
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable.
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Raises:
        ArgumentError: a factor lies outside 0 to 1.
        UnsupportedError: `fill_mode` or `interpolation` is unknown.

    Example:
        >>> RandomShear(0.2, 0.1)(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 8, 8, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_shear/
    """

    def __init__(
        self,
        x_factor: Range = 0.0,
        y_factor: Range = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, data_format=data_format, seed=seed, **kwargs)
        self.x_factor, self.y_factor = self._slant(x_factor, "x_factor"), self._slant(y_factor, "y_factor")

    def _slant(self, value: Any, name: str) -> tuple[float, float]:
        """The ends of a range; those that one number stands for are in configs, and are taken as they are."""
        is_symmetric = isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == -value[1]
        return self._ends(value[1] if is_symmetric else value, name, 0.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """How far (x, y) each image is slanted, and the shape of the images."""
        if not training:
            return None
        shape = (self._frame(data).batch, 1)
        sign = torch.where(self._uniform(data, shape, seed=seed) > 0.5, -1.0, 1.0)
        by_y, by_x = (self._uniform(data, shape, ends, seed) for ends in (self.y_factor, self.x_factor))
        return {"shear_factor": torch.cat([by_x, by_y], dim=1) * sign, "input_shape": tuple(images_in(data).shape)}

    def _matrix(self, transformation: Any) -> Tensor:
        by_x, by_y = convert_to_tensor(transformation["shear_factor"]).unbind(1)
        one, zero = torch.ones_like(by_x), torch.zeros_like(by_x)
        return _eight((one, by_x, zero), (by_y, one, zero))

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        height, width = self._sizes(transformation)
        by_x, by_y = convert_to_tensor(transformation["shear_factor"])[..., None].unbind(1)
        x1, y1, x2, y2 = bounding.rescale(boxes, 1 / width, 1 / height).unbind(-1)
        x1, x2 = x1 - torch.maximum(by_x * y1, by_x * y2), x2 - torch.minimum(by_x * y1, by_x * y2)
        y1, y2 = y1 - torch.maximum(by_y * x1, by_y * x2), y2 - torch.minimum(by_y * x1, by_y * x2)
        return bounding.rescale(torch.stack([x1, y1, x2, y2], dim=-1), width, height)


@builtin("keras.layers")
class RandomPerspective(_Warp):
    """Images seen from another point, while training.

    Args:
        factor: the chance of it, 0 to 1: the two ends of a range, or one number for a range from 0 to that.
        scale: how far the corners move, in parts of the image, 0 to 1; the one at (0, 0) stays.
        interpolation: "nearest" or "bilinear".
        fill_value: what lies outside of the image.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Raises:
        ArgumentError: `factor` or `scale` lies outside 0 to 1.
        UnsupportedError: `interpolation` is unknown.

    Example:
        >>> RandomPerspective(scale=0.3)(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 8, 8, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_perspective/
    """

    _USE_BASE_FACTOR = True
    _FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        factor: Range = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            interpolation, "constant", fill_value, factor=factor, seed=seed, data_format=data_format, **kwargs
        )
        if not 0 <= scale <= 1:
            raise ArgumentError(
                "`scale` lies outside its range.", where=self._where(), expected="0 to 1", received=scale
            )
        self.scale = scale

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are tilted, where their corners were and are (x, y), and the shape of the images."""
        if not training:
            return None
        batch, height, width = self._frame(data)
        moves = self._uniform(data, (batch, 4, 2), (-0.5 * self.scale, 0.5 * self.scale), seed)
        right = torch.tensor([0.0, 1.0, 0.0, 1.0], device=moves.device) * (width - 1)
        down = torch.tensor([0.0, 0.0, 1.0, 1.0], device=moves.device) * (height - 1)
        start = torch.stack([right, down], dim=-1).expand(batch, 4, 2)
        return {
            "apply_perspective": self._chosen(data, batch, seed),
            "start_points": start,
            "end_points": start + start * moves,
            "input_shape": tuple(images_in(data).shape),
        }

    def _warped(self, images: Tensor, transformation: Any, interpolation: str) -> Tensor:
        points = transformation["start_points"], transformation["end_points"]
        tilted = perspective_transform(images, *points, interpolation, self.fill_value, self.data_format)
        return _where(transformation["apply_perspective"], tilted, images)

    def _moved(self, boxes: Tensor, transformation: Any) -> Tensor:
        start, end = (convert_to_tensor(transformation[key], boxes.dtype) for key in ("start_points", "end_points"))
        x1, y1, x2, y2 = boxes.unbind(-1)
        xs, ys = torch.stack([x1, x2, x2, x1], dim=-1), torch.stack([y1, y1, y2, y2], dim=-1)
        tilted = bounding.around(*project(homography(end, start)[:, None, None], xs, ys))
        return torch.where(convert_to_tensor(transformation["apply_perspective"])[:, None, None], tilted, boxes)


def _where(chosen: Any, moved: Tensor, images: Tensor) -> Tensor:
    """The images, those that are chosen (truths, shape (batch,)) moved."""
    return torch.where(convert_to_tensor(chosen)[(..., *[None] * (images.ndim - 1))], moved, images)


@builtin("keras.layers")
class RandomElasticTransform(_Warp):
    """Images bent like rubber while training; bounding boxes cannot follow.

    Args:
        factor: the chance of it, 0 to 1: the two ends of a range, or one number for a range from 0 to that.
        scale: how strongly, 0 to 1: the two ends of a range, or one number for a range from 0 to that.
        interpolation: "nearest" or "bilinear".
        fill_mode: "reflect", "wrap", "constant", "nearest" or "mirror": what lies outside of an image.
        fill_value: what lies outside with "constant".
        value_range: the least and the greatest value of pixels; the result is kept within.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `factor` or `scale` lies outside 0 to 1.
        UnsupportedError: `fill_mode` or `interpolation` is unknown; when called, there are bounding boxes.

    Example:
        >>> RandomElasticTransform(scale=0.5)(torch.ones(2, 32, 32, 3)).shape
        torch.Size([2, 32, 32, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_elastic_transform/
    """

    _USE_BASE_FACTOR = True
    _FACTOR_BOUNDS = (0, 1)
    _FILL_MODES = ("reflect", "wrap", "constant", "nearest", "mirror")

    def __init__(
        self,
        factor: Range = 1.0,
        scale: Range = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            interpolation, fill_mode, fill_value, factor=factor, seed=seed, data_format=data_format, **kwargs
        )
        self.scale = self._range(scale, "scale")
        self.value_range = value_range

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are bent, how strongly, and the seed of the noise that bends them."""
        if not training or self.scale[1] == 0 or self.factor[1] == 0:
            return None
        seed = self._source() if seed is None else seed
        return {
            "apply_transform": self._chosen(data, self._frame(data).batch, seed),
            "distortion_factor": self._uniform(data, (), self.scale, seed),
            "seed": _set_aside(seed),
        }

    def get_elastic_transform_params(self, height: int, width: int, factor: Any) -> tuple[Any, Any]:
        """`alpha` and `sigma` of `ops.image.elastic_transform`, for a strength."""
        return max(height, width) * 0.1 * factor, min(height, width) * 0.05 * factor

    def _warped(self, images: Tensor, transformation: Any, interpolation: str) -> Tensor:
        sizes = images.shape[self.height_axis], images.shape[self.width_axis]
        alpha, sigma = self.get_elastic_transform_params(*sizes, convert_to_tensor(transformation["distortion_factor"]))
        bent = elastic_transform(
            images,
            alpha,
            sigma,
            interpolation,
            self.fill_mode,
            self.fill_value,
            _replayed(transformation["seed"]),
            self.data_format,
        )
        low, high = self.value_range
        return _where(transformation["apply_transform"], bent, images).clamp(low, high)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Not possible."""
        raise UnsupportedError("Bounding boxes cannot be bent.", where=self._where(), fix="leave them out of the data")


def _set_aside(seed: Any) -> Any:
    """A seed that gives the same noise to images and to their masks; a generator moves on."""
    return _standing_at(seed, seed.next()) if isinstance(seed, SeedGenerator) else seed


def _replayed(seed: Any) -> Any:
    """A seed to use up in place of this one."""
    return _standing_at(seed, seed.state.detach().clone()) if isinstance(seed, SeedGenerator) else seed


def _standing_at(seed: SeedGenerator, state: Any) -> SeedGenerator:
    twin = copy.copy(seed)
    twin.state = state
    return twin
