"""Functional: a model that is a graph of layers, flattened once and run in one loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lamina.core import tree
from lamina.core.capture import _captured, is_ours
from lamina.core.errors import ArgumentError, ShapeError, listing, nearest, warn_once
from lamina.core.registry import builtin
from lamina.core.serialization import serialize_value
from lamina.graph.function import Plan, order_operations, sort_nodes
from lamina.graph.node import Node, Operation, node_of
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.layers.input import Input, InputLayer
from lamina.layers.input_spec import InputSpec, assert_input_compatibility
from lamina.models import graph_config
from lamina.models.admission import cast_to, entry_dtype, fit_rank
from lamina.models.model import Model, _functional


@builtin("keras.src.models.functional")
class Functional(Model):
    """A model between symbolic inputs and outputs.

    Args:
        inputs: one symbolic tensor, or a list, tuple or dict of them.
        outputs: what is made of them, likewise.
        name: the model's name.

    Raises:
        ArgumentError: the outputs do not follow from the inputs, or two layers have the same name.

    Example:
        >>> from lamina import layers
        >>> a, b = layers.Input(shape=(2,)), layers.Input(shape=(2,))
        >>> model = Functional([a, b], layers.Add()([a, b]))
        >>> model([torch.ones(1, 2), torch.ones(1, 2)]).tolist()
        [[2.0, 2.0]]

    Source: https://keras.io/guides/functional_api/
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        trainable = kwargs.pop("trainable", None)
        Layer.__init__(self, name=name, **kwargs)
        self.autocast = False  # the layers cast what they are given, each to its own dtype
        _require_symbolic(inputs, "inputs")
        _require_symbolic(outputs, "outputs")
        inputs, outputs = _from_inputs(inputs, outputs)
        self._lay_out(inputs, outputs)
        if trainable is not None:
            self.trainable = trainable

    def _lay_out(self, inputs: Any, outputs: Any) -> None:
        """Keep the graph, its plan and its layers."""
        flat_inputs, flat_outputs = tree.flatten(inputs), tree.flatten(outputs)
        if len({id(tensor) for tensor in flat_inputs}) != len(flat_inputs):
            raise ArgumentError(
                "An input stands twice among the inputs.", where=f"model '{self.name}'", fix="name each input once"
            )
        nodes = sort_nodes(flat_inputs, flat_outputs)
        input_nodes = [node_of(tensor) for tensor in flat_inputs]
        self.__dict__.update(
            _arguments=((), self._own_arguments()),
            _nodes=[*input_nodes, *nodes],
            _plan=Plan(flat_inputs, flat_outputs),
            _inputs_struct=inputs,
            _outputs_struct=outputs,
            inputs=flat_inputs,
            outputs=flat_outputs,
            _single_input=isinstance(inputs, KerasTensor),
            _is_wrapped=isinstance(outputs, (list, tuple)) and len(outputs) == 1,
            _single_output=isinstance(outputs, KerasTensor),
            _entry_dtypes=self._find_entry_dtypes(flat_inputs, nodes),
            _paths=[path for path, _ in tree.flatten_with_path(inputs)],
            _seen=None,
            _build_shapes=None,
            built=True,
        )
        self._adopt_operations()
        self.__dict__["input_spec"] = None

    def _own_arguments(self) -> dict[str, Any]:
        """What a subclass's constructor was given beside the graph."""
        if type(self).__init__ is Functional.__init__:
            return {}
        graph = ("inputs", "outputs", "name", "trainable")
        return {key: value for key, value in _captured(self).items() if key not in graph}

    def _find_entry_dtypes(self, inputs: list[KerasTensor], nodes: list[Node]) -> list[torch.dtype | None]:
        """The dtype that the data of each input is brought to."""

        def readers(tensor: KerasTensor) -> list[Any]:
            return [node.operation for node in nodes if any(tensor is other for other in node.input_tensors)]

        return [entry_dtype(tensor, readers(tensor)) for tensor in inputs]

    def _adopt_operations(self) -> None:
        """Register the layers of the graph as submodules, by name."""
        operations = order_operations(self._nodes, self.outputs)
        names: dict[str, Any] = {}
        for operation in operations:
            if operation.name in names:
                raise ArgumentError(
                    f'Two operations have the name "{operation.name}".',
                    where=f"model '{self.name}'",
                    fix="give each layer a name of its own, with name=...",
                )
            names[operation.name] = operation
        self.__dict__["_operations"] = operations
        for operation in operations:
            if isinstance(operation, nn.Module):
                self._modules[operation.name.replace(".", "_")] = operation  # type: ignore[union-attr]
        for node in self._nodes:
            if isinstance(node.operation, Operation):
                self._adopt_constants(node)

    def _adopt_constants(self, node: Node) -> None:
        """Weights that a torch function in the graph reads, those of a torch module called on symbolic tensors."""
        known = {id(parameter) for parameter in self.parameters()}
        for index, leaf in enumerate(tree.flatten((node.args, node.kwargs))):
            if isinstance(leaf, nn.Parameter) and id(leaf) not in known:
                self._parameters[f"{node.operation.name}_{index}".replace(".", "_")] = leaf

    def _make_way(self, name: str, value: nn.Module) -> None:
        """An attribute of the same name as a layer of the graph: the layer keeps its place under another key."""
        held = self._modules.get(name)
        if held is not None and held is not value and any(held is op for op in self.__dict__.get("_operations", [])):
            self._modules[f"{name}_in_graph"] = self._modules.pop(name)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the plan."""
        if self._single_input and isinstance(inputs, torch.Tensor):
            seen = self._seen
            is_seen = seen is not None and inputs.shape == seen[0] and inputs.dtype is seen[1]
            values = [inputs if is_seen else self._admit_single(inputs)]
        else:
            values = self._admit(self._arrange(inputs))
        if mask is not None:
            for value, part in zip(values, tree.flatten(mask), strict=False):
                if part is not None:
                    value._keras_mask = part  # pyright: ignore[reportAttributeAccessIssue]
        results = self._plan.run(values)
        if self._single_output:
            return results[0]
        packed = tree.pack_sequence_as(self._outputs_struct, results)
        # Data comes out of a list of one; symbolic tensors keep it.
        return packed[0] if self._is_wrapped else packed

    def _admit_single(self, value: torch.Tensor) -> torch.Tensor:
        admitted = self._admit([value])[0]
        if admitted is value:
            self.__dict__["_seen"] = value.shape, value.dtype
        return admitted

    def _arrange(self, inputs: Any) -> list[Any]:
        """The inputs given, in the order of the model's; dicts are taken by the inputs' names or the model's keys."""
        if isinstance(inputs, Mapping):
            return self._arrange_by_name(inputs)
        struct = self._inputs_struct
        if isinstance(struct, Mapping) and list(struct) != sorted(struct):
            raise ArgumentError(
                "The model's inputs are a dict whose order is not that of its keys, so a list cannot be told apart.",
                where=f"model '{self.name}'",
                expected=f"a dict with the keys {listing(map(str, struct))}",
                received=type(inputs).__name__,
            )
        values = tree.flatten(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if len(values) != len(self.inputs):
            raise ArgumentError(
                "The number of inputs is wrong.",
                where=f"model '{self.name}'",
                expected=f"{len(self.inputs)}: {', '.join(tensor.name for tensor in self.inputs)}",
                received=len(values),
            )
        return values

    def _arrange_by_name(self, inputs: Mapping[str, Any]) -> list[Any]:
        struct = self._inputs_struct
        if any(len(path) > 1 for path in self._paths):
            return [_at(inputs, path, self.name) for path in self._paths]
        by_key = struct if isinstance(struct, Mapping) else {}
        keys = [self._key_of(tensor, by_key, inputs) for tensor in self.inputs]
        missing = [key for key in keys if key not in inputs]
        if missing:
            raise ArgumentError(
                f'The input "{missing[0]}" is missing.{nearest(missing[0], inputs)}',
                where=f"model '{self.name}'",
                expected=listing(keys),
                received=listing(map(str, inputs)),
            )
        if len(inputs) > len(keys):
            spare = [str(key) for key in inputs if key not in keys]
            warn_once(f"Model '{self.name}' has no input for {listing(spare)}; it has {listing(keys)}.")
        return [inputs[key] for key in keys]

    def _key_of(self, tensor: KerasTensor, by_key: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        for key, value in by_key.items():
            if value is tensor and (key in given or tensor.name not in given):
                return key
        return tensor.name

    def _admit(self, values: list[Any]) -> list[Any]:
        """The inputs checked, in the dtype and the rank of the model's inputs where that makes them fit."""
        admitted = []
        for value, expected, dtype in zip(values, self.inputs, self._entry_dtypes, strict=True):
            if value is None:
                _require_optional(expected, self.name)
            if value is None or not hasattr(value, "shape"):
                admitted.append(value)
                continue
            value = fit_rank(value, expected.shape)
            spec = InputSpec(shape=(None, *expected.shape[1:]) if expected.shape else (), name=expected.name)
            try:
                assert_input_compatibility(spec, value, f"model '{self.name}', input '{expected.name}'")
            except ShapeError:
                if value.ndim != len(expected.shape) or not _only_batch_differs(value.shape, expected.shape):
                    raise
            admitted.append(cast_to(value, dtype) if isinstance(value, torch.Tensor) else value)
        return admitted

    def build(self, input_shape: Any = None) -> None:
        """Nothing: a graph is built from the start."""

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The outputs for symbolic inputs."""
        given = tree.flatten(inputs)
        if len(given) == len(self.inputs) and all(
            a is not None and a.shape == b.shape and a.dtype == b.dtype for a, b in zip(given, self.inputs, strict=True)
        ):
            return tree.map_structure(lambda leaf: KerasTensor(leaf.shape, leaf.dtype), self._outputs_struct)
        return tree.pack_sequence_as(self._outputs_struct, tree.flatten(super().compute_output_spec(inputs)))

    @property
    def operations(self) -> list[Any]:
        """All layers and ops, those farthest from the outputs first."""
        return list(self._operations)

    @property
    def layers(self) -> list[Any]:
        """The layers of the graph, those farthest from the outputs first, and those kept as attributes."""
        in_graph = [operation for operation in self._operations if isinstance(operation, nn.Module)]
        known = {id(layer) for layer in in_graph}
        return in_graph + [layer for layer in super().layers if id(layer) not in known]

    @property
    def input(self) -> Any:
        """The symbolic inputs, as they were given."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The symbolic outputs, as they were given."""
        return self._outputs_struct

    @property
    def input_shape(self) -> Any:
        """The shape of the input, or those of all in a list."""
        return _shapes(self.inputs)

    @property
    def output_shape(self) -> Any:
        """The shape of the output, or those of all in a list."""
        return _shapes(self.outputs)

    @property
    def output_names(self) -> list[str]:
        """The names of the layers the outputs come from."""
        return [tensor._keras_history.operation.name for tensor in self.outputs]

    def get_build_config(self) -> dict[str, Any] | None:
        """Nothing: a graph is built from the start."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The layers, how they are connected, and which tensors go in and out."""
        cls = type(self)
        if cls is Functional or cls.__init__ is Functional.__init__:
            return graph_config.config_of(self)
        if not graph_config.takes_graph(cls):
            return super().get_config()
        config_owner = next(base for base in cls.__mro__ if "get_config" in base.__dict__)
        own = self._arguments[1] if is_ours(config_owner) else {}
        return {key: serialize_value(value) for key, value in own.items()} | graph_config.config_of(self)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_plan"]
        graph = {key: state.pop(key) for key in ("_nodes", "_inputs_struct", "_outputs_struct", "inputs", "outputs")}
        return {**state, **graph}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for node in self._nodes:
            known = node.operation._inbound_nodes
            if not any(node is other for other in known):
                known.append(node)
        self.__dict__["_plan"] = Plan(self.inputs, self.outputs)


_functional.append(Functional)


def _shapes(tensors: list[KerasTensor]) -> Any:
    return tensors[0].shape if len(tensors) == 1 else [tensor.shape for tensor in tensors]


def _require_symbolic(tensors: Any, where: str) -> None:
    for leaf in tree.flatten(tensors):
        if not isinstance(leaf, KerasTensor):
            raise ArgumentError(
                f"The {where} of a model are no symbolic tensors.",
                where=where,
                received=f"{type(leaf).__name__}",
                fix="begin with Input(shape) and call layers on it",
            )


def _from_inputs(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The graph with an Input wherever the model begins at the result of a layer."""
    flat = tree.flatten(inputs)
    for tensor in flat:
        if not hasattr(tensor, "_keras_history"):
            InputLayer(input_tensor=tensor, name=tensor.name)
    if all(isinstance(tensor._keras_history.operation, InputLayer) for tensor in flat):
        return inputs, outputs
    fresh = [Input(batch_shape=t.shape, dtype=t.dtype, name=t._keras_history.operation.name + "_input") for t in flat]
    return tree.pack_sequence_as(inputs, fresh), replay(inputs, fresh, outputs)


def replay(inputs: Any, fresh: list[Any], outputs: Any, operation_of: Any = None) -> Any:
    """The outputs of the same graph on other inputs.

    Args:
        inputs: the symbolic inputs the graph has.
        fresh: the symbolic inputs to run it on.
        outputs: the symbolic outputs wanted.
        operation_of: which operation takes the place of one of the graph's; itself by default.
    """
    flat = tree.flatten(inputs)
    known = {id(old): new for old, new in zip(flat, fresh, strict=True)}

    def translate(leaf: Any) -> Any:
        return known.get(id(leaf), leaf)

    for node in sort_nodes(flat, tree.flatten(outputs)):
        args, kwargs = tree.map_structure(translate, (list(node.args), dict(node.kwargs)))
        operation = operation_of(node.operation) if operation_of is not None else node.operation
        results = graph_config.call_again(operation, args, kwargs)
        for old, new in zip(node.output_tensors, _tensors(results), strict=True):
            known[id(old)] = new
    return tree.map_structure(translate, outputs)


def _tensors(results: Any) -> list[KerasTensor]:
    return [leaf for leaf in tree.flatten(results) if isinstance(leaf, KerasTensor)]


def _at(inputs: Any, path: tuple[Any, ...], model: str) -> Any:
    """The part of nested inputs at a path."""
    part = inputs
    for step in path:
        try:
            part = part[step]
        except (KeyError, IndexError, TypeError):
            raise ArgumentError(
                f"The input at {''.join(f'[{key!r}]' for key in path)} is missing.",
                where=f"model '{model}'",
                expected="the structure that Model(inputs=...) was given",
                received=listing(map(str, part)) if isinstance(part, Mapping) else type(part).__name__,
            ) from None
    return part


def _require_optional(tensor: KerasTensor, model: str) -> None:
    source = tensor._keras_history.operation
    if isinstance(source, InputLayer) and not source.optional:
        raise ArgumentError(
            f'The input "{tensor.name}" is None.',
            where=f"model '{model}'",
            fix="give it data, or make it with Input(..., optional=True)",
        )


def _only_batch_differs(shape: Any, expected: tuple[int | None, ...]) -> bool:
    return all(e is None or s == e for s, e in zip(shape[1:], expected[1:], strict=True))
