"""What is measured: data, and a model description against the Keras API that serves lamina and every Keras peer.

The descriptions by hand, for the other peers, stand in `peers/torch_models.py` and `peers/jax_models.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]
LEARNING_RATE = {"adam": 1e-3, "sgd": 0.01, "rmsprop": 1e-3}
SLOTS = {"adam": 2, "sgd": 0, "rmsprop": 1}

# Blocks, filters and stride of each stage; a block is 1x1 (with the stride), 3x3 and 1x1 with four times the filters.
RESNET50 = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
VOCABULARY = 20_000


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Args:
        name: what it is called on the command line.
        title: what it is called in the report.
        describe: makes the model, given a namespace like that of Keras.
        data: inputs and targets for so many samples.
        batch: samples in a step.
        steps: steps in an epoch; one epoch is what callbacks can see, so it should last between 0.05 and 1 s.
        kind: "fit", "predict" (calls of predict) or "call" (calls of the model itself).
        optimizer: its name.
        loss: "mse", "logits" or "probabilities" (sparse categorical crossentropy), or "binary" crossentropy.
        peers: who can run it; everybody by default.
        is_extra: whether it is measured only where it is named.
    """

    name: str
    title: str
    describe: Callable[[Any], Any]
    data: Callable[[int], Arrays]
    batch: int
    steps: int
    kind: str = "fit"
    optimizer: str = "adam"
    loss: str = "logits"
    peers: tuple[str, ...] | None = None
    is_extra: bool = False

    @property
    def samples(self) -> int:
        """Samples in the data: an epoch of a fit, one batch otherwise."""
        return self.batch * self.steps if self.kind == "fit" else self.batch


def _regression(samples: int) -> Arrays:
    x = np.random.default_rng(0).normal(size=(samples, 32)).astype("float32")
    return x, x[:, :1] ** 2


def _classes(*shape: int) -> Callable[[int], Arrays]:
    def make(samples: int) -> Arrays:
        random = np.random.default_rng(0)
        x = random.standard_normal(size=(samples, *shape), dtype="float32")
        return x, random.integers(0, 10, samples).astype("int32")

    return make


def _sequences(samples: int) -> Arrays:
    random = np.random.default_rng(0)
    x = random.standard_normal(size=(samples, 100, 32), dtype="float32")
    return x, random.integers(0, 2, (samples, 1)).astype("float32")


def _masked_sequences(samples: int) -> Arrays:
    """Sequences of 40 to 100 steps, filled up with zeros."""
    x, y = _sequences(samples)
    lengths = np.random.default_rng(1).integers(40, 101, samples)
    x[np.arange(100) >= lengths[:, None]] = 0
    return x, y


def _texts(samples: int) -> Arrays:
    random = np.random.default_rng(0)
    x = random.integers(0, VOCABULARY, (samples, 200)).astype("int32")
    return x, random.integers(0, 2, (samples, 1)).astype("float32")


def tiny_mlp(k: Any) -> Any:
    dense = k.layers.Dense
    return k.Sequential([k.Input((32,)), dense(32, activation="relu"), dense(32, activation="relu"), dense(1)])


def mlp(k: Any) -> Any:
    dense = k.layers.Dense
    return k.Sequential([k.Input((784,)), dense(256, activation="relu"), dense(64, activation="relu"), dense(10)])


def first_cnn(k: Any) -> Any:
    return k.Sequential(
        [
            k.Input((32, 32, 3)),
            k.layers.Conv2D(64, 3, padding="same", activation="relu"),
            k.layers.Flatten(),
            k.layers.Dense(512, activation="relu"),
            k.layers.Dropout(0.5),
            k.layers.Dense(10, activation="softmax"),
        ]
    )


def bn_cnn(k: Any) -> Any:
    model = k.Sequential([k.Input((32, 32, 3))])
    for filters in (32, 64, 128):
        for _ in range(2):
            model.add(k.layers.Conv2D(filters, 3, padding="same", use_bias=False))
            model.add(k.layers.BatchNormalization())
            model.add(k.layers.Activation("relu"))
        model.add(k.layers.MaxPooling2D())
    model.add(k.layers.Flatten())
    model.add(k.layers.Dense(128, activation="relu"))
    model.add(k.layers.Dense(10))
    return model


def lstm(k: Any) -> Any:
    return k.Sequential([k.Input((100, 32)), k.layers.LSTM(128), k.layers.Dense(1, activation="sigmoid")])


def recurrent(name: str, masked: bool) -> Callable[[Any], Any]:
    """A recurrent layer on sequences, which may be padded."""

    def describe(k: Any) -> Any:
        masking = [k.layers.Masking()] if masked else []
        layer = getattr(k.layers, name)(128)
        return k.Sequential([k.Input((100, 32)), *masking, layer, k.layers.Dense(1, activation="sigmoid")])

    return describe


