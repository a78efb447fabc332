"""Quantizers: what turns a tensor into small integers and a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, unwritten
from lamina.core.naming import to_snake_case
from lamina.core.registry import builtin, lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.quantizers.arithmetic import EPSILON, abs_max_quantize


@builtin("keras.quantizers")
class Quantizer(Captured):
    """Base of quantizers: a subclass defines `__call__(x, axis=None, to_numpy=False)`, which gives integers and scale.

    Args:
        output_dtype: the dtype of the integers.

    Example:
        >>> import torch
        >>> class Rounded(Quantizer):
        ...     def __call__(self, x, axis=None, to_numpy=False):
        ...         return x.round().to(torch.int8), torch.ones(())
        >>> Rounded()(torch.tensor([1.6]))[0]
        tensor([2], dtype=torch.int8)

    Source: https://keras.io/api/quantizers/
    """

    def __init__(self, output_dtype: Any = "int8") -> None:
        self.output_dtype = output_dtype

    def __call__(self, x: Any) -> Any:
        """The integers that stand for `x`, and their scale."""
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the base class has none to give.

        Raises:
            NotImplementedError: this is the base class.
        """
        if type(self) is Quantizer:
            raise unwritten(self, "get_config(self)")
        return super().get_config()


@builtin("keras.quantizers")
class AbsMaxQuantizer(Quantizer):
    """Scales values so that the largest becomes the end of the range, and rounds.

    Args:
        axis: the axis or axes that share a scale, where the call names none.
        value_range: the smallest and the largest integer.
        epsilon: added to the largest value, which may be 0.
        output_dtype: the dtype of the integers.

    Raises:
        ArgumentError: the range does not fit into the dtype.

    Example:
        >>> import torch
        >>> AbsMaxQuantizer(axis=-1)(torch.tensor([[1.0, -2.0]]))[0]
        tensor([[  64, -127]], dtype=torch.int8)

    Source: https://keras.io/api/quantizers/
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = None,
        value_range: Sequence[int] = (-127, 127),
        epsilon: float = EPSILON,
        output_dtype: Any = "int8",
    ) -> None:
        super().__init__(output_dtype)
        self.axis = None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.value_range = (value_range[0], value_range[1])
        self.epsilon = epsilon
        if output_dtype == "int8" and (value_range[0] < -128 or value_range[1] > 127):
            raise ArgumentError(
                "The range does not fit into int8.", where="value_range", expected="-128 to 127", received=value_range
            )

    def __call__(
        self, x: Any, axis: int | Sequence[int] | None = None, to_numpy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Integers and scale; see `abs_max_quantize`."""
        axis = self.axis if axis is None else axis
        return abs_max_quantize(
            x, -1 if axis is None else axis, self.value_range, self.output_dtype, self.epsilon, to_numpy
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the axis only where there is one."""
        config = super().get_config()
        return config if self.axis is not None else {key: v for key, v in config.items() if key != "axis"}


_BY_NAME = {
    name: kind for kind in (Quantizer, AbsMaxQuantizer) for name in (kind.__name__, to_snake_case(kind.__name__))
}


def get(identifier: Any, **kwargs: Any) -> Any:
    """The quantizer a name, config, class or callable stands for; None for None.

    Args:
        identifier: a name such as "abs_max_quantizer", a config dict, a class, a quantizer, any callable, or None.
        **kwargs: constructor arguments, for names and classes.

    Raises:
        UnknownNameError: there is no quantizer of that name.
        ArgumentTypeError: the identifier is of no usable kind.

    Example:
        >>> get("abs_max_quantizer", axis=0).axis
        (0,)

    Source: https://keras.io/api/quantizers/
    """
    if kwargs:
        kind = _BY_NAME.get(identifier) if isinstance(identifier, str) else identifier
        identifier = kind(**kwargs) if isinstance(kind, type) else identifier
    return lookup(identifier, kind="quantizer", table=_BY_NAME, base=Quantizer, deserialize=deserialize)


def serialize(initializer: Any) -> Any:
    """The config of a quantizer.

    Args:
        initializer: the quantizer; the name is Keras's.

    Example:
        >>> serialize(AbsMaxQuantizer(axis=0))["class_name"]
        'AbsMaxQuantizer'

    Source: https://keras.io/api/quantizers/
    """
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The quantizer, or quantization config, that `serialize` gave this config for.

    Args:
        config: a config dict.
        custom_objects: further quantizers by name.

    Raises:
        FileError: the config names something that is not registered.

    Example:
        >>> deserialize(serialize(AbsMaxQuantizer(axis=0))).axis
        (0,)

    Source: https://keras.io/api/quantizers/
    """
    return deserialize_keras_object(config, custom_objects, module_objects=_BY_NAME)
