"""Losses of classes: crossentropy between labels, or class indices, and probabilities or logits.

Probabilities that come from a softmax or sigmoid carry the logits they were made of; the loss is then computed from
those, exactly and in one torch call, and not from the rounded probabilities.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from lamina.core import config
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentTypeError, DataError, ShapeError, warn_once
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import MEANS, LossFunctionWrapper, Tensor, align_ranks, made_by, mismatch, overall, tensors

_IGNORE_NONE = -(2**62)


def logits_of(y_pred: Tensor, activation: str, axis: int = -1) -> Tensor | None:
    """The logits that predictions were made of by this activation over this axis, or None when that is not known."""
    logits = getattr(y_pred, "_keras_logits", None)
    if logits is None or logits.shape != y_pred.shape:
        return None
    if made_by(y_pred) != activation or (activation == "softmax" and axis not in (-1, y_pred.dim() - 1)):
        return None
    return logits


def _warn_of_logits(y_pred: Tensor) -> None:
    if hasattr(y_pred, "_keras_logits"):
        warn_once("A loss has from_logits=True, but the outputs come from a softmax or sigmoid: they are no logits.")


def clipped(probabilities: Tensor) -> Tensor:
    """Probabilities kept epsilon away from 0 and 1."""
    epsilon = config.epsilon()
    return probabilities.clamp(epsilon, 1.0 - epsilon)


def _check_axis(axis: Any) -> None:
    if isinstance(axis, bool):
        raise ArgumentTypeError("The axis is no whole number.", where="axis", expected="int", received=repr(axis))


def binary_terms(y_true: Tensor, y_pred: Tensor, from_logits: bool, label_smoothing: float, reduction: str) -> Tensor:
    """Binary crossentropy per element, or its mean."""
    if y_true.shape != y_pred.shape:
        y_true, y_pred = align_ranks(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise mismatch(y_true, y_pred, "binary crossentropy takes one target in [0, 1] per prediction")
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        _warn_of_logits(y_pred)
    logits = y_pred if from_logits else logits_of(y_pred, "sigmoid")
    if logits is not None:
        return F.binary_cross_entropy_with_logits(logits, y_true, reduction=reduction)
    return F.binary_cross_entropy(clipped(y_pred), y_true, reduction=reduction)


def _mean_binary(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor | None:
    if not y_pred.numel() or isinstance(axis, (list, tuple)):
        return None
    return binary_terms(y_true, y_pred, from_logits, label_smoothing, "mean")


@builtin("keras.losses")
@overall(_mean_binary)
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """The mean over an axis of -y_true·log(y_pred) - (1 - y_true)·log(1 - y_pred).

    Args:
        y_true: labels in [0, 1], shape (batch, ..., d).
        y_pred: probabilities, or logits, of the same shape.
        from_logits: whether y_pred are logits.
        label_smoothing: in [0, 1]: how far labels are moved towards 0.5.
        axis: the axis to take the mean over.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        tensor([0.6931])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    return binary_terms(y_true, y_pred, from_logits, label_smoothing, "none").mean(axis)


def check_one_hot(y_true: Tensor, y_pred: Tensor, axis: int) -> None:
    """Raise an error unless labels and predictions have one shape; warn of a single class."""
    _check_axis(axis)
    if y_true.shape != y_pred.shape or y_pred.dim() < 1:
        raise mismatch(
            y_true,
            y_pred,
            "for integer labels use sparse_categorical_crossentropy; for this loss make them one-hot vectors, "
            "as long as there are classes",
        )
    if y_pred.shape[-1] == 1:
        warn_once(
            f"Categorical crossentropy of a single class (y_pred of shape {tuple(y_pred.shape)}) is always 0; "
            "for two classes with one output use binary_crossentropy.",
            SyntaxWarning,
        )


def _categorical(
    y_true: Tensor, y_pred: Tensor, from_logits: bool, label_smoothing: float, axis: int, reduction: str
) -> Tensor:
    """Categorical crossentropy per sample, or its mean."""
    check_one_hot(y_true, y_pred, axis)
    if from_logits:
        _warn_of_logits(y_pred)
    logits = y_pred if from_logits else logits_of(y_pred, "softmax", axis)
    last = axis in (-1, y_pred.dim() - 1)
    if label_smoothing and not (last and logits is not None):
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
        label_smoothing = 0.0
    if logits is None:
        probabilities = clipped(y_pred / y_pred.sum(axis, keepdim=True))
        losses = -(y_true * probabilities.log()).sum(axis)
        return losses.mean() if reduction == "mean" else losses
    if not last:
        logits, y_true = logits.movedim(axis, -1), y_true.movedim(axis, -1)
    rows = y_true.shape[:-1]
    if len(rows) > 1:
        logits, y_true = logits.flatten(0, -2), y_true.flatten(0, -2)
    losses = F.cross_entropy(logits, y_true, reduction=reduction, label_smoothing=label_smoothing)
    return losses.view(rows) if len(rows) > 1 and reduction == "none" else losses


