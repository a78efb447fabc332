"""What a model offers to find a learning rate and a batch size; it is afterwards as it was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.callbacks.learning_rate_finder import LearningRateFinder, find_learning_rate
from lamina.core.errors import ArgumentError
from lamina.core.seeds import generators_state
from lamina.training.batch_sizes import BatchSizes, BatchSizeSearch
from lamina.training.objective import Objective
from lamina.training.prepare import build_optimizer, prepare
from lamina.training.trial import Trial


class Finders(Objective):
    """What a model needs to be tried out; part of `Trainer`."""

    history: Any
    stop_training: bool
    _feed: Any

    def find_learning_rate(
        self, x: Any, y: Any = None, start: float = 1e-7, end: float = 10.0, steps: int = 100, **options: Any
    ) -> LearningRateFinder:
        """Train on trial with a rate that grows from batch to batch, to see with which one the loss falls fastest.

        Args:
            x: as for `fit`; batches of a generator are used up.
            y: as for `fit`.
            start: the first rate.
            end: the last rate.
            steps: how many rates to try, a batch each.
            **options: `stop_factor` (see `callbacks.LearningRateFinder`), and what else `fit` takes, such as
                batch_size and class_weight.

        Returns:
            the finder: `suggestion` (None where the loss does not clearly fall), `plot()`, `rates` and `losses`.

        Raises:
            StateError: the model is not compiled, or its optimizer has no learning rate.
            ArgumentError: the rates do not grow.

        Example:
            >>> import numpy as np
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Input((1,)), layers.Dense(1)])
            >>> model.compile("sgd", loss="mse")
            >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
            >>> found = model.find_learning_rate(x, 2 * x, steps=60)
            >>> model.optimizer.learning_rate = found.suggestion

        Source: https://arxiv.org/abs/1506.01186
        """
        self._require_compiled("find_learning_rate")
        return find_learning_rate(self, x, y, start, end, steps, **options)

    def find_batch_size(
        self,
        x: Any,
        y: Any = None,
        start: int = 2,
        limit: int | None = None,
        memory: float | None = None,
        fineness: float = 0.125,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> BatchSizes:
        """Train on trial with larger and larger batches, to see how large they may be and which size is fastest.

        Args:
            x: as for `fit`; of batches that are not in memory the first one is used, its samples repeated.
            y: as for `fit`.
            start: the first size on a GPU; a CPU begins with 2.
            limit: the largest size to try; by default the number of samples, or 65,536 where it is not known. Beyond
                the number of samples they are repeated.
            memory: bytes that a step may take beside what the model keeps; by default all that a GPU has, or on a CPU
                what it takes to fill four fifths of the memory of the machine or container.
            fineness: how near to the largest size to come, as a part of it.
            sample_weight: as for `fit`.
            class_weight: as for `fit`.

        Returns:
            the sizes: `largest`, `fastest`, `suggestion`, `table` and `plot()`; printed, they are a table.

        Raises:
            StateError: the model is not compiled, or not even one sample fits.
            DataError: the data cannot be used.
            ArgumentError: a size is not positive, or the fineness not between 0 and 1.

        Example:
            >>> import numpy as np
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Input((8,)), layers.Dense(1)])
            >>> model.compile("adam", loss="mse")
            >>> found = model.find_batch_size(np.ones((64, 8)), np.ones((64, 1)))
            >>> found.largest, list(found.table)
            (64, [2, 4, 8, 16, 32, 64])
        """
        self._require_compiled("find_batch_size")
        if start < 1 or (limit is not None and limit < 1) or not 0 < fineness < 1:
            raise ArgumentError(
                "The sizes cannot be tried.",
                where="find_batch_size",
                expected="start and limit of 1 or more, 0 < fineness < 1",
                received=f"start={start}, limit={limit}, fineness={fineness}",
            )
        generators = generators_state() if self.built else None
        feed = self._feed("find_batch_size", x, y, sample_weight, None, None, class_weight=class_weight)
        prepare(self, feed, "find_batch_size")
        build_optimizer(self)
        trial, search = Trial(self, generators), BatchSizeSearch(self, feed, memory)
        try:
            return search.run(start, limit, fineness)
        finally:
            trial.end()
            search.release()

    def _on_trial(self) -> Trial:
        """Keep the present state, for a callback that puts it back."""
        return Trial(self)
