"""Conditions on weights, restored after each update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core import config as settings
from lamina.core.capture import Captured
from lamina.core.naming import to_snake_case
from lamina.core.registry import builtin, lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.ops.operands import as_float, as_tensor


@builtin("keras.constraints")
class Constraint(Captured):
    """Base of constraints: a subclass defines `__call__(w)`, which gives what shall stand in place of `w`.

    Any function of one tensor is a constraint too. Layers take them as `kernel_constraint` and the like.

    Those that bound a norm take an `axis`: the axis or axes over which the norm is computed. For the kernel
    of a `Dense` layer, of shape (inputs, units), 0 means the weights into each unit; for that of a `Conv2D`,
    of shape (height, width, inputs, filters), [0, 1, 2] means the weights of each filter.

    Example:
        >>> class AtMostOne(Constraint):
        ...     def __call__(self, w):
        ...         return w.clamp(max=1.0)
        >>> AtMostOne()(torch.tensor([0.5, 2.0]))
        tensor([0.5000, 1.0000])

    Source: https://keras.io/api/layers/constraints/
    """

    def __call__(self, w: Any) -> Any:
        """The weight that shall stand in place of the weight `w`, of the same shape."""
        return w


@builtin("keras.constraints")
class MaxNorm(Constraint):
    """Scales weights down where their norm exceeds a limit.

    Args:
        max_value: the largest norm.
        axis: the axis or axes the norm is computed over.

    Example:
        >>> MaxNorm(max_value=5.0)(torch.tensor([[6.0, 1.0], [8.0, 1.0]]))
        tensor([[3.0000, 1.0000],
                [4.0000, 1.0000]])

    Source: https://keras.io/api/layers/constraints/
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Tensor:
        """The weight, its norms at most `max_value`."""
        w = as_float(w)
        norms = _norms(w, self.axis)
        return w * (norms.clamp(0, self.max_value) / (settings.epsilon() + norms))


@builtin("keras.constraints")
class NonNeg(Constraint):
    """Sets negative weights to 0.

    Example:
        >>> NonNeg()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])

    Source: https://keras.io/api/layers/constraints/
    """

    def __call__(self, w: Any) -> Tensor:
        """The weight without negative values."""
        return as_tensor(w).clamp(min=0)


@builtin("keras.constraints")
class UnitNorm(Constraint):
    """Scales weights to norm 1.

    Args:
        axis: the axis or axes the norm is computed over.

    Example:
        >>> UnitNorm()(torch.tensor([[3.0, 0.0], [4.0, 2.0]]))
        tensor([[0.6000, 0.0000],
                [0.8000, 1.0000]])

    Source: https://keras.io/api/layers/constraints/
    """

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Tensor:
        """The weight, its norms 1."""
        w = as_float(w)
        return w / (settings.epsilon() + _norms(w, self.axis))


@builtin("keras.constraints")
class MinMaxNorm(Constraint):
    """Scales weights towards norms between two limits.

    Args:
        min_value: the smallest norm.
        max_value: the largest norm.
        rate: which part of the way to go in one step: 1 reaches the limit at once.
        axis: the axis or axes the norm is computed over.

    Example:
        >>> MinMaxNorm(min_value=1.0, max_value=2.0)(torch.tensor([[0.5, 4.0]]))
        tensor([[1.0000, 2.0000]])

    Source: https://keras.io/api/layers/constraints/
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Tensor:
        """The weight, its norms nearer to the interval or in it."""
        w = as_float(w)
        norms = _norms(w, self.axis)
        wanted = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (settings.epsilon() + norms))


def _norms(w: Tensor, axis: int | Sequence[int]) -> Tensor:
    return torch.linalg.vector_norm(w, dim=axis if isinstance(axis, int) else tuple(axis), keepdim=True)


max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm

_BY_NAME: dict[str, type[Constraint]] = {}
for _class in (Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm):
    _BY_NAME |= {_class.__name__: _class, to_snake_case(_class.__name__): _class}
for _name, _class in _BY_NAME.items():
    builtin("keras.constraints", _name)(_class)


def get(identifier: Any) -> Any:
    """The constraint a name, config, class or callable stands for; None for None.

    Args:
        identifier: a name such as "max_norm", a config dict, a class, a constraint, any function of
            one tensor, or None.

    Raises:
        UnknownNameError: there is no constraint of that name.
        ArgumentTypeError: the identifier is of no usable kind.

    Example:
        >>> get("max_norm").max_value
        2

    Source: https://keras.io/api/layers/constraints/
    """
    return lookup(identifier, kind="constraint", table=_BY_NAME, base=Constraint, deserialize=deserialize)


def serialize(constraint: Any) -> Any:
    """The config of a constraint.

    Example:
        >>> serialize(MaxNorm(3.0))["config"]
        {'max_value': 3.0, 'axis': 0}

    Source: https://keras.io/api/layers/constraints/
    """
    return serialize_keras_object(constraint)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The constraint that `serialize` gave this config for; a plain name is one with its default arguments.

    Args:
        config: a config dict or a name.
        custom_objects: further constraints by name.

    Raises:
        FileError: the config names something that is not registered.

    Example:
        >>> deserialize({"class_name": "MaxNorm", "config": {"max_value": 3.0}}).max_value
        3.0

    Source: https://keras.io/api/layers/constraints/
    """
    if isinstance(config, str):
        return lookup(config, kind="constraint", table={**_BY_NAME, **(custom_objects or {})}, base=Constraint)
    return deserialize_keras_object(config, custom_objects, module_objects=_BY_NAME)
