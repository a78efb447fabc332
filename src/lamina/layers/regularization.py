"""Layers that disturb their inputs while training, and one that penalises them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina import regularizers
from lamina.core.config import standardize_data_format
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.core.seeds import SeedGenerator
from lamina.layers.arguments import within
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.ops.random import drop, normal, uniform


class _Noise(Layer):
    """Base of the layers that draw random numbers while training and hand their inputs through otherwise.

    Numbers come from torch's default generator, so `torch.manual_seed` rules; with a seed of its own, a layer makes the
    same numbers in every run.
    """

    def __init__(self, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = None if seed is None else SeedGenerator(seed)
        self.supports_masking = True
        self._build_at_init()

    def _normal(self, inputs: Tensor, mean: float, stddev: float) -> Tensor:
        """Normal noise for the inputs."""
        if self.seed_generator is None:
            return torch.empty_like(inputs).normal_(mean, stddev)
        return normal(inputs.shape, mean, stddev, inputs.dtype, self.seed_generator).to(inputs.device)

    @staticmethod
    def _sizes(inputs: Tensor, noise_shape: Sequence[int | None] | None) -> Sequence[int]:
        """The shape of the noise."""
        if noise_shape is None:
            return inputs.shape
        return [inputs.shape[axis] if size is None else size for axis, size in enumerate(noise_shape)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input shape."""
        return input_shape


@builtin("keras.layers")
class Dropout(_Noise):
    """Random elements set to zero while training, the others scaled up so that the sum stays the same on average.

    Args:
        rate: the share of elements dropped, 0 to 1.
        noise_shape: the shape of the pattern, broadcast to the input; None in it takes the input's size. With
            `(None, 1, None)` on sequences, whole features are dropped.
        seed: an integer makes the pattern repeatable.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1, or `noise_shape` is no shape.

    Example:
        >>> layer = Dropout(0.5, seed=1)
        >>> bool(torch.isin(layer(torch.ones(20), training=True), torch.tensor([0.0, 2.0])).all())
        True

    Source: https://keras.io/api/layers/regularization_layers/dropout/
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.rate = within(rate, f"{self._where()}, rate", 0, 1)
        self.noise_shape = _checked_shape(noise_shape, self._where())

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inputs with elements dropped, while training."""
        if not training or self.rate == 0:
            return inputs
        return self._drop(inputs, self.noise_shape)

    def _drop(self, inputs: Tensor, noise_shape: Sequence[int | None] | None) -> Tensor:
        return drop(inputs, self.rate, self._sizes(inputs, noise_shape), self.seed_generator)


