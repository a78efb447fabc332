"""Backups of a training, to begin with after it was interrupted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lamina.callbacks.base import Callback
from lamina.core.errors import ArgumentError, StateError


class BackupAndRestore(Callback):
    """Backs up the model, its optimizer and the epoch, and begins with them if training was interrupted.

    As in Keras, an epoch that was interrupted begins anew, and the history and other callbacks know only the epochs
    since. `fit(resume=folder)` goes on exactly where training was, with everything as it was.

    Args:
        backup_dir: the folder for backups of this training; nothing else may use it.
        save_freq: "epoch", or a number of batches.
        double_checkpoint: whether to keep the backup before the last too, to fall back on if the last is damaged.
        delete_checkpoint: whether to remove the backups when training has come to its end.

    Raises:
        ArgumentError: no folder, or an unknown save_freq.

    Example:
        >>> BackupAndRestore("backup").save_freq
        'epoch'

    Source: https://keras.io/api/callbacks/backup_and_restore/
    """

    keeps_logs = False

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: int | str = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ArgumentError(
                "There is no folder for backups.",
                where="BackupAndRestore(backup_dir=...)",
                expected="a path",
                received=repr(backup_dir),
            )
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(
                "save_freq is not usable.",
                where="BackupAndRestore(save_freq=...)",
                expected='"epoch" or a number of batches',
                received=repr(save_freq),
            )
        self.backup_dir = backup_dir
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self.backup: Any = None
        self._batches_seen_since_last_saving = 0
        self._last_batch_seen = 0
        self._current_epoch = 0
        if save_freq == "epoch":
            self.idle_hooks = frozenset({"on_train_batch_end"})

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take up the last backup, if there is one."""
        epoch = self._used().restore()
        if epoch is not None:
            self.model._initial_epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Back up."""
        self._current_epoch = epoch + 1
        self._last_batch_seen = 0
        if self.save_freq == "epoch":
            self._save()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up after every so many batches."""
        if not isinstance(self.save_freq, int) or not self.save_freq:
            return
        seen = batch - self._last_batch_seen if batch > self._last_batch_seen else batch + 1
        self._batches_seen_since_last_saving += seen
        self._last_batch_seen = batch
        if self._batches_seen_since_last_saving >= self.save_freq:
            self._batches_seen_since_last_saving = 0
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the backups."""
        if self.delete_checkpoint:
            self._used().delete()

    def _save(self) -> None:
        self._used().save(self._current_epoch, self._last_batch_seen)

    def _used(self) -> Any:
        if self.backup is None:
            fix = "model.fit(x, y, callbacks=[BackupAndRestore(folder)])"
            raise StateError("BackupAndRestore works within fit() only.", where="BackupAndRestore", fix=fix)
        return self.backup
