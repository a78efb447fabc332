"""Graphs of layers to configs and back, in the form of Keras 3 files."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from lamina.core import tree
from lamina.core.capture import accepts, revive
from lamina.core.errors import ArgumentError, FileError, nearest
from lamina.core.naming import to_snake_case
from lamina.core.registry import maybe_scope
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.graph.infer import infer
from lamina.graph.node import OPS, Node, Operation, connect, record_torch_function
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.graph.torch_functions import torch_functions, torch_name
from lamina.graph.widening import suited
from lamina.layers.input import InputLayer
from lamina.layers.regularization import _Noise
from lamina.saving import keras_ops

_TENSOR = "__keras_tensor__"
_GRAPH = ("layers", "input_layers", "output_layers")


def config_of(model: Any) -> dict[str, Any]:
    """The config of a functional model."""
    places = _places(model)
    layers = []
    for operation in model.operations:
        entry = _operation_config(operation)
        entry["name"] = operation.name
        nodes = [node for node in model._nodes if node.operation is operation and not node.is_input]
        entry["inbound_nodes"] = [_node_config(node, places) for node in nodes]
        layers.append(entry)

    def place(tensor: KerasTensor) -> list[Any]:
        return list(places[id(tensor)])

    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": _map_tensors(place, model._inputs_struct),
        "output_layers": _map_tensors(place, model._outputs_struct),
    }


def _map_tensors(function: Any, structure: Any) -> Any:
    """The structure with its tensors replaced; a lone tensor gives a plain list, as Keras writes it."""
    return function(structure) if isinstance(structure, KerasTensor) else tree.map_structure(function, structure)


def _places(model: Any) -> dict[int, tuple[str, int, int]]:
    """For each tensor of the graph: its operation's name, which call inside this model, which result."""
    calls: dict[str, int] = {}
    places = {}
    for node in model._nodes:
        index = calls.get(node.operation.name, 0)
        calls[node.operation.name] = index + 1
        for position, tensor in enumerate(node.output_tensors):
            places[id(tensor)] = (node.operation.name, index, position)
    return places


def _operation_config(operation: Any) -> dict[str, Any]:
    if not isinstance(operation, Operation):
        return serialize_keras_object(operation)
    if not _is_op(operation):
        label = torch_name(operation.function)
        if label is not None:
            settings = {"name": operation.name}
            return {"module": "torch", "class_name": label, "config": settings, "registered_name": None}
        raise ArgumentError(
            f"The function {operation.label!r} in the graph has no name that a file could keep.",
            where=f"operation '{operation.name}'",
            fix="use a function of lamina.ops, or put the code into a layer of your own",
        )
    known = _as_keras(operation._inbound_nodes[0])
    if known is None:
        config = {"module": "lamina.ops", "class_name": operation.label, "config": {}, "registered_name": None}
    else:
        op, settings, _ = known
        config = {
            "module": op.module,
            "class_name": op.class_name,
            "config": settings,
            "registered_name": op.class_name,
        }
    return {**config, "config": {"name": operation.name, **serialize_keras_object(config["config"])}}


def _is_op(operation: Operation) -> bool:
    """Whether it is the op of its name, not another function that is called the same."""
    return operation.label in OPS and inspect.unwrap(OPS[operation.label]) is operation.function


def _as_keras(node: Node) -> Any:
    """A call of an op as Keras's files have it: the op, its settings and the call's arguments; None if they cannot."""
    if not _is_op(node.operation):
        return None
    found = keras_ops.split_arguments(node.operation.label, node.operation.function, node.args, node.kwargs)
    return None if found is None or any_symbolic(found[1]) else found


def _node_config(node: Node, places: Mapping[int, tuple[str, int, int]]) -> dict[str, Any]:
    def describe(leaf: Any) -> Any:
        if not isinstance(leaf, KerasTensor):
            return serialize_keras_object(leaf)
        place = places[id(leaf)]
        config = {"shape": list(leaf.shape), "dtype": leaf.dtype, "keras_history": list(place)}
        return {"class_name": _TENSOR, "config": config}

    args, kwargs = node.args, node.kwargs
    if isinstance(node.operation, Operation) and (known := _as_keras(node)) is not None:
        args, kwargs = known[2], {}
    return {
        "args": [_map_leaves(describe, arg) for arg in args],
        "kwargs": {key: _map_leaves(describe, value) for key, value in kwargs.items()},
    }


