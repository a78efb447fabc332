"""Every learning rate schedule over its arguments, at 1,000 steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from tests.parity.grids import Case

from lamina.optimizers import schedules

PACKAGES = (schedules, keras.optimizers.schedules)
POINTS = 1000
RATES: dict[str, tuple[Any, ...]] = {"initial_learning_rate": (0.1, 3.0)}
GRID: list[tuple[str, dict[str, tuple[Any, ...]]]] = [
    *(
        (name, {**RATES, "decay_steps": (7, 333.3), "decay_rate": (0.9, 1.5), "staircase": (False, True)})
        for name in ("ExponentialDecay", "InverseTimeDecay")
    ),
    (
        "PiecewiseConstantDecay",
        {"boundaries": ([10, 20], [100.0, 250.5], [0, 999]), "values": ([1.0, 0.5, 0.1], [0.1, 1.0, 2.0])},
    ),
    (
        "PolynomialDecay",
        {
            **RATES,
            "decay_steps": (13, 700),
            "end_learning_rate": (0.0001, 0.2),
            "power": (1.0, 0.5, 3.0),
            "cycle": (False, True),
        },
    ),
    (
        "CosineDecay",
        {
            **RATES,
            "decay_steps": (13, 700),
            "alpha": (0.0, 0.2),
            "warmup_target": (None, 0.5),
            "warmup_steps": (0, 1, 50),
        },
    ),
    (
        "CosineDecayRestarts",
        {**RATES, "first_decay_steps": (9, 130), "t_mul": (1.0, 2.0, 1.3), "m_mul": (1.0, 0.8), "alpha": (0.0, 0.1)},
    ),
]


def runner(name: str, options: dict[str, Any]) -> Callable[[Any], list[np.ndarray]]:
    def run(package: Any) -> list[np.ndarray]:
        schedule = getattr(package, name)(**options)
        again = type(schedule).from_config(schedule.get_config())
        points = [float(schedule(step)) for step in range(POINTS)]
        points += [float(again(torch.tensor(step))) for step in range(0, POINTS, 50)]
        return [np.asarray(points)]

    return run


def cases() -> Iterator[Case]:
    """All cells of the grid."""
    for name, arguments in GRID:
        for each in itertools.product(*arguments.values()):
            options = dict(zip(arguments, each, strict=True))
            words = ", ".join(f"{key}={value!r}" for key, value in options.items())
            yield Case(f"{name}({words})", runner(name, options), 1e-4, 1e-6)


DELIBERATE: dict[str, str] = {}
"""Patterns of "case: difference", and why lamina does otherwise."""
