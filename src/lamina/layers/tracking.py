"""Lists, tuples and dicts of layers as attributes of a layer: they stay what they are, and their layers are found."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from lamina.core.variable import Variable


class Holder(nn.Module):
    """The modules and variables of one container, under their indices or keys."""

    def fill(self, items: Iterable[tuple[str, Any]]) -> None:
        """Hold these items and no others."""
        for table in (self._modules, self._parameters, self._buffers):
            table.clear()
        for key, value in items:
            if isinstance(value, nn.Module):
                self._modules[key] = value
            elif isinstance(value, Variable):
                (self._parameters if value.trainable else self._buffers)[key] = value
            elif isinstance(value, nn.Parameter):
                self._parameters[key] = value
            elif isinstance(value, (list, tuple, dict)) and trackable(value):
                inner = Holder()
                inner.fill(items_of(value))
                self._modules[key] = inner


def follow_mode(owner: nn.Module, child: nn.Module) -> None:
    """Put a module that becomes part of another into its mode.

    Augmentation begins in training mode, because with Keras it acts unless it is told otherwise, and so it stays in an
    owner that is not training yet; `fit`, `predict`, `train()` and `eval()` then tell all alike.
    """
    modules = list(child.modules())
    if owner.training or not any(getattr(module, "begins_in_training", False) for module in modules):
        if any(module.training != owner.training for module in modules):
            child.train(owner.training)
        return
    for module in modules:
        module.training = module.training and getattr(module, "begins_in_training", False)


def items_of(container: Any) -> list[tuple[str, Any]]:
    """The container's items with their keys as strings."""
    pairs = container.items() if isinstance(container, dict) else enumerate(container)
    return [(str(key).replace(".", "_"), value) for key, value in pairs]


def trackable(container: Any, outer: tuple[int, ...] = ()) -> bool:
    """Whether modules or variables stand anywhere in a container; one that holds itself is looked at once."""
    outer = (*outer, id(container))
    return any(
        isinstance(value, (nn.Module, Variable))
        or (isinstance(value, (list, tuple, dict)) and id(value) not in outer and trackable(value, outer))
        for _, value in items_of(container)
    )


def _mutating(name: str, base: type) -> Callable[..., Any]:
    original = getattr(base, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        self.sync()
        return result

    method.__name__ = name
    return method


class TrackedList(list[Any]):
    """A list that tells a layer about the layers put into it."""

    def __init__(self, values: Iterable[Any], changed: Callable[[Any], None]) -> None:
        super().__init__(values)
        self._changed = changed
        self.sync()

    def sync(self) -> None:
        """Tell the layer."""
        if hasattr(self, "_changed"):
            self._changed(self)

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy_plain(self, memo)


class TrackedDict(dict[Any, Any]):
    """A dict that tells a layer about the layers put into it."""

    def __init__(self, values: dict[Any, Any], changed: Callable[[Any], None]) -> None:
        super().__init__(values)
        self._changed = changed
        self.sync()

    def sync(self) -> None:
        """Tell the layer."""
        if hasattr(self, "_changed"):
            self._changed(self)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy_plain(self, memo)


def copy_plain(container: Any, memo: dict[int, Any]) -> Any:
    """A plain deep copy; the copied layer tracks it anew."""
    plain = dict(container) if isinstance(container, dict) else list(container)
    return copy.deepcopy(plain, memo)


for _name in (
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "clear",
    "sort",
    "reverse",
    "__setitem__",
    "__delitem__",
    "__iadd__",
):
    setattr(TrackedList, _name, _mutating(_name, list))
for _name in ("__setitem__", "__delitem__", "update", "pop", "popitem", "clear", "setdefault"):
    setattr(TrackedDict, _name, _mutating(_name, dict))
