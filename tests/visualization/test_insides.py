"""Feature maps, attention, and weights and gradients over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import Model, Sequential, layers
from lamina.callbacks import WeightHistograms
from lamina.core.errors import ArgumentError, StateError
from lamina.visualization import plot_attention, plot_feature_maps, plot_histograms
from lamina.visualization.insides import attention_of, outputs_of


@pytest.fixture
def images():
    return np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")


def test_feature_maps_are_the_outputs_of_the_layer(images, tmp_path):
    model = Sequential([layers.Input((8, 8, 1)), layers.Conv2D(5, 3, name="edges"), layers.Flatten(), layers.Dense(2)])
    maps = outputs_of(model, "edges", images)
    assert np.array_equal(maps, model.layers[0](torch.tensor(images)).detach().numpy())
    figure = plot_feature_maps(model, "edges", images, tmp_path / "f.png", sample=1, columns=3)
    assert [panel.get_title() for panel in figure.axes] == ["0", "1", "2", "3", "4"]
    assert np.allclose(figure.axes[3].images[0].get_array(), maps[1, :, :, 3])
    assert not model.layers[0]._forward_hooks and not model.training
    with pytest.raises(ArgumentError, match=r"no maps[\s\S]*\(2, 2\)"):
        plot_feature_maps(model, model.layers[-1], images)
    with pytest.raises(ArgumentError, match=r"no such layer[\s\S]*edges"):
        plot_feature_maps(model, "edge", images)


def test_a_layer_that_is_not_called_is_told(images):
    model = Sequential([layers.Input((8, 8, 1)), layers.Flatten()])
    with pytest.raises(StateError, match="does not call"):
        outputs_of(model, layers.Conv2D(1, 3, name="other"), images)


def test_attention_is_that_of_the_layer_with_its_masks(tmp_path):
    inputs = layers.Input((5, 8))
    model = Model(inputs, layers.MultiHeadAttention(2, 4, name="look")(inputs, inputs, use_causal_mask=True))
    x = np.random.default_rng(0).normal(size=(3, 5, 8)).astype("float32")
    scores = attention_of(model, "look", x)
    assert scores.shape == (3, 2, 5, 5)
    assert np.allclose(scores.sum(-1), 1, atol=1e-5) and np.allclose(np.triu(scores[0, 0], 1), 0)
    figure = plot_attention(model, "look", x, tmp_path / "a.png", sample=2, tokens=list("abcde"))
    assert np.allclose(figure.axes[1].images[0].get_array(), scores[2, 1])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list("abcde")


def _trained(watched, **options):
    model = Sequential([layers.Input((3,)), layers.Dense(4), layers.Dense(1)], name="m")
    model.compile("sgd", loss="mse", **options)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model.fit(x, x.sum(1, keepdims=True), epochs=3, verbose=0, callbacks=[watched], batch_size=8)
    return model


def test_histograms_count_every_weight_and_gradient_of_each_epoch(tmp_path):
    watched = WeightHistograms(bins=10)
    model = _trained(watched)
    paths = [weight.path for weight in model.trainable_weights]
    assert list(watched.weights) == list(watched.gradients) == paths
    last = watched.weights[paths[0]][-1]
    values = model.trainable_weights[0].detach().numpy()
    assert len(watched.weights[paths[0]]) == 3 and last.counts.sum() == values.size
    assert np.isclose(last.mean, values.mean()) and np.isclose(last.low, values.min())
    assert np.isclose(last.deviation, values.std(), atol=1e-6)
    assert not any(weight._post_accumulate_grad_hooks for weight in model.trainable_weights)
    figure = plot_histograms(watched, tmp_path / "h.png", "gradients", names=paths[:2])
    assert [panel.get_title() for panel in figure.axes] == paths[:2]
    with pytest.raises(ArgumentError, match="no such histograms"):
        plot_histograms(watched, names=["kernel"])


def test_histograms_without_gradients_leave_the_steps_alone():
    watched = WeightHistograms(gradients=False)
    _trained(watched)
    assert watched.weights and not watched.gradients
    with pytest.raises(ArgumentError):
        plot_histograms(watched, what="gradients")


def test_histograms_bear_values_that_are_equal_or_not_finite():
    count = WeightHistograms(bins=4)._count
    assert count(torch.zeros(5)).counts.sum() == 5
    assert count(torch.tensor([1.0, float("nan"), 3.0])).counts.sum() == 2
    assert count(torch.tensor([float("inf")])).counts.sum() == 0
