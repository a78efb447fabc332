"""Which kind of source the data given to fit, evaluate or predict calls for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lamina.core.errors import ArgumentError, DataError, one_of
from lamina.data.arrays import ArraySource, check_batch_size, is_in_memory
from lamina.data.columns import is_table
from lamina.data.generators import GeneratorSource
from lamina.data.loaders import LoaderSource, load
from lamina.data.pipeline import INFINITE_CARDINALITY
from lamina.data.py_dataset import PyDataset, PyDatasetSource
from lamina.data.source import Source, pack_x_y_sample_weight
from lamina.data.tables import (
    UNKNOWN,
    Names,
    Roles,
    TableSource,
    as_table,
    is_hugging_face,
    is_names,
    is_streamed,
)


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
    names: Names = UNKNOWN,
) -> Source:
    """The batches of the data a user gave.

    Args:
        x: arrays, tables, a DataLoader, a Dataset, a PyDataset, a generator, or an iterable of batches.
        y: the targets, only with arrays; or names of columns.
        sample_weight: weights of samples, likewise.
        batch_size: samples in a batch.
        steps: batches in an epoch.
        shuffle: whether samples (batches, for a PyDataset) come in a new order each epoch.
        class_weight: weights by class index.
        device: where batches shall lie.
        where: the method concerned, for error messages.
        names: what the model calls its inputs and outputs.

    Raises:
        DataError: data of an unknown kind, or targets given beside a source that yields its own.
    """
    if isinstance(x, Source):
        return x
    if steps is not None and (not isinstance(steps, int) or steps <= 0):
        what, fix = "The number of steps must be a positive integer.", "leave it out, to go through all the data once"
        raise ArgumentError(what, where=where, received=repr(steps), fix=fix)
    if isinstance(shuffle, str):
        one_of(shuffle, ("batch", True, False), f"{where}, shuffle")
    roles = roles_of(x, y, sample_weight, names)
    x, y, sample_weight = part_columns(x, y, sample_weight, roles, where)
    if is_streamed(x):
        check_batch_size(batch_size)
        _refuse_parts(x, None if roles.y else y, None if roles.sample_weight else sample_weight, where)
        return TableSource(
            x,
            roles,
            batch_size=batch_size,
            shuffle=shuffle,
            class_weight=class_weight,
            device=device,
            where=where,
        )
    if type(x) is TensorDataset and len(x.tensors) <= 3 and y is None and sample_weight is None:
        x, y, sample_weight = *x.tensors, *(None,) * (3 - len(x.tensors))
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
    if roles.y is not None or roles.sample_weight is not None:
        x, y, sample_weight = _parted(x, roles, where), None, None
    _refuse_endless(x, steps, where)
    source = _stream_of(x, batch_size, shuffle, class_weight, device)
    if source is None:
        raise DataError(
            "There is no data." if x is None else "This kind of data is not known.",
            where=where,
            expected="arrays, tensors, tables, a DataLoader, a Dataset, a PyDataset, a generator or a Parquet file",
            received=_describe(x),
            fix=_fix_for(x),
        )
    _refuse_parts(x, y, sample_weight, where)
    return source


def roles_of(x: Any, y: Any, sample_weight: Any, names: Names) -> Roles:
    """Which columns of the data are what, where y or sample_weight name columns."""
    return Roles(
        y if is_names(y) else None, sample_weight if is_names(sample_weight) else None, names, is_hugging_face(x)
    )


def has_columns(x: Any) -> bool:
    """Whether data consists of columns by name: tables of any kind, and dicts of columns."""
    return is_table(as_table(x)) or is_streamed(x) or (isinstance(x, Mapping) and bool(x))


def part_columns(x: Any, y: Any, sample_weight: Any, roles: Roles, where: str) -> tuple[Any, Any, Any]:
    """x, y and sample_weight, the columns of a table in memory or of a dict laid out for the model.

    Args:
        x: any data; what is no table in memory is left as it is, and so is a table that goes to the model whole.
        y: targets, or names of columns.
        sample_weight: weights, or names of columns.
        roles: which columns are what.
        where: the method concerned, for error messages.
    """
    x, y = as_table(x), as_table(y)
    is_asked = roles.y is not None or roles.sample_weight is not None
    if not is_table(x) and not (isinstance(x, Mapping) and is_asked):
        return x, y, sample_weight
    x, own_y, own_weight = roles.part(x, where)
    return x, y if roles.y is None else own_y, sample_weight if roles.sample_weight is None else own_weight


class _Parted:
    """Batches that are dicts of columns, from an iterable, as batches (x, y)."""

    def __init__(self, batches: Iterable[Any], roles: Roles, where: str) -> None:
        self.batches, self.roles, self.where = batches, roles, where

    def part(self, batch: Any) -> Any:
        if not isinstance(batch, Mapping):
            raise DataError(
                "The batches have no columns by name.",
                where=self.where,
                expected="dicts of columns, as y is the name of one",
                received=type(batch).__name__,
                fix="let them be (x, y), and leave y out",
            )
        return pack_x_y_sample_weight(*self.roles.part(batch, self.where))

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return map(self.part, self.batches)


def _parted(x: Any, roles: Roles, where: str) -> Any:
    """A stream of dicts of columns as a stream of (x, y); other data as it is."""
    if isinstance(x, Iterator):
        return map(_Parted((), roles, where).part, x)
    if isinstance(x, Iterable) and not isinstance(x, (list, tuple, Mapping, str, bytes, PyDataset)):
        return _Parted(x, roles, where)
    return x


def _refuse_endless(x: Any, steps: int | None, where: str) -> None:
    """Refuse a dataset that says of itself that it has no end, where nothing else ends an epoch."""
    if steps is None and _is_endless(x):
        raise DataError(
            "The dataset has no end.",
            where=where,
            received=f"a {type(x).__name__} that repeats for ever",
            fix="say how many batches are an epoch: steps_per_epoch=... (steps=...), or leave out repeat()",
        )


def _is_endless(x: Any) -> bool:
    """Whether it says so as tf.data does, by its cardinality, or as grain does, by a length beyond all bounds."""
    cardinality: Any = getattr(x, "cardinality", None)
    if callable(cardinality):
        return int(cardinality()) == INFINITE_CARDINALITY  # type: ignore[arg-type]
    return _package(x) == "grain" and hasattr(x, "__len__") and len(x) > 2**48


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


def _fix_for(x: Any) -> str | None:
    if isinstance(x, Mapping) and any(map(is_hugging_face, x.values())):
        return f"choose a split: data[{next(iter(x))!r}]"
    return "call the function to get its generator: fit(generate(), ...)" if callable(x) else None


def _package(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def _describe(x: Any) -> str:
    if isinstance(x, (list, tuple)):
        return f"a {type(x).__name__} of {', '.join(sorted({type(part).__name__ for part in x})) or 'nothing'}"
    return f"{x!r}"[:80] + f" ({type(x).__name__})"
