"""Training that can be broken off at any moment and taken up again: what a run's checkpoint holds, and when it is made.

A run that goes on from a checkpoint ends with the same weights, optimizer state and history, bit for bit, as one that
was never broken off, on a CPU with the same number of threads. For that, whether steps are compiled is decided once,
at the start, and not by time; and batches come in the order they would have come in.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.callbacks.backup import BackupAndRestore
from lamina.callbacks.callback_list import CallbackList
from lamina.core.errors import ArgumentError
from lamina.core.forms import ANYTHING, COUNT, GENERATORS, any_of, check_generators
from lamina.core.seeds import generators_state, set_generators_state
from lamina.data.feed import FEED, Feed
from lamina.saving.checkpoint import Checkpoints
from lamina.training.capture import STEPS
from lamina.training.fingerprint import differences
from lamina.training.plan import Plan
from lamina.training.prepare import state_of
from lamina.training.whole_state import MODEL, compare, put_back, read_out

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}

_DECISION = {
    "runs": any_of("eager", "compiled"),
    "why": str,
    "forced": bool,
    "made": bool,
    "signature": ANYTHING,
}
RUN = {
    "position": {
        "epoch": COUNT,
        "batch": COUNT,
        "logs": {str: ANYTHING},
        "last": (None, {str: ANYTHING}),
        "steps": COUNT,
        "is_over": bool,
        "stopped": bool,
    },
    "model": MODEL,
    "callbacks": [{"class": str, "state": dict}],
    "feed": FEED,
    "validation": (None, FEED),
    "generators": GENERATORS,
    "plan": {str: _DECISION},
    "fingerprint": {str: ANYTHING},
}
"""The form of a run's checkpoint."""
BACKUP = {"epoch": COUNT, "batch": COUNT, "model": MODEL, "generators": GENERATORS}
"""The form of a checkpoint of `BackupAndRestore`."""


@dataclass(frozen=True)
class Interval:
    """How often a checkpoint is made: after so many seconds, steps or epochs, whichever of them is given."""

    seconds: float | None = None
    steps: int | None = None
    epochs: int | None = None

    @classmethod
    def of(cls, given: Any) -> Interval:
        """What `checkpoint_every` means.

        Args:
            given: a number of steps, or text: "epoch", "5 epochs", "100 steps", "30s", "10 min", "1 h".

        Raises:
            ArgumentError: it means nothing.

        Example:
            >>> Interval.of("10 min")
            Interval(seconds=600.0, steps=None, epochs=None)
        """
        if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and given > 0:
            return cls(steps=int(given))
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*", given) if isinstance(given, str) else None
        if found is not None:
            number, unit = float(found[1] or 1), found[2].rstrip("s") or "s"
            if unit in _UNITS and number > 0:
                return cls(seconds=number * _UNITS[unit])
            if unit in ("step", "epoch") and number >= 1 and number.is_integer():
                return cls(**{f"{unit}s": int(number)})
        raise ArgumentError(
            "checkpoint_every is not usable.",
            where="fit(checkpoint_every=...)",
            expected='a number of steps, or "epoch", "5 epochs", "30s", "10 min", "1 h"',
            received=repr(given),
        )


@dataclass
class Position:
    """How far a run has come.

    Args:
        epoch: the epoch that is running, or comes next.
        batch: how many of its batches were used; 0 before the first.
        logs: the results of the last epoch that ended.
        last: what the last step returned, where steps of the user's own return results.
        steps: how many steps were made in all.
        is_over: whether training has ended, and the last hooks were called.
        stopped: whether it ended because somebody asked for it.
    """

    epoch: int = 0
    batch: int = 0
    logs: dict[str, Any] = field(default_factory=dict)
    last: Any = None
    steps: int = 0
    is_over: bool = False
    stopped: bool = False


