"""Colours, filters and patches of images beside the real Keras: values, dtypes, symbolic shapes, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras")

from lamina import ops
from lamina.graph.tensor import KerasTensor

RNG = np.random.RandomState(0)
LAYOUTS = ["channels_last", "channels_first"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]

CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("rgb_to_grayscale", 2, {}),
    ("rgb_to_hsv", 2, {}),
    ("hsv_to_rgb", 2, {}),
    ("gaussian_blur", 2, {}),
    ("gaussian_blur", 2, {"kernel_size": (5, 5), "sigma": (0.7, 2.0)}),
    ("gaussian_blur", 2, {"kernel_size": [1, 1], "sigma": np.array([1.0, 2.0], "float32")}),
    ("sobel_edges", 2, {}),
    ("extract_patches", 2, {"size": 3}),
    ("extract_patches", 2, {"size": (3, 2), "padding": "same"}),
    ("extract_patches", 2, {"size": (3, 2), "strides": (2, 1), "padding": "same"}),
    ("extract_patches", 2, {"size": (2, 3), "strides": 1, "dilation_rate": 2}),
    ("extract_patches", 2, {"size": 2, "dilation_rate": (2, 1)}),
    ("extract_patches", 3, {"size": (3, 2, 2)}),
    ("extract_patches", 3, {"size": [2, 2, 2], "strides": (1, 2, 3), "padding": "same"}),
    ("extract_patches_3d", 3, {"size": 2}),
    ("extract_patches_3d", 3, {"size": (1, 2, 3), "strides": 2, "padding": "same"}),
    ("extract_patches_3d", 3, {"size": 2, "strides": 1, "dilation_rate": (1, 2, 3)}),
]
IDS = [f"{name}-{rank}d-{i}" for i, (name, rank, _) in enumerate(CASES)]


def images(rank: int, data_format: str, batched: bool = True, channels: int = 3) -> np.ndarray:
    """Images with grey, black and single-coloured pixels among them."""
    x = RNG.rand(2, *(7, 9, 6)[:rank], channels).astype("float32")
    x[0, 0, 0], x[0, 0, 1], x[0, 1, 0, ..., 0], x[0, 1, 1] = 0.5, 0.0, 0.0, 1e-9
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    return x if batched else x[0]


def both(name: str, *arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    mine, theirs = (getattr(o.image, name, None) or getattr(o, name) for o in (ops, keras.ops))
    return mine(*arguments, **options), theirs(*arguments, **options)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize(("name", "rank", "options"), CASES, ids=IDS)
def test_values_and_gradients(name, rank, options, data_format, batched):
    if name == "sobel_edges" and not batched:
        return
    x = torch.tensor(images(rank, data_format, batched), requires_grad=True)
    mine, theirs = both(name, x, data_format=data_format, **options)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    slope = torch.tensor(RNG.normal(size=mine.shape)).float()
    found, wanted = (torch.autograd.grad(y, x, slope)[0] for y in (mine, theirs))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("name", "rank", "options"), CASES, ids=IDS)
def test_float_dtypes(name, rank, options, dtype):
    x = torch.tensor(images(rank, "channels_last")).to(getattr(torch, dtype))
    mine, theirs = both(name, x, data_format="channels_last", **options)
    loose = {"rtol": 3e-2, "atol": 2e-2} if dtype in ("float16", "bfloat16") else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(mine, theirs, **loose)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("name", ["rgb_to_grayscale", "sobel_edges", "extract_patches", "extract_patches_3d"])
def test_integers(name, dtype):
    rank = 3 if name == "extract_patches_3d" else 2
    x = torch.tensor(images(rank, "channels_last") * 127).to(getattr(torch, dtype))
    options = {"size": 2} if "patches" in name else {}
    mine, theirs = both(name, x, **options)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_one_channel_is_grey_already():
    x = images(2, "channels_last", channels=1)
    mine, theirs = both("rgb_to_grayscale", x)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"max_val": 0.5, "filter_size": 4, "filter_sigma": 0.8, "k1": 0.02, "k2": 0.1}], ids=str
)
def test_ssim(options, batched, data_format):
    shape = ((2, 16, 14, 3) if data_format == "channels_last" else (2, 3, 16, 14))[0 if batched else 1 :]
    x = torch.tensor(RNG.rand(*shape), requires_grad=True)
    y = (x + torch.tensor(RNG.rand(*shape)) * 0.4).detach()
    mine, theirs = both("ssim", x, y, data_format=data_format, **options)
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    found, wanted = (torch.autograd.grad(z.sum(), x)[0] for z in (mine, theirs))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_ssim_dtype(dtype):
    x = torch.tensor(RNG.rand(2, 16, 16, 3) * 50).to(getattr(torch, dtype))
    mine, theirs = both("ssim", x, x.flip(1), max_val=50.0)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "float64"), ("float32", "float16")])
def test_psnr(dtypes):
    x, y = (RNG.rand(2, 5, 3).astype(dtype) for dtype in dtypes)
    mine, theirs = both("psnr", x, y, 1.5)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert ops.psnr(x, x, 1) == torch.inf


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 1), (3,)), ((), (2,))])
def test_polar(shapes, dtype):
    x, y = (np.asarray(RNG.rand(*shape) * 4).astype(dtype) for shape in shapes)
    torch.testing.assert_close(*both("polar", x, y))


@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize("data_format", LAYOUTS)
def test_depth_and_space(data_format, block, dtype):
    deep = np.arange(2 * 3 * 4 * 36).reshape((2, 3, 4, 36) if data_format == "channels_last" else (2, 36, 3, 4))
    x = (deep % 7).astype(dtype)
    wide, theirs = both("depth_to_space", x, block, data_format=data_format)
    torch.testing.assert_close(wide, theirs)
    mine, theirs = both("space_to_depth", wide, block, data_format=data_format)
    torch.testing.assert_close(mine, theirs)
    assert np.array_equal(mine.numpy(), x)


SYMBOLIC = [
    ("rgb_to_grayscale", [(None, None, 8, 3)], {}),
    ("rgb_to_grayscale", [(None, 8, None, None)], {}),
    ("rgb_to_grayscale", [(3, None, 8)], {"data_format": "channels_first"}),
    ("rgb_to_hsv", [(None, None, 8, 3)], {}),
    ("hsv_to_rgb", [(None, 3, None, 8)], {"data_format": "channels_first"}),
    ("gaussian_blur", [(None, None, 8, 2)], {}),
    ("gaussian_blur", [(None, 8, None)], {"kernel_size": (4, 5)}),
    ("sobel_edges", [(None, None, None, 3)], {}),
    ("sobel_edges", [(None, None, 8, 9)], {"data_format": "channels_first"}),
    ("ssim", [(None, None, 16, 3), (2, 16, None, 3)], {}),
    ("ssim", [(16, None, 3), (16, 16, 3)], {}),
    ("psnr", [(None, 3), (4, None)], {"max_val": 1.0}),
    ("extract_patches", [(None, None, 20, 3)], {"size": 5}),
    ("extract_patches", [(None, 20, 3)], {"size": (3, 4), "strides": 2, "padding": "same"}),
    ("extract_patches", [(None, 3, None, 20)], {"size": 3, "strides": 1, "data_format": "channels_first"}),
    ("extract_patches", [(None, 20, 20, None, 3)], {"size": (3, 4, 5)}),
    ("extract_patches_3d", [(20, None, 20, 3)], {"size": 3, "dilation_rate": 2, "strides": 1}),
    ("depth_to_space", [(None, None, 8, 12)], {"block_size": 2}),
    ("depth_to_space", [(None, None, 8, None)], {"block_size": 3, "data_format": "channels_first"}),
    ("space_to_depth", [(None, None, 9, None)], {"block_size": 3}),
    ("space_to_depth", [(None, 2, None, 9)], {"block_size": 3, "data_format": "channels_first"}),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "shapes", "options"), SYMBOLIC, ids=str)
def test_symbolic(name, shapes, options, dtype):
    mine = [KerasTensor(shape, dtype) for shape in shapes]
    theirs = [keras.KerasTensor(shape, dtype) for shape in shapes]
    function = getattr(ops.image, name, None) or getattr(ops, name)
    other = getattr(keras.ops.image, name, None) or getattr(keras.ops, name)
    found, wanted = function(*mine, **options), other(*theirs, **options)
    # Keras says float32 for every psnr, and returns another dtype.
    assert (found.shape, found.dtype) == (wanted.shape, dtype if name == "psnr" else wanted.dtype)
