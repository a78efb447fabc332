from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import constraints
from lamina.core.errors import ArgumentTypeError, UnknownNameError
from lamina.core.variable import Variable

CLASSES = [constraints.MaxNorm, constraints.MinMaxNorm, constraints.NonNeg, constraints.UnitNorm]


def norms(weight, axis=0):
    return torch.linalg.vector_norm(weight, dim=axis)


@pytest.fixture
def weight():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(6)


def test_max_norm(weight):
    result = constraints.MaxNorm(3.0)(weight)
    assert (norms(result) < 3.00001).all()
    small = norms(weight) < 3.0
    torch.testing.assert_close(result[:, small], weight[:, small])


def test_unit_norm(weight):
    torch.testing.assert_close(norms(constraints.UnitNorm()(weight))[1:], torch.ones(5))
    torch.testing.assert_close(norms(constraints.UnitNorm(axis=1)(weight), 1), torch.ones(20))
    assert constraints.UnitNorm()(torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_min_max_norm(weight):
    result = norms(constraints.MinMaxNorm(5.0, 9.0)(weight))[1:]
    assert ((result > 4.9999) & (result < 9.0001)).all()
    halfway = norms(constraints.MinMaxNorm(5.0, 9.0, rate=0.5)(weight))
    torch.testing.assert_close(halfway[1:], ((norms(weight) + norms(weight).clamp(5, 9)) / 2)[1:])


def test_norms_over_several_axes():
    kernel = torch.randn(3, 3, 4, 8)
    for axis in ([0, 1, 2], (0, 1, 2)):
        torch.testing.assert_close(norms(constraints.UnitNorm(axis)(kernel), (0, 1, 2)), torch.ones(8))
    assert constraints.UnitNorm([0, 1, 2]).get_config() == {"axis": [0, 1, 2]}


def test_non_neg(weight):
    assert torch.equal(constraints.NonNeg()(weight), weight.relu())
    assert constraints.NonNeg()(np.array([-1, 2])).tolist() == [0, 2]


@pytest.mark.parametrize("cls", CLASSES)
def test_on_variables_of_every_float(cls):
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        weight = Variable(np.random.default_rng(0).normal(size=(4, 3)), dtype=dtype)
        with torch.no_grad():
            result = cls()(weight)
        assert (result.dtype, result.shape) == (weight.dtype, weight.shape)
        weight.assign(result)


@pytest.mark.parametrize("cls", CLASSES)
def test_round_trips(cls):
    config = constraints.serialize(cls())
    again = constraints.get(config)
    assert type(again) is cls
    assert constraints.serialize(again) == config


@pytest.mark.parametrize("name", sorted(constraints._BY_NAME))
def test_names(name):
    by_name = constraints.get(name)
    assert type(by_name) is type(constraints.deserialize(name)) is constraints._BY_NAME[name]
    assert type(constraints.get({"class_name": name, "config": {}})) is type(by_name)


def test_get():
    assert constraints.get(None) is None
    assert isinstance(constraints.get(constraints.NonNeg), constraints.NonNeg)
    assert constraints.get(torch.abs) is torch.abs
    with pytest.raises(UnknownNameError, match='Did you mean "MaxNorm"'):
        constraints.get("maxnorm")
    with pytest.raises(ArgumentTypeError):
        constraints.get(2.0)


def test_a_class_of_a_program():
    class Capped(constraints.Constraint):
        def __init__(self, cap=1.0):
            self.cap = cap

        def __call__(self, w):
            return w.clamp(max=self.cap)

    config = constraints.serialize(Capped(0.5))
    assert config["config"] == {"cap": 0.5}
    assert constraints.deserialize(config, {"Capped": Capped})(torch.ones(1)).item() == 0.5
    w = torch.ones(2)
    assert constraints.Constraint()(w) is w
