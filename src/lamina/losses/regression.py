"""Losses of numbers: squared, absolute, relative and robust errors, and the angle between vectors."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from lamina.core import config
from lamina.core.registry import builtin
from lamina.losses.base import MEANS, LossFunctionWrapper, Tensor, align_ranks, overall, pair


def _whole(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor] | None:
    """Both with equal shapes and at least one element, or None."""
    if y_true.shape != y_pred.shape:
        y_true, y_pred = align_ranks(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            return None
    return (y_true, y_pred) if y_pred.numel() else None


def _mean_squared(y_true: Tensor, y_pred: Tensor) -> Tensor | None:
    both = _whole(y_true, y_pred)
    return None if both is None else F.mse_loss(both[1], both[0])


def _mean_absolute(y_true: Tensor, y_pred: Tensor) -> Tensor | None:
    both = _whole(y_true, y_pred)
    return None if both is None else F.l1_loss(both[1], both[0])


def _mean_huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor | None:
    both = _whole(y_true, y_pred)
    return None if both is None or delta <= 0 else F.huber_loss(both[1], both[0], delta=delta)


@builtin("keras.losses")
@overall(_mean_squared)
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of (y_true - y_pred)².

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.

    Example:
        >>> mean_squared_error([[0.0, 2.0]], [[1.0, 1.0]])
        tensor([1.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return F.mse_loss(y_pred, y_true, reduction="none").mean(-1)


@builtin("keras.losses")
@overall(_mean_absolute)
def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of |y_true - y_pred|.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.

    Example:
        >>> mean_absolute_error([[0.0, 2.0]], [[1.0, 1.0]])
        tensor([1.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return F.l1_loss(y_pred, y_true, reduction="none").mean(-1)


@builtin("keras.losses")
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """100 times the mean over the last axis of |y_true - y_pred| / max(|y_true|, epsilon).

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.

    Example:
        >>> mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 4.0]])
        tensor([25.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    size = y_true.abs().clamp_min(config.epsilon())
    return 100.0 * ((y_true - y_pred) / size).abs().mean(-1)


@builtin("keras.losses")
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of (log(1 + y_true) - log(1 + y_pred))², values under epsilon raised to it.

    Args:
        y_true: targets, shape (batch, ..., d), not negative.
        y_pred: predictions of the same shape.

    Example:
        >>> mean_squared_logarithmic_error([[0.0, 0.0]], [[0.0, 0.0]])
        tensor([0.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    least = y_pred.new_full((), config.epsilon())
    difference = torch.maximum(y_pred, least).log1p() - torch.maximum(y_true, least).log1p()
    return difference.square().mean(-1)


@builtin("keras.losses")
@overall(_mean_huber)
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """The mean over the last axis of e²/2 for errors |e| <= delta, and of delta·(|e| - delta/2) beyond.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.
        delta: where the square passes into the line.

    Example:
        >>> huber([[0.0, 0.0]], [[1.0, 2.0]])
        tensor([1.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    if isinstance(delta, (int, float)) and delta > 0:
        return F.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)
    size = (y_pred - y_true).abs()
    return torch.where(size <= delta, 0.5 * size.square(), delta * size - 0.5 * delta * delta).mean(-1)


@builtin("keras.losses")
def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of log(cosh(y_pred - y_true)): a square near 0, a line far away.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.

    Example:
        >>> log_cosh([[0.0, 0.0]], [[0.0, 0.0]])
        tensor([0.])
    """
    y_true, y_pred = pair(y_true, y_pred)
    error = y_pred - y_true
    return (error + F.softplus(-2.0 * error) - math.log(2.0)).mean(-1)


def cosine_of(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The cosine of the angle between targets and predictions; 0 beside a vector of zeros."""
    y_true, y_pred = pair(y_true, y_pred)
    epsilon = config.epsilon()
    return (F.normalize(y_true, dim=axis, eps=epsilon) * F.normalize(y_pred, dim=axis, eps=epsilon)).sum(axis)


@builtin("keras.losses")
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between targets and predictions: -1 for the same direction.

    Args:
        y_true: targets, shape (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis the vectors lie along.

    Example:
        >>> cosine_similarity([[0.0, 2.0]], [[0.0, 1.0]])
        tensor([-1.])
    """
    return -cosine_of(y_true, y_pred, axis)


@builtin("keras.losses")
class MeanSquaredError(LossFunctionWrapper):
    """The mean of the squares of the errors.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> MeanSquaredError()(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/losses/regression_losses/#meansquarederror-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


@builtin("keras.losses")
class MeanAbsoluteError(LossFunctionWrapper):
    """The mean of the sizes of the errors.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> MeanAbsoluteError()(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/losses/regression_losses/#meanabsoluteerror-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


@builtin("keras.losses")
class MeanAbsolutePercentageError(LossFunctionWrapper):
    """The mean of the sizes of the errors, in percent of the targets.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> MeanAbsolutePercentageError()(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        tensor(50.)

    Source: https://keras.io/api/losses/regression_losses/#meanabsolutepercentageerror-class
    """

    def __init__(
        self,
        reduction: str | None = MEANS[0],
        name: str = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


@builtin("keras.losses")
class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """The mean of the squares of the differences of log(1 + value).

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> MeanSquaredLogarithmicError()(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
        tensor(0.)

    Source: https://keras.io/api/losses/regression_losses/#meansquaredlogarithmicerror-class
    """

    def __init__(
        self,
        reduction: str | None = MEANS[0],
        name: str = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


@builtin("keras.losses")
class CosineSimilarity(LossFunctionWrapper):
    """Minus the cosine of the angle between targets and predictions.

    Args:
        axis: the axis the vectors lie along.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> CosineSimilarity()(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(-1.)

    Source: https://keras.io/api/losses/regression_losses/#cosinesimilarity-class
    """

    _config_drops = {"axis": -1}

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = MEANS[0],
        name: str = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)
        self.axis = axis


@builtin("keras.losses")
class Huber(LossFunctionWrapper):
    """A squared error near 0 and an absolute one far away.

    Args:
        delta: where the square passes into the line.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> Huber(delta=1.0)(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        tensor(1.5000)

    Source: https://keras.io/api/losses/regression_losses/#huber-class
    """

    _config_drops = {"delta": 1.0}

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = MEANS[0],
        name: str = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(huber, reduction, name, dtype, delta=delta)
        self.delta = delta


@builtin("keras.losses")
class LogCosh(LossFunctionWrapper):
    """The logarithm of the hyperbolic cosine of the errors.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> LogCosh()(torch.tensor([[0.0]]), torch.tensor([[0.0]]))
        tensor(0.)

    Source: https://keras.io/api/losses/regression_losses/#logcosh-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "log_cosh", dtype: Any = None) -> None:
        super().__init__(log_cosh, reduction, name, dtype)
