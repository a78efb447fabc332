"""The parts of a model in the order and under the names that Keras gives them in a weights file.

A part is found as an attribute of another, public names before private ones, each in alphabetical order;
sequential and functional models name their layers first. Parts in a list, tuple or dict are named by their
class: dense, dense_1, ... Source: https://keras.io/guides/serialization_and_saving/
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from lamina.core.capture import Captured
from lamina.core.naming import to_snake_case
from lamina.core.registry import builtin_name
from lamina.layers.base import Layer
from lamina.layers.tracking import Holder
from lamina.quantizers.configs import QuantizationConfig

_GRAPH_MODELS = frozenset({"Sequential", "Functional"})
# What a graph model keeps for itself; its layers are named already.
_OF_THE_GRAPH = frozenset({"_functional", "_input_layer", "_operations", "operations"})
_CONTAINERS = (list, tuple, dict, nn.ModuleList, nn.ModuleDict)


def is_part(value: Any) -> bool:
    """Whether a value can have state of its own: a layer, an optimizer, a metric, a loss, a torch module."""
    return isinstance(value, (nn.Module, Captured)) and not isinstance(
        value, (Holder, QuantizationConfig, *_CONTAINERS)
    )


def parts_of(part: Any) -> Iterator[tuple[str, Any]]:
    """Attribute names and values of a part: its parts, and containers that may hold some."""
    if is_plain_module(part):
        return
    own_modules = getattr(part, "_modules", {})
    skipped = _base_names(isinstance(part, Layer)) - own_modules.keys()
    if is_graph_model(part):
        skipped |= _OF_THE_GRAPH
        yield "layers", part.layers
    for name in sorted(dir(part), key=lambda name: (name.startswith("_"), name)):
        if name.startswith("__") or name in skipped:
            continue
        # A property may refuse to be read in the model's present state, and such a one holds no part.
        try:
            value = getattr(part, name)
        except Exception:
            continue
        if is_container(value) or (is_part(value) and (not is_plain_module(value) or _keeps_modules(part))):
            yield name, value


def items_of(container: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Paths and values of what a container holds: its parts, and containers inside it."""
    used: Counter[str] = Counter()
    values = container.values() if isinstance(container, (Mapping, nn.ModuleDict)) else container
    for value in values:
        if isinstance(value, _CONTAINERS):
            name = "container"
        elif is_part(value):
            name = "torch_module_wrapper" if is_plain_module(value) else to_snake_case(type(value).__name__)
        else:
            continue
        yield f"{path}/{name}_{used[name]}" if used[name] else f"{path}/{name}", value
        used[name] += 1


def is_plain_module(part: Any) -> bool:
    """Whether a part is a torch module that is no layer, so that its `state_dict` is its state."""
    return isinstance(part, nn.Module) and not isinstance(part, Layer)


def is_container(value: Any) -> bool:
    """Whether a value is a list, tuple or dict, or torch's own kind of these."""
    return isinstance(value, _CONTAINERS)


def is_graph_model(part: Any) -> bool:
    """Whether a part is a sequential or functional model, whose layers come first."""
    return any((builtin_name(cls) or ("", ""))[1] in _GRAPH_MODELS for cls in type(part).__mro__)


def _keeps_modules(part: Any) -> bool:
    """Whether a part's plain torch modules are saved under it; a layer with its own way sees to them."""
    return not isinstance(part, Layer) or type(part).save_own_variables is Layer.save_own_variables


@functools.cache
def _base_names(is_layer: bool) -> frozenset[str]:
    """Attributes that every layer, or everything with a config, has."""
    if is_layer:
        probe = Layer(name="probe")
        return frozenset(dir(probe))
    return frozenset(dir(Captured)) | {"_arguments"}
