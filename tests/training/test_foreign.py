"""torch's own losses, optimizers and schedulers, and metrics of torchmetrics' kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.callbacks import CallbackList
from lamina.core.errors import ArgumentTypeError
from lamina.models import Sequential

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 3)).astype("float32")
Y = X[:, :1]
LABELS = np.arange(32) % 3
WEIGHTS = rng.uniform(size=32).astype("float32")


def build(units=1):
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(units)])
    model.set_weights([np.full((3, units), 0.3, "float32"), np.zeros(units, "float32")])
    return model


def losses(model, y=Y, **options):
    return model.fit(X, y, epochs=2, shuffle=False, verbose=0, **options).history["loss"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.functional.mse_loss])
def test_losses(loss, weighted):
    options = {"sample_weight": WEIGHTS} if weighted else {}
    ours, theirs = build(), build()
    ours.compile("sgd", loss="mse")
    theirs.compile("sgd", loss=loss)
    np.testing.assert_allclose(losses(theirs, **options), losses(ours, **options), rtol=1e-5)
    assert losses(theirs, y=Y[:, 0])


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype("int32")])
def test_cross_entropy(labels):
    from lamina.losses import SparseCategoricalCrossentropy

    ours, theirs = build(3), build(3)
    ours.compile("sgd", loss=SparseCategoricalCrossentropy(from_logits=True))
    theirs.compile("sgd", loss=nn.CrossEntropyLoss())
    np.testing.assert_allclose(losses(theirs, labels), losses(ours, labels), rtol=1e-5)


def test_optimizers():
    reference = build()
    reference.compile("sgd", loss="mse")
    expected = losses(reference)
    made = build()
    made.compile(torch.optim.SGD(made.parameters(), lr=0.01), loss="mse")
    np.testing.assert_allclose(losses(made), expected, rtol=1e-5)
    by_class = build()
    by_class.compile(torch.optim.SGD, loss="mse")
    assert len(losses(by_class)) == 2
    assert float(by_class.optimizer.learning_rate) == pytest.approx(1e-3)


def test_schedulers():
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.compile(optimizer, loss="mse")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)])
    assert optimizer.param_groups[0]["lr"] == 0.25
    model.fit(X, Y, verbose=0, callbacks=[torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)])


def test_metrics():
    class Largest:
        def __init__(self):
            self.value = torch.zeros(())

        def update(self, preds, target):
            self.value = torch.maximum(self.value, (preds - target).abs().max())

        def compute(self):
            return self.value

        def reset(self):
            self.value = torch.zeros(())

    model = build()
    model.compile("sgd", loss="mse", metrics=[Largest(), "mae"])
    results = model.evaluate(X, Y, verbose=0, return_dict=True)
    expected = np.abs(model.predict(X, verbose=0) - Y).max()
    assert list(results) == ["largest", "loss", "mae"] and results["largest"] == pytest.approx(expected, rel=1e-5)


def test_what_is_no_callback():
    from lamina.callbacks import EarlyStopping

    with pytest.raises(ArgumentTypeError, match=r"EarlyStopping\(\)"):
        CallbackList([EarlyStopping])
    with pytest.raises(ArgumentTypeError, match="LambdaCallback"):
        CallbackList([print])


def test_plain_modules_inside():
    model = Sequential([layers.Input(shape=(3,)), nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), layers.Dense(1)])
    model.compile("adam", loss="mse")
    history = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < history[0]
    a, b = (model.predict(X, verbose=0) for _ in range(2))
    np.testing.assert_array_equal(a, b)
