"""Numbers scaled, normalised, and sorted into bins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import epsilon, floatx, image_data_format
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, DataError, ShapeError, StateError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.layers.arguments import within
from lamina.layers.preprocessing.base import AdaptingLayer, PreprocessingLayer, encode


@builtin("keras.layers")
class Rescaling(PreprocessingLayer):
    """Every value times a factor, plus an offset.

    Args:
        scale: the factor, or one for each channel.
        offset: what is added, or one for each channel.
        **kwargs: as for `Layer`.

    Example:
        >>> Rescaling(1 / 127.5, offset=-1)(torch.tensor([[0, 255]]))
        tensor([[-1.,  1.]])

    Source: https://keras.io/api/layers/preprocessing_layers/image_preprocessing/rescaling/
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset
        self._is_plain = all(isinstance(value, (int, float)) for value in (scale, offset))
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Tensor) -> Tensor:
        """The scaled values."""
        if self._is_plain:
            return self.cast(inputs) * self.scale + self.offset
        scale, offset = (
            torch.as_tensor(value, dtype=self._compute_dtype, device=inputs.device)
            for value in (self.scale, self.offset)
        )
        if scale.ndim and image_data_format() == "channels_first":
            scale = scale.reshape(*scale.shape, *(1,) * (3 - scale.ndim))
        return self.cast(inputs) * scale + offset


