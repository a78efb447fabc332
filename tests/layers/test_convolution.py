"""Convolutions: shapes, memory layout, "same" padding against a plain sum, errors, what subclasses may override."""

from __future__ import annotations

import copy
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.tensor import KerasTensor
from lamina.layers import Input, windows
from lamina.layers.convolution import Conv1D, Conv2D, Conv3D
from lamina.layers.convolution_depthwise import DepthwiseConv1D, DepthwiseConv2D, SeparableConv2D
from lamina.layers.convolution_transpose import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose

BY_RANK = {1: Conv1D, 2: Conv2D, 3: Conv3D}
TRANSPOSED = {1: Conv1DTranspose, 2: Conv2DTranspose, 3: Conv3DTranspose}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[int, dict, tuple[int, ...]]:
    """A rank, arguments, and the shape of an input."""
    rank = draw(st.integers(1, 3))
    sizes = st.integers(1, 4)
    arguments = {
        "filters": draw(st.sampled_from([2, 4])),
        "kernel_size": draw(st.tuples(*[sizes] * rank)),
        "padding": draw(st.sampled_from(["valid", "same", "causal"] if rank == 1 else ["valid", "same"])),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
        "groups": draw(st.sampled_from([1, 2])),
        draw(st.sampled_from(["strides", "dilation_rate"])): draw(st.tuples(*[st.integers(1, 3)] * rank)),
    }
    spatial = draw(st.tuples(*[st.integers(1, 9)] * rank))
    channels = draw(st.sampled_from([2, 4]))
    last = arguments["data_format"] == "channels_last"
    return rank, arguments, (2, *spatial, channels) if last else (2, channels, *spatial)


def shape_or_none(make, shape):
    try:
        return tuple(make().compute_output_shape(shape))
    except ValueError:
        return None


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_symbolic_eager_and_keras_shapes_agree(case) -> None:
    rank, arguments, shape = case
    expected = shape_or_none(lambda: getattr(keras.layers, f"Conv{rank}D")(**arguments), shape)
    assert shape_or_none(lambda: BY_RANK[rank](**arguments), shape) == expected
    if expected is None:
        with pytest.raises(ShapeError, match="larger than the input"):
            BY_RANK[rank](**arguments)(torch.zeros(shape))
        return
    layer = BY_RANK[rank](**arguments)
    assert tuple(layer(torch.zeros(shape)).shape) == expected
    assert BY_RANK[rank](**arguments)(KerasTensor((None, *shape[1:]))).shape == (None, *expected[1:])


@settings(max_examples=80, deadline=None)
@given(convolutions(), st.booleans())
def test_transposed_shapes_agree(case, explicit: bool) -> None:
    rank, arguments, shape = case
    del arguments["groups"]
    if arguments["padding"] == "causal":
        arguments["padding"] = "same"
    strides = arguments.get("strides", (1,) * rank)
    if explicit:
        arguments["output_padding"] = tuple(stride - 1 for stride in strides)
    try:
        expected = getattr(keras.layers, f"Conv{rank}DTranspose")(**arguments).compute_output_shape(shape)
    except ValueError:
        return
    if any(size <= 0 for size in expected):
        return
    layer = TRANSPOSED[rank](**arguments)
    assert tuple(layer.compute_output_shape(shape)) == tuple(expected)
    assert tuple(layer(torch.zeros(shape)).shape) == tuple(expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_is_that_of_tensorflow(length: int, window: int, stride: int, dilation: int) -> None:
    (before, behind), *_ = windows.pads("same", (length,), (window,), (stride,), (dilation,))
    reach = (window - 1) * dilation + 1
    outputs = math.ceil(length / stride)
    assert behind - before in (0, 1)
    assert (length + before + behind - reach) // stride + 1 == outputs
    assert before + behind == max(0, (outputs - 1) * stride + reach - length)


def test_conv1d_by_hand() -> None:
    layer = Conv1D(1, 3, padding="same", strides=2, kernel_initializer="ones")
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
    assert layer(x).flatten().tolist() == [7.0, 12.0]
    causal = Conv1D(1, 3, padding="causal", kernel_initializer="ones")
    assert causal(x).flatten().tolist() == [1.0, 3.0, 7.0, 14.0]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv1D(6, 3), (2, 9, 4)),
        (Conv2D(6, 3, padding="same"), (2, 8, 7, 4)),
        (Conv2D(6, (2, 3), groups=2), (2, 8, 7, 4)),
        (Conv3D(6, 3), (2, 5, 6, 7, 4)),
    ],
)
def test_nothing_is_reordered(layer, shape) -> None:
    """Inputs, outputs, weights and all their gradients are channels-last in memory."""
    x = torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn(y.shape))
    assert y.is_contiguous() and x.grad is not None and x.grad.is_contiguous()
    rank = layer.rank
    weight = layer.kernel.permute(rank + 1, rank, *range(rank))
    ordered = weight.permute(0, *range(2, rank + 2), 1)
    assert ordered.is_contiguous()
    assert layer.kernel.grad.stride() == layer.kernel.stride()
    if rank > 1:
        formats = {2: torch.channels_last, 3: torch.channels_last_3d}
        assert weight.is_contiguous(memory_format=formats[rank])


