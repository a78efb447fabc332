from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from lamina import initializers
from lamina.core.errors import ArgumentError, DTypeError, ShapeError, UnknownNameError
from lamina.core.seeds import SeedGenerator, set_random_seed

RANDOM = [
    initializers.RandomNormal,
    initializers.RandomUniform,
    initializers.TruncatedNormal,
    initializers.VarianceScaling,
    initializers.GlorotNormal,
    initializers.GlorotUniform,
    initializers.HeNormal,
    initializers.HeUniform,
    initializers.LecunNormal,
    initializers.LecunUniform,
    initializers.Orthogonal,
]
ALL = [*RANDOM, initializers.Zeros, initializers.Ones, initializers.Constant, initializers.Identity]


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", [None, "float64", "float16", "bfloat16", torch.float32])
def test_shape_and_dtype(cls, dtype):
    values = cls()((6, 4), dtype=dtype)
    assert values.shape == (6, 4)
    assert values.dtype is (getattr(torch, dtype) if isinstance(dtype, str) else torch.float32)
    assert values.is_contiguous() or cls is initializers.Orthogonal
    assert not values.requires_grad


@pytest.mark.parametrize("cls", RANDOM)
def test_seeds(cls):
    def make(seed):
        return cls(seed=seed)((8, 5))

    assert torch.equal(make(3), make(3))
    assert torch.equal(make(np.int64(3)), make(3))
    assert not torch.equal(make(3), make(4))
    one = cls(seed=3)
    assert torch.equal(one((8, 5)), one((8, 5)))
    unseeded = cls()
    assert torch.equal(unseeded((8, 5)), unseeded((8, 5)))
    assert not torch.equal(unseeded((8, 5)), cls()((8, 5)))
    stream = cls(seed=SeedGenerator(3))
    assert not torch.equal(stream((8, 5)), stream((8, 5)))
    assert torch.equal(cls(seed=SeedGenerator(3))((8, 5)), cls(seed=SeedGenerator(3))((8, 5)))


@pytest.mark.parametrize("cls", RANDOM)
def test_set_random_seed_makes_unseeded_values_repeatable(cls):
    set_random_seed(11)
    first = [cls()((4, 4)), cls()((4, 4))]
    set_random_seed(11)
    second = [cls()((4, 4)), cls()((4, 4))]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("cls", RANDOM)
def test_initializing_leaves_torchs_own_generator_alone(cls):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    cls()((4, 4))
    assert torch.equal(torch.rand(3), expected)


def test_a_seed_that_is_none():
    for seed in ("x", 1.5, [3]):
        with pytest.raises(ArgumentError, match="no seed"):
            initializers.RandomNormal(seed=seed)


def moments(values):
    values = values.double()
    return values.mean().item(), values.std().item()


def share_below(values, points):
    """The empirical distribution function."""
    ordered = values.double().flatten().sort().values
    return torch.searchsorted(ordered, torch.tensor(points, dtype=torch.float64)) / ordered.numel()


def normal_distribution(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_random_normal():
    values = initializers.RandomNormal(mean=1.0, stddev=2.0, seed=1)((500, 400))
    mean, stddev = moments(values)
    assert mean == pytest.approx(1.0, abs=0.02)
    assert stddev == pytest.approx(2.0, rel=0.01)
    points = [-3.0, -1.0, 1.0, 2.0, 5.0]
    expected = [normal_distribution((x - 1) / 2) for x in points]
    assert share_below(values, points).tolist() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_truncated_normal(dtype):
    values = initializers.TruncatedNormal(mean=0.5, stddev=0.1, seed=1)((500, 400), dtype)
    mean, stddev = moments(values)
    assert mean == pytest.approx(0.5, abs=0.001)
    assert stddev == pytest.approx(0.08796, rel=0.01)
    slack = {"float16": 3e-4, "bfloat16": 2e-3}.get(dtype, 1e-6)
    assert (values.double() - 0.5).abs().max() <= 0.2 + slack
    assert (values.double() - 0.5).abs().max() > 0.195
    if dtype in ("float32", "float64"):
        points = [-1.9, -1.0, -0.3, 0.0, 0.7, 1.9]
        below = normal_distribution(-2)
        expected = [(normal_distribution(x) - below) / (1 - 2 * below) for x in points]
        assert share_below((values - 0.5) / 0.1, points).tolist() == pytest.approx(expected, abs=0.005)


def test_random_uniform():
    values = initializers.RandomUniform(-1.0, 3.0, seed=1)((500, 400))
    mean, stddev = moments(values)
    assert mean == pytest.approx(1.0, abs=0.01)
    assert stddev == pytest.approx(4 / math.sqrt(12), rel=0.01)
    assert -1.0 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3.0
    points = [-0.5, 0.0, 1.5, 2.9]
    assert share_below(values, points).tolist() == pytest.approx([(x + 1) / 4 for x in points], abs=0.005)


@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform", "normal", "UNIFORM"])
@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 3 * 3 * 40), ("fan_out", 3 * 3 * 80), ("fan_avg", 3 * 3 * 60)])
def test_variance_scaling(distribution, mode, fan):
    initializer = initializers.VarianceScaling(2.0, mode, distribution, seed=1)
    values = initializer((3, 3, 40, 80))
    mean, stddev = moments(values)
    deviation = math.sqrt(2 / fan)
    assert mean == pytest.approx(0.0, abs=0.03 * deviation)
    assert stddev == pytest.approx(deviation, rel=0.02)
    bound = {"uniform": math.sqrt(3), "truncated_normal": 2 / 0.87962566}.get(initializer.distribution, math.inf)
    assert values.abs().max() <= bound * deviation * 1.0001


