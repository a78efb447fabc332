"""Objects to JSON-able configs and back, in the form Keras 3 uses. Loading finds objects in the registry only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, FileError, LaminaError, nearest
from lamina.core.limits import Limits, loading, nested, too_large
from lamina.core.registry import (
    builtin_name,
    find_builtin,
    find_custom,
    get_registered_name,
    known_names,
    maybe_scope,
)
from lamina.core.tensors import convert_to_tensor

# What constructors make of a config that is none.
_BAD_CONFIG = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ConfigError(FileError, TypeError):
    """A config does not describe an object that can be made."""


def is_serialized(value: Any) -> bool:
    """Whether a value is the config of an object."""
    return isinstance(value, Mapping) and "class_name" in value and "config" in value


def serialize_value(value: Any) -> Any:
    """A constructor argument as it stands in a config: built-in functions by their plain name, objects in full."""
    if inspect.isfunction(value) or inspect.isbuiltin(value):
        known = builtin_name(value)
        if known is not None:
            return known[1]
    return serialize_keras_object(value)


def serialize_keras_object(obj: Any) -> Any:
    """An object as a JSON-able value: numbers, strings, lists and dicts of them, objects as class name and config.

    Raises:
        ArgumentTypeError: the value is neither, and has no get_config.

    Example:
        >>> serialize_keras_object({"a": (1, 2), "b": np.float32(0.5)})
        {'a': (1, 2), 'b': 0.5}
    """
    if obj is None or isinstance(obj, (str, bool, int, float)):
        return obj
    if isinstance(obj, torch.Size):
        return tuple(int(size) for size in obj)
    if isinstance(obj, (list, tuple)):
        values = [serialize_value(value) for value in obj]
        return tuple(values) if isinstance(obj, tuple) else values
    if isinstance(obj, Mapping) and not hasattr(obj, "get_config"):
        return {key: serialize_value(value) for key, value in obj.items()}
    plain = _plain_value(obj)
    return plain if plain is not None else _object_config(obj)


def _plain_value(obj: Any) -> Any:
    """Values that are neither containers nor objects of ours, in Keras's notation; None for all others."""
    if isinstance(obj, (torch.dtype, np.dtype)):
        return standardize_dtype(obj)
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode("utf-8")}}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, slice):
        config = {"start": obj.start, "stop": obj.stop, "step": obj.step}
        return {
            "class_name": "__slice__",
            "config": {key: serialize_keras_object(v) for key, v in config.items()},
        }
    if isinstance(obj, (torch.Tensor, np.ndarray)):
        kind = "__tensor__" if isinstance(obj, torch.Tensor) else "__numpy__"
        values = obj.detach().cpu().tolist() if isinstance(obj, torch.Tensor) else obj.tolist()
        return {"class_name": kind, "config": {"value": values, "dtype": standardize_dtype(obj.dtype)}}
    if obj.__class__.__name__ == "KerasTensor":
        history = obj._keras_history
        return {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": list(obj.shape),
                "dtype": obj.dtype,
                "keras_history": [history.operation.name, history.node_index, history.tensor_index],
            },
        }
    return None


def _object_config(obj: Any) -> dict[str, Any]:
    if inspect.isfunction(obj) or inspect.isbuiltin(obj):
        return _function_config(obj)
    if not hasattr(obj, "get_config"):
        raise ArgumentTypeError(
            f"An object of class {type(obj).__name__} cannot be put into a config.",
            where="serialize_keras_object",
            received=repr(obj)[:120],
            fix="give its class get_config() and from_config(), and register it with register_keras_serializable",
        )
    cls = type(obj)
    known = builtin_name(cls)
    module, class_name = known or (cls.__module__, cls.__name__)
    registered = None if known else get_registered_name(cls)
    config: dict[str, Any] = {
        "module": module,
        "class_name": class_name,
        "config": serialize_keras_object(obj.get_config()),
        "registered_name": registered,
    }
    for part in ("build_config", "compile_config"):
        getter = getattr(obj, f"get_{part}", None)
        if getter is not None and (value := getter()) is not None:
            config[part] = serialize_keras_object(value)
    return config


def _function_config(function: Any) -> dict[str, Any]:
    if function.__name__ == "<lambda>":
        raise ArgumentError(
            "A lambda has no name to save it under.",
            where="serialize_keras_object",
            fix="write a named function and register it with @lamina.saving.register_keras_serializable()",
        )
    known = builtin_name(function)
    module, name = known or ("builtins", get_registered_name(function))
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def deserialize_keras_object(
    config: Any,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    *,
    limits: Limits | None = None,
    **kwargs: Any,
) -> Any:
    """The object a config describes. Classes and functions come from the registry only, never by import.

    Args:
        config: what `serialize_keras_object` gave.
        custom_objects: further objects by name.
        safe_mode: kept for Keras; code in a config is never run either way.
        limits: bounds on what the config may ask for.

    Raises:
        FileError: the config names an unknown object, holds code, is nested too deeply or asks for too much memory.

    Example:
        >>> deserialize_keras_object({"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}})
        array([1.], dtype=float32)
    """
    module_objects = kwargs.get("module_objects") or {}
    with maybe_scope({**module_objects, **(custom_objects or {})}), loading(limits) as budget:
        if not budget.depth and count_objects(config, budget.objects, budget.limits.depth) > budget.objects:
            raise too_large("objects", budget.limits.objects)
        try:
            return _revive(config)
        except _BAD_CONFIG as error:
            # Only the outermost call speaks: what is below may be tried in another way.
            if budget.depth or isinstance(error, (LaminaError, NotImplementedError)):
                raise
            raise ConfigError(
                "The object cannot be made from its config.",
                where=str(config.get("class_name") if isinstance(config, Mapping) else type(config).__name__)[:80],
                received=f"{type(error).__name__}: {error!s:.300}",
                fix="check that get_config() and from_config() of your own classes go together",
            ) from error


