"""Layers around layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina import layers


def test_only_layers_are_wrapped() -> None:
    for wrapper in (layers.Wrapper, layers.TimeDistributed, layers.Bidirectional):
        with pytest.raises(ValueError, match="layer"):
            wrapper(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=3)  # type: ignore[arg-type]


def test_time_distributed_calls_its_layer_once() -> None:
    dense, seen = layers.Dense(3), []
    layer = layers.TimeDistributed(dense)
    layer.build((2, 5, 4))
    dense.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(layer(x), dense(x))
    assert seen[0] == (10, 4)


class Centered(layers.Layer):
    """A program's layer whose result depends on the whole batch."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - inputs.mean(0, keepdim=True)


def test_time_distributed_takes_step_after_step_where_samples_depend_on_each_other() -> None:
    x = torch.randn(4, 5, 3)
    layer = layers.TimeDistributed(Centered())
    torch.testing.assert_close(layer(x), x - x.mean(0, keepdim=True))
    assert layer(layers.Input((None, 3))).shape == (None, None, 3)


def test_time_distributed_models() -> None:
    inner = lamina.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    model = lamina.Sequential([layers.Input((None, 8, 8, 1)), layers.TimeDistributed(inner), layers.LSTM(4)])
    assert model.output_shape == (None, 4)
    x = torch.randn(2, 5, 8, 8, 1)
    expected = torch.stack([inner(x[:, t]) for t in range(5)], 1)
    torch.testing.assert_close(model.layers[0](x), expected)


def test_time_distributed_refuses_what_does_not_fit() -> None:
    layer = layers.TimeDistributed(layers.Dense(3))
    with pytest.raises(ValueError, match="three dimensions"):
        layer(torch.ones(2, 3))
    for shape in ((2,), (2, 4), (3, 5), (2, 4, 1)):
        with pytest.raises(ValueError, match="mask"):
            layer(torch.ones(2, 5, 4), mask=torch.ones(shape).bool())
    assert layer(torch.ones(2, 5, 4), mask=torch.ones(2, 5).bool()).shape == (2, 5, 3)


def test_directions_must_differ_and_agree() -> None:
    forward = layers.LSTM(2)
    for backward in (
        layers.LSTM(2),
        layers.LSTM(2, go_backwards=True, return_sequences=True),
        layers.LSTM(2, go_backwards=True, return_state=True),
        layers.LSTM(2, go_backwards=True, stateful=True),
    ):
        with pytest.raises(ValueError, match="two layers"):
            layers.Bidirectional(forward, backward_layer=backward)
    with pytest.raises(ValueError, match="merge_mode"):
        layers.Bidirectional(forward, merge_mode="max")


def test_bidirectional_is_both_directions() -> None:
    x = torch.randn(2, 6, 3)
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=None)
    forward, backward = layer(x)
    torch.testing.assert_close(forward, layer.forward_layer(x))
    turned = layers.GRU(4, return_sequences=True)
    turned.build(x.shape)
    turned.set_weights(layer.backward_layer.get_weights())
    torch.testing.assert_close(backward, turned(x.flip(1)).flip(1))


def test_bidirectional_begins_with_given_weights() -> None:
    first = layers.Bidirectional(layers.LSTM(2))
    first.build((2, 5, 3))
    second = layers.Bidirectional(layers.LSTM(2), weights=first.get_weights())
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(second(x), first(x))
    again = layers.Bidirectional.from_config(second.get_config())
    assert again.forward_layer.name == second.forward_layer.name


def test_bidirectional_states() -> None:
    layer = layers.Bidirectional(layers.LSTM(2, stateful=True))
    assert layer.states is None
    x = torch.randn(2, 5, 3)
    first = layer(x)
    assert layer.states is not None and len(layer.states) == 4
    assert not torch.allclose(layer(x), first)
    layer.reset_states()
    torch.testing.assert_close(layer(x), first)
    with pytest.raises(AttributeError, match="stateful"):
        layers.Bidirectional(layers.LSTM(2)).reset_state()


def test_wrapped_layers_train() -> None:
    rng: Any = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5, 3)), rng.normal(size=(32, 5, 1))
    model = lamina.Sequential(
        [
            layers.Input((5, 3)),
            layers.Masking(),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.1)),
            layers.TimeDistributed(layers.Dense(1)),
        ]
    )
    model.compile(lamina.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
