"""Loaders, generators and PyDatasets, and how epochs are fed from them."""

from __future__ import annotations

import os
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lamina.core.errors import ArgumentError, DataError
from lamina.data import PyDataset
from lamina.data.feed import Feed
from lamina.data.selection import source_of

CPU = torch.device("cpu")


def feed(x, steps=None, **kwargs):
    return Feed(source_of(x, steps=steps, device=CPU, **kwargs), steps)


def first(batch):
    return (batch[0] if isinstance(batch, tuple) else batch).flatten().tolist()


class Counting(PyDataset):
    def __init__(self, length=5, delay=0.0, **kwargs):
        super().__init__(**kwargs)
        self.length, self.delay, self.calls = length, delay, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.delay * ((index * 7) % 3))
        return np.full((2, 1), index, "float64"), np.full((2,), index)

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def test_loader():
    loader = DataLoader(TensorDataset(torch.arange(6.0)[:, None].double(), torch.arange(6)), batch_size=4)
    batches = list(feed(loader).epoch())
    assert [len(x) for x, _ in batches] == [4, 2]
    assert batches[0][0].dtype is torch.float32 and batches[0][1].dtype is torch.int64
    assert feed(loader).length == 2


def test_dataset_gets_a_loader():
    data = TensorDataset(torch.arange(10.0), torch.arange(10))
    assert [len(x) for x, _ in feed(data, batch_size=4).epoch()] == [4, 4, 2]
    shuffled = torch.cat([x for x, _ in feed(data, batch_size=4, shuffle=True).epoch()])
    assert sorted(shuffled.tolist()) == list(range(10))


def test_iterable_dataset_begins_anew():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.tensor([float(i)]), torch.tensor(i)) for i in range(5)])

    batches = feed(Stream(), batch_size=2)
    assert [len(list(batches.epoch())) for _ in range(2)] == [3, 3]
    assert batches.length == 3


def test_targets_beside_a_loader_are_refused():
    with pytest.raises(DataError, match="y cannot be given beside a DataLoader"):
        source_of(DataLoader([1]), np.zeros(1), device=CPU)
    with pytest.raises(DataError, match="get its generator"):
        source_of(lambda: 1, device=CPU)
    with pytest.raises(ArgumentError, match="steps"):
        source_of(np.zeros(2), steps=0, device=CPU)


def test_generator_goes_on_over_epochs_and_says_when_it_ends():
    data = feed(((np.array([float(i)]), np.array([i])) for i in range(5)), steps=2)
    assert [first(b) for b in data.epoch()] == [[0.0], [1.0]]
    assert [first(b) for b in data.epoch()] == [[2.0], [3.0]]
    with pytest.warns(UserWarning, match="only 1 of 2 batches"):
        assert [first(b) for b in data.epoch()] == [[4.0]]


def test_generator_of_unknown_length():
    data = feed((np.array([float(i)]),) for i in range(3))
    assert data.length is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(data.epoch())) == 3
    assert data.length == 3
    with pytest.warns(UserWarning, match="nothing is left"):
        assert list(data.epoch()) == []


def test_peek_leaves_the_batch_in_place():
    data = feed((np.array([float(i)]),) for i in range(3))
    assert first(data.peek()) == [0.0]
    assert [first(b) for b in data.epoch()] == [[0.0], [1.0], [2.0]]
    with pytest.raises(DataError, match="gave no batch"):
        feed(iter(())).peek()


def test_steps_over_arrays_go_on_in_the_next_epoch():
    data = feed(np.arange(6), steps=2, batch_size=2)
    assert [first(b) for b in data.epoch()] == [[0, 1], [2, 3]]
    with pytest.warns(UserWarning, match="only 1 of 2"):
        assert [first(b) for b in data.epoch()] == [[4, 5]]
    assert [first(b) for b in data.epoch()] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"workers": 2, "max_queue_size": 2}])
def test_py_dataset_keeps_order(options):
    dataset = Counting(7, delay=0.002, **options)
    data = feed(dataset)
    assert [first(b)[0] for b in data.epoch()] == list(range(7))
    assert dataset.calls == ["begin", "end"]
    assert data.length == 7


def test_py_dataset_with_processes():
    data = feed(Counting(4, workers=2, use_multiprocessing=True))
    batches = list(data.epoch())
    assert [first(b)[0] for b in batches] == [0, 1, 2, 3]
    assert batches[0][0].dtype is torch.float32


