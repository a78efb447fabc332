"""Windows that slide over series of values in time."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch

from lamina.core.errors import ArgumentError, check_number, check_type
from lamina.core.tensors import convert_to_tensor
from lamina.data.pipeline import Dataset


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> Dataset:
    """Batches of windows cut out of a series; nothing is copied before its batch is wanted.

    Args:
        data: the series, (steps, ...).
        targets: one for each window, that with the position of the window's first step; None for none.
        sequence_length: steps in a window.
        sequence_stride: steps from one window's begin to the next one's.
        sampling_rate: every so many steps one is taken into a window.
        batch_size: windows in a batch; None for single windows.
        shuffle: whether the order is random, a new one each pass.
        seed: makes the orders repeatable.
        start_index: steps before this one are left out.
        end_index: this step and those behind it are left out.
        format: "tf" or "grain", kept for Keras: the result is the same.

    Returns:
        A `Dataset` of windows (batch, sequence_length, ...), with targets in tuples (windows, targets).

    Raises:
        ArgumentError: an argument does not fit the length of the data.

    Example:
        >>> data = timeseries_dataset_from_array(np.arange(10), np.arange(3, 10), sequence_length=3, batch_size=2)
        >>> windows, targets = next(iter(data))
        >>> windows.tolist(), targets.tolist()
        ([[0, 1, 2], [1, 2, 3]], [3, 4])

    Source: https://keras.io/api/data_loading/timeseries/
    """
    check_type(data, Sized, "timeseries_dataset_from_array(data)", "an array")
    check_number(sequence_length, "timeseries_dataset_from_array(sequence_length=...)", least=1)
    steps = len(data)
    start, end = start_index or 0, steps if end_index is None else end_index
    checks = {
        "start_index": (start, 0 <= start < steps, f"0 to {steps - 1}"),
        "end_index": (end, start < end and (end_index is None or end < steps), f"{start + 1} to {steps - 1}"),
        "sampling_rate": (sampling_rate, 0 < sampling_rate < steps, f"1 to {steps - 1}"),
        "sequence_stride": (sequence_stride, 0 < sequence_stride < steps, f"1 to {steps - 1}"),
        "format": (format, format in ("tf", "grain"), '"tf" or "grain"'),
    }
    for name, (value, is_usable, expected) in checks.items():
        if not is_usable:
            what, where = f"{name} does not fit data of {steps} steps.", f"timeseries_dataset_from_array({name}=...)"
            raise ArgumentError(what, where=where, expected=expected, received=repr(value))
    series = convert_to_tensor(data, device="cpu")[start:end]
    wanted = None if targets is None else convert_to_tensor(targets, device="cpu")[start:]
    count = end - start - (sequence_length - 1) * sampling_rate
    count = count if targets is None else min(count, len(targets))
    begins = np.arange(0, max(count, 0), sequence_stride)
    if shuffle:
        seed = int(np.random.randint(10**6)) if seed is None else seed
        np.random.RandomState(seed).shuffle(begins)
    firsts = torch.from_numpy(begins)
    within = torch.arange(0, sequence_length * sampling_rate, sampling_rate)

    def pick(at: Any) -> Any:
        begin = firsts[at]
        windows = series[begin[..., None] + within]
        return windows if wanted is None else (windows, wanted[begin])

    windows = Dataset(size=len(begins), order=lambda: np.arange(len(begins)), pick=pick)
    windows = windows.shuffle(len(begins), seed) if shuffle else windows
    return windows if batch_size is None else windows.batch(batch_size)
