"""Resizing, scaling, padding and cropping, where the parity tests cannot ask Keras on torch."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.tensor import KerasTensor
from lamina.ops import image

SQUARES = torch.arange(7.0)[None, :, None] ** 2

# Keras on torch refuses these; the numbers are those of Keras on TensorFlow.
OF_TENSORFLOW = {
    ("lanczos3", False, 3): [0.470809, 9, 29.648468],
    ("lanczos3", True, 3): [0.419244, 9, 28.646048],
    ("lanczos3", True, 9): [-0.002697, 0.470809, 2.099019, 4.849531, 9, 14.422463, 20.006706, 29.648478, 36.518314],
    ("lanczos5", False, 3): [0.455990, 9, 29.819416],
    ("lanczos5", True, 3): [0.595019, 8.808073, 28.765310],
    ("lanczos5", False, 9): [-0.001948, 0.455990, 2.179228, 4.700465, 9, 14.926702, 19.332644, 29.819427, 36.559559],
    ("area", False, 3): [1, 9.571428, 28.428574],
    ("area", True, 3): [1, 9.571428, 28.428574],
    ("area", False, 9): [0, 0.714286, 2.285715, 4.714285, 9, 15.000007, 21.142857, 28.142855, 36],
}


@pytest.mark.parametrize(("interpolation", "antialias", "width"), OF_TENSORFLOW)
def test_lanczos_and_area_as_on_tensorflow(interpolation, antialias, width):
    expected = torch.tensor(OF_TENSORFLOW[interpolation, antialias, width])
    for data_format, x in (("channels_last", SQUARES), ("channels_first", SQUARES.movedim(-1, 0))):
        result = image.resize(x, (1, width), interpolation, antialias, data_format=data_format)
        torch.testing.assert_close(result.flatten(), expected, atol=1e-4, rtol=1e-5)
    result = image.resize(SQUARES.to(torch.uint8), (1, width), interpolation, antialias)
    assert torch.equal(result.flatten(), expected.round().to(torch.uint8))


def test_integers_stay_within_their_dtype():
    # Keras on torch lets int8 overflow here, other backends do not.
    step = torch.tensor([0, 0, 0, 127, 127, 127], dtype=torch.int8)[None, :, None]
    result = image.resize(step, (1, 12), "bicubic").flatten()
    assert result.dtype is torch.int8 and result[7:].eq(127).all() and result.min() < 0


def test_nearest_copies_large_integers_exactly():
    x = torch.tensor([[[2**24 + 1], [2**31 - 1]]], dtype=torch.int32)
    assert torch.equal(image.resize(x, (2, 4), "nearest"), x.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_triangle_is_another_word_for_linear():
    # Keras documents it and refuses it.
    options = ((2, 9, 1), torch.tensor([1.3]), torch.tensor([0.2]), (1,))
    x = SQUARES.expand(2, 7, 1)
    assert torch.equal(
        image.scale_and_translate(x, *options, "triangle"), image.scale_and_translate(x, *options, "linear")
    )


def test_cropping_an_unknown_size_leaves_it_unknown():
    # Keras wants a target size here, though the result's size need not be known either.
    assert image.crop_images(KerasTensor((None, 10, 3)), 2, 3, 4, 5).shape == (None, 2, 3)


def test_sizes_known_at_run_time_are_checked_then():
    inputs = KerasTensor((None, None, 3))
    assert image.pad_images(inputs, 1, 2, target_height=30, target_width=31).shape == (30, 31, 3)
    with pytest.raises(ArgumentError, match="bottom_padding must be >= 0"):
        image.pad_images(torch.ones(40, 4, 3), 1, 2, target_height=30, target_width=31)


RANK2 = torch.ones(4, 4)
RANK3 = torch.ones(4, 4, 3)
TWO = torch.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: image.resize(RANK2, (2, 2)), ShapeError, "resize.*three axes.*\\(4, 4\\)"),
        (lambda: image.resize(KerasTensor((4, 4)), (2, 2)), ShapeError, "resize.*three axes"),
        (lambda: image.resize(RANK3, (2, 2, 2)), ArgumentError, "resize, size.*height, width"),
        (lambda: image.resize(RANK3, (2, 0)), ArgumentError, "two positive integers"),
        (lambda: image.resize(RANK3, (2, 2), "bilinaer"), ArgumentError, 'interpolation.*"bilinear"'),
        (lambda: image.resize(RANK3, (2, 2), fill_mode="wrap"), ArgumentError, "resize, fill_mode.*constant"),
        (lambda: image.resize(RANK3, (2, 2), data_format="last"), ArgumentError, "data_format"),
        (
            lambda: image.resize(RANK3, (2, 2), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
            ArgumentError,
            "at most one",
        ),
        (
            lambda: image.scale_and_translate(RANK2, (2, 2), TWO, TWO, (0, 1), "linaer"),
            ArgumentError,
            "scale_and_translate, method",
        ),
        (lambda: image.scale_and_translate(RANK2, (2, 2), TWO, TWO, (0,), "cubic"), ShapeError, "shape \\(1,\\)"),
        (lambda: image.scale_and_translate(RANK2, (2,), TWO, TWO, (0, 1), "cubic"), ShapeError, "of 2 sizes"),
        (lambda: image.pad_images(RANK2, 1, 1, 1, 1), ShapeError, "pad_images"),
        (lambda: image.crop_images(RANK2, 1, 1, 1, 1), ShapeError, "crop_images"),
        (lambda: image.pad_images(RANK3, 1, 1, 1), ArgumentError, "two of left_padding, right_padding, target_width"),
        (lambda: image.crop_images(RANK3, 1, 1, 1, 1, 4), ArgumentError, "two of top_cropping"),
        (lambda: image.pad_images(RANK3, -1, 1, 1, 1), ArgumentError, "top_padding must be >= 0"),
        (lambda: image.crop_images(RANK3, 3, 1, 2, 1), ArgumentError, "target_height must be >= 0"),
        (lambda: image.crop_images(RANK3, 3, 1, None, 1, 2), ArgumentError, "bottom_cropping must be >= 0"),
        (lambda: image.pad_images(KerasTensor((None, None, 3)), -1, 1, 1, 1), ArgumentError, "top_padding"),
    ],
)
def test_errors_say_what_was_expected(call, error, told):
    with pytest.raises(error, match=f"(?s){told}"):
        call()


CALLS = {
    "resize": lambda x: image.resize(x, (5, 4), "bicubic", antialias=True),
    "nearest": lambda x: image.resize(x, (9, 4), "nearest", pad_to_aspect_ratio=True),
    "lanczos": lambda x: image.resize(x, (9, 4), "lanczos3", antialias=True, crop_to_aspect_ratio=True),
    "area": lambda x: image.resize(x, (3, 8), "area"),
    "pad": lambda x: image.pad_images(x, 1, 2, target_height=9, target_width=9),
    "crop": lambda x: image.crop_images(x, 1, 2, 0, 1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_gradients_and_tracing(call):
    x = torch.rand(2, 6, 5, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x,))
    x = x.detach()
    torch.testing.assert_close(make_fx(call)(x)(x), call(x))
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="aot_eager")(x), call(x))


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos5"])
def test_scale_and_translation_have_gradients(method):
    def call(x, scale, shift):
        return image.scale_and_translate(x, (2, 7, 4), scale, shift, (1, 2), method)

    given = [torch.rand(2, 5, 6), torch.tensor([1.31, 0.63]), torch.tensor([0.4, 0.7])]
    given = [x.double().requires_grad_() for x in given]
    assert torch.autograd.gradcheck(call, given)
    given = [x.detach() for x in given]
    torch.testing.assert_close(make_fx(call)(*given)(*given), call(*given))
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="aot_eager")(*given), call(*given))
