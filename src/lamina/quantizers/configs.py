"""Quantization configs: the mode, and the settings that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from lamina.core.capture import Captured, constructor, revive
from lamina.core.errors import ArgumentError, one_of, unwritten
from lamina.core.policies import MODES
from lamina.core.registry import builtin
from lamina.quantizers.base import AbsMaxQuantizer


@builtin("keras.quantizers")
class QuantizationConfig(Captured):
    """Base of quantization configs: a subclass has a `mode`.

    Args:
        weight_quantizer: what quantizes weights; the mode's own by default.
        activation_quantizer: what quantizes inputs; None for no quantization of these.

    Example:
        >>> QuantizationConfig.weight_quantizer_or_default(None, "default")
        'default'

    Source: https://keras.io/api/quantizers/
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = None) -> None:
        self.weight_quantizer = weight_quantizer
        self.activation_quantizer = activation_quantizer

    @property
    def mode(self) -> str:
        """The quantization mode.

        Raises:
            NotImplementedError: the class has none.
        """
        raise unwritten(self, "mode(self)")

    def policy_string(self) -> str:
        """The mode with its settings, as dtype policies spell it."""
        return self.mode

    @staticmethod
    def weight_quantizer_or_default(config: Any, default: Any) -> Any:
        """The quantizer of weights that a config names, or another."""
        return default if config is None or config.weight_quantizer is None else config.weight_quantizer

    @staticmethod
    def activation_quantizer_or_default(config: Any, default: Any) -> Any:
        """The quantizer of inputs that a config names (None for none), or another where there is no config."""
        return default if config is None else config.activation_quantizer


@builtin("keras.quantizers")
class Int8QuantizationConfig(QuantizationConfig):
    """Weights and inputs as integers of 8 bits.

    Args:
        weight_quantizer: what quantizes weights; by default an `AbsMaxQuantizer` per channel.
        activation_quantizer: what quantizes inputs; by default an `AbsMaxQuantizer`; None for weights alone.

    Raises:
        ArgumentError: the quantizer of weights makes another dtype.

    Example:
        >>> Int8QuantizationConfig(activation_quantizer=None).mode
        'int8'

    Source: https://keras.io/api/quantizers/
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = "default") -> None:
        default = isinstance(activation_quantizer, str) and activation_quantizer == "default"
        super().__init__(weight_quantizer, AbsMaxQuantizer() if default else activation_quantizer)
        _check_output_dtype(self)

    @property
    def mode(self) -> str:
        """ "int8"."""
        return "int8"


@builtin("keras.quantizers")
class Int4QuantizationConfig(QuantizationConfig):
    """Weights as integers of 4 bits.

    Args:
        weight_quantizer: what quantizes weights, where `block_size` is None or -1.
        activation_quantizer: what quantizes inputs, likewise; by default they stay floats.
        block_size: how many rows share a scale and a zero point; None or -1 for all, without a zero point.

    Raises:
        ArgumentError: the size is 0 or less than -1, does not go with quantizers, or the quantizer of weights makes
            another dtype or range.

    Example:
        >>> Int4QuantizationConfig(block_size=64).policy_string()
        'int4/64'

    Source: https://keras.io/api/quantizers/
    """

    def __init__(
        self, weight_quantizer: Any = None, activation_quantizer: Any = "default", block_size: int | None = 128
    ) -> None:
        default = isinstance(activation_quantizer, str) and activation_quantizer == "default"
        super().__init__(weight_quantizer, None if default else activation_quantizer)
        if block_size is not None and block_size != -1 and block_size <= 0:
            raise ArgumentError(
                "The size of blocks is not usable.",
                where="block_size",
                expected="None, -1, or a positive integer",
                received=block_size,
            )
        self.block_size = block_size
        if self.groups and (self.weight_quantizer is not None or self.activation_quantizer is not None):
            raise ArgumentError(
                "A block_size does not go with quantizers of your own.",
                where="Int4QuantizationConfig",
                received=f"block_size={block_size}",
                fix="set block_size=None, or leave the quantizers out",
            )
        if weight_quantizer is not None and tuple(weight_quantizer.value_range) != (-8, 7):
            raise ArgumentError(
                "The range does not fit into integers of 4 bits.",
                where="weight_quantizer",
                expected="value_range=(-8, 7)",
                received=f"value_range={weight_quantizer.value_range}",
            )
        _check_output_dtype(self)

    @property
    def mode(self) -> str:
        """ "int4"."""
        return "int4"

    @property
    def groups(self) -> int | None:
        """How many rows share a scale, or None for all."""
        return None if self.block_size in (None, -1) else self.block_size

    def policy_string(self) -> str:
        """The mode with the block size."""
        return f"int4/{self.groups or -1}"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A config from what `get_config` gave; files older than `block_size` mean None."""
        return cls(**revive({"block_size": None, **config}))


