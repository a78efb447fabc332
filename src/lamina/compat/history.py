"""Results under the names of earlier Keras versions: "acc" answers where "accuracy" was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.core.errors import say_once

OLD_KEYS = {"acc": "accuracy", "val_acc": "val_accuracy", "lr": "learning_rate"}


class OldKeys(dict[str, Any]):
    """A dict of results that also answers old keys. Its own keys stay what they are.

    Example:
        >>> results = OldKeys(accuracy=[0.5])
        >>> results["acc"], results.get("acc"), list(results)
        ([0.5], [0.5], ['accuracy'])
    """

    def __missing__(self, key: str) -> Any:
        new = OLD_KEYS.get(key)
        if new is None or new not in self:
            raise KeyError(key)
        say_once(f'The result "{key}" is an old name; use "{new}".')
        return self[new]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, old or new, else the default."""
        try:
            return self[key]
        except KeyError:
            return default


def answering(results: Mapping[str, Any] | None) -> OldKeys | None:
    """Results that answer old keys too."""
    return results if results is None or isinstance(results, OldKeys) else OldKeys(results)
