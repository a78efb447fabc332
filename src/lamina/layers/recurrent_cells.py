"""Recurrent cells: what happens to the state in one step of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import activations, constraints, initializers, regularizers
from lamina.core.registry import builtin
from lamina.core.seeds import SeedGenerator
from lamina.layers import recurrent_kernels
from lamina.layers.arguments import positive, within
from lamina.layers.base import Layer
from lamina.layers.direct import DIRECT
from lamina.ops.random import drop

_STANDARD = (activations.tanh, activations.sigmoid)
_CERTAIN = 1e4  # added to a gate, it shuts or opens it whatever else is in the sum


class GatedCell(Layer):
    """Base of the cells: a state of `units` values, and gates that are sums of products with inputs and state.

    A step has two halves. `project` is the part of the gates that needs the inputs only, so that it can be done for all
    steps at once; `advance` adds the state's part and makes the new state.

    Args:
        units: the size of the output and of each state.
        activation: a function of what enters the state, or its name; None for none.
        recurrent_activation: a function of the gates, likewise.
        use_bias: whether biases are added.
        kernel_initializer: how the kernel, of shape (features, gates * units), begins.
        recurrent_initializer: how the recurrent kernel, of shape (units, gates * units), begins.
        bias_initializer: how the bias begins.
        kernel_regularizer: a penalty on the kernel.
        recurrent_regularizer: a penalty on the recurrent kernel.
        bias_regularizer: a penalty on the bias.
        kernel_constraint: what the kernel is put through after each update.
        recurrent_constraint: what the recurrent kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.
        dropout: the share of inputs dropped in training, the same ones in all steps.
        recurrent_dropout: the share of the state dropped on its way to the gates, likewise.
        seed: an integer makes what is dropped repeatable.
        implementation: 1 drops other inputs for each gate, 2 the same ones; 1 is used with `recurrent_dropout`.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `units` is no positive integer.
    """

    gates: ClassVar[int]
    axis: int = -1  # on which the gates stand side by side
    step_rank: int = 2

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = self.output_size = positive(units, f"{self._where()}, units")
        self.state_size: int | list[int] = self.units
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, within(dropout, f"{self._where()}, dropout")))
        recurrent_dropout = within(recurrent_dropout, f"{self._where()}, recurrent_dropout")
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.implementation = 1 if self.recurrent_dropout else implementation
        self.seed = seed
        self.seed_generator = None if seed is None else SeedGenerator(seed)
        self.__dict__["_dropped"] = {}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel, recurrent kernel and bias."""
        self.kernel = self._weight("kernel", (input_shape[-1], self.gates * self.units))
        self.recurrent_kernel = self._weight("recurrent_kernel", (self.units, self.gates * self.units))
        self.bias = self._weight("bias", self._bias_shape()) if self.use_bias else None

    def _weight(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        kind = name.removesuffix("_kernel")
        return self.add_weight(
            name=name,
            shape=shape,  # pyright: ignore[reportArgumentType]
            initializer=self._bias_start if name == "bias" else getattr(self, f"{kind}_initializer"),
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
            layout=self._layout(name),
        )

    def _layout(self, name: str) -> tuple[int, ...] | None:
        """How a weight is to lie in memory: kernels as torch's operations want them, (gates, inputs)."""
        return None if name == "bias" else (1, 0)

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_start(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return self.bias_initializer(shape, dtype=dtype)

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Tensor, Any]:
        """The output of one step, and the states after it."""
        alone = isinstance(states, Tensor)
        output, states = self.advance(self.project(inputs, training), [states] if alone else states, training)
        return output, states[0] if alone else states

    def project(self, inputs: Tensor, training: bool) -> Tensor:
        """The inputs' part of the gates, for one step or for all."""
        dropped = self.get_dropout_mask(inputs) if training else None
        if isinstance(dropped, list):
            return self._input_product([inputs * mask for mask in dropped])
        return self._input_product([inputs if dropped is None else inputs * dropped])

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: bool) -> tuple[Tensor, list[Tensor]]:
        """The output of one step and the states after it, from the inputs' part of the gates."""
        raise NotImplementedError

    def _input_product(self, inputs: list[Tensor]) -> Tensor:
        """The product with the kernel, plus the bias; of one tensor, or of one for each gate."""
        bias = self._input_bias()
        if len(inputs) == 1:
            return F.linear(inputs[0], self.kernel.T, bias)
        gates = self._by_gate(inputs, self.kernel)
        return gates if bias is None else gates + bias

    def _state_product(self, states: list[Tensor]) -> Tensor:
        """The product with the recurrent kernel, likewise."""
        return states[0] @ self.recurrent_kernel if len(states) == 1 else self._by_gate(states, self.recurrent_kernel)

    def _by_gate(self, parts: list[Tensor], kernel: Tensor) -> Tensor:
        return torch.cat([x @ k for x, k in zip(parts, kernel.chunk(len(parts), 1), strict=True)], -1)

    def _input_bias(self) -> Tensor | None:
        return self.bias

    def _dropped_states(self, h: Tensor, training: bool) -> list[Tensor]:
        """The state as it reaches each gate; one entry where all get the same."""
        masks = self.get_recurrent_dropout_mask(h) if training else None
        if masks is None:
            return [h]
        return [h * mask for mask in masks] if isinstance(masks, list) else [h * masks]

    def kernel_kind(self, training: bool) -> str | None:
        """The name under which `recurrent_kernels` runs whole sequences of this cell, None if it cannot."""
        return None

    def run(
        self, x: Tensor, states: Sequence[Tensor], training: bool, kind: str, idle: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The outputs for a whole time-major sequence and the states after it, by one operation of torch.

        From the steps on that are `idle`, (steps, batch), a carry stays as it is; outputs and other states may change.
        """
        if training and self.dropout:
            x = x * self.get_dropout_mask(x)
        kernel, recurrent_kernel, bias = self.kernel, self.recurrent_kernel, self.bias
        if bias is None:
            bias = kernel.new_zeros(self._bias_shape())
        if idle is not None and len(states) > 1:
            # One more feature, which shuts the input gate and opens the forget gate.
            x = torch.cat((x, idle.unsqueeze(-1).to(x.dtype)), -1)
            hold = kernel.new_tensor([-_CERTAIN, _CERTAIN, 0.0, 0.0]).repeat_interleave(self.units)
            kernel = torch.cat((kernel, hold[None]))
        carry = states[1] if len(states) > 1 else None
        return recurrent_kernels.run(kind, x, states[0], carry, kernel, recurrent_kernel, bias)

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros for each state, (batch_size, units)."""
        count = len(self.state_size) if isinstance(self.state_size, list) else 1
        zeros = torch.zeros(batch_size or 0, self.units, dtype=self._compute_dtype, device=self._device())
        return [zeros] * count

    # What is dropped stays the same through a sequence; `RNN` has it drawn anew for the next one.

    def get_dropout_mask(self, step_input: Tensor) -> Any:
        """What the inputs are multiplied by, or a list of that for each gate; None without dropout."""
        return self._dropout_mask("inputs", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> Any:
        """What the state is multiplied by, or a list of that for each gate; None without dropout."""
        return self._dropout_mask("state", step_input, self.recurrent_dropout)

    def reset_dropout_mask(self) -> None:
        """Forget which inputs were dropped."""
        self._dropped.pop("inputs", None)

    def reset_recurrent_dropout_mask(self) -> None:
        """Forget what was dropped of the state."""
        self._dropped.pop("state", None)

    def _dropout_mask(self, part: str, x: Tensor, rate: float) -> Any:
        if not rate:
            return None
        if part not in self._dropped:
            count = self.gates if self.implementation == 1 else 1
            ones = x.new_ones(x.shape[-self.step_rank :])
            masks = [drop(ones, rate, ones.shape, self.seed_generator) for _ in range(count)]
            self._dropped[part] = masks if count > 1 else masks[0]
        return self._dropped[part]


def _direct(activation: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """What does the same as an activation to a float tensor."""
    return torch.sigmoid if activation is activations.sigmoid else DIRECT.get(activation, activation)


@builtin("keras.layers")
class LSTMCell(GatedCell):
    """One step of a long short-term memory, with input, forget and output gates around a carried state.

    The arguments are those of `GatedCell`, and:

    Args:
        unit_forget_bias: whether the forget gate's bias begins at one.

    Shapes: inputs `(batch, features)`, states `[h, c]` of `(batch, units)` each; the output is `(batch, units)`.

    Example:
        >>> cell = LSTMCell(4)
        >>> output, (h, c) = cell(torch.ones(2, 3), [torch.zeros(2, 4), torch.zeros(2, 4)])
        >>> output.shape, cell.kernel.shape
        (torch.Size([2, 4]), torch.Size([3, 16]))

    Source: https://keras.io/api/layers/recurrent_layers/lstm_cell/
    """

    gates = 4

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
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
            seed,
            **kwargs,
        )
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [units, units]

    def _bias_start(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        if not self.unit_forget_bias:
            return super()._bias_start(shape, dtype)
        parts = [self.bias_initializer((size * self.units,), dtype=dtype) for size in (1, 1, 2)]
        return torch.cat((parts[0], torch.ones_like(parts[1]), parts[2]))

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: bool) -> tuple[Tensor, list[Tensor]]:
        """The output of one step and the states after it, from the inputs' part of the gates."""
        activate, gate = _direct(self.activation), _direct(self.recurrent_activation)
        h, c = states
        i, f, entering, o = (projected + self._state_product(self._dropped_states(h, training))).chunk(4, self.axis)
        c = gate(f) * c + gate(i) * activate(entering)
        h = gate(o) * activate(c)
        return h, [h, c]

    def kernel_kind(self, training: bool) -> str | None:
        """The name under which `recurrent_kernels` runs whole sequences of this cell, None if it cannot."""
        return "lstm" if _is_standard(self, training) else None


@builtin("keras.layers")
class GRUCell(GatedCell):
    """One step of a gated recurrent unit, with an update gate and a reset gate.

    The arguments are those of `GatedCell`, and:

    Args:
        reset_after: whether the reset gate acts after the product with the recurrent kernel, as on a GPU; the bias
            then has a second row, for the state.

    Shapes: inputs `(batch, features)`, state `(batch, units)`; the output is `(batch, units)`.

    Example:
        >>> output, state = GRUCell(4)(torch.ones(2, 3), torch.zeros(2, 4))
        >>> output.shape
        torch.Size([2, 4])

    Source: https://keras.io/api/layers/recurrent_layers/gru_cell/
    """

    gates = 3

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
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
            seed,
            **kwargs,
        )
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _input_bias(self) -> Tensor | None:
        return self.bias[0] if self.reset_after and self.bias is not None else self.bias

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: bool) -> tuple[Tensor, list[Tensor]]:
        """The output of one step and the states after it, from the inputs' part of the gates."""
        activate, gate = _direct(self.activation), _direct(self.recurrent_activation)
        before = states[0]
        x_z, x_r, x_h = projected.chunk(3, -1)
        reaching = self._dropped_states(before, training)
        if self.reset_after:
            inner = self._state_product(reaching)
            inner_z, inner_r, inner_h = (inner if self.bias is None else inner + self.bias[1]).chunk(3, -1)
            z, r = gate(x_z + inner_z), gate(x_r + inner_r)
            candidate = activate(x_h + r * inner_h)
        else:
            kernel_z, kernel_r, kernel_h = self.recurrent_kernel.chunk(3, 1)
            z, r = gate(x_z + reaching[0] @ kernel_z), gate(x_r + reaching[len(reaching) // 2] @ kernel_r)
            candidate = activate(x_h + (r * reaching[-1]) @ kernel_h)
        h = z * before + (1 - z) * candidate
        return h, [h]

    def kernel_kind(self, training: bool) -> str | None:
        """The name under which `recurrent_kernels` runs whole sequences of this cell, None if it cannot."""
        return "gru" if self.reset_after and _is_standard(self, training) else None


def _is_standard(cell: GatedCell, training: bool) -> bool:
    """Whether a cell has the usual activations, and all steps and gates get the same."""
    disturbed = training and (cell.recurrent_dropout or (cell.dropout and cell.implementation == 1))
    return (cell.activation, cell.recurrent_activation) == _STANDARD and not disturbed


@builtin("keras.layers")
class SimpleRNNCell(GatedCell):
    """One step of plain recurrence: the output is the new state.

    The arguments are those of `GatedCell`, which here has no gates and no `recurrent_activation`.

    Shapes: inputs `(batch, features)`, state `(batch, units)`; the output is `(batch, units)`.

    Example:
        >>> output, state = SimpleRNNCell(4)(torch.ones(2, 3), torch.zeros(2, 4))
        >>> bool((output == state).all())
        True

    Source: https://keras.io/api/layers/recurrent_layers/simple_rnn_cell/
    """

    gates = 1

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            None,
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
            **kwargs,
        )

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: bool) -> tuple[Tensor, list[Tensor]]:
        """The output of one step and the states after it, from the inputs' part of the gates."""
        h = _direct(self.activation)(projected + self._state_product(self._dropped_states(states[0], training)))
        return h, [h]

    def kernel_kind(self, training: bool) -> str | None:
        """The name under which `recurrent_kernels` runs whole sequences of this cell, None if it cannot."""
        if training and self.recurrent_dropout:
            return None
        return {activations.tanh: "tanh", activations.relu: "relu"}.get(self.activation)