@builtin("keras.quantizers")
class Float8QuantizationConfig(QuantizationConfig):
    """Training with products of 8-bit floats.

    Example:
        >>> Float8QuantizationConfig().mode
        'float8'

    Source: https://keras.io/api/quantizers/
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    def mode(self) -> str:
        """ "float8"."""
        return "float8"


class CalibratedConfig(QuantizationConfig):
    """Base of configs of the modes that look at data: these settings they share.

    Data and structure are needed once and are not part of the config.
    """

    weight_bits: int
    num_samples: int
    sequence_length: int
    group_size: int
    quantization_layer_structure: dict[str, Any] | None
    bits: ClassVar[tuple[int, ...]]

    def _take(self, dataset: Any, tokenizer: Any, settings: dict[str, Any]) -> None:
        """Check the settings and keep them."""
        super().__init__()
        self.dataset, self.tokenizer = dataset, tokenizer
        self.__dict__.update(settings)
        del self._arguments
        self._check("weight_bits", self.weight_bits in self.bits, f"{' or '.join(map(str, self.bits))}")
        for name in ("num_samples", "sequence_length", "num_grid_points"):
            self._check(name, settings.get(name, 1) > 0, "a positive integer")
        self._check("hessian_damping", 0 <= settings.get("hessian_damping", 0) <= 1, "a number between 0 and 1")
        self._check("group_size", self.group_size == -1 or self.group_size > 0, "-1 or a positive integer")

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ArgumentError(
                f"{name} is not usable.",
                where=f"{type(self).__name__}({name}=...)",
                expected=expected,
                received=repr(getattr(self, name)),
            )

    def dtype_policy_string(self) -> str:
        """The mode with its settings, as dtype policies spell it."""
        return f"{self.mode}/{self.weight_bits}/{self.group_size}"

    def policy_string(self) -> str:
        """The same."""
        return self.dtype_policy_string()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments without data and structure, whose layers have this config themselves."""
        once = dict.fromkeys(("dataset", "tokenizer", "quantization_layer_structure"))
        return once | {name: getattr(self, name) for name in constructor(type(self)).parameters if name not in once}


@builtin("keras.quantizers")
class GPTQConfig(CalibratedConfig):
    """GPTQ: weights are rounded one column after the other, the rest making up for the error, as the data weighs it.

    Args:
        dataset: an iterable of texts, or of arrays of tokens.
        tokenizer: an object whose `tokenize(text)` gives tokens.
        weight_bits: 2, 3, 4 or 8.
        num_samples: how many sequences of the dataset are looked at.
        per_channel: whether each output has scales of its own.
        sequence_length: how many tokens a sequence has.
        hessian_damping: the share of its mean that is added to the diagonal of the Hessian.
        group_size: how many inputs share a scale; -1 for all.
        symmetric: whether ranges are the same on both sides of 0.
        activation_order: whether the most important inputs come first.
        quantization_layer_structure: "pre_block_layers", called in turn on the tokens, and "sequential_blocks", which
            follow each other and whose layers are quantized; the model's own by default.

    Raises:
        ArgumentError: a setting is out of range.

    Example:
        >>> GPTQConfig(dataset=None, tokenizer=None, group_size=64).dtype_policy_string()
        'gptq/4/64'

    Source: https://keras.io/api/quantizers/; Frantar et al., 2022
    """

    bits = (2, 3, 4, 8)
    per_channel: bool
    hessian_damping: float
    symmetric: bool
    activation_order: bool

    def __init__(
        self,
        dataset: Any,
        tokenizer: Any,
        *,
        weight_bits: int = 4,
        num_samples: int = 128,
        per_channel: bool = True,
        sequence_length: int = 512,
        hessian_damping: float = 0.01,
        group_size: int = 128,
        symmetric: bool = False,
        activation_order: bool = False,
        quantization_layer_structure: dict[str, Any] | None = None,
    ) -> None:
        settings = {
            "weight_bits": weight_bits,
            "num_samples": num_samples,
            "per_channel": per_channel,
            "sequence_length": sequence_length,
            "hessian_damping": hessian_damping,
            "group_size": group_size,
            "symmetric": symmetric,
            "activation_order": activation_order,
            "quantization_layer_structure": quantization_layer_structure,
        }
        self._take(dataset, tokenizer, settings)

    @property
    def mode(self) -> str:
        """ "gptq"."""
        return "gptq"


