"""Training and saving of every layer in a small model: eagerly, as a traced graph, compiled, and through a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contract.harness import LayerCase, assert_equal_outputs, leaves

import lamina
from lamina import layers
from lamina.core import tree
from lamina.training.capture import STEPS, State, capture
from lamina.training.compiler import NotCapturable, _rebuilt
from lamina.training.prepare import build_optimizer, prepare_batch, state_of, whole_state

BATCHES = 2


class Around(lamina.Model):
    """A layer between two weights: one on the inputs, so that a gradient must come back through the layer."""

    def __init__(self, case: LayerCase, layer: layers.Layer) -> None:
        super().__init__()
        self.case, self.layer = case, layer
        self.before, self.behind = (self.add_weight((), "ones", name=name) for name in ("before", "behind"))

    def call(self, inputs: Any) -> torch.Tensor:
        """A number for each sample."""
        if self.case.kind == "float":
            inputs = tree.map_structure(lambda x: x * self.before, inputs)
        outputs = [y.reshape(y.shape[0], -1).float() for y in leaves(self.case.call(self.layer, inputs))]
        total = sum((y * torch.linspace(-1, 1, y.shape[1] + 1)[1:]).mean(1, keepdim=True) for y in outputs)
        return total * self.behind + self.before


def prepared(case: LayerCase, **options: Any) -> tuple[lamina.Model, list[Any]]:
    """A model around the layer that is ready for steps, and batches."""
    model = Around(case, case.make())
    rate = lamina.optimizers.SGD(0.01, momentum=0.9)
    model.compile(rate, loss="mse", metrics=["mae"], **options)
    data = []
    for seed in range(BATCHES):
        x = tree.map_structure(lambda v: v.detach() if isinstance(v, torch.Tensor) else v, case.inputs(seed))
        y = np.random.default_rng(seed).normal(size=(case.shapes[0][0], 1)).astype("float32")
        data.append((x, torch.from_numpy(y)))
    prepare_batch(model, data[0], "fit")
    build_optimizer(model)
    return model.train(), data


def trained(state: State, steps: Any, data: list[Any], start: list[torch.Tensor]) -> list[torch.Tensor]:
    """All that a model holds after steps from a given start."""
    with torch.no_grad():
        for tensor, value in zip(state.tensors, start, strict=True):
            tensor.copy_(value)
    torch.manual_seed(0)
    for batch in data:
        steps(batch)
    return copies(state)


def copies(state: State) -> list[torch.Tensor]:
    """The values of all that a model holds."""
    return [tensor.detach().clone() for tensor in state.tensors]


def check_training(case: LayerCase) -> None:
    """Steps run eagerly and steps run as a graph leave the same weights, slots, metrics and seeds.

    A layer that cannot be part of a graph must make tracing end with the reason its case tells.
    """
    model, data = prepared(case)
    whole, of_step = whole_state(model, state_of(model)), state_of(model)
    start = copies(whole)
    eager = trained(whole, lambda batch: STEPS["train"](of_step, batch), data, start)
    named = dict(zip(map(id, whole.tensors), zip(start, eager, strict=True), strict=True))
    for weight in model.trainable_weights:
        before, after = named[id(weight)]
        assert bool(torch.isfinite(after.float()).all()), weight.path
        assert weight is not model.before or not torch.equal(before, after)
    result = {key: float(value) for key, value in model.get_metrics_result().items()}
    assert result.keys() == {"loss", "mae"} and all(np.isfinite(list(result.values())))
    if case.eager:
        with pytest.raises(NotCapturable, match=case.eager):
            capture(whole, "train", data[0])
        return
    made = capture(whole, "train", data[0])
    function = _rebuilt(json.loads(made.graph.text))

    def step(batch: Any) -> None:
        with torch.no_grad():
            function(*made.state, *tree.flatten(batch), *made.graph.constants)

    graph = trained(whole, step, data, start)
    if case.noise:
        for before, one, other in zip(start, eager, graph, strict=True):
            moved, expected = (float((after - before).double().norm()) for after in (other, one))
            assert 0.1 * expected <= moved <= 10 * expected
        return
    assert_equal_outputs(graph, eager, max(case.tolerance, 1e-5))
    assert {key: float(value) for key, value in model.get_metrics_result().items()} == pytest.approx(result, rel=1e-4)


def check_compiled(case: LayerCase) -> None:
    """`fit` with `jit_compile=True` really compiles, and leaves the weights that eager steps leave."""
    model, data = prepared(case, jit_compile=True)
    whole, of_step = whole_state(model, state_of(model)), state_of(model)
    start = copies(whole)
    eager = trained(whole, lambda batch: STEPS["train"](of_step, batch), data, start)
    compiled = trained(whole, lambda batch: model.fit(*batch, verbose=0, shuffle=False), data, start)
    report = model.execution_report()
    assert "compiled" in str(report), report
    weights = set(map(id, model.weights))
    for tensor, one, other in zip(whole.tensors, eager, compiled, strict=True):
        if id(tensor) in weights:
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def check_file(case: LayerCase, folder: Path) -> None:
    """A model of the layer, saved and loaded, gives what it gave, and has the same weights."""
    inputs = tree.map_structure(lambda x: x.detach() if isinstance(x, torch.Tensor) else x, case.inputs())
    symbols = case.nest([layers.Input(s.shape[1:], dtype=s.dtype) for s in _symbols(case)])
    model = lamina.Model(symbols, case.call(case.make(), symbols))
    if case.unsaved:
        with pytest.raises(TypeError, match=case.unsaved):
            model.save(folder / "model.keras")
        return
    model.save(folder / "model.keras")
    twin = lamina.saving.load_model(folder / "model.keras")
    first, second = (each(inputs, training=case.training) for each in (model, twin))
    assert_equal_outputs(second, first, case.tolerance)
    assert [(w.name, w.shape) for w in twin.weights] == [(w.name, w.shape) for w in model.weights]


def _symbols(case: LayerCase) -> Iterator[Any]:
    yield from tree.flatten(case.symbols(unknown=False))
