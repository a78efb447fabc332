"""Learning rates that change between epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.monitor import MonitorCallback
from lamina.core.config import say
from lamina.core.errors import ArgumentError, ArgumentTypeError, StateError, check_number, check_type
from lamina.core.forms import ANYTHING, NUMBER, Maybe, alike, check, described, refuse


def optimizers_of(model: Any, where: str) -> dict[str, Any]:
    """The model's optimizers by the name their learning rate has in the logs."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    parts = getattr(optimizer, "optimizers", None)
    named = {f"learning_rate_{part.name}": part for part in parts} if parts else {"learning_rate": optimizer}
    if any(not hasattr(part, "learning_rate") for part in named.values()):
        fix, received = 'model.compile(optimizer="adam", loss=...)', type(optimizer).__name__
        raise StateError("The optimizer has no learning_rate.", where=where, received=received, fix=fix)
    return named


def learning_rates(model: Any) -> dict[str, float]:
    """The present learning rates by the names they have in the logs; none where the optimizer has none.

    Args:
        model: the model.
    """
    try:
        return {name: float(part.learning_rate) for name, part in optimizers_of(model, "").items()}
    except StateError:
        return {}


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of every epoch.

    Args:
        schedule: gives the new rate for (epoch, present rate), or for (epoch).
        verbose: 1 prints a line each time.

    Raises:
        ArgumentTypeError: the schedule gives something other than a float.

    Example:
        >>> callback = LearningRateScheduler(lambda epoch, rate: rate * 0.9)

    Source: https://keras.io/api/callbacks/learning_rate_scheduler/
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        check_type(schedule, Callable, "LearningRateScheduler(schedule)", "a function of (epoch, rate)")
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate."""
        for name, optimizer in optimizers_of(self.model, "LearningRateScheduler").items():
            rate = self._next_rate(epoch, float(optimizer.learning_rate))
            optimizer.learning_rate = rate
            if self.verbose > 0:
                say(f"\nEpoch {epoch + 1}: {name} is set to {rate}.")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the rate to the results."""
        if logs is not None:
            for name, optimizer in optimizers_of(self.model, "LearningRateScheduler").items():
                logs[name] = float(optimizer.learning_rate)

    def _next_rate(self, epoch: int, rate: float) -> float:
        try:
            new = self.schedule(epoch, rate)
        except TypeError:
            new = self.schedule(epoch)
        if isinstance(new, torch.Tensor) and new.numel() == 1:
            new = float(new)
        if not isinstance(new, (float, np.floating)):
            raise ArgumentTypeError(
                "The schedule must give a float.",
                where="LearningRateScheduler(schedule)",
                expected="a float; does the schedule end with `return`?",
                received=f"{new!r} ({type(new).__name__})",
            )
        return float(new)


class TorchScheduler(Callback):
    """Steps a learning rate scheduler of torch after every epoch.

    Args:
        scheduler: the scheduler; torch's ReduceLROnPlateau is given the monitored result.
        monitor: that result's name; "val_loss" where there is one, else "loss", by default.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> callback = TorchScheduler(torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5))
        >>> optimizer.step()
        >>> callback.on_epoch_end(0, {"loss": 1.0})
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """

    def __init__(self, scheduler: torch.optim.lr_scheduler.LRScheduler, monitor: str | None = None) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Step."""
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            results: dict[str, Any] = logs or {}
            name = self.monitor or ("val_loss" if "val_loss" in results else "loss")
            self.scheduler.step(results[name])
        else:
            self.scheduler.step()

    def get_state(self) -> dict[str, Any]:
        """The scheduler's counters, and the rates it has set."""
        rates = [float(group["lr"]) for group in self.scheduler.optimizer.param_groups]
        return {"scheduler": _plain(self.scheduler.state_dict()), "rates": rates}

    def _check_state(self, state: Any, where: str) -> None:
        """See whether these are the counters of such a scheduler, and a rate for each group."""
        check(state, {"scheduler": {str: ANYTHING}, "rates": [NUMBER]}, where)
        own = self.get_state()
        if len(state["rates"]) != len(own["rates"]):
            refuse(where, "rates", f"{len(own['rates'])} rates", f"{len(state['rates'])} rates")
        check(state["scheduler"], {name: Maybe(ANYTHING) for name in own["scheduler"]}, where, "scheduler")
        for name, value in state["scheduler"].items():
            if not alike(value, own["scheduler"][name]):
                place = f"scheduler/{name}"
                refuse(where, place, f"something like {described(own['scheduler'][name])}", described(value))

    def set_state(self, state: dict[str, Any]) -> None:
        """Take them up; functions that the scheduler was made with stay its own."""
        self.scheduler.load_state_dict(state["scheduler"])
        for group, rate in zip(self.scheduler.optimizer.param_groups, state["rates"], strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def _plain(value: Any) -> Any:
    """What JSON can hold of a scheduler's state; the rest is what it was made with."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if _is_plain(item)}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value)
    return value is None or isinstance(value, (bool, int, float, str))


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a result has stopped improving.

    Args:
        monitor: the result's name in the logs.
        factor: the rate is multiplied by this, below 1.
        patience: epochs without improvement to bear.
        verbose: 1 prints a line when it acts.
        mode: "min", "max" or "auto".
        min_delta: improvements smaller than this do not count.
        cooldown: epochs to wait after lowering before watching again.
        min_lr: the rate is not lowered beyond this.
        **kwargs: not used; kept for Keras.

    Raises:
        ArgumentError: a factor of 1 or more.

    Example:
        >>> ReduceLROnPlateau(monitor="loss", factor=0.5).factor
        0.5

    Source: https://keras.io/api/callbacks/reduce_lr_on_plateau/
    """

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        for name, value in {"factor": factor, "patience": patience, "cooldown": cooldown, "min_lr": min_lr}.items():
            check_number(value, f"ReduceLROnPlateau({name}=...)", least=0, whole=False)
        if factor >= 1.0:
            raise ArgumentError(
                "The factor must lower the rate.",
                where="ReduceLROnPlateau(factor=...)",
                expected="below 1, e.g. 0.5",
                received=factor,
            )
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.cooldown_counter = 0
        self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether it waits after a reduction."""
        return self.cooldown_counter > 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier training."""
        self.best = None
        self.wait = self.cooldown_counter = 0
        self._missed = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, and perhaps lower the rate."""
        logs = logs if logs is not None else {}
        for name, optimizer in optimizers_of(self.model, "ReduceLROnPlateau").items():
            logs[name] = float(optimizer.learning_rate)
        current = self.find(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def _reduce(self, epoch: int) -> bool:
        """Lower the rates; whether any could be."""
        reduced = False
        for name, optimizer in optimizers_of(self.model, "ReduceLROnPlateau").items():
            rate = float(optimizer.learning_rate)
            if rate > np.float32(self.min_lr):
                optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                reduced = True
                if self.verbose > 0:
                    say(f"\nEpoch {epoch + 1}: {name} is lowered to {float(optimizer.learning_rate)}.")
        return reduced
