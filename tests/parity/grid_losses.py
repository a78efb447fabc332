"""Every loss over its arguments, reductions, weights, masks, dtypes and inputs of all sorts: values and gradients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import torch
from tests.parity.grids import Case

from lamina import losses

PACKAGES = (losses, keras.losses)
REDUCTIONS = ("sum_over_batch_size", "mean_with_sample_weight", "sum", None)
SMOOTH = (0.0, 0.3)
BOTH = (False, True)

# Family of inputs and shape of y_pred, and the values of each argument, for each class.
GRID: list[tuple[str, str, dict[str, tuple[Any, ...]]]] = [
    *((name, "numbers", {}) for name in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError")),
    *((name, "counts", {}) for name in ("MeanSquaredLogarithmicError", "Poisson")),
    ("LogCosh", "numbers", {}),
    ("Huber", "numbers", {"delta": (1.0, 0.1, 5.0)}),
    ("CosineSimilarity", "numbers", {"axis": (-1, 0, 1)}),
    ("KLDivergence", "classes", {}),
    *((name, family, {}) for name in ("Hinge", "SquaredHinge") for family in ("bits", "signs")),
    ("CategoricalHinge", "class scores", {}),
    ("BinaryCrossentropy", "bits", {"label_smoothing": SMOOTH, "axis": (-1, 0)}),
    ("BinaryCrossentropy", "bit scores", {"from_logits": (True,), "label_smoothing": SMOOTH}),
    ("BinaryFocalCrossentropy", "bits", {"apply_class_balancing": BOTH, "alpha": (0.25, 0.7), "gamma": (2.0, 0.0)}),
    ("BinaryFocalCrossentropy", "bit scores", {"from_logits": (True,), "gamma": (1.0,), "label_smoothing": SMOOTH}),
    ("CategoricalCrossentropy", "classes", {"label_smoothing": SMOOTH, "axis": (-1, 1)}),
    ("CategoricalCrossentropy", "class scores", {"from_logits": (True,), "label_smoothing": SMOOTH}),
    ("CategoricalFocalCrossentropy", "classes", {"alpha": (0.25, 0.8), "gamma": (2.0, 0.5), "label_smoothing": SMOOTH}),
    ("CategoricalFocalCrossentropy", "class scores", {"from_logits": (True,), "axis": (-1,)}),
    ("SparseCategoricalCrossentropy", "indices", {"ignore_class": (None, 1, -1)}),
    ("SparseCategoricalCrossentropy", "index scores", {"from_logits": (True,), "ignore_class": (None, 0)}),
    ("CategoricalGeneralizedCrossEntropy", "indices", {"q": (0.5, 0.1, 0.9)}),
    ("Dice", "bits", {"axis": (None, -1, (1,))}),
    ("Tversky", "bits", {"alpha": (0.5, 0.2), "beta": (0.5, 0.9), "axis": (None, -1)}),
    ("Circle", "embeddings", {"gamma": (80.0, 5.0), "margin": (0.4, 0.1), "remove_diagonal": BOTH}),
    ("CTC", "sequences", {}),
]
KINDS = ("random", "zeros", "one class", "constant", "extreme", "nan", "equal", "single")
SHAPES = ((5, 4), (3, 2, 4))
DTYPES = ("float16", "bfloat16", "float64")


def inputs(family: str, kind: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions of a family, made awkward in one way."""
    rng = np.random.default_rng(len(family) * 100 + KINDS.index(kind))
    if kind == "single":
        shape = (1, *shape[1:])
    classes = shape[-1]
    scores = "scores" in family or family in ("numbers", "signs")
    y_pred = rng.normal(size=shape) if scores else rng.random(shape) * 0.9 + 0.05
    if family in ("classes", "indices"):
        y_pred /= y_pred.sum(-1, keepdims=True)
    index = rng.integers(0, classes, shape[:-1])
    y_true = {
        "numbers": rng.normal(size=shape),
        "counts": rng.integers(0, 5, shape).astype(float),
        "signs": rng.integers(0, 2, shape) * 2.0 - 1,
        "indices": index,
        "index scores": index,
        "classes": np.eye(classes)[index],
        "class scores": np.eye(classes)[index],
    }.get(family, rng.integers(0, 2, shape).astype(float))
    if kind == "zeros":
        y_true, y_pred = y_true * 0, y_pred * 0
    elif kind == "one class":
        y_true = np.eye(classes)[index * 0] if "class" in family else y_true * 0 + (0 if "ind" in family else 1)
    elif kind == "constant":
        y_pred = y_pred * 0 + 0.5
    elif kind == "extreme":
        y_pred = np.where(y_pred > np.median(y_pred), 1e4, -1e4) if scores else np.round(y_pred)
    elif kind == "nan":
        y_pred.flat[1] = np.nan
    elif kind == "equal" and y_true.shape == y_pred.shape:
        y_pred = y_true.astype(float)
    return y_true.astype("int64" if "ind" in family else "float32"), y_pred.astype("float32")


