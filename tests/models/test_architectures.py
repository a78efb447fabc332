"""Whole architectures, trained on generated data to a stated quality: what layers are for, end to end."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina import Input, Model, layers, ops

RANDOM = np.random.default_rng


@pytest.fixture(autouse=True)
def seed():
    lamina.utils.set_random_seed(7)


class Positions(layers.Layer):
    """Adds a learned vector for each position."""

    def build(self, shape):
        self.table = self.add_weight((shape[1], shape[2]), "uniform", name="table")

    def call(self, inputs):
        return inputs + self.table


def block(x, context=None, causal=False):
    """Attention to itself, to a context if there is one, and two dense layers, each with a short cut."""
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 12)(x, x, use_causal_mask=causal))
    if context is not None:
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 12)(x, context))
    return layers.LayerNormalization()(x + layers.Dense(48)(layers.Dense(96, activation="relu")(x)))


def test_an_encoder_decoder_transformer_sorts():
    """Digits in, the same digits in order out, written one after the other: 95% of the digits are right."""
    length, digits, start = 6, 10, 10
    source, target = Input((length,), dtype="int32"), Input((length,), dtype="int32")
    encoded = block(Positions()(layers.Embedding(digits, 48)(source)))
    decoded = block(Positions()(layers.Embedding(digits + 1, 48)(target)), encoded, causal=True)
    model = Model([source, target], layers.Dense(digits)(decoded))
    model.compile(
        lamina.optimizers.Adam(3e-3),
        lamina.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = RANDOM(0).integers(0, digits, (6400, length))
    y = np.sort(x, axis=1)
    shifted = np.concatenate([np.full((len(y), 1), start), y[:, :-1]], axis=1)
    model.fit([x, shifted], y, batch_size=64, epochs=5, verbose=0)

    x = RANDOM(1).integers(0, digits, (200, length))
    written = np.full((200, length + 1), start)
    for step in range(length):
        logits = model.predict([x, written[:, :length]], batch_size=200, verbose=0)
        written[:, step + 1] = logits[:, step].argmax(-1)
    assert np.mean(written[:, 1:] == np.sort(x, axis=1)) > 0.95


def test_a_bidirectional_lstm_tags_padded_sentences():
    """A tag for each word that depends on both neighbours; padding neither counts nor changes anything: 97% right."""
    random = RANDOM(0)
    lengths = random.integers(4, 13, 1500)
    words = random.integers(1, 6, (1500, 12)) * (np.arange(12) < lengths[:, None])
    padded = np.pad(words, ((0, 0), (1, 1)))
    tags = np.where(words > 0, (padded[:, :-2] > padded[:, 2:]) + 1, 0)
    model = lamina.Sequential(
        [
            layers.Embedding(6, 16, mask_zero=True),
            layers.Bidirectional(layers.LSTM(24, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(3, activation="softmax")),
        ]
    )
    model.compile(lamina.optimizers.Adam(0.01), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    model.fit(words[:1200], tags[:1200], batch_size=50, epochs=6, verbose=0)
    found = model.predict(words[1200:], verbose=0).argmax(-1)
    real = words[1200:] > 0
    assert np.mean((found == tags[1200:])[real]) > 0.97
    accuracy = model.evaluate(words[1200:], tags[1200:], verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(np.mean((found == tags[1200:])[real]), abs=1e-3)
    # More padding behind changes nothing.
    longer = np.pad(words[1200:1210], ((0, 0), (0, 5)))
    np.testing.assert_allclose(
        model.predict(longer, verbose=0)[:, :12][real[:10]],
        model.predict(words[1200:1210], verbose=0)[real[:10]],
        atol=1e-5,
    )


def discs(count, seed):
    """Noisy images of bright discs on a slope of light, and which pixels belong to a disc."""
    random = RANDOM(seed)
    rows, columns = np.mgrid[:32, :32]
    centres = random.uniform(8, 24, (count, 2, 1, 1))
    radii = random.uniform(3, 8, (count, 1, 1))
    inside = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2
    light = random.uniform(0, 1, (count, 1, 1)) * columns / 32
    images = 0.7 * inside + light + 0.3 * random.standard_normal((count, 32, 32))
    return images[..., None].astype("float32"), inside[..., None].astype("float32")


def test_a_u_net_finds_discs():
    """Intersection over union above 0.85 on images that it has not seen."""

    def convolved(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    inputs = Input((32, 32, 1))
    fine = convolved(inputs, 8)
    middle = convolved(layers.MaxPooling2D()(fine), 16)
    coarse = convolved(layers.MaxPooling2D()(middle), 32)
    x = layers.Conv2DTranspose(16, 2, strides=2)(coarse)
    x = convolved(layers.Concatenate()([x, middle]), 16)
    x = convolved(layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), fine]), 8)
    model = Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))
    iou = lamina.metrics.BinaryIoU(target_class_ids=[1], threshold=0.5, name="iou")
    model.compile(lamina.optimizers.Adam(5e-3), "binary_crossentropy", metrics=[iou])
    x, y = discs(320, 0)
    model.fit(x, y, batch_size=16, epochs=4, verbose=0)
    assert model.evaluate(*discs(64, 1), verbose=0, return_dict=True)["iou"] > 0.85


def balls(count, seed):
    """Films of a spot that moves straight on: seven frames, and the eighth."""
    random = RANDOM(seed)
    start, speed = random.uniform(4, 8, (count, 1, 2)), random.uniform(-0.6, 0.6, (count, 1, 2))
    places = start + speed * np.arange(8)[:, None]
    rows, columns = np.mgrid[:12, :12]
    squares = (rows - places[..., 0, None, None]) ** 2 + (columns - places[..., 1, None, None]) ** 2
    films = np.exp(-squares / 4)[..., None].astype("float32")
    return films[:, :7], films[:, 7]


def test_a_convolutional_lstm_predicts_the_next_frame():
    """Its error is below a fourth of that of repeating the last frame."""
    model = lamina.Sequential(
        [
            layers.ConvLSTM2D(10, 3, padding="same", return_sequences=True),
            layers.ConvLSTM2D(10, 3, padding="same"),
            layers.Conv2D(1, 3, padding="same"),
        ]
    )
    model.compile(lamina.optimizers.Adam(0.01), "mse")
    x, y = balls(200, 0)
    model.fit(x, y, batch_size=20, epochs=8, verbose=0)
    x, y = balls(50, 1)
    assert model.evaluate(x, y, verbose=0) < np.mean((x[:, -1] - y) ** 2) / 4


def test_an_autoencoder_from_ops_and_custom_layers():
    """A subclassed model with a loss of its own: ten numbers on a plane go through two, and come back."""

    class Autoencoder(Model):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = layers.Dense(2), layers.Dense(10)

        def call(self, inputs):
            code = self.encode(inputs)
            self.add_loss(1e-4 * ops.mean(ops.square(code)))
            return self.decode(code)

    x = (RANDOM(0).standard_normal((640, 2)) @ RANDOM(1).standard_normal((2, 10))).astype("float32")
    model = Autoencoder()
    model.compile(lamina.optimizers.Adam(0.02), "mse")
    model.fit(x, x, batch_size=32, epochs=12, verbose=0)
    assert np.mean((model.predict(x, verbose=0) - x) ** 2) < 0.01 * np.var(x)
