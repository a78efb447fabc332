"""Dtype policies: in which dtype a layer computes, and in which it keeps its weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Self

import torch

from lamina.core import config
from lamina.core.capture import Captured
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, LaminaError, nearest
from lamina.core.registry import builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object


@builtin("keras", "DTypePolicy")
class DTypePolicy(Captured):
    """The dtypes of a layer.

    Args:
        name: a dtype ("float32"), or "mixed_float16" / "mixed_bfloat16": compute in 16 bits, keep weights in float32;
            that of the default policy by default.

    Raises:
        ArgumentError: the name is not a policy.
        ArgumentTypeError: the name is no string and no dtype.

    Example:
        >>> policy = DTypePolicy("mixed_bfloat16")
        >>> policy.compute_dtype, policy.variable_dtype
        ('bfloat16', 'float32')

    Source: https://keras.io/api/mixed_precision/policy/
    """

    def __init__(self, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            name = standardize_dtype(name)
        self.name: str = name if name is not None else dtype_policy().name
        self.compute_dtype, self.variable_dtype = _dtypes_of(self.name)

    quantization_mode: str | None = None
    """How layers with this policy are quantized: "int8", "int4", "float8", "gptq", "awq", or None."""

    def convert_input(self, x: Any, autocast: bool, dtype: Any) -> Any:
        """A float tensor cast to `dtype` when autocast is on; everything else unchanged."""
        if autocast and isinstance(x, torch.Tensor) and x.is_floating_point():
            return x.to(torch_dtype(dtype))
        return x

    def get_config(self) -> dict[str, Any]:
        """The name alone."""
        return {"name": self.name}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and (type(other), other._key()) == (type(self), self._key())

    def _key(self) -> tuple[Any, ...]:
        """What two policies of one class must share to be equal."""
        return (self.name,)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} "{self.name}">'


_COMMON = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def _dtypes_of(name: str) -> tuple[str, str]:
    if not isinstance(name, str):
        expected = '"float32", "mixed_float16", "mixed_bfloat16", ...'
        raise ArgumentTypeError("This is no dtype policy.", where="dtype=...", expected=expected, received=repr(name))
    if name in ("mixed_float16", "mixed_bfloat16"):
        return name.removeprefix("mixed_"), "float32"
    try:
        dtype = standardize_dtype(name)
    except DTypeError:
        raise ArgumentError(
            f"Unknown dtype policy.{nearest(str(name), _COMMON)}",
            where="dtype=...",
            expected='a dtype name, "mixed_float16" or "mixed_bfloat16"',
            received=repr(name),
        ) from None
    return dtype, dtype


MODES = ("int8", "float8", "int4", "gptq", "awq")
"""The ways to quantize a layer."""


@builtin("keras.dtype_policies")
class QuantizedDTypePolicy(DTypePolicy):
    """The dtypes of a quantized layer: how its weights are kept, and the policy it had before, which says the rest.

    Args:
        mode: "int8", "int4", "float8", "gptq" or "awq".
        source_name: the name of the policy before; the default policy's by default.

    Raises:
        ArgumentError: the mode is unknown, or "int8" meets a source that computes in float16.

    Example:
        >>> policy = QuantizedDTypePolicy("int8", "mixed_bfloat16")
        >>> policy.name, policy.quantization_mode, policy.compute_dtype
        ('int8_from_mixed_bfloat16', 'int8', 'bfloat16')

    Source: https://keras.io/api/mixed_precision/policy/
    """

    form = ""
    """The mode with its settings, as names and configs spell it."""

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        settings = self._settings(mode)
        mode = mode.partition("/")[0] if settings else mode
        source_name = dtype_policy().name if source_name is None else source_name
        self.compute_dtype, self.variable_dtype = _dtypes_of(source_name)
        if mode not in MODES:
            what = f"Unknown quantization mode.{nearest(mode, MODES)}"
            raise ArgumentError(what, where="mode=...", expected=" or ".join(MODES), received=repr(mode))
        if mode == "int8" and self.compute_dtype == "float16":
            raise ArgumentError(
                "int8 does not go with computing in float16.",
                where=f"{mode}_from_{source_name}",
                fix='use "mixed_bfloat16" or "float32" as the source',
            )
        self._spelled = "/".join((mode, *(str(value) for value in settings.values())))
        self.name, self.source_name = f"{self._spelled}_from_{source_name}", source_name
        self.mode = self.quantization_mode = mode
        for name, value in settings.items():
            setattr(self, name, value)

    def _settings(self, mode: str) -> dict[str, int]:
        """The numbers in a mode such as "int4/128", by the names that `form` gives them."""
        names = self.form.split("/")[1:]
        parts = str(mode).split("/")
        if not names:
            return {}
        try:
            if parts[0] != self.form.partition("/")[0] or len(parts) != len(names) + 1:
                raise ValueError
            return {name: int(part) for name, part in zip(names, parts[1:], strict=True)}
        except ValueError:
            where, expected = f"{type(self).__name__}(mode=...)", f"'{self.form}' with integers"
            raise ArgumentError("Invalid mode.", where=where, expected=expected, received=repr(mode)) from None

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ArgumentError(
                f"Invalid {name} in mode.", where=type(self).__name__, expected=expected, received=repr(self._spelled)
            )

    def get_config(self) -> dict[str, Any]:
        """Mode and source."""
        return {"mode": self._spelled, "source_name": self.source_name}


@builtin("keras.dtype_policies")
class QuantizedFloat8DTypePolicy(QuantizedDTypePolicy):
    """The policy of layers that train with products of 8-bit floats.

    Args:
        mode: "float8".
        source_name: see `QuantizedDTypePolicy`.
        amax_history_length: over how many steps the largest values are remembered, from which scales are found.

    Raises:
        ArgumentTypeError: the length is no integer.

    Example:
        >>> QuantizedFloat8DTypePolicy("float8", "float32", amax_history_length=16).amax_history_length
        16

    Source: https://keras.io/api/mixed_precision/policy/; Micikevicius et al., 2022
    """

    default_amax_history_length = 1024

    def __init__(self, mode: str, source_name: str | None = None, amax_history_length: int = 1024) -> None:
        super().__init__(mode, source_name)
        if not isinstance(amax_history_length, int):
            raise ArgumentTypeError(
                "`amax_history_length` must be an integer.",
                where=f"{type(self).__name__}(amax_history_length=...)",
                expected="an integer such as 1024",
                received=repr(amax_history_length),
            )
        self.amax_history_length = amax_history_length

    def _key(self) -> tuple[Any, ...]:
        return (self.name, self.amax_history_length)

    def get_config(self) -> dict[str, Any]:
        """Mode, source and the length of the history."""
        return super().get_config() | {"amax_history_length": self.amax_history_length}


@builtin("keras.dtype_policies")
class Int4DTypePolicy(QuantizedDTypePolicy):
    """The policy of layers whose weights are integers of 4 bits.

    Args:
        mode: "int4/<block_size>": how many rows share a scale; -1 for all.
        source_name: see `QuantizedDTypePolicy`.

    Raises:
        ArgumentError: the mode has another form, or the size is 0 or less than -1.

    Example:
        >>> Int4DTypePolicy("int4/128", "float32").block_size
        128

    Source: https://keras.io/api/mixed_precision/policy/
    """

    form = "int4/block_size"
    block_size: int

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        super().__init__(mode, source_name)
        self._check("block_size", self.block_size == -1 or self.block_size > 0, "-1 or a positive integer")


@builtin("keras.dtype_policies")
class GPTQDTypePolicy(QuantizedDTypePolicy):
    """The policy of layers quantized with GPTQ.

    Args:
        mode: "gptq/<weight_bits>/<group_size>": 2, 3, 4 or 8 bits, and how many rows share a scale; -1 for all.
        source_name: see `QuantizedDTypePolicy`.

    Raises:
        ArgumentError: the mode has another form, or numbers that are not allowed.

    Example:
        >>> policy = GPTQDTypePolicy("gptq/4/128", "float32")
        >>> policy.weight_bits, policy.group_size
        (4, 128)

    Source: https://keras.io/api/mixed_precision/policy/; Frantar et al., 2022
    """

    form = "gptq/weight_bits/group_size"
    bits = (2, 3, 4, 8)
    weight_bits: int
    group_size: int

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        super().__init__(mode, source_name)
        self._check("weight_bits", self.weight_bits in self.bits, f"one of {self.bits}")
        self._check("group_size", self.group_size == -1 or self.group_size > 0, "-1 or a positive integer")


@builtin("keras.dtype_policies")
class AWQDTypePolicy(QuantizedDTypePolicy):
    """The policy of layers quantized with AWQ.

    Args:
        mode: "awq/4/<group_size>": how many rows share a scale; -1 for all.
        source_name: see `QuantizedDTypePolicy`.

    Raises:
        ArgumentError: the mode has another form, or numbers that are not allowed.

    Example:
        >>> AWQDTypePolicy("awq/4/-1", "float32").group_size
        -1

    Source: https://keras.io/api/mixed_precision/policy/; Lin et al., 2023
    """

    form = "awq/weight_bits/group_size"
    weight_bits: int
    group_size: int

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        super().__init__(mode, source_name)
        self._check("weight_bits", self.weight_bits == 4, "4")
        self._check("group_size", self.group_size == -1 or self.group_size > 0, "-1 or a positive integer")


@builtin("keras.dtype_policies")
class DTypePolicyMap(DTypePolicy, MutableMapping):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Policies by the paths of layers, for models in which they differ.

    A key is a path, or a regular expression that must match the whole of one; all other layers have the default.

    Args:
        default_policy: the policy of layers that no key matches; lamina's default by default.
        policy_map: policies by path.

    Raises:
        ArgumentError: the default is a map itself, a key is set twice, or a path matches several keys.
        ArgumentTypeError: the map is no dict.

    Example:
        >>> policies = DTypePolicyMap("float32", {"encoder/.*": "mixed_bfloat16"})
        >>> policies["encoder/dense"].compute_dtype, policies["decoder/dense"].compute_dtype
        ('bfloat16', 'float32')

    Source: https://keras.io/api/mixed_precision/policy/
    """

    def __init__(self, default_policy: Any = None, policy_map: Mapping[str, Any] | None = None) -> None:
        if isinstance(default_policy, DTypePolicyMap):
            where, fix = "DTypePolicyMap(default_policy=...)", "give its own default: default_policy=map.default_policy"
            raise ArgumentError("The default of a DTypePolicyMap is a policy, not a map.", where=where, fix=fix)
        if policy_map is not None and not isinstance(policy_map, dict):
            where, expected = "DTypePolicyMap(policy_map=...)", "a dict of policies by path"
            raise ArgumentTypeError("`policy_map` is no dict.", where=where, expected=expected, received=policy_map)
        self._default = default_policy
        get(default_policy)
        self._policies = {path: get(policy) for path, policy in (policy_map or {}).items()}

    @property
    def default_policy(self) -> DTypePolicy:
        """The policy of layers that no key matches."""
        return get(self._default)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The default's name after "map_"."""
        return f"map_{self.default_policy.name}"

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        """The default's compute dtype."""
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        """The default's dtype of weights."""
        return self.default_policy.variable_dtype

    @property
    def quantization_mode(self) -> str | None:  # type: ignore[override]
        """The default's quantization mode."""
        return self.default_policy.quantization_mode

    def __getitem__(self, path: str) -> DTypePolicy:
        if path in self._policies:
            return self._policies[path]
        keys = [key for key in self._policies if re.fullmatch(key, path)]
        if len(keys) > 1:
            raise ArgumentError(
                f"Path '{path}' matches multiple dtype policy keys.",
                where="DTypePolicyMap",
                received=keys,
                fix="make the patterns exclude each other, or give the path a key of its own",
            )
        return self._policies[keys[0]] if keys else self.default_policy

    def __setitem__(self, path: str, policy: Any) -> None:
        if path in self._policies:
            raise ArgumentError(
                f"{path} already exist in the DTypePolicyMap.",
                where="DTypePolicyMap",
                received=self._policies[path],
                fix=f"delete it first: del map[{path!r}]",
            )
        try:
            self._policies[path] = get(policy)
        except LaminaError as error:
            raise ArgumentError(
                "Cannot interpret the assigned value as a policy.",
                where=f"DTypePolicyMap[{path!r}]",
                expected='a policy or its name, e.g. "mixed_bfloat16"',
                received=repr(policy),
            ) from error

    def __delitem__(self, path: str) -> None:
        del self._policies[path]

    def __contains__(self, path: object) -> bool:
        return path in self._policies

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, DTypePolicyMap) and (self._default, self._policies) == (other._default, other._policies)
        )

    def get_config(self) -> dict[str, Any]:
        """The default and the map; without a default of its own, policies defer to lamina's at loading."""
        policies = {path: serialize(policy) for path, policy in self._policies.items()}
        if self._default is None:
            for policy in policies.values():
                policy["config"]["source_name" if "source_name" in policy["config"] else "name"] = None
        default: Any = self._default
        return {"default_policy": serialize(default), "policy_map": policies}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """A map from its config."""
        revived = {key: deserialize(value, custom_objects) for key, value in config.items()}
        return cls(**revived)

    def __repr__(self) -> str:
        mapping = [(path, policy.name) for path, policy in self._policies.items()]
        return f"<DTypePolicyMap default_policy={self.default_policy.name}, mapping={mapping}>"


