"""Small helpers that prepare arrays for `fit`: one-hot labels, unit vectors, sequences of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lamina.core.errors import ArgumentError, DataError, ShapeError, check_number, one_of


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Class numbers as one-hot rows.

    Args:
        x: integers from 0 to num_classes - 1, shape (...) or (..., 1); tensors give tensors, all else gives arrays.
        num_classes: how many classes there are; by default one more than the largest number.

    Returns:
        Ones and zeros, shape (..., num_classes).

    Raises:
        DataError: a number is negative or not below `num_classes`.

    Example:
        >>> to_categorical([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]])

    Source: https://keras.io/api/utils/numerical_utils/
    """
    is_tensor = isinstance(x, torch.Tensor)
    try:
        labels = x.long() if is_tensor else np.asarray(x, dtype="int64")
    except (TypeError, ValueError):
        raise DataError(
            "The labels are no numbers.",
            where="to_categorical",
            expected="class numbers from 0",
            received=f"an array of dtype {np.asarray(x).dtype}",
            fix="number them first: np.unique(labels, return_inverse=True)[1]",
        ) from None
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels.reshape(tuple(labels.shape[:-1]))
    check_number(num_classes or 1, "to_categorical(num_classes=...)", least=1)
    count = num_classes or (int(labels.max()) + 1 if len(labels.reshape(-1)) else 0)
    if len(labels.reshape(-1)) and (int(labels.min()) < 0 or int(labels.max()) >= count):
        raise DataError(
            "A label is outside the classes.",
            where="to_categorical",
            expected=f"0 to {count - 1}",
            received=f"{int(labels.min())} to {int(labels.max())}",
            fix="count from 0: np.unique(labels, return_inverse=True)[1]; or raise num_classes",
        )
    if isinstance(labels, torch.Tensor):
        return torch.nn.functional.one_hot(labels, count).to(torch.get_default_dtype())
    return np.eye(count)[labels]


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Vectors scaled to length one; vectors of zeros stay zeros.

    Args:
        x: an array or a tensor.
        axis: the axis along which the vectors lie.
        order: which norm is their length: 2 for the Euclidean one, 1 for the sum of magnitudes.

    Example:
        >>> normalize(np.array([[3.0, 4.0]]))
        array([[0.6, 0.8]])

    Source: https://keras.io/api/utils/numerical_utils/
    """
    if isinstance(x, torch.Tensor):
        return torch.nn.functional.normalize(x, p=order, dim=axis)
    array = np.asarray(x)
    if array.dtype.kind not in "biufc":
        where, expected = "normalize(x)", "an array of numbers"
        raise DataError("These are no numbers.", where=where, expected=expected, received=f"{x!r:.80}")
    length = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(length == 0, 1, length)


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences of different lengths as one array, short ones filled up and long ones cut.

    Args:
        sequences: lists of numbers, or of arrays of one shape.
        maxlen: the length of all; by default that of the longest.
        dtype: the dtype of the result.
        padding: "pre" fills up in front, "post" behind.
        truncating: "pre" cuts off the front, "post" the end.
        value: what is filled in.

    Returns:
        An array (len(sequences), maxlen, ...).

    Raises:
        ArgumentError: `padding` or `truncating` is neither "pre" nor "post", or `value` does not fit `dtype`.
        DataError: `sequences` is not a list of sequences.
        ShapeError: the steps of the sequences differ in shape.

    Example:
        >>> pad_sequences([[1], [2, 3]])
        array([[0, 1],
               [2, 3]], dtype=int32)

    Source: https://keras.io/api/data_loading/timeseries/
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        one_of(side, ("pre", "post"), f"pad_sequences, {name}")
    if maxlen is not None:
        check_number(maxlen, "pad_sequences(maxlen=...)", least=0)
    is_text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_) or np.dtype(dtype) == object
    if isinstance(value, str) and not is_text:
        raise ArgumentError(
            "Text cannot fill up numbers.",
            where="pad_sequences(value=...)",
            received=repr(value),
            fix="use dtype=object, or a number",
        )
    if not hasattr(sequences, "__len__") or not all(hasattr(sequence, "__len__") for sequence in sequences):
        where, expected = "pad_sequences(sequences)", "a list of sequences: [[1, 2], [3]]"
        raise DataError("This is no list of sequences.", where=where, expected=expected, received=f"{sequences!r:.80}")
    lengths = [len(sequence) for sequence in sequences]
    size = max(lengths, default=0) if maxlen is None else maxlen
    step = next((np.asarray(sequence).shape[1:] for sequence in sequences if len(sequence)), ())
    result = np.full((len(sequences), size, *step), value, dtype=dtype)
    for index, sequence in enumerate(sequences):
        if not len(sequence):
            continue
        try:
            kept = np.asarray(sequence[-size:] if truncating == "pre" else sequence[:size], dtype=dtype)
        except ValueError as error:
            where, fix = f"pad_sequences, sequence {index}", "turn words into numbers first, or use dtype=object"
            raise DataError(f"A sequence is not of dtype {dtype}: {error}.", where=where, fix=fix) from None
        if kept.shape[1:] != step:
            raise ShapeError(
                "The steps of the sequences differ in shape.",
                where=f"sequence {index}",
                expected=step,
                received=kept.shape[1:],
            )
        rows = slice(size - len(kept), size) if padding == "pre" else slice(0, len(kept))
        result[index, rows] = kept
    return result
