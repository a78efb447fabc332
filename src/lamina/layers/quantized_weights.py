"""Layers whose weight may be quantized: the weight is replaced, and another function becomes the layer's `call`.

A layer that is not quantized pays nothing for it: its own `call` knows nothing of quantization. What a mode means is
told by a `Scheme`, which makes, fills and uses the weights; the layer holds them, so that copies, files, devices and
`state_dict` work as ever.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core.capture import is_ours
from lamina.core.errors import ArgumentError, StateError, UnsupportedError, nearest
from lamina.core.policies import DTypePolicyMap
from lamina.core.policies import get as get_policy
from lamina.core.tensors import convert_to_numpy
from lamina.layers.lora import LowRank
from lamina.quantizers.configs import Int4QuantizationConfig, QuantizationConfig, resolve_config


class Scheme(abc.ABC):
    """What a quantization mode means for a kind of layers; a scheme holds no state.

    Args:
        mode: the mode.
        *names: the attributes of the weights, in the order of files; those a layer lacks are left out.
    """

    keeps_weight = False
    """Whether the float weight stays."""
    takes_lora = True
    """Whether there may be a low-rank addition."""

    def __init__(self, mode: str, *names: str) -> None:
        self.mode, self.names = mode, names

    @abc.abstractmethod
    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make the weights for a float weight of a shape."""

    @abc.abstractmethod
    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The outputs of the layer."""

    def values(self, layer: Any, weight: Tensor, config: Any) -> dict[str, Tensor]:
        """The weights by name that stand for a float weight."""
        return {}

    def read(self, layer: Any) -> Any:
        """What the attribute of the float weight reads as."""
        return held(layer, layer.lora_target)

    def loaded(self, layer: Any) -> None:  # noqa: B027
        """Take note that a file has given the weights."""

    def merged(self, layer: Any) -> dict[str, Tensor]:
        """The weights by name with the low-rank addition in them."""
        return self.values(layer, self.restored(layer) + layer.low_rank_weight(), None)

    def restored(self, layer: Any) -> Tensor:
        """The float weight that the quantized one stands for."""
        raise NotImplementedError


class QuantizableWeight(LowRank):
    """Base of the layers that `quantize` can change.

    A subclass has the `schemes` of the modes, and names in `plain_names` its weights in the order of files.
    """

    schemes: ClassVar[Mapping[str, Scheme]]
    plain_names: ClassVar[tuple[str, ...]]
    quantization_config: Any
    inputs_quantizer: Any
    _is_quantized = False
    _built_mode: str | None = None
    _weight_shape: tuple[int, ...]

    def _scheme(self, mode: str | None) -> Scheme:
        if mode is None or mode not in self.schemes:
            raise UnsupportedError(
                f"Invalid quantization mode.{nearest(str(mode), self.schemes)}",
                where=self._where(),
                expected=", ".join(self.schemes),
                received=repr(mode),
            )
        return self.schemes[mode]

    def _refresh(self) -> None:
        super()._refresh()
        mode = self.quantization_mode
        if mode is None:
            self.__dict__.pop("call", None)
            return
        self.__dict__["call"] = self.quantized_call
        if self.built and not self._is_quantized:
            block_size = getattr(self._policy(), "block_size", None)
            self.quantize(mode, config=Int4QuantizationConfig(block_size=block_size) if block_size else None)

    def quantize(self, mode: str | None = None, type_check: bool = True, config: Any = None) -> None:
        """Quantize the weight in place; see `Model.quantize`.

        Args:
            mode: "int8", "int4", "float8", "gptq" or "awq"; that of the config by default.
            type_check: whether to refuse classes of a program's own, whose `call` would no longer be used.
            config: the settings; those of the mode by default.

        Raises:
            StateError: the layer is not built, or quantized already.
            ArgumentError: mode and config do not fit each other or the layer.
            UnsupportedError: the class is a program's own, or does not know the mode.
        """
        config = resolve_config(mode, config)
        self._check_quantize(config.mode, type_check)
        source = self._policy()
        wanted = source if source.quantization_mode else get_policy(f"{config.policy_string()}_from_{source.name}")
        self.quantization_config = config
        target = self.lora_target
        weight: Any = self._parameters[target]
        with torch.no_grad():
            values = self._scheme(config.mode).values(self, weight.detach(), config)
            self.quantized_build(tuple(weight.shape), config.mode, config)
            self._fill(values, weight.device)
        if isinstance(self.dtype_policy, DTypePolicyMap):
            self.dtype_policy.pop(self.path, None)
            self.dtype_policy[self.path] = wanted
            self._refresh()
        else:
            self.dtype_policy = wanted

    def _check_quantize(self, mode: str, type_check: bool) -> None:
        if not self.built:
            raise StateError(
                "A layer that isn't yet built cannot be quantized.", where=self._where(), fix="build the layer first"
            )
        if self._is_quantized:
            raise StateError(
                f"Layer '{self.name}' is already quantized with dtype_policy='{self._policy().name}'.",
                where=self._where(),
                received=f"mode={mode!r}",
                fix="quantize a layer once; start again from the float weights for another mode",
            )
        if mode == "int8" and self.compute_dtype == "float16":
            raise ArgumentError(
                "Quantization mode='int8' doesn't work well with compute_dtype='float16'.",
                where=self._where(),
                fix='load the layer with a policy such as "mixed_bfloat16" before',
            )
        if type_check and not is_ours(type(self)):
            raise self._cannot("quantize")
        self._scheme(mode)

    def quantized_build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, kernel_shape: Any, mode: str, config: QuantizationConfig | None = None
    ) -> None:
        """Make the weights of a mode, for a float weight of a shape.

        Raises:
            UnsupportedError: the layer does not know the mode.
        """
        scheme = self._scheme(mode)
        self._weight_shape = tuple(kernel_shape)
        scheme.build(self, self._weight_shape, config)
        self._is_quantized, self._built_mode = True, mode

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """What is computed in place of `call` when the layer is quantized."""
        return self._scheme(self.quantization_mode).call(self, *args, **kwargs)

    @property
    def variable_serialization_spec(self) -> dict[str | None, list[str]]:
        """The names of the weights in the order of files, by mode; not every layer has them all."""
        modes = {mode: list(scheme.names) for mode, scheme in self.schemes.items()}
        return {None: list(self.plain_names), **modes}

    def _make(self, key: str, shape: Any, dtype: Any = None, name: str | None = None, start: Any = "zeros") -> None:
        """A weight that does not learn, under an attribute."""
        setattr(self, key, self.add_weight(shape, start, dtype, trainable=False, name=name or key))

    def _fill(self, values: Mapping[str, Tensor], device: torch.device) -> None:
        """Give weights their values, on a device."""
        for name in self.variable_serialization_spec[self._built_mode]:
            weight = held(self, name)
            if weight is not None and name in values:
                assert weight.shape == values[name].shape, (name, weight.shape, values[name].shape)
                weight.data = values[name].to(device, weight.dtype).contiguous()
            elif weight is not None and weight.device != device:
                weight.data = weight.data.to(device)

    def _drop(self, name: str) -> None:
        """Forget a weight."""
        self._parameters.pop(name, None)
        self._weight_specs.pop(name, None)

    def _weight_as_told(self, name: str, shape: Any, autocast: bool = True, initializer: Any = None) -> Any:
        mode = self.quantization_mode
        if mode is not None and name == self.lora_target:
            self.quantized_build(shape, mode, self.quantization_config)
            if not self.schemes[mode].keeps_weight:
                return held(self, name)
        return super()._weight_as_told(name, shape, autocast, initializer)

    def _weight_not_held(self, name: str) -> Any:
        if self._is_quantized and name == self.lora_target:
            return self._scheme(self.quantization_mode).read(self)
        return super()._weight_not_held(name)

    def _lora_base(self) -> Any:
        if not self._is_quantized:
            return super()._lora_base()
        scheme = self._scheme(self.quantization_mode)
        if not scheme.takes_lora:
            raise UnsupportedError(
                f"LoRA does not go with {scheme.mode} quantization.",
                where=self._where(),
                fix="quantize to int8 or int4, which take LoRA",
            )
        return self.plain_weight(self.lora_target)

    def _own_weights(self) -> list[Any]:
        if not self._is_quantized:
            return super()._own_weights()
        names = self.variable_serialization_spec[self._built_mode]
        return [weight for name in names if (weight := held(self, name)) is not None]

    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own weights into a mapping, a low-rank addition merged into the weight."""
        if not (self._is_quantized and self.lora_enabled):
            return super().save_own_variables(store)
        scheme = self._scheme(self.quantization_mode)
        with torch.no_grad():
            merged = scheme.merged(self)
        present = [name for name in scheme.names if held(self, name) is not None]
        for index, name in enumerate(present):
            store[str(index)] = convert_to_numpy(merged.get(name, held(self, name)))

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the layer's own weights from a mapping; an addition begins anew from nothing."""
        super().load_own_variables(store)
        if self.quantization_mode is not None:
            self._scheme(self.quantization_mode).loaded(self)

    def _calibrated(self) -> None:
        """From now on, compute with the quantized weight that a calibration or a file has given."""
        setattr(self, f"is_{self.quantization_mode}_calibrated", True)
        self._drop(self.lora_target)
        self.__dict__["_fast"] = None


def held(layer: Any, name: str) -> Any:
    """A weight as it is kept, or None."""
    own = layer.__dict__
    found = own["_parameters"].get(name)
    return found if found is not None else own["_buffers"].get(name)


def read(layer: Any, name: str) -> Tensor:
    """A piece of state in the dtype the layer computes in."""
    return layer.cast(layer._buffers[name])


def straight_through(inputs: Tensor, ahead: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
    """`ahead(inputs)`, with the gradient that `back` makes of that of the outputs."""
    if inputs.requires_grad and torch.is_grad_enabled():
        return _Rounded.apply(inputs, ahead, back)  # type: ignore[no-any-return]
    return ahead(inputs)


class _Rounded(torch.autograd.Function):
    """A function that rounds, and what stands for its derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, ahead: Any, back: Any) -> Tensor:
        ctx.back = back
        return ahead(inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return ctx.back(*grad_outputs), None, None
