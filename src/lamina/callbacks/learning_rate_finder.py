"""A test of learning rates: which one lets the loss fall fastest."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.learning_rate import optimizers_of
from lamina.core.errors import ArgumentError
from lamina.core.seeds import generators_state, set_generators_state
from lamina.layers.weights import seed_generators

_SMOOTHING = 0.9
_ENOUGH = 5
# A fall counts when it is so many times what the noise of the batches alone would make of it.
_CERTAIN = 3.0


class LearningRateFinder(Callback):
    """Trains with a rate that grows from batch to batch, notes the losses, and puts everything back at the end.

    Weights, optimizer, moving statistics and random generators are afterwards as they were before, on a copy kept
    meanwhile. Every loss is waited for. It ends `fit` by itself, after so many batches or when the loss explodes; give
    `fit` enough epochs. `find_learning_rate` does all that, and `lamina.visualization.plot_learning_rates` draws it.

    Args:
        start: the first rate.
        end: the last rate.
        steps: how many rates to try, each a factor above the one before.
        stop_factor: the loss has exploded when it is so many times the best, both as running averages.

    Attributes:
        rates: the rates that were tried.
        losses: the loss of the batch at each.

    Raises:
        ArgumentError: the rates do not grow.

    Example:
        >>> LearningRateFinder(start=1e-5, end=1.0, steps=50).steps
        50

    Source: https://arxiv.org/abs/1506.01186
    """

    keeps_logs = False

    def __init__(self, start: float = 1e-7, end: float = 10.0, steps: int = 100, stop_factor: float = 4.0) -> None:
        super().__init__()
        if not 0 < start < end or steps < 2:
            raise ArgumentError(
                "The rates cannot be tried.",
                where=type(self).__name__,
                expected="0 < start < end, and two steps or more",
                received=f"start={start}, end={end}, steps={steps}",
            )
        self.start = start
        self.end = end
        self.steps = steps
        self.stop_factor = stop_factor
        self.rates: list[float] = []
        self.losses: list[float] = []

    @property
    def _reach(self) -> int:
        return max(2, self.steps // 12)

    @property
    def smoothed(self) -> list[float]:
        """The losses without the noise: each the mean of those near it, as many before as after."""
        count = len(self.losses)
        near = [min(self._reach, place, count - 1 - place) for place in range(count)]
        return [float(np.mean(self.losses[place - n : place + n + 1])) for place, n in enumerate(near)]

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest on its way to the least; None if noise hides the fall."""
        values, reach = self.smoothed, self._reach
        # Where fewer losses are averaged, at the start, and from one to the next, there is mostly noise.
        low = min(range(reach, len(values) - reach), key=values.__getitem__, default=0)
        slopes = {place: values[place + reach] - values[place - reach] for place in range(2 * reach, low - reach + 1)}
        steepest = min(slopes, key=slopes.__getitem__, default=0)
        rough = np.std(np.subtract(self.losses[:low], values[:low])) if slopes else 0.0
        error = rough * math.sqrt(2 / (2 * reach + 1))
        return self.rates[steepest] if slopes.get(steepest, 0.0) < -_CERTAIN * error else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Copy the state."""
        self.rates, self.losses = [], []
        self._average, self._best = 0.0, math.inf
        self._generators = generators_state()
        self._kept = [(tensor, tensor.detach().clone()) for tensor in self._tensors()]
        torch_optimizer = getattr(self.model.optimizer, "optimizer", None)
        self._torch = torch_optimizer if isinstance(torch_optimizer, torch.optim.Optimizer) else None
        self._torch_state = copy.deepcopy(self._torch.state_dict()) if self._torch is not None else {}

    def _tensors(self) -> list[torch.Tensor]:
        model = self.model
        found = [*model.parameters(), *model.buffers(), *model.variables, *model.optimizer.variables]
        found += [generator.state for generator in seed_generators(model)]
        return list({id(tensor): tensor for tensor in found}.values())

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the next rate, and have the results be those of this batch alone."""
        rate = self.start * (self.end / self.start) ** (len(self.rates) / (self.steps - 1))
        for optimizer in optimizers_of(self.model, type(self).__name__).values():
            optimizer.learning_rate = rate
        self.rates.append(rate)
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the loss, and end when there is nothing more to learn."""
        loss = float((logs or {}).get("loss", math.nan))
        if not math.isfinite(loss):
            self.rates.pop()
            self.model.stop_training = True
            return
        self.losses.append(loss)
        self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * loss
        now = self._average / (1 - _SMOOTHING ** len(self.losses))
        self._best = min(self._best, now)
        exploded = len(self.losses) > _ENOUGH and now > self.stop_factor * self._best > 0
        if exploded or len(self.rates) >= self.steps:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put everything back."""
        with torch.no_grad():
            for tensor, value in self._kept:
                tensor.copy_(value)
        if self._torch is not None:
            self._torch.load_state_dict(self._torch_state)
        set_generators_state(self._generators)
        self.model.reset_metrics()
        self._kept = []


def find_learning_rate(
    model: Any,
    x: Any,
    y: Any = None,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    stop_factor: float = 4.0,
    **options: Any,
) -> LearningRateFinder:
    """Try learning rates on a compiled model, which is afterwards as it was before.

    Args:
        model: the model.
        x: as for `fit`.
        y: as for `fit`.
        start: the first rate.
        end: the last rate.
        steps: how many rates to try, a batch each.
        stop_factor: see `LearningRateFinder`.
        **options: what else `fit` takes, such as batch_size and class_weight.

    Returns:
        the finder: `suggestion`, and `rates`, `losses` and `smoothed` to look at.

    Raises:
        StateError: the model is not compiled, or its optimizer has no learning rate.
        ArgumentError: the rates do not grow.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((1,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> found = find_learning_rate(model, x, 2 * x, steps=60)
        >>> found.suggestion is not None and 1e-3 < found.suggestion < 10
        True

    Source: https://arxiv.org/abs/1506.01186
    """
    finder = LearningRateFinder(start, end, steps, stop_factor)
    earlier = model.history
    callbacks = [*(options.pop("callbacks", None) or ()), finder]
    model.fit(x, y, **{"epochs": steps, "verbose": 0, **options, "callbacks": callbacks})
    model.history = earlier
    model.stop_training = False
    return finder
