"""The one exception hierarchy: every error says what is wrong, where, what was expected, and the likely fix."""

from __future__ import annotations

import difflib
import functools
import sys
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


class LaminaError(Exception):
    """Base of all errors that lamina raises on purpose.

    Args:
        what: one sentence naming the fault.
        where: the layer, argument or file concerned.
        expected: what would have been right.
        received: what was there instead.
        fix: the change that most likely helps.

    Example:
        >>> str(ShapeError("The kernel does not fit.", where="layer 'dense'", expected=(3, 4), received=(4, 3)))
        "The kernel does not fit.\\n  where: layer 'dense'\\n  expected: (3, 4)\\n  received: (4, 3)"
    """

    def __init__(
        self,
        what: str = "",
        *,
        where: object = None,
        expected: object = None,
        received: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.received, self.fix = what, where, expected, received, fix
        details = {"where": where, "expected": expected, "received": received, "fix": fix}
        lines = [what, *(f"  {label}: {value}" for label, value in details.items() if value is not None)]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[LaminaError], args: tuple[Any, ...], state: dict[str, Any]) -> LaminaError:
    """An error as it was before pickling; its message is already put together."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ArgumentError(LaminaError, ValueError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(LaminaError, TypeError):
    """An argument has a type that cannot be used."""


class NotIterableError(ArgumentTypeError, NotImplementedError):
    """Something cannot be iterated over."""


class UnsupportedError(LaminaError, NotImplementedError):
    """Something cannot be done: torch has not what Keras has, or a subclass has not written a method."""


class UnknownNameError(ArgumentError):
    """A name (of a loss, an optimizer, a layer, ...) stands for nothing known."""


class ShapeError(LaminaError, ValueError):
    """Shapes do not fit each other or the layer."""


class DTypeError(LaminaError, TypeError):
    """A dtype is unknown or does not fit."""


class StateError(LaminaError, ValueError):
    """Something is used before it is ready: a model not built, not compiled, not fitted."""


class DataError(LaminaError, ValueError):
    """The data given to a model cannot be used."""


class FileError(LaminaError, ValueError):
    """A file is refused or cannot be read."""


class DownloadError(LaminaError, OSError):
    """A download failed."""


class MissingPackageError(LaminaError, ImportError):
    """An optional package is needed and not installed."""


def unwritten(owner: object, method: str) -> UnsupportedError:
    """The error for a method that a subclass must write; `method` is its signature."""
    name = type(owner).__name__
    return UnsupportedError(
        f"{name} has no {method.partition('(')[0]}() method.", where=f"class {name}", fix=f"write def {method}: ..."
    )


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint such as ' Did you mean "adam"?', or '' when nothing is close.

    Example:
        >>> nearest("adm", ["adam", "sgd"])
        ' Did you mean "adam"?'
    """
    by_lower = {option.lower(): option for option in options}
    wanted = str(name).lower()
    close = difflib.get_close_matches(wanted, by_lower, n=5, cutoff=0.6)
    if not close:
        return ""
    # Swapped letters are the likeliest slip, and difflib may rate a longer name higher.
    best = next((option for option in close if sorted(option) == sorted(wanted)), close[0])
    return f' Did you mean "{by_lower[best]}"?'


def one_of(value: Any, options: Collection[Any], where: str) -> None:
    """Raise an ArgumentError unless the value is among the options; the last word of `where` names the argument.

    Example:
        >>> one_of("same", ("valid", "same"), "Conv2D, padding")
    """
    if value not in options:
        what = f"Unknown {where.rpartition(' ')[2]}.{nearest(str(value), map(str, options))}"
        raise ArgumentError(what, where=where, expected=" or ".join(map(repr, options)), received=repr(value))


def check_number(value: Any, where: str, least: float | None = None, whole: bool = True) -> None:
    """Raise unless the value is a number, whole if not said otherwise, and not below `least`.

    Example:
        >>> check_number(32, "batch(batch_size)", least=1)
    """
    expected = ("a whole number" if whole else "a number") + ("" if least is None else f" of at least {least}")
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__" if whole else "__float__"):
        received = f"{value!r:.80} ({type(value).__name__})"
        what = f"The argument is no {'whole ' if whole else ''}number."
        raise ArgumentTypeError(what, where=where, expected=expected, received=received)
    if least is not None and value < least:
        raise ArgumentError("The number is too small.", where=where, expected=expected, received=value)


def check_type(value: Any, kinds: Any, where: str, expected: str) -> None:
    """Raise unless the value is of one of the types.

    Example:
        >>> check_type(print, Callable, "map(map_func)", "a function")
    """
    if not isinstance(value, kinds):
        received = f"{value!r:.80} ({type(value).__name__})"
        raise ArgumentTypeError("The argument is of the wrong type.", where=where, expected=expected, received=received)


def listing(options: Iterable[str], limit: int = 12) -> str:
    """Names joined for an error message, cut after `limit`."""
    names = sorted(options)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


_said: set[str] = set()


def say_once(message: str) -> None:
    """Print one line on stderr, the first time this message is given in the process."""
    if message not in _said:
        _said.add(message)
        print(f"lamina: {message}", file=sys.stderr)


def warn_once(message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Issue a warning the first time this message is given in the process."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, category, stacklevel=stacklevel)


def deprecated(replacement: str, removal: str = "2.0") -> Callable[[_F], _F]:
    """Mark a function as old: its first call prints one line naming what replaces it and when it goes.

    Example:
        >>> @deprecated("new_sum()")
        ... def old_sum(x):
        ...     return sum(x)
    """

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            say_once(f"{function.__qualname__} is deprecated, use {replacement}; it goes in version {removal}.")
            return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate
