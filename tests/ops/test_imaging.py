"""Colours, filters and patches of images: errors, gradients, tracing, and where Keras's torch backend is no guide."""

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lamina
from lamina import ops
from lamina.core import config
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.graph.tensor import KerasTensor

RNG = np.random.RandomState(0)
image = ops.image


def test_namespaces():
    assert ops.nn.psnr is ops.psnr and ops.nn.polar is ops.polar
    assert ops.nn.depth_to_space is ops.depth_to_space and ops.nn.space_to_depth is ops.space_to_depth


def _blur(x, size, sigma):
    """The blur of Keras's JAX and NumPy backends: the second number of a pair is for the height."""
    one, other = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / s) ** 2) for n, s in zip(size, sigma, strict=True))
    kernel = np.outer(other / other.sum(), one / one.sum())
    padding = [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in kernel.shape]
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, (1, 2))
    return np.einsum("bhwcij,ij->bhwc", windows, kernel)


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (3, 5), (6, 4), (1, 2)])
def test_blur_with_any_size(size):
    # Keras's torch backend makes images larger for even sizes, and mixes up the weights where sizes differ.
    x = RNG.rand(2, 6, 7, 3)
    y = image.gaussian_blur(x, size, (0.8, 1.7))
    np.testing.assert_allclose(y, _blur(x, size, (0.8, 1.7)), rtol=1e-12)
    sigma = torch.tensor([0.8, 1.7], dtype=torch.float64)
    first = image.gaussian_blur(np.moveaxis(x, -1, 1), np.array(size), sigma, "channels_first")
    np.testing.assert_allclose(first.movedim(1, -1), y, rtol=1e-12)


def test_blur_by_symbolic_amounts():
    x, size, sigma = KerasTensor((None, None, 3), "float16"), KerasTensor((2,)), KerasTensor((2,))
    assert (image.gaussian_blur(x, size, sigma).shape, image.gaussian_blur(x).dtype) == (x.shape, "float16")


def test_blur_and_edges_in_the_default_layout():
    # Keras's torch and JAX backends take the default layout of these two to be "channels_first" whatever it is.
    x = torch.tensor(RNG.rand(2, 6, 7, 3))
    for function in (image.gaussian_blur, image.sobel_edges):
        torch.testing.assert_close(function(x), function(x, data_format="channels_last"))
        config.set_image_data_format("channels_first")
        try:
            torch.testing.assert_close(function(x), function(x, data_format="channels_first"))
        finally:
            config.set_image_data_format("channels_last")


def test_blurred_integers_are_rounded():
    # No backend of Keras blurs integers.
    x = torch.tensor(RNG.randint(0, 256, (1, 5, 5, 3)), dtype=torch.uint8)
    y = image.gaussian_blur(x)
    assert y.dtype is torch.uint8
    torch.testing.assert_close(y, image.gaussian_blur(x.float()).round().byte())


def test_psnr_of_integers():
    # Keras's torch backend has no mean of integers; the others let differences of uint8 wrap around.
    assert abs(ops.psnr(np.array([0, 10], "uint8"), np.array([10, 0], "uint8"), 255) - 28.1308) < 1e-4


def test_patches_keep_infinities():
    # As sums with weights of 0 and 1, which they are in Keras, these would become NaN.
    x = torch.tensor([[[1.0], [torch.inf]], [[2.0], [3.0]]])
    assert image.extract_patches(x, 2).flatten().tolist() == [1.0, torch.inf, 2.0, 3.0]


def test_polar_of_bfloat16():
    # No backend of Keras takes bfloat16, which has no complex counterpart.
    assert ops.polar(torch.ones(2, dtype=torch.bfloat16), 0.0).dtype is torch.complex64


def test_colours_there_and_back():
    x = torch.tensor(RNG.rand(2, 5, 5, 3))
    torch.testing.assert_close(image.hsv_to_rgb(image.rgb_to_hsv(x)), x)


