"""Steps traced as functions of their state: the graph alone, run by hand, must do what the step does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, losses, metrics, optimizers
from lamina.core import tree
from lamina.training.capture import STEPS, capture
from lamina.training.compiler import NotCapturable, _rebuilt
from lamina.training.prepare import build_optimizer, prepare_batch, state_of, whole_state

OPTIMIZERS = [
    "SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Adagrad", "Adafactor", "Ftrl", "Lion", "Lamb",
    "Muon", "ScheduleFreeAdamW",
]  # fmt: skip


def small_model(optimizer="adam", loss="mse", **options):
    model = lamina.Sequential(
        [layers.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(12, activation="tanh"), layers.Dense(1)]
    )
    model.compile(optimizer, loss=loss, **options)
    return model


def batches(count, *shapes, seed=0):
    random = np.random.default_rng(seed)
    return [tuple(torch.tensor(random.normal(size=shape).astype("float32")) for shape in shapes) for _ in range(count)]


def ready(model, batch):
    prepare_batch(model, batch, "fit")
    build_optimizer(model)
    model.train()
    return model


def captured(model, batch, kind="train"):
    """The graph's function, and the tensors it works on."""
    made = capture(whole_state(model, state_of(model)), kind, batch)
    function = _rebuilt(json.loads(made.graph.text))

    def step(data):
        leaves = [leaf for leaf in tree.flatten(data) if leaf is not None]
        with torch.no_grad():
            return function(*made.state, *leaves, *made.graph.constants)

    return step, made


def twins(make):
    first, second = make(), make()
    first.build((None, 8))
    second.build((None, 8))
    second.set_weights(first.get_weights())
    return first, second


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_graph_trains_as_the_step_does(name):
    if not hasattr(optimizers, name):
        pytest.skip(f"there is no {name}")
    eager, other = twins(lambda: small_model(getattr(optimizers, name)(learning_rate=0.01), metrics=["mae"]))
    data = batches(200, (16, 8), (16, 1))
    for model in (eager, other):
        ready(model, data[0])
    step, _ = captured(other, data[0])
    state = state_of(eager)
    for batch in data:
        STEPS["train"](state, batch)
        step(batch)
    results = [model.get_metrics_result() for model in (eager, other)]
    for key in results[0]:
        assert float(results[0][key]) == pytest.approx(float(results[1][key]), rel=1e-4)
    for one, two in zip(eager.weights, other.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2e-2, atol=2e-4)
    assert int(other.optimizer.iterations) == 200


