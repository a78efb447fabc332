"""Pooling: shapes, means that leave padding out, masks, errors."""

from __future__ import annotations

import itertools
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
from lamina.layers import pooling, windows

KINDS = {"Max": np.max, "Average": np.mean}


def layer_of(name: str):
    return getattr(pooling, name)


@st.composite
def poolings(draw: st.DrawFn) -> tuple[str, dict, tuple[int, ...]]:
    """A layer's name, arguments, and the shape of an input."""
    rank = draw(st.integers(1, 3))
    arguments = {
        "pool_size": draw(st.tuples(*[st.integers(1, 4)] * rank)),
        "strides": draw(st.none() | st.tuples(*[st.integers(1, 4)] * rank)),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
    }
    spatial = draw(st.tuples(*[st.integers(1, 9)] * rank))
    last = arguments["data_format"] == "channels_last"
    name = draw(st.sampled_from(["Max", "Average"])) + f"Pooling{rank}D"
    return name, arguments, (2, *spatial, 3) if last else (2, 3, *spatial)


def by_hand(x: np.ndarray, reduce, window, strides, padding: str) -> np.ndarray:
    """Pooling of (batch, *spatial, channels), one window after the other; what lies outside counts for nothing."""
    spatial = x.shape[1:-1]
    amounts = windows.pads(padding, spatial, window, strides, (1,) * len(window))
    lengths = [
        windows.output_length(padding, length, size, stride)
        for length, size, stride in zip(spatial, window, strides, strict=True)
    ]
    result = np.empty((x.shape[0], *lengths, x.shape[-1]), x.dtype)
    for place in itertools.product(*map(range, lengths)):
        starts = [p * stride - pad[0] for p, stride, pad in zip(place, strides, amounts, strict=True)]
        part = tuple(slice(max(s, 0), s + size) for s, size in zip(starts, window, strict=True))
        result[(slice(None), *place)] = reduce(x[(slice(None), *part)], axis=tuple(range(1, len(window) + 1)))
    return result


@settings(max_examples=200, deadline=None)
@given(poolings())
def test_values_and_shapes(case) -> None:
    name, arguments, shape = case
    theirs = getattr(keras.layers, name)(**arguments)
    try:
        expected = tuple(theirs.compute_output_shape(shape))
    except ValueError:
        with pytest.raises(ShapeError, match="larger than the input"):
            layer_of(name)(**arguments)(torch.zeros(shape))
        with pytest.raises(ShapeError, match="larger than the input"):
            layer_of(name)(**arguments)(KerasTensor((None, *shape[1:])))
        return
    layer = layer_of(name)(**arguments)
    assert tuple(layer.compute_output_shape(shape)) == expected
    assert layer_of(name)(**arguments)(KerasTensor((None, *shape[1:]))).shape == (None, *expected[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = layer(torch.tensor(x)).numpy()
    last = arguments["data_format"] == "channels_last"
    values = x if last else np.moveaxis(x, 1, -1)
    wanted = by_hand(values, KINDS[name.split("Pool")[0]], layer.pool_size, layer.strides, layer.padding)
    np.testing.assert_allclose(y if last else np.moveaxis(y, 1, -1), wanted, rtol=1e-5, atol=1e-6)


def test_average_leaves_padding_out_of_the_mean() -> None:
    """As TensorFlow and JAX do; Keras on torch repeats the last element and counts it."""
    layer = pooling.AveragePooling1D(3, strides=2, padding="same")
    assert layer(torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1)).flatten().tolist() == [1.0, 2.5]


@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize("arguments", [{"pool_size": 2}, {"pool_size": 3, "strides": 2, "padding": "same"}])
def test_results_stay_channels_last(name, arguments) -> None:
    x = torch.randn(2, 8, 8, 3, requires_grad=True)
    y = layer_of(name)(**arguments)(x)
    y.backward(torch.randn(y.shape))
    assert y.is_contiguous() and x.grad is not None and x.grad.is_contiguous()


@pytest.mark.parametrize("name", ["MaxPooling3D", "AveragePooling3D"])
def test_volumes_stay_channels_last(name) -> None:
    assert layer_of(name)(2)(torch.randn(2, 4, 6, 8, 3)).is_contiguous()


def test_max_pooling_of_negative_values_ignores_padding() -> None:
    x = torch.full((1, 5, 5, 1), -3.0)
    for strides in (1, 2):
        assert float(pooling.MaxPooling2D(2, strides, "same")(x).max()) == -3.0
        assert float(pooling.MaxPooling2D(2, strides, "same")(x).min()) == -3.0


def test_default_stride_is_the_window() -> None:
    assert pooling.MaxPooling2D((2, 3)).strides == (2, 3)
    assert pooling.AveragePooling1D(4).get_config()["strides"] == (4,)


@pytest.mark.parametrize("keepdims", [False, True])
def test_masked_mean(keepdims: bool) -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [50.0], [50.0]]])
    x._keras_mask = torch.tensor([[True, True, False], [True, False, False]])  # type: ignore[attr-defined]
    y = pooling.GlobalAveragePooling1D(keepdims=keepdims)(x)
    assert y.flatten().tolist() == [2.0, 2.0] and y.dim() == (3 if keepdims else 2)
    assert not hasattr(y, "_keras_mask")


def test_aliases() -> None:
    assert pooling.MaxPool2D is pooling.MaxPooling2D
    assert pooling.AvgPool3D is pooling.AveragePooling3D
    assert pooling.GlobalAvgPool1D is pooling.GlobalAveragePooling1D


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pooling.MaxPooling2D(0), "pool_size"),
        (lambda: pooling.MaxPooling2D((2, 2, 2)), "tuple of 2"),
        (lambda: pooling.AveragePooling1D(2, strides=-1), "strides"),
        (lambda: pooling.MaxPooling2D(padding="causal"), "causal"),
        (lambda: pooling.AdaptiveMaxPooling2D((2, 0)), "output_size"),
    ],
)
def test_arguments_that_cannot_be_used(make, words) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


@pytest.mark.parametrize(
    "make", [pooling.MaxPooling2D, pooling.GlobalMaxPooling2D, lambda: pooling.AdaptiveAveragePooling2D(2)]
)
@pytest.mark.parametrize("data", [torch.zeros, KerasTensor])
def test_a_missing_channel_axis_is_named(make, data) -> None:
    with pytest.raises(ShapeError) as caught:
        make()(data((2, 28, 28)))
    assert "channel axis" in str(caught.value) and "x[..., None]" in str(caught.value)


def test_a_window_too_large_for_a_later_input() -> None:
    layer = pooling.MaxPooling2D(3)
    for _ in range(2):
        layer(torch.zeros(1, 6, 6, 2))
    with pytest.raises(ShapeError, match="larger than the input"):
        layer(torch.zeros(1, 2, 6, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_other_precisions(dtype, rank, data_format) -> None:
    name = str(dtype).removeprefix("torch.")
    for kind in ("Max", "Average"):
        layer = layer_of(f"{kind}Pooling{rank}D")(2, dtype=name, data_format=data_format)
        x = torch.randn((2, *(4,) * (rank + 1)), dtype=dtype)
        assert layer(x).dtype is dtype
