"""Ops on everything they take, on symbolic tensors, under torch's transforms, and their errors."""

from __future__ import annotations

import inspect
import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import ops
from lamina.core import config
from lamina.core.errors import LaminaError, ShapeError
from lamina.core.variable import Variable
from lamina.graph.op import broadcast_shapes
from lamina.graph.tensor import KerasTensor
from lamina.ops import nn

PUBLIC = sorted(name for name, value in vars(ops).items() if callable(value) and not name.startswith("_"))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_op_is_a_documented_function_with_annotations(name):
    function = getattr(ops, name)
    assert inspect.isroutine(function)
    assert function.__doc__
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())


def test_numpy_namespace_holds_the_same_functions():
    for name in ("add", "sum", "where", "matmul", "concatenate", "get_item", "slogdet"):
        assert getattr(ops.numpy, name) is getattr(ops, name)
    for name in ("qr", "norm", "inv", "jvp"):
        assert getattr(ops.linalg, name) is getattr(ops, name)
    assert ops.nn.relu is ops.relu is nn.relu


@pytest.mark.parametrize(
    "value",
    [
        2,
        2.0,
        True,
        [1, 2, 3],
        [1.0, 2.0, 3.0],
        np.float32(2),
        np.float64(2),
        np.int64(2),
        np.arange(3),
        torch.arange(3.0),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_operands_of_all_kinds(value):
    x = torch.tensor([1.0, 2.0, 3.0])
    expected = x + torch.as_tensor(value, dtype=torch.float32)
    for result in (ops.add(x, value), ops.add(value, x)):
        assert type(result) is torch.Tensor
        assert result.dtype is torch.float32
        torch.testing.assert_close(result, expected)


def test_variables_are_operands_with_gradients():
    v = Variable(np.ones((3,), "float32"))
    loss = ops.sum(ops.multiply(ops.add(v, 1.0), [1.0, 2.0, 3.0]))
    loss.backward()
    assert v.grad is not None
    assert v.grad.tolist() == [1.0, 2.0, 3.0]


def test_python_numbers_give_way_to_the_dtype_of_the_tensor():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int16):
        x = torch.ones(2, dtype=dtype)
        for name in "add subtract multiply maximum minimum where mod floor_divide power clip".split():
            function = getattr(ops, name)
            if name == "where":
                result = function(torch.tensor([True, False]), x, 2)
            elif name == "clip":
                result = function(x, 0, 2)
            else:
                result = function(x, 2)
            assert result.dtype is dtype, name


def test_floatx_decides_what_integers_become():
    x = torch.tensor([1, 2], dtype=torch.int32)
    config.set_floatx("float16")
    try:
        for function in (ops.exp, ops.mean, ops.sqrt, ops.std, ops.floor):
            assert function(x).dtype is torch.float16
        assert ops.add(x, 0.5).dtype is ops.divide(x, 2).dtype is ops.divide(2, x).dtype is torch.float16
        assert ops.zeros(2).dtype is ops.convert_to_tensor([1.0]).dtype is torch.float16
    finally:
        config.set_floatx("float32")


def test_arguments_are_left_alone():
    x = torch.tensor([[3.0, 1.0], [2.0, -1.0]])
    before = x.clone()
    ops.scatter_update(x, [[0, 0]], [9.0])
    ops.slice_update(x, (0, 0), torch.zeros(1, 2))
    ops.sort(x)
    ops.nan_to_num(x)
    ops.cumsum(x)
    assert torch.equal(x, before)


shapes = st.lists(st.sampled_from([1, 2, 3, None]), max_size=4).map(tuple)


@settings(deadline=None, max_examples=80)
@given(shapes, shapes)
def test_unknown_sizes_broadcast_as_some_known_sizes_do(first, second):
    """The inferred shape is what every completion of the unknown sizes that broadcasts gives."""
    unknown = first.count(None) + second.count(None)
    found = set()
    for sizes in itertools.product((1, 2, 3), repeat=unknown):
        filling = iter(sizes)
        filled = [tuple(next(filling) if size is None else size for size in shape) for shape in (first, second)]
        try:
            found.add(tuple(torch.broadcast_shapes(*filled)))
        except RuntimeError:
            continue
    if not found:
        with pytest.raises(ShapeError):
            ops.add(KerasTensor(first), KerasTensor(second))
        return
    spec = ops.add(KerasTensor(first), KerasTensor(second))
    assert spec.shape == broadcast_shapes(first, second)
    for shape in found:
        assert len(shape) == len(spec.shape)
        assert all(known in (None, size) for known, size in zip(spec.shape, shape, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-2, 2, width=32)),
    st.data(),
)
def test_reductions_and_shapes_agree_with_numpy(x, data):
    axis = data.draw(st.one_of(st.none(), st.integers(-x.ndim, x.ndim - 1)))
    keepdims = data.draw(st.booleans())
    for name in ("sum", "mean", "max", "min", "std", "any", "all", "prod"):
        with np.errstate(all="ignore"):  # products may overflow, here as there
            expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        result = getattr(ops, name)(x, axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(result.numpy(), expected, rtol=2e-4, atol=1e-4)
        assert getattr(ops, name)(KerasTensor(x.shape), axis=axis, keepdims=keepdims).shape == expected.shape
    np.testing.assert_array_equal(ops.reshape(x, (-1,)).numpy(), x.ravel())
    np.testing.assert_array_equal(ops.flip(x, axis).numpy(), np.flip(x, axis))
    np.testing.assert_array_equal(ops.roll(x, 2, axis).numpy(), np.roll(x, 2, axis))
    np.testing.assert_array_equal(ops.transpose(x).numpy(), x.T)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(0, 9), st.integers(0, 9), st.sampled_from(["reflect", "symmetric"]))
