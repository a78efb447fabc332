"""What a picture of a model says: a card for each layer, and how the layers are connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lamina.core import tree
from lamina.core.errors import LaminaError
from lamina.graph.node import Operation
from lamina.visualization.figures import RIGHT, WRONG
from lamina.visualization.layout import Box, Group

TITLE, TEXT = 11, 9.5
"""Sizes of letters in points."""


@dataclass(frozen=True)
class Shown:
    """What is told about each layer."""

    shapes: bool = False
    dtype: bool = False
    names: bool = True
    activations: bool = False
    trainable: bool = False


class Cell(NamedTuple):
    """A word about a layer: what it is, its value, and the colour of the ground."""

    what: str
    value: str
    color: str = "white"


class Card(NamedTuple):
    """What a box says: a title, perhaps an activation, and cells side by side."""

    layer: Any
    title: str
    kind: str
    activation: str | None
    cells: tuple[Cell, ...]


def is_chain(model: Any) -> bool:
    """Whether a model is a list of layers, one after the other."""
    return hasattr(type(model), "add") and hasattr(type(model), "pop")


def _is_model(layer: Any) -> bool:
    """Whether a layer is a model with layers to be shown."""
    return is_chain(layer) or hasattr(type(layer), "operations")


def group_of(model: Any, shown: Shown, expand: bool = False, name: str | None = None) -> Group:
    """A model's layers and how they are connected, models inside it as groups where they are expanded."""
    if is_chain(model):
        layers = model.layers
        links = [(index, index + 1, 0, 0) for index in range(len(layers) - 1)]
    elif hasattr(type(model), "operations"):
        layers = model.operations
        links = list(_links(model, layers))
    else:
        layers, links = [model], []
    parts: list[Box] = []
    for layer in layers:
        nested = expand and layer is not model and _is_model(layer)
        parts.append(group_of(layer, shown, True, layer.name) if nested else _box(_card(layer, model, shown)))
    group = Group(content=name, items=parts)
    known = set()
    for source, target, output, place in links:
        begin, end = _exit(parts[source], layers[source], output), _entry(parts[target], layers[target], place)
        if (id(begin), id(end)) not in known:
            known.add((id(begin), id(end)))
            group.edges.append((source, target, begin, end))
    return group


def _links(model: Any, layers: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Which layers a layer reads: their places, which of their outputs, and as which input."""
    place = {id(layer): index for index, layer in enumerate(layers)}
    for node in model._nodes:
        for index, tensor in enumerate(node.input_tensors):
            source, _, output = tensor._keras_history
            if id(source) in place:
                yield place[id(source)], place[id(node.operation)], output, index


def _exit(part: Box, layer: Any, output: int) -> Box:
    """The box that an output of a layer comes from, deep inside where the layer is a group."""
    if not isinstance(part, Group):
        return part
    inner = layer.layers[-1] if is_chain(layer) else layer.outputs[output]._keras_history.operation
    index = 0 if is_chain(layer) else layer.outputs[output]._keras_history.tensor_index
    return _exit(_part_of(part, layer, inner), inner, index)


def _entry(part: Box, layer: Any, place: int) -> Box:
    """The box that takes an input of a layer, deep inside where the layer is a group."""
    if not isinstance(part, Group):
        return part
    inner = layer.layers[0] if is_chain(layer) else layer.inputs[place]._keras_history.operation
    return _entry(_part_of(part, layer, inner), inner, place if is_chain(layer) else 0)


def _part_of(group: Group, model: Any, layer: Any) -> Box:
    layers = model.layers if is_chain(model) else model.operations
    return group.items[next(index for index, one in enumerate(layers) if one is layer)]


def _card(layer: Any, model: Any, shown: Shown) -> Card:
    is_op = isinstance(layer, Operation)
    kind = layer.label.title().replace("_", "") if is_op else type(layer).__name__
    activation = getattr(layer, "activation", None) if shown.activations else None
    named = getattr(activation, "name", None) or getattr(activation, "__name__", None) or str(activation)
    cells = []
    inputs, outputs = _tensors(layer, model)
    if shown.shapes:
        if kind != "InputLayer":
            cells.append(Cell("Input shape", _told(inputs, "shape")))
        cells.append(Cell("Output shape", _told(outputs, "shape")))
    if shown.dtype:
        cells.append(Cell("Output dtype", _told(outputs, "dtype")))
    if shown.trainable and getattr(layer, "weights", None):
        cells.append(Cell("", "Trainable", RIGHT) if layer.trainable else Cell("", "Non-trainable", WRONG))
    title = layer.name if shown.names else kind
    return Card(layer, title, kind if shown.names else "", named if activation is not None else None, tuple(cells))


def _tensors(layer: Any, model: Any) -> tuple[Any, Any]:
    """The symbolic inputs and outputs of a layer's first call in a model, or None."""
    nodes = [node for node in getattr(model, "_nodes", ()) if node.operation is layer] or layer._inbound_nodes
    if nodes:
        node = nodes[0]
        inputs = node.args[0] if len(node.args) == 1 and not node.kwargs else node.input_tensors
        return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs, node.outputs
    try:
        return layer.input, layer.output
    except (LaminaError, AttributeError):
        return None, None


def _told(tensors: Any, what: str) -> str:
    if tensors is None:
        return "?"
    told = tree.map_structure(lambda tensor: getattr(tensor, what, None), tensors)
    if isinstance(told, dict):
        return ", ".join(f"{key}: {value}" for key, value in told.items())
    return str(told)


def _box(card: Card) -> Box:
    """A box as large as its text wants."""
    rows = 1 + (card.activation is not None) + bool(card.cells)
    title = len(card.title) * 0.66 * TITLE + len(f" ({card.kind})") * 0.56 * TITLE * bool(card.kind)
    activation = (len(card.activation) + 12) * 0.6 * TEXT if card.activation else 0
    width = max(title + 24, activation + 24, sum(map(cell_width, card.cells)), 60)
    return Box(width, 24 * rows, card)


def cell_width(cell: Cell) -> float:
    """The points that a cell wants."""
    return (len(cell.what) * 0.54 + len(cell.value) * 0.64 + 2) * TEXT + 12
