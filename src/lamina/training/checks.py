"""What is found out before the first step: data that does not fit the model, targets that do not fit the loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lamina import activations
from lamina.core import tree
from lamina.core.capture import is_ours
from lamina.core.errors import ArgumentError, DataError, ShapeError, warn_once
from lamina.core.text import is_text
from lamina.training.losses import CompiledLoss
from lamina.training.metrics import CompiledMetrics

Tensor = torch.Tensor
Shape = Sequence[Any]

# Losses that compare targets and predictions value by value, so that their shapes must be equal.
ELEMENTWISE = frozenset(
    {
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "log_cosh",
        "huber",
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "hinge",
        "squared_hinge",
        "poisson",
        "kl_divergence",
        "dice",
        "tversky",
    }
)
_OF_PROBABILITIES = {
    "BinaryAccuracy": "BinaryAccuracy(threshold=0.0)",
    "AUC": "AUC(from_logits=True)",
    **dict.fromkeys(
        "Precision Recall TruePositives TrueNegatives FalsePositives FalseNegatives SensitivityAtSpecificity "
        "SpecificityAtSensitivity PrecisionAtRecall RecallAtPrecision".split(),
        "it on outputs put through a sigmoid",
    ),
}
ONE_HOT = frozenset({"categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge"})


def check_inputs(model: Any, x: Any, where: str) -> None:
    """Compare a batch of inputs with what the model was made for.

    Args:
        model: the model; nothing is checked where its inputs are not known.
        x: the inputs of a batch.
        where: the method concerned.

    Raises:
        ShapeError: a shape does not fit; the message tells how to make it fit.
        DataError: the number of inputs is wrong, or text is given to a model that takes none.
    """
    _refuse_text(model, x, where)
    expected = getattr(model, "inputs", None)
    if not expected:
        return
    if isinstance(x, dict):
        return
    given = tree.flatten(x)
    if len(given) != len(expected):
        names = ", ".join(str(tensor.name) for tensor in expected)
        raise DataError(
            "The model has another number of inputs.",
            where=where,
            expected=f"{len(expected)} ({names})",
            received=f"{len(given)}",
            fix="np.stack(x) makes one array of a list of samples"
            if len(expected) == 1
            else f"give a list of {len(expected)} arrays, or a dict by these names",
        )
    takes_shape = getattr(model, "_takes_shape", None)
    for tensor, value in zip(expected, given, strict=True):
        if isinstance(value, (Tensor, np.ndarray)) and not _fits(value.shape, tensor.shape):
            if takes_shape is not None and takes_shape(value.shape):
                continue
            raise ShapeError(
                "The data does not have the shape the model expects.",
                where=f"{where}, input '{tensor.name}'",
                expected=tuple(tensor.shape),
                received=_batch_shape(value.shape),
                fix=_fix_for(value.shape, tensor.shape),
            )


def _refuse_text(model: Any, x: Any, where: str) -> None:
    """Refuse text where every layer is one of lamina's that wants numbers."""
    if not any(is_text(leaf) for leaf in tree.flatten(x)):
        return
    if not any(getattr(module, "takes_text", not is_ours(type(module))) for module in model.modules()):
        raise DataError(
            "x does not hold numbers.",
            where=where,
            received="text, which no layer of the model takes",
            fix="begin the model with a TextVectorization or StringLookup layer, and Input(..., dtype='string')",
        )


def _fits(shape: Shape, expected: Shape) -> bool:
    """Whether a shape fits, with a last axis of size one more or less."""
    shape = tuple(shape)
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(expected) and all(
        e is None or s == e for s, e in zip(shape[1:], expected[1:], strict=True)
    )


def _batch_shape(shape: Shape) -> str:
    return "(" + ", ".join(["samples", *map(str, shape[1:])]) + ("," if len(shape) == 1 else "") + ")"


def _fix_for(shape: Shape, expected: Shape) -> str | None:
    """What makes data of this shape fit."""
    sample, wanted = tuple(shape[1:]), tuple(expected[1:])
    known = None not in wanted
    if known and wanted and math.prod(sample) == math.prod(wanted):
        sizes = "x".join(map(str, sample))
        if len(wanted) == 1:
            return (
                f"{sizes} = {wanted[0]}: begin the model with a Flatten layer (and an Input of shape {sample}), "
                f"or reshape the data: x.reshape(len(x), {wanted[0]})"
            )
        if sorted(sample) == sorted(wanted) and sample[0] == wanted[-1] and len(sample) == 3:
            return "the channels come first in the data: x.transpose(0, 2, 3, 1) puts them last"
        return f"reshape the data: x.reshape(len(x), {', '.join(map(str, wanted))})"
    if tuple(shape) == wanted:
        counted = f"; if the model's Input counts the samples, make it Input(shape={sample})" if sample else ""
        return f"if this is a single sample, add the batch axis: x[None]{counted}"
    if len(sample) == len(wanted) - 1 and known and math.prod(sample) * wanted[-1] == math.prod(wanted):
        return f"the data lacks a last axis of size {wanted[-1]}"
    if len(sample) == len(wanted) == 1:
        return f"the model was made for {wanted[0]} features in a sample, the data has {sample[0]}"
    if len(sample) == len(wanted):
        return f"make the model for such samples, Input(shape={sample}), or change the data"
    return None


