"""Convolutions over one, two and three spatial axes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from lamina import activations, constraints, initializers, regularizers
from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.registry import builtin
from lamina.core.serialization import serialize_value
from lamina.layers import windows
from lamina.layers.arguments import positive
from lamina.layers.base import Layer
from lamina.layers.direct import DIRECT
from lamina.layers.input_spec import InputSpec
from lamina.layers.lora import Adapted, LowRank

# By rank, the order of axes in which a kernel (spatial..., in, out) is torch's weight (out, in, spatial...).
KERNEL_LAYOUT = {1: (2, 1, 0), 2: (3, 2, 0, 1), 3: (4, 3, 0, 1, 2)}


def convolve(
    layer: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int
) -> torch.Tensor:
    """Convolve inputs in the layer's layout with a weight in torch's, as the layer's arguments say."""
    rank, strides, dilation = layer.rank, layer.strides, layer.dilation_rate
    last = layer.data_format == "channels_last"
    x = inputs.unsqueeze(1 if last else 2) if rank == 1 else inputs
    if last:
        x = x.permute(windows.TO_FIRST[rank])
    padding, extra = layer._fixed_padding or windows.torch_padding(
        layer.padding, x.shape[-rank:], layer.kernel_size, strides, dilation
    )
    if extra:
        x = F.pad(x, extra)
    if rank == 1:
        weight, strides, dilation, padding = weight.unsqueeze(2), (1, *strides), (1, *dilation), (0, *padding)
    operation = torch.conv3d if rank == 3 else torch.conv2d
    try:
        y = operation(x, weight, bias, strides, padding, dilation, groups)
    except RuntimeError:
        layer.compute_output_shape(tuple(inputs.shape))
        raise
    if last:
        y = y.permute(windows.TO_LAST[rank])
    return y.squeeze(1 if last else 2) if rank == 1 else y


def check_positive(layer: Layer, **arguments: Any) -> None:
    """Refuse counts that are no integers above 0; None stands for not given."""
    for name, value in arguments.items():
        if value is not None:
            positive(value, f"{layer._where()}, {name}")


def check_strides_or_dilation(strides: tuple[int, ...], dilation_rate: tuple[int, ...]) -> None:
    """Refuse strides and dilation together."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ArgumentError(
            "A convolution can stride or be dilated, not both.",
            where="strides, dilation_rate",
            received=f"strides={strides}, dilation_rate={dilation_rate}",
            fix="leave one of them at 1",
        )


class Convolution(Layer):
    """Base of all convolutions: the arguments they share, their bias and their config."""

    rank: ClassVar[int]

    def _keep(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        bias_constraint: Any,
        *,
        causal: bool = False,
    ) -> None:
        """Keep the arguments that all of them take."""
        self.kernel_size = windows.sizes(kernel_size, self.rank, "kernel_size")
        self.strides = windows.sizes(strides, self.rank, "strides")
        self.padding = windows.padding_mode(padding, causal=causal)
        self.data_format = config.standardize_data_format(data_format)
        self.dilation_rate = windows.sizes(dilation_rate, self.rank, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)
        # Unless strides are taken over the edge, the padding is the same for inputs of all sizes.
        self._fixed_padding = None
        if self.padding != "same" or max(self.strides) == 1:
            self._fixed_padding = windows.torch_padding(
                self.padding, (1,) * self.rank, self.kernel_size, self.strides, self.dilation_rate
            )

    def _finish_build(self, channels: int, filters: int) -> None:
        """Create the bias, and demand from now on the channels that the weights are made for."""
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={windows.channel_axis(self): channels})

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name."""
        return {**super().get_config(), "activity_regularizer": serialize_value(self.activity_regularizer)}


