"""The part of a layer that builds it, and knows its losses, its dtypes and its place in a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lamina.core import policies, scopes, tree
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentTypeError, StateError
from lamina.core.outlines import with_data
from lamina.core.tensors import convert_to_tensor
from lamina.graph.infer import infer
from lamina.graph.node import Node
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.layers.configured import Configured
from lamina.layers.members import Members
from lamina.layers.quantized import Quantizable
from lamina.layers.signature import build_arguments, build_parameters, shape_of, tuples


class Buildable(Configured, Quantizable, Members):
    """Base of layers: building, losses, dtypes, and the places in a graph."""

    built: bool
    _compute: Callable[..., Any]

    def build(self, *input_shapes: Any, **named_shapes: Any) -> None:
        """Make the weights, for inputs of these shapes; by default run `call` symbolically, to build sublayers."""
        shapes = [tuples(shape) for shape in input_shapes]
        if (
            shapes
            and shapes[0] is not None
            and not all(is_built(module) for module in self.modules() if module is not self)
        ):
            infer(self._compute, tuple(self._symbolic(shape) for shape in shapes), {}, self._where())

    # Building.

    def _has_build(self) -> bool:
        return owner_of(type(self), "build") is not Buildable

    def _maybe_build(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.built:
            return
        if not self._has_build():
            self.__dict__["_build_shapes"] = _without_training(build_arguments(type(self), args, kwargs))
            self.built = True
            return
        shapes = build_arguments(type(self), args, kwargs)
        self.build(**shapes)

    def _symbolic(self, shape: Any) -> Any:
        return symbolic_of(shape, self._input_dtype())

    def _input_dtype(self) -> str:
        """The dtype of inputs when only their shape is known."""
        return self.compute_dtype

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes the layer was built with, none if it needs none; None if it has nothing to build."""
        shapes = self._build_shapes
        if not shapes and (shapes is None or not self._has_build()):
            return None
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": dict(shapes)}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build with the shapes that `get_build_config` gave."""
        if not config or self.built:
            return
        if config.get("input_shape") is not None:
            shape = tuples(config["input_shape"])
            wanted = build_parameters(type(self))
            self.build(**{wanted[0]: shape}) if wanted else self.build(shape)
        elif "shapes_dict" in config:
            self.build(**{key: tuples(shape) for key, shape in config["shapes_dict"].items()})
        self.built = True

    # Losses.

    def add_loss(self, loss: Any) -> None:
        """Add a scalar (or several) to what training minimises; call it inside `call`."""
        if any_symbolic(loss):
            raise ArgumentTypeError(
                "add_loss needs values, and a symbolic tensor has none.",
                where=self._where(),
                received=loss,
                fix="write a layer whose call() computes the loss and adds it with self.add_loss()",
            )
        self.__dict__["_fast"] = None
        if scopes.unknown_stand_in() is not None:
            return
        self._forget_losses()
        self.__dict__["_losses_of"] = scopes.current_entry()
        for value in tree.flatten(loss):
            self._call_losses.append(convert_to_tensor(value))

    def _forget_losses(self) -> None:
        """Drop the losses of an earlier outermost call."""
        if self._call_losses and self._losses_of is not scopes.current_entry():
            self.__dict__["_call_losses"] = []

    @property
    def losses(self) -> list[torch.Tensor]:
        """The losses added in the latest call, and the penalties on the weights."""
        return self._collect_losses(self._flatten_layers())

    def _collect_losses(self, layers: Sequence[Any]) -> list[torch.Tensor]:
        added = [loss for layer in layers for loss in layer._call_losses]
        penalties = []
        for layer in layers:
            for key, spec in layer._weight_specs.items():
                weight = layer._parameters.get(key)
                if spec.regularizer is not None and weight is not None and weight.requires_grad:
                    penalties.append(spec.regularizer(weight))
        return added + penalties

    # Dtypes.

    def _refresh(self) -> None:
        """Recompute what follows from the dtype policy."""
        policy = self._policy()
        compute = torch_dtype(policy.compute_dtype)
        mixed = policy.compute_dtype != policy.variable_dtype
        self.__dict__.update(_compute_dtype=compute, _mixed=mixed, _fast=None, _takes_training=False)

    @property
    def compute_dtype(self) -> str:
        """The dtype the layer computes in."""
        return self._policy().compute_dtype

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return self.variable_dtype

    @property
    def input_dtype(self) -> str:
        """The dtype that float inputs are cast to."""
        return self._policy().compute_dtype

    # Places in a graph.

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's first call in a graph."""
        node = self._first_node()
        return node.args[0] if len(node.args) == 1 else node.input_tensors

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's first call in a graph."""
        return self._first_node().outputs

    @property
    def input_shape(self) -> Any:
        """The shape of the layer's input in a graph."""
        return shape_of(self.input)

    @property
    def output_shape(self) -> Any:
        """The shape of the layer's output in a graph."""
        return shape_of(self.output)

    def _first_node(self) -> Node:
        if not self._inbound_nodes:
            raise StateError(
                "The layer has not been called on symbolic inputs, so it has no input and no output.",
                where=self._where(),
                fix="call it on an Input(), or put it into a Sequential with a known input shape",
            )
        return self._inbound_nodes[0]

    def extra_repr(self) -> str:
        """The name, shown when the module is printed."""
        return f"name={self.name}, built={self.built}"


def once_built(build: Callable[..., None]) -> Callable[..., None]:
    """`build` with what surrounds it: the name scope, real tensors even while shapes are inferred, the shapes kept."""
    if getattr(build, "_once_built", False):
        return build

    @functools.wraps(build)
    def wrapper(self: Buildable, *args: Any, **kwargs: Any) -> None:
        if self._building:
            return build(self, *args, **kwargs)
        args = tuple(tuples(shape) for shape in args)
        before = dict(self._parameters), dict(self._buffers)
        self.__dict__["_building"] = True
        try:
            with scopes.name_scope(self.name, caller=self), with_data():
                if isinstance(self.dtype_policy, policies.DTypePolicyMap):
                    self._refresh()
                build(self, *args, **kwargs)
        except BaseException:
            for table, saved in zip((self._parameters, self._buffers), before, strict=True):
                table.clear()
                table.update(saved)  # type: ignore[arg-type]
            raise
        finally:
            self.__dict__["_building"] = False
        self.built = True
        names = build_parameters(type(self)) or ("input_shape",)
        shapes = _without_training({**dict(zip(names, args, strict=False)), **kwargs})
        if self._build_shapes is None:
            self.__dict__["_build_shapes"] = shapes

    wrapper._once_built = True  # type: ignore[attr-defined]
    return wrapper


Buildable.build = once_built(Buildable.build)  # type: ignore[method-assign]


def owner_of(cls: type, name: str) -> type:
    """The class that defines a method."""
    return next(c for c in cls.__mro__ if name in c.__dict__)


def is_built(module: nn.Module) -> bool:
    """Whether a module has its weights."""
    return not isinstance(module, Buildable) or module.built


def _without_training(shapes: dict[str, Any]) -> dict[str, Any]:
    return {key: shape for key, shape in shapes.items() if shape is not None}


def symbolic_of(shape: Any, dtype: str) -> Any:
    """Symbolic tensors of a shape, or of each shape in a list or dict of shapes."""
    if isinstance(shape, Mapping):
        return {key: symbolic_of(part, dtype) for key, part in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return KerasTensor(shape, dtype)
    parts = [symbolic_of(part, dtype) for part in shape]
    return tuple(parts) if isinstance(shape, tuple) else parts
