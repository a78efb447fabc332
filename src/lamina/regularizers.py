"""Penalties on weights and outputs, added to the loss."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.naming import to_snake_case
from lamina.core.registry import builtin, lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.ops.nn import normalize
from lamina.ops.operands import as_float


@builtin("keras", "Regularizer")
class Regularizer(Captured):
    """Base of regularizers: a subclass defines `__call__(x)`, which gives a scalar tensor.

    Any function of one tensor that gives a scalar is a regularizer too. Layers take them as
    `kernel_regularizer` and the like; what they give is added to the loss.

    Example:
        >>> class Spread(Regularizer):
        ...     def __init__(self, strength=0.1):
        ...         self.strength = strength
        ...     def __call__(self, x):
        ...         return self.strength * x.var()
        >>> Spread(0.5).get_config()
        {'strength': 0.5}

    Source: https://keras.io/api/layers/regularizers/
    """

    def __call__(self, x: Any) -> Any:
        """The penalty for a tensor `x` of any shape, as a scalar tensor of its dtype."""
        return 0.0


@builtin("keras.regularizers")
class L1L2(Regularizer):
    """`l1` times the sum of magnitudes plus `l2` times the sum of squares.

    Args:
        l1: a factor, at least 0.
        l2: a factor, at least 0.

    Raises:
        ArgumentError: a factor is negative or not finite.

    Example:
        >>> L1L2(l1=0.5, l2=1.0)(torch.tensor([1.0, -2.0]))
        tensor(6.5000)

    Source: https://keras.io/api/layers/regularizers/
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor(0.0 if l1 is None else l1, "l1")
        self.l2 = _factor(0.0 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, a scalar tensor."""
        x = as_float(x)
        if self.l1 and self.l2:
            return self.l1 * _magnitudes(x) + self.l2 * _squares(x)
        if self.l1:
            return self.l1 * _magnitudes(x)
        return self.l2 * _squares(x) if self.l2 else x.new_zeros(())


@builtin("keras.regularizers")
class L1(Regularizer):
    """`l1` times the sum of magnitudes: drives weights to exactly 0.

    Args:
        l1: a factor, at least 0.

    Raises:
        ArgumentError: the factor is negative or not finite.

    Example:
        >>> L1(0.5)(torch.tensor([1.0, -2.0]))
        tensor(1.5000)

    Source: https://keras.io/api/layers/regularizers/
    """

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor(0.01 if l1 is None else l1, "l1")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, a scalar tensor."""
        return self.l1 * _magnitudes(as_float(x))


@builtin("keras.regularizers")
class L2(Regularizer):
    """`l2` times the sum of squares: keeps weights small.

    Args:
        l2: a factor, at least 0.

    Raises:
        ArgumentError: the factor is negative or not finite.

    Example:
        >>> L2(0.5)(torch.tensor([1.0, -2.0]))
        tensor(2.5000)

    Source: https://keras.io/api/layers/regularizers/
    """

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor(0.01 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, a scalar tensor."""
        return self.l2 * _squares(as_float(x))


@builtin("keras.regularizers")
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean magnitude of the cosine between two rows, or two columns, of a matrix.

    Args:
        factor: a factor, at least 0.
        mode: "rows" or "columns".

    Raises:
        ArgumentError: the factor is negative or not finite, or the mode unknown.
        ShapeError: what it is called on is no matrix.

    Example:
        >>> OrthogonalRegularizer(1.0)(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        tensor(0.7071)

    Source: https://keras.io/api/layers/regularizers/
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        one_of(mode, ("rows", "columns"), f"{type(self).__name__}, mode")
        self.factor = _factor(factor, "factor")
        self.mode = mode

    def __call__(self, inputs: Any) -> Tensor:
        """The penalty for a matrix, a scalar tensor."""
        inputs = as_float(inputs)
        if inputs.ndim != 2:
            raise ShapeError(
                "Only matrices can be regularized to be orthogonal.",
                where="OrthogonalRegularizer",
                expected="2 axes",
                received=tuple(inputs.shape),
            )
        rows = normalize(inputs if self.mode == "rows" else inputs.T, axis=1)
        cosines = torch.triu(rows @ rows.T, diagonal=1)
        pairs = rows.shape[0] * (rows.shape[0] - 1) / 2
        return self.factor * _magnitudes(cosines) / max(pairs, 1.0)


def _magnitudes(x: Tensor) -> Tensor:
    return x.abs().sum()


def _squares(x: Tensor) -> Tensor:
    return x.square().sum()


def _factor(value: Any, name: str) -> float:
    """A factor as a float, once it is known to be finite and not negative."""
    if not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
        raise ArgumentError(
            f"`{name}` is no factor.",
            where=f"regularizer, {name}",
            expected="a finite number >= 0",
            received=repr(value),
        )
    return float(value)


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

_BY_NAME: dict[str, type[Regularizer]] = {"l1_l2": L1L2}
for _class in (L1, L1L2, L2, OrthogonalRegularizer, Regularizer):
    _BY_NAME |= {_class.__name__: _class, to_snake_case(_class.__name__): _class}
for _name, _class in _BY_NAME.items():
    builtin("keras.regularizers", _name)(_class)


def get(identifier: Any) -> Any:
    """The regularizer a name, config, class or callable stands for; None for None.

    Args:
        identifier: a name such as "l2", a config dict, a class, a regularizer, any function of one
            tensor, or None.

    Raises:
        UnknownNameError: there is no regularizer of that name.
        ArgumentTypeError: the identifier is of no usable kind.

    Example:
        >>> get("l2").l2
        0.01

    Source: https://keras.io/api/layers/regularizers/
    """
    return lookup(identifier, kind="regularizer", table=_BY_NAME, base=Regularizer, deserialize=deserialize)


def serialize(regularizer: Any) -> Any:
    """The config of a regularizer.

    Example:
        >>> serialize(L2(0.5))["config"]
        {'l2': 0.5}

    Source: https://keras.io/api/layers/regularizers/
    """
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` gave this config for; a plain name is one with its default arguments.

    Args:
        config: a config dict or a name.
        custom_objects: further regularizers by name.

    Raises:
        FileError: the config names something that is not registered.

    Example:
        >>> deserialize({"class_name": "L2", "config": {"l2": 0.5}}).l2
        0.5

    Source: https://keras.io/api/layers/regularizers/
    """
    if isinstance(config, str):
        return lookup(config, kind="regularizer", table={**_BY_NAME, **(custom_objects or {})}, base=Regularizer)
    return deserialize_keras_object(config, custom_objects, module_objects=_BY_NAME)