@pytest.mark.parametrize(
    ("cls", "variance", "bound"),
    [
        (initializers.GlorotUniform, 2 / 150, math.sqrt(6 / 150)),
        (initializers.GlorotNormal, 2 / 150, 2 / 0.87962566 * math.sqrt(2 / 150)),
        (initializers.HeUniform, 2 / 50, math.sqrt(6 / 50)),
        (initializers.HeNormal, 2 / 50, 2 / 0.87962566 * math.sqrt(2 / 50)),
        (initializers.LecunUniform, 1 / 50, math.sqrt(3 / 50)),
        (initializers.LecunNormal, 1 / 50, 2 / 0.87962566 * math.sqrt(1 / 50)),
    ],
)
def test_named_scalings(cls, variance, bound):
    values = torch.cat([cls(seed=seed)((50, 100)) for seed in range(10)])
    assert values.var().item() == pytest.approx(variance, rel=0.03)
    assert bound * 0.99 < values.abs().max() <= bound * 1.0001


@pytest.mark.parametrize(
    ("shape", "axes", "fans"),
    [
        ((), (None, None), (1, 1)),
        ((7,), (None, None), (7, 7)),
        ((3, 5), (None, None), (3, 5)),
        ((4, 3, 5), (None, None), (12, 20)),
        ((2, 4, 3, 5), (None, None), (24, 40)),
        ((512, 8, 64), ([0], [1, 2]), (512, 512)),
        ((8, 64, 512), ([0, 1], [2]), (512, 512)),
        ((8, 64, 512), ([0, 1], None), (8 * 64, 8 * 512)),
        ((0, 5), (None, None), (0, 5)),
    ],
)
def test_fans(shape, axes, fans):
    assert initializers.compute_fans(shape, *axes) == fans


def test_no_fan_divides_by_zero():
    assert initializers.GlorotUniform()((0, 5)).shape == (0, 5)
    assert initializers.HeNormal()(()).shape == ()


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (3, 3, 4, 6), (2, 2, 20)])
def test_orthogonal(shape):
    values = initializers.Orthogonal(gain=2.0, seed=1)(shape).reshape(-1, shape[-1])
    small = values if values.shape[0] < values.shape[1] else values.T
    torch.testing.assert_close(small @ small.T, 4 * torch.eye(small.shape[0]), atol=1e-5, rtol=0)


def test_orthogonal_is_spread_evenly():
    # With the signs of the factorization left in, the first entry would be negative every time.
    first = [initializers.Orthogonal(seed=seed)((3, 3))[0, 0].item() for seed in range(200)]
    assert 60 < sum(value > 0 for value in first) < 140


