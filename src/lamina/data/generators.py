"""Batches from a Python generator or another iterator, which can be walked once only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lamina.core import tree
from lamina.core.errors import DataError
from lamina.core.forms import COUNT, check, refuse
from lamina.data.replay import skipping
from lamina.data.source import Source, add_class_weight, to_device


class GeneratorSource(Source):
    """Batches that an iterator gives; each pass goes on where the last one stopped.

    Args:
        generator: yields `(x,)`, `(x, y)` or `(x, y, sample_weight)`.
        class_weight: weights by class index.
        device: where batches shall lie.
    """

    kind = "generator"

    def __init__(
        self,
        generator: Iterator[Any],
        class_weight: Mapping[Any, float] | None = None,
        *,
        device: torch.device,
    ) -> None:
        self.generator = generator
        self.class_weight = class_weight
        self.device = device
        self.taken = 0

    @property
    def batches(self) -> None:
        """Not known beforehand."""
        return None

    def get_state(self) -> dict[str, Any]:
        """How many batches were taken."""
        return {"taken": self.taken}

    def check_state(self, state: Mapping[str, Any], where: str, place: str, most: int | None) -> None:
        """See whether it is a number of batches that can have been taken."""
        check(state, {"taken": COUNT}, where, place)
        if most is not None and state["taken"] > most:
            refuse(where, f"{place}/taken", f"at most {most} batches", f"{state['taken']} batches")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take batches until there were as many."""
        with skipping(self.kind, state["taken"] - self.taken):
            while self.taken < state["taken"] and next(self.generator, None) is not None:
                self.taken += 1

    def after(self, count: int) -> Iterator[Any]:
        """The batches that are left; `set_state` has left out those before."""
        return iter(self)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.generator:
            self.taken += 1
            batch = to_device(batch, self.device)
            if any(isinstance(leaf, (str, bytes)) for leaf in tree.flatten(batch)):
                raise DataError(
                    "The generator yields single strings.",
                    where="the generator given as x",
                    expected="(x, y) of arrays, or x an array of strings",
                    received=f"{batch!r:.80}",
                    fix="let it yield batches; if these are names of files, let it load them",
                )
            yield add_class_weight(batch, self.class_weight)
