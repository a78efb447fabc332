"""Random tensors. Without a seed they come from torch's default generator, which `torch.manual_seed` rules.

Source: https://keras.io/api/random/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lamina.core.dtypes import is_float, is_int, torch_dtype
from lamina.core.errors import ArgumentError, UnsupportedError
from lamina.core.scopes import unknown_stand_in
from lamina.core.seeds import SeedGenerator, as_seed, random_generator
from lamina.core.tensors import convert_to_tensor, default_device
from lamina.graph.op import op
from lamina.ops.operands import DType, Shape, TensorLike, as_float, as_tensor, shape_of

Seed: TypeAlias = int | SeedGenerator | None


def _generator(seed: Seed, device: Any) -> torch.Generator | None:
    """The generator to draw from; none while shapes are inferred, so that seeds are not used up."""
    if seed is None or unknown_stand_in() is not None:
        return None
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        raise UnsupportedError(
            "Seeded draws of this kind cannot be traced: the seed of a torch.Generator would be the same in every run.",
            where="random",
            fix="draw without a seed, or do not capture this step",
        )
    return random_generator(seed, torch.device(device))


def _is_hashed(seed: Seed, count: int, device: torch.device) -> bool:
    """Whether to draw by hashing: then one seed gives the same numbers in eager, traced and compiled code."""
    return seed is not None and device.type == "cpu" and count < 2**31 and unknown_stand_in() is None


_DIGITS = {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24, torch.float64: 53}


def _fractions(sizes: Sequence[int], dtype: torch.dtype, seed: Seed, device: torch.device) -> Tensor:
    """Evenly spread over [0, 1), with as many bits as the dtype has digits."""
    count = math.prod(sizes)
    if not _is_hashed(seed, count, device):
        return torch.rand(sizes, generator=_generator(seed, device), dtype=dtype, device=device)
    digits, key = _DIGITS[dtype], _key(seed)
    if digits <= 32:
        whole = (_hashes(count, key) >> (32 - digits)) & (2**digits - 1)
    else:
        high, low = _hashes(count, key), _hashes(count, key * 0x2545F4914F6CDD1D + 1)
        whole = ((high.long() + 2**31) << 21) | ((low.long() >> 11) & (2**21 - 1))
    return (whole.to(dtype) * 2.0**-digits).view(sizes)


def _symmetric(sizes: Sequence[int], dtype: torch.dtype, seed: Seed, device: torch.device) -> Tensor:
    """Evenly spread between -1 and 1, both excluded."""
    return _fractions(sizes, dtype, seed, device).mul_(2).add_(2.0 ** -_DIGITS[dtype] - 1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _float_dtype(dtype: DType, where: str) -> torch.dtype:
    if dtype is not None and not is_float(dtype):
        raise ArgumentError(
            "The dtype is no float dtype.",
            where=f"random.{where}, dtype",
            expected='"float32" or another float dtype',
            received=dtype,
        )
    return torch_dtype(dtype)


def normal(shape: Shape, mean: Any = 0.0, stddev: Any = 1.0, dtype: DType = None, seed: Seed = None) -> Tensor:
    """Values from a normal distribution.

    Args:
        shape: the shape of the result.
        mean: the mean of the distribution.
        stddev: its standard deviation.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> normal((2, 3), seed=1).shape
        torch.Size([2, 3])
    """
    target, device = _float_dtype(dtype, "normal"), default_device()
    sizes = shape_of(shape)
    if _is_hashed(seed, math.prod(sizes), device):
        drawn = _symmetric(sizes, _wide(target), seed, device)
        values = torch.erfinv(drawn).mul_(math.sqrt(2)).to(target)
    else:
        values = torch.randn(sizes, generator=_generator(seed, device), dtype=target, device=device)
    return values.mul_(stddev).add_(mean) if isinstance(stddev, (int, float)) else values * stddev + mean


def uniform(shape: Shape, minval: Any = 0.0, maxval: Any = 1.0, dtype: DType = None, seed: Seed = None) -> Tensor:
    """Values from `minval` up to, not including, `maxval`, all equally likely.

    Args:
        shape: the shape of the result.
        minval: the least value.
        maxval: the end.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> uniform((2, 3), seed=1).shape
        torch.Size([2, 3])
    """
    target, device = _float_dtype(dtype, "uniform"), default_device()
    values = _fractions(shape_of(shape), target, seed, device)
    return values * (maxval - minval) + minval


def randint(shape: Shape, minval: Any, maxval: Any, dtype: DType = "int32", seed: Seed = None) -> Tensor:
    """Integers from `minval` up to, not including, `maxval`, all equally likely.

    Args:
        shape: the shape of the result.
        minval: the least integer.
        maxval: the end.
        dtype: an integer dtype.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Raises:
        ArgumentError: the dtype is not an integer one.

    Example:
        >>> bool((randint((100,), 0, 3) < 3).all())
        True
    """
    if not is_int(dtype):
        raise ArgumentError(
            "The dtype is no integer dtype.",
            where="random.randint, dtype",
            expected='"int32" or another integer dtype',
            received=dtype,
        )
    device, target, sizes = default_device(), torch_dtype(dtype), shape_of(shape)
    low, high, count = int(minval), int(maxval), math.prod(sizes)
    if 0 < high - low <= 2**31 and _is_hashed(seed, count, device):
        shares = _hashes(count, _key(seed)).long() + 2**31
        return ((shares * (high - low) >> 32) + low).to(target).view(sizes)
    return torch.randint(low, high, sizes, generator=_generator(seed, device), dtype=target, device=device)


def truncated_normal(
    shape: Shape, mean: Any = 0.0, stddev: Any = 1.0, dtype: DType = None, seed: Seed = None
) -> Tensor:
    """Values from a normal distribution, none of them further than two standard deviations from the mean.

    Args:
        shape: the shape of the result.
        mean: the mean of the distribution.
        stddev: its standard deviation, before cutting.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> bool((truncated_normal((100,)).abs() <= 2).all())
        True
    """
    target, device = _float_dtype(dtype, "truncated_normal"), default_device()
    # The share of the distribution between both cuts, inverted: one draw for each value, no rejections.
    values = _symmetric(shape_of(shape), _wide(target), seed, device).mul_(math.erf(math.sqrt(2)))
    values = torch.erfinv(values).mul_(math.sqrt(2)).clamp_(-2.0, 2.0)
    return (values * stddev + mean).to(target)


@op(casts=True)
def categorical(logits: TensorLike, num_samples: int, dtype: DType = "int32", seed: Seed = None) -> Tensor:
    """Classes drawn by their logits.

    Args:
        logits: unnormalized logarithms of probabilities, shape (batch, classes).
        num_samples: how many draws from each row.
        dtype: an integer dtype.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Returns:
        Class indices, shape (batch, num_samples).

    Example:
        >>> categorical([[0.0, 100.0]], 3)
        tensor([[1, 1, 1]], dtype=torch.int32)
    """
    logits = as_float(logits)
    if logits.ndim != 2:
        raise ArgumentError(
            "The logits have the wrong number of axes.",
            where="random.categorical",
            expected="shape (batch, classes)",
            received=f"shape {tuple(logits.shape)}",
        )
    device, sizes = logits.device, (logits.shape[0], num_samples)
    if _is_hashed(seed, math.prod(sizes), device):
        totals = torch.softmax(logits.double(), -1).cumsum(-1)
        drawn = torch.searchsorted(totals, _fractions(sizes, torch.float64, seed, device) * totals[:, -1:], right=True)
    else:
        chances = torch.softmax(logits, -1)
        drawn = torch.multinomial(chances, num_samples, replacement=True, generator=_generator(seed, device))
    return drawn.to(torch_dtype(dtype))


@op
def dropout(inputs: TensorLike, rate: float, noise_shape: Shape | None = None, seed: Seed = None) -> Tensor:
    """The values with a share of them, chosen at random, set to 0, and the others scaled up to keep the sum.

    Args:
        inputs: the values; integers become floatx, unless the rate is 0.
        rate: the share, from 0 to 1.
        noise_shape: the shape of the choice, which broadcasts with `inputs`; None keeps a size.
        seed: an integer for the same choice at each call, a SeedGenerator for a new one, or None.

    Raises:
        ArgumentError: the rate lies outside 0 to 1.

    Example:
        >>> dropout([1.0, 2.0], 0.0)
        tensor([1., 2.])
    """
    x = as_tensor(inputs)
    if not 0 <= rate <= 1:
        raise ArgumentError(
            "The rate lies outside 0 to 1.", where="random.dropout(rate=...)", expected="0 to 1", received=rate
        )
    if rate == 0:
        return x
    x = as_float(x)
    sizes = list(x.shape)
    if noise_shape is not None:
        chosen = shape_of(noise_shape)
        sizes = [own if size is None else size for own, size in zip(sizes, chosen, strict=True)]
    return drop(x, rate, sizes, seed)


_WORTH_HASHING = 2**14
"""The number of elements (measured) from which hashing is faster than torch's own generator."""


