"""Transposed convolutions: from a convolution's output back to the shape of its input."""

from __future__ import annotations

from typing import Any

import torch

from lamina import activations, constraints, initializers, regularizers
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.layers import windows
from lamina.layers.convolution import KERNEL_LAYOUT, Convolution, check_positive, check_strides_or_dilation
from lamina.layers.direct import DIRECT
from lamina.ops.convolution import convolve_back
from lamina.ops.windows import margins


class BaseConvTranspose(Convolution):
    """A convolution run backwards, which spreads each input over a window of the output.

    It learns to enlarge what a convolution with the same arguments made smaller. The kernel has the shape
    (*kernel_size, filters, channels).

    Args:
        filters: the number of output channels.
        kernel_size: the size of the window: an integer, or one per spatial axis.
        strides: how far apart the windows of neighbouring inputs lie; outputs grow by this factor.
        padding: "valid" keeps all that the windows reach; "same" gives outputs of length input * stride.
        output_padding: elements added behind each axis of the output, fewer than the stride; by default as
            many as give the lengths named above.
        data_format: "channels_last" or "channels_first"; by default that of
            `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window along each axis; not together with
            strides.
        activation: a function of the output, or its name.
        use_bias: whether a bias is added to each output channel.
        kernel_initializer: how the kernel begins.
        bias_initializer: how the bias begins.
        kernel_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        kernel_constraint: what the kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.

    Raises:
        ArgumentError: a count or size is not positive, an output_padding reaches the stride, or strides and
            dilation are both above 1.
        ShapeError: the input has another rank.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        output_padding: int | tuple[int, ...] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
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
        self.output_padding = (
            None if output_padding is None else windows.sizes(output_padding, self.rank, "output_padding", least=0)
        )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        check_positive(self, filters=filters)
        check_strides_or_dilation(self.strides, self.dilation_rate)
        if any(extra >= stride for extra, stride in zip(self.output_padding or (), self.strides, strict=False)):
            raise ArgumentError(
                "An output_padding reaches the stride.",
                where="output_padding",
                expected=f"less than strides={self.strides} on each axis",
                received=self.output_padding,
            )

        self._margins = margins(self.padding, self.kernel_size, self.strides, self.dilation_rate, self.output_padding)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the kernel and the bias for inputs of this shape."""
        channels = windows.channel_count(self, input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.filters, channels),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            layout=KERNEL_LAYOUT[self.rank],
        )
        self._finish_build(channels, self.filters)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve backwards, add the bias, activate."""
        activation = self.activation
        outputs = convolve_back(
            inputs, self.kernel, self.bias, self.strides, self.dilation_rate, self._margins, self.data_format
        )
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        windows.check_rank(self, input_shape)
        last = self.data_format == "channels_last"
        spatial = input_shape[1:-1] if last else input_shape[2:]
        axes = zip(spatial, self.strides, self.kernel_size, self.dilation_rate, *self._margins[:3], strict=True)
        lengths = tuple(
            None if length is None else (length - 1) * stride + (size - 1) * rate + 1 - 2 * both + added - besides
            for length, stride, size, rate, both, added, besides in axes
        )
        return (input_shape[0], *lengths, self.filters) if last else (input_shape[0], self.filters, *lengths)


@builtin("keras.layers")
class Conv1DTranspose(BaseConvTranspose):
    """A transposed convolution over steps.

    Takes (batch, steps, channels) and gives (batch, new_steps, filters). The arguments are those of
    `BaseConvTranspose`.

    Example:
        >>> Conv1DTranspose(8, 3, strides=2, padding="same")(torch.ones(2, 5, 4)).shape
        torch.Size([2, 10, 8])

    Source: https://keras.io/api/layers/convolution_layers/convolution1d_transpose/
    """

    rank = 1


@builtin("keras.layers")
class Conv2DTranspose(BaseConvTranspose):
    """A transposed convolution over images.

    Takes (batch, height, width, channels) and gives (batch, new_height, new_width, filters). The arguments
    are those of `BaseConvTranspose`.

    Example:
        >>> Conv2DTranspose(8, 4, strides=2, padding="same")(torch.ones(2, 5, 5, 4)).shape
        torch.Size([2, 10, 10, 8])

    Source: https://keras.io/api/layers/convolution_layers/convolution2d_transpose/
    """

    rank = 2


@builtin("keras.layers")
class Conv3DTranspose(BaseConvTranspose):
    """A transposed convolution over volumes.

    Takes (batch, depth, height, width, channels) and gives (batch, new_depth, new_height, new_width,
    filters). The arguments are those of `BaseConvTranspose`, with data_format before output_padding.

    Example:
        >>> Conv3DTranspose(4, 2, strides=2)(torch.ones(2, 3, 3, 3, 4)).shape
        torch.Size([2, 6, 6, 6, 4])

    Source: https://keras.io/api/layers/convolution_layers/convolution3d_transpose/
    """

    rank = 3

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        output_padding: int | tuple[int, ...] | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
