"""Layers that give images another size or flip them, and one for the number of bounding boxes.

Source: https://keras.io/api/layers/preprocessing_layers/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.errors import one_of
from lamina.core.registry import builtin
from lamina.core.seeds import draw_seed
from lamina.core.tensors import convert_to_tensor
from lamina.layers.arguments import positive
from lamina.layers.preprocessing import boxes as bounding
from lamina.layers.preprocessing.image_base import BaseImagePreprocessingLayer, images_in
from lamina.ops.resampling import resize


class _Resized(BaseImagePreprocessingLayer):
    """Base of the layers whose images have a size of their own."""

    height: int
    width: int

    def _framed(self, bounding_boxes: Any, frame: Any, placed: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The boxes as `placed`, which knows "xyxy", moves them from images (height, width) into those of the layer."""
        given = bounding.convert_format(bounding_boxes, self._format, "xyxy", *frame)
        given["boxes"] = placed(given["boxes"])
        given = bounding.clip_to_image_size(given, self.height, self.width)
        return bounding.convert_format(given, "xyxy", self._format, self.height, self.width)

    def _largest_window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the largest window with the proportions of the layer, in the middle."""
        rows = max(min(height, width * self.height // self.width), 1)
        columns = max(min(width, height * self.width // self.height), 1)
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def _cut(self, images: Tensor, top: Any, left: Any, rows: int, columns: int) -> Tensor:
        """A window of the images, in the size of the layer; it may begin at a place known to tensors only."""
        for axis, start, size in ((self.height_axis, top, rows), (self.width_axis, left, columns)):
            if isinstance(start, Tensor):
                images = images.index_select(axis, start + torch.arange(size, device=images.device))
            else:
                images = images.narrow(axis, start, size)
        if (rows, columns) == (self.height, self.width):
            return images
        return resize(images, (self.height, self.width), data_format=self.data_format)

    def _through(self, window: tuple[Any, Any, Any, Any]) -> Callable[[Tensor], Tensor]:
        """What moves boxes as they are when a window of the image is cut out and resized."""
        top, left, rows, columns = window

        def placed(boxes: Tensor) -> Tensor:
            boxes = bounding.crop(boxes, top, left, rows, columns)
            if (rows, columns) == (self.height, self.width):
                return boxes
            return bounding.rescale(boxes, self.width / columns, self.height / rows)

        return placed


@builtin("keras.layers")
class Resizing(_Resized):
    """Images in another size, of the dtype they came in (floats: the compute dtype).

    Args:
        height: the new height.
        width: the new width.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3", "lanczos5" or "area"; masks are taken by "nearest".
        crop_to_aspect_ratio: whether to first cut the images, around their middle, to the new proportions.
        pad_to_aspect_ratio: whether to first widen the images, on both sides alike, to the new proportions.
        fill_mode: "constant", the only way to fill what is widened.
        fill_value: the value to fill it with.
        antialias: whether to smooth before an axis is made shorter.
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Example:
        >>> Resizing(4, 6)(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 4, 6, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/image_preprocessing/resizing/
    """

    _USE_BASE_FACTOR = False
    _IS_RANDOM = False

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width = (
            positive(height, f"{self._where()}, height"),
            positive(width, f"{self._where()}, width"),
        )
        self.interpolation = interpolation
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode, self.fill_value = fill_mode, fill_value
        self.antialias = bool(antialias)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The (height, width) of the images."""
        return self._frame(data)[1:]

    def transform_images(self, images: Tensor, transformation: Any = None, training: bool = True) -> Tensor:
        """The images resized, whether training or not."""
        return self._resized(self._as_given(images), self.interpolation)

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any = None, training: bool = True
    ) -> Tensor:
        """The masks resized."""
        return self._resized(segmentation_masks, "nearest")

    def _resized(self, images: Tensor, interpolation: str) -> Tensor:
        return resize(
            images,
            (self.height, self.width),
            interpolation,
            self.antialias,
            self.crop_to_aspect_ratio,
            self.pad_to_aspect_ratio,
            self.fill_mode,
            self.fill_value,
            self.data_format,
        )

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """The boxes moved and scaled; those of zeros or of -1 only become zeros."""
        height, width = transformation
        by_y, by_x = self.height / height, self.width / width
        if self.pad_to_aspect_ratio:
            by_x = by_y = min(by_x, by_y)
        elif self.crop_to_aspect_ratio:
            by_x = by_y = max(by_x, by_y)
        across, down = _half(self.width - width * by_x), _half(self.height - height * by_y)
        given = convert_to_tensor(bounding_boxes["boxes"])
        is_none = ((given == -1) | (given == 0)).all(-1, keepdim=True)

        def placed(boxes: Tensor) -> Tensor:
            return torch.where(is_none, 0, bounding.pad(bounding.rescale(boxes, by_x, by_y), down, across))

        return self._framed(bounding_boxes, transformation, placed)


