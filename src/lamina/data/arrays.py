"""Data that lies in memory: arrays, tensors, data frames and lists of numbers, made tensors once and then sliced."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from typing import Any, NoReturn, cast

import numpy as np
import optree
import torch

from lamina.core import tree
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, check_number
from lamina.core.tensors import convert_to_tensor
from lamina.core.text import as_text, is_text
from lamina.data.columns import borrow, column_of, is_borrowed, is_column, is_table, mark_borrowed, matrix_of
from lamina.data.replay import aligned
from lamina.data.source import Source, add_class_weight, pack_x_y_sample_weight

# A shuffled copy is made of at most this many bytes at a time: small data once an epoch, large data piece by piece.
_PIECE = 64 * 2**20


def is_array(x: Any) -> bool:
    """Whether a value is one array: a tensor, NumPy array, data frame, sparse matrix or the like."""
    if isinstance(x, (torch.Tensor, np.ndarray)) or is_table(x) or is_column(x):
        return True
    return hasattr(x, "__array__") and not isinstance(x, (numbers.Number, np.generic))


def is_numbers(x: Any) -> bool:
    """Whether a value is a (nested) list of plain numbers."""
    if not isinstance(x, (list, tuple)) or not x:
        return False
    return all(isinstance(leaf, (numbers.Number, np.generic)) for leaf in tree.flatten(x))


def is_in_memory(x: Any) -> bool:
    """Whether a value is an array, a list of numbers or strings, or a structure of these (None allowed)."""
    if is_array(x) or is_numbers(x) or is_text(x) or _is_sparse_matrix(x):
        return True
    if not isinstance(x, (list, tuple, Mapping)) or not x:
        return False
    parts = x.values() if isinstance(x, Mapping) else x
    return all(part is None or is_in_memory(part) for part in parts)


def _is_sparse_matrix(x: Any) -> bool:
    return type(x).__module__.startswith("scipy.sparse") and hasattr(x, "toarray")


def as_tensors(x: Any, name: str) -> Any:
    """A structure of arrays as the same structure of tensors; floats become floatx, integers and booleans stay.

    Text, which may be among the inputs, becomes NumPy arrays of strings.

    Args:
        x: arrays, or lists, tuples and dicts of arrays.
        name: what they are, for error messages: "x", "y" or "sample_weight".

    Raises:
        DataError: an array holds no numbers, or is no array at all.
    """
    if is_table(x) or is_column(x):
        values = matrix_of(x, name) if is_table(x) else column_of(x, name)
        if isinstance(values, torch.Tensor):
            return _as_floatx(values)
        return values if name.startswith("x") else _refuse_values(values, name)
    if name.startswith("x") and is_text(x):
        return as_text(x)
    if isinstance(x, np.memmap) and x.ndim:
        return borrow(x)
    if x is None or is_array(x) or is_numbers(x) or _is_sparse_matrix(x):
        return None if x is None else _as_tensor(x, name)
    if isinstance(x, Mapping):
        return {key: as_tensors(value, f"{name}[{key!r}]") for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        parts = [as_tensors(value, f"{name}[{index}]") for index, value in enumerate(x)]
        return parts if isinstance(x, list) else tuple(parts)
    raise DataError(
        f"{name} is not an array.",
        where=name,
        expected="a NumPy array, a tensor, a data frame, or a list or dict of these",
        received=type(x).__name__,
    )


def _as_tensor(x: Any, name: str) -> torch.Tensor:
    if _is_sparse_matrix(x):
        x = x.toarray()
    elif not isinstance(x, (torch.Tensor, np.ndarray, list, tuple)):
        x = np.asarray(x)
    try:
        tensor = convert_to_tensor(x, device=None if isinstance(x, torch.Tensor) else "cpu").detach()
    except ArgumentTypeError:
        _refuse_ragged(x, name)
        _refuse_values(x, name)
    if tensor.ndim == 0:
        raise DataError(
            f"{name} is a single number.",
            where=name,
            expected="an array with one entry for each sample",
            received=tensor.item(),
        )
    return _as_floatx(tensor)


def _refuse_ragged(x: Any, name: str) -> None:
    """Refuse rows of unequal length in words of their own."""
    rows = x if isinstance(x, (list, tuple, np.ndarray)) else ()
    lengths = {len(row) for row in rows if isinstance(row, (list, tuple, np.ndarray)) and np.ndim(row) != 0}
    if len(lengths) > 1:
        raise DataError(
            f"The rows of {name} differ in length.",
            where=name,
            expected="rows of one length",
            received=f"lengths from {min(lengths)} to {max(lengths)}",
            fix="pad them: lamina.utils.pad_sequences(x)",
        )


def _refuse_values(x: Any, name: str) -> NoReturn:
    raise DataError(
        f"{name} does not hold numbers.",
        where=name,
        expected="an array of numbers",
        received=f"dtype {x.dtype}, shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__,
        fix="encode categories as numbers first (StringLookup, pandas.get_dummies); fill in missing values",
    ) from None


def named_leaves(x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, torch.Tensor]:
    """The arrays by what a user calls them: "x", "y[1]", "x['age']"."""
    named = {}
    for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        for path, leaf in tree.flatten_with_path(part):
            if leaf is not None:
                named[name + "".join(f"[{step!r}]" for step in path)] = leaf
    return named


def check_lengths(x: Any, y: Any, sample_weight: Any, where: str) -> int:
    """The number of samples.

    Raises:
        DataError: the arrays differ in length, or are empty.
    """
    lengths = {name: leaf.shape[0] for name, leaf in named_leaves(x, y, sample_weight).items()}
    if not lengths:
        raise DataError("There is no data.", where=where, expected="arrays for x (and y)", received="None")
    if len(set(lengths.values())) > 1:
        fix = "give every array one entry for each sample, along the first axis"
        if isinstance(x, (list, tuple)) and len(x) in lengths.values():
            fix = "x is a list and is taken as several inputs; make it one array: np.stack(x)"
        raise DataError(
            "The arrays do not have the same number of samples.",
            where=where,
            received=_some(lengths),
            fix=fix,
        )
    rows = next(iter(lengths.values()))
    if rows == 0:
        received = ", ".join(f"{name}: 0 samples" for name in lengths)
        raise DataError("The data is empty.", where=where, expected="at least one sample", received=received)
    return rows


def _some(lengths: dict[str, int]) -> str:
    """The lengths by name, those in the middle left out when there are many."""
    parts = [f"{name}: {length}" for name, length in lengths.items()]
    return ", ".join(parts if len(parts) <= 8 else [*parts[:5], "...", *parts[-2:]])


def check_batch_size(batch_size: Any, name: str = "batch_size") -> None:
    """Raise ArgumentError unless it is None or a positive integer."""
    is_whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size is None or (is_whole and batch_size > 0):
        return
    received, fix = repr(batch_size), f"{name}=32, for instance"
    raise ArgumentError(f"{name} must be a positive integer.", where=f"{name}=...", received=received, fix=fix)


def split_validation(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Training and validation parts of in-memory data; validation takes the end, in the order given.

    Args:
        x: the inputs.
        y: the targets.
        sample_weight: weights of samples.
        fraction: the part to hold out, between 0 and 1.

    Raises:
        DataError: the data is not in memory, or too short to be split so.
        ArgumentError: a fraction that is not between 0 and 1.
    """
    check_number(fraction, "fit(validation_split=...)", whole=False)
    if not 0 < fraction < 1:
        where, fix = "fit(validation_split=...)", "validation_split=0.2 holds back a fifth"
        raise ArgumentError("validation_split lies between 0 and 1.", where=where, received=fraction, fix=fix)
    if not is_in_memory(x):
        raise DataError(
            "validation_split needs data in memory.",
            where="fit(validation_split=...)",
            expected="arrays, tensors or data frames",
            received=type(x).__name__,
            fix="pass validation_data=... instead",
        )
    parts = [as_tensors(part, name) for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight))]
    rows = check_lengths(*parts, where="fit")
    cut = math.floor(rows * (1.0 - fraction))
    if cut in (0, rows):
        raise DataError(
            f"{rows} samples are too few to be split.",
            where="fit(validation_split=...)",
            received=f"validation_split={fraction}",
            fix="give more data, another fraction, or validation_data=...",
        )

    def piece(start: int, stop: int) -> tuple[Any, ...]:
        return tuple(tree.map_structure(lambda leaf: _slice(leaf, start, stop), part) for part in parts)

    return piece(0, cut), piece(cut, rows)


