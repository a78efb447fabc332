"""The names that may be loaded from a file: lamina's own objects, and those a program registers.

A file names objects; it never names modules to import. Whatever is not in this registry does not load.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from lamina.core.errors import ArgumentError, ArgumentTypeError, UnknownNameError, nearest

_T = TypeVar("_T")

_builtins: dict[tuple[str, str], Any] = {}
_builtin_names: dict[Any, tuple[str, str]] = {}
_custom: dict[str, Any] = {}
_custom_names: dict[Any, str] = {}
_scopes: list[dict[str, Any]] = []


def builtin(module: str, name: str | None = None) -> Callable[[_T], _T]:
    """Register one of lamina's own classes or functions under the module and name that files use for it.

    Example:
        >>> @builtin("keras.layers", "Example")
        ... class Example: ...
        >>> find_builtin("keras.layers", "Example") is Example
        True
    """

    def register(obj: _T) -> _T:
        key = (module, name or obj.__name__)  # type: ignore[attr-defined]
        _builtins[key] = obj
        _builtin_names.setdefault(obj, key)
        return obj

    return register


def builtin_name(obj: Any) -> tuple[str, str] | None:
    """The (module, name) under which files know one of lamina's own objects, or None."""
    try:
        return _builtin_names.get(obj)
    except TypeError:
        return None


def find_builtin(module: str | None, name: str) -> Any:
    """lamina's own object of that name, or None; older modules of Keras resolve by the area they name."""
    found = _builtins.get((module or "keras", name))
    if found is not None or module is None:
        return found
    parts = module.split(".")
    if parts[0] not in ("keras", "tensorflow", "tf_keras"):
        return None
    for part in parts[1:]:
        area = {"engine": "models", "optimizer": "optimizers"}.get(part, part)
        found = _builtins.get((f"keras.{area}", name))
        if found is not None:
            return found
    return _builtins.get(("keras", name)) if {"models", "engine", "keras"} & set(parts) else None


def builtins_of(module: str) -> dict[str, Any]:
    """All of lamina's own objects registered under a module."""
    return {name: obj for (area, name), obj in _builtins.items() if area == module}


def known_names() -> list[str]:
    """Every name that could be loaded now."""
    custom = {name for table in (_custom, *_scopes) for name in table}
    return sorted({name for _, name in _builtins} | custom)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[_T], _T]:
    """Make a class or function of your own loadable from files, under the name `package>name`.

    Args:
        package: a word that keeps your names apart from others'.
        name: the name; that of the class or function by default.

    Raises:
        ArgumentError: a class without get_config.

    Example:
        >>> @register_keras_serializable("demo")
        ... def double(x):
        ...     return 2 * x
        >>> get_registered_name(double)
        'demo>double'

    Source: https://keras.io/api/models/model_saving_apis/serialization_utils/
    """

    if not isinstance(package, str):
        what, where = "The name of a package is a string.", "register_keras_serializable(package=...)"
        fix = "write the decorator with parentheses: @register_keras_serializable()"
        raise ArgumentTypeError(what, where=where, received=repr(package), fix=fix)

    def register(obj: _T) -> _T:
        registered = f"{package}>{name or obj.__name__}"  # type: ignore[attr-defined]
        if inspect.isclass(obj) and not hasattr(obj, "get_config"):
            raise ArgumentError(
                f"The class {obj.__name__} cannot be saved.",
                where="register_keras_serializable",
                expected="a get_config() method",
                fix="derive from a lamina class, or add get_config() and from_config()",
            )
        _custom[registered] = obj
        _custom_names[obj] = registered
        return obj

    return register


def get_registered_name(obj: Any) -> str:
    """The name an object is registered under, or its own name."""
    try:
        return _custom_names.get(obj) or obj.__name__
    except TypeError:
        return obj.__name__


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """The object registered under a name (scopes first), or None."""
    for table in (*reversed(_scopes), _custom, custom_objects or {}, module_objects or {}):
        if name in table:
            return table[name]
    return None


def find_custom(registered_name: str | None, name: str) -> Any:
    """The custom object of either name, or None. A bare name also finds an object registered under a package."""
    for candidate in (registered_name, name):
        if candidate and (found := get_registered_object(candidate)) is not None:
            return found
    return get_registered_object(f"Custom>{name}")


def get_custom_objects() -> dict[str, Any]:
    """The live table of registered objects; entries may be added to it."""
    return _custom


class CustomObjectScope:
    """Within it, files and names may refer to these objects.

    Args:
        custom_objects: the objects by name.

    Example:
        >>> with CustomObjectScope({"Half": lambda x: x / 2}):
        ...     get_registered_object("Half")(3.0)
        1.5
    """

    def __init__(self, custom_objects: Mapping[str, Any]) -> None:
        if custom_objects is not None and not isinstance(custom_objects, Mapping):
            raise ArgumentTypeError(
                "custom_objects maps names to objects.",
                where="custom_objects=...",
                expected='a dict, e.g. {"MyLayer": MyLayer}',
                received=type(custom_objects).__name__,
            )
        self.custom_objects = dict(custom_objects or {})

    def __enter__(self) -> CustomObjectScope:
        _scopes.append(self.custom_objects)
        return self

    def __exit__(self, *exception: object) -> None:
        _scopes.remove(self.custom_objects)


custom_object_scope = CustomObjectScope


@contextlib.contextmanager
def maybe_scope(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """A CustomObjectScope when there is something to put in it."""
    if not custom_objects:
        yield
        return
    with CustomObjectScope(custom_objects):
        yield


def lookup(
    identifier: Any,
    *,
    kind: str,
    table: Mapping[str, Any],
    base: type | None = None,
    deserialize: Callable[[Any], Any] | None = None,
) -> Any:
    """What a user meant by a name, a config, a class or an object: the shared body of every `get`.

    Args:
        identifier: None, a name, a config dict, a class, a callable or an object.
        kind: what is looked for, in words, for the error ("optimizer").
        table: the objects by name.
        base: classes of this base are instantiated.
        deserialize: how a config dict becomes an object.

    Raises:
        UnknownNameError: the name stands for nothing; the nearest one is suggested.
        ArgumentTypeError: the identifier is of no usable kind.
    """
    if identifier is None:
        return None
    if isinstance(identifier, Mapping) and deserialize is not None:
        return deserialize(identifier)
    if isinstance(identifier, str):
        found = find_custom(None, identifier)
        if found is None:
            found = table.get(identifier)
        if found is None:
            raise UnknownNameError(
                f'Unknown {kind} "{identifier}".{nearest(identifier, table)}',
                where=f"{kind} given by name",
                fix=f"use a known name, pass the object itself, or register your own {kind}",
            )
        identifier = found
    if inspect.isclass(identifier):
        return identifier()
    if callable(identifier) or (base is not None and isinstance(identifier, base)):
        return identifier
    raise ArgumentTypeError(
        f"This is no {kind}.",
        where=f"{kind} given",
        expected=f"a name, a config, or {'an object of class ' + base.__name__ if base else 'a callable'}",
        received=f"{identifier!r} ({type(identifier).__name__})",
    )
