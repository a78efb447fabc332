"""Constructor arguments kept, so that an object can say how it was made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Self

from lamina.core.serialization import deserialize_keras_object, is_serialized, serialize_value


class Captured:
    """Base of everything with a config: a subclass writes no `get_config` and no `from_config`.

    The config holds every constructor argument. lamina's own classes keep each argument, normalised, as an attribute
    of the same name, and that is what goes into the config; for classes of a program the arguments themselves do.

    Example:
        >>> class Scale(Captured):
        ...     def __init__(self, factor=2.0):
        ...         self.value = factor
        >>> Scale.from_config(Scale(3.0).get_config()).value
        3.0
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An instance that remembers the arguments of its constructor."""
        instance = super().__new__(cls)
        object.__setattr__(instance, "_arguments", (args, kwargs))
        return instance

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name, as values that fit into JSON."""
        return constructor_config(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An object made from a config."""
        return cls(**revive(config))


def revive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every serialized object in it made real."""
    return {key: deserialize_keras_object(value) if _holds_object(value) else value for key, value in config.items()}


def _holds_object(value: Any) -> bool:
    if is_serialized(value):
        return True
    if isinstance(value, (list, tuple)):
        return any(_holds_object(item) for item in value)
    if isinstance(value, Mapping):
        return any(_holds_object(item) for item in value.values())
    return False


@functools.cache
def constructor(cls: type) -> inspect.Signature:
    """The signature of a class's constructor, `self` left out."""
    signature = inspect.signature(cls.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def accepts(cls: type, name: str) -> bool:
    """Whether the constructor takes an argument of that name."""
    parameters = constructor(cls).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def is_ours(cls: type) -> bool:
    """Whether a class is one of lamina's own."""
    return cls.__module__.partition(".")[0] == "lamina"


def constructor_config(instance: Any) -> dict[str, Any]:
    """The config of an instance from its constructor arguments.

    A program's class that overrides get_config decides about its own arguments; then only those of lamina's class
    below it are given here.
    """
    cls = type(instance)
    config_owner = next(c for c in cls.__mro__ if "get_config" in c.__dict__)
    if not is_ours(config_owner):
        cls = next(c for c in cls.__mro__ if is_ours(c))
    values = _captured(instance)
    config = {}
    for name, parameter in constructor(cls).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        value = values.get(name, parameter.default)
        config[name] = serialize_value(_current(instance, name, value, cls))
    if cls is type(instance) and not is_ours(cls):
        extra = {name: value for name, value in values.items() if name not in config}
        config |= {name: serialize_value(_current(instance, name, value, cls)) for name, value in extra.items()}
    return config


def _captured(instance: Any) -> dict[str, Any]:
    """The arguments of the constructor call by name, those given through **kwargs included."""
    args, kwargs = instance._arguments
    signature = constructor(type(instance))
    bound = signature.bind_partial(*args, **kwargs).arguments
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            bound |= bound.pop(name, {})
        elif parameter.kind is parameter.VAR_POSITIONAL:
            bound.pop(name, None)
    return dict(bound)


def _current(instance: Any, name: str, captured: Any, cls: type) -> Any:
    """The argument's normalised value where the class, from `cls` on, that declares it is ours, else that captured.

    Where a property has the argument's name, it is the attribute of that name with an underscore, if there is one.
    """
    owner = next((c for c in cls.__mro__ if _declares(c, name)), cls)
    if not is_ours(owner):
        return captured
    if isinstance(getattr(type(instance), name, None), property) and f"_{name}" in vars(instance):
        return vars(instance)[f"_{name}"]
    return getattr(instance, name, captured)


def _declares(cls: type, name: str) -> bool:
    return "__init__" in cls.__dict__ and name in constructor(cls).parameters
