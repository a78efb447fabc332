"""What the text datasets share: rows of word numbers, shuffled, marked and cut as Keras does it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamina.core.errors import ArgumentError, DataError, FileError
from lamina.datasets.streams import AGAIN, read_object_array

_MAX_MEMBER_BYTES = 1 << 30
Rows = list[list[int]]


@dataclass(frozen=True)
class Encoding:
    """How words become numbers.

    Args:
        num_words: keep the most frequent words only; None keeps all.
        skip_top: drop this many of the most frequent ones.
        start_char: put before every text; None for nothing.
        oov_char: stands for a dropped word; None leaves it out.
        index_from: added to every word's rank.
    """

    num_words: int | None
    skip_top: int
    start_char: int | None
    oov_char: int | None
    index_from: int | None

    def mark(self, rows: Iterable[Iterable[int]]) -> Rows:
        """Add the offset and the start mark."""
        if self.start_char is not None:
            offset = self.index_from or 0
            return [[self.start_char, *(word + offset for word in row)] for row in rows]
        offset = self.index_from or 0
        return [[word + offset for word in row] for row in rows]

    def cut(self, rows: Rows, num_words: int) -> Rows:
        """Replace or drop the words outside the range wanted."""
        low, oov = self.skip_top, self.oov_char
        if oov is not None:
            return [[word if low <= word < num_words else oov for word in row] for row in rows]
        return [[word for word in row if low <= word < num_words] for row in rows]

    def limit(self, rows: Rows) -> int:
        """`num_words`, or the greatest number that occurs."""
        return self.num_words or max(max(row, default=0) for row in rows)


def read_rows(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of an npz file, those of lists included.

    Raises:
        DataError: an array is missing.
        FileError: the file is damaged, or holds more than plain data.
    """
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                info = archive.getinfo(f"{name}.npy")
                if info.file_size > _MAX_MEMBER_BYTES:
                    raise FileError("An array in the file is too large.", where=f"{path}: {name}", fix=AGAIN)
                with archive.open(info) as member:
                    arrays.append(read_object_array(member))  # type: ignore[arg-type]
    except FileError as error:
        error.add_note(f"The file is {path}.")
        raise
    except KeyError as error:
        raise DataError("The dataset's file lacks an array.", where=path, received=error, fix=AGAIN) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
        raise FileError("The dataset's file cannot be read.", where=path, received=error, fix=AGAIN) from error
    return arrays


def shuffled(random: np.random.RandomState, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays in the same new order."""
    order = np.arange(len(x))
    random.shuffle(order)
    return x[order], y[order]


def drop_long(rows: Rows, labels: np.ndarray, maxlen: int | None) -> tuple[Rows, np.ndarray]:
    """The rows shorter than `maxlen`, and their labels."""
    if not maxlen:
        return rows, labels
    kept = [index for index, row in enumerate(rows) if len(row) < maxlen]
    if not kept:
        raise ArgumentError("No text is that short.", where="maxlen", received=maxlen, fix="raise maxlen")
    return [rows[index] for index in kept], labels[kept]


def ragged(rows: Rows) -> np.ndarray:
    """An array of lists."""
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def read_word_index(path: Path) -> dict[str, int]:
    """Words and their ranks from a JSON file.

    Raises:
        FileError: the file is no such table.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError("The word index cannot be read.", where=path, received=error, fix=AGAIN) from error
    if not isinstance(table, dict) or not all(isinstance(rank, int) for rank in table.values()):
        raise FileError("The word index is no table of words and numbers.", where=path, fix=AGAIN)
    return table
