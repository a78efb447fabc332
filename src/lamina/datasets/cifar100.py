"""Small colour pictures in a hundred classes: 50,000 for training, 10,000 for testing, 32 by 32 pixels."""

from __future__ import annotations

from pathlib import Path

from lamina.core.errors import one_of
from lamina.datasets.cifar import in_data_format, read_batches
from lamina.datasets.sources import (
    Split,
    cache_folder,
    find_file,
    local_file,
    read_arrays,
    read_split,
    write_arrays,
)

_ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
_MODES = ("fine", "coarse")


def load_data(label_mode: str = "fine") -> Split:
    """CIFAR-100: a hundred classes, in twenty groups of five.

    Args:
        label_mode: "fine" for the 100 classes, "coarse" for the 20 groups.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 (50000, 32, 32, 3) and (10000, 32, 32, 3) with
        values 0 to 255, labels uint8 (50000, 1) and (10000, 1). With `image_data_format()` "channels_first"
        the images are (N, 3, 32, 32).

    Raises:
        ArgumentError: label_mode is neither.
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape, y_train.shape  # doctest: +SKIP
        ((50000, 32, 32, 3), (50000, 1))

    Credit: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    Source: https://keras.io/api/datasets/cifar100/
    """
    one_of(label_mode, _MODES, "load_data, label_mode")
    kept = cache_folder() / "cifar100.npz"
    path = local_file("cifar100.npz") or (kept if kept.is_file() else None)
    if path is None:
        path = kept
        _convert(find_file("cifar-100-python.tar.gz", _ADDRESS, _SHA256, offer="cifar100.npz"), path)
    (x_train, y_train), (x_test, y_test) = read_split(path, (32, 32, 3))
    if label_mode == "coarse":
        y_train, y_test = read_arrays(path, "y_train_coarse", "y_test_coarse")
    return in_data_format(((x_train, y_train), (x_test, y_test)))


def _convert(archive: Path, path: Path) -> None:
    """The published archive as an npz file; the plain label keys are the fine ones."""
    arrays = {}
    for part in ("train", "test"):
        x, fine, coarse = read_batches(archive, [f"cifar-100-python/{part}"], ["fine_labels", "coarse_labels"])
        arrays |= {f"x_{part}": x, f"y_{part}": fine, f"y_{part}_coarse": coarse}
    write_arrays(path, arrays)
