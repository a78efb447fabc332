"""The form that something read from a file must have; compared as a whole before anything is done with it.

A form is written as what it describes looks like:

    str, int, Tensor, ...   a value of that type (True is no int)
    {"a": form}             a dict of these names, no more and no fewer; `Maybe(form)` where one may be missing
    {str: form}             a dict of any names
    [form]                  a list of any length
    (form, form)            one of these
    None                    None
    a `Rule`                what its function says
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError, nearest

Tensor = torch.Tensor

_FIX = "the file is damaged, was changed, or is of another program: fetch or write it anew"
_WORDS: dict[Any, str] = {
    bool: "True or False",
    str: "text",
    int: "a whole number",
    dict: "a dict",
    list: "a list",
    Tensor: "a tensor",
}
_SHOWN = 12
_PLAIN = (bool, int, float, str, type(None))
# What generators say of states that they cannot take up.
_UNUSABLE = (TypeError, ValueError, KeyError, IndexError, OverflowError, RuntimeError)


@dataclass(frozen=True)
class Rule:
    """A form that a function decides on.

    Args:
        words: what is expected, for messages.
        fits: whether a value is so.
    """

    words: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Maybe:
    """The form of an entry that may be missing."""

    form: Any


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, and not True or False."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


COUNT = Rule("a whole number from 0 on", lambda value: is_number(value) and _is_count(value))
NUMBER = Rule("a number", is_number)
ANYTHING = Rule("anything", lambda value: True)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63


def any_of(*values: Any) -> Rule:
    """One of these values."""
    words = " or ".join(map(repr, values))
    return Rule(words, lambda value: isinstance(value, type(values[0])) and value in values)


def array_like(other: Any) -> Rule:
    """An array or tensor of the same kind, dtype and shape."""
    words, kind = described(other), np.ndarray if isinstance(other, np.ndarray) else Tensor
    return Rule(words, lambda value: isinstance(value, kind) and described(value) == words)


def described(value: Any) -> str:
    """A value in a message: the dtype and shape of an array, the beginning of anything else, and its type.

    Example:
        >>> described(np.zeros((2, 3), "float32")), described("text")
        ('an array, float32 (2, 3)', "'text' (str)")
    """
    if isinstance(value, (Tensor, np.ndarray)):
        kind = "a tensor" if isinstance(value, Tensor) else "an array"
        return f"{kind}, {standardize_dtype(value.dtype)} {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(f'{key!s:.60}' for key in list(value)[:_SHOWN])}" if value else "an empty dict"
    if isinstance(value, (list, tuple)) and not all(isinstance(part, _PLAIN) for part in value[: _SHOWN + 1]):
        return f"a {type(value).__name__} of {len(value)} values"
    return "None" if value is None else f"{value!r:.80} ({type(value).__name__})"


def _words(form: Any) -> str:
    if isinstance(form, Rule):
        return form.words
    if isinstance(form, tuple):
        return " or ".join(dict.fromkeys(map(_words, form)))
    if isinstance(form, dict):
        return "a dict" if str in form else f"a dict of {', '.join(form)}" if form else "an empty dict"
    if isinstance(form, list):
        return "a list"
    return "None" if form is None else _WORDS.get(form) or str(form)


def check(value: Any, form: Any, where: str, place: str = "") -> None:
    """Compare a value with a form.

    Args:
        value: what was read.
        form: what it must be.
        where: the file, for messages.
        place: the entry of the file that the value is.

    Raises:
        FileError: it is something else; the message names the first entry that differs.

    Example:
        >>> check({"epoch": -1, "seeds": []}, {"epoch": COUNT, "seeds": [str]}, "run.checkpoint")
        Traceback (most recent call last):
        ...
        lamina.core.errors.FileError: An entry of the file is not what it must be.
          where: run.checkpoint: epoch
          expected: a whole number from 0 on
          received: -1 (int)
        ...
    """
    if (found := misfit(value, form, place)) is not None:
        refuse(where, *found)


def refuse(where: str, place: str, expected: str, received: str) -> None:
    """Raise the error that an entry is not what it must be."""
    raise FileError(
        "An entry of the file is not what it must be.",
        where=f"{where}: {place or 'its content'}",
        expected=expected,
        received=received,
        fix=_FIX,
    )


def misfit(value: Any, form: Any, place: str = "") -> tuple[str, str, str] | None:
    """Where a value differs first from a form, what is expected there and what was found; None if it does not."""
    if isinstance(form, tuple):
        found = [misfit(value, part, place) for part in form]
        inner = [each for each in found if each is not None]
        if len(inner) < len(form):
            return None
        deepest = max(inner, key=lambda each: len(each[0]))
        return deepest if deepest[0] != place else (place, _words(form), described(value))
    if isinstance(form, dict):
        return _misfit_of_dict(value, form, place)
    if isinstance(form, list):
        if not isinstance(value, list):
            return place, "a list", described(value)
        parts = (misfit(part, form[0], f"{place}/{index}".lstrip("/")) for index, part in enumerate(value))
        return next((part for part in parts if part is not None), None)
    if isinstance(form, Rule):
        fits = form.fits(value)
    else:
        fits = value is None if form is None else isinstance(value, form) and (form is bool) >= isinstance(value, bool)
    return None if fits else (place, _words(form), described(value))


def _misfit_of_dict(value: Any, form: dict[Any, Any], place: str) -> tuple[str, str, str] | None:
    if not isinstance(value, dict):
        return place, _words(form), described(value)
    if str in form:
        form = {key: form[str] if isinstance(key, str) else any_of("a name") for key in value}
    for key in value.keys() - form.keys():
        return f"{place}/{key!s:.60}".lstrip("/"), f"nothing of that name{nearest(str(key), map(str, form))}", "it"
    for key, part in form.items():
        at = f"{place}/{key}".lstrip("/")
        if key not in value:
            if not isinstance(part, Maybe):
                return at, _words(part), "nothing"
            continue
        if (found := misfit(value[key], part.form if isinstance(part, Maybe) else part, at)) is not None:
            return found
    return None


# Generators of random numbers.

_BYTES = Rule("a tensor of bytes", lambda value: isinstance(value, Tensor) and value.dtype is torch.uint8)


def _numbers(count: int) -> Rule:
    words = f"an array, uint32 ({count},)"
    return Rule(words, lambda value: isinstance(value, np.ndarray) and described(value) == words)


PYTHON = {"version": COUNT, "numbers": _numbers(625), "normal": (None, NUMBER)}
_POSITION = Rule("a place from 0 to 624", lambda value: is_number(value) and value in range(625))
_MERSENNE = {
    "bit_generator": any_of("MT19937"),
    "state": {"key": _numbers(624), "pos": _POSITION},
    "has_gauss": any_of(0, 1),
    "gauss": NUMBER,
}
GENERATORS = {"python": PYTHON, "numpy": _MERSENNE, "torch": _BYTES, "seeds": PYTHON, "cuda": Maybe([_BYTES])}
"""What `generators_state` gives."""


def check_generators(state: Any, where: str, place: str) -> None:
    """See whether generators can be put into these states, by means of others of the same kind.

    Raises:
        FileError: an entry is missing, or no state of its generator.
    """
    check(state, GENERATORS, where, place)
    for name, own in (("python", random), ("numpy", np.random.RandomState(0)), ("torch", torch.default_generator)):
        check_generator(state[name], own, where, f"{place}/{name}")
    check_generator(state["seeds"], random, where, f"{place}/seeds")
    if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
        for index, part in enumerate(state["cuda"]):
            check_generator(part, torch.Generator(f"cuda:{index}"), where, f"{place}/cuda/{index}")


def check_generator(state: Any, own: Any, where: str, place: str) -> None:
    """See whether a generator can be put into a state, by means of another of the same kind.

    Args:
        state: the state.
        own: a generator of Python (or the module `random`), NumPy or torch.
        where: the file, for messages.
        place: the entry.

    Raises:
        FileError: it cannot.
    """
    try:
        if isinstance(own, torch.Generator):
            check(state, _BYTES, where, place)
            torch.Generator(own.device).set_state(state)
        elif isinstance(own, np.random.Generator):
            _check_places(state, where, place)
            type(own.bit_generator)().state = state
        elif isinstance(own, np.random.RandomState):
            check(state, _MERSENNE, where, place)
            np.random.RandomState(0).set_state(state)
        else:
            check(state, PYTHON, where, place)
            random.Random(0).setstate((state["version"], tuple(state["numbers"].tolist()), state["normal"]))
    except _UNUSABLE as error:
        if isinstance(error, FileError):
            raise
        refuse(where, place, "a state that such a generator can have", f"{type(error).__name__}: {error!s:.120}")


def _check_places(state: Any, where: str, place: str) -> None:
    """Places within a generator's memory, which NumPy takes as they are."""
    check(state, {str: ANYTHING}, where, place)
    inner = state["state"] if isinstance(state.get("state"), Mapping) else {}
    for name, last in (("pos", 624), ("buffer_pos", 4)):
        for found in (state.get(name, 0), inner.get(name, 0)):
            if not _is_count(found) or found > last:
                refuse(where, f"{place}/{name}", f"a place from 0 to {last}", described(found))


def alike(value: Any, own: Any) -> bool:
    """Whether a value could stand where the program has its own: both numbers, both text, both arrays, and so on.

    Example:
        >>> alike(3, 0.5), alike("3", 0.5), alike([1], None)
        (True, False, True)
    """
    if own is None:
        return True
    if isinstance(own, (Tensor, np.ndarray)):
        return isinstance(value, (Tensor, np.ndarray)) and _kind(value) == _kind(own)
    for kinds in (bool, (int, float), str, (list, tuple), Mapping):
        if isinstance(own, kinds):
            return isinstance(value, kinds) and (kinds is bool) >= isinstance(value, bool)
    return False


def _kind(value: Any) -> str:
    return "f" if "float" in (name := standardize_dtype(value.dtype)) else "b" if name == "bool" else name[:1]
