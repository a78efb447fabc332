"""Small colour pictures in ten classes: 50,000 for training, 10,000 for testing, 32 by 32 pixels."""

from __future__ import annotations

from lamina.datasets.cifar import in_data_format, read_batches
from lamina.datasets.sources import Split, cache_folder, find_file, local_file, read_split, write_arrays

_ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_FOLDER = "cifar-10-batches-py"


def load_data() -> Split:
    """CIFAR-10: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck (0 to 9).

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 (50000, 32, 32, 3) and (10000, 32, 32, 3) with
        values 0 to 255, labels uint8 (50000, 1) and (10000, 1). With `image_data_format()` "channels_first"
        the images are (N, 3, 32, 32).

    Raises:
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape, y_train.shape  # doctest: +SKIP
        ((50000, 32, 32, 3), (50000, 1))

    Credit: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    Source: https://keras.io/api/datasets/cifar10/
    """
    kept = cache_folder() / "cifar10.npz"
    path = local_file("cifar10.npz") or (kept if kept.is_file() else None)
    if path is None:
        archive = find_file("cifar-10-python.tar.gz", _ADDRESS, _SHA256, offer="cifar10.npz")
        train = [f"{_FOLDER}/data_batch_{number}" for number in range(1, 6)]
        x_train, y_train = read_batches(archive, train, ["labels"])
        x_test, y_test = read_batches(archive, [f"{_FOLDER}/test_batch"], ["labels"])
        path = kept
        write_arrays(path, {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test})
    return in_data_format(read_split(path, (32, 32, 3)))
