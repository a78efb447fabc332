"""Splitting a dataset in two."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError
from lamina.core.seeds import as_seed
from lamina.core.tensors import convert_to_tensor
from lamina.data.pipeline import Dataset


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Any, Any]:
    """Split samples in a left and a right part, e.g. for training and for testing.

    Args:
        dataset: an array, a list or tuple of arrays of one length, a torch Dataset, or a `Dataset`, of whose batches
            the samples are split.
        left_size: samples of the left part: an integer, or a part between 0 and 1; what the right one leaves by
            default.
        right_size: likewise.
        shuffle: whether samples are shuffled before.
        seed: makes the split repeatable.
        preferred_backend: "tensorflow" gives a `Dataset` in any case.

    Returns:
        Two torch Datasets of single samples; of a `Dataset`, two of these, batched as it was.

    Raises:
        ArgumentTypeError: `dataset` is of another kind.
        ArgumentError: the sizes do not fit.
        DataError: the arrays differ in length.

    Example:
        >>> left, right = split_dataset(np.arange(10), left_size=0.8)
        >>> len(left), [int(x) for x, in right]
        (8, [8, 9])

    Source: https://keras.io/api/utils/python_utils/#splitdataset-function
    """
    if isinstance(dataset, Dataset):
        return _split_pipeline(dataset, left_size, right_size, shuffle, seed)
    if isinstance(dataset, (np.ndarray, torch.Tensor, list, tuple)):
        arrays = _arrays(dataset)
        if preferred_backend == "tensorflow":
            whole = arrays[0] if isinstance(dataset, (np.ndarray, torch.Tensor)) else tuple(arrays)
            return _split_pipeline(Dataset.from_tensor_slices(whole), left_size, right_size, shuffle, seed)
        dataset = TensorDataset(*arrays)
    if not isinstance(dataset, TorchDataset):
        raise ArgumentTypeError(
            "This kind of dataset cannot be split.",
            where="split_dataset",
            expected="an array, a list of arrays, a torch Dataset or a lamina Dataset",
            received=type(dataset).__name__,
        )
    rows = len(dataset)  # type: ignore[arg-type]
    left, right = _sizes(left_size, right_size, rows)
    order: Any = range(rows)
    if shuffle:
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(as_seed(seed))
        order = torch.randperm(rows, generator=generator).tolist()
    return Subset(dataset, order[:left]), Subset(dataset, order[rows - right :])


def _split_pipeline(
    dataset: Dataset, left_size: float | None, right_size: float | None, shuffle: bool, seed: int | None
) -> tuple[Dataset, Dataset]:
    samples = list(dataset if dataset.batch_size is None else dataset.unbatch())
    left, right = _sizes(left_size, right_size, len(samples))
    if shuffle:
        random.Random(seed).shuffle(samples)

    def part(chosen: list[Any]) -> Dataset:
        data = Dataset(lambda: chosen, len(chosen))
        return data if dataset.batch_size is None else data.batch(dataset.batch_size)

    return part(samples[:left]), part(samples[len(samples) - right :])


def _arrays(dataset: Any) -> list[torch.Tensor]:
    parts = dataset if isinstance(dataset, (list, tuple)) else [dataset]
    if not parts or not all(isinstance(part, (np.ndarray, torch.Tensor)) for part in parts):
        raise DataError(
            "These are no arrays.",
            where="split_dataset",
            expected="a list of NumPy arrays or tensors",
            received=", ".join(sorted({type(part).__name__ for part in parts})) or "an empty list",
        )
    if len({len(part) for part in parts}) > 1:
        raise DataError(
            "The arrays do not have the same number of samples.",
            where="split_dataset",
            expected="arrays of one length",
            received="lengths " + ", ".join(str(len(part)) for part in parts),
        )
    return [convert_to_tensor(part, device=None if isinstance(part, torch.Tensor) else "cpu") for part in parts]


def _sizes(left: float | None, right: float | None, rows: int) -> tuple[int, int]:
    """Samples of both parts."""
    if left is None and right is None:
        raise ArgumentError("There is no size to split by.", where="split_dataset", fix="left_size=0.8")
    if rows == 0:
        raise DataError("There is nothing to split.", where="split_dataset", expected="samples", received="none")
    counts: list[int | None] = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is not None and not isinstance(size, (int, float, np.integer)):
            where, expected = f"split_dataset({name}=...)", "a share such as 0.8, or a number of samples"
            raise ArgumentTypeError(f"{name} is no number.", where=where, expected=expected, received=repr(size))
        if size is not None and not 0 < size < (1 if isinstance(size, float) else rows):
            _refuse(f"{name}={size}", rows)
        counts.append(size if size is None else round(size * rows) if isinstance(size, float) else int(size))
    first, second = counts
    first = rows - (second or 0) if first is None else first
    second = rows - first if second is None else second
    if first + second > rows or not first or not second:
        _refuse(f"{first} on the left, {second} on the right", rows)
    return first, second


def _refuse(received: str, rows: int) -> None:
    raise ArgumentError(
        "The sizes do not fit the dataset.",
        where="split_dataset",
        expected=f"a part between 0 and 1, or a number of the {rows} samples, with something left on both sides",
        received=received,
    )
