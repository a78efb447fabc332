"""Checkpoints in a folder, the latest few of them, written while training goes on."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from lamina.callbacks.monitor import MonitorCallback
from lamina.core.config import say
from lamina.core.errors import ArgumentError


class OrbaxCheckpoint(MonitorCallback):
    """Saves checkpoints into numbered folders and keeps the latest of them.

    The name is Keras's; the files are lamina's own: HDF5 shards with a table, the architecture as JSON, no pickle, no
    need of Orbax. `lamina.saving.load_model(directory)` and `model.load_weights(directory)` read the newest,
    `load_model(f"{directory}/3")` a certain one. What is in a checkpoint is copied to the host at once; a thread writes
    it to the disk. The next checkpoint waits for the one before, so that there is never more than one copy.

    Of several processes, all take part in collecting weights that are spread over them, and the first one writes.

    Args:
        directory: the folder. Checkpoints of epochs are named by the epoch, from 0; others by the number of batches.
        monitor: the result that decides what is best.
        verbose: 1 prints a line for each checkpoint.
        save_best_only: whether to save only when the result has improved.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: a value to be beaten by the first save.
        max_to_keep: how many checkpoints are kept; None keeps all.
        save_on_background: whether a thread writes.
        save_weights_only: whether architecture, optimizer and the files of layers are left out.

    Raises:
        ArgumentError: an unknown save_freq.

    Example:
        >>> OrbaxCheckpoint("checkpoints", save_freq=500, max_to_keep=3).max_to_keep
        3

    Source: https://keras.io/api/callbacks/
    """

    keeps_logs = False
    kept = ("best", "_batches_seen_since_last_saving", "_last_batch_seen", "_total_batches_seen")

    def __init__(
        self,
        directory: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,
        save_weights_only: bool = False,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.directory = os.fspath(directory)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_freq = save_freq
        self.max_to_keep = max_to_keep
        self.save_on_background = save_on_background
        self.save_weights_only = save_weights_only
        self._batches_seen_since_last_saving = 0
        self._last_batch_seen = -1
        self._total_batches_seen = 0
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(
                "save_freq is not usable.",
                where="OrbaxCheckpoint(save_freq=...)",
                expected='"epoch" or a number of batches',
                received=repr(save_freq),
            )
        if save_freq == "epoch" and type(self).on_train_batch_end is OrbaxCheckpoint.on_train_batch_end:
            self.idle_hooks = frozenset({"on_train_batch_end"})

    def set_model(self, model: Any) -> None:
        """Receive the model; batches are counted on from those it has seen."""
        super().set_model(model)
        self._total_batches_seen = int(getattr(self.model.optimizer, "iterations", 0))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the folder."""
        Path(self.directory).mkdir(parents=True, exist_ok=True)

    def is_multihost_enabled(self) -> bool:
        """Whether several processes train together."""
        return torch.distributed.is_available() and torch.distributed.is_initialized()

    def is_primary_host(self) -> bool:
        """Whether this process is the one that writes."""
        return not self.is_multihost_enabled() or torch.distributed.get_rank() == 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save after every `save_freq` batches."""
        if not isinstance(self.save_freq, int):
            return
        seen = batch - self._last_batch_seen if batch > self._last_batch_seen else batch + 1
        self._last_batch_seen = batch
        self._total_batches_seen += seen
        self._batches_seen_since_last_saving += seen
        if self._batches_seen_since_last_saving >= self.save_freq:
            self._batches_seen_since_last_saving = 0
            self._save(self._total_batches_seen, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save after an epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Wait for the last checkpoint to be on the disk."""
        self.wait_until_finished()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def wait_until_finished(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            FileError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _save(self, step: int, logs: Any) -> None:
        if self.save_best_only:
            current = self.find(logs)
            if current is None or not self.is_improvement(current, self.best):
                return
            self.best = current
        self._save_checkpoint(step)

    def _save_checkpoint(self, step: int) -> None:
        self.wait_until_finished()
        snapshot = self.model._snapshot(self.save_weights_only)
        if not self.is_primary_host():
            return
        if self.verbose > 0:
            say(f"\nSaving checkpoint {step} to {self.directory}")
        if not self.save_on_background:
            self._write(snapshot, step)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending = self._thread.submit(self._write, snapshot, step)

    def _write(self, snapshot: Any, step: int) -> None:
        """Write a checkpoint, then remove what is too much; those that were there count as older, by their numbers."""
        folder = Path(self.directory)
        snapshot.write(folder / str(step))
        # Links and files of such names are none of ours.
        folders = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        others = [path for path in folders if path.name.isdecimal() and path.name != str(step)]
        if self.max_to_keep is not None:
            others.sort(key=lambda path: (int(path.name) < step, int(path.name)))
            for path in others[: max(0, len(others) + 1 - self.max_to_keep)]:
                shutil.rmtree(path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_thread": None, "_pending": None}
