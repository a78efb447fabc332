"""Metrics against the real Keras: results over several batches, weights, masks, configs, names, variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from tests.parity.grids import sample

from lamina import metrics

RNG = np.random.default_rng(1)


def _probabilities(*shape):
    x = RNG.random(shape).astype("float32") + 0.05
    return x / x.sum(-1, keepdims=True)


def _one_hot(*shape):
    return np.eye(shape[-1], dtype="float32")[RNG.integers(0, shape[-1], shape[:-1])]


def _numbers(*shape):
    return RNG.normal(size=shape).astype("float32")


def _uniform(*shape):
    """Values in [0, 1], some of them exactly on thresholds and ends."""
    return (RNG.integers(0, 21, shape) / 20).astype("float32")


def _bits(*shape):
    return RNG.integers(0, 2, shape).astype("float32")


def _indices(*shape):
    return RNG.integers(0, 5, shape)


def _zeros(*shape):
    return np.zeros(shape, "float32")


FLAT = [((8,), (8,)), ((8, 1), (8, 1)), ((8,), (8, 1)), ((8, 3), (8, 3))]
BOTH = [((8, 5), (8, 5)), ((4, 3, 5), (4, 3, 5))]
ROWS = [((8, 5), (8, 5))]
SPARSE = [((8,), (8, 5)), ((8, 1), (8, 5)), ((4, 3), (4, 3, 5))]
NUMBERS, GUESSES = (_numbers, _numbers), (_bits, _uniform)

CASES = [
    ("Accuracy", {}, (_indices, _indices), FLAT),
    ("BinaryAccuracy", {}, GUESSES, FLAT),
    ("BinaryAccuracy", {"threshold": 0.25}, GUESSES, FLAT),
    ("CategoricalAccuracy", {}, (_one_hot, _probabilities), BOTH),
    ("SparseCategoricalAccuracy", {}, (_indices, _probabilities), [*SPARSE, ((4, 3, 1), (4, 3, 5))]),
    ("TopKCategoricalAccuracy", {"k": 2}, (_one_hot, _uniform), BOTH),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, (_indices, _uniform), [((8,), (8, 5)), ((4, 3), (4, 3, 5))]),
    (
        "SparseTopKCategoricalAccuracy",
        {"k": 2, "from_sorted_ids": True},
        (_indices, _indices),
        [((8,), (8, 3))],
    ),
    ("MeanSquaredError", {}, NUMBERS, FLAT),
    ("MeanAbsoluteError", {}, NUMBERS, FLAT),
    ("MeanAbsolutePercentageError", {}, (_probabilities, _numbers), [((8, 3), (8, 3))]),
    ("MeanSquaredLogarithmicError", {}, (_probabilities, _probabilities), BOTH),
    ("RootMeanSquaredError", {}, NUMBERS, [*FLAT, *BOTH]),
    ("CosineSimilarity", {}, NUMBERS, BOTH),
    ("CosineSimilarity", {"axis": 1}, NUMBERS, BOTH),
    ("LogCoshError", {}, NUMBERS, FLAT),
    ("R2Score", {}, NUMBERS, ROWS),
    ("R2Score", {"class_aggregation": None}, NUMBERS, ROWS),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 2}, NUMBERS, ROWS),
    ("PearsonCorrelation", {}, NUMBERS, BOTH),
    ("PearsonCorrelation", {"axis": 0}, NUMBERS, ROWS),
    ("ConcordanceCorrelation", {}, NUMBERS, BOTH),
    ("Hinge", {}, (_bits, _numbers), BOTH),
    ("SquaredHinge", {}, (_bits, _numbers), BOTH),
    ("CategoricalHinge", {}, (_one_hot, _numbers), BOTH),
    ("KLDivergence", {}, (_probabilities, _probabilities), BOTH),
    ("Poisson", {}, (_probabilities, _probabilities), BOTH),
    ("BinaryCrossentropy", {}, GUESSES, [*BOTH, ((8, 1), (8, 1))]),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, (_bits, _numbers), BOTH),
    ("CategoricalCrossentropy", {}, (_one_hot, _probabilities), BOTH),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, (_one_hot, _numbers), BOTH),
    ("CategoricalCrossentropy", {"axis": 1}, (_probabilities, _probabilities), BOTH),
    ("SparseCategoricalCrossentropy", {}, (_indices, _probabilities), SPARSE),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, (_indices, _numbers), SPARSE),
    ("TruePositives", {}, GUESSES, FLAT),
    ("TrueNegatives", {"thresholds": [0.1, 0.5, 0.9]}, GUESSES, FLAT),
    ("FalsePositives", {"thresholds": [0.0, 0.5, 1.0]}, GUESSES, FLAT),
    ("FalseNegatives", {"thresholds": 0.3}, GUESSES, FLAT),
    ("Precision", {}, GUESSES, FLAT),
    ("Precision", {"thresholds": [0.2, 0.7]}, GUESSES, FLAT),
    ("Precision", {"top_k": 2}, (_one_hot, _probabilities), ROWS),
    ("Precision", {"top_k": 2, "class_id": 1}, (_one_hot, _probabilities), ROWS),
    ("Recall", {}, GUESSES, FLAT),
    ("Recall", {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}, GUESSES, FLAT),
    ("Recall", {"top_k": 3, "thresholds": 0.2}, (_one_hot, _probabilities), ROWS),
    ("Recall", {"class_id": 2}, GUESSES, ROWS),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, GUESSES, FLAT),
    ("SensitivityAtSpecificity", {"specificity": 0.6, "num_thresholds": 1}, GUESSES, FLAT),
    ("SpecificityAtSensitivity", {"sensitivity": 0.4, "class_id": 1}, GUESSES, ROWS),
    ("PrecisionAtRecall", {"recall": 0.3, "num_thresholds": 11}, GUESSES, FLAT),
    ("RecallAtPrecision", {"precision": 0.5}, GUESSES, FLAT),
    *(
        (
            "AUC",
            {"curve": curve, "summation_method": method, **more},
            GUESSES,
            [((8,), (8,)), ((8, 5), (8, 5))],
        )
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
        for more in ({}, {"thresholds": [0.1, 0.4, 0.45]})
    ),
    *(
        ("AUC", {"multi_label": True, "curve": curve, **more}, GUESSES, ROWS)
        for curve in ("ROC", "PR")
        for more in (
            {},
            {"num_labels": 5},
            {"label_weights": [1.0, 2.0, 0.5, 0.0, 1.0]},
            {"thresholds": [0.2, 0.3]},
        )
    ),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5, 0.0, 1.0]}, GUESSES, ROWS),
    ("AUC", {"from_logits": True, "num_thresholds": 21}, (_bits, _numbers), FLAT),
    *(
        ("FBetaScore", {"average": a, "beta": 2.0, **m}, (_one_hot, _probabilities), ROWS)
        for a in (None, "micro", "macro", "weighted")
        for m in ({}, {"threshold": 0.2})
    ),
    ("F1Score", {"average": "macro"}, (_one_hot, _probabilities), ROWS),
    ("F1Score", {}, (_one_hot, _zeros), ROWS),
    (
        "IoU",
        {"num_classes": 5, "target_class_ids": [0, 3]},
        (_indices, _indices),
        [((8,), (8,)), ((4, 3), (4, 3))],
    ),
    (
        "IoU",
        {"num_classes": 4, "target_class_ids": [0, 1], "ignore_class": 1},
        (_indices, _indices),
        [((8,), (8,))],
    ),
    ("MeanIoU", {"num_classes": 5, "sparse_y_pred": False}, (_indices, _probabilities), [((8,), (8, 5))]),
    ("BinaryIoU", {"threshold": 0.3}, (_bits, _uniform), FLAT[:2]),
    ("OneHotIoU", {"num_classes": 5, "target_class_ids": [0, 2]}, (_one_hot, _probabilities), BOTH),
    ("OneHotMeanIoU", {"num_classes": 5}, (_one_hot, _probabilities), BOTH),
]
EACH = [(name, kwargs, makers, shape) for name, kwargs, makers, shapes in CASES for shape in shapes]
IDS = [f"{name}-{'-'.join(map(str, kwargs))}-{index}" for index, (name, kwargs, *_) in enumerate(EACH)]


def _outcomes(name, kwargs, batches):
    for module in (keras.metrics, metrics):
        metric = getattr(module, name)(**kwargs)
        results = []
        for y_true, y_pred, weight, mask in batches:
            prediction = torch.tensor(y_pred)
            if mask is not None:
                prediction._keras_mask = torch.tensor(mask)
            metric.update_state(torch.tensor(y_true), prediction, sample_weight=weight)
            results.append(metric.result().detach().numpy().copy())
        results += [variable.numpy().copy() for variable in metric.variables]
        metric.reset_state()
        assert not any(variable.numpy().any() for variable in metric.variables)
        yield results


def _compare(name, kwargs, batches):
    theirs, ours = _outcomes(name, kwargs, batches)
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        assert their.shape == our.shape and their.dtype == our.dtype
        np.testing.assert_allclose(our, their, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "kwargs", "makers", "shape"), EACH, ids=IDS)
def test_result(name, kwargs, makers, shape):
    batches = [(makers[0](*shape[0]), makers[1](*shape[1]), None, None) for _ in range(3)]
    _compare(name, kwargs, batches)


@pytest.mark.parametrize(("name", "kwargs", "makers", "shape"), EACH, ids=IDS)
def test_weighted(name, kwargs, makers, shape):
    samples, compared = shape[1][0], 0
    for weight_shape in sorted({(samples,), (samples, 1), shape[0], shape[1]}):
        weights = [RNG.random(weight_shape).astype("float32"), np.zeros(weight_shape, "float32")]
        if name.endswith("IoU"):
            weights = [RNG.integers(0, 4, weight_shape)]
        batches = [(makers[0](*shape[0]), makers[1](*shape[1]), weight, None) for weight in weights]
        try:
            next(_outcomes(name, kwargs, batches))
        except (RuntimeError, ValueError):
            continue  # Weights of this shape do not fit, to Keras's mind.
        _compare(name, kwargs, batches)
        compared += 1
    if not compared:
        pytest.skip("no weights fit")


@pytest.mark.parametrize(
    ("name", "makers", "shape"),
    [
        ("MeanSquaredError", NUMBERS, ((6, 4, 3), (6, 4, 3))),
        ("SparseCategoricalAccuracy", (_indices, _probabilities), ((6, 4), (6, 4, 5))),
        ("CategoricalCrossentropy", (_one_hot, _probabilities), ((6, 4, 5), (6, 4, 5))),
        ("SparseCategoricalCrossentropy", (_indices, _probabilities), ((6, 4), (6, 4, 5))),
    ],
)
def test_masked(name, makers, shape):
    masks = [RNG.random((6, 4)) > 0.4, np.zeros((6, 4), bool)]
    for weight in (None, RNG.random((6, 4)).astype("float32")):
        batches = [(makers[0](*shape[0]), makers[1](*shape[1]), weight, mask) for mask in masks]
        _compare(name, {}, batches)


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_reductions(name):
    values = [_numbers(6), _numbers(6, 3), np.float32(2.5), _numbers(4, 3, 2)]
    weights = [
        [None, RNG.random(6), 0.5],
        [None, RNG.random(6), RNG.random((6, 3)), RNG.random((6, 1)), 2],
        [None, 3.0, 4],
        [None, RNG.random(4), RNG.random((4, 3))],
    ]
    theirs, ours = getattr(keras.metrics, name)(), getattr(metrics, name)()
    for value, each in zip(values, weights, strict=True):
        for weight in each:
            weight = np.asarray(weight, "float32") if isinstance(weight, np.ndarray) else weight
            theirs.update_state(torch.tensor(value), weight)
            ours.update_state(torch.tensor(value), weight)
            np.testing.assert_allclose(ours.result().numpy(), theirs.result().numpy(), rtol=1e-5)
    for their, our in zip(theirs.variables, ours.variables, strict=True):
        np.testing.assert_allclose(our.numpy(), their.numpy(), rtol=1e-5)


@pytest.mark.parametrize(("name", "kwargs"), {(n, repr(k)): (n, k) for n, k, *_ in CASES}.values())
def test_config(name, kwargs):
    keras.utils.clear_session()
    theirs, ours = getattr(keras.metrics, name)(**kwargs), getattr(metrics, name)(**kwargs)
    wanted, config = theirs.get_config(), ours.get_config()
    for given in (wanted, config):
        given["name"] = given["name"].rstrip("_0123456789")
    if wanted.get("label_weights") is not None:
        wanted["label_weights"] = wanted["label_weights"].tolist()
    for key in ("axis", "from_sorted_ids"):
        if key not in wanted:
            config.pop(key, None)
    assert config == wanted
    assert type(ours).from_config(ours.get_config()).get_config() == ours.get_config()
    assert [v.path.split("/")[-1] for v in ours.variables] == [v.path.split("/")[-1] for v in theirs.variables]
    assert ours._direction == getattr(theirs, "_direction", None)


@pytest.mark.parametrize("name", sorted(keras.src.metrics.ALL_OBJECTS_DICT))
def test_get_by_name(name):
    assert metrics.NAMES[name].__name__ == keras.src.metrics.ALL_OBJECTS_DICT[name].__name__


def test_grid():
    """A part of the grid; `python -m tests.parity.grids` runs all of it."""
    sample("metrics", every=37)
