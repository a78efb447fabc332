"""First values of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lamina.core.capture import Captured
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, DTypeError, ShapeError, listing, nearest, one_of, unwritten
from lamina.core.naming import to_snake_case
from lamina.core.registry import builtin, lookup
from lamina.core.seeds import SeedGenerator, draw_seed, random_generator
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_tensor, default_device
from lamina.ops.window_functions import WINDOWS, window_values

_Axes: TypeAlias = Sequence[int] | None


@builtin("keras", "Initializer")
class Initializer(Captured):
    """Base of initializers: a subclass defines `__call__(shape, dtype=None)`, which gives a weight's values.

    Any function of (shape, dtype=None) is an initializer too. Layers take them as `kernel_initializer` and
    the like, also by name: "he_normal" or "HeNormal".

    Example:
        >>> class Halves(Initializer):
        ...     def __call__(self, shape, dtype=None):
        ...         return torch.full(shape, 0.5)
        >>> Halves()((2,))
        tensor([0.5000, 0.5000])

    Source: https://keras.io/api/layers/initializers/
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values for a weight.

        Args:
            shape: the shape of the weight.
            dtype: its dtype, floatx by default.
        """
        raise unwritten(self, "__call__(self, shape, dtype=None)")

    def clone(self) -> Self:
        """An initializer of the same config; one without a seed draws a new one."""
        return self.from_config(self.get_config())


@builtin("keras.initializers")
class Zeros(Initializer):
    """All zeros.

    Example:
        >>> Zeros()((2,))
        tensor([0., 0.])

    Source: https://keras.io/api/layers/initializers/
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """All zeros."""
        return torch.zeros(tuple(shape), dtype=torch_dtype(dtype), device=default_device())


@builtin("keras.initializers")
class Ones(Initializer):
    """All ones.

    Example:
        >>> Ones()((2,))
        tensor([1., 1.])

    Source: https://keras.io/api/layers/initializers/
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """All ones."""
        return torch.ones(tuple(shape), dtype=torch_dtype(dtype), device=default_device())


@builtin("keras.initializers")
class Constant(Initializer):
    """One value everywhere.

    Args:
        value: a number, or an array that broadcasts to the shape of the weight.

    Raises:
        ShapeError: the array does not broadcast to the shape asked for.

    Example:
        >>> Constant(3.0)((2,))
        tensor([3., 3.])

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """The value, repeated."""
        value = convert_to_tensor(self.value, torch_dtype(dtype), default_device())
        try:
            return value.expand(tuple(shape)).clone()
        except RuntimeError:
            raise ShapeError(
                "The constant does not broadcast to the weight.",
                where="initializer Constant",
                expected=tuple(shape),
                received=tuple(value.shape),
            ) from None


@builtin("keras.initializers")
class Identity(Initializer):
    """A matrix with ones on its diagonal.

    Args:
        gain: what stands on the diagonal instead.

    Raises:
        ShapeError: a shape without exactly 2 axes is asked for.

    Example:
        >>> Identity()((2, 3))
        tensor([[1., 0., 0.],
                [0., 1., 0.]])

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """The identity matrix, times the gain."""
        if len(shape) != 2:
            raise ShapeError(
                "Only a matrix can be the identity.",
                where="initializer Identity",
                expected="2 axes",
                received=tuple(shape),
            )
        return self.gain * torch.eye(*shape, dtype=torch_dtype(dtype), device=default_device())

    def get_config(self) -> dict[str, Any]:
        """The gain, left out when it is 1 as Keras does."""
        return {} if self.gain == 1.0 else super().get_config()


class RandomInitializer(Initializer):
    """Base of random initializers: those that take a `seed`.

    The seed is an integer, None, or a `SeedGenerator`. With an integer an initializer gives the same values
    at each call; with None too, from a seed drawn when it is made (which `set_random_seed` makes repeatable);
    with a SeedGenerator each call gives new values.
    """

    def __init__(self, seed: Any = None) -> None:
        self._seed_given = seed
        if isinstance(seed, Mapping):
            seed = deserialize_keras_object(seed)
        if seed is not None and not isinstance(seed, (int, np.integer, SeedGenerator)):
            raise ArgumentError(
                "This is no seed.",
                where=f"initializer {type(self).__name__}",
                expected="an integer, a SeedGenerator or None",
                received=repr(seed),
            )
        self.seed: Any = draw_seed() if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; a seed that was drawn is not kept."""
        return super().get_config() | {"seed": serialize_keras_object(self._seed_given)}

    def _draw(self, draw: Callable[..., Tensor], shape: Sequence[int], dtype: Any, *parameters: float) -> Tensor:
        """Values that `draw` fills in, in at least float32 and then rounded to the dtype."""
        wanted = torch_dtype(dtype)
        if not wanted.is_floating_point:
            raise DTypeError(
                "Random values are floats.",
                where=f"initializer {type(self).__name__}",
                expected="a float dtype",
                received=standardize_dtype(wanted),
                fix='initialize weights of integers with "zeros" or "ones"',
            )
        device = default_device()
        # A tensor without data holds no values to draw, and there are no generators for it.
        generator = None if device.type == "meta" else random_generator(self.seed, device)
        values = torch.empty(tuple(shape), dtype=torch.promote_types(wanted, torch.float32), device=device)
        return draw(values, *parameters, generator=generator).to(wanted)