def _mean_categorical(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor | None:
    if not y_pred.numel():
        return None
    if y_true.shape != y_pred.shape:
        y_true, y_pred = align_ranks(y_true, y_pred)
    return _categorical(y_true, y_pred, from_logits, label_smoothing, axis, "mean")


@builtin("keras.losses")
@overall(_mean_categorical)
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """The sum over the classes of -y_true·log(y_pred), probabilities first made to sum to 1.

    Args:
        y_true: one-hot labels or probabilities, shape (batch, ..., classes).
        y_pred: probabilities, or logits, of the same shape.
        from_logits: whether y_pred are logits.
        label_smoothing: in [0, 1]: how much of the labels is spread over all classes.
        axis: the axis of the classes.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        tensor([0.6931])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    return _categorical(y_true, y_pred, from_logits, label_smoothing, axis, "none")


def class_indices(y_true: Any, y_pred: Any, axis: int) -> tuple[Tensor, Tensor]:
    """Class indices as int64 of the shape of the losses, and predictions as floats."""
    if not isinstance(y_pred, Tensor):
        y_pred = convert_to_tensor(y_pred)
    if not y_pred.is_floating_point():
        y_pred = y_pred.to(torch_dtype(None))
    if not isinstance(y_true, Tensor):
        y_true = convert_to_tensor(y_true, device=y_pred.device)
    if y_true.dim() == y_pred.dim() and y_true.dim() and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    classes = axis % y_pred.dim() if y_pred.dim() else 0
    wanted = y_pred.shape[:classes] + y_pred.shape[classes + 1 :]
    if y_true.shape != wanted or not y_pred.dim():
        one_hot = y_true.shape == y_pred.shape
        raise ShapeError(
            "The shapes of labels and predictions do not go together.",
            where=f"y_true {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}",
            expected=f"one integer label per prediction, shape {tuple(wanted)}",
            received=tuple(y_true.shape),
            fix="these labels look one-hot: use categorical_crossentropy" if one_hot else "check the labels' shape",
        )
    return (y_true if y_true.dtype is torch.int64 else y_true.long()), y_pred


def _sparse(
    y_true: Tensor, y_pred: Tensor, from_logits: bool, ignore_class: int | None, axis: int, reduction: str
) -> Tensor:
    """Crossentropy of class indices per sample, or its mean; 0 for the class to ignore."""
    if from_logits:
        _warn_of_logits(y_pred)
    logits = y_pred if from_logits else logits_of(y_pred, "softmax", axis)
    scores = y_pred if logits is None else logits
    if axis not in (-1, y_pred.dim() - 1):
        scores = scores.movedim(axis, -1)
    try:
        if logits is not None:
            return _from_scores(y_true, scores, _IGNORE_NONE if ignore_class is None else ignore_class, reduction)
        return _from_probabilities(y_true, scores, ignore_class, reduction)
    except (IndexError, RuntimeError) as error:
        explain_labels(y_true, scores.shape[-1], error, ignore_class=ignore_class)
        raise


def _from_scores(y_true: Tensor, logits: Tensor, ignore_index: int, reduction: str) -> Tensor:
    if logits.dim() < 3:
        return F.cross_entropy(logits, y_true, ignore_index=ignore_index, reduction=reduction)
    flat = F.cross_entropy(logits.flatten(0, -2), y_true.flatten(), ignore_index=ignore_index, reduction=reduction)
    return flat if reduction == "mean" else flat.view(y_true.shape)


def _from_probabilities(y_true: Tensor, probabilities: Tensor, ignore_class: int | None, reduction: str) -> Tensor:
    if ignore_class is None:
        of_truth = probabilities.gather(-1, y_true.unsqueeze(-1)).squeeze(-1) / probabilities.sum(-1)
        losses = -clipped(of_truth).log()
        return losses.mean() if reduction == "mean" else losses
    ignored = y_true == ignore_class
    # Rows left out become ordinary ones: a row of zeros or NaN has gradients of NaN, however it is weighted.
    probabilities = probabilities.masked_fill(ignored.unsqueeze(-1), 1.0)
    losses = _from_probabilities(y_true.masked_fill(ignored, 0), probabilities, None, "none")
    return losses.masked_fill(ignored, 0.0)


def explain_labels(
    labels: Tensor,
    classes: int,
    error: Exception,
    where: str = "sparse_categorical_crossentropy",
    ignore_class: int | None = None,
) -> None:
    """Raise an error that names the label, where a failed loss or metric was due to one out of range."""
    if labels.device.type != "cpu" or type(labels) is not Tensor:
        return
    if ignore_class is not None:
        labels = labels[labels != ignore_class]
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.numel():
        raise DataError(
            "A class label is out of range.",
            where=where,
            expected=f"labels from 0 to {classes - 1}, as there are {classes} outputs",
            received=f"label {int(wrong[0])} ({wrong.numel()} such labels of {labels.numel()})",
            fix=f"give the last layer {int(wrong.max()) + 1} units, or number the classes from 0"
            if int(wrong.max()) >= classes
            else f"to leave labels out of sparse_categorical_crossentropy, set ignore_class={int(wrong[0])}",
        ) from error


def _mean_sparse(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor | None:
    if ignore_class is not None or not y_pred.numel():
        return None
    if y_true.dim() == y_pred.dim() - 1 and y_pred.shape[-1] == 1:
        y_true, y_pred = align_ranks(y_true, y_pred)
    y_true, y_pred = class_indices(y_true, y_pred, axis)
    return _sparse(y_true, y_pred, from_logits, None, axis, "mean")


@builtin("keras.losses")
@overall(_mean_sparse, indices=True)
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """Minus the logarithm of the probability of the true class, given by its index.

    Args:
        y_true: class indices, shape (batch, ...), or with a last axis of size 1.
        y_pred: probabilities, or logits, shape (batch, ..., classes).
        from_logits: whether y_pred are logits.
        ignore_class: an index whose samples give 0 and do not count in a mean.
        axis: the axis of the classes.

    Raises:
        ShapeError: the shapes do not go together.
        DataError: a label is negative or not smaller than the number of classes (found on the CPU).

    Example:
        >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]])
        tensor([0.6931])
    """
    y_true, y_pred = class_indices(y_true, y_pred, axis)
    losses = _sparse(y_true, y_pred, from_logits, ignore_class, axis, "none")
    if ignore_class is not None:
        losses._keras_mask = y_true != ignore_class  # type: ignore[attr-defined]
    return losses


@builtin("keras.losses")
class BinaryCrossentropy(LossFunctionWrapper):
    """Crossentropy of yes-or-no labels.

    Args:
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how far labels are moved towards 0.5.
        axis: the axis to take the mean over.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> BinaryCrossentropy()(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.5]]))
        tensor(0.6931)

    Source: https://keras.io/api/losses/probabilistic_losses/#binarycrossentropy-class
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEANS[0],
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {
            "from_logits": from_logits,
            "label_smoothing": label_smoothing,
            "axis": axis,
        }
        super().__init__(binary_crossentropy, reduction, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@builtin("keras.losses")
class CategoricalCrossentropy(LossFunctionWrapper):
    """Crossentropy of one-hot labels.

    Args:
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how much of the labels is spread over all classes.
        axis: the axis of the classes.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> CategoricalCrossentropy()(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.6931)

    Source: https://keras.io/api/losses/probabilistic_losses/#categoricalcrossentropy-class
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEANS[0],
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {
            "from_logits": from_logits,
            "label_smoothing": label_smoothing,
            "axis": axis,
        }
        super().__init__(categorical_crossentropy, reduction, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@builtin("keras.losses")
class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """Crossentropy of labels given as class indices.

    Args:
        from_logits: whether predictions are logits, not probabilities.
        ignore_class: an index whose samples do not count.
        reduction: see `Loss`.
        axis: the axis of the classes.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> SparseCategoricalCrossentropy()(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
        tensor(0.6931)

    Source: https://keras.io/api/losses/probabilistic_losses/#sparsecategoricalcrossentropy-class
    """

    _config_drops = {"axis": -1}

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = MEANS[0],
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(sparse_categorical_crossentropy, reduction, name, dtype, **options)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis
