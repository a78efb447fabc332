"""Activation functions by name, and those whose Keras form differs from the op of that name.

Any callable of one tensor is an activation. `softmax` over the last axis and `sigmoid` leave their input on
the result as the attribute `_keras_logits`, and their name as `_keras_activation`: a crossentropy that is given such
a result computes from the logits, which is exact where probabilities have rounded to 0 or 1. Only real tensors carry
them, and not in torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.errors import ArgumentTypeError
from lamina.core.registry import builtin, get_registered_name, lookup
from lamina.core.serialization import deserialize_keras_object, serialize_value
from lamina.graph.op import op
from lamina.ops import nn
from lamina.ops.functions import exp
from lamina.ops.functions import tanh as tanh
from lamina.ops.nn import celu as celu
from lamina.ops.nn import elu as elu
from lamina.ops.nn import glu as glu
from lamina.ops.nn import hard_shrink as hard_shrink
from lamina.ops.nn import hard_sigmoid as hard_sigmoid
from lamina.ops.nn import hard_silu as hard_silu
from lamina.ops.nn import hard_swish as hard_swish
from lamina.ops.nn import hard_tanh as hard_tanh
from lamina.ops.nn import leaky_relu as leaky_relu
from lamina.ops.nn import log_sigmoid as log_sigmoid
from lamina.ops.nn import log_softmax as log_softmax
from lamina.ops.nn import relu6 as relu6
from lamina.ops.nn import selu as selu
from lamina.ops.nn import silu as silu
from lamina.ops.nn import soft_shrink as soft_shrink
from lamina.ops.nn import softplus as softplus
from lamina.ops.nn import softsign as softsign
from lamina.ops.nn import sparse_plus as sparse_plus
from lamina.ops.nn import sparse_sigmoid as sparse_sigmoid
from lamina.ops.nn import sparsemax as sparsemax
from lamina.ops.nn import squareplus as squareplus
from lamina.ops.nn import swish as swish
from lamina.ops.nn import tanh_shrink as tanh_shrink
from lamina.ops.nn import threshold as threshold
from lamina.ops.operands import Axes, TensorLike, as_float, as_tensor


def relu(x: TensorLike, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """`max(x, 0)`; or with its bend at `threshold`, cut off at `max_value`, or not flat below the bend.

    Args:
        x: a tensor of any shape; integers stay integers.
        negative_slope: the slope below the threshold.
        max_value: the largest value given; None for no limit.
        threshold: where the bend is.

    Example:
        >>> relu([-10.0, -5.0, 0.0, 5.0, 10.0], negative_slope=0.5, max_value=6.0)
        tensor([-5.0000, -2.5000,  0.0000,  5.0000,  6.0000])

    Source: https://keras.io/api/layers/activations/#relu-function
    """
    if not negative_slope and max_value is None and not threshold:
        return nn.relu(x)
    return _bent_relu(x, negative_slope, max_value, threshold)


@op
def _bent_relu(x: TensorLike, negative_slope: float, max_value: float | None, threshold: float) -> Tensor:
    if negative_slope and max_value is None and not threshold:
        return F.leaky_relu(as_float(x), negative_slope)
    x = as_tensor(x)
    if threshold:
        y = F.threshold(x, threshold, 0)
    else:
        y = F.relu6(x) if max_value == 6 else torch.relu(x)
    if max_value is not None:
        y = y.clamp(0, max_value)
    return y - negative_slope * torch.relu(threshold - x) if negative_slope else y


def gelu(x: TensorLike, approximate: bool = False) -> Tensor:
    """`x` times the share of a standard normal distribution that lies below `x`; exact unless told otherwise.

    Args:
        x: a tensor of any shape.
        approximate: whether to use the formula with tanh, which is close and cheaper.

    Example:
        >>> gelu([-1.0, 2.0])
        tensor([-0.1587,  1.9545])

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415
    """
    return nn.gelu(x, approximate)


def sigmoid(x: TensorLike) -> Tensor:
    """`1 / (1 + exp(-x))`, with `x` kept on the result for losses.

    Args:
        x: a tensor of any shape.

    Example:
        >>> sigmoid([0.0, 2.0])
        tensor([0.5000, 0.8808])

    Source: https://keras.io/api/layers/activations/#sigmoid-function
    """
    y = nn.sigmoid(x)
    _keep_logits(y, x, "sigmoid")
    return y


def softmax(x: TensorLike, axis: Axes = -1) -> Tensor:
    """`exp(x)`, divided by its sum along `axis`, with `x` kept on the result for losses.

    Args:
        x: a tensor of any shape.
        axis: the axis or axes that sum to 1; None for all of them.

    Example:
        >>> softmax([[0.0, 0.0], [1.0, 3.0]])
        tensor([[0.5000, 0.5000],
                [0.1192, 0.8808]])

    Source: https://keras.io/api/layers/activations/#softmax-function
    """
    y = nn.softmax(x, axis)
    if axis == -1 or axis == y.ndim - 1:
        _keep_logits(y, x, "softmax")
    return y


def _keep_logits(y: Any, x: Any, activation: str) -> None:
    if isinstance(x, Tensor) and isinstance(y, Tensor) and not torch.compiler.is_compiling():
        y._keras_logits, y._keras_activation = x, activation  # type: ignore[attr-defined]


def exponential(x: TensorLike) -> Tensor:
    """`exp(x)`.

    Args:
        x: a tensor of any shape.

    Example:
        >>> exponential([0.0, 1.0])
        tensor([1.0000, 2.7183])

    Source: https://keras.io/api/layers/activations/#exponential-function
    """
    return exp(x)


def linear(x: Any) -> Any:
    """`x` itself.

    Args:
        x: anything.

    Example:
        >>> linear([1, 2])
        [1, 2]

    Source: https://keras.io/api/layers/activations/#linear-function
    """
    return x


@op
def mish(x: TensorLike) -> Tensor:
    """`x * tanh(softplus(x))`.

    Args:
        x: a tensor of any shape.

    Example:
        >>> mish([-1.0, 2.0])
        tensor([-0.3034,  1.9440])

    Source: Misra, 2019, https://arxiv.org/abs/1908.08681
    """
    return F.mish(as_float(x))


_BY_NAME: dict[str, Callable[..., Any]] = {
    "celu": celu,
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "glu": glu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "swish": silu,
    "tanh": tanh,
    "tanh_shrink": tanh_shrink,
    "threshold": threshold,
}
for _name, _function in _BY_NAME.items():
    builtin("keras.activations", _name)(_function)


def get(identifier: Any) -> Callable[..., Any]:
    """The activation a name, a config or a callable stands for; `linear` for None.

    Args:
        identifier: a name such as "relu", a config dict, any callable, or None.

    Raises:
        UnknownNameError: there is no activation of that name.
        ArgumentTypeError: the identifier is of no usable kind.

    Example:
        >>> get("swish") is silu, get(None) is linear, get(abs) is abs
        (True, True, True)

    Source: https://keras.io/api/layers/activations/
    """
    if identifier is None:
        return linear
    found = lookup(identifier, kind="activation", table=_BY_NAME, deserialize=deserialize)
    if not callable(found):
        raise ArgumentTypeError(
            "This is no activation.",
            where="activation",
            expected="a callable, or the name of an activation",
            received=repr(found),
        )
    return found


def serialize(activation: Any) -> Any:
    """The name of one of lamina's activations; a config for any other.

    Args:
        activation: a function, or an object with get_config.

    Raises:
        ArgumentError: a lambda, which has no name.

    Example:
        >>> serialize(silu)
        'silu'

    Source: https://keras.io/api/layers/activations/
    """
    config = serialize_value(activation)
    if isinstance(config, dict) and config.get("class_name") == "function":
        return config | {"config": get_registered_name(activation), "registered_name": "function"}
    return config


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The activation that `serialize` gave this name or config for.

    Args:
        config: a name or a config dict.
        custom_objects: further activations by name.

    Raises:
        UnknownNameError: there is no activation of that name.
        FileError: the config names something that is not registered.

    Example:
        >>> deserialize("relu") is relu
        True

    Source: https://keras.io/api/layers/activations/
    """
    if isinstance(config, str):
        return lookup(config, kind="activation", table={**_BY_NAME, **(custom_objects or {})})
    return deserialize_keras_object(config, custom_objects, module_objects=_BY_NAME)
