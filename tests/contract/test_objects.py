"""The promises that every loss, metric, optimizer, schedule and callback keeps."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

import lamina
from lamina import callbacks, layers, losses, optimizers
from lamina.core.registry import builtins_of
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.losses import Loss
from lamina.metrics import Metric
from lamina.optimizers import Optimizer


def classes_of(area, base):
    found = {name: cls for name, cls in builtins_of(area).items() if isinstance(cls, type) and issubclass(cls, base)}
    return sorted((name, cls) for name, cls in found.items() if cls is not base)


# What a constructor must be given; everything else is made with its defaults.
NEEDED = {
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "IoU": {"num_classes": 2, "target_class_ids": [0]},
    "BinaryIoU": {},
    "MeanIoU": {"num_classes": 2},
    "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 2},
    "MeanMetricWrapper": {"fn": losses.mean_squared_error},
    "LossFunctionWrapper": {"fn": losses.mean_squared_error},
}
LOSSES = [pair for pair in classes_of("keras.losses", Loss) if pair[0] != "LossFunctionWrapper"]
METRICS = [pair for pair in classes_of("keras.metrics", Metric) if pair[0] != "MeanMetricWrapper"]
OPTIMIZERS = [
    pair
    for pair in classes_of("keras.optimizers", Optimizer)
    if pair[0] not in ("LossScaleOptimizer", "MultiOptimizer")
]


def data_for(name):
    """Targets and predictions that fit most losses and metrics, and the few that want something else."""
    rng = np.random.default_rng(0)
    y_pred = torch.tensor(rng.uniform(0.05, 0.95, (6, 2)), dtype=torch.float32)
    y_true = torch.tensor(np.eye(2)[rng.integers(0, 2, 6)], dtype=torch.float32)
    if name.startswith("Sparse") or name in ("Circle", "CategoricalGeneralizedCrossEntropy"):
        return y_true.argmax(1), y_pred
    if name == "CTC":
        return torch.tensor([[1, 2], [2, 1]]), torch.randn(2, 6, 4)
    if name in ("Dice", "Tversky"):
        return y_true[:, None, :, None], y_pred[:, None, :, None]
    if "IoU" in name and not name.startswith("OneHot"):
        return y_true[:, 0], (y_pred[:, 0] if name == "BinaryIoU" else y_pred.round()[:, 0])
    if name == "R2Score":
        return y_true, y_pred
    return y_true, y_pred


def same_config_both_ways(thing):
    config = thing.get_config()
    text = json.dumps(config)
    assert json.dumps(type(thing).from_config(json.loads(text)).get_config()) == text
    again = deserialize_keras_object(json.loads(json.dumps(serialize_keras_object(thing))))
    assert type(again) is type(thing) and json.dumps(again.get_config()) == text
    return again


@pytest.mark.parametrize(("name", "cls"), LOSSES, ids=[name for name, _ in LOSSES])
def test_losses(name, cls):
    loss = cls(**NEEDED.get(name, {}))
    again = same_config_both_ways(loss)
    y_true, y_pred = data_for(name)
    leaf = y_pred.clone().requires_grad_()
    value = loss(y_true, leaf * 1.0)
    assert value.ndim == 0 and bool(torch.isfinite(value))
    value.backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0
    for other in (again, copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(other(y_true, y_pred), value.detach())
    halved = loss(y_true, y_pred, sample_weight=torch.full((len(y_pred),), 0.5))
    torch.testing.assert_close(halved, value.detach() / 2)


@pytest.mark.parametrize(("name", "cls"), METRICS, ids=[name for name, _ in METRICS])
def test_metrics(name, cls):
    metric = cls(**NEEDED.get(name, {}))
    again = same_config_both_ways(metric)
    arguments = data_for(name)
    arguments = arguments[1:] if name in ("Mean", "Sum") else arguments
    metric.update_state(*arguments)
    first = np.asarray(metric.result())
    assert np.isfinite(first).all()
    other = copy.deepcopy(metric)
    metric.reset_state()
    assert all(float(v.float().abs().sum()) == 0 for v in metric.variables), "reset means as new"
    np.testing.assert_allclose(np.asarray(other.result()), first)
    again.update_state(*arguments)
    metric.update_state(*arguments)
    np.testing.assert_allclose(np.asarray(metric.result()), first, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(again.result()), first, rtol=1e-6)


def small_model():
    lamina.utils.set_random_seed(0)
    return lamina.Sequential([layers.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(1)])


def regression():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    return x, x.sum(1, keepdims=True)


@pytest.mark.parametrize(("name", "cls"), OPTIMIZERS, ids=[name for name, _ in OPTIMIZERS])
def test_optimizers(name, cls):
    optimizer = cls(**NEEDED.get(name, {}))
    same_config_both_ways(optimizer)
    model, (x, y) = small_model(), regression()
    before = model.get_weights()
    model.compile(optimizer, "mse")
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    # Not against the first epoch: FTRL begins by forgetting the initial weights.
    assert np.isfinite(history).all() and history[-1] < history[1]
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(optimizer.iterations) == 6
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    other = cls.from_config(optimizer.get_config())
    other.build(model.trainable_variables)
    other.load_own_variables(store)
    for a, b in zip(optimizer.variables, other.variables, strict=True):
        torch.testing.assert_close(a.detach(), b.detach())


SCHEDULES = {
    "ExponentialDecay": (0.1, 10, 0.9),
    "PiecewiseConstantDecay": ([5, 10], [0.1, 0.01, 0.001]),
    "PolynomialDecay": (0.1, 10),
    "InverseTimeDecay": (0.1, 10, 0.5),
    "CosineDecay": (0.1, 10),
    "CosineDecayRestarts": (0.1, 10),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    schedule = getattr(optimizers.schedules, name)(*SCHEDULES[name])
    again = same_config_both_ways(schedule)
    for step in (0, 3, 10, 25):
        assert float(schedule(step)) == pytest.approx(float(again(step)))
    model, (x, y) = small_model(), regression()
    model.compile(optimizers.SGD(schedule), "mse")
    model.fit(x, y, epochs=2, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(float(schedule(4)))


CALLBACKS = {
    "History": lambda folder: callbacks.History(),
    "EarlyStopping": lambda folder: callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True),
    "ModelCheckpoint": lambda folder: callbacks.ModelCheckpoint(folder / "m.keras", monitor="loss"),
    "LambdaCallback": lambda folder: callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    "LearningRateScheduler": lambda folder: callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    "ReduceLROnPlateau": lambda folder: callbacks.ReduceLROnPlateau("loss"),
    "CSVLogger": lambda folder: callbacks.CSVLogger(folder / "log.csv"),
    "TerminateOnNaN": lambda folder: callbacks.TerminateOnNaN(),
    "ProgbarLogger": lambda folder: callbacks.ProgbarLogger(),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks(name, tmp_path, capsys):
    """Each lets a training run to its end, twice with the same object, and leaves the model usable."""
    model, (x, y) = small_model(), regression()
    model.compile("adam", "mse")
    callback = CALLBACKS[name](tmp_path)
    for run in range(2):
        history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
        # A History that is given goes on, as in Keras.
        assert len(history.history["loss"]) == (3 * (run + 1) if name == "History" else 3)
    assert callback.model is model
    assert model.predict(x, verbose=0).shape == (64, 1)
    assert not model.training
