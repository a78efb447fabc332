"""Picking, reducing, joining and turning: what Keras's own tests ask for beyond the parity tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import ops
from lamina.core.errors import LaminaError
from lamina.graph.tensor import KerasTensor


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
@pytest.mark.parametrize("indices", [[0, -1], [[1, 0], [0, 0]], 1, -2])
def test_take_is_numpys(axis, indices):
    x = np.arange(24.0).reshape(2, 3, 4)
    result = ops.take(torch.tensor(x), torch.tensor(indices, dtype=torch.int16), axis=axis)
    np.testing.assert_array_equal(result, np.take(x, indices, axis=axis))


def test_take_of_rows_has_a_gradient():
    table = torch.ones(3, 2, requires_grad=True)
    ops.sum(ops.take(table, [-1, 2], axis=0)).backward()
    assert table.grad is not None and table.grad.tolist() == [[0, 0], [0, 0], [2, 2]]
    with pytest.raises(LaminaError, match="bounds"):
        ops.take(torch.ones(3), 7, axis=0)


def test_positions_are_one_tensor_for_each_axis():
    rows, columns = ops.nonzero([[0, 1], [2, 0]])
    assert (rows.tolist(), columns.tolist(), rows.dtype) == ([0, 1], [1, 0], torch.int32)
    assert [part.shape for part in ops.nonzero(KerasTensor((None, 5, 6)))] == [(None,)] * 3
    assert len(ops.where(KerasTensor((2, 3), "bool"))) == 2


def test_slices_of_unknown_sizes_stay_unknown():
    x = KerasTensor((None, 5, 16))
    assert x[:5, 3:, 3:12:2].shape == (None, 2, 5)
    assert x[..., None, 1:].shape == (None, 5, 1, 15)
    assert x[[0, 2, 3, 1]].shape == (4, 5, 16)
    assert x[2].shape == (5, 16) and x[:, None, 0].shape == (None, 1, 16)
    with pytest.raises(LaminaError):
        x[:, 17]


def test_unknown_sizes_are_those_of_the_tensors_beside():
    assert ops.vstack([KerasTensor((2, None)), KerasTensor((2, 3))]).shape == (4, 3)
    assert ops.take_along_axis(KerasTensor((None, 3)), KerasTensor((2, 1), "int32"), axis=1).shape == (2, 1)
    assert ops.in_top_k(KerasTensor((None,), "int32"), KerasTensor((2, 3)), 2).shape == (2,)
    assert ops.append(KerasTensor((None, 3)), KerasTensor((2, 3)), axis=1).shape == (2, 6)
    assert ops.select([KerasTensor((2, None), "bool")], [KerasTensor((2, 3))]).shape == (2, 3)
    with pytest.raises(LaminaError):
        ops.vstack([KerasTensor((None, 2)), KerasTensor((2, 3))])


def test_joining_takes_numbers_for_tensors_of_their_own_dtype():
    assert ops.append(torch.ones(2, dtype=torch.uint8), 3).dtype is torch.int32
    assert (
        ops.concatenate([torch.ones(1, dtype=torch.int32), torch.ones(1, dtype=torch.float16)]).dtype is torch.float16
    )
    with pytest.raises(LaminaError):
        ops.concatenate([])


def test_size_of_symbolic_tensors_is_symbolic():
    assert ops.size([[1, 2], [3, 4]]) == 4
    assert ops.size(KerasTensor((None, 3))).shape == ()


def test_sums_over_no_axis_are_of_the_dtype_of_sums():
    assert ops.sum(torch.ones(2, dtype=torch.int8), axis=()).dtype is torch.int32
    assert ops.sum(torch.ones(2, 3), axis=()).shape == (2, 3)
    assert ops.nancumsum(KerasTensor((None, 3)), axis=(1,)).shape == (None, 3)


def test_long_integers_keep_their_width_in_correlations():
    whole = torch.tensor([[1, 2, 4], [3, 1, 0]])
    assert ops.corrcoef(whole).dtype is torch.float64
    assert ops.correlate(whole[0], whole[1]).dtype is torch.float64


def test_functions_of_numbers_are_vectorized_over_numbers():
    assert ops.vectorize(lambda a, b: a + b)(1, 2).item() == 3


def test_quantiles_of_large_unknown_tensors():
    assert ops.quantile(KerasTensor((None, None, None)), 0.3).shape == ()
    assert ops.quantile(KerasTensor((None, 4)), [0.1, 0.9], axis=1, keepdims=True).shape == (2, None, 1)