def attention(k: Any) -> Any:
    inputs = k.Input((128, 256))
    attended = k.layers.MultiHeadAttention(8, 32)(inputs, inputs)
    return k.Model(inputs, k.layers.Dense(10)(k.layers.GlobalAveragePooling1D()(attended)))


def transformer(k: Any) -> Any:
    layers = k.layers
    inputs = x = k.Input((128, 256))
    for _ in range(2):
        attended = layers.MultiHeadAttention(8, 32, dropout=0.1)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(attended)]))
        hidden = layers.Dropout(0.1)(layers.Dense(512, activation="relu")(x))
        hidden = layers.Dropout(0.1)(layers.Dense(256)(hidden))
        x = layers.LayerNormalization()(layers.Add()([x, hidden]))
    return k.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def text(k: Any) -> Any:
    return k.Sequential(
        [
            k.Input((200,), dtype="int32"),
            k.layers.Embedding(VOCABULARY, 128),
            k.layers.GlobalAveragePooling1D(),
            k.layers.Dense(1, activation="sigmoid"),
        ]
    )


def resnet50(k: Any) -> Any:
    layers = k.layers

    def convolved(x: Any, filters: int, kernel: int, stride: int = 1) -> Any:
        padding = "same" if stride == 1 else "valid"
        return layers.BatchNormalization()(layers.Conv2D(filters, kernel, stride, padding=padding, use_bias=False)(x))

    inputs = k.Input((224, 224, 3))
    x = layers.ReLU()(convolved(layers.ZeroPadding2D(3)(inputs), 64, 7, 2))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for blocks, filters, stride in RESNET50:
        for block in range(blocks):
            step = stride if block == 0 else 1
            shortcut = x if block else convolved(x, 4 * filters, 1, step)
            inner = layers.ReLU()(convolved(x, filters, 1, step))
            inner = layers.ReLU()(convolved(inner, filters, 3))
            x = layers.ReLU()(layers.Add()([shortcut, convolved(inner, 4 * filters, 1)]))
    return k.Model(inputs, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


KERAS_LIKE = ("lamina", "keras-jax", "keras-tensorflow", "keras-torch")
_IMAGES = _classes(32, 32, 3)
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("tiny_mlp", "MLP 32-32-32-1, batch 32", tiny_mlp, _regression, 32, 200, loss="mse"),
        Workload("mlp", "MLP 784-256-64-10, batch 128", mlp, _classes(784), 128, 200, optimizer="sgd"),
        Workload(
            "first_cnn",
            "CNN of one convolution, 33 M weights, batch 64",
            first_cnn,
            _IMAGES,
            64,
            3,
            optimizer="rmsprop",
            loss="probabilities",
        ),
        Workload("bn_cnn", "CNN of six convolutions with BN, batch 64", bn_cnn, _IMAGES, 64, 5),
        Workload("lstm", "LSTM(128) on 100x32, batch 64", lstm, _sequences, 64, 16, loss="binary"),
        Workload("transformer", "Transformer, two blocks of 128x256, batch 32", transformer, _classes(128, 256), 32, 3),
        Workload("text", "Embedding(20000, 128) and mean, 200 words, batch 64", text, _texts, 64, 40, loss="binary"),
        Workload("resnet50", "ResNet-50, predict, batch 8", resnet50, _classes(224, 224, 3), 8, 1, "predict"),
        Workload("predict_one", "MLP 784-256-64-10, predict of one", mlp, _classes(784), 1, 50, "predict"),
        Workload("call_one", "MLP 784-256-64-10, call on one", mlp, _classes(784), 1, 200, "call"),
        Workload(
            "gru",
            "GRU(128) on 100x32, batch 64",
            recurrent("GRU", False),
            _sequences,
            64,
            16,
            loss="binary",
            peers=(*KERAS_LIKE, "torch"),
            is_extra=True,
        ),
        *(
            Workload(
                f"{name.lower()}_masked",
                f"{name}(128) on 40 to 100 steps of 32, batch 64",
                recurrent(name, True),
                _masked_sequences,
                64,
                16,
                loss="binary",
                peers=KERAS_LIKE,
                is_extra=True,
            )
            for name in ("LSTM", "GRU")
        ),
        Workload(
            "attention",
            "Attention of 8 heads on 128x256, batch 32",
            attention,
            _classes(128, 256),
            32,
            8,
            peers=(*KERAS_LIKE, "torch", "torch-compile"),
            is_extra=True,
        ),
    )
}
