"""The way of one kind of step from eager to compiled: when to begin, whether it is right, whether it pays."""

from __future__ import annotations

import abc
import operator
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamina.core import tree
from lamina.core.text import is_text
from lamina.training.capture import STEPS, Capture, State
from lamina.training.code_store import Compilation
from lamina.training.compiler import NotCapturable, Program, unavailable
from lamina.training.cuda_graph import RecordedStep
from lamina.training.plan import Plan
from lamina.training.report import StepReport
from lamina.training.step import TrainState
from lamina.training.tracing import Tracing

Tensor = torch.Tensor

_WORTH_SECONDS = 3.0
"""Work ahead, or behind, from which on compiling pays."""
_SETTLING_SECONDS = 0.3
"""Before that, nothing is begun that could delay the end of a first short epoch."""
_TRACING_SECONDS = 0.015
"""What tracing takes for each layer, roughly."""
_SMALL_STEP_MS = 2.0
"""Eager steps that take less gain little from a second thread."""
_COMPILING_SECONDS = 10.0
"""What compiling takes, roughly, while it has a core for itself."""
_ROUNDS = 3
_GAIN = 0.97
_TOLERANCE, _TOLERANCE_LOOSE = 0.02, 0.3
_RANDOM = ("bernoulli", "dropout", "aten.rand", "normal", "uniform", "multinomial", "exponential")


class FasterStep(abc.ABC):
    """One kind of step of one model in a faster form, for batches of one signature.

    Args:
        signature: what its batches look like.
    """

    def __init__(self, signature: list[Any]) -> None:
        self.signature = signature

    def count(self, batches: Sequence[Any]) -> int:
        """How many of the first batches it is made for."""
        for index, batch in enumerate(batches):
            if signature_of(batch) != self.signature:
                return index
        return len(batches)

    @abc.abstractmethod
    def run(self, batches: Sequence[Any]) -> Any:
        """One step for each batch; what the last one returns."""


class CompiledStep(FasterStep):
    """A step as compiled code.

    Args:
        program: the code, bound to the state of the model.
        outputs: what the step returns, tensors replaced by their place in the results; None for nothing.
        signature: what its batches look like.
    """

    def __init__(self, program: Program, outputs: Any, signature: list[Any]) -> None:
        super().__init__(signature)
        self._program = program
        self._outputs = outputs

    def run(self, batches: Sequence[Any]) -> Any:
        """One step for each batch; what the last one returns."""
        plain = type(batches[0]) is tuple and all(type(leaf) is Tensor for leaf in batches[0])
        leaves = batches if plain else [[leaf for leaf in tree.flatten(batch) if leaf is not None] for batch in batches]
        if self._outputs is None:
            return self._program.steps(leaves)
        results: list[Tensor] = []
        for batch in leaves:
            results = self._program.results(batch)
        return tree.map_structure(lambda place: None if place is None else results[place], self._outputs)


class GraphStep(FasterStep):
    """A step as a CUDA graph.

    Args:
        recorded: the graph.
        signature: what its batches look like.
    """

    def __init__(self, recorded: RecordedStep, signature: list[Any]) -> None:
        super().__init__(signature)
        self._recorded = recorded

    def run(self, batches: Sequence[Any]) -> Any:
        """One step for each batch; what the last one returns."""
        return self._recorded.run(batches)


def signature_of(batch: Any) -> list[Any]:
    """What a faster step relies on: shapes, strides, dtypes and devices."""
    if type(batch) is tuple and len(batch) == 2 and type(batch[0]) is Tensor and type(batch[1]) is Tensor:
        x, y = batch
        return [x.shape, x.stride(), x.dtype, x.device, y.shape, y.stride(), y.dtype, y.device]
    found: list[Any] = []
    for leaf in tree.flatten(batch):
        found += [leaf.shape, leaf.stride(), leaf.dtype, leaf.device] if isinstance(leaf, Tensor) else [None]
    return found


