"""Layers to configs and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.core.errors import ArgumentTypeError
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.layers.base import Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """The config of a layer: its class by name, its arguments, and the shapes it was built with.

    Args:
        layer: a layer or model.

    Example:
        >>> serialize(Layer(name="plain"))["config"]["name"]
        'plain'

    Source: https://keras.io/api/layers/
    """
    return serialize_keras_object(layer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A layer from its config; classes come from the registry only.

    Args:
        config: what `serialize` gave.
        custom_objects: further classes and functions by name.

    Raises:
        FileError: the config names something that is not registered.
        ArgumentTypeError: it describes something other than a layer.

    Example:
        >>> deserialize(serialize(Layer(name="plain"))).name
        'plain'
    """
    layer = deserialize_keras_object(config, custom_objects=custom_objects)
    if not isinstance(layer, Layer):
        raise ArgumentTypeError(
            "The config does not describe a layer.",
            where="layers.deserialize",
            expected="what layers.serialize(layer) gives",
            received=repr(layer)[:120],
        )
    return layer
