"""Random tensors: seeds, generators, dtypes, and what they do while shapes are inferred."""

from __future__ import annotations

import copy
import math
import multiprocessing
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lamina
from lamina import ops, random
from lamina.core.errors import LaminaError
from lamina.core.seeds import draw_seed, set_random_seed
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
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.filterwarnings("error")
def test_float_dtypes(name, dtype):
    for seed in (None, 1, random.SeedGenerator(1)):
        drawn = DRAWS[name](dtype=dtype, seed=seed)
        assert drawn.dtype is getattr(torch, dtype)
        assert drawn.isfinite().all()
    with pytest.raises(LaminaError, match=name):
        DRAWS[name](dtype="int32")


@pytest.mark.parametrize("dtype", "uint8 uint16 uint32 int8 int16 int32 int64".split())
@pytest.mark.parametrize("seed", [None, 1])
def test_integers(dtype, seed):
    drawn = random.randint((300,), 0, 100, dtype=dtype, seed=seed)
    assert drawn.dtype is getattr(torch, dtype)
    assert 0 <= drawn.long().min() < 5 < 95 < drawn.long().max() < 100
    assert random.categorical(torch.zeros(2, 5), 3, dtype=dtype, seed=seed).dtype is getattr(torch, dtype)
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


COUNT = 100_000


def normal_cdf(x):
    return torch.special.ndtr(x)


def cut_cdf(x):
    low = normal_cdf(torch.tensor(-2.0, dtype=torch.float64))
    return (normal_cdf(x) - low) / (1 - 2 * low)


# Name: the draw, its mean and variance, and the share of values below x.
CONTINUOUS = {
    "normal": (lambda **k: random.normal((COUNT,), **k), 0.0, 1.0, normal_cdf),
    "normal moved": (lambda **k: random.normal((COUNT,), 3.0, 0.5, **k), 3.0, 0.25, lambda x: normal_cdf((x - 3) * 2)),
    "uniform": (lambda **k: random.uniform((COUNT,), **k), 0.5, 1 / 12, lambda x: x),
    "uniform moved": (lambda **k: random.uniform((COUNT,), -3, 1, **k), -1.0, 16 / 12, lambda x: (x + 3) / 4),
    "truncated_normal": (lambda **k: random.truncated_normal((COUNT,), **k), 0.0, 0.773741, cut_cdf),
    "gamma": (lambda **k: random.gamma((COUNT,), 2.5, **k), 2.5, 2.5, lambda x: torch.special.gammainc(x * 0 + 2.5, x)),
    "gamma below 1": (lambda **k: random.gamma((COUNT,), 0.5, **k), 0.5, 0.5, lambda x: torch.erf(x.sqrt())),
    "beta": (lambda **k: random.beta((COUNT,), 2.0, 3.0, **k), 0.4, 0.04, lambda x: 6 * x**2 - 8 * x**3 + 3 * x**4),
}
KINDS = {"unseeded": lambda: None, "integer": lambda: 7, "generator": lambda: random.SeedGenerator(7)}


def kolmogorov(values, cdf):
    """The greatest distance of the shares found from those expected, times the root of the count."""
    shares = cdf(values.double().sort().values)
    places = torch.arange(len(values) + 1, dtype=torch.float64) / len(values)
    return max((shares - places[:-1]).max(), (places[1:] - shares).max()) * math.sqrt(len(values))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions(name, kind, dtype):
    draw, mean, variance, cdf = CONTINUOUS[name]
    set_random_seed(2)
    values = draw(dtype=dtype, seed=KINDS[kind]()).double()
    assert abs(values.mean() - mean) < 4.5 * math.sqrt(variance / COUNT)
    assert abs(values.var() / variance - 1) < 0.05
    assert kolmogorov(values, cdf) < 2.2
    assert kolmogorov(values * 1.05, cdf) > 2.2
    centered = (values - mean) / math.sqrt(variance)
    for lag in (1, 2, 3, 16, 128):
        assert abs((centered[lag:] * centered[:-lag]).mean()) < 4.5 / math.sqrt(COUNT)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_moments_in_16_bits(name, dtype):
    draw, mean, variance, _ = CONTINUOUS[name]
    values = draw(dtype=dtype, seed=3).double()
    assert abs(values.mean() - mean) < 4.5 * math.sqrt(variance / COUNT) + 2**-8 * max(abs(mean), 1)
    assert abs(values.var() / variance - 1) < 0.05
    if name == "uniform":
        assert 0 <= values.min() <= values.max() < 1


