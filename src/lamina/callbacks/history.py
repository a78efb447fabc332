"""What happened, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.callbacks.base import Callback
from lamina.core.forms import COUNT
from lamina.doctor.finding import Findings
from lamina.report.page import write_report
from lamina.visualization.curves import plot_history


class History(Callback):
    """Keeps the results of every epoch. `fit` makes one and returns it.

    Attributes:
        history: a list of numbers for each result.
        epoch: the numbers of the epochs, from 0.
        findings: what a `Doctor` found.

    Example:
        >>> history = History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> history.history
        {'loss': [0.5]}

    Source: https://keras.io/api/models/model_training_apis/#fit-method
    """

    kept = ("history", "epoch")
    _forms: Mapping[str, Any] = {"history": {str: list}, "epoch": [COUNT]}

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.findings = Findings()
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

    def plot(self, path: str | os.PathLike[str] | None = None, names: Sequence[str] | None = None) -> Any:
        """Draw the results of training and validation over the epochs.

        Args:
            path: the file to write; its ending says which kind.
            names: which results to draw; all by default.

        Returns:
            The matplotlib figure.

        Raises:
            ArgumentError: there is nothing to draw, or a name is not among the results.
            MissingPackageError: matplotlib is not installed.
        """
        return plot_history(self, path, names)

    def report(
        self,
        path: str | os.PathLike[str],
        model: Any = None,
        x: Any = None,
        y: Any = None,
        class_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> Path:
        """Write a page about the training: one HTML file that needs nothing else. See docs/pictures.md.

        Args:
            path: the file, ending in .html.
            model: the model; by default the one that was trained.
            x: inputs to be shown with what the model says, or a DataLoader or PyDataset of batches (x, y).
            y: their targets.
            class_names: the names of the classes; their numbers by default.
            title: stands above the page; the name of the model by default.

        Returns:
            The file.

        Raises:
            ArgumentError: the path does not end in .html.

        Example:
            >>> history = History()
            >>> history.on_epoch_end(0, {"loss": 0.5})
            >>> history.report("report.html").name
            'report.html'
        """
        model = self.model if model is None else model
        shown: dict[str, Any] = {"class_names": class_names, "title": title}
        return write_report(path, self.history, model, x, y, self.findings, self.fingerprint, **shown)

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
