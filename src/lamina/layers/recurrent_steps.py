"""A cell taken over all steps of a sequence, with masks.

Sequences and masks are time-major here: (steps, batch, ...). A masked step leaves the states as they are, and repeats
the output of the step before, zero at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamina.core import scopes, tree
from lamina.layers import recurrent_kernels
from lamina.layers.base import Layer
from lamina.layers.recurrent_cells import GatedCell
from lamina.layers.signature import call_signature

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


def walk(
    cell: Any,
    x: Tensor,
    states: Any,
    mask: Tensor | None,
    training: bool,
    *,
    sequences: bool = True,
    zero_output: bool = False,
    kernels: bool = True,
) -> tuple[Tensor | None, Tensor, Any]:
    """Take a cell over a sequence, in one operation where that can be, else step by step.

    Args:
        cell: the cell.
        x: the sequence.
        states: those to begin with.
        mask: (steps, batch), False for steps to skip.
        training: whether dropout is at work.
        sequences: whether the outputs of all steps are wanted.
        zero_output: whether the output of masked steps is zero instead.
        kernels: whether the operations in `recurrent_kernels` may be used.

    Returns:
        The outputs of all steps or None, the last output, and the last states.
    """
    if not is_gated(cell):
        return _loop(step_of(cell, training), x, states, mask, sequences, zero_output)
    if isinstance(states, Tensor):
        outputs, last, states = walk(
            cell, x, [states], mask, training, sequences=sequences, zero_output=zero_output, kernels=kernels
        )
        return outputs, last, states[0]
    kind = cell.kernel_kind(training) if kernels else None
    if kind is None or not recurrent_kernels.available(kind, x):

        def step(projected: Tensor, states: Any) -> tuple[Tensor, Any]:
            return cell.advance(projected, states, training)

        return _loop(step, cell.project(x, training), states, mask, sequences, zero_output)
    if mask is not None:
        return _skipping(cell, x, states, mask, training, kind, sequences, zero_output)
    outputs, states = cell.run(x, states, training, kind)
    return outputs if sequences else None, states[0], states


def is_gated(cell: Any) -> bool:
    """Whether a cell is one of lamina's, whose steps have two halves."""
    return isinstance(cell, GatedCell) and type(cell).call is GatedCell.call


def step_of(cell: Any, training: bool) -> Step:
    """One step of a cell as a function of inputs and states, by the shortest way."""
    if not isinstance(cell, Layer):
        step: Any = cell if callable(cell) else cell.call
        return step
    plain = cell.built and not cell._mixed and cell.activity_regularizer is None
    watched = cell._forward_hooks or cell._forward_pre_hooks or cell._backward_hooks
    call: Any = cell.call if plain and not watched else cell
    if not call_signature(type(cell)).training:
        return call
    return lambda inputs, states: call(inputs, states, training=training)


def _loop(
    step: Step, x: Tensor, states: Any, mask: Tensor | None, sequences: bool, zero_output: bool
) -> tuple[Tensor | None, Tensor, Any]:
    """Step by step."""
    # To find out shapes, one step is enough.
    inferring = scopes.unknown_stand_in() is not None
    outputs: list[Tensor] = []
    last = None
    for t, inputs in enumerate(x[:1] if inferring else x.unbind()):
        output, new = step(inputs, states)
        new = tree.pack_sequence_as(states, tree.flatten(new))
        if mask is not None:
            counts = mask[t]
            output = _select(counts, output, torch.zeros_like(output) if last is None or zero_output else last)
            new = tree.map_structure(lambda a, b, counts=counts: _select(counts, a, b), new, states)
        last, states = output, new
        if sequences:
            outputs.append(output)
    assert last is not None
    if not sequences:
        return None, last, states
    return last.expand(len(x), *last.shape) if inferring else torch.stack(outputs), last, states


def _select(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)


def _skipping(
    cell: GatedCell,
    x: Tensor,
    states: list[Tensor],
    mask: Tensor,
    training: bool,
    kind: str,
    sequences: bool,
    zero_output: bool,
) -> tuple[Tensor | None, Tensor, list[Tensor]]:
    """In one operation: each sequence is closed up over its masked steps, and the outputs are put where they belong.

    That needs no look at the mask's values, so nothing waits for the device, and a traced step keeps working.
    """
    steps, batch = mask.shape
    column = torch.arange(batch, device=mask.device)
    order = torch.argsort(~mask, dim=0, stable=True)
    closed = _pick(x, order, column)
    count = mask.cumsum(0)
    idle = torch.arange(steps, device=mask.device)[:, None] >= count[-1]
    outputs, after = cell.run(closed, states, training, kind, idle=idle)
    begun = count[-1:] > 0
    last = _pick(outputs, (count[-1:] - 1).clamp(min=0), column)
    after[0] = _select(begun, last, states[0][None])[0]
    if not sequences:
        shown = begun & mask[-1:] if zero_output else begun
        return None, _select(shown, last, last.new_zeros(()))[0], after
    spread = _pick(outputs, (count - 1).clamp(min=0), column)
    spread = _select(mask if zero_output else count > 0, spread, spread.new_zeros(()))
    return spread, spread[-1], after


def _pick(x: Tensor, steps: Tensor, column: Tensor) -> Tensor:
    """For each sequence the named steps, (new steps, batch)."""
    rows = (steps * x.shape[1] + column).reshape(-1)
    return x.reshape(-1, x.shape[2]).index_select(0, rows).view(*steps.shape, x.shape[2])
