"""Tables as data: which columns are inputs, targets and weights, and tables that come piece by piece from files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.errors import DataError, MissingPackageError, listing, nearest
from lamina.core.forms import COUNT, check
from lamina.data.ahead import read_ahead
from lamina.data.arrays import ArraySource, as_tensors
from lamina.data.columns import is_table, names_of
from lamina.data.source import Source

# Rows of a file that are read, and shuffled, together.
_ROWS = 2**16


@dataclass(frozen=True)
class Names:
    """What a model calls its inputs and outputs, as far as it is known.

    Attributes:
        inputs: names of the inputs; empty if they have none.
        outputs: names of the outputs.
        is_single: whether there is one input, which takes columns side by side; None if that is not known.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_single: bool | None = None


UNKNOWN = Names()


def is_names(value: Any) -> bool:
    """Whether y or sample_weight is the name of a column, or a list of names."""
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(name, str) for name in value)
    )


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are what.

    Attributes:
        y: the name or names of the targets; None for none.
        sample_weight: the name or names of the weights.
        names: what the model calls its inputs and outputs.
        by_name: whether a model of unknown inputs gets a dict of columns rather than a matrix.
    """

    y: Any = None
    sample_weight: Any = None
    names: Names = UNKNOWN
    by_name: bool = False

    def part(self, table: Any, where: str = "fit") -> tuple[Any, Any, Any]:
        """A table, or a dict of columns, as x, y and sample_weight.

        Raises:
            DataError: there is no such column.
        """
        taken = [*_listed(self.y), *_listed(self.sample_weight)]
        columns = names_of(table)
        for name in taken:
            if name not in columns:
                raise DataError(
                    f'There is no column "{name}".{nearest(name, map(str, columns))}',
                    where=where,
                    expected=listing(map(str, columns)),
                    received=repr(name),
                )
        x = self._inputs(table, [name for name in columns if name not in taken], where)
        y = _picked(table, self.y, self.names.outputs)
        weights = _picked(table, self.sample_weight, self.names.outputs)
        if isinstance(self.sample_weight, str) or len(_listed(self.sample_weight)) == 1:
            weights = as_tensors(weights, "sample_weight").flatten()
        return x, y, weights

    def _inputs(self, table: Any, columns: list[Any], where: str) -> Any:
        wanted = self.names.inputs
        if wanted and set(wanted) <= set(columns):
            return {name: table[name] for name in wanted}
        if wanted and len(wanted) > 1 and not isinstance(table, Mapping):
            missing = [name for name in wanted if name not in columns]
            raise DataError(
                f'The model has an input "{missing[0]}", and the table has no such column.',
                where=where,
                expected=", ".join(wanted),
                received=listing(map(str, columns)),
                fix="name the inputs like the columns: Input(shape=(1,), name=...)",
            )
        if not columns:
            received, fix = listing(map(str, names_of(table))), "give a table with columns beside those of y"
            raise DataError("No column is left for x.", where=where, received=received, fix=fix)
        if self.by_name and len(columns) == 1:
            return table[columns[0]]
        if isinstance(table, Mapping) or (self.by_name and self.names.is_single is None):
            return {name: table[name] for name in columns}
        return _chosen(table, columns)


def _listed(names: Any) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _chosen(table: Any, columns: list[Any]) -> Any:
    return table.select(columns) if hasattr(table, "select") else table[columns]


def _picked(table: Any, names: Any, outputs: tuple[str, ...]) -> Any:
    """One column; or several, by output where the model has as many, else side by side."""
    listed = _listed(names)
    if not listed:
        return None
    if len(listed) == 1:
        return table[listed[0]]
    if len(outputs) > 1 and set(listed) <= set(outputs):
        return {name: table[name] for name in listed}
    if len(outputs) == len(listed) or isinstance(table, Mapping):
        parts = tuple(table[name] for name in listed)
        return parts if len(outputs) == len(listed) else torch.cat([_as_columns(part) for part in parts], dim=1)
    return _chosen(table, listed)


def _as_columns(part: Any) -> torch.Tensor:
    tensor = as_tensors(part, "y")
    return tensor[:, None] if tensor.ndim == 1 else tensor


# What is a table, and what comes as tables.


def as_table(x: Any) -> Any:
    """A value as a table in memory, where it is one or can be one without reading more than is needed; else itself.

    Query plans of polars are run. Datasets of Hugging Face become tables on the files that they lie in.
    """
    package = _package(x)
    if package == "pyarrow" and is_table(x) and not hasattr(x, "select"):
        return _whole([x])
    if package == "polars" and hasattr(x, "collect"):
        return x.collect()
    if _has_rows(x) and not _is_decoded(x) and x.format["type"] != "custom":
        return x.with_format("arrow", columns=x.format["columns"])[:]
    return x


def _whole(batches: list[Any]) -> Any:
    import pyarrow

    return pyarrow.Table.from_batches(batches)


def is_hugging_face(x: Any) -> bool:
    """Whether a value is a dataset of Hugging Face, of either kind."""
    return _package(x) == "datasets" and hasattr(x, "with_format") and not isinstance(x, Mapping)


def _has_rows(x: Any) -> bool:
    """Whether a value is a dataset of Hugging Face with rows by number, not a stream."""
    return is_hugging_face(x) and hasattr(x, "format")


def is_streamed(x: Any) -> bool:
    """Whether a value gives tables piece by piece: Parquet files, readers and datasets of Arrow and Hugging Face."""
    if isinstance(x, (str, os.PathLike)):
        return os.fspath(x).endswith(".parquet")
    reads = ("iter_batches", "to_batches", "read_next_batch")
    is_arrow = _package(x) == "pyarrow" and not is_table(x)
    return is_hugging_face(x) or (is_arrow and any(hasattr(x, method) for method in reads))


def _package(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def _is_decoded(dataset: Any) -> bool:
    """Whether a dataset of Hugging Face decodes values when they are read, such as images."""
    return any(hasattr(feature, "decode_example") for feature in (dataset.features or {}).values())


class TableSource(Source):
    """Batches of tables that come piece by piece; while one piece is used, the next one is read.

    Rows are shuffled within a piece, and the row groups of a Parquet file among each other; a stream of Hugging Face
    keeps its own order. Batches go over the ends of pieces.

    Args:
        data: a path or an open Parquet file, a dataset or reader of Arrow, or a dataset of Hugging Face.
        roles: which columns are what.
        batch_size: rows in a batch, 32 by default.
        shuffle: whether rows come in a new order each pass.
        class_weight: weights by class index.
        device: where batches shall lie.
        where: the method concerned, for error messages.
    """

    def __init__(
        self,
        data: Any,
        roles: Roles,
        *,
        batch_size: int | None = None,
        shuffle: bool | str = False,
        class_weight: Mapping[Any, float] | None = None,
        device: torch.device,
        where: str = "fit",
    ) -> None:
        self.data = _opened(data)
        self.kind = "Parquet file" if hasattr(self.data, "iter_batches") else type(self.data).__name__
        self.roles, self.where = roles, where
        self.batch_size = batch_size or 32
        self.shuffle = bool(shuffle) and (_has_rows(self.data) or not is_hugging_face(self.data))
        self.class_weight, self.device = class_weight, device
        self.rows = _rows_of(self.data)
        self._epoch = 0

    @property
    def batches(self) -> int | None:
        """Batches in one pass, where the number of rows is known."""
        return None if self.rows is None else math.ceil(self.rows / self.batch_size)

    def on_epoch_begin(self) -> None:
        """Lets a stream of Hugging Face have another order in each epoch."""
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(self._epoch)
        self._epoch += 1

    def get_state(self) -> dict[str, Any]:
        """How many epochs were begun."""
        return {"epoch": self._epoch}

    def check_state(self, state: Mapping[str, Any], where: str, place: str, most: int | None) -> None:
        """See whether it is the number of an epoch."""
        check(state, {"epoch": COUNT}, where, place)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on in that epoch."""
        self._epoch = state["epoch"] - 1
        self.on_epoch_begin()

    def __iter__(self) -> Iterator[Any]:
        rest: Any = None
        pieces = _pieces(self.data, self.batch_size, self.shuffle)
        for piece in read_ahead(map(self._tensors, pieces), 1):
            piece = piece if rest is None else tree.map_structure(_joined, rest, piece)
            rows = len(tree.flatten(piece)[0])
            whole = rows // self.batch_size * self.batch_size
            if whole:
                yield from self._batches(tree.map_structure(lambda leaf, end=whole: leaf[:end], piece))
            rest = tree.map_structure(lambda leaf, start=whole: leaf[start:], piece) if whole < rows else None
        if rest is not None:
            yield from self._batches(rest)

    def _tensors(self, piece: Any) -> tuple[Any, ...]:
        x, y, weights = self.roles.part(piece, self.where)
        parts = (("x", x), ("y", y), ("sample_weight", weights))
        return tuple(as_tensors(part, name) for name, part in parts if part is not None)

    def _batches(self, parts: tuple[Any, ...]) -> Iterator[Any]:
        has_weights = self.roles.sample_weight is not None
        x, rest = parts[0], parts[1:]
        y, weights = rest[0] if self.roles.y is not None else None, rest[-1] if has_weights else None
        return iter(
            ArraySource(
                x,
                y,
                weights,
                batch_size=self.batch_size,
                shuffle=self.shuffle,
                class_weight=self.class_weight,
                device=self.device,
                where=self.where,
            )
        )


