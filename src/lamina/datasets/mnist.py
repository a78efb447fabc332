"""Handwritten digits: 60,000 for training, 10,000 for testing, 28 by 28 pixels, grey."""

from __future__ import annotations

from lamina.datasets.sources import KERAS_STORE, Split, find_file, read_split

_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path: str = "mnist.npz") -> Split:
    """The MNIST digits.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 (60000, 28, 28) and (10000, 28, 28) with values 0
        to 255, labels uint8 (60000,) and (10000,) with values 0 to 9.

    Raises:
        DownloadError: the file is not there and cannot be downloaded; the message says where to put it by
            hand.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (60000, 28, 28)

    Credit: Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0.
    Source: https://keras.io/api/datasets/mnist/
    """
    return read_split(find_file(path, KERAS_STORE + "mnist.npz", _SHA256), (28, 28))
