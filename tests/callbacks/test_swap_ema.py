"""Evaluation with moving averages, beside the real Keras."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina import layers, models, optimizers
from lamina.callbacks import Callback, EarlyStopping, SwapEMAWeights
from lamina.core.errors import StateError

keras = pytest.importorskip("keras")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 3)).astype("float32")
Y = X[:, :1]


def train(library, swap, scaled=False, several=False, **options):
    """The history of a fit with averages, the final weights, and the last evaluation."""
    model = library.Sequential([library.layers.Input((3,)), library.layers.Dense(1, kernel_initializer="ones")])
    optimizer = library.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    if scaled:
        optimizer = library.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    model.compile(optimizer, loss="mse")
    callbacks = [library.callbacks.SwapEMAWeights(swap_on_epoch=swap)]
    fitting = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0, "validation_data": (X, Y), **options}
    history = model.fit(X, Y, callbacks=callbacks, **fitting).history
    return history, model.get_weights()


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_as_keras(swap, scaled):
    mine, weights = train(lamina, swap, scaled)
    its, expected = train(keras, swap, scaled)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(mine[name], its[name], rtol=1e-4)
    for a, b in zip(weights, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def small(optimizer):
    model = models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer, loss="mse")
    return model


def test_evaluate_and_predict_see_the_averages_and_put_the_weights_back():
    model = small(optimizers.SGD(0.1, use_ema=True))
    model.train_on_batch(X, Y)
    model.train_on_batch(X, Y)
    weights = [weight.copy() for weight in model.get_weights()]
    plain = model.predict(X, verbose=0), model.evaluate(X, Y, verbose=0)
    callback = SwapEMAWeights()
    swapped = (
        model.predict(X, verbose=0, callbacks=[callback]),
        model.evaluate(X, Y, verbose=0, callbacks=[callback]),
    )
    assert not np.allclose(plain[0], swapped[0]) and plain[1] != swapped[1]
    assert all(map(np.array_equal, weights, model.get_weights()))


def test_a_model_that_was_never_trained_is_evaluated_as_it_is():
    model = small(optimizers.SGD(0.1, use_ema=True))
    model.optimizer.build(model.trainable_variables)
    expected = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(X, Y, verbose=0, callbacks=[SwapEMAWeights()]) == expected


def test_training_that_is_stopped_early_ends_with_the_averages():
    averages = []

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            averages[:] = [weight.copy() for weight in self.model.get_weights()]

    model = small(optimizers.SGD(0.1, use_ema=True))
    stopping = EarlyStopping("loss", min_delta=100, patience=1)
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[stopping, SwapEMAWeights(swap_on_epoch=True), Keep()])
    assert stopping.stopped_epoch > 0 and all(map(np.array_equal, averages, model.get_weights()))


def test_an_optimizer_without_averages():
    with pytest.raises(StateError, match="use_ema=True"):
        small("sgd").fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[SwapEMAWeights()])
    chosen = optimizers.OptimizerMap(optimizers.SGD(0.1), {".*bias": optimizers.SGD(0.1, use_ema=True)})
    model = small(optimizers.MultiOptimizer(chosen))
    model.fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[SwapEMAWeights()])