def chi_square(values, shares):
    """How far counts are from those expected, in standard deviations of the statistic."""
    shares = torch.tensor(shares, dtype=torch.float64)
    found = torch.bincount(values.long().reshape(-1), minlength=len(shares))
    expected = shares * values.numel()
    freedom = len(shares) - 1
    return (((found - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


DISCRETE = {
    "randint": (lambda **k: random.randint((COUNT,), -3, 4, **k) + 3, [1 / 7] * 7),
    "categorical": (
        lambda **k: random.categorical(torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 10)), COUNT // 10, **k),
        [0.1, 0.2, 0.3, 0.4],
    ),
    "binomial": (
        lambda **k: random.binomial((COUNT,), 4, 0.3, **k),
        [math.comb(4, i) * 0.3**i * 0.7 ** (4 - i) for i in range(5)],
    ),
    "dropout": (lambda **k: random.dropout(torch.ones(COUNT), 0.3, **k) > 0, [0.3, 0.7]),
    "shuffle": (lambda **k: random.shuffle(torch.arange(COUNT), **k)[: COUNT // 2] * 4 // COUNT, [0.25] * 4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_distributions(name, kind):
    draw, shares = DISCRETE[name]
    set_random_seed(3)
    values = draw(seed=KINDS[kind]())
    assert chi_square(values, shares) < 5
    assert chi_square(values, [*[share * 0.95 for share in shares[:-1]], 1 - 0.95 * sum(shares[:-1])]) > 5


def test_orders_are_all_equally_likely():
    generator = random.SeedGenerator(1)
    orders = [tuple(random.shuffle(torch.arange(3), seed=generator).tolist()) for _ in range(3000)]
    names = {order: i for i, order in enumerate(sorted(set(orders)))}
    assert chi_square(torch.tensor([names[order] for order in orders]), [1 / 6] * 6) < 5


def test_draws_of_a_generator_are_independent_of_one_another():
    generator = random.SeedGenerator(1)
    single = torch.stack([random.uniform((), seed=generator) for _ in range(3000)])
    assert kolmogorov(single, lambda x: x) < 2.2
    first, second = (random.normal((COUNT,), seed=generator) for _ in range(2))
    assert abs((first * second).mean()) < 4.5 / math.sqrt(COUNT)
    seeds = torch.stack([random.normal((), seed=seed) for seed in range(3000)])
    assert kolmogorov(seeds, normal_cdf) < 2.2


def test_shapes_may_hold_tensors():
    x = torch.ones(2, 3)
    shapes: list[Any] = [(torch.tensor(2), np.int64(3)), [2, 3], ops.shape(x), x.shape, torch.tensor([2, 3])]
    for shape in shapes:
        assert random.normal(shape, seed=1).shape == (2, 3)
        assert random.uniform(shape).shape == (2, 3)
    assert random.normal(()).shape == random.randint((), 0, 9).shape == random.uniform((), seed=2).shape == ()
    assert random.normal((0, 3), seed=1).shape == (0, 3)


def test_parameters_may_be_tensors():
    mean = torch.tensor([0.0, 100.0])
    assert random.normal((5, 2), mean, torch.tensor(0.1), seed=1).mean(0).round().tolist() == [0.0, 100.0]
    assert random.uniform((5, 2), mean, mean + 1, seed=1).floor().tolist() == [[0.0, 100.0]] * 5
    assert random.randint((5,), torch.tensor(2), np.int64(3), seed=1).tolist() == [2] * 5


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1, 2**63 + 5, -3, np.int64(7)])
def test_seeds_of_any_size(seed):
    for draw in DRAWS.values():
        assert torch.equal(draw(seed=seed), draw(seed=seed))
    assert random.SeedGenerator(seed).next().shape == (2,)


@pytest.mark.parametrize("seed", ["1", 1.5, True])
def test_other_seeds_are_refused(seed):
    for draw in DRAWS.values():
        with pytest.raises(LaminaError, match="integer"):
            draw(seed=seed)
    with pytest.raises(LaminaError, match="integer"):
        random.SeedGenerator(seed)


def test_seed_generator():
    generator = random.SeedGenerator(42, name="sg", backend=None)
    assert generator.get_config() == {"seed": 42, "name": "sg"}
    assert [generator.next().tolist() for _ in range(2)] == [[42, 0], [42, 1]]
    generator.next(ordered=False)
    assert generator.state.tolist() == [43 * 5387, 3 * 5387]
    assert generator.state.trainable is False
    for copied in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert torch.equal(random.normal((3,), seed=copied), random.normal((3,), seed=copy.deepcopy(generator)))
    with pytest.raises(LaminaError, match="other"):
        random.SeedGenerator(1, other=2)
    set_random_seed(1)
    first = (random.SeedGenerator().seed, draw_seed(), random.normal((2,)).tolist(), np.random.rand())
    set_random_seed(1)
    assert first == (random.SeedGenerator().seed, draw_seed(), random.normal((2,)).tolist(), np.random.rand())


def test_loaded_models_begin_with_the_seed_again(tmp_path):
    model = lamina.Sequential([lamina.Input((4,)), lamina.layers.GaussianNoise(1.0, seed=3)])
    first, second = (model(torch.zeros(2, 4), training=True) for _ in range(2))
    model.save(tmp_path / "model.keras")
    loaded = lamina.models.load_model(tmp_path / "model.keras")
    copied = copy.deepcopy(model)
    assert torch.equal(loaded(torch.zeros(2, 4), training=True), first)
    assert torch.equal(copied(torch.zeros(2, 4), training=True), model(torch.zeros(2, 4), training=True))
    assert not torch.equal(first, second)


PROGRAM = """
from lamina import random
generator = random.SeedGenerator(3)
print([round(random.normal((), seed=s).item(), 5) for s in (1, generator, generator)])
print(random.randint((4,), 0, 99, seed=1).tolist(), random.gamma((1,), 2.0, seed=1).tolist())
"""


def draws(generator):
    return [random.normal((), seed=generator).item() for _ in range(3)]


def test_other_processes_draw_the_same():
    runs = {subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(draws, (random.SeedGenerator(5),)) == draws(random.SeedGenerator(5))


HASHED = ["normal", "uniform", "truncated_normal", "randint", "categorical", "dropout", "shuffle"]


@pytest.mark.parametrize("name", DRAWS)
def test_traced_draws_without_seed(name):
    traced = make_fx(lambda: DRAWS[name](seed=None))()
    torch.manual_seed(5)
    found = [traced() for _ in range(2)]
    torch.manual_seed(5)
    assert torch.equal(found[0], DRAWS[name](seed=None))
    assert not torch.equal(*found)


@pytest.mark.parametrize("name", HASHED)
def test_traced_draws_with_seeds(name):
    draw = DRAWS[name]
    traced = make_fx(lambda: draw(seed=3))()
    assert torch.equal(traced(), draw(seed=3))
    assert torch.equal(traced(), draw(seed=3))
    generator = random.SeedGenerator(5)

    def step(state):
        generator.state = state
        return draw(seed=generator)

    state = generator.state.detach().clone()
    traced = make_fx(step)(state.clone())
    fresh = random.SeedGenerator(5)
    for _ in range(3):
        assert torch.equal(traced(state), draw(seed=fresh))
    assert torch.equal(state, fresh.state)
