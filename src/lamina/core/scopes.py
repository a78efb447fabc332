"""What is true during a call or a construction: the name scope, and whether shapes are being inferred."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Self

from lamina.core.errors import ArgumentError


class _Entry:
    """An outermost call; a class of our own because Dynamo cannot trace `object()`."""

    __slots__ = ()


class _Local(threading.local):
    def __init__(self) -> None:
        self.names: list[name_scope] = []
        self.entry: _Entry | None = None
        self.stand_in: int | None = None
        self.symbolic = 0


_local = _Local()


class name_scope:
    """Put `name/` before the paths of variables made inside; not again when the same caller opened the last scope.

    Args:
        name: the name, without a slash.
        caller: the object that opens the scope.
        deduplicate: whether a scope that the same caller opened last under the same name counts as this one.
        override_parent: a path that takes the place of those of the scopes around this one.

    Raises:
        ArgumentError: the name is no string, or holds a slash.

    Example:
        >>> with name_scope("encoder"), name_scope("block", override_parent="decoder"):
        ...     current_path()
        'decoder/block'
    """

    __slots__ = ("_entered", "caller", "deduplicate", "name", "override_parent")

    def __init__(
        self, name: str, caller: object = None, deduplicate: bool = True, override_parent: str | None = None
    ) -> None:
        if not isinstance(name, str) or "/" in name:
            where, expected = "name_scope(name)", "a string without a slash"
            raise ArgumentError("This is no name of a scope.", where=where, expected=expected, received=repr(name))
        self.name, self.caller = name, caller
        self.deduplicate, self.override_parent = deduplicate, override_parent
        self._entered = False

    def __enter__(self) -> Self:
        names = _local.names
        if self.deduplicate and self.caller is not None and names:
            last = names[-1]
            if last.caller is self.caller and last.name == self.name:
                return self
        names.append(self)
        self._entered = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._entered:
            self._entered = False
            if _local.names:
                _local.names.pop()


def current_path() -> str:
    """The open name scopes, joined by slashes."""
    parts: list[str] = []
    for scope in _local.names:
        if scope.override_parent is not None:
            parts = [part for part in scope.override_parent.split("/") if part]
        parts.append(scope.name)
    return "/".join(parts)


def within(caller: object) -> bool:
    """Whether a scope that this caller opened is open."""
    return any(scope.caller is caller for scope in _local.names)


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


class SymbolicScope:
    """Marks a stretch of code as working on symbolic tensors, for code that asks `in_symbolic_scope()`.

    Example:
        >>> with SymbolicScope():
        ...     in_symbolic_scope()
        True

    Source: https://keras.io/api/utils/
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Self:
        _local.symbolic += 1
        return self

    def __exit__(self, *exception: object) -> None:
        _local.symbolic -= 1


def in_symbolic_scope() -> bool:
    """Whether a SymbolicScope is open, or shapes are being inferred."""
    return _local.symbolic > 0 or _local.stand_in is not None


@contextlib.contextmanager
def entry() -> Iterator[None]:
    """One outermost call: losses added during it belong together."""
    saved = _local.entry
    if saved is None:
        _local.entry = _Entry()
    try:
        yield
    finally:
        _local.entry = saved


def current_entry() -> object | None:
    """A token of the outermost call under way, or None."""
    return _local.entry