def _map_leaves(function: Any, value: Any) -> Any:
    return tree.map_structure(function, value)


def model_from(cls: Any, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A functional model from its config."""
    with maybe_scope(custom_objects):
        operations = {_name_of(entry): _revive_operation(entry) for entry in config["layers"]}
        tensors: dict[tuple[str, int, int], KerasTensor] = {}
        waiting = []
        for entry in config["layers"]:
            name = _name_of(entry)
            if isinstance(operations[name], InputLayer):
                tensors[name, 0, 0] = operations[name].output
            waiting += [(name, index, node) for index, node in enumerate(entry["inbound_nodes"])]
        _connect_all(waiting, operations, tensors)

    def find(place: Any) -> KerasTensor:
        key = (place[0], int(place[1]), int(place[2]))
        if key not in tensors:
            raise _damaged("The config names a tensor that no layer makes.", place)
        return tensors[key]

    inputs = _map_places(find, config["input_layers"])
    outputs = _map_places(find, config["output_layers"])
    rest = {key: value for key, value in config.items() if key not in _GRAPH and accepts(cls, key)}
    model = cls(inputs=inputs, outputs=outputs, **revive(rest))
    if config.get("trainable") is False:
        model.trainable = False
    return model


def _damaged(what: str, received: object) -> FileError:
    return FileError(what, where="the model's config", received=received, fix="take it from model.get_config() anew")


def takes_graph(cls: type) -> bool:
    """Whether a class of models is made from inputs and outputs, or passes on whatever it is given."""
    parameters = inspect.signature(cls.__init__).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    return {"inputs", "outputs"} <= parameters.keys() or {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    } <= kinds


def _name_of(entry: Mapping[str, Any]) -> str:
    name = entry.get("name") or entry.get("config", {}).get("name")
    if not isinstance(name, str):
        raise _damaged("A layer in the config has no name.", str(entry)[:120])
    return name


def _revive_operation(entry: Mapping[str, Any]) -> Any:
    module = str(entry.get("module"))
    if module.startswith(("lamina.ops", "keras.src.ops", "keras.ops")):
        label = str(entry["class_name"])
        label = keras_ops.op_names().get(label) or (label if label in OPS else to_snake_case(label))
        if label not in OPS:
            raise _damaged(f'The config names an unknown op "{label}".{nearest(label, OPS)}', label)
        settings = {
            key: value for key, value in entry["config"].items() if key != "name" and not _is_policy(key, value)
        }
        return _NamedOp(label, _name_of(entry), settings)
    if module == "torch":
        return _NamedTorchFunction(str(entry["class_name"]), _name_of(entry))
    return deserialize_keras_object(entry)


def _is_policy(key: str, value: Any) -> bool:
    """Whether a setting is the dtype policy that files hold for layers and ops alike."""
    return key == "dtype" and isinstance(value, Mapping) and "Policy" in str(value.get("class_name"))


class _NamedTorchFunction:
    """A torch function to be called under a name; only functions of torch's table can be named."""

    def __init__(self, label: str, name: str) -> None:
        if label not in torch_functions():
            hint = nearest(label, torch_functions())
            raise _damaged(f'The config names an unknown torch function "{label}".{hint}', label)
        self.function, self.name = torch_functions()[label], name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree.map_structure(_with_dtype, (args, kwargs))
        return record_torch_function(self.function, args, kwargs, self.name)


def _with_dtype(value: Any) -> Any:
    """A dtype where files have its name; ops take names, torch's functions do not."""
    dtype = getattr(torch, value, None) if isinstance(value, str) else None
    return dtype if isinstance(dtype, torch.dtype) else value


class _NamedOp:
    """An op to be called under a name, with the settings its config holds."""

    def __init__(self, label: str, name: str, settings: dict[str, Any]) -> None:
        accepted = inspect.signature(OPS[label]).parameters
        self.function, self.name = OPS[label], name
        self.settings = {key: deserialize_keras_object(value) for key, value in settings.items() if key in accepted}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **{**self.settings, **kwargs}, name=self.name)