def test_mirrored_borders_are_numpys(size, before, after, mode):
    x = np.arange(size * 2).reshape(size, 2)
    expected = np.pad(x, ((before, after), (0, 1)), mode=mode)
    np.testing.assert_array_equal(ops.pad(x, ((before, after), (0, 1)), mode=mode).numpy(), expected)


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize("sizes", [(5, 3), (3, 5), (4, 4), (5, 2), (2, 5)])
def test_correlation_is_numpys(mode, sizes):
    x, y = (np.random.RandomState(size).rand(size) for size in sizes)
    np.testing.assert_allclose(ops.correlate(x, y, mode=mode).numpy(), np.correlate(x, y, mode=mode))


@pytest.mark.parametrize(
    "call,names",
    [
        (lambda x: ops.add(x, KerasTensor((4, 3))), ("add", "(2, 3)", "(4, 3)")),
        (lambda x: ops.matmul(x, KerasTensor((4, 3))), ("matmul", "(2, 3)", "(4, 3)")),
        (lambda x: ops.reshape(x, (4, 2)), ("reshape", "(2, 3)", "(4, 2)")),
        (lambda x: ops.concatenate([x, KerasTensor((2, 4))], axis=0), ("concatenate", "(2, 3)", "(2, 4)")),
        (lambda x: ops.stack([x, KerasTensor((2, 4))]), ("stack", "(2, 3)", "(2, 4)")),
        (lambda x: ops.split(x, 2, axis=1), ("split", "(2, 3)")),
        (lambda x: ops.squeeze(x, 0), ("squeeze", "(2, 3)")),
        (lambda x: ops.einsum("ij,jk->ik", x, KerasTensor((4, 3))), ("einsum", "(2, 3)", "(4, 3)")),
        (lambda x: ops.sum(x, axis=5), ("sum", "(2, 3)")),
        (lambda x: ops.tensordot(x, KerasTensor((4, 3)), 1), ("tensordot", "(2, 3)", "(4, 3)")),
        (lambda x: ops.rearrange(x, "a b c -> c a b"), ("rearrange", "(2, 3)")),
    ],
)
def test_errors_name_the_op_and_the_shapes(call, names):
    with pytest.raises(LaminaError) as error:
        call(KerasTensor((2, 3)))
    assert all(name in str(error.value) for name in names)


def test_compiled_without_graph_breaks():
    def function(x, y, index):
        h = ops.add(ops.matmul(x, y), 1.0)
        h = ops.where(ops.greater(h, 0), h, ops.exp(h) - 1)
        h = ops.concatenate([h, ops.take(h, index, axis=1)], axis=-1)
        h = ops.reshape(h, (ops.shape(h)[0], -1, 2))
        h = ops.divide(h - ops.mean(h, axis=-1, keepdims=True), ops.maximum(ops.std(h, axis=-1, keepdims=True), 1e-3))
        parts = ops.split(ops.transpose(h, (0, 2, 1)), 2, axis=1)
        return ops.einsum("bij,bkj->bik", parts[0], parts[1]) + ops.cast(ops.argmax(h, axis=-1), "float32")[:, :1, None]

    x, y, index = torch.randn(3, 4), torch.randn(4, 6), torch.tensor([0, -1])
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, y, index), function(x, y, index))


