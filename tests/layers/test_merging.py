"""Merging layers: shapes of all kinds, errors, dtypes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import layers
from lamina.core.errors import ShapeError
from lamina.graph.tensor import KerasTensor

FUNCTIONS = {
    "Add": np.add,
    "Multiply": np.multiply,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}


@st.composite
def broadcasting(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Shapes of two or three tensors of a batch that broadcast, ranks equal."""
    batch = draw(st.integers(1, 3))
    full = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    count = draw(st.integers(2, 3))
    return [(batch, *(draw(st.sampled_from([1, size])) for size in full)) for _ in range(count)]


@settings(max_examples=60, deadline=None)
@given(shapes=broadcasting(), name=st.sampled_from(sorted(FUNCTIONS)), unknown=st.booleans())
def test_broadcasting_as_numpy(shapes, name, unknown):
    arrays = [np.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(shapes)]
    layer = getattr(layers, name)()
    expected = functools.reduce(FUNCTIONS[name], arrays)
    np.testing.assert_allclose(layer([torch.from_numpy(a) for a in arrays]).numpy(), expected, rtol=1e-5)
    symbols = [KerasTensor((None if unknown else s[0], *s[1:])) for s in shapes]
    told = getattr(layers, name)()(symbols).shape
    assert told == ((None if unknown else expected.shape[0]), *expected.shape[1:])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_concatenation_as_numpy(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    axis = data.draw(st.integers(1, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    arrays = [np.random.default_rng(i).normal(size=[*shape[:axis], n, *shape[axis + 1 :]]) for i, n in enumerate(sizes)]
    arrays = [a.astype("float32") for a in arrays]
    expected = np.concatenate(arrays, axis)
    for given_axis in (axis, axis - len(shape)):
        layer = layers.Concatenate(axis=given_axis)
        assert np.array_equal(layer([torch.from_numpy(a) for a in arrays]).numpy(), expected)
        assert layer.compute_output_shape([a.shape for a in arrays]) == expected.shape


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_dot_as_numpy(data):
    batch, n = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    rests = [data.draw(st.lists(st.integers(1, 3), max_size=2)) for _ in range(2)]
    axes = [data.draw(st.integers(0, len(rest))) for rest in rests]
    shapes = [(batch, *rest[:axis], n, *rest[axis:]) for rest, axis in zip(rests, axes, strict=True)]
    a, b = (np.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(shapes))
    expected = np.stack([np.tensordot(x, y, (axes[0], axes[1])) for x, y in zip(a, b, strict=True)])
    expected = expected.reshape(batch, 1) if expected.ndim == 1 else expected
    layer = layers.Dot((axes[0] + 1, axes[1] + 1))
    np.testing.assert_allclose(layer([torch.from_numpy(a), torch.from_numpy(b)]).numpy(), expected, atol=1e-5)
    assert layer.compute_output_shape(shapes) == expected.shape


def test_known_sizes_complete_unknown_ones():
    a, b = KerasTensor((None, None, 3)), KerasTensor((2, 10, 3))
    assert layers.Add()([a, b]).shape == (2, None, 3)
    assert layers.Concatenate()([a, b]).shape == (2, 10, 6)
    assert layers.Concatenate(axis=1)([a, b]).shape == (2, None, 3)
    assert layers.Dot(2)([a, b]).shape == (2, None, 10)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (layers.Add(), [(2, 3), (2, 4)], ["axis -1", "(2, 3)", "(2, 4)"]),
        (layers.Add(), [(2, 3), (3, 3)], ["batch"]),
        (layers.Add(), [(2, 4, 3), (2, 2)], ["axis -1"]),
        (layers.Subtract(), [(2, 3)], ["2 tensors"]),
        (layers.Concatenate(), [(2, 3, 4), (2, 5, 4)], ["axis 1", "(2, 3, 4)", "(2, 5, 4)"]),
        (layers.Concatenate(axis=3), [(2, 3), (2, 3)], ["axis 3"]),
        (layers.Concatenate(), [(2, 3), (2, 3, 4)], ["rank"]),
        (layers.Dot(1), [(2, 3), (2, 4)], ["axes 1 and 1", "(2, 3)"]),
        (layers.Dot(2), [(2, 3), (2, 4)], ["axes"]),
    ],
)
def test_errors_name_the_shapes(layer, shapes, words):
    for make in (torch.ones, KerasTensor):
        with pytest.raises(ShapeError) as caught:
            layer([make(shape) for shape in shapes])
        for word in words:
            assert word in str(caught.value)


def test_one_tensor_is_no_list():
    with pytest.raises(ShapeError, match="list of tensors"):
        layers.Add()(torch.ones(2, 3))


def test_later_shapes_may_differ():
    layer = layers.Add()
    assert layer([torch.ones(2, 3), torch.ones(2, 3)]).shape == (2, 3)
    assert layer([torch.ones(5, 3), torch.ones(5, 1)]).shape == (5, 3)
    assert layer((torch.ones(5, 3), torch.ones(5, 3))).shape == (5, 3)
    with pytest.raises(RuntimeError):
        layer([torch.ones(5, 3), torch.ones(5, 4)])


def test_a_mask_after_a_call_without_one():
    layer = layers.Multiply()
    x, y = torch.full((1, 2, 1), 2.0), torch.full((1, 2, 1), 3.0)
    assert layer([x, y]).flatten().tolist() == [6, 6]
    x._keras_mask = torch.tensor([[True, False]])
    outputs = layer([x, y])
    assert outputs.flatten().tolist() == [6, 3]


def test_integers_stay_integers():
    a, b = torch.tensor([[1, 2]]), torch.tensor([[3, 5]])
    for name in ("Add", "Multiply", "Maximum", "Subtract"):
        assert getattr(layers, name)()([a, b]).dtype is torch.int64
    assert layers.Average()([a, b]).tolist() == [[2.0, 3.5]]
    symbols = [KerasTensor((None, 2), "int32"), KerasTensor((None, 2), "int64")]
    assert layers.Add()(symbols).dtype == "int64"
    assert layers.Average()(symbols).dtype == "float32"
    assert layers.Add(dtype="bfloat16")([KerasTensor((None, 2)), symbols[0]]).dtype == "bfloat16"


def test_masks_of_higher_tensors():
    x, y = torch.ones(1, 2, 2, 3), torch.full((1, 2, 2, 3), 4.0)
    x._keras_mask = y._keras_mask = torch.tensor([[True, False]])
    assert layers.Multiply()([x, y])[0, :, 0, 0].tolist() == [4, 0]
    assert layers.Concatenate()([x, y])._keras_mask.shape == (1, 2, 2)
