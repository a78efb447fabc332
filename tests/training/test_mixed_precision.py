"""Training in mixed precision: dtypes as Keras has them, weights in float32, losses scaled without waiting."""

from __future__ import annotations

import json
import threading
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import layers, mixed_precision, ops, optimizers
from lamina.core import tree
from lamina.layers import casting
from lamina.training.capture import STEPS, capture
from lamina.training.compiler import _rebuilt
from lamina.training.prepare import build_optimizer, prepare_batch, state_of, whole_state

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, (32,))


@pytest.fixture
def bfloat16():
    mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    lamina.config.set_dtype_policy("float32")


def classifier(module: Any = lamina, optimizer: Any = "adam", policy: str | None = "mixed_bfloat16"):
    own = module.layers
    model = module.Sequential(
        [
            own.Input((8,)),
            own.Dense(16, activation="relu", dtype=policy),
            own.BatchNormalization(dtype=policy),
            own.Dropout(0.0, dtype=policy),
            own.LayerNormalization(dtype=policy),
            own.Dense(3, activation="softmax", dtype="float32"),
        ]
    )
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# Dtypes.


def test_outputs_have_the_dtype_of_their_layer(bfloat16):
    inputs = layers.Input((8,))
    hidden = layers.Dense(4)(inputs)
    model = lamina.Model(inputs, [layers.Dense(2, dtype="float32")(hidden), layers.Dense(2)(hidden)])
    assert inputs.dtype == "float32" and hidden.dtype == "bfloat16"
    for _ in range(2):
        assert [y.dtype for y in model(X)] == [torch.float32, torch.bfloat16]
    last = model.layers[-2]
    expected = model.layers[1](X).float() @ last.kernel + last.bias
    torch.testing.assert_close(model(X)[0], expected)


def test_a_model_of_layers_lets_each_cast_its_inputs(bfloat16):
    class Seen(layers.Layer):
        def call(self, inputs):
            return inputs * 1.0

    fine = np.full((1, 2), 1.001, "float32")
    for model in (
        lamina.Sequential([layers.Input((2,)), Seen(dtype="float32")]),
        lamina.Model(x := layers.Input((2,)), Seen(dtype="float32")(x)),
    ):
        for _ in range(2):
            assert float(model(fine)[0, 0]) == pytest.approx(1.001, abs=1e-6)
    inputs = layers.Input((1,))
    rows = layers.Embedding(2000, 2)(ops.cast(inputs, "int32"))
    model = lamina.Model(inputs, rows)
    torch.testing.assert_close(model(np.array([[1001.0]], "float32"))[0, 0], model.weights[0][1001].bfloat16())


def test_what_a_layer_returns_keeps_its_dtype(bfloat16):
    class Back(layers.Layer):
        def call(self, inputs):
            return ops.cast(inputs, "float32")

    assert Back()(X).dtype is torch.float32 and Back()(layers.Input((8,))).dtype == "float32"


def test_weights_statistics_slots_and_gradients_are_float32():
    model = classifier(optimizer=optimizers.Adam(0.01))
    history = model.fit(X, Y, epochs=2, verbose=0)
    assert all(np.isfinite(history.history["loss"]))
    assert {weight.dtype for weight in model.weights} == {torch.float32}
    slots = [variable for variable in model.optimizer.variables if variable.ndim]
    assert slots and {slot.dtype for slot in slots} == {torch.float32}
    model(X).sum().backward()
    assert {weight.grad.dtype for weight in model.trainable_weights} == {torch.float32}


def test_numpy_results_are_float32(bfloat16):
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    assert model(X).dtype is torch.bfloat16
    assert model.predict(X, verbose=0).dtype == model.predict_on_batch(X).dtype == np.float32
    assert np.isfinite(model.evaluate(X, np.zeros((32, 3), "float32"), verbose=0))


def test_embeddings_cast_rows_and_add_gradients_in_float32(bfloat16):
    layer = layers.Embedding(3, 2)
    layer(np.zeros((1, 300), "int64")).sum().backward()
    gradient = layer.embeddings.grad
    assert not casting._local.casts and gradient is not None and gradient[0].tolist() == [300.0, 300.0]


def test_masks_pass_through(bfloat16):
    embedded = layers.Embedding(5, 4, mask_zero=True)(np.array([[1, 0]]))
    assert embedded.dtype is torch.bfloat16 and embedded._keras_mask.tolist() == [[True, False]]
    assert layers.Dense(2)(embedded)._keras_mask.tolist() == [[True, False]]


def test_a_saved_model_computes_as_before(bfloat16, tmp_path):
    model = classifier(policy=None)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = lamina.saving.load_model(tmp_path / "model.keras")
    assert [layer.dtype_policy.name for layer in again.layers] == ["mixed_bfloat16"] * 4 + ["float32"]
    np.testing.assert_array_equal(model.predict(X, verbose=0), again.predict(X, verbose=0))
    again.fit(X, Y, verbose=0)


