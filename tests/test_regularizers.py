from __future__ import annotations

import math

import pytest
import torch

from lamina import regularizers
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, UnknownNameError
from lamina.core.variable import Variable

CLASSES = [regularizers.L1, regularizers.L2, regularizers.L1L2, regularizers.OrthogonalRegularizer]


@pytest.mark.parametrize(
    ("regularizer", "penalty", "gradient"),
    [
        (regularizers.L1(0.5), 2.5, [0.5, -0.5, 0.0]),
        (regularizers.L2(0.5), 6.5, [2.0, -3.0, 0.0]),
        (regularizers.L1L2(0.5, 0.5), 9.0, [2.5, -3.5, 0.0]),
        (regularizers.L1L2(l1=0.5), 2.5, [0.5, -0.5, 0.0]),
        (regularizers.L1L2(l2=0.5), 6.5, [2.0, -3.0, 0.0]),
    ],
)
def test_penalties(regularizer, penalty, gradient):
    weight = Variable([2.0, -3.0, 0.0])
    value = regularizer(weight)
    assert (value.shape, value.item()) == ((), penalty)
    value.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == gradient


def test_no_penalty_is_zero():
    assert regularizers.L1L2()(torch.ones(3)).item() == 0.0
    assert regularizers.Regularizer()(torch.ones(3)) == 0.0
    assert regularizers.L2(0.0)(torch.ones(3)).item() == 0.0


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_orthogonal_regularizer(mode):
    regularizer = regularizers.OrthogonalRegularizer(2.0, mode)
    assert regularizer(torch.eye(3) * 5).item() == 0.0
    assert regularizer(torch.ones(3, 3)).item() == pytest.approx(2.0)
    assert regularizer(torch.ones(1, 1)).item() == 0.0
    with pytest.raises(ShapeError, match="2 axes"):
        regularizer(torch.ones(3))


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan, "0.1", [1.0]])
def test_factors_are_checked(value):
    for cls, name in [(regularizers.L1, "l1"), (regularizers.L2, "l2"), (regularizers.L1L2, "l2")]:
        with pytest.raises(ArgumentError, match=f"regularizer, {name}"):
            cls(**{name: value})
    with pytest.raises(ArgumentError, match="regularizer, factor"):
        regularizers.OrthogonalRegularizer(value)


def test_modes_are_checked():
    with pytest.raises(ArgumentError, match="rows"):
        regularizers.OrthogonalRegularizer(mode="diagonals")


def test_none_means_the_default():
    assert regularizers.L1(None).l1 == regularizers.L2(None).l2 == 0.01
    assert regularizers.L1L2(None, None).get_config() == {"l1": 0.0, "l2": 0.0}


@pytest.mark.parametrize("cls", CLASSES)
def test_round_trips(cls):
    config = regularizers.serialize(cls())
    again = regularizers.get(config)
    assert type(again) is cls
    assert regularizers.serialize(again) == config
    assert cls.from_config(config["config"]).get_config() == config["config"]


@pytest.mark.parametrize("name", sorted(regularizers._BY_NAME))
def test_names(name):
    by_name = regularizers.get(name)
    assert type(by_name) is type(regularizers.deserialize(name)) is regularizers._BY_NAME[name]
    assert type(regularizers.get({"class_name": name, "config": {}})) is type(by_name)


def test_get():
    assert regularizers.get(None) is None
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    assert regularizers.get(torch.sum) is torch.sum
    with pytest.raises(UnknownNameError, match="Unknown regularizer"):
        regularizers.get("l3")
    with pytest.raises(ArgumentTypeError):
        regularizers.get(0.01)


def test_a_class_of_a_program():
    class Decay(regularizers.Regularizer):
        def __init__(self, rate):
            self.strength = rate

        def __call__(self, x):
            return self.strength * x.square().mean()

        def get_config(self):
            return {"rate": self.strength}

    config = regularizers.serialize(Decay(0.5))
    assert regularizers.deserialize(config, {"Decay": Decay})(torch.ones(3)).item() == 0.5
