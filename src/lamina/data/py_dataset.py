"""Datasets written in Python that give whole batches by index, and how `fit` reads them with several workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lamina.core.errors import DataError, UnsupportedError, check_number, unwritten, warn_once
from lamina.data.ahead import in_threads, living
from lamina.data.replay import Attributes
from lamina.data.source import Source, add_class_weight, to_device


class PyDataset:
    """Base of datasets that give one batch for each index. Implement `__getitem__` and `__len__`.

    `__len__` is the number of batches; a dataset without end implements `num_batches` to return None instead.
    `on_epoch_begin` and `on_epoch_end` may change the dataset between epochs.

    Args:
        workers: threads (or processes) that read batches ahead; 1 reads in the loop itself.
        use_multiprocessing: processes instead of threads; the dataset must then be picklable.
        max_queue_size: batches read ahead at most.

    Example:
        >>> import numpy as np
        >>> class Squares(PyDataset):
        ...     def __len__(self):
        ...         return 4
        ...     def __getitem__(self, index):
        ...         x = np.arange(8.0) + 8 * index
        ...         return x, x**2
        >>> len(list(Squares(workers=2)))
        4

    Source: https://keras.io/api/utils/python_utils/#pydataset-class
    """

    _workers: int = 0
    _use_multiprocessing: bool = False
    _max_queue_size: int = 10

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        check_number(workers, f"{type(self).__name__}(workers=...)", least=0)
        check_number(max_queue_size, f"{type(self).__name__}(max_queue_size=...)", least=0)
        self._workers = workers
        self._use_multiprocessing = use_multiprocessing
        self._max_queue_size = max_queue_size

    @property
    def workers(self) -> int:
        """Threads or processes that read batches."""
        if self._workers == 0 and "_workers" not in self.__dict__:
            warn_once(
                f"{type(self).__name__}.__init__ does not call super().__init__(**kwargs), which takes workers, "
                "use_multiprocessing and max_queue_size. One worker is used."
            )
            self._workers = 1
        return self._workers

    @workers.setter
    def workers(self, value: int) -> None:
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        """Whether the workers are processes."""
        return self._use_multiprocessing

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value

    @property
    def max_queue_size(self) -> int:
        """Batches read ahead at most."""
        return self._max_queue_size

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._max_queue_size = value

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass; None for a dataset without end."""
        if hasattr(self, "__len__"):
            return len(self)  # type: ignore[arg-type]
        what, fix = "The dataset does not say how many batches it has.", "write __len__, or a num_batches property"
        raise UnsupportedError(what, where=type(self).__name__, fix=fix)

    def __getitem__(self, index: int) -> Any:
        raise unwritten(self, "__getitem__(self, index)")

    def __iter__(self) -> Iterator[Any]:
        has_end = hasattr(self, "__len__") or type(self).num_batches is not PyDataset.num_batches
        for index in _indices(self) if has_end else itertools.count():
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


def _indices(dataset: PyDataset, shuffle: bool = False) -> Iterable[int]:
    batches = dataset.num_batches
    if batches is None:
        return itertools.count()
    return torch.randperm(batches).tolist() if shuffle else range(batches)


class _ByIndex(Dataset[Any]):
    """A PyDataset as torch's workers want it."""

    def __init__(self, dataset: PyDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


class PyDatasetSource(Source):
    """Batches of a PyDataset, read ahead by its workers, in order.

    Args:
        dataset: the dataset.
        class_weight: weights by class index.
        shuffle: whether batches come in a new order each pass.
        device: where batches shall lie.
    """

    kind = "PyDataset"

    def __init__(
        self,
        dataset: PyDataset,
        class_weight: Mapping[Any, float] | None = None,
        shuffle: bool | str = False,
        *,
        device: torch.device,
    ) -> None:
        self.dataset = dataset
        self.class_weight = class_weight
        self.shuffle = bool(shuffle)
        self.device = device
        self._attributes: Attributes | None = None

    @property
    def batches(self) -> int | None:
        """Batches in one pass."""
        return self.dataset.num_batches

    def follow(self) -> None:
        """Notes what the dataset is like before the first batch."""
        self._attributes = Attributes(self.dataset)

    def get_state(self) -> dict[str, Any]:
        """What has changed in the dataset, such as an order of its own."""
        return {} if self._attributes is None else self._attributes.changed()

    def check_state(self, state: Mapping[str, Any], where: str, place: str, most: int | None) -> None:
        """See whether the dataset can have such attributes."""
        if self._attributes is not None:
            self._attributes.check(state, where, place)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        if self._attributes is not None:
            self._attributes.restore(state)

    def after(self, count: int) -> Iterator[Any]:
        """One pass without its first batches, which are not read."""
        indices = iter(_indices(self.dataset, self.shuffle))
        return self._read(itertools.islice(indices, count, None))

    def on_epoch_begin(self) -> None:
        """Tells the dataset."""
        self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Tells the dataset."""
        self.dataset.on_epoch_end()

    def __iter__(self) -> Iterator[Any]:
        return self._read(_indices(self.dataset, self.shuffle))

    def _read(self, indices: Iterable[int]) -> Iterator[Any]:
        workers = self.dataset.workers
        if workers > 0 and self.dataset.use_multiprocessing:
            batches = self._from_processes(indices, workers)
        elif workers > 1:
            batches = in_threads(self.dataset.__getitem__, indices, workers, self.dataset.max_queue_size)
        else:
            batches = map(self.dataset.__getitem__, indices)
        for batch in batches:
            self._check(batch)
            yield add_class_weight(to_device(batch, self.device), self.class_weight)

    def _from_processes(self, indices: Iterable[int], workers: int) -> Iterator[Any]:
        ahead = max(1, self.dataset.max_queue_size // workers)
        loader = DataLoader(
            _ByIndex(self.dataset), batch_size=None, sampler=indices, num_workers=workers, prefetch_factor=ahead
        )
        return living(loader, type(self.dataset).__name__)

    def _check(self, batch: Any) -> None:
        if isinstance(batch, (tuple, list)) and not 1 <= len(batch) <= 3:
            raise DataError(
                "A batch has one to three parts.",
                where=f"{type(self.dataset).__name__}.__getitem__",
                expected="x, (x,), (x, y) or (x, y, sample_weight)",
                received=f"a {type(batch).__name__} of {len(batch)}",
            )
