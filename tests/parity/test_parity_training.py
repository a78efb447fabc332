"""The same models from the same weights through fit, evaluate and predict of the real Keras and of lamina."""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest

from lamina import layers
from lamina.models import Model, Sequential

TOLERANCE = 1e-5
rng = np.random.default_rng(7)
X = rng.normal(size=(50, 6)).astype("float32")
Y = (X[:, :1] - 0.5 * X[:, 1:2] ** 2).astype("float32")
LABELS = (X[:, 0] > 0).astype("int64") + (X[:, 1] > 0.5)
WEIGHTS = rng.uniform(0.5, 2.0, size=50).astype("float32")


def small(package, outputs=1, activation=None):
    sequential = package.Sequential if package is keras else Sequential
    dense = package.layers.Dense if package is keras else layers.Dense
    enter = package.layers.Input if package is keras else layers.Input
    return sequential([enter(shape=(6,)), dense(8, activation="tanh"), dense(outputs, activation=activation)])


def two_heads(package):
    make = package.Model if package is keras else Model
    kinds = package.layers if package is keras else layers
    x = kinds.Input(shape=(6,), name="features")
    h = kinds.Dense(8, activation="tanh")(x)
    return make(x, [kinds.Dense(1, name="size")(h), kinds.Dense(3, activation="softmax", name="kind")(h)])


def pair(build, *args):
    """A model of each package, with the same weights."""
    keras.utils.set_random_seed(11)
    theirs, ours = build(keras, *args), build("lamina", *args)
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    return theirs, ours


def run(models, compile_options, fit_options, prepare=lambda value: value):
    """Both histories; the same options are built anew for each model."""
    histories = []
    for model in models:
        model.compile(**compile_options())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "Gradients do not exist|.*no gradient", UserWarning)
            histories.append(model.fit(verbose=0, shuffle=False, **fit_options()))
    return histories


