"""Helpers for sequences of earlier Keras versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.core.errors import ArgumentError
from lamina.data import PyDataset


class TimeseriesGenerator(PyDataset):
    """Batches of windows over a series, each with the target that follows it.

    Args:
        data: the series, (steps, ...).
        targets: one target for each step.
        length: steps in a window, before sampling.
        sampling_rate: every so many steps of a window are taken.
        stride: steps between the windows.
        start_index: steps before this one are left out.
        end_index: steps after this one are left out.
        shuffle: whether windows are drawn at random.
        reverse: whether each window runs backwards.
        batch_size: windows in a batch.

    Raises:
        ArgumentError: no window fits between start and end.

    Example:
        >>> x, y = TimeseriesGenerator(np.arange(6), np.arange(6), length=3, batch_size=2)[0]
        >>> x.tolist(), y.tolist()
        ([[0, 1, 2], [1, 2, 3]], [3, 4])

    Source: https://www.tensorflow.org/api_docs/python/tf/keras/preprocessing/sequence/TimeseriesGenerator
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        super().__init__()
        self.data, self.targets = np.asarray(data), np.asarray(targets)
        if len(self.data) != len(self.targets):
            raise ArgumentError(
                "Data and targets differ in length.",
                where="TimeseriesGenerator(data, targets)",
                expected=f"{len(self.data)} targets",
                received=len(self.targets),
            )
        self.length, self.sampling_rate, self.stride = length, sampling_rate, stride
        self.start_index = start_index + length
        self.end_index = len(self.data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse, self.batch_size = shuffle, reverse, batch_size
        if self.start_index > self.end_index:
            raise ArgumentError(
                "No window fits.",
                where="TimeseriesGenerator(length=...)",
                expected=f"length at most {self.end_index - start_index}",
                received=length,
            )

    def __len__(self) -> int:
        windows = -(-(self.end_index - self.start_index + 1) // self.stride)
        return -(-windows // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.shuffle:
            ends = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            last = min(first + self.batch_size * self.stride, self.end_index + 1)
            ends = np.arange(first, last, self.stride)
        windows = np.array([self.data[end - self.length : end : self.sampling_rate] for end in ends])
        return (windows[:, ::-1] if self.reverse else windows), self.targets[ends]


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """The probability of keeping the word of each rank, by word2vec's rule and Zipf's law.

    Args:
        size: how many words there are.
        sampling_factor: the frequency from which words are left out now and then.

    Example:
        >>> make_sampling_table(3).round(4).tolist()
        [0.0032, 0.0032, 0.0055]
    """
    rank = np.maximum(np.arange(size), 1).astype(float)
    frequency_inverse = rank * (np.log(rank) + np.euler_gamma) + 0.5 - 1.0 / (12.0 * rank)
    return np.minimum(1.0, sampling_factor * frequency_inverse / np.sqrt(sampling_factor * frequency_inverse))


def skipgrams(
    sequence: Sequence[int],
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: np.ndarray | None = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words near each other (label 1) and pairs with a random second word (label 0).

    Args:
        sequence: words as numbers; 0 stands for none.
        vocabulary_size: one more than the largest number.
        window_size: how far apart two words may be.
        negative_samples: random pairs for each real one.
        shuffle: whether the pairs come in random order.
        categorical: whether labels are [0, 1] and [1, 0] instead of 1 and 0.
        sampling_table: the probability of keeping each word.
        seed: makes the result repeatable.

    Example:
        >>> skipgrams([1, 2], 3, negative_samples=0, shuffle=False)
        ([[1, 2], [2, 1]], [1, 1])
    """
    random = np.random.default_rng(seed)
    pairs: list[list[int]] = []
    for position, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < random.random()):
            continue
        low, high = max(0, position - window_size), min(len(sequence), position + window_size + 1)
        pairs += [[word, sequence[other]] for other in range(low, high) if other != position and sequence[other]]
    labels: list[Any] = [[0, 1] if categorical else 1] * len(pairs)
    count = int(len(pairs) * negative_samples)
    if count:
        firsts = random.permutation([pair[0] for pair in pairs])
        pairs += [[int(firsts[i % len(firsts)]), int(random.integers(1, vocabulary_size))] for i in range(count)]
        labels += [[1, 0] if categorical else 0] * count
    if shuffle:
        order = random.permutation(len(pairs))
        pairs, labels = [pairs[i] for i in order], [labels[i] for i in order]
    return pairs, labels
