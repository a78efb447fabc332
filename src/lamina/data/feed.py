"""Batches for one epoch after another, as many as are wanted, and a word when they run out."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lamina.core import tree
from lamina.core.config import limited, max_steps_per_epoch
from lamina.core.errors import DataError
from lamina.core.forms import ANYTHING, COUNT, GENERATORS, check, check_generator, check_generators, refuse
from lamina.core.seeds import generators_state, set_generators_state
from lamina.data.replay import aligned
from lamina.data.source import Source

_TENSORS = [torch.Tensor]
FEED = {
    "done": COUNT,
    "taken": COUNT,
    "start": ({}, {"shared": GENERATORS, "own": _TENSORS}),
    "own": _TENSORS,
    "learned": (None, COUNT),
    "source": {str: ANYTHING},
}
"""The form of the state of a feed."""


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
        limit = max_steps_per_epoch()
        self.steps = limited(steps or source.batches, limit, "steps_per_epoch") if limit else steps
        self.where = where
        self._learned: int | None = None
        self._batches: Iterator[Any] | None = None
        self._taken = 0
        self._started: Iterator[Any] | None = None
        self._follows = False
        self._start: dict[str, Any] = {}

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
                fix="check that it yields at least one, and that it is not used up: a generator gives its batches once",
            )
        self._started = itertools.chain([first], batches)
        return first

    def epoch(self) -> Iterator[Any]:
        """The batches of one epoch."""
        started, self._started = self._started, None
        return started if started is not None else self._epoch()

    def _epoch(self, done: int = 0, rest: Iterator[Any] | None = None) -> Iterator[Any]:
        """An epoch, or what is left of one after some batches."""
        if not done:
            self.source.on_epoch_begin()
        try:
            if self.steps is None:
                yield from self._pass(done, rest)
            else:
                yield from self._some(self.steps, done)
        finally:
            self.source.on_epoch_end()

    def _begun(self) -> Iterator[Any]:
        """A new pass over the source."""
        if self._follows:
            self._start = {
                "shared": generators_state(),
                "own": [generator.get_state() for generator in self.source.generators],
            }
        self._taken = 0
        batches = iter(self.source)
        return map(_aligned, batches) if self._follows and not self.is_ready else batches

    def _pass(self, done: int, rest: Iterator[Any] | None) -> Iterator[Any]:
        batches = self._begun() if rest is None else rest
        if self.source.batches is not None:
            yield from itertools.islice(batches, self.source.batches - done)
            return
        taken = done
        for batch in batches:
            taken += 1
            yield batch
        if taken == 0 and self._learned:
            self._warn("nothing is left for this epoch")
        self._learned = taken or self._learned

    def _some(self, steps: int, done: int = 0) -> Iterator[Any]:
        if self._batches is None:
            self._batches = self._begun()
        for step in range(done, steps):
            batch = next(self._batches, None)
            if batch is None:
                self._batches = None
                self._warn(f"only {step} of {steps} batches were left for this epoch")
                return
            self._taken += 1
            yield batch
        if self._taken == self.source.batches:
            self._batches = None

    # The way back to a place.

    def follow(self) -> None:
        """Keep what `get_state` needs; called before the first batch."""
        self._follows = True
        self.source.follow()

    def get_state(self, done: int = 0) -> dict[str, Any]:
        """Where the feed stands, for a feed on the same data to go on there.

        Args:
            done: how many batches of this epoch were used; 0 between two epochs.
        """
        going_on = self._taken if self._batches is not None else 0
        return {
            "done": done,
            "taken": done if self.steps is None else going_on,
            "start": self._start,
            "own": [generator.get_state() for generator in self.source.generators],
            "learned": self._learned,
            "source": self.source.get_state(),
        }

    def check_state(self, state: Mapping[str, Any], where: str, place: str, epochs: int) -> None:
        """See whether the feed can go to where another stood.

        Args:
            state: what `get_state` gave, of the form `FEED`.
            where: the file, for messages.
            place: the entry of the file.
            epochs: how many epochs were begun.

        Raises:
            FileError: it cannot, since an entry makes no sense for this feed.
        """
        check(state, FEED, where, place)
        done, taken, start = state["done"], state["taken"], state["start"]
        # One epoch more, of which a batch may have been looked at.
        most = self.source.batches if self.steps is None else self.steps * (epochs + 1)
        for name, count in (("done", done), ("taken", taken)):
            if most is not None and count > most:
                refuse(where, f"{place}/{name}", f"at most {most} batches", f"{count} batches")
        if start:
            check_generators(start["shared"], where, f"{place}/start/shared")
            self._check_own(start["own"], where, f"{place}/start/own")
        elif taken:
            refuse(where, f"{place}/start", "the states of generators before the first batch", "an empty dict")
        self._check_own(state["own"], where, f"{place}/own")
        self.source.check_state(state["source"], where, f"{place}/source", most)

    def _check_own(self, states: list[Any], where: str, place: str) -> None:
        generators = self.source.generators
        if len(states) != len(generators):
            refuse(where, place, f"{len(generators)} generators", f"{len(states)} generators")
        for index, (generator, state) in enumerate(zip(generators, states, strict=True)):
            check_generator(state, generator, where, f"{place}/{index}")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go to where another feed stood. It leaves the shared generators in some state."""
        done, taken = state["done"], state["taken"]
        self._learned, self._batches, self._started = state["learned"], None, None
        self._start = state["start"]
        if done:
            self.source.on_epoch_begin()
        self.source.set_state(state["source"])
        if taken:
            set_generators_state(self._start["shared"])
            self._set_own(self._start["own"])
            rest = self.source.after(taken)
            rest = map(_aligned, rest) if not self.is_ready else rest
            self._batches, self._taken = (None, 0) if self.steps is None else (rest, taken)
            self._started = self._epoch(done, rest) if done else None
        elif done:
            self._started = iter(())  # it had run out
        self._set_own(state["own"])

    def _set_own(self, states: list[Any]) -> None:
        for generator, state in zip(self.source.generators, states, strict=True):
            generator.set_state(state)

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"The {self.source.kind} ran out of data: {what}. It must give steps_per_epoch * epochs batches "
            "(a generator: with a loop that never ends).",
            stacklevel=2,
        )


def _aligned(batch: Any) -> Any:
    return tree.map_structure(aligned, batch)
