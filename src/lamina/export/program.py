"""A model as a program of torch's operations, with sizes left open where its signature leaves them open."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import tree
from lamina.core.errors import LaminaError, UnsupportedError, warn_once
from lamina.export.signature import CAPTURED, samples_of
from lamina.layers import recurrent_kernels

RECURRENCE = torch.ops.lamina.recurrence.default


class Flat(nn.Module):
    """A model whose arguments are given one by one and whose outputs are a flat tuple.

    Args:
        model: the model.
        arguments: the structure of its arguments.
    """

    def __init__(self, model: nn.Module, arguments: list[Any]) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the model, in flattened order."""
        return tuple(tree.flatten(self.model(*tree.pack_sequence_as(self.arguments, leaves))))


def capture(model: Any, arguments: list[Any], **options: Any) -> Any:
    """The `torch.export.ExportedProgram` of a model in evaluation mode.

    Args:
        model: a built model, or any module.
        arguments: specs of what it is called with, as from `signature_of`.
        **options: for `torch.export.export`; `dynamic_shapes` replaces what the specs say.

    Raises:
        UnsupportedError: the model cannot be written as one program for all sizes that the specs allow.
    """
    import torch.export

    samples = tuple(samples_of(arguments, CAPTURED))
    options.setdefault("strict", False)
    options.setdefault("dynamic_shapes", open_sizes(arguments, lambda *_: torch.export.Dim.DYNAMIC))
    with in_evaluation(model), torch.no_grad(), quiet():
        try:
            return torch.export.export(model, samples, **options)
        except LaminaError:
            raise
        except Exception as error:
            raise UnsupportedError(
                f"The model cannot be captured: {str(error).strip().splitlines()[0]}",
                where=f"export of '{getattr(model, 'name', type(model).__name__)}'",
                received=f"inputs of shapes {[tuple(s.shape) for s in tree.flatten(arguments)]}",
                fix="fix the sizes it depends on: input_signature=[lamina.InputSpec(shape=(1, 224, 224, 3), ...)]; "
                "and write conditions on values with lamina.ops.where or lamina.ops.cond",
            ) from error


def open_sizes(arguments: list[Any], mark: Callable[[int, int], Any], flat: bool = False) -> Any:
    """Which sizes are open, in the form torch wants for a module that takes `*args`.

    Args:
        arguments: the specs.
        mark: gives what stands for an open size, from the index of the input and the axis.
        flat: whether the module takes the leaves one by one.
    """
    leaves = []
    for index, spec in enumerate(tree.flatten(arguments)):
        axes = [axis for axis, size in enumerate(spec.shape) if size is None]
        leaves.append({axis: mark(index, axis) for axis in axes})
    return (tuple(leaves if flat else tree.pack_sequence_as(arguments, leaves)),)


def without_own_operations(program: Any) -> Any:
    """The program with torch's own operations only, so that it runs where lamina is not installed.

    A recurrent layer becomes oneDNN's kernel (LSTM) or its steps one by one (GRU, simple recurrence). Over an unknown
    number of steps torch has no operation for the latter; these stay as they are, and a warning says so.
    """
    mine = [node for node in program.graph.nodes if node.target is RECURRENCE]
    if not mine:
        return program
    if any(node.args[0] != "lstm" and isinstance(node.args[1].meta["val"].shape[0], torch.SymInt) for node in mine):
        warn_once(
            "The program holds a GRU or simple recurrence over an unknown number of steps: `import lamina` where it is "
            "loaded, or fix the number of steps in input_signature."
        )
        return program
    with quiet():
        return program.run_decompositions({RECURRENCE: _by_torch})


def step_by_step(program: Any) -> Any:
    """The program with all recurrent layers as their steps one by one; their number must be known."""
    with quiet():
        return program.run_decompositions({RECURRENCE: _by_steps})


def _by_torch(kind: str, x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor, keep: bool) -> Any:
    run = recurrent_kernels._forward if kind == "lstm" else _by_steps
    return run(kind, x, h, c, w, r, b, False)


def _by_steps(kind: str, x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor, keep: bool) -> Any:
    nothing, outputs = x.new_empty(0), []
    for step in x.unbind():
        if c is not None:
            i, f, g, o = (torch.addmm(b, step, w) + h @ r).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        elif kind == "gru":
            of_input, of_state = torch.addmm(b[0], step, w).chunk(3, 1), torch.addmm(b[1], h, r).chunk(3, 1)
            z, reset = (torch.sigmoid(i + s) for i, s in zip(of_input[:2], of_state[:2], strict=True))
            candidate = torch.tanh(of_input[2] + reset * of_state[2])
            h = candidate + z * (h - candidate)
        else:
            h = (torch.tanh if kind == "tanh" else torch.relu)(torch.addmm(b, step, w) + h @ r)
        outputs.append(h)
    return torch.stack(outputs), h, nothing if c is None else c, nothing


@contextlib.contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """The modules of a model in evaluation mode, and afterwards as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of torch's exporters about their own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
