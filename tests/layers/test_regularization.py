"""Layers of noise: repeatability, switches, extremes."""

from __future__ import annotations

import copy

import pytest
import torch

import lamina
from lamina import layers
from lamina.core.seeds import set_random_seed
from lamina.graph.tensor import KerasTensor

NOISES = [
    ("Dropout", {"rate": 0.5}),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1)}),
    ("GaussianNoise", {"stddev": 0.5}),
    ("GaussianDropout", {"rate": 0.5}),
    ("AlphaDropout", {"rate": 0.5}),
]
each = pytest.mark.parametrize(("name", "arguments"), NOISES)


def make(name, arguments, **extra):
    return getattr(layers, name)(**arguments, **extra)


@each
def test_an_integer_seed_makes_it_repeatable(name, arguments):
    x = torch.ones(8, 6)
    runs = []
    for ambient in (1, 2):
        torch.manual_seed(ambient)
        layer = make(name, arguments, seed=7)
        runs.append([layer(x, training=True) for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])
    other = make(name, arguments, seed=8)
    assert not torch.equal(other(x, training=True), runs[0][0])


@each
def test_without_a_seed_torch_rules(name, arguments):
    x = torch.ones(8, 6)
    layer = make(name, arguments)
    results = []
    for _ in range(2):
        set_random_seed(3)
        results.append(layer(x, training=True))
    assert torch.equal(*results)
    assert not torch.equal(layer(x, training=True), results[0])
    assert not layer.variables


@each
def test_modes(name, arguments):
    x = torch.ones(8, 6)
    layer = make(name, arguments)
    assert torch.equal(layer(x), x)
    layer.train()
    assert not torch.equal(layer(x), x)
    assert torch.equal(layer(x, training=False), x)
    assert not torch.equal(layer(x), x)
    layer.eval()
    assert torch.equal(layer(x), x)


@each
def test_always_on_in_a_graph(name, arguments):
    """As for Monte Carlo dropout: Dropout(...)(x, training=True) while the model is described."""
    for seed in (None, 3):
        layer = make(name, arguments, seed=seed)
        assert layer(KerasTensor((None, 6)), training=True).shape == (None, 6)
        again = make(name, arguments, seed=seed)
        if seed is not None:
            assert torch.equal(layer(torch.ones(2, 6), training=True), again(torch.ones(2, 6), training=True))


@each
def test_nothing_happens_at_zero(name, arguments):
    off = {key: 0 if key in ("rate", "stddev") else value for key, value in arguments.items()}
    x = torch.ones(8, 6)
    assert torch.equal(make(name, off)(x, training=True), x)


def test_a_rate_of_one():
    x = torch.ones(4, 6, requires_grad=True)
    for layer in (layers.Dropout(1.0), layers.Dropout(1.0, seed=1)):
        y = layer(x, training=True)
        y.sum().backward()
        assert not y.any() and not x.grad.any()


def test_a_copy_goes_its_own_way():
    layer = layers.Dropout(0.5, seed=3)
    x = torch.ones(4, 6)
    layer(x, training=True)
    twin = copy.deepcopy(layer)
    assert torch.equal(layer(x, training=True), twin(x, training=True))
    layer(x, training=True)
    assert not torch.equal(layer(x, training=True), twin(x, training=True))


def test_patterns_are_shared_along_axes_of_size_one():
    x = torch.ones(5, 7, 4)
    y = layers.Dropout(0.5, noise_shape=(None, 1, None))(x, training=True)
    assert torch.equal(y, y[:, :1].expand_as(y))
    y = layers.SpatialDropout2D(0.5, data_format="channels_first")(torch.ones(5, 7, 4, 3), training=True)
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y))


def test_a_noise_shape_that_does_not_fit():
    with pytest.raises(RuntimeError) as caught:
        layers.Dropout(0.5, noise_shape=(5, 3))(torch.ones(2, 3), training=True)
    assert "Dropout" in "".join(getattr(caught.value, "__notes__", []))


def test_dtypes_follow_the_input():
    for dtype in ("bfloat16", "float64"):
        for name, arguments in NOISES:
            assert make(name, arguments, dtype=dtype)(torch.ones(3, 4), training=True).dtype is getattr(torch, dtype)


def test_activity_regularization_is_a_loss_of_the_model():
    layer = layers.ActivityRegularization(l2=0.5)
    layer(torch.full((2, 3), 2.0))
    assert [float(loss) for loss in layer.losses] == [6.0]
    layer(torch.full((2, 3), 1.0))
    assert [float(loss) for loss in layer.losses] == [1.5]
    assert "activity_regularizer" not in layer.get_config()


def test_public_names():
    for name in ("Dropout", "SpatialDropout1D", "AlphaDropout", "ActivityRegularization"):
        assert hasattr(lamina.layers, name)
