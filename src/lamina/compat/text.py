"""Helpers for text of earlier Keras versions. Today's way is `lamina.layers.TextVectorization`."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lamina.core.errors import ArgumentError, StateError, nearest

PUNCTUATION = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""The characters that are taken for separators."""
_MODES = ("binary", "count", "freq", "tfidf")


def text_to_word_sequence(
    input_text: str, filters: str = PUNCTUATION, lower: bool = True, split: str = " "
) -> list[str]:
    """The words of a text.

    Args:
        input_text: the text.
        filters: characters that separate words.
        lower: whether words are put into lower case.
        split: what else separates words.

    Example:
        >>> text_to_word_sequence("Hello, world!")
        ['hello', 'world']
    """
    text = input_text.lower() if lower else input_text
    return [word for word in text.translate({ord(c): split for c in filters}).split(split) if word]


def hashing_trick(
    text: str,
    n: int,
    hash_function: Callable[[str], int] | str | None = None,
    filters: str = PUNCTUATION,
    lower: bool = True,
    split: str = " ",
    analyzer: Callable[[str], Sequence[str]] | None = None,
) -> list[int]:
    """The words of a text as numbers from 1 to n - 1 found by hashing; different words may share one.

    Args:
        text: the text.
        n: one more than the largest number.
        hash_function: a function, "md5", or None for Python's `hash`, which differs from run to run.
        filters: characters that separate words.
        lower: whether words are put into lower case.
        split: what else separates words.
        analyzer: splits the text in place of the above.

    Example:
        >>> hashing_trick("a b a", 10, "md5")
        [2, 5, 2]
    """
    if hash_function == "md5":

        def number(word: str) -> int:
            return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)
    else:
        number = hash if hash_function is None else hash_function  # type: ignore[assignment]
    words = text_to_word_sequence(text, filters, lower, split) if analyzer is None else analyzer(text)
    return [number(word) % (n - 1) + 1 for word in words]


def one_hot(
    input_text: str, n: int, filters: str = PUNCTUATION, lower: bool = True, split: str = " ", analyzer: Any = None
) -> list[int]:
    """`hashing_trick` with Python's `hash`."""
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


class Tokenizer:
    """Turns texts into sequences of numbers, or rows of a matrix; the most frequent word has number 1.

    Args:
        num_words: only the `num_words - 1` most frequent words are kept.
        filters: characters that separate words.
        lower: whether words are put into lower case.
        split: what else separates words.
        char_level: whether every character is a word.
        oov_token: stands for words that are not known; it has number 1 then.
        analyzer: splits a text in place of the above.

    Example:
        >>> tokenizer = Tokenizer()
        >>> tokenizer.fit_on_texts(["the cat", "the dog the"])
        >>> tokenizer.texts_to_sequences(["dog the bird"])
        [[3, 1]]

    Source: https://www.tensorflow.org/api_docs/python/tf/keras/preprocessing/text/Tokenizer
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = PUNCTUATION,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        document_count: int = 0,
    ) -> None:
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = collections.OrderedDict()
        self.word_docs: dict[str, int] = collections.defaultdict(int)
        self.index_docs: dict[int, int] = collections.defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text: Any) -> Sequence[str]:
        """The words of a text, or of a list of words."""
        if isinstance(text, list):
            return [word.lower() for word in text] if self.lower else text
        if self.char_level:
            return text.lower() if self.lower else text
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts and number them by frequency."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] += 1
        ranked = sorted(self.word_counts, key=lambda word: -self.word_counts[word])
        if self.oov_token is not None:
            ranked.insert(0, self.oov_token)
        self.word_index = {word: number for number, word in enumerate(ranked, start=1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Sequence[Iterable[int]]) -> None:
        """Count in how many sequences each number occurs."""
        self.document_count += len(sequences)
        for sequence in sequences:
            for number in set(sequence):
                self.index_docs[number] += 1

    def _is_kept(self, number: int | None) -> bool:
        return number is not None and not (self.num_words and number >= self.num_words)

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """Each text as a list of numbers."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for text in texts:
            numbers = (self.word_index.get(word) for word in self._words(text))
            chosen = (number if self._is_kept(number) else unknown for number in numbers)
            yield [number for number in chosen if number is not None]

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """All texts as lists of numbers."""
        return list(self.texts_to_sequences_generator(texts))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """Each list of numbers as a text."""
        for sequence in sequences:
            known = (self.index_word.get(n) if self._is_kept(n) else self.oov_token for n in sequence)
            yield " ".join(word or self.oov_token or "" for word in known if word or self.oov_token)

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """All lists of numbers as texts."""
        return list(self.sequences_to_texts_generator(sequences))

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        """Texts as rows of a matrix (texts, words): see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: str = "binary") -> np.ndarray:
        """Sequences as rows of a matrix (sequences, words).

        Args:
            sequences: lists of numbers.
            mode: "binary" (is it there), "count", "freq" (share of the sequence) or "tfidf".

        Raises:
            StateError: it is not known how many words there are, or "tfidf" is asked for before fitting.
            ArgumentError: the mode is unknown.
        """
        if not self.num_words and not self.word_index:
            what, fix = "How many words there are is not known.", "give num_words, or call fit_on_texts(texts) first"
            raise StateError(what, where="Tokenizer", fix=fix)
        if mode == "tfidf" and not self.document_count:
            what, fix = "The frequencies of words are not known.", "call fit_on_texts(texts) first"
            raise StateError(what, where='sequences_to_matrix(mode="tfidf")', fix=fix)
        size = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), size))
        for row, sequence in zip(matrix, sequences, strict=True):
            for number, count in collections.Counter(n for n in sequence if n < size).items():
                row[number] = self._entry(mode, number, count, len(sequence))
        return matrix

    def _entry(self, mode: str, number: int, count: int, length: int) -> float:
        if mode == "binary":
            return 1.0
        if mode == "count":
            return float(count)
        if mode == "freq":
            return count / length
        if mode == "tfidf":
            rarity = np.log(1 + self.document_count / (1 + self.index_docs.get(number, 0)))
            return float((1 + np.log(count)) * rarity)
        what, where = f"Unknown mode.{nearest(str(mode), _MODES)}", "sequences_to_matrix(mode=...)"
        raise ArgumentError(what, where=where, expected=", ".join(_MODES), received=repr(mode))

    def get_config(self) -> dict[str, Any]:
        """Settings and vocabulary, the tables as JSON text."""
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        tables = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        return {name: getattr(self, name) for name in names} | {
            name: json.dumps(getattr(self, name)) for name in tables
        }

    def to_json(self, **options: Any) -> str:
        """Settings and vocabulary as JSON text, for `tokenizer_from_json`."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **options)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """A Tokenizer from what its `to_json` gave.

    Example:
        >>> tokenizer_from_json(Tokenizer(num_words=5).to_json()).num_words
        5
    """
    config = json.loads(json_string)["config"]
    tables = {
        name: json.loads(config.pop(name))
        for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
    }
    tokenizer = Tokenizer(**config)
    tokenizer.word_counts = collections.OrderedDict(tables["word_counts"])
    tokenizer.word_docs = collections.defaultdict(int, tables["word_docs"])
    tokenizer.word_index = tables["word_index"]
    tokenizer.index_docs = collections.defaultdict(int, {int(n): count for n, count in tables["index_docs"].items()})
    tokenizer.index_word = {int(n): word for n, word in tables["index_word"].items()}
    return tokenizer
