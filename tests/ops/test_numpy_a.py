"""Arithmetic, logic, creation, products, transforms and linear algebra: shapes, dtypes and arguments of every kind."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import scipy.sparse
import torch

import lamina
from lamina import ops
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from lamina.core.tensors import convert_to_tensor
from lamina.graph.tensor import KerasTensor
from lamina.models.functional import Functional

UNSIGNED = [torch.uint16, torch.uint32]
HALVES = [torch.float16, torch.bfloat16]


def square(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([[4, 1, 0], [1, 3, 1], [0, 1, 5]]).to(dtype)


BINARY = "add subtract multiply floor_divide mod power maximum minimum fmax fmod gcd lcm bitwise_and bitwise_xor "
BINARY += "bitwise_left_shift matmul dot inner outer kron cross tensordot"


@pytest.mark.parametrize("dtype", UNSIGNED)
@pytest.mark.parametrize("name", BINARY.split())
def test_unsigned_integers_that_torch_hardly_knows(name, dtype):
    x, y = square(torch.int64), square(torch.int64).flip(0)
    if name in ("floor_divide", "mod", "fmod"):
        y = y + 1
    function = getattr(ops, name)
    result = function(x.to(dtype), y.to(dtype))
    assert result.dtype is dtype
    assert torch.equal(result, function(x, y).to(dtype))
    spec = function(KerasTensor((None, 3), dtype), KerasTensor((3, 3), dtype))
    assert spec.dtype == ops.dtype(result)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_unsigned_integers_beside_others(dtype):
    x = square(dtype)
    assert ops.add(x, 1).dtype is ops.take(x, torch.tensor([0, 1]), 0).dtype is dtype
    assert ops.add(x, x.to(torch.uint8)).dtype is dtype
    assert ops.add(x, x.to(torch.bfloat16)).dtype is torch.bfloat16
    assert ops.less(x, 3).dtype is torch.bool
    assert ops.sqrt(x).dtype is ops.divide(x, 2).dtype is torch.float32
    assert ops.segment_sum(x, [0, 1, 0], 2).dtype is dtype
    assert ops.add(square(torch.uint16), square(torch.int8)).dtype is torch.int32
    assert KerasTensor((2,), "uint16").dtype == (KerasTensor((2,), "uint16") + 1).dtype


def test_unsigned_integers_in_a_functional_model():
    x = lamina.Input((3,), dtype="uint16")
    model = Functional(x, ops.maximum(ops.add(x, 1), 2))
    result = model(square(torch.uint16))
    assert result.dtype is torch.uint16
    assert result.tolist() == [[5, 2, 2], [2, 4, 2], [2, 2, 6]]
    model = Functional(x, torch.add(x, x))
    assert model(square(torch.uint16)).dtype is torch.uint16


def test_numpy_arrays_of_unsigned_integers():
    x = np.array([1, 65535], "uint16")
    assert ops.add(x, x).tolist() == [2, 65534]
    assert ops.maximum(x, 2).tolist() == [2, 65535]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", "cholesky inv det eigh svd qr pinv logdet slogdet lu_factor".split())
def test_linear_algebra_of_short_floats(name, dtype):
    ours, wide = getattr(ops, name)(square(dtype)), getattr(ops, name)(square(torch.float32))
    ours, wide = (x if isinstance(x, tuple) else (x,) for x in (ours, wide))
    for our, expected in zip(ours, wide, strict=True):
        assert our.dtype is (dtype if expected.is_floating_point() else expected.dtype)
        torch.testing.assert_close(our.abs().float(), expected.abs().float(), rtol=2e-2, atol=1e-2)
    spec = getattr(ops, name)(KerasTensor((3, 3), dtype))
    assert [x.dtype for x in (spec if isinstance(spec, tuple) else (spec,))] == [ops.dtype(x) for x in ours]


@pytest.mark.parametrize("dtype", HALVES)
def test_transforms_of_short_floats(dtype):
    x = torch.arange(8).to(dtype)
    for result in (*ops.fft((x, x)), *ops.rfft(x), ops.irfft(ops.rfft(x))):
        assert result.dtype is dtype
    torch.testing.assert_close(ops.irfft(ops.rfft(x)), x, rtol=2e-2, atol=5e-2)
    assert ops.fft((KerasTensor((None, 8), dtype), KerasTensor((None, 8), dtype)))[0].dtype == ops.dtype(x)


def test_gradients_pass_through_the_wider_dtype():
    x = square(torch.bfloat16).requires_grad_()
    ops.det(x).backward()
    assert x.grad is not None
    assert x.grad.dtype is torch.bfloat16


@pytest.mark.parametrize("name", ["bitwise_and", "gcd"])
def test_dtypes_that_an_op_does_not_take_are_named(name):
    for dtype in ("float32", "bfloat16"):
        x = torch.ones(2, dtype=getattr(torch, dtype))
        with pytest.raises(DTypeError, match=rf"(?s)op {name}.*{dtype}"):
            getattr(ops, name)(x, x)


SPARSE = {
    "coo": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "scipy": lambda: scipy.sparse.csr_matrix(np.eye(3)),
}


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_tensors_are_refused_with_the_way_out(kind):
    with pytest.raises(ArgumentTypeError, match=r"(?s)Sparse and ragged.*(to_dense\(\)|toarray\(\))"):
        convert_to_tensor(SPARSE[kind]())
    with pytest.raises(ArgumentTypeError, match="Sparse and ragged"):
        ops.add(SPARSE[kind](), 1.0)


def test_symbolic_products():
    x = KerasTensor((2, 3, 3))
    assert ops.cross(x, KerasTensor((None, 1, 2))).shape == (2, 3, 3)
    assert ops.cross(KerasTensor((1, 3, 2)), KerasTensor((None, 1, 2))).shape == (None, 3)
    assert ops.cross(x, x, axisa=1, axisb=1, axisc=0).shape == (3, 2, 3)
    assert ops.inner(KerasTensor((5, None)), KerasTensor((4, 3))).shape == (5, 4)
    assert ops.inner(KerasTensor((None, 3)), 2).shape == (None, 3)
    assert ops.dot(KerasTensor((2,), "uint8"), 2).dtype == "uint8"
    assert ops.matmul(KerasTensor((2, 3), "int8"), KerasTensor((3, 2), "int8")).dtype == "int32"
    assert ops.einsum(",ij", 5, KerasTensor((None, 3), "uint8")).dtype == "uint8"
    with pytest.raises(ShapeError, match="size 2 or 3"):
        ops.cross(KerasTensor((2, 4)), KerasTensor((2, 3)))
    with pytest.raises(ShapeError, match="differ in size"):
        ops.inner(KerasTensor((2, 3)), KerasTensor((2, 4)))


def test_symbolic_spaces():
    first, last = KerasTensor((None, 3, 4)), KerasTensor((2, 3, 4))
    for name in ("linspace", "logspace", "geomspace"):
        assert getattr(ops, name)(first, last, 10, axis=1).shape == (2, 10, 3, 4)
        assert getattr(ops, name)(KerasTensor((None, 3), "int32"), 2, 10, axis=-1).shape == (None, 3, 10)
        assert getattr(ops, name)(first, last, 4, dtype="float16").dtype == "float16"
        with pytest.raises(ShapeError, match=f"op {name}"):
            getattr(ops, name)(KerasTensor((2, 3)), KerasTensor((2, 3, 4)))
    values, step = ops.linspace(KerasTensor((None,), "int32"), 1, 5, retstep=True)
    assert (values.shape, step.shape, values.dtype) == ((5, None), (None,), "float32")
    assert ops.full((2, 3), KerasTensor((None,)), "int32").shape == (2, 3)


def test_jvp_of_symbolic_tensors():
    def function(x):
        y = ops.exp(x)
        return y, ops.mean(y, axis=-1, keepdims=True)

    x = lamina.Input((7,))
    value, direction, other = ops.jvp(function, (x,), (x,), has_aux=True)
    assert (value.shape, direction.shape, other.shape) == ((None, 7), (None, 7), (None, 1))
    result = Functional(x, direction)(torch.ones(2, 7))
    torch.testing.assert_close(result, torch.full((2, 7), math.e))


def test_jvp_casts_the_direction():
    value, direction = ops.jvp(ops.square, (torch.ones(2, dtype=torch.float16),), ([1.0, 2.0],))
    assert value.dtype is direction.dtype is torch.float16
    assert direction.tolist() == [2.0, 4.0]


def test_complex_numbers():
    assert convert_to_tensor([1 + 2j, 3.0]).dtype is torch.complex64
    assert ops.abs([3 + 4j]).tolist() == [5.0]
    assert ops.view_as_complex(np.ones((3, 2))).dtype is torch.complex64
    assert ops.view_as_complex(KerasTensor((None, 2), "float64")).dtype == "complex64"
    assert ops.view_as_complex(KerasTensor((3, None))).shape == (3,)
    with pytest.raises(ShapeError, match="view_as_complex"):
        ops.view_as_complex(torch.ones(2, 3))


def test_segments_of_booleans_and_short_floats():
    ids = torch.tensor([0, 0, 1])
    assert ops.segment_max(torch.tensor([False, True, False]), ids, 2).tolist() == [True, False]
    many = torch.full((4096,), 1.0, dtype=torch.bfloat16)
    assert ops.segment_sum(many, torch.zeros(4096, dtype=torch.int64), 1).item() == 4096
    empty = ops.segment_sum(torch.ones(0, 2), torch.ones(0, dtype=torch.int64))
    assert empty.shape == (0, 2)


def test_singular_matrices_are_named():
    singular = torch.zeros(2, 2)
    for call in (lambda: ops.inv(singular), lambda: ops.solve(singular, torch.ones(2))):
        with pytest.raises(ArgumentError, match="singular"):
            call()
    with pytest.raises(ArgumentError, match="positive definite"):
        ops.cholesky(singular - 1)


ORDERS = [None, "fro", "nuc", math.inf, -math.inf, 0, 1, -1, 2, -2, 3, 0.5]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1), (-1, 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms_agree_with_numpy(order, axis, keepdims):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    try:
        expected = np.linalg.norm(x, order, axis, keepdims)
    except ValueError:
        with pytest.raises(ValueError, match="norm|Order|ord"):
            ops.norm(x, order, axis, keepdims)
        return
    np.testing.assert_allclose(ops.norm(x, order, axis, keepdims), expected, rtol=1e-4)


@pytest.mark.parametrize("window", ["hann", "hamming", None, "values"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("length", "fft_length"), [(16, 16), (12, 16)])
def test_short_transforms_agree_with_keras(window, center, length, fft_length):
    x = np.random.default_rng(0).normal(size=(2, 3, 64)).astype("float32")
    shape = np.blackman(length + 2)[1:-1].astype("float32") if window == "values" else window
    ours = ops.stft(x, length, 4, fft_length, shape, center)
    theirs = keras.ops.stft(torch.tensor(x), length, 4, fft_length, shape, center)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)
    if window is not None and center:
        for size in (None, 60):
            back = ops.istft(ours, length, 4, fft_length, size, shape, center)
            expected = keras.ops.istft(theirs, length, 4, fft_length, size, shape, center)
            assert back.shape == expected.shape
            torch.testing.assert_close(back[..., 8:52], torch.tensor(x)[..., 8:52])


def test_symbolic_distances():
    assert ops.cdist(KerasTensor((2, None)), KerasTensor((5, 3))).shape == (2, 5)
    assert ops.cdist(KerasTensor((None, 2, 3), "int32"), KerasTensor((5, 3), "int32")).dtype == "float32"
    with pytest.raises(ShapeError, match="equal size"):
        ops.cdist(KerasTensor((2, 4)), KerasTensor((5, 3)))
