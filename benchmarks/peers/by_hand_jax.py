"""The loop that a good JAX user writes by hand: one jitted step with donated buffers, data on the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import jax_models
from benchmarks.peers.base import Options, Peer
from benchmarks.peers.jax_models import Values, Weights
from benchmarks.workloads import LEARNING_RATE, SLOTS, Workload


def loss_of(kind: str, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """The mean loss; probabilities are computed with the loss."""
    if kind == "mse":
        return ((outputs - y) ** 2).mean()
    if kind == "binary":
        return (jax.nn.softplus(outputs) - outputs * y).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1).mean()


def adam(weights: Values, gradients: Values, slots: list[Values], count: jax.Array, rate: float) -> Any:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, slots[0], gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, slots[1], gradients)
    scale = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(lambda w, m, v: w - scale * m / (jnp.sqrt(v) + 1e-7), weights, first, second)
    return weights, [first, second]


def rmsprop(weights: Values, gradients: Values, slots: list[Values], count: jax.Array, rate: float) -> Any:
    second = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g * g, slots[0], gradients)
    weights = jax.tree.map(lambda w, g, v: w - rate * g / jnp.sqrt(v + 1e-7), weights, gradients, second)
    return weights, [second]


def sgd(weights: Values, gradients: Values, slots: list[Values], count: jax.Array, rate: float) -> Any:
    return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), []


OPTIMIZERS = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


def make_step(workload: Workload) -> Callable[..., Any]:
    """The training step, from what is carried and a batch's rows to what is carried; the carry's buffers are reused."""
    model, update = jax_models.MODELS[workload.name], OPTIMIZERS[workload.optimizer]
    rate = LEARNING_RATE[workload.optimizer]

    @partial(jax.jit, donate_argnums=0)
    def step(carry: Any, x: jax.Array, y: jax.Array, rows: jax.Array) -> Any:
        weights, state, slots, count, key, total = carry
        key, own = jax.random.split(key)

        def objective(weights: Values) -> tuple[jax.Array, Values]:
            w = Weights(weights, dict(state), own, training=True)
            return loss_of(workload.loss, model(w, x[rows]), y[rows]), w.state

        (loss, state), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        weights, slots = update(weights, gradients, slots, count + 1, rate)
        return weights, state, slots, count + 1, key, total + loss

    return step


class Jitted(Peer):
    """Plain JAX with jit."""

    def __init__(self, workload: Workload, options: Options) -> None:
        super().__init__(workload, options)
        model = jax_models.MODELS[workload.name]
        start = time.perf_counter()
        self.weights: Values = {}
        self.state: Values = {}
        model(Weights(self.weights, self.state, jax.random.key(0), training=False), self.x[:1])
        self.count = sum(value.size for value in self.weights.values())
        if workload.kind == "fit":
            slots = [jax.tree.map(jnp.zeros_like, self.weights) for _ in range(SLOTS[workload.optimizer])]
            self.carry = (self.weights, self.state, slots, jnp.zeros(()), jax.random.key(1), jnp.zeros(()))
            self.step = make_step(workload)
        self.build = time.perf_counter() - start
        self.forward = jax.jit(lambda v, s, x: model(Weights(dict(v), dict(s), jax.random.key(0), training=False), x))

    def run(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None = None) -> None:
        """See `Peer`."""
        if self.workload.kind == "fit":
            self._fit(epoch_done, first_step)
        else:
            self._infer(epoch_done, first_step)

    def _fit(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None) -> None:
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)
        random = np.random.default_rng(0)
        while True:
            order = random.permutation(len(self.x)).astype("int32").reshape(-1, self.workload.batch)
            for rows in order:
                self.carry = self.step(self.carry, x, y, rows)
                if first_step is not None:
                    jax.block_until_ready(self.carry)
                    first_step()
                    first_step = None
            float(self.carry[-1])
            if epoch_done():
                return

    def _infer(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None) -> None:
        fetch = self.workload.kind == "predict"
        result: Any = None
        while True:
            for _ in range(self.workload.steps):
                result = self.forward(self.weights, self.state, self.x)
                if fetch:
                    np.asarray(result)
                if first_step is not None:
                    jax.block_until_ready(result)
                    first_step()
                    first_step = None
            jax.block_until_ready(result)
            if epoch_done():
                return

    def parameters(self) -> int:
        """See `Peer`."""
        return self.count

    def device_memory(self) -> int:
        """See `Peer`."""
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
