"""LSTM, GRU and simple recurrent layers."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from lamina.core.errors import ArgumentError, one_of
from lamina.core.registry import builtin
from lamina.core.serialization import serialize_value
from lamina.layers.input_spec import InputSpec
from lamina.layers.recurrent_base import RNN
from lamina.layers.recurrent_cells import GatedCell, GRUCell, LSTMCell, SimpleRNNCell


class GatedRNN(RNN):
    """Base of the layers around one of lamina's cells.

    Standard cells run whole sequences in one operation: oneDNN's or cuDNN's where there is one, else a loop that
    leaves out what can be done for all steps at once. Other activations, and dropout of the state, take a step at a
    time.

    The arguments are those of the cell (see `GatedCell`), and:

    Args:
        activity_regularizer: a penalty on the output.
        return_sequences: whether the outputs of all steps are returned, not only the last.
        return_state: whether the last states are returned too.
        go_backwards: whether the steps are taken from the last to the first; outputs come in that order.
        stateful: whether a batch begins with the states at the end of the batch before.
        unroll: kept for Keras.
        use_cudnn: False keeps a GPU from using cuDNN; True demands it.
        **kwargs: as for `RNN` and `Layer`.

    Shapes: `(batch, steps, features)` to `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
    `return_state` a tuple of that and the states. `initial_state` is a tensor, or a list of them.

    Raises:
        ArgumentError: `units` is no positive integer; or `use_cudnn=True`, and the arguments are none that it can do.
        ShapeError: the input does not have three dimensions.
    """

    cell: GatedCell

    def __init__(self, cell: GatedCell, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def _choose_kernel(self, use_cudnn: bool | str) -> None:
        """Keep whether cuDNN is to be used."""
        one_of(use_cudnn, ("auto", True, False), f"{type(self).__name__}, use_cudnn")
        self.use_cudnn = use_cudnn
        if use_cudnn is True and self.cell.kernel_kind(training=True) is None:
            raise ArgumentError(
                "cuDNN has no such layer.",
                where=f"{type(self).__name__}(use_cudnn=True)",
                expected="tanh, sigmoid, no recurrent_dropout, and for a GRU reset_after=True",
                fix='use_cudnn="auto"',
            )

    units = property(attrgetter("cell.units"))
    activation = property(attrgetter("cell.activation"))
    use_bias = property(attrgetter("cell.use_bias"))
    kernel_initializer = property(attrgetter("cell.kernel_initializer"))
    recurrent_initializer = property(attrgetter("cell.recurrent_initializer"))
    bias_initializer = property(attrgetter("cell.bias_initializer"))
    kernel_regularizer = property(attrgetter("cell.kernel_regularizer"))
    recurrent_regularizer = property(attrgetter("cell.recurrent_regularizer"))
    bias_regularizer = property(attrgetter("cell.bias_regularizer"))
    kernel_constraint = property(attrgetter("cell.kernel_constraint"))
    recurrent_constraint = property(attrgetter("cell.recurrent_constraint"))
    bias_constraint = property(attrgetter("cell.bias_constraint"))
    dropout = property(attrgetter("cell.dropout"))
    recurrent_dropout = property(attrgetter("cell.recurrent_dropout"))
    implementation = property(attrgetter("cell.implementation"))
    seed = property(attrgetter("cell.seed"))

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name."""
        config = super().get_config()
        config.pop("use_cudnn", None)
        return {
            **config,
            "zero_output_for_mask": self.zero_output_for_mask,
            "activity_regularizer": serialize_value(self.activity_regularizer),
        }


@builtin("keras.layers")
class LSTM(GatedRNN):
    """A long short-term memory: keeps what matters over many steps in a carried state that gates let in and out.

    The arguments are those of `LSTMCell` and of `GatedRNN`. The states are `[h, c]`.

    Example:
        >>> import torch
        >>> output, h, c = LSTM(4, return_sequences=True, return_state=True)(torch.ones(2, 10, 8))
        >>> output.shape, h.shape, c.shape
        (torch.Size([2, 10, 4]), torch.Size([2, 4]), torch.Size([2, 4]))

    Source: https://keras.io/api/layers/recurrent_layers/lstm/
    """

    def __init__(
        self,
        units: int,
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
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            unit_forget_bias,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            seed,
            **_cell_options(kwargs, "lstm_cell"),
        )
        super().__init__(
            cell,
            activity_regularizer=activity_regularizer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            **kwargs,
        )
        self._choose_kernel(use_cudnn)

    recurrent_activation = property(attrgetter("cell.recurrent_activation"))
    unit_forget_bias = property(attrgetter("cell.unit_forget_bias"))


@builtin("keras.layers")
class GRU(GatedRNN):
    """A gated recurrent unit: like an LSTM, with one state and two gates.

    The arguments are those of `GRUCell` and of `GatedRNN`.

    Example:
        >>> import torch
        >>> GRU(4, return_sequences=True)(torch.ones(2, 10, 8)).shape
        torch.Size([2, 10, 4])

    Source: https://keras.io/api/layers/recurrent_layers/gru/
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
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
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        cell = GRUCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            reset_after,
            seed,
            **_cell_options(kwargs, "gru_cell"),
        )
        super().__init__(
            cell,
            activity_regularizer=activity_regularizer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            **kwargs,
        )
        self._choose_kernel(use_cudnn)

    recurrent_activation = property(attrgetter("cell.recurrent_activation"))
    reset_after = property(attrgetter("cell.reset_after"))


@builtin("keras.layers")
class SimpleRNN(GatedRNN):
    """Plain recurrence: each output is the activated sum of products with the inputs and with the output before.

    The arguments are those of `SimpleRNNCell` and of `GatedRNN`, without `use_cudnn`.

    Example:
        >>> import torch
        >>> SimpleRNN(4)(torch.ones(2, 10, 8)).shape
        torch.Size([2, 4])

    Source: https://keras.io/api/layers/recurrent_layers/simple_rnn/
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        cell = SimpleRNNCell(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            seed,
            **_cell_options(kwargs, "simple_rnn_cell"),
        )
        super().__init__(
            cell,
            activity_regularizer=activity_regularizer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            **kwargs,
        )


def _cell_options(kwargs: dict[str, Any], name: str) -> dict[str, Any]:
    """The arguments of a layer that are its cell's as well."""
    options = {key: kwargs[key] for key in ("dtype", "trainable") if key in kwargs}
    if "implementation" in kwargs:
        options["implementation"] = kwargs.pop("implementation")
    return {"name": name, **options}
