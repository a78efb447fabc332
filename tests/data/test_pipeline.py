"""Dataset: each method against what tf.data documents, passes that can be repeated, threads that end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, DataError, UnsupportedError
from lamina.data import Dataset
from lamina.data.ahead import in_threads, read_ahead
from lamina.data.selection import source_of

CPU = torch.device("cpu")


def numbers(data):
    return [element.tolist() if hasattr(element, "tolist") else element for element in data]


def lazy(count):
    return Dataset(lambda: iter(range(count)), count)


@pytest.fixture(params=["slices", "elements"])
def ten(request):
    return Dataset.range(10) if request.param == "slices" else lazy(10)


def test_slices_keep_structure_and_dtype():
    data = Dataset.from_tensor_slices(({"a": np.zeros((3, 2)), "s": ["x", "y", "z"]}, [1, 2, 3]))
    x, y = next(iter(data))
    assert x["a"].shape == (2,) and x["a"].dtype is torch.float64 and x["s"] == "x" and int(y) == 1
    assert y.dtype is torch.int32
    batch, labels = next(iter(data.batch(2)))
    assert batch["a"].shape == (2, 2) and batch["s"].tolist() == ["x", "y"] and labels.tolist() == [1, 2]
    assert data.element_spec[0]["a"].shape == (2,) and data.element_spec[0]["s"].dtype == "string"
    assert data.batch(2).element_spec[1].shape == (None,)
    with pytest.raises(DataError, match="2, length 3"):
        Dataset.from_tensor_slices((np.zeros(2), np.zeros(3)))


def test_batches(ten):
    assert numbers(ten.batch(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(ten.batch(4)) == 3
    assert numbers(ten.batch(4, drop_remainder=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(ten.batch(4, drop_remainder=True)) == 2 and ten.batch(4).batch_size == 4
    assert numbers(ten.batch(2).batch(4))[1] == [[8, 9]]
    assert numbers(ten.batch(4).unbatch()) == list(range(10))
    with pytest.raises(ArgumentError, match="batch_size"):
        ten.batch(0)


def test_parts(ten):
    assert numbers(ten.take(3)) == [0, 1, 2] and len(ten.take(30)) == 10 and numbers(ten.take(-1)) == list(range(10))
    assert numbers(ten.skip(8)) == [8, 9] and len(ten.skip(8)) == 2 and numbers(ten.skip(-1)) == []
    assert numbers(ten.skip(2).take(3).batch(2)) == [[2, 3], [4]]
    assert numbers(ten.filter(lambda n: n % 5 == 0)) == [0, 5]
    assert numbers(ten.take(2).concatenate(ten.skip(9))) == [0, 1, 9]
    assert numbers(ten.take(2).repeat(2)) == [0, 1, 0, 1] and len(ten.repeat(2)) == 20
    assert numbers(ten.repeat().take(12))[10:] == [0, 1]
    assert [tuple(map(int, pair)) for pair in Dataset.zip(ten, ten.skip(7))] == [(0, 7), (1, 8), (2, 9)]


def test_cardinality(ten):
    assert int(ten.cardinality()) == 10 and int(ten.repeat().cardinality()) == -1
    assert int(ten.filter(bool).cardinality()) == -2 and int(ten.batch(4).cardinality()) == 3
    assert bool(ten.filter(bool)) and f"{ten.cardinality()}" == "10"
    with pytest.raises(TypeError, match="no end"):
        len(ten.repeat())
    with pytest.raises(TypeError, match="no known length"):
        len(ten.filter(bool))


def test_shuffle(ten):
    shuffled = ten.shuffle(4, seed=1)
    first, second = numbers(shuffled), numbers(shuffled)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    again = ten.shuffle(4, seed=1)
    assert [numbers(again), numbers(again)] == [first, second]
    fixed = ten.shuffle(10, reshuffle_each_iteration=False)
    assert numbers(fixed) == numbers(fixed)
    assert sorted(n for batch in numbers(ten.shuffle(10).batch(3)) for n in batch) == list(range(10))


def test_shuffle_draws_from_the_buffer():
    assert numbers(lazy(10).shuffle(1)) == list(range(10))
    places = numbers(lazy(100).shuffle(5, seed=0))
    assert all(element <= place + 4 for place, element in enumerate(places))


@pytest.mark.parametrize("calls", [None, 1, 3, -1])
def test_map_keeps_order_and_unpacks(calls):
    data = Dataset.from_tensor_slices((np.arange(20), np.arange(20)))

    def add(a, b):
        time.sleep(0.001 * (int(a) % 3))
        return a + b

    assert numbers(data.map(add, num_parallel_calls=calls)) == list(range(0, 40, 2))
    assert data.batch(4).map(lambda a, b: (a, b)).batch_size == 4


def test_cache_reads_once():
    reads = []
    data = Dataset(lambda: (reads.append(n) or n for n in range(3)), 3).cache()
    assert numbers(data.take(2)) == [0, 1] and numbers(data) == numbers(data) == [0, 1, 2]
    assert reads == [0, 1, 0, 1, 2]
    with pytest.raises(UnsupportedError, match="memory"):
        data.cache("file")


def test_padded_batch():
    data = Dataset.from_generator(lambda: (np.ones((n, 2)) for n in (1, 3)))
    (batch,) = data.padded_batch(2)
    assert batch.shape == (2, 3, 2) and batch.sum().item() == 8
    with pytest.raises(DataError, match="padded_batch"):
        list(data.batch(2))


def test_numpy_and_whole_tensors():
    (pair,) = Dataset.from_tensors((np.arange(3), ["a"])).as_numpy_iterator()
    assert isinstance(pair[0], np.ndarray) and pair[1].tolist() == ["a"]
    assert [type(n) for n in Dataset.range(2).as_numpy_iterator()] == [np.int64, np.int64]


def test_prefetch_works_ahead_and_ends():
    drawn = []
    data = Dataset(lambda: (drawn.append(n) or n for n in range(100)), 100).prefetch(3)
    batches = iter(data)
    next(batches)
    deadline = time.time() + 5
    while len(drawn) < 4 and time.time() < deadline:
        time.sleep(0.01)
    assert 4 <= len(drawn) <= 6
    before = threading.active_count()
    batches.close() if hasattr(batches, "close") else None
    del batches
    assert threading.active_count() <= before
    assert numbers(data) == list(range(100))


def test_errors_of_threads_come_through():
    def fail(n):
        if n == 2:
            raise KeyError("lost")
        return n

    with pytest.raises(KeyError, match="lost"):
        list(in_threads(fail, range(5), 2, 4))
    with pytest.raises(KeyError, match="lost"):
        list(read_ahead(map(fail, range(5)), 2))


def test_fit_takes_it():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    y = x.sum(1, keepdims=True)

    def model():
        lamina.utils.set_random_seed(0)
        made = lamina.Sequential([layers.Dense(1)])
        made.compile("sgd", "mse")
        return made

    expected = model().fit(x, y, shuffle=False, batch_size=8, epochs=2, verbose=0).history
    data = Dataset.from_tensor_slices((x, y)).batch(8)
    assert model().fit(data.prefetch(2), epochs=2, verbose=0).history == expected
    assert model().fit(data.repeat(), steps_per_epoch=5, epochs=2, verbose=0).history == expected
    with pytest.raises(DataError, match="no end(.|\n)*steps_per_epoch"):
        model().fit(data.repeat(), verbose=0)
    assert source_of(data, device=CPU).batches == 5
    normalization = layers.Normalization()
    normalization.adapt(data.map(lambda x, y: x))
    assert normalization.mean.flatten().tolist() == pytest.approx(x.mean(0).tolist(), abs=1e-6)
    texts = Dataset.from_tensor_slices((["a b", "b c"], [0, 1])).batch(2)
    vectorization = layers.TextVectorization()
    vectorization.adapt(texts.map(lambda x, y: x))
    assert vectorization.get_vocabulary()[2] == "b"
    assert [x.shape for x, _ in texts.map(lambda x, y: (vectorization(x), y))] == [(2, 2)]
