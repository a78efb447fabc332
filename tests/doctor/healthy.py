"""Small trainings of many kinds in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import Model, Sequential, layers, losses, optimizers
from lamina.callbacks import Doctor
from lamina.doctor import Finding

Run = tuple[Any, Any, Any, dict[str, Any]]
ROWS = 256


def rng() -> np.random.Generator:
    """The same numbers each time."""
    return np.random.default_rng(7)


def numbers(rows: int = ROWS, size: int = 8) -> np.ndarray:
    """Features of zero mean and unit spread."""
    return rng().normal(size=(rows, size)).astype("float32")


def classes(x: np.ndarray, count: int) -> np.ndarray:
    """Balanced classes that can be learned from the features."""
    score = x.reshape(len(x), -1)[:, : 2 * count] @ np.linspace(-1, 1, x.reshape(len(x), -1)[:, : 2 * count].shape[1])
    return (np.argsort(np.argsort(score)) * count // len(x)).astype("int64")


def smooth(x: np.ndarray) -> np.ndarray:
    """Numbers of zero mean and unit spread that can be learned from the features."""
    y = x[:, :1] + 0.5 * np.tanh(x[:, 1:2] * x[:, 2:3])
    return ((y - y.mean()) / y.std()).astype("float32")


def images(rows: int = 128, size: int = 8, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pictures between 0 and 1 with a bright half, and which half it is."""
    x = rng().uniform(0, 0.5, size=(rows, size, size, channels)).astype("float32")
    y = np.arange(rows) % 2
    x[y == 1, : size // 2] += 0.5
    x[y == 0, size // 2 :] += 0.5
    return x, y


def mlp(
    *hidden: int, out: int = 1, last: str | None = None, activation: str = "relu", size: int = 8, **options: Any
) -> Any:
    """Dense layers."""
    inner = [layers.Dense(units, activation=activation, **options) for units in hidden]
    return Sequential([layers.Input((size,)), *inner, layers.Dense(out, activation=last)])


def trained(model: Any, optimizer: Any, loss: Any, metrics: Any = None, **options: Any) -> Any:
    """A compiled model."""
    model.compile(optimizer, loss=loss, metrics=metrics, **options)
    return model


CASES: dict[str, Callable[[], Run]] = {}


def case(function: Callable[[], Run]) -> Callable[[], Run]:
    """Add to the cases."""
    CASES[function.__name__] = function
    return function


SPARSE, BINARY = "sparse_categorical_crossentropy", "binary_crossentropy"


def _add_regressions() -> None:
    for name, make in {
        "adam": lambda: "adam",
        "sgd": lambda: optimizers.SGD(0.05),
        "momentum": lambda: optimizers.SGD(0.02, momentum=0.9, nesterov=True),
        "rmsprop": lambda: "rmsprop",
        "adamw": lambda: optimizers.AdamW(3e-3),
        "nadam": lambda: "nadam",
        "adagrad": lambda: optimizers.Adagrad(0.05),
        "adamax": lambda: optimizers.Adamax(3e-3),
        "lion": lambda: optimizers.Lion(3e-4),
        "cosine": lambda: optimizers.Adam(optimizers.schedules.CosineDecay(5e-3, 64)),
        "clipped": lambda: optimizers.Adam(3e-3, clipnorm=1.0),
    }.items():
        CASES[f"regression_{name}"] = lambda make=make: (
            trained(mlp(32, 16), make(), "mse", ["mae"]), numbers(), smooth(numbers()), {},
        )  # fmt: skip
    for name, loss in {"mae": "mae", "huber": losses.Huber(), "log_cosh": "log_cosh"}.items():
        CASES[f"regression_{name}"] = lambda loss=loss: (
            trained(mlp(32, activation="tanh"), optimizers.Adam(3e-3), loss), numbers(), smooth(numbers()), {},
        )  # fmt: skip


def _add_classes() -> None:
    for activation in ("relu", "tanh", "gelu", "selu", "elu", "sigmoid"):
        CASES[f"classes_{activation}"] = lambda activation=activation: (
            trained(mlp(24, 24, out=3, last="softmax", activation=activation), optimizers.Adam(5e-3), SPARSE),
            numbers(), classes(numbers(), 3), {},
        )  # fmt: skip


_add_regressions()
_add_classes()


@case
def logits() -> Run:
    x = numbers()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    return trained(mlp(32, out=4), optimizers.Adam(5e-3), loss, ["accuracy"]), x, classes(x, 4), {}


@case
def one_hot() -> Run:
    x = numbers()
    model = trained(mlp(32, out=4, last="softmax"), "adam", "categorical_crossentropy", ["accuracy"])
    return model, x, np.eye(4, dtype="float32")[classes(x, 4)], {"epochs": 10}


@case
def binary() -> Run:
    x = numbers()
    return trained(mlp(16, last="sigmoid"), optimizers.Adam(5e-3), BINARY, ["accuracy"]), x, classes(x, 2), {}


@case
def binary_logits() -> Run:
    x = numbers()
    model = trained(mlp(16), optimizers.Adam(5e-3), losses.BinaryCrossentropy(from_logits=True))
    return model, x, classes(x, 2)[:, None], {}


@case
def multi_label() -> Run:
    x = numbers()
    y = (x[:, :5] > 0.3).astype("float32")
    return trained(mlp(32, out=5, last="sigmoid"), optimizers.Adam(5e-3), BINARY, ["AUC"]), x, y, {}


@case
def linear() -> Run:
    x = numbers()
    return trained(mlp(), optimizers.SGD(0.1), "mse"), x, (x @ np.linspace(-0.5, 0.5, 8))[:, None].astype("float32"), {}


@case
def hinge() -> Run:
    x = numbers()
    return trained(mlp(16, last="tanh"), optimizers.Adam(5e-3), "hinge"), x, 2.0 * classes(x, 2)[:, None] - 1, {}


@case
def several_targets() -> Run:
    x = numbers()
    return trained(mlp(32, out=3), optimizers.Adam(3e-3), "mse"), x, np.concatenate([smooth(x), x[:, :2]], 1), {}


@case
def convolution() -> Run:
    x, y = images()
    model = Sequential([
        layers.Input((8, 8, 1)), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(3e-3), SPARSE, ["accuracy"]), x, y, {}


@case
def pixels_rescaled() -> Run:
    x, y = images(channels=3)
    model = Sequential([
        layers.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(2),
    ])  # fmt: skip
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    x[y == 1] *= 0.8
    return trained(model, optimizers.Adam(1e-2), loss), (255 * x).astype("uint8"), y, {}


@case
def normalized_columns() -> Run:
    x = numbers() * np.logspace(-2, 3, 8).astype("float32") + 50
    scale = layers.Normalization()
    scale.adapt(x)
    model = Sequential([scale, layers.Dense(16, activation="relu"), layers.Dense(1)])
    return trained(model, optimizers.Adam(3e-3), "mse"), x, smooth(numbers()), {}


@case
def batch_norm() -> Run:
    x = numbers()
    model = Sequential([
        layers.Input((8,)), layers.Dense(32, use_bias=False), layers.BatchNormalization(), layers.ReLU(),
        layers.Dense(32, use_bias=False), layers.BatchNormalization(), layers.ReLU(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(3e-3), SPARSE, ["accuracy"]), x, classes(x, 3), {}


@case
def convolution_batch_norm() -> Run:
    x, y = images()
    model = Sequential([
        layers.Input((8, 8, 1)), layers.Conv2D(8, 3, use_bias=False), layers.BatchNormalization(),
        layers.Activation("relu"), layers.Conv2D(8, 3), layers.BatchNormalization(), layers.Activation("relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(3e-3), BINARY), x, y[:, None], {}


@case
def dropout() -> Run:
    x = numbers()
    model = Sequential([
        layers.Input((8,)), layers.Dense(32, activation="relu"), layers.Dropout(0.3),
        layers.Dense(32, activation="relu"), layers.Dropout(0.3), layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(5e-3), SPARSE), x, classes(x, 3), {"validation_split": 0.25}


@case
def dropout_after_norm() -> Run:
    x = numbers()
    model = Sequential([
        layers.Input((8,)), layers.Dense(32), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2),
        layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dense(1),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(3e-3), "mse"), x, smooth(x), {}


@case
def layer_norm_residual() -> Run:
    x = numbers()
    inputs = layers.Input((8,))
    h = layers.Dense(16)(inputs)
    for _ in range(3):
        h = layers.Add()([h, layers.Dense(16, activation="gelu")(layers.LayerNormalization()(h))])
    return trained(Model(inputs, layers.Dense(1)(h)), optimizers.Adam(3e-3), "mse"), x, smooth(x), {}


@case
def deep_relu() -> Run:
    x = numbers()
    model = mlp(*[32] * 6, out=3, last="softmax", kernel_initializer="he_normal")
    return trained(model, optimizers.Adam(2e-3), SPARSE), x, classes(x, 3), {}


def _recurrent(layer: Any) -> Run:
    x = rng().normal(size=(128, 6, 3)).astype("float32")
    model = Sequential([layers.Input((6, 3)), layer, layers.Dense(1)])
    return trained(model, optimizers.Adam(5e-3), "mse"), x, x.mean((1, 2))[:, None] * 4, {}


@case
def lstm() -> Run:
    return _recurrent(layers.LSTM(12))


@case
def gru() -> Run:
    return _recurrent(layers.GRU(12))


@case
def simple_rnn() -> Run:
    return _recurrent(layers.SimpleRNN(12))


@case
def bidirectional() -> Run:
    return _recurrent(layers.Bidirectional(layers.LSTM(6)))


@case
def embedding() -> Run:
    x = rng().integers(0, 50, size=(ROWS, 10))
    model = Sequential([
        layers.Input((10,)), layers.Embedding(50, 8), layers.GlobalAveragePooling1D(),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(1e-2), BINARY, ["accuracy"]), x, (x < 20).mean(1) > 0.4, {"epochs": 15}


@case
def attention() -> Run:
    x = rng().normal(size=(128, 6, 8)).astype("float32")
    inputs = layers.Input((6, 8))
    h = layers.LayerNormalization()(inputs + layers.MultiHeadAttention(2, 4)(inputs, inputs))
    model = Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(h)))
    return trained(model, optimizers.Adam(3e-3), "mse"), x, x.mean((1, 2))[:, None] * 7, {}


@case
def autoencoder() -> Run:
    x, _ = images()
    x = x.reshape(len(x), -1)
    model = mlp(16, out=64, last="sigmoid", size=64)
    return trained(model, optimizers.Adam(5e-3), "mse"), x, x, {}


@case
def two_inputs() -> Run:
    x = numbers()
    first, second = layers.Input((4,)), layers.Input((4,))
    h = layers.Concatenate()([layers.Dense(8, activation="relu")(first), layers.Dense(8, activation="relu")(second)])
    return (
        trained(Model([first, second], layers.Dense(1)(h)), optimizers.Adam(5e-3), "mse"),
        [x[:, :4], x[:, 4:]],
        smooth(x),
        {},
    )


@case
def two_outputs() -> Run:
    x = numbers()
    inputs = layers.Input((8,))
    h = layers.Dense(16, activation="relu")(inputs)
    model = Model(inputs, [layers.Dense(1, name="value")(h), layers.Dense(3, activation="softmax", name="kind")(h)])
    return trained(model, optimizers.Adam(5e-3), ["mse", SPARSE]), x, [smooth(x), classes(x, 3)], {}


@case
def class_weights() -> Run:
    x = numbers()
    y = (classes(x, 20) == 19).astype("int64")
    model = trained(mlp(16, last="sigmoid"), optimizers.Adam(5e-3), BINARY)
    return model, x, y, {"class_weight": {0: 0.53, 1: 10.0}}


@case
def from_generator() -> Run:
    x, y = numbers(), smooth(numbers())

    def batches() -> Any:
        while True:
            for start in range(0, ROWS, 32):
                yield x[start : start + 32], y[start : start + 32]

    return trained(mlp(16), optimizers.Adam(5e-3), "mse"), batches(), None, {"steps_per_epoch": 8}


@case
def own_train_step() -> Run:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = layers.Dense(16, activation="relu")
            self.out = layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.out(self.hidden(inputs))

        def train_step(self, data: Any) -> dict[str, Any]:
            return super().train_step(data)

    return trained(Own(), optimizers.Adam(5e-3), "mse"), numbers(), smooth(numbers()), {}


@case
def large_batches() -> Run:
    x = numbers(1024)
    return trained(mlp(32), optimizers.Adam(1e-2), "mse"), x, smooth(x), {"batch_size": 256}


@case
def small_batches() -> Run:
    x = numbers(96)
    return trained(mlp(16), optimizers.SGD(0.01), "mse"), x, smooth(x), {"batch_size": 4}


@case
def held_out() -> Run:
    x = numbers(512)
    model = trained(mlp(16), optimizers.Adam(3e-3), "mse", ["mae"])
    return model, x[:400], smooth(x)[:400], {"validation_data": (x[400:], smooth(x)[400:])}


def train(run: Run) -> tuple[Doctor, Any]:
    """Train with a doctor; the doctor, and the history."""
    model, x, y, options = run
    doctor = Doctor(verbose=False)
    history = model.fit(x, y, **{"epochs": 8, "verbose": 0, **options}, doctor=doctor)
    return doctor, history


def false_alarms(name: str) -> list[Finding]:
    """What is found, above a note, where nothing is wrong."""
    doctor, _ = train(CASES[name]())
    return [finding for finding in doctor.findings if finding.severity != "note"]
