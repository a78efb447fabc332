"""What layers do to the colours of images, given what was drawn, equals what Keras's layers do."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers

# Keras's own code on torch.
pytestmark = pytest.mark.filterwarnings("ignore:Tensor.T is deprecated")

FORMATS = ("channels_last", "channels_first")
RANGES = ((0, 255), (0, 1))
BATCH = 4

# Name, arguments, what it takes besides.
COLOUR: dict[str, dict[str, Any]] = {
    "RandomBrightness": {"factor": 0.4},
    "RandomContrast": {"factor": (0.7, 0.9)},
    "RandomHue": {"factor": 0.8},
    "RandomSaturation": {"factor": 0.7},
    "RandomSharpness": {"factor": 1.0},
    "RandomInvert": {"factor": (0.5, 0.5)},
    "RandomPosterization": {"factor": (1, 8)},
    "RandomColorDegeneration": {"factor": 0.6},
    "Solarization": {"addition_factor": 0.3, "threshold_factor": 0.8},
    "RandomGaussianBlur": {"factor": (0.5, 0.5), "kernel_size": 5},
    "RandomErasing": {"factor": (0.7, 0.7), "scale": (0.1, 0.6)},
    "Equalization": {},
    "AutoContrast": {},
    # Keras on torch rounds the limit down to an integer and pads in another way, on JAX neither: here is no need to.
    "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (3, 5), "clip_limit": 64.0},
}


def _images(data_format: str, value_range: Any, dtype: str = "float32", seed: int = 0, batch: int = BATCH) -> Any:
    shape = (batch, 12, 10, 3) if data_format == "channels_last" else (batch, 3, 12, 10)
    values = np.random.default_rng(seed).uniform(*value_range, size=shape)
    return torch.from_numpy(values.astype(dtype))


def _both(name: str, arguments: Any, data_format: str = "channels_last", **more: Any) -> tuple[Any, Any]:
    arguments = {**arguments, "data_format": data_format, "seed": 3, **more}
    if name in ("AutoContrast", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization"):
        arguments.pop("seed")
    return getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)


def _same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    ours, theirs = ours.detach().double(), torch.as_tensor(keras.ops.convert_to_numpy(theirs)).double()
    scale = max(1.0, float(theirs.abs().max())) if theirs.numel() else 1.0
    torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", COLOUR)
def test_images(name: str, data_format: str, value_range: Any) -> None:
    if name == "AutoContrast" and data_format == "channels_first":
        pytest.skip("Keras takes rows for channels there")
    ours, theirs = _both(name, COLOUR[name], data_format, value_range=value_range)
    images = _images(data_format, value_range)
    transformation = ours.get_random_transformation(images)
    expected = theirs.transform_images(images.clone(), copy.deepcopy(transformation))
    _same(ours.transform_images(images, transformation), expected)
    assert ours.transform_images(images, transformation).dtype is torch.float32
    drawn = theirs.get_random_transformation(images.clone())
    _same(ours.transform_images(images, drawn), theirs.transform_images(images.clone(), drawn))


@pytest.mark.parametrize("name", COLOUR)
def test_single_images(name: str) -> None:
    ours, theirs = _both(name, COLOUR[name])
    image = _images("channels_last", (0, 255), batch=1)[0]
    transformation = ours.get_random_transformation(image)
    _same(
        ours.transform_single_image(image, transformation),
        theirs.transform_single_image(image.clone(), copy.deepcopy(transformation)),
    )


@pytest.mark.parametrize("name", [name for name in COLOUR if name not in ("RandomBrightness", "RandomSaturation")])
def test_bytes(name: str) -> None:
    """Keras adds to bytes without casting them, which wraps round, and has no hue of them."""
    ours, theirs = _both(name, COLOUR[name])
    images = _images("channels_last", (0, 255), "uint8")
    transformation = ours.get_random_transformation(images)
    given = ours.transform_images(images, transformation)
    expected = theirs.transform_images(images.clone(), copy.deepcopy(transformation))
    _same(given, expected)
    assert given.dtype is expected.dtype


@pytest.mark.parametrize("data_format", FORMATS)
def test_grayscale(data_format: str) -> None:
    ours, theirs = _both("RandomGrayscale", {"factor": 0.5}, data_format)
    for dtype in ("float32", "uint8"):
        images = _images(data_format, (0, 255), dtype)
        chosen = ours.get_random_transformation(images)
        given, expected = ours.transform_images(images, chosen), theirs.transform_images(images, chosen)
        _same(given, expected)
        assert given.dtype is expected.dtype


@pytest.mark.parametrize("value_range", RANGES)
def test_jitter(value_range: Any) -> None:
    """Keras draws while it transforms: equal ends leave nothing to draw."""
    fixed = {"brightness_factor": (0.2, 0.2), "contrast_factor": (0.0, 0.0), "saturation_factor": (0.6, 0.6)}
    images = _images("channels_last", value_range)
    for names in [*([name] for name in fixed), list(fixed)]:
        ours, theirs = _both("RandomColorJitter", {name: fixed[name] for name in names}, value_range=value_range)
        _same(ours(images), theirs(images.clone()))


def test_auto_contrast_of_channels_first() -> None:
    images = _images("channels_first", (50, 200))
    ours = layers.AutoContrast(data_format="channels_first")(images)
    _same(ours.movedim(1, -1), keras.layers.AutoContrast()(images.movedim(1, -1)))


@pytest.mark.parametrize("data_format", FORMATS)
def test_mix_up(data_format: str) -> None:
    ours, theirs = _both("MixUp", {"alpha": 0.7}, data_format, bounding_box_format="xyxy")
    images = _images(data_format, (0, 255))
    transformation = ours.get_random_transformation(images)
    _same(ours.transform_images(images, transformation), theirs.transform_images(images.clone(), transformation))
    labels = torch.eye(BATCH)
    _same(ours.transform_labels(labels, transformation), theirs.transform_labels(labels, transformation))
    boxes = {"boxes": torch.arange(32.0).reshape(BATCH, 2, 4), "labels": torch.arange(8).reshape(BATCH, 2)}
    both = ours.transform_bounding_boxes(boxes, transformation)
    _same(both["boxes"], theirs.transform_bounding_boxes(dict(boxes), transformation)["boxes"])
    # Keras puts the classes of the partners under those of the batch, not beside them.
    order = transformation["permutation_order"].long()
    assert torch.equal(both["labels"], torch.cat([boxes["labels"], boxes["labels"][order]], 1))


@pytest.mark.parametrize("data_format", FORMATS)
def test_cut_mix(data_format: str) -> None:
    ours, theirs = _both("CutMix", {"factor": 0.8}, data_format)
    images, labels = _images(data_format, (0, 255)), torch.eye(BATCH)
    for layer in (ours, theirs):
        drawn = layer.get_random_transformation(images)
        assert tuple(drawn["mix_weight"].shape) == (BATCH, 1, 1, 1)
        _same(ours.transform_images(images, drawn), theirs.transform_images(images.clone(), drawn))
        _same(ours.transform_labels(labels, drawn), theirs.transform_labels(labels, drawn))
        _same(
            ours.transform_segmentation_masks(images, drawn), theirs.transform_segmentation_masks(images.clone(), drawn)
        )


CONFIGS: dict[str, list[dict[str, Any]]] = {
    "RandomBrightness": [{"factor": 0.2}, {"factor": (-0.1, 0.3), "value_range": (0, 1), "seed": 3}],
    "RandomContrast": [{"factor": 0.2}, {"factor": (0.1, 0.3)}],
    "RandomHue": [{"factor": 0.2}],
    "RandomSaturation": [{"factor": 0.2, "data_format": "channels_first"}],
    "RandomSharpness": [{"factor": 0.2}],
    "RandomColorDegeneration": [{"factor": 0.2, "bounding_box_format": "xyxy"}],
    "RandomPosterization": [{"factor": 3}, {"factor": (2, 5)}],
    "RandomInvert": [{}, {"factor": 0.5}],
    "Solarization": [{}, {"addition_factor": 0.2, "threshold_factor": (0.1, 0.3)}],
    "RandomGaussianBlur": [{}, {"kernel_size": (3, 5), "sigma": (0.2, 0.5)}],
    "RandomErasing": [{}, {"fill_value": (1, 2, 3), "scale": 0.4}],
    "RandomColorJitter": [{}, {"brightness_factor": 0.1, "hue_factor": (0.1, 0.2)}],
    "AutoContrast": [{}, {"value_range": (1, 0)}],
    "Equalization": [{"bins": 16}],
    "ContrastLimitedAdaptiveHistogramEqualization": [{"tile_grid_size": (2, 3), "clip_limit": 1.0}],
    "MixUp": [{"alpha": 0.3}],
    "CutMix": [{"factor": 0.3, "seed": 2}],
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs(name: str) -> None:
    for arguments in CONFIGS[name]:
        configs = [getattr(space.layers, name)(name="x", **arguments).get_config() for space in (_Ours, keras)]
        ours, theirs = (
            {key: list(value) if isinstance(value, tuple) else value for key, value in config.items() if key != "dtype"}
            for config in configs
        )
        assert ours == theirs


class _Ours:
    layers = layers
