"""Layers that move, repeat, add or drop elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core.config import standardize_data_format
from lamina.core.dtypes import is_float
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, one_of
from lamina.core.registry import builtin
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.ops.operands import shape_of

Shape = tuple[int | None, ...]
Pairs = tuple[tuple[int, int], ...]

_MODES = ("nearest", "bilinear", "bicubic")


@builtin("keras.layers")
class Flatten(Layer):
    """All dimensions after the batch in one.

    Args:
        data_format: "channels_last" or "channels_first"; the latter is brought into channels_last order first.
        **kwargs: as for `Layer`.

    Shapes: `(batch, ...)` to `(batch, product)`; `(batch,)` to `(batch, 1)`.

    Example:
        >>> Flatten()(torch.zeros(2, 3, 4)).shape
        torch.Size([2, 12])

    Source: https://keras.io/api/layers/reshaping_layers/flatten/
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Tensor) -> Tensor:
        """The inputs as a matrix."""
        if inputs.ndim == 1:
            return inputs.unsqueeze(1)
        if self.data_format == "channels_first":
            inputs = inputs.movedim(1, -1)
        return inputs.flatten(1)


@builtin("keras.layers")
class Reshape(Layer):
    """The same elements in another shape.

    Args:
        target_shape: the new shape without the batch; one size may be -1 and is then worked out.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: a size below -1, or more than one -1.
        ShapeError: the elements do not fill the target shape.

    Example:
        >>> Reshape((-1, 2))(torch.zeros(5, 12)).shape
        torch.Size([5, 6, 2])

    Source: https://keras.io/api/layers/reshaping_layers/reshape/
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = shape_of(target_shape)
        sizes = [size for size in self.target_shape if size is not None]
        if min(sizes, default=0) < -1 or sizes.count(-1) > 1:
            raise ArgumentError(
                "`target_shape` cannot be used.",
                where=self._where(),
                expected="sizes of 0 or more, and at most one -1",
                received=self.target_shape,
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The batch and the target shape, with -1 worked out where that can be done."""
        known = [size for size in self.target_shape if size != -1]
        if None in input_shape[1:]:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        total, filled = math.prod(input_shape[1:]), math.prod(known)  # type: ignore[arg-type]
        whole = len(known) == len(self.target_shape)
        if total != filled if whole else not filled or total % filled:
            raise ShapeError(
                f"{total} elements per sample do not fill the target shape.",
                where=self._where(),
                expected=f"{filled} elements" if whole else f"a multiple of {filled} elements",
                received=f"input shape {tuple(input_shape)} for target shape {self.target_shape}",
            )
        return (input_shape[0], *(total // filled if size == -1 else size for size in self.target_shape))

    def compute_output_spec(self, inputs: Any) -> Any:
        """The output as a symbolic tensor."""
        return _symbolic(self, inputs)

    def call(self, inputs: Tensor) -> Tensor:
        """The inputs in the target shape."""
        try:
            return inputs.reshape(inputs.shape[0], *self.target_shape)
        except RuntimeError:  # a shape that does not fit, or an empty batch, where torch cannot work out -1
            return inputs.reshape(self.compute_output_shape(tuple(inputs.shape)))  # type: ignore[arg-type]


@builtin("keras.layers")
class Permute(Layer):
    """The dimensions after the batch in another order.

    Args:
        dims: which input dimension comes first, second, ...; they count from 1, the batch is left out.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `dims` is no permutation of 1..n.

    Example:
        >>> Permute((2, 1))(torch.zeros(5, 10, 64)).shape
        torch.Size([5, 64, 10])

    Source: https://keras.io/api/layers/reshaping_layers/permute/
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                "`dims` is no permutation.",
                where=self._where(),
                expected=f"each of 1..{len(self.dims)} once",
                received=self.dims,
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Tensor) -> Tensor:
        """A view of the inputs in the new order."""
        return inputs.permute(0, *self.dims)


@builtin("keras.layers")
class RepeatVector(Layer):
    """Each vector n times, as a sequence.

    Args:
        n: how often.
        **kwargs: as for `Layer`.

    Shapes: `(batch, features)` to `(batch, n, features)`.

    Raises:
        ArgumentTypeError: `n` is no integer.
        ArgumentError: `n` is below 1.

    Example:
        >>> RepeatVector(3)(torch.zeros(5, 32)).shape
        torch.Size([5, 3, 32])

    Source: https://keras.io/api/layers/reshaping_layers/repeat_vector/
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = _positive_int(n, "n", self._where())
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Tensor) -> Tensor:
        """The repeated vectors."""
        return inputs.unsqueeze(1).repeat(1, self.n, 1)


class _Borders(Layer):
    """Base of padding and cropping: how much there is before and after each spatial dimension."""

    rank: ClassVar[int]

    def __init__(self, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.first_axis = 2 if self.data_format == "channels_first" else 1
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _pairs(self, value: Any, name: str) -> Pairs:
        """(before, after) for each spatial dimension, from an int, one int or pair for each, or (1D) one pair."""
        parts = (value,) if self.rank == 1 else (value,) * self.rank if isinstance(value, Integral) else value
        try:
            pairs = tuple((int(part),) * 2 if isinstance(part, Integral) else tuple(map(int, part)) for part in parts)
        except (TypeError, ValueError):
            pairs = ()
        if len(pairs) != self.rank or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
            each = "" if self.rank == 1 else f", or {self.rank} of these"
            raise ArgumentError(
                f"`{name}` cannot be used.",
                where=self._where(),
                expected=f"an integer >= 0 or a pair (before, after) of them{each}",
                received=repr(value),
            )
        return pairs  # type: ignore[return-value]


class _ZeroPadding(_Borders):
    """Zeros around the spatial dimensions."""

    def _set_padding(self, padding: Any) -> Pairs:
        pairs = self._pairs(padding, "padding")
        trailing = (0, 0) if self.first_axis == 1 else ()
        self._amounts = (*trailing, *(size for pair in reversed(pairs) for size in pair))
        return pairs

    def call(self, inputs: Tensor) -> Tensor:
        """The padded inputs."""
        return torch.constant_pad_nd(inputs, self._amounts)


@builtin("keras.layers")
class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after a sequence.

    Args:
        padding: how many steps on each side: an int, or (before, after).
        data_format: "channels_last" for `(batch, steps, channels)`, "channels_first" for `(batch, channels, steps)`.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `padding` is neither, or negative.

    Example:
        >>> ZeroPadding1D((1, 2))(torch.ones(1, 2, 1)).flatten()
        tensor([0., 1., 1., 0., 0.])

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding1d/
    """

    rank = 1

    def __init__(self, padding: int | Sequence[int] = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = self._set_padding(padding)[0]


@builtin("keras.layers")
class ZeroPadding2D(_ZeroPadding):
    """Zeros around images.

    Args:
        padding: an int for all sides, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last" for `(batch, rows, columns, channels)`, or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `padding` is none of these, or negative.

    Example:
        >>> ZeroPadding2D(((1, 0), (2, 2)))(torch.ones(1, 4, 4, 3)).shape
        torch.Size([1, 5, 8, 3])

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding2d/
    """

    rank = 2

    def __init__(self, padding: int | Sequence[Any] = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = self._set_padding(padding)


@builtin("keras.layers")
class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes.

    Args:
        padding: an int for all sides, three ints, or three pairs (before, after).
        data_format: "channels_last" for `(batch, dim1, dim2, dim3, channels)`, or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `padding` is none of these, or negative.

    Example:
        >>> ZeroPadding3D(1)(torch.ones(1, 2, 3, 4, 1)).shape
        torch.Size([1, 4, 5, 6, 1])

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding3d/
    """

    rank = 3

    def __init__(
        self,
        padding: int | Sequence[Any] = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = self._set_padding(padding)


class _Cropping(_Borders):
    """Less of the spatial dimensions."""

    def _set_cropping(self, cropping: Any) -> Pairs:
        pairs = self._pairs(cropping, "cropping")
        kept = (slice(before, -after or None) for before, after in pairs)
        self._slices = (slice(None),) * self.first_axis + tuple(kept)
        return pairs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The input shape less what is cut off."""
        sizes = list(input_shape)
        for axis, part in enumerate(self._slices):
            size = sizes[axis]
            if size is not None and part != slice(None):
                sizes[axis] = max(size + (part.stop or 0) - part.start, 0)
                self._check_left(sizes[axis], axis, input_shape)
        return tuple(sizes)

    def compute_output_spec(self, inputs: Any) -> Any:
        """The output as a symbolic tensor."""
        return _symbolic(self, inputs)

    def call(self, inputs: Tensor) -> Tensor:
        """A view of what is left."""
        outputs = inputs[self._slices]
        for axis in range(self.first_axis, len(self._slices)):
            self._check_left(outputs.shape[axis], axis, inputs.shape)
        return outputs

    def _check_left(self, size: int | None, axis: int, input_shape: Sequence[int | None]) -> None:
        if size == 0:
            cut = self._slices[axis]
            raise ShapeError(
                "Cropping leaves nothing.",
                where=self._where(),
                expected=f"more than {cut.start - (cut.stop or 0)} along axis {axis}",
                received=f"input shape {tuple(input_shape)}",
            )


@builtin("keras.layers")
class Cropping1D(_Cropping):
    """A sequence without its first and last steps.

    Args:
        cropping: how many steps on each side: an int, or (before, after).
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `cropping` is neither, or negative.
        ShapeError: nothing would be left.

    Example:
        >>> Cropping1D((1, 0))(torch.arange(4).reshape(1, 4, 1)).flatten()
        tensor([1, 2, 3])

    Source: https://keras.io/api/layers/reshaping_layers/cropping1d/
    """

    rank = 1

    def __init__(self, cropping: int | Sequence[int] = (1, 1), **kwargs: Any) -> None:
        super().__init__("channels_last", **kwargs)
        self.cropping = self._set_cropping(cropping)[0]


@builtin("keras.layers")
class Cropping2D(_Cropping):
    """Images without their margins.

    Args:
        cropping: an int for all sides, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last" for `(batch, rows, columns, channels)`, or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `cropping` is none of these, or negative.
        ShapeError: nothing would be left.

    Example:
        >>> Cropping2D(((2, 2), (4, 4)))(torch.zeros(2, 28, 28, 3)).shape
        torch.Size([2, 24, 20, 3])

    Source: https://keras.io/api/layers/reshaping_layers/cropping2d/
    """

    rank = 2

    def __init__(
        self, cropping: int | Sequence[Any] = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = self._set_cropping(cropping)


@builtin("keras.layers")
class Cropping3D(_Cropping):
    """Volumes without their margins.

    Args:
        cropping: an int for all sides, three ints, or three pairs (before, after).
        data_format: "channels_last" for `(batch, dim1, dim2, dim3, channels)`, or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `cropping` is none of these, or negative.
        ShapeError: nothing would be left.

    Example:
        >>> Cropping3D(1)(torch.zeros(1, 4, 5, 6, 1)).shape
        torch.Size([1, 2, 3, 4, 1])

    Source: https://keras.io/api/layers/reshaping_layers/cropping3d/
    """

    rank = 3

    def __init__(
        self,
        cropping: int | Sequence[Any] = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = self._set_cropping(cropping)


@builtin("keras.layers")
class UpSampling1D(Layer):
    """Each step of a sequence several times.

    Args:
        size: how often.
        **kwargs: as for `Layer`.

    Shapes: `(batch, steps, features)` to `(batch, size * steps, features)`.

    Raises:
        ArgumentTypeError: `size` is no integer.
        ArgumentError: `size` is below 1.

    Example:
        >>> UpSampling1D(2)(torch.arange(2).reshape(1, 2, 1)).flatten()
        tensor([0, 0, 1, 1])

    Source: https://keras.io/api/layers/reshaping_layers/up_sampling1d/
    """

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = _positive_int(size, "size", self._where())
        self.input_spec = InputSpec(ndim=3)

    def call(self, inputs: Tensor) -> Tensor:
        """The longer sequence."""
        return inputs.repeat_interleave(self.size, dim=1)


class _UpSampling(Layer):
    """Base of the upsampling of images and volumes."""

    rank: ClassVar[int]

    def __init__(self, size: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = (int(size),) * self.rank if isinstance(size, Integral) else tuple(size)
        if len(self.size) != self.rank or min(self.size) < 1:
            raise ArgumentError(
                "`size` cannot be used.",
                where=self._where(),
                expected=f"an integer >= 1, or {self.rank} of them",
                received=repr(size),
            )
        self.data_format = standardize_data_format(data_format)
        self.first_axis = 2 if self.data_format == "channels_first" else 1
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Tensor) -> Tensor:
        """Each element repeated along every spatial dimension."""
        spread, expanded, target = inputs, list(inputs.shape), list(inputs.shape)
        for axis in reversed(range(self.first_axis, self.first_axis + self.rank)):
            factor = self.size[axis - self.first_axis]
            spread = spread.unsqueeze(axis + 1)
            expanded.insert(axis + 1, factor)
            target[axis] *= factor
        return spread.expand(expanded).reshape(target)


@builtin("keras.layers")
class UpSampling2D(_UpSampling):
    """Larger images.

    Args:
        size: the factors for rows and columns, an int for both.
        data_format: "channels_last" for `(batch, rows, columns, channels)`, or "channels_first".
        interpolation: "nearest", "bilinear" or "bicubic".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `size` or `interpolation` cannot be used.

    Example:
        >>> UpSampling2D((1, 2))(torch.arange(4).reshape(1, 2, 2, 1)).squeeze()
        tensor([[0, 0, 1, 1],
                [2, 2, 3, 3]])

    Source: https://keras.io/api/layers/reshaping_layers/up_sampling2d/
    """

    rank = 2

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        self.interpolation = interpolation.lower()
        one_of(self.interpolation, _MODES, f"{self._where()}, interpolation")

    def call(self, inputs: Tensor) -> Tensor:
        """The enlarged images."""
        if self.interpolation == "nearest":
            return super().call(inputs)
        inputs = inputs if inputs.is_floating_point() else self.cast(inputs)
        images = inputs if self.first_axis == 2 else inputs.permute(0, 3, 1, 2)
        size = [images.shape[2] * self.size[0], images.shape[3] * self.size[1]]
        outputs = torch.nn.functional.interpolate(images, size, mode=self.interpolation, align_corners=False)
        return outputs if self.first_axis == 2 else outputs.permute(0, 2, 3, 1)


@builtin("keras.layers")
class UpSampling3D(_UpSampling):
    """Larger volumes, by repeating.

    Args:
        size: the factors for the three spatial dimensions, an int for all.
        data_format: "channels_last" for `(batch, dim1, dim2, dim3, channels)`, or "channels_first".
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `size` cannot be used.

    Example:
        >>> UpSampling3D(2)(torch.ones(2, 1, 2, 1, 3)).shape
        torch.Size([2, 2, 4, 2, 3])

    Source: https://keras.io/api/layers/reshaping_layers/up_sampling3d/
    """

    rank = 3

    def __init__(self, size: int | Sequence[int] = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)


def _symbolic(layer: Layer, inputs: Any) -> KerasTensor:
    """The output that a layer's `compute_output_shape` tells, for a symbolic input."""
    dtype = layer.compute_dtype if layer.autocast and is_float(inputs.dtype) else inputs.dtype
    return KerasTensor(layer.compute_output_shape(inputs.shape), dtype)


def _positive_int(value: Any, name: str, where: str) -> int:
    """The value, if it is an integer of 1 or more."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ArgumentTypeError(f"`{name}` is no integer.", where=where, expected="int", received=repr(value))
    if value < 1:
        raise ArgumentError(f"`{name}` cannot be used.", where=where, expected="an integer >= 1", received=value)
    return int(value)
