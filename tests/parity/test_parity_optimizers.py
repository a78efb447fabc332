"""Optimizers and schedules against the real Keras: weights and state after many steps, configs, names, variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from tests.parity.grids import sample

from lamina import optimizers
from lamina.core.variable import Variable
from lamina.optimizers import schedules

SHAPES = [(3, 4), (4,), (), (2, 3, 2)]
STEPS = 30
OWN = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.8, "nesterov": True}, {"nesterov": True}],
    "RMSprop": [{}, {"centered": True}, {"momentum": 0.7}, {"centered": True, "momentum": 0.5, "rho": 0.8}],
    "Adam": [{}, {"amsgrad": True}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}],
    "AdamW": [{}, {"weight_decay": 0.1, "amsgrad": True}],
    "Adamax": [{}, {"beta_1": 0.5, "epsilon": 1e-3}],
    "Nadam": [{}, {"beta_1": 0.5, "epsilon": 1e-3}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.0}],
    "Adadelta": [{}, {"learning_rate": 1.0, "rho": 0.8}],
    "Lion": [{}, {"beta_1": 0.5}],
    "Lamb": [{}, {"epsilon": 1e-3}],
    "Ftrl": [
        {},
        {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2, "beta": 0.1},
        {"l2_shrinkage_regularization_strength": 0.1, "learning_rate_power": -0.3},
    ],
    "Adafactor": [{}, {"relative_step": False, "learning_rate": 0.1}, {"clip_threshold": 0.5}],
    "Muon": [{}, {"nesterov": False, "rms_rate": None}, {"exclude_layers": ["v0"], "weight_decay": None}],
}
SHARED = [
    {"weight_decay": 0.05},
    {"clipnorm": 0.3},
    {"clipvalue": 0.05},
    {"global_clipnorm": 0.4},
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "weight_decay": 0.1},
]
CASES = [(name, kwargs) for name, each in OWN.items() for kwargs in each]
CASES += [(name, kwargs) for name in ("SGD", "RMSprop", "Adam", "Nadam", "Lamb") for kwargs in SHARED]


def _values(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.normal(size=shape), "float32") for shape in SHAPES]


def _run(optimizer, variable, scales, learning_rates=None):
    """Weights after every step, and the state at the end."""
    weights = [variable(value, name=f"v{index}") for index, value in enumerate(_values(0))]
    trace = []
    for step, scale in enumerate(scales):
        if learning_rates is not None:
            optimizer.learning_rate = learning_rates[step]
        gradients = [torch.tensor(value) for value in _values(step + 1, scale)]
        optimizer.apply(gradients, weights)
        trace.append([np.array(keras.ops.convert_to_numpy(torch.as_tensor(w.numpy()))) for w in weights])
    state = [np.array(v.numpy()) for v in optimizer.variables]
    optimizer.finalize_variable_values(weights)
    trace.append([np.array(w.numpy()) for w in weights])
    return trace, state


def _compare(theirs, ours, scales=None, learning_rates=None, rtol=2e-5, atol=2e-6):
    scales = scales or [1.0] * STEPS
    trace, state = _run(theirs, keras.Variable, scales, learning_rates)
    our_trace, our_state = _run(ours, Variable, scales, learning_rates)
    for step, (wanted, found) in enumerate(zip(trace, our_trace, strict=True)):
        for want, got in zip(wanted, found, strict=True):
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=f"step {step}")
    assert [value.shape for value in our_state] == [value.shape for value in state]
    for want, got in zip(state, our_state, strict=True):
        np.testing.assert_allclose(got, want, rtol=5e-5, atol=atol)


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=[f"{n}-{'-'.join(map(str, k))}" for n, k in CASES])
def test_steps(name, kwargs):
    _compare(getattr(keras.optimizers, name)(**kwargs), getattr(optimizers, name)(**kwargs))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Nadam", "Adamax", "Adadelta"])
def test_tiny_and_huge_gradients(name):
    for scale in (1e-9, 1e-7, 1e-5, 1e4):
        rate = {"learning_rate": 0.1}
        _compare(
            getattr(keras.optimizers, name)(**rate),
            getattr(optimizers, name)(**rate),
            scales=[scale] * 50,
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_changing_learning_rate(name):
    rates = [0.1 / (step + 1) for step in range(20)]
    kwargs = {"momentum": 0.9} if name == "SGD" else {}
    _compare(
        getattr(keras.optimizers, name)(**kwargs),
        getattr(optimizers, name)(**kwargs),
        scales=[1.0] * 20,
        learning_rates=rates,
    )


def test_schedule_as_learning_rate():
    for name in ("SGD", "Adam", "Adafactor"):
        theirs = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
        ours = schedules.ExponentialDecay(0.1, 5, 0.5)
        _compare(getattr(keras.optimizers, name)(theirs), getattr(optimizers, name)(ours), atol=2e-5)


def test_weight_decay_exclusions():
    for name in ("SGD", "AdamW"):
        theirs = getattr(keras.optimizers, name)(weight_decay=0.3)
        ours = getattr(optimizers, name)(weight_decay=0.3)
        for optimizer in (theirs, ours):
            optimizer.exclude_from_weight_decay(var_names=["v[12]"])
        _compare(theirs, ours)


def test_schedule_free_adamw_follows_the_paper():
    """Keras on torch reads the new steps where the paper has the old ones, so the reference is computed here."""
    ours = optimizers.ScheduleFreeAdamW(learning_rate=0.1, warmup_steps=4)
    weight = Variable(np.linspace(-1, 1, 5).astype("float32"))
    z = x = y = np.linspace(-1, 1, 5)
    squares = np.zeros(5)
    rng = np.random.default_rng(0)
    for step in range(1, 21):
        gradient = rng.normal(size=5)
        squares = 0.999 * squares + 0.001 * gradient**2
        z = z - 0.1 * min(step / 4, 1) * gradient / (np.sqrt(squares / (1 - 0.999**step)) + 1e-8)
        x = (1 - 1 / step) * x + z / step
        y = 0.1 * z + 0.9 * x
        ours.apply([torch.tensor(gradient, dtype=torch.float32)], [weight])
        np.testing.assert_allclose(weight.numpy(), y, rtol=1e-4, atol=1e-5)


def test_loss_scale_optimizer():
    for module, variable in ((keras.optimizers, keras.Variable), (optimizers, Variable)):
        optimizer = module.LossScaleOptimizer(module.SGD(0.1), initial_scale=4.0, dynamic_growth_steps=3)
        weight = variable(np.ones(2, "float32"))
        scales = []
        for step in range(10):
            gradient = torch.tensor([1.0, float("inf") if step in (4, 5) else 2.0])
            optimizer.apply([gradient], [weight])
            scales.append(float(optimizer.dynamic_scale.numpy()))
        outcome = (scales, weight.numpy().tolist(), int(optimizer.iterations.numpy()))
        if module is keras.optimizers:
            wanted = outcome
    assert outcome == wanted


def test_multi_optimizer():
    results = []
    for module, variable in ((keras.optimizers, keras.Variable), (optimizers, Variable)):
        chosen = module.OptimizerMap(module.SGD(0.1), {"v[13]": module.Adam(0.01)})
        trace, state = _run(module.MultiOptimizer(chosen), variable, [1.0] * 5)
        results.append((trace, state))
    for want, got in zip(results[0][0], results[1][0], strict=True):
        for each, other in zip(want, got, strict=True):
            np.testing.assert_allclose(other, each, rtol=2e-5, atol=1e-6)
    assert [s.shape for s in results[0][1]] == [s.shape for s in results[1][1]]


def test_constraints():
    results = []
    for module, variable in ((keras.optimizers, keras.Variable), (optimizers, Variable)):
        weight = variable(np.array([1.0, -1.0], "float32"))
        weight.constraint = lambda value: value * (value > 0)
        module.SGD(0.5).apply([torch.ones(2)], [weight])
        results.append(weight.numpy().tolist())
    assert results[0] == results[1]


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=[f"{n}-{'-'.join(map(str, k))}" for n, k in CASES])
def test_config(name, kwargs):
    theirs, ours = getattr(keras.optimizers, name)(**kwargs), getattr(optimizers, name)(**kwargs)
    wanted, config = theirs.get_config(), ours.get_config()
    for given in (wanted, config):
        given["name"] = given["name"].rstrip("_0123456789")
    assert config == wanted
    again = type(ours).from_config(theirs.get_config())
    assert again.get_config() == {**theirs.get_config()}


@pytest.mark.parametrize("name", OWN)
def test_variables(name):
    paths = []
    for module, variable in ((keras.optimizers, keras.Variable), (optimizers, Variable)):
        optimizer = getattr(module, name)(use_ema=True, gradient_accumulation_steps=2)
        optimizer.build([variable(np.ones((2, 3), "float32"), name="k"), variable(np.ones(3, "float32"), name="b")])
        paths.append([v.path.split("/")[-1] for v in optimizer.variables])
    if name not in ("Adafactor", "Nadam"):
        assert paths[0] == paths[1]
    assert len(paths[0]) == len(paths[1])


@pytest.mark.parametrize("name", sorted(keras.src.optimizers.ALL_OBJECTS_DICT))
def test_get_by_name(name):
    if name in ("optimizer", "lossscaleoptimizer", "multioptimizer", "optimizermap"):
        assert name in optimizers.NAMES
        return
    assert type(optimizers.get(name)).__name__.lower() == name


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9}),
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9, "staircase": True},
    ),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9}),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9, "staircase": True},
    ),
    ("PiecewiseConstantDecay", {"boundaries": [10, 20], "values": [1.0, 0.5, 0.1]}),
    ("PiecewiseConstantDecay", {"boundaries": [10.0, 20.0, 30.5], "values": [1.0, 0.5, 0.1, 0.01]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 13}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 13, "power": 0.5, "cycle": True}),
    (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 13, "power": 2.0, "end_learning_rate": 0.01},
    ),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 13}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 13, "alpha": 0.2}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.0, "decay_steps": 13, "warmup_target": 0.1, "warmup_steps": 5},
    ),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 7}),
    (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 7, "t_mul": 1.0, "m_mul": 0.8},
    ),
    (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 6, "m_mul": 0.9, "alpha": 0.1},
    ),
]


@pytest.mark.parametrize(("name", "kwargs"), SCHEDULES)
def test_schedules(name, kwargs):
    theirs, ours = getattr(keras.optimizers.schedules, name)(**kwargs), getattr(schedules, name)(**kwargs)
    for step in range(100):
        want, got = float(theirs(step)), ours(step)
        assert got.dtype is torch.float32 and got.shape == ()
        np.testing.assert_allclose(float(got), want, rtol=2e-5, atol=1e-7, err_msg=f"step {step}")
        np.testing.assert_allclose(float(ours(torch.tensor(step))), want, rtol=2e-5, atol=1e-7)
    assert ours.get_config() == theirs.get_config()
    assert schedules.deserialize(schedules.serialize(ours)).get_config() == ours.get_config()
    assert schedules.deserialize(keras.optimizers.schedules.serialize(theirs)).get_config() == ours.get_config()


def test_grid():
    """A part of the grid; `python -m tests.parity.grids` runs all of it."""
    sample("optimizers", every=9)


def test_grid_of_schedules():
    sample("schedules", every=7)
