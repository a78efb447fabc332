"""How values of weights and gradients are spread, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.gradient_hooks import GradientHooks


class Histogram(NamedTuple):
    """How values are spread.

    Args:
        counts: how many there are in each of equal parts.
        low: where the first part begins.
        high: where the last part ends.
        mean: of all values.
        deviation: the standard deviation.
    """

    counts: np.ndarray
    low: float
    high: float
    mean: float
    deviation: float


class WeightHistograms(Callback):
    """Keeps a histogram of each trainable weight, and of its gradient, for every epoch.

    `lamina.visualization.plot_histograms` draws them. Gradients are those of one batch in each epoch, its first, as the
    optimizer got them before clipping. With gradients, steps run as they are written, never compiled.

    Args:
        gradients: whether gradients are looked at too.
        bins: in how many parts the values are counted.

    Attributes:
        epochs: the numbers of the epochs, from 0.
        weights: histograms by the path of the weight, one for each epoch.
        gradients: likewise, of the gradients.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> watched = WeightHistograms(bins=8)
        >>> history = model.fit(torch.ones(4, 2), torch.ones(4, 1), epochs=3, verbose=0, callbacks=[watched])
        >>> {name: len(of_epochs) for name, of_epochs in watched.weights.items()}
        {'sequential/dense/kernel': 3, 'sequential/dense/bias': 3}
    """

    keeps_logs = False

    def __init__(self, gradients: bool = True, bins: int = 64) -> None:
        super().__init__()
        self.bins = bins
        self.epochs: list[int] = []
        self.weights: dict[str, list[Histogram]] = {}
        self.gradients: dict[str, list[Histogram]] = {}
        self._wants_gradients = gradients
        self._looking = False
        self._found: dict[str, torch.Tensor] = {}
        self._hooks = GradientHooks()
        if not gradients:
            self.idle_hooks = frozenset({"on_train_batch_end"})

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        self.epochs, self.weights, self.gradients = [], {}, {}
        if self._wants_gradients:
            self._hooks.attach(self.model, ((weight, self._look) for weight in self.model.trainable_weights))

    def _look(self, weight: Any) -> None:
        if self._looking and weight.grad is not None:
            self._found[weight.path] = weight.grad.detach().clone()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the next batch."""
        self._found = {}
        self._looking = True

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """One batch is enough."""
        self._looking = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count."""
        self.epochs.append(epoch)
        for weight in self.model.trainable_weights:
            self.weights.setdefault(weight.path, []).append(self._count(weight.detach()))
            if weight.path in self._found:
                self.gradients.setdefault(weight.path, []).append(self._count(self._found[weight.path]))
        self._found = {}

    def _count(self, values: torch.Tensor) -> Histogram:
        values = values.float().reshape(-1)
        values = values[values.isfinite()]
        if not values.numel():
            return Histogram(np.zeros(self.bins), 0.0, 1.0, 0.0, 0.0)
        low, high = (float(end) for end in values.aminmax())
        if low == high:
            low, high = low - 0.5e-6, high + 0.5e-6
        counts = torch.histc(values.cpu(), self.bins, low, high).numpy()
        return Histogram(counts, low, high, float(values.mean()), float(values.std(correction=0)))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Look no longer."""
        self._hooks.remove()