class Adoptions(dict[str, "Adoption"]):
    """The adoptions of a model by kind of step; a copy of the model begins without any.

    Attributes:
        plan: says which steps are compiled, where that is not left to a measurement.
        limit: how many steps one call may run, where somebody wants to look in between.
        eagerly: whether training steps run as they are written for now, because the doctor looks.
        hooks: how many callbacks see the gradients; with any, training steps run as they are written.
    """

    plan: Plan | None = None
    limit: int | None = None
    eagerly: bool = False
    hooks: int = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Adoptions:
        return Adoptions()

    def __reduce__(self) -> tuple[Any, ...]:
        return Adoptions, ()


class Adoption:
    """One kind of step of one model, on its way.

    Args:
        kind: "train", "test" or "predict".
        find_state: gives all tensors that the step reads or changes, as they are now.
        forced: whether to compile after the first step, wait for it, and use it without timing it.
        decision: what a `Plan` says about this kind of step: to compile it before the first one, or never.
    """

    def __init__(
        self,
        kind: str,
        find_state: Callable[[], State],
        forced: bool = False,
        decision: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.forced = forced or decision is not None
        self._decision = decision
        self.report = StepReport(kind)
        self._find_state = find_state
        self._ahead = 0.0
        self._spent = 0.0
        self._restart()

    def _restart(self) -> None:
        self._phase = "waiting"
        self._state: State | None = None
        self._settings: Any = None
        self._tracing: Tracing | None = None
        self._capture: Capture | None = None
        self._compilation: Compilation | None = None
        self._faster: FasterStep | None = None
        self._signature: list[Any] = []
        self._on_gpu = False
        self._times: dict[bool, list[float]] = {False: [], True: []}

    # What the executor tells.

    def expect(self, steps: int | None) -> None:
        """A run begins, of so many steps; None if nobody knows. A model that has changed begins anew."""
        self._ahead = steps or 0
        if self._state is None:
            return
        known, self._state = self._state, self._find_state()
        if self._state.settings() != self._settings:
            self._restart()
            self.report = StepReport(self.kind, why="the model has changed")
        elif self._faster is not None and not _same(known.tensors, self._state.tensors):
            if self._on_gpu:
                self._restart()
            else:
                self._faster = self._bound(self._state.tensors, None)

    def took(self, seconds: float, steps: int, compiled: bool) -> None:
        """How long some steps took that were run."""
        report, each = self.report, seconds / steps
        is_first = report.steps == 0  # which prepares things
        report.steps += steps
        self._ahead -= steps
        self._spent += seconds
        if compiled:
            report.compiled_steps += steps
            report.compiled_ms = _least(report.compiled_ms, each)
        elif not is_first:
            report.eager_ms = _least(report.eager_ms, each)
        if self._phase == "trial":
            self._times[compiled].append(each)

    @property
    def seconds_per_step(self) -> float | None:
        """The best time of a step as it is run now."""
        report = self.report
        best = report.eager_ms if report.runs == "eager" else report.compiled_ms
        return None if best is None else best / 1e3

    @property
    def leaves_a_core(self) -> bool:
        """Whether eager steps shall use a thread less, because the step is being traced or compiled beside them."""
        return self._phase == "making" and self._tracing is not None and torch.get_num_threads() > 1

    def clock(self) -> float:
        """The time; on a GPU, while eager and faster steps are compared, when all work so far is done."""
        if self._on_gpu and self._phase == "trial":
            torch.cuda.synchronize()
        return time.perf_counter()

    # The way.

    def choose(self, batches: Sequence[Any], step_state: TrainState) -> FasterStep | None:
        """The compiled step if the first of these batches shall be run with it, or None."""
        if self._phase in ("waiting", "making"):
            try:
                self._advance(batches[0], step_state)
            except NotCapturable as error:
                self._settle(error.what)
            except Exception as error:
                # An error of the model's own comes again, and is raised, when the batch now runs eagerly.
                self._settle(_in_short(error))
        if self._phase == "adopted":
            return self._faster
        return self._in_turn() if self._phase == "trial" else None

    def _advance(self, batch: Any, step_state: TrainState) -> None:
        if self._phase == "waiting" and self._shall_begin(batch):
            self._begin(batch)
        if self._phase == "making":
            self._continue(batch, step_state)

    def _shall_begin(self, batch: Any) -> bool:
        decision = self._decision
        if decision is None:
            return self.report.steps > 0 and (self.forced or self._is_worth_it())
        if decision["runs"] == "eager":
            self._settle(decision["why"])
            return False
        # A run that goes on may begin with a batch of another size than those that the code was made for.
        signature = repr(signature_of(batch))
        decision["signature"] = decision["signature"] or signature
        return decision["signature"] == signature

    def _is_worth_it(self) -> bool:
        eager = self.report.eager_ms
        if eager is None or self._spent < _SETTLING_SECONDS:
            self.report.why = "it has just begun"
            return False
        work = max(self._ahead * eager / 1e3, self._spent)
        # A thread less while the compiler works is a loss for large steps, and hardly one for small steps.
        loss = 0.0 if eager < _SMALL_STEP_MS else _COMPILING_SECONDS / torch.get_num_threads()
        if work < _WORTH_SECONDS + 10 * loss:
            self.report.why = "there is not enough work ahead for compiling to pay"
            return False
        state = self._find_state()
        if work < 10 * _TRACING_SECONDS * len(state.modules):
            self.report.why = "there is not enough work ahead for compiling a model of this size to pay"
            return False
        return True

    def _begin(self, batch: Any) -> None:
        """Have the step traced; on a GPU record it when it is tried."""
        if any(is_text(leaf) for leaf in tree.flatten(batch)):
            raise NotCapturable("a batch holds text, which Python works on and compiled code cannot")
        self._state = self._find_state()
        self._settings = self._state.settings()
        self._signature = signature_of(batch)
        self._on_gpu = any(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in tree.flatten(batch))
        self._phase = "making"
        if self._on_gpu:
            return
        reason = unavailable()
        if reason is not None:
            raise NotCapturable(reason)
        self._tracing = Tracing(self._state, self.kind, batch, awaited=self.forced)
        self.report.why = "compiled code is being made"

    def _continue(self, batch: Any, step_state: TrainState) -> None:
        """Have the traced step compiled; if the faster step is there, and right: try it."""
        assert self._state is not None
        if self._tracing is not None and self._capture is None:
            if not self._tracing.done(wait=self.forced):
                return
            self._capture = self._tracing.result()
            self.report.tracing_seconds = self._tracing.seconds
            self._compilation = Compilation(self._capture.graph, awaited=self.forced)
            self.report.from_disk = self._compilation.was_kept
        if self._compilation is not None and not self._compilation.done(wait=self.forced):
            return
        if signature_of(batch) != self._signature:
            return
        if self._compilation is not None:
            self.report.compiling_seconds = self._compilation.seconds
            if self._compilation.error is not None:
                raise NotCapturable(f"compiling failed: {self._compilation.error}")
        self._compare(self._state.tensors, batch, step_state)
        self._faster = self._bound(self._state.tensors, batch)
        self._phase = "trial"
        if self._decision is not None:
            self._decision["made"] = True
            self._adopt(self._decision["why"])
        elif self.forced:
            self._adopt("jit_compile=True")

    def _bound(self, tensors: Sequence[Tensor], batch: Any) -> FasterStep:
        """The faster step, reading and changing these tensors."""
        assert self._state is not None
        if self._on_gpu:
            return GraphStep(RecordedStep(self._state, tensors, self.kind, batch), self._signature)
        assert self._compilation is not None and self._capture is not None
        program = Program(self._compilation.folder, tensors, self._capture.graph.constants)
        return CompiledStep(program, self._capture.outputs, self._signature)

    def _compare(self, tensors: Sequence[Tensor], batch: Any, step_state: TrainState) -> None:
        """One compiled step on copies of the state, one eager step on the state itself: both must change it alike.

        Afterwards the state is as it was.
        """
        before = [_copy(tensor) for tensor in tensors]
        copies = [_copy(tensor) for tensor in tensors]
        devices = [torch.cuda.current_device()] if self._on_gpu else []
        try:
            with torch.random.fork_rng(devices):
                numbers = torch.random.get_rng_state()
                made = tree.flatten(self._bound(copies, batch).run([batch]))
                torch.random.set_rng_state(numbers)  # the eager step draws the same
                expected = tree.flatten(STEPS[self.kind](step_state, batch))
            triples = list(zip(before, copies, tensors, strict=True))
            for one, other in zip(made, expected, strict=True):
                if isinstance(other, Tensor):
                    triples.append((torch.zeros_like(other), one, other))
            self.report.difference = self._largest_difference(triples)
        finally:
            with torch.no_grad():
                for tensor, saved in zip(tensors, before, strict=True):
                    tensor.copy_(saved)

    @torch.no_grad()
    def _largest_difference(self, triples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
        """Between two outcomes, relative to the change that was expected.

        Weights may differ more than the rest: where a gradient is all rounding error, Adam makes a whole step of it.

        Raises:
            NotCapturable: they differ by more than rounding explains.
        """
        assert self._state is not None
        text = "dropout" if self._capture is None else self._capture.graph.text
        random, narrow = any(name in text for name in _RANDOM), "float16" in text
        weights = {id(weight) for weight in self._state.step_state.variables}
        largest = 0.0
        for before, made, expected in triples:
            change, gap = _distance(before, expected), _distance(made, expected)
            noise = 1e-6 * (1.0 + float(torch.linalg.vector_norm(expected.float(), dtype=torch.float64)))
            allowed = _TOLERANCE_LOOSE if narrow or id(expected) in weights else _TOLERANCE
            if gap <= allowed * change + noise:
                largest = max(largest, gap / (change + noise))
            elif not (random and 0.1 * change - noise <= _distance(before, made) <= 10 * change + noise):
                raise NotCapturable(f"the compiled step is off by {gap:.2g}, where the eager one moves {change:.2g}")
        return largest

    def _in_turn(self) -> FasterStep | None:
        """Eager and compiled steps by turns, until there are enough of both; then the faster."""
        eager, compiled = self._times[False], self._times[True]
        if len(compiled) <= _ROUNDS or len(eager) < _ROUNDS:
            return self._faster if len(compiled) <= len(eager) else None
        fast, slow = min(compiled[1:]), min(eager)
        self.report.compiled_ms, self.report.eager_ms = fast * 1e3, slow * 1e3
        if fast < _GAIN * slow:
            self._adopt(f"{slow / fast:.2f} times as fast as the eager step")
            return self._faster
        self._settle("the compiled step is not faster")
        return None

    def _adopt(self, why: str) -> None:
        self._phase = "adopted"
        self.report.runs, self.report.why = "CUDA graph" if self._on_gpu else "compiled", why

    def _settle(self, why: str) -> None:
        self._restart()
        self._phase = "settled"
        self.report.runs, self.report.why = "eager", why
        decision = self._decision
        if decision is None and self.forced:
            warnings.warn(f"jit_compile=True, but {self.kind} steps run eagerly: {why}.", stacklevel=2)
        elif decision is not None and decision["runs"] == "compiled":
            if decision["forced"] or decision["made"]:
                wanted = "jit_compile=True" if decision["forced"] else "The run was begun with compiled steps"
                warnings.warn(f"{wanted}, but {self.kind} steps run eagerly: {why}.", stacklevel=2)
            decision.update(runs="eager", why=why)


def _least(best: float | None, seconds: float) -> float:
    return seconds * 1e3 if best is None else min(best, seconds * 1e3)


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _copy(tensor: Tensor) -> Tensor:
    """A plain tensor of the same values and strides."""
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return copy.copy_(tensor.detach()).requires_grad_(tensor.requires_grad)


def _distance(one: Tensor, other: Tensor) -> float:
    return float(torch.linalg.vector_norm(one.float() - other.float(), dtype=torch.float64))


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
