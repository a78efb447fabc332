"""Text as data. torch has no tensors of strings: text stands in NumPy arrays of Python strings, dtype object."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.core.errors import ArgumentTypeError, DataError

_TYPES = frozenset({str, bytes, np.str_, np.bytes_})


def is_text(x: Any) -> bool:
    """Whether a value is an array, a column or a (nested) list of strings; a single string is none.

    Example:
        >>> is_text([["a"], ["b"]]), is_text(np.array(["a", "b"])), is_text([1, 2]), is_text("a")
        (True, True, False, False)
    """
    if isinstance(x, (list, tuple)):
        kinds = set(map(type, x))
        return bool(x) and (kinds <= _TYPES or (kinds <= {list, tuple} and all(map(is_text, x))))
    # Tensors, real and symbolic, are known by this method.
    if not hasattr(x, "__array__") or hasattr(type(x), "__torch_function__") or isinstance(x, np.generic):
        return False
    array = x if isinstance(x, np.ndarray) else np.asarray(x)
    return array.dtype.kind in "UST" or (
        array.dtype.kind == "O" and array.size > 0 and set(map(type, array.flat)) <= _TYPES
    )


def as_text(x: Any, encoding: str | None = None) -> np.ndarray:
    """Strings of any kind as an array of Python strings.

    Args:
        x: a string, a (nested) list of strings, or an array or column of strings or bytes.
        encoding: how bytes are decoded; None leaves them as they are.

    Raises:
        ArgumentTypeError: a value is no string.
        DataError: a value is missing, rows differ in length, or bytes cannot be decoded.

    Example:
        >>> as_text([b"a", "b"], "utf-8")
        array(['a', 'b'], dtype=object)
    """
    array = np.array(x, dtype=object) if isinstance(x, (str, bytes, list, tuple)) else np.asarray(x).astype(object)
    kinds = set(map(type, array.flat))
    if not kinds <= _TYPES:
        _refuse(array)
    if encoding is not None and not kinds <= {str, np.str_}:
        array = _decoded(array, encoding)
    return array


def gather_text(structure: Any) -> Any:
    """A structure of data with every (nested) list of strings in it made an array.

    Example:
        >>> gather_text((["a", "b"], [1, 2]))
        (array(['a', 'b'], dtype=object), [1, 2])
    """
    if isinstance(structure, dict):
        return {key: gather_text(part) for key, part in structure.items()}
    if not isinstance(structure, (list, tuple)):
        return structure
    if is_text(structure):
        return as_text(structure)
    parts = [gather_text(part) for part in structure]
    if isinstance(structure, list):
        return parts
    return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)


def _decoded(array: np.ndarray, encoding: str) -> np.ndarray:
    decoded = np.empty(array.size, dtype=object)
    try:
        decoded[:] = [text.decode(encoding) if isinstance(text, bytes) else text for text in array.flat]
    except UnicodeDecodeError as error:
        raise DataError(
            "The text is written in another encoding.",
            where="encoding=...",
            expected=encoding,
            received=str(error),
            fix='set encoding, e.g. encoding="latin-1"',
        ) from None
    return decoded.reshape(array.shape)


def _refuse(array: np.ndarray) -> None:
    wrong = next(value for value in array.flat if type(value) not in _TYPES)
    if isinstance(wrong, (list, tuple, np.ndarray)):
        raise DataError(
            "The rows of text differ in length.",
            where="text given to a layer",
            expected="rows of one length",
            received=f"{wrong!r:.60} among them",
            fix='fill up the short rows with "" (or the mask token), or join the words of a row to one string',
        )
    if wrong is None or str(wrong) in ("nan", "<NA>", "NaT"):
        where, fix = "text given to a layer", 'fill them in: x.fillna("")'
        raise DataError("The text has missing values.", where=where, received=repr(wrong), fix=fix)
    raise ArgumentTypeError(
        "This is not text.",
        where="text given to a layer",
        expected="strings",
        received=f"{wrong!r:.60} ({type(wrong).__name__})",
        fix="write numbers as text, x.astype(str), or use a layer for numbers",
    )
