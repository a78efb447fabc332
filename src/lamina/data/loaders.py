"""Batches from torch's DataLoader and Dataset, and from any other iterable that can be walked anew each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lamina.data.arrays import check_batch_size
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

    @property
    def batches(self) -> int | None:
        """Batches in one pass, where the iterable has a length."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield add_class_weight(to_device(batch, self.device), self.class_weight)


def load(dataset: Dataset[Any], batch_size: int | None, shuffle: bool | str) -> DataLoader[Any]:
    """A loader over a dataset of single samples; 32 a batch by default, shuffled if it can be indexed."""
    check_batch_size(batch_size)
    can_shuffle = bool(shuffle) and not isinstance(dataset, IterableDataset)
    return DataLoader(dataset, batch_size=batch_size or 32, shuffle=can_shuffle)
