"""Pictures of clothes in ten classes: 60,000 for training, 10,000 for testing, 28 by 28 pixels, grey."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from lamina.core.errors import DataError, FileError
from lamina.datasets.sources import (
    KERAS_STORE,
    Split,
    cache_folder,
    find_file,
    local_file,
    read_split,
    write_arrays,
)
from lamina.datasets.streams import AGAIN

_FILES = {
    "x_train": (
        "train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        (60000, 28, 28),
    ),
    "y_train": (
        "train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        (60000,),
    ),
    "x_test": (
        "t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        (10000, 28, 28),
    ),
    "y_test": (
        "t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        (10000,),
    ),
}


def load_data() -> Split:
    """Fashion-MNIST: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot (0 to 9).

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 (60000, 28, 28) and (10000, 28, 28) with values 0
        to 255, labels uint8 (60000,) and (10000,) with values 0 to 9.

    Raises:
        DownloadError: the files are not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (60000, 28, 28)

    Credit: Zalando SE; MIT licence.
    Source: https://keras.io/api/datasets/fashion_mnist/
    """
    kept = cache_folder() / "fashion_mnist.npz"
    if (path := local_file("fashion_mnist.npz") or (kept if kept.is_file() else None)) is not None:
        return read_split(path, (28, 28))
    arrays = {}
    for key, (name, checksum, shape) in _FILES.items():
        arrays[key] = read_idx(find_file(name, KERAS_STORE + name, checksum, offer="fashion_mnist.npz"), shape)
    write_arrays(kept, arrays)
    for name, _, _ in _FILES.values():
        (cache_folder() / name).unlink(missing_ok=True)
    return read_split(kept, (28, 28))


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes from a gzipped IDX file: a header of 4 + 4 * rank bytes, then the values.

    Raises:
        FileError: the file is damaged.
        DataError: it holds an array of another shape.
    """
    size = 4 + 4 * len(shape) + int(np.prod(shape))
    try:
        with gzip.open(path, "rb") as file:
            raw = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError("The file cannot be unpacked.", where=path, received=error, fix=AGAIN) from error
    size_of_header = 4 + 4 * len(shape)
    header = np.frombuffer(raw[:size_of_header].ljust(size_of_header, b"\0"), dtype=">u4")
    expected = [0x800 + len(shape), *shape]
    if len(raw) != size or header.tolist() != expected:
        raise DataError("The file holds another array.", where=str(path), expected=shape, received=header.tolist()[1:])
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
