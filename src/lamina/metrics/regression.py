"""Errors of numbers and correlations, averaged over all batches."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import Tensor, align_ranks, pair
from lamina.losses.regression import (
    cosine_of,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from lamina.metrics.base import Metric
from lamina.metrics.reduction import Mean, MeanMetricWrapper


@builtin("keras.metrics")
class MeanSquaredError(MeanMetricWrapper):
    """The mean of the squares of the errors.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> MeanSquaredError()(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/metrics/regression_metrics/#meansquarederror-class
    """

    _direction = "down"

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_error, name, dtype)


@builtin("keras.metrics")
class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of the sizes of the errors.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> MeanAbsoluteError()(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/metrics/regression_metrics/#meanabsoluteerror-class
    """

    _direction = "down"

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_error, name, dtype)


@builtin("keras.metrics")
class MeanAbsolutePercentageError(MeanMetricWrapper):
    """The mean of the sizes of the errors, in percent of the targets.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> MeanAbsolutePercentageError()(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        tensor(50.)

    Source: https://keras.io/api/metrics/regression_metrics/#meanabsolutepercentageerror-class
    """

    _direction = "down"

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_percentage_error, name, dtype)


@builtin("keras.metrics")
class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """The mean of the squares of the differences of log(1 + value).

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> MeanSquaredLogarithmicError()(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
        tensor(0.)

    Source: https://keras.io/api/metrics/regression_metrics/#meansquaredlogarithmicerror-class
    """

    _direction = "down"

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_logarithmic_error, name, dtype)


@builtin("keras.metrics")
class LogCoshError(MeanMetricWrapper):
    """The mean of the logarithm of the hyperbolic cosine of the errors.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> LogCoshError()(torch.tensor([[0.0]]), torch.tensor([[0.0]]))
        tensor(0.)

    Source: https://keras.io/api/metrics/regression_metrics/#logcosherror-class
    """

    _direction = "down"

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(log_cosh, name, dtype)


@builtin("keras.metrics")
class CosineSimilarity(MeanMetricWrapper):
    """The mean cosine of the angle between targets and predictions.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        axis: the axis the vectors lie along.

    Example:
        >>> CosineSimilarity()(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(1.)

    Source: https://keras.io/api/metrics/regression_metrics/#cosinesimilarity-class
    """

    _direction = "up"
    _config_drops = {"axis": -1}

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(cosine_of, name, dtype, axis=axis)
        self.axis = axis


