"""Metrics over all thresholds: areas under curves, and one rate where another has a given value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.limits import claim
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import Tensor, divide_no_nan
from lamina.metrics.confusion import ConfusionMetric, _rate, evenly_spaced


class _RateAtRate(ConfusionMetric):
    """Base of metrics that give the best value of one rate where another reaches a given value."""

    _direction = "up"

    def __init__(self, value: float, argument: str, num_thresholds: int, class_id: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= value <= 1:
            raise ArgumentError(f"The {argument} is out of range.", where=argument, expected="0 to 1", received=value)
        if num_thresholds <= 0:
            raise ArgumentError(
                "There is no threshold.",
                where="num_thresholds",
                expected="> 0",
                received=num_thresholds,
            )
        self.value = value
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        last = num_thresholds - 1
        claim(32 * num_thresholds, "num_thresholds")
        self.thresholds = [0.5] if not last else [step / last for step in range(num_thresholds)]
        self.even = num_thresholds > 1
        self._add_counts()

    def _best(self, constrained: Tensor, wanted: Tensor) -> Tensor:
        """The largest `wanted` where `constrained` reaches the value; 0 if it never does."""
        return torch.where(constrained >= self.value, wanted, 0).amax().clamp_min(0)

    def _rates(self) -> dict[str, Tensor]:
        return {
            "sensitivity": _rate(self.true_positives, self.false_negatives),
            "specificity": _rate(self.true_negatives, self.false_positives),
            "precision": _rate(self.true_positives, self.false_positives),
        }

    true_positives: Tensor
    false_positives: Tensor
    true_negatives: Tensor
    false_negatives: Tensor


@builtin("keras.metrics")
class SensitivityAtSpecificity(_RateAtRate):
    """The best sensitivity where the specificity is at least a given one.

    Args:
        specificity: the specificity wanted, in [0, 1].
        num_thresholds: how many thresholds to look at.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/classification_metrics/#sensitivityatspecificity-class
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, "specificity", num_thresholds, class_id, name=name, dtype=dtype)
        self.specificity = specificity

    def result(self) -> Tensor:
        """The sensitivity."""
        rates = self._rates()
        return self._best(rates["specificity"], rates["sensitivity"])


@builtin("keras.metrics")
class SpecificityAtSensitivity(_RateAtRate):
    """The best specificity where the sensitivity is at least a given one.

    Args:
        sensitivity: the sensitivity wanted, in [0, 1].
        num_thresholds: how many thresholds to look at.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        tensor(0.6667)

    Source: https://keras.io/api/metrics/classification_metrics/#specificityatsensitivity-class
    """

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, "sensitivity", num_thresholds, class_id, name=name, dtype=dtype)
        self.sensitivity = sensitivity

    def result(self) -> Tensor:
        """The specificity."""
        rates = self._rates()
        return self._best(rates["sensitivity"], rates["specificity"])


@builtin("keras.metrics")
class PrecisionAtRecall(_RateAtRate):
    """The best precision where the recall is at least a given one.

    Args:
        recall: the recall wanted, in [0, 1].
        num_thresholds: how many thresholds to look at.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/classification_metrics/#precisionatrecall-class
    """

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, "recall", num_thresholds, class_id, name=name, dtype=dtype)
        self.recall = recall

    def result(self) -> Tensor:
        """The precision."""
        rates = self._rates()
        return self._best(rates["sensitivity"], rates["precision"])


@builtin("keras.metrics")
class RecallAtPrecision(_RateAtRate):
    """The best recall where the precision is at least a given one.

    Args:
        precision: the precision wanted, in [0, 1].
        num_thresholds: how many thresholds to look at.
        class_id: if given, the column of predictions to look at.
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> RecallAtPrecision(0.8)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/classification_metrics/#recallatprecision-class
    """

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, "precision", num_thresholds, class_id, name=name, dtype=dtype)
        self.precision = precision

    def result(self) -> Tensor:
        """The recall."""
        rates = self._rates()
        return self._best(rates["precision"], rates["sensitivity"])


def _choice(value: Any, options: Sequence[str], where: str) -> str:
    """One of the options, in whichever case it was given."""
    given = getattr(value, "value", value)
    found = next((option for option in options if given in (option, option.lower(), option.capitalize())), given)
    one_of(found, options, f"AUC, {where}")
    return found


