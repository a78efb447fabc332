"""Which target, loss, metric and weight belongs to which output of a model."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lamina.core import tree
from lamina.core.errors import ArgumentError, DataError, nearest

Pick = Callable[[Any], Sequence[Any]]


class Outputs:
    """A model's outputs as a flat list, and how other structures are laid out beside them.

    Args:
        y_pred: the outputs of one call: a tensor, or a list, tuple or dict of tensors.
        names: the names the model gives its outputs, in order, if it has names.
    """

    def __init__(self, y_pred: Any, names: Sequence[str] | None = None) -> None:
        paths = tree.flatten_with_path(y_pred)
        self.count = len(paths)
        self.is_single = not tree.is_nested(y_pred)
        self.is_flat = all(len(path) <= 1 for path, _ in paths)
        self.by_key = isinstance(y_pred, Mapping)
        self.keys = [path[0] if len(path) == 1 else path for path, _ in paths]
        self.names: list[str | None]
        if self.by_key and self.is_flat:
            self.names = [str(key) for key in self.keys]
        elif names is not None and len(names) == self.count:
            self.names = list(names)
        else:
            self.names = [None] * self.count
        self.paths = [path for path, _ in paths]
        self.own_names = list(self.names)
        """What the outputs are called without the way to them."""
        if not self.is_flat:
            self.names = [_path_name(path, name) for (path, _), name in zip(paths, self.names, strict=True)]
        self.known = [name for name in self.names if name is not None]

    def pick(self, y_pred: Any) -> Sequence[Any]:
        """The outputs of a call in order."""
        if self.is_single:
            return (y_pred,)
        if isinstance(y_pred, Mapping) and self.is_flat:
            return [y_pred[key] for key in self.keys]
        return list(y_pred) if self.is_flat else tree.flatten(y_pred)

    def lay_out(self, given: Any, what: str) -> list[Any]:
        """One entry for each output, None where nothing is given, from a list, a dict by names, or a single value.

        Args:
            given: losses, metrics or weights, laid out as a user may.
            what: the argument's name, for error messages.

        Raises:
            ArgumentError: a name that no output has, or a list of another length.
        """
        if isinstance(given, Mapping) and (self.is_flat or self.is_single):
            self._check_names(given, what)
            if self.count == 1 and len(given) == 1:
                return list(given.values())
            return [given.get(name) for name in self.names]
        if isinstance(given, (list, tuple)):
            if len(given) == self.count and (self.is_flat or not any(map(tree.is_nested, given))):
                return list(given)
            if not self.is_flat and not self.by_key:
                return self._along(given, what)
            raise ArgumentError(
                f"{what} does not fit the model's outputs.",
                where=f"compile({what}=...)",
                expected=f"{self.count} entries" + (f" ({', '.join(self.known)})" if self.known else ""),
                received=f"{len(given)} entries",
                fix="give one entry for each output, or a dict by output names; None where there is none",
            )
        if isinstance(given, Mapping):
            return self._along(given, what)
        return [given] * self.count

    def _along(self, given: Any, what: str) -> list[Any]:
        """One entry for each output of a deep structure, from another that has entries in the same places."""
        ways = {path[:end] for path in self.paths for end in range(len(path) + 1)}
        entries: dict[tuple[Any, ...], Any] = {}

        def walk(part: Any, way: tuple[Any, ...]) -> None:
            if way in self.paths or part is None:
                entries[way] = part
            elif way in ways and isinstance(part, (Mapping, list, tuple)):
                for key, value in part.items() if isinstance(part, Mapping) else enumerate(part):
                    walk(value, (*way, key))
            else:
                raise ArgumentError(
                    f"{what} does not fit the model's outputs.",
                    where=f"compile({what}=...), at {'/'.join(map(str, way)) or 'the top'}",
                    expected=", ".join(self.known),
                    received=repr(part),
                    fix="give a structure like that of the outputs",
                )

        walk(given, ())
        return [entries.get(path) for path in self.paths]

    def _check_names(self, given: Mapping[Any, Any], what: str) -> None:
        if not self.known:
            if self.count > 1:
                raise ArgumentError(
                    f"{what} is a dict, but the model's outputs have no names.",
                    where=f"compile({what}=...)",
                    expected=f"a list of {self.count}, one for each output",
                    received=", ".join(map(str, given)),
                )
            return
        for name in given:
            if name not in self.known and not (self.count == 1 and len(given) == 1 and not self.by_key):
                raise ArgumentError(
                    f'{what} names "{name}", which is no output of the model.{nearest(str(name), self.known)}',
                    where=f"compile({what}=...)",
                    expected=", ".join(self.known),
                    received=", ".join(map(str, given)),
                )

    def picker(self, y: Any, used: Sequence[int], what: str = "y") -> Pick:
        """A function that lays out targets (or weights) built like these, one for each output.

        Args:
            y: targets as the data gives them.
            used: the outputs that have a loss or a metric; where y has as many entries as these, they are meant.
            what: the part of the data, for error messages.

        Raises:
            DataError: the targets do not fit the outputs.
        """
        if not tree.is_nested(y):
            if self.count == 1 or y is None:
                count = self.count
                return (lambda y: (y,)) if count == 1 else (lambda y: (y,) * count)
            if len(used) == 1:
                place, count = used[0], self.count
                return lambda y: [y if index == place else None for index in range(count)]
        elif isinstance(y, Mapping):
            return self._named_picker(y, used, what)
        elif self.is_flat and len(y) == self.count:
            return _identity
        elif self.is_flat and len(y) == len(used):
            places = {place: index for index, place in enumerate(used)}
            count = self.count
            return lambda y: [y[places[index]] if index in places else None for index in range(count)]
        elif not self.is_flat and len(tree.flatten(y)) == self.count:
            return tree.flatten
        raise DataError(
            f"{what} does not fit the model's outputs.",
            where=what,
            expected=f"{self.count} arrays" + (f" ({', '.join(self.known)})" if self.known else ""),
            received=f"{len(tree.flatten(y))} array(s) in a {type(y).__name__}",
            fix="give a list or a dict with one array for each output",
        )

    def _named_picker(self, y: Mapping[Any, Any], used: Sequence[int], what: str) -> Pick:
        if self.count == 1 and len(y) == 1:
            return lambda y: tuple(y.values())
        if not self.is_flat and not self.is_single:
            return tree.flatten
        keys: list[Any] = self.keys if self.by_key else list(self.names)
        for name in y:
            if name not in keys and str(name) not in self.known:
                raise DataError(
                    f'{what} names "{name}", which is no output of the model.{nearest(str(name), self.known)}',
                    where=what,
                    expected=", ".join(self.known) or f"a list of {self.count} arrays",
                    received=", ".join(map(str, y)),
                )
        missing = [keys[index] for index in used if keys[index] not in y]
        if missing and what == "y":
            raise DataError(
                f"{what} lacks the target of an output.",
                where=what,
                expected=", ".join(self.known),
                received=", ".join(map(str, y)),
            )
        if len(y) == len(keys) > 1:
            return operator.itemgetter(*keys)
        return lambda y: [y.get(key) for key in keys]


def _identity(y: Any) -> Any:
    return y


def _path_name(path: tuple[Any, ...], name: str | None) -> str:
    """The name of an output deep in a structure: the way to it, with the output's own name for a last index."""
    if name and path and isinstance(path[-1], int):
        path = (*path[:-1], name)
    return "/".join(map(str, path))
