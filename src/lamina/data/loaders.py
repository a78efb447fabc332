"""Batches from torch's DataLoader and Dataset, and from any other iterable that can be walked anew each epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lamina.core.errors import warn_once
from lamina.core.forms import ANYTHING, check
from lamina.data.ahead import living
from lamina.data.arrays import check_batch_size
from lamina.data.replay import Attributes, skipping
from lamina.data.source import Source, add_class_weight, to_device


class LoaderSource(Source):
    """Batches that an iterable gives, moved to the device.

    Args:
        loader: a DataLoader, or any iterable of batches.
        class_weight: weights by class index.
        device: where batches shall lie.
    """

    kind = "loader"

    def __init__(
        self, loader: Iterable[Any], class_weight: Mapping[Any, float] | None = None, *, device: torch.device
    ) -> None:
        self.loader = loader
        self.class_weight = class_weight
        self.device = device
        self.kind = type(loader).__name__
        self._attributes: Attributes | None = None
        self._stayed = False

    @property
    def batches(self) -> int | None:
        """Batches in one pass, where the iterable has a length."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None

    @property
    def generators(self) -> list[torch.Generator]:
        """Those of the loader and its samplers, or of a pipeline."""
        batches = getattr(self.loader, "batch_sampler", None)
        holders = (self.loader, getattr(self.loader, "sampler", None), batches, getattr(batches, "sampler", None))
        found = [getattr(holder, "generator", None) for holder in holders]
        found += getattr(self.loader, "generators", [])
        return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())

    def follow(self) -> None:
        """Notes what the dataset is like before the first batch."""
        dataset = getattr(self.loader, "dataset", None)
        if isinstance(self.loader, DataLoader) and self.loader.num_workers == 0 and dataset is not None:
            self._attributes = Attributes(dataset)

    def get_state(self) -> dict[str, Any]:
        """What has changed in the dataset, and whether there are workers that stay."""
        changed = {} if self._attributes is None else self._attributes.changed()
        return {"dataset": changed, "stayed": self._stayed}

    def check_state(self, state: Mapping[str, Any], where: str, place: str, most: int | None) -> None:
        """See whether the dataset can have such attributes."""
        check(state, {"dataset": {str: ANYTHING}, "stayed": bool}, where, place)
        if self._attributes is not None:
            self._attributes.check(state["dataset"], where, f"{place}/dataset")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        if self._attributes is not None:
            self._attributes.restore(state["dataset"])
        self._stayed = state["stayed"]
        if isinstance(self.loader, DataLoader) and self.loader.persistent_workers:
            warn_once(
                "Workers that stay from epoch to epoch draw other random numbers after training was resumed. For an "
                "exact resumption use persistent_workers=False, or draw none in the dataset."
            )
            # The first iterator draws one number more than those that follow.
            self.loader._iterator = iter(self.loader) if self._stayed else None  # type: ignore[assignment]

    def after(self, count: int) -> Iterator[Any]:
        """One pass, the first batches of which are left out now; not read at all where no worker has seen them."""
        batches = iter(self.loader)
        indices = getattr(batches, "_sampler_iter", None)
        with skipping(self.kind, count):
            plain = isinstance(self.loader, DataLoader) and not isinstance(self.loader.dataset, IterableDataset)
            by_index = plain and self.loader.num_workers == 0 and indices is not None  # type: ignore[union-attr]
            deque(islice(indices if by_index else batches, count), maxlen=0)  # type: ignore[arg-type]
        return self._moved(batches)

    def __iter__(self) -> Iterator[Any]:
        self._stayed = getattr(self.loader, "_iterator", None) is not None
        return self._moved(self.loader)

    def _moved(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in living(batches, self.kind):
            yield add_class_weight(to_device(batch, self.device), self.class_weight)


def load(dataset: Dataset[Any], batch_size: int | None, shuffle: bool | str) -> DataLoader[Any]:
    """A loader over a dataset of single samples; 32 a batch by default, shuffled if it can be indexed."""
    check_batch_size(batch_size)
    can_shuffle = bool(shuffle) and not isinstance(dataset, IterableDataset)
    return DataLoader(dataset, batch_size=batch_size or 32, shuffle=can_shuffle)
