"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lamina.core.errors import FileError

AGAIN = "copy or fetch the file again, or save it anew"
"""What helps where a file is damaged."""


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
        sync_folder(target.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)


def replace_folder(scratch: Path, path: Path) -> None:
    """Let a complete folder take the place of another, or of nothing; the older one is removed.

    Where the system can exchange two names at once (Linux), there is a whole folder at `path` at every moment.
    """
    if not path.exists():
        os.replace(scratch, path)
    elif not _exchange(scratch, path):
        older = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.old.", dir=path.parent))
        os.replace(path, older)
        os.replace(scratch, path)
        shutil.rmtree(older)
    sync_folder(path.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; whether the system can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2
    return rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def sync_folder(folder: Path) -> None:
    """Make names in a folder last through a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_file(path: Path) -> BinaryIO:
    """The file, open for reading.

    Raises:
        FileError: it is missing, may not be read, or is no plain file: to open a pipe may never come to an end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(
                "This is no plain file.",
                where=str(path),
                expected="the path of a file",
                received="a folder" if path.is_dir() else "a device or a pipe",
            )
        return path.open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            "The file cannot be opened.",
            where=str(path)[:400],
            received=getattr(error, "strerror", None) or error,
            fix="check the path, which is looked up from the working folder, and who may read it",
        ) from error


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
