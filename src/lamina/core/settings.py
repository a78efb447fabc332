"""A dict whose entries are attributes too."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from lamina.core.errors import StateError, listing, nearest


class UnknownEntryError(StateError, AttributeError):
    """A Config has no entry of that name."""


class Config:
    """Named values, read and set as attributes or as entries, that can be frozen and written as JSON.

    Args:
        **kwargs: the first entries.

    Raises:
        StateError: it is frozen and something would change it.
        UnknownEntryError: there is no entry of a name; the nearest one is suggested.

    Example:
        >>> config = Config(rate=0.1)
        >>> config.seed = 7
        >>> config["rate"], config.seed, config.to_json()
        (0.1, 7, '{"rate": 0.1, "seed": 7}')

    Source: https://keras.io/api/utils/experiment_management_utils/
    """

    _config: dict[str, Any]
    _frozen: bool

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(_config=kwargs, _frozen=False)

    @property
    def frozen(self) -> bool:
        """Whether nothing may change."""
        return self._frozen

    def freeze(self) -> None:
        """Let nothing change from now on."""
        self.__dict__["_frozen"] = True

    def unfreeze(self) -> None:
        """Let entries change again."""
        self.__dict__["_frozen"] = False

    def as_dict(self) -> dict[str, Any]:
        """The entries as a dict of its own."""
        return dict(self._config)

    def to_json(self) -> str:
        """The entries as JSON."""
        return json.dumps(self._config)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._config.keys()

    def values(self) -> ValuesView[Any]:
        """The values."""
        return self._config.values()

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._config.items()

    def get(self, keyname: str, value: Any = None) -> Any:
        """The entry of a name, or another value where there is none."""
        return self._config.get(keyname, value)

    def pop(self, *args: Any) -> Any:
        """Take an entry out and return it."""
        return self._open().pop(*args)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set entries from a dict, or by name."""
        self._open().update(*args, **kwargs)

    def _open(self) -> dict[str, Any]:
        if self._frozen:
            raise StateError("The config is frozen.", where="Config", fix="config.unfreeze()")
        return self._config

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self._open()[name] = value

    def __getattr__(self, name: str) -> Any:
        # A copy or pickle asks before there are any entries.
        entries = self.__dict__.get("_config", {})
        if name not in entries:
            what, known = f"There is no entry '{name}'.{nearest(name, entries)}", listing(entries) or "no entries yet"
            raise UnknownEntryError(what, where="Config", expected=known, fix=f"config.{name} = ...")
        return entries[name]

    def __setitem__(self, key: str, item: Any) -> None:
        self._open()[key] = item

    def __getitem__(self, key: str) -> Any:
        return self._config[key]

    def __delitem__(self, key: str) -> None:
        del self._open()[key]

    def __contains__(self, item: object) -> bool:
        return item in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._config))

    def __len__(self) -> int:
        return len(self._config)

    def __repr__(self) -> str:
        return f"<Config {self._config}>"
