"""The workloads' models as plain functions of JAX; images are NHWC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.workloads import RESNET50, VOCABULARY

Values = dict[str, jax.Array]
NHWC = ("NHWC", "HWIO", "NHWC")


class Weights:
    """The weights and the state of one pass. Names that are not there yet are made: so models are initialised.

    Args:
        values: weights that are trained, by name.
        state: moving averages.
        key: for dropout, and for making weights.
        training: whether dropout and batch statistics are used.
    """

    def __init__(self, values: Values, state: Values, key: jax.Array, training: bool) -> None:
        self.values, self.state, self.key, self.training = values, state, key, training

    def next_key(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return key

    def matrix(self, name: str, *shape: int) -> jax.Array:
        if name not in self.values:
            make = jax.nn.initializers.glorot_uniform() if len(shape) > 1 else jax.nn.initializers.zeros
            self.values[name] = make(self.next_key(), shape)
        return self.values[name]

    def ones(self, name: str, *shape: int) -> jax.Array:
        return self.values.setdefault(name, jnp.ones(shape))


def dense(w: Weights, name: str, x: jax.Array, units: int) -> jax.Array:
    return x @ w.matrix(f"{name}.kernel", x.shape[-1], units) + w.matrix(f"{name}.bias", units)


def convolution(w: Weights, name: str, x: jax.Array, filters: int, size: int, stride: int = 1) -> jax.Array:
    kernel = w.matrix(f"{name}.kernel", size, size, x.shape[-1], filters)
    padding = [(size // 2, size // 2)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)


def max_pool(x: jax.Array, size: int, stride: int, pad: int = 0) -> jax.Array:
    padding = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), padding)


def batch_norm(w: Weights, name: str, x: jax.Array) -> jax.Array:
    channels = x.shape[-1]
    scale, offset = w.ones(f"{name}.gamma", channels), w.matrix(f"{name}.beta", channels)
    mean = w.state.setdefault(f"{name}.mean", jnp.zeros(channels))
    variance = w.state.setdefault(f"{name}.variance", jnp.ones(channels))
    if w.training:
        moving_mean, moving_variance = mean, variance
        mean = x.mean((0, 1, 2))
        variance = (x * x).mean((0, 1, 2)) - mean * mean
        w.state[f"{name}.mean"] = 0.99 * moving_mean + 0.01 * mean
        w.state[f"{name}.variance"] = 0.99 * moving_variance + 0.01 * variance
    factor = scale * lax.rsqrt(variance + 1e-3)
    return x * factor + (offset - mean * factor)


def layer_norm(w: Weights, name: str, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    scale, offset = w.ones(f"{name}.gamma", x.shape[-1]), w.matrix(f"{name}.beta", x.shape[-1])
    return (x - mean) * lax.rsqrt(variance + 1e-3) * scale + offset


def dropout(w: Weights, x: jax.Array, rate: float) -> jax.Array:
    if not w.training:
        return x
    return jnp.where(jax.random.bernoulli(w.next_key(), 1 - rate, x.shape), x / (1 - rate), 0)


def attention(w: Weights, name: str, x: jax.Array, heads: int) -> jax.Array:
    batch, length, width = x.shape
    query, key, value = (
        dense(w, f"{name}.{part}", x, width).reshape(batch, length, heads, -1) for part in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (width // heads) ** -0.5
    weights = dropout(w, jax.nn.softmax(scores), 0.1)
    joined = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
    return dense(w, f"{name}.output", joined, width)


def tiny_mlp(w: Weights, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(dense(w, "first", x, 32))
    return dense(w, "last", jax.nn.relu(dense(w, "second", x, 32)), 1)


def mlp(w: Weights, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(dense(w, "first", x, 256))
    return dense(w, "last", jax.nn.relu(dense(w, "second", x, 64)), 10)


def first_cnn(w: Weights, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(convolution(w, "convolution", x, 64, 3) + w.matrix("convolution.bias", 64))
    x = jax.nn.relu(dense(w, "hidden", x.reshape(len(x), -1), 512))
    return dense(w, "last", dropout(w, x, 0.5), 10)


def bn_cnn(w: Weights, x: jax.Array) -> jax.Array:
    for filters in (32, 64, 128):
        for part in range(2):
            name = f"convolution_{filters}_{part}"
            x = jax.nn.relu(batch_norm(w, name, convolution(w, name, x, filters, 3)))
        x = max_pool(x, 2, 2)
    x = jax.nn.relu(dense(w, "hidden", x.reshape(len(x), -1), 128))
    return dense(w, "last", x, 10)


def lstm(w: Weights, x: jax.Array) -> jax.Array:
    units = 128
    projected = dense(w, "input", x, 4 * units).swapaxes(0, 1)
    recurrent = w.matrix("recurrent", units, 4 * units)

    def step(carry: tuple[jax.Array, jax.Array], gates: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((len(x), units))
    (h, _), _ = lax.scan(step, (zeros, zeros), projected)
    return dense(w, "last", h, 1)


def transformer(w: Weights, x: jax.Array) -> jax.Array:
    for block in ("first", "second"):
        attended = dropout(w, attention(w, f"{block}.attention", x, 8), 0.1)
        x = layer_norm(w, f"{block}.norm_1", x + attended)
        hidden = dropout(w, jax.nn.relu(dense(w, f"{block}.up", x, 512)), 0.1)
        x = layer_norm(w, f"{block}.norm_2", x + dropout(w, dense(w, f"{block}.down", hidden, 256), 0.1))
    return dense(w, "last", x.mean(1), 10)


def text(w: Weights, x: jax.Array) -> jax.Array:
    return dense(w, "last", w.matrix("embedding", VOCABULARY, 128)[x].mean(1), 1)


def resnet50(w: Weights, x: jax.Array) -> jax.Array:
    def convolved(name: str, x: jax.Array, filters: int, size: int, stride: int = 1) -> jax.Array:
        return batch_norm(w, name, convolution(w, name, x, filters, size, stride))

    x = max_pool(jax.nn.relu(convolved("stem", x, 64, 7, 2)), 3, 2, pad=1)
    for stage, (blocks, filters, stride) in enumerate(RESNET50):
        for block in range(blocks):
            name, step = f"stage_{stage}.{block}", 1 if block else stride
            shortcut = x if block else convolved(f"{name}.shortcut", x, 4 * filters, 1, step)
            inner = jax.nn.relu(convolved(f"{name}.first", x, filters, 1, step))
            inner = jax.nn.relu(convolved(f"{name}.second", inner, filters, 3))
            x = jax.nn.relu(shortcut + convolved(f"{name}.third", inner, 4 * filters, 1))
    return dense(w, "last", x.mean((1, 2)), 1000)


MODELS: dict[str, Callable[[Weights, Any], jax.Array]] = {
    "tiny_mlp": tiny_mlp,
    "mlp": mlp,
    "first_cnn": first_cnn,
    "bn_cnn": bn_cnn,
    "lstm": lstm,
    "transformer": transformer,
    "text": text,
    "resnet50": resnet50,
    "predict_one": mlp,
    "call_one": mlp,
}
