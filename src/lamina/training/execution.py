"""How steps are run: as they are written, or compiled whole; which of the two, a measurement decides.

All executors run the same functions of `step`. Training starts eagerly at once. When enough work lies ahead, the step
is traced, compiled in a process beside, compared with the eager step on a real batch, timed against it, and taken if it
is faster. Whatever fails on the way leaves things as they were, and the report says why.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from lamina.training.adoption import Adoption, Adoptions
from lamina.training.capture import STEPS, State
from lamina.training.step import TrainState
from lamina.training.whole_state import optimizers_of

CALL_SECONDS = 0.02
"""How long the steps of one call may take together, so that progress is shown and Ctrl-C is heard."""
_MOST_STEPS = 1000


class Executor(abc.ABC):
    """Runs steps on batches that lie on the device.

    A step returns its results where it computes them itself, and None where they are the model's running results.
    """

    @abc.abstractmethod
    def run(self, kind: str, batches: Sequence[Any]) -> Any:
        """One step of a kind ("train", "test" or "predict") for each batch; what the last one returns."""

    def steps_per_call(self, kind: str) -> int:
        """How many steps to hand over together when nobody needs to hear of each."""
        return 1

    def expect(self, kind: str, steps: int | None) -> None:  # noqa: B027 - most executors plan nothing
        """A run begins, of so many steps; None if nobody knows."""

    def train(self, data: Any) -> Mapping[str, Any] | None:
        """One update."""
        return self.run("train", (data,))

    def test(self, data: Any) -> Mapping[str, Any] | None:
        """One batch of evaluation."""
        return self.run("test", (data,))

    def predict(self, data: Any) -> Any:
        """The outputs for a batch."""
        return self.run("predict", (data,))


class EagerExecutor(Executor):
    """Runs the steps as they are written.

    Args:
        state: what the steps read and change.
    """

    def __init__(self, state: TrainState) -> None:
        self.state = state

    def run(self, kind: str, batches: Sequence[Any]) -> Any:
        """The steps, one after the other."""
        step, state = STEPS[kind], self.state
        returned = None
        for data in batches:
            returned = step(state, data)
        return returned


class MethodExecutor(Executor):
    """Runs the steps that a subclass of Model has written itself.

    Args:
        model: the model, with train_step, test_step and predict_step.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._optimizers: list[Any] = []
        self._before: dict[torch.Tensor, int] = {}
        self._counts: list[int] = []

    def expect(self, kind: str, steps: int | None) -> None:
        """A run begins; the optimizers are found."""
        found = optimizers_of(self.model).values() if kind == "train" else self._optimizers
        self._optimizers = [getattr(optimizer, "inner_optimizer", optimizer) for optimizer in found]

    def run(self, kind: str, batches: Sequence[Any]) -> Any:
        """The steps, one after the other."""
        step = getattr(self.model, f"{kind}_step")
        returned = None
        with torch.set_grad_enabled(kind == "train" and torch.is_grad_enabled()):
            for data in batches:
                if kind == "train":
                    self._drop_used_gradients()
                returned = step(data)
        return returned

    def _drop_used_gradients(self) -> None:
        """Drop gradients that a train_step has used and left behind.

        They are those of weights that were updated in the last step. Others may be gathering gradients.
        """
        used = {weight for weight, version in self._before.items() if weight._version != version}
        counts = [_updates(optimizer) for optimizer in self._optimizers]
        for optimizer, count, before in zip(self._optimizers, counts, self._counts, strict=False):
            if count != before:
                used.update(_weights_of(optimizer))
        for weight in used:
            weight.grad = None
        self._counts = counts
        self._before = {weight: weight._version for weight in self.model.parameters()}


def _updates(optimizer: Any) -> int:
    """A number that grows with each update, also by fused kernels, which leave no trace on the weights."""
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        steps = [state.get("step") for state in optimizer.state.values()]
        return sum(step._version for step in steps if isinstance(step, torch.Tensor))
    iterations = getattr(optimizer, "_iterations", None)
    return 0 if iterations is None else iterations._version


def _weights_of(optimizer: Any) -> list[torch.Tensor]:
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        return [weight for group in optimizer.param_groups for weight in group["params"]]
    return getattr(optimizer, "_parameters", [])


class AdaptiveExecutor(EagerExecutor):
    """Runs the steps eagerly until compiled ones are there and faster.

    Args:
        state: what the steps read and change.
        find_whole: gives the same as tensors, for a kind of step, with the metrics and the optimizer that it needs.
        adoptions: how far the search for a faster step has come, by kind; kept by the model from call to call.
        forced: whether to compile at once, and use what comes out.
    """

    def __init__(
        self, state: TrainState, find_whole: Callable[[str], State], adoptions: Adoptions, forced: bool = False
    ) -> None:
        super().__init__(state)
        self._find_whole = find_whole
        self._adoptions = adoptions
        self._forced = forced

    def _adoption(self, kind: str) -> Adoption:
        adoption = self._adoptions.get(kind)
        if adoption is None:
            plan = self._adoptions.plan
            decision = None if plan is None else plan.of(kind)
            adoption = self._adoptions[kind] = Adoption(kind, partial(self._find_whole, kind), self._forced, decision)
        return adoption

    def expect(self, kind: str, steps: int | None) -> None:
        """A run begins, of so many steps; None if nobody knows."""
        self._adoption(kind).expect(steps)

    def steps_per_call(self, kind: str) -> int:
        """As many as fit into a small fraction of a second."""
        seconds = self._adoption(kind).seconds_per_step
        most = (self._adoptions.limit if kind == "train" else None) or _MOST_STEPS
        return 1 if not seconds else max(1, min(most, int(CALL_SECONDS / seconds)))

    def run(self, kind: str, batches: Sequence[Any]) -> Any:
        """The steps, compiled where that is possible and faster."""
        if kind == "train" and (self._adoptions.eagerly or self._adoptions.hooks):
            self._adoption(kind).report.note_hooks()
            return super().run(kind, batches)
        adoption = self._adoption(kind)
        compiled = adoption.choose(batches, self.state)
        count = 0 if compiled is None else compiled.count(batches)
        returned = None
        start = adoption.clock()
        if compiled is not None and count:
            returned = compiled.run(batches[:count])
            now = adoption.clock()
            adoption.took(now - start, count, compiled=True)
            start = now
        if count < len(batches):
            with _one_thread_less() if adoption.leaves_a_core else contextlib.nullcontext():
                returned = super().run(kind, batches[count:])
            adoption.took(adoption.clock() - start, len(batches) - count, compiled=False)
        return returned


@contextlib.contextmanager
def _one_thread_less() -> Iterator[None]:
    """Leave a core to the compiler: threads that wait for one that is not running cost far more than a thread less."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
