"""The progress bar: a line redrawn a few times a second on a terminal or in a notebook, one line an epoch elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lamina.callbacks.base import Callback
from lamina.core.config import is_interactive_logging_enabled, say
from lamina.core.errors import ArgumentError, check_number

_BOLD, _GREEN, _GRAY, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[90m", "\x1b[0m"


def is_notebook() -> bool:
    """Whether what is shown goes to a Jupyter notebook, or to what works like one."""
    return "ipykernel" in sys.modules and type(sys.stdout).__module__.startswith(("ipykernel", "google.colab"))


def can_redraw() -> bool:
    """Whether the output is a terminal or a notebook, where a line can be drawn over."""
    if not is_interactive_logging_enabled():
        return False
    if is_notebook() or "PYCHARM_HOSTED" in os.environ:
        return True
    return bool(getattr(sys.stdout, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


class Progbar:
    """A progress bar for loops of one's own.

    Args:
        target: steps in all; None when unknown.
        width: characters of the bar.
        verbose: 0 shows nothing, 1 a bar, 2 one line at the end.
        interval: seconds between two drawings.
        stateful_metrics: names shown as they are; all others are averaged over the steps.
        stateless_metrics: names averaged over the steps; all others are shown as they are.
        unit_name: what a step is called.

    Attributes:
        notes: what is shown at the end of a line that will be drawn over, as far as there is room.

    Raises:
        ArgumentError: both lists of names are given.

    Example:
        >>> bar = Progbar(2, verbose=2)
        >>> bar.update(1, [("loss", 0.5)])
        >>> bar.update(2, [("loss", 0.25)])
        2/2 - 0s - .../step - loss: 0.2500

    Source: https://keras.io/api/utils/python_utils/#progbar-class
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            what, fix = "stateful_metrics and stateless_metrics are both given.", "leave one of them out"
            raise ArgumentError(what, where="Progbar", fix=fix)
        if target is not None:
            check_number(target, "Progbar(target)")
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self.stateful_metrics = None if stateless_metrics is not None else set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self.notes: list[str] = []
        self._redraws = can_redraw() and is_interactive_logging_enabled()
        self._handle: Any = None
        self._sums: dict[str, tuple[float, int]] = {}
        self._seen = 0
        self._start = time.perf_counter()
        self._after_first: float | None = None
        self._drawn_at = 0.0
        self._drawn_width = 0

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Go on by `n` steps."""
        self.update(self._seen + n, values)

    def update(
        self, current: int, values: Iterable[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Show that `current` steps are done.

        Args:
            current: the number of steps done.
            values: pairs of a name and its value in the last step.
            finalize: whether this is the last call; by default when the target is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            self._note(name, value, max(current - self._seen, 1), finalize)
        self._seen = current
        now = time.perf_counter()
        if current == 1 and self._after_first is None:
            self._after_first = now
        if self.verbose == 0 or (self.verbose == 2 and not finalize):
            return
        if not finalize and (not self._redraws or now - self._drawn_at < self.interval):
            return
        self._drawn_at = now
        self._draw(now, finalize)

    def _note(self, name: str, value: Any, steps: int, final: bool) -> None:
        averaged = name not in self.stateful_metrics if self.stateful_metrics is not None else self._averages(name)
        total, count = self._sums.get(name, (0.0, 0))
        plain = final or not averaged
        number = float(np.mean(value)) if isinstance(value, (list, tuple, np.ndarray)) else float(value)
        self._sums[name] = (number, 1) if plain else (total + number * steps, count + steps)

    def _averages(self, name: str) -> bool:
        return self.stateless_metrics is not None and name in self.stateless_metrics

    def _draw(self, now: float, final: bool) -> None:
        colored = self._redraws and self.verbose == 1
        parts = [
            self._time(now, final),
            *(f"{name}: {_number(s / max(n, 1))}" for name, (s, n) in self._sums.items()),
        ]
        notes = [] if final else list(self.notes)
        text = " - ".join(parts + notes)
        count = f"{self._seen:{len(str(self.target))}d}/{self.target}" if self.target else f"{self._seen}/?"
        if not colored:
            between = " " + "━" * self.width + " " if self.verbose == 1 and self.target else " - "
            say(f"{count}{between}{text}")
            return
        if is_notebook():
            self._show(f"{count} {self._bar()} {text}")
            return
        room = shutil.get_terminal_size().columns - 1
        fixed = len(count) + 2 + (self.width if self.target else 0)
        while notes and fixed + len(text) > room:
            notes.pop()
            text = " - ".join(parts + notes)
        width = fixed + len(text)
        if width > room and not final:  # a line that wraps could not be drawn over
            text, width = text[: room - width], room
        line = f"\r{_BOLD}{count}{_PLAIN} {self._bar()} {text}{' ' * max(0, self._drawn_width - width)}"
        self._drawn_width = width
        sys.stdout.write(line + ("\n" if final else ""))
        sys.stdout.flush()

    def _show(self, line: str) -> None:
        """Replace what the notebook shows: a notebook keeps all that is written, but of a display only the last."""
        from IPython.display import display

        data = {"text/plain": line}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def _bar(self) -> str:
        if not self.target:
            return ""
        done = min(self.width, self.width * self._seen // self.target)
        return f"{_GREEN}{'━' * done}{_GRAY}{'━' * (self.width - done)}{_PLAIN}"

    def _time(self, now: float, final: bool) -> str:
        """Time left (at the end: time taken), and the time of a step. The first step, often slow, is left out."""
        if self._after_first is not None and self._seen > 1:
            step = (now - self._after_first) / (self._seen - 1)
        else:
            step = (now - self._start) / max(self._seen, 1)
        shown = now - self._start if final or self.target is None else step * (self.target - self._seen)
        separator = " - " if self.verbose == 2 else " "
        return f"{_clock(shown)}{separator}{_duration(step)}/{self.unit_name}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


class ProgbarLogger(Callback):
    """Shows the progress of fit, evaluate and predict. Batch results are read only when the line is redrawn.

    While an epoch runs, its line shows the time left for it, the time of a step, the results so far, the time left for
    all epochs, and steps per second; when it is over, the time it took, the time of a step and the results.

    Example:
        >>> callback = ProgbarLogger()
        >>> callback.set_params({"verbose": 2, "epochs": 3, "steps": 10})
        >>> callback.on_epoch_begin(0)
        Epoch 1/3

    Source: https://keras.io/api/models/model_training_apis/#fit-method
    """

    keeps_logs = False
    hears_every_batch = False
    interval = 0.2

    def __init__(self) -> None:
        super().__init__()
        self.verbose = 1
        self.epochs = 1
        self.target: int | None = None
        self.seen = 0
        self.progbar: Progbar | None = None
        self._next_draw = 0.0
        self._in_fit = False
        self._epoch = 0
        self._begun = 0.0
        self._taken: list[float] = []

    def set_params(self, params: dict[str, Any]) -> None:
        """Receive "verbose", "epochs" and "steps" of the call."""
        super().set_params(params)
        self.verbose = 1 if params.get("verbose", "auto") == "auto" else int(params["verbose"])
        self.epochs = params.get("epochs") or 1
        self.target = params.get("steps")
        self.hears_every_batch = self.interval <= 0
        if self.target is not None and (self.verbose != 1 or not can_redraw()):
            self.idle_hooks = frozenset({"on_train_batch_end", "on_test_batch_end", "on_predict_batch_end"})

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation within fit shows nothing of its own."""
        self._in_fit = True
        self._taken = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Name the epoch."""
        if self.verbose and self.epochs > 1:
            say(f"Epoch {epoch + 1}/{self.epochs}")
        self._epoch = epoch
        self._begin()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start, unless within fit."""
        if not self._in_fit:
            self._begin()

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start."""
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Redraw, if it is time."""
        self.seen = batch + 1
        now = time.perf_counter()
        if now >= self._next_draw and self.progbar is not None:
            self._next_draw = now + self.interval
            self.progbar.notes = self._notes(now)
            self.progbar.update(self.seen, (logs or {}).items(), finalize=False)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Redraw, if it is time."""
        if not self._in_fit:
            self.on_train_batch_end(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Redraw, if it is time."""
        self.on_train_batch_end(batch, None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw the finished line."""
        self._taken.append(time.perf_counter() - self._begun)
        self._end(logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the finished line, unless within fit."""
        if not self._in_fit:
            self._end(logs)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the finished line."""
        self._end(None)

    def _begin(self) -> None:
        self.seen = 0
        self._next_draw = 0.0
        self._begun = time.perf_counter()
        # Accumulated results are already means over the epoch, so none is averaged again.
        self.progbar = Progbar(self.target, verbose=self.verbose, interval=0.0, stateless_metrics=())

    def _notes(self, now: float) -> list[str]:
        """The time left for all epochs, and steps per second."""
        step = max(now - self._begun, 1e-9) / self.seen
        speed = f"{1 / step:.{0 if step < 0.1 else 1}f} steps/s"
        rest = self.epochs - self._epoch - 1 if self._in_fit else 0
        if rest <= 0 or self.target is None:
            return [speed]
        # Epochs that are over tell best what one takes with its validation.
        whole = sum(self._taken) / len(self._taken) if self._taken else step * self.target
        left = max(whole - (now - self._begun), step * (self.target - self.seen)) + rest * whole
        return [f"{_clock(left)} to the end", speed]

    def _end(self, logs: Mapping[str, Any] | None) -> None:
        if self.progbar is None:
            return
        if self.target is None and self.params:
            self.target = self.progbar.target = self.params.get("steps") or self.seen or None
        self.progbar.update(self.target or self.seen, (logs or {}).items(), finalize=True)
