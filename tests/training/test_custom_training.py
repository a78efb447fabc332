"""Steps of the user's own, inside fit and in loops written by hand; errors in the data; determinism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, losses, optimizers
from lamina.core.errors import DataError, ShapeError, StateError
from lamina.training import Step

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = X.sum(1, keepdims=True)


def make(optimizer: Any = "adam", kind: Any = lamina.Model, **options: Any) -> Any:
    lamina.utils.clear_session()
    lamina.utils.set_random_seed(3)
    inputs = layers.Input((8,))
    hidden = layers.Dropout(0.2)(layers.Dense(16, activation="relu")(inputs))
    model = kind(inputs, layers.Dense(1)(hidden))
    model.compile(optimizer, "mse", metrics=["mae"], **options)
    return model


def same(one: Any, other: Any) -> bool:
    return all(map(torch.equal, one.weights, other.weights))


# Step.


def test_step_does_what_fit_does():
    fitted, model = make(), make()
    lamina.utils.set_random_seed(0)
    fitted.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    step = Step(model)
    lamina.utils.set_random_seed(0)
    logs: Any = None
    for _ in range(2):
        step.reset()
        for first in range(0, 64, 16):
            logs = step(X[first : first + 16], Y[first : first + 16])
    assert same(model, fitted)
    assert {name: values[-1] for name, values in fitted.history.history.items()} == dict(logs)
    assert not model.training
    evaluated = step.evaluate(X, Y)
    assert dict(evaluated) == pytest.approx(fitted.evaluate(X, Y, return_dict=True, verbose=0))
    assert torch.equal(step.predict(X), model(torch.tensor(X)))


def test_step_settles_results_that_are_kept():
    step, tensors = Step(make()), (torch.tensor(X), torch.tensor(Y))
    first = step(*tensors)
    second = step(*tensors)
    assert first["loss"] != second["loss"]
    third = step.evaluate(*tensors)
    assert second["loss"] != third["loss"]


def test_step_reads_nothing_unless_asked(monkeypatch):
    step, tensors = Step(make()), (torch.tensor(X), torch.tensor(Y))
    step(*tensors)
    monkeypatch.setattr("lamina.callbacks.logs.to_numbers", lambda _: pytest.fail("it was read"))
    logs = [step(*tensors) for _ in range(3)]
    assert len(logs) == 3


def test_step_checks_what_is_new():
    step = Step(make())
    step(torch.tensor(X), torch.tensor(Y))
    with pytest.raises(ShapeError):
        step(torch.tensor(X[:, :5]), torch.tensor(Y))
    with pytest.raises(StateError, match="not compiled"):
        Step(lamina.Sequential([layers.Dense(1)]))


def test_step_runs_a_step_of_the_users_own():
    class Own(lamina.Model):
        def train_step(self, data: Any) -> Any:
            return {"own": torch.tensor(7.0)}

    assert dict(Step(make(kind=Own))(X, Y)) == {"own": 7.0}


# train_step.


class Forgets(lamina.Model):
    """Leaves gradients behind."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        loss = self.compute_loss(x, y, self(x))
        loss.backward()
        variables = self.trainable_variables
        self.optimizer.apply([variable.grad for variable in variables], variables)
        return {"loss": loss}


class ForgetsWithTorch(Forgets):
    def train_step(self, data: Any) -> Any:
        x, y = data
        loss = self.compute_loss(x, y, self(x))
        loss.backward()
        self.optimizer.optimizer.step()
        return {"loss": loss}


def torch_adam(fused: bool) -> Any:
    return lambda weights: torch.optim.Adam(weights, lr=1e-2, fused=fused)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Lion", "Muon"])
def test_used_gradients_are_not_kept(name):
    right, forgetful = make(getattr(optimizers, name)(1e-2)), make(getattr(optimizers, name)(1e-2), Forgets)
    for model in (right, forgetful):
        lamina.utils.set_random_seed(0)
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    assert same(right, forgetful)


@pytest.mark.parametrize("fused", [True, False])
def test_used_gradients_are_not_kept_for_torch(fused):
    models = [make("sgd"), make("sgd", ForgetsWithTorch)]
    for model in models:
        model.compile(torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused), "mse")
        lamina.utils.set_random_seed(0)
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    assert same(*models)


