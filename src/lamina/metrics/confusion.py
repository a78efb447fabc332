"""Counts of right and wrong yes-or-no predictions, and the rates made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.core.variable import Variable
from lamina.losses.base import Tensor, align_ranks, divide_no_nan
from lamina.metrics.base import Metric

NEVER = -1e10
COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def parse_thresholds(thresholds: Any, default: float) -> list[float]:
    """Thresholds as a list; each must lie in [0, 1]."""
    given = [default] if thresholds is None else thresholds
    listed = list(given) if isinstance(given, (list, tuple, np.ndarray)) else [given]
    if thresholds is not None:
        wrong = [value for value in listed if not hasattr(value, "__float__") or value < 0 or value > 1]
        if wrong:
            raise ArgumentError("A threshold is out of range.", where="thresholds", expected="0 to 1", received=wrong)
    return listed


def evenly_spaced(thresholds: Sequence[float]) -> bool:
    """Whether they are 0, 1/n, 2/n, ..., 1."""
    if len(thresholds) < 3:
        return False
    return bool(np.allclose(thresholds, np.linspace(0, 1, len(thresholds)), atol=config.epsilon()))


def _keep_top_k(y_pred: Tensor, k: int) -> Tensor:
    """Predictions outside the k largest of each row set so low that no threshold is below them."""
    top = torch.zeros_like(y_pred, dtype=torch.bool).scatter_(-1, y_pred.topk(k, dim=-1).indices, True)
    return torch.where(top, y_pred, NEVER)


class ConfusionMetric(Metric):
    """Base of metrics that count outcomes at each of several thresholds.

    A subclass names in `counted` the variables it keeps, of shape (thresholds,), or (thresholds, labels) with
    `multi_label`.
    """

    counted: tuple[str, ...] = COUNTS
    thresholds: list[float]
    top_k: int | None = None
    class_id: int | None = None
    multi_label = False
    even = False

    def _add_counts(self, *labels: int) -> None:
        self._counters: dict[str, Variable] = {}
        for name in self.counted:
            variable = self.add_variable((len(self.thresholds), *labels), name=name)
            setattr(self, name, variable)
            self._counters[name] = variable
        self._threshold_tensor: Tensor | None = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: labels, 0 or not 0.
            y_pred: predictions in [0, 1] of the same shape.
            sample_weight: weights per sample, or per prediction.
        """
        y_true, y_pred, weights = self._prepared(y_true, y_pred, sample_weight)
        if self.even:
            counts = self._counts_by_bucket(y_true, y_pred, weights)
        elif len(self.thresholds) == 1 and not self.multi_label:
            counts = self._counts_at(y_true, y_pred > self.thresholds[0], weights)
        else:
            counts = self._counts_at_each(y_true, y_pred, weights)
        for name, variable in self._counters.items():
            variable.add_(counts[name])

    def _prepared(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """Labels as booleans, predictions and weights as floats, flat, or (batch, labels) with `multi_label`."""
        dtype = self._variables[0].dtype
        y_pred = convert_to_tensor(y_pred, dtype)
        y_true = convert_to_tensor(y_true, device=y_pred.device)
        y_pred, y_true = align_ranks(y_pred, y_true)
        weights = None
        if sample_weight is not None:
            weights = convert_to_tensor(sample_weight, dtype, y_pred.device).unsqueeze(-1)
            _, weights = align_ranks(y_true, weights, expand_rank_1=False)
        if self.top_k is not None:
            y_pred = _keep_top_k(y_pred, self.top_k)
        if self.class_id is not None:
            if y_pred.dim() < 2 or self.class_id >= y_pred.shape[-1]:
                raise ShapeError(
                    "class_id picks a column that predictions do not have.",
                    where=f"metric '{self.name}'",
                    expected=f"y_pred of shape (batch, classes), more than {self.class_id} classes",
                    received=tuple(y_pred.shape),
                )
            y_true, y_pred = y_true[..., self.class_id, None], y_pred[..., self.class_id, None]
        if y_true.shape != y_pred.shape:
            raise ShapeError(
                "Labels and predictions do not have the same shape.",
                where=f"metric '{self.name}'",
                expected=f"y_true of shape {tuple(y_pred.shape)}",
                received=tuple(y_true.shape),
                fix="make integer class labels one-hot",
            )
        weights = self._with_label_weights(weights, y_pred)
        labels = y_true if y_true.dtype is torch.bool else y_true != 0
        if weights is not None:
            try:
                weights = weights.broadcast_to(y_pred.shape)
            except RuntimeError:
                raise ShapeError(
                    "The sample weights do not fit the predictions.",
                    where=f"metric '{self.name}'",
                    expected=f"a shape that broadcasts to {tuple(y_pred.shape)}, less its last axis",
                    received=tuple(convert_to_tensor(sample_weight).shape),
                    fix="give one weight per sample",
                ) from None
        if self.multi_label:
            return labels, y_pred, weights
        return labels.reshape(-1), y_pred.reshape(-1), None if weights is None else weights.reshape(-1)

    def _with_label_weights(self, weights: Tensor | None, y_pred: Tensor) -> Tensor | None:
        return weights

    def _counts_at(self, labels: Tensor, positive: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        """The counts kept, for predictions already compared with a threshold; the last axis is summed over."""
        if weights is None:
            both = (labels & positive).sum(-1)
        else:
            labels, positive = labels * weights, positive * weights
            both = (labels * positive.ne(0)).sum(-1)
        counts = {"true_positives": both}
        wanted = self._counters.keys()
        predicted = positive.sum(-1) if wanted & {"false_positives", "true_negatives"} else both
        true = labels.sum(-1) if wanted & {"false_negatives", "true_negatives"} else both
        counts |= {"false_positives": predicted - both} if "false_positives" in wanted else {}
        counts |= {"false_negatives": true - both} if "false_negatives" in wanted else {}
        if "true_negatives" in wanted:
            size = labels.shape[-1] if weights is None else weights.sum(-1)
            counts["true_negatives"] = size - predicted - true + both
        return counts

    def _counts_at_each(self, labels: Tensor, y_pred: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        """The four counts at each threshold, every prediction compared with every threshold."""
        thresholds = self._threshold_tensor
        if thresholds is None or thresholds.device != y_pred.device:
            thresholds = torch.tensor(self.thresholds, dtype=y_pred.dtype, device=y_pred.device)
            self._threshold_tensor = thresholds
        if not self.multi_label:
            return self._counts_at(labels, y_pred > thresholds.unsqueeze(-1), weights)
        positive = thresholds.view(-1, 1, 1) < y_pred.T
        return self._counts_at(labels.T, positive, None if weights is None else weights.T)

    def _counts_by_bucket(self, labels: Tensor, y_pred: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        """The four counts at evenly spaced thresholds: predictions sorted into buckets, summed from above."""
        last = len(self.thresholds) - 1
        bucket = (y_pred.clamp(0.0, 1.0) * last).ceil_().long()
        # Outer thresholds a little outside [0, 1] count predictions of exactly 0 as positive at the first one.
        bucket = bucket.clamp_(1 if self.thresholds[0] < 0.0 else 0, last + 1)
        columns = labels.shape[-1] if self.multi_label else 1
        index = (bucket + labels * (last + 2)) * columns
        if self.multi_label:
            index = index + torch.arange(columns, device=index.device)
        if weights is None:
            weights = torch.ones((), dtype=y_pred.dtype, device=y_pred.device).expand(y_pred.shape)
        histogram = torch.zeros(2 * (last + 2) * columns, dtype=y_pred.dtype, device=y_pred.device)
        histogram.index_add_(0, index.reshape(-1), weights.reshape(-1))
        histogram = histogram.view(2, last + 2, columns) if self.multi_label else histogram.view(2, last + 2)
        above = histogram.flip(1).cumsum(1).flip(1)
        false_positives, true_positives = above[:, 1:].unbind(0)
        false, true = above[:, :1].unbind(0)
        return {
            "true_positives": true_positives,
            "false_positives": false_positives,
            "false_negatives": true - true_positives,
            "true_negatives": false - false_positives,
        }


def _rate(part: Tensor, rest: Tensor) -> Tensor:
    """The share of `part` in both; 0 where there is nothing."""
    part = part.detach()
    return divide_no_nan(part, part + rest)


class _Count(ConfusionMetric):
    """Base of the four metrics that count one outcome."""

    outcome = ""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.thresholds = parse_thresholds(thresholds, 0.5)
        self.even = evenly_spaced(self.thresholds)
        self.accumulator = self.add_variable((len(self.thresholds),), name="accumulator")
        self._counters = {self.outcome: self.accumulator}
        self._threshold_tensor = None

    def result(self) -> Tensor:
        """The count; one for each threshold where there are several."""
        counts = self.accumulator.detach()
        return counts[0].clone() if len(self.thresholds) == 1 else counts.clone()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, the thresholds as they were given."""
        return {**super().get_config(), "thresholds": self.init_thresholds}


@builtin("keras.metrics")
class TruePositives(_Count):
    """The number of ones predicted as ones.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> TruePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])
        tensor(2.)

    Source: https://keras.io/api/metrics/classification_metrics/#truepositives-class
    """

    outcome = "true_positives"


@builtin("keras.metrics")
class TrueNegatives(_Count):
    """The number of zeros predicted as zeros.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> TrueNegatives()([0, 1, 0, 0], [1.0, 1.0, 0.0, 0.0])
        tensor(2.)

    Source: https://keras.io/api/metrics/classification_metrics/#truenegatives-class
    """

    outcome = "true_negatives"


@builtin("keras.metrics")
class FalsePositives(_Count):
    """The number of zeros predicted as ones.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> FalsePositives()([0, 1, 0, 0], [0.0, 0.0, 1.0, 1.0])
        tensor(2.)

    Source: https://keras.io/api/metrics/classification_metrics/#falsepositives-class
    """

    outcome = "false_positives"


@builtin("keras.metrics")
class FalseNegatives(_Count):
    """The number of ones predicted as zeros.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> FalseNegatives()([0, 1, 1, 1], [0.0, 1.0, 0.0, 0.0])
        tensor(2.)

    Source: https://keras.io/api/metrics/classification_metrics/#falsenegatives-class
    """

    outcome = "false_negatives"


class _Rate(ConfusionMetric):
    """Base of precision and recall: the share of true positives in them and another count."""

    _direction = "up"

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self.thresholds = parse_thresholds(thresholds, 0.5 if top_k is None else NEVER)
        self.even = evenly_spaced(self.thresholds)
        self._add_counts()

    def result(self) -> Tensor:
        """The rate; one for each threshold where there are several."""
        first, second = self._counters.values()
        rates = _rate(first, second)
        return rates[0] if len(self.thresholds) == 1 else rates

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, the thresholds as they were given."""
        return {**super().get_config(), "thresholds": self.init_thresholds}


@builtin("keras.metrics")
class Precision(_Rate):
    """The share of ones among what is predicted as one.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        top_k: if given, only the k largest predictions of a sample count as 1.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Raises:
        ArgumentError: a threshold outside [0, 1].

    Example:
        >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])
        tensor(0.6667)

    Source: https://keras.io/api/metrics/classification_metrics/#precision-class
    """

    counted = ("true_positives", "false_positives")


@builtin("keras.metrics")
class Recall(_Rate):
    """The share of ones that are predicted as one.

    Args:
        thresholds: predictions above it count as 1: a number in [0, 1] (0.5), or a list of such.
        top_k: if given, only the k largest predictions of a sample count as 1.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Raises:
        ArgumentError: a threshold outside [0, 1].

    Example:
        >>> Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])
        tensor(0.6667)

    Source: https://keras.io/api/metrics/classification_metrics/#recall-class
    """

    counted = ("true_positives", "false_negatives")