def test_py_dataset_shuffled_and_cut_short():
    dataset = Counting(20, workers=2)
    assert sorted(first(b)[0] for b in feed(dataset, shuffle=True).epoch()) == list(range(20))
    batches = feed(dataset).epoch()
    next(batches)
    batches.close()
    assert dataset.calls == ["begin", "end"] * 2


def test_py_dataset_without_end():
    class Endless(PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return np.array([index]), np.array([index])

    data = feed(Endless(), steps=3)
    assert [first(b) for b in data.epoch()] == [[0], [1], [2]]
    assert [first(b) for b in data.epoch()] == [[3], [4], [5]]


def test_py_dataset_errors():
    class Failing(Counting):
        def __getitem__(self, index):
            if index == 2:
                raise KeyError("lost")
            return super().__getitem__(index)

    with pytest.raises(KeyError, match="lost"):
        list(feed(Failing(workers=2)).epoch())

    class Wrong(Counting):
        def __getitem__(self, index):
            return 1, 2, 3, 4

    with pytest.raises(DataError, match="one to three parts"):
        list(feed(Wrong()).epoch())

    class NoInit(Counting):
        def __init__(self):
            self.length, self.delay, self.calls = 2, 0, []

    with pytest.warns(UserWarning, match="super"):
        assert len(list(feed(NoInit()).epoch())) == 2


def test_class_weight_of_batches():
    *_, weight = next(feed(Counting(), class_weight={0: 3.0}).epoch())
    assert weight.tolist() == [3.0, 3.0]


def test_py_dataset_without_length_goes_on_for_ever():
    class Endless(PyDataset):
        def __getitem__(self, index):
            return np.full((2, 1), index)

    first = [batch[0, 0] for batch, _ in zip(Endless(), range(3), strict=False)]
    assert first == [0, 1, 2]


@pytest.mark.parametrize("end", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL)])
@pytest.mark.parametrize("kind", ["PyDataset", "DataLoader"])
def test_processes_that_die_are_an_error_soon(kind, end):
    class Dying(Counting):
        def __getitem__(self, index):
            if index == 3:
                end()
            return super().__getitem__(index)

    data: object = Dying(12, workers=2, use_multiprocessing=True)
    if kind == "DataLoader":
        data = DataLoader(Dying(12), batch_size=None, num_workers=2)
    started = time.monotonic()
    with pytest.raises((DataError, RuntimeError), match="ended before its work|exited unexpectedly"):
        list(feed(data).epoch())
    assert time.monotonic() - started < 30


def test_errors_in_processes_keep_their_words():
    class Failing(Counting):
        def __getitem__(self, index):
            raise KeyError("lost in a process")

    with pytest.raises(KeyError, match="lost in a process"):
        list(feed(Failing(workers=2, use_multiprocessing=True)).epoch())


class Foreign:
    """Batches as tf.data and grain give them: arrays known by __array__, walked anew each time."""

    class Array:
        def __init__(self, values):
            self.values, self.shape = np.asarray(values), np.shape(values)

        def __array__(self, dtype=None, copy=None):
            return self.values

    def __init__(self, length=3):
        self.length = length

    def __iter__(self):
        for index in range(min(self.length, 3)):
            yield self.Array([[float(index)]]), {"y": self.Array([index])}


def test_foreign_datasets_are_walked_anew():
    class TensorFlowLike(Foreign):
        def cardinality(self):
            return np.int64(-1)

    data = feed(Foreign())
    for _ in range(2):
        assert [(first(x), y["y"].tolist()) for x, y in data.epoch()] == [([0.0], [0]), ([1.0], [1]), ([2.0], [2])]
    with pytest.raises(DataError, match="no end(.|\n)*steps_per_epoch"):
        feed(TensorFlowLike())
    assert len(list(feed(TensorFlowLike(), steps=2).epoch())) == 2
    endless = type("MapDataset", (Foreign,), {"__module__": "grain._src", "__len__": lambda _: 2**60})
    with pytest.raises(DataError, match="no end"):
        feed(endless())
    assert len(list(feed(endless(), steps=3).epoch())) == 3


def test_foreign_text_is_text():
    rows = [(Foreign.Array(np.array([b"a", b"b"], dtype=object)), Foreign.Array([0, 1]))]
    ((text, _),) = feed(iter(rows)).epoch()
    assert isinstance(text, np.ndarray) and text.tolist() == [b"a", b"b"]
