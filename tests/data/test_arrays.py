"""Data in memory: conversions, lengths, order, batches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lamina.core.errors import ArgumentError, DataError
from lamina.data.arrays import ArraySource, as_tensors, is_in_memory, split_validation
from lamina.data.source import (
    class_weight_to_sample_weights,
    pack_x_y_sample_weight,
    unpack_x_y_sample_weight,
)

CPU = torch.device("cpu")


def source(*args, **kwargs):
    return ArraySource(*args, device=CPU, **kwargs)


def test_floats_become_floatx_and_integers_stay():
    assert as_tensors(np.zeros((2, 3)), "x").dtype is torch.float32
    assert as_tensors(np.zeros((2, 3), "float16"), "x").dtype is torch.float32
    assert as_tensors(np.zeros(2, "int64"), "x").dtype is torch.int64
    assert as_tensors(np.zeros(2, "uint8"), "x").dtype is torch.uint8
    assert as_tensors(np.zeros(2, bool), "x").dtype is torch.bool
    assert as_tensors([1, 2, 3], "x").tolist() == [1, 2, 3]
    assert as_tensors([[1.0, 2.0], [3.0, 4.0]], "x").dtype is torch.float32


def test_data_frames():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
    tensor = as_tensors(frame, "x")
    assert tensor.dtype is torch.float32
    assert tensor.tolist() == [[1.0, 0.5, 1.0], [2.0, 1.5, 0.0]]
    assert as_tensors(frame["a"], "x").shape == (2, 1)
    assert as_tensors(frame[["a"]], "x").dtype is torch.int64
    assert {k: tuple(v.shape) for k, v in as_tensors(dict(frame), "x").items()} == {
        "a": (2, 1),
        "b": (2, 1),
        "c": (2, 1),
    }
    with pytest.raises(DataError, match="columns s"):
        as_tensors(pd.DataFrame({"a": [1, 2], "s": ["u", "v"]}), "x")


def test_what_is_in_memory():
    assert is_in_memory([np.zeros(2), {"a": torch.zeros(2)}, None])
    assert is_in_memory([1, 2, 3])
    assert not is_in_memory("text")
    assert not is_in_memory(x for x in [1])
    assert not is_in_memory([])


def test_text_is_an_input_and_no_target():
    assert as_tensors([np.zeros(2), np.array(["a", "b"])], "x")[1].tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"y\[1\] does not hold numbers"):
        as_tensors([np.zeros(2), np.array(["a", "b"])], "y")


def test_lengths_are_named():
    with pytest.raises(DataError, match=r"x\['a'\]: 3, y: 4"):
        source({"a": np.zeros(3)}, np.zeros(4))
    with pytest.raises(DataError, match=r"np\.stack"):
        source([np.zeros(4), np.zeros(4), np.zeros(4)], np.zeros(3))
    with pytest.raises(DataError, match="empty"):
        source(np.zeros((0, 2)), np.zeros(0))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "8"])
def test_batch_size_must_be_positive(batch_size):
    with pytest.raises(ArgumentError, match="batch_size"):
        source(np.zeros(4), batch_size=batch_size)


def test_batches_in_order_and_structure():
    x, y = np.arange(5), np.arange(5) * 2
    batches = list(source(x, y, batch_size=2))
    assert [b[0].tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert [b[1].tolist() for b in batches] == [[0, 2], [4, 6], [8]]
    assert all(isinstance(b, tuple) and len(b) == 2 for b in batches)
    assert isinstance(next(iter(source(x))), torch.Tensor)
    inputs, target = next(iter(source({"u": x, "v": [x, None]}, y, batch_size=3)))
    assert inputs["v"][0].tolist() == [0, 1, 2] and inputs["v"][1] is None and target.tolist() == [0, 2, 4]
    assert source(x, batch_size=2).batches == 3
    assert source(np.arange(10), steps=4).batch_size == 3


def test_shuffling_keeps_pairs_and_changes_each_pass():
    torch.manual_seed(0)
    data = source(np.arange(100), np.arange(100) + 1000, batch_size=16, shuffle=True)
    passes = [torch.cat([x for x, _ in data]) for _ in range(2)]
    for order in passes:
        assert sorted(order.tolist()) == list(range(100))
    assert passes[0].tolist() != passes[1].tolist() != list(range(100))
    assert all(torch.equal(x + 1000, y) for x, y in data)


def test_shuffling_within_batches():
    batches = list(source(np.arange(10), batch_size=4, shuffle="batch"))
    assert [sorted(b.tolist()) for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_large_data_is_shuffled_in_pieces(monkeypatch):
    monkeypatch.setattr("lamina.data.arrays._PIECE", 8 * 10)
    data = source(np.arange(25), batch_size=4, shuffle=True)
    assert data._piece == 8
    batches = [b.tolist() for b in data]
    assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 4, 1]
    assert sorted(row for batch in batches for row in batch) == list(range(25))


def test_unshuffled_batches_are_views():
    x = torch.zeros(4, 2)
    next(iter(source(x, batch_size=2))).fill_(1.0)
    assert x[:2].eq(1).all() and x[2:].eq(0).all()


def test_class_weight():
    weights = class_weight_to_sample_weights(np.array([0, 1, 2, 1]), {0: 0.5, 1: 2.0})
    assert weights.tolist() == [0.5, 2.0, 1.0, 2.0]
    assert class_weight_to_sample_weights(np.eye(3), {2: 5.0}).tolist() == [1.0, 1.0, 5.0]
    assert class_weight_to_sample_weights(torch.tensor([[1.0], [0.0]]), {1: 3}).tolist() == [3.0, 1.0]
    _, _, w = next(iter(source(np.zeros(2), np.array([0, 1]), class_weight={1: 4.0})))
    assert w.tolist() == [1.0, 4.0]
    with pytest.raises(DataError, match="together"):
        source(np.zeros(2), np.zeros(2), np.ones(2), class_weight={0: 1.0})
    with pytest.raises(DataError, match="one output"):
        source(np.zeros(2), [np.zeros(2), np.zeros(2)], class_weight={0: 1.0})


def test_sample_weight_for_several_targets():
    y = {"a": np.zeros(2), "b": np.zeros(2)}
    *_, w = next(iter(source(np.zeros(2), y, np.array([1.0, 2.0]))))
    assert w["a"].tolist() == w["b"].tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="one weight for each sample"):
        source(np.zeros(2), y, np.ones((2, 3)))
    with pytest.raises(DataError, match="structure"):
        source(np.zeros(2), [np.zeros(2), np.zeros(2)], [np.ones(2)])


def test_validation_split_takes_the_end():
    (x, y, w), (vx, vy, vw) = split_validation(np.arange(10), np.arange(10), None, 0.25)
    assert x.tolist() == list(range(7)) == y.tolist() and vx.tolist() == [7, 8, 9] == vy.tolist()
    assert w is None and vw is None
    with pytest.raises(DataError, match="too few"):
        split_validation(np.zeros(1), None, None, 0.5)
    with pytest.raises(ArgumentError):
        split_validation(np.zeros(4), None, None, 1.5)
    with pytest.raises(DataError, match="validation_data"):
        split_validation((i for i in range(3)), None, None, 0.5)


def test_packing():
    assert pack_x_y_sample_weight(1) == 1
    assert pack_x_y_sample_weight([1]) == ([1],)
    assert pack_x_y_sample_weight(1, 2, 3) == (1, 2, 3)
    assert unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    with pytest.raises(DataError):
        unpack_x_y_sample_weight((1, 2, 3, 4))


@pytest.mark.parametrize("rows", [[[1, 2], [1]], np.array([[1, 2], [1]], dtype=object)])
def test_rows_of_unequal_length_are_told_apart_from_text(rows):
    with pytest.raises(DataError, match=r"rows of x differ in length(.|\n)*lengths from 1 to 2(.|\n)*pad_sequences"):
        as_tensors(rows, "x")


def test_class_weight_doubts_labels_that_are_not_one_hot():
    with pytest.warns(UserWarning, match="add up to 1"):
        class_weight_to_sample_weights(np.array([[0, 2, 1], [1, 1, 0]]), {2: 5.0})


def test_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_matrix, sparse.coo_array):
        assert as_tensors(kind(np.eye(3)), "x").tolist() == np.eye(3).tolist()


def test_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match='several columns named "a"'):
        as_tensors(pd.DataFrame([[1, "u"], [2, "v"]], columns=["a", "a"]), "x")