@builtin("keras.metrics")
class AUC(ConfusionMetric):
    """The area under a curve of two rates as the threshold goes from 0 to 1, summed over steps between thresholds.

    Args:
        num_thresholds: how many thresholds to use, evenly spaced.
        curve: "ROC" (true over false positive rate), "PR" (precision over recall) or "PRGAIN".
        summation_method: the height of a step: "interpolation" (the middle; for "PR" interpolated between counts),
            "minoring" (the lower end) or "majoring" (the upper end).
        name: see `Metric`.
        dtype: see `Metric`.
        thresholds: the thresholds to use instead; 0 and 1 are added.
        multi_label: whether each column of predictions has an area of its own, which are averaged.
        num_labels: the number of columns, with multi_label; found at the first update otherwise.
        label_weights: a weight per column for the average, or, without multi_label, for their counts.
        from_logits: whether predictions are logits, to be put through a sigmoid.

    Raises:
        ArgumentError: an unknown curve or method, fewer than two thresholds, or num_labels without multi_label.

    Example:
        >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
        tensor(0.7500)

    Source: https://keras.io/api/metrics/classification_metrics/#auc-class
    """

    _direction = "up"
    true_positives: Tensor
    false_positives: Tensor
    true_negatives: Tensor
    false_negatives: Tensor

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.curve = _choice(curve, ("ROC", "PR", "PRGAIN"), "curve")
        self.summation_method = _choice(summation_method, ("interpolation", "minoring", "majoring"), "summation_method")
        self.init_thresholds = thresholds
        if thresholds is not None:
            inner = [float(value) for value in sorted(thresholds)]
            self.even = evenly_spaced([0.0, *inner, 1.0])
        else:
            if num_thresholds <= 1:
                raise ArgumentError(
                    "There are too few thresholds.",
                    where="num_thresholds",
                    expected="> 1",
                    received=num_thresholds,
                )
            claim(32 * num_thresholds, "num_thresholds")
            inner = [(step + 1) / (num_thresholds - 1) for step in range(num_thresholds - 2)]
            self.even = True
        self.num_thresholds = len(inner) + 2
        # The outer ones lie a little outside [0, 1], so that predictions of exactly 0 and 1 fall between.
        self.thresholds = [-config.epsilon(), *inner, 1.0 + config.epsilon()]
        if num_labels and not multi_label:
            raise ArgumentError("num_labels needs multi_label.", where="num_labels", fix="AUC(multi_label=True, ...)")
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = label_weights
        self.from_logits = from_logits
        self._built = False
        if not multi_label:
            self._build()
        elif num_labels:
            self._build(num_labels)

    def _build(self, *labels: int) -> None:
        self._add_counts(*labels)
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of labels and predictions, of shape (batch, labels) with multi_label."""
        if not isinstance(y_pred, Tensor):
            y_pred = convert_to_tensor(y_pred, self._torch_dtype)
        if self.multi_label and y_pred.dim() != 2:
            raise ShapeError(
                "Predictions for multi_label=True are not of rank 2.",
                where=f"metric '{self.name}'",
                expected="(batch, labels)",
                received=tuple(y_pred.shape),
            )
        if not self._built:
            self._build(y_pred.shape[1])
        super().update_state(y_true, y_pred.sigmoid() if self.from_logits else y_pred, sample_weight)

    def _label_weights(self, like: Tensor) -> Tensor:
        return convert_to_tensor(self.label_weights, like.dtype, like.device)

    def _with_label_weights(self, weights: Tensor | None, y_pred: Tensor) -> Tensor | None:
        if self.label_weights is None or self.multi_label:
            return weights
        per_label = self._label_weights(y_pred).unsqueeze(0)
        return per_label if weights is None else weights * per_label

    def result(self) -> Tensor:
        """The area."""
        if not self._built:
            return torch.zeros((), dtype=self._torch_dtype)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self.interpolate_pr_auc()
        x, y = self._curve()
        lower, upper = torch.minimum(y[:-1], y[1:]), torch.maximum(y[:-1], y[1:])
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2.0,
            "minoring": lower,
            "majoring": upper,
        }[self.summation_method]
        return self._total((x[:-1] - x[1:]) * heights)

    def _curve(self) -> tuple[Tensor, Tensor]:
        """The curve's points at each threshold."""
        tp, fp = self.true_positives.detach(), self.false_positives.detach()
        tn, fn = self.true_negatives.detach(), self.false_negatives.detach()
        if self.curve == "ROC":
            return _rate(fp, tn), _rate(tp, fn)
        if self.curve == "PR":
            return _rate(tp, fn), _rate(tp, fp)
        odds = divide_no_nan(tp + fn, tn + fp)
        recall_gain = torch.where(tp == 0, 0.0, 1.0 - odds * divide_no_nan(fn, tp)).clamp_min(0.0)
        return recall_gain, torch.where(tp == 0, 1.0, 1.0 - odds * divide_no_nan(fp, tp))

    def _total(self, steps: Tensor) -> Tensor:
        """The sum of the steps; with several labels, its average over them."""
        if not self.multi_label:
            return steps.sum()
        areas = steps.sum(0)
        if self.label_weights is None:
            return areas.mean()
        weights = self._label_weights(areas)
        return divide_no_nan((areas * weights).sum(), weights.sum())

    def interpolate_pr_auc(self) -> Tensor:
        """The area under the precision-recall curve, true positives taken as linear in positives between thresholds.

        Source: Davis and Goadrich 2006, https://minds.wisconsin.edu/bitstream/handle/1793/60482/TR1551.pdf
        """
        tp = self.true_positives.detach()
        positives = tp + self.false_positives
        gained = tp[:-1] - tp[1:]
        slope = divide_no_nan(gained, (positives[:-1] - positives[1:]).clamp_min(0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        ratio = torch.where(both, divide_no_nan(positives[:-1], positives[1:].clamp_min(0)), 1.0)
        true = (tp[1:] + self.false_negatives[1:]).clamp_min(0)
        return self._total(divide_no_nan(slope * (gained + intercept * ratio.log()), true))

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; thresholds only where they were given."""
        given = super().get_config()
        del given["thresholds"]
        if self.init_thresholds is not None:
            given["thresholds"] = self.thresholds[1:-1]
        return given
