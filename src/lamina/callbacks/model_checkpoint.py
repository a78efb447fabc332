"""Saving during training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.callbacks.monitor import MonitorCallback
from lamina.core.config import say
from lamina.core.errors import ArgumentError, FileError, check_type, nearest, warn_once


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, after epochs or after a number of batches.

    Args:
        filepath: where to; may hold `{epoch}` (from 1), `{batch}` and results such as `{val_loss:.2f}`. It ends in
            ".keras" or ".h5", and in ".weights.h5" if only weights are saved.
        monitor: the result that decides what is best.
        verbose: 1 prints a line when it acts.
        save_best_only: whether to save only when the result has improved.
        save_weights_only: whether to save weights (`model.save_weights`) instead of the model (`model.save`).
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: a value to be beaten by the first save.

    Raises:
        ArgumentError: a path of another ending, or an unknown save_freq.

    Example:
        >>> ModelCheckpoint("best.keras", monitor="val_accuracy", mode="max", save_best_only=True).filepath
        'best.keras'

    Source: https://keras.io/api/callbacks/model_checkpoint/
    """

    keeps_logs = False
    kept = ("best", "_batches", "_last_batch")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        check_type(filepath, (str, os.PathLike), "ModelCheckpoint(filepath=...)", "a path")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._epoch = 0
        self._batches = 0
        self._last_batch = -1
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(
                "save_freq is not usable.",
                where="ModelCheckpoint(save_freq=...)",
                expected='"epoch" or a number of batches',
                received=repr(save_freq),
            )
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            raise ArgumentError(
                "The path has the wrong ending for what is saved.",
                where="ModelCheckpoint(filepath=...)",
                expected=" or ".join(endings),
                received=self.filepath,
            )
        if save_freq == "epoch" and type(self).on_train_batch_end is ModelCheckpoint.on_train_batch_end:
            self.idle_hooks = frozenset({"on_train_batch_end"})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save after every `save_freq` batches."""
        if not isinstance(self.save_freq, int):
            return
        self._batches += batch - self._last_batch if batch > self._last_batch else batch + 1
        self._last_batch = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save after an epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _save(self, epoch: int, batch: int | None, logs: Any) -> None:
        path = self._path(epoch, batch, logs or {})
        if not self._is_due(epoch, logs or {}, path):
            return
        if os.path.isdir(path):
            where, fix = "ModelCheckpoint(filepath=...)", f"name a file in it: {path}/model.keras"
            raise FileError("The checkpoint's path is a folder.", where=where, received=path, fix=fix)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)

    def _is_due(self, epoch: int, logs: Any, path: str) -> bool:
        """Whether to save now."""
        said = f"\nEpoch {epoch + 1}: "
        if not self.save_best_only:
            self._say(f"{said}saving to {path}")
            return True
        current = self.find(logs)
        if current is None:
            return True
        if isinstance(current, (np.ndarray, torch.Tensor)) and current.ndim > 0:
            warn_once(f'ModelCheckpoint: "{self.monitor}" is not a single number, so every epoch is saved.')
            return True
        best = "nothing" if self.best is None else f"{self.best:.5f}"
        current = float(current)
        if not self.is_improvement(current, self.best):
            self._say(f"{said}{self.monitor} is no better than {best}")
            return False
        self._say(f"{said}{self.monitor} went from {best} to {current:.5f}, saving to {path}")
        self.best = current
        return True

    def _say(self, message: str) -> None:
        if self.verbose > 0:
            say(message)

    def _path(self, epoch: int, batch: int | None, logs: Any) -> str:
        values = {**logs, "epoch": epoch + 1}
        if batch is not None:
            values["batch"] = batch + 1
        try:
            return self.filepath.format(**values)
        except KeyError as error:
            name = str(error.args[0])
            raise ArgumentError(
                f'The path names a result there is not: "{name}".{nearest(name, values)}',
                where="ModelCheckpoint(filepath=...)",
                expected=", ".join(values),
                received=self.filepath,
            ) from None
        except (IndexError, ValueError) as error:
            what, where = f"The path is no pattern: {error}.", "ModelCheckpoint(filepath=...)"
            fix = 'name what to fill in and how, e.g. "{epoch:02d}-{loss:.2f}.keras"'
            raise ArgumentError(what, where=where, received=self.filepath, fix=fix) from None