def test_layout_survives_copies_and_optimizers() -> None:
    layer = Conv2D(6, 3)
    x = torch.randn(2, 8, 7, 4)
    layer(x)
    strides = layer.kernel.stride()
    assert copy.deepcopy(layer).kernel.stride() == strides
    optimizer = torch.optim.Adam(layer.parameters())
    layer(x).sum().backward()
    optimizer.step()
    assert layer.kernel.stride() == strides
    assert optimizer.state[layer.kernel]["exp_avg"].stride() == strides
    layer.set_weights([np.zeros((3, 3, 4, 6)), np.zeros(6)])
    assert layer.kernel.stride() == strides
    assert layer.to(torch.float64).kernel.stride() == strides


@pytest.mark.parametrize("make", [lambda: DepthwiseConv1D(3, depth_multiplier=2), lambda: DepthwiseConv2D(3)])
def test_depthwise_weight_is_a_view(make) -> None:
    layer = make()
    layer(torch.randn((2, 9, 4) if layer.rank == 1 else (2, 9, 9, 4)))
    rank = layer.rank
    stored = layer.kernel.permute(rank, rank + 1, *range(rank))
    assert stored.is_contiguous()


def test_a_subclass_may_replace_the_convolution() -> None:
    class Standardized(Conv2D):
        def convolution_op(self, inputs, kernel):
            mean = kernel.mean(dim=(0, 1, 2), keepdim=True)
            return super().convolution_op(inputs, kernel - mean)

    for data_format, shape in (("channels_last", (2, 5, 5, 3)), ("channels_first", (2, 3, 5, 5))):
        layer = Standardized(4, 3, bias_initializer="ones", activation="relu", data_format=data_format)
        plain = Conv2D(4, 3, bias_initializer="ones", activation="relu", data_format=data_format)
        x = torch.randn(shape)
        layer(x), plain(x)
        kernel = layer.kernel.detach()
        plain.set_weights([kernel - kernel.mean(dim=(0, 1, 2), keepdim=True), layer.bias])
        torch.testing.assert_close(layer(x), plain(x))


