"""Loops, branches and gradients of one's own, on real and on symbolic tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

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


def _cond(x):
    return ops.cond(ops.sum(x) > 0, lambda: x, lambda: x * 2)


def _switch(x):
    return ops.switch(ops.cast(ops.sum(x), "int32") % 3, [lambda v: v, lambda v: v * 2, lambda v: v - 1], x)


def _while_loop(x):
    return ops.while_loop(lambda i, y: i < 30, lambda i, y: (i + 1, y * 2), (0, x), maximum_iterations=3)


def _fori_loop(x):
    return ops.fori_loop(0, ops.argmax(x), lambda i, y: y + i, x)


def _scan(x):
    return ops.scan(lambda total, row: (total + row, total * row), torch.zeros(3), x, reverse=True)


def _scan_without_outputs(x):
    return ops.scan(lambda total, row: (total + row, None), torch.zeros(3), x)[0]


def _associative_scan(x):
    return ops.associative_scan(lambda a, b: a + b, x)


def _map(x):
    return ops.map(lambda row: row * 2, x)


def _vectorized_map(x):
    return ops.vectorized_map(lambda row: ops.sum(row), x)


FLOWS = [_cond, _switch, _while_loop, _fori_loop, _scan, _scan_without_outputs, _associative_scan, _map]
FLOWS.append(_vectorized_map)


@pytest.mark.parametrize("flow", FLOWS)
def test_control_flow_is_recorded_and_follows_other_values(flow):
    recorded = make_fx(flow)(torch.rand(5, 3))
    for values in (torch.rand(5, 3), -torch.rand(5, 3)):
        torch.testing.assert_close(recorded(values), flow(values))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("flow", [_cond, _while_loop, _scan, _associative_scan, _map])
def test_gradients_of_recorded_control_flow(flow):
    def gradient(x):
        x = x.detach().requires_grad_()
        results = flow(x)
        total = sum(
            part.sum() for part in (results if isinstance(results, tuple) else (results,)) if part.is_floating_point()
        )
        return torch.autograd.grad(total, x)[0]

    x = torch.rand(5, 3)
    torch.testing.assert_close(make_fx(gradient, tracing_mode="fake")(x)(x), gradient(x))


def _all_flows(x):
    return _cond(x), _while_loop(x)[1], _scan(x)[1], _map(x), _associative_scan(x)


def test_control_flow_is_compiled_without_a_break():
    x = torch.rand(5, 3)
    torch.testing.assert_close(torch.compile(_all_flows, backend="eager", fullgraph=True)(x), _all_flows(x))


def test_control_flow_is_exported():
    class Flows(torch.nn.Module):
        def forward(self, x):
            return _all_flows(x)

    program = torch.export.export(Flows(), (torch.rand(5, 3),))
    names = str(program.graph)
    assert all(name in names for name in ("cond", "while_loop", "scan"))
    x = -torch.rand(5, 3)
    torch.testing.assert_close(program.module()(x), _all_flows(x))


def test_blocks_to_the_end_of_symbolic_tensors():
    start = KerasTensor((2,), dtype="int32")
    assert ops.slice(KerasTensor((3, 3)), start, (-1, -1)).shape == (None, None)
    assert ops.slice(KerasTensor((None, 3)), (1, 1), (-1, -1)).shape == (None, 2)
    assert torch.equal(ops.slice(torch.eye(3), torch.tensor([1, 1]), (-1, 2)), torch.eye(2))
    assert ops.slice_update(KerasTensor((4, None)), start, KerasTensor((2, 2))).shape == (4, None)
    assert ops.scatter_update(KerasTensor((4, None)), KerasTensor((5, None), "int32"), KerasTensor((5,))).shape == (
        4,
        None,
    )
    with pytest.raises(LaminaError, match="slice"):
        ops.slice(KerasTensor((3, 3)), (1, 1), (2, 2, 2))
