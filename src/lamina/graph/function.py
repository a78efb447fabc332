"""A graph flattened once into a plan, and the plan run in one loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lamina.core import tree
from lamina.core.errors import ArgumentError, LaminaError
from lamina.graph.node import Node, Operation, node_of
from lamina.graph.tensor import KerasTensor
from lamina.graph.widening import suited


class Slot:
    """The place of a value in a plan's table."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Arguments:
    """The arguments of one call, with slots where values go."""

    __slots__ = ("args", "kwargs")

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def fill(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with the values put in."""
        return [_fill(arg, values) for arg in self.args], {k: _fill(arg, values) for k, arg in self.kwargs.items()}


def _fill(template: Any, values: list[Any]) -> Any:
    kind = type(template)
    if kind is Slot:
        return values[template.index]
    if kind is list:
        return [_fill(item, values) for item in template]
    if kind is tuple:
        return tuple([_fill(item, values) for item in template])
    if kind is dict:
        return {key: _fill(item, values) for key, item in template.items()}
    return template


class Plan:
    """The calls between some inputs and some outputs, in order, each with the slots it reads and writes.

    Args:
        inputs: symbolic tensors that stand for the data.
        outputs: symbolic tensors wanted.

    Raises:
        ArgumentError: an output does not depend on the inputs alone.

    Example:
        >>> import torch
        >>> x = KerasTensor((None, 2))
        >>> Plan([x], [torch.add(torch.relu(x), x)]).run([torch.ones(1, 2)])
        [tensor([[2., 2.]])]
    """

    def __init__(self, inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> None:
        self.nodes = sort_nodes(inputs, outputs)
        slots = {id(tensor): index for index, tensor in enumerate(inputs)}
        self.steps: list[tuple[Any, int | Arguments, int | tuple[int, ...], tuple[int, ...]]] = []
        last_use: dict[int, int] = {}
        raw: list[tuple[Any, int | Arguments, int | tuple[int, ...]]] = []
        for position, node in enumerate(self.nodes):
            for tensor in node.input_tensors:
                last_use[slots[id(tensor)]] = position
            source = _source(node, slots)
            targets = []
            for tensor in node.output_tensors:
                targets.append(slots.setdefault(id(tensor), len(slots)))
            single = isinstance(node.outputs, KerasTensor)
            raw.append((_callable(node), source, targets[0] if single else tuple(targets)))
        self.size = len(slots)
        self.results = [slots[id(tensor)] for tensor in outputs]
        for position, step in enumerate(raw):
            spent = [s for s, last in last_use.items() if last == position and s not in self.results]
            self.steps.append((*step, tuple(spent)))
        self.input_count = len(inputs)

    def run(self, values: list[Any]) -> list[Any]:
        """The outputs for some values of the inputs."""
        values.extend([None] * (self.size - len(values)))
        for operation, source, target, spent in self.steps:
            if type(source) is int:
                result = operation(values[source])
            else:
                args, kwargs = source.fill(values)  # type: ignore[union-attr]
                result = operation(*args, **kwargs)
            if type(target) is int:
                values[target] = result
            else:
                for slot, part in zip(target, _tensors_of(result), strict=True):  # type: ignore[arg-type]
                    values[slot] = part
            for slot in spent:
                values[slot] = None
        return [values[slot] for slot in self.results]


def _callable(node: Node) -> Any:
    """What the loop calls: a layer itself, an op's function without the wrapper around it."""
    operation = node.operation
    return suited(operation.function, node.args, node.kwargs) if isinstance(operation, Operation) else operation


def _tensors_of(result: Any) -> list[Any]:
    return [leaf for leaf in tree.flatten(result) if hasattr(leaf, "shape")]


def _source(node: Node, slots: dict[int, int]) -> int | Arguments:
    """What a call reads: one slot when it takes one tensor and nothing else, else the whole arguments."""
    if len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], KerasTensor):
        return slots[id(node.args[0])]

    def template(value: Any) -> Any:
        return Slot(slots[id(value)]) if isinstance(value, KerasTensor) else value

    args = tree.map_structure(template, list(node.args))
    kwargs = tree.map_structure(template, dict(node.kwargs))
    return Arguments(args, kwargs)


def sort_nodes(inputs: Iterable[KerasTensor], outputs: Iterable[KerasTensor]) -> list[Node]:
    """The nodes between inputs and outputs, each after those it needs; input nodes left out.

    Raises:
        ArgumentError: the way back from an output ends at something that is not an input.
    """
    known = {id(tensor) for tensor in inputs}
    order: list[Node] = []
    done: set[int] = set()
    for output in outputs:
        if id(output) in known:
            continue
        _require_history(output)
        stack: list[tuple[Node, bool]] = [(node_of(output), False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                if id(node) not in done:
                    done.add(id(node))
                    order.append(node)
                continue
            if id(node) in done:
                continue
            if node.is_input:
                raise _disconnected(node)
            stack.append((node, True))
            for tensor in reversed(node.input_tensors):
                if id(tensor) not in known:
                    _require_history(tensor)
                    parent = node_of(tensor)
                    if id(parent) not in done:
                        stack.append((parent, False))
    return order


def order_operations(nodes: Sequence[Node], outputs: Iterable[KerasTensor]) -> list[Any]:
    """The layers and ops of sorted nodes as Keras lists, numbers and saves them.

    Those farthest from the outputs come first; at the same distance, in the order in which one meets them on the way
    back from the outputs, left to right.

    Args:
        nodes: all nodes of a graph, its input nodes too, each after those it needs.
        outputs: the results of the graph.
    """
    inside = set(map(id, nodes))
    met: dict[int, int] = {}
    seen: set[int] = set()
    stack = [node_of(output) for output in reversed(list(outputs))]
    while stack:
        node = stack.pop()
        if id(node) in seen or id(node) not in inside:
            continue
        seen.add(id(node))
        met.setdefault(id(node.operation), len(met))
        stack += reversed(node.parents)
    distances: dict[int, int] = {}
    operations: dict[int, Any] = {}
    distance_of: dict[int, int] = {}
    for node in reversed(nodes):
        key = id(node.operation)
        distance = max(distances.get(id(node), 0), distance_of.get(key, 0))
        distance_of[key], operations[key] = distance, node.operation
        for parent in node.parents:
            distances[id(parent)] = max(distance + 1, distances.get(id(parent), 0))
    return [operations[key] for key in sorted(operations, key=lambda key: (-distance_of[key], met.get(key, -1)))]


def _require_history(tensor: KerasTensor) -> None:
    if not hasattr(tensor, "_keras_history"):
        raise ArgumentError(
            "A symbolic tensor comes from nowhere.",
            where=repr(tensor),
            fix="begin the graph with lamina.Input(shape=...) and connect layers to it",
        )


def _disconnected(node: Node) -> LaminaError:
    tensor = node.output_tensors[0]
    return ArgumentError(
        "The outputs need an input that the model does not have.",
        where=f"input '{node.operation.name}' of shape {tensor.shape}",
        fix="add it to the model's inputs, or connect the outputs to the inputs given",
    )
