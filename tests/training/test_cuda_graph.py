"""Recorded steps: on a GPU as CUDA graphs, elsewhere with a recorder that simply calls again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.test_capture import batches, ready, small_model, twins

import lamina
from lamina import layers
from lamina.training.capture import STEPS
from lamina.training.compiler import NotCapturable
from lamina.training.cuda_graph import RecordedStep
from lamina.training.prepare import state_of, whole_state


def call_again(function):
    """What a CUDA graph does, without one."""
    returned = function()
    function()
    return function, returned


def test_a_recorded_step_is_the_step_and_recording_changes_nothing():
    eager, other = twins(lambda: small_model(metrics=["mae"]))
    data = batches(20, (16, 8), (16, 1))
    for model in (eager, other):
        ready(model, data[0])
    state = whole_state(other, state_of(other))
    before = other.get_weights()
    recorded = RecordedStep(state, state.tensors, "train", data[0], call_again)
    for one, two in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for batch in data:
        STEPS["train"](state_of(eager), batch)
    recorded.run(data[:15])
    recorded.run(data[15:])
    for one, two in zip(eager.weights, other.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-3, atol=1e-5)
    assert float(eager.get_metrics_result()["mae"]) == pytest.approx(float(other.get_metrics_result()["mae"]), rel=1e-4)


def test_predictions_are_copies():
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(2)])
    (first,), (second,) = batches(2, (4, 8))
    state = whole_state(model, state_of(model))
    recorded = RecordedStep(state, state.tensors, "predict", (first,), lambda f: (f, f()))
    torch.testing.assert_close(recorded.run([(first,)]), model(first))
    assert recorded.run([(second,)]) is not recorded.run([(second,)])


def test_layers_with_seeds_of_their_own_stay_eager():
    model = lamina.Sequential([layers.Input((8,)), layers.Dropout(0.5, seed=1), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    (batch,) = batches(1, (16, 8), (16, 1))
    ready(model, batch)
    state = whole_state(model, state_of(model))
    with pytest.raises(NotCapturable, match="seed of its own"):
        RecordedStep(state, state.tensors, "train", batch, call_again)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "lion", "adamw"])
def test_on_a_gpu_curves_agree(optimizer):
    x = np.random.default_rng(0).normal(size=(640, 8)).astype("float32")
    curves = []
    for option in (False, True):
        lamina.utils.set_random_seed(1)
        model = small_model(optimizer, jit_compile=option)
        history = model.fit(x, x[:, :1] ** 2, batch_size=32, epochs=10, verbose=0)
        curves.append(history.history["loss"])
        assert int(model.optimizer.iterations) == 200
    assert model.execution_report().steps["train"].runs == "CUDA graph"
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)
