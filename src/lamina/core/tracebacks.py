"""Tracebacks as a user wants them: without the frames of lamina and of the libraries it stands on."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import optree
import torch

from lamina.core.errors import LaminaError

_F = TypeVar("_F", bound=Callable[..., Any])

_HIDDEN = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    *(os.path.dirname(os.path.abspath(str(package.__file__))) + os.sep for package in (torch, optree)),
)
_enabled = [True]


def enable_traceback_filtering() -> None:
    """Show errors without the frames inside lamina and torch, as it is from the start."""
    _enabled[0] = True


def disable_traceback_filtering() -> None:
    """Show errors with all frames, to see what happened inside lamina and torch.

    Example:
        >>> disable_traceback_filtering()
        >>> is_traceback_filtering_enabled()
        False
        >>> enable_traceback_filtering()
    """
    _enabled[0] = False


def is_traceback_filtering_enabled() -> bool:
    """Whether errors are shown without the frames inside lamina and torch.

    Example:
        >>> enable_traceback_filtering()
        >>> is_traceback_filtering_enabled()
        True
    """
    return _enabled[0]


def hide_frames(error: BaseException) -> None:
    """Take the frames inside lamina and torch out of an error's traceback, and out of those of its causes."""
    if not _enabled[0]:
        return
    waiting: list[BaseException | None] = [error]
    done: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in done:
            done.add(id(one))
            one.__traceback__ = _shown(one.__traceback__, keep_one=not isinstance(one, LaminaError))
            waiting += [one.__cause__, one.__context__]


def comes_from_program(error: BaseException) -> bool:
    """Whether the program's own code failed: lamina called it, and it stands in the error's traceback."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_HIDDEN):
        traceback = traceback.tb_next
    return traceback is not None


def _shown(traceback: TracebackType | None, keep_one: bool) -> TracebackType | None:
    """A traceback of the frames that are not ours; where there are no others, of the innermost one or of none."""
    frames: list[TracebackType] = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    kept = [part for part in frames if not part.tb_frame.f_code.co_filename.startswith(_HIDDEN)]
    for part in reversed(kept or frames[-1:] * keep_one):
        traceback = TracebackType(traceback, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return traceback


def filter_traceback(function: _F) -> _F:
    """Let the errors that leave a function show only frames of the program.

    Example:
        >>> @filter_traceback
        ... def fail():
        ...     raise ValueError("no")
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    return wrapper  # type: ignore[return-value]
