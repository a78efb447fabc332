"""What the layers that transform or augment images share.

They take images of shape (height, width, channels) or (batch, height, width, channels) (with
data_format="channels_first" (channels, height, width) and so on) as numbers of any dtype, and give floats in the
compute dtype. Or they take a dict with

- "images": such images,
- "labels": a label for each image,
- "bounding_boxes": a dict of "boxes", shape (..., boxes, 4), and "labels", shape (..., boxes), padded with -1,
- "segmentation_masks": a class for each pixel, laid out as the images,

any other key of which passes through. Each image of a batch gets a transformation of its own, the same for all that
comes with it. It is drawn by `get_random_transformation`, and carried out by `transform_images` and its like: what one
layer has drawn can be given to another.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from lamina.core.config import standardize_data_format
from lamina.core.errors import ArgumentError, ShapeError, unwritten
from lamina.core.seeds import SeedGenerator
from lamina.core.tensors import convert_to_tensor
from lamina.layers.base import Layer
from lamina.layers.preprocessing.boxes import densify_bounding_boxes
from lamina.ops.operands import Shape
from lamina.ops.random import uniform

Range = float | tuple[float, float] | list[float]
"""An argument that stands for a range to draw from: its two ends, or one number."""

# The kinds of data in their order, and what one of each is called.
_PARTS = {
    "images": "image",
    "bounding_boxes": "bounding_box",
    "labels": "label",
    "segmentation_masks": "segmentation_mask",
}


class Frame(NamedTuple):
    """The sizes of images; a single one counts as a batch of one."""

    batch: int
    height: int
    width: int


class BaseImagePreprocessingLayer(Layer):
    """Base of the layers for images: takes the data apart, and has each part transformed alike.

    A subclass writes `get_random_transformation` and those of the `transform_` methods that change something: labels,
    boxes and masks are left as they are otherwise. These methods get batches of real tensors and give new ones; they
    draw with `_uniform` and read no value of a tensor, so that a training step with them can be compiled.

    The layer begins in training mode, unlike others: called by itself it augments, as in a `map` over data. `fit`,
    `predict` and `eval()` switch it as they switch every layer, and the argument `training` overrules that.

    Args:
        factor: the strength, where a layer takes one: the ends of a range, or one number for what `_FACTOR_BOUNDS`
            make of it.
        bounding_box_format: the format of bounding boxes, which must be named if there are any: "xyxy", "yxyx",
            "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh" or "rel_center_xywh".
        data_format: "channels_last" or "channels_first".
        seed: an integer makes the draws repeatable (in workers of a DataLoader, together with `torch.manual_seed`).
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `factor` lies outside its bounds, or is given to a layer without one.
    """

    begins_in_training: ClassVar[bool] = True
    _USE_BASE_FACTOR: ClassVar[bool] = True
    _IS_RANDOM: ClassVar[bool] = True
    _FACTOR_BOUNDS: ClassVar[tuple[float, float]] = (-1, 1)

    factor: tuple[float, float]
    _worker_seed: int | None = None

    def __init__(
        self,
        factor: Range | None = None,
        bounding_box_format: str | None = None,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training = True
        self.bounding_box_format = bounding_box_format
        self.data_format = standardize_data_format(data_format)
        is_first = self.data_format == "channels_first"
        self.height_axis, self.width_axis, self.channel_axis = (-2, -1, -3) if is_first else (-3, -2, -1)
        if self._IS_RANDOM:
            self.seed, self.generator = seed, SeedGenerator(seed)
        if self._USE_BASE_FACTOR:
            self._set_factor(factor or 0.0)
        elif factor is not None:
            raise ArgumentError(
                "The layer takes no factor.", where=self._where(), received=f"factor={factor}", fix="leave factor out"
            )
        self._build_at_init()

    def _set_factor(self, factor: Range) -> None:
        self.factor = self._range(factor, "factor")

    def _range(self, value: Any, name: str, bounds: tuple[float, float] | None = None) -> tuple[float, float]:
        """The ends of a range that overlaps the bounds; one number means from minus to plus that, within them."""
        least, most = bounds or self._FACTOR_BOUNDS
        if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] <= most and value[1] >= least:
            return min(value), max(value)
        if isinstance(value, (int, float)) and least <= value <= most:
            return max(-abs(value), least), abs(value)
        raise ArgumentError(
            f"`{name}` lies outside its range.",
            where=self._where(),
            expected=f"a number, or two, from {least} to {most}",
            received=repr(value),
        )

    def _cast_input(self, x: Tensor) -> Tensor:
        """Floats of at least 32 bits: coordinates of pixels do not fit into 16. Images are cast where they are used."""
        wide = torch.promote_types(self._compute_dtype, torch.float32)
        return x.to(wide) if self.autocast and x.is_floating_point() else x

    # What happens to the data.

    def call(self, data: Any, training: bool = True) -> Any:
        """The data transformed: images, or a dict of images and what belongs to them."""
        data = convert_to_tensor(data) if isinstance(data, (list, tuple)) else data
        is_batched = self._is_batched(images_in(data))
        transformation = self.get_random_transformation(data, training=training)
        parts = dict(data) if isinstance(data, Mapping) else {"images": data}
        for plural, single in _PARTS.items():
            if plural not in parts:
                continue
            part = parts[plural]
            if plural == "bounding_boxes":
                _ = self._format
                part = densify_bounding_boxes(part, is_batched=is_batched)
            else:
                part = convert_to_tensor(part)
            transform = getattr(self, f"transform_{plural}" if is_batched else f"transform_single_{single}")
            parts[plural] = transform(part, transformation=transformation, training=training)
        return parts if isinstance(data, Mapping) else parts["images"]

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What shall be done to these images, drawn at random; None for nothing."""
        return None

    def transform_images(self, images: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """A batch of images transformed."""
        raise unwritten(self, "transform_images(self, images, transformation, training=True)")

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """Their labels."""
        return labels

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Their bounding boxes."""
        return bounding_boxes

    def transform_segmentation_masks(
        self, segmentation_masks: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """Their masks."""
        return segmentation_masks

    def transform_single_image(self, image: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """One image transformed."""
        return self.transform_images(image.unsqueeze(0), transformation, training).squeeze(0)

    def transform_single_label(self, label: Tensor, transformation: Any, training: bool = True) -> Tensor:
        """Its label."""
        return self.transform_labels(label.unsqueeze(0), transformation, training).squeeze(0)

    def transform_single_bounding_box(self, bounding_box: Any, transformation: Any, training: bool = True) -> Any:
        """Its bounding boxes."""
        boxes = {key: part.unsqueeze(0) for key, part in bounding_box.items()}
        boxes = self.transform_bounding_boxes(boxes, transformation, training)
        return {key: part.squeeze(0) for key, part in boxes.items()}

    def transform_single_segmentation_mask(
        self, segmentation_mask: Tensor, transformation: Any, training: bool = True
    ) -> Tensor:
        """Its mask."""
        masks = segmentation_mask.unsqueeze(0)
        return self.transform_segmentation_masks(masks, transformation, training).squeeze(0)

    def convert_weight(self, weight: Any) -> Any:
        """The weight as it is: there is only one backend."""
        return weight

    # What subclasses use.

    @property
    def _format(self) -> str:
        """The format of bounding boxes."""
        if not self.bounding_box_format:
            raise ArgumentError(
                "There are bounding boxes, but their format was not named.",
                where=self._where(),
                fix=f"make the layer with a format, as in {type(self).__name__}(..., bounding_box_format='xyxy')",
            )
        return self.bounding_box_format

    def _is_batched(self, images: Any) -> bool:
        if len(images.shape) not in (3, 4):
            raise ShapeError(
                "Unusable rank of images.",
                where=self._where(),
                expected="one image of three axes or a batch of four",
                received=tuple(images.shape),
            )
        return len(images.shape) == 4

    def _frame(self, data: Any) -> Frame:
        """The sizes of the images in the data."""
        shape = images_in(data).shape
        return Frame(shape[0] if len(shape) == 4 else 1, shape[self.height_axis], shape[self.width_axis])

    def _source(self) -> SeedGenerator:
        """Where to draw from. Workers of a DataLoader begin with copies of the layer, and must not draw alike."""
        worker = None if torch.compiler.is_compiling() else get_worker_info()  # which Dynamo refuses to trace
        if worker is not None and worker.seed != self._worker_seed:
            seed = (self.generator.seed or 0) + (worker.seed or 0)
            self.__dict__.update(_worker_seed=worker.seed, generator=SeedGenerator(seed))
        return self.generator

    def _uniform(self, data: Any, shape: Shape, ends: tuple[float, float] = (0.0, 1.0), seed: Any = None) -> Tensor:
        """Numbers drawn evenly between two ends, on the device of the data: float32, whatever the layer computes in."""
        drawn = uniform(shape, *ends, dtype="float32", seed=self._source() if seed is None else seed)
        images = images_in(data)
        return drawn.to(images.device) if isinstance(images, Tensor) else drawn

    def _chosen(self, data: Any, batch: int, seed: Any = None) -> Tensor:
        """Which images are transformed, where `factor` is the range that the chance of each is drawn from."""
        chance = self._uniform(data, (batch,), self.factor, seed)
        return self._uniform(data, (batch,), seed=seed) < chance

    def _pixels(self, images: Any) -> Tensor:
        """The images as a tensor of the compute dtype."""
        return self.cast(convert_to_tensor(images))

    def _as_given(self, images: Any) -> Tensor:
        """The images as a tensor; only floats change to the compute dtype."""
        images = convert_to_tensor(images)
        return self.cast(images) if images.is_floating_point() else images

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config() | {"data_format": self.data_format}
        return (
            config if self.bounding_box_format is None else config | {"bounding_box_format": self.bounding_box_format}
        )


def images_in(data: Any) -> Any:
    """The images among the data."""
    return data["images"] if isinstance(data, Mapping) else data


def transform_value_range(
    images: Tensor, original_range: Any, target_range: Any, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The images with their values, which lie in one range, stretched over another.

    Args:
        images: values of any dtype.
        original_range: the range (least, most) they lie in.
        target_range: the range they shall lie in.
        dtype: the dtype of the result, where the ranges differ.

    Example:
        >>> transform_value_range(torch.tensor([0.0, 0.5]), (0, 1), (0, 255))
        tensor([  0.0000, 127.5000])
    """
    (least, most), (low, high) = original_range, target_range
    if (least, most) == (low, high):
        return images
    return (images.to(dtype) - least) / (most - least) * (high - low) + low