# Weights in calls.


class Custom(layers.Layer):
    """Weights of all kinds, read in all ways."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4), name="w")
        self.exact = self.add_weight(shape=(4,), name="exact", autocast=False)
        self.seen = []

    def call(self, inputs):
        self.seen = [inputs.dtype, self.w.dtype, self.w.value.dtype, self.exact.dtype]
        return ops.matmul(inputs, self.w)


def test_weights_read_in_the_compute_dtype_within_a_call(bfloat16):
    layer = Custom()
    outputs = layer(X)
    for _ in range(2):
        outputs = layer(X)
        assert layer.seen == [torch.bfloat16, torch.bfloat16, torch.bfloat16, torch.float32]
    assert outputs.dtype is torch.bfloat16 and layer.w.dtype is torch.float32
    outputs.float().sum().backward()
    expected = torch.tensor(X).bfloat16().float().sum(0)[:, None].expand(8, 4)
    torch.testing.assert_close(layer.w.grad, expected, rtol=0.05, atol=0.05)


def test_a_weight_assigned_in_a_call_is_read_anew(bfloat16):
    class Assigning(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(), initializer="ones", name="w")
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

        def call(self, inputs):
            first = self.w * 1.0
            with torch.no_grad():
                self.w.assign_add(1.0)
            self.count.assign_add(1.0)
            return inputs * 0 + (first + 10 * self.w)

    layer = Assigning()
    layer.build((None, 8))
    assert float(layer(X).detach()[0, 0]) == 21.0 and float(layer.w.detach()) == 2.0 and float(layer.count) == 1.0


def test_casts_end_with_the_call_and_gradients_are_not_lost(bfloat16):
    layer = layers.Dense(4)
    with torch.no_grad():
        layer(X)
    layer(X).sum().backward()
    assert layer.kernel.grad is not None and not casting._local.casts
    with torch.inference_mode():
        made = layers.Dense(4)
        assert made(X).dtype is torch.bfloat16
    with torch.no_grad(), pytest.raises(ValueError):
        layer(torch.ones(2, 3))
    assert not casting._local.casts and layer.kernel.dtype is torch.float32


def test_threads_do_not_disturb_each_other(bfloat16):
    layer, failures = layers.Dense(64), []
    layer(np.ones((2, 64), "float32"))
    data = torch.randn(256, 64)

    def work():
        try:
            for _ in range(50):
                with torch.no_grad():
                    assert layer(data).dtype is torch.bfloat16
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_torch_modules_and_lists_of_weights_compute_in_the_policy(bfloat16):
    class Mixed(layers.Layer):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(8, 8)
            self.parts = [self.add_weight(shape=(8, 4), name="part")]
            self.exact = layers.Dense(4, dtype="float32")
            self.low = layers.Dense(4)

        def call(self, inputs):
            hidden = self.linear(inputs)
            self.seen = hidden.dtype, self.exact(hidden).dtype, self.low(hidden).dtype
            return ops.matmul(hidden, self.parts[0])

    layer = Mixed()
    for _ in range(2):
        layer.exact(X)
    for _ in range(3):
        assert layer(X).dtype is torch.bfloat16
        assert layer.seen == (torch.bfloat16, torch.float32, torch.bfloat16)
    model = lamina.Sequential([layers.Input((8,)), torch.nn.Linear(8, 2)])
    assert model(X).dtype is torch.bfloat16


def test_float32_layers_are_left_alone_by_torchs_autocast_of_the_user():
    layer = layers.Dense(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(X).dtype is torch.bfloat16


def test_the_fast_way_is_found_and_gives_the_same(bfloat16):
    layer = layers.Dense(4, activation="relu")
    first = layer(X)
    assert layer._fast == (None, ((2,), torch.bfloat16))
    for given in (X, torch.tensor(X), torch.tensor(X).bfloat16()):
        torch.testing.assert_close(layer(given), first)
    add = layers.Add()
    halves = [torch.ones(2, 3).bfloat16()] * 2
    assert all(add(halves).dtype is add([torch.ones(2, 3)] * 2).dtype is torch.bfloat16 for _ in range(2))


def test_training_follows_keras():
    ours, theirs = classifier(), classifier(keras)
    theirs.set_weights(ours.get_weights())
    for model in (ours, theirs):
        model.fit(X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0)
    for one, two in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=0.1, atol=0.02)
    np.testing.assert_allclose(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), atol=0.02)


# Scaled losses.


def test_compile_scales_the_loss_of_float16():
    lamina.config.set_dtype_policy("mixed_float16")
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(3)])
    lamina.config.set_dtype_policy("float32")
    model.compile("sgd", "mse")
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    model.fit(X, np.zeros((32, 3), "float32"), verbose=0)
    assert int(model.optimizer.step_counter) == 1 and float(model.optimizer.dynamic_scale) == 2.0**15


GRADIENTS = [1.0, 2.0, np.inf, 3.0, np.nan, -1.0, 2.0, 0.5, np.inf, np.inf, 1.0]


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Nadam", "Lion"])
@pytest.mark.parametrize("way", ["plain", "explicit", "stateless"])
def test_overflow_as_in_keras(name, way):
    def made(module, variable):
        inner = getattr(module, name)(0.1)
        return module.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=2), variable(np.ones(2, "f4"))

    theirs, weight = made(keras.optimizers, keras.Variable)
    ours, parameter = made(optimizers, lamina.Variable)
    ours.build([parameter])
    for size in GRADIENTS:
        theirs.apply([torch.tensor([1.0, size])], [weight])
        gradient = [torch.tensor([1.0, size])]
        if way == "stateless":
            (value,), state = ours.stateless_apply(ours.variables, gradient, [parameter])
            for variable, new in zip([*ours.variables, parameter], [*state, value], strict=True):
                variable.data.copy_(new)
        elif way == "explicit":
            with ours.explicit():
                ours.apply(gradient, [parameter])
        else:
            ours.apply(gradient, [parameter])
        np.testing.assert_allclose(parameter.numpy(), weight.numpy(), rtol=1e-4, atol=1e-6)
        assert float(ours.dynamic_scale) == float(theirs.dynamic_scale.numpy())
        assert int(ours.step_counter) == int(theirs.step_counter.numpy())
        assert int(ours.iterations) == int(theirs.iterations.numpy())


def test_gradients_of_every_kind_are_checked():
    optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(1.0), initial_scale=2.0)
    weights = [lamina.Variable(np.zeros((2, 2), "f4")), lamina.Variable(np.zeros((0,), "f4")), lamina.Variable([0.0])]
    sparse = torch.eye(2).to_sparse()
    with pytest.warns(UserWarning, match="no gradient"):
        optimizer.apply([sparse, torch.zeros(0), None], weights)
    np.testing.assert_array_equal(weights[0].numpy(), -np.eye(2) / 2)
    optimizer.apply([sparse * np.inf, torch.zeros(0), torch.ones(1)], weights)
    np.testing.assert_array_equal(weights[0].numpy(), -np.eye(2) / 2)


# Traced steps.


def captured(model, batch):
    made = capture(whole_state(model, state_of(model)), "train", batch)
    function = _rebuilt(json.loads(made.graph.text))

    def step(data):
        with torch.no_grad():
            return function(*made.state, *tree.flatten(data), *made.graph.constants)

    return step


def scaled():
    return optimizers.LossScaleOptimizer(optimizers.Adam(0.01), initial_scale=2.0**10, dynamic_growth_steps=3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_graph_trains_as_the_step_does(policy):
    make = (lambda: "adam") if policy == "mixed_bfloat16" else scaled
    eager, other = (classifier(optimizer=make(), policy=policy) for _ in range(2))
    other.set_weights(eager.get_weights())
    random = np.random.default_rng(3)
    data = [
        (torch.tensor(random.normal(size=(16, 8)).astype("float32")), torch.tensor(random.integers(0, 3, (16,))))
        for _ in range(12)
    ]
    for model in (eager, other):
        prepare_batch(model, data[0], "fit")
        build_optimizer(model)
        model.train()
    step = captured(other, data[0])
    if policy == "mixed_float16":
        data[5][0].mul_(float("inf"))
    state = state_of(eager)
    for batch in data:
        STEPS["train"](state, batch)
        step(batch)
    for one, two in zip(eager.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2e-2, atol=2e-3)
    if policy == "mixed_float16":
        optimizer = other.optimizer
        assert float(optimizer.dynamic_scale) == float(eager.optimizer.dynamic_scale) != 2.0**10
        assert int(optimizer.iterations) == int(eager.optimizer.iterations) < 12


def test_changes_of_the_inner_optimizer_are_noticed():
    model = classifier(optimizer=scaled())
    batch = (torch.tensor(X), torch.tensor(Y))
    prepare_batch(model, batch, "fit")
    build_optimizer(model)
    before = whole_state(model, state_of(model)).settings()
    assert whole_state(model, state_of(model)).settings() == before
    model.optimizer.inner_optimizer.clipnorm = 1.0
    assert whole_state(model, state_of(model)).settings() != before


def test_torch_compile_and_export_take_mixed_layers(bfloat16):
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
    data = torch.tensor(X)
    expected = model(data)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(data), expected)
    torch.testing.assert_close(torch.export.export(model, (data,)).module()(data), expected)
