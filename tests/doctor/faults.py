"""For each code a model, data or a training with exactly that fault, and the same after the change that is advised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.doctor.healthy import BINARY, ROWS, SPARSE, Run, classes, images, mlp, numbers, rng, smooth, trained

from lamina import Model, Sequential, callbacks, initializers, layers, losses, optimizers
from lamina.callbacks import Doctor
from lamina.doctor import Finding, Findings

Make = Callable[[Finding | None], Run]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        code: what must be found.
        make: gives model, data and options of fit; with the finding, after the change it advises.
        diagnosed: whether it is found without training.
        beside: what may be found as well, because it follows.
    """

    code: str
    make: Make
    diagnosed: bool = False
    beside: frozenset[str] = frozenset()


FAULTS: dict[str, Fault] = {}


def fault(code: str, diagnosed: bool = False, beside: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Add to the faults."""

    def add(make: Make) -> Make:
        FAULTS[make.__name__] = Fault(code, make, diagnosed, frozenset(beside))
        return make

    return add


def find(subject: Fault, finding: Finding | None = None) -> Findings:
    """What is found in a faulty run; or, with the finding, in the run that is changed as advised."""
    model, x, y, options = subject.make(finding)
    if subject.diagnosed:
        known = {key: options[key] for key in ("validation_data", "batch_size") if key in options}
        if "class_weight" in options:
            known["sample_weight"] = np.array([options["class_weight"][int(label)] for label in y])
        return model.diagnose(x, y, **known)
    doctor = Doctor(verbose=False)
    history = model.fit(x, y, **{"epochs": 8, "verbose": 0, **options}, doctor=doctor).history["loss"]
    if finding is not None:
        assert min(history) == history[0] == history[-1] or history[-1] < history[0], "the changed run does not learn"
    return doctor.findings


# Before training.


@fault("loss-activation-mismatch", diagnosed=True)
def softmax_from_logits(cure: Finding | None) -> Run:
    loss = losses.SparseCategoricalCrossentropy(from_logits=cure is None)
    return trained(mlp(8, out=3, last="softmax"), "adam", loss), numbers(), classes(numbers(), 3), {}


@fault("loss-activation-mismatch", diagnosed=True)
def sigmoid_with_classes(cure: Finding | None) -> Run:
    model = mlp(8, out=3, last="sigmoid" if cure is None else "softmax")
    return trained(model, "adam", SPARSE), numbers(), classes(numbers(), 3), {}


@fault("loss-activation-mismatch", diagnosed=True)
def linear_with_binary(cure: Finding | None) -> Run:
    loss = losses.BinaryCrossentropy(from_logits=cure is not None)
    return trained(mlp(8), "adam", loss), numbers(), classes(numbers(), 2)[:, None], {}


@fault("loss-activation-mismatch", diagnosed=True)
def binary_of_softmax(cure: Finding | None) -> Run:
    y = np.eye(3, dtype="float32")[classes(numbers(), 3)]
    loss = BINARY if cure is None else "categorical_crossentropy"
    return trained(mlp(8, out=3, last="softmax"), "adam", loss), numbers(), y, {}


@fault("loss-activation-mismatch", diagnosed=True)
def sigmoid_for_numbers(cure: Finding | None) -> Run:
    return (
        trained(mlp(8, last="sigmoid" if cure is None else "linear"), "adam", "mse"),
        numbers(),
        smooth(numbers()),
        {},
    )


@fault("label-out-of-range", diagnosed=True)
def labels_from_one(cure: Finding | None) -> Run:
    y = classes(numbers(), 3) + (cure is None)
    return trained(mlp(8, out=3, last="softmax"), "adam", SPARSE), numbers(), y, {}


@fault("label-out-of-range", diagnosed=True)
def signs_for_binary(cure: Finding | None) -> Run:
    y = 2.0 * classes(numbers(), 2) - 1
    y = y if cure is None else (y > 0).astype("float32")
    return trained(mlp(8, last="sigmoid"), "adam", BINARY), numbers(), y, {}


@fault("label-encoding-mismatch", diagnosed=True)
def one_hot_for_sparse(cure: Finding | None) -> Run:
    y = np.eye(3, dtype="float32")[classes(numbers(), 3)]
    loss = SPARSE if cure is None else "categorical_crossentropy"
    return trained(mlp(8, out=3, last="softmax"), "adam", loss), numbers(), y, {}


@fault("label-encoding-mismatch", diagnosed=True)
def numbers_for_one_hot(cure: Finding | None) -> Run:
    loss = SPARSE if cure is not None else "categorical_crossentropy"
    return trained(mlp(8, out=3, last="softmax"), "adam", loss), numbers(), classes(numbers(), 3), {}


@fault("unscaled-inputs", diagnosed=True, beside=("initial-loss-off",))
def raw_pixels(cure: Finding | None) -> Run:
    x, y = images()
    first = [layers.Rescaling(1 / 255)] if cure is not None else []
    model = Sequential([
        layers.Input((8, 8, 1)), *first, layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    return trained(model, "adam", SPARSE), (255 * x).astype("uint8"), y, {}


@fault("unscaled-inputs", diagnosed=True, beside=("initial-loss-off",))
def uneven_columns(cure: Finding | None) -> Run:
    x = numbers() * np.logspace(-3, 1, 8).astype("float32")
    scale = layers.Normalization()
    scale.adapt(x)
    model = Sequential([layers.Input((8,)), *([] if cure is None else [scale]), layers.Dense(8), layers.Dense(1)])
    return trained(model, "adam", "mse"), x, smooth(numbers()), {}


@fault("constant-feature", diagnosed=True)
def constant_column(cure: Finding | None) -> Run:
    x = numbers().copy()
    x[:, 3] = 1.5
    x = x if cure is None else x[:, x.std(axis=0) > 0]
    return trained(mlp(8, size=x.shape[1]), "adam", "mse"), x, smooth(numbers()), {}


@fault("nan-in-data", diagnosed=True)
def missing_values(cure: Finding | None) -> Run:
    x, y = numbers().copy(), smooth(numbers())
    x[[5, 9], 2] = np.nan
    if cure is not None:
        keep = np.isfinite(x).all(axis=1)
        x, y = x[keep], y[keep]
    return trained(mlp(8), "adam", "mse"), x, y, {}


@fault("class-imbalance", diagnosed=True)
def rare_class(cure: Finding | None) -> Run:
    y = (classes(numbers(), 40) == 39).astype("int64")
    options = {} if cure is None else {"class_weight": cure.evidence["class_weight"]}
    return trained(mlp(8, last="sigmoid"), "adam", BINARY), numbers(), y, options


@fault("train-validation-overlap", diagnosed=True)
def shared_samples(cure: Finding | None) -> Run:
    x, y = numbers(512), smooth(numbers(512))
    start = 400 if cure is not None else 370
    return trained(mlp(8), "adam", "mse"), x[:400], y[:400], {"validation_data": (x[start:], y[start:])}


@fault("bad-initialization", diagnosed=True, beside=("initial-loss-off",))
def far_too_large_weights(cure: Finding | None) -> Run:
    initializer = initializers.RandomNormal(stddev=3.0) if cure is None else cure.evidence["suggested"]
    model = mlp(32, 32, 32, out=3, last="softmax", activation="tanh", kernel_initializer=initializer)
    return trained(model, "adam", SPARSE), numbers(), classes(numbers(), 3), {}


@fault("bad-initialization", diagnosed=True)
def fading_signal(cure: Finding | None) -> Run:
    initializer = "glorot_uniform" if cure is None else cure.evidence["suggested"]
    model = mlp(*[16] * 30, kernel_initializer=initializer)
    return trained(model, "adam", "mse"), numbers(), smooth(numbers()), {}


@fault("oversized-model", diagnosed=True)
def giant(cure: Finding | None) -> Run:
    units = 512 if cure is None else 8
    return trained(mlp(units, units), "adam", "mse"), numbers(32), smooth(numbers(32)), {}


@fault("initial-loss-off", diagnosed=True)
def far_targets(cure: Finding | None) -> Run:
    y = 1000 + 10 * smooth(numbers())
    y = y if cure is None else (y - y.mean()) / y.std()
    return trained(mlp(8), "adam", "mse"), numbers(), y, {}


@fault("broadcasting-targets", diagnosed=True)
def three_for_one(cure: Finding | None) -> Run:
    units = 3 if cure is None else 1
    return trained(mlp(8, out=units), "adam", "mse"), numbers(), smooth(numbers()), {}


@fault("dropout-misplaced", diagnosed=True)
def dropped_outputs(cure: Finding | None) -> Run:
    model = Sequential([layers.Input((8,)), layers.Dense(8), layers.Dense(1), *([] if cure else [layers.Dropout(0.3)])])
    return trained(model, "adam", "mse"), numbers(), smooth(numbers()), {}


@fault("dropout-misplaced", diagnosed=True)
def dropout_before_norm(cure: Finding | None) -> Run:
    pair = [layers.Dropout(0.3), layers.BatchNormalization()]
    model = Sequential([layers.Input((8,)), layers.Dense(8), *(pair if cure is None else pair[::-1]), layers.Dense(1)])
    return trained(model, "adam", "mse"), numbers(), smooth(numbers()), {}


@fault("small-batch-norm", diagnosed=True)
def batches_of_two(cure: Finding | None) -> Run:
    model = Sequential([layers.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)])
    batch_size = 2 if cure is None else cure.evidence["suggested"]
    return trained(model, "adam", "mse"), numbers(), smooth(numbers()), {"batch_size": batch_size}


# During training.


@fault("dead-relu", beside=("bad-initialization",))
def killed_units(cure: Finding | None) -> Run:
    bias = "zeros" if cure is not None else initializers.Constant(-20.0)
    hidden = layers.Dense(16, activation="relu", bias_initializer=bias)
    model = Sequential([layers.Input((8,)), layers.Dense(16, activation="tanh"), hidden, layers.Dense(1)])
    return trained(model, optimizers.Adam(3e-3), "mse"), numbers(), smooth(numbers()), {}


@fault("vanishing-gradients")
def deep_sigmoids(cure: Finding | None) -> Run:
    options = {"activation": "sigmoid"} if cure is None else {"kernel_initializer": "he_normal"}
    model = mlp(*[16] * 8, out=3, last="softmax", **options)
    return trained(model, optimizers.Adam(2e-3), SPARSE), numbers(), classes(numbers(), 3), {}


@fault("exploding-gradients", beside=("initial-loss-off",))
def huge_targets(cure: Finding | None) -> Run:
    y = 1e5 * smooth(numbers()) + 3e5
    if cure is not None:
        y = (y - y.mean()) / y.std()
    clip = None if cure is None else 1.0
    return trained(mlp(16), optimizers.Adam(3e-3, clipnorm=clip), "mse"), numbers(), y, {}


@fault("saturated-activations", beside=("unscaled-inputs", "initial-loss-off"))
def saturated_tanh(cure: Finding | None) -> Run:
    x = 40 * numbers()
    first = layers.Normalization()
    first.adapt(x)
    model = Sequential([
        layers.Input((8,)), *([] if cure is None else [first]), layers.Dense(16, activation="tanh"), layers.Dense(1),
    ])  # fmt: skip
    return trained(model, optimizers.Adam(3e-3), "mse"), x, smooth(numbers()), {}


@fault("update-ratio")
def tiny_updates(cure: Finding | None) -> Run:
    rate = 1e-7 if cure is None else cure.evidence["suggested"]
    x = numbers()
    return trained(mlp(16), optimizers.Adam(rate), "mse"), x, smooth(x), {"epochs": 1}


@fault("learning-rate-too-high", beside=("exploding-gradients", "nan-loss"))
def diverging(cure: Finding | None) -> Run:
    rate = 1.0 if cure is None else cure.evidence["suggested"]
    x = numbers()
    return trained(mlp(16, activation="tanh"), optimizers.SGD(rate), "mse"), x, smooth(x), {}


@fault(
    "learning-rate-too-high", beside=("dead-relu", "saturated-activations", "exploding-gradients", "initial-loss-off")
)
def adam_of_one(cure: Finding | None) -> Run:
    rate = 2.0 if cure is None else cure.evidence["suggested"]
    x = numbers()
    model = mlp(16, 16, out=3, last="softmax", activation="elu")
    return trained(model, optimizers.Adam(rate), SPARSE), x, classes(x, 3), {}


@fault("learning-rate-too-low")
def crawling(cure: Finding | None) -> Run:
    rate = 1e-5 if cure is None else cure.evidence["suggested"]
    x = numbers()
    return trained(mlp(16), optimizers.SGD(rate), "mse"), x, smooth(x), {}


@fault("nan-loss", beside=("nan-in-data",))
def logarithm(cure: Finding | None) -> Run:
    class Log(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return (inputs if cure is None else inputs.clamp(min=0) + 1e-7).log().clamp(min=-3)

    x = numbers()
    model = Sequential([layers.Input((8,)), layers.Dense(8), Log(name="log"), layers.Dense(1)])
    return trained(model, optimizers.Adam(1e-3), "mse"), x, smooth(x), {}


@fault("no-gradient")
def unused_layer(cure: Finding | None) -> Run:
    class Cut(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs.detach()

    inputs = layers.Input((8,))
    h = layers.Dense(8, activation="relu", name="cut_off")(inputs)
    model = Model(inputs, layers.Dense(1)(h if cure is not None else Cut()(h)))
    return trained(model, optimizers.Adam(3e-3), "mse"), numbers(), smooth(numbers()), {}


@fault("small-batch-norm")
def slow_averages(cure: Finding | None) -> Run:
    momentum = 0.999 if cure is None else cure.evidence["suggested"]
    far = layers.Dense(16, bias_initializer=initializers.Constant(30.0))
    model = Sequential([layers.Input((8,)), far, layers.BatchNormalization(momentum=momentum), layers.Dense(1)])
    return trained(model, optimizers.Adam(1e-3), "mse"), numbers(), smooth(numbers()), {"epochs": 8}


@fault("overfitting")
def memorized_noise(cure: Finding | None) -> Run:
    x = numbers(96, 8)
    y = (smooth(x) + rng().normal(size=(96, 1))).astype("float32")
    options: dict[str, Any] = {"epochs": 40, "validation_data": (x[48:], y[48:]), "batch_size": 16}
    if cure is not None:
        options["callbacks"] = [callbacks.EarlyStopping(patience=2, restore_best_weights=True)]
    return trained(mlp(96, 96), optimizers.Adam(5e-3), "mse"), x[:48], y[:48], options


@fault("underfitting")
def line_for_a_cross(cure: Finding | None) -> Run:
    x = np.sign(numbers(ROWS, 2)) + 0.1 * numbers(ROWS, 2)
    y = (x[:, 0] * x[:, 1] > 0).astype("int64")
    hidden = () if cure is None else (64,)
    return trained(mlp(*hidden, last="sigmoid", size=2), optimizers.Adam(0.02), BINARY), x, y, {}


@fault("stuck-metric")
def accuracy_of_numbers(cure: Finding | None) -> Run:
    x = numbers()
    metrics = ["accuracy" if cure is None else "mae"]
    return trained(mlp(16), optimizers.Adam(5e-3), "mse", metrics), x, 3 * smooth(x) + 0.123, {}


@fault("input-bound")
def slow_generator(cure: Finding | None) -> Run:
    x, y = numbers(), smooth(numbers())

    def batches() -> Iterator[Any]:
        while True:
            for start in range(0, ROWS, 32):
                time.sleep(0.25)
                yield x[start : start + 32], y[start : start + 32]

    model = trained(mlp(16), optimizers.Adam(5e-3), "mse")
    if cure is not None:
        return model, x, y, {"epochs": 1}
    return model, batches(), None, {"steps_per_epoch": 8, "epochs": 1}
