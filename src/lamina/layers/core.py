"""The layers nearly every model has: dense, embedding, masking, functions as layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import activations, constraints, initializers, regularizers
from lamina.core import policies, tree
from lamina.core.errors import ArgumentTypeError, say_once
from lamina.core.registry import CustomObjectScope, builtin
from lamina.core.serialization import serialize_keras_object
from lamina.layers.arguments import positive
from lamina.layers.base import Layer
from lamina.layers.direct import DIRECT
from lamina.layers.input_spec import InputSpec
from lamina.layers.lora import Adapted
from lamina.layers.quantized_kernels import QuantizableKernel
from lamina.layers.quantized_tables import QuantizableTable
from lamina.layers.signature import shape_of
from lamina.ops.affine import LARGE_KERNEL, affine


@builtin("keras.layers")
class Dense(QuantizableKernel):
    """A fully connected layer: `activation(inputs @ kernel + bias)` along the last axis.

    Args:
        units: the size of the output's last axis.
        activation: a function of the output, or its name.
        use_bias: whether a bias is added.
        kernel_initializer: how the kernel, of shape (features, units), begins.
        bias_initializer: how the bias begins.
        kernel_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        kernel_constraint: what the kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.
        lora_rank: the rank of a low-rank addition to the kernel, which is then frozen.
        lora_alpha: the addition is multiplied by `lora_alpha / lora_rank`.
        quantization_config: the settings of a quantized layer; see `quantize`.
        **kwargs: as for `Layer`.

    Shapes: `(batch, ..., features)` to `(batch, ..., units)`.

    Raises:
        ArgumentError: `units` is no positive integer.
        ShapeError: the input has less than two dimensions, or its last one is unknown or another than at first.

    Example:
        >>> layer = Dense(4, activation="relu")
        >>> layer(torch.ones(2, 3)).shape, layer.kernel.shape
        (torch.Size([2, 4]), torch.Size([3, 4]))

    Source: https://keras.io/api/layers/core_layers/dense/
    """

    lora_target, kernel = "kernel", Adapted()
    _is_large = False

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive(units, f"{self._where()}, units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha or lora_rank
        self.quantization_config = quantization_config
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel and bias."""
        features = input_shape[-1]
        self._weight_as_told("kernel", (features, self.units))
        self._is_large = (features or 0) * self.units >= LARGE_KERNEL
        self.bias = self._weight_as_told("bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})
        if self.lora_rank:
            self.enable_lora(self.lora_rank, self.lora_alpha)

    def call(self, inputs: Tensor) -> Tensor:
        """The inputs times the kernel, plus the bias, activated."""
        if not inputs.is_floating_point():
            inputs = self.cast(inputs)
        kernel, bias, activation = self.plain_weight("kernel"), self.bias, self.activation
        if self._is_large:
            outputs = affine(inputs, kernel, bias)
        elif bias is None:
            outputs = torch.matmul(inputs, kernel)
        elif inputs.ndim == 2:
            outputs = torch.addmm(bias, inputs, kernel)
        else:
            outputs = F.linear(inputs, kernel.T, bias)
        if self.lora_enabled:
            outputs = outputs + self.low_rank(inputs)
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)


