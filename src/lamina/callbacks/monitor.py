"""What callbacks that watch a result have in common."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lamina import ops
from lamina.callbacks.base import Callback
from lamina.core.errors import ArgumentError, check_number, listing, nearest
from lamina.core.forms import NUMBER

_HIGH = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "iou",
    "r2",
    "top_k",
    "sensitivity",
    "specificity",
)
_LOW = ("loss", "error", "mse", "mae", "mape", "msle", "rmse", "entropy", "divergence", "hinge", "poisson")


class MonitorCallback(Callback):
    """Base of callbacks that compare a result of an epoch with the best so far.

    Args:
        monitor: the result's name in the logs, e.g. "val_loss" or "accuracy".
        mode: "min" or "max": whether less or more is better; "auto" tells by the metric.
        baseline: a value to be beaten first.
        min_delta: improvements smaller than this do not count.
    """

    kept = ("best",)
    _forms: Mapping[str, Any] = {"best": (None, NUMBER)}

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f'{type(self).__name__}: mode is "auto", "min" or "max", not {mode!r}; "auto" is used.',
                stacklevel=3,
            )
            mode = "auto"
        check_number(min_delta, f"{type(self).__name__}(min_delta=...)", whole=False)
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self._sign: int | None = None
        self._missed = False

    def is_improvement(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than the reference; any is better than None."""
        if self._sign is None:
            self._sign = self._direction()
        return reference is None or self._sign * (value - reference) > self.min_delta

    @property
    def monitor_op(self) -> Any:
        """`ops.greater` where more is better, `ops.less` where less is; None before the first comparison."""
        return None if self._sign is None else ops.greater if self._sign > 0 else ops.less

    def find(self, logs: Mapping[str, Any] | None) -> Any:
        """The monitored result, or None with a warning that names those there are."""
        value = (logs or {}).get(self.monitor)
        if value is None and not self._missed:
            self._missed = True
            self._refuse_unknown(logs or {})
            hint = " Pass validation_data to fit to get it." if self.monitor.startswith("val_") else ""
            warnings.warn(
                f'{type(self).__name__} watches "{self.monitor}", which is not among the results: '
                f"{', '.join(logs or {}) or 'none'}.{hint}",
                stacklevel=3,
            )
        return value

    def _refuse_unknown(self, logs: Mapping[str, Any]) -> None:
        """A name that is neither among the results nor tells which way is better can only be a mistake."""
        try:
            self._direction()
        except ArgumentError:
            raise ArgumentError(
                f'"{self.monitor}" is not among the results.{nearest(self.monitor, logs)}',
                where=f"{type(self).__name__}(monitor=...)",
                expected=listing(logs) or "results of validation",
            ) from None

    def _direction(self) -> int:
        """1 where more is better, -1 where less is."""
        if self.mode != "auto":
            return 1 if self.mode == "max" else -1
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return -1
        for metric in _all_metrics(self.model):
            if name == metric.name or name.endswith(f"_{metric.name}"):
                direction = getattr(metric, "_direction", None)
                if direction is not None:
                    return 1 if direction == "up" else -1
        if any(part in name for part in _LOW):
            return -1
        if any(part in name for part in _HIGH):
            return 1
        raise ArgumentError(
            f'Whether more or less of "{self.monitor}" is better cannot be told by its name.',
            where=f"{type(self).__name__}(monitor=...)",
            fix='pass mode="min" or mode="max"',
        )


def _all_metrics(model: Any) -> list[Any]:
    metrics: list[Any] = []
    for metric in getattr(model, "metrics", None) or []:
        metrics.extend(getattr(metric, "metrics", [metric]))
    return metrics
