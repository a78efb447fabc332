"""Weights and checkpoints under the names that old scripts give them, in .h5 and .hdf5."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamina.core.errors import say_once
from lamina.saving.files import may_write

_OLD = (".h5", ".hdf5")


def is_old(path: Any) -> bool:
    """Whether a path has an ending of earlier versions."""
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    return name.endswith(_OLD) and not name.endswith(".weights.h5")


def saving_weights(save: Callable[..., Any]) -> Callable[..., Any]:
    """`Model.save_weights` that takes old paths too; what it writes there is of today's layout."""

    @functools.wraps(save)
    def call(self: Any, filepath: Any, overwrite: bool = True, **kwargs: Any) -> Any:
        kwargs.pop("save_format", None)
        if not is_old(filepath):
            return save(self, filepath, overwrite=overwrite, **kwargs)
        say_once("save_weights with a path in .h5 or .hdf5 is old; let it end in .weights.h5.")
        if may_write(Path(filepath), overwrite):
            interim = f"{os.fspath(filepath)}.weights.h5"
            save(self, interim, **kwargs)
            os.replace(interim, filepath)
        return None

    return call


def checkpoints(init: Callable[..., None]) -> Callable[..., None]:
    """`ModelCheckpoint.__init__` that takes old paths and `period`, the number of epochs between files."""

    @functools.wraps(init)
    def call(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.pop("period", 1) != 1:
            say_once("ModelCheckpoint(period=...) is an old argument without effect; use save_freq=.")
        if not is_old(filepath):
            init(self, filepath, *args, **kwargs)
            return
        # save_weights_only is the fifth argument.
        for_weights = args[3] if len(args) > 3 else kwargs.get("save_weights_only", False)
        ending = ".weights.h5" if for_weights else ".keras"
        init(self, os.fspath(filepath) + ending, *args, **kwargs)
        self.filepath = os.fspath(filepath)

    return call
