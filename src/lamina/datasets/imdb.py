"""Film reviews, good or bad: 25,000 for training, 25,000 for testing, as rows of word numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.core.errors import ArgumentTypeError, listing, nearest
from lamina.datasets.sources import KERAS_STORE, Split, find_file
from lamina.datasets.texts import Encoding, drop_long, ragged, read_rows, read_word_index, shuffled

_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_MD5 = "bfafd718b763782e994055a2d397834f"


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
    **kwargs: Any,
) -> Split:
    """IMDB reviews. Words are numbered by frequency, so that 10 is the tenth most frequent one.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.
        num_words: keep only numbers below this; None keeps all.
        skip_top: drop the most frequent words, this many.
        maxlen: drop reviews that are this long or longer.
        seed: of the shuffling.
        start_char: the number put before each review; None for nothing.
        oov_char: the number that stands for a dropped word; None leaves it out.
        index_from: added to each word's rank.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: arrays of lists of int, and labels int64, 1 for a good review.

    Raises:
        ArgumentError: maxlen leaves no review.
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), _ = load_data(num_words=10000)  # doctest: +SKIP
        >>> x_train[0][:4]  # doctest: +SKIP
        [1, 14, 22, 16]

    Credit: A. Maas et al., Learning Word Vectors for Sentiment Analysis, 2011.
    Source: https://keras.io/api/datasets/imdb/
    """
    if kwargs:
        known = ("path", "num_words", "skip_top", "maxlen", "seed", "start_char", "oov_char", "index_from")
        name = min(kwargs)
        raise ArgumentTypeError(
            f'Unknown argument "{name}".{nearest(name, known)}', where="imdb.load_data()", expected=listing(known)
        )
    file = find_file(path, KERAS_STORE + "imdb.npz", _SHA256)
    x_train, y_train, x_test, y_test = read_rows(file, "x_train", "y_train", "x_test", "y_test")
    random = np.random.RandomState(seed)
    x_train, y_train = shuffled(random, x_train, y_train)
    x_test, y_test = shuffled(random, x_test, y_test)
    encoding = Encoding(num_words, skip_top, start_char, oov_char, index_from)
    train, y_train = drop_long(encoding.mark(x_train), y_train, maxlen)
    test, y_test = drop_long(encoding.mark(x_test), y_test, maxlen)
    limit = encoding.limit(train + test)
    return (ragged(encoding.cut(train, limit)), y_train), (ragged(encoding.cut(test, limit)), y_test)


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Each word's rank by frequency; add `index_from` for its number in the data.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.

    Raises:
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> get_word_index()["the"]  # doctest: +SKIP
        1

    Source: https://keras.io/api/datasets/imdb/
    """
    return read_word_index(find_file(path, KERAS_STORE + "imdb_word_index.json", _WORDS_MD5))
