"""What the tabular datasets share: shuffle with a seed, then split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamina.core.errors import ArgumentError
from lamina.datasets.sources import Split, read_arrays


def check_test_split(test_split: float) -> None:
    """Raise unless the share of test samples leaves some for training."""
    if not 0 <= test_split < 1:
        raise ArgumentError(
            "No sample is left for training.",
            where="test_split",
            expected="0 <= test_split < 1",
            received=test_split,
        )


def load_table(path: Path, test_split: float, seed: int, rows: int | None = None) -> Split:
    """The arrays x and y of an npz file, shuffled as Keras shuffles them, and split.

    Args:
        path: the file.
        test_split: the share of samples for testing, 0 to 1.
        seed: of the shuffling.
        rows: use only the first rows of the file.
    """
    x, y = read_arrays(path, "x", "y")
    x, y = x[:rows], y[:rows]
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    x, y = x[order], y[order]
    count = int(len(x) * (1 - test_split))
    return (x[:count], y[:count]), (x[count:], y[count:])
