"""Every metric over its arguments, weights, masks and inputs of all sorts: results and state of several updates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from tests.parity.grids import Case

from lamina import metrics

PACKAGES = (metrics, keras.metrics)
METHODS = ("interpolation", "minoring", "majoring")
LABEL_WEIGHTS = (None, [1.0, 2.0, 0.5, 0.0])
SMOOTH = (0.0, 0.3)
BOTH = (True, False)
AT = {"num_thresholds": (200, 1, 7), "class_id": (None, 2)}

# Family of inputs, and the values of each argument, for each class.
GRID: list[tuple[str, str, dict[str, tuple[Any, ...]]]] = [
    ("Accuracy", "indices", {}),
    ("BinaryAccuracy", "bits", {"threshold": (0.5, 0.25, 0.0)}),
    ("CategoricalAccuracy", "classes", {}),
    ("SparseCategoricalAccuracy", "sparse", {}),
    ("TopKCategoricalAccuracy", "classes", {"k": (1, 2, 9)}),
    ("SparseTopKCategoricalAccuracy", "sparse", {"k": (1, 2)}),
    ("SparseTopKCategoricalAccuracy", "ranked", {"k": (1, 2), "from_sorted_ids": (True,)}),
    *((name, "numbers", {}) for name in ("MeanSquaredError", "MeanAbsoluteError", "RootMeanSquaredError")),
    *((name, "numbers", {}) for name in ("MeanAbsolutePercentageError", "LogCoshError")),
    *((name, "bits", {}) for name in ("MeanSquaredLogarithmicError", "Poisson", "Hinge", "SquaredHinge")),
    *((name, "classes", {}) for name in ("KLDivergence", "CategoricalHinge")),
    ("CosineSimilarity", "numbers", {"axis": (-1, 1)}),
    ("PearsonCorrelation", "numbers", {"axis": (-1,)}),
    ("ConcordanceCorrelation", "numbers", {"axis": (-1,)}),
    (
        "R2Score",
        "numbers",
        {
            "class_aggregation": (None, "uniform_average", "variance_weighted_average"),
            "num_regressors": (0, 2, 100),
        },
    ),
    ("BinaryCrossentropy", "bits", {"label_smoothing": SMOOTH}),
    ("BinaryCrossentropy", "numbers", {"from_logits": (True,), "label_smoothing": SMOOTH}),
    ("CategoricalCrossentropy", "classes", {"label_smoothing": SMOOTH, "from_logits": BOTH, "axis": (-1, 1)}),
    ("SparseCategoricalCrossentropy", "sparse", {"from_logits": BOTH, "ignore_class": (None, 1)}),
    *(
        (name, "bits", {"thresholds": (None, 0.3, [0.0, 0.5, 1.0], [0.2, 0.7])})
        for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")
    ),
    *(
        (name, "bits", {"thresholds": (None, 0.3, [0.2, 0.7]), "top_k": (None, 2), "class_id": (None, 1)})
        for name in ("Precision", "Recall")
    ),
    ("SensitivityAtSpecificity", "bits", {"specificity": (0.0, 0.6, 1.0), **AT}),
    ("SpecificityAtSensitivity", "bits", {"sensitivity": (0.0, 0.6, 1.0), **AT}),
    ("PrecisionAtRecall", "bits", {"recall": (0.0, 0.6, 1.0), **AT}),
    ("RecallAtPrecision", "bits", {"precision": (0.0, 0.6, 1.0), **AT}),
    (
        "AUC",
        "bits",
        {
            "curve": ("ROC", "PR", "PRGAIN"),
            "summation_method": METHODS,
            "num_thresholds": (200, 3),
            "label_weights": LABEL_WEIGHTS,
        },
    ),
    (
        "AUC",
        "bits",
        {
            "curve": ("ROC", "PR"),
            "summation_method": METHODS,
            "multi_label": (True,),
            "num_labels": (None, 4),
            "label_weights": LABEL_WEIGHTS,
        },
    ),
    ("AUC", "bits", {"curve": ("ROC", "PR"), "thresholds": ([0.5], [0.1, 0.4, 0.45]), "multi_label": BOTH}),
    ("AUC", "numbers", {"from_logits": (True,), "num_thresholds": (20,)}),
    (
        "FBetaScore",
        "classes",
        {"average": (None, "micro", "macro", "weighted"), "beta": (0.5, 2.0), "threshold": (None, 0.4)},
    ),
    ("F1Score", "classes", {"average": (None, "micro", "macro", "weighted"), "threshold": (None, 0.4)}),
    ("IoU", "indices", {"num_classes": (4,), "target_class_ids": ([0], [1, 3]), "ignore_class": (None, 1)}),
    ("MeanIoU", "indices", {"num_classes": (4, 6), "ignore_class": (None, 0)}),
    ("MeanIoU", "sparse", {"num_classes": (4,), "sparse_y_pred": (False,)}),
    ("BinaryIoU", "bits", {"target_class_ids": ([0], [1], [0, 1]), "threshold": (0.5, 0.3)}),
    ("OneHotIoU", "classes", {"num_classes": (4,), "target_class_ids": ([0, 2],), "ignore_class": (None, 1)}),
    ("OneHotMeanIoU", "classes", {"num_classes": (4,)}),
]
KINDS = ("random", "zeros", "ones", "constant", "perfect", "single", "nan", "3d")
WEIGHTS = ("none", "rows", "column", "each", "zeros", "whole")


def inputs(family: str, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions of a family, made awkward in one way."""
    rng = np.random.default_rng(seed)
    rows = 1 if kind == "single" else 5 + seed
    shape = (rows, 3, 4) if kind == "3d" else (rows, 4)
    index = rng.integers(0, 4, shape[:-1])
    y_pred = rng.normal(size=shape) if family == "numbers" else rng.integers(0, 21, shape) / 20
    y_true = rng.normal(size=shape) if family == "numbers" else rng.integers(0, 2, shape).astype(float)
    if family in ("sparse", "classes"):
        y_pred = rng.random(shape) + 0.05
        y_pred /= y_pred.sum(-1, keepdims=True)
        y_true = index if family == "sparse" else np.eye(4)[index]
    elif family in ("indices", "ranked"):
        y_true, y_pred = index, rng.integers(0, 4, index.shape if family == "indices" else shape)
    if kind in ("zeros", "ones"):
        y_true, y_pred = y_true * 0 + (kind == "ones"), y_pred * 0 + (kind == "ones")
    elif kind == "constant":
        y_pred = y_pred * 0 + (1 if y_pred.dtype.kind == "i" else 0.5)
    elif kind == "perfect" and y_true.shape == y_pred.shape:
        y_pred = y_true
    elif kind == "nan" and y_pred.dtype.kind == "f":
        y_pred.flat[1] = np.nan
    y_true = y_true.astype("int64" if family in ("indices", "ranked", "sparse") else "float32")
    return y_true, y_pred.astype("float32" if y_pred.dtype.kind == "f" else "int64")