@builtin("keras.quantizers")
class AWQConfig(CalibratedConfig):
    """AWQ: inputs that are large in the data get finer weights, by factors that a search finds.

    Args:
        dataset: an iterable of texts, or of arrays of tokens.
        tokenizer: an object whose `tokenize(text)` gives tokens.
        weight_bits: 4.
        num_samples: how many sequences of the dataset are looked at.
        sequence_length: how many tokens a sequence has.
        group_size: how many inputs share a scale; -1 for all.
        num_grid_points: how many factors the search tries.
        quantization_layer_structure: as for `GPTQConfig`.

    Raises:
        ArgumentError: a setting is out of range.

    Example:
        >>> AWQConfig(dataset=None, tokenizer=None).dtype_policy_string()
        'awq/4/128'

    Source: https://keras.io/api/quantizers/; Lin et al., 2023
    """

    bits = (4,)
    num_grid_points: int

    def __init__(
        self,
        dataset: Any,
        tokenizer: Any,
        *,
        weight_bits: int = 4,
        num_samples: int = 128,
        sequence_length: int = 512,
        group_size: int = 128,
        num_grid_points: int = 20,
        quantization_layer_structure: dict[str, Any] | None = None,
    ) -> None:
        settings = {
            "weight_bits": weight_bits,
            "num_samples": num_samples,
            "sequence_length": sequence_length,
            "group_size": group_size,
            "num_grid_points": num_grid_points,
            "quantization_layer_structure": quantization_layer_structure,
        }
        self._take(dataset, tokenizer, settings)

    @property
    def mode(self) -> str:
        """ "awq"."""
        return "awq"


_DEFAULTS = {"int8": Int8QuantizationConfig, "int4": Int4QuantizationConfig, "float8": Float8QuantizationConfig}


def resolve_config(mode: str | None, config: Any) -> QuantizationConfig:
    """The config that a mode, a config or both stand for.

    Args:
        mode: the mode, or None.
        config: the config, None, or the mode as well.

    Raises:
        ArgumentError: the mode is unknown or missing, needs a config, or is another one than that of the config.

    Example:
        >>> resolve_config("int4", None).block_size
        128
    """
    mode, config = (config, None) if isinstance(config, str) else (mode, config)
    if config is not None and not isinstance(config, QuantizationConfig):
        raise ArgumentError(
            "This is no config.",
            where="quantize(config=...)",
            expected="a QuantizationConfig, such as Int8QuantizationConfig()",
            received=repr(config),
        )
    if mode is None and config is None:
        raise ArgumentError("There is neither a mode nor a config.", where="quantize()", fix='model.quantize("int8")')
    found = config.mode if config is not None and mode is None else str(mode)
    one_of(found, MODES, "quantize, mode")
    if config is None:
        if found not in _DEFAULTS:
            name = {"gptq": "GPTQConfig", "awq": "AWQConfig"}[found]
            raise ArgumentError(f"{found} needs a config.", where="quantize()", fix=f"quantize(config={name}(...))")
        return _DEFAULTS[found]()
    if config.mode != found:
        raise ArgumentError(
            "Mode and config contradict each other.",
            where="quantize(mode, config)",
            expected=f"mode={config.mode!r}, or none",
            received=f"mode={found!r}",
        )
    needed = {"gptq": GPTQConfig, "awq": AWQConfig}.get(found, QuantizationConfig)
    if not isinstance(config, needed):
        raise ArgumentError(
            f"The config does not belong to mode {found!r}.",
            where="quantize(config=...)",
            expected=needed.__name__,
            received=type(config).__name__,
        )
    return config


def _check_output_dtype(config: QuantizationConfig) -> None:
    quantizer = config.weight_quantizer
    if quantizer is not None and quantizer.output_dtype != "int8":
        raise ArgumentError(
            "The quantizer makes other numbers than int8.",
            where=f"{type(config).__name__}(weight_quantizer=...)",
            expected="output_dtype='int8'",
            received=f"output_dtype={quantizer.output_dtype!r}",
        )