def _half(excess: float) -> int:
    """Half of it in whole pixels, for a border or (negative) a cut on one side."""
    return int(excess / 2 + math.copysign(1e-6, excess))


@builtin("keras.layers")
class CenterCrop(_Resized):
    """The middle of images; where they are too small, the largest window of the right proportions, resized.

    Args:
        height: the height of the result.
        width: its width.
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Example:
        >>> CenterCrop(2, 2)(torch.arange(16).reshape(4, 4, 1))[..., 0]
        tensor([[ 5.,  6.],
                [ 9., 10.]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_preprocessing/center_crop/
    """

    _USE_BASE_FACTOR = False
    _IS_RANDOM = False

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width = (
            positive(height, f"{self._where()}, height"),
            positive(width, f"{self._where()}, width"),
        )

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The shape of the images."""
        return {"input_shape": tuple(images_in(data).shape)}

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of what is seen."""
        if height < self.height or width < self.width:
            return self._largest_window(height, width)
        return (height - self.height) // 2, (width - self.width) // 2, self.height, self.width

    def transform_images(self, images: Tensor, transformation: Any = None, training: bool = True) -> Tensor:
        """The middle of the images, whether training or not."""
        images = self._pixels(images)
        window = self._window(images.shape[self.height_axis], images.shape[self.width_axis])
        return self._cut(images, *window)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """What is seen of the boxes."""
        shape = transformation["input_shape"]
        frame = shape[self.height_axis], shape[self.width_axis]
        return self._framed(bounding_boxes, frame, self._through(self._window(*frame)))

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """The middle of the masks."""
        return self.transform_images(segmentation_masks, transformation, training)


