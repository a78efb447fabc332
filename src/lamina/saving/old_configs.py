"""Objects to configs and back in the form of Keras 2: a class name and its config, without a module.

Classes and functions come from the registry, or from a table that the program hands over; nothing is imported by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lamina.core.errors import ArgumentError, ArgumentTypeError, UnknownNameError, nearest
from lamina.core.registry import CustomObjectScope, get_custom_objects, get_registered_name, get_registered_object

_MARK = "__passive_serialization__"


def serialize_keras_object(instance: Any) -> Any:
    """An object as a name and a config, a function as its name.

    Args:
        instance: an object with get_config, a class, a function, or None.

    Raises:
        ArgumentTypeError: it is none of these.

    Example:
        >>> from lamina.initializers import Constant
        >>> serialize_keras_object(Constant(2.0))
        {'class_name': 'Constant', 'config': {'value': 2.0}}

    Source: https://keras.io/api/models/model_saving_apis/serialization_utils/
    """
    instance = inspect.unwrap(instance) if callable(instance) else instance
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        config = {key: _serialize_entry(value) for key, value in instance.get_config().items()}
        return {"class_name": get_registered_name(type(instance)), "config": config}
    if hasattr(instance, "__name__"):
        return get_registered_name(instance)
    raise ArgumentTypeError(
        "This value has no config.",
        where="serialize_keras_object(instance)",
        expected="an object with get_config(), a function or None",
        received=f"{instance!r:.80} ({type(instance).__name__})",
    )


def _serialize_entry(value: Any) -> Any:
    if isinstance(value, str) or not (hasattr(value, "get_config") or hasattr(value, "__name__")):
        return value
    serialized = serialize_keras_object(value)
    return {**serialized, _MARK: True} if isinstance(serialized, dict) else serialized


def deserialize_keras_object(
    identifier: Any,
    module_objects: Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    printable_module_name: str = "object",
) -> Any:
    """The object that `serialize_keras_object` described.

    Args:
        identifier: a config, a name, a function, or None.
        module_objects: classes and functions by name.
        custom_objects: further ones, which come first.
        printable_module_name: what is looked for, for errors.

    Raises:
        UnknownNameError: the name is in no table.
        ArgumentError: the identifier is of another kind.

    Example:
        >>> from lamina import initializers
        >>> config = {"class_name": "Constant", "config": {"value": 2.0}}
        >>> deserialize_keras_object(config, vars(initializers)).value
        2.0

    Source: https://keras.io/api/models/model_saving_apis/serialization_utils/
    """
    if identifier is None or inspect.isfunction(identifier):
        return identifier
    customs = custom_objects or {}
    tables = {**(module_objects or {}), **get_custom_objects(), **customs}

    def find(name: str) -> Any:
        return customs[name] if name in customs else get_registered_object(name, None, tables)

    if isinstance(identifier, str):
        found = _known(find(identifier), identifier, tables, printable_module_name)
        return found() if inspect.isclass(found) else found
    if not isinstance(identifier, Mapping) or not {"class_name", "config"} <= identifier.keys():
        raise ArgumentError(
            f"This describes no {printable_module_name}.",
            where="deserialize_keras_object(identifier)",
            expected="a name, or a dict with class_name and config",
            received=f"{identifier!r:.80}",
        )
    cls = _known(find(identifier["class_name"]), identifier["class_name"], tables, printable_module_name)
    config = identifier["config"]
    if isinstance(config, Mapping):
        config = {key: _revive_entry(key, value, find, module_objects, custom_objects) for key, value in config.items()}
    revive = getattr(cls, "from_config", None)
    if revive is not None and "custom_objects" in inspect.signature(revive).parameters:
        return revive(config, custom_objects={**get_custom_objects(), **(custom_objects or {})})
    with CustomObjectScope(custom_objects or {}):
        return cls(**config) if revive is None else revive(config)


def _known(found: Any, name: str, tables: Mapping[str, Any], kind: str) -> Any:
    if found is None:
        raise UnknownNameError(
            f"Unknown {kind}: '{name}'.{nearest(name, tables)}",
            where="deserialize_keras_object(identifier)",
            fix="pass it in custom_objects, or use it within a custom_object_scope",
        )
    return found


def _revive_entry(key: str, value: Any, find: Any, modules: Any, customs: Any) -> Any:
    """A marked config as the object it describes, the name of a function as the function."""
    if isinstance(value, Mapping) and _MARK in value:
        return deserialize_keras_object(value, modules, customs, "config_item")
    if key != "name" and isinstance(value, str) and inspect.isfunction(find(value)):
        return find(value)
    return value
