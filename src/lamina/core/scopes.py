"""What is true during a call or a construction: the name scope, and whether shapes are being inferred."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _Local(threading.local):
    def __init__(self) -> None:
        self.names: list[tuple[str, object]] = []
        self.entry: object | None = None
        self.stand_in: int | None = None


_local = _Local()


@contextlib.contextmanager
def name_scope(name: str, caller: object = None) -> Iterator[None]:
    """Put `name/` before the paths of variables made inside; not again when the same caller opened the last scope.

    Example:
        >>> with name_scope("encoder"):
        ...     current_path()
        'encoder'
    """
    names = _local.names
    if caller is not None and names and names[-1][1] is caller:
        yield
        return
    names.append((name, caller))
    try:
        yield
    finally:
        names.pop()


def current_path() -> str:
    """The open name scopes, joined by slashes."""
    return "/".join(name for name, _ in _local.names)


def within(caller: object) -> bool:
    """Whether a scope that this caller opened is open."""
    return any(opener is caller for _, opener in _local.names)


@contextlib.contextmanager
def inferring(stand_in: int) -> Iterator[None]:
    """Within it, dimensions equal to `stand_in` mean "unknown"."""
    saved, _local.stand_in = _local.stand_in, stand_in
    try:
        yield
    finally:
        _local.stand_in = saved


def unknown_stand_in() -> int | None:
    """The size that stands for an unknown dimension while shapes are inferred, else None."""
    return _local.stand_in


@contextlib.contextmanager
def entry() -> Iterator[None]:
    """One outermost call: losses added during it belong together."""
    saved = _local.entry
    if saved is None:
        _local.entry = object()
    try:
        yield
    finally:
        _local.entry = saved


def current_entry() -> object | None:
    """A token of the outermost call under way, or None."""
    return _local.entry
