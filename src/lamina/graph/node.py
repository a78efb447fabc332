"""One call of a layer or op on symbolic tensors, and the table of ops that symbolic tensors call by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from lamina.core import tree
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.naming import auto_name


class KerasHistory(NamedTuple):
    """Where a symbolic tensor comes from: the operation, which of its calls, which of that call's results."""

    operation: Any
    node_index: int
    tensor_index: int


class Operation:
    """A function standing in the graph where otherwise a layer stands.

    Args:
        function: what is called with the real values.
        name: its name; the function's by default.
        label: the name under which files know the function.
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None, label: str | None = None) -> None:
        self.function = function
        self.label = label or getattr(function, "__name__", type(function).__name__)
        self.name = name or auto_name(self.label.strip("_"))
        self._inbound_nodes: list[Node] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Ops are kept by name: the function behind one is not what its module shows under that name."""
        known = OPS.get(self.label)
        is_op = known is not None and inspect.unwrap(known) is self.function
        return (
            _restore,
            (None if is_op else self.function, self.name, self.label),
            {"_inbound_nodes": self._inbound_nodes},
        )

    def __repr__(self) -> str:
        return f"<Operation name={self.name}>"


def _restore(function: Callable[..., Any] | None, name: str, label: str) -> Operation:
    return Operation(inspect.unwrap(OPS[label]) if function is None else function, name, label)


class Node:
    """A call: the operation, the arguments with symbolic tensors among them, and the symbolic results."""

    def __init__(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        from_leaves = [leaf for leaf in tree.flatten((args, kwargs)) if leaf.__class__.__name__ == "KerasTensor"]
        self.operation = operation
        self.args, self.kwargs, self.outputs = args, kwargs, outputs
        self.input_tensors = from_leaves
        self.output_tensors = [leaf for leaf in tree.flatten(outputs) if leaf.__class__.__name__ == "KerasTensor"]
        index = len(operation._inbound_nodes)
        operation._inbound_nodes.append(self)
        for position, tensor in enumerate(self.output_tensors):
            tensor._keras_history = KerasHistory(operation, index, position)
            tensor._node = self

    @property
    def is_input(self) -> bool:
        """Whether this node stands for data that comes from outside."""
        return not self.input_tensors

    @property
    def parents(self) -> list[Node]:
        """The nodes whose results go into this one; none for tensors that came from nowhere."""
        return [tensor._node for tensor in self.input_tensors if hasattr(tensor, "_node")]

    def __repr__(self) -> str:
        return f"<Node operation={self.operation.name}>"


def node_of(tensor: Any) -> Node:
    """The node a symbolic tensor comes from."""
    return tensor._node


OPS: dict[str, Callable[..., Any]] = {}


def call_op(name: str, *args: Any) -> Any:
    """Call the op of that name; its module must have been imported."""
    if name not in OPS:
        raise ArgumentError("The op is not there.", where=f"op {name}", fix="import lamina.ops")
    return OPS[name](*args)


# Functions whose result depends on the mode of the module that calls them: frozen into a graph, the mode would be too.
_MODAL = frozenset(
    {"dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "batch_norm"}
)


def record_torch_function(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], node_name: str | None = None
) -> Any:
    """Record a call of a torch function on symbolic tensors, under a name or one that is made for it."""
    name = getattr(function, "__name__", "torch_function")
    if name in _MODAL:
        raise ArgumentError(
            f"torch's {name} follows the mode of its module, which a graph cannot see.",
            where=f"torch function {name} called on a symbolic tensor",
            fix="use the layer of that name from lamina.layers, or wrap the module: "
            "lamina.layers.TorchModuleWrapper(module)(x)",
        )
    from_graph = _recorder[0]
    return from_graph(Operation(function, node_name), args, kwargs)


_recorder: list[Callable[..., Any]] = []


def connect(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Any:
    """Put a node with these results into the graph and give the results back."""
    if not any(leaf.__class__.__name__ == "KerasTensor" for leaf in tree.flatten(outputs)):
        raise ShapeError(
            "A call on symbolic tensors gave no tensor.",
            where=f"'{operation.name}'",
            expected="a tensor, or a structure with tensors; does call() end with `return`?",
            received=repr(outputs)[:200],
        )
    Node(operation, args, kwargs, outputs)
    return outputs