def _slice(leaf: Any, start: int, stop: int) -> Any:
    """Some rows of an array, which know as it does what memory they lie on."""
    if leaf is None:
        return None
    return mark_borrowed(leaf[start:stop]) if is_borrowed(leaf) else leaf[start:stop]


class ArraySource(Source):
    """Batches of in-memory data: tensors made once, shuffled by one selection an epoch, sliced without copies.

    Args:
        x: the inputs.
        y: the targets.
        sample_weight: weights of samples, one array or one for each target.
        batch_size: samples in a batch; 32 by default, or what `steps` batches need.
        steps: batches in an epoch, if the caller limits them.
        shuffle: True for a new order each pass; "batch" to shuffle within each batch only.
        class_weight: weights by class index.
        device: where batches shall lie.
        where: the method concerned, for error messages.
    """

    kind = "array"
    is_ready = True

    def __init__(
        self,
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
    ) -> None:
        check_batch_size(batch_size)
        x, y, sample_weight = (
            as_tensors(x, "x"),
            as_tensors(y, "y"),
            as_tensors(sample_weight, "sample_weight"),
        )
        self.rows = check_lengths(x, y, sample_weight, where)
        if y is not None and sample_weight is not None:
            sample_weight = _weights_like(y, sample_weight)
        if class_weight is not None:
            x, y, sample_weight = add_class_weight(pack_x_y_sample_weight(x, y, sample_weight), class_weight)
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.batch_size = batch_size or (math.ceil(self.rows / steps) if steps else 32)
        self.shuffle = shuffle
        self.device = device
        data = pack_x_y_sample_weight(x, y, sample_weight)
        self._flat = isinstance(data, tuple) and not any(tree.is_nested(part) for part in data)
        self._single = isinstance(data, torch.Tensor)
        self._structure = optree.tree_structure(cast(Any, data), none_is_leaf=True, namespace="lamina")
        leaves = tree.flatten(data)
        size = sum(leaf.nbytes for leaf in leaves if leaf is not None)
        self._leaves = [_placed(leaf, device) for leaf in leaves] if _fits(size, device) else leaves
        in_pieces = shuffle or not _fits(size, device) or any(map(is_borrowed, self._leaves))
        rows_in_piece = max(1, _PIECE * self.rows // max(size, 1)) if in_pieces else self.rows
        self._piece = max(1, rows_in_piece // self.batch_size) * self.batch_size

    @property
    def batches(self) -> int:
        """Batches in one pass."""
        return math.ceil(self.rows / self.batch_size)

    def example(self) -> Any:
        """The first batch in the order given."""
        rows = min(self.batch_size, self.rows)
        return self._structure.unflatten([_owned(_slice(leaf, 0, rows)) for leaf in self._leaves])

    def follow(self) -> None:
        """Takes care that arrays begin where no arithmetic depends on it: at a multiple of 64 bytes."""
        self._leaves = [aligned(leaf) for leaf in self._leaves]

    def after(self, count: int) -> Iterator[Any]:
        """One pass without its first batches, which are not made."""
        skipped = count * self.batch_size // self._piece
        batches = self._batches(self._order(), skipped)
        return islice(batches, count - skipped * (self._piece // self.batch_size), None)

    def __iter__(self) -> Iterator[Any]:
        return self._batches(self._order())

    def _batches(self, order: torch.Tensor | None, skipped: int = 0) -> Iterator[Any]:
        """The batches in an order, without those of the first pieces."""
        for start in range(skipped * self._piece, self.rows, self._piece):
            columns = [self._column(leaf, order, start) for leaf in self._leaves]
            if self._single:
                yield from columns[0]
            elif self._flat:
                yield from zip(*columns, strict=False)
            else:
                yield from map(self._structure.unflatten, zip(*columns, strict=False))

    def _column(self, leaf: torch.Tensor | np.ndarray | None, order: torch.Tensor | None, start: int) -> Any:
        """The batches of one array within a piece, as views of it."""
        if leaf is None:
            return repeat(None)
        stop = min(start + self._piece, self.rows)
        if isinstance(leaf, np.ndarray):
            text = leaf[start:stop] if order is None else leaf[order[start:stop].numpy()]
            return [text[first : first + self.batch_size] for first in range(0, len(text), self.batch_size)]
        if order is None:
            piece = _owned(_slice(leaf, start, stop))
        else:
            piece = _as_floatx(leaf.index_select(0, order[start:stop].to(leaf.device)))
        return piece.to(self.device, non_blocking=True).split(self.batch_size)

    def _order(self) -> torch.Tensor | None:
        if not self.shuffle:
            return None
        if self.shuffle == "batch":
            starts = range(0, self.rows, self.batch_size)
            return torch.cat([torch.randperm(min(self.batch_size, self.rows - s)) + s for s in starts])
        return torch.randperm(self.rows)


def _placed(leaf: Any, device: torch.device) -> Any:
    """An array on the device; text stays where it is."""
    return leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf


def _as_floatx(leaf: torch.Tensor) -> torch.Tensor:
    return leaf.to(torch_dtype(None)) if leaf.is_floating_point() else leaf


def _owned(leaf: Any) -> Any:
    """The rows on memory of their own, and as floatx, where they lie on borrowed memory."""
    if not is_borrowed(leaf):
        return leaf
    converted = _as_floatx(leaf)
    return leaf.clone() if converted is leaf else converted


def _fits(size: int, device: torch.device) -> bool:
    """Whether data of this size may lie on the device whole."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free // 4


def _weights_like(y: Any, sample_weight: Any) -> Any:
    """Sample weights in the structure of the targets: one array is used for all of them."""
    if not tree.is_nested(y):
        return sample_weight
    if isinstance(sample_weight, (list, tuple, dict)):
        if isinstance(y, dict) and isinstance(sample_weight, dict) and set(sample_weight) < set(y):
            return {name: sample_weight.get(name) for name in y}
        if len(tree.flatten(y)) != len(tree.flatten(sample_weight)):
            raise DataError(
                "sample_weight does not have the structure of y.",
                where="sample_weight",
                expected=f"{len(tree.flatten(y))} arrays, one for each target",
                received=f"{len(tree.flatten(sample_weight))} arrays",
            )
        return sample_weight
    if sample_weight.ndim > 2 or (sample_weight.ndim == 2 and sample_weight.shape[1] != 1):
        raise DataError(
            "One sample_weight array for several outputs must hold one weight for each sample.",
            where="sample_weight",
            expected="shape (samples,)",
            received=f"shape {tuple(sample_weight.shape)}",
            fix="give a list or dict with one array for each output",
        )
    return tree.map_structure(lambda _: sample_weight, y)