class _SpatialDropout(Dropout):
    """Whole channels dropped."""

    rank: ClassVar[int]

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inputs with channels dropped, while training."""
        if not training or self.rate == 0:
            return inputs
        ones = (1,) * self.rank
        shape = (None, None, *ones) if self.data_format == "channels_first" else (None, *ones, None)
        return self._drop(inputs, shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config() | {"dtype": self.dtype_policy.name}
        return {key: value for key, value in config.items() if key not in ("trainable", "noise_shape")}


@builtin("keras.layers")
class SpatialDropout1D(_SpatialDropout):
    """Whole features of sequences dropped while training.

    Args:
        rate: the share of features dropped, 0 to 1.
        seed: an integer makes the pattern repeatable.
        name: the layer's name.
        dtype: its dtype or policy.

    Shapes: `(batch, steps, features)` to the same.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1.

    Example:
        >>> layer = SpatialDropout1D(0.5, seed=1)
        >>> outputs = layer(torch.ones(4, 3, 2), training=True)
        >>> torch.equal(outputs[:, 0], outputs[:, 1])
        True

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout1d/
    """

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(rate, "channels_last", seed, name, dtype)


@builtin("keras.layers")
class SpatialDropout2D(_SpatialDropout):
    """Whole channels of images dropped while training.

    Args:
        rate: the share of channels dropped, 0 to 1.
        data_format: "channels_last" for `(batch, rows, columns, channels)`, or "channels_first".
        seed: an integer makes the pattern repeatable.
        name: the layer's name.
        dtype: its dtype or policy.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1.

    Example:
        >>> SpatialDropout2D(0.5)(torch.ones(4, 3, 3, 2), training=True).shape
        torch.Size([4, 3, 3, 2])

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout2d/
    """

    rank = 2


@builtin("keras.layers")
class SpatialDropout3D(_SpatialDropout):
    """Whole channels of volumes dropped while training.

    Args:
        rate: the share of channels dropped, 0 to 1.
        data_format: "channels_last" for `(batch, dim1, dim2, dim3, channels)`, or "channels_first".
        seed: an integer makes the pattern repeatable.
        name: the layer's name.
        dtype: its dtype or policy.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1.

    Example:
        >>> SpatialDropout3D(0.5)(torch.ones(4, 3, 3, 3, 2), training=True).shape
        torch.Size([4, 3, 3, 3, 2])

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout3d/
    """

    rank = 3


@builtin("keras.layers")
class GaussianNoise(_Noise):
    """Normal noise around zero added while training.

    Args:
        stddev: its standard deviation, 0 to 1.
        seed: an integer makes the noise repeatable.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `stddev` lies outside 0 to 1.

    Example:
        >>> GaussianNoise(0.1)(torch.zeros(2, 3), training=True).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/regularization_layers/gaussian_noise/
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = within(stddev, f"{self._where()}, stddev", 0, 1)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inputs with noise added, while training."""
        if not training or self.stddev == 0:
            return inputs
        return inputs + self._normal(inputs, 0.0, self.stddev)


@builtin("keras.layers")
class GaussianDropout(_Noise):
    """Multiplication by normal noise around one while training.

    Args:
        rate: as the rate of `Dropout`: the noise has the standard deviation `sqrt(rate / (1 - rate))`.
        seed: an integer makes the noise repeatable.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1, or is 1.

    Example:
        >>> GaussianDropout(0.2)(torch.ones(2, 3), training=True).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/regularization_layers/gaussian_dropout/
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = within(rate, f"{self._where()}, rate", 0, 1)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inputs times noise, while training."""
        if not training or self.rate == 0:
            return inputs
        return inputs * self._normal(inputs, 1.0, math.sqrt(self.rate / (1 - self.rate)))


@builtin("keras.layers")
class AlphaDropout(Dropout):
    """Dropout for self-normalising networks: dropped elements take SELU's lowest value, mean and variance stay.

    Args:
        rate: the share of elements dropped, 0 to 1.
        noise_shape: the shape of the pattern, broadcast to the input; None in it takes the input's size.
        seed: an integer makes the pattern repeatable.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `rate` lies outside 0 to 1.

    Example:
        >>> AlphaDropout(0.2)(torch.ones(2, 3), training=True).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/regularization_layers/alpha_dropout/; Klambauer et al., 2017
    """

    lowest: ClassVar[float] = -1.6732632423543772 * 1.0507009873554805

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inputs with elements dropped, while training."""
        if not training or self.rate == 0:
            return inputs
        drawn = uniform(self._sizes(inputs, self.noise_shape), seed=self.seed_generator).to(inputs.device)
        kept = (drawn >= self.rate).expand(inputs.shape)
        scale = ((1 - self.rate) * (1 + self.rate * self.lowest**2)) ** -0.5
        shift = -scale * self.lowest * self.rate
        return torch.where(kept, inputs * scale + shift, scale * self.lowest + shift)


@builtin("keras.layers")
class ActivityRegularization(Layer):
    """A penalty on the inputs, which pass through unchanged.

    Args:
        l1: the factor of the sum of absolute values.
        l2: the factor of the sum of squares.
        **kwargs: as for `Layer`.

    Example:
        >>> layer = ActivityRegularization(l1=0.5)
        >>> outputs = layer(torch.ones(1, 4))
        >>> float(layer.losses[0])
        2.0

    Source: https://keras.io/api/layers/regularization_layers/activity_regularization/
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = l1, l2
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Tensor) -> Tensor:
        """The inputs."""
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return config


def _checked_shape(noise_shape: Any, where: str) -> tuple[int | None, ...] | None:
    """The shape as a tuple, if it is one."""
    if noise_shape is None:
        return None
    sizes = tuple(noise_shape) if isinstance(noise_shape, Sequence) else ("",)
    if all(size is None or (isinstance(size, int) and size > 0) for size in sizes):
        return sizes  # type: ignore[return-value]
    raise ArgumentError(
        "`noise_shape` is no shape.", where=where, expected="positive sizes or None", received=repr(noise_shape)
    )
