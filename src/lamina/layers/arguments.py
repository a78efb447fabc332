"""Checks of constructor arguments that many layers share; the last word of `where` names the argument."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from lamina.core.errors import ArgumentError


def positive(value: Any, where: str) -> int:
    """The value, if it is an integer of 1 or more.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> positive(32, "layer 'dense' (Dense), units")
        32
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        # Dense(x) is a likely slip of those who come from functions.
        fix = "make the layer first, then call it on the tensor: layer(...)(x)" if hasattr(value, "shape") else None
        raise _refusal(value, where, "an integer >= 1", fix)
    return int(value)


def within(value: Any, where: str, least: float = -math.inf, most: float = math.inf) -> Any:
    """The value, if it is a number from `least` to `most`.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> within(0.5, "layer 'dropout' (Dropout), rate", 0, 1)
        0.5
    """
    try:
        if least <= value <= most:
            return value
    except TypeError:
        pass
    bounds = f" from {least} to {most}" if most < math.inf else f" >= {least}" if least > -math.inf else ""
    raise _refusal(value, where, f"a number{bounds}")


def _refusal(value: Any, where: str, expected: str, fix: str | None = None) -> ArgumentError:
    what = f"`{where.rpartition(' ')[2]}` cannot be used."
    return ArgumentError(what, where=where, expected=expected, received=repr(value), fix=fix)
