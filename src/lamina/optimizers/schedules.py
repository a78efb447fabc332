"""Learning rates that change from step to step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from lamina.core.capture import Captured
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, one_of, unwritten
from lamina.core.registry import builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_tensor

Tensor = torch.Tensor


def _float(value: Any) -> Tensor:
    """A number as a float tensor on the CPU; a tensor as floats where it is."""
    if isinstance(value, Tensor):
        return value.detach().to(torch_dtype(None))
    return convert_to_tensor(value, torch_dtype(None), "cpu")


def _check_steps(name: str, steps: Any) -> None:
    if isinstance(steps, str) or steps <= 0:
        raise ArgumentError("This is no number of steps.", where=name, expected="> 0", received=repr(steps))


@builtin("keras.optimizers.schedules")
class LearningRateSchedule(Captured):
    """Base of schedules: a subclass defines `__call__(step)`, which gives the learning rate of a step.

    Example:
        >>> class Warmup(LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return torch.clamp(step / 100, max=1.0) * 0.01
        >>> Warmup()(torch.tensor(50))
        tensor(0.0050)

    Source: https://keras.io/api/optimizers/learning_rate_schedules/learning_rate_schedule/
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate.

        Args:
            step: the number of steps made, an integer tensor without axes.
        """
        raise unwritten(self, "__call__(self, step)")


@builtin("keras.optimizers.schedules")
class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate · decay_rate^(step / decay_steps).

    Args:
        initial_learning_rate: the learning rate at the start.
        decay_steps: after how many steps it is multiplied by decay_rate.
        decay_rate: the factor.
        staircase: whether it falls in steps rather than steadily.
        name: kept for Keras.

    Raises:
        ArgumentError: decay_steps is not positive.

    Example:
        >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(10)
        tensor(0.0500)

    Source: https://keras.io/api/optimizers/learning_rate_schedules/exponential_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        part = _float(step) / self.decay_steps
        if self.staircase:
            part = part.floor()
        return self.initial_learning_rate * self.decay_rate**part


@builtin("keras.optimizers.schedules")
class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate · step / decay_steps).

    Args:
        initial_learning_rate: the learning rate at the start.
        decay_steps: the unit of time, in steps.
        decay_rate: how fast it falls.
        staircase: whether it falls in steps rather than steadily.
        name: kept for Keras.

    Raises:
        ArgumentError: decay_steps is not positive.

    Example:
        >>> InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)(10)
        tensor(0.0500)

    Source: https://keras.io/api/optimizers/learning_rate_schedules/inverse_time_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        part = _float(step) / self.decay_steps
        if self.staircase:
            part = part.floor()
        return self.initial_learning_rate / (1 + self.decay_rate * part)


@builtin("keras.optimizers.schedules")
class PiecewiseConstantDecay(LearningRateSchedule):
    """One value up to each boundary, and one after the last.

    Args:
        boundaries: steps, rising; a value holds up to its boundary and there.
        values: learning rates, one more than boundaries.
        name: kept for Keras.

    Raises:
        ArgumentError: there is not one value more than there are boundaries.

    Example:
        >>> schedule = PiecewiseConstantDecay([100, 110], [1.0, 0.5, 0.1])
        >>> [float(schedule(step)) for step in (100, 101, 110)]
        [1.0, 0.5, 0.5]

    Source: https://keras.io/api/optimizers/learning_rate_schedules/piecewise_constant_decay/
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ArgumentError(
                "Values and boundaries do not match: there is one value more.",
                where="values",
                expected=len(boundaries) + 1,
                received=len(values),
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        step = convert_to_tensor(step, device=None if isinstance(step, Tensor) else "cpu")
        rate = _float(self.values[-1]).to(step.device)
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            limit = boundary if step.is_floating_point() else int(boundary)
            rate = torch.where(step <= limit, value, rate)
        return rate


@builtin("keras.optimizers.schedules")
class PolynomialDecay(LearningRateSchedule):
    """Falls from initial_learning_rate to end_learning_rate as (1 - step / decay_steps)^power.

    Args:
        initial_learning_rate: the learning rate at the start.
        decay_steps: how many steps it falls for.
        end_learning_rate: the learning rate from then on.
        power: 1 for a straight line.
        cycle: whether decay_steps is prolonged, by whole multiples, when it is passed.
        name: kept for Keras.

    Raises:
        ArgumentError: decay_steps is not positive.

    Example:
        >>> PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5)
        tensor(0.0500)

    Source: https://keras.io/api/optimizers/learning_rate_schedules/polynomial_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        step = _float(step)
        if self.cycle:
            rounds = torch.where(step == 0, 1.0, (step / self.decay_steps).ceil())
            part = step / (self.decay_steps * rounds)
        else:
            part = step.clamp_max(self.decay_steps) / self.decay_steps
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1 - part) ** self.power + self.end_learning_rate


@builtin("keras.optimizers.schedules")
class CosineDecay(LearningRateSchedule):
    """Falls along half a cosine wave, after an optional straight rise.

    Args:
        initial_learning_rate: the learning rate at the start.
        decay_steps: how many steps it falls for.
        alpha: the last learning rate as a share of the highest.
        name: kept for Keras.
        warmup_target: the learning rate to rise to first; None for no rise.
        warmup_steps: how many steps it rises for.

    Raises:
        ArgumentError: decay_steps is not positive.

    Example:
        >>> CosineDecay(0.1, decay_steps=10)(5)
        tensor(0.0500)

    Source: Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def _decayed(self, step: Tensor, highest: float) -> Tensor:
        wave = 0.5 * (1.0 + (math.pi * (step / self.decay_steps)).cos())
        return highest * ((1 - self.alpha) * wave + self.alpha)

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        step = _float(step)
        if self.warmup_target is None:
            return self._decayed(step.clamp_max(self.decay_steps), self.initial_learning_rate)
        step = step.clamp_max(self.decay_steps + self.warmup_steps)
        decayed = self._decayed(step - self.warmup_steps, self.warmup_target)
        if not self.warmup_steps:
            return decayed
        rise = self.warmup_target - self.initial_learning_rate
        risen = rise * (step / self.warmup_steps) + self.initial_learning_rate
        return torch.where(step < self.warmup_steps, risen, decayed)


@builtin("keras.optimizers.schedules")
class CosineDecayRestarts(LearningRateSchedule):
    """Falls along half a cosine wave again and again.

    Args:
        initial_learning_rate: the learning rate at the start.
        first_decay_steps: how many steps the first fall takes.
        t_mul: how many times as long each fall takes as the one before.
        m_mul: how many times as high each begins.
        alpha: the last learning rate of a fall as a share of initial_learning_rate.
        name: kept for Keras.

    Raises:
        ArgumentError: first_decay_steps is not positive.

    Example:
        >>> schedule = CosineDecayRestarts(0.1, first_decay_steps=10)
        >>> schedule(5), schedule(10)
        (tensor(0.0500), tensor(0.1000))

    Source: Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        _check_steps("first_decay_steps", first_decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        part = _float(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restarts = part.floor()
            part = part - restarts
        else:
            restarts = ((1.0 - part * (1.0 - self.t_mul)).log() / _float(self.t_mul).log().to(part.device)).floor()
            passed = (1.0 - self.t_mul**restarts) / (1.0 - self.t_mul)
            part = (part - passed) / self.t_mul**restarts
        wave = 0.5 * self.m_mul**restarts * (1.0 + (math.pi * part).cos())
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)


@builtin("lamina.optimizers.schedules")
class OneCycle(LearningRateSchedule):
    """Rises to the largest learning rate and falls to nearly nothing, once: `torch.optim.lr_scheduler.OneCycleLR`.

    Args:
        max_learning_rate: the largest learning rate.
        total_steps: the number of steps of the training; after them the learning rate stays.
        pct_start: the share of the steps for which it rises.
        anneal_strategy: "cos" for half waves, "linear" for straight lines.
        div_factor: how many times as large the largest learning rate is as the first.
        final_div_factor: how many times as large the first learning rate is as the last.
        three_phase: whether it falls back to the first learning rate as slowly as it rose, and only then to the last.
        name: kept as for the other schedules.

    Raises:
        ArgumentError: total_steps is not positive, pct_start outside [0, 1], or an unknown anneal_strategy.

    Example:
        >>> schedule = OneCycle(0.1, total_steps=101, pct_start=0.5, div_factor=10.0)
        >>> [round(float(schedule(step)), 4) for step in (0, 49, 100)]
        [0.01, 0.1, 0.0]

    Source: Smith and Topin 2017, https://arxiv.org/abs/1708.07120
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        name: str = "OneCycle",
    ) -> None:
        _check_steps("total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ArgumentError("The share is out of range.", where="pct_start", expected="0 to 1", received=pct_start)
        one_of(anneal_strategy, ("cos", "linear"), "OneCycle, anneal_strategy")
        self.max_learning_rate = max_learning_rate
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase
        self.name = name

    def _corners(self) -> list[tuple[float, float]]:
        """Where the phases begin and end: steps, and the learning rates there."""
        first, rise = self.max_learning_rate / self.div_factor, self.pct_start * self.total_steps - 1
        corners = [(0.0, first), (rise, self.max_learning_rate)]
        if self.three_phase:
            corners.append((2 * rise, first))
        return [*corners, (self.total_steps - 1.0, first / self.final_div_factor)]

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        step = _float(step).clamp_max(self.total_steps - 1)
        corners = self._corners()
        rate = torch.full_like(step, corners[-1][1])
        for (begin, start), (end, goal) in reversed(list(itertools.pairwise(corners))):
            if end <= begin:
                continue
            part = (step - begin) / (end - begin)
            if self.anneal_strategy == "cos":
                part = (1.0 - (math.pi * part).cos()) / 2.0
            rate = torch.where(step <= end, start + (goal - start) * part, rate)
        return rate


@builtin("lamina.optimizers.schedules")
class WarmUp(LearningRateSchedule):
    """A straight rise to the first learning rate of another schedule, which then begins.

    Args:
        schedule: the schedule after the rise, or a number.
        warmup_steps: how many steps the rise takes.
        initial_learning_rate: the learning rate at the start.
        name: kept as for the other schedules.

    Raises:
        ArgumentError: warmup_steps is negative.

    Example:
        >>> schedule = WarmUp(CosineDecay(0.1, decay_steps=90), warmup_steps=10)
        >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 55, 100)]
        [0.0, 0.05, 0.1, 0.05, 0.0]

    Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677
    """

    def __init__(
        self, schedule: Any, warmup_steps: int, initial_learning_rate: float = 0.0, name: str = "WarmUp"
    ) -> None:
        if warmup_steps < 0:
            raise ArgumentError("The length is negative.", where="warmup_steps", expected=">= 0", received=warmup_steps)
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.initial_learning_rate = initial_learning_rate
        self.name = name

    def __call__(self, step: Any) -> Tensor:
        """The learning rate at a step."""
        step = convert_to_tensor(step, device=None if isinstance(step, Tensor) else "cpu")
        later = (step - self.warmup_steps).clamp_min(0)
        goal: Any = self.schedule(later) if callable(self.schedule) else torch.full_like(_float(step), self.schedule)
        part = (_float(step) / max(self.warmup_steps, 1)).clamp_max(1.0 if self.warmup_steps else 0.0)
        risen = self.initial_learning_rate + (goal - self.initial_learning_rate) * part
        return torch.where(step < self.warmup_steps, risen, goal)


LinearWarmup = WarmUp


def serialize(learning_rate_schedule: LearningRateSchedule) -> Any:
    """The config of a schedule.

    Example:
        >>> serialize(ExponentialDecay(0.1, 10, 0.5))["class_name"]
        'ExponentialDecay'
    """
    return serialize_keras_object(learning_rate_schedule)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """A schedule from its config.

    Example:
        >>> deserialize(serialize(ExponentialDecay(0.1, 10, 0.5))).decay_rate
        0.5
    """
    known = {cls.__name__: cls for cls in LearningRateSchedule.__subclasses__() if cls.__module__ == __name__}
    return deserialize_keras_object(config, custom_objects=custom_objects, module_objects=known)
