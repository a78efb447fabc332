"""Dtype policies: in which dtype a layer computes, and in which it keeps its weights."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core import config
from lamina.core.capture import Captured
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, nearest
from lamina.core.registry import builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object


@builtin("keras", "DTypePolicy")
class DTypePolicy(Captured):
    """The dtypes of a layer.

    Args:
        name: a dtype ("float32"), or "mixed_float16" / "mixed_bfloat16": compute in 16 bits, keep weights in float32.
        source_name: kept for Keras.

    Raises:
        ArgumentError: the name is not a policy.

    Example:
        >>> policy = DTypePolicy("mixed_bfloat16")
        >>> policy.compute_dtype, policy.variable_dtype
        ('bfloat16', 'float32')

    Source: https://keras.io/api/mixed_precision/policy/
    """

    def __init__(self, name: str | None = None, source_name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            name = standardize_dtype(name)
        self.name: str = name if name is not None else config.floatx()
        self.source_name = source_name
        self.compute_dtype, self.variable_dtype = _dtypes_of(self.name)

    @property
    def quantization_mode(self) -> str | None:
        """None: lamina quantizes finished models from outside."""
        return None

    def convert_input(self, x: Any, autocast: bool, dtype: Any) -> Any:
        """A float tensor cast to `dtype` when autocast is on; everything else unchanged."""
        if autocast and isinstance(x, torch.Tensor) and x.is_floating_point():
            return x.to(torch_dtype(dtype))
        return x

    def get_config(self) -> dict[str, Any]:
        """The name alone."""
        return {"name": self.name}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


_COMMON = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def _dtypes_of(name: str) -> tuple[str, str]:
    if name in ("mixed_float16", "mixed_bfloat16"):
        return name.removeprefix("mixed_"), "float32"
    try:
        dtype = standardize_dtype(name)
    except DTypeError:
        raise ArgumentError(
            f"Unknown dtype policy.{nearest(str(name), _COMMON)}",
            where="dtype",
            expected='a dtype name, "mixed_float16" or "mixed_bfloat16"',
            received=repr(name),
        ) from None
    return dtype, dtype


_default: DTypePolicy | None = None


def dtype_policy() -> DTypePolicy:
    """The policy of layers that name none: floatx unless `set_dtype_policy` changed it."""
    return _default if _default is not None else DTypePolicy(config.floatx())


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Set the policy of layers made from now on, e.g. "mixed_bfloat16"."""
    global _default
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
            raise ArgumentTypeError("This is no dtype policy.", received=type(policy).__name__)
        return policy
    return DTypePolicy(identifier if isinstance(identifier, str) else standardize_dtype(identifier))


def serialize(dtype_policy: DTypePolicy) -> Any:
    """The policy's config."""
    return serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """A policy from its config."""
    return deserialize_keras_object(config, custom_objects=custom_objects)
