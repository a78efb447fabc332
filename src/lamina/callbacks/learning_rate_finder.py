"""A test of learning rates: which one lets the loss fall fastest."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.callbacks.base import Callback
from lamina.callbacks.learning_rate import optimizers_of
from lamina.core.errors import ArgumentError
from lamina.core.seeds import generators_state, set_generators_state
from lamina.visualization.learning_rates import plot_learning_rates

_SMOOTHING = 0.9
_ENOUGH = 5
# A fall counts when it is so many times what the noise of the batches alone would make of it.
_CERTAIN = 3.0


class LearningRateFinder(Callback):
    """Trains with a rate that grows from batch to batch, notes the losses, and puts everything back at the end.

    Weights, optimizer, moving statistics, metrics and random generators are afterwards as they were before, from a
    copy kept meanwhile. A schedule is left aside; several optimizers all get the rate. Steps run as they are written,
    and every loss is waited for. It ends `fit` by itself, after so many batches or when the loss explodes; give `fit`
    enough epochs. `model.find_learning_rate` does all that.

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
        self._trial: Any = None

    def __repr__(self) -> str:
        rate, rates = self.suggestion, self.rates
        tried = f"{len(rates)} rates from {rates[0]:.2g} to {rates[-1]:.2g}" if rates else "no rate tried"
        return f"LearningRateFinder(suggestion={rate and float(f'{rate:.3g}')}, {tried})"

    def plot(self, path: str | os.PathLike[str] | None = None, title: str | None = None) -> Any:
        """Draw the loss over the learning rate; see `lamina.visualization.plot_learning_rates`.

        Args:
            path: the file to write; its ending says which kind.
            title: stands above the picture.

        Returns:
            The matplotlib figure.
        """
        return plot_learning_rates(self, path, title)

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
        """Copy the state, and have every optimizer follow the rates."""
        self.rates, self.losses = [], []
        self._average, self._best = 0.0, math.inf
        self._optimizers = list(optimizers_of(self.model, type(self).__name__).values())
        self._trial = self.model._on_trial()
        rates = [(optimizer, getattr(optimizer, "_learning_rate", None)) for optimizer in self._optimizers]
        self._functions = [(optimizer, rate) for optimizer, rate in rates if callable(rate)]
        for optimizer, _ in self._functions:
            optimizer.learning_rate = lambda: self.start
        self._be_eager(True)

    def _be_eager(self, eagerly: bool) -> None:
        if (adoptions := vars(self.model).get("_adoptions")) is not None:
            adoptions.eagerly = eagerly

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the next rate, and have the results be those of this batch alone."""
        rate = self.start * (self.end / self.start) ** (len(self.rates) / (self.steps - 1))
        for optimizer in self._optimizers:
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
        trial, self._trial = self._trial, None
        if trial is not None:
            self._be_eager(False)
            for optimizer, rate in self._functions:
                optimizer.learning_rate = rate
            trial.end()


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
        the finder: `suggestion` (None where the loss does not clearly fall), `plot()`, and `rates`, `losses` and
        `smoothed` to look at.

    Raises:
        StateError: the model is not compiled, or its optimizer has no learning rate.
        ArgumentError: the rates do not grow.

    Example:
        >>> import torch
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
    earlier, stopped = model.history, model.stop_training
    generators = generators_state() if model.built else None
    callbacks = [*(options.pop("callbacks", None) or ()), finder]
    try:
        model.fit(x, y, **{"epochs": steps, "verbose": 0, **options, "callbacks": callbacks})
    finally:
        finder.on_train_end()
        model.history, model.stop_training = earlier, stopped
        if generators is not None:
            set_generators_state(generators)
    return finder
