"""Which kind of source the data given to fit, evaluate or predict calls for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lamina.core.errors import ArgumentError, DataError
from lamina.data.arrays import ArraySource, check_batch_size, is_in_memory
from lamina.data.generators import GeneratorSource
from lamina.data.loaders import LoaderSource, load
from lamina.data.py_dataset import PyDataset, PyDatasetSource
from lamina.data.source import Source


def source_of(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | str = False,
    class_weight: Mapping[Any, float] | None = None,
    device: torch.device,
    where: str = "fit",
) -> Source:
    """The batches of the data a user gave.

    Args:
        x: arrays, a DataLoader, a Dataset, a PyDataset, a generator, or an iterable of batches.
        y: the targets; only with arrays.
        sample_weight: weights of samples; only with arrays.
        batch_size: samples in a batch.
        steps: batches in an epoch.
        shuffle: whether samples (batches, for a PyDataset) come in a new order each epoch.
        class_weight: weights by class index.
        device: where batches shall lie.
        where: the method concerned, for error messages.

    Raises:
        DataError: data of an unknown kind, or targets given beside a source that yields its own.
    """
    if isinstance(x, Source):
        return x
    if steps is not None and (not isinstance(steps, int) or steps <= 0):
        raise ArgumentError("The number of steps must be a positive integer.", where=where, received=repr(steps))
    if is_in_memory(x):
        return ArraySource(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps,
            shuffle=shuffle,
            class_weight=class_weight,
            device=device,
            where=where,
        )
    check_batch_size(batch_size)
    source = _stream_of(x, batch_size, shuffle, class_weight, device)
    if source is None:
        raise DataError(
            "There is no data." if x is None else "This kind of data is not known.",
            where=where,
            expected="arrays, tensors, data frames, a DataLoader, a Dataset, a PyDataset or a generator",
            received=_describe(x),
            fix="call the function to get its generator: fit(generate(), ...)" if callable(x) else None,
        )
    _refuse_parts(x, y, sample_weight, where)
    return source


def _stream_of(
    x: Any,
    batch_size: int | None,
    shuffle: bool | str,
    class_weight: Mapping[Any, float] | None,
    device: torch.device,
) -> Source | None:
    """The source for data that comes in batches, None if it is nothing of the kind."""
    if isinstance(x, PyDataset) or _is_foreign_py_dataset(x):
        return PyDatasetSource(x, class_weight, shuffle, device=device)
    if isinstance(x, Dataset):
        x = load(x, batch_size, shuffle)
    if isinstance(x, DataLoader):
        return LoaderSource(x, class_weight, device=device)
    if isinstance(x, Iterator):
        return GeneratorSource(x, class_weight, device=device)
    if isinstance(x, Iterable) and not isinstance(x, (list, tuple, Mapping, str, bytes)):
        return LoaderSource(x, class_weight, device=device)
    return None


def _refuse_parts(x: Any, y: Any, sample_weight: Any, where: str) -> None:
    for name, part in (("y", y), ("sample_weight", sample_weight)):
        if part is not None:
            raise DataError(
                f"{name} cannot be given beside a {type(x).__name__}.",
                where=where,
                fix=f"let it yield {name} too: (x, y) or (x, y, sample_weight)",
            )


def _is_foreign_py_dataset(x: Any) -> bool:
    """Whether it is the dataset class of another package with the same interface."""
    return hasattr(x, "num_batches") and hasattr(x, "__getitem__") and hasattr(x, "workers")


def _describe(x: Any) -> str:
    if isinstance(x, (list, tuple)):
        return f"a {type(x).__name__} of {', '.join(sorted({type(part).__name__ for part in x})) or 'nothing'}"
    return f"{x!r}"[:80] + f" ({type(x).__name__})"
