"""Optimizers: kernels against rules, memory layouts, large weights, tracing, state, arguments, errors."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lamina import optimizers
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, StateError, UnknownNameError
from lamina.core.variable import Variable
from lamina.optimizers import blocks, schedules

PLAIN = {
    name: cls
    for name, cls in optimizers.NAMES.items()
    if name not in ("optimizer", "lossscaleoptimizer", "multioptimizer", "optimizermap")
}
OPTIONS = [
    ("adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "clipnorm": 0.1}),
    ("rmsprop", {"momentum": 0.9, "centered": True}),
    ("rmsprop", {"rho": 0.5}),
    ("adam", {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2}),
    ("adam", {"learning_rate": schedules.CosineDecay(0.01, 4, warmup_target=0.02, warmup_steps=2)}),
    ("adam", {"global_clipnorm": 0.5, "loss_scale_factor": 4.0}),
    *((name, {}) for name in PLAIN),
]
EACH = pytest.mark.parametrize(("name", "kwargs"), OPTIONS, ids=[f"{n}-{'-'.join(k)}" for n, k in OPTIONS])


def _make(name, kwargs):
    return PLAIN[name](**{"learning_rate": 0.01, **kwargs})


def _weights(shapes=((3, 4), (4,)), dtypes=(torch.float32,)):
    return [
        Variable(_random(shape, 1000 + index).to(dtypes[index % len(dtypes)]), name=f"w{index}")
        for index, shape in enumerate(shapes)
    ]


def _gradients(weights, step):
    return [_random(weight.shape, 100 * step + index).to(weight.dtype) for index, weight in enumerate(weights)]


def _random(shape, seed):
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def _train(optimizer, weights, steps=6, apply=None):
    for step in range(steps):
        (apply or optimizer.apply)(_gradients(weights, step), weights)
    return [weight.detach().clone() for weight in weights]


def _close(found, wanted, **tolerance):
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, **{"rtol": 2e-5, "atol": 2e-6, **tolerance})


def _step(optimizer):
    def step(weights, variables, gradients):
        with torch.no_grad(), optimizer.explicit(variables, weights):
            optimizer.apply(gradients, weights)
        return weights, variables

    return step


@EACH
def test_a_traced_step_is_the_same(name, kwargs):
    wanted_optimizer, weights = _make(name, kwargs), _weights()
    wanted = _train(wanted_optimizer, weights)
    for mode in ("real", "fake"):
        optimizer, weights = _make(name, kwargs), _weights()
        optimizer.build(weights)
        values = [weight.detach().clone() for weight in weights]
        state = [variable.detach().clone() for variable in optimizer.variables]
        copies = [value.clone() for value in values], [value.clone() for value in state]
        graph = make_fx(_step(optimizer), tracing_mode=mode)(*copies, _gradients(weights, 0))
        assert not [node for node in graph.graph.nodes if "local_scalar" in str(node.target)]
        for count in range(6):
            graph(values, state, _gradients(weights, count))
        _close(values, wanted, rtol=1e-4, atol=1e-5)
        for got, want in zip(state, wanted_optimizer.variables, strict=True):
            torch.testing.assert_close(got.float(), want.detach().float(), rtol=1e-3, atol=1e-5)


@EACH
def test_stateless_apply(name, kwargs):
    wanted_optimizer, weights = _make(name, kwargs), _weights()
    wanted = _train(wanted_optimizer, weights)
    optimizer, weights = _make(name, kwargs), _weights()
    optimizer.build(weights)
    values, state = list(weights), optimizer.variables
    before = [weight.detach().clone() for weight in weights]
    for step in range(6):
        values, state = optimizer.stateless_apply(state, _gradients(weights, step), values)
    _close(values, wanted, rtol=1e-4, atol=1e-5)
    _close([weight.detach() for weight in weights], before, rtol=0, atol=0)
    assert int(optimizer.iterations) == 0


@EACH
def test_other_layouts(name, kwargs):
    """Weights in the memory order of convolution kernels, gradients in another, as autograd may give them."""
    wanted = _train(_make(name, kwargs), _weights(((3, 3, 2, 4), (5, 3))))
    weights = _weights(((3, 3, 2, 4), (5, 3)))
    weights[0].data = (
        weights[0].data.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)
    )
    weights[1].data = weights[1].data.t().contiguous().t()
    strides = [weight.stride() for weight in weights]
    optimizer = _make(name, kwargs)
    _close(_train(optimizer, weights), wanted)
    assert [weight.stride() for weight in weights] == strides
    slots = [slot for slot in optimizer.variables if slot.shape == weights[0].shape]
    assert all(slot.stride() == strides[0] for slot in slots)


@EACH
def test_large_weights_in_pieces(name, kwargs, monkeypatch):
    shapes = ((40, 50), (7,), (3, 3, 20, 30), (31,))
    wanted = _train(_make(name, kwargs), _weights(shapes), 3)
    monkeypatch.setattr(blocks, "BLOCK", 256)
    monkeypatch.setattr(optimizers.base, "BLOCK", 256)
    weights = _weights(shapes)
    weights[2].data = (
        weights[2].data.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)
    )
    _close(_train(_make(name, kwargs), weights, 3), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_half_precision_weights_and_gradients(name):
    weights = _weights(dtypes=(torch.bfloat16,))
    optimizer = _make(name, {})
    _train(optimizer, weights, 3)
    assert all(weight.dtype is torch.bfloat16 and bool(weight.isfinite().all()) for weight in weights)
    weights = _weights()
    optimizer = _make(name, {})
    optimizer.apply([gradient.half() for gradient in _gradients(weights, 0)], weights)
    assert all(weight.dtype is torch.float32 for weight in weights)


@pytest.mark.parametrize("name", PLAIN)
def test_weights_of_several_dtypes(name):
    weights = _weights(dtypes=(torch.float32, torch.float64))
    optimizer = _make(name, {})
    found = _train(optimizer, weights)
    assert [value.dtype for value in found] == [torch.float32, torch.float64]
    _close([value.float() for value in found], _train(_make(name, {}), _weights()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PLAIN)
def test_parameters_of_torch(name):
    wanted = _train(_make(name, {"weight_decay": 0.1}), _weights())
    parameters = [torch.nn.Parameter(weight.detach().clone()) for weight in _weights()]
    optimizer = _make(name, {"weight_decay": 0.1})
    _close(_train(optimizer, parameters), wanted)
    assert len({variable.path for variable in optimizer.variables}) > 1


def test_rules_for_tensor_subclasses():
    class Tagged(torch.Tensor):
        """A kind of tensor that kernels must not look into."""

    for name in ("adam", "sgd", "rmsprop", "adagrad", "adamw"):
        wanted = _train(_make(name, {}), _weights())
        tagged = [weight.detach().clone().as_subclass(Tagged) for weight in _weights()]
        optimizer = _make(name, {})
        _close([value.as_subclass(torch.Tensor) for value in _train(optimizer, tagged)], wanted)
        assert not optimizer._fuses(tagged)


def test_sparse_gradients():
    weight = Variable(torch.ones(4, 2))
    indices, values = torch.tensor([[0, 2]]), torch.ones(2, 2)
    gradient = torch.sparse_coo_tensor(indices, values, (4, 2), check_invariants=True)
    optimizers.SGD(0.5).apply([gradient], [weight])
    assert weight[:, 0].tolist() == [0.5, 1.0, 0.5, 1.0]


def test_missing_gradients():
    weights = _weights()
    optimizer = optimizers.Adam()
    optimizer.build(weights)
    with pytest.warns(UserWarning, match="w1"):
        optimizer.apply([_gradients(weights, 0)[0], None], weights)
    assert bool(optimizer.variables[2].any()) and not bool(optimizer.variables[4].any())
    with pytest.warns(UserWarning, match="w0"):
        optimizer.apply([None, _gradients(weights, 0)[1]], weights)
    assert int(optimizer.iterations) == 2
    with pytest.raises(StateError, match="gradient"):
        optimizer.apply([None, None], weights)
    optimizer.apply([], [])
    assert int(optimizer.iterations) == 2


def test_gradients_are_left_alone():
    for kwargs in ({"clipvalue": 0.1}, {"clipnorm": 0.1}, {"global_clipnorm": 0.1}, {"loss_scale_factor": 2.0}):
        weights = _weights()
        gradients = _gradients(weights, 0)
        kept = [gradient.clone() for gradient in gradients]
        optimizers.SGD(momentum=0.9, nesterov=True, **kwargs).apply(gradients, weights)
        _close(gradients, kept, rtol=0, atol=0)


def test_infinite_gradients_under_a_global_norm():
    weight = Variable(torch.ones(2))
    optimizers.SGD(global_clipnorm=1.0).apply([torch.tensor([float("inf"), 1.0])], [weight])
    assert bool(weight.isnan().all())


def test_learning_rate():
    optimizer = optimizers.SGD(0.5)
    assert float(optimizer.learning_rate) == 0.5 and optimizer.learning_rate.numpy() == np.float32(0.5)
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate.assign(0.125)
    optimizer.learning_rate = np.float32(0.0625)
    optimizer.learning_rate = torch.tensor(0.03125)
    assert optimizer.get_config()["learning_rate"] == 0.03125
    optimizer.learning_rate = schedules.ExponentialDecay(1.0, 1, 0.5)
    assert len(optimizer.variables) == 1
    with pytest.raises(ArgumentTypeError, match="schedule"):
        optimizer.learning_rate = 0.1
    weight = Variable([1.0])
    optimizer.apply([torch.ones(1)], [weight])
    optimizer.apply([torch.ones(1)], [weight])
    assert weight[0].item() == -0.5 and float(optimizer.learning_rate) == 0.25
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert float(again.learning_rate) == 1.0
    assert float(optimizers.SGD(lambda: 0.5).learning_rate) == 0.5
    assert float(optimizers.SGD(1).learning_rate) == 1.0
    with pytest.raises(ArgumentError, match="learning_rate"):
        optimizers.SGD("fast")


def test_old_arguments(capsys):
    assert float(optimizers.Adam(lr=0.5).learning_rate) == 0.5
    optimizers.Adam(lr=0.5)
    assert capsys.readouterr().err.count("deprecated") == 1
    optimizers.SGD(decay=0.1)
    assert "decay" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kwargs",
    [
        {"learning_rat": 0.1},
        {"gradient_accumulation_steps": 1},
        {"use_ema": True, "ema_momentum": 2.0},
        {"use_ema": True, "ema_overwrite_frequency": 0.5},
        {"clipnorm": 1.0, "clipvalue": 1.0},
        {"momentum": 2.0},
    ],
)
def test_unusable_arguments(kwargs):
    with pytest.raises(ArgumentError):
        optimizers.SGD(**kwargs)


def test_more_unusable_arguments():
    for make in (
        lambda: optimizers.AdamW(weight_decay=None),
        lambda: optimizers.Lion(beta_1=0.0),
        lambda: optimizers.Ftrl(l1_regularization_strength=-1.0),
        lambda: optimizers.Ftrl(learning_rate_power=1.0),
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(), clipnorm=1.0),
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(), dynamic=False),
        lambda: schedules.ExponentialDecay(0.1, 0, 0.5),
        lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]),
    ):
        with pytest.raises(ArgumentError):
            make()


def test_weights_must_be_known():
    optimizer, weights = optimizers.Adam(), _weights()
    with pytest.raises(StateError, match="build"):
        optimizer.apply(_gradients(weights, 0))
    optimizer.build(weights)
    optimizer.apply(_gradients(weights, 0))
    with pytest.raises(StateError, match="sharding"):
        optimizer.apply([torch.ones(2)], [Variable(torch.ones(2))])
    with pytest.raises(ShapeError):
        optimizer.apply(_gradients(weights, 0)[:1])
    with pytest.raises(ShapeError, match="shape of its weight"):
        optimizer.apply([torch.ones(2), torch.ones(4)], weights)


def test_positional_arguments_are_those_of_keras():
    optimizer = optimizers.Adam(0.1, 0.8, 0.9, 1e-3, True, 0.01, 1.0)
    assert optimizer.weight_decay == 0.01 and optimizer.clipnorm == 1.0 and optimizer.amsgrad
    assert optimizers.AdamW(0.1, 0.2).weight_decay == 0.2
    with pytest.raises(TypeError):
        optimizers.Adam(0.1, learning_rate=0.2)  # type: ignore[misc]


def test_names():
    assert optimizers.get(None) is None
    assert isinstance(optimizers.get("Adam"), optimizers.Adam) and isinstance(optimizers.get("ADAM"), optimizers.Adam)
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)
    assert optimizers.get({"class_name": "adam", "config": {"beta_1": 0.5}}).beta_1 == 0.5
    optimizer = optimizers.SGD()
    assert optimizers.get(optimizer) is optimizer
    with pytest.raises(UnknownNameError, match="adam"):
        optimizers.get("adm")
    with pytest.raises(ArgumentTypeError):
        optimizers.get(3)


@EACH
def test_saving(name, kwargs):
    optimizer, weights = _make(name, kwargs), _weights()
    _train(optimizer, weights, 3)
    store = {}
    optimizer.save_own_variables(store)
    assert list(store) == [str(index) for index in range(len(optimizer.variables))]
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    copies = [Variable(weight.detach().clone(), name=weight.name) for weight in weights]
    again.build(copies)
    again.load_own_variables(store)
    assert int(again.iterations) == int(optimizer.iterations)
    for step in range(3, 5):
        optimizer.apply(_gradients(weights, step), weights)
        again.apply(_gradients(weights, step), copies)
    _close([c.detach() for c in copies], [w.detach() for w in weights])
    with pytest.warns(UserWarning, match="variables"):
        again.load_own_variables({"0": 1})


@EACH
def test_copies(name, kwargs):
    optimizer, weights = _make(name, kwargs), _weights()
    _train(optimizer, weights, 2)
    again, copies = copy.deepcopy((optimizer, weights))
    for step in range(2, 4):
        optimizer.apply(_gradients(weights, step), weights)
        again.apply(_gradients(copies, step), copies)
    _close([c.detach() for c in copies], [w.detach() for w in weights], rtol=0, atol=0)
    assert all(c is not w for c, w in zip(copies, weights, strict=True))
    assert type(pickle.loads(pickle.dumps(optimizer))) is type(optimizer)


class Signs(optimizers.Optimizer):
    """As programs write them for Keras."""

    def __init__(self, learning_rate=0.1, scale=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.scale = scale

    def build(self, var_list):
        super().build(var_list)
        self.sums = self.add_optimizer_variables(var_list, "sum", initializer="ones")
        self.pairs = self.add_optimizer_variables(var_list, ["first", "second"])

    def update_step(self, gradient, variable, learning_rate):
        total = self.sums[self._get_variable_index(variable)]
        self.assign_add(total, gradient)
        self.assign(variable, variable - learning_rate * self.scale * total.sign())


def test_an_optimizer_of_ones_own():
    optimizer, weights = Signs(scale=2.0, weight_decay=0.1), _weights()
    before = [weight.detach().clone() for weight in weights]
    gradients = _gradients(weights, 0)
    optimizer.apply(gradients, weights)
    for weight, old, gradient in zip(weights, before, gradients, strict=True):
        torch.testing.assert_close(weight.detach(), old * (1 - 0.01) - 0.2 * (1 + gradient).sign())
    assert [variable.path for variable in optimizer.variables[:4]] == [
        "signs/iteration",
        "signs/learning_rate",
        "signs/w0_sum",
        "signs/w1_sum",
    ]
    assert Signs.from_config(optimizer.get_config()).scale == 2.0
    with pytest.raises(NotImplementedError):
        optimizers.Optimizer(0.1).apply(gradients, weights)


class Warmup(schedules.LearningRateSchedule):
    def __init__(self, peak):
        self.peak = peak

    def __call__(self, step):
        return self.peak * torch.clamp((step + 1) / 10, max=1.0)


def test_a_schedule_of_ones_own():
    optimizer, weight = optimizers.SGD(Warmup(1.0)), Variable([0.0])
    for _ in range(3):
        optimizer.apply([torch.ones(1)], [weight])
    assert weight[0].item() == pytest.approx(-0.6)
    config = optimizers.serialize(optimizer)
    again = optimizers.deserialize(config, custom_objects={"Warmup": Warmup})
    assert again._learning_rate.peak == 1.0
    with pytest.raises(NotImplementedError):
        schedules.LearningRateSchedule()(0)


def test_optimizer_maps():
    first, second = optimizers.SGD(), optimizers.Adam()
    chosen = optimizers.OptimizerMap(first, {"a/.*": second})
    chosen["b/kernel"] = optimizers.Lion()
    assert chosen["a/kernel"] is second and chosen["c"] is first and len(chosen) == 2 and next(iter(chosen)) == "a/.*"
    for key, value in (("a/.*", first), (3, first), ("d", "adam"), ("d", optimizers.MultiOptimizer(chosen))):
        with pytest.raises(ArgumentError):
            chosen[key] = value
    chosen["a/k.*"] = first
    with pytest.raises(ArgumentError, match="Several"):
        chosen["a/kernel"]
    del chosen["a/k.*"]
    again = optimizers.OptimizerMap.from_config(chosen.get_config())
    assert isinstance(again["a/kernel"], optimizers.Adam) and isinstance(again["c"], optimizers.SGD)
    with pytest.raises(ArgumentTypeError):
        optimizers.OptimizerMap("sgd")  # type: ignore[arg-type]


def test_multi_optimizer():
    weights = _weights()
    chosen = optimizers.OptimizerMap(optimizers.SGD(0.5), {"w1": optimizers.Adam(0.1)})
    optimizer = optimizers.MultiOptimizer(chosen, loss_scale_factor=2.0)
    assert all(each.loss_scale_factor == 2.0 for each in optimizer.optimizers)
    _train(optimizer, weights, 3)
    assert int(optimizer.iterations) == 3 and len(optimizer.variables) == 1 + 1 + 2 + 2 + 2
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    with pytest.raises(AttributeError):
        _ = optimizer.learning_rate
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 0.1
    values, state = optimizer.stateless_apply(optimizer.variables, _gradients(weights, 4), weights)
    optimizer.apply(_gradients(weights, 4), weights)
    _close(values, [weight.detach() for weight in weights], rtol=1e-5, atol=1e-6)
    assert len(state) == len(optimizer.variables)
    optimizer.finalize_variable_values(weights)


def test_loss_scale_optimizer():
    inner, weight = optimizers.SGD(0.5), Variable([1.0])
    optimizer = optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)
    assert float(optimizer.scale_loss(torch.tensor(1.0))) == 8.0
    with pytest.raises(StateError):
        optimizer.apply([torch.ones(1)])
    optimizer.apply([torch.tensor([8.0])], [weight])
    assert weight[0].item() == 0.5
    optimizer.apply([torch.tensor([float("nan")])], [weight])
    assert weight[0].item() == 0.5 and float(optimizer.scale_loss(torch.tensor(1.0))) == 4.0
    optimizer.learning_rate = 0.25
    assert float(inner.learning_rate) == 0.25 == float(optimizer.learning_rate)
    values, _ = optimizer.stateless_apply(optimizer.variables, [torch.tensor([4.0])], [weight])
    assert float(values[0]) == 0.25 and weight[0].item() == 0.5
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


def test_moving_averages():
    optimizer, weight = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), Variable([0.0])
    for _ in range(3):
        optimizer.apply([-torch.ones(1)], [weight])
    assert weight[0].item() == 3.0
    optimizer.finalize_variable_values([weight])
    assert weight[0].item() == pytest.approx(2.25)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_state_follows_the_weights():
    for name, kwargs in OPTIONS:
        optimizer, weights = _make(name, kwargs), _weights()
        wanted = _train(_make(name, kwargs), _weights())
        _train(optimizer, weights, 3)
        for weight in weights:
            weight.data = weight.data.cuda()
        for step in range(3, 6):
            optimizer.apply([gradient.cuda() for gradient in _gradients(_weights(), step)], weights)
        _close([weight.detach().cpu() for weight in weights], wanted, rtol=1e-3, atol=1e-4)


def test_arrays_as_gradients():
    weights = [Variable([1.0, 2.0]), Variable([1.0, 2.0])]
    optimizers.SGD(0.5).apply([np.array([1.0, 2.0])], weights[:1])
    optimizers.SGD(0.5).apply([torch.tensor([1.0, 2.0])], weights[1:])
    np.testing.assert_array_equal(weights[0].numpy(), weights[1].numpy())


@pytest.mark.parametrize("explicit", [False, True])
def test_values_in_the_place_of_gradients_with_accumulation(explicit):
    scale, weight = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    scale.overwrite_with_gradient = True
    optimizer = optimizers.SGD(1.0, gradient_accumulation_steps=2)
    optimizer.build([scale, weight])
    seen = []
    for value in ([1.0, 5.0], [2.0, 4.0], [3.0, 3.0]):
        with optimizer.explicit() if explicit else contextlib.nullcontext():
            optimizer.apply([torch.tensor(value), torch.ones(2)], [scale, weight])
        seen.append((scale.numpy().tolist(), weight.numpy().tolist()))
    assert seen == [([1.0, 2.0], [1.0, 2.0]), ([2.0, 5.0], [0.0, 1.0]), ([2.0, 5.0], [0.0, 1.0])]


def test_values_in_the_place_of_gradients_are_not_scaled():
    scale, weight = Variable([1.0]), Variable([1.0])
    scale.overwrite_with_gradient = True
    optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(0.5), initial_scale=4.0)
    optimizer.apply([torch.tensor([8.0]), torch.tensor([4.0])], [scale, weight])
    assert (float(scale), float(weight)) == (8.0, 0.5)
    alone = optimizers.LossScaleOptimizer(optimizers.SGD(0.5))
    alone.apply([torch.tensor([3.0])], [scale])
    assert float(scale) == 3.0 and int(alone.iterations) == 1


def test_one_weight_of_muon():
    weight = Variable([1.0, 2.0, 3.0, 4.0], name="some")
    optimizer = optimizers.Muon()
    optimizer.build([weight])
    optimizer.update_step(torch.tensor([1.0, 6.0, 7.0, 2.0]), weight, 0.5)
    np.testing.assert_allclose(weight.numpy(), [0.5, 1.5, 2.5, 3.5], rtol=1e-4)


@pytest.mark.parametrize("explicit", [False, True])
def test_ftrl_rests_at_a_learning_rate_of_zero(explicit):
    weight, optimizer = Variable([1.0, -2.0]), optimizers.Ftrl(0.1)
    optimizer.build([weight])
    for rate in (0.1, 0.0, 0.1):
        optimizer.learning_rate = rate
        before = weight.numpy().copy()
        with optimizer.explicit() if explicit else contextlib.nullcontext():
            optimizer.apply([torch.ones(2)], [weight])
        assert np.isfinite(weight.numpy()).all() and (weight.numpy() == before).all() == (rate == 0)


@pytest.mark.parametrize("name", ["Lamb", "Ftrl", "Adafactor", "Nadam", "ScheduleFreeAdamW"])
def test_large_weights_are_updated_like_small_ones(name):
    """Cut into pieces or not, the result is the same."""
    value = np.random.default_rng(0).normal(size=(1100, 1000)).astype("float32")
    whole, pieces = [Variable(value) for _ in range(2)]
    ours, theirs = (getattr(optimizers, name)(0.1) for _ in range(2))
    for optimizer, weight in ((ours, whole), (theirs, pieces)):
        optimizer.build([weight])
    for step in range(3):
        gradient = torch.tensor(np.roll(value, step + 1, 0))
        ours.apply([gradient], [whole])
        with theirs.explicit():
            theirs.apply([gradient], [pieces])
    np.testing.assert_allclose(whole.numpy(), pieces.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 100), (100, 8), (3, 8, 100), (3, 100, 8), (20, 30)])
@pytest.mark.parametrize("rank", [None, 2])
def test_muon_iterates_on_long_and_stacked_matrices_as_on_others(shape, rank):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    if rank:
        matrices = torch.randn(*shape[:-1], rank) @ torch.randn(*shape[:-2], rank, shape[-1])
    optimizer = optimizers.Muon()
    wanted = matrices.double() if shape[-2] <= shape[-1] else matrices.double().mT
    wanted = wanted / (torch.linalg.matrix_norm(wanted, keepdim=True) + 1e-7)
    for _ in range(5):
        square = wanted @ wanted.mT
        wanted = optimizer.muon_a * wanted + (optimizer.muon_b * square + optimizer.muon_c * square @ square) @ wanted
    wanted = wanted if shape[-2] <= shape[-1] else wanted.mT
    found = optimizer.zeropower_via_newtonschulz5(matrices, 5).double()
    assert float((found - wanted).norm() / wanted.norm()) < 3e-4


@pytest.mark.parametrize("least", [0.1, 1e-9, 0.0])
def test_adagrad_adds_epsilon_under_the_root_whatever_sums_were_loaded(least):
    rng = np.random.default_rng(0)
    first, sums = rng.normal(size=50), rng.random(50) * 1e-6 + least
    weight = torch.nn.Parameter(torch.tensor(first, dtype=torch.float32))
    optimizer = optimizers.Adagrad(0.1)
    optimizer.build([weight])
    optimizer.load_own_variables({"0": np.int64(0), "1": np.float32(0.1), "2": sums.astype("float32")})
    for _ in range(5):
        gradient = rng.normal(size=50) * 1e-5
        sums = sums + gradient**2
        first = first - 0.1 * gradient / np.sqrt(sums + 1e-7)
        optimizer.apply([torch.tensor(gradient, dtype=torch.float32)], [weight])
    np.testing.assert_allclose(weight.detach().numpy(), first, rtol=2e-6, atol=1e-6)


def test_legacy_optimizers_say_where_they_are_today():
    for name in ("Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop", "SGD"):
        with pytest.raises(ImportError, match=r"lamina\.optimizers"):
            getattr(optimizers.legacy, name)(0.1)