class Run:
    """One training that leaves checkpoints in a folder and can be taken up from them.

    Args:
        model: the model.
        folder: the folder; a run of its own for each.
        every: how often; see `Interval`.

    Raises:
        ArgumentError: the folder or the interval is not usable.
        FileError: there are checkpoints, and none can be read.
    """

    def __init__(self, model: Any, folder: str | os.PathLike[str], every: Any) -> None:
        self.interval = Interval.of(every)
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder) or Path(folder).is_file():
            raise ArgumentError("resume is not usable.", where="fit", expected="a folder", received=repr(folder))
        self.model = model
        self.checkpoints = Checkpoints(folder, form=RUN)
        self._found: dict[str, Any] | None = self.checkpoints.read()
        self.position = Position()
        self._mark = (time.monotonic(), 0, 0)

    # At the start.

    def prepare(self, feed: Feed, validation: Any, callbacks: Any, fingerprint: dict[str, Any], plan: Plan) -> None:
        """Meet all that takes part.

        Args:
            feed: the batches.
            validation: what is evaluated on, or None.
            callbacks: the callbacks of the call.
            fingerprint: of this run.
            plan: how steps shall be run; a run that goes on has its own.
        """
        self.feed, self.validation, self.callbacks = feed, validation, callbacks
        self.fingerprint, self.plan = fingerprint, plan
        if self._found is not None:
            plan.take_up(self._found["plan"])

    def is_complete(self, epochs: int) -> bool:
        """Whether the run in the folder has ended, and needs no further epoch; the model is then as it was at the end.

        A run that is to have more epochs goes on from where its last epoch ended.
        """
        if self._found is None or not self._found["position"]["is_over"]:
            return False
        position = Position(**self._found["position"])
        if position.epoch < epochs and not position.stopped:
            before_end = self.checkpoints.read(skip=1)
            self._found = self._found if before_end is None else before_end
            return False
        give = self._compared_model(self._found)
        history = next((entry["state"] for entry in self._found["callbacks"] if entry["class"] == "History"), None)
        self.model.history._check_state(history, f"{self._label}: callbacks/History")
        self._warn_of_changes(self._found)
        give()
        self.model.history.set_state(history)
        return True

    @property
    def middle(self) -> int | None:
        """The epoch in the middle of which the run goes on; None if it begins with a new one."""
        if self._found is None or not self._found["position"]["batch"]:
            return None
        return self._found["position"]["epoch"]

    def begin(self, epoch: int) -> Position:
        """Put everything into the state of the checkpoint; where to go on. Called when all hooks have begun.

        Args:
            epoch: the first epoch of a run that begins anew.
        """
        found, self._found = self._found, None
        if found is None:
            self.position.epoch = epoch
        else:
            give = self._compared(found)
            self._warn_of_changes(found)
            give()
            self._restore_callbacks(found["callbacks"])
            self.feed.set_state(found["feed"])
            if self.validation is not None and found["validation"] is not None:
                self.validation.feed.set_state(found["validation"])
            self.position = Position(**{**found["position"], "is_over": False})
            set_generators_state(found["generators"])
        self._mark = (time.monotonic(), self.position.steps, self.position.epoch)
        return self.position

    @property
    def _label(self) -> str:
        return str(self.checkpoints.folder)

    def _compared(self, found: Mapping[str, Any]) -> Callable[[], None]:
        """See whether everything in a checkpoint can be taken up; the function that puts the model's part back."""
        check_generators(found["generators"], self._label, "generators")
        for callback, state in self._states_of_callbacks(found["callbacks"]):
            name = type(callback).__name__
            if state is None and hasattr(callback, "set_state") and callback.get_state():
                warnings.warn(f"The checkpoint knows no {name}, which begins anew.", stacklevel=2)
            elif state is not None and hasattr(callback, "_check_state"):
                callback._check_state(state, f"{self._label}: callbacks/{name}")
        epochs = found["position"]["epoch"] + 1
        self.feed.check_state(found["feed"], self._label, "feed", epochs)
        if self.validation is not None and found["validation"] is not None:
            self.validation.feed.check_state(found["validation"], self._label, "validation", epochs)
        return self._compared_model(found)

    def _compared_model(self, found: Mapping[str, Any]) -> Callable[[], None]:
        return compare(self.model, found["model"], self._label, self._warm_up)

    def _warn_of_changes(self, found: Mapping[str, Any]) -> None:
        changed = differences(found["fingerprint"], self.fingerprint)
        if changed:
            warnings.warn(
                f"This is not what the run in {self.checkpoints.folder} was begun with, so it will not end as if it "
                f"had never been broken off. {changed}.",
                stacklevel=6,
            )

    def _warm_up(self) -> None:
        """Have metrics that make their variables at the first batch make them."""
        warm_up(self.model, self.feed.peek())

    def _states_of_callbacks(self, states: list[Any]) -> Iterator[tuple[Any, Any]]:
        """Each callback with its state; None for one that the checkpoint does not know."""
        known = [(state["class"], state["state"]) for state in states]
        for callback in self.callbacks.callbacks:
            name = type(callback).__name__
            place = next((index for index, entry in enumerate(known) if entry[0] == name), None)
            yield callback, None if place is None else known.pop(place)[1]

    def _restore_callbacks(self, states: list[Any]) -> None:
        for callback, state in self._states_of_callbacks(states):
            if state is not None:
                callback.set_state(state)

    # On the way.

    def after_batches(self, batch: int, count: int, last: Any) -> None:
        """Some steps were made; a checkpoint if one is due.

        Args:
            batch: how many batches of this epoch were used.
            count: how many steps there were.
            last: what the last one returned.
        """
        position = self.position
        position.batch = batch
        position.steps += count
        if self._is_due() and not self.model.stop_training:
            position.last = dict(last) if isinstance(last, Mapping) else None
            self._save()

    def after_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        """An epoch has ended and all have heard of it; a checkpoint if one is due."""
        self.position.epoch, self.position.batch, self.position.last = epoch + 1, 0, None
        self.position.logs = logs
        if self._is_due():
            self._save()

    def _is_due(self) -> bool:
        then, steps, epochs = self._mark
        interval, position = self.interval, self.position
        if interval.seconds is not None:
            return time.monotonic() - then >= interval.seconds and not self.checkpoints.is_writing
        if interval.steps is not None:
            return position.steps - steps >= interval.steps
        return position.batch == 0 and position.epoch - epochs >= (interval.epochs or 1)

    def _state(self) -> dict[str, Any]:
        callbacks = [c for c in self.callbacks.callbacks if hasattr(c, "get_state")]
        return {
            "position": asdict(self.position),
            "model": read_out(self.model),
            "callbacks": [{"class": type(c).__name__, "state": c.get_state()} for c in callbacks],
            "feed": self.feed.get_state(self.position.batch),
            "validation": None if self.validation is None else self.validation.feed.get_state(),
            "generators": generators_state(),
            "plan": self.plan.kinds,
            "fingerprint": self.fingerprint,
        }

    def _save(self) -> None:
        self.checkpoints.write(self._state())
        self._mark = (time.monotonic(), self.position.steps, self.position.epoch)

    # At the end.

    def before_end(self) -> None:
        """All epochs are through; a checkpoint before the last hooks change the weights."""
        self.position.stopped = bool(self.model.stop_training)
        self._save()

    def end(self) -> None:
        """Everything is through: the last checkpoint, from which the run can also be made longer."""
        self.position.is_over = True
        self._save()

    def close(self) -> None:
        """Wait until all is written."""
        self.checkpoints.wait()


