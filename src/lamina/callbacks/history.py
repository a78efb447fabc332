"""What happened, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.callbacks.base import Callback


class History(Callback):
    """Keeps the results of every epoch. `fit` makes one and returns it.

    Attributes:
        history: a list of numbers for each result.
        epoch: the numbers of the epochs, from 0.

    Example:
        >>> history = History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> history.history
        {'loss': [0.5]}

    Source: https://keras.io/api/models/model_training_apis/#fit-method
    """

    kept = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self._fingerprint: Callable[[], dict[str, Any]] = dict

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the results depend on: versions, device, threads, seed, hashes of data and configuration."""
        return self._fingerprint()

    def depends_on(self, fingerprint: Callable[[], dict[str, Any]]) -> None:
        """Receive the fingerprint of the run, as a function, so that it is made only if somebody asks.

        Args:
            fingerprint: gives it.
        """
        self._fingerprint = fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fingerprint": dict}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start counting epochs."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's results."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        if self.model is not None:
            self.model.history = self