def weight_of(kind: str, y_true: np.ndarray, y_pred: np.ndarray, seed: int) -> Any:
    """Sample weights of a kind."""
    rng = np.random.default_rng(seed)
    shapes = {"rows": y_true.shape[:1], "column": (len(y_true), 1), "each": y_true.shape, "zeros": y_true.shape[:1]}
    if kind == "none":
        return None
    if kind == "whole":
        return rng.integers(0, 3, y_true.shape[:1])
    return rng.random(shapes[kind]).astype("float32") * (kind != "zeros")


def runner(name: str, options: dict[str, Any], data: list[Any], mask: bool) -> Callable[[Any], list[np.ndarray]]:
    def run(package: Any) -> list[np.ndarray]:
        metric = getattr(package, name)(**options)
        found: list[Any] = []
        for y_true, y_pred, weight in data:
            prediction = torch.tensor(y_pred)
            if mask:
                kept = torch.arange(prediction[..., 0].numel()).reshape(y_pred.shape[:-1]) % 3 > 0
                prediction._keras_mask = kept  # type: ignore[attr-defined]
            metric.update_state(torch.tensor(y_true), prediction, sample_weight=weight)
            found.append(metric.result().detach().numpy().copy())
        found += [variable.numpy().copy() for variable in metric.variables]
        again = type(metric).from_config(metric.get_config())
        y_true, y_pred, weight = data[-1]
        state = [torch.as_tensor(variable.numpy().copy()) for variable in metric.variables]
        metric.reset_state()
        for each in (metric, again):
            each.update_state(torch.tensor(y_true), torch.tensor(y_pred), sample_weight=weight)
            found.append(each.result().detach().numpy().copy())
        found.append(metric.stateless_result(state).detach().numpy().copy())
        return found

    return run


def cases() -> Iterator[Case]:
    """All cells of the grid."""
    for name, family, arguments in GRID:
        sets = [dict(zip(arguments, values, strict=True)) for values in itertools.product(*arguments.values())]
        for options, kind, weights in itertools.product(sets, KINDS, WEIGHTS):
            pairs = [inputs(family, kind, seed) for seed in range(3)]
            data = [(*pair, weight_of(weights, *pair, seed)) for seed, pair in enumerate(pairs)]
            words = ", ".join(f"{key}={value!r}" for key, value in options.items())
            label = f"{name}({words}) {family}, {kind}, weights {weights}"
            yield Case(label, runner(name, options, data, False), 2e-5, 2e-5)
            if kind in ("random", "3d") and weights in ("none", "rows"):
                yield Case(f"{label}, masked", runner(name, options, data, True), 2e-5, 2e-5)
        for dtype in ("float16", "float64", "bfloat16"):
            data = [(*inputs(family, "random", seed), None) for seed in range(2)]
            close = 2e-5 if dtype == "float64" else 2e-2
            given = {**sets[0], "dtype": dtype}
            yield Case(f"{name}(dtype={dtype!r}) {family}", runner(name, given, data, False), close, close)


DELIBERATE: dict[str, str] = {
    r"dtype='float64'.* is float64": "The dtype asked for is kept.",
    r"k=9.*only keras refuses": "Fewer classes than k: all of them count, as in earlier versions of Keras.",
    r"only keras refuses: .*output with shape": "Keras on torch multiplies weights in place, without broadcasting.",
    r"CosineSimilarity\(axis=1.*result 6": "Keras leaves the axis out of the config.",
    r"At[A-Z]\w+\(.*weights (rows|column|each)": "Counts that Keras takes from differences miss 0 or 1 a little.",
    r"(AUC|At[A-Z]\w+)\(.* nan": "NaN counts as the least prediction; Keras loses it.",
    r"IoU\(dtype='bfloat16'.*only keras refuses": "Keras on torch cannot make its target classes bfloat16.",
}
"""Patterns of "case: difference", and why lamina does otherwise."""
