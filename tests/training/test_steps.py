"""Steps written by a subclass, parts of them changed, and single batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import layers, metrics
from lamina.core.errors import StateError
from lamina.models import Model, Sequential

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 3)).astype("float32")
Y = X[:, :1]


def build(cls=Sequential):
    model = cls([layers.Input(shape=(3,)), layers.Dense(4, activation="tanh"), layers.Dense(1)])
    model.set_weights([np.full(w.shape, 0.1, "float32") for w in model.get_weights()])
    return model


def reference(**options):
    model = build()
    model.compile("sgd", loss="mse", **options)
    return model.fit(X, Y, shuffle=False, epochs=2, verbose=0).history


def test_a_loss_of_ones_own():
    class Own(Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return ((y - y_pred) ** 2).mean()

    model = build(Own)
    model.compile("sgd", metrics=["mse"])
    history = model.fit(X, Y, shuffle=False, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["loss"], reference()["loss"], rtol=1e-6)
    assert list(history) == ["loss", "mse"]


def test_a_loss_that_knows_of_training():
    modes = []

    class Own(Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            modes.append(training)
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    model = build(Own)
    model.compile("sgd", loss="mse")
    model.fit(X, Y, validation_data=(X, Y), verbose=0)
    assert modes == [True, False]


def test_results_of_ones_own():
    class Own(Sequential):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**results, "largest": y_pred.abs().max()}

    model = build(Own)
    model.compile("sgd", loss="mse", metrics=["mae"])
    history = model.fit(X, Y, verbose=0, validation_data=(X, Y)).history
    assert list(history) == ["largest", "loss", "mae", "val_largest", "val_loss", "val_mae"]


def test_super_train_step():
    class Own(Sequential):
        def train_step(self, data):
            return {**super().train_step(data), "two": 2.0}

    model = build(Own)
    model.compile("sgd", loss="mse", metrics=["mae"])
    history = model.fit(X, Y, shuffle=False, epochs=2, verbose=0).history
    assert history["two"] == [2.0, 2.0]
    np.testing.assert_allclose(history["loss"], reference()["loss"], rtol=1e-6)


def test_two_networks_against_each_other():
    class Pair(Model):
        def __init__(self):
            super().__init__()
            self.make = Sequential([layers.Input(shape=(2,)), layers.Dense(3)])
            self.judge = Sequential([layers.Input(shape=(3,)), layers.Dense(1, activation="sigmoid")])
            self.tracker = metrics.Mean(name="judge_loss")

        def compile(self, optimizer, **kwargs):
            super().compile(**kwargs)
            self.own_optimizer = torch.optim.SGD(self.judge.parameters(), lr=0.1)

        @property
        def metrics(self):
            return [self.tracker]

        def train_step(self, real):
            made = self.make(torch.randn(real.shape[0], 2))
            loss = -(self.judge(real).log().mean() + (1 - self.judge(made)).log().mean())
            self.own_optimizer.zero_grad()
            loss.backward()
            self.own_optimizer.step()
            self.tracker.update_state(loss)
            return {"judge_loss": self.tracker.result()}

    model = Pair()
    model.compile("anything")
    history = model.fit(X, epochs=5, verbose=0).history
    assert list(history) == ["judge_loss"] and len(history["judge_loss"]) == 5


def test_test_and_predict_steps():
    class Own(Sequential):
        def test_step(self, data):
            x, _ = data
            return {"mean": self(x).mean()}

        def predict_step(self, data):
            x = data[0] if isinstance(data, tuple) else data
            return self(x) * 0 + 7

    model = build(Own)
    model.compile("sgd", loss="mse")
    assert set(model.evaluate(X, Y, return_dict=True, verbose=0)) == {"mean"}
    assert (model.predict(X, verbose=0) == 7).all()
    assert list(model.fit(X, Y, verbose=0, validation_data=(X, Y)).history) == ["loss", "val_mean"]


def test_single_batches():
    model = build()
    model.compile("sgd", loss="mse", metrics=["mae"])
    loss, mae = model.train_on_batch(X, Y)
    assert isinstance(loss, float) and mae > 0
    after = model.test_on_batch(X, Y, return_dict=True)
    assert list(after) == ["loss", "mae"] and after["loss"] < loss
    assert not model.training
    model.compile("sgd", loss="mse")
    assert isinstance(model.train_on_batch(X, Y, sample_weight=np.ones(32)), float)
    assert model.predict_on_batch(X).shape == (32, 1)


def test_nothing_to_minimise():
    model = build()
    model.compile("sgd")
    with pytest.raises(StateError, match="no loss to minimise"):
        model.fit(X, Y, verbose=0)


def test_only_added_losses():
    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            y = self.dense(x)
            self.add_loss(((y - x) ** 2).mean())
            return y

    model = Own()
    model.compile("sgd")
    history = model.fit(X, epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_losses_added_in_training_only_and_layers_skipped():
    class Sometimes(layers.Layer):
        def call(self, x, training=False):
            if training:
                self.add_loss(x.mean() * 0 + 1.0)
            return x

    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense, self.extra, self.step = layers.Dense(1), Sometimes(), 0

        def call(self, x):
            self.step += 1
            y = self.dense(x)
            return self.extra(y) if self.step % 2 else y

    model = Own()
    model.compile("sgd", loss="mse")
    model.fit(X, Y, batch_size=4, verbose=0)
    model.optimizer.learning_rate = 0.0
    with_penalty = [model.train_on_batch(X, Y) for _ in range(2)]
    assert abs(abs(with_penalty[0] - with_penalty[1]) - 1.0) < 1e-5


def test_functions_that_run_a_step():
    model = build()
    model.compile("sgd", loss="mse")
    model.fit(X, Y, verbose=0)
    before = model.get_weights()[0]
    model.make_train_function()((torch.tensor(X), torch.tensor(Y)))
    assert not np.array_equal(before, model.get_weights()[0])
    assert model.make_predict_function()((torch.tensor(X),)).shape == (32, 1)