def assert_same(histories):
    theirs, ours = histories
    assert list(theirs.history) == list(ours.history)
    assert theirs.params == ours.params and theirs.epoch == ours.epoch
    for name, values in theirs.history.items():
        np.testing.assert_allclose(ours.history[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("case", ["plain", "sample_weight", "validation_split", "both"])
def test_regression(optimizer, case):
    options = {"x": X, "y": Y, "epochs": 4, "batch_size": 16}
    if case in ("sample_weight", "both"):
        options["sample_weight"] = WEIGHTS
    if case in ("validation_split", "both"):
        options["validation_split"] = 0.25
    models = pair(small)
    histories = run(
        models,
        lambda: {"optimizer": optimizer, "loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mse"]},
        lambda: options,
    )
    assert_same(histories)
    for theirs, ours in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(models[1].predict(X, verbose=0), models[0].predict(X, verbose=0), atol=TOLERANCE)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("one_hot", [False, True])
def test_classification(optimizer, one_hot):
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    y = np.eye(3, dtype="float32")[LABELS] if one_hot else LABELS
    models = pair(small, 3, "softmax")
    histories = run(
        models,
        lambda: {
            "optimizer": optimizer,
            "loss": loss,
            "metrics": ["accuracy", "acc"],
            "weighted_metrics": ["accuracy"],
        },
        lambda: {"x": X, "y": y, "epochs": 3, "class_weight": {0: 0.5, 2: 3.0}, "validation_split": 0.2},
    )
    assert_same(histories)
    evaluated = [model.evaluate(X, y, verbose=0) for model in models]
    np.testing.assert_allclose(evaluated[1], evaluated[0], atol=TOLERANCE)


def test_binary_with_labels_of_rank_one():
    y = (X[:, 0] > 0).astype("int32")
    models = pair(small, 1, "sigmoid")
    histories = run(
        models,
        lambda: {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"]},
        lambda: {"x": X, "y": y, "epochs": 2, "validation_data": (X[:20], y[:20]), "validation_freq": 2},
    )
    assert_same(histories)


MULTI = {
    "lists": lambda: {
        "loss": ["mse", "sparse_categorical_crossentropy"],
        "loss_weights": [1.0, 0.3],
        "metrics": [["mae"], ["acc", "accuracy"]],
        "weighted_metrics": [["mae"], ["accuracy"]],
    },
    "dicts": lambda: {
        "loss": {"size": "mae", "kind": "sparse_categorical_crossentropy"},
        "loss_weights": {"size": 2.0, "kind": 0.5},
        "metrics": {"kind": "accuracy"},
    },
    "one without a loss": lambda: {"loss": ["mse", None]},
}


@pytest.mark.parametrize("options", MULTI.values(), ids=list(MULTI))
@pytest.mark.parametrize(("as_dict", "weighted"), [(False, False), (False, True), (True, False)])
def test_several_outputs(options, as_dict, weighted):
    y = {"size": Y, "kind": LABELS} if as_dict else [Y, LABELS]
    fit = {"x": X, "y": y, "epochs": 3, "batch_size": 16, "validation_split": 0.2}
    if weighted:
        fit["sample_weight"] = [WEIGHTS, WEIGHTS[::-1].copy()]
    models = pair(two_heads)
    assert_same(run(models, lambda: {"optimizer": "sgd", **options()}, lambda: fit))
    arguments = {"verbose": 0}
    lists = [model.evaluate(X, y, **arguments) for model in models]
    np.testing.assert_allclose(lists[1], lists[0], atol=TOLERANCE)
    theirs, ours = (model.evaluate(X, y, return_dict=True, **arguments) for model in models)
    assert list(theirs) == list(ours)
    assert models[0].metrics_names == models[1].metrics_names


def test_outputs_of_a_subclass():
    def build(package):
        base = package.Model if package is keras else Model
        dense = package.layers.Dense if package is keras else layers.Dense

        class Heads(base):
            def __init__(self):
                super().__init__()
                self.first, self.second = dense(1), dense(3, activation="softmax")

            def call(self, x):
                return {"u": self.first(x), "v": self.second(x)}

        model = Heads()
        model(X[:2])
        return model

    models = pair(build)
    histories = run(
        models,
        lambda: {
            "optimizer": "sgd",
            "loss": {"u": "mse", "v": "sparse_categorical_crossentropy"},
            "metrics": {"u": ["mae"], "v": ["accuracy"]},
        },
        lambda: {"x": X, "y": {"u": Y, "v": LABELS}, "epochs": 2},
    )
    assert_same(histories)
    theirs, ours = (model.predict(X, verbose=0) for model in models)
    assert list(theirs) == list(ours)


def test_penalties_and_added_losses():
    def build(package):
        kinds = package.layers if package is keras else layers
        base = package.layers.Layer if package is keras else layers.Layer

        class Spread(base):
            def call(self, x):
                self.add_loss(0.1 * (x * x).mean())
                return x

        sequential = package.Sequential if package is keras else Sequential
        return sequential(
            [
                kinds.Input(shape=(6,)),
                kinds.Dense(8, activation="tanh", kernel_regularizer="l2", activity_regularizer="l1"),
                Spread(),
                kinds.Dense(1, bias_regularizer="l1"),
            ]
        )

    histories = run(
        pair(build),
        lambda: {"optimizer": "sgd", "loss": "mse", "metrics": ["mse"]},
        lambda: {"x": X, "y": Y, "epochs": 3, "validation_split": 0.2},
    )
    assert_same(histories)


def test_losses_of_a_layer_called_several_times():
    def build(package):
        kinds = package.layers if package is keras else layers
        make = package.Model if package is keras else Model
        shared = kinds.Dense(6, activity_regularizer="l2")
        x = kinds.Input(shape=(6,))
        return make(x, kinds.Dense(1)(kinds.Add()([shared(x), shared(shared(x))])))

    histories = run(
        pair(build),
        lambda: {"optimizer": "sgd", "loss": "mse"},
        lambda: {"x": X, "y": Y, "epochs": 2, "validation_split": 0.2},
    )
    assert_same(histories)


def test_steps_and_generators():
    def batches():
        for start in range(0, 40, 8):
            yield X[start : start + 8], Y[start : start + 8], WEIGHTS[start : start + 8]

    models = pair(small)
    histories = run(
        models,
        lambda: {"optimizer": "sgd", "loss": "mse"},
        lambda: {
            "x": batches(),
            "epochs": 2,
            "steps_per_epoch": 2,
            "validation_data": (X, Y),
            "validation_steps": 2,
        },
    )
    assert_same(histories)


def test_single_batches():
    models = pair(small, 3, "softmax")
    results = []
    for model in models:
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        results.append(
            [
                model.train_on_batch(X, LABELS),
                model.train_on_batch(X, LABELS, class_weight={1: 2.0}),
                model.train_on_batch(X, LABELS, sample_weight=WEIGHTS),
                model.test_on_batch(X, LABELS),
                list(model.train_on_batch(X, LABELS, return_dict=True).values()),
            ]
        )
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=[])
        assert isinstance(model.train_on_batch(X, LABELS), float) or model.__class__.__module__.startswith("keras")
    np.testing.assert_allclose(results[1], results[0], atol=TOLERANCE)
    assert list(models[0].train_on_batch(X, LABELS, return_dict=True)) == list(
        models[1].train_on_batch(X, LABELS, return_dict=True)
    )


def test_own_training_step():
    def build(package):
        base = package.Sequential if package is keras else Sequential
        dense = package.layers.Dense if package is keras else layers.Dense
        enter = package.layers.Input if package is keras else layers.Input

        class Own(base):
            def train_step(self, data):
                import torch

                x, y = data
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
                self.zero_grad()
                loss.backward()
                weights = list(self.trainable_weights)
                gradients = [v.value.grad for v in weights]
                with torch.no_grad():
                    self.optimizer.apply(gradients, weights)
                for metric in self.metrics:
                    if metric.name == "loss":
                        metric.update_state(loss)
                    else:
                        metric.update_state(y, y_pred)
                return {m.name: m.result() for m in self.metrics}

        return Own([enter(shape=(6,)), dense(4, activation="tanh"), dense(1)])

    histories = run(
        pair(build),
        lambda: {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]},
        lambda: {"x": X, "y": Y, "epochs": 3, "batch_size": 10, "validation_split": 0.2},
    )
    assert_same(histories)


def test_compile_config_has_the_same_keys():
    theirs, ours = pair(small)
    for model in (theirs, ours):
        model.compile("sgd", loss="mse", metrics=["mae"], loss_weights=[2.0])
    assert set(theirs.get_compile_config()) == set(ours.get_compile_config())
    assert ours.get_compile_config()["loss"] == "mse"
    assert ours.get_compile_config()["metrics"] == ["mae"]
