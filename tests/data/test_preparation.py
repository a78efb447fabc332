"""One-hot labels, unit vectors and padded sequences: the same as Keras gives."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import utils
from lamina.core.errors import ArgumentError, DataError, ShapeError


@pytest.mark.parametrize("labels", [[0, 2, 1], [[3], [1]], [[0, 1], [2, 2]], 4, [2.0, 1.0]])
@pytest.mark.parametrize("classes", [None, 6])
def test_to_categorical_matches_keras(labels, classes):
    ours, theirs = utils.to_categorical(labels, classes), keras.utils.to_categorical(labels, classes)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


def test_to_categorical_of_a_tensor_is_a_tensor():
    result = utils.to_categorical(torch.tensor([[1], [0]]), 3)
    assert isinstance(result, torch.Tensor) and result.tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], torch.tensor([5])])
def test_to_categorical_names_labels_outside_the_classes(labels):
    with pytest.raises(DataError, match="expected: 0 to 2"):
        utils.to_categorical(labels, 3)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_normalize_matches_keras(axis, order):
    x = np.random.normal(size=(4, 5, 3))
    x[:, 0] = 0
    ours = utils.normalize(x, axis, order)
    np.testing.assert_allclose(ours, x / np.where(n := np.linalg.norm(x, order, axis, keepdims=True), n, 1))
    np.testing.assert_allclose(utils.normalize(torch.tensor(x), axis, order).numpy(), ours, atol=1e-7)
    if axis != 0:  # Keras takes axis 0 for -1 when it divides
        np.testing.assert_allclose(ours, keras.utils.normalize(x, axis, order))


@given(
    st.lists(st.lists(st.integers(-9, 9), max_size=6), min_size=1, max_size=5),
    st.one_of(st.none(), st.integers(1, 8)),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["int32", "float32"]),
)
def test_pad_sequences_matches_keras(sequences, maxlen, padding, truncating, dtype):
    options = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "dtype": dtype, "value": -1}
    ours, theirs = utils.pad_sequences(sequences, **options), keras.utils.pad_sequences(sequences, **options)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


def test_pad_sequences_of_vectors_and_words():
    vectors = [np.ones((2, 3)), np.zeros((1, 3))]
    np.testing.assert_array_equal(utils.pad_sequences(vectors), keras.utils.pad_sequences(vectors))
    assert utils.pad_sequences([["a"], ["b", "c"]], dtype=object, value="-").tolist() == [["-", "a"], ["b", "c"]]


def test_pad_sequences_says_what_is_wrong():
    with pytest.raises(ArgumentError, match="padding"):
        utils.pad_sequences([[1]], padding="left")
    with pytest.raises(ArgumentError, match="dtype=object"):
        utils.pad_sequences([[1]], value="x")
    with pytest.raises(DataError):
        utils.pad_sequences([1, 2])
    with pytest.raises(ShapeError, match="sequence 1"):
        utils.pad_sequences([np.ones((1, 2)), np.ones((1, 3))])


def test_labels_that_are_text():
    with pytest.raises(DataError, match="return_inverse"):
        utils.to_categorical(["a", "b"])
