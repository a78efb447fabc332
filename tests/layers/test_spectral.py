"""Spectral normalization, beside the real Keras."""

from __future__ import annotations

import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras")

from lamina import layers
from lamina.core.errors import ArgumentError, UnsupportedError


@pytest.mark.parametrize("iterations", [1, 4])
@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("Dense", {"units": 4}, (3, 5)),
        ("Conv2D", {"filters": 4, "kernel_size": 3}, (2, 6, 6, 3)),
        ("Conv1DTranspose", {"filters": 4, "kernel_size": 3}, (2, 6, 3)),
    ],
)
def test_parity(name, arguments, shape, iterations):
    ours = layers.SpectralNormalization(getattr(layers, name)(**arguments), power_iterations=iterations)
    theirs = keras.layers.SpectralNormalization(getattr(keras.layers, name)(**arguments), power_iterations=iterations)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    ours.build(shape), theirs.build(shape)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    theirs.set_weights([weight.numpy() for weight in ours.weights])
    for training in (True, True, False):
        found, expected = ours(torch.tensor(x), training=training), theirs(x, training=training)
        np.testing.assert_allclose(found.detach(), expected.detach().cpu(), rtol=2e-4, atol=1e-5)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), keras.ops.convert_to_numpy(other), rtol=2e-4, atol=1e-5)


def test_embeddings_keep_their_dtype_and_zeros_stay():
    layer = layers.SpectralNormalization(layers.Embedding(5, 3, embeddings_initializer="zeros"))
    layer.build((None, 2))
    out = layer(torch.tensor([[1, 2]]), training=True)
    assert out.dtype is torch.float32 and not out.any() and torch.isfinite(layer.vector_u).all()


def test_the_largest_singular_value_goes_to_one_in_training():
    layer = layers.SpectralNormalization(layers.Dense(6, kernel_initializer="he_normal"))
    x = torch.randn(8, 9)
    for _ in range(30):
        layer(x, training=True).sum().backward()
    assert float(torch.linalg.matrix_norm(layer.layer.kernel.detach(), 2)) == pytest.approx(1.0, abs=1e-3)
    assert layer.layer.kernel.grad is not None


def test_refusals():
    with pytest.raises(ArgumentError, match="power_iterations"):
        layers.SpectralNormalization(layers.Dense(2), power_iterations=0)
    with pytest.raises(ArgumentError, match="no weight to normalize"):
        layers.SpectralNormalization(layers.ReLU()).build((None, 3))


SAVED = {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None, "config": {"filepath": "model"}}


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: layers.TFSMLayer("model"), "ONNX"),
        (lambda: layers.JaxLayer(lambda x: x), "lamina.ops"),
        (lambda: layers.FlaxLayer(object()), "torch.nn.Module"),
        (lambda: layers.deserialize(SAVED), "ONNX"),
    ],
)
def test_layers_of_other_frameworks_name_the_way_out(make, hint):
    with pytest.raises(UnsupportedError, match=hint):
        make()