def count_objects(config: Any, most: int, deepest: int | None = None) -> int:
    """How many objects a config describes; counting ends when there are more than `most`.

    Raises:
        FileError: it is nested more than `deepest` levels; found without recursion.

    Example:
        >>> count_objects([{"class_name": "Dense", "config": {"units": 2}}], 10)
        1
    """
    stack, count = [(config, 1)] if isinstance(config, (Mapping, list, tuple)) else [], 0
    while stack and count <= most:
        value, depth = stack.pop()
        if deepest is not None and depth > deepest:
            raise too_large("depth", deepest)
        if isinstance(value, Mapping):
            count += is_serialized(value)
        items = value.values() if isinstance(value, Mapping) else value
        stack += [(item, depth + 1) for item in items if isinstance(item, (Mapping, list, tuple))]
    return count


def _revive(config: Any) -> Any:
    if isinstance(config, Mapping) and is_serialized(config):
        with nested(1):
            special = _SPECIAL.get(str(config["class_name"]))
            return _revive_object(config) if special is None else _revive_value(special, config)
    if not isinstance(config, (list, tuple, Mapping)):
        return config
    with nested():
        if isinstance(config, Mapping):
            return {key: _revive(value) for key, value in config.items()}
        values = [_revive(value) for value in config]
        return tuple(values) if isinstance(config, tuple) else values


def _revive_value(special: Any, config: Mapping[str, Any]) -> Any:
    """An array, a slice and the like."""
    try:
        return special(config["config"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, LaminaError):
            raise
        raise FileError(
            f"The config holds a broken value: {error}",
            where="the config being loaded",
            received=f"{config!r:.120}",
            fix="save the model anew, or build it in code and use load_weights()",
        ) from error


def _refuse_code(config: Any) -> Any:
    raise FileError(
        "The file holds Python code, which is never loaded.",
        where=f"{config!r:.80}",
        fix="register the function with @lamina.saving.register_keras_serializable() and save the model anew, "
        "or rebuild the model in code and use load_weights()",
    )


def _array_dtype(dtype: Any) -> Any:
    """The dtype of an array in a config: of numbers, or of objects for text, whose own dtypes name any size."""
    name = standardize_dtype(dtype)
    return object if name == "string" else name


_SPECIAL: dict[str, Any] = {
    "__numpy__": lambda config: np.array(config["value"], dtype=_array_dtype(config["dtype"])),
    "__tensor__": lambda config: convert_to_tensor(config["value"], dtype=standardize_dtype(config["dtype"])),
    "__bytes__": lambda config: config["value"].encode("utf-8"),
    "__ellipsis__": lambda config: Ellipsis,
    "__slice__": lambda config: slice(config["start"], config["stop"], config["step"]),
    "__tuple__": lambda config: tuple(config["value"]),
    "__lambda__": _refuse_code,
}


def _revive_object(config: Mapping[str, Any]) -> Any:
    class_name, inner = config["class_name"], config["config"]
    if class_name == "function":
        registered = config.get("registered_name")
        return find_object(config.get("module"), str(inner), None if registered == "function" else registered)
    cls = find_object(config.get("module"), str(class_name), config.get("registered_name"))
    revive = getattr(cls, "from_config", None)
    if not inspect.isclass(cls) or revive is None:
        raise FileError(
            f'"{class_name}" is not a class that a config can make.',
            where="the config being loaded",
            expected="a class with from_config()",
            received=repr(cls),
        )
    instance: Any = revive(inner)
    if config.get("build_config") is not None and hasattr(instance, "build_from_config"):
        instance.build_from_config(config["build_config"])
    if config.get("compile_config") is not None and hasattr(instance, "compile_from_config"):
        instance.compile_from_config(config["compile_config"])
    return instance


def find_object(module: str | None, name: str, registered_name: str | None) -> Any:
    """The class or function a config names: custom ones first, then lamina's own.

    Raises:
        FileError: nothing of that name is registered.
    """
    found = find_custom(registered_name, name)
    if found is None:
        found = find_builtin(module, name)
    if found is None:
        wanted = registered_name or name
        hint = nearest(name, known_names()) if (module or "").startswith("keras") else ""
        raise FileError(
            f'The config names "{wanted}", which is not registered.{hint}',
            where=f"module {module!r}" if module else "the config being loaded",
            fix="pass it in custom_objects={...}, or put @lamina.saving.register_keras_serializable() on it",
        )
    return found
