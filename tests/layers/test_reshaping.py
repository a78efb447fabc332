"""Reshaping layers against NumPy, on any shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import layers
from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.tensor import KerasTensor

FORMATS = st.sampled_from(["channels_last", "channels_first"])


def array(*shape: int) -> np.ndarray:
    return np.arange(math.prod(shape), dtype="float32").reshape(shape)


def agrees(layer: layers.Layer, x: np.ndarray, expected: np.ndarray, unknown: bool) -> None:
    assert np.array_equal(layer(torch.from_numpy(x)).numpy(), expected)
    assert tuple(layer.compute_output_shape(x.shape)) == expected.shape
    free = 4 if unknown else 1
    symbol = KerasTensor([None if axis < free else n for axis, n in enumerate(x.shape)])
    told = type(layer).from_config(layer.get_config())(symbol).shape
    assert all(size in (None, found) for size, found in zip(told, expected.shape, strict=True))
    if not unknown:
        assert told[1:] == expected.shape[1:]


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=4), data_format=FORMATS, unknown=st.booleans())
def test_flatten(shape, data_format, unknown):
    x = array(2, *shape)
    moved = np.moveaxis(x, 1, -1) if data_format == "channels_first" and x.ndim > 2 else x
    agrees(layers.Flatten(data_format=data_format), x, moved.reshape(2, -1), unknown and len(shape) > 0)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_reshape(data):
    target = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    hole = data.draw(st.none() | st.integers(0, len(target) - 1))
    x = array(2, math.prod(target), 1)
    asked = [-1 if i == hole else size for i, size in enumerate(target)]
    agrees(layers.Reshape(asked), x, x.reshape(2, *target), unknown=False)
    symbol = layers.Reshape(asked)(KerasTensor((None, None, 1)))
    assert symbol.shape == (None, *(None if i == hole else size for i, size in enumerate(target)))


@settings(max_examples=30, deadline=None)
@given(dims=st.permutations([1, 2, 3]), unknown=st.booleans())
def test_permute(dims, unknown):
    x = array(2, 3, 4, 5)
    agrees(layers.Permute(dims), x, x.transpose(0, *dims), unknown)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_padding_then_cropping_gives_the_input_back(data):
    rank = data.draw(st.integers(1, 3))
    data_format = data.draw(FORMATS) if rank > 1 else "channels_last"
    amounts = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=rank, max_size=rank))
    x = array(2, *data.draw(st.lists(st.integers(1, 4), min_size=rank + 1, max_size=rank + 1)))
    given_ = amounts if rank > 1 else amounts[0]
    spare = ((0, 0),)
    widths = (*spare * 2, *amounts) if data_format == "channels_first" else (*spare, *amounts, *spare)
    padding = getattr(layers, f"ZeroPadding{rank}D")(given_, data_format=data_format)
    padded = np.pad(x, widths)
    agrees(padding, x, padded, data.draw(st.booleans()))
    arguments = {} if rank == 1 else {"data_format": data_format}
    agrees(getattr(layers, f"Cropping{rank}D")(given_, **arguments), padded, x, data.draw(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_upsampling_repeats(data):
    rank = data.draw(st.integers(1, 3))
    data_format = data.draw(FORMATS) if rank > 1 else "channels_last"
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    x = array(2, *data.draw(st.lists(st.integers(1, 3), min_size=rank + 1, max_size=rank + 1)))
    expected = x
    for axis, size in enumerate(sizes):
        expected = expected.repeat(size, axis + (2 if data_format == "channels_first" else 1))
    arguments = {} if rank == 1 else {"data_format": data_format}
    layer = getattr(layers, f"UpSampling{rank}D")(sizes[0] if rank == 1 else sizes, **arguments)
    agrees(layer, x, expected, data.draw(st.booleans()))


def test_results_can_be_changed_in_place():
    for layer in (layers.RepeatVector(3), layers.Identity()):
        layer(torch.ones(2, 3)).add_(1)
    layers.UpSampling2D()(torch.ones(1, 2, 2, 1)).add_(1)


def test_repeat_vector():
    x = array(2, 3)
    agrees(layers.RepeatVector(4), x, x[:, None].repeat(4, 1), unknown=False)


@pytest.mark.parametrize("make", [torch.ones, KerasTensor])
def test_impossible_shapes_name_the_sizes(make):
    with pytest.raises(ShapeError) as caught:
        layers.Reshape((4, 5), name="r")(make((2, 6, 3)))
    assert all(word in str(caught.value) for word in ("18 elements", "20 elements", "(2, 6, 3)", "(4, 5)", "'r'"))
    with pytest.raises(ShapeError, match="a multiple of 4"):
        layers.Reshape((4, -1))(make((2, 6, 3)))
    with pytest.raises(ShapeError, match=r"more than 3 along axis 2.*") as caught:
        layers.Cropping2D(((0, 0), (1, 2)))(make((2, 6, 3, 1)))
    assert "(2, 6, 3, 1)" in str(caught.value)


def test_a_reshape_that_fits_first_and_fails_later():
    layer = layers.Reshape((2, -1))
    layer(torch.ones(2, 6))
    layer(torch.ones(2, 8))
    with pytest.raises(ShapeError, match="7 elements"):
        layer(torch.ones(2, 7))
    assert layer(torch.ones(0, 6)).shape == (0, 2, 3)


def test_lanczos_is_refused_with_the_choice():
    with pytest.raises(ArgumentError, match="bilinear"):
        layers.UpSampling2D(interpolation="lanczos3")


def test_bilinear_upsampling_of_integers():
    x = torch.arange(4).reshape(1, 2, 2, 1)
    assert layers.UpSampling2D(interpolation="nearest")(x).dtype is torch.int64


def test_padding_keeps_integers_and_booleans():
    for dtype in (torch.int32, torch.bool):
        assert layers.ZeroPadding1D()(torch.ones(1, 2, 1, dtype=dtype)).dtype is dtype
