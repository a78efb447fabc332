"""How much memory training takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.logs import Logs

_STATUS = Path("/proc/self/statm")
_MIB = 1 << 20


class DeviceMemory(Callback):
    """Adds `device_memory` to the results, in MiB: the most that was in use at once during the epoch.

    On a CUDA device it is the memory of tensors, as torch's allocator counts it, without waiting for the device. On a
    CPU it is the resident set of the process, looked at when batches end; elsewhere nothing is added.

    Args:
        device: the device, e.g. "cuda:1"; that of the model's weights by default.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> history = model.fit(torch.ones(4, 2), torch.ones(4, 1), verbose=0, callbacks=[DeviceMemory()])
        >>> all(memory > 0 for memory in history.history.get("device_memory", []))
        True
    """

    keeps_logs = False
    hears_every_batch = False

    def __init__(self, device: str | torch.device | None = None) -> None:
        super().__init__()
        self.device = device
        self._peak = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        weight = next(self.model.parameters(), None)
        self._place = torch.device(self.device or ("cpu" if weight is None else weight.device))
        self._peak = 0.0
        if self._place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._place)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look, and add what was found."""
        self._peak = max(self._peak, self._in_use())
        if self._peak and isinstance(logs, Logs):
            logs.add({"device_memory": self._peak})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the most there was."""
        self._peak = max(self._peak, self._in_use())
        if self._peak and logs is not None:
            logs["device_memory"] = self._peak

    def _in_use(self) -> float:
        if self._place.type == "cuda":
            return torch.cuda.max_memory_allocated(self._place) / _MIB
        if self._place.type == "cpu" and _STATUS.exists():
            return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB
        return 0.0