def loss_name(loss: Any) -> str:
    """The name of a loss's function, or "" for one of another kind."""
    return getattr(getattr(loss, "fn", None), "__name__", "")


def check_targets(compiled: CompiledLoss, y: Any, y_pred: Any, model: Any) -> None:
    """Compare a batch of targets with the outputs, for each loss that is known.

    Args:
        compiled: the losses, built.
        y: the targets of a batch.
        y_pred: the outputs, or symbolic tensors of their shapes.
        model: the model, whose last activations are looked at.

    Raises:
        ShapeError: the shapes cannot be compared, or only by mistake.
        ArgumentError: the loss cannot work with the last activation.
    """
    if compiled.outputs is None:
        return
    predictions = compiled.outputs.pick(y_pred)
    targets = compiled.lay_out(y, "y")
    for index, loss, _ in compiled.entries:
        name, prediction, target = loss_name(loss), predictions[index], targets[index]
        output = compiled.outputs.names[index]
        if prediction is None:
            raise DataError(
                "call() returns None for an output that has a loss.",
                where=f"model '{model.name}'",
                fix="return the result: def call(self, x): return self.dense(x)",
            )
        where = f"y and the output {output}" if output and compiled.outputs.count > 1 else "y and the model's output"
        if name and getattr(loss, "_fn_kwargs", {}).get("axis", -1) in (-1, None):
            _check_activation(name, loss, prediction, _last_activation(model, index))
            if isinstance(target, Tensor):
                _check_shapes(name, tuple(target.shape), tuple(prediction.shape), where)


def _check_shapes(name: str, target: Shape, prediction: Shape, where: str) -> None:
    if not prediction or not target:
        return
    classes = prediction[-1]
    if _keeps_axes(name, target, prediction):
        raise ShapeError(
            "The output has axes that the targets do not have.",
            where=f"{where}, loss {name}",
            expected=f"an output of shape (samples, {classes})",
            received=f"{_batch_shape(prediction)} with targets {_batch_shape(target)}",
            fix="put a Flatten() or a global pooling layer before the last layer; a recurrent layer before it needs "
            "return_sequences=False",
        )
    if name == "sparse_categorical_crossentropy":
        if len(target) == len(prediction) and target[-1] == classes and classes != 1:
            raise ShapeError(
                "The targets look one-hot encoded, but the loss wants class numbers.",
                where=where,
                expected=_batch_shape(prediction[:-1]),
                received=_batch_shape(target),
                fix='use loss="categorical_crossentropy", or y.argmax(-1)',
            )
        return
    if name not in ELEMENTWISE:
        return
    if len(target) == len(prediction) + 1 and target[-1] == 1:
        target = target[:-1]
    elif len(target) == len(prediction) - 1 and prediction[-1] == 1:
        target = (*target, 1)
    same = len(target) == len(prediction) and all(
        p is None or t == p for t, p in zip(target[1:], prediction[1:], strict=True)
    )
    if same:
        return
    fix = f"give the last layer as many units as the targets have columns ({target[-1] if len(target) > 1 else 1})"
    if name in ONE_HOT and (len(target) == len(prediction) - 1 or target[-1] == 1):
        fix = 'class numbers need loss="sparse_categorical_crossentropy" (or to_categorical(y))'
    raise ShapeError(
        "Targets and outputs differ in shape.",
        where=f"{where}, loss {name}",
        expected=_batch_shape(prediction),
        received=_batch_shape(target),
        fix=fix,
    )


def _keeps_axes(name: str, target: Shape, prediction: Shape) -> bool:
    """Whether the output has one row for each of several places of a sample, where the targets have one in all."""
    if len(prediction) < 3 or len(target) > 2 or name not in ELEMENTWISE | {"sparse_categorical_crossentropy"}:
        return False
    if len(target) < len(prediction) - 1:
        return True
    is_row = target[-1] == 1 or (name in ELEMENTWISE and target[-1] == prediction[-1])
    return len(target) == len(prediction) - 1 and is_row and target[-1] != prediction[-2]


