"""Every optimizer with its own and with the shared options: weights and state over 50 steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from tests.parity.grids import Case

import lamina

PACKAGES = (lamina, keras)
STEPS = 50
SHAPES = ((3, 4), (4,), (), (2, 3, 2))
SPARSE_FROM = 30
"""From this step on, the last weight has no gradient."""

OWN: dict[str, list[dict[str, Any]]] = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.8, "nesterov": True}, {"nesterov": True}],
    "RMSprop": [
        {},
        {"centered": True},
        {"momentum": 0.7},
        {"centered": True, "momentum": 0.5, "rho": 0.8, "epsilon": 1e-3},
    ],
    "Adam": [{}, {"amsgrad": True}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}],
    "AdamW": [{}, {"weight_decay": 0.1, "amsgrad": True}],
    "Adamax": [{}, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}],
    "Nadam": [{}, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.0, "epsilon": 1e-3}],
    "Adadelta": [{}, {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3}],
    "Lion": [{}, {"beta_1": 0.5, "beta_2": 0.7}, {"beta_1": 1.0}],
    "Lamb": [{}, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}],
    "ScheduleFreeAdamW": [{}, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}, {"warmup_steps": 10}, {"beta_1": 0.0}],
    "Ftrl": [
        {},
        {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2, "beta": 0.1},
        {"l2_shrinkage_regularization_strength": 0.1, "learning_rate_power": -0.3, "initial_accumulator_value": 0.0},
        {"learning_rate_power": 0.0},
    ],
    "Adafactor": [
        {},
        {"relative_step": False, "learning_rate": 0.1},
        {"clip_threshold": 0.5, "beta_2_decay": -0.5, "epsilon_1": 1e-10, "epsilon_2": 0.1},
    ],
    "Muon": [
        {},
        {"nesterov": False, "rms_rate": None, "adam_lr_ratio": 0.3},
        {"exclude_layers": ["v0"], "weight_decay": None},
        {"ns_steps": 3, "momentum": 0.5, "muon_a": 3.0, "adam_weight_decay": None},
    ],
}
SHARED: list[dict[str, Any]] = [
    {},
    {"learning_rate": 0.1},
    {"weight_decay": 0.05},
    {"weight_decay": 0.3, "excluded": ["v[12]"]},
    {"clipnorm": 0.3},
    {"clipvalue": 0.05},
    {"global_clipnorm": 0.4},
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "weight_decay": 0.1},
    {"schedule": ("ExponentialDecay", (0.1, 5, 0.5))},
    {"schedule": ("CosineDecay", (0.1, 20)), "gradient_accumulation_steps": 2, "clipnorm": 0.5},
    {"function": 0.05},
    {"scale": 1e-9},
    {"scale": 1e4},
]


def values(seed: int, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.normal(size=shape), "float32") for shape in SHAPES]


class Kept(keras.Variable):
    """A variable whose value is a copy: Keras on torch changes in place what its schedule-free rule calls old steps."""

    @property
    def value(self) -> torch.Tensor:
        return super().value.clone()

    def _direct_assign(self, value: Any) -> None:
        self._value.data.copy_(value)


def runner(name: str, options: dict[str, Any]) -> Callable[[Any], list[np.ndarray]]:
    def run(package: Any) -> list[np.ndarray]:
        given = dict(options)
        excluded, scale = given.pop("excluded", None), given.pop("scale", 1.0)
        if "schedule" in given:
            kind, arguments = given.pop("schedule")
            given["learning_rate"] = getattr(package.optimizers.schedules, kind)(*arguments)
        if "function" in given:
            rate = given.pop("function")
            given["learning_rate"] = lambda: rate
        optimizer = getattr(package.optimizers, name)(**given)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        weights = [package.Variable(value, name=f"v{place}") for place, value in enumerate(values(0))]
        optimizer.build(weights)
        if name == "ScheduleFreeAdamW" and package is keras:
            for steps in optimizer._momentums:
                steps.__class__ = Kept
        found = []
        for step in range(STEPS):
            gradients: list[Any] = [torch.tensor(value) for value in values(step + 1, scale)]
            optimizer.apply([*gradients[:3], None] if step >= SPARSE_FROM else gradients, weights)
            if step % 7 == 0 or step == STEPS - 1:
                found += [np.array(weight.numpy()) for weight in weights]
        found += [np.asarray(variable.numpy(), "float64") for variable in optimizer.variables]
        optimizer.finalize_variable_values(weights)
        return found + [np.array(weight.numpy()) for weight in weights]

    return run


def cases() -> Iterator[Case]:
    """All cells of the grid."""
    for name, each in OWN.items():
        for own in each:
            for shared in SHARED:
                words = ", ".join(f"{key}={value!r}" for key, value in {**own, **shared}.items())
                yield Case(f"{name}({words})", runner(name, {**own, **shared}), 5e-4, 2e-5)


DELIBERATE: dict[str, str] = {
    r"ScheduleFree.*beta_1=0.0": "Without beta_1 the weights are the steps; in Keras they are NaN.",
    r"Ftrl\(.*CosineDecay": "At a learning rate of 0 weights stay; in Keras they become NaN for ever.",
}
"""Patterns of "case: difference", and why lamina does otherwise."""
