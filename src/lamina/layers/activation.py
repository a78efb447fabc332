"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import activations, constraints, initializers, regularizers
from lamina.core.errors import ShapeError, say_once
from lamina.core.registry import builtin
from lamina.layers.arguments import within
from lamina.layers.base import Layer
from lamina.layers.direct import DIRECT
from lamina.layers.input_spec import InputSpec
from lamina.ops.operands import axes_tuple


class _Activation(Layer):
    """Base of the layers that change each element for itself and keep the shape."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._build_at_init()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input shape."""
        return input_shape


@builtin("keras.layers")
class ReLU(_Activation):
    """The rectifier: `x` where it exceeds the threshold, `negative_slope * (x - threshold)` elsewhere.

    Args:
        max_value: the largest output; None for no limit.
        negative_slope: the slope below the threshold.
        threshold: where the identity begins.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: an argument is negative.

    Example:
        >>> ReLU(max_value=10, negative_slope=0.5)(torch.tensor([-10.0, -5.0, 0.0, 5.0, 20.0]))
        tensor([-5.0000, -2.5000,  0.0000,  5.0000, 10.0000])

    Source: https://keras.io/api/layers/activation_layers/relu/
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else within(max_value, f"{self._where()}, max_value", 0)
        self.negative_slope = within(negative_slope, f"{self._where()}, negative_slope", 0)
        self.threshold = within(threshold, f"{self._where()}, threshold", 0)

    def call(self, inputs: Tensor) -> Tensor:
        """The rectified inputs."""
        if self.threshold == 0 and self.max_value is None:
            return F.leaky_relu(inputs, self.negative_slope) if self.negative_slope else torch.relu(inputs)
        if self.threshold == 0 and self.max_value == 6 and not self.negative_slope:
            return F.relu6(inputs)
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


@builtin("keras.layers")
class LeakyReLU(_Activation):
    """`x` where it is positive, `negative_slope * x` elsewhere.

    Args:
        negative_slope: the slope below zero.
        **kwargs: as for `Layer`; `alpha` is an old name of `negative_slope`.

    Raises:
        ArgumentError: `negative_slope` is negative.

    Example:
        >>> LeakyReLU(negative_slope=0.5)(torch.tensor([-10.0, 10.0]))
        tensor([-5., 10.])

    Source: https://keras.io/api/layers/activation_layers/leaky_relu/
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            say_once("LeakyReLU(alpha=...) is deprecated, use negative_slope; it goes in version 2.0.")
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        self.negative_slope = within(negative_slope, f"{self._where()}, negative_slope", 0)

    def call(self, inputs: Tensor) -> Tensor:
        """The rectified inputs."""
        return F.leaky_relu(inputs, self.negative_slope)


@builtin("keras.layers")
class PReLU(_Activation):
    """`x` where it is positive, `alpha * x` elsewhere, with an `alpha` that is learned for each element.

    Args:
        alpha_initializer: how `alpha` begins.
        alpha_regularizer: a penalty on it.
        alpha_constraint: what it is put through after each update.
        shared_axes: axes along which all elements share one `alpha`, such as (1, 2) for the pixels of an image.
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: a size is unknown along an axis that is not shared.

    Example:
        >>> PReLU("ones", shared_axes=(1, 2))(torch.full((1, 4, 4, 3), -2.0)).mean().item()
        -2.0

    Source: https://keras.io/api/layers/activation_layers/prelu/
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        axes = [int(shared_axes)] if isinstance(shared_axes, (int, Integral)) else shared_axes
        self.shared_axes = None if axes is None else list(axes)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create `alpha`."""
        shared = axes_tuple(self.shared_axes or (), len(input_shape))
        shape = [1 if axis in shared else size for axis, size in enumerate(input_shape)][1:]
        if None in shape:
            raise ShapeError(
                "There can be no `alpha` for an axis of unknown size.",
                where=self._where(),
                expected="known sizes along all axes that are not shared",
                received=f"input shape {input_shape}, shared_axes {self.shared_axes}",
                fix="name the axis in shared_axes, or give the Input a fixed size",
            )
        self.alpha = self.add_weight(
            name="alpha",
            shape=tuple(shape),  # type: ignore[arg-type]
            initializer=self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )
        kept = {axis: size for axis, size in enumerate(input_shape) if axis and axis not in shared}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=kept if shared else {})

    def call(self, inputs: Tensor) -> Tensor:
        """The rectified inputs."""
        return torch.addcmul(inputs.relu(), self.cast(self.alpha), (-inputs).relu(), value=-1)


@builtin("keras.layers")
class ELU(_Activation):
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere.

    Args:
        alpha: the negative of the limit for small `x`.
        **kwargs: as for `Layer`.

    Example:
        >>> ELU()(torch.tensor([-100.0, 2.0]))
        tensor([-1.,  2.])

    Source: https://keras.io/api/layers/activation_layers/elu/
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Tensor) -> Tensor:
        """The activated inputs."""
        return F.elu(inputs, self.alpha)


@builtin("keras.layers")
class Softmax(_Activation):
    """Numbers to shares that add up to 1.

    Args:
        axis: the axis, or axes, along which they add up.
        **kwargs: as for `Layer`.

    Call arguments:
        inputs: the logits.
        mask: True for elements that count; broadcasts to the inputs. Others get the share 0.

    Raises:
        ShapeError: the mask does not broadcast to the inputs.

    Example:
        >>> Softmax()(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])

    Source: https://keras.io/api/layers/activation_layers/softmax/
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The shares."""
        if mask is not None:
            mask = self._checked(mask, inputs)
            inputs = torch.where(mask, inputs, -3e4 if inputs.dtype is torch.float16 else -1e9)
        axis = self.axis if isinstance(self.axis, int) or len(self.axis) > 1 else self.axis[0]
        if not isinstance(axis, int):
            outputs = (inputs - inputs.logsumexp(tuple(axis), keepdim=True)).exp()
        elif axis == -1:
            outputs = DIRECT[activations.softmax](inputs)
        else:
            outputs = activations.softmax(inputs, axis)
        return outputs if mask is None else torch.where(mask, outputs, 0.0)

    def _checked(self, mask: Tensor, inputs: Tensor) -> Tensor:
        """The mask as booleans, if it broadcasts to the inputs."""
        sizes = zip(reversed(mask.shape), reversed(inputs.shape), strict=False)
        if mask.ndim > inputs.ndim or any(size not in (1, of) for size, of in sizes):
            raise ShapeError(
                "The mask does not broadcast to the inputs.",
                where=self._where(),
                expected=f"sizes of 1 or those of {tuple(inputs.shape)}",
                received=tuple(mask.shape),
            )
        return mask if mask.dtype is torch.bool else mask > 0.5
