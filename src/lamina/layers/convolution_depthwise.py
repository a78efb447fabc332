"""Convolutions of each channel by itself, and these followed by a mix of the channels."""

from __future__ import annotations

from typing import Any

import torch

from lamina import activations, constraints, initializers, regularizers
from lamina.core.registry import builtin
from lamina.layers import windows
from lamina.layers.convolution import KERNEL_LAYOUT, Convolution, check_positive, convolve
from lamina.layers.direct import DIRECT

# By rank, the layout by which a kernel (spatial..., in, multiplier) is stored as (in, multiplier, spatial...).
DEPTHWISE_LAYOUT = {1: (1, 0, 2), 2: (2, 1, 3, 0)}

# By rank, the order of axes that shows it so. Joining the first two then gives torch's weight, without a copy.
_CHANNELS_FIRST = {1: (1, 2, 0), 2: (2, 3, 0, 1)}


class BaseDepthwiseConv(Convolution):
    """A convolution that gives each input channel `depth_multiplier` filters of its own and adds nothing
    across channels.

    The kernel has the shape (*kernel_size, channels, depth_multiplier); there are channels * depth_multiplier
    outputs.

    Args:
        kernel_size: the size of the window: an integer, or one per spatial axis.
        strides: the step of the window along each axis.
        padding: "valid" for no padding, "same" for outputs of length ceil(input / stride).
        depth_multiplier: the number of filters for each input channel.
        data_format: "channels_last" or "channels_first"; by default that of
            `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window along each axis.
        activation: a function of the output, or its name.
        use_bias: whether a bias is added to each output channel.
        depthwise_initializer: how the kernel begins.
        bias_initializer: how the bias begins.
        depthwise_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        depthwise_constraint: what the kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.

    Raises:
        ArgumentError: a count or size is not positive.
        ShapeError: the input has another rank, or is smaller than the window.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._keep(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
        )
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        check_positive(self, depth_multiplier=depth_multiplier)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the kernel and the bias for inputs of this shape."""
        channels = windows.channel_count(self, input_shape)
        self.compute_output_shape(input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            layout=DEPTHWISE_LAYOUT[self.rank],
        )
        self._finish_build(channels, channels * self.depth_multiplier)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve each channel, add the bias, activate."""
        kernel, activation = self.kernel, self.activation
        weight = kernel.permute(_CHANNELS_FIRST[self.rank]).flatten(0, 1).unsqueeze(1)
        outputs = convolve(self, inputs, weight, self.bias, kernel.shape[-2])
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        channels = input_shape[windows.channel_axis(self)] if len(input_shape) > 1 else None
        filters = None if channels is None else channels * self.depth_multiplier
        return windows.output_shape(self, input_shape, filters, self.kernel_size, self.dilation_rate)


@builtin("keras.layers")
class DepthwiseConv1D(BaseDepthwiseConv):
    """A convolution of each channel by itself over steps.

    Takes (batch, steps, channels) and gives (batch, new_steps, channels * depth_multiplier). The arguments
    are those of `BaseDepthwiseConv`.

    Example:
        >>> DepthwiseConv1D(3, depth_multiplier=2)(torch.ones(2, 10, 4)).shape
        torch.Size([2, 8, 8])

    Source: https://keras.io/api/layers/convolution_layers/depthwise_convolution1d/
    """

    rank = 1


@builtin("keras.layers")
class DepthwiseConv2D(BaseDepthwiseConv):
    """A convolution of each channel by itself over images.

    Takes (batch, height, width, channels) and gives (batch, new_height, new_width, channels *
    depth_multiplier). The arguments are those of `BaseDepthwiseConv`.

    Example:
        >>> DepthwiseConv2D(3, padding="same")(torch.ones(2, 8, 8, 4)).shape
        torch.Size([2, 8, 8, 4])

    Source: https://keras.io/api/layers/convolution_layers/depthwise_convolution2d/
    """

    rank = 2


class BaseSeparableConv(Convolution):
    """A depthwise convolution followed by one of window 1 that mixes the channels.

    The kernels have the shapes (*kernel_size, channels, depth_multiplier) and (1, ..., channels *
    depth_multiplier, filters).

    Args:
        filters: the number of output channels.
        kernel_size: the size of the depthwise window: an integer, or one per spatial axis.
        strides: the step of the window along each axis.
        padding: "valid" for no padding, "same" for outputs of length ceil(input / stride).
        data_format: "channels_last" or "channels_first"; by default that of
            `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window along each axis.
        depth_multiplier: the number of depthwise filters for each input channel.
        activation: a function of the output, or its name.
        use_bias: whether a bias is added to each output channel.
        depthwise_initializer: how the depthwise kernel begins.
        pointwise_initializer: how the mixing kernel begins.
        bias_initializer: how the bias begins.
        depthwise_regularizer: a penalty on the depthwise kernel.
        pointwise_regularizer: a penalty on the mixing kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        depthwise_constraint: what the depthwise kernel is put through after each update.
        pointwise_constraint: what the mixing kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.

    Raises:
        ArgumentError: a count or size is not positive.
        ShapeError: the input has another rank, or is smaller than the window.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._keep(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
        )
        self.filters = filters
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.pointwise_constraint = constraints.get(pointwise_constraint)
        check_positive(self, depth_multiplier=depth_multiplier, filters=filters)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create both kernels and the bias for inputs of this shape."""
        channels = windows.channel_count(self, input_shape)
        self.compute_output_shape(input_shape)
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel",
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            layout=DEPTHWISE_LAYOUT[self.rank],
        )
        self.pointwise_kernel = self.add_weight(
            name="pointwise_kernel",
            shape=(*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
            layout=KERNEL_LAYOUT[self.rank],
        )
        self._finish_build(channels, self.filters)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve each channel, mix the channels, add the bias, activate."""
        rank, kernel, activation = self.rank, self.depthwise_kernel, self.activation
        weight = kernel.permute(_CHANNELS_FIRST[rank]).flatten(0, 1).unsqueeze(1)
        filtered = convolve(self, inputs, weight, None, kernel.shape[-2])
        mixing = self.pointwise_kernel.permute(KERNEL_LAYOUT[rank])
        mixing = mixing.unsqueeze(2) if rank == 1 else mixing
        mixed = torch.conv2d(windows.to_torch(filtered, rank, self.data_format), mixing, self.bias)
        outputs = windows.from_torch(mixed, rank, self.data_format)
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        return windows.output_shape(self, input_shape, self.filters, self.kernel_size, self.dilation_rate)


@builtin("keras.layers")
class SeparableConv1D(BaseSeparableConv):
    """A depthwise convolution over steps, followed by a mix of the channels.

    Takes (batch, steps, channels) and gives (batch, new_steps, filters). The arguments are those of
    `BaseSeparableConv`.

    Example:
        >>> SeparableConv1D(6, 3)(torch.ones(2, 10, 4)).shape
        torch.Size([2, 8, 6])

    Source: https://keras.io/api/layers/convolution_layers/separable_convolution1d/
    """

    rank = 1


@builtin("keras.layers")
class SeparableConv2D(BaseSeparableConv):
    """A depthwise convolution over images, followed by a mix of the channels.

    Takes (batch, height, width, channels) and gives (batch, new_height, new_width, filters). The arguments
    are those of `BaseSeparableConv`.

    Example:
        >>> SeparableConv2D(6, 3, strides=2, padding="same")(torch.ones(2, 9, 9, 4)).shape
        torch.Size([2, 5, 5, 6])

    Source: https://keras.io/api/layers/convolution_layers/separable_convolution2d/
    """

    rank = 2


SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
