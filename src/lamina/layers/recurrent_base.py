"""Cells over sequences: RNN, which takes any cell, and cells stacked on each other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core import scopes, tree
from lamina.core.errors import ArgumentTypeError, ShapeError
from lamina.core.registry import builtin
from lamina.core.variable import Variable
from lamina.layers import recurrent_steps
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.layers.recurrent_steps import is_gated, step_of


@builtin("keras.layers")
class StackedRNNCells(Layer):
    """Cells on top of each other as one cell: each takes the output of the one below.

    Args:
        cells: the cells, the lowest first.
        **kwargs: as for `Layer`.

    Shapes: as the cells'; the states are a list with the states of each cell.

    Raises:
        ArgumentTypeError: a cell has no `call` or no `state_size`.

    Example:
        >>> from lamina.layers import GRUCell
        >>> RNN(StackedRNNCells([GRUCell(4), GRUCell(6)]))(torch.ones(2, 5, 3)).shape
        torch.Size([2, 6])

    Source: https://keras.io/api/layers/recurrent_layers/stacked_rnn_cell/
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            check_cell(cell)
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The output size of the last cell."""
        return output_size(self.cells[-1])

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build each cell for the output of the one below."""
        for cell in self.cells:
            build_cell(cell, input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Tensor, list[Any]]:
        """The output of the last cell, and the states after the step."""
        new_states = []
        for cell, state in zip(self.cells, states, strict=True):
            inputs, new = step_of(cell, training)(inputs, state if tree.is_nested(state) else [state])
            new_states.append(tree.pack_sequence_as(state, tree.flatten(new)) if tree.is_nested(state) else _alone(new))
        return inputs, new_states

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """The initial states of each cell."""
        return [initial_state(cell, batch_size, self._compute_dtype, self._device()) for cell in self.cells]


def _alone(states: Any) -> Any:
    return states[0] if isinstance(states, (list, tuple)) else states


def check_cell(cell: Any) -> None:
    """Refuse what is no cell.

    Raises:
        ArgumentTypeError: there is no `call`, or no `state_size`.
    """
    for name in ("call", "state_size"):
        if name not in dir(cell):
            raise ArgumentTypeError(
                f"A recurrent cell has {'a method' if name == 'call' else 'an attribute'} `{name}`.",
                where="cell",
                expected="call(inputs, states), state_size (an integer, or one per state)",
                received=f"{cell!r}",
            )


def output_size(cell: Any) -> int:
    """The size of a cell's output: what it says, else that of its first state."""
    size = getattr(cell, "output_size", None)
    return size if size is not None else tree.flatten(cell.state_size)[0]


def build_cell(cell: Any, input_shape: tuple[int | None, ...]) -> None:
    """Build a cell that is a layer with weights of its own."""
    if isinstance(cell, Layer) and not cell.built and cell._has_build():
        cell.build(input_shape)


