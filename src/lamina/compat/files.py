"""Files under the names that old scripts give them: whole models and weights in .h5 and .hdf5."""

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


def in_todays_format(path: Any) -> str:
    """The path of the .keras file that is written in place of an old one.

    Example:
        >>> in_todays_format("best.hdf5")
        'best.keras'
    """
    old = Path(path)
    return str(old.with_name(old.name.removesuffix(old.suffix) + ".keras"))


def saving_models(save: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (model, path) that writes whole models, which for an old path writes a .keras file beside it."""

    @functools.wraps(save)
    def call(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_old(filepath):
            return save(self, filepath, *args, **kwargs)
        kwargs.pop("save_format", None)
        kwargs.pop("include_optimizer", None)
        path = in_todays_format(filepath)
        say_once(f"Whole models are not written as HDF5: {path} is written in place of {filepath}.")
        return save(self, path, *args, **kwargs)

    return call


def loading_models(load: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a path that reads models, which for an old path reads the .keras file beside it."""

    @functools.wraps(load)
    def call(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        return load(_written_instead(filepath), *args, **kwargs)

    return call


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


def loading_weights(load: Callable[..., Any]) -> Callable[..., Any]:
    """`Model.load_weights` that for the old path of a whole model reads the .keras file beside it."""

    @functools.wraps(load)
    def call(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        return load(self, _written_instead(filepath), *args, **kwargs)

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


def _written_instead(filepath: Any) -> Any:
    """The .keras file that stands beside an old path at which there is nothing; else the path."""
    if is_old(filepath) and not os.path.exists(filepath) and os.path.exists(in_todays_format(filepath)):
        return in_todays_format(filepath)
    return filepath