@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.1},
        {"global_clipnorm": 0.1},
        {"clipvalue": 0.01},
        {"weight_decay": 0.01},
        {"use_ema": True, "ema_overwrite_frequency": 5},
        {"gradient_accumulation_steps": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_optimizers_are_traced(options):
    eager, other = twins(lambda: small_model(optimizers.Adam(0.01, **options)))
    data = batches(12, (16, 8), (16, 1))
    for model in (eager, other):
        ready(model, data[0])
    step, _ = captured(other, data[0])
    for batch in data:
        STEPS["train"](state_of(eager), batch)
        step(batch)
    for one, two in zip(eager.weights, other.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-3, atol=1e-5)


def test_schedules_go_on_in_the_graph():
    rate = optimizers.schedules.ExponentialDecay(0.1, decay_steps=2, decay_rate=0.5)
    eager, other = twins(lambda: small_model(optimizers.SGD(rate)))
    data = batches(6, (16, 8), (16, 1))
    for model in (eager, other):
        ready(model, data[0])
    step, _ = captured(other, data[0])
    for batch in data:
        STEPS["train"](state_of(eager), batch)
        step(batch)
    assert float(other.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**3)
    np.testing.assert_allclose(eager.weights[0].numpy(), other.weights[0].numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rate", [0.01, lambda: 0.01])
def test_predictions_need_no_optimizer(rate):
    # A model that was compiled and never trained, or whose learning rate is Python's: neither matters here.
    model = small_model(optimizers.Adam(rate), metrics=["mae"])
    (x,) = batches(1, (4, 8))[0]
    expected = torch.from_numpy(model.predict(x, verbose=0))
    model.eval()
    for kind in ("predict", "test"):
        assert whole_state(model, state_of(model), kind).optimizer is None
    made = capture(whole_state(model, state_of(model), "predict"), "predict", (x,))
    (found,) = _rebuilt(json.loads(made.graph.text))(*made.state, x, *made.graph.constants)
    torch.testing.assert_close(found, expected)


def test_a_changed_learning_rate_is_obeyed():
    model = small_model(optimizers.SGD(0.1))
    (batch,) = batches(1, (16, 8), (16, 1))
    ready(model, batch)
    step, _ = captured(model, batch)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    step(batch)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_batch_normalization_and_seeds_are_state():
    def make():
        model = lamina.Sequential(
            [
                layers.Input((8,)),
                layers.Dense(8),
                layers.BatchNormalization(),
                layers.Dropout(0.5, seed=3),
                layers.Dense(1),
            ]
        )
        model.compile("sgd", loss="mse")
        return model

    eager, other = twins(make)
    data = batches(5, (16, 8), (16, 1))
    for model in (eager, other):
        ready(model, data[0])
    step, _ = captured(other, data[0])
    for batch in data:
        STEPS["train"](state_of(eager), batch)
        step(batch)
    for one, two in zip(eager.variables, other.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-4, atol=1e-6)


def test_dropout_draws_anew_at_each_step():
    model = lamina.Sequential([layers.Input((64,)), layers.Dropout(0.5)])
    (batch,) = batches(1, (16, 64))
    model.train()
    step, _ = captured(model, batch, "predict")
    first, second = step(batch)[0], step(batch)[0]
    assert not torch.equal(first, second)
    assert 0.3 < float((first == 0).float().mean()) < 0.7


def test_penalties_sample_weights_and_several_outputs():
    def make():
        inputs = layers.Input((8,))
        hidden = layers.Dense(8, kernel_regularizer="l2", activity_regularizer="l1")(inputs)
        model = lamina.Model(inputs, {"a": layers.Dense(1)(hidden), "b": layers.Dense(3, activation="softmax")(hidden)})
        model.compile("sgd", loss={"a": "mse", "b": losses.SparseCategoricalCrossentropy()}, metrics={"a": ["mae"]})
        return model

    eager, other = twins(make)
    random = np.random.default_rng(0)
    batch = (
        torch.tensor(random.normal(size=(16, 8)).astype("float32")),
        {"a": torch.ones(16, 1), "b": torch.tensor(random.integers(0, 3, (16,)))},
        {"a": torch.rand(16), "b": torch.rand(16)},
    )
    for model in (eager, other):
        ready(model, batch)
    step, _ = captured(other, batch)
    STEPS["train"](state_of(eager), batch)
    step(batch)
    one, two = (model.get_metrics_result() for model in (eager, other))
    assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-5)
    np.testing.assert_allclose(eager.weights[0].numpy(), other.weights[0].numpy(), rtol=1e-4, atol=1e-6)


def test_every_metric_that_compile_takes_can_be_traced():
    chosen = [metrics.AUC(), metrics.Precision(), metrics.Recall(), "binary_accuracy", metrics.F1Score(threshold=0.5)]
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", loss="binary_crossentropy", metrics=chosen)
    batch = (torch.randn(16, 8), torch.randint(0, 2, (16, 1)).float())
    ready(model, batch)
    STEPS["train"](state_of(model), batch)
    step, _ = captured(model, batch)
    model.reset_metrics()
    step(batch)
    made = {key: np.asarray(value) for key, value in model.get_metrics_result().items()}
    assert float(made["loss"]) > 0 and float(made["binary_accuracy"]) > 0


def test_tracing_leaves_everything_as_it_was():
    model = small_model(metrics=["mae"])
    (batch,) = batches(1, (16, 8), (16, 1))
    ready(model, batch)
    weights, attributes = model.get_weights(), [dict(vars(part)) for part in model.modules()]
    numbers = torch.random.get_rng_state()
    captured(model, batch)
    assert torch.equal(numbers, torch.random.get_rng_state())
    for one, two in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for before, part in zip(attributes, model.modules(), strict=True):
        assert before.keys() == vars(part).keys()
        assert all(before[key] is value for key, value in vars(part).items())


class Drawing(layers.Layer):
    def call(self, inputs):
        return inputs * float(np.random.default_rng().normal())


class Counting(layers.Layer):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs * (1.0 + Counting.total())

    seen = 0

    @classmethod
    def total(cls):
        cls.seen += 1
        return cls.seen


class Reading(layers.Layer):
    def call(self, inputs):
        return inputs * 2 if self.training and float(inputs.sum()) > 0 else inputs


class Keeping(layers.Layer):
    def call(self, inputs):
        self.last = inputs * 2
        return inputs + self.last


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Drawing, "not the same each time"),
        (Counting, "not the same each time"),
        (Reading, "DataDependent"),
        (Keeping, "keeps a tensor"),
    ],
)
def test_what_python_decides_is_not_captured(layer, words):
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(8), layer(), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    (batch,) = batches(1, (16, 8), (16, 1))
    ready(model, batch)
    before = dict(vars(model.layers[1]))
    with pytest.raises(NotCapturable, match=words):
        captured(model, batch)
    assert all(before[key] is value for key, value in vars(model.layers[1]).items())


def test_hooks_and_foreign_parts_are_not_captured():
    (batch,) = batches(1, (16, 8), (16, 1))
    model = ready(small_model(), batch)
    handle = model.layers[0].register_forward_hook(lambda *args: None)
    with pytest.raises(NotCapturable, match="has hooks"):
        captured(model, batch)
    handle.remove()
    captured(model, batch)
    model = ready(small_model(torch.optim.SGD), batch)
    with pytest.raises(NotCapturable, match="decides in Python"):
        captured(model, batch)
    model = ready(small_model(optimizers.SGD(lambda: 0.1)), batch)
    with pytest.raises(NotCapturable, match="Python function"):
        captured(model, batch)


def test_settings_tell_when_a_step_must_be_traced_anew():
    (batch,) = batches(1, (16, 8), (16, 1))
    model = ready(small_model(), batch)
    before = whole_state(model, state_of(model)).settings()
    assert whole_state(model, state_of(model)).settings() == before
    model.layers[0].trainable = False
    assert whole_state(model, state_of(model)).settings() != before
    model.layers[0].trainable = True
    model.optimizer.clipnorm = 1.0
    assert whole_state(model, state_of(model)).settings() != before


def test_a_constant_is_an_input():
    scale = torch.tensor(2.0)
    model = lamina.Sequential([layers.Input((8,)), layers.Lambda(lambda x: x * scale)])
    (batch,) = batches(1, (16, 8))
    step, made = captured(model, batch, "predict")
    assert any(constant.data_ptr() == scale.data_ptr() for constant in made.graph.constants)
    scale.fill_(3.0)
    torch.testing.assert_close(step(batch)[0], batch[0] * 3)