@torch.no_grad()
def warm_up(model: Any, batch: Any) -> None:
    """Evaluate a batch, for what is made at the first one; the numbers do not matter."""
    if model._has_own_steps():
        model.test_step(batch)
    else:
        STEPS["test"](state_of(model), batch)


class Backup:
    """What a `BackupAndRestore` callback works with: weights, optimizer, epoch and generators, as Keras keeps them.

    Args:
        model: the model.
        folder: the callback's folder.
        keep: how many checkpoints to keep.
    """

    def __init__(self, model: Any, folder: str | os.PathLike[str], keep: int) -> None:
        self.model = model
        self.checkpoints = Checkpoints(folder, keep, BACKUP)

    def save(self, epoch: int, batch: int) -> None:
        """Make a checkpoint."""
        state = {"epoch": epoch, "batch": batch, "model": read_out(self.model), "generators": generators_state()}
        self.checkpoints.write({**state, "model": {**state["model"], "stop_training": False}})

    def restore(self) -> int | None:
        """Take up the last checkpoint; the epoch to begin with, None if there is no checkpoint."""
        found = self.checkpoints.read()
        if found is None:
            return None
        check_generators(found["generators"], str(self.checkpoints.folder), "generators")
        put_back(self.model, found["model"], str(self.checkpoints.folder), lambda: None)
        set_generators_state(found["generators"])
        return found["epoch"]

    def delete(self) -> None:
        """Remove all checkpoints."""
        self.checkpoints.delete()

    def close(self) -> None:
        """Wait until all is written."""
        self.checkpoints.wait()


def attach_backups(model: Any, callbacks: CallbackList, run: Run | None) -> list[Backup]:
    """Give each `BackupAndRestore` among the callbacks what it works with.

    Raises:
        ArgumentError: the run keeps checkpoints already.
    """
    found = [callback for callback in callbacks.callbacks if isinstance(callback, BackupAndRestore)]
    if found and run is not None:
        raise ArgumentError(
            "Two things would take up this training.",
            where="fit(resume=..., callbacks=[BackupAndRestore(...)])",
            fix="leave the callback out: resume=... does all it does",
        )
    for callback in found:
        callback.backup = Backup(model, callback.backup_dir, 2 if callback.double_checkpoint else 1)
    return [callback.backup for callback in found]
