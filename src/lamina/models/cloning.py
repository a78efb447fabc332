"""Copies of models with weights of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.core import tree
from lamina.core.errors import ArgumentError, ArgumentTypeError
from lamina.graph.node import Operation
from lamina.layers.base import Layer
from lamina.layers.input import Input, InputLayer
from lamina.models.functional import Functional, replay
from lamina.models.model import Model
from lamina.models.sequential import Sequential


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Any:
    """A model with the same layers and newly initialised weights, compiled as the model is.

    Args:
        model: a Sequential or functional model, or one with a config.
        input_tensors: symbolic tensors to build the copy on.
        clone_function: makes the copy of each layer; by default from its config.
        call_function: called as (layer, *args, **kwargs) where the copy of a layer is called.
        recursive: copy the layers of models inside the model with `clone_function` too.

    Raises:
        ArgumentError: options that only a graph can follow are given for a subclassed model, or input_tensors that are
            not laid out as the model's inputs.

    Example:
        >>> from lamina import layers
        >>> model = Sequential([layers.Input(shape=(2,)), layers.Dense(1)])
        >>> clone_model(model).count_params()
        3

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    if not isinstance(model, Model):
        raise ArgumentTypeError(
            "This is no model.", where="clone_model()", expected="a Model", received=type(model).__name__
        )
    make = clone_function or _from_config

    def copy_of(layer: Any) -> Any:
        if recursive and isinstance(layer, Model):
            return clone_model(layer, clone_function=clone_function, call_function=call_function, recursive=True)
        return make(layer)

    if isinstance(model, (Sequential, Functional)):
        if isinstance(model, Sequential):
            copy = _clone_sequential(model, input_tensors, copy_of)
        else:
            copy = _clone_functional(model, input_tensors, copy_of, call_function)
        compiled = model._compiled
        if compiled is not None and (given := compiled.given_anew()) is not None:
            copy.compile(**given)
        return copy
    if input_tensors is not None or clone_function is not None or call_function is not None:
        raise ArgumentError(
            "A subclassed model is cloned from its config alone.",
            where=f"model '{model.name}'",
            fix="leave out input_tensors, clone_function and call_function",
        )
    return _from_config(model)


def _from_config(layer: Layer) -> Any:
    return type(layer).from_config(layer.get_config())


def _clone_sequential(model: Sequential, input_tensors: Any, copy_of: Callable[[Any], Any]) -> Sequential:
    layers = [copy_of(layer) for layer in model.layers]
    tensors = tree.flatten(input_tensors) if input_tensors is not None else []
    if tensors:
        layers.insert(0, tensors[0])
    elif model._input_layer is not None:
        layers.insert(0, _from_config(model._input_layer))
    return Sequential(layers, name=model.name, trainable=model.trainable)


def _clone_functional(
    model: Functional,
    input_tensors: Any,
    copy_of: Callable[[Any], Any],
    call_function: Callable[..., Any] | None,
) -> Functional:
    copies: dict[int, Any] = {}

    def operation_of(operation: Any) -> Any:
        if isinstance(operation, (Operation, InputLayer)):
            return operation
        if id(operation) not in copies:
            copies[id(operation)] = copy_of(operation)
        layer = copies[id(operation)]
        call = call_function
        if call is None:
            return layer
        return lambda *args, **kwargs: call(layer, *args, **kwargs)

    flat = [Input(batch_shape=t.shape, dtype=t.dtype, name=t._keras_history.operation.name) for t in model.inputs]
    fresh = flat
    if input_tensors is not None:
        fresh = tree.flatten(input_tensors)
        if len(flat) > 1 or len(fresh) > 1:
            tree.assert_same_structure(model.input, input_tensors)
    outputs = replay(model.input, fresh, model.output, operation_of)
    inputs = tree.pack_sequence_as(model.input, fresh)
    return Functional(inputs, outputs, name=model.name, trainable=model.trainable)