def drop(x: Tensor, rate: float, sizes: Sequence[int], seed: Seed = None) -> Tensor:
    """Dropout on a tensor: a share of it set to 0, the rest divided by `1 - rate`.

    On a CPU, torch draws one number after the other, which takes longer than what the numbers are for. Here only a key
    is drawn, and a hash of key and position decides: all threads take part, and compiled code puts the hash into the
    loop that uses it.

    Args:
        x: the tensor.
        rate: the share, above 0.
        sizes: the shape of the choice, which broadcasts to that of `x`.
        seed: as for `dropout`.
    """
    count, on_cpu = math.prod(sizes), x.device.type == "cpu"
    if seed is None and (not on_cpu or count < _WORTH_HASHING) and tuple(sizes) == tuple(x.shape):
        return torch.dropout(x, rate, True)
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    if not on_cpu or count >= 2**31:
        kept = torch.empty(sizes, dtype=x.dtype, device=x.device)
        return x * kept.bernoulli_(1 - rate, generator=_generator(seed, x.device)).mul_(scale)
    threshold = min(round(rate * 2**32) - 2**31, 2**31 - 1)
    kept = _hashes(count, _key(seed)).view(sizes) >= threshold
    return x * kept.to(x.dtype).mul_(scale)


def _key(seed: Seed) -> Tensor:
    """64 random bits; read nowhere in Python, so that a traced step draws anew each time."""
    if seed is None or unknown_stand_in() is not None:
        return torch.randint(-(2**63), 2**63 - 1, (), device="cpu")
    if isinstance(seed, SeedGenerator):
        base, count = seed.next().cpu()
    else:
        base, count = torch.tensor([as_seed(seed) % 2**63, 0], device="cpu")
    mixed = base * 0x1E3779B97F4A7C15 + count * 0x3F58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 30)) * 0x14D049BB133111EB
    return mixed ^ (mixed >> 27)


