"""Each error of training, provoked."""

import ctypes
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.training.test_capture import batches, ready, small_model

from lamina import Input, Model, Sequential, layers
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, StateError
from lamina.training import compiler, cuda_graph, tracing
from lamina.training.compiler import NotCapturable
from lamina.training.metrics import resolve_metric
from lamina.training.prepare import state_of, whole_state
from lamina.training.tracing import Tracing

X, Y, LABELS = np.ones((8, 4), "float32"), np.ones((8, 1), "float32"), np.arange(8) % 3


def fit(x=X, y=Y, units=1, loss="mse", settings=None, activation=None, **options):
    model = Sequential([Input((4,)), layers.Dense(units, activation=activation)])
    model.compile("sgd", loss, **(settings or {}))
    return model.fit(x, y, verbose=0, **options)


def compiled():
    model = Sequential([Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def classify(y=LABELS, loss="sparse_categorical_crossentropy", **options):
    return fit(y=y, units=3, loss=loss, activation="softmax", **options)


def branches(loss, loss_weights=None, y=None):
    """A model with outputs in a dict, one of which is a dict."""
    x = Input((4,), name="x")
    parts = {"inner": {"a": layers.Dense(1)(x), "b": layers.Dense(1)(x)}, "outer": layers.Dense(1)(x)}
    model = Model(x, parts)
    model.compile("sgd", loss, loss_weights)
    return model.fit(X, y or {"inner": {"a": Y, "b": Y}, "outer": Y}, verbose=0)


def together(y_true, y_pred):
    return (y_pred["a"] - y_true["a"]) ** 2


def two(y=None, **options):
    x = Input((4,), name="x")
    model = Model(x, {"one": layers.Dense(1)(x), "two": layers.Dense(1)(x)})
    model.compile("sgd", **{"loss": {"one": "mse", "two": "mse"}, **options})
    return model.fit(X, {"one": Y, "two": Y} if y is None else y, verbose=0)


class Pair(Model):
    """Two outputs without names."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x), self.dense(x)


class Silent(Pair):
    def call(self, x):
        self.dense(x)


class Late(Pair):
    def __init__(self):
        self.dense = layers.Dense(1)


class InNumpy(Pair):
    def call(self, x):
        return torch.tensor(np.array(self.dense(x)))


def fit_of(kind, loss="mse"):
    model = kind()
    model.compile("sgd", loss)
    return model.fit(X, Y, verbose=0)


def unsteady():
    """What comes of tracing, in a copy of the process, a step that is another each time."""
    model = small_model(loss=lambda y_true, y_pred: ((y_true - y_pred) ** 2).mean() * random.random())
    (batch,) = batches(1, (16, 8), (16, 1))
    state = whole_state(ready(model, batch), state_of(model))
    traced = object.__new__(Tracing)
    traced._capture, traced._sent = None, tracing._message((state, "train", batch), 1, set())
    return traced.result()


def hooked(make):
    """What comes of a model with a hook."""
    model = small_model()
    (batch,) = batches(1, (16, 8), (16, 1))
    state = whole_state(ready(model, batch), state_of(model))
    model.layers[0].register_forward_hook(print)
    return make(state, batch)


def encoded(op):
    return compiler._encode(SimpleNamespace(graph=SimpleNamespace(nodes=[SimpleNamespace(op=op, target="it")])), 0, 1)


class Unweighted(torch.nn.Module):
    def forward(self, y_pred, y_true):
        return ((y_pred - y_true) ** 2).mean()


CASES = {
    "not compiled": (lambda: Sequential([Input((4,)), layers.Dense(1)]).fit(X, Y), StateError, "model.compile("),
    "no loss": (lambda: fit(loss=None), StateError, "add_loss()"),
    "no gradient": (lambda: fit(loss=lambda t, p: (t - p.detach()) ** 2), StateError, "no NumPy"),
    "no target": (lambda: fit(y=None), DataError, "validation_data=(x, y)"),
    "no output": (lambda: fit_of(Silent), DataError, "return self.dense(x)"),
    "no super": (lambda: fit_of(Late), StateError, "super().__init__"),
    "epochs": (lambda: fit(epochs="3"), ArgumentError, "epochs is no count"),
    "an argument": (lambda: compiled().evaluate(X, Y, other=1), ArgumentError, "leave them out"),
    "verbose": (lambda: compiled().predict(X, verbose=3), ArgumentError, "verbose"),
    "frequency": (lambda: fit(validation_data=(X, Y), validation_freq=0), ArgumentError, "validation_freq=..."),
    "steps per execution": (lambda: fit(settings={"steps_per_execution": 0}), ArgumentError, "a positive integer"),
    "jit_compile": (lambda: fit(settings={"jit_compile": "yes"}), ArgumentError, "compile, jit_compile"),
    "weights of text": (lambda: classify(class_weight={0: "1"}), ArgumentTypeError, "a dict of numbers"),
    "both weights": (lambda: classify(class_weight={0: 1.0}, sample_weight=np.ones(8)), DataError, "multiply"),
    "both in a batch": (lambda: compiled().train_on_batch(X, Y, np.ones(8), {0: 1.0}), DataError, "give one of them"),
    "rows": (lambda: fit(x=np.ones((8, 5))), ShapeError, "4 features"),
    "inputs": (lambda: fit(x=[X, X]), DataError, "np.stack(x)"),
    "text": (lambda: fit(x=np.array([["a"] * 4] * 8)), DataError, "StringLookup"),
    "targets": (lambda: fit(y=np.ones((8, 3))), ShapeError, "as many units"),
    "one-hot": (lambda: classify(np.eye(3)[LABELS]), ShapeError, "y.argmax(-1)"),
    "range": (lambda: classify(LABELS + 1), DataError, "y - 1"),
    "broken labels": (lambda: classify(LABELS + 0.5), DataError, 'loss="mse"'),
    "NaN": (lambda: fit(y=Y * np.nan), DataError, "fill in"),
    "softmax of one": (
        lambda: fit(y=Y, loss="categorical_crossentropy", activation="softmax"),
        ArgumentError,
        "binary_crossentropy",
    ),
    "no batch": (lambda: compiled().predict(iter(())), DataError, "at least one"),
    "weighted torch loss": (
        lambda: fit(loss=Unweighted(), sample_weight=np.ones(8)),
        ArgumentError,
        "lamina.losses.Loss",
    ),
    "metric of nothing": (lambda: resolve_metric(None), ArgumentError, "leave it out"),
    "metrics in text": (lambda: fit(settings={"metrics": "mae"}), ArgumentError, "metrics=['mae']"),
    "loss of no output": (lambda: branches({"inner": together, "other": "mse"}), ArgumentError, "other"),
    "weights of other losses": (
        lambda: branches({"inner": together, "outer": "mse"}, {"inner": {"a": 1.0, "b": 2.0}, "outer": 1.0}),
        ArgumentError,
        "expected: 2",
    ),
    "weights of one loss": (lambda: two(loss_weights={"one": [1.0, 2.0], "two": 1.0}), ArgumentError, "one number"),
    "names of nothing": (lambda: fit_of(Pair, {"one": "mse"}), ArgumentError, "a list of 2"),
    "another output": (lambda: two(loss={"one": "mse", "tow": "mse"}), ArgumentError, 'mean "two"'),
    "another target": (lambda: two({"one": Y, "tow": Y}), DataError, 'mean "two"'),
    "a missing target": (lambda: two({"one": Y}), DataError, "one, two"),
    "one target for two": (lambda: two(Y), DataError, "2 arrays (one, two)"),
    "three losses for two": (lambda: two(loss=["mse"] * 3), ArgumentError, "None where there is none"),
    "weights in text": (lambda: two(loss_weights="12"), ArgumentError, "loss_weights"),
    "metrics for weights": (lambda: two(loss_weights=["mae", "mae"]), ArgumentError, "metrics=[...]"),
    "an unsteady step": (unsteady, NotCapturable, "the same each time"),
    "a hook in a copy": (lambda: hooked(lambda state, batch: Tracing(state, "train", batch)), NotCapturable, "hooks"),
    "a hook on a GPU": (
        lambda: hooked(lambda state, batch: cuda_graph.RecordedStep(state, state.tensors, "train", batch)),
        NotCapturable,
        "hooks",
    ),
    "another device": (lambda: cuda_graph._number(torch.ones(2)), NotCapturable, "another device"),
    "a node": (lambda: encoded("call_module"), NotCapturable, "call_module it"),
    "an operation": (lambda: compiler._name_of(print), NotCapturable, "print"),
    "a value": (lambda: compiler._encode_value(object(), {}), NotCapturable, "the value"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in str(caught.value)


def test_compiled_code_that_fails_says_so(monkeypatch):
    def done(*given):
        return 0

    library = SimpleNamespace(
        AOTInductorModelContainerCreateWithDevice=lambda *given: 1,
        AOTInductorModelContainerRunSingleThreaded=ctypes.CFUNCTYPE(None)(lambda: None),
        AOTInductorModelContainerDelete=done,
        lamina_steps=lambda *given: 1,
        lamina_free=done,
    )
    monkeypatch.setattr(compiler.ctypes, "CDLL", lambda path: library)
    with pytest.raises(NotCapturable, match="could not be loaded"):
        compiler._Loop("driver", "library", [], [])
    library.AOTInductorModelContainerCreateWithDevice = done
    with pytest.raises(NotCapturable, match="step 0 of 1"):
        compiler._Loop("driver", "library", [], [])([[]])


def test_an_error_out_of_numpy_says_so():
    with pytest.raises(RuntimeError) as caught:
        fit(loss=lambda y_true, y_pred: np.abs(y_true - y_pred))
    assert "lamina.ops" in "".join(caught.value.__notes__)
