"""Which of the places that make lamina's errors a run of the tests has reached, and what they said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tools.errors import Place, places

from lamina.core import errors

Message = dict[str, str]
_SOURCE = Path(errors.__file__).resolve().parent.parent
_PARTS = ("what", "where", "expected", "received", "fix")
UNREACHED = Path(__file__).parent / "errors" / "unreached.txt"
"""Places that no test reaches, each with its reason: `path function kind: reason`."""

reached: dict[str, Message] = {}
"""What was said, by `path:line`; of several messages the shortest, so that it depends little on the order of tests."""


def listen() -> None:
    """Note from now on where each error is made."""
    make = errors.LaminaError.__init__

    def noting(self: errors.LaminaError, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is self:
            frame = frame.f_back
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_SOURCE):
            said = {part: str(value) for part in _PARTS if (value := getattr(self, part, None)) is not None}
            add({f"{path.relative_to(_SOURCE)}:{frame.f_lineno}": said})

    errors.LaminaError.__init__ = noting


def add(messages: dict[str, Message]) -> None:
    """Keep what was said elsewhere."""
    for place, said in messages.items():
        kept = reached.get(place)
        reached[place] = said if kept is None else min(kept, said, key=lambda one: (len(str(one)), str(one)))


def unreached() -> list[Place]:
    """The places that no test reached and that have no excuse."""
    lines = [line for line in UNREACHED.read_text().splitlines() if line and not line.startswith("#")]
    excused = {line.partition(": ")[0] for line in lines}
    return [
        place
        for place in places()
        if not any(f"{place.path}:{line}" in reached for line in range(place.line, place.last + 1))
        and f"{place.path} {place.function} {place.kind}" not in excused
    ]