@builtin("keras.layers")
class Activation(Layer):
    """An activation function as a layer.

    Args:
        activation: the function, or its name.
        **kwargs: as for `Layer`.

    Example:
        >>> Activation("relu")(torch.tensor([-3.0, 2.0]))
        tensor([0., 2.])

    Source: https://keras.io/api/layers/core_layers/activation/
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Tensor) -> Tensor:
        """The activated inputs."""
        return DIRECT.get(self.activation, self.activation)(inputs)


@builtin("keras.layers")
class Embedding(QuantizableTable):
    """Integers to vectors: each id picks its row of a table that is learned.

    Args:
        input_dim: the number of ids; they run from 0 to `input_dim - 1`.
        output_dim: the size of the vectors.
        embeddings_initializer: how the table, of shape (input_dim, output_dim), begins.
        embeddings_regularizer: a penalty on the table.
        embeddings_constraint: what the table is put through after each update.
        mask_zero: whether id 0 is padding, which later layers skip.
        weights: the table to begin with.
        lora_rank: the rank of a low-rank addition to the table, which is then frozen.
        lora_alpha: the addition is multiplied by `lora_alpha / lora_rank`.
        quantization_config: the settings of a quantized layer; see `quantize`.
        **kwargs: as for `Layer`.

    Shapes: `(batch, ...)` to `(batch, ..., output_dim)`. Floats are cut to integers first.

    Raises:
        ArgumentError: a dimension is no positive integer, or an id lies outside the table.

    Example:
        >>> Embedding(1000, 64)(torch.tensor([[4, 20, 7]])).shape
        torch.Size([1, 3, 64])

    Source: https://keras.io/api/layers/core_layers/embedding/
    """

    lora_target, embeddings = "embeddings", Adapted()

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("input_length", None) is not None:
            say_once("Embedding(input_length=...) is deprecated, leave it out; it goes in version 2.0.")
        super().__init__(**kwargs)
        self.input_dim = positive(input_dim, f"{self._where()}, input_dim")
        self.output_dim = positive(output_dim, f"{self._where()}, output_dim")
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = self.supports_masking = mask_zero
        self.autocast = False
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha or lora_rank
        self.quantization_config = quantization_config
        if weights is not None:
            self.build(None)
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        """Create the table."""
        if not self.built:
            # The rows are cast, not the table, which may be far larger.
            self._weight_as_told("embeddings", (self.input_dim, self.output_dim), autocast=False)
            if self.lora_rank:
                self.enable_lora(self.lora_rank, self.lora_alpha)

    def call(self, inputs: Tensor) -> Tensor:
        """The rows the inputs name."""
        ids = inputs if inputs.dtype in (torch.int64, torch.int32) else inputs.int()
        try:
            rows = self.cast(torch.embedding(self.plain_weight("embeddings"), ids))
            return rows + self.low_rank_rows(ids) if self.lora_enabled else rows
        except IndexError:
            raise self._outside(ids) from None

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """True where the id is not 0, with mask_zero."""
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input shape and the size of the vectors."""
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments without the table."""
        config = super().get_config()
        config.pop("weights", None)
        return {"activity_regularizer": None} | config


@builtin("keras.layers")
class Masking(Layer):
    """Marks the steps to skip: those whose features all equal a value.

    Args:
        mask_value: the value.
        **kwargs: as for `Layer`.

    Shapes: `(batch, steps, features)` to the same, skipped steps set to zero.

    Example:
        >>> Masking()(torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]))._keras_mask
        tensor([[ True, False]])

    Source: https://keras.io/api/layers/core_layers/masking/
    """

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Tensor) -> Tensor:
        """The inputs with skipped steps set to zero."""
        return torch.where((inputs != self.mask_value).any(-1, keepdim=True), inputs, 0)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """True for the steps that count."""
        return (inputs != self.mask_value).any(-1)


@builtin("keras.layers")
class Identity(Layer):
    """Hands its inputs through.

    Args:
        **kwargs: as for `Layer`.

    Example:
        >>> Identity()(torch.ones(2))
        tensor([1., 1.])

    Source: https://keras.io/api/layers/core_layers/identity/
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        """The inputs."""
        return inputs


@builtin("keras.layers")
class Lambda(Layer):
    """A function as a layer.

    To save a model, write the function with `def` and register it: files hold names, never code.

    Args:
        function: takes the inputs; if it has parameters `mask` or `training`, these too.
        output_shape: the shape of the result without the batch, or a function of the whole input shape; found by
            running the function if left out.
        mask: the mask of the result, or a function of (inputs, mask).
        arguments: further keyword arguments for the function.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentTypeError: on saving, if the function has no name.

    Example:
        >>> Lambda(lambda x, power: x**power, arguments={"power": 3})(torch.tensor([2.0]))
        tensor([8.])

    Source: https://keras.io/api/layers/core_layers/lambda/
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            expected = "a function of tensors"
            raise ArgumentTypeError(
                "This is no function.", where=self._where(), expected=expected, received=repr(function)
            )
        self.function = function
        self.arguments = dict(arguments or {})
        self.mask = mask
        self.supports_masking = mask is not None
        self._output_shape = output_shape
        self._extra = _parameters_of(function) & {"mask", "training"}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """What `output_shape` says, or what the function gives."""
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        if callable(self._output_shape):
            return self._output_shape(input_shape)
        batch = tree.flatten(input_shape)[0]
        if all(size is None or isinstance(size, int) for size in self._output_shape):
            return (batch, *self._output_shape)
        return [(batch, *shape) for shape in self._output_shape]

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """The output as symbolic tensors; with `output_shape`, without running the function."""
        if self._output_shape is None:
            return super().compute_output_spec(inputs, **kwargs)
        return self._symbolic(self.compute_output_shape(shape_of(inputs)))

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """What the function gives."""
        given = {"mask": mask, "training": training}
        return self.function(inputs, **self.arguments, **{name: given[name] for name in self._extra})

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask named at construction, or what its function gives."""
        return self.mask(inputs, previous_mask) if callable(self.mask) else self.mask

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None, safe_mode: bool | None = None) -> Self:
        """A layer made from a config, whose function may be one of `custom_objects`; code in files is never run."""
        with CustomObjectScope(custom_objects or {}):
            return super().from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments. A function without a name stands in it as it is, and cannot be saved."""
        policy = policies.serialize(self.dtype_policy)
        config = {"name": self.name, "trainable": self.trainable, "dtype": policy, "function": _by_name(self.function)}
        for name, value in {"output_shape": self._output_shape, "mask": self.mask}.items():
            if value is not None:
                config[name] = _by_name(value)
        return {**config, "arguments": serialize_keras_object(self.arguments)}


def _by_name(value: Any) -> Any:
    """A named function as files name it; a lambda or another callable as it is; other values serialized."""
    nameless = not inspect.isroutine(value) or value.__name__ == "<lambda>"
    return value if callable(value) and nameless and not hasattr(value, "get_config") else serialize_keras_object(value)


def _parameters_of(function: Callable[..., Any]) -> set[str]:
    """The names of a function's parameters; none for built-in functions that do not tell."""
    try:
        return set(inspect.signature(function).parameters)
    except ValueError:
        return set()