def test_ssim_of_equal_images():
    x = torch.tensor(RNG.rand(3, 16, 16, 2)) * 255
    torch.testing.assert_close(image.ssim(x, x, 255), torch.ones(3).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ssim_in_half_precision(dtype):
    # Keras computes in half precision too, where variances become noise, or NaN.
    x = (torch.tensor(RNG.rand(2, 16, 16, 3)) * 255).to(dtype)
    y = image.ssim(x, x.flip(1) / 2, 255)
    assert y.dtype is dtype
    torch.testing.assert_close(y, image.ssim(x.double(), (x.flip(1) / 2).double(), 255).to(dtype))


def test_patches_of_volumes_in_a_file():
    # Keras has one class for both functions.
    volumes = lamina.Input((4, 4, 4, 1))
    model = lamina.Model(volumes, image.extract_patches_3d(volumes, 2))
    names = [layer["class_name"] for layer in model.get_config()["layers"]]
    assert names == ["InputLayer", "ExtractPatches"]
    x = torch.tensor(RNG.rand(1, 4, 4, 4, 1)).float()
    torch.testing.assert_close(lamina.Model.from_config(model.get_config())(x), model(x))


def test_patches_of_no_images():
    assert image.extract_patches(torch.ones(0, 6, 6, 3), 2).shape == (0, 3, 3, 12)
    assert ops.space_to_depth(torch.ones(0, 6, 6, 3), 2).shape == (0, 3, 3, 12)


def test_rearrange_with_unknown_sizes():
    # A stand-in for an unknown size need not divide by 3.
    assert ops.rearrange(KerasTensor((None, None, 2)), "b (h p) c -> b h (p c)", p=3).shape == (None, None, 6)


FUNCTIONS = {
    "grayscale": lambda x: image.rgb_to_grayscale(x),
    "hsv": lambda x: image.rgb_to_hsv(x),
    "rgb": lambda x: image.hsv_to_rgb(x),
    "blur": lambda x: image.gaussian_blur(x, (4, 3), (0.5, 1.0)),
    "edges": lambda x: image.sobel_edges(x),
    "ssim": lambda x: image.ssim(x, x.flip(1), filter_size=3),
    "psnr": lambda x: ops.psnr(x, x.flip(1), 1.0),
    "polar": lambda x: ops.polar(x, x.flip(1)),
    "patches": lambda x: image.extract_patches(x, 2),
    "overlapping patches": lambda x: image.extract_patches(x, 2, 1, 2, "same"),
    "volumes": lambda x: image.extract_patches_3d(x, (1, 2, 2), 1),
    "deep": lambda x: ops.space_to_depth(x, 2),
    "wide": lambda x: ops.depth_to_space(x, 2, "channels_first"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    x = torch.tensor(RNG.rand(1, 4, 6, 3), requires_grad=True)
    assert torch.autograd.gradcheck(FUNCTIONS[name], (x,))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_traces(name, mode):
    x, y = torch.tensor(RNG.rand(2, 2, 4, 6, 3)).float()
    graph = make_fx(FUNCTIONS[name], tracing_mode=mode)(x)
    torch.testing.assert_close(graph(y), FUNCTIONS[name](y))


X = torch.ones(2, 6, 6, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: image.rgb_to_grayscale(x[..., :2]), ShapeError, ["image.rgb_to_grayscale", "1 or 3", "(2, 6"]),
        (lambda x: image.rgb_to_grayscale(x[0, 0]), ShapeError, ["image.rgb_to_grayscale", "3 or 4 axes", "(6, 3)"]),
        (lambda x: image.rgb_to_hsv(x[..., :1]), ShapeError, ["image.rgb_to_hsv", "3 on axis -1", "(2, 6, 6, 1)"]),
        (lambda x: image.rgb_to_hsv(ops.cast(x, "uint8")), ArgumentError, ["image.rgb_to_hsv", "uint8", "cast("]),
        (lambda x: image.hsv_to_rgb(x, "channels_first"), ShapeError, ["image.hsv_to_rgb", "axis -3"]),
        (lambda x: image.hsv_to_rgb(ops.cast(x, "int32")), ArgumentError, ["image.hsv_to_rgb", "floats"]),
        (lambda x: image.gaussian_blur(x[None]), ShapeError, ["image.gaussian_blur", "3 or 4 axes"]),
        (lambda x: image.gaussian_blur(x, (3, 0)), ArgumentError, ["kernel_size", "positive", "(3, 0)"]),
        (lambda x: image.sobel_edges(x[0]), ShapeError, ["image.sobel_edges", "4 axes", "(6, 6, 3)"]),
        (lambda x: image.ssim(x, x[:, 1:]), ShapeError, ["image.ssim", "(2, 6, 6, 3)", "(2, 5, 6, 3)"]),
        (lambda x: image.ssim(x[0, 0], x[0, 0]), ShapeError, ["image.ssim", "3 or 4 axes"]),
        (lambda x: ops.psnr(x, x[0], 1.0), ShapeError, ["ops.psnr", "(2, 6, 6, 3)", "(6, 6, 3)"]),
        (lambda x: image.extract_patches(x, "5"), ArgumentTypeError, ["image.extract_patches", "an integer", "'5'"]),
        (lambda x: image.extract_patches(x, (1,)), ArgumentError, ["image.extract_patches", "2 or 3", "(1,)"]),
        (lambda x: image.extract_patches(x[0, 0], 2), ShapeError, ["image.extract_patches", "3 or 4 axes"]),
        (lambda x: image.extract_patches(x, 2, (1, 1, 1)), ArgumentError, ["strides", "2 positive"]),
        (lambda x: image.extract_patches_3d(x, (4, 4)), ArgumentTypeError, ["extract_patches_3d", "3", "(4, 4)"]),
        (lambda x: ops.polar(x, x[:, :4]), ShapeError, ["polar"]),
        (lambda x: ops.depth_to_space(x, 1), ArgumentError, ["ops.depth_to_space", "2 or more", "1"]),
        (lambda x: ops.depth_to_space(x, 2), ShapeError, ["ops.depth_to_space", "p * q * c", "3"]),
        (lambda x: ops.space_to_depth(x, 4), ShapeError, ["ops.space_to_depth", "h * p", "6"]),
        (lambda x: ops.space_to_depth(x[0], 2), ShapeError, ["ops.space_to_depth", "n (h p) (w q) c", "(6, 6, 3)"]),
    ],
)
@pytest.mark.parametrize("symbolic", [False, True])
def test_errors(call, error, words, symbolic):
    with pytest.raises(error) as caught:
        call(KerasTensor(X.shape) if symbolic else X)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("size", [7, (7, 2)])
def test_images_smaller_than_a_patch(size):
    with pytest.raises(ShapeError, match="extract_patches"):
        image.extract_patches(X, size)
    with pytest.raises(ShapeError, match="ssim"):
        image.ssim(X, X)
