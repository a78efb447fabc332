"""A small part of MNIST that comes with the package: no network needed."""

from __future__ import annotations

from pathlib import Path

from lamina.datasets.sources import Split, read_split


def load_data() -> Split:
    """The first 6,000 training and 1,000 test images of MNIST, in their original order.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 (6000, 28, 28) and (1000, 28, 28) with values 0
        to 255, labels uint8 (6000,) and (1000,) with values 0 to 9.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()
        >>> x_train.shape, y_test.shape, y_train[:3].tolist()
        ((6000, 28, 28), (1000,), [5, 0, 4])

    Credit: Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0.
    """
    return read_split(Path(__file__).parent / "files" / "digits.npz", (28, 28))
