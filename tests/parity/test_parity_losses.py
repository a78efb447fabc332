"""Losses against the real Keras: values, gradients, weights, masks, reductions and configs."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import torch
from tests.parity.grids import sample

from lamina import losses

RNG = np.random.default_rng(0)
REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]


def _probabilities(*shape):
    x = RNG.random(shape).astype("float32") + 0.05
    return x / x.sum(-1, keepdims=True)


def _one_hot(*shape):
    return np.eye(shape[-1], dtype="float32")[RNG.integers(0, shape[-1], shape[:-1])]


def _numbers(*shape):
    return RNG.normal(size=shape).astype("float32")


def _positive(*shape):
    return RNG.random(shape).astype("float32") * 3


def _bits(*shape):
    return RNG.integers(0, 2, shape).astype("float32")


def _indices(*shape):
    return RNG.integers(0, 5, shape)


NUMBERS = (_numbers, _numbers)
SHAPES = [
    ((6, 3), (6, 3)),
    ((6,), (6, 1)),
    ((6, 1), (6,)),
    ((6,), (6,)),
    ((4, 5, 3), (4, 5, 3)),
    ((4, 5), (4, 5, 1)),
]
SAME = [((6, 5), (6, 5)), ((4, 3, 5), (4, 3, 5))]
SPARSE = [((6,), (6, 5)), ((6, 1), (6, 5)), ((4, 3), (4, 3, 5)), ((4, 3, 1), (4, 3, 5))]

# (class, arguments, makers of y_true and y_pred, shapes)
CASES = [
    ("MeanSquaredError", {}, NUMBERS, [*SHAPES, ((6, 1), (6, 3))]),
    ("MeanAbsoluteError", {}, NUMBERS, SHAPES),
    ("MeanAbsolutePercentageError", {}, (_positive, _numbers), SHAPES),
    ("MeanSquaredLogarithmicError", {}, (_positive, _positive), SHAPES),
    ("CosineSimilarity", {}, NUMBERS, SAME),
    ("CosineSimilarity", {"axis": 1}, NUMBERS, SAME),
    ("Huber", {}, NUMBERS, SHAPES),
    ("Huber", {"delta": 0.3}, NUMBERS, SHAPES),
    ("LogCosh", {}, (_numbers, lambda *s: 30 * _numbers(*s)), SHAPES),
    ("Poisson", {}, (_positive, _positive), SHAPES),
    ("KLDivergence", {}, (_probabilities, _probabilities), SAME),
    ("Hinge", {}, (_bits, _numbers), SHAPES),
    ("Hinge", {}, (lambda *s: 2 * _bits(*s) - 1, _numbers), SHAPES),
    ("SquaredHinge", {}, (_bits, _numbers), SHAPES),
    ("CategoricalHinge", {}, (_one_hot, _numbers), SAME),
    ("BinaryCrossentropy", {}, (_bits, lambda *s: RNG.random(s).astype("float32")), SHAPES),
    (
        "BinaryCrossentropy",
        {"label_smoothing": 0.2},
        (_bits, lambda *s: RNG.random(s).astype("float32")),
        SHAPES,
    ),
    ("BinaryCrossentropy", {"from_logits": True}, (_bits, _numbers), SHAPES),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1, "axis": 0}, (_bits, _numbers), SAME),
    ("BinaryFocalCrossentropy", {}, (_bits, lambda *s: RNG.random(s).astype("float32")), SHAPES),
    (
        "BinaryFocalCrossentropy",
        {"from_logits": True, "apply_class_balancing": True},
        (_bits, _numbers),
        SHAPES,
    ),
    (
        "BinaryFocalCrossentropy",
        {"gamma": 1.0, "label_smoothing": 0.1, "from_logits": True},
        (_bits, _numbers),
        SAME,
    ),
    ("CategoricalCrossentropy", {}, (_one_hot, _probabilities), SAME),
    ("CategoricalCrossentropy", {"from_logits": True}, (_one_hot, _numbers), SAME),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, (_one_hot, _numbers), SAME),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, (_one_hot, _probabilities), SAME),
    ("CategoricalCrossentropy", {"axis": 1, "from_logits": True}, (_one_hot, _numbers), SAME),
    ("CategoricalCrossentropy", {"axis": 1, "label_smoothing": 0.1}, (_one_hot, _probabilities), SAME),
    ("CategoricalFocalCrossentropy", {}, (_one_hot, _probabilities), SAME),
    (
        "CategoricalFocalCrossentropy",
        {"from_logits": True, "alpha": 0.4, "gamma": 1.0},
        (_one_hot, _numbers),
        SAME,
    ),
    ("CategoricalFocalCrossentropy", {"label_smoothing": 0.1}, (_one_hot, _probabilities), SAME),
    ("SparseCategoricalCrossentropy", {}, (_indices, _probabilities), SPARSE),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, (_indices, _numbers), SPARSE),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, (_indices, _probabilities), SPARSE),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2, "from_logits": True}, (_indices, _numbers), SPARSE),
    (
        "SparseCategoricalCrossentropy",
        {"axis": 1, "from_logits": True},
        (_indices, _numbers),
        [((4, 3), (4, 5, 3))],
    ),
    ("SparseCategoricalCrossentropy", {"axis": 1}, (_indices, _probabilities), [((4, 3), (4, 5, 3))]),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.3}, (_indices, _probabilities), [((6,), (6, 5))]),
    ("Dice", {}, (_bits, _probabilities), SAME),
    ("Dice", {"axis": (1,)}, (_bits, _probabilities), SAME),
    ("Tversky", {"alpha": 0.3, "beta": 0.6, "axis": -1}, (_bits, _probabilities), SAME),
    ("Circle", {}, (_indices, _probabilities), [((6,), (6, 3))]),
    ("Circle", {"remove_diagonal": False, "gamma": 10.0}, (_indices, _probabilities), [((6,), (6, 3))]),
    ("CTC", {}, (lambda *s: RNG.integers(0, 4, s), _numbers), [((3, 4), (3, 9, 5))]),
]
FLAT = [(name, kwargs, makers, shape) for name, kwargs, makers, shapes in CASES for shape in shapes]


def _run(module, name, kwargs, y_true, y_pred, weight, mask, reduction):
    prediction = torch.tensor(y_pred, requires_grad=True)
    seen = prediction.clone()
    if mask is not None:
        seen._keras_mask = torch.tensor(mask)
    loss = getattr(module, name)(reduction=reduction, **kwargs)(torch.tensor(y_true), seen, sample_weight=weight)
    loss.sum().backward()
    assert prediction.grad is not None
    return loss.detach().numpy(), prediction.grad.numpy()


def _compare(name, kwargs, y_true, y_pred, weight=None, mask=None, reduction="sum_over_batch_size"):
    arguments = (name, kwargs, y_true, y_pred, weight, mask, reduction)
    wanted, wanted_gradient = _run(keras.losses, *arguments)
    value, gradient = _run(losses, *arguments)
    assert value.shape == wanted.shape
    np.testing.assert_allclose(value, wanted, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "kwargs", "makers", "shape"), FLAT, ids=lambda v: str(v) if isinstance(v, str) else ""
)
def test_value_and_gradient(name, kwargs, makers, shape):
    y_true, y_pred = makers[0](*shape[0]), makers[1](*shape[1])
    for reduction in REDUCTIONS:
        _compare(name, kwargs, y_true, y_pred, reduction=reduction)


@pytest.mark.parametrize(
    ("name", "kwargs", "makers", "shape"), FLAT, ids=lambda v: str(v) if isinstance(v, str) else ""
)
def test_weights_and_masks(name, kwargs, makers, shape):
    if name in ("Dice", "Tversky", "CategoricalGeneralizedCrossEntropy") or kwargs.get("axis") in (0, 1):
        pytest.skip("the losses are not per sample")
    y_true, y_pred = makers[0](*shape[0]), makers[1](*shape[1])
    per_sample = keras.losses.get({"class_name": name, "config": {**kwargs, "reduction": "none"}})
    shape = tuple(per_sample(torch.tensor(y_true), torch.tensor(y_pred)).shape)
    if not shape:
        return
    weights = [None, RNG.random(shape).astype("float32"), np.zeros(shape, "float32")]
    if len(shape) == 1:
        weights.append(RNG.random((*shape, 1)).astype("float32"))
    else:
        weights.append(RNG.random((shape[0], 1)).astype("float32"))
    masks = [None, RNG.random(shape) > 0.4, np.zeros(shape, bool)]
    for weight, mask, reduction in itertools.product(weights, masks, REDUCTIONS[:4]):
        masked = mask is not None or "ignore_class" in kwargs
        if masked and weight is not None and weight.ndim == len(shape) and weight.shape != shape:
            continue  # Keras on torch fails here, as it multiplies in place.
        _compare(name, kwargs, y_true, y_pred, weight, mask, reduction)


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
def test_config(name):
    ours, theirs = getattr(losses, name)(), getattr(keras.losses, name)()
    assert ours.get_config() == theirs.get_config()
    assert ours.dtype == theirs.dtype
    assert type(ours).from_config(theirs.get_config()).get_config() == theirs.get_config()
    assert losses.serialize(ours)["class_name"] == name


@pytest.mark.parametrize(
    "name", [n for n in sorted(keras.src.losses.ALL_OBJECTS_DICT) if n not in ("Loss", "LossFunctionWrapper")]
)
def test_get_by_name(name):
    theirs, ours = keras.losses.get(name), losses.get(name)
    assert getattr(ours, "__name__", type(ours).__name__) == getattr(theirs, "__name__", type(theirs).__name__)


def test_batch_of_none():
    for shape in ((0, 3), (0,), (0, 4, 3)):
        empty = torch.zeros(shape)
        for name in ("MeanSquaredError", "Huber", "BinaryCrossentropy"):
            ours, theirs = getattr(losses, name)()(empty, empty), getattr(keras.losses, name)()(empty, empty)
            assert ours.shape == theirs.shape, (name, shape)
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes(dtype):
    y_true, y_pred = _numbers(4, 3), _numbers(4, 3)
    for name in ("MeanSquaredError", "MeanAbsoluteError"):
        ours = getattr(losses, name)(dtype=dtype)(y_true, y_pred)
        theirs = getattr(keras.losses, name)(dtype=dtype)(y_true, y_pred)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.float().numpy(), theirs.float().numpy(), rtol=1e-2)


def test_lists_and_numbers():
    for name in ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "poisson", "hinge"):
        ours = getattr(losses, name)([[0, 1], [1, 0]], [[1, 1], [2, 0]])
        theirs = getattr(keras.losses, name)([[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]])
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_grid():
    """A part of the grid; `python -m tests.parity.grids` runs all of it."""
    sample("losses", every=61)
