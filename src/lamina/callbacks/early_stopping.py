"""Stopping when a result gets no better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lamina.callbacks.monitor import MonitorCallback
from lamina.core.config import say
from lamina.core.errors import check_number


class EarlyStopping(MonitorCallback):
    """Ends training when a result has not improved for a number of epochs.

    Args:
        monitor: the result's name in the logs.
        min_delta: improvements smaller than this do not count.
        patience: epochs without improvement to bear.
        verbose: 1 prints a line when it acts.
        mode: "min", "max" or "auto".
        baseline: a value that must be beaten for an epoch to count as an improvement.
        restore_best_weights: whether the model gets the weights of its best epoch at the end; they are kept as copies
            on the model's device.
        start_from_epoch: epochs to let pass before watching.

    Example:
        >>> EarlyStopping(monitor="loss", patience=3).patience
        3

    Source: https://keras.io/api/callbacks/early_stopping/
    """

    kept = ("best", "wait", "stopped_epoch", "best_epoch", "best_weights")
    _forms: Mapping[str, Any] = {**MonitorCallback._forms, "best_weights": (None, [torch.Tensor])}

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        check_number(patience, "EarlyStopping(patience=...)", least=0, whole=False)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: list[torch.Tensor] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier training."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = None
        self.best_weights = None
        self._missed = False

    def get_monitor_value(self, logs: Mapping[str, Any] | None) -> Any:
        """The monitored result, or None with a warning."""
        return self.find(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, and perhaps stop."""
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.is_improvement(current, self.best):
            self.best = current
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self.is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Say so, and restore the best weights."""
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: stopped early")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring the weights of epoch {self.best_epoch + 1}, the best")
            with torch.no_grad():
                for weight, best in zip(self.model.weights, self.best_weights, strict=True):
                    weight.copy_(torch.as_tensor(best))

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        with torch.no_grad():
            self.best_weights = [weight.detach().clone() for weight in self.model.weights]
