"""Operation and Function: computations that stand in a graph and hold no weights."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch

from lamina.core import tree
from lamina.core.capture import Captured, accepts, constructor, constructor_config, is_ours
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    LaminaError,
    ShapeError,
    StateError,
    UnsupportedError,
    unwritten,
)
from lamina.core.naming import auto_name
from lamina.core.rematerialization import RematMode, get_current_remat_mode, remat
from lamina.core.tensors import convert_to_tensor
from lamina.graph import node
from lamina.graph.function import Plan, order_operations
from lamina.graph.infer import infer
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor

_METHODS = ("call", "compute_output_spec", "symbolic_call", "rematerialized_call")


class Operation(Captured, abc.ABC):
    """A computation without weights: write `call`, and use it on tensors, or on symbolic ones in a graph.

    The shapes of symbolic results are found by running `call`, unless `compute_output_spec` says them. Every class
    with these methods counts as a subclass, layers among them.

    Args:
        name: its name; the class name in snake case by default.

    Raises:
        ArgumentError: the name is no string, or holds a slash.

    Example:
        >>> class Scale(Operation):
        ...     def __init__(self, factor, name=None):
        ...         super().__init__(name=name)
        ...         self.factor = factor
        ...     def call(self, x):
        ...         return self.factor * x
        >>> Scale(2.0)(torch.ones(2)), Scale(2.0)(KerasTensor((None, 3))).shape
        (tensor([2., 2.]), (None, 3))

    Source: https://keras.io/api/ops/
    """

    _remat_mode: RematMode | None = None

    def __init__(self, name: str | None = None) -> None:
        name = auto_name(type(self).__name__) if name is None else name
        if not isinstance(name, str) or "/" in name:
            what, where = "This is no name of an operation.", f"{type(self).__name__}(name=...)"
            raise ArgumentError(what, where=where, expected="a string without a slash", received=repr(name))
        self.name = name
        self._inbound_nodes: list[node.Node] = []
        self._remat_mode = get_current_remat_mode()

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        if cls is not Operation:
            return NotImplemented
        return issubclass(other, node.Operation) or all(hasattr(other, name) for name in _METHODS)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of `call`, or on symbolic tensors that of `symbolic_call`."""
        if any_symbolic(args) or any_symbolic(kwargs):
            return self.symbolic_call(*args, **kwargs)
        call = self.call if getattr(self, "quantization_mode", None) is None else self.quantized_call
        args, kwargs = tree.map_structure(_as_tensor, (args, kwargs))
        return (self.rematerialized_call(call, *args, **kwargs) if self._remat_mode else call)(*args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from real tensors."""
        raise unwritten(self, "call(self, inputs)")

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs where the operation has a `quantization_mode`."""
        raise unwritten(self, "quantized_call(self, inputs)")

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call as a node of the graph; the symbolic outputs."""
        return node.connect(self, args, kwargs, self.compute_output_spec(*args, **kwargs))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for symbolic inputs, as symbolic tensors that are not part of a graph."""
        return infer(self.call, args, kwargs, f"operation '{self.name}' ({type(self).__name__})")

    def rematerialized_call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """The function, made to compute its results once more in the backward pass where a RematScope asks for it.

        Args:
            fn: `call` or `quantized_call`.
            *args: what it will be called with.
            **kwargs: what it will be called with.
        """
        mode = self._remat_mode
        if mode is not None and (mode.mode == "full" or is_larger(self, mode, args, kwargs)):
            return remat(fn)
        return fn

    def get_config(self) -> dict[str, Any]:
        """The name and the constructor arguments, as values that fit into JSON.

        Raises:
            UnsupportedError: an argument cannot be put into a config; write `get_config` then.
        """
        owner = next(base for base in type(self).__mro__ if "get_config" in base.__dict__)
        if not is_ours(owner):
            return {"name": self.name}
        try:
            if any(p.kind is p.VAR_POSITIONAL for p in constructor(type(self)).parameters.values()):
                what, where = "Its constructor takes *args, which have no names.", type(self).__name__
                raise ArgumentTypeError(what, where=where, fix="name the arguments")
            config = constructor_config(self)
        except LaminaError as error:
            raise UnsupportedError(
                f"The operation cannot say how it was made: {error.what}",
                where=f"operation '{self.name}' ({type(self).__name__})",
                fix="give its class get_config() and, if need be, from_config()",
            ) from error
        return {**config, "name": self.name} if accepts(type(self), "name") else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An operation made from a config."""
        try:
            return super().from_config(config)
        except (TypeError, ValueError) as error:
            where, expected = f"{cls.__name__}.from_config", "what get_config() of the same class gave"
            raise ArgumentTypeError(f"The config does not fit: {error}", where=where, expected=expected) from error

    @property
    def input(self) -> Any:
        """The symbolic inputs of the first call in a graph: one, or a list."""
        return self._first_node("input_tensors")

    @property
    def output(self) -> Any:
        """The symbolic outputs of the first call in a graph: one, or a list."""
        return self._first_node("output_tensors")

    def _first_node(self, what: str) -> Any:
        if not self._inbound_nodes:
            where, fix = f"operation '{self.name}'", "call it on lamina.Input(shape=...) first"
            raise StateError("The operation has not been called on symbolic tensors.", where=where, fix=fix)
        tensors = getattr(self._inbound_nodes[0], what)
        return tensors[0] if len(tensors) == 1 else tensors

    def __repr__(self) -> str:
        return f"<Operation name={self.name}>"


class Function(Operation):
    """The computation between symbolic tensors, to be done again on other inputs.

    Args:
        inputs: one symbolic tensor, or a structure of them.
        outputs: what is made of them, likewise.
        name: its name.

    Raises:
        ArgumentError: inputs or outputs are empty, the outputs do not follow from the inputs, or two layers have the
            same name.

    Example:
        >>> x = KerasTensor((None, 2))
        >>> function = Function(x, torch.relu(x) + x)
        >>> function(torch.ones(1, 2)), function(KerasTensor((5, 2))).shape
        (tensor([[2., 2.]]), (5, 2))

    Source: https://keras.io/api/models/model/
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        self._inputs_struct = tree.map_structure(lambda tensor: tensor, inputs)
        self._outputs_struct = tree.map_structure(lambda tensor: tensor, outputs)
        self._inputs, self._outputs = tree.flatten(inputs), tree.flatten(outputs)
        if not self._inputs or not self._outputs:
            raise ArgumentError(
                "A function has inputs and outputs.",
                where="Function(inputs, outputs)",
                expected="symbolic tensors for both",
                received=f"{inputs!r} and {outputs!r}",
            )
        self._plan = Plan(self._inputs, self._outputs)
        inputs_nodes = [tensor._node for tensor in self._inputs if hasattr(tensor, "_node") and tensor._node.is_input]
        self._operations = order_operations([*inputs_nodes, *self._plan.nodes], self._outputs)
        names = [operation.name for operation in self._operations]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            where, fix = f"function '{self.name}'", "give one of them another name: name=..."
            raise ArgumentError(f'Two operations have the name "{twice[0]}".', where=where, fix=fix)

    @property
    def operations(self) -> list[Any]:
        """All layers and ops, those farthest from the outputs first."""
        return list(self._operations)

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs in one list."""
        return self._inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs in one list."""
        return self._outputs

    def call(self, inputs: Any) -> Any:
        """The outputs for other inputs.

        Args:
            inputs: tensors in the structure of the function's inputs.
        """
        self._check(inputs)
        return tree.pack_sequence_as(self._outputs_struct, self._plan.run(tree.flatten(inputs)))

    def compute_output_spec(self, inputs: Any) -> Any:
        """The outputs for symbolic inputs, as symbolic tensors that are not part of a graph.

        Args:
            inputs: symbolic tensors in the structure of the function's inputs.
        """
        self._check(inputs)
        pairs = zip(tree.flatten(inputs), self._inputs, strict=True)
        if all(given.shape == own.shape for given, own in pairs):
            return tree.map_structure(lambda leaf: KerasTensor(leaf.shape, leaf.dtype), self._outputs_struct)
        return infer(self.call, (inputs,), {}, f"function '{self.name}'")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs for inputs of other shapes.

        Args:
            input_shape: a shape, or shapes in the structure of the function's inputs.
        """
        shapes = iter(tree.flatten(tree.map_shape_structure(lambda shape: KerasTensor(shape), input_shape)))
        inputs = [KerasTensor(shape.shape, own.dtype) for shape, own in zip(shapes, self._inputs, strict=True)]
        outputs = self.compute_output_spec(tree.pack_sequence_as(self._inputs_struct, inputs))
        return tree.map_structure(lambda leaf: leaf.shape, outputs)

    def _check(self, inputs: Any) -> None:
        try:
            tree.assert_same_structure(inputs, self._inputs_struct)
        except LaminaError:
            raise ArgumentError(
                "The inputs do not have the structure of the function's.",
                where=f"function '{self.name}'",
                expected=self._inputs_struct,
                received=inputs,
            ) from None
        for given, own in zip(tree.flatten(inputs), self._inputs, strict=True):
            shape = tuple(given.shape)
            fits = len(shape) == len(own.shape) and all(
                None in (a, b) or a == b for a, b in zip(shape, own.shape, strict=True)
            )
            if not fits:
                raise ShapeError(
                    "An input does not fit.",
                    where=f"function '{self.name}', input '{own.name}'",
                    expected=own.shape,
                    received=shape,
                )


def _as_tensor(value: Any) -> Any:
    """Arrays as tensors, everything else as it is."""
    return convert_to_tensor(value) if hasattr(value, "__array__") and not isinstance(value, torch.Tensor) else value


def is_larger(operation: Any, mode: RematMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the mode is "larger_than", and the outputs have more elements than its threshold."""
    if mode.mode != "larger_than":
        return False
    outputs = operation.compute_output_spec(*args, **kwargs)
    sizes = [math.prod(size or 1 for size in leaf.shape) for leaf in tree.flatten(outputs) if hasattr(leaf, "shape")]
    return sum(sizes) > mode.output_size_threshold


def get_source_inputs(tensor: Any) -> Any:
    """The symbolic tensors that a symbolic tensor is made of, in a list.

    Args:
        tensor: where to begin; anything that is no symbolic tensor is given back as it is.

    Example:
        >>> a, b = KerasTensor((2,)), KerasTensor((2,))
        >>> get_source_inputs(torch.relu(a + b)) == [a, b]
        True

    Source: https://keras.io/api/utils/
    """
    if not isinstance(tensor, KerasTensor):
        return tensor
    found: dict[int, KerasTensor] = {}
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if not hasattr(one, "_node"):
            found[id(one)] = one
        elif one._node.is_input:
            found.update({id(leaf): leaf for leaf in one._node.output_tensors})
        else:
            waiting += reversed(one._node.input_tensors)
    return list(found.values())
