"""Gradients, errors, loops and random numbers of ops beside the real Keras; the rest is in test_lattice."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras")

from tests.parity.lattice_cases import CASES, A, B, C, S, T, V, W

import lamina.random
from lamina import ops, tree
from lamina.core.errors import LaminaError
from lamina.graph.tensor import KerasTensor


def label(case: tuple[str, tuple[Any, ...], dict[str, Any]]) -> str:
    name, args, kwargs = case
    shapes = ",".join("x".join(map(str, x.shape)) for x in tree.flatten(args) if isinstance(x, np.ndarray))
    return f"{name}-{shapes}-{','.join(f'{k}={v}' for k, v in kwargs.items() if not isinstance(v, np.ndarray))}"


def to_torch(value: Any) -> Any:
    return tree.map_structure(lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, value)


def flat(value: Any) -> list[Any]:
    return [leaf for leaf in tree.flatten(value) if leaf is not None]


def oracle(name: str, *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(keras.ops, name)(*args, **kwargs)


def same(ours: Any, theirs: Any, exact_dtype: bool = True, rtol: float = 2e-5) -> None:
    ours, theirs = flat(ours), flat(theirs)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert isinstance(our, torch.Tensor)
        assert tuple(our.shape) == tuple(their.shape)
        if exact_dtype:
            assert our.dtype == their.dtype
        wide = torch.complex128 if our.is_complex() else torch.float64
        torch.testing.assert_close(our.to(wide), their.to(wide), rtol=rtol, atol=2e-6, equal_nan=True)


# Keras's torch backend fails on these, or departs from NumPy and from its own other backends.
NOT_KERAS = {
    "average-2x3-axis=None": "Keras divides by the sums of rows, whatever the axis",
    "repeat-2x3-axis=1": "Keras fails on lists",
    "pad-2x3-constant_values=3": "Keras pads the last axis only",
    "argpartition-3-": "any order within the parts is right",
}


@pytest.mark.parametrize(
    "name,shapes,expected",
    [
        ("add", [(None, 3), (2, None)], (2, 3)),
        ("multiply", [(None, 1), (None,)], (None, None)),
        ("maximum", [(None, 3), (1, 3)], (None, 3)),
        ("where", [(None, 1), (2, 3), ()], (2, 3)),
        ("matmul", [(None, None), (3, 4)], (None, 4)),
        ("matmul", [(None, 5, 2, None), (3, 4)], (None, 5, 2, 4)),
        ("concatenate", [[(None, 3), (2, None)]], (None, 3)),
        ("stack", [[(None, 3), (2, None)]], (2, 2, 3)),
    ],
)
def test_unknown_sizes_give_way_to_known_ones(name, shapes, expected):
    def make(value):
        return [make(item) for item in value] if isinstance(value, list) else KerasTensor(value)

    assert getattr(ops, name)(*(make(shape) for shape in shapes)).shape == expected


def test_splits_and_reshapes_of_unknown_sizes():
    x = KerasTensor((None, 6))
    assert [part.shape for part in ops.split(x, 3)] == [(None, 6)] * 3
    assert ops.reshape(x, (-1, 4)).shape == (None, 4)
    assert ops.reshape(x, (-1, 7)).shape == (None, 7)
    assert ops.reshape(x, (2, 3, -1)).shape == (2, 3, None)
    assert ops.reshape(x, (ops.shape(x)[0], 2, 3)).shape == (None, 2, 3)
    assert [part.shape for part in ops.unstack(x, num=4)] == [(6,)] * 4
    assert ops.diagonal(x).shape == (None,)
    assert ops.broadcast_to(KerasTensor((None, 1)), (5, 3)).shape == (5, 3)


def test_wide_dtypes_stay_wide():
    x = torch.ones(2, 2, dtype=torch.float64)
    for result in (ops.matmul(x, x), ops.maximum(x, 1.0), ops.cumsum(x), ops.var(x), ops.floor(x), ops.add(x, 1)):
        assert result.dtype is torch.float64
    assert ops.maximum(torch.tensor([2**40]), 1).item() == 2**40


SMOOTH = [case for case in CASES if all(x.dtype == np.float32 for x in flat(case[1]) if isinstance(x, np.ndarray))]
# Not differentiable; or Keras's gradient fails, or is NaN where a column holds nothing but NaN.
WITHOUT_GRADIENT = {
    "nextafter",
    "argpartition",
    "isclose",
    "histogram",
    "matrix_rank",
    "digitize",
    "searchsorted",
    "view",
}
WITHOUT_GRADIENT |= {"convert_to_tensor", "convert_to_numpy", "is_tensor", "eig", "empty_like"}
WITHOUT_GRADIENT |= {"stop_gradient", "heaviside", "ldexp", "floor_divide", "vander", "lstsq", "eigh"}
NO_KERAS_GRADIENT = {"nanmean-2x3-axis=0", "nanvar-2x3-axis=0", "nanstd-2x3-axis=0"} | NOT_KERAS.keys()


@pytest.mark.parametrize(
    "case",
    [case for case in SMOOTH if case[0] not in WITHOUT_GRADIENT and label(case) not in NO_KERAS_GRADIENT],
    ids=label,
)
def test_gradients(case):
    name, args, kwargs = case

    def gradients(module: Any) -> list[Any]:
        leaves = to_torch(args)
        inputs = [x.requires_grad_() for x in flat(leaves) if isinstance(x, torch.Tensor)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = flat(getattr(module, name)(*leaves, **to_torch(kwargs)))
        parts = [x for x in results if isinstance(x, torch.Tensor) and x.requires_grad]
        if not parts:
            return []
        total = sum(
            (x.abs() if x.is_complex() else x * (1 + torch.arange(x.numel()).reshape(x.shape))).sum() for x in parts
        )
        return list(torch.autograd.grad(total, inputs, allow_unused=True))

    ours, theirs = gradients(ops), gradients(keras.ops)
    assert [g is None for g in ours] == [g is None for g in theirs]
    same([g for g in ours if g is not None], [g for g in theirs if g is not None], rtol=2e-4)


EDGES: dict[str, tuple[float, ...]] = {name: (0.0,) for name in "abs sqrt square sign sinc cbrt prod".split()}
EDGES |= {"max": (1.0,), "std": (1.0,), "logsumexp": (-np.inf,), "clip": (1.0, 0.0, 1.0)}
EDGES |= {name: (1.0, 1.0) for name in ("maximum", "minimum")} | {"arctan2": (0.0, 0.0)}
EDGES |= {"divide_no_nan": (1.0, 0.0), "power": (0.0, 2.0), "logaddexp": (-np.inf, 0.0), "mod": (4.0, 2.0)}


@pytest.mark.parametrize("name", EDGES)
def test_gradients_at_edges(name):
    found = []
    for module in (ops, keras.ops):
        inputs = [torch.full((2,), x, requires_grad=True) for x in EDGES[name]]
        result = getattr(module, name)(*inputs)
        found.append(torch.autograd.grad(result.sum(), inputs, allow_unused=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


WRONG = [
    ("reshape", (A, (4, 4)), {}),
    ("split", (A, 2), {"axis": 1}),
    ("rot90", (V,), {}),
    ("rot90", (A,), {"axes": (0, 0)}),
    ("ldexp", (A, B), {}),
    ("histogram", (V,), {"bins": 2.5}),
    ("histogram", (A,), {}),
    ("pad", (A, 1), {"mode": "reflect", "constant_values": 1}),
    ("searchsorted", (A, A), {}),
    ("cholesky", (A,), {}),
    ("inv", (A,), {}),
    ("qr", (S,), {"mode": "other"}),
    ("solve", (S, np.ones(2, "float32")), {}),
    ("segment_sum", (A, np.array([0, 1, 2], "int32")), {}),
    ("stft", (np.ones(9, "int32"), 4, 2, 4), {}),
    ("stft", (np.ones(9, "float32"), 8, 2, 4), {}),
    ("fft", (A,), {}),
    ("cdist", (A, C), {}),
    ("convert_to_tensor", (A,), {"sparse": True}),
    ("max", (np.ones((0, 2), "float32"),), {}),
    ("vectorize", (3,), {}),
    ("scan", (None, 0), {}),
    ("fabs", (A.astype("complex64"),), {}),
]


@pytest.mark.parametrize("case", WRONG, ids=label)
def test_errors_are_of_the_kinds_keras_raises(case):
    name, args, kwargs = case
    with pytest.raises((ValueError, TypeError, RuntimeError)) as theirs:
        oracle(name, *args, **kwargs)
    with pytest.raises(LaminaError) as ours:
        getattr(ops, name)(*args, **kwargs)
    if isinstance(theirs.value, ValueError | TypeError):
        assert isinstance(ours.value, (ValueError, TypeError))
    assert name in str(ours.value)


RANDOM = {
    "normal": ((20000,), {"mean": 1.0, "stddev": 2.0}),
    "uniform": ((20000,), {"minval": -1.0, "maxval": 3.0}),
    "randint": ((20000, -2, 7), {}),
    "truncated_normal": ((20000,), {"mean": 1.0, "stddev": 2.0}),
    "gamma": ((20000, 2.5), {}),
    "beta": ((20000, 2.0, 3.0), {}),
    "binomial": ((20000, 10, 0.3), {}),
}


@pytest.mark.parametrize("name", RANDOM)
def test_distributions(name):
    (size, *rest), kwargs = RANDOM[name]
    ours = getattr(lamina.random, name)((size,), *rest, **kwargs, seed=1)
    theirs = getattr(keras.random, name)((size,), *rest, **kwargs, seed=1)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    ours, theirs = ours.double(), theirs.double()
    assert abs(ours.mean() - theirs.mean()) < 0.06
    assert abs(ours.std() - theirs.std()) < 0.06
    quantiles = torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99], dtype=torch.float64)
    assert torch.allclose(ours.quantile(quantiles), theirs.quantile(quantiles), atol=0.3)


def test_loops_and_branches():
    def both(run):
        same(run(ops), run(keras.ops))

    x = torch.tensor(A)
    both(lambda o: o.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), (0, x)))
    both(lambda o: o.while_loop(lambda i: i < 10, lambda i: i * 2, torch.tensor(1), maximum_iterations=2))
    both(lambda o: o.fori_loop(0, 3, lambda i, t: t + i, x))
    both(lambda o: o.scan(lambda c, y: (c + y, c * y), x[0], x))
    both(lambda o: o.scan(lambda c, y: (c + y, c * y), x[0], x, reverse=True))
    both(lambda o: o.map(lambda y: y * 2, x))
    both(lambda o: o.vectorized_map(lambda y: y.sum(), x))
    both(lambda o: o.cond(torch.tensor(True), lambda: x, lambda: x * 2))
    both(lambda o: o.switch(7, [lambda y: y, lambda y: -y], x))
    both(lambda o: o.associative_scan(lambda a, b: a * b, torch.tensor(W)))
    both(lambda o: o.associative_scan(lambda a, b: a + b, torch.tensor(T), reverse=True, axis=2))
    both(lambda o: o.vectorize(lambda a, b: a * b)(x, x[0]))
    both(lambda o: o.vectorize(lambda a, b: a @ b, signature="(n,m),(m)->(n)")(torch.tensor(T), torch.tensor(W)))
    both(lambda o: o.jvp(lambda y: y**2, (x,), (torch.ones_like(x),)))


def test_round_trip_of_signals():
    x = torch.tensor(np.sin(np.arange(64, dtype="float32")))[None]
    for kwargs in ({}, {"length": 60}, {"window": "hamming"}, {"center": False, "window": "hamming"}):
        window = {key: value for key, value in kwargs.items() if key != "length"}
        for fft_length in (16, 20):
            ours = ops.istft(ops.stft(x, 16, 4, fft_length, **window), 16, 4, fft_length, **kwargs)
            theirs = keras.ops.istft(keras.ops.stft(x, 16, 4, fft_length, **window), 16, 4, fft_length, **kwargs)
            inner = slice(16, 44)
            torch.testing.assert_close(ours[:, inner], x[:, inner], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours[:, inner], theirs[:, inner], rtol=1e-4, atol=1e-4)
            assert ours.shape == theirs.shape
