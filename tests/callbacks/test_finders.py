"""model.find_learning_rate and model.find_batch_size: what they find, and that they leave no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lamina import layers, metrics
from lamina.callbacks import Callback, LearningRateFinder
from lamina.callbacks.doctor import process_memory
from lamina.core.errors import ArgumentError, DataError, StateError
from lamina.models import Sequential
from lamina.optimizers import SGD, Adam, LossScaleOptimizer, MultiOptimizer, ScheduleFreeAdamW
from lamina.optimizers.schedules import ExponentialDecay
from lamina.training import BatchSizes, BatchSizeTry, batch_sizes
from lamina.training.batch_sizes import BatchSizeSearch
from lamina.utils import set_random_seed
from lamina.visualization import plot_batch_sizes

rng = np.random.default_rng(0)
X = rng.normal(size=(256, 3)).astype("float32")
Y = X @ np.array([[1.0], [2.0], [3.0]], "float32")
LABELS = np.arange(256) % 3


def build(optimizer: Any = "adam", *more, classes=None, **options):
    set_random_seed(0)
    last = layers.Dense(1) if classes is None else layers.Dense(classes, activation="softmax")
    model = Sequential([layers.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.2)])
    for layer in (*more, last):
        model.add(layer)
    loss = "mse" if classes is None else "sparse_categorical_crossentropy"
    model.compile(optimizer(model) if callable(optimizer) else optimizer, loss=loss, **options)
    return model


def trace(model):
    """All that shall be as it was, bit by bit."""
    optimizer, inner = model.optimizer, getattr(model.optimizer, "optimizer", None)
    slots = [slot.detach().clone() for slot in optimizer.variables]
    if isinstance(inner, torch.optim.Optimizer):
        state = inner.state_dict()
        slots += [value.clone() for one in state["state"].values() for value in one.values()]
        slots += [torch.tensor(group["lr"]) for group in state["param_groups"]]
    return [
        *(torch.as_tensor(value).clone() for value in model.state_dict().values()),
        *(variable.detach().clone() for variable in model.variables),
        *slots,
        torch.as_tensor(int(optimizer.iterations)),
        torch.get_rng_state(),
        torch.as_tensor(np.random.get_state(legacy=False)["state"]["key"].astype("int64")),
    ]


def same(before, after):
    return len(before) == len(after) and all(map(torch.equal, before, after))


def by_layers(model):
    one, two = SGD(0.01), Adam(0.001)
    return MultiOptimizer(lambda weight: one if "kernel" in weight.path else two)


OPTIMIZERS = {
    "adam": "adam",
    "schedule-free": lambda model: ScheduleFreeAdamW(0.01),
    "several": by_layers,
    "scaled": lambda model: LossScaleOptimizer(SGD(0.01)),
    "torch": lambda model: torch.optim.Adam(model.parameters(), lr=0.02),
    "torch class": lambda model: torch.optim.AdamW,
    "schedule": lambda model: Adam(ExponentialDecay(0.01, 10, 0.5)),
    "function": lambda model: Adam(lambda: 0.01),
}


@pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_trace_is_left(name, fitted):
    model = build(OPTIMIZERS[name], metrics=["mae", metrics.F1Score(threshold=0.5)])
    model.optimizer.build(model.trainable_variables)
    if fitted:
        model.fit(X, Y, verbose=0)
    before, history, results = trace(model), model.history, model.get_metrics_result()
    rate = getattr(model.optimizer, "_learning_rate", None)
    found = model.find_learning_rate(X, Y, start=1e-5, end=1.0, steps=20, stop_factor=1e9)
    sizes = model.find_batch_size(X, Y, limit=16)
    assert same(before, trace(model))
    assert {name: torch.zeros(value.shape) for name, value in model.get_metrics_result().items()} | results == (
        model.get_metrics_result()
    )
    assert model.history is history and not model.stop_training and not model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert getattr(model.optimizer, "_learning_rate", None) is rate
    assert len(found.rates) == 20 and found.rates[0] == pytest.approx(1e-5) and found.rates[-1] == pytest.approx(1.0)
    assert list(sizes.table) == [2, 4, 8, 16]


@pytest.mark.parametrize("find", ["find_learning_rate", "find_batch_size"])
def test_an_error_leaves_no_trace_either(find):
    class Faulty(layers.Layer):
        left = 1000

        def call(self, x):
            type(self).left -= type(x) is torch.Tensor
            if type(self).left < 0:
                raise ZeroDivisionError("no more")
            return x

    model = build("adam", Faulty(), run_eagerly=True)
    model.fit(X, Y, verbose=0)
    before, history = trace(model), model.history
    Faulty.left = 3
    with pytest.raises(ZeroDivisionError, match="no more"):
        getattr(model, find)(X, Y)
    assert same(before, trace(model)) and model.history is history and not model.training


def test_it_goes_on_as_if_nothing_had_been_tried():
    runs = []
    for tries in (False, True):
        model = build(classes=3)
        if tries:
            model.find_batch_size(X, LABELS, limit=64, class_weight={0: 2.0})
            model.find_learning_rate(X, LABELS, steps=10, class_weight={0: 2.0})
        runs.append(model.fit(X, LABELS, epochs=3, verbose=0).history["loss"])
    assert runs[0] == runs[1]


def pairs(count):
    for start in range(0, 32 * count, 32):
        rows = np.arange(start, start + 32) % 256
        yield X[rows], Y[rows]


def loader():
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)


class TestLearningRate:
    @pytest.mark.parametrize("data", [lambda: loader(), lambda: pairs(30)], ids=["loader", "generator"])
    def test_data_of_other_kinds(self, data):
        model = build()
        generator = torch.get_rng_state()
        assert len(model.find_learning_rate(data(), steps=20, stop_factor=1e9).losses) == 20
        assert torch.equal(generator, torch.get_rng_state())

    def test_a_compiled_step_stays(self):
        seen = []

        class Look(Callback):
            def on_train_batch_begin(self, batch, logs=None):
                seen.append(self.model._adoptions.eagerly)

        model = build("sgd")
        model.fit(X, Y, verbose=0)
        step = model._adoptions["train"]
        count = step.report.steps
        model.find_learning_rate(X, Y, steps=20, callbacks=[Look()])
        model.find_batch_size(X, Y, limit=4)
        assert all(seen) and not model._adoptions.eagerly
        assert model._adoptions["train"] is step and step.report.steps == count

    def test_several_optimizers_get_the_rate(self):
        seen = []

        class Look(Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append({float(part.learning_rate) for part in self.model.optimizer.optimizers})

        model = build(by_layers)
        model.find_learning_rate(X, Y, start=1e-3, end=1e-1, steps=3, callbacks=[Look()])
        assert [sorted(rates) for rates in seen] == [pytest.approx([1e-3]), pytest.approx([1e-2]), pytest.approx([0.1])]
        assert sorted(float(part.learning_rate) for part in model.optimizer.optimizers) == pytest.approx([0.001, 0.01])

    def test_how_it_is_printed_and_drawn(self, tmp_path):
        assert repr(LearningRateFinder()) == "LearningRateFinder(suggestion=None, no rate tried)"
        found = build().find_learning_rate(X, Y, steps=60)
        assert repr(found).startswith(f"LearningRateFinder(suggestion={found.suggestion:.3g}, ")
        assert "rates from 1e-07 to" in repr(found)
        assert found.plot(tmp_path / "rates.png", title="mine").axes[0].get_title() == "mine"
        assert (tmp_path / "rates.png").stat().st_size > 1000

    def test_errors(self):
        with pytest.raises(StateError, match="find_learning_rate"):
            Sequential([layers.Dense(1)]).find_learning_rate(X, Y)
        model = build()
        with pytest.raises(ArgumentError, match="start"):
            model.find_learning_rate(X, Y, start=1.0, end=0.1)


class Narrow(layers.Layer):
    """Has no room for batches above a size; notes those that came."""

    def __init__(self, most=None, kind: Any = torch.OutOfMemoryError):
        super().__init__()
        self.most, self.error = most, kind
        self.seen = []

    def call(self, x):
        if type(x) is not torch.Tensor:  # the model is being built
            return x
        self.seen.append(len(x))
        if self.most is not None and len(x) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x


class TestBatchSize:
    @pytest.mark.parametrize("most", [1, 2, 37, 64, 100])
    def test_the_largest_that_fits(self, most):
        model = build("adam", Narrow(most), run_eagerly=True)
        before = trace(model)
        found = model.find_batch_size(X, Y)
        assert most / 1.2 <= found.largest <= most < found.failed
        assert found.failed - found.largest <= max(1, found.largest / 8)
        assert list(found.table) == sorted(found.table) and found.largest == list(found.table)[-1]
        assert found.suggestion in found.table and found.fastest in found.table
        assert len(trace(model)) >= len(before) and not model.training

    @pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError, RuntimeError])
    def test_errors_that_mean_no_room(self, kind):
        model = build("adam", Narrow(8, kind), run_eagerly=True)
        assert model.find_batch_size(X, Y).largest == 8

    def test_other_errors_name_the_size(self):
        model = build("adam", Narrow(8, lambda text: ZeroDivisionError("by nothing")), run_eagerly=True)
        with pytest.raises(ZeroDivisionError) as caught:
            model.find_batch_size(X, Y)
        assert any("a batch of 16" in note for note in caught.value.__notes__)

    def test_no_more_than_there_are_samples(self):
        narrow = Narrow()
        found = build("adam", narrow, run_eagerly=True).find_batch_size(X[:100], Y[:100])
        assert list(found.table) == [2, 4, 8, 16, 32, 64, 100] and max(narrow.seen) == 100
        assert found.failed is None and "no more was tried" in str(found) and "repeating" not in str(found)

    def test_samples_are_repeated_up_to_a_limit_that_was_given(self):
        narrow = Narrow()
        found = build("adam", narrow, run_eagerly=True).find_batch_size(X[:10], Y[:10], limit=40)
        assert found.largest == max(narrow.seen) == 40 and "more than 10 were made by repeating" in str(found)

    @pytest.mark.parametrize("data", [lambda: loader(), lambda: pairs(4)], ids=["loader", "generator"])
    def test_data_of_other_kinds(self, data):
        model = build()
        generator = torch.get_rng_state()
        found = model.find_batch_size(data(), limit=64)
        assert found.largest == 64 and found.rows == 32
        assert torch.equal(generator, torch.get_rng_state())

    def test_steps_of_ones_own_and_an_optimizer_of_ones_own(self):
        class Own(Sequential):
            def train_step(self, data):
                x, y = data
                loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
                self.zero_grad()
                loss.backward()
                weights = self.trainable_variables
                with torch.no_grad():
                    self.second.apply([weight.grad for weight in weights], weights)
                return {"loss": loss}

        model = Own([layers.Input((3,)), layers.Dense(4), layers.Dense(1)])
        model.second = Adam(0.1)
        model.compile(loss="mse")
        values = model.get_weights()
        assert model.find_batch_size(X, Y, limit=32).largest == 32
        assert all(map(np.array_equal, values, model.get_weights()))
        assert not model.second.built and int(model.second.iterations) == 0
        model.fit(X, Y, verbose=0)
        assert int(model.second.iterations) == 8

    def test_memory_is_foretold(self):
        """No batch that would take far more than it may is ever made."""
        narrow = Narrow()
        model = Sequential([layers.Input((100,)), layers.Dense(8000, activation="tanh"), narrow, layers.Dense(1)])
        model.compile("sgd", loss="mse", run_eagerly=True)
        x, y = np.ones((8192, 100), "float32"), np.ones((8192, 1), "float32")
        found = model.find_batch_size(x, y, memory=200e6)
        taken = [one.memory for one in found.table.values()]
        assert found.failed is not None and max(narrow.seen) < 2 * found.largest
        assert 100e6 < max(taken) <= 200e6
        assert max(taken) > 32000 * found.largest  # the activations of 8000 units

    def test_growth_is_judged_by_what_was_tried(self):
        search = BatchSizeSearch.__new__(BatchSizeSearch)
        search.tries = {}
        assert search.foretold(2) == 0.0
        search.tries = {2: BatchSizeTry(1.0, 1000)}
        assert search.foretold(4) > 2000
        search.tries = {2: BatchSizeTry(1.0, 1000), 4: BatchSizeTry(1.0, 1000)}
        assert search.foretold(8) > 2000  # though nothing has grown so far
        search.tries = {n: BatchSizeTry(1.0, 10 * n * n) for n in (2, 4, 8)}
        assert search.foretold(16) > 10 * 16 * 16

    def test_the_memory_of_the_machine(self, monkeypatch):
        resident, _ = process_memory() or (0, 0)
        monkeypatch.setattr(batch_sizes, "process_memory", lambda: ((process_memory() or (0, 0))[0], bound))
        bound = (resident + (200 << 20)) / 0.8
        narrow = Narrow()
        model = Sequential([layers.Input((100,)), layers.Dense(8000, activation="tanh"), narrow, layers.Dense(1)])
        model.compile("sgd", loss="mse", run_eagerly=True)
        x, y = np.ones((8192, 100), "float32"), np.ones((8192, 1), "float32")
        found = model.find_batch_size(x, y)
        assert found.failed is not None and max(narrow.seen) < 2 * found.largest
        assert max(one.memory for one in found.table.values()) <= 220 << 20
        monkeypatch.setattr(batch_sizes, "process_memory", lambda: None)
        with pytest.raises(StateError, match="Linux"):
            model.find_batch_size(x, y)

    def test_errors(self):
        with pytest.raises(StateError, match="find_batch_size"):
            Sequential([layers.Dense(1)]).find_batch_size(X, Y)
        model = build()
        with pytest.raises(DataError, match="no data"):
            model.find_batch_size(None)
        for wrong in ({"start": 0}, {"limit": 0}, {"fineness": 1.0}):
            with pytest.raises(ArgumentError, match="sizes"):
                model.find_batch_size(X, Y, **wrong)
        with pytest.raises(StateError, match="one sample"):
            build("adam", Narrow(0), run_eagerly=True).find_batch_size(X, Y)
        with pytest.raises(StateError, match="at most 0 MiB"):
            model.find_batch_size(X, Y, memory=0.5)

    def test_how_it_is_printed_and_drawn(self, tmp_path):
        speeds = {2: 100.0, 4: 190.0, 8: 200.0, 16: 199.0, 32: 150.0}
        found = BatchSizes({n: BatchSizeTry(rate, n << 20) for n, rate in speeds.items()}, 64, 16)
        assert (found.largest, found.fastest, found.suggestion) == (32, 8, 4)
        assert repr(found) == "BatchSizes(largest=32, fastest=8, suggestion=4)"
        lines = str(found).splitlines()
        assert lines[1] == "         2        100       2 MiB" and len(lines) == 8
        assert lines[-2:] == [
            "largest 32 (64 does not fit), fastest 8, suggested 4",
            "Batches of more than 16 were made by repeating samples.",
        ]
        speed, memory = found.plot(tmp_path / "sizes.png", title="mine").axes
        assert list(speed.lines[0].get_ydata()) == list(speeds.values())
        assert list(memory.lines[0].get_ydata()) == list(speeds)
        assert (tmp_path / "sizes.png").stat().st_size > 1000
        assert len(plot_batch_sizes(BatchSizes(found.table, None, 64)).axes[0].lines) == 2
