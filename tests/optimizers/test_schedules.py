"""Schedules that Keras lacks: one cycle, and a warm-up before any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import optimizers
from lamina.core.errors import ArgumentError
from lamina.core.variable import Variable
from lamina.optimizers import schedules


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"anneal_strategy": "linear"},
        {"three_phase": True},
        {"three_phase": True, "anneal_strategy": "linear"},
        {"pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 100.0},
        {"pct_start": 0.0},
    ],
)
def test_one_cycle_is_that_of_torch(options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=200, cycle_momentum=False, **options)
    ours = schedules.OneCycle(0.1, 200, **options)
    for step in range(200):
        assert float(ours(step)) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-5, abs=1e-7)
        optimizer.step()
        if step < 199:
            theirs.step()
    assert float(ours(torch.tensor(1000))) == float(ours(199))


@pytest.mark.parametrize("inner", [0.5, schedules.ExponentialDecay(0.5, 10, 0.5), schedules.OneCycle(0.1, 20)])
def test_warm_up(inner):
    after = inner if callable(inner) else lambda step: inner
    for start in (0.0, 0.2):
        schedule = schedules.WarmUp(inner, warmup_steps=8, initial_learning_rate=start)
        first = float(after(0))
        for step in range(30):
            expected = start + (first - start) * step / 8 if step < 8 else float(after(step - 8))
            assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)
            assert float(schedule(torch.tensor(step))) == float(schedule(step))
    assert float(schedules.WarmUp(inner, 0)(3)) == pytest.approx(float(after(3)))
    assert schedules.LinearWarmup is schedules.WarmUp


def test_their_configs():
    optimizer = optimizers.Adam(schedules.WarmUp(schedules.OneCycle(0.1, 20, three_phase=True), 5))
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    weights = [Variable(np.ones(2, "float32")) for _ in range(2)]
    for step in range(20):
        for each, weight in zip((optimizer, again), weights, strict=True):
            each.apply([torch.full((2,), float(step - 7))], [weight])
    assert weights[0].numpy().tolist() == weights[1].numpy().tolist() != [1.0, 1.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.OneCycle(0.1, 0),
        lambda: schedules.OneCycle(0.1, 10, pct_start=1.5),
        lambda: schedules.OneCycle(0.1, 10, anneal_strategy="cosine"),
        lambda: schedules.WarmUp(0.1, -1),
    ],
)
def test_arguments(make):
    with pytest.raises(ArgumentError):
        make()
