"""Resizing, cropping and warping of images against the real Keras: values, dtypes, gradients, symbolic shapes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina.core import config
from lamina.graph.tensor import KerasTensor
from lamina.ops import image

FORMATS = ("channels_last", "channels_first")
FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")
DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int32")
SIZES = [(4, 5), (12, 3), (18, 14), (9, 7)]

TRANSFORMS = np.array([[0.9, 0.2, -1.3, -0.3, 1.1, 0.4, 0, 0], [-0.8, 0.1, 6.3, 0.2, -1.2, 8.1, 0, 0]], "float32")
CORNERS = np.array([[0, 0], [8, 0], [0, 6], [8, 6]], "float32")
MOVED = CORNERS + np.array([[1.2, 0.3], [2.1, 1.4], [0.2, -0.7], [-1.6, 0.4]], "float32")


def pixels(*shape: int, dtype: str = "float32") -> np.ndarray:
    limit = 100 if dtype == "int8" else 200
    return np.random.default_rng(0).uniform(0, limit, shape).astype(dtype)


def pictures(data_format: str, batched: bool, dtype: str = "float32") -> np.ndarray:
    x = pixels(2, 9, 7, 3, dtype=dtype)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if data_format == "channels_first" else x
    return x if batched else x[0]


def compare(name: str, x: np.ndarray, *args: Any, tolerance: float = 1e-3, **options: Any) -> None:
    """The result of both; nobody may change what they are given."""
    theirs = getattr(keras.ops.image, name)(
        x.copy(), *[np.copy(a) if isinstance(a, np.ndarray) else a for a in args], **options
    )
    mine = getattr(image, name)(x, *args, **options)
    # Half floats of both are rounded from float32, at places that differ in the last bit.
    tolerance = {torch.float16: 0.3}.get(mine.dtype, tolerance)
    torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_resize(interpolation: str, antialias: bool, dtype: str) -> None:
    if dtype == "int8" and interpolation == "bicubic":
        pytest.skip("Keras lets int8 overflow on torch alone; see tests/ops/test_resampling.py")
    for size, data_format, batched in itertools.product(SIZES, FORMATS, (True, False)):
        x = pictures(data_format, batched, dtype)
        compare("resize", x, size, interpolation=interpolation, antialias=antialias, data_format=data_format)


@pytest.mark.parametrize("way", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_resize_to_aspect_ratio(way: str, dtype: str) -> None:
    for size, data_format, batched, value in itertools.product([*SIZES, (2, 15)], FORMATS, (True, False), (0.0, 3.7)):
        x = pictures(data_format, batched, dtype)
        compare("resize", x, size, data_format=data_format, fill_value=value, **{way: True})


@pytest.mark.parametrize("method", ["linear", "bilinear", "cubic", "bicubic", "tricubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_scale_and_translate(method: str, antialias: bool, dtype: str) -> None:
    scale, shift = np.array([0.61, 1.73], "float32"), np.array([0.43, -1.17], "float32")
    for axes, shape in [((1, 2), (2, 6, 13, 3)), ((-1, 0), (3, 9, 7, 2))]:
        x = pictures("channels_last", True, dtype)
        compare("scale_and_translate", x, shape, scale, shift, spatial_dims=axes, method=method, antialias=antialias)


PADDINGS = [(1, 2, 3, 4, None, None), (None, 2, 3, None, 15, 15), (0, None, None, 0, 9, 7), (2, 3, None, None, 20, 20)]
CROPPINGS = [(1, 2, 3, 4, None, None), (None, 2, 3, None, 5, 4), (0, None, None, 0, 9, 7), (2, 3, None, None, 4, 0)]


@pytest.mark.parametrize(("name", "cases"), [("pad_images", PADDINGS), ("crop_images", CROPPINGS)])
@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_frames(name: str, cases: list[tuple[Any, ...]], dtype: str) -> None:
    for case, data_format, batched in itertools.product(cases, FORMATS, (True, False)):
        compare(name, pictures(data_format, batched, dtype), *case, data_format=data_format)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_map_coordinates(fill_mode: str, order: int, dtype: str) -> None:
    for shape, rest in [((7,), (5,)), ((6, 9), (2, 4)), ((3, 2, 5), (4, 1, 3))]:
        x = pixels(*shape, dtype=dtype)
        places = np.random.default_rng(1).uniform(-12, 15, (len(shape), *rest)).astype("float32")
        for coordinates in (places, places.round().astype("int32"), np.round(places * 2) / 2):
            compare("map_coordinates", x, coordinates, order, fill_mode=fill_mode, fill_value=2.6)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_transform(fill_mode: str, interpolation: str, dtype: str) -> None:
    for data_format in FORMATS:
        options = {"interpolation": interpolation, "fill_mode": fill_mode, "fill_value": 2, "data_format": data_format}
        compare("affine_transform", pictures(data_format, True, dtype), TRANSFORMS, **options)
        compare("affine_transform", pictures(data_format, False, dtype), TRANSFORMS[1], **options)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_perspective_transform(interpolation: str, dtype: str) -> None:
    # Keras casts points to the dtype of the images, which cuts off fractions for integers.
    start, end = (CORNERS.round(), MOVED.round()) if dtype == "int32" else (CORNERS, MOVED)
    for data_format in FORMATS:
        options = {"interpolation": interpolation, "fill_value": 2, "data_format": data_format}
        x = pictures(data_format, True, dtype)
        compare("perspective_transform", x, start, end, **options)
        compare("perspective_transform", x, np.stack([start, end]), np.stack([end, start]), **options)
        compare("perspective_transform", x[0], start, end, **options)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_elastic_transform_of_the_same_noise(data_format: str, interpolation: str, monkeypatch) -> None:
    monkeypatch.setattr(
        "lamina.ops.warping.normal", lambda shape, **_: torch.stack([torch.randn(shape[1:]) for _ in range(2)])
    )
    for batched in (True, False):
        x = pictures(data_format, batched)
        results = []
        for module in (keras.ops.image, image):
            torch.manual_seed(3)
            options = {"alpha": 2.5, "sigma": 1.3, "interpolation": interpolation, "data_format": data_format}
            results.append(module.elastic_transform(x, **options))
        torch.testing.assert_close(results[1], results[0], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda module, x: module.resize(x, (5, 11)),
        lambda module, x: module.resize(x, (5, 4), "bicubic", antialias=True),
        lambda module, x: module.resize(x, (5, 11), "nearest", pad_to_aspect_ratio=True),
        lambda module, x: module.affine_transform(x, TRANSFORMS.copy(), fill_mode="reflect"),
        lambda module, x: module.perspective_transform(x, CORNERS, MOVED),
        lambda module, x: module.crop_images(x, 1, 2, 3, 2),
        lambda module, x: module.pad_images(x, 1, 2, 3, 2),
    ],
)
def test_gradients(call: Callable[[Any, Any], torch.Tensor]) -> None:
    slopes = []
    for module in (keras.ops.image, image):
        x = torch.tensor(pictures("channels_last", True), requires_grad=True)
        call(module, x).square().sum().backward()
        slopes.append(x.grad)
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-2, rtol=1e-4)


SYMBOLIC: list[tuple[str, tuple[int | None, ...], Callable[[Any, Any, Any], Any]]] = [
    (name, shape, call)
    for name, call in {
        "resize": lambda m, x, _: m.resize(x, (4, 5)),
        "crop": lambda m, x, _: m.resize(x, (4, 50), "bicubic", crop_to_aspect_ratio=True),
        "pad": lambda m, x, _: m.resize(x, (4, 50), "nearest", pad_to_aspect_ratio=True),
        "affine": lambda m, x, symbol: m.affine_transform(x, symbol((8,))),
        "perspective": lambda m, x, symbol: m.perspective_transform(x, symbol((4, 2)), symbol((4, 2))),
        "elastic": lambda m, x, _: m.elastic_transform(x),
        "pad_images": lambda m, x, _: m.pad_images(x, 1, 2, target_height=30, target_width=31),
        "pad_by": lambda m, x, _: m.pad_images(x, 1, 2, 3, 4),
        "crop_images": lambda m, x, _: m.crop_images(x, 1, 2, target_height=3, target_width=2),
    }.items()
    for shape in [(None, 9, 7, 3), (9, 7, 3), (None, None, None, 3), (None, None, 1), (2, None, 7, None)]
]


@pytest.mark.parametrize(("name", "shape", "call"), SYMBOLIC)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_symbolic_shapes(name: str, shape: Any, call: Any, dtype: str, data_format: str) -> None:
    known = keras.config.image_data_format(), config.image_data_format()
    results = []
    try:
        for module, symbol, settings in (
            (keras.ops.image, keras.KerasTensor, keras.config),
            (image, KerasTensor, config),
        ):
            settings.set_image_data_format(data_format)
            ordered = shape if data_format == "channels_last" else (*shape[:-3], shape[-1], *shape[-3:-1])
            result = call(module, symbol(ordered, dtype=dtype), symbol)
            results.append((tuple(result.shape), str(result.dtype)))
    finally:
        keras.config.set_image_data_format(known[0])
        config.set_image_data_format(known[1])
    assert results[0] == results[1]


def test_symbolic_shapes_of_map_coordinates_and_scale_and_translate() -> None:
    for module, symbol in ((keras.ops.image, keras.KerasTensor), (image, KerasTensor)):
        assert module.map_coordinates(symbol((None, 5), dtype="uint8"), symbol((2, None, 4)), 1).shape == (None, 4)
        moved = module.scale_and_translate(
            symbol((None, 20, 20, 3)), (None, 25, 26, 3), symbol((2,)), symbol((2,)), (1, 2), "linear"
        )
        assert moved.shape == (None, 25, 26, 3)
