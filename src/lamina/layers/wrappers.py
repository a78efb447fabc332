"""Layers around a layer: every step of a sequence by itself, and a sequence in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lamina.core import scopes, tree
from lamina.core.capture import is_ours
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.registry import CustomObjectScope, builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.layers.base import Layer
from lamina.layers.normalization import BatchNormalization
from lamina.layers.recurrent_base import travelling_masks
from lamina.layers.signature import call_signature

MERGE_MODES = ("sum", "mul", "ave", "concat", None)


@builtin("keras.layers")
class Wrapper(Layer):
    """Base of layers that hold another one, to be subclassed.

    Args:
        layer: the layer.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `layer` is no layer.

    Example:
        >>> from lamina.layers import Dense
        >>> class Twice(Wrapper):
        ...     def call(self, inputs):
        ...         return 2 * self.layer(inputs)
        >>> Twice(Dense(4))(torch.ones(2, 3)).shape
        torch.Size([2, 4])

    Source: https://keras.io/api/layers/core_layers/wrapper/
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        _check_layer(layer, "layer")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layer inside."""
        if not self.layer.built:
            self.layer.build(input_shape)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A wrapper made from a config, whose layer may be one of `custom_objects`."""
        with CustomObjectScope(dict(custom_objects or {})):
            return super().from_config(config)


def _check_layer(layer: Any, where: str) -> None:
    if not isinstance(layer, Layer):
        raise ArgumentError(
            "Only a layer can be wrapped.", where=where, expected="a lamina.layers.Layer", received=repr(layer)
        )


@builtin("keras.layers")
class TimeDistributed(Wrapper):
    """Applies a layer to every step of a sequence by itself.

    All steps go through lamina's layers at once, as one batch. Only a program's own layers, and batch normalization in
    training, whose results depend on what else is in the batch, see step after step.

    Args:
        layer: the layer.
        **kwargs: as for `Layer`.

    Shapes: `(batch, steps, ...)` to `(batch, steps, ...)`, where the layer takes `(batch, ...)`.

    Raises:
        ArgumentError: `layer` is no layer.
        ShapeError: the input has less than three dimensions, or the mask does not fit it.

    Example:
        >>> from lamina.layers import Conv2D
        >>> TimeDistributed(Conv2D(8, 3))(torch.ones(2, 10, 16, 16, 3)).shape
        torch.Size([2, 10, 14, 14, 8])

    Source: https://keras.io/api/layers/recurrent_layers/time_distributed/
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        """Build the layer inside for single steps."""
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) < 3:
            raise ShapeError(
                "A sequence of steps has at least three dimensions.",
                where=self._where(),
                expected="(batch, steps, ...)",
                received=input_shape,
            )
        super().build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Any:
        """The layer's outputs for all steps."""
        if mask is not None and tuple(mask.shape[:2]) != tuple(inputs.shape[:2]):
            raise ShapeError(
                "The mask does not fit the steps.",
                where=self._where(),
                expected=f"a mask of shape {tuple(inputs.shape[:2])}, or with more dimensions behind",
                received=tuple(mask.shape),
            )
        masked = mask is not None and call_signature(type(self.layer)).mask
        if self._steps_are_alone():
            mask = mask.flatten(0, 1) if masked and mask is not None else None
            outputs = self._step(inputs.flatten(0, 1), mask)
            return tree.map_structure(lambda x: x.unflatten(0, tuple(inputs.shape[:2])), outputs)
        # To find out shapes, one step is enough.
        inferring = scopes.unknown_stand_in() is not None
        results = [
            self._step(inputs[:, t], mask[:, t] if masked and mask is not None else None)
            for t in range(1 if inferring else inputs.shape[1])
        ]
        if inferring:
            results *= inputs.shape[1]
        return tree.map_structure(lambda *steps: torch.stack(steps, 1), *results)

    def _step(self, inputs: Tensor, mask: Tensor | None) -> Any:
        return self.layer(inputs) if mask is None else self.layer(inputs, mask=mask)

    def _steps_are_alone(self) -> bool:
        """Whether no sample's result depends on other samples of the batch."""
        return all(
            is_ours(type(module)) and not (isinstance(module, BatchNormalization) and module.training)
            for module in self.layer.modules()
            if isinstance(module, Layer)
        )


