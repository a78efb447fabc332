"""Metrics of classes as a whole: F-scores, and the overlap of predicted with true regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError, one_of, warn_once
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import Tensor
from lamina.metrics.base import Metric


@builtin("keras.metrics")
class FBetaScore(Metric):
    """The weighted harmonic mean of precision and recall, for each class or all together.

    Args:
        average: None for a score per class, "micro" for one of all counts together, "macro" for the mean over the
            classes, "weighted" for the mean weighted by how often each class is true.
        beta: how many times as much recall counts as precision.
        threshold: predictions above it count as 1; by default the largest of each row does.
        name: see `Metric`.
        dtype: see `Metric`.

    Raises:
        ArgumentError: an unknown average, beta not positive, or a threshold outside (0, 1].
        ShapeError: the data are not of shape (batch, classes).

    Example:
        >>> FBetaScore(beta=2.0, threshold=0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.8, 0.6]])
        tensor([0.5556, 0.8333])

    Source: https://keras.io/api/metrics/classification_metrics/#fbetascore-class
    """

    _direction = "up"
    _names = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        one_of(average, (None, "micro", "macro", "weighted"), f"{type(self).__name__}, average")
        if not isinstance(beta, float) or beta <= 0.0:
            raise ArgumentError("beta is not usable.", where="beta", expected="a float above 0.0", received=repr(beta))
        if threshold is not None and (not isinstance(threshold, float) or not 0.0 < threshold <= 1.0):
            raise ArgumentError(
                "The threshold is not usable.",
                where="threshold",
                expected="a float, 0 < x <= 1",
                received=repr(threshold),
            )
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self._counts: list[Any] = []

    def _build(self, y_true: Tensor, y_pred: Tensor) -> None:
        if y_pred.dim() != 2 or y_true.dim() != 2:
            raise ShapeError(
                "Labels or predictions are not of rank 2.",
                where=f"metric '{self.name}'",
                expected="(batch, classes)",
                received=f"y_true {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}",
                fix="make integer class labels one-hot",
            )
        shape = () if self.average == "micro" else y_pred.shape[1:]
        self._counts = [self.add_variable(shape, dtype=self.dtype, name=name) for name in self._names]
        for name, variable in zip(self._names, self._counts, strict=True):
            setattr(self, name, variable)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of one-hot labels and predictions, of shape (batch, classes)."""
        y_pred = convert_to_tensor(y_pred, self._torch_dtype)
        y_true = convert_to_tensor(y_true, self._torch_dtype, y_pred.device)
        if not self._counts:
            self._build(y_true, y_pred)
        if self.threshold is None:
            # A row of zeros predicts nothing.
            positive = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            positive = y_pred > self.threshold
        predicted = positive.to(self._torch_dtype)
        terms = [predicted * y_true, predicted * (1 - y_true), (1 - predicted) * y_true, y_true]
        if sample_weight is not None:
            weights = convert_to_tensor(sample_weight, self._torch_dtype, y_pred.device).unsqueeze(1)
            terms = [term * weights for term in terms]
        for variable, term in zip(self._counts, terms, strict=True):
            variable.add_(term.sum() if self.average == "micro" else term.sum(0))

    def result(self) -> Tensor:
        """The score, or one per class."""
        if not self._counts:
            return torch.zeros((), dtype=self._torch_dtype)
        true_positives, false_positives, false_negatives, weights = (count.detach() for count in self._counts)
        epsilon = config.epsilon()
        precision = true_positives / (true_positives + false_positives + epsilon)
        recall = true_positives / (true_positives + false_negatives + epsilon)
        squared = self.beta**2
        score = precision * recall / (squared * precision + recall + epsilon) * (1 + squared)
        if self.average == "weighted":
            return (score * weights / (weights.sum() + epsilon)).sum()
        return score if self.average is None else score.mean()