def _joined(rest: Any, piece: Any) -> Any:
    return torch.cat([rest, piece]) if isinstance(rest, torch.Tensor) else np.concatenate([rest, piece])


def _opened(data: Any) -> Any:
    """A path as an open file, and a dataset of Hugging Face in a form that is read fast."""
    if isinstance(data, (str, os.PathLike)):
        try:
            from pyarrow import parquet
        except ImportError as error:
            what, fix = "Parquet files are read by Arrow.", "pip install pyarrow"
            raise MissingPackageError(what, where=os.fspath(data), fix=fix) from error
        return parquet.ParquetFile(os.fspath(data), memory_map=True)
    if not is_hugging_face(data):
        return data
    if _has_rows(data):
        return data if data.format["type"] else data.with_format("numpy")
    return data.with_format("numpy" if _is_decoded(data) else "arrow")


def _rows_of(data: Any) -> int | None:
    if hasattr(data, "iter_batches"):
        return data.metadata.num_rows
    if hasattr(data, "count_rows"):
        return data.count_rows()
    return len(data) if hasattr(data, "__len__") else None


def _pieces(data: Any, batch_size: int, shuffle: bool) -> Iterator[Any]:
    """A pass over the data as tables of some size, or as dicts of columns."""
    rows = max(1, _ROWS // batch_size) * batch_size
    if hasattr(data, "iter_batches"):
        groups = torch.randperm(data.num_row_groups).tolist() if shuffle else range(data.num_row_groups)
        return map(as_table, data.iter_batches(batch_size=rows, row_groups=list(groups)))
    if hasattr(data, "to_batches"):
        return (as_table(piece) for piece in data.to_batches(batch_size=rows) if piece.num_rows)
    if hasattr(data, "read_next_batch"):
        return (as_table(piece) for piece in data if piece.num_rows)
    if _has_rows(data):
        order = torch.randperm(len(data)).tolist() if shuffle else list(range(len(data)))
        return (data[order[start : start + batch_size]] for start in range(0, len(order), batch_size))
    # Whole rows may be large, and they may come over a network.
    return data.iter(batch_size=max(1, 4096 // batch_size) * batch_size)