def _uniform(values: Tensor, low: float, high: float, *, generator: torch.Generator | None) -> Tensor:
    """Fill with values from `low` to `high`, rounded as Keras rounds them."""
    return values.uniform_(generator=generator).mul_(high - low).add_(low)


def _truncated_normal(values: Tensor, mean: float, stddev: float, *, generator: torch.Generator | None) -> Tensor:
    """Fill with normal values within 2 deviations of the mean, by inverting the distribution function."""
    bound = math.erf(math.sqrt(2.0))
    values.uniform_(-bound, bound, generator=generator).erfinv_().mul_(stddev * math.sqrt(2.0))
    return values.clamp_(-2.0 * stddev, 2.0 * stddev).add_(mean)


@builtin("keras.initializers")
class RandomNormal(RandomInitializer):
    """Values from a normal distribution.

    Args:
        mean: its mean.
        stddev: its standard deviation.
        seed: see `RandomInitializer`.

    Example:
        >>> RandomNormal(stddev=0.1, seed=1)((2, 3)).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values drawn anew from the seed."""
        return self._draw(Tensor.normal_, shape, dtype, float(self.mean), float(self.stddev))


@builtin("keras.initializers")
class TruncatedNormal(RandomInitializer):
    """Values from a normal distribution cut off 2 standard deviations from its mean.

    Args:
        mean: the mean.
        stddev: the standard deviation of the whole distribution; that of the values is 0.88 times this.
        seed: see `RandomInitializer`.

    Example:
        >>> bool(TruncatedNormal(stddev=0.1, seed=1)((100,)).abs().max() <= 0.2)
        True

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values drawn anew from the seed."""
        return self._draw(_truncated_normal, shape, dtype, float(self.mean), float(self.stddev))


@builtin("keras.initializers")
class RandomUniform(RandomInitializer):
    """Values spread evenly between two bounds.

    Args:
        minval: the lower bound, included.
        maxval: the upper bound, excluded.
        seed: see `RandomInitializer`.

    Example:
        >>> bool((RandomUniform(0.0, 1.0, seed=1)((100,)) >= 0.0).all())
        True

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values drawn anew from the seed."""
        return self._draw(_uniform, shape, dtype, float(self.minval), float(self.maxval))


