"""Model: a layer with layers in it that can be compiled, fitted and saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from lamina import saving
from lamina.core.errors import ArgumentError, ArgumentTypeError, listing, nearest
from lamina.core.limits import DEFAULT, Limits
from lamina.core.registry import builtin, maybe_scope
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_tensor
from lamina.core.tracebacks import filter_traceback
from lamina.export.formats import export_model
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.layers.stateless import with_values
from lamina.layers.torch_module import TorchModuleWrapper
from lamina.layers.tracking import Holder
from lamina.models import graph_config, quantization
from lamina.models import summary as summary_table
from lamina.models.state_tree import assign_state_tree, state_tree_of
from lamina.saving.archive import parse_json
from lamina.saving.snapshot import ModelSnapshot
from lamina.training.trainer import Trainer


class ReservedNameError(ArgumentError, AttributeError):
    """An attribute that belongs to lamina cannot be set."""


@builtin("keras")
class Model(Trainer, Layer):
    """A model made of a graph, `Model(inputs, outputs)`, or by a subclass that writes `call`.

    Args:
        inputs: one symbolic tensor, or a list or dict of them.
        outputs: what is made of them.
        name: the model's name.

    Example:
        >>> from lamina import layers
        >>> x = layers.Input(shape=(3,))
        >>> Model(x, layers.Dense(2)(x)).count_params()
        8

    Source: https://keras.io/api/models/model/
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A model; `Model(inputs, outputs)` makes a Functional."""
        if cls is Model and _is_functional_call(args, kwargs):
            return super().__new__(_functional_class(), *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        functional = _functional_class()
        if _is_functional_call(args, kwargs):
            _make_functional(type(self), functional)
            functional.__init__(self, *args, **kwargs)
            return
        if args and type(self) is Model:
            raise ArgumentTypeError(
                "A model is made of symbolic tensors, or by a subclass with a call method.",
                where="Model(inputs, outputs)",
                received=", ".join(type(arg).__name__ for arg in args),
                fix="begin with Input(shape) and call layers on it",
            )
        super().__init__(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "layers":
            raise ReservedNameError(
                "A model finds its layers by itself; `layers` cannot be set.",
                where=f"model '{self.name}'",
                fix="keep the layers under another name: self.blocks = [...]",
            )
        super().__setattr__(name, value)

    @property
    def layers(self) -> list[Any]:
        """The layers right inside the model, in the order they were added; those in lists and dicts among them."""
        return list(_layers_in(self))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of a name or an index.

        Raises:
            ArgumentError: there is none; the nearest name is suggested.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ArgumentError("Give a name or an index.", where="get_layer()", fix='model.get_layer("dense")')
        if index is not None:
            if not isinstance(index, int) or not -len(layers) <= index < len(layers):
                raise ArgumentError(
                    "There is no layer of that index.",
                    where=f"model '{self.name}'",
                    expected=f"0 to {len(layers) - 1}",
                    received=index,
                )
            return layers[index]
        for layer in layers:
            if _name_of(layer) == name:
                return layer
        names = [_name_of(layer) for layer in layers]
        raise ArgumentError(
            f'There is no layer "{name}".{nearest(str(name), names)}',
            where=f"model '{self.name}'",
            expected=f"one of {listing(names)}",
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: tuple[str, str] | list[str] | None = None,
        flops: bool = False,
        memory: bool = False,
    ) -> None:
        """Print a table of the layers with their output shapes and numbers of weights.

        Args:
            line_length: the width in characters.
            positions: the relative ends of the columns, up to 1.0.
            print_fn: called with the text in place of printing.
            expand_nested: show the layers of models inside the model.
            show_trainable: add a column that tells which layers learn.
            layer_range: names (or patterns) of the first and last layer to show.
            flops: add multiplications and additions for one sample (matrix products, convolutions, attention).
            memory: add the bytes of weights, and of outputs for one sample.
        """
        summary_table.print_summary(
            self,
            line_length=line_length,
            positions=positions,
            print_fn=print_fn,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
            layer_range=layer_range,
            flops=flops,
            memory=memory,
        )

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Save architecture, weights and compile state into a `.keras` file."""
        saving.save_model(self, filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Save the weights alone into a `.weights.h5` file."""
        saving.save_weights(self, filepath, overwrite=overwrite, **kwargs)

    def _snapshot(self, weights_only: bool = False) -> ModelSnapshot:
        """A copy of its state that can be written later, while training goes on."""
        return ModelSnapshot(self, weights_only)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load weights from a `.weights.h5` or `.keras` file."""
        saving.load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write the model for other programs: ONNX, torch, OpenVINO, LiteRT; see `lamina.export.export_model`."""
        export_model(self, filepath, format, verbose, input_signature, **kwargs)

    def to_json(self, **kwargs: Any) -> str:
        """The architecture, without weights, as JSON."""
        return json.dumps(serialize_keras_object(self), **kwargs)

    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, Any]:
        """The values of all variables as nested dicts by path.

        Args:
            value_format: "backend_tensor" for the tensors themselves, "numpy_array" for copies.

        Returns:
            "trainable_variables", "non_trainable_variables", "optimizer_variables" and "metrics_variables", each a
            dict of dicts.

        Raises:
            ArgumentError: two variables have the same path.

        Example:
            >>> from lamina import layers
            >>> x = layers.Input(shape=(2,))
            >>> tree = Model(x, layers.Dense(1, name="last")(x)).get_state_tree()
            >>> tree["trainable_variables"]["last"]["bias"]
            tensor([0.])
        """
        return state_tree_of(self, value_format)

    def set_state_tree(self, state_tree: Mapping[str, Any]) -> None:
        """Give the variables the values of a tree, as `get_state_tree` made it.

        Args:
            state_tree: all of it, or any part.

        Raises:
            ArgumentError: the tree names something that the model does not have.
        """
        assign_state_tree(self, state_tree)

    def stateless_compute_loss(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        metrics_variables: Sequence[Any],
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """The loss of a batch with these values in place of the variables, which stay as they are.

        Args:
            trainable_variables: a tensor for each of `model.trainable_variables`.
            non_trainable_variables: a tensor for each of `model.non_trainable_variables`.
            metrics_variables: a tensor for each of `model.metrics_variables`.
            x: the inputs.
            y: the targets.
            y_pred: the outputs.
            sample_weight: weights of samples.
            training: whether it is a training step.

        Returns:
            The loss, and the three lists of values as they are after it.

        Raises:
            StateError: the model is not built.
            ArgumentError: the number of values differs from that of the variables.
        """
        metrics = self.metrics_variables
        kept = [variable.clone() for variable in metrics]
        with torch.no_grad():
            for variable, value in zip(metrics, metrics_variables, strict=True):
                variable.copy_(convert_to_tensor(value))
        try:
            loss, state = with_values(
                self,
                trainable_variables,
                non_trainable_variables,
                lambda: self._call_compute_loss(x, y, y_pred, sample_weight, training),
            )
            return loss, (trainable_variables, state, [variable.detach().clone() for variable in metrics])
        finally:
            with torch.no_grad():
                for variable, value in zip(metrics, kept, strict=True):
                    variable.copy_(value)

    def quantize(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, mode: str | None = None, config: Any = None, filters: Any = None, **kwargs: Any
    ) -> None:
        """Quantize the weights of all layers that can be, in place.

        Compile the model anew where it is to be trained after this.

        Args:
            mode: "int8": weights and inputs as integers of 8 bits. "int4": weights as integers of 4 bits. "float8":
                training with products of 8-bit floats. "gptq", "awq": weights rounded with a look at data. That of the
                config by default.
            config: a `lamina.quantizers.QuantizationConfig`; that of the mode by default, except for "gptq" and "awq".
            filters: which layers: a regular expression or several to be found in the name, or a function of the layer.
            **kwargs: `type_check=False` to quantize layers of a program's own classes, whose `call` is then not used.

        Raises:
            ArgumentError: mode, config and filters make no sense.
            StateError: a layer is not built, or quantized already.

        Example:
            >>> from lamina import layers
            >>> x = layers.Input(shape=(64,))
            >>> model = Model(x, layers.Dense(8)(x))
            >>> model.quantize("int8")
            >>> model.layers[-1].kernel.dtype, model.layers[-1].dtype_policy.name
            (torch.int8, 'int8_from_float32')

        Source: https://keras.io/api/models/model/
        """
        quantization.quantize_by(self, mode, config, filters, kwargs)

    def get_quantization_layer_structure(self, mode: str | None = None) -> dict[str, Any] | None:
        """What "gptq" and "awq" need to know, to be overridden: "pre_block_layers" and "sequential_blocks".

        Args:
            mode: the quantization mode.
        """
        return None

    def reset_states(self) -> None:
        """Reset the state of all layers that keep one between batches."""
        for layer in self._flatten_layers(include_self=False):
            if hasattr(layer, "reset_states"):
                layer.reset_states()

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [tensor.name for tensor in getattr(self, "inputs", [])]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A model from the config of one, a graph among them.

        Args:
            config: what `get_config` gave.
            custom_objects: classes and functions of a program by name.
        """
        if {"layers", "input_layers", "output_layers"} <= config.keys() and graph_config.takes_graph(cls):
            return graph_config.model_from(cls, config, custom_objects)
        with maybe_scope(custom_objects):
            return super().from_config(config)

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build with the shapes that `get_build_config` gave."""
        if config and not self.built:
            super().build_from_config(config)


# Errors leave the loops with the frames of the program alone.
for _name in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
    setattr(Model, _name, filter_traceback(getattr(Trainer, _name)))


def model_from_json(
    json_string: str, custom_objects: Mapping[str, Any] | None = None, *, limits: Limits | None = None
) -> Any:
    """A model from what `to_json` gave; weights begin anew.

    Args:
        json_string: the text.
        custom_objects: your classes and functions by name, where they are not registered.
        limits: bounds on what the text may ask for.

    Raises:
        FileError: the text is damaged, breaks a bound, or names something that is not registered.

    Example:
        >>> from lamina import layers, models
        >>> model = models.Sequential([layers.Input(shape=(2,)), layers.Dense(1)])
        >>> model_from_json(model.to_json()).count_params()
        3
    """
    config = parse_json(json_string, "json_string", limits or DEFAULT)
    return deserialize_keras_object(config, custom_objects=custom_objects, limits=limits)


def as_layer(module: Any) -> Any:
    """A layer for what a user put where layers go: layers as they are, torch modules wrapped."""
    if isinstance(module, Layer):
        return module
    if isinstance(module, nn.Module):
        return TorchModuleWrapper(module)
    history = getattr(module, "_keras_history", None)
    return history.operation if history is not None else module


def _layers_in(module: nn.Module) -> Iterator[Any]:
    for child in module._modules.values():
        if isinstance(child, Holder):
            yield from _layers_in(child)
        elif child is not None:
            yield child


def _name_of(layer: Any) -> str:
    return getattr(layer, "name", type(layer).__name__)


def _is_functional_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if "inputs" in kwargs and "outputs" in kwargs:
        return True
    return (
        len(args) + len(kwargs) >= 2
        and (len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs))
        and _holds(args[0])
    )


def _holds(value: Any) -> bool:
    """Whether a value is a symbolic tensor or a container of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_holds(part) for part in value)
    return isinstance(value, KerasTensor)


_functional: list[type] = []


def _functional_class() -> Any:
    """Functional, which derives from Model and announces itself here."""
    return _functional[0]


def _make_functional(cls: type, functional: type) -> None:
    """Let a program's own class that calls `super().__init__(inputs, outputs)` derive from Functional."""
    if issubclass(cls, functional):
        return
    for base in cls.__bases__:
        if base is not Model and issubclass(base, Model):
            _make_functional(base, functional)
    cls.__bases__ = tuple(functional if base is Model else base for base in cls.__bases__)
