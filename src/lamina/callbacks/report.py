"""A page about the training, written while it goes on."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import distributed

from lamina.callbacks.base import Callback
from lamina.report.page import Progress, architecture_of, checked, write_report


class Report(Callback):
    """Writes a page about the training: curves, architecture, findings, mistakes, and what the numbers depend on.

    The page is one file without script that needs no network. It is written anew after epochs, at most every few
    seconds, always as a whole; a browser that shows it loads it again by itself until the training has ended.
    `lamina watch FOLDER` serves it on this machine. Of several processes that train together the first alone writes.

    Args:
        path: the file, ending in .html.
        x: inputs to be shown at the end with what the model says; or something that gives batches (x, y).
        y: their targets.
        every: seconds that lie between two pages at least; None to write at the end only.
        batches: whether results are noted between epochs too, as often as a page is written.
        class_names: the names of the classes; their numbers by default.
        title: stands above the page; the name of the model by default.

    Raises:
        ArgumentError: the path does not end in .html.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[Report("report.html")])
        >>> Path("report.html").read_text().startswith("<!DOCTYPE html>")
        True
    """

    keeps_logs = False
    hears_every_batch = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Any = None,
        y: Any = None,
        every: float | None = 5.0,
        batches: bool = False,
        class_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__()
        self.path = checked(path)
        self.every = every
        self._told = {"x": x, "y": y}
        self._shown: dict[str, Any] = {"class_names": class_names, "title": title}
        self._batches: dict[str, tuple[list[float], list[float]]] = {}
        self._steps = self._epoch = 0
        self._written = float("-inf")
        self._open = False
        if not batches or every is None:
            self.idle_hooks = frozenset({"on_train_batch_end"})

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        self._batches, self._steps, self._epoch = {}, 0, 0
        self._shown["architecture"] = architecture_of(self.model)
        self._written, self._open = float("-inf"), True
        self._maybe_write({})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the results so far, now and then."""
        self._steps = self._epoch * ((self.params or {}).get("steps") or 0) + batch + 1
        if not self._is_due():
            return
        for name, value in (logs or {}).items():
            steps, values = self._batches.setdefault(name, ([], []))
            steps.append(self._steps)
            values.append(float(value))
        self._maybe_write(self._results())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the page, if the last one is old enough."""
        self._epoch = epoch + 1
        results = self._results()
        history = self.model.history
        if history is None or epoch not in history.epoch:  # it is told after this callback
            results = {name: [*results.get(name, ()), value] for name, value in (logs or {}).items()}
        self._maybe_write(results)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the last page, with what the model says of the samples."""
        epochs = (self.params or {}).get("epochs")
        state = "finished" if self._epoch == epochs else "stopped"
        self._open = False
        self._write(self._results(), Progress(state, self._epoch, epochs, batches=self._batches), **self._told)

    def close(self) -> None:
        """Say on the page why the training did not reach its end, where an exception ended it."""
        error = sys.exc_info()[1]
        if self._open and error is not None:
            self._open = False
            epochs = (self.params or {}).get("epochs")
            reason = "".join(traceback.format_exception_only(error)).strip()
            with contextlib.suppress(OSError):  # what is under way already tells more
                self._write(self._results(), Progress("failed", self._epoch, epochs, None, self._batches, reason))

    def looks_at(self, x: Any, y: Any) -> None:
        """Receive samples for the last page, where it has none of its own.

        Args:
            x: inputs, or something that gives batches (x, y).
            y: their targets.
        """
        if self._told["x"] is None:
            self._told = {"x": x, "y": y}

    def _results(self) -> dict[str, Any]:
        return {} if self.model.history is None else self.model.history.history

    def _is_due(self) -> bool:
        return self.every is not None and time.monotonic() - self._written >= self.every

    def _maybe_write(self, results: Mapping[str, Sequence[Any]]) -> None:
        if self._is_due():
            refresh = max(1, round(self.every or 1))
            epochs = (self.params or {}).get("epochs")
            self._write(results, Progress("running", self._epoch, epochs, refresh, self._batches))
            self._written = time.monotonic()

    def _write(self, results: Mapping[str, Sequence[Any]], progress: Progress, **told: Any) -> None:
        if distributed.is_available() and distributed.is_initialized():
            if distributed.get_rank():
                return
            # A model whose weights are spread over the processes runs in all of them or waits for ever.
            if any(hasattr(weight, "device_mesh") for weight in self.model.parameters()):
                told = {}
        history = self.model.history
        findings = getattr(history, "findings", None) or ()
        fingerprint = None if history is None else history.fingerprint
        known = {"findings": findings, "fingerprint": fingerprint, "progress": progress, **self._shown, **told}
        try:
            write_report(self.path, results, self.model, **known)
        except OSError as error:
            if not self._epoch:
                raise
            # A full disk is no reason to lose a training that is under way.
            warnings.warn(f"The report could not be written: {error}", stacklevel=2)