class BaseConv(Convolution, LowRank):
    """A convolution over `rank` spatial axes: each output is a weighted sum over a window of the input.

    The kernel has the shape (*kernel_size, channels / groups, filters).

    Args:
        filters: the number of output channels.
        kernel_size: the size of the window: an integer, or one per spatial axis.
        strides: the step of the window along each axis.
        padding: "valid" for no padding; "same" for outputs of length ceil(input / stride), zeros added evenly
            and an odd one behind; "causal" (Conv1D only) for zeros in front, so that no output depends on
            later steps.
        data_format: "channels_last" for inputs (batch, *spatial, channels) or "channels_first" for
            (batch, channels, *spatial); by default that of `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window along each axis; not together with
            strides.
        groups: into how many groups the channels are split, each convolved with filters / groups filters of
            its own.
        activation: a function of the output, or its name.
        use_bias: whether a bias is added to each output channel.
        kernel_initializer: how the kernel begins.
        bias_initializer: how the bias begins.
        kernel_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        kernel_constraint: what the kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.
        lora_rank: the rank of a low-rank addition to the kernel, which is then frozen.
        lora_alpha: the addition is multiplied by `lora_alpha / lora_rank`.

    Raises:
        ArgumentError: a count or size is not positive, filters do not split into the groups, or strides and
            dilation are both above 1.
        ShapeError: the input has another rank, its channels do not split into the groups, or it is smaller
            than the window.
    """

    lora_target, kernel = "kernel", Adapted()

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
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
            causal=self.rank == 1,
        )
        self.filters = filters
        self.groups = groups
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha or lora_rank
        check_positive(self, filters=filters, groups=groups)
        check_strides_or_dilation(self.strides, self.dilation_rate)
        if filters is not None and filters % groups:
            raise ArgumentError(
                "The filters do not split evenly into the groups.",
                where="filters, groups",
                expected="filters divisible by groups",
                received=f"filters={filters}, groups={groups}",
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the kernel and the bias for inputs of this shape."""
        channels = windows.channel_count(self, input_shape)
        if channels % self.groups:
            raise ShapeError(
                "The input channels do not split evenly into the groups.",
                where=f"layer '{self.name}' ({type(self).__name__})",
                expected=f"a number of channels divisible by groups={self.groups}",
                received=f"{channels} channels (input of shape {tuple(input_shape)})",
            )
        self.compute_output_shape(input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            layout=KERNEL_LAYOUT[self.rank],
        )
        self._finish_build(channels, self.filters)
        if self.lora_rank:
            self.enable_lora(self.lora_rank, self.lora_alpha)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve, add the bias, activate."""
        kernel, bias = self.kernel, self.bias
        if type(self).convolution_op is BaseConv.convolution_op:
            outputs = convolve(self, inputs, kernel.permute(KERNEL_LAYOUT[self.rank]), bias, self.groups)
        else:
            outputs = self.convolution_op(inputs, kernel)
            if bias is not None:
                outputs = outputs + (bias if windows.channel_axis(self) == -1 else bias.view(-1, *(1,) * self.rank))
        activation = self.activation
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)

    def convolution_op(self, inputs: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """The convolution alone, without bias and activation; override it to alter the kernel."""
        return convolve(self, inputs, kernel.permute(KERNEL_LAYOUT[self.rank]), None, self.groups)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        return windows.output_shape(self, input_shape, self.filters, self.kernel_size, self.dilation_rate)


@builtin("keras.layers")
class Conv1D(BaseConv):
    """A convolution over steps, such as times or tokens.

    Takes (batch, steps, channels) and gives (batch, new_steps, filters). The arguments are those of
    `BaseConv`.

    Example:
        >>> layer = Conv1D(8, 3, padding="causal", activation="relu")
        >>> layer(torch.ones(2, 10, 4)).shape
        torch.Size([2, 10, 8])

    Source: https://keras.io/api/layers/convolution_layers/convolution1d/
    """

    rank = 1


@builtin("keras.layers")
class Conv2D(BaseConv):
    """A convolution over images.

    Takes (batch, height, width, channels) and gives (batch, new_height, new_width, filters). The arguments
    are those of `BaseConv`.

    Example:
        >>> layer = Conv2D(16, 3, strides=2, padding="same")
        >>> layer(torch.ones(2, 9, 9, 3)).shape
        torch.Size([2, 5, 5, 16])

    Source: https://keras.io/api/layers/convolution_layers/convolution2d/
    """

    rank = 2


@builtin("keras.layers")
class Conv3D(BaseConv):
    """A convolution over volumes, such as scans or films.

    Takes (batch, depth, height, width, channels) and gives (batch, new_depth, new_height, new_width,
    filters). The arguments are those of `BaseConv`.

    Example:
        >>> layer = Conv3D(4, (1, 3, 3))
        >>> layer(torch.ones(2, 5, 8, 8, 3)).shape
        torch.Size([2, 5, 6, 6, 4])

    Source: https://keras.io/api/layers/convolution_layers/convolution3d/
    """

    rank = 3


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
