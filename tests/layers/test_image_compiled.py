"""Layers for images in a compiled step of training: what keeps compiling short, and draws as in eager steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lamina import Input, Sequential, layers, optimizers, utils
from lamina.core.seeds import SeedGenerator


def test_a_seed_moves_on_in_one_operation_for_each_draw():
    """Anything that reads the state twice for each draw doubles, draw by draw, the expression that is compiled."""
    generator = SeedGenerator(3)

    def draw(state):
        generator.state = state
        for _ in range(4):
            generator.next()
        return state

    graph = make_fx(torch.func.functionalize(draw, remove="mutations"))(generator.state.detach().clone()).graph
    readers = {node: [u for u in node.users if "clone" not in str(u.target)] for node in graph.nodes}
    sums = [node for node in graph.nodes if node.target is torch.ops.aten.add.Tensor]
    assert len(sums) == 4 and not any("scatter" in str(node.target) for node in graph.nodes)
    assert all(len([u for u in readers[node] if u in sums]) <= 1 for node in graph.nodes)


@pytest.mark.slow
def test_a_compiled_step_bends_images_as_the_eager_one_does():
    x = np.random.default_rng(0).uniform(0, 255, size=(16, 24, 24, 3)).astype("float32")
    y = np.random.default_rng(1).random((16, 1)).astype("float32")
    results = []
    for jit_compile in (False, True):
        utils.set_random_seed(3)
        model = Sequential(
            [
                Input((24, 24, 3)),
                layers.RandomElasticTransform(scale=0.5, seed=1),
                layers.Rescaling(1 / 255),
                layers.Conv2D(4, 3),
                layers.GlobalAveragePooling2D(),
                layers.Dense(1),
            ]
        )
        model.compile(optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        losses = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
        results.append((losses, model.get_weights()))
    assert model.execution_report().steps["train"].runs == "compiled"
    (eager, eager_weights), (compiled, compiled_weights) = results
    np.testing.assert_allclose(compiled, eager, rtol=1e-4)
    for ours, theirs in zip(compiled_weights, eager_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