@builtin("keras.metrics")
class F1Score(FBetaScore):
    """The harmonic mean of precision and recall, for each class or all together.

    Args:
        average: see `FBetaScore`.
        threshold: see `FBetaScore`.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> F1Score(threshold=0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.8, 0.6]])
        tensor([0.6667, 0.6667])

    Source: https://keras.io/api/metrics/classification_metrics/#f1score-class
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)


@builtin("keras.metrics")
class IoU(Metric):
    """The overlap of predicted with true regions over their union, averaged over some classes.

    Args:
        num_classes: how many classes there are.
        target_class_ids: the classes to average over.
        name: see `Metric`.
        dtype: see `Metric`; int32 by default.
        ignore_class: labels of this class do not count.
        sparse_y_true: whether labels are class indices, not one-hot.
        sparse_y_pred: whether predictions are class indices, not probabilities.
        axis: the axis of the classes, where not indices.

    Raises:
        ArgumentError: a target class is not smaller than num_classes.

    Example:
        >>> IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1])
        tensor(0.3333)

    Source: https://keras.io/api/metrics/segmentation_metrics/#iou-class
    """

    _direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name=name, dtype=dtype or "int32")
        if not isinstance(target_class_ids, Iterable) or max(target_class_ids) >= num_classes:
            raise ArgumentError(
                "A target class is out of range.",
                where="target_class_ids",
                expected=f"a list of indices from 0 to {num_classes - 1}",
                received=target_class_ids,
            )
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self.add_variable((num_classes, num_classes), dtype=self.dtype, name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of labels and predictions."""
        y_pred = convert_to_tensor(y_pred)
        y_true = convert_to_tensor(y_true, device=y_pred.device)
        labels = y_true if self.sparse_y_true else y_true.argmax(self.axis)
        predictions = y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)
        labels, predictions = labels.reshape(-1).long(), predictions.reshape(-1).long()
        if getattr(sample_weight, "dtype", None) is not None and "float" in str(sample_weight.dtype):
            self._warn_of_weights()
        weights = convert_to_tensor(1 if sample_weight is None else sample_weight, self._torch_dtype, labels.device)
        weights = (weights.reshape(-1) if weights.dim() > 1 else weights).broadcast_to(labels.shape)
        classes = self.num_classes
        valid = (labels >= 0) & (labels < classes) & (predictions >= 0) & (predictions < classes)
        if self.ignore_class is not None:
            valid = valid & (labels != self.ignore_class)
        place = torch.where(valid, labels * classes + predictions, 0)
        self.total_cm.view(-1).index_add_(0, place, torch.where(valid, weights, 0))

    def _warn_of_weights(self) -> None:
        if "int" in self.dtype:
            warn_once(f"The metric '{self.name}' counts in integers: its float weights are cut to whole numbers.")

    def result(self) -> Tensor:
        """The mean over the target classes that occur."""
        counts = self.total_cm.detach()
        overlap = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - overlap
        # Classes by index into a list of constants: no tensor of indices is moved to the device.
        overlap = torch.stack([overlap[index] for index in self.target_class_ids]).float()
        union = torch.stack([union[index] for index in self.target_class_ids]).float()
        occurs = union > 1e-9
        ratios = torch.where(occurs, overlap / (union + config.epsilon()), 0.0)
        return ratios.sum() / (occurs.sum() + config.epsilon())


@builtin("keras.metrics")
class BinaryIoU(IoU):
    """The overlap over the union of regions of zeros and ones, predictions compared with a threshold.

    Args:
        target_class_ids: the classes to average over: (0,), (1,) or both.
        threshold: predictions from it on count as 1.
        name: see `Metric`.
        dtype: see `IoU`.

    Example:
        >>> BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])
        tensor(0.3333)

    Source: https://keras.io/api/metrics/segmentation_metrics/#binaryiou-class
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_classes=2, target_class_ids=target_class_ids, name=name, dtype=dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of labels and predictions."""
        predictions = convert_to_tensor(y_pred, torch.float32) >= self.threshold
        super().update_state(y_true, predictions.long(), sample_weight)


@builtin("keras.metrics")
class MeanIoU(IoU):
    """The overlap over the union of regions, averaged over all classes.

    Args:
        num_classes: see `IoU`.
        name: see `Metric`.
        dtype: see `IoU`.
        ignore_class: see `IoU`.
        sparse_y_true: see `IoU`.
        sparse_y_pred: see `IoU`.
        axis: see `IoU`.

    Example:
        >>> MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1])
        tensor(0.3333)

    Source: https://keras.io/api/metrics/segmentation_metrics/#meaniou-class
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


@builtin("keras.metrics")
class OneHotIoU(IoU):
    """The overlap over the union of regions given as one-hot vectors.

    Args:
        num_classes: see `IoU`.
        target_class_ids: see `IoU`.
        name: see `Metric`.
        dtype: see `IoU`.
        ignore_class: see `IoU`.
        sparse_y_pred: see `IoU`.
        axis: see `IoU`.

    Example:
        >>> OneHotIoU(num_classes=2, target_class_ids=[0])([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/segmentation_metrics/#onehotiou-class
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


@builtin("keras.metrics")
class OneHotMeanIoU(MeanIoU):
    """The overlap over the union of regions given as one-hot vectors, averaged over all classes.

    Args:
        num_classes: see `IoU`.
        name: see `Metric`.
        dtype: see `IoU`.
        ignore_class: see `IoU`.
        sparse_y_pred: see `IoU`.
        axis: see `IoU`.

    Example:
        >>> OneHotMeanIoU(num_classes=2)([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]])
        tensor(0.2500)

    Source: https://keras.io/api/metrics/segmentation_metrics/#onehotmeaniou-class
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
