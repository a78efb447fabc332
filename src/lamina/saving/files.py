"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lamina.core.errors import FileError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file beside `path` to write to; it takes the place of `path` when all went well, else it vanishes.

    Raises:
        FileError: the folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    scratch = target.with_name(f".{target.name[:60]}.{secrets.token_hex(6)}.part")
    try:
        descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise FileError(
            "The file cannot be written.",
            where=str(target),
            received=error.strerror,
            fix="make the folder, or choose another one",
        ) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)


def open_file(path: Path) -> BinaryIO:
    """The file, open for reading.

    Raises:
        FileError: it is missing or may not be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise FileError("The file cannot be opened.", where=str(path), received=error.strerror) from error


def may_write(path: str | os.PathLike[str], overwrite: bool) -> bool:
    """Whether to write; with `overwrite=False` a person at the terminal is asked about an existing file.

    Raises:
        FileError: the file exists and nobody can be asked.
    """
    if overwrite or not os.path.exists(path):
        return True
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise FileError("The file exists already.", where=str(path), fix="pass overwrite=True, or choose another name")
    return input(f"{path} exists already. Overwrite it? [y/N] ").strip().lower() in ("y", "yes")


def is_file_object(value: Any) -> bool:
    """Whether a value is an open file rather than a path."""
    return hasattr(value, "read") or hasattr(value, "write")
