"""The doctor in training: watches some of the steps, and says what is wrong and what helps."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lamina.callbacks.base import Callback
from lamina.core.errors import ArgumentTypeError
from lamina.doctor.before import Examination
from lamina.doctor.during import Course, judge, leave_numbers
from lamina.doctor.finding import Findings
from lamina.doctor.watch import Sample, Watch, find_lost

_FIRST, _NEEDED = (0, 1, 2, 5, 10, 20, 50), (0, 5, 10, 20)
_EVERY = 100
_BUDGET = 0.01
"""The share of the time that watching may take."""
_FREE = 0.01
"""The seconds within which all of the first steps are watched; if that takes longer, only those that are needed."""
_KEPT = 60
_ALARMS = 20
_STATUS, _MEMORY = Path("/proc/self/statm"), Path("/proc/meminfo")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Doctor(Callback):
    """Watches a training and keeps what is wrong with it, with the change in code that helps.

    It looks at steps 0, 5, 10 and 20, at 1, 2 and 50 too where that is quickly done, and then at one in a hundred, or
    fewer where that would take more than a hundredth of the time. Those steps run as they are written; all others may
    be compiled. What `fit` can see of model and data is looked at before the first step. `fit(..., doctor=True)` makes
    one by itself.

    Args:
        verbose: whether to print the findings at the end; None to do it where `fit` prints.

    Attributes:
        findings: what was found, so far.

    Example:
        >>> import numpy as np
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> x = 100 * np.random.default_rng(0).normal(size=(64, 2))
        >>> doctor = Doctor()
        >>> _ = model.fit(x, x[:, :1] / 100, verbose=0, callbacks=[doctor])
        >>> "unscaled-inputs" in doctor.findings.codes
        True
    """

    keeps_logs = False
    hears_every_batch = False

    def __init__(self, verbose: bool | None = None) -> None:
        super().__init__()
        self.verbose = verbose
        self._before = Findings()
        self._course = Course()
        self._watch: Watch | None = None
        self._adoptions: Any = None
        self._read_loss: Callable[[], float] | None = None
        self._is_cpu = True
        self._start_counting()

    def _start_counting(self) -> None:
        self._step = self._next = self._looks = self._alarmed = 0
        self._plain_seconds, self._plain_steps, self._waited = 0.0, 0, 0.0
        self._timed: list[tuple[float, float]] = []
        self._cost = 0.0
        self._watching = False
        self._finished: float | None = None
        self._running = (0.0, 0.0)

    @property
    def findings(self) -> Findings:
        """What was found: before training, and in the steps and epochs so far."""
        course = self._course
        course.steps = self._step
        if self._is_cpu:
            course.working, course.waiting, course.batches = self._plain_seconds, self._waited, self._plain_steps
        else:
            # On a GPU a step returns before it is done: only those that were watched tell how long one takes.
            course.working, course.waiting = (sum(times) for times in zip(*self._timed or [(0.0, 0.0)], strict=True))
            course.batches = len(self._timed)
        return self._before + judge(course)

    @property
    def watched(self) -> int:
        """How many steps were watched so far."""
        return self._looks

    def examined(self, examination: Examination) -> None:
        """Receive what was found before training.

        Args:
            examination: the findings, and the loss of a model that knows nothing.
        """
        self._before = examination.findings
        self._baseline = examination.baseline

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make ready to watch."""
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        inner = getattr(inner, "optimizer", inner)
        self._course = Course(
            rate=_rate_of(optimizer),
            optimizer=type(inner).__name__,
            baseline=getattr(self, "_baseline", None),
            metrics=_metrics_of(self.model),
        )
        self._watch = Watch(self.model)
        self._adoptions = vars(self.model).get("_adoptions")
        self._device = next((weight.device for weight in self.model.parameters()), torch.device("cpu"))
        self._start_counting()
        self._is_cpu = self._device.type == "cpu"
        self._loss: Any = getattr(getattr(self.model, "_compiled", None), "loss_tracker", None)
        # Only on a CPU does nobody wait when the running loss is read after every step.
        self._read_loss = self._loss.total.item if self._is_cpu and self._loss is not None else None
        self._arrange()

    def _arrange(self) -> None:
        """Tell the executor how far it may run until a step is watched, and whether the next one is."""
        if self._adoptions is not None:
            self._adoptions.limit = max(1, self._next - self._step)
            self._adoptions.eagerly = self._step >= self._next

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin new sums."""
        self._finished = None
        self._running = (0.0, 0.0)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Watch this step, or not."""
        self._begun, self._first = time.perf_counter(), batch
        if self._step >= self._next and self._watch is not None:
            self._watching = True
            self._watch.begin()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the loss, and take the numbers of a step that was watched."""
        begun, steps = self._begun, batch - self._first + 1
        if self._watching:
            self._end_look(begun)
        else:
            self._plain_seconds += time.perf_counter() - begun
            self._plain_steps += steps
            if self._finished is not None:
                self._waited += begun - self._finished
        self._step += steps
        if self._watching or (self._read_loss is not None and not math.isfinite(self._read_loss())):
            self._look_at_loss(self._step - 1)
        if self._watching:
            self._watching = False
            self._plan(time.perf_counter() - begun)
        if self._adoptions is not None:
            self._arrange()
        self._finished = time.perf_counter()

    def _end_look(self, begun: float) -> None:
        """Take the numbers of the step that was watched."""
        assert self._watch is not None
        if not self._is_cpu:
            torch.cuda.synchronize(self._device)
            if self._finished is not None:
                self._timed.append((time.perf_counter() - begun, begun - self._finished))
        self._looks += 1
        sample = self._watch.end(self._step, self._loss_scale())
        sample.memory = memory_in_use(self._device)
        samples: list[Sample] = self._course.samples
        samples.append(sample)
        if len(samples) > _KEPT:
            del samples[len(_FIRST)]

    def _loss_scale(self) -> float:
        scale = getattr(self.model.optimizer, "scale_loss", None)
        return 1.0 if scale is None else float(scale(torch.ones(()))) or 1.0

    def _look_at_loss(self, step: int) -> None:
        """The mean loss since the last look; one that is no number, or grows fast, is looked into at once."""
        course = self._course
        if course.lost is not None or self._loss is None:
            return
        total = self._loss.total.item()
        if not math.isfinite(total):
            course.lost = step
            course.lost_weights = find_lost(self.model)
            self._next = self._step
        if self._watching and (count := float(self._loss.count)) > self._running[1]:
            loss = (total - self._running[0]) / (count - self._running[1])
            self._running = total, count
            course.losses.append((step, loss))
            known = [loss for _, loss in course.losses]
            usual = max(min(known[0], known[-2] if len(known) > 1 else loss), 0.5 * (course.baseline or 0.0))
            if math.isfinite(loss) and loss > 2 * usual and self._alarmed < _ALARMS:
                self._alarmed += 1
                self._next = self._step

    def _plan(self, seconds: float) -> None:
        """Choose the next step to watch."""
        if self._next >= self._step:
            return
        plain = self._plain_seconds / self._plain_steps if self._plain_steps else None
        extra = seconds if plain is None else max(0.0, seconds - plain)
        self._cost = extra if not self._cost else min(extra, 0.5 * (self._cost + extra))
        first = _FIRST if (self._looks + 1) * self._cost <= _FREE else _NEEDED
        gap = max(_EVERY, math.ceil(self._cost / (_BUDGET * plain))) if plain else _EVERY
        self._next = next((step for step in first if step >= self._step), self._step - 1 + gap)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch to the curves."""
        course = self._course
        for name, value in leave_numbers(logs or {}).items():
            course.curves.setdefault(name, []).append(value)
        loss = course.curves.get("loss", [])
        if course.lost is None and loss and not math.isfinite(loss[-1]):
            course.lost, course.lost_weights = self._step - 1, find_lost(self.model)
        if loss and math.isfinite(loss[-1]):
            course.losses.append((self._step - 1, loss[-1]))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Hand the findings to the history; print them."""
        if self._adoptions is not None:
            self._adoptions.limit, self._adoptions.eagerly = None, False
        if self._watch is not None:
            self._watch.end_hooks()
        self._watch = self._adoptions = self._read_loss = None
        if self.model.history is not None:
            self.model.history.findings = self.findings
        if self.verbose if self.verbose is not None else bool((self.params or {}).get("verbose")):
            self.findings.show()


def memory_in_use(device: torch.device) -> float | None:
    """The share of memory in use: of the device, or of what is there for this process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / torch.cuda.get_device_properties(device).total_memory
    found = process_memory() if device.type == "cpu" else None
    return None if found is None else found[0] / found[1]