def initial_state(cell: Any, batch_size: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """What a cell says that its states begin with, else zeros."""
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(batch_size=batch_size)
    return tree.map_structure(lambda size: torch.zeros(batch_size, size, dtype=dtype, device=device), cell.state_size)


@builtin("keras.layers")
class RNN(Layer):
    """A cell run over the steps of sequences.

    Args:
        cell: what happens in one step: an object with `call(inputs, states)`, which gives the output and the new
            states, and with `state_size`, an integer or one for each state; or a list of cells, to be stacked.
        return_sequences: whether the outputs of all steps are returned, not only the last.
        return_state: whether the last states are returned too.
        go_backwards: whether the steps are taken from the last to the first; outputs come in that order.
        stateful: whether a batch begins with the states at the end of the batch before; the batch size must be fixed.
        unroll: kept for Keras.
        zero_output_for_mask: whether the output of masked steps is zero, not that of the step before.
        **kwargs: as for `Layer`.

    Shapes: `(batch, steps, ...)` to `(batch, output_size)`, or `(batch, steps, output_size)` with `return_sequences`;
    with `return_state` a tuple of that and the states. Masked steps leave the states as they are.

    Raises:
        ArgumentTypeError: the cell has no `call` or no `state_size`.
        ShapeError: with `stateful`, the batch size is unknown, or another than at first.

    Example:
        >>> class Sum(Layer):
        ...     state_size = 3
        ...     def call(self, inputs, states):
        ...         total = states[0] + inputs
        ...         return total, [total]
        >>> RNN(Sum())(torch.ones(1, 5, 3))
        tensor([[5., 5., 5.]])

    Source: https://keras.io/api/layers/recurrent_layers/rnn/
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        check_cell(cell)
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec = InputSpec(min_ndim=3)
        if not isinstance(cell.state_size, (int, list, tuple)):
            raise ArgumentTypeError(
                "The cell's `state_size` cannot be used.",
                where=f"{self._where()}, cell",
                expected="an integer, or a list with one for each state",
                received=repr(cell.state_size),
            )
        self.single_state = isinstance(cell.state_size, int)
        self.state_size = [cell.state_size] if isinstance(cell.state_size, int) else list(cell.state_size)
        self.__dict__["_kept"] = None

    def build(self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Build the cell, and make the states that are kept between batches."""
        build_cell(self.cell, (sequences_shape[0], *sequences_shape[2:]))
        if self.stateful:
            if sequences_shape[0] is None:
                raise ShapeError(
                    "A stateful layer needs to know the batch size.",
                    where=self._where(),
                    received=f"sequences of shape {tuple(sequences_shape)}",
                    fix="give it to the model's input: Input(batch_shape=(batch, steps, features))",
                )
            states = self.get_initial_state(sequences_shape[0])
            self.__dict__["_kept"] = tree.map_structure(lambda _: None, states)
            # Beside the buffers, since states are no weights: they are neither saved nor counted.
            for index, state in enumerate(tree.flatten(states)):
                self.__dict__[f"_state_{index}"] = Variable(
                    state, trainable=False, dtype=self.variable_dtype, name="rnn_state"
                )

    @property
    def states(self) -> list[Any] | None:
        """The states kept between batches, with `stateful` and after `build`."""
        if self._kept is None:
            return None
        count = len(tree.flatten(self._kept))
        return tree.pack_sequence_as(self._kept, [self.__dict__[f"_state_{index}"] for index in range(count)])

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The states to begin with, in a list.

        Args:
            batch_size: the number of sequences.
        """
        states = initial_state(self.cell, batch_size, self._compute_dtype, self._device())
        return list(states) if tree.is_nested(states) else [states]

    def reset_state(self) -> None:
        """Set the states kept between batches to zero."""
        for state in tree.flatten(self.states):
            if state is not None:
                state.data.zero_()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """The cell's outputs, and with `return_state` the last states."""
        states = self._begin(sequences, initial_state)
        self._forget_dropped(self.cell)
        last, outputs, states = self.inner_loop(sequences, states, mask, bool(training))
        self._forget_dropped(self.cell)
        if self.stateful and scopes.unknown_stand_in() is None:
            with torch.no_grad():
                for kept, state in zip(tree.flatten(self.states), tree.flatten(states), strict=True):
                    kept.copy_(state)
        output = self.cast(last if outputs is None else outputs)
        return (output, *tree.map_structure(self.cast, states)) if self.return_state else output

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the sequences goes with the outputs of all steps; states have none."""
        mask = tree.flatten(previous_mask)[0] if self.return_sequences else None
        return [mask, *([None] * len(tree.flatten(self.state_size)))] if self.return_state else mask

    def _pass_masks(self, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any) -> None:
        super()._pass_masks(signature, args, kwargs, travelling_masks(args, kwargs, masks))

    def _begin(self, sequences: Tensor, initial_state: Any) -> list[Any]:
        """The states before the first step, in the cell's dtype."""
        batch = sequences.shape[0]
        if self.stateful and batch != (kept := tree.flatten(self.states)[0].shape[0]):
            raise ShapeError(
                "The batch size of a stateful layer cannot change.",
                where=self._where(),
                expected=f"{kept} sequences",
                received=f"{batch} sequences",
            )
        if initial_state is None and self.stateful:
            # Copies, since the states change before the gradients of this batch are taken.
            device = sequences.device
            initial_state = tree.map_structure(lambda state: state.detach().to(device, copy=True), self.states)
        elif initial_state is None:
            initial_state = self.get_initial_state(batch)
        states = list(initial_state) if tree.is_nested(initial_state) else [initial_state]
        sizes, found = tree.flatten(self.state_size), [tuple(state.shape) for state in tree.flatten(states)]
        if len(found) != len(sizes) or any(len(s) == 2 and s[1] != n for s, n in zip(found, sizes, strict=True)):
            raise ShapeError(
                "The initial states do not fit the cell.",
                where=f"{self._where()}, initial_state",
                expected=f"{len(sizes)} of size {', '.join(map(str, sizes))}",
                received=f"shapes {', '.join(map(str, found))}",
            )
        dtype = self._cell_dtype()
        return tree.map_structure(lambda state: state.to(dtype), states)

    def _cell_dtype(self) -> torch.dtype:
        return self.cell._compute_dtype if isinstance(self.cell, Layer) else self._compute_dtype

    def _forget_dropped(self, cell: Any) -> None:
        """Have dropout draw anew."""
        for part in cell.cells if isinstance(cell, StackedRNNCells) else [cell]:
            if hasattr(part, "reset_dropout_mask"):
                part.reset_dropout_mask()
                part.reset_recurrent_dropout_mask()

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Tensor, Tensor | None, list[Any]]:
        """Take the cell over the steps.

        Args:
            sequences: the inputs, (batch, steps, ...).
            initial_state: the states to begin with, a list.
            mask: (batch, steps), False for steps to skip, or None.
            training: whether dropout is at work.

        Returns:
            The last output, the outputs of all steps (with `return_sequences`, else None), and the last states.
        """
        x: Any = sequences.to(self._cell_dtype()).transpose(0, 1)
        mask, states = _time_major(mask), initial_state
        if self.go_backwards:
            x, mask = x.flip(0), None if mask is None else mask.flip(0)
        kernels = not x.is_cuda or getattr(self, "use_cudnn", True) is not False
        walk = functools.partial(recurrent_steps.walk, mask=mask, training=training, kernels=kernels)
        cell, after = self.cell, []
        stacked = isinstance(cell, StackedRNNCells) and all(map(is_gated, cell.cells))
        if stacked:
            # Nothing flows downwards, so each cell can do all steps before the next one begins.
            for lower, state in zip(cell.cells[:-1], states[:-1], strict=True):
                x, _, state = walk(lower, x, state)
                after.append(state)
            cell, states = cell.cells[-1], states[-1]
        outputs, last, states = walk(
            cell, x, states, sequences=self.return_sequences, zero_output=self.zero_output_for_mask
        )
        states = [*after, states] if stacked else states
        return last, None if outputs is None else outputs.transpose(0, 1), states


def travelling_masks(args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any) -> Any:
    """The masks on the sequences, for `call`: none where initial states are given too, as in Keras."""
    given = args[1] if len(args) > 1 else kwargs.get("initial_state")
    return masks if given is None else None


def _time_major(mask: Any) -> Tensor | None:
    """The mask of the first input, steps first."""
    mask = next((part for part in tree.flatten(mask) if part is not None), None)
    return None if mask is None else mask.bool().transpose(0, 1)
