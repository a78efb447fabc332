"""Results of epochs as a table in a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lamina.callbacks.base import Callback
from lamina.core.errors import check_type
from lamina.core.forms import COUNT, check


class CSVLogger(Callback):
    """Writes a row of results for each epoch.

    Args:
        filename: the file.
        separator: what stands between two columns.
        append: whether rows are added to an existing file.

    Example:
        >>> CSVLogger("training.csv", append=True).append
        True

    Source: https://keras.io/api/callbacks/csv_logger/
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        check_type(filename, (str, os.PathLike), "CSVLogger(filename)", "a path")
        self.filename = os.fspath(filename)
        self.sep = separator
        self.append = append
        self.keys: list[str] | None = None
        self.csv_file: TextIO | None = None
        self._end: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file; what it holds goes when the first row is written, unless that row goes on from it."""
        self._close()
        self.keys = None
        self._end = None if self.append else 0
        self.csv_file = Path(self.filename).open("a", newline="")  # noqa: SIM115 - open between epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a row; columns for validation are there from the first, since it may come later."""
        if self.csv_file is None:
            return
        logs = logs or {}
        if self._end is not None:
            self.csv_file.truncate(self._end)
            self.csv_file.seek(0, os.SEEK_END)
            self._end = None
        writer = csv.writer(self.csv_file, delimiter=self.sep)
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]
            if self.csv_file.tell() == 0:
                writer.writerow(["epoch", *self.keys])
        writer.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
        self.csv_file.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        self._close()

    def get_state(self) -> dict[str, Any]:
        """The columns, and how long the file is."""
        size = 0 if self.csv_file is None else self.csv_file.tell() if self._end is None else self._end
        return {"keys": self.keys, "size": size}

    def _check_state(self, state: Any, where: str) -> None:
        """See whether these are columns and a length."""
        check(state, {"keys": (None, [str]), "size": COUNT}, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where the file ended; rows that were written later are written again."""
        self.keys = state["keys"]
        self._end = min(state["size"], os.path.getsize(self.filename))

    def _close(self) -> None:
        if self.csv_file is not None:
            self.csv_file.close()
            self.csv_file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "csv_file": None}


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0):
        return f'"[{", ".join(map(str, value))}]"'
    return value
