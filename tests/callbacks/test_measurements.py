"""Norms of gradients, memory, and the test of learning rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import layers
from lamina.callbacks import Callback, DeviceMemory, GradientNorm, LearningRateFinder, find_learning_rate
from lamina.callbacks.logs import Logs
from lamina.core.errors import ArgumentError, StateError
from lamina.models import Sequential
from lamina.optimizers import SGD, LossScaleOptimizer
from lamina.utils import set_random_seed
from lamina.visualization import plot_learning_rates

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = X @ np.array([[1.0], [2.0], [3.0]], "float32")


def line(optimizer="sgd", kind=Sequential, **options):
    model = kind([layers.Input(shape=(3,)), layers.Dense(2, name="one"), layers.Dense(1, name="two")])
    model.compile(optimizer, loss="mse", **options)
    return model


def norms_by_hand(model, x, y):
    """The norms of both layers' gradients, and of all."""
    model.zero_grad()
    (model(torch.tensor(x)) - torch.tensor(y)).square().mean().backward()
    squares = [sum(float(w.grad.square().sum()) for w in layer.parameters()) for layer in model.layers]
    model.zero_grad()
    return [np.sqrt(s) for s in (*squares, sum(squares))]


class Own(Sequential):
    def train_step(self, data):
        x, y = data
        loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        self.zero_grad()
        loss.backward()
        weights = self.trainable_variables
        with torch.no_grad():
            self.optimizer.apply([weight.grad for weight in weights], weights)
        return {"loss": loss}


class TestGradientNorm:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: line(SGD(0.0)),
            lambda: line(SGD(0.0, clipnorm=0.01)),
            lambda: line(LossScaleOptimizer(SGD(0.0))),
            lambda: line(SGD(0.0, loss_scale_factor=64.0)),
            lambda: line(torch.optim.SGD),
            lambda: line(SGD(0.0), Own),
        ],
        ids=["plain", "clipped", "scaled", "fixed scale", "torch", "own step"],
    )
    def test_they_are_those_of_the_loss(self, make):
        model = make()
        one, two, whole = norms_by_hand(model, X, Y)
        logs = model.fit(X, Y, batch_size=12, verbose=0, callbacks=[GradientNorm(per_layer=True)]).history
        assert logs["gradient_norm/one"] == pytest.approx([one], rel=1e-4)
        assert logs["gradient_norm/two"] == pytest.approx([two], rel=1e-4)
        assert logs["gradient_norm"] == logs["gradient_norm_max"] == pytest.approx([whole], rel=1e-4)

    def test_the_mean_and_the_most_of_an_epoch(self):
        model = line(SGD(0.0))
        parts = [norms_by_hand(model, X[s : s + 4], Y[s : s + 4])[2] for s in (0, 4, 8)]
        fitting = {"batch_size": 4, "shuffle": False, "verbose": 0}
        logs = model.fit(X, Y, **fitting, callbacks=[GradientNorm()]).history
        assert logs["gradient_norm"] == pytest.approx([np.mean(parts)], rel=1e-4)
        assert logs["gradient_norm_max"] == pytest.approx([max(parts)], rel=1e-4)
        logs = model.fit(X, Y, **fitting, epochs=2, callbacks=[GradientNorm(every=2)]).history
        assert logs["gradient_norm"] == pytest.approx([(parts[0] + parts[2]) / 2] * 2, rel=1e-4)

    def test_nothing_is_fetched_before_someone_looks(self):
        seen = []

        class Look(Callback):
            keeps_logs = False

            def on_train_batch_end(self, batch, logs=None):
                assert logs._numbers is None and isinstance(logs._added["gradient_norm"], torch.Tensor)
                seen.append(logs["gradient_norm"])

        line().fit(X, Y, batch_size=4, verbose=0, callbacks=[GradientNorm(), Look()])
        assert len(seen) == 3 and all(isinstance(norm, float) for norm in seen)

    def test_frozen_weights_and_layers_that_are_not_used(self):
        model = line(SGD(0.0))
        model.layers[0].trainable = False
        model.compile(SGD(0.0), loss="mse")
        logs = model.fit(X, Y, verbose=0, callbacks=[GradientNorm(per_layer=True)]).history
        assert "gradient_norm/one" not in logs and logs["gradient_norm"] == logs["gradient_norm/two"]

    def test_hooks_go_and_a_compiled_step_comes_back(self):
        model = line()
        model.fit(X, Y, verbose=0)
        before = model._adoptions["train"]
        callback = GradientNorm()
        model.fit(X, Y, verbose=0, callbacks=[callback])
        assert model._adoptions["train"] is before
        assert not any(w._post_accumulate_grad_hooks for w in model.parameters())
        assert "gradient_norm" not in model.fit(X, Y, verbose=0).history


