"""A step of a model as a function of its whole state, ready to be traced.

While a step is traced, tensors without data stand where the model's, the optimizer's and the metrics' own tensors are;
afterwards every object is as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lamina.core import tree
from lamina.core.variable import Variable
from lamina.layers.weights import seed_generators
from lamina.metrics import Metric
from lamina.optimizers import LossScaleOptimizer, Optimizer
from lamina.optimizers.schedules import LearningRateSchedule
from lamina.training.compiler import Graph, NotCapturable, trace
from lamina.training.step import TrainState, predict_step, test_step, train_step

Tensor = torch.Tensor

STEPS: dict[str, Callable[[TrainState, Any], Any]] = {
    "train": train_step,
    "test": test_step,
    "predict": predict_step,
}

_PLAIN = (bool, int, float, str, type(None))
_STOPS = ("stop_training", "stop_evaluating", "stop_predicting")
_FUNCTIONS = ("train_function", "test_function", "predict_function", "history")
_PASSING = frozenset(
    {"training", "built", "_fast", "_takes_training", "_building", "_losses_of", "_serving", *_STOPS, *_FUNCTIONS}
)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Capture:
    """A traced step.

    Args:
        graph: its operations.
        state: the tensors it reads and changes, in the order of the graph's inputs; those of a batch follow.
        outputs: what the step returns, tensors replaced by their place in the results; None for nothing.
    """

    graph: Graph
    state: list[Tensor]
    outputs: Any = None


class State:
    """All tensors that a step of a model reads or changes, found where they are kept.

    Args:
        step_state: what the step is given.
        metrics: the metrics it updates.
        optimizer: None where nothing is trained.
    """

    def __init__(self, step_state: TrainState, metrics: Sequence[Metric], optimizer: Optimizer | None) -> None:
        self.step_state = step_state
        self.metrics = list({id(metric): metric for metric in metrics}.values())
        self.optimizer = optimizer
        self.modules = list(step_state.model.modules())
        self.seeds = seed_generators(step_state.model)
        found: list[Tensor] = []
        for module in self.modules:
            found += [t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]
            found += [value for value in vars(module).values() if isinstance(value, Variable)]
        found += [generator.state for generator in self.seeds]
        found += [variable for metric in self.metrics for variable in metric.variables]
        found += step_state.variables
        found += [] if optimizer is None else optimizer.variables
        self.tensors = list({id(tensor): tensor for tensor in found}.values())

    def reason_against(self) -> str | None:
        """Why this state cannot be made explicit, or None."""
        for module in self.modules:
            if any(getattr(module, hooks) for hooks in _HOOKS):
                return f"{_named(module)} has hooks, which run Python at every step"
        for tensor in self.tensors:
            if type(tensor) not in (Tensor, torch.nn.Parameter, Variable) or tensor.layout is not torch.strided:
                return f"a weight is a {type(tensor).__name__}"
            if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
                return "a weight has gradient hooks, which run Python at every step"
        optimizer = self.optimizer
        if optimizer is not None and self.step_state.variables:
            if not isinstance(optimizer, Optimizer):
                return f"{type(optimizer).__name__} decides in Python at every step"
            if isinstance(optimizer, LossScaleOptimizer):
                optimizer = optimizer.inner_optimizer
            rate = optimizer._learning_rate
            if callable(rate) and not isinstance(rate, (Tensor, LearningRateSchedule)):
                return "the learning rate is a Python function"
        return None

    def settings(self) -> tuple[Any, ...]:
        """What the traced step has taken as constants, values or objects; when it changes, it must be traced anew."""
        holders: list[Any] = [*self.modules, *self.metrics]
        if self.optimizer is not None:
            holders.append(self.optimizer)
        if isinstance(self.optimizer, LossScaleOptimizer):
            holders.append(self.optimizer.inner_optimizer)
        values = [
            tuple(
                (key, value if isinstance(value, _PLAIN) else id(value))
                for key, value in vars(holder).items()
                if key not in _PASSING and (isinstance(value, _PLAIN) or not key.startswith("_"))
            )
            for holder in holders
        ]
        flags = [(tensor.requires_grad, tensor.shape, tensor.dtype, tensor.device) for tensor in self.tensors]
        rates = tuple(id(holder._learning_rate) for holder in holders if isinstance(holder, Optimizer))
        return tuple(values), tuple(flags), tuple(map(id, holders)), rates

    @contextlib.contextmanager
    def replaced(self, others: Sequence[Tensor]) -> Iterator[TrainState]:
        """Put other tensors in the place of the state; gives the state of the step with them.

        Args:
            others: one for each of `tensors`.
        """
        new = {id(old): other for old, other in zip(self.tensors, others, strict=True)}
        kept = [(module, dict(vars(module)), *_tables(module)) for module in self.modules]
        states = [generator.state for generator in self.seeds]
        variables = [new[id(variable)] for variable in self.step_state.variables]
        with contextlib.ExitStack() as stack:
            if self.optimizer is not None and self.step_state.variables:
                own = [new[id(variable)] for variable in self.optimizer.variables]
                weights = [new[id(weight)] for weight in self.optimizer._parameters]
                stack.enter_context(self.optimizer.explicit(own, weights))
            for metric in self.metrics:
                stack.enter_context(metric.explicit([new[id(variable)] for variable in metric.variables]))
            try:
                for module in self.modules:
                    _substitute(module, new)
                for generator in self.seeds:
                    generator.state = new[id(generator.state)]  # type: ignore[assignment]
                yield dataclasses.replace(self.step_state, variables=variables)
            finally:
                for generator, state in zip(self.seeds, states, strict=True):
                    generator.state = state
                for module, values, *tables in kept:
                    _restore(module, values, tables)


def _tables(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return dict(module._parameters), dict(module._buffers)


def _substitute(module: torch.nn.Module, new: dict[int, Tensor]) -> None:
    for table in (module._parameters, module._buffers, vars(module)):
        for key, value in table.items():
            if isinstance(value, Tensor) and id(value) in new:
                table[key] = new[id(value)]  # type: ignore[assignment]


def _restore(module: torch.nn.Module, values: dict[str, Any], tables: list[dict[str, Any]]) -> None:
    """All attributes as they were."""
    for table, saved in zip((module._parameters, module._buffers), tables, strict=True):
        table.clear()
        table.update(saved)  # type: ignore[arg-type]
    vars(module).clear()
    vars(module).update(values)


def _named(module: torch.nn.Module) -> str:
    return f"layer '{getattr(module, 'name', None) or type(module).__name__}'"


def capture(state: State, kind: str, batch: Any, threads: int | None = None) -> Capture:
    """Trace a step, twice: what differs between the two was decided by Python and not by the data.

    Args:
        state: all that the step reads and changes.
        kind: "train", "test" or "predict".
        batch: a batch as the step will get it.
        threads: how many the compiled step shall use; as many as torch does by default.

    Raises:
        NotCapturable: the step cannot be traced; the message says why.
    """
    reason = state.reason_against()
    if reason is not None:
        raise NotCapturable(reason)
    leaves = tree.flatten(batch)
    if not all(type(leaf) is Tensor and leaf.layout is torch.strided for leaf in leaves if leaf is not None):
        raise NotCapturable("a batch holds something other than tensors")
    given = [leaf for leaf in leaves if leaf is not None]
    count = len(state.tensors)
    outputs: list[Any] = []

    def function(flat: list[Tensor]) -> list[Tensor]:
        with state.replaced(flat[:count]) as step_state:
            rest = iter(flat[count:])
            data = tree.pack_sequence_as(batch, [None if leaf is None else next(rest) for leaf in leaves])
            returned = STEPS[kind](step_state, data)
            _refuse_kept(state, flat)
        results = [leaf for leaf in tree.flatten(returned) if leaf is not None] if kind == "predict" else []
        places = iter(range(len(results)))
        outputs[:] = [tree.map_structure(lambda leaf: None if leaf is None else next(places), returned)]
        return results

    tensors = [tensor.detach() if not tensor.requires_grad else tensor for tensor in state.tensors]
    threads = threads or torch.get_num_threads()
    first, second = (_traced(function, [*tensors, *given], threads) for _ in range(2))
    if first.text != second.text:
        raise NotCapturable("the step is not the same each time: Python code in it draws numbers or counts calls")
    return Capture(second, state.tensors, outputs[0] if kind == "predict" else None)


def _refuse_kept(state: State, stand_ins: Sequence[Tensor]) -> None:
    """A layer that keeps a tensor of this step in an attribute would keep it for ever."""
    known = set(map(id, stand_ins))
    from torch._subclasses.fake_tensor import FakeTensor

    for module in state.modules:
        for key, value in vars(module).items():
            if isinstance(value, FakeTensor) and id(value) not in known:
                raise NotCapturable(f"{_named(module)} keeps a tensor of each step in its attribute {key!r}")


def _traced(function: Callable[..., Any], inputs: Sequence[Tensor], threads: int) -> Graph:
    try:
        return trace(function, inputs, threads)
    except NotCapturable:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise NotCapturable(f"{type(error).__name__}: {lines[0] if lines else 'no message'}") from error