def _last_activation(model: Any, index: int) -> str | None:
    """The name of the activation that makes an output, where it can be told."""
    outputs = getattr(model, "outputs", None)
    layer: Any = None
    if outputs is not None and index < len(outputs):
        layer = outputs[index]._keras_history.operation
    elif getattr(model, "layers", None) and type(model).__name__ == "Sequential":
        layer = model.layers[-1]
    if type(layer).__name__ == "Softmax":
        return "softmax"
    activation = getattr(layer, "activation", None)
    for name in ("linear", "sigmoid", "softmax", "relu", "tanh"):
        if activation is getattr(activations, name):
            return name
    return None


def _check_activation(name: str, loss: Any, prediction: Any, activation: str | None) -> None:
    """Losses that cannot work after some activation, or hardly were meant to."""
    units = prediction.shape[-1] if len(prediction.shape) else None
    from_logits = getattr(loss, "_fn_kwargs", {}).get("from_logits", False)
    if "crossentropy" in name and units == 1 and (activation == "softmax" or (name in ONE_HOT and not from_logits)):
        raise ArgumentError(
            f"{name} cannot learn from one unit with {activation or 'this'} activation: its value never changes.",
            where="compile(loss=...)",
            fix='for two classes use Dense(1, activation="sigmoid") with loss="binary_crossentropy", '
            'or Dense(2, activation="softmax") with loss="sparse_categorical_crossentropy"',
        )
    if "crossentropy" in name and not from_logits and activation in ("linear", "tanh", "relu"):
        wanted = "sigmoid" if "binary" in name else "softmax"
        warnings.warn(
            f'{name} expects probabilities, but the last layer has the activation "{activation}": use '
            f'activation="{wanted}" there, or the loss with from_logits=True.',
            stacklevel=4,
        )


def check_values(compiled: CompiledLoss, y: Any, y_pred: Any) -> None:
    """Look through all targets in memory, once: for NaN, and for class numbers there is no unit for.

    Args:
        compiled: the losses, built.
        y: all targets.
        y_pred: the outputs, or symbolic tensors of their shapes.

    Raises:
        DataError: such values are found.
    """
    if compiled.outputs is None:
        return
    predictions = compiled.outputs.pick(y_pred)
    targets = compiled.lay_out(y, "y")
    for index, loss, _ in compiled.entries:
        target, name = targets[index], loss_name(loss)
        if not isinstance(target, Tensor) or not name or not target.numel():
            continue
        part = "y" if compiled.outputs.count == 1 else f"y[{compiled.outputs.names[index] or index!r}]"
        if target.is_floating_point() and name in ELEMENTWISE | {"sparse_categorical_crossentropy"}:
            _refuse_nan(target, part)
        if name == "binary_crossentropy":
            _warn_beyond_one(target, name, part)
        if name == "sparse_categorical_crossentropy":
            _refuse_labels(target, predictions[index].shape[-1], loss._fn_kwargs.get("ignore_class"), part)


def check_metrics(compiled: CompiledMetrics, loss: CompiledLoss, y: Any) -> None:
    """Warn, once for all of the targets in memory, of metrics that say nothing about these targets or outputs.

    Args:
        compiled: the metrics, built.
        loss: the losses, built.
        y: all targets.
    """
    if compiled.outputs is None or loss.outputs is None:
        return
    targets = loss.lay_out(y, "y")
    of_logits = {i for i, part, _ in loss.entries if getattr(part, "_fn_kwargs", {}).get("from_logits", False)}
    for index, metric, _, name in compiled.entries:
        kind, target = type(metric).__name__, targets[index]
        if index in of_logits and kind in _OF_PROBABILITIES and _takes_probabilities(metric):
            warn_once(
                f"The metric {name} compares outputs with thresholds between 0 and 1, but by the loss they are logits: "
                f"use {_OF_PROBABILITIES[kind]}, or a last layer with a sigmoid and the loss without from_logits."
            )
        if kind == "BinaryAccuracy" and isinstance(target, Tensor) and target.is_floating_point() and target.numel():
            other = target[(target != 0) & (target != 1)]
            if other.numel() == target.numel():
                warn_once(
                    f"The metric {name} counts outputs on the side of 0 or 1 that y is on, but y holds neither, but "
                    f'values like {float(other[0]):g}: for numbers use "mae".'
                )


def _takes_probabilities(metric: Any) -> bool:
    """Whether it was not told that it will get logits."""
    return not getattr(metric, "from_logits", False) and getattr(metric, "threshold", 0.5) == 0.5


