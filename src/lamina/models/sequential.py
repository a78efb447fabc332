"""Sequential: layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from lamina.core import tree
from lamina.core.errors import ArgumentError, ArgumentTypeError, LaminaError, StateError
from lamina.core.registry import builtin, maybe_scope
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.layers.input import InputLayer
from lamina.layers.signature import tuples
from lamina.layers.tracking import follow_mode
from lamina.models.admission import cast_to, entry_dtype, fit_rank
from lamina.models.model import Model, as_layer


class UnknownShapeError(StateError, AttributeError):
    """A Sequential was asked for its inputs or outputs before their shapes are known; `hasattr` says it has none."""


_SHAPED = {
    "input": "inputs",
    "inputs": "inputs",
    "input_shape": "inputs",
    "output": "outputs",
    "outputs": "outputs",
    "output_shape": "outputs",
}


@builtin("keras")
class Sequential(Model):
    """A model of layers that each take the result of the one before.

    Args:
        layers: layers, models, torch modules; an Input first makes the model be built at once.
        trainable: whether its weights learn.
        name: the model's name.

    Raises:
        ArgumentError: something in the list is no layer, or two layers have the same name.

    Example:
        >>> from lamina import layers
        >>> model = Sequential([layers.Input(shape=(4,)), layers.Dense(8, activation="relu"), layers.Dense(1)])
        >>> model.output_shape, model.count_params()
        ((None, 1), 49)

    Source: https://keras.io/api/models/sequential/
    """

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        if layers is not None and not isinstance(layers, Iterable):
            raise ArgumentTypeError(
                "The layers are no list.", where="Sequential(layers)", received=repr(layers), fix="Sequential([...])"
            )
        Layer.__init__(self, trainable=trainable, name=name)
        self.autocast = False  # the layers cast what they are given, each to its own dtype
        self.__dict__.update(_stack=[], _input_layer=None, _entry=None, _arguments=((), {}))
        for layer in layers or ():
            self._put(layer)
        self._build_if_possible()
        if not trainable:
            self.trainable = False

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer at the end.

        Args:
            layer: a layer, model, torch module, or the result of `Input()` as the first one.
            rebuild: build at once when the input shape is known.
        """
        self._put(layer)
        if rebuild:
            self._build_if_possible()

    def pop(self, rebuild: bool = True) -> Any:
        """Take the last layer away and return it.

        Raises:
            StateError: there is none.
        """
        if not self._stack:
            raise self._without_layers()
        layer = self._stack.pop()
        for key in [key for key, module in self._modules.items() if module is layer]:
            del self._modules[key]
        self._unbuild()
        if rebuild:
            self._build_if_possible()
        return layer

    def _put(self, layer: Any) -> None:
        layer = as_layer(layer)
        if not isinstance(layer, Layer):
            raise ArgumentError(
                "This is no layer.",
                where=f"model '{self.name}'",
                expected="a layer, a model or a torch.nn.Module",
                received=f"{layer!r} ({type(layer).__name__})",
                fix=f"make one: {layer.__name__}(...)"
                if isinstance(layer, type)
                else "to use a function, wrap it: layers.Lambda(function)"
                if callable(layer)
                else None,
            )
        if isinstance(layer, InputLayer):
            if self._stack or self._input_layer is not None:
                raise ArgumentError(
                    "An input can only come first.", where=f"model '{self.name}'", fix="leave this Input out"
                )
            self.__dict__["_input_layer"] = layer
            return
        if any(layer is other for other in self._stack):
            raise ArgumentError(
                f'The layer "{layer.name}" is in the model already.',
                where=f"model '{self.name}'",
                fix="make a second layer, or use the functional API",
            )
        if any(layer.name == other.name for other in self._stack):
            raise ArgumentError(
                f'Two layers have the name "{layer.name}".',
                where=f"model '{self.name}'",
                fix="give each layer a name of its own, with name=...",
            )
        if not self._stack and self._input_layer is None:
            self._take_input_from(layer)
        follow_mode(self, layer)
        self._stack.append(layer)
        self._modules[layer.name.replace(".", "_")] = layer
        self._unbuild()

    def _take_input_from(self, layer: Layer) -> None:
        """Begin with the input shape that the first layer names or has."""
        shape = layer._batch_input_shape
        inputs = getattr(layer, "inputs", None)
        if shape is not None:
            self.__dict__["_input_layer"] = InputLayer(batch_shape=shape, dtype=layer._input_dtype())
        elif isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], KerasTensor):
            self.__dict__["_input_layer"] = InputLayer(batch_shape=inputs[0].shape, dtype=inputs[0].dtype)

    def _unbuild(self) -> None:
        self.__dict__.update(built=False, _fast=None, _entry=None, _build_shapes=None, _inbound_nodes=[])
        for unknown in ("inputs", "outputs"):
            self.__dict__.pop(unknown, None)

    def _build_if_possible(self) -> None:
        if self._input_layer is not None and self._stack:
            self.build(self._input_layer.batch_shape)

    def _make_way(self, name: str, value: nn.Module) -> None:
        """A layer replaced by another under its name, as surgery on finished models does."""
        held = self._modules.get(name)
        for index, layer in enumerate(self._stack):
            if layer is held:
                self._stack[index] = value

    def build(self, input_shape: Any = None) -> None:
        """Build all layers for inputs of a shape, the batch axis included."""
        if not self._stack:
            raise self._without_layers()
        if input_shape is None:
            raise ArgumentError("The shape is missing.", where="build(input_shape)", fix="build((None, features))")
        shape = tuples(input_shape)
        if isinstance(shape, tuple) and not any(isinstance(size, (tuple, list, dict)) for size in shape):
            layer = self._input_layer
            if layer is None or layer.batch_shape != shape:
                layer = InputLayer(batch_shape=shape, dtype=self._stack[0]._input_dtype())
                self.__dict__["_input_layer"] = layer
            x = layer.output
            self.__dict__.update(inputs=[x], _entry=(len(shape), entry_dtype(x, self._stack[:1])))
            try:
                for layer in self._stack:
                    x = layer(x)
            except NotImplementedError:
                return  # a layer that cannot tell its output's shape: the rest is built by a call on data
            self.__dict__["outputs"] = tree.flatten(x)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the layers one after the other."""
        x: Any = inputs
        if (entry := self._entry) is not None and isinstance(x, (torch.Tensor, np.ndarray)):
            rank, dtype = entry
            if x.ndim != rank or (x.dtype is not dtype and dtype is not None):
                x = self._admit(x)
        if mask is not None:
            x._keras_mask = mask  # pyright: ignore[reportAttributeAccessIssue]
        for layer in self._stack:
            x = layer(x)
        return x

    def _takes_shape(self, shape: Sequence[int]) -> bool:
        """Whether all layers take data of this shape: sizes other than those of the input may do, as for longer texts.

        Args:
            shape: the shape of a batch.
        """
        wanted = self.inputs[0]
        if not self.built or len(shape) != len(wanted.shape):
            return False
        x: Any = KerasTensor((None, *shape[1:]), wanted.dtype)
        try:
            for layer in self._stack:
                x = layer.compute_output_spec(x)  # a call would add a node to the layer's history
        except LaminaError:
            return False
        return True

    def _admit(self, x: Any) -> Any:
        """The data in the rank and the dtype of the input."""
        fitted = fit_rank(x, self.inputs[0].shape)
        return cast_to(fitted, self._entry[1]) if isinstance(fitted, torch.Tensor) else fitted

    def _without_layers(self) -> StateError:
        return StateError("The Sequential has no layers.", where=f"model '{self.name}'", fix="model.add(Dense(10))")

    def _maybe_build(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """On a first call with data, keep only the shape of a sample: the batch size may change."""
        if not self.built and not self._stack:
            raise self._without_layers()
        if not self.built and args and hasattr(args[0], "shape") and not isinstance(args[0], KerasTensor):
            dtype = getattr(args[0], "dtype", None)
            shape = (None, *args[0].shape[1:])
            if self._input_layer is None and dtype is not None:
                self.__dict__["_input_layer"] = InputLayer(batch_shape=shape, dtype=dtype)
            self.build(shape)
        super()._maybe_build(args, kwargs)

    @property
    def layers(self) -> list[Any]:
        """The layers in their order, the input left out."""
        return list(self._stack)

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic input, in a list."""
        return self._require("inputs")

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs in one list."""
        return self._require("outputs")

    @property
    def input_shape(self) -> Any:
        """The shape of the input."""
        return self._require("inputs")[0].shape

    @property
    def output_shape(self) -> Any:
        """The shape of the output."""
        return self._require("outputs")[0].shape

    @property
    def input(self) -> Any:
        """The symbolic input."""
        return self._require("inputs")[0]

    @property
    def output(self) -> Any:
        """The symbolic output."""
        outputs = self._require("outputs")
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def output_names(self) -> list[str]:
        """The name of the last layer."""
        return [self._stack[-1].name] if self._stack else []

    def _require(self, what: str) -> list[Any]:
        tensors = self.__dict__.get(what)
        if not tensors:
            raise UnknownShapeError(
                f"The model has no {what} yet.",
                where=f"model '{self.name}'",
                fix="begin it with Input(shape), use build(input_shape), or call it on data",
            )
        return tensors

    def __getattr__(self, name: str) -> Any:
        """Reached for weights and sublayers, and where a property has failed: then its own error is raised again."""
        if name in _SHAPED and "_stack" in self.__dict__:
            self._require(_SHAPED[name])
        return super().__getattr__(name)

    def _check_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The first layer checks."""
        if self._stack and self._stack[0].built and args:
            if self._entry is not None and hasattr(args[0], "ndim"):
                args = (fit_rank(args[0], self.inputs[0].shape), *args[1:])
            self._stack[0]._check_inputs(args, kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes the model was built with, or None."""
        return super().get_build_config() if self.built else None

    def get_config(self) -> dict[str, Any]:
        """The layers' configs, and the input shape when it is known."""
        if type(self).__init__ is not Sequential.__init__:
            return super().get_config()
        layers = [self._input_layer] if self._input_layer is not None else []
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize_keras_object(self.dtype_policy),
            "layers": [serialize_keras_object(layer) for layer in [*layers, *self._stack]],
        }
        if self._input_layer is not None:
            config["build_input_shape"] = self._input_layer.batch_shape
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A model from the config of one."""
        if "layers" not in config:
            return super().from_config(config)
        with maybe_scope(custom_objects):
            model = cls(name=config.get("name"))
            for entry in config["layers"]:
                model.add(deserialize_keras_object(entry), rebuild=False)
        model._build_if_possible()
        shape = config.get("build_input_shape")
        if not model.built and shape and model._stack:
            model.build(tuples(shape))
        if config.get("trainable") is False:
            model.trainable = False
        return model
