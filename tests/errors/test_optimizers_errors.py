"""Each error of optimizers, provoked."""

import pytest
import torch

from lamina import Variable, optimizers
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingPackageError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from lamina.optimizers import SGD, Adam, LossScaleOptimizer, schedules
from lamina.optimizers.combined import MultiOptimizer, OptimizerMap


class Unwritten(optimizers.Optimizer):
    pass


class Rises(schedules.LearningRateSchedule):
    pass


def built(optimizer, count=1):
    optimizer.build([Variable(torch.ones(3), name=f"weight_{place}") for place in range(count)])
    return optimizer


def ones(size=3):
    return torch.ones(size)


def both():
    return OptimizerMap(SGD(), {"a.*": SGD(), ".*b": SGD()})["ab"]


def put(key, optimizer):
    chosen = OptimizerMap(SGD(), {"a": SGD()})
    chosen[key] = optimizer


def set_schedule():
    Adam(schedules.CosineDecay(0.1, 10)).learning_rate = 0.1


CASES = {
    "a number for an optimizer": (lambda: optimizers.get(3), ArgumentTypeError, "class Optimizer"),
    "a function for an optimizer": (lambda: optimizers.get(print), ArgumentTypeError, "where: optimizer"),
    "an argument": (lambda: Adam(learning_rat=0.1), ArgumentError, 'mean "learning_rate"'),
    "no number": (lambda: Adam(beta_1="0.9"), ArgumentTypeError, "Adam(beta_1=...)"),
    "no shared number": (lambda: SGD(clipnorm="1"), ArgumentTypeError, "SGD(clipnorm=...)"),
    "a rate": (lambda: Adam("fast"), ArgumentError, "LearningRateSchedule"),
    "a rate beside a schedule": (set_schedule, ArgumentTypeError, "another LearningRateSchedule"),
    "one accumulated step": (lambda: Adam(gradient_accumulation_steps=1), ArgumentError, "2 and more"),
    "an average": (lambda: Adam(use_ema=True, ema_momentum=2.0), ArgumentError, "0 to 1"),
    "a frequency": (lambda: Adam(use_ema=True, ema_overwrite_frequency=-1), ArgumentError, "ema_overwrite_frequency"),
    "a factor": (lambda: Adam(loss_scale_factor=0), ArgumentError, "loss_scale_factor"),
    "two clips": (lambda: Adam(clipnorm=1.0, clipvalue=1.0), ArgumentError, "one of them"),
    "momentum": (lambda: SGD(momentum=2.0), ArgumentError, "0 to 1"),
    "no decay": (lambda: optimizers.AdamW(weight_decay=None), ArgumentError, "use Adam"),
    "beta of Lion": (lambda: optimizers.Lion(beta_1=0.0), ArgumentError, "0 < x <= 1"),
    "Ftrl": (
        lambda: optimizers.Ftrl(l1_regularization_strength=-1.0),
        ArgumentError,
        "Ftrl(l1_regularization_strength=",
    ),
    "Ftrl's power": (lambda: optimizers.Ftrl(learning_rate_power=1.0), ArgumentError, "<= 0"),
    "no rule": (lambda: Unwritten(0.1).apply([ones()], [Variable(ones())]), UnsupportedError, "rule(self"),
    "gradients of nothing": (lambda: Adam().apply([ones()]), StateError, "optimizer.build(variables)"),
    "too few gradients": (lambda: built(Adam(), 2).apply([ones()]), ShapeError, "or None, for each variable"),
    "no gradients": (lambda: built(Adam()).apply([None]), StateError, "in __init__"),
    "a larger gradient": (lambda: Adam().apply([ones(4)], [Variable(ones())]), ShapeError, "order of the variables"),
    "other variables": (lambda: built(Adam()).apply([ones()], [Variable(ones())]), StateError, "compile() again"),
    "no pairs": (lambda: Adam().apply_gradients([ones()]), ArgumentError, "zip(grads, variables)"),
    "initializers": (
        lambda: Adam().add_optimizer_variables([], ["a", "b"], ["zeros"]),
        ArgumentError,
        "add_optimizer_variables(",
    ),
    "assigned before": (
        lambda: Adam().stateless_apply([], [ones()], [ones()]),
        StateError,
        "optimizer.build(trainable_variables)",
    ),
    "too few values": (lambda: built(Adam()).stateless_apply([], [ones()], [ones()]), ShapeError, "optimizer 'adam"),
    "fixed scale": (lambda: LossScaleOptimizer(Adam(), dynamic=False), ArgumentError, "loss_scale_factor"),
    "scaled name": (lambda: LossScaleOptimizer("adam"), ArgumentTypeError, "such as Adam()"),
    "scaled clip": (lambda: LossScaleOptimizer(Adam(), clipnorm=1.0), ArgumentError, "on the inner optimizer"),
    "scaled without weights": (lambda: LossScaleOptimizer(Adam()).apply([ones()]), StateError, "optimizer.build"),
    "no default": (lambda: OptimizerMap(None), ArgumentTypeError, "default_optimizer"),
    "no map": (lambda: OptimizerMap(SGD(), [1]), ArgumentTypeError, '{"path or pattern": optimizer}'),
    "two patterns": (both, ArgumentError, "narrower"),
    "a key twice": (lambda: put("a", SGD()), ArgumentError, "del map['a']"),
    "a key": (lambda: put(1, SGD()), ArgumentError, "map[key]"),
    "an entry": (lambda: put("b", "adam"), ArgumentError, "map['b']"),
    "a scaled part": (lambda: MultiOptimizer({"a": LossScaleOptimizer(SGD())}), ArgumentError, "a plain optimizer"),
    "parts without weights": (lambda: MultiOptimizer(OptimizerMap(SGD())).apply([ones()]), StateError, "build"),
    "too few for parts": (
        lambda: built(MultiOptimizer(OptimizerMap(SGD())), 2).apply([ones()]),
        StateError,
        "one gradient, or None",
    ),
    "of Keras 2": (lambda: optimizers.legacy.Adam(), MissingPackageError, "lamina run"),
    "no steps": (lambda: schedules.ExponentialDecay(0.1, "10", 0.9), ArgumentError, "decay_steps"),
    "no schedule": (lambda: Rises()(0), UnsupportedError, "__call__(self, step)"),
    "values": (lambda: schedules.PiecewiseConstantDecay([1], [1.0]), ArgumentError, "expected: 2"),
    "share": (lambda: schedules.OneCycle(0.1, 10, pct_start=2.0), ArgumentError, "0 to 1"),
    "warm-up": (lambda: schedules.WarmUp(0.1, -1), ArgumentError, "warmup_steps"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in str(caught.value)