def _refuse_nan(target: Tensor, part: str) -> None:
    # A sum is NaN if any value is; only then is it worth counting.
    if not torch.isnan(target.sum()):
        return
    rows = torch.isnan(target).reshape(target.shape[0], -1).any(1)
    count = int(rows.sum())
    if count:
        raise DataError(
            f"{part} holds NaN, which would make every weight NaN.",
            where=f"{count} of {len(rows)} samples, the first at index {int(rows.nonzero()[0])}",
            fix="drop those samples, or fill in the missing values",
        )


def _refuse_labels(labels: Tensor, classes: int | None, ignored: int | None, part: str) -> None:
    if classes is None:
        return
    if ignored is not None:
        labels = labels[labels != ignored]
    if not labels.numel():
        return
    broken = labels[labels != labels.round()] if labels.is_floating_point() else labels[:0]
    if broken.numel():
        raise DataError(
            f"{part} holds {float(broken[0]):g}, which is no class number.",
            where="sparse_categorical_crossentropy",
            expected=f"whole numbers from 0 to {classes - 1}",
            fix='for numbers of any size use a loss of regression, such as loss="mse"',
        )
    low, high = (float(bound) for bound in labels.aminmax())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(
            f"{part} holds the class number {wrong:g}, but the model has {classes} classes.",
            where="sparse_categorical_crossentropy",
            expected=f"0 to {classes - 1}",
            received=f"{low:g} to {high:g}",
            fix=_fix_for_labels(low, high, classes),
        )


def _fix_for_labels(low: float, high: float, classes: int) -> str:
    if low < 0:
        return "number the classes from 0; to leave labels out of the loss, use ignore_class"
    if classes == 1:
        return 'one unit with a sigmoid needs loss="binary_crossentropy"; this loss needs a unit for each class'
    fix = f"give the last layer {int(high) + 1} units"
    return f"number the classes from 0 (y - {low:g}), or {fix}" if high - low < classes else fix


def _warn_beyond_one(target: Tensor, name: str, part: str) -> None:
    low, high = (float(bound) for bound in target.aminmax())
    if low < 0 or high > 1:
        warnings.warn(
            f"{part} holds values from {low:g} to {high:g}, but {name} expects 0 to 1: scale it, or for class numbers "
            'use loss="sparse_categorical_crossentropy" with a unit for each class.',
            stacklevel=5,
        )


def warn_of_nan(x: Any) -> bool:
    """Warn of NaN or infinity among all inputs in memory: hardly a model gives anything but NaN for them."""
    found = False
    for path, leaf in tree.flatten_with_path(x):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or torch.isfinite(leaf.sum()):
            continue
        rows = ~torch.isfinite(leaf).reshape(leaf.shape[0], -1).all(1)
        count = int(rows.sum())
        if count:
            found = True
            part = "x" + "".join(f"[{step!r}]" for step in path)
            warnings.warn(
                f"{part} holds NaN or infinity in {count} of {len(rows)} samples, the first at index "
                f"{int(rows.nonzero()[0])}: fill in or drop these values, or the loss becomes NaN.",
                stacklevel=4,
            )
    return found


def warn_of_lost_loss(model: Any, logs: Mapping[str, Any]) -> None:
    """Warn, once in a training, if the loss of an epoch is NaN or infinite, and name the likely cause.

    Args:
        model: the model.
        logs: the results of the epoch.
    """
    loss = logs.get("loss")
    compiled = model._compiled
    losses = None if compiled is None else compiled.loss
    if not isinstance(loss, (int, float)) or math.isfinite(loss) or (losses is not None and losses.explained):
        return
    if losses is not None:
        losses.explained = True
    lost = [str(weight.path) for weight in model.weights if weight.is_floating_point() and not weight.isfinite().all()]
    rate = getattr(model.optimizer, "learning_rate", None) if model.optimizer is not None else None
    dtype = getattr(getattr(model, "dtype_policy", None), "compute_dtype", None)
    if dtype == "float16":
        cause = "float16 overflows soon: use the policy mixed_bfloat16"
    elif lost and rate is not None and float(rate) >= 1e-3:
        cause = f"the learning rate {float(rate):g} may be too large, or a gradient: try a tenth of it, or clipnorm=1.0"
    else:
        cause = "a logarithm or root of what is not positive, or a division by 0, in a layer or the loss"
    found = f", and so are {len(lost)} of {len(model.weights)} weights, the first {lost[0]}" if lost else ""
    warnings.warn(
        f"The loss is {loss}{found}. Likely: {cause}; or x or y hold NaN. "
        "torch.autograd.set_detect_anomaly(True) and run_eagerly=True find the place.",
        stacklevel=4,
    )