@builtin("keras.initializers")
class VarianceScaling(RandomInitializer):
    """Random values whose variance is `scale` divided by the number of inputs or outputs of a unit.

    For a kernel of shape (..., inputs, outputs), inputs and outputs are each counted once for each position
    in the axes before them, as a convolution uses them.

    Args:
        scale: a factor above 0.
        mode: what the scale is divided by: "fan_in" (inputs), "fan_out" (outputs), or "fan_avg" (their mean).
        distribution: "truncated_normal" (cut off at 2 deviations, and widened so that the variance is as
            said), "untruncated_normal", or "uniform".
        seed: see `RandomInitializer`.
        input_axes: which axes of the weight stand for inputs; with output_axes, replaces the rule above.
        output_axes: which axes of the weight stand for outputs.

    Raises:
        ArgumentError: the scale is not positive, or a word unknown.

    Example:
        >>> bool(VarianceScaling(2.0, seed=1)((1000, 10)).var().sub(0.002).abs() < 1e-4)
        True

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: _Axes = None,
        output_axes: _Axes = None,
    ) -> None:
        super().__init__(seed)
        if not isinstance(scale, Real) or scale <= 0:
            raise ArgumentError(
                "The scale must be positive.",
                where=f"{type(self).__name__}(scale=...)",
                expected="a number above 0",
                received=repr(scale),
            )
        one_of(mode, ("fan_in", "fan_out", "fan_avg"), f"{type(self).__name__}, mode")
        distribution = {"normal": "truncated_normal"}.get(str(distribution).lower(), str(distribution).lower())
        known = ("truncated_normal", "untruncated_normal", "uniform")
        one_of(distribution, known, f"{type(self).__name__}, distribution")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values drawn anew from the seed."""
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return self._draw(_uniform, shape, dtype, -limit, limit)
        if self.distribution == "untruncated_normal":
            return self._draw(Tensor.normal_, shape, dtype, 0.0, math.sqrt(variance))
        return self._draw(_truncated_normal, shape, dtype, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV)


# The standard deviation of a standard normal distribution cut off at -2 and 2.
_TRUNCATED_STDDEV = math.sqrt(1.0 - 4.0 * math.exp(-2.0) / math.sqrt(2.0 * math.pi) / math.erf(math.sqrt(2.0)))


