"""Batches for one epoch after another, as many as are wanted, and a word when they run out."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

from lamina.core.errors import DataError
from lamina.data.source import Source


class Feed:
    """Hands out the batches of epoch after epoch.

    Without `steps` an epoch is one pass over the source. With `steps` it is that many batches, and the next epoch goes
    on where this one stopped.

    Args:
        source: where batches come from.
        steps: batches in an epoch.
        where: the method concerned, for messages.
    """

    def __init__(self, source: Source, steps: int | None = None, where: str = "fit") -> None:
        self.source = source
        self.steps = steps
        self.where = where
        self._learned: int | None = None
        self._batches: Iterator[Any] | None = None
        self._taken = 0
        self._started: Iterator[Any] | None = None

    @property
    def length(self) -> int | None:
        """Batches in an epoch; None while that is not known."""
        return self.steps or self.source.batches or self._learned

    @property
    def is_ready(self) -> bool:
        """Whether taking several batches at once costs neither time nor memory."""
        return self.source.is_ready

    def peek(self) -> Any:
        """The first batch of the coming epoch, which will still get it.

        Raises:
            DataError: there is none.
        """
        batches = self.epoch()
        first = next(batches, None)
        if first is None:
            raise DataError(
                f"The {self.source.kind} gave no batch.",
                where=self.where,
                fix="check that it yields at least one",
            )
        self._started = itertools.chain([first], batches)
        return first

    def epoch(self) -> Iterator[Any]:
        """The batches of one epoch."""
        started, self._started = self._started, None
        return started if started is not None else self._epoch()

    def _epoch(self) -> Iterator[Any]:
        self.source.on_epoch_begin()
        try:
            if self.steps is None:
                yield from self._pass()
            else:
                yield from self._some(self.steps)
        finally:
            self.source.on_epoch_end()

    def _pass(self) -> Iterator[Any]:
        if self.source.batches is not None:
            yield from itertools.islice(self.source, self.source.batches)
            return
        taken = 0
        for batch in self.source:
            taken += 1
            yield batch
        if taken == 0 and self._learned:
            self._warn("nothing is left for this epoch")
        self._learned = taken or self._learned

    def _some(self, steps: int) -> Iterator[Any]:
        if self._batches is None:
            self._batches, self._taken = iter(self.source), 0
        for step in range(steps):
            batch = next(self._batches, None)
            if batch is None:
                self._batches = None
                self._warn(f"only {step} of {steps} batches were left for this epoch")
                return
            self._taken += 1
            yield batch
        if self._taken == self.source.batches:
            self._batches = None

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"The {self.source.kind} ran out of data: {what}. It must give steps_per_epoch * epochs batches "
            "(a generator: with a loop that never ends).",
            stacklevel=2,
        )
