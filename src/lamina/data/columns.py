"""Columns of pandas, polars and Arrow as tensors, and tables of them as matrices, without a look at single rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lamina.core.dtypes import torch_dtype
from lamina.core.errors import DataError, MissingPackageError
from lamina.core.text import as_text, is_text

_TABLES = {
    ("pandas", "DataFrame"),
    ("polars", "DataFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
}
_COLUMNS = {("pandas", "Series"), ("pandas", "Index"), ("polars", "Series"), ("pyarrow", "ChunkedArray")}


def _known(x: Any) -> tuple[str, str]:
    """Package and name of the class of a value, which may be a subclass of another package's."""
    return _known_class(type(x))


@functools.cache
def _known_class(kind: type) -> tuple[str, str]:
    for cls in kind.__mro__:
        key = (cls.__module__.partition(".")[0], cls.__name__)
        if key in _TABLES or key in _COLUMNS:
            return key
    package = kind.__module__.partition(".")[0]
    return package, "Array" if package == "pyarrow" and hasattr(kind, "null_count") else ""


def is_table(x: Any) -> bool:
    """Whether a value is a table in memory: a data frame of pandas or polars, or a table of Arrow."""
    return _known(x) in _TABLES


def is_column(x: Any) -> bool:
    """Whether a value is a single column of such a table."""
    key = _known(x)
    return key in _COLUMNS or key == ("pyarrow", "Array")


def names_of(table: Any) -> list[Any]:
    """The names of the columns of a table, or the keys of a dict."""
    if isinstance(table, Mapping):
        return list(table)
    return list(table.column_names if hasattr(table, "column_names") else table.columns)


def matrix_of(table: Any, name: str) -> torch.Tensor | np.ndarray:
    """The columns of a table side by side, (rows, columns); columns of vectors take as many places as they have values.

    Args:
        table: a table.
        name: what it is, for error messages.

    Raises:
        DataError: a column does not hold numbers, or has missing values that numbers of its kind cannot show.
    """
    if _known(table)[0] == "pandas" and all(isinstance(kind, np.dtype) for kind in table.dtypes):
        values = table.to_numpy()
        if values.dtype.kind in "biuf":
            return borrow(values)
    keys = names_of(table)
    if len(set(keys)) < len(keys):
        twice = next(str(key) for key in keys if keys.count(key) > 1)
        raise DataError(
            f'{name} has several columns named "{twice}".',
            where=name,
            fix="rename them, or give the array: x.to_numpy()",
        )
    parts = {key: column_of(table[key], f"{name}[{key!r}]") for key in keys}
    texts = [str(key) for key, part in parts.items() if isinstance(part, np.ndarray)]
    if texts and len(texts) == len(parts):
        return np.concatenate([np.asarray(part) for part in parts.values()], axis=1)
    if texts:
        raise DataError(
            f"{name} has columns that do not hold numbers.",
            where=name,
            received=f"columns {', '.join(texts)}",
            fix="drop or encode them (StringLookup, pandas.get_dummies), or give the model an Input for each column, "
            "by its name",
        )
    return _side_by_side([part for part in parts.values() if isinstance(part, torch.Tensor)], name)


def _side_by_side(parts: list[torch.Tensor], name: str) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        raise DataError(f"{name} has no columns.", where=name, expected="a table with at least one column")
    if any(part.ndim != 2 for part in parts):
        raise DataError(
            f"The columns of {name} differ in their number of axes.",
            where=name,
            received=", ".join(str(tuple(part.shape[1:])) for part in parts),
            fix="give the model an Input of its own for each column, by its name",
        )
    if any(part.is_floating_point() for part in parts):
        dtype = torch_dtype(None)
    else:
        dtype = torch.bool if all(part.dtype is torch.bool for part in parts) else torch.int64
    matrix = torch.empty(len(parts[0]), sum(part.shape[1] for part in parts), dtype=dtype)
    # Block by block, so that what is written stays in the cache until its row is full.
    for start in range(0, len(matrix), 4096):
        block, place = matrix[start : start + 4096], 0
        for part in parts:
            block[:, place : place + part.shape[1]] = part[start : start + 4096]
            place += part.shape[1]
    return matrix


def column_of(column: Any, name: str) -> torch.Tensor | np.ndarray:
    """A column as a tensor (rows, 1), or (rows, ...) if its values are vectors; text as an array of strings (rows, 1).

    Args:
        column: a series of pandas or polars, an Arrow array, or an array of NumPy or torch.
        name: what it is, for error messages.

    Raises:
        DataError: it holds neither numbers nor text, or has missing values that numbers of its kind cannot show.
    """
    package = _known(column)[0]
    if package == "pandas":
        values = _from_pandas(column, name)
    elif package in ("polars", "pyarrow"):
        values = _from_arrow(column, name)
    else:
        values = column
    values = values[:, None] if values.ndim == 1 else values
    return borrow(values) if isinstance(values, np.ndarray) and values.dtype.kind != "O" else values