def test_vmap_and_grad_go_through():
    x = torch.randn(5, 3)
    torch.testing.assert_close(torch.vmap(lambda row: ops.sum(ops.square(row)))(x), (x * x).sum(-1))
    gradient = torch.func.grad(lambda x: ops.sum(ops.logsumexp(x, axis=-1)))(x)
    torch.testing.assert_close(gradient, torch.softmax(x, -1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("target", ["uint8", "int8", "int16", "int32", "int64", "float16"])
def test_saturated_casts_never_wrap(dtype, target):
    values = torch.tensor(
        [-math.inf, -1e30, -300.0, -1.0, 0.0, 1.0, 300.0, 40000.0, 1e30, math.inf], dtype=torch.float64
    )
    x = values.to(getattr(torch, dtype))
    result = ops.saturate_cast(x, target)
    wide = result.double()
    limits = torch.finfo(result.dtype) if result.dtype.is_floating_point else torch.iinfo(result.dtype)
    inside = (x.double() >= limits.min) & (x.double() < float(limits.max))
    assert torch.equal(wide[inside], x.double()[inside].to(result.dtype).double())
    assert (wide.sort().values == wide).all()
    reachable = torch.finfo(x.dtype)
    assert wide[-1] >= 0.99 * min(limits.max, reachable.max) and wide[0] <= 0.99 * max(limits.min, reachable.min)


def test_empty_tensors():
    x = torch.zeros(0, 3)
    assert ops.max(x, initial=2.0).item() == 2.0
    assert ops.max(x, axis=0, initial=2.0).tolist() == [2.0, 2.0, 2.0]
    assert ops.min(x, axis=1, initial=2.0).shape == (0,)
    assert ops.sum(x).item() == 0
    assert ops.concatenate([x, torch.ones(1, 3)]).shape == (1, 3)
    assert [part.shape for part in ops.split(x, 2)] == [(0, 3), (0, 3)]


def test_unique_with_a_size():
    values, first, inverse, counts = ops.unique(
        [3, 1, 3], return_index=True, return_inverse=True, return_counts=True, size=4, fill_value=9
    )
    assert values.tolist() == [1, 3, 9, 9]
    assert first.tolist()[:2] == [1, 0]
    assert inverse.tolist() == [1, 0, 1]
    assert counts.tolist() == [1, 2, 0, 0]
    rows = ops.unique(np.array([[1, 2], [1, 2], [0, 1]]), axis=0, return_index=True)
    assert rows[0].tolist() == [[0, 1], [1, 2]] and rows[1].tolist() == [2, 0]
    spec = ops.unique(KerasTensor((None, 3)), return_counts=True, size=5)
    assert [x.shape for x in spec] == [(5,), (5,)]


def test_a_single_slice_of_a_vector():
    assert ops.take([10, 20, 30], 1).tolist() == 20
    assert ops.take(KerasTensor((3,)), 1).shape == ()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sort", "argsort", "cumsum", "cumprod"])
def test_axes_outside_the_tensor(name):
    for x in (KerasTensor((3, 4)), torch.ones(3, 4)):
        with pytest.raises(LaminaError, match="axis"):
            getattr(ops, name)(x, axis=10)
    assert getattr(ops, name)(torch.tensor(1.0), axis=-1).shape == ()


def test_counts_of_repeats_fit():
    assert ops.repeat(KerasTensor((None, 3)), [1, 2], axis=0).shape == (3, 3)
    for x in (KerasTensor((3,)), torch.ones(3)):
        with pytest.raises(ShapeError, match="count"):
            ops.repeat(x, [1, 1])


@pytest.mark.parametrize("stride", [0, -5, 1.5])
def test_strides_of_windows_are_whole(stride):
    with pytest.raises(LaminaError, match="sequence_stride"):
        ops.stft(torch.ones(8), 2, stride, 4)
    with pytest.raises(LaminaError, match="sequence_stride"):
        ops.istft((torch.ones(2, 3), torch.ones(2, 3)), 2, stride, 4)


def test_normalizations_with_factors_for_more_axes():
    x, factor = torch.randn(2, 3, 4), torch.randn(3, 4)
    torch.testing.assert_close(ops.rms_normalization(x, factor), ops.rms_normalization(x) * factor)
    torch.testing.assert_close(ops.layer_normalization(x, factor, factor), ops.layer_normalization(x) * factor + factor)


def test_diagonals_and_bins_of_the_wrong_rank():
    for call in (lambda x: ops.diag(x), lambda x: ops.digitize([1.0], x)):
        for x in (KerasTensor((2, 3, 4)), torch.ones(2, 3, 4)):
            with pytest.raises(ShapeError):
                call(x)
