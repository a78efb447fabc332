"""The columns of a summary about operations and memory."""

from __future__ import annotations

import pytest

from lamina import Model, Sequential, layers, ops
from lamina.layers.costs import cost_of


@pytest.mark.parametrize(
    "layer, shape, flops",
    [
        (layers.Dense(5), (4,), 2 * 4 * 5),
        (layers.Conv2D(6, 3), (8, 8, 2), 2 * 6 * 6 * 9 * 2 * 6),
        (layers.DepthwiseConv2D(3), (8, 8, 2), 2 * 6 * 6 * 9 * 2),
        (layers.LSTM(7), (5, 8), 2 * 5 * (8 * 28 + 7 * 28)),
        (layers.GRU(7), (5, 8), 2 * 5 * (8 * 21 + 7 * 21)),
        (layers.GRU(7, reset_after=False), (5, 8), 2 * 5 * (8 * 21 + 7 * 21)),
        (layers.SimpleRNN(7), (5, 8), 2 * 5 * (8 * 7 + 7 * 7)),
        (layers.MultiHeadAttention(2, 4), (6, 8), None),
        (layers.ReLU(), (4,), 0),
    ],
)
def test_operations_agree_with_the_formula(layer, shape, flops):
    inputs = layers.Input(shape)
    attention = isinstance(layer, layers.MultiHeadAttention)
    model = Model(inputs, layer(inputs, inputs) if attention else layer(inputs))
    if attention:
        flops = 2 * (4 * 6 * 8 * 8) + 2 * (2 * 2 * 6 * 6 * 4)
    assert cost_of(model.layers[-1], model).flops == flops


def test_a_layer_called_twice_and_an_operation_are_counted():
    inputs, dense = layers.Input((4,)), layers.Dense(4)
    product = ops.matmul(dense(dense(inputs)), ops.ones((4, 2)))
    model = Model(inputs, product)
    assert cost_of(dense, model).flops == 2 * 2 * 16
    assert cost_of(dense, model).outputs == 2 * 4 * 4
    assert cost_of(model.operations[-1], model).flops == 2 * 4 * 2


def test_models_inside_and_of_ones_own_are_counted():
    inner = Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)])
    outer = Sequential([layers.Input((4,)), inner])
    assert cost_of(inner, outer).flops == 2 * (12 + 6)

    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own.build((None, 5))
    assert cost_of(own.dense, own) == (30, (15 + 3) * 4, 12)


def test_summary_shows_the_columns_on_request():
    model = Sequential([layers.Input((100,)), layers.Dense(1000), layers.Dense(10)])

    def told(**options):
        lines = []
        model.summary(print_fn=lines.append, **options)
        return "\n".join(lines)

    assert "FLOPs" not in told() and "Outputs" not in told()
    text = told(flops=True, memory=True)
    assert "200,000" in text and "394.53 KB" in text and "3.91 KB" in text
    assert "FLOPs per sample: 220,000" in text and "Outputs per sample: 3.95 KB" in text
    assert "Weights" not in told(flops=True) and "Trainable" in told(flops=True, show_trainable=True)
