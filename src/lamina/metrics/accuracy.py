"""How often predictions match labels."""

from __future__ import annotations

from typing import Any

from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ShapeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import Tensor, align_ranks
from lamina.losses.classification import explain_labels
from lamina.metrics.reduction import MeanMetricWrapper


def _tensors(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Labels and predictions as tensors, each of its own dtype."""
    if not isinstance(y_pred, Tensor):
        y_pred = convert_to_tensor(y_pred)
    if not isinstance(y_true, Tensor):
        y_true = convert_to_tensor(y_true, device=y_pred.device)
    return y_true, y_pred


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """Where the two are equal, as floats; shapes may broadcast."""
    try:
        return (first == second).to(torch_dtype(None))
    except RuntimeError:
        raise _mismatch(first, second, "give as many labels as predictions") from None


def _same_class(labels: Tensor, best: Tensor, fix: str) -> Tensor:
    """Where the best class is that of the label, as floats."""
    if labels.shape != best.shape:
        raise _mismatch(labels, best, fix)
    return (labels == best).to(torch_dtype(None))


def _mismatch(labels: Tensor, predictions: Tensor, fix: str) -> ShapeError:
    return ShapeError(
        "Labels and predictions do not have matching shapes.",
        where="y_true, y_pred (after taking the best class, where there are classes)",
        expected=tuple(predictions.shape),
        received=tuple(labels.shape),
        fix=fix,
    )


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where labels and predictions are equal, else 0.

    Example:
        >>> accuracy([1.0, 2.0], [1.0, 3.0])
        tensor([1., 0.])
    """
    y_true, y_pred = _tensors(y_true, y_pred)
    if y_true.dtype is not y_pred.dtype:
        y_true = y_true.to(y_pred.dtype)
    return _equal(*align_ranks(y_true, y_pred))


@builtin("keras.metrics")
def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """1 where predictions are on the labels' side of a threshold, else 0.

    Args:
        y_true: labels 0 and 1, shape (batch, ...).
        y_pred: probabilities of the same shape.
        threshold: predictions above it count as 1.

    Example:
        >>> binary_accuracy([[1.0], [0.0]], [[0.4], [0.3]])
        tensor([[0.],
                [1.]])
    """
    y_true, y_pred = align_ranks(*_tensors(y_true, y_pred))
    return _equal(y_true, y_pred > threshold)


@builtin("keras.metrics")
def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where the largest prediction is at the largest label, else 0.

    Args:
        y_true: one-hot labels, shape (batch, ..., classes).
        y_pred: probabilities or logits of the same shape.

    Example:
        >>> categorical_accuracy([[0.0, 1.0], [1.0, 0.0]], [[0.2, 0.8], [0.3, 0.7]])
        tensor([1., 0.])
    """
    y_true, y_pred = _tensors(y_true, y_pred)
    if y_true.dim() == y_pred.dim() and y_true.shape[-1:] != y_pred.shape[-1:]:
        raise _mismatch(y_true, y_pred, "for integer labels use sparse_categorical_accuracy")
    labels = y_true.argmax(-1)
    shape = labels.shape
    extra = labels.dim() == y_pred.dim()
    matches = _same_class(
        labels.squeeze(-1) if extra else labels,
        y_pred.argmax(-1),
        "for integer labels use sparse_categorical_accuracy",
    )
    return matches.reshape(shape) if extra else matches


@builtin("keras.metrics")
def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where the largest prediction is that of the label, else 0.

    Args:
        y_true: class indices, shape (batch, ...), or with a last axis of size 1.
        y_pred: probabilities or logits, shape (batch, ..., classes).

    Example:
        >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.3, 0.7]])
        tensor([1., 0.])
    """
    y_true, y_pred = _tensors(y_true, y_pred)
    if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    matches = _same_class(y_true, y_pred.argmax(-1), "for one-hot labels use categorical_accuracy")
    return matches.squeeze(-1) if matches.dim() > 1 and matches.shape[-1] == 1 else matches


def _in_top_k(labels: Tensor, y_pred: Tensor, k: int) -> Tensor:
    """Whether the prediction of the label is not smaller than the k-th largest."""
    try:
        of_label = y_pred.gather(-1, labels.long().unsqueeze(-1))
    except RuntimeError as error:
        explain_labels(labels, y_pred.shape[-1], error, "top-k categorical accuracy")
        raise
    best = y_pred.topk(min(k, y_pred.shape[-1]), dim=-1).values
    return (of_label >= best).any(-1).to(torch_dtype(None))


@builtin("keras.metrics")
def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 where the true class is among the k largest predictions, else 0.

    Args:
        y_true: one-hot labels, shape (batch, ..., classes).
        y_pred: probabilities or logits of the same shape.
        k: how many predictions count.

    Example:
        >>> top_k_categorical_accuracy([[0.0, 0.0, 1.0]], [[0.1, 0.9, 0.8]], k=2)
        tensor([1.])
    """
    y_true, y_pred = _tensors(y_true, y_pred)
    return _in_top_k(y_true.argmax(-1), y_pred, k)


@builtin("keras.metrics")
def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """1 where the class index is among the k largest predictions, else 0.

    Args:
        y_true: class indices, shape (batch, ...).
        y_pred: probabilities or logits, shape (batch, ..., classes); or with from_sorted_ids class indices, best first.
        k: how many predictions count.
        from_sorted_ids: whether y_pred are class indices.

    Example:
        >>> sparse_top_k_categorical_accuracy([2], [[0.1, 0.9, 0.8]], k=2)
        tensor([1.])
    """
    y_true, y_pred = _tensors(y_true, y_pred)
    shape = y_true.shape
    labels = y_true.reshape(-1)
    rows = y_pred.reshape(-1, y_pred.shape[-1])
    if from_sorted_ids:
        matches = (labels.unsqueeze(1) == rows[:, :k]).any(1).to(torch_dtype(None))
    else:
        matches = _in_top_k(labels, rows, k)
    return matches.reshape(shape)


@builtin("keras.metrics")
class Accuracy(MeanMetricWrapper):
    """The share of predictions equal to their labels.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> Accuracy()([[1], [2]], [[1], [3]])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/accuracy_metrics/#accuracy-class
    """

    _direction = "up"

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


@builtin("keras.metrics")
class BinaryAccuracy(MeanMetricWrapper):
    """The share of predictions on their labels' side of a threshold.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        threshold: predictions above it count as 1.

    Example:
        >>> BinaryAccuracy()([[1.0], [0.0]], [[0.4], [0.3]])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/accuracy_metrics/#binaryaccuracy-class
    """

    _direction = "up"

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


@builtin("keras.metrics")
class CategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose largest prediction is at the largest label.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> CategoricalAccuracy()([[0.0, 1.0]], [[0.2, 0.8]])
        tensor(1.)

    Source: https://keras.io/api/metrics/accuracy_metrics/#categoricalaccuracy-class
    """

    _direction = "up"

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


@builtin("keras.metrics")
class SparseCategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose largest prediction is that of their class index.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> SparseCategoricalAccuracy()([1], [[0.2, 0.8]])
        tensor(1.)

    Source: https://keras.io/api/metrics/accuracy_metrics/#sparsecategoricalaccuracy-class
    """

    _direction = "up"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


@builtin("keras.metrics")
class TopKCategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose true class is among the k largest predictions.

    Args:
        k: how many predictions count.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> TopKCategoricalAccuracy(k=2)([[0.0, 0.0, 1.0]], [[0.1, 0.9, 0.8]])
        tensor(1.)

    Source: https://keras.io/api/metrics/accuracy_metrics/#topkcategoricalaccuracy-class
    """

    _direction = "up"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


@builtin("keras.metrics")
class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose class index is among the k largest predictions.

    Args:
        k: how many predictions count.
        name: see `Metric`.
        dtype: see `Metric`.
        from_sorted_ids: whether predictions are class indices, best first.

    Example:
        >>> SparseTopKCategoricalAccuracy(k=2)([2], [[0.1, 0.9, 0.8]])
        tensor(1.)

    Source: https://keras.io/api/metrics/accuracy_metrics/#sparsetopkcategoricalaccuracy-class
    """

    _direction = "up"
    _config_drops = {"from_sorted_ids": False}

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)
        self.k = k
        self.from_sorted_ids = from_sorted_ids
