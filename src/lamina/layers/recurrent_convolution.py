"""Convolutional LSTM: memory for images and other things with neighbours, step by step."""

from __future__ import annotations

from operator import attrgetter
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.registry import builtin
from lamina.layers import windows
from lamina.layers.convolution import KERNEL_LAYOUT, check_strides_or_dilation, convolve
from lamina.layers.input_spec import InputSpec
from lamina.layers.recurrent import GatedRNN
from lamina.layers.recurrent_cells import LSTMCell


class ConvLSTMCell(LSTMCell):
    """One step of a convolutional LSTM: an LSTM's, with convolutions in the place of products.

    Args:
        rank: the number of spatial axes.
        filters: the number of channels of the output and of each state.
        kernel_size: the size of the windows: an integer, or one per spatial axis.
        strides: the step of the window over the inputs along each axis.
        padding: "valid" or "same", for the inputs; the state always keeps its size.
        data_format: "channels_last" or "channels_first"; by default that of `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window over the inputs; not together with strides.
        **kwargs: as for `LSTMCell`.

    Raises:
        ArgumentError: strides and dilation are both above 1.
        ShapeError: a spatial size is not known.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, implementation=1, **kwargs)
        if rank not in KERNEL_LAYOUT:
            raise ArgumentError(
                "There is no such convolution.", where="rank", expected="1, 2 or 3 spatial axes", received=rank
            )
        self.rank, self.filters = rank, filters
        self.kernel_size = windows.sizes(kernel_size, rank, "kernel_size")
        self.strides = windows.sizes(strides, rank, "strides")
        self.padding = windows.padding_mode(padding)
        self.data_format = config.standardize_data_format(data_format)
        self.dilation_rate = windows.sizes(dilation_rate, rank, "dilation_rate")
        check_strides_or_dilation(self.strides, self.dilation_rate)
        self.axis = -1 if self.data_format == "channels_last" else -rank - 1
        self.step_rank = rank + 2
        self._fixed_padding = None
        # The convolution of the state leaves its size as it is.
        ones = (1,) * rank
        self._inner = SimpleNamespace(
            rank=rank,
            kernel_size=self.kernel_size,
            strides=ones,
            padding="same",
            dilation_rate=ones,
            data_format=self.data_format,
            _fixed_padding=windows.torch_padding("same", ones, self.kernel_size, ones, ones),
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel, recurrent kernel and bias."""
        channels = windows.channel_count(self, input_shape)
        self._state_shape = windows.output_shape(self, input_shape, self.filters, self.kernel_size, self.dilation_rate)[
            1:
        ]
        if None in self._state_shape:
            raise ShapeError(
                "The sizes of spatial axes must be known, for the state to begin with.",
                where=self._where(),
                received=f"input shape {tuple(input_shape)}",
                fix="give the Input fixed sizes, e.g. Input((None, 32, 32, 3))",
            )
        self.kernel = self._weight("kernel", (*self.kernel_size, channels, 4 * self.filters))
        self.recurrent_kernel = self._weight("recurrent_kernel", (*self.kernel_size, self.filters, 4 * self.filters))
        self.bias = self._weight("bias", (4 * self.filters,)) if self.use_bias else None

    def _layout(self, name: str) -> tuple[int, ...] | None:
        return None if name == "bias" else KERNEL_LAYOUT[self.rank]

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros for each state."""
        shape: tuple[Any, ...] = (batch_size or 0, *self._state_shape)
        zeros = torch.zeros(shape, dtype=self._compute_dtype, device=self._device())
        return [zeros, zeros]

    def kernel_kind(self, training: bool) -> str | None:
        """There is no operation for whole sequences."""
        return None

    def _input_product(self, inputs: list[Tensor]) -> Tensor:
        steps = inputs[0].shape[: -self.step_rank]
        flat = [x.flatten(0, 1) if steps else x for x in inputs]
        gates = self._convolved(self, flat, self.kernel, self.bias)
        return gates.unflatten(0, (*steps, -1)) if steps else gates

    def _state_product(self, states: list[Tensor]) -> Tensor:
        return self._convolved(self._inner, states, self.recurrent_kernel, None)

    def _convolved(self, window: Any, parts: list[Tensor], kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of one tensor with the kernel, or of one for each gate with its part."""
        count = len(parts)
        biases = [None] * count if bias is None else bias.chunk(count)
        layout = KERNEL_LAYOUT[self.rank]
        gates = [
            convolve(window, x, self.cast(k).permute(layout), None if b is None else self.cast(b), 1)
            for x, k, b in zip(parts, kernel.chunk(count, -1), biases, strict=True)
        ]
        return gates[0] if count == 1 else torch.cat(gates, self.axis)