def test_regularizers_and_constraints_are_kept() -> None:
    layer = Conv2D(4, 3, kernel_regularizer="l2", bias_regularizer="l1", kernel_constraint="non_neg")
    layer(torch.ones(1, 5, 5, 2))
    assert len(layer.losses) == 2
    assert layer.kernel.constraint is layer.kernel_constraint


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv2D(0, 3), "`filters` cannot be used"),
        (lambda: Conv2D(4, 3, groups=0), "`groups` cannot be used"),
        (lambda: Conv2D(4, 3, groups=3), "divisible by groups"),
        (lambda: Conv2D(4, 0), "tuple of 2 positive integers"),
        (lambda: Conv2D(4, (3, 3, 3)), "tuple of 2 positive integers"),
        (lambda: Conv2D(4, 2.5), "kernel_size"),
        (lambda: Conv2D(4, 3, strides=0), "strides"),
        (lambda: Conv2D(4, 3, strides=2, dilation_rate=2), "not both"),
        (lambda: Conv2D(4, 3, padding="sane"), "'sane'"),
        (lambda: Conv2D(4, 3, padding="causal"), "Conv1D only"),
        (lambda: Conv2D(4, 3, data_format="NHWC"), "data_format"),
        (lambda: DepthwiseConv2D(3, depth_multiplier=0), "`depth_multiplier` cannot be used"),
        (lambda: SeparableConv2D(0, 3), "`filters` cannot be used"),
        (lambda: Conv2DTranspose(4, 3, strides=2, output_padding=2), "less than strides"),
        (lambda: Conv2D(4, 3, kernel_sise=3), "kernel_size"),
    ],
)
def test_arguments_that_cannot_be_used(make, words) -> None:
    with pytest.raises(ArgumentError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [torch.zeros, lambda shape: KerasTensor((None, *shape[1:]))])
@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: Conv2D(4, 3, groups=2), (2, 8, 8, 3), "3 channels"),
        (lambda: Conv2D(4, 9), (2, 8, 8, 3), "larger than the input"),
        (lambda: Conv2D(4, 3, dilation_rate=4), (2, 8, 8, 3), "dilation_rate=(4, 4)"),
        (lambda: Conv2D(4, 3), (2, 28, 28), "x[..., None]"),
        (lambda: Conv2D(4, 3), (2, 28, 28), "Reshape((28, 28, 1))"),
        (lambda: Conv2D(4, 3, data_format="channels_first"), (2, 28, 28), "x[:, None]"),
        (lambda: Conv2D(4, 3), (2, 28), "(batch, height, width, channels)"),
        (lambda: Conv1D(4, 3), (2, 28), "x[..., None]"),
        (lambda: Conv2DTranspose(4, 3), (2, 28, 28), "x[..., None]"),
    ],
)
def test_inputs_that_do_not_fit(make, shape, words, data) -> None:
    with pytest.raises(ShapeError) as caught:
        make()(data(shape))
    assert words in str(caught.value)


def test_inputs_that_do_not_fit_a_built_layer() -> None:
    layer = Conv2D(4, 3, name="stem")
    for _ in range(2):
        layer(torch.zeros(1, 8, 8, 3))
    with pytest.raises(ShapeError, match="layer 'stem' \\(Conv2D\\)"):
        layer(torch.zeros(1, 8, 8, 4))
    with pytest.raises(ShapeError, match="larger than the input"):
        layer(torch.zeros(1, 2, 8, 3))
    with pytest.raises(ShapeError, match="channel axis"):
        layer(torch.zeros(1, 8, 8))
    with pytest.raises(ShapeError, match="larger than the input"):
        layer(KerasTensor((None, 2, 8, 3)))


def test_unknown_channels() -> None:
    with pytest.raises(ShapeError, match="number of channels must be known"):
        Conv2D(4, 3)(KerasTensor((None, 8, 8, None)))


def test_unknown_spatial_sizes() -> None:
    assert Conv2D(4, 3, strides=2, padding="same")(KerasTensor((None, None, None, 3))).shape == (None, None, None, 4)
    assert Conv2D(4, 3).compute_output_shape((None, None, 7, 3)) == (None, None, 5, 4)


def test_default_data_format_follows_the_config() -> None:
    from lamina.core import config

    config.set_image_data_format("channels_first")
    try:
        assert Conv2D(4, 3)(torch.zeros(1, 3, 8, 9)).shape == (1, 4, 6, 7)
    finally:
        config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("shape", "options", "hint"),
    [
        ((1, 28, 28), {}, 'data_format="channels_first"'),
        ((28, 28, 3), {"data_format": "channels_first"}, 'data_format="channels_last"'),
        ((2, 2, 3), {}, "smaller window"),
    ],
)
def test_channels_on_the_other_side_are_named(shape, options, hint):
    with pytest.raises(ShapeError, match=f"window is larger(.|\n)*{hint}"):
        Conv2D(2, 5, **options)(Input(shape))