def compute_fans(shape: Sequence[int], input_axes: _Axes = None, output_axes: _Axes = None) -> tuple[int, int]:
    """How many inputs and how many outputs a weight of this shape has.

    Args:
        shape: the shape of the weight.
        input_axes: the axes that stand for inputs, used together with output_axes.
        output_axes: the axes that stand for outputs.

    Example:
        >>> compute_fans((3, 3, 16, 32)), compute_fans((8, 2, 4), [0], [1, 2])
        ((144, 288), (8, 8))
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[i] for i in input_axes), math.prod(shape[i] for i in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    positions = math.prod(shape[:-2])
    return positions * shape[-2], positions * shape[-1]


class _Scaled(VarianceScaling):
    """A VarianceScaling whose scale, mode and distribution have a name of their own."""

    _rule: tuple[float, str, str]

    def __init__(
        self,
        seed: Any = None,
        input_axes: _Axes = None,
        output_axes: _Axes = None,
    ) -> None:
        super().__init__(*self._rule, seed=seed, input_axes=input_axes, output_axes=output_axes)


@builtin("keras.initializers")
class GlorotUniform(_Scaled):
    """Uniform values of variance `2 / (inputs + outputs)`, also called Xavier; the usual choice of kernels.

    Arguments as of `VarianceScaling`.

    Example:
        >>> bool(GlorotUniform(seed=1)((3, 3)).abs().max() <= 1.0)
        True

    Source: Glorot & Bengio, 2010, http://proceedings.mlr.press/v9/glorot10a.html
    """

    _rule = (1.0, "fan_avg", "uniform")


@builtin("keras.initializers")
class GlorotNormal(_Scaled):
    """Normal values, cut off at 2 deviations, of variance `2 / (inputs + outputs)`, also called Xavier.

    Arguments as of `VarianceScaling`.

    Example:
        >>> GlorotNormal(seed=1)((3, 3)).shape
        torch.Size([3, 3])

    Source: Glorot & Bengio, 2010, http://proceedings.mlr.press/v9/glorot10a.html
    """

    _rule = (1.0, "fan_avg", "truncated_normal")


@builtin("keras.initializers")
class HeUniform(_Scaled):
    """Uniform values of variance `2 / inputs`, for layers followed by a rectifier.

    Arguments as of `VarianceScaling`.

    Example:
        >>> bool(HeUniform(seed=1)((6, 3)).abs().max() <= 1.0)
        True

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852
    """

    _rule = (2.0, "fan_in", "uniform")


@builtin("keras.initializers")
class HeNormal(_Scaled):
    """Normal values, cut off at 2 deviations, of variance `2 / inputs`, for layers followed by a rectifier.

    Arguments as of `VarianceScaling`.

    Example:
        >>> HeNormal(seed=1)((6, 3)).shape
        torch.Size([6, 3])

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852
    """

    _rule = (2.0, "fan_in", "truncated_normal")


@builtin("keras.initializers")
class LecunUniform(_Scaled):
    """Uniform values of variance `1 / inputs`.

    Arguments as of `VarianceScaling`.

    Example:
        >>> bool(LecunUniform(seed=1)((3, 3)).abs().max() <= 1.0)
        True

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515
    """

    _rule = (1.0, "fan_in", "uniform")


@builtin("keras.initializers")
class LecunNormal(_Scaled):
    """Normal values, cut off at 2 deviations, of variance `1 / inputs`, for layers followed by selu.

    Arguments as of `VarianceScaling`.

    Example:
        >>> LecunNormal(seed=1)((6, 3)).shape
        torch.Size([6, 3])

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515
    """

    _rule = (1.0, "fan_in", "truncated_normal")


@builtin("keras.initializers")
class Orthogonal(RandomInitializer):
    """A random matrix whose columns (or rows, if there are fewer of them) are orthogonal and of norm 1.

    A weight with more than 2 axes is filled as the matrix that keeps its last axis.

    Args:
        gain: the norm, if not 1.
        seed: see `RandomInitializer`.

    Raises:
        ShapeError: a shape of fewer than 2 axes is asked for.

    Example:
        >>> w = Orthogonal(seed=1)((4, 2))
        >>> torch.allclose(w.T @ w, torch.eye(2), atol=1e-6)
        True

    Source: Saxe et al., 2014, https://openreview.net/forum?id=_wzZwKpTDF_9C
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values drawn anew from the seed."""
        if len(shape) < 2:
            raise ShapeError(
                "A weight needs rows and columns to be orthogonal.",
                where="initializer Orthogonal",
                expected="at least 2 axes",
                received=tuple(shape),
            )
        wanted = torch_dtype(dtype)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        wide = torch.promote_types(wanted, torch.float32) if wanted.is_floating_point else wanted
        normal = self._draw(Tensor.normal_, (max(rows, columns), min(rows, columns)), wide, 0.0, 1.0)
        q, r = torch.linalg.qr(normal)
        # The signs of R's diagonal are the algorithm's choice; undone, all orthogonal matrices are equally
        # likely.
        q = q * torch.sign(torch.diagonal(r))
        return (self.gain * (q.T if rows < columns else q)).reshape(tuple(shape)).to(wanted)


@builtin("keras.initializers")
class STFT(Initializer):
    """Kernels of a convolution that computes one part of a short-time Fourier transform.

    The shape asked for is (samples in a frame, 1, frequencies).

    Args:
        side: "real" for the cosines, "imag" for the negative sines.
        window: the name of a window, its values (as many as a frame has samples), or None.
        scaling: "density" divides by the root of the window's summed squares, "spectrum" by its sum.
        periodic: whether a window named is made for frames that repeat.

    Raises:
        ArgumentError: a word is unknown.
        ShapeError: the window's values do not fit the frame.

    Example:
        >>> STFT("real", window=None)((4, 1, 3))[:, 0, 1].round()
        tensor([ 1., -0., -1.,  0.])

    Source: https://keras.io/api/layers/initializers/
    """

    def __init__(
        self,
        side: str = "real",
        window: Any = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ) -> None:
        one_of(side, ("real", "imag"), "initializer STFT, side")
        one_of(scaling, (None, "density", "spectrum"), "initializer STFT, scaling")
        if isinstance(window, str) and window not in WINDOWS:
            raise ArgumentError(
                f"Unknown window.{nearest(window, WINDOWS)}",
                where="window",
                expected=listing(WINDOWS, limit=20),
                received=repr(window),
                fix="pass the window's values instead of a name",
            )
        self.side = side
        self.window = window
        self.scaling = scaling
        self.periodic = periodic

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """The kernel."""
        wanted = torch_dtype(dtype)
        wide = torch.promote_types(wanted, torch.float32)
        device = default_device()
        samples, _, frequencies = shape
        frequency = torch.arange(frequencies, dtype=wide, device=device) / (2 * (frequencies - 1))
        time = torch.arange(samples, dtype=wide, device=device).view(samples, 1, 1)
        angle = -2 * time * frequency * math.pi
        kernel = torch.cos(angle) if self.side == "real" else torch.sin(angle)
        if self.window is not None:
            window = self._window_values(samples, wide, device).view(samples, 1, 1)
            kernel = kernel * window
            if self.scaling == "density":
                kernel = kernel / window.square().sum().sqrt()
            elif self.scaling == "spectrum":
                kernel = kernel / window.abs().sum()
        return kernel.to(wanted)

    def _window_values(self, samples: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        values = window_values(self.window, samples, self.periodic) if isinstance(self.window, str) else self.window
        window = convert_to_tensor(values, dtype, device)
        if window.shape != (samples,):
            raise ShapeError(
                "The window does not fit the frame.",
                where="initializer STFT",
                expected=(samples,),
                received=tuple(window.shape),
            )
        return window


constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = IdentityInitializer = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = OrthogonalInitializer = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
stft = STFTInitializer = STFT
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros

_BY_NAME: dict[str, type[Initializer]] = {
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
    "STFTInitializer": STFT,
    "normal": RandomNormal,
    "one": Ones,
    "uniform": RandomUniform,
    "zero": Zeros,
}
for _class in (
    *(Constant, Identity, Initializer, Ones, Orthogonal, STFT, VarianceScaling, Zeros),
    *(GlorotNormal, GlorotUniform, HeNormal, HeUniform, LecunNormal, LecunUniform),
    *(RandomNormal, RandomUniform, TruncatedNormal),
):
    _BY_NAME |= {_class.__name__: _class, to_snake_case(_class.__name__): _class}
for _name, _class in _BY_NAME.items():
    builtin("keras.initializers", _name)(_class)


def get(identifier: Any) -> Any:
    """The initializer a name, config, class, callable or array stands for; None for None.

    Args:
        identifier: a name such as "he_normal", a config dict, a class, an initializer, any function of
            (shape, dtype=None), a tensor or array that is to be the weight's value, or None.

    Raises:
        UnknownNameError: there is no initializer of that name.
        ArgumentTypeError: the identifier is of no usable kind.

    Example:
        >>> get("uniform").maxval
        0.05

    Source: https://keras.io/api/layers/initializers/
    """
    if isinstance(identifier, (Tensor, np.ndarray, np.generic)):
        return _of_value(identifier)
    return lookup(identifier, kind="initializer", table=_BY_NAME, base=Initializer, deserialize=deserialize)


def _of_value(value: Any) -> Callable[..., Tensor]:
    """An initializer that gives this very value."""

    def initialize(shape: Sequence[int], dtype: Any = None) -> Tensor:
        if tuple(shape) != tuple(value.shape):
            raise ShapeError(
                "The array given as initializer does not have the shape of the weight.",
                where="initializer given as an array",
                expected=tuple(shape),
                received=tuple(value.shape),
            )
        return convert_to_tensor(value, torch_dtype(dtype), default_device())

    return initialize


def serialize(initializer: Any) -> Any:
    """The config of an initializer.

    Example:
        >>> serialize(Constant(3.0))["config"]
        {'value': 3.0}

    Source: https://keras.io/api/layers/initializers/
    """
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer that `serialize` gave this config for; a plain name is one with its default arguments.

    Args:
        config: a config dict or a name.
        custom_objects: further initializers by name.

    Raises:
        FileError: the config names something that is not registered.

    Example:
        >>> deserialize({"class_name": "Constant", "config": {"value": 3.0}}).value
        3.0

    Source: https://keras.io/api/layers/initializers/
    """
    if isinstance(config, str):
        return lookup(config, kind="initializer", table={**_BY_NAME, **(custom_objects or {})}, base=Initializer)
    return deserialize_keras_object(config, custom_objects, module_objects=_BY_NAME)