def _hashes(count: int, key: Tensor) -> Tensor:
    """So many int32, evenly spread: two rounds of multiplying by an odd number and folding high bits into low ones."""
    first, second = key.to(torch.int32), (key >> 32).to(torch.int32)
    hashes = torch.arange(count, dtype=torch.int32, device="cpu").mul_(first | 1)
    hashes.bitwise_xor_(hashes >> 16).mul_(0x7FEB352D).add_(second)
    return hashes.bitwise_xor_(hashes >> 15).mul_(0x846CA68B - 2**32)


@op
def shuffle(x: TensorLike, axis: int = 0, seed: Seed = None) -> Tensor:
    """The slices along an axis in random order.

    Args:
        x: the tensor.
        axis: the axis.
        seed: an integer for the same order at each call, a SeedGenerator for a new one at each call, or None.

    Example:
        >>> shuffle([3, 1, 2], seed=1).sort().values
        tensor([1, 2, 3], dtype=torch.int32)
    """
    x = as_tensor(x)
    size = x.shape[axis]
    if _is_hashed(seed, size, x.device):
        order = torch.argsort(_hashes(size, _key(seed)))
    else:
        order = torch.randperm(size, generator=_generator(seed, x.device), device=x.device)
    return torch.index_select(x, axis, order)