@builtin("keras.layers")
class Normalization(AdaptingLayer):
    """Values brought to mean 0 and variance 1, by means and variances that are given or learned with `adapt`.

    Args:
        axis: the axis, or axes, along which every place has a mean and a variance of its own; None for one of all.
        mean: the mean, or those along the axis.
        variance: the variance, or those along the axis.
        invert: whether to undo a normalization instead.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: only one of mean and variance is given, or they differ in shape.
        ShapeError: a size along the axis is not known, or there is no such axis.

    Example:
        >>> layer = Normalization()
        >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
        >>> layer(np.array([[2.0, 7.0]]))
        tensor([[ 1., -1.]])

    Source: https://keras.io/api/layers/preprocessing_layers/numerical/normalization/
    """

    def __init__(
        self,
        axis: int | Iterable[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ArgumentError(
                "`mean` and `variance` do not go together.",
                where=self._where(),
                expected="both or neither, in one shape",
                received=f"mean={mean!r:.60}, variance={variance!r:.60}",
            )
        if len(np.shape(mean)) > len(self.axis):
            raise ArgumentError(
                "`mean` has more axes than `axis` names.",
                where=self._where(),
                expected=f"at most {len(self.axis)}",
                received=f"shape {np.shape(mean)}",
            )
        self._mean = None if mean is None else convert_to_numpy(mean).tolist()
        self._variance = None if variance is None else convert_to_numpy(variance).tolist()
        self.invert = invert
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create mean and variance, unless they are given."""
        self._kept = self._kept_axes(input_shape)
        self._broadcast_shape = [(size or 0) if axis in self._kept else 1 for axis, size in enumerate(input_shape)]
        if self._mean is not None:
            self._given = self._along_axes(self._mean), self._along_axes(self._variance)
            return
        shape = [self._broadcast_shape[axis] for axis in self._kept]
        self.adapt_mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.adapt_variance = self.add_weight(shape=shape, initializer="ones", trainable=False, name="variance")
        # Nothing reads it: Keras's files have it.
        self.count = self.add_weight(shape=(), initializer="zeros", dtype="int", trainable=False, name="count")

    def _kept_axes(self, shape: Sequence[int | None]) -> list[int]:
        """The axes that keep their places apart, counted from 0."""
        rank = len(shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ShapeError(
                "There is no such axis.", where=self._where(), expected=f"axis {self.axis}", received=shape
            )
        kept = sorted(axis % rank for axis in self.axis)
        if any(shape[axis] is None for axis in kept):
            raise ShapeError(
                "The size along `axis` must be known.",
                where=self._where(),
                received=f"shape {tuple(shape)}, axis={self.axis}",
                fix="name the size in the Input, or use axis=None",
            )
        return kept

    @property
    def learns(self) -> bool:
        """Whether mean and variance are learned."""
        return self._mean is None

    @property
    def mean(self) -> Tensor | None:
        """The mean, in a shape that broadcasts to the inputs; None before the layer is built."""
        return self._moments()[0] if self.built else None

    @property
    def variance(self) -> Tensor | None:
        """The variance, in a shape that broadcasts to the inputs; None before the layer is built."""
        return self._moments()[1] if self.built else None

    def _moments(self) -> tuple[Tensor, Tensor]:
        mean, variance = (self.adapt_mean, self.adapt_variance) if self._mean is None else self._given
        shape = self._broadcast_shape
        return self.cast(mean).reshape(shape), self.cast(variance).reshape(shape)

    def _along_axes(self, values: Any) -> Tensor:
        """Values for the last of the axes kept, broadcast along the others."""
        moment = convert_to_tensor(values, "float64", "cpu")
        sizes = [1] * len(self._broadcast_shape)
        for axis, size in zip(reversed(self._kept), reversed(moment.shape), strict=False):
            sizes[axis] = size
        return moment.reshape(sizes).expand(self._broadcast_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """The normalised values."""
        mean, variance = self._moments()
        deviation = variance.sqrt().clamp_min(epsilon())
        mean, deviation, inputs = mean.to(inputs.device), deviation.to(inputs.device), self.cast(inputs)
        return mean + inputs * deviation if self.invert else (inputs - mean) / deviation

    def reset_state(self) -> None:
        """Forget mean and variance."""
        if not self.learns:
            raise StateError(
                "The layer was given mean and variance, so there is nothing to adapt.",
                where=self._where(),
                fix="leave out mean=... and variance=... to learn them",
            )
        self._seen: tuple[int, Any, Any] = (0, 0.0, 0.0)

    def update_state(self, data: Any) -> None:
        """Take a batch into mean and variance."""
        x = self._without_gaps(self._taken_in(data))
        if not self.built:
            self.build(tuple(x.shape))
        kept, wanted = self._kept, self._broadcast_shape
        if x.ndim != len(wanted) or any(x.shape[axis] != wanted[axis] for axis in kept):
            raise ShapeError(
                "The data does not have the shape the layer was built for.",
                where=f"{self._where()}, adapt()",
                expected=tuple(size if axis in kept else None for axis, size in enumerate(wanted)),
                received=tuple(x.shape),
            )
        if not x.numel():
            raise DataError(
                "The data is empty.",
                where=f"{self._where()}, adapt()",
                expected="at least one row",
                received=f"shape {tuple(x.shape)}",
            )
        axes = [axis for axis in range(x.ndim) if axis not in kept]
        x = x.double()
        variance, mean = torch.var_mean(x, axes, correction=0) if axes else (torch.zeros_like(x), x)
        count, (before, old_mean, old_variance) = math.prod(x.shape[axis] for axis in axes), self._seen
        total = before + count
        part = count / total
        gap = mean - old_mean
        spread = old_variance * (1 - part) + variance * part + gap**2 * part * (1 - part)
        self._seen = total, old_mean + gap * part, spread

    @torch.no_grad()
    def finalize_state(self) -> None:
        """Keep mean and variance as weights."""
        if self.learns and self.built and self._seen[0]:
            self.adapt_mean.copy_(self._seen[1])
            self.adapt_variance.copy_(self._seen[2])


@builtin("keras.layers")
class Discretization(AdaptingLayer):
    """Numbers sorted into bins, whose boundaries are given or learned with `adapt` so that bins are equally full.

    Args:
        bin_boundaries: rising numbers; [1, 2] makes the bins below 1, from 1 to below 2, and from 2.
        num_bins: how many bins to learn.
        epsilon: how exact the learned boundaries shall be, as a share of the data; smaller takes more memory.
        output_mode: "int" gives the number of the bin; "one_hot", "multi_hot" and "count" give vectors.
        sparse: not supported.
        dtype: the dtype of vectors; numbers of bins are int32.
        name: its name.

    Raises:
        ArgumentError: both or none of `bin_boundaries` and `num_bins` are given, or a value makes no sense.
        StateError: the layer is called before it has boundaries.

    Example:
        >>> Discretization(bin_boundaries=[0.0, 1.0])(np.array([-1.5, 0.0, 3.4]))
        tensor([0, 1, 2], dtype=torch.int32)

    Source: https://keras.io/api/layers/preprocessing_layers/numerical/discretization/
    """

    _unsaved = frozenset({"trainable"})

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.output_mode = self._check_mode(output_mode, ("int", "one_hot", "multi_hot", "count"), sparse)
        if (bin_boundaries is None) == (num_bins is None):
            raise ArgumentError(
                "bin_boundaries or num_bins is needed, and not both.",
                where=self._where(),
                received=f"bin_boundaries={bin_boundaries!r:.60}, num_bins={num_bins}",
                fix="Discretization(bin_boundaries=[0.0, 1.0]), or Discretization(num_bins=4) and adapt(data)",
            )
        if num_bins is not None:
            within(num_bins, f"{self._where()}, num_bins", 0)
        self.bin_boundaries = None if bin_boundaries is None else convert_to_numpy(bin_boundaries).tolist()
        self.num_bins, self.epsilon, self.sparse = num_bins, epsilon, sparse
        self.summary = np.empty((2, 0), "float32")
        self.autocast = False  # values of half precision would fall into other bins

    @property
    def learns(self) -> bool:
        """Whether the boundaries are learned."""
        return self.num_bins is not None

    @property
    def output_dtype(self) -> str:
        """The dtype of the outputs."""
        return "int32" if self.output_mode == "int" else self.compute_dtype

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer made from a config, learned boundaries included."""
        if config.get("num_bins") is None:
            return super().from_config(config)
        layer = super().from_config({**config, "bin_boundaries": None})
        layer.bin_boundaries = config.get("bin_boundaries")
        return layer

    def call(self, inputs: Tensor) -> Tensor:
        """The bins of the inputs."""
        if self.bin_boundaries is None:
            raise StateError(
                "The layer has no bin boundaries yet.",
                where=self._where(),
                fix="call adapt(data) first, or give bin_boundaries",
            )
        inputs = inputs if inputs.is_floating_point() else inputs.to(torch_dtype(floatx()))
        boundaries = torch.tensor(self.bin_boundaries, dtype=inputs.dtype, device=inputs.device)
        bins = torch.bucketize(inputs.contiguous(), boundaries, out_int32=True, right=True)
        return encode(bins, self.output_mode, len(self.bin_boundaries) + 1, torch_dtype(self.output_dtype))

    def compute_output_spec(self, inputs: Any) -> Any:
        """The symbolic bins; where boundaries are still to be learned, of the number of bins wanted."""
        if self.bin_boundaries is not None:
            return super().compute_output_spec(inputs)
        dtype = torch_dtype(self.output_dtype)
        return self._inferred(lambda x: encode(x, self.output_mode, self.num_bins or 0, dtype), inputs.shape)

    def reset_state(self) -> None:
        """Forget the data seen."""
        if not self.learns:
            raise StateError(
                "The layer was given its boundaries, so there is nothing to adapt.",
                where=self._where(),
                fix="give num_bins instead of bin_boundaries to learn them",
            )
        self.summary = np.empty((2, 0), "float32")

    def update_state(self, data: Any) -> None:
        """Take a batch into the summary of the data: some of its values, and how many each stands for."""
        values = np.sort(convert_to_numpy(self._without_gaps(self._taken_in(data))).astype("float32"), axis=None)
        step = max(values.size / (1.0 / self.epsilon), 1)
        chosen = values[int(step - 1) :: int(step)]
        both = np.concatenate(([chosen, np.full_like(chosen, step)], self.summary), axis=1)
        self.summary = _condensed(both[:, np.argsort(both[0])], self.epsilon)

    def finalize_state(self) -> None:
        """Read the boundaries off the summary."""
        if self.num_bins is not None:
            self.bin_boundaries = _condensed(self.summary, 1.0 / self.num_bins)[0, :-1].tolist()


def _condensed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """The values at every epsilon-th part of all that a summary stands for, and how much lies between them."""
    values, weights = summary
    if len(values) * epsilon < 1:
        return summary
    below = weights.cumsum()
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    reached = np.interp(shares, below / below[-1], below)
    return np.stack([np.interp(shares, below / below[-1], values), np.diff(reached, prepend=0)]).astype("float32")