@builtin("keras.layers")
class RandomCrop(_Resized):
    """A window of images at a random place, the same in all images of a batch, while training.

    Images that are no larger than the window are cut to its proportions around their middle, and resized.

    Args:
        height: the height of the window.
        width: its width.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        name: the layer's name.
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Example:
        >>> RandomCrop(2, 3)(torch.ones(5, 8, 8, 3)).shape
        torch.Size([5, 2, 3, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_crop/
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        seed = draw_seed() if seed is None else seed
        super().__init__(data_format=data_format, seed=seed, name=name, **kwargs)
        self.height, self.width = (
            positive(height, f"{self._where()}, height"),
            positive(width, f"{self._where()}, width"),
        )

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Top and left of the window, and height and width of the images."""
        _, height, width = self._frame(data)
        if not training or height <= self.height or width <= self.width:
            return *self._largest_window(height, width)[:2], height, width
        top, left = (
            self._uniform(data, (), (0.0, float(spare + 1)), seed).int()
            for spare in (height - self.height, width - self.width)
        )
        return top, left, height, width

    def _window(self, transformation: Any, height: int, width: int) -> tuple[Any, Any, int, int]:
        """Top, left, height and width of the part of the images that the window shows."""
        top, left = transformation[:2]
        rows = self.height if isinstance(top, Tensor) else min(self.height, height - top)
        columns = self.width if isinstance(left, Tensor) else min(self.width, width - left)
        return top, left, rows, columns

    def transform_images(self, images: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """The window."""
        images = self._pixels(images)
        if not training:
            return images
        window = self._window(transformation, images.shape[self.height_axis], images.shape[self.width_axis])
        return self._cut(images, *window)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """What the window shows of the boxes."""
        if not training:
            return bounding_boxes
        frame = transformation[2:]
        return self._framed(bounding_boxes, frame, self._through(self._window(transformation, *frame)))

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """The window of the masks."""
        return self.transform_images(segmentation_masks, transformation, training)


@builtin("keras.layers")
class RandomFlip(BaseImagePreprocessingLayer):
    """Images flipped while training, each with a chance of one half.

    Args:
        mode: "horizontal" (left and right exchanged), "vertical" (top and bottom) or "horizontal_and_vertical" (both
            at once, or neither).
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Example:
        >>> image = torch.tensor([[[1.0], [2.0]]])
        >>> RandomFlip("horizontal").transform_single_image(image, {"flips": torch.tensor(True)})
        tensor([[[2.],
                 [1.]]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_flip/
    """

    _USE_BASE_FACTOR = False

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        one_of(mode, ("horizontal", "vertical", "horizontal_and_vertical"), "RandomFlip, mode")
        self.mode = mode

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are flipped, and their shape."""
        if not training:
            return None
        shape = tuple(images_in(data).shape)
        ones = (1, 1, 1)
        flips = self._uniform(data, ones if len(shape) == 3 else (shape[0], *ones), seed=seed) <= 0.5
        return {"flips": flips, "input_shape": shape}

    def transform_images(self, images: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """The images, some of them flipped."""
        images = self._pixels(images)
        if not training or transformation is None:
            return images
        axes = [
            axis
            for name, axis in (("horizontal", self.width_axis), ("vertical", self.height_axis))
            if name in self.mode
        ]
        return torch.where(convert_to_tensor(transformation["flips"]), images.flip(axes), images)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Their boxes."""
        if not training or transformation is None:
            return bounding_boxes
        shape = transformation["input_shape"]
        frame = shape[self.height_axis], shape[self.width_axis]
        result = bounding.convert_format(bounding_boxes, self._format, "rel_xyxy", *frame)
        left, top, right, bottom = result["boxes"].unbind(-1)
        if "horizontal" in self.mode:
            left, right = 1 - right, 1 - left
        if "vertical" in self.mode:
            top, bottom = 1 - bottom, 1 - top
        flipped = torch.stack([left, top, right, bottom], dim=-1)
        result["boxes"] = torch.where(convert_to_tensor(transformation["flips"]).squeeze(-1), flipped, result["boxes"])
        result = bounding.clip_to_image_size(result, bounding_box_format="rel_xyxy")
        return bounding.convert_format(result, "rel_xyxy", self._format, *frame)

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """Their masks."""
        return self.transform_images(segmentation_masks, transformation, training)


@builtin("keras.layers")
class MaxNumBoundingBoxes(BaseImagePreprocessingLayer):
    """The same number of bounding boxes for each image: later ones are cut off, missing ones added.

    Args:
        max_number: how many.
        fill_value: the coordinates and the label of those added.
        **kwargs: `bounding_box_format`, and as for `Layer`.

    Example:
        >>> boxes = {"boxes": torch.ones(1, 1, 4), "labels": torch.ones(1, 1)}
        >>> layer = MaxNumBoundingBoxes(3, bounding_box_format="xyxy")
        >>> layer({"images": torch.ones(1, 8, 8, 3), "bounding_boxes": boxes})["bounding_boxes"]["labels"]
        tensor([[ 1., -1., -1.]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_preprocessing/max_num_bounding_boxes/
    """

    _IS_RANDOM = False

    def __init__(self, max_number: int, fill_value: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_number, self.fill_value = int(max_number), int(fill_value)

    def transform_images(self, images: Tensor, transformation: Any = None, training: bool = True) -> Tensor:
        """The images."""
        return self._as_given(images)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """As many boxes as wanted."""
        boxes, labels = (bounding_boxes[key][:, : self.max_number] for key in ("boxes", "labels"))
        missing = self.max_number - boxes.shape[1]
        return {
            **bounding_boxes,
            "boxes": F.pad(boxes, (0, 0, 0, missing), value=self.fill_value),
            "labels": F.pad(labels, (0, missing), value=self.fill_value),
        }
