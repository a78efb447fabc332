"""Nothing wrong happens in silence: what would train something else than meant is an error, or one warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lamina import layers, losses, metrics
from lamina.core.errors import ArgumentError, DataError, LaminaError, ShapeError
from lamina.models import Model, Sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
NUMBERS = RNG.normal(size=12).astype("float32")
CLASSES = np.arange(12) % 3
BITS = (np.arange(12) % 2).astype("float32")
WEIGHTS = {0: 1.0, 1: 5.0, 2: 0.5}


def model_of(units=1, activation=None, **options):
    model = Sequential([layers.Input((4,)), layers.Dense(units, activation)])
    model.compile("sgd", **{"loss": "mse", **options})
    return model


def two_outputs(**options):
    inputs = layers.Input((4,))
    model = Model(inputs, {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(1, name="b")(inputs)})
    model.compile("sgd", **{"loss": {"a": "mse", "b": "mae"}, **options})
    return model


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "log_cosh", "poisson", losses.MeanSquaredError()])
@pytest.mark.parametrize(
    ("units", "y"), [(3, NUMBERS), (3, NUMBERS[:, None]), (1, np.stack([NUMBERS] * 3, 1)), (12, NUMBERS)]
)
def test_targets_that_would_broadcast(loss, units, y):
    with pytest.raises(ShapeError):
        model_of(units, loss=loss).fit(X, y, verbose=0)


@pytest.mark.parametrize("y", [NUMBERS, NUMBERS[:, None]])
def test_a_missing_last_axis_of_targets_is_no_broadcast(y):
    model = model_of(metrics=["mae", "mse"])
    result = model.evaluate(X, y, verbose=0, return_dict=True)
    error = NUMBERS - model.predict(X, verbose=0)[:, 0]
    assert result["loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert result["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)


@pytest.mark.parametrize(
    ("units", "options", "y"),
    [
        (3, {"loss": "sparse_categorical_crossentropy", "activation": "softmax"}, CLASSES + 1),
        (3, {"loss": "categorical_crossentropy", "activation": "softmax"}, CLASSES),
        (3, {"metrics": [metrics.SparseCategoricalAccuracy()]}, np.eye(3, dtype="float32")[CLASSES]),
        (1, {"metrics": [metrics.CategoricalAccuracy()]}, NUMBERS),
    ],
)
def test_losses_and_metrics_of_another_kind_of_labels(units, options, y):
    with pytest.raises(LaminaError):
        model_of(units, **options).fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("units", "activation", "loss", "y", "of_class"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES, CLASSES),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES[:, None], CLASSES),
        (3, "softmax", "categorical_crossentropy", np.eye(3, dtype="float32")[CLASSES], CLASSES),
        (1, "sigmoid", "binary_crossentropy", BITS[:, None], BITS),
        (1, "sigmoid", "binary_crossentropy", BITS, BITS),
        (1, "sigmoid", "hinge", BITS[:, None] * 1, BITS),
        (1, None, "mse", BITS[:, None], BITS),
    ],
)
def test_class_weight_is_a_weight_of_samples(units, activation, loss, y, of_class):
    weighted, by_hand = (model_of(units, activation, loss=loss) for _ in range(2))
    by_hand.set_weights(weighted.get_weights())
    each = np.array([WEIGHTS[int(label)] for label in of_class], "float32")
    options = {"epochs": 2, "batch_size": 5, "shuffle": False, "verbose": 0}
    first = weighted.fit(X, y, class_weight=WEIGHTS, **options)
    second = by_hand.fit(X, y, sample_weight=each, **options)
    np.testing.assert_allclose(first.history["loss"], second.history["loss"], rtol=1e-5)
    for one, other in zip(weighted.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_class_weight_is_for_one_output():
    with pytest.raises(LaminaError, match="class_weight"):
        two_outputs().fit(X, {"a": BITS, "b": BITS}, class_weight={0: 1.0, 1: 2.0}, verbose=0)


@pytest.mark.parametrize("kind", [list, dict])
def test_weights_of_samples_for_each_output(kind):
    model = two_outputs()
    y = {"a": NUMBERS, "b": BITS}
    weights = {"a": np.linspace(0, 1, 12, dtype="float32"), "b": np.linspace(2, 0, 12, dtype="float32")}
    given = weights if kind is dict else list(weights.values())
    result = model.evaluate(X, y, sample_weight=given, verbose=0, return_dict=True)
    found = {name: value[:, 0] for name, value in model.predict(X, verbose=0).items()}
    wanted = np.mean(weights["a"] * (found["a"] - y["a"]) ** 2) + np.mean(weights["b"] * np.abs(found["b"] - y["b"]))
    assert result["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("weights", [np.ones(7), np.ones((12, 2)), np.ones((12, 3, 1))])
def test_weights_that_do_not_fit_the_samples(weights):
    with pytest.raises((LaminaError, RuntimeError)):
        model_of().fit(X, NUMBERS, sample_weight=weights, verbose=0)


def test_an_output_that_is_not_there():
    for options in ({"loss": {"a": "mse", "c": "mse"}}, {"metrics": {"c": ["mae"]}}, {"loss_weights": {"c": 1.0}}):
        with pytest.raises(ArgumentError, match="c"):
            two_outputs(**options).fit(X, {"a": NUMBERS, "b": NUMBERS}, verbose=0)
    with pytest.raises(DataError, match="b"):
        two_outputs().fit(X, {"a": NUMBERS}, verbose=0)


def test_layers_that_do_not_learn_are_named_once():
    class Forgets(Model):
        def __init__(self):
            super().__init__()
            self.used, self.idle = layers.Dense(1, name="used"), layers.Dense(1, name="idle")

        def call(self, x):
            return self.used(x) + self.idle(x).detach()

    model = Forgets()
    model.compile("sgd", "mse")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, NUMBERS, epochs=3, batch_size=4, verbose=0)
    assert len([warning for warning in caught if "idle" in str(warning.message)]) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: metrics.MeanSquaredError(),
        lambda: metrics.BinaryAccuracy(),
        lambda: metrics.Mean(),
        lambda: metrics.Precision(),
        lambda: metrics.AUC(),
        lambda: metrics.MeanIoU(2),
        lambda: metrics.F1Score(threshold=0.5),
    ],
)
def test_results_without_samples_are_no_nan(make):
    metric = make()
    if type(metric) is metrics.Mean:
        metric.update_state(torch.ones(3), sample_weight=torch.zeros(3))
    else:
        metric.update_state(torch.ones(3, 1), torch.ones(3, 1), sample_weight=torch.zeros(3, dtype=torch.int64))
    assert np.isfinite(metric.result().numpy()).all()


@pytest.mark.parametrize("name", ["mse", "mae", "binary_crossentropy", "huber", "poisson", "cosine_similarity"])
def test_losses_of_nothing_are_no_nan(name):
    loss = losses.LossFunctionWrapper(losses.get(name))
    assert float(loss(torch.ones(3, 2), torch.full((3, 2), 0.5), sample_weight=torch.zeros(3))) == 0


def structured(pair):
    inputs = layers.Input((4,))
    one, two = layers.Dense(1, name="y1")(inputs), layers.Dense(1, name="y2")(inputs)
    return Model(inputs, pair(one, two))


def together(y_true, y_pred):
    """A loss of two outputs."""
    true, pred = (part.values() if isinstance(part, dict) else part for part in (y_true, y_pred))
    return sum(torch.mean(torch.abs(one - other), -1) for one, other in zip(true, pred, strict=True))


@pytest.mark.parametrize(
    ("pair", "losses", "names"),
    [
        (lambda a, b: {"a": a, "b": b}, [together, {"a": "mse", "b": "mae"}], ["a_b_loss", "a_loss", "b_loss"]),
        (lambda a, b: [a, b], (together, ["mse", "mae"]), ["y1_loss", "y1_y2_loss", "y2_loss"]),
        (lambda a, b: (a, b), [together, ("mse", None)], ["y1_loss", "y1_y2_loss"]),
        (
            lambda a, b: {"p": (a, b), "q": b},
            {"p": [together, (None, "mse")], "q": "mae"},
            ["p/y2_loss", "p_loss", "q_loss"],
        ),
        (lambda a, b: {"p": {"a": a, "b": b}, "q": b}, {"p": together, "q": "mae"}, ["p_loss", "q_loss"]),
    ],
)
def test_losses_of_structures(pair, losses, names):
    model = structured(pair)
    model.compile("sgd", losses)
    y = pair(NUMBERS[:, None], BITS[:, None])
    result = model.evaluate(X, y, verbose=0, return_dict=True)
    assert sorted(result) == sorted(["loss", *names])
    assert result["loss"] == pytest.approx(sum(result[name] for name in names), rel=1e-5)
    found = model.predict(X, verbose=0)
    parts = [found, y] if names[0] != "p_loss" and "p_loss" not in names else [found["p"], y["p"]]
    values = [list(part.values()) if isinstance(part, dict) else list(part) for part in parts]
    wanted = sum(np.mean(np.abs(one - other)) for one, other in zip(*values, strict=True))
    whole = next(name for name in names if name in ("a_b_loss", "y1_y2_loss", "p_loss"))
    assert result[whole] == pytest.approx(wanted, rel=1e-5)
    before = model.get_weights()
    model.fit(X, y, verbose=0, epochs=2)
    assert all(not np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


def test_weights_of_losses_of_structures():
    model = structured(lambda a, b: {"a": a, "b": b})
    y = {"a": NUMBERS[:, None], "b": BITS[:, None]}
    model.compile("sgd", [together, {"a": "mse", "b": "mae"}], loss_weights=[0.5, {"a": 2.0, "b": 3.0}])
    result = model.evaluate(X, y, verbose=0, return_dict=True)
    wanted = 0.5 * result["a_b_loss"] + 2 * result["a_loss"] + 3 * result["b_loss"]
    assert result["loss"] == pytest.approx(wanted, rel=1e-5)
    model.compile("sgd", [together, {"a": "mse", "b": "mae"}], loss_weights=[0.5, 1.0])
    with pytest.raises(ArgumentError, match="must match the number of losses"):
        model.evaluate(X, y, verbose=0)


@pytest.mark.parametrize("losses", [{"p": {"z": "mse"}, "q": "mae"}, {"p": ("mse", "mae"), "z": "mae"}])
def test_losses_in_places_that_no_output_has(losses):
    model = structured(lambda a, b: {"p": (a, b), "q": b})
    model.compile("sgd", losses)
    with pytest.raises(ArgumentError, match="z"):
        model.evaluate(X, {"p": (NUMBERS[:, None], NUMBERS[:, None]), "q": NUMBERS[:, None]}, verbose=0)


def test_metrics_of_deep_outputs_have_the_layers_names():
    model = structured(lambda a, b: {"p": (a, b), "q": b})
    model.compile("sgd", "mse", metrics={"p": (["mae"], ["mse"]), "q": "mape"})
    y = {"p": (NUMBERS[:, None], BITS[:, None]), "q": NUMBERS[:, None] + 5}
    result = model.evaluate(X, y, verbose=0, return_dict=True)
    assert {name for name in result if "loss" not in name} == {"y1_mae", "y2_mse", "y2_mape"}