_default: DTypePolicy | None = None


def dtype_policy() -> DTypePolicy:
    """The policy of layers that name none: floatx unless `set_dtype_policy` changed it."""
    return _default if _default is not None else DTypePolicy(config.floatx())


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Set the policy of layers made from now on, e.g. "mixed_bfloat16"."""
    global _default
    if policy is None:
        raise ArgumentError("`policy` cannot be None.", where="set_dtype_policy", fix='set_dtype_policy("float32")')
    _default = get(policy)


def reset_dtype_policy() -> None:
    """Follow floatx again."""
    global _default
    _default = None


def get(identifier: Any) -> DTypePolicy:
    """A policy from a name, a dtype, a config or a policy; None gives the default one."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        policy = deserialize_keras_object(identifier)
        if not isinstance(policy, DTypePolicy):
            expected = "the config of a DTypePolicy"
            raise ArgumentTypeError("This is no dtype policy.", where="dtype=...", expected=expected, received=policy)
        return policy
    if not isinstance(identifier, str):
        try:
            return DTypePolicy(identifier)
        except DTypeError as error:
            expected, received = 'a policy or its name, e.g. "mixed_bfloat16"', repr(identifier)
            what = "This is no dtype policy."
            raise ArgumentError(what, where="dtype=...", expected=expected, received=received) from error
    return _quantized(identifier) if identifier.startswith(MODES) else DTypePolicy(identifier)


def _quantized(name: str) -> DTypePolicy:
    """The policy of a name such as "int8_from_float32"."""
    mode, between, source = name.partition("_from_")
    if not between or "_from_" in source:
        raise ArgumentError(
            "Cannot convert the name of a quantized policy.",
            where="dtype=...",
            expected="'<mode>_from_<source>'",
            received=repr(name),
        )
    with_settings = {"gptq": GPTQDTypePolicy, "awq": AWQDTypePolicy, "float8": QuantizedFloat8DTypePolicy}
    kind = with_settings.get(mode.partition("/")[0], Int4DTypePolicy if mode.startswith("int4/") else None)
    return (kind or QuantizedDTypePolicy)(mode, source)


def serialize(dtype_policy: DTypePolicy) -> Any:
    """The policy's config."""
    return serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """A policy from its config."""
    return deserialize_keras_object(config, custom_objects=custom_objects)
