"""Arguments and methods of earlier versions."""

from __future__ import annotations

import numpy as np
import pytest

from lamina import callbacks, compat, layers
from lamina.models import Sequential
from lamina.optimizers import SGD

X = np.ones((8, 3), "float32")


@pytest.fixture(autouse=True)
def _installed():
    compat.install()
    yield
    compat.uninstall()


def test_add_weight_takes_the_name_first():
    class Old(layers.Layer):
        def build(self, input_shape):
            self.a = self.add_weight("a", shape=(input_shape[-1], 2), initializer="ones")
            self.b = self.add_weight("b", (2,), "float64", "zeros")

        def call(self, inputs):
            return inputs @ self.a + self.b.float()

    layer = Old()
    assert layer(X).tolist() == [[3.0, 3.0]] * 8
    assert [weight.name for weight in layer.weights] == ["a", "b"]
    assert [weight.dtype.itemsize for weight in layer.weights] == [4, 8]


def test_compile_takes_metrics_third_and_still_loss_weights():
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse", ["mae"], [0.5])
    assert "mae" in model.train_on_batch(X, X[:, :1], return_dict=True)
    model.compile("sgd", "mse", [0.5])
    assert "mae" not in model.train_on_batch(X, X[:, :1], return_dict=True)


def test_a_rate_with_decay_can_be_read_and_set():
    optimizer = SGD(lr=0.1, decay=0.5)  # pyright: ignore[reportCallIssue]
    assert float(optimizer.lr) == 0.1
    optimizer.lr.assign(0.2)
    assert optimizer.lr.numpy() == np.float32(0.2) == np.asarray(optimizer.lr)
    model = Sequential([layers.Dense(1)])
    model.compile(optimizer, "mse")
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.4)
    model.fit(X, X[:, :1], batch_size=4, callbacks=[rates], verbose=0)
    assert float(optimizer.lr) == 0.4
    assert float(optimizer.learning_rate) == pytest.approx(0.4 / (1 + 0.5 * 2))
    assert "lr" not in dir(optimizer)
