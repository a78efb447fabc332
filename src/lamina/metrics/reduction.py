"""Sums and means over all batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lamina.core.errors import DataError, ShapeError
from lamina.core.registry import builtin
from lamina.core.serialization import serialize_keras_object
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import align_ranks, apply_mask, divide_no_nan, is_loss, shortcut
from lamina.metrics.base import Metric, Tensor


def _tensor(values: Any, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    if isinstance(values, Tensor):
        return values
    if values is None:
        raise DataError("A metric was given None.", where="metrics", fix="return a value from the metric's function")
    return convert_to_tensor(values, dtype, device)


def _rows(values: Tensor) -> int:
    """The number of samples: the size of the first axis, 1 without axes."""
    return values.shape[0] if values.dim() else 1


def _weights(values: Tensor, sample_weight: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values and weights of one rank, a mask on the values put into the weights."""
    mask = getattr(values, "_keras_mask", None)
    values = values.to(dtype)
    weights = apply_mask(_tensor(sample_weight, dtype, values.device), mask, dtype, "sum")
    assert weights is not None
    return align_ranks(values, weights.to(dtype))


@builtin("keras.metrics")
class Sum(Metric):
    """The sum of all values.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> metric = Sum()
        >>> metric.update_state([1.0, 3.0, 5.0])
        >>> metric.result()
        tensor(9.)

    Source: https://keras.io/api/metrics/reduction_metrics/#sum-class
    """

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), dtype=self.dtype, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values, of shape (batch, ...), each times its weight."""
        values = _tensor(values, self._torch_dtype)
        if sample_weight is not None:
            values, weights = _weights(values, sample_weight, self._torch_dtype)
            if values.dim() > weights.dim():
                values = values.sum(tuple(range(weights.dim(), values.dim())))
            values = values * weights.broadcast_to(values.shape)
        self.total.add_(values.sum(dtype=self._torch_dtype))

    def result(self) -> Tensor:
        """The sum."""
        return self.total.detach().clone()


@builtin("keras.metrics")
class Mean(Metric):
    """The mean of all values, each sample weighing the same however the batches are cut.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> metric = Mean()
        >>> metric.update_state([1.0, 3.0, 5.0])
        >>> metric.update_state([7.0])
        >>> metric.result()
        tensor(4.)

    Source: https://keras.io/api/metrics/reduction_metrics/#mean-class
    """

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), dtype=self.dtype, name="total")
        self.count = self.add_variable((), dtype=self.dtype, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values, of shape (batch, ...), with one weight per sample or per value."""
        self._add(_tensor(values, self._torch_dtype), sample_weight)

    def _add(self, values: Tensor, sample_weight: Any = None) -> None:
        if sample_weight is None:
            rows, size = _rows(values), values.numel()
            total = values if not values.dim() else values.sum(dtype=self._torch_dtype)
            self.total.add_(total, alpha=rows / size if size else 1.0)
            self.count.add_(rows)
        elif not values.dim() and isinstance(sample_weight, (int, float)):
            self.total.add_(values, alpha=sample_weight)
            self.count.add_(sample_weight)
        else:
            self._add_weighted(values, sample_weight)

    def _add_weighted(self, values: Tensor, sample_weight: Any) -> None:
        values, weights = _weights(values, sample_weight, self._torch_dtype)
        rank = weights.dim()
        if values.dim() > rank:
            values = values.mean(tuple(range(rank, values.dim())))
        try:
            weights = weights.broadcast_to(values.shape)
        except RuntimeError:
            raise ShapeError(
                "The sample weights do not fit the values.",
                where=f"metric '{self.name}'",
                expected=f"a shape that broadcasts to {tuple(values.shape)}",
                received=tuple(weights.shape),
                fix="give one weight per sample",
            ) from None
        share = _rows(values) / values.numel() if values.numel() else 1.0
        self.total.add_((values * weights).sum(), alpha=share)
        self.count.add_(weights.sum(), alpha=share if rank > 1 else 1.0)

    def result(self) -> Tensor:
        """The mean; 0 before the first update."""
        return divide_no_nan(self.total.detach(), self.count)


@builtin("keras.metrics")
class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred, **kwargs) that returns one value per sample.

    Args:
        fn: the function.
        name: see `Metric`.
        dtype: see `Metric`.
        **kwargs: passed on to the function.

    Example:
        >>> metric = MeanMetricWrapper(lambda y_true, y_pred: (y_true - y_pred).abs())
        >>> metric(torch.zeros(2), torch.tensor([1.0, 3.0]))
        tensor(2.)

    Source: https://keras.io/api/metrics/reduction_metrics/#meanmetricwrapper-class
    """

    _config_drops: dict[str, Any] = {}

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, dtype=dtype)  # type: ignore[arg-type]
        self._fn = fn
        self._fn_kwargs = kwargs
        self._mean = shortcut(fn) if kwargs.get("axis", -1) == -1 else None
        if self._direction is None and is_loss(fn):
            self._direction = "down"

    @property
    def fn(self) -> Callable[..., Any]:
        """The function."""
        return self._fn

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add a batch of targets and predictions."""
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is None and sample_weight is None:
            if self._mean is not None and isinstance(y_pred, Tensor) and isinstance(y_true, Tensor):
                mean = self._mean_of_batch(y_true, y_pred)
                if mean is not None:
                    rows = y_pred.shape[0]
                    self.total.add_(mean, alpha=rows)
                    self.count.add_(rows)
                    return
            self._add(_tensor(self._fn(y_true, y_pred, **self._fn_kwargs), self._torch_dtype))
            return
        values = _tensor(self._fn(y_true, y_pred, **self._fn_kwargs), self._torch_dtype)
        if sample_weight is not None:
            sample_weight = _tensor(sample_weight, self._torch_dtype, values.device)
        self._add(values, apply_mask(sample_weight, mask, self._torch_dtype, "sum"))

    def _mean_of_batch(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        """The function's mean over the whole batch in one torch call, where that is the mean over the samples."""
        assert self._mean is not None
        mean, any_targets = self._mean
        if y_pred.dim() < 2 or y_pred.dtype is not self._torch_dtype:
            return None
        if not any_targets and y_true.dtype is not y_pred.dtype:
            y_true = y_true.to(y_pred.dtype)
        return mean(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; those that Keras leaves out only where they are not the default."""
        if type(self) is MeanMetricWrapper:
            options = serialize_keras_object(self._fn_kwargs)
            return {"name": self.name, "dtype": self.dtype, "fn": serialize_keras_object(self._fn), **options}
        given = super().get_config()
        for key, default in self._config_drops.items():
            if key in given and given[key] == default:
                del given[key]
        return given
