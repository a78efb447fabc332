"""Loops, branches and gradients of one's own, on real and on symbolic tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import ops
from lamina.core.errors import LaminaError
from lamina.graph.tensor import KerasTensor


def test_conversions():
    assert ops.convert_to_tensor([1, 2]).dtype is torch.int32
    assert ops.convert_to_tensor(np.ones(2)).dtype is torch.float64
    assert ops.dtype(ops.cast([1.5], "int8")) == "int8"
    assert ops.is_tensor(torch.ones(1)) and not ops.is_tensor(np.ones(1)) and not ops.is_tensor(KerasTensor((1,)))
    assert ops.shape(KerasTensor((None, 2))) == (None, 2) and ops.shape([[1, 2]]) == (1, 2)
    assert isinstance(ops.convert_to_numpy(torch.ones(2, requires_grad=True)), np.ndarray)
    with pytest.raises(LaminaError):
        ops.convert_to_numpy(KerasTensor((1,)))


def test_stop_gradient():
    x = torch.ones(2, requires_grad=True)
    assert not ops.stop_gradient(x).requires_grad
    assert ops.stop_gradient(KerasTensor((None, 2))).shape == (None, 2)


def test_custom_gradients():
    @ops.custom_gradient
    def log1pexp(x):
        e = ops.exp(x)

        def gradient(*args, upstream):
            return ops.multiply(upstream, 1.0 - 1.0 / ops.add(1, e))

        return ops.log(1 + e), gradient

    x = torch.tensor([100.0, 0.0], requires_grad=True)
    log1pexp(x).sum().backward()
    assert x.grad is not None and torch.isnan(x.grad[0]).item() is False
    assert log1pexp(KerasTensor((None, 2))).shape == (None, 2)

    @ops.custom_gradient
    def scaled(x, factor=2.0):
        return x * factor, lambda upstream: upstream * 10

    y = torch.ones(1, requires_grad=True)
    scaled(y, factor=3.0).backward()
    assert y.grad is not None and y.grad.item() == 10


def test_branches_on_symbolic_tensors():
    x = KerasTensor((None, 2))
    assert ops.cond(KerasTensor((), dtype="bool"), lambda: torch.ones(2), lambda: torch.zeros(2)).shape == (2,)
    with pytest.raises(LaminaError, match="cond"):
        ops.cond(KerasTensor((), dtype="bool"), lambda: torch.ones(2), lambda: torch.zeros(3))
    assert ops.switch(KerasTensor((), dtype="int32"), [lambda v: v * 2, lambda v: v], x).shape == (None, 2)


def test_loops_on_symbolic_tensors():
    x = KerasTensor((None, 2))
    i, y = ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (0, x))
    assert (i.shape, i.dtype, y.shape) == ((), "int32", (None, 2))
    assert ops.fori_loop(0, 3, lambda i, y: y + i, x).shape == (None, 2)
    assert ops.map(lambda row: ops.sum(row), KerasTensor((5, 2))).shape == (5,)
    assert ops.map(lambda row: row * 2, x).shape == (None, 2)
    carry, stacked = ops.scan(lambda c, row: (c + row, c * row), KerasTensor((2,)), KerasTensor((4, 2)))
    assert (carry.shape, stacked.shape) == ((2,), (4, 2))
    assert ops.vectorized_map(lambda row: ops.sum(row), x).shape == (None,)
    assert ops.associative_scan(lambda a, b: a + b, KerasTensor((5, 2))).shape == (5, 2)


def test_scan_over_structures():
    def step(carry, x):
        total = {"sum": carry["sum"] + x["a"], "count": carry["count"] + 1}
        return total, (total["sum"], x["b"])

    xs = {"a": torch.arange(4.0), "b": torch.ones(4, 2)}
    carry, (sums, rows) = ops.scan(step, {"sum": torch.tensor(0.0), "count": torch.tensor(0)}, xs)
    assert carry["count"].item() == 4
    assert sums.tolist() == [0, 1, 3, 6]
    assert rows.shape == (4, 2)
    assert ops.scan(lambda c, _: (c * 2, None), torch.tensor(1), length=5) == (torch.tensor(32), None)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_associative_scan_keeps_the_order(size):
    matrices = torch.randn(size, 2, 2, generator=torch.Generator().manual_seed(1))
    products = ops.associative_scan(lambda a, b: a @ b, matrices)
    expected = matrices[0]
    for i in range(size):
        expected = matrices[0] if i == 0 else expected @ matrices[i]
        torch.testing.assert_close(products[i], expected)


def test_blocks_with_starts_that_are_tensors():
    x = torch.arange(12.0).reshape(3, 4)
    start = torch.tensor([1, 2])
    assert torch.equal(ops.slice(x, start, (2, 2)), x[1:3, 2:4])
    assert torch.equal(ops.slice(x, (1, 2), (-1, -1)), x[1:, 2:])
    updated = ops.slice_update(x, start, torch.zeros(1, 2))
    assert torch.equal(updated, ops.slice_update(x, (1, 2), torch.zeros(1, 2)))
    assert ops.slice(KerasTensor((None, 4)), KerasTensor((2,), dtype="int32"), (2, 2)).shape == (2, 2)


@pytest.mark.parametrize("reduction", [None, "add", "mul", "max", "min"])
def test_scatter_update_has_gradients_and_takes_rows(reduction):
    x = torch.randn(4, 3, requires_grad=True)
    updates = torch.randn(2, 3, requires_grad=True)
    result = ops.scatter_update(x, [[-1], [0]], updates, reduction=reduction)
    result.sum().backward()
    assert x.grad is not None and updates.grad is not None
    combine = {None: lambda a, b: b, "add": torch.add, "mul": torch.mul, "max": torch.maximum, "min": torch.minimum}
    expected = x.detach().clone()
    for row, update in ((3, updates[0]), (0, updates[1])):
        expected[row] = combine[reduction](expected[row], update.detach())
    torch.testing.assert_close(result.detach(), expected)
    with pytest.raises(LaminaError, match="reduction"):
        ops.scatter_update(x, [[0]], updates[:1], reduction="other")
