"""torch's own losses, optimizers and schedulers, and metrics of torchmetrics' kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.callbacks import CallbackList
from lamina.core.errors import ArgumentError, ArgumentTypeError
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


TORCH_OPTIMIZERS = sorted(
    name for name, cls in vars(torch.optim).items() if isinstance(cls, type) and cls is not torch.optim.Optimizer
)


def matrix_only():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(1, use_bias=False)])
    model.set_weights([np.full((3, 1), 0.3, "float32")])
    return model


@pytest.mark.parametrize("name", TORCH_OPTIMIZERS)
def test_every_optimizer_of_torch(name):
    """The weights after fit are those of the loop that one writes by hand."""
    make = getattr(torch.optim, name)
    ours, theirs = matrix_only(), matrix_only()
    if name == "LBFGS":
        for given in (make, make(ours.parameters())):
            with pytest.raises(ArgumentError, match="several times"):
                ours.compile(given, loss="mse")
        return
    options = {"lr": 0.05, "momentum": 0.9} if name in ("SGD", "RMSprop") else {"lr": 0.05}
    ours.compile(make(ours.parameters(), **options), loss="mse")
    if name == "SparseAdam":
        with pytest.raises(RuntimeError, match="dense gradients"):
            ours.fit(X, Y, verbose=0)
        return
    ours.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    optimizer = make(theirs.parameters(), **options)
    x, y = torch.tensor(X), torch.tensor(Y)
    for _ in range(2):
        for start in range(0, 32, 8):
            optimizer.zero_grad()
            nn.functional.mse_loss(theirs(x[start : start + 8]), y[start : start + 8]).backward()
            optimizer.step()
    np.testing.assert_allclose(ours.get_weights()[0], theirs.get_weights()[0], rtol=1e-5, atol=1e-6)
    by_class = matrix_only()
    by_class.compile(make, loss="mse")
    assert np.isfinite(losses(by_class)).all()


@pytest.mark.parametrize("shape", [(32,), (32, 1)])
@pytest.mark.parametrize("name", ["Accuracy", "F1Score", "AUROC"])
def test_torchmetrics_of_classes(name, shape):
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = getattr(torchmetrics, name)(task="multiclass", num_classes=3)
    model, labels = build(3), LABELS.reshape(shape)
    model.compile("sgd", loss=nn.CrossEntropyLoss(), metrics=[metric])
    key = f"multiclass_{name.lower().replace('f1score', 'f1_score')}"
    history = model.fit(X, labels, epochs=2, batch_size=8, verbose=0, validation_data=(X, labels)).history
    expected = getattr(torchmetrics, name)(task="multiclass", num_classes=3)
    value = float(expected(torch.tensor(model.predict(X, verbose=0)), torch.tensor(LABELS)))
    assert history[f"val_{key}"][-1] == pytest.approx(value, rel=1e-5) and len(history[key]) == 2


@pytest.mark.parametrize("targets", [Y, Y[:, 0]])
def test_torchmetrics_of_numbers(targets):
    torchmetrics = pytest.importorskip("torchmetrics")
    both = torchmetrics.MetricCollection(
        {"mse": torchmetrics.MeanSquaredError(), "mae": torchmetrics.MeanAbsoluteError()}
    )
    model = build()
    model.compile("sgd", loss="mse", metrics=[both, torchmetrics.R2Score()])
    for _ in range(2):
        results = model.evaluate(X, targets, batch_size=8, verbose=0, return_dict=True)
        assert results["mse"] == pytest.approx(results["loss"], rel=1e-5)
        error = Y - model.predict(X, verbose=0)
        assert results["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
        assert results["r2_score"] == pytest.approx(1 - (error**2).sum() / ((Y - Y.mean()) ** 2).sum(), rel=1e-4)


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
