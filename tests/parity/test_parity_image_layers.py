"""Image layers against the real Keras: the same transformation gives the same images, masks and bounding boxes.

What is otherwise on purpose stands at the end, and in tests/layers/test_image_geometry.py.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers
from lamina.core import tree
from lamina.utils import bounding_boxes

BOX_FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)
HEIGHT, WIDTH = 12, 16

RESIZED = [
    ("Resizing", {"height": 5, "width": 9}),
    ("Resizing", {"height": 5, "width": 9, "pad_to_aspect_ratio": True, "fill_value": 3.0}),
    ("Resizing", {"height": 16, "width": 9, "crop_to_aspect_ratio": True, "interpolation": "bicubic"}),
    ("CenterCrop", {"height": 4, "width": 5}),
    ("CenterCrop", {"height": 14, "width": 5}),
    ("CenterCrop", {"height": 3, "width": 25}),
    ("MaxNumBoundingBoxes", {"max_number": 2}),
    ("MaxNumBoundingBoxes", {"max_number": 5}),
]
MOVED = [
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomFlip", {"mode": "vertical"}),
    ("RandomFlip", {}),
    ("RandomTranslation", {"height_factor": 0.3, "width_factor": (-0.2, 0.4)}),
    ("RandomTranslation", {"height_factor": 0.3, "width_factor": 0.0, "fill_mode": "constant", "fill_value": 2.0}),
    ("RandomZoom", {"height_factor": 0.4}),
    ("RandomZoom", {"height_factor": 0.4, "width_factor": (-0.4, -0.1), "fill_mode": "nearest"}),
    ("RandomShear", {"x_factor": 0.3}),
    ("RandomShear", {"x_factor": (0.1, 0.3), "y_factor": (0.1, 0.2), "interpolation": "nearest"}),
]
TURNED = [
    ("RandomRotation", {"factor": 0.3, "interpolation": interpolation, "fill_mode": fill_mode})
    for interpolation in ("nearest", "bilinear")
    for fill_mode in ("reflect", "constant", "nearest")
] + [("RandomPerspective", {"scale": 0.4}), ("RandomPerspective", {"factor": (1, 1), "interpolation": "nearest"})]

each_case = pytest.mark.parametrize(("name", "arguments"), [*RESIZED, *MOVED, *TURNED])


def pictures(data_format: str, channels: int, dtype: str, high: int = 255) -> torch.Tensor:
    x = np.random.default_rng(channels).integers(0, high, (3, HEIGHT, WIDTH, channels)).astype(dtype)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if data_format == "channels_first" else x)


def boxed(box_format: str) -> dict[str, torch.Tensor]:
    """Boxes that do not fill the image, and the labels 0, 1, 2."""
    corners = np.random.default_rng(0).uniform(0, 8, (3, 3, 4)).astype("float32")
    corners[..., 2:] = corners[..., :2] + np.random.default_rng(1).uniform(1, 4, (3, 3, 2))
    boxes = bounding_boxes.convert_format(corners, "xyxy", box_format, HEIGHT, WIDTH)
    return {"boxes": boxes, "labels": torch.arange(3).repeat(3, 1)}


def pair(layer: str, arguments: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    return getattr(layers, layer)(**arguments, **more), getattr(keras.layers, layer)(**arguments, **more)


def assert_same(mine: Any, theirs: Any, tolerance: float = 1e-3) -> None:
    for x, y in zip(tree.flatten(mine), tree.flatten(theirs), strict=True):
        torch.testing.assert_close(x, torch.as_tensor(np.asarray(y)), atol=tolerance, rtol=1e-5)


@each_case
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_and_masks(name: str, arguments: dict[str, Any], data_format: str) -> None:
    mine, theirs = pair(name, arguments, data_format=data_format)
    for dtype in ("float32", "uint8"):
        images = pictures(data_format, 3, dtype)
        # Keras rounds the corners of a perspective to integers for masks of integers.
        masks = pictures(data_format, 1, "float32" if name == "RandomPerspective" else "int32", 4)
        transformation = mine.get_random_transformation(images)
        outputs = mine.transform_images(images, transformation)
        assert_same(outputs, theirs.transform_images(images, transformation))
        assert_same(
            mine.transform_segmentation_masks(masks, transformation),
            theirs.transform_segmentation_masks(masks, transformation),
        )
        assert not mine.training or outputs.shape == mine(images).shape
        told = mine.compute_output_shape((None, *images.shape[1:]))
        assert told == (None, *outputs.shape[1:]) == tuple(theirs.compute_output_shape((None, *images.shape[1:])))


@pytest.mark.parametrize(("name", "arguments"), [*RESIZED, *MOVED])
@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_boxes(name: str, arguments: dict[str, Any], box_format: str) -> None:
    mine, theirs = pair(name, arguments, bounding_box_format=box_format)
    images, boxes = pictures("channels_last", 3, "float32"), boxed(box_format)
    transformation = mine.get_random_transformation(images)
    assert_same(
        mine.transform_bounding_boxes(boxes, transformation),
        theirs.transform_bounding_boxes(copy.deepcopy(boxes), transformation),
        2e-3,
    )


@pytest.mark.parametrize(("name", "arguments"), TURNED)
def test_turned_boxes(name: str, arguments: dict[str, Any]) -> None:
    """Other formats than "xyxy" Keras takes for "xyxy" here, or gives back as "xyxy"."""
    mine, theirs = pair(name, arguments, bounding_box_format="xyxy")
    images = pictures("channels_last", 3, "float32")
    transformation = mine.get_random_transformation(images)
    expected = theirs.transform_bounding_boxes(boxed("xyxy"), transformation)
    assert_same(mine.transform_bounding_boxes(boxed("xyxy"), transformation), expected)
    for box_format in BOX_FORMATS:
        layer = getattr(layers, name)(**arguments, bounding_box_format=box_format)
        moved = layer.transform_bounding_boxes(boxed(box_format), transformation)
        assert_same(bounding_boxes.convert_format(moved, box_format, "xyxy", HEIGHT, WIDTH), expected)


@pytest.mark.parametrize(("name", "arguments"), [*MOVED, *TURNED])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_transformations_that_keras_draws(name: str, arguments: dict[str, Any], data_format: str) -> None:
    """They have the same keys, shapes and dtypes; batched and single."""
    mine, theirs = pair(name, arguments, data_format=data_format)
    batch = pictures(data_format, 3, "float32")
    for images in (batch, batch[0]):
        drawn, own = theirs.get_random_transformation(images), mine.get_random_transformation(images)
        assert drawn.keys() == own.keys()
        for key, value in drawn.items():
            assert np.shape(value) == np.shape(own[key])
            assert getattr(value, "dtype", None) == getattr(own[key], "dtype", None)
        as_batch = images if images.ndim == 4 else images[None]
        assert_same(mine.transform_images(as_batch, drawn), theirs.transform_images(as_batch, drawn))
    assert mine.get_random_transformation(batch, training=False) is None


def test_crop_images() -> None:
    for size, data_format in (((4, 5), "channels_last"), ((14, 5), "channels_last"), ((5, 20), "channels_first")):
        mine, theirs = pair("RandomCrop", {"height": size[0], "width": size[1]}, data_format=data_format)
        images = pictures(data_format, 3, "float32")
        drawn = theirs.get_random_transformation(images)
        assert_same(mine.transform_images(images, drawn), theirs.transform_images(images, drawn))
        own = mine.get_random_transformation(images)
        assert_same(mine.transform_images(images, own), theirs.transform_images(images, own[:2]))


@each_case
def test_configs(name: str, arguments: dict[str, Any]) -> None:
    for more in ({}, {"bounding_box_format": "rel_xyxy", "data_format": "channels_first"}):
        mine, theirs = (layer.get_config() for layer in pair(name, arguments, name="layer", **more))
        if name == "MaxNumBoundingBoxes":
            assert mine.pop("fill_value") == -1  # Keras forgets it
        assert json.loads(json.dumps(mine)) == json.loads(json.dumps(theirs))
        again = getattr(layers, name).from_config(json.loads(json.dumps(mine))).get_config()
        again.pop("fill_value") if name == "MaxNumBoundingBoxes" else None
        assert json.dumps(again) == json.dumps(mine)


@pytest.mark.parametrize("source", BOX_FORMATS)
@pytest.mark.parametrize("target", BOX_FORMATS)
def test_formats(source: str, target: str) -> None:
    boxes = boxed(source)["boxes"].numpy()
    theirs = keras.utils.bounding_boxes.convert_format(boxes, source, target, HEIGHT, WIDTH)
    assert_same(bounding_boxes.convert_format(boxes, source, target, HEIGHT, WIDTH), theirs, 1e-5)


def test_box_functions() -> None:
    peer, generator = keras.utils.bounding_boxes, np.random.default_rng(0)
    boxes, others = boxed("xyxy")["boxes"].numpy(), boxed("xyxy")["boxes"].numpy()[::-1] + 0.5
    numbers = [generator.uniform(-1, 1, 3).astype("float32") * scale for scale in (90, 0.3, 0.3, 0, 20, 10)]
    numbers[3] = generator.uniform(0.5, 2, 3).astype("float32")
    tensors = [torch.from_numpy(x) for x in numbers]
    assert_same(
        bounding_boxes.affine_transform(boxes, *tensors, height=HEIGHT, width=WIDTH, center_x=0.3, center_y=0.6),
        peer.affine_transform(
            torch.from_numpy(boxes), *tensors, height=HEIGHT, width=WIDTH, center_x=0.3, center_y=0.6
        ),
    )
    assert_same(bounding_boxes.crop(boxes, 2, 3, 4, 5), peer.crop(boxes, 2, 3, 4, 5))
    assert_same(bounding_boxes.pad(boxes, 2, 3), peer.pad(boxes, 2, 3))
    clipped = {"boxes": boxes, "labels": np.arange(9).reshape(3, 3)}
    assert_same(bounding_boxes.clip_to_image_size(clipped, 4, 3), peer.clip_to_image_size(clipped, 4, 3))
    for first, second in ((boxes, others), (boxes[0], others), (boxes, others[0]), (boxes[0], others[0])):
        for options in ({}, {"use_masking": first.ndim == second.ndim, "mask_val": -2}):
            mine = bounding_boxes.compute_iou(first, second, "xyxy", **options)
            assert_same(mine, peer.compute_iou(first, second, "xyxy", **options), 1e-6)
    assert_same(bounding_boxes.compute_ciou(boxes, others, "xywh"), peer.compute_ciou(boxes, others, "xywh"), 1e-6)


@pytest.mark.parametrize("variance", [None, [0.1, 0.1, 0.2, 0.2]])
@pytest.mark.parametrize("encoding", ["center_xywh", "center_yxhw"])
def test_deltas(encoding: str, variance: list[float] | None) -> None:
    peer, boxes = keras.utils.bounding_boxes, boxed("rel_xyxy")["boxes"].numpy()
    anchors, rest = boxed("rel_xyxy")["boxes"].numpy()[1], (encoding, variance, (HEIGHT, WIDTH, 3))
    deltas = bounding_boxes.encode_box_to_deltas(anchors, boxes, "rel_xyxy", "rel_xyxy", *rest)
    assert_same(deltas, peer.encode_box_to_deltas(anchors, boxes, "rel_xyxy", "rel_xyxy", *rest), 1e-4)
    back = bounding_boxes.decode_deltas_to_boxes(anchors, deltas, "rel_xyxy", "rel_xyxy", *rest)
    assert_same(back, boxes, 1e-5)
    levels = bounding_boxes.decode_deltas_to_boxes({0: anchors}, {0: deltas}, "rel_xyxy", "xyxy", *rest)
    assert_same(levels[0], peer.decode_deltas_to_boxes(anchors, deltas, "rel_xyxy", "xyxy", *rest), 1e-3)