def test_constant():
    assert initializers.Constant(2)((2, 2), "int32").tolist() == [[2, 2], [2, 2]]
    rows = initializers.Constant([1.0, 2.0])((3, 2))
    rows[0, 0] = 5.0
    assert rows.tolist() == [[5.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    assert initializers.Constant(True)((2,), "bool").tolist() == [True, True]
    with pytest.raises(ShapeError, match="broadcast"):
        initializers.Constant([1.0, 2.0])((3, 3))


def test_identity():
    assert initializers.Identity(2.0)((2, 3)).tolist() == [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    assert initializers.serialize(initializers.Identity(2.0))["config"] == {"gain": 2.0}
    assert initializers.get(initializers.serialize(initializers.Identity(2.0))).gain == 2.0
    with pytest.raises(ShapeError, match="2 axes"):
        initializers.Identity()((2, 3, 4))


def test_stft_is_a_fourier_transform():
    frame = torch.randn(16, dtype=torch.float64)
    real = initializers.STFT("real", None)((16, 1, 9), "float64")[:, 0]
    imaginary = initializers.STFT("imag", None)((16, 1, 9), "float64")[:, 0]
    expected = torch.fft.rfft(frame)
    torch.testing.assert_close(torch.complex(frame @ real, frame @ imaginary), expected)


def test_stft_of_16_bits_is_computed_in_32():
    exact = initializers.STFT()((600, 1, 513), "float32")
    assert (initializers.STFT()((600, 1, 513), "bfloat16").float() - exact).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [({"side": "both"}, "side"), ({"window": "han"}, 'Did you mean "hann"'), ({"scaling": "x"}, "scaling")],
)
def test_stft_words(arguments, fault):
    with pytest.raises(ArgumentError, match=fault):
        initializers.STFT(**arguments)


def test_stft_window_must_fit():
    with pytest.raises(ShapeError, match="frame"):
        initializers.STFT(window=[1.0, 2.0])((3, 1, 3))


@pytest.mark.parametrize("arguments", [{"scale": 0.0}, {"scale": -1}, {"mode": "fan"}, {"distribution": "beta"}])
def test_variance_scaling_words(arguments):
    with pytest.raises(ArgumentError):
        initializers.VarianceScaling(**arguments)


def test_random_values_are_floats():
    with pytest.raises(DTypeError, match="int32"):
        initializers.HeNormal()((2, 2), "int32")
    with pytest.raises(ShapeError, match="at least 2"):
        initializers.Orthogonal()((2,))


def test_on_tensors_without_data():
    with torch.device("meta"):
        assert initializers.HeNormal()((2, 2)).is_meta
        assert initializers.Zeros()((2, 2)).is_meta


@pytest.mark.parametrize("name", sorted(initializers._BY_NAME))
def test_names(name):
    by_name = initializers.get(name)
    assert type(by_name) is type(initializers.get({"class_name": name, "config": {}}))
    assert type(by_name) is type(initializers.deserialize(name))


def test_get():
    zeros = initializers.Zeros()
    assert initializers.get(zeros) is zeros
    assert initializers.get(None) is None
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)

    def function(shape, dtype=None):
        return torch.zeros(shape)

    assert initializers.get(function) is function
    with pytest.raises(UnknownNameError, match='Did you mean "he_normal"'):
        initializers.get("he_norm")
    with pytest.raises(TypeError):
        initializers.get(3)


@pytest.mark.parametrize("value", [np.eye(2), torch.eye(2), np.eye(2, dtype="int64")])
def test_an_array_is_its_own_initializer(value):
    initializer = initializers.get(value)
    assert torch.equal(initializer((2, 2)), torch.eye(2))
    with pytest.raises(ShapeError, match=r"\(3, 3\)"):
        initializer((3, 3))


@pytest.mark.parametrize("cls", ALL)
def test_round_trips(cls):
    first = cls()
    copy = first.clone()
    assert type(copy) is cls
    assert copy.get_config() == first.get_config() == cls.from_config(first.get_config()).get_config()
    pickled = pickle.loads(pickle.dumps(first))
    assert torch.equal(pickled((4, 4)), first((4, 4)))
    if cls in RANDOM:
        assert not torch.equal(copy((4, 4)), first((4, 4)))
        seeded = cls(seed=5)
        assert torch.equal(seeded.clone()((4, 4)), seeded((4, 4)))


def test_a_class_of_a_program():
    class Scaled(initializers.Initializer):
        def __init__(self, factor, base="ones"):
            self.times = factor
            self.base = initializers.get(base)

        def __call__(self, shape, dtype=None):
            return self.times * self.base(shape, dtype)

    config = initializers.serialize(Scaled(3.0))
    assert config["config"] == {"factor": 3.0, "base": "ones"}
    again = initializers.deserialize(config, {"Scaled": Scaled})
    assert again((2,)).tolist() == [3.0, 3.0]
    assert again.clone()((2,)).tolist() == [3.0, 3.0]
    with pytest.raises(NotImplementedError):
        initializers.Initializer()((2,))