_PER_GAMMA = 17


def _log_gammas(alpha: Tensor, seed: Seed) -> Tensor:
    """Logarithms of values from gamma distributions: small parameters make values that floats cannot tell from 0.

    Of eight candidates for each the first good one is taken (Marsaglia and Tsang, 2000). One in 25 is bad at most.
    """
    drawn = _fractions((_PER_GAMMA, *alpha.shape), torch.float32, seed, alpha.device) + 2.0**-25
    normals, logs = torch.erfinv(drawn[:8] * 2 - 1) * math.sqrt(2), drawn[8:].log()
    base = torch.where(alpha < 1, alpha + 1, alpha) - 1 / 3
    cubes = (1 + normals / (9 * base).sqrt()) ** 3
    heights = cubes.clip(min=1e-30).log()
    good = (cubes > 0) & (logs[:8] < normals.square() / 2 + base * (1 - cubes + heights))
    chosen = heights.gather(0, good.int().argmax(0, keepdim=True))[0]
    return base.log() + chosen + torch.where(alpha < 1, logs[8] / alpha, 0.0)


def gamma(shape: Shape, alpha: Any, dtype: DType = None, seed: Seed = None) -> Tensor:
    """Values from a gamma distribution of rate 1.

    Args:
        shape: the shape of the result.
        alpha: the shape parameter: a number or a tensor that broadcasts.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> bool((gamma((100,), 2.0) > 0).all())
        True
    """
    target, device = _float_dtype(dtype, "gamma"), default_device()
    wide = convert_to_tensor(alpha, torch.float32, device).expand(shape_of(shape)).contiguous()
    if _is_hashed(seed, _PER_GAMMA * wide.numel(), device):
        return _log_gammas(wide, seed).exp().to(target)
    return torch.ops.aten._standard_gamma(wide, _generator(seed, device)).to(target)


def beta(shape: Shape, alpha: Any, beta: Any, dtype: DType = None, seed: Seed = None) -> Tensor:
    """Values from a beta distribution.

    Args:
        shape: the shape of the result.
        alpha: the first parameter: a number or a tensor that broadcasts.
        beta: the second parameter likewise.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> bool((beta((100,), 2.0, 3.0) < 1).all())
        True
    """
    target, device = _float_dtype(dtype, "beta"), default_device()
    sizes = shape_of(shape)
    both = [convert_to_tensor(parameter, torch.float32, device).expand(sizes) for parameter in (alpha, beta)]
    if _is_hashed(seed, 2 * _PER_GAMMA * math.prod(sizes), device):
        first, second = _log_gammas(torch.stack(both), seed)
        return torch.sigmoid(first - second).to(target)
    drawn = torch.ops.aten._sample_dirichlet(torch.stack(both, -1), _generator(seed, device))
    return drawn[..., 0].to(target)


def binomial(shape: Shape, counts: Any, probabilities: Any, dtype: DType = None, seed: Seed = None) -> Tensor:
    """How many of so many trials succeed.

    Args:
        shape: the shape of the result.
        counts: how many trials: a number or a tensor that broadcasts.
        probabilities: the probability of success in each, likewise.
        dtype: a float dtype, floatx by default.
        seed: an integer for the same values at each call, a SeedGenerator for new ones at each call, or None.

    Example:
        >>> binomial((2,), 5, 1.0)
        tensor([5., 5.])
    """
    target, device = _float_dtype(dtype, "binomial"), default_device()
    sizes = shape_of(shape)
    both = [convert_to_tensor(parameter, torch.float32, device).expand(sizes) for parameter in (counts, probabilities)]
    drawn = torch.binomial(*(part.contiguous() for part in both), generator=_generator(seed, device))
    return drawn.to(target)