def _from_pandas(column: Any, name: str) -> np.ndarray:
    kind = column.dtype.kind
    if hasattr(column, "cat"):
        _refuse_missing(int(column.isna().sum()), name, "category")
        column = column.astype(column.cat.categories.dtype)
        kind = column.dtype.kind
    if kind in "mMc":
        _refuse_kind(name, str(column.dtype))
    missing = int(column.isna().sum()) if kind == "O" or not isinstance(column.dtype, np.dtype) else 0
    if kind == "f":
        width = np.dtype(f"f{column.dtype.itemsize}")
        return column.to_numpy(dtype=width, na_value=np.nan) if missing else column.to_numpy()
    if kind in "biu":
        _refuse_missing(missing, name, str(column.dtype))
        values = column.to_numpy()
        return values if values.dtype.kind != "O" else values.astype(f"{kind}{column.dtype.itemsize}")
    if kind == "O" and isinstance(column.dtype, np.dtype):
        found = column.convert_dtypes()
        if found.dtype.kind != "O":
            return _from_pandas(found, name)
    return _of_objects(column.to_numpy(dtype=object), missing, name)


def _of_objects(values: np.ndarray, missing: int, name: str) -> np.ndarray:
    """Strings, or rows of numbers of one length."""
    _refuse_missing(missing, name, "text" if is_text([v for v in values[:64] if isinstance(v, str)]) else "object")
    if is_text(values):
        return as_text(values)
    try:
        rows = np.stack([np.asarray(value) for value in values]) if len(values) else np.empty(0)
    except ValueError:
        lengths = [len(value) for value in values]
        raise DataError(
            f"The rows of {name} differ in length.",
            where=name,
            expected="rows of one length",
            received=f"lengths from {min(lengths)} to {max(lengths)}",
            fix="pad them: lamina.utils.pad_sequences(x)",
        ) from None
    if rows.dtype.kind not in "biuf":
        _refuse_kind(name, f"values such as {values[0]!r:.60}")
    return rows


def _from_arrow(column: Any, name: str) -> np.ndarray:
    if _known(column)[0] == "polars":
        if column.dtype.is_numeric() and not column.dtype.is_decimal() and not column.null_count():
            return column.to_numpy()
        column = _arrow_of(column)
    import pyarrow
    from pyarrow import types

    if isinstance(column, pyarrow.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(column, pyarrow.ChunkedArray):  # of types that cannot be combined
            column = pyarrow.concat_arrays([getattr(chunk, "storage", chunk) for chunk in column.chunks])
    column = getattr(column, "storage", column)
    kind = column.type
    if types.is_dictionary(kind):
        _refuse_missing(column.null_count, name, str(kind))
        return _from_arrow(column.dictionary_decode(), name)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _from_lists(column, name)
    if types.is_decimal(kind):
        column, kind = column.cast(pyarrow.float64()), pyarrow.float64()
    if types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False)
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        _refuse_missing(column.null_count, name, str(kind))
        return column.to_numpy(zero_copy_only=False)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        _refuse_missing(column.null_count, name, "text")
        return column.to_numpy(zero_copy_only=False)
    return _refuse_kind(name, str(kind))


def _from_lists(column: Any, name: str) -> np.ndarray:
    """Lists of one length, of numbers or of lists."""
    import pyarrow.compute as compute

    _refuse_missing(column.null_count, name, str(column.type))
    sizes = compute.call_function("min_max", [compute.call_function("list_value_length", [column])]).as_py()
    if sizes["min"] != sizes["max"]:
        raise DataError(
            f"The rows of {name} differ in length.",
            where=name,
            expected="rows of one length",
            received=f"lengths from {sizes['min']} to {sizes['max']}",
            fix="pad them first: lamina.utils.pad_sequences(rows)",
        )
    inner = _from_arrow(column.flatten(), name)
    return inner.reshape(len(column), sizes["min"] or 0, *inner.shape[1:])


def _arrow_of(column: Any) -> Any:
    try:
        return column.to_arrow()
    except ImportError as error:
        raise MissingPackageError(
            f"Columns of polars that hold {column.dtype} are read by Arrow.",
            where=f"column {column.name!r}",
            fix="pip install pyarrow",
        ) from error


def _refuse_missing(count: int, name: str, kind: str) -> None:
    if count:
        raise DataError(
            f"{name} has missing values, which numbers and text of its kind cannot show.",
            where=f"column of {kind}",
            received=f"{count} missing values",
            fix="fill them in (fillna, fill_null), or drop these rows",
        )


def _refuse_kind(name: str, kind: str) -> Any:
    fix = "encode them as numbers or text first, or drop the column"
    if any(word in kind for word in ("date", "time", "duration")):
        fix = (
            "make numbers of it (seconds since a day: (t - t.min()).dt.total_seconds(); .dt.month), or drop the column"
        )
    raise DataError(
        f"{name} does not hold numbers.",
        where=name,
        expected="numbers, booleans, text or categories",
        received=kind,
        fix=fix,
    )


def borrow(array: np.ndarray) -> torch.Tensor:
    """An array of numbers as a tensor on the same memory, which is marked if it must not be written to.

    Arrow's columns and mapped files are such: batches of them are copies (see `is_borrowed`).
    """
    if array.dtype.kind not in "biuf" or not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.array(array, array.dtype.newbyteorder("="))
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    if array.flags.writeable and not isinstance(array, np.memmap):
        return torch.from_numpy(array)
    return mark_borrowed(torch.from_numpy(np.asarray(_Alias(array))))


class _Alias:
    """The memory of an array, of which torch is not told that it must not be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def mark_borrowed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, marked as lying on memory that is not to be written to."""
    tensor._is_borrowed = True  # type: ignore[attr-defined]
    return tensor


def is_borrowed(tensor: Any) -> bool:
    """Whether a tensor lies on memory that is not to be written to."""
    return getattr(tensor, "_is_borrowed", False)