def special(family: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the two losses that take their own kind."""
    rng = np.random.default_rng(KINDS.index(kind))
    if family == "embeddings":
        y_pred = rng.normal(size=(1 if kind == "single" else 6, 3))
        y_pred = np.ones_like(y_pred) if kind == "constant" else y_pred
        y_true = rng.integers(0, 3, len(y_pred)) * (kind not in ("zeros", "one class"))
        return y_true, (y_pred / np.linalg.norm(y_pred, axis=-1, keepdims=True)).astype("float32")
    y_true = rng.integers(0 if kind == "random" else 1, 4, (3, 4)) * (kind != "zeros")
    return y_true, (rng.normal(size=(3, 9, 5)) * (100 if kind == "extreme" else kind != "constant")).astype("float32")


def runner(name: str, options: dict[str, Any], data: tuple[Any, Any], weight: Any, mask: Any) -> Any:
    def run(package: Any) -> list[np.ndarray]:
        loss = getattr(package, name)(**options)
        prediction = torch.tensor(data[1], requires_grad=True)
        seen = prediction.clone()
        if mask is not None:
            seen._keras_mask = torch.tensor(mask)  # type: ignore[attr-defined]
        value = loss(torch.tensor(data[0]), seen, sample_weight=weight)
        value.sum().backward()
        assert prediction.grad is not None
        return [value.detach().double().numpy(), prediction.grad.numpy(), np.asarray(str(value.dtype))]

    return run


def weightings(shape: tuple[int, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Weights and masks for losses of a shape, with their names."""
    rng = np.random.default_rng(7)
    weights = {"none": None, "each": rng.random(shape).astype("float32"), "zeros": np.zeros(shape, "float32")}
    yield "weights number", np.float32(0.5), None
    if len(shape) > 1:
        yield "weights column", rng.random((shape[0], 1)).astype("float32"), None
    masks = {"none": None, "some": rng.random(shape) > 0.4, "nothing": np.zeros(shape, bool)}
    for (weight_name, weight), (mask_name, mask) in itertools.product(weights.items(), masks.items()):
        yield f"weights {weight_name}, mask {mask_name}", weight, mask


def cases() -> Iterator[Case]:
    """All cells of the grid."""
    for name, family, arguments in GRID:
        own = family in ("embeddings", "sequences")
        sets = [dict(zip(arguments, values, strict=True)) for values in itertools.product(*arguments.values())]
        for options, kind, shape in itertools.product(sets, KINDS, SHAPES[: 1 if own else 2]):
            data = special(family, kind) if own else inputs(family, kind, shape)
            each = data[1].shape[:1] if own else data[1].shape[:-1]
            label = f"{family}, {kind}, {len(shape)}d"
            for reduction, (weighting, weight, mask) in itertools.product(REDUCTIONS, weightings(each)):
                given = {**options, "reduction": reduction}
                yield Case(
                    f"{name}({_words(given)}) {label}, {weighting}", runner(name, given, data, weight, mask), 2e-4, 2e-6
                )
            for dtype in DTYPES if kind in ("random", "extreme", "zeros") else ():
                given = {**options, "dtype": dtype}
                close = {"float16": 4e-3, "bfloat16": 3e-2}.get(dtype, 2e-5)
                yield Case(f"{name}({_words(given)}) {label}", runner(name, given, data, None, None), close, close)


def _words(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


DELIBERATE: dict[str, str] = {
    r"only keras refuses: .*output with shape": "Keras on torch multiplies weights in place, without broadcasting.",
    r"from_logits.* nan, .*only keras refuses": "torch checks probabilities on the CPU; elsewhere the answer is NaN.",
    r"dtype='float64'.* is torch.float64|CTC\(dtype='float64'.* extreme": "The dtype asked for is kept.",
    r"Generalized.*(: result 1| nan, .*: result 0)": "No NaN from a probability of 0, or from that of another class.",
    r"Huber.*float16.* extreme": "No overflow of squares in 16 bits.",
    r"Sparse.*from_logits.*float16.* extreme": "No overflow of a sum in 16 bits.",
    r"CosineSimilarity.*(zeros.*nan|float16)": "No NaN for zeros, and no overflow of squares in 16 bits.",
    r"FocalCrossentropy.*from_logits.* extreme": "The loss of a logit is exact; Keras caps it.",
}
"""Patterns of "case: difference", and why lamina does otherwise."""
