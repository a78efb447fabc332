"""Batch normalizations that are folded into convolutions give what they gave, and only where nobody else reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.training.capture import capture
from lamina.training.compiler import _operation, _rebuilt
from lamina.training.folding import fold_normalizations
from lamina.training.prepare import state_of, whole_state

Tensor = torch.Tensor


def with_statistics(model: Any) -> Any:
    """The model with moving averages that are not zero and one."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "moving" in weight.path or "gamma" in weight.path or "beta" in weight.path or "bias" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return model


def network(*stages: Any, shape: tuple[int, ...] = (9, 8, 4)) -> Any:
    return with_statistics(lamina.Sequential([layers.Input(shape), *stages]))


def two_readers() -> Any:
    inputs = layers.Input((9, 8, 4))
    features = layers.Conv2D(6, 3)(inputs)
    return with_statistics(lamina.Model(inputs, [layers.BatchNormalization()(features), features]))


def residual() -> Any:
    inputs = layers.Input((9, 8, 4))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(4, 1)(layers.ReLU()(layers.Add()([x, inputs]))))
    return with_statistics(lamina.Model(inputs, layers.Add()([x, inputs])))


def half() -> Any:
    return network(
        layers.Conv2D(6, 3, dtype="mixed_bfloat16"), layers.BatchNormalization(dtype="mixed_bfloat16"), layers.ReLU()
    )


CASES: dict[str, tuple[Callable[[], Any], int]] = {
    "a convolution": (lambda: network(layers.Conv2D(6, 3), layers.BatchNormalization()), 1),
    "no offset": (lambda: network(layers.Conv2D(6, 3, use_bias=False), layers.BatchNormalization(center=False)), 1),
    "no scale": (lambda: network(layers.Conv2D(6, 3, 2, "same"), layers.BatchNormalization(scale=False)), 1),
    "depthwise": (lambda: network(layers.DepthwiseConv2D(3, depth_multiplier=2), layers.BatchNormalization()), 1),
    "groups": (lambda: network(layers.Conv2D(6, 3, groups=2), layers.BatchNormalization(), layers.ReLU()), 1),
    "a residual block": (residual, 2),
    "an activation between": (lambda: network(layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()), 0),
    "two readers": (two_readers, 0),
    "transposed": (lambda: network(layers.Conv2DTranspose(6, 3), layers.BatchNormalization()), 0),
    "another axis": (lambda: network(layers.Conv2D(6, 3), layers.BatchNormalization(axis=1)), 0),
    "no convolution": (lambda: network(layers.BatchNormalization(), layers.Conv2D(6, 3)), 0),
    "sequences": (lambda: network(layers.Conv1D(6, 3), layers.BatchNormalization(), shape=(9, 4)), 0),
    "half precision": (half, 1),
}


def described(model: Any, x: Tensor) -> tuple[Any, list[Tensor]]:
    model.predict(x, verbose=0)
    model.eval()
    made = capture(whole_state(model, state_of(model), "predict"), "predict", (x,))
    return json.loads(made.graph.text), [*made.state, x, *made.graph.constants]


def folded(description: Any) -> int:
    nodes = [(_operation(name), arguments) for name, arguments in description["nodes"]]
    fold_normalizations(nodes, len(description["inputs"]), description["results"])
    return sum(getattr(operation, "__name__", "") == "_normalized_convolution" for operation, _ in nodes)


@pytest.mark.parametrize("name", CASES)
def test_what_is_folded_gives_the_same(name: str) -> None:
    build, count = CASES[name]
    model = build()
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype("float32"))
    description, given = described(model, x)
    assert folded(description) == count
    outputs = _rebuilt(description)(*given)
    expected = model(x)
    tolerance = 0.05 if name == "half precision" else 1e-5
    for output, one in zip(outputs, expected if isinstance(expected, list) else [expected], strict=True):
        torch.testing.assert_close(output, one, rtol=tolerance, atol=tolerance)


def test_a_training_step_is_left_alone() -> None:
    model = network(layers.Conv2D(6, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(1))
    model.compile("sgd", "mse")
    x, y = np.ones((4, 9, 8, 4), "float32"), np.ones((4, 1), "float32")
    model.fit(x, y, verbose=0)
    batch = torch.from_numpy(x), torch.from_numpy(y), None
    made = capture(whole_state(model, state_of(model)), "train", batch)
    assert "native_batch_norm" in made.graph.text and folded(json.loads(made.graph.text)) == 0