@builtin("keras.metrics")
class RootMeanSquaredError(Mean):
    """The square root of the mean of the squares of all errors.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> RootMeanSquaredError()(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 3.0]))
        tensor(3.)

    Source: https://keras.io/api/metrics/regression_metrics/#rootmeansquarederror-class
    """

    _direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add a batch of targets and predictions."""
        y_pred = convert_to_tensor(y_pred, self._torch_dtype)
        y_true = convert_to_tensor(y_true, self._torch_dtype, y_pred.device)
        y_true, y_pred = align_ranks(y_true, y_pred)
        self._add((y_pred - y_true).square_(), sample_weight)

    def result(self) -> Tensor:
        """The root of the mean."""
        return super().result().sqrt()


@builtin("keras.metrics")
class R2Score(Metric):
    """The coefficient of determination: 1 for perfect predictions, 0 for those no better than the mean.

    Args:
        class_aggregation: how the scores of the outputs become one: "uniform_average", "variance_weighted_average",
            or None to leave them.
        num_regressors: the number of independent regressors, for the adjusted score; 0 for the plain one.
        name: see `Metric`.
        dtype: see `Metric`.

    Raises:
        ArgumentError: an unknown aggregation, or a negative number of regressors.
        ShapeError: the data are not of shape (batch, outputs).

    Example:
        >>> R2Score()(torch.tensor([[1.0], [4.0], [3.0]]), torch.tensor([[2.0], [4.0], [4.0]]))
        tensor(0.5714)

    Source: https://keras.io/api/metrics/regression_metrics/#r2score-class
    """

    _direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        allowed = (None, "uniform_average", "variance_weighted_average")
        one_of(class_aggregation, allowed, "R2Score, class_aggregation")
        if num_regressors < 0:
            raise ArgumentError("This is no count.", where="num_regressors", expected=">= 0", received=num_regressors)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self.add_variable((), name="num_samples")
        self._built = False

    def _build(self, y_true: Tensor, y_pred: Tensor) -> None:
        if y_pred.dim() != 2 or y_true.dim() != 2:
            raise ShapeError(
                "Targets or predictions are not of rank 2.",
                where=f"metric '{self.name}'",
                expected="(batch, outputs)",
                received=f"y_true {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}",
            )
        outputs = y_pred.shape[1:]
        self.squared_sum = self.add_variable(outputs, name="squared_sum")
        self.sum = self.add_variable(outputs, name="sum")
        self.total_mse = self.add_variable(outputs, name="residual")
        self.count = self.add_variable(outputs, name="count")
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of targets and predictions, of shape (batch, outputs)."""
        y_pred = convert_to_tensor(y_pred, self._torch_dtype)
        y_true = convert_to_tensor(y_true, self._torch_dtype, y_pred.device)
        y_true, y_pred = align_ranks(y_true, y_pred)
        if not self._built:
            self._build(y_true, y_pred)
        weights = convert_to_tensor(1 if sample_weight is None else sample_weight, self._torch_dtype, y_pred.device)
        if weights.dim() == 1:
            weights = weights.unsqueeze(1)
        weights = weights.broadcast_to(y_true.shape)
        weighted = y_true * weights
        self.sum.add_(weighted.sum(0))
        self.squared_sum.add_((y_true * weighted).sum(0))
        self.total_mse.add_(((y_true - y_pred).square() * weights).sum(0))
        self.count.add_(weights.sum(0))
        self.num_samples.add_(y_true.numel())

    def result(self) -> Tensor:
        """The score, of all outputs or of each."""
        if not self._built:
            return torch.zeros((), dtype=self._torch_dtype, device=self.num_samples.device)
        total = self.squared_sum.detach() - self.sum * (self.sum / self.count)
        scores = 1 - self.total_mse.detach() / total
        scores = torch.where(scores.isinf(), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (total * scores).sum() / total.sum()
        if self.num_regressors:
            freedom = self.num_samples.detach() - self.num_regressors - 1
            adjusted = 1 - (1 - scores) * (self.num_samples - 1) / freedom
            scores = torch.where(freedom > 0, adjusted, scores)
        return scores


@builtin("keras.metrics")
def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Pearson's correlation of targets and predictions along an axis.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis the correlation is taken along.

    Example:
        >>> pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(decimals=4)
        tensor([1.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    true, pred = (x - x.mean(axis, keepdim=True) for x in (y_true, y_pred))
    true, pred = (x / x.std(axis, correction=0, keepdim=True) for x in (true, pred))
    return (true * pred).mean(axis)


@builtin("keras.metrics")
def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The concordance correlation: how near pairs of values lie to the line of equality.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis the correlation is taken along.

    Example:
        >>> concordance_correlation([[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]]).round(decimals=4)
        tensor([1.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    true_mean, pred_mean = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
    spread = sum(x.var(axis, correction=0, keepdim=True) for x in (y_true - true_mean, y_pred - pred_mean))
    covariance = (y_true - pred_mean) * (y_pred - pred_mean)
    size = spread + (true_mean - pred_mean).square() + config.epsilon()
    return (2 * covariance / size).mean(axis)


@builtin("keras.metrics")
class PearsonCorrelation(MeanMetricWrapper):
    """The mean of Pearson's correlation of targets and predictions.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        axis: the axis the correlation is taken along.

    Example:
        >>> metric = PearsonCorrelation()
        >>> metric(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 5.0]])).round(decimals=4)
        tensor(1.)

    Source: https://keras.io/api/metrics/correlation_metrics/#pearsoncorrelation-class
    """

    _direction = "up"

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


@builtin("keras.metrics")
class ConcordanceCorrelation(MeanMetricWrapper):
    """The mean of the concordance correlation of targets and predictions.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        axis: the axis the correlation is taken along.

    Example:
        >>> metric = ConcordanceCorrelation()
        >>> metric(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 2.0]])).round(decimals=4)
        tensor(1.)

    Source: https://keras.io/api/metrics/correlation_metrics/#concordancecorrelation-class
    """

    _direction = "up"

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)
        self.axis = axis