class TestDeviceMemory:
    def test_resident_set(self):
        logs = line().fit(X, Y, epochs=2, verbose=0, callbacks=[DeviceMemory()]).history
        if "device_memory" in logs:
            assert all(10 < memory < 1e6 for memory in logs["device_memory"])

    def test_elsewhere_nothing_is_added(self):
        assert "device_memory" not in line().fit(X, Y, verbose=0, callbacks=[DeviceMemory("meta")]).history

    def test_a_cuda_device(self, monkeypatch):
        asked = []
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 20)
        logs = line().fit(X, Y, epochs=2, verbose=0, callbacks=[DeviceMemory("cuda:1")]).history
        assert logs["device_memory"] == [3.0, 3.0] and asked == [torch.device("cuda:1")] * 2


def test_values_added_to_logs():
    logs = Logs(lambda: {"loss": torch.tensor(1.0)})
    logs.add({"more": torch.tensor(2.0)})
    assert logs._numbers is None and dict(logs) == {"loss": 1.0, "more": 2.0}
    logs.add({"last": torch.tensor(3.0)})
    assert logs["last"] == 3.0


class TestFinder:
    def data(self):
        x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
        return x, x @ np.array([[1.0], [2.0], [3.0]], "float32")

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", torch.optim.Adam], ids=["sgd", "adam", "torch"])
    def test_all_is_as_it_was(self, optimizer):
        set_random_seed(0)
        x, y = self.data()
        model = Sequential([layers.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
        model.compile(optimizer, loss="mse", metrics=["mae"])
        history = model.fit(x, y, epochs=1, verbose=0)
        values = [value.copy() for value in model.get_weights()]
        slots = [torch.clone(slot) for slot in model.optimizer.variables]
        generator = torch.get_rng_state()
        found = find_learning_rate(model, x, y, steps=60, batch_size=32)
        assert all(map(np.array_equal, values, model.get_weights()))
        assert all(map(torch.equal, slots, model.optimizer.variables))
        assert torch.equal(generator, torch.get_rng_state())
        assert model.history is history and not model.stop_training
        assert 30 < len(found.rates) <= 60 and len(found.losses) == len(found.smoothed) == len(found.rates)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_what_is_suggested(self, optimizer):
        set_random_seed(0)
        x, y = self.data()
        model = Sequential([layers.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
        model.compile(optimizer, loss="mse")
        found = find_learning_rate(model, x, y, batch_size=32)
        assert found.suggestion is not None and 1e-3 < found.suggestion < 1
        found.losses = list(np.random.default_rng(0).normal(size=len(found.losses)))
        assert found.suggestion is None

    def test_training_with_the_suggestion_beats_a_far_smaller_rate(self):
        set_random_seed(0)
        x, y = self.data()
        model = line(SGD(1e-4))
        values = model.get_weights()
        rate = find_learning_rate(model, x, y).suggestion
        losses = []
        for chosen in (1e-4, rate):
            model.set_weights(values)
            model.compile(SGD(chosen), loss="mse")
            losses.append(model.fit(x, y, epochs=2, verbose=0).history["loss"][-1])
        assert losses[1] < losses[0] / 2

    def test_rates_grow_by_one_factor_and_losses_are_of_single_batches(self):
        finder = LearningRateFinder(1e-6, 1e-2, steps=5)
        x, y = self.data()
        model = line(SGD(0.0))
        model.fit(x, y, batch_size=64, shuffle=False, epochs=9, verbose=0, callbacks=[finder])
        assert finder.rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2]) and finder.suggestion is None
        parts = [model.evaluate(x[s : s + 64], y[s : s + 64], verbose=0) for s in (0, 64)]
        assert finder.losses[:2] == pytest.approx(parts, rel=1e-3)

    def test_losses_that_are_no_numbers_end_it(self):
        x, y = self.data()
        finder = find_learning_rate(line(), x, y, start=1.0, end=1e30, steps=30, stop_factor=float("inf"))
        assert len(finder.rates) == len(finder.losses) < 30 and np.isfinite(finder.losses).all()

    def test_wrong_arguments(self):
        for wrong in ({"start": 0.0}, {"start": 2.0, "end": 1.0}, {"steps": 1}):
            with pytest.raises(ArgumentError, match="start"):
                LearningRateFinder(**wrong)
        with pytest.raises(StateError, match="compile"):
            find_learning_rate(Sequential([layers.Dense(1)]), X, Y)

    def test_the_picture(self, tmp_path):
        finder = LearningRateFinder(steps=30)
        with pytest.raises(ArgumentError, match="find_learning_rate"):
            plot_learning_rates(finder)
        finder.rates = [10 ** (place / 5 - 6) for place in range(30)]
        finder.losses = [2.0] * 10 + [2.0 - place / 10 for place in range(15)] + [1.0, 3.0, 9.0, 27.0, 81.0]
        figure = plot_learning_rates(finder, tmp_path / "deep" / "rates.png", title="digits")
        panel = figure.axes[0]
        assert panel.get_xscale() == "log" and panel.get_title() == "digits"
        assert finder.suggestion is not None and 1e-4 < finder.suggestion < 1e-2
        assert any("suggested" in text.get_text() for text in panel.get_legend().get_texts())
        assert (tmp_path / "deep" / "rates.png").stat().st_size > 1000
