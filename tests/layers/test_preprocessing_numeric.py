"""Preprocessing of numbers, categories and sound: what is learned, from what, and what errors say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lamina import Input, Sequential, layers
from lamina.core.errors import ArgumentError, DataError, DTypeError, ShapeError, StateError
from lamina.saving import load_model
from lamina.utils import PyDataset

X = np.random.default_rng(0).normal(3.0, 2.0, size=(20, 3)).astype("float32")
LOADER = DataLoader(TensorDataset(torch.from_numpy(X), torch.zeros(20)), batch_size=6)


class Batches(PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[index * 5 : index * 5 + 5], np.zeros(5)


@pytest.mark.parametrize(
    "data",
    [
        X,
        torch.from_numpy(X),
        X.tolist(),
        pd.DataFrame(X),
        LOADER,
        Batches(),
        [X[:7], X[7:]],
        (b for b in (X[:1], X[1:])),
    ],
    ids=["array", "tensor", "list", "frame", "loader", "py_dataset", "arrays", "generator"],
)
def test_normalization_learns_from_data_of_every_kind(data):
    layer = layers.Normalization()
    layer.adapt(data)
    np.testing.assert_allclose(layer.adapt_mean, X.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.adapt_variance, X.var(0), rtol=1e-5)
    assert layer.mean is not None and layer.mean.shape == (1, 3)
    np.testing.assert_allclose(layer(X), (X - X.mean(0)) / X.std(0), atol=1e-5)


def test_normalization_has_the_weights_of_keras_and_begins_anew():
    layer = layers.Normalization(axis=None)
    assert layer.mean is None
    layer.adapt(X)
    layer.adapt(np.array([[0.0, 2.0, 4.0]]))
    assert [weight.name for weight in layer.weights] == ["mean", "variance", "count"]
    assert layer.trainable_weights == []
    assert [float(w) for w in layer.weights] == [2.0, pytest.approx(8 / 3), 0.0]


def test_a_constant_feature_becomes_zero():
    layer = layers.Normalization()
    layer.adapt(np.ones((4, 2)))
    assert layer(np.ones((1, 2))).tolist() == [[0.0, 0.0]]


def test_layers_come_back_from_a_file(tmp_path):
    normalize, bins = layers.Normalization(), layers.Discretization(num_bins=4, output_mode="one_hot")
    normalize.adapt(X)
    bins.adapt(layers.Normalization(mean=0.0, variance=1.0, axis=None)(X))
    model = Sequential([Input((3,)), normalize, bins, layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], verbose=0)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert again.layers[1].bin_boundaries == bins.bin_boundaries


def test_bins_are_equally_full():
    layer = layers.Discretization(num_bins=5)
    values = np.random.default_rng(1).exponential(size=10_000)
    layer.adapt(batch for batch in np.split(values, 10))
    counts = np.bincount(layer(values), minlength=5)
    assert counts.min() > 1800 and counts.max() < 2200
    layer.adapt(values, steps=1)
    assert layer.bin_boundaries is not None and len(layer.bin_boundaries) == 4


def test_a_model_may_be_built_before_its_layers_have_learned():
    layer = layers.Discretization(num_bins=3, output_mode="one_hot")
    model = Sequential([Input((1,)), layer, layers.Dense(2)])
    layer.adapt(X)
    assert model(X[:, :1]).shape == (20, 2)


def test_weights_of_counts():
    layer = layers.CategoryEncoding(4, output_mode="count")
    counted = layer([[0, 1], [0, 0], [1, 2]], count_weights=[[0.1, 0.2], [0.1, 0.1], [0.2, 0.3]])
    torch.testing.assert_close(counted, torch.tensor([[0.1, 0.2, 0, 0], [0.2, 0, 0, 0], [0, 0.2, 0.3, 0]]))


def test_spectra_of_a_pure_tone_peak_at_its_pitch():
    seconds = torch.arange(8000) / 8000
    mel = layers.MelSpectrogram(num_mel_bins=40, fft_length=512, sequence_stride=256, sampling_rate=8000)
    low, high = (mel(torch.sin(2 * torch.pi * hertz * seconds))[:, 10].argmax() for hertz in (300, 2000))
    assert low < high
    stft = layers.STFTSpectrogram(mode="magnitude", frame_length=256)
    tone = torch.sin(2 * torch.pi * 1000 * seconds)[None, :, None]
    assert int(stft(tone)[0, 3].argmax()) == 1000 * 256 // 8000
    assert len(stft.trainable_weights) == 2
    assert not layers.STFTSpectrogram(trainable=False)(tone).requires_grad


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: layers.Normalization(mean=1.0), ArgumentError, "together"),
        (lambda: layers.Normalization(mean=[[1.0]], variance=[[1.0]]), ArgumentError, "more axes"),
        (lambda: layers.Normalization(mean=1.0, variance=1.0).adapt(X), StateError, "nothing to adapt"),
        (lambda: layers.Normalization(axis=5).adapt(X), ShapeError, "no such axis"),
        (lambda: layers.Normalization()(Input((None,))), ShapeError, "axis=None"),
        (lambda: layers.Normalization().adapt([X, X[:, :2]]), ShapeError, "built for"),
        (lambda: layers.Normalization().adapt(iter([])), DataError, "no data"),
        (lambda: layers.Normalization().adapt(X[:0]), DataError, "empty"),
        (lambda: layers.Normalization().adapt(7), DataError, "not known"),
        (lambda: layers.Normalization()(["a"]), DTypeError, "not text"),
        (lambda: layers.Discretization(), ArgumentError, "is needed, and not both"),
        (lambda: layers.Discretization(num_bins=3)(X), StateError, "adapt"),
        (lambda: layers.Discretization([1.0]).adapt(X), StateError, "nothing to adapt"),
        (lambda: layers.CategoryEncoding(), ArgumentError, "IntegerLookup"),
        (lambda: layers.CategoryEncoding(3, output_mode="int"), ArgumentError, "Unknown output_mode"),
        (lambda: layers.CategoryEncoding(3)([1], count_weights=[1.0]), ArgumentError, "count_weights"),
        (lambda: layers.Hashing(0), ArgumentError, "num_bins"),
        (lambda: layers.Hashing(3, salt=[1]), ArgumentError, "salt"),
        (lambda: layers.Hashing(3, dtype="float32"), ArgumentError, "int64"),
        (lambda: layers.HashedCrossing(3)((X[:, 0], X[:, 1])), ArgumentError, "integers or text"),
        (lambda: layers.MelSpectrogram(fft_length=64, sequence_length=65), ArgumentError, "at most 64"),
        (lambda: layers.STFTSpectrogram(mode="power"), ArgumentError, "Unknown mode"),
        (lambda: layers.STFTSpectrogram(frame_step=300), ArgumentError, "1 to 256"),
        (lambda: layers.STFTSpectrogram()(torch.ones(1, 300, 1, dtype=torch.int32)), DTypeError, "floats"),
    ],
)
def test_errors_teach(call, error, match):
    with pytest.raises(error, match=match):
        call()