class ConvLSTM(GatedRNN):
    """Base of the convolutional LSTM layers: an LSTM whose inputs and states are images, or the like.

    Args:
        filters: the number of channels of the output and of each state.
        kernel_size: the size of the windows: an integer, or one per spatial axis.
        strides: the step of the window over the inputs along each axis.
        padding: "valid" or "same", for the inputs; the state always keeps its size.
        data_format: "channels_last" for inputs (batch, steps, *spatial, channels), or "channels_first" for
            (batch, steps, channels, *spatial); by default that of `lamina.config.image_data_format()`.
        dilation_rate: the distance between the elements of the window over the inputs; not together with strides.
        activation: a function of what enters the state and of the carry, or its name; None for none.
        recurrent_activation: a function of the gates, likewise.
        use_bias: whether biases are added.
        kernel_initializer: how the kernel, of shape (*kernel_size, channels, 4 * filters), begins.
        recurrent_initializer: how the recurrent kernel, (*kernel_size, filters, 4 * filters), begins.
        bias_initializer: how the bias begins.
        unit_forget_bias: whether the forget gate's bias begins at one.
        kernel_regularizer: a penalty on the kernel.
        recurrent_regularizer: a penalty on the recurrent kernel.
        bias_regularizer: a penalty on the bias.
        activity_regularizer: a penalty on the output.
        kernel_constraint: what the kernel is put through after each update.
        recurrent_constraint: what the recurrent kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.
        dropout: the share of inputs dropped in training, the same ones in all steps, others for each gate.
        recurrent_dropout: the share of the state dropped on its way to the gates, likewise.
        seed: an integer makes what is dropped repeatable.
        return_sequences: whether the outputs of all steps are returned, not only the last.
        return_state: whether the last states, h and c, are returned too.
        go_backwards: whether the steps are taken from the last to the first; outputs come in that order.
        stateful: whether a batch begins with the states at the end of the batch before.
        **kwargs: as for `RNN` and `Layer`.

    Raises:
        ArgumentError: strides and dilation are both above 1.
        ShapeError: the input has another rank, or a spatial size is not known.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = ConvLSTMCell(
            self.rank,
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="conv_lstm_cell",
        )
        super().__init__(
            cell,
            activity_regularizer=activity_regularizer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            **kwargs,
        )
        self.input_spec = InputSpec(ndim=self.rank + 3)

    filters = property(attrgetter("cell.filters"))
    kernel_size = property(attrgetter("cell.kernel_size"))
    strides = property(attrgetter("cell.strides"))
    padding = property(attrgetter("cell.padding"))
    data_format = property(attrgetter("cell.data_format"))
    dilation_rate = property(attrgetter("cell.dilation_rate"))
    recurrent_activation = property(attrgetter("cell.recurrent_activation"))
    unit_forget_bias = property(attrgetter("cell.unit_forget_bias"))

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name."""
        return {**super().get_config(), "unroll": self.unroll}


@builtin("keras.layers")
class ConvLSTM1D(ConvLSTM):
    """A convolutional LSTM over steps of signals.

    Takes (batch, steps, length, channels) and gives (batch, new_length, filters). The arguments are those of
    `ConvLSTM`.

    Example:
        >>> ConvLSTM1D(8, 3)(torch.ones(2, 5, 10, 4)).shape
        torch.Size([2, 8, 8])

    Source: https://keras.io/api/layers/recurrent_layers/conv_lstm1d/
    """

    rank = 1


@builtin("keras.layers")
class ConvLSTM2D(ConvLSTM):
    """A convolutional LSTM over steps of images, such as films.

    Takes (batch, steps, height, width, channels) and gives (batch, new_height, new_width, filters). The arguments are
    those of `ConvLSTM`.

    Example:
        >>> ConvLSTM2D(8, 3, padding="same", return_sequences=True)(torch.ones(2, 5, 9, 9, 3)).shape
        torch.Size([2, 5, 9, 9, 8])

    Source: https://keras.io/api/layers/recurrent_layers/conv_lstm2d/
    """

    rank = 2


@builtin("keras.layers")
class ConvLSTM3D(ConvLSTM):
    """A convolutional LSTM over steps of volumes.

    Takes (batch, steps, depth, height, width, channels) and gives (batch, new_depth, new_height, new_width, filters).
    The arguments are those of `ConvLSTM`.

    Example:
        >>> ConvLSTM3D(2, 2)(torch.ones(1, 3, 4, 4, 4, 1)).shape
        torch.Size([1, 3, 3, 3, 2])

    Source: https://keras.io/api/layers/recurrent_layers/conv_lstm3d/
    """

    rank = 3
