"""Random tensors: seeds, generators, dtypes, and what they do while shapes are inferred."""

from __future__ import annotations

import pytest
import torch

from lamina import random
from lamina.core.errors import LaminaError
from lamina.graph.tensor import KerasTensor

DRAWS = {
    "normal": lambda **kwargs: random.normal((4, 3), **kwargs),
    "uniform": lambda **kwargs: random.uniform((4, 3), **kwargs),
    "truncated_normal": lambda **kwargs: random.truncated_normal((4, 3), **kwargs),
    "randint": lambda **kwargs: random.randint((4, 3), 0, 1000, **kwargs),
    "gamma": lambda **kwargs: random.gamma((4, 3), 2.0, **kwargs),
    "beta": lambda **kwargs: random.beta((4, 3), 2.0, [1.0, 2.0, 3.0], **kwargs),
    "binomial": lambda **kwargs: random.binomial((4, 3), 1000, 0.5, **kwargs),
    "categorical": lambda **kwargs: random.categorical(torch.zeros(4, 1000), 3, **kwargs),
    "dropout": lambda **kwargs: random.dropout(torch.ones(40, 3), 0.5, **kwargs),
    "shuffle": lambda **kwargs: random.shuffle(torch.arange(100), **kwargs),
}


@pytest.mark.parametrize("name", DRAWS)
def test_seeds(name):
    draw = DRAWS[name]
    assert torch.equal(draw(seed=3), draw(seed=3))
    assert not torch.equal(draw(seed=3), draw(seed=4))
    first, second = random.SeedGenerator(5), random.SeedGenerator(5)
    values = [draw(seed=first) for _ in range(2)]
    assert not torch.equal(*values)
    assert all(torch.equal(value, draw(seed=second)) for value in values)
    torch.manual_seed(1)
    expected = draw()
    torch.manual_seed(1)
    assert torch.equal(draw(), expected)


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "gamma", "beta", "binomial"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_float_dtypes(name, dtype):
    assert DRAWS[name](dtype=dtype).dtype is getattr(torch, dtype)
    with pytest.raises(LaminaError, match=name):
        DRAWS[name](dtype="int32")


def test_integers():
    assert random.randint((3,), 0, 200, dtype="uint8").dtype is torch.uint8
    with pytest.raises(LaminaError, match="randint"):
        DRAWS["randint"](dtype="float32")


def test_inference_does_not_use_up_seeds():
    generator = random.SeedGenerator(1)
    x = KerasTensor((None, 4))
    assert random.dropout(x, 0.5, seed=generator).shape == (None, 4)
    assert random.shuffle(x, seed=generator).shape == (None, 4)
    assert random.categorical(x, 3, seed=generator).shape == (None, 3)
    assert generator.state.tolist() == random.SeedGenerator(1).state.tolist()


def test_dropout():
    x = torch.ones(1000, 4)
    result = random.dropout(x, 0.25, seed=1)
    assert result.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs(result.mean().item() - 1) < 0.05
    rows = random.dropout(x, 0.5, noise_shape=(None, 1), seed=1)
    assert torch.equal(rows.amax(1), rows.amin(1))
    assert torch.equal(random.dropout(x, 0.0), x)
    assert not random.dropout(x, 1.0, seed=1).any()
    with pytest.raises(LaminaError, match="rate"):
        random.dropout(x, 1.5)


def test_shuffle_moves_whole_slices():
    x = torch.arange(12).reshape(3, 4)
    assert sorted(random.shuffle(x, seed=1).tolist()) == x.tolist()
    columns = random.shuffle(x, axis=1, seed=1)
    assert sorted(columns.T.tolist()) == x.T.tolist()