def process_memory() -> tuple[int, int] | None:
    """Bytes of memory that this process has, and those it can have at all; None where nobody tells."""
    if not _STATUS.exists() or not _MEMORY.exists():
        return None
    resident = int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    lines = (line.split() for line in _MEMORY.read_text().splitlines()[:3])
    free = {name: int(size) * 1024 for name, size, *_ in lines}["MemAvailable:"]
    bounds = [text for path in _LIMITS if path.exists() and (text := path.read_text().strip()).isdigit()]
    return resident, min([resident + free, *map(int, bounds)])


def _rate_of(optimizer: Any) -> float | None:
    try:
        return float(optimizer.learning_rate)
    except (AttributeError, TypeError):
        return None


def _metrics_of(model: Any) -> tuple[str, ...]:
    names: list[str] = []
    for metric in model.metrics:
        names += [part.name for part in getattr(metric, "metrics", None) or [metric]]
    return tuple(name for name in names if name != "loss")


_listening: list[list[Doctor]] = []


@contextlib.contextmanager
def in_every_fit() -> Iterator[list[Doctor]]:
    """Have a doctor in every `fit` within; gives the list of them, which grows.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> with in_every_fit() as doctors:
        ...     _ = model.fit(torch.randn(8, 2), torch.randn(8, 1), verbose=0)
        >>> len(doctors)
        1
    """
    doctors: list[Doctor] = []
    _listening.append(doctors)
    try:
        yield doctors
    finally:
        _listening.remove(doctors)


def doctor_for(given: Any) -> Doctor | None:
    """The doctor of a fit, for what it was given as `doctor`; None for none.

    Raises:
        ArgumentTypeError: it is neither True, False, None nor a Doctor.
    """
    if given is not None and not isinstance(given, (bool, Doctor)):
        raise ArgumentTypeError(
            "doctor is not usable.",
            where="fit(doctor=...)",
            expected="True, False or a callbacks.Doctor",
            received=repr(given),
        )
    doctor = given if isinstance(given, Doctor) else Doctor() if given else None
    if _listening:
        doctor = doctor or Doctor(verbose=False)
        _listening[-1].append(doctor)
    return doctor