def call_again(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """An operation called on symbolic tensors; an op or a torch function gets a node of its own."""
    if not isinstance(operation, Operation):
        return operation(*args, **kwargs)
    again = Operation(operation.function, None, operation.label)
    outputs = infer(suited(again.function, tuple(args), kwargs), tuple(args), kwargs, f"op {again.label}")
    return connect(again, tuple(args), kwargs, outputs)


def _connect_all(
    waiting: list[tuple[str, int, Any]],
    operations: Mapping[str, Any],
    tensors: dict[tuple[str, int, int], KerasTensor],
) -> None:
    """Call the operations in the order their inputs become known; each waits for one tensor at a time."""
    ready = deque(waiting)
    parked: dict[tuple[str, int, int], list[tuple[str, int, Any]]] = {}
    while ready:
        name, index, node = ready.popleft()
        try:
            args, kwargs = _arguments(node, tensors)
            if index > 0 and (before := (name, index - 1, 0)) not in tensors:
                raise _Unknown(before)
        except _Unknown as missing:
            parked.setdefault(missing.args[0], []).append((name, index, node))
            continue
        if not any_symbolic((args, kwargs)):
            raise _damaged("A call in the graph has no tensor among its arguments.", f"layer '{name}'")
        if "training" in kwargs and kwargs["training"] == _default_mode(operations[name]):
            # Keras notes the default of every call, and goes by the model's mode all the same.
            del kwargs["training"]
        outputs = operations[name](*args, **kwargs)
        leaves = [leaf for leaf in tree.flatten(outputs) if isinstance(leaf, KerasTensor)]
        for position, tensor in enumerate(leaves):
            tensors[name, index, position] = tensor
            ready.extend(parked.pop((name, index, position), ()))
    if parked:
        names = ", ".join(sorted({name for held in parked.values() for name, _, _ in held})[:5])
        raise _damaged("The graph in the config does not close.", f"inputs of {names} never become known")


def _default_mode(operation: Any) -> Any:
    """The default of `training` in Keras's call of a layer."""
    if isinstance(operation, _Noise):
        return False
    parameter = inspect.signature(getattr(operation, "call", operation)).parameters.get("training")
    return parameter.default if parameter is not None else None


class _Unknown(Exception):
    """A tensor is not there yet."""


def _arguments(node: Any, tensors: Mapping[tuple[str, int, int], KerasTensor]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, its tensors put in; Keras 2's list form is read too."""

    def revive(value: Any) -> Any:
        if isinstance(value, Mapping):
            if value.get("class_name") == _TENSOR:
                name, index, position = value["config"]["keras_history"]
                return lookup(name, index, position)
            if "class_name" in value and "config" in value:
                return deserialize_keras_object(value)
            return {key: revive(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [revive(part) for part in value]
        return value

    def lookup(name: str, index: int, position: int) -> KerasTensor:
        key = (name, int(index), int(position))
        if key not in tensors:
            raise _Unknown(key)
        return tensors[key]

    if isinstance(node, Mapping):
        return [revive(arg) for arg in node["args"]], {key: revive(value) for key, value in node["kwargs"].items()}
    inbound = [lookup(*entry[:3]) for entry in node]
    return [inbound[0] if len(inbound) == 1 else inbound], {}


def _map_places(function: Any, places: Any) -> Any:
    """Places in a config replaced by tensors; [name, i, j] is one place, a list of these several."""
    if isinstance(places, Mapping):
        return {key: _map_places(function, value) for key, value in places.items()}
    if len(places) == 3 and isinstance(places[0], str):
        return function(places)
    tensors = [_map_places(function, place) for place in places]
    return tuple(tensors) if isinstance(places, tuple) else tensors