@builtin("keras.layers")
class Bidirectional(Layer):
    """A recurrent layer over a sequence, and a second one over it from the end to the beginning.

    Args:
        layer: the layer; it is copied, without its weights.
        merge_mode: what becomes of the two outputs: "concat", "sum", "mul", "ave", or None for both of them.
        weights: the weights to begin with, the forward layer's first.
        backward_layer: the layer for the other direction; by default a copy of `layer`.
        **kwargs: as for `Layer`.

    Shapes: as the layer's, with twice the features for "concat". `initial_state` and returned states are those of the
    forward layer, then those of the backward layer.

    Raises:
        ArgumentError: `layer` is no layer.
        ArgumentError: `merge_mode` is unknown, or the two layers do not fit each other.

    Example:
        >>> from lamina.layers import LSTM
        >>> Bidirectional(LSTM(4, return_sequences=True))(torch.ones(2, 10, 8)).shape
        torch.Size([2, 10, 8])

    Source: https://keras.io/api/layers/recurrent_layers/bidirectional/
    """

    def __init__(
        self,
        layer: Layer,
        merge_mode: str | None = "concat",
        weights: Sequence[Any] | None = None,
        backward_layer: Layer | None = None,
        **kwargs: Any,
    ) -> None:
        _check_layer(layer, "layer")
        if backward_layer is not None:
            _check_layer(backward_layer, "backward_layer")
        one_of(merge_mode, MERGE_MODES, f"{type(self).__name__}, merge_mode")
        super().__init__(**kwargs)
        self.forward_layer = _copy(layer, "forward_")
        self.backward_layer = backward_layer or _copy(layer, "backward_", go_backwards=True)
        self._check_directions()
        for each in (self.forward_layer, self.backward_layer):
            if hasattr(each, "use_cudnn"):
                each.use_cudnn = layer.use_cudnn
            if hasattr(each, "zero_output_for_mask"):
                # Steps masked at one end would else repeat the last output there.
                each.zero_output_for_mask = each.return_sequences
        self.merge_mode = merge_mode
        self.__dict__["_first_weights"] = weights
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec

    def _check_directions(self) -> None:
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ArgumentError(
                "The two layers go in the same direction.",
                where="backward_layer",
                expected=f"go_backwards={not forward.go_backwards}",
                received=f"go_backwards={backward.go_backwards}",
            )
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, name) != getattr(backward, name):
                raise ArgumentError(
                    f"The two layers differ in `{name}`.",
                    where="backward_layer",
                    expected=f"{name}={getattr(forward, name)}",
                    received=f"{name}={getattr(backward, name)}",
                )

    def build(self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Build both layers."""
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
        if self._first_weights:
            self.set_weights(self._first_weights)

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        """The merged outputs, and with `return_state` the states of both layers."""
        half = len(initial_state) // 2 if initial_state is not None else 0
        forward = self._run(self.forward_layer, sequences, mask, initial_state and initial_state[:half])
        backward = self._run(self.backward_layer, sequences, mask, initial_state and initial_state[half:])
        states: tuple[Any, ...] = ()
        if self.return_state:
            (forward, *first), (backward, *second) = forward, backward
            states = (*first, *second)
        forward, backward = self.cast(forward), self.cast(backward)
        if self.return_sequences:
            backward = backward.flip(1)
        if self.merge_mode is None:
            return forward, backward, *states
        output = self._merge(forward, backward)
        return (output, *states) if self.return_state else output

    def _pass_masks(self, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any) -> None:
        super()._pass_masks(signature, args, kwargs, travelling_masks(args, kwargs, masks))

    def _run(self, layer: Layer, sequences: Tensor, mask: Any, states: Any) -> Any:
        given = {"mask": mask, "initial_state": states}
        return layer(sequences, **{name: value for name, value in given.items() if value is not None})

    def _merge(self, forward: Tensor, backward: Tensor) -> Tensor:
        if self.merge_mode == "concat":
            return torch.cat((forward, backward), -1)
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge_mode == "ave" else total

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the sequences goes with the outputs of all steps; states have none."""
        mask = tree.flatten(previous_mask)[0] if self.return_sequences else None
        if self.merge_mode is None:
            return mask, mask
        return [mask] if self.return_state else mask

    @property
    def states(self) -> tuple[Any, ...] | None:
        """The states kept between batches, of both layers."""
        if self.forward_layer.states and self.backward_layer.states:
            return *self.forward_layer.states, *self.backward_layer.states
        return None

    def reset_state(self) -> None:
        """Set the states kept between batches to zero.

        Raises:
            AttributeError: the layer keeps none.
        """
        if not self.stateful:
            raise AttributeError(f"{self._where()} keeps no states: make the layer inside with stateful=True.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name, with both layers."""
        config = super().get_config()
        del config["weights"]
        return {
            **config,
            "layer": serialize_keras_object(self.forward_layer),
            "backward_layer": serialize_keras_object(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A layer made from a config, whose layers may be among `custom_objects`."""
        with CustomObjectScope(dict(custom_objects or {})):
            return super().from_config(config)


def _copy(layer: Layer, prefix: str, **changes: Any) -> Any:
    """A new layer from a layer's config."""
    config = serialize_keras_object(layer)
    config["config"] |= {"name": prefix + layer.name.removeprefix(prefix), **changes}
    return deserialize_keras_object(config)
