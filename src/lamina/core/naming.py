"""Names given to objects that were not named: dense, dense_1, ..."""

from __future__ import annotations

import gc
import re
from collections import Counter

_used: Counter[str] = Counter()
_ids: Counter[str] = Counter()


def to_snake_case(name: str) -> str:
    """A class name as a snake_case one.

    Example:
        >>> to_snake_case("Conv2DTranspose"), to_snake_case("LSTM"), to_snake_case("MaxPooling2D")
        ('conv2d_transpose', 'lstm', 'max_pooling2d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def uniquify(name: str) -> str:
    """The name itself when first asked for, then name_1, name_2, ..."""
    count = _used[name]
    _used[name] += 1
    return f"{name}_{count}" if count else name


def auto_name(prefix: str) -> str:
    """A fresh name for an object of this class or prefix."""
    return uniquify(to_snake_case(prefix))


def get_uid(prefix: str = "") -> int:
    """How often this prefix was asked for, from 1.

    Example:
        >>> get_uid("example"), get_uid("example")
        (1, 2)
    """
    _ids[prefix] += 1
    return _ids[prefix]


def reset_names() -> None:
    """Start counting names anew."""
    _used.clear()
    _ids.clear()


def clear_session(free_memory: bool = True) -> None:
    """Start counting names anew, and give memory no longer used back.

    Args:
        free_memory: run the garbage collector.

    Example:
        >>> clear_session()
        >>> auto_name("Dense"), auto_name("Dense")
        ('dense', 'dense_1')

    Source: https://keras.io/api/utils/config_utils/
    """
    reset_names()
    if free_memory:
        gc.collect()
