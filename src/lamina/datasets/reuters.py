"""Newswires in 46 topics: 11,228 rows of word numbers."""

from __future__ import annotations

import numpy as np

from lamina.datasets.sources import KERAS_STORE, Split, find_file
from lamina.datasets.tables import check_test_split
from lamina.datasets.texts import Encoding, drop_long, ragged, read_rows, read_word_index, shuffled

_SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_WORDS_MD5 = "4d44cc38712099c9e383dc6e5f11a921"
_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship "
    "cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin "
    "strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr "
    "gas silver wpi hog lead"
)


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> Split:
    """Reuters newswires. Words are numbered by frequency, so that 10 is the tenth most frequent one.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.
        num_words: keep only numbers below this; None keeps all.
        skip_top: drop the most frequent words, this many.
        maxlen: drop newswires that are this long or longer.
        test_split: the share of samples for testing, 0 to 1.
        seed: of the shuffling before the split.
        start_char: the number put before each newswire; None for nothing.
        oov_char: the number that stands for a dropped word; None leaves it out.
        index_from: added to each word's rank.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: arrays of lists of int, and topics int64, 0 to 45.

    Raises:
        ArgumentError: maxlen leaves no newswire, or test_split is out of range.
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), _ = load_data(num_words=10000)  # doctest: +SKIP
        >>> len(x_train)  # doctest: +SKIP
        8982

    Credit: Reuters-21578, D. D. Lewis.
    Source: https://keras.io/api/datasets/reuters/
    """
    check_test_split(test_split)
    x, y = read_rows(find_file(path, KERAS_STORE + "reuters.npz", _SHA256), "x", "y")
    x, y = shuffled(np.random.RandomState(seed), x, y)
    encoding = Encoding(num_words, skip_top, start_char, oov_char, index_from)
    rows, y = drop_long(encoding.mark(x), y, maxlen)
    rows = encoding.cut(rows, encoding.limit(rows))
    count = int(len(rows) * (1 - test_split))
    return (ragged(rows[:count]), y[:count]), (ragged(rows[count:]), y[count:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Each word's rank by frequency; add `index_from` for its number in the data.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.

    Raises:
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> get_word_index()["the"]  # doctest: +SKIP
        1

    Source: https://keras.io/api/datasets/reuters/
    """
    return read_word_index(find_file(path, KERAS_STORE + "reuters_word_index.json", _WORDS_MD5))


def get_label_names() -> tuple[str, ...]:
    """The 46 topics, each at the place that is its label.

    Example:
        >>> get_label_names()[3]
        'earn'

    Source: https://martin-thoma.com/nlp-reuters/
    """
    return tuple(_TOPICS.split())