def test_gradients_may_be_gathered():
    class Gathers(lamina.Model):
        calls = 0

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.calls += 1
            loss = self.compute_loss(x, y, self(x)) / 2
            loss.backward()
            if self.calls % 2 == 0:
                self.optimizer.apply([v.grad for v in self.trainable_variables], self.trainable_variables)
            return {"loss": loss}

    gathers, whole = make("sgd", Gathers), make("sgd")
    for model in (gathers, whole):
        model.layers[2].rate = 0.0
    gathers.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    whole.fit(X, Y, batch_size=32, shuffle=False, verbose=0)
    for one, other in zip(gathers.weights, whole.weights, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


class Gan(lamina.Model):
    """A generator and a discriminator, an optimizer each."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = lamina.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(4, 3, 2, padding="same"),
                layers.LeakyReLU(),
                layers.Flatten(),
                layers.Dense(1),
            ]
        )
        self.generator = lamina.Sequential(
            [
                layers.Input((4,)),
                layers.Dense(64),
                layers.Reshape((4, 4, 4)),
                layers.Conv2DTranspose(1, 4, 2, padding="same", activation="tanh"),
            ]
        )
        self.d_loss, self.g_loss = lamina.metrics.Mean("d_loss"), lamina.metrics.Mean("g_loss")
        self.seeds = lamina.random.SeedGenerator(7)

    def compile(self, d_optimizer: Any, g_optimizer: Any) -> None:  # type: ignore[override]
        super().compile(loss=losses.BinaryCrossentropy(from_logits=True))
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def _learn(self, optimizer: Any, network: Any, loss: Any) -> None:
        self.zero_grad()
        loss.backward()
        weights = network.trainable_variables
        with torch.no_grad():
            optimizer.apply([weight.grad for weight in weights], weights)

    def train_step(self, data: Any) -> Any:
        real, count = data, data.shape[0]
        noise = lamina.random.normal((count, 4), seed=self.seeds)
        fake = self.generator(noise)
        loss = losses.BinaryCrossentropy(from_logits=True)
        both = self.discriminator(torch.cat([real, fake.detach()]))
        d_loss = loss(torch.cat([torch.ones(count, 1), torch.zeros(count, 1)]), both)
        self._learn(self.d_optimizer, self.discriminator, d_loss)
        g_loss = loss(torch.ones(count, 1), self.discriminator(fake))
        self._learn(self.g_optimizer, self.generator, g_loss)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def test_two_optimizers_and_resumption(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 1)).astype("float32")

    def train(folder: Any, epochs: int) -> Any:
        lamina.utils.clear_session()
        lamina.utils.set_random_seed(2)
        gan = Gan()
        gan.compile(optimizers.Adam(1e-3), optimizers.Adam(2e-3))
        gan.fit(images, batch_size=16, epochs=epochs, verbose=0, resume=folder, checkpoint_every=1)
        return gan

    whole = train(tmp_path / "whole", 3)
    assert list(whole.history.history) == ["d_loss", "g_loss"] and whole.d_optimizer.iterations == 9
    train(tmp_path / "parts", 2)
    parts = train(tmp_path / "parts", 3)
    assert parts.history.history == whole.history.history and same(parts, whole)
    assert all(map(torch.equal, parts.g_optimizer.variables, whole.g_optimizer.variables))


# Data that fails.


def test_an_error_in_the_data_names_the_batch():
    def batches() -> Any:
        for epoch in range(2):
            for index in range(4):
                if (epoch, index) == (1, 2):
                    raise RuntimeError("the disk is gone")
                yield X[:16], Y[:16]

    model = make()
    with pytest.raises(DataError, match="batch 3 of epoch 2") as caught:
        model.fit(batches(), epochs=2, steps_per_epoch=4, verbose=0)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "the disk is gone" in str(caught.value)
    assert len(model.history.history["loss"]) == 1 and not model.training
    model.fit(X, Y, verbose=0)
    assert len(model.history.history["loss"]) == 1


def test_an_error_in_a_step_names_the_batch():
    def batches() -> Any:
        yield X[:16], Y[:16]
        yield X[:16, :5], Y[:16]

    model = make()
    with pytest.raises(Exception) as caught:
        model.fit(batches(), verbose=0)
    assert any("batch 2 of epoch 1" in note for note in caught.value.__notes__)


# Determinism.


@pytest.fixture
def determinism():
    lamina.utils.enable_determinism()
    yield
    lamina.config.disable_determinism()


def test_determinism(determinism):
    assert lamina.config.is_determinism_enabled() and torch.backends.cudnn.deterministic
    runs = []
    for _ in range(2):
        model = make()
        runs.append((model.fit(X, Y, epochs=2, verbose=0), model))
    assert runs[0][0].history == runs[1][0].history and same(runs[0][1], runs[1][1])
    assert "deterministic" in str(runs[0][1].execution_report())
    assert runs[0][0].fingerprint["deterministic"]


def test_fingerprint():
    lamina.utils.set_random_seed(11)
    found = make().fit(X, Y, verbose=0).fingerprint
    assert found["torch"] == torch.__version__ and found["lamina"] == lamina.__version__ and found["seed"] == 3
    assert found["threads"] == torch.get_num_threads() and found["device"].startswith("cpu")
    assert make().fit(X, Y, verbose=0).fingerprint == found
    assert make().fit(X, Y + 1, verbose=0).fingerprint["data"] != found["data"]
    assert make("sgd").fit(X, Y, verbose=0).fingerprint["config"] != found["config"]
    assert lamina.callbacks.History().fingerprint == {}
