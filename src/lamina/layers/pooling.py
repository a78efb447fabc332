"""Pooling: the largest or the mean value of windows, of whole inputs, or of evenly spread windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from lamina.core import config
from lamina.core.registry import builtin
from lamina.layers import windows
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.ops import pooling


class BasePooling(Layer):
    """One number for each window of each channel.

    Args:
        pool_size: the size of the window: an integer, or one per spatial axis.
        strides: the step of the window along each axis; by default the size of the window.
        padding: "valid" for windows inside the input alone; "same" for ceil(input / stride) windows, which
            may reach out of the input: what lies outside counts for nothing.
        data_format: "channels_last" for inputs (batch, *spatial, channels) or "channels_first" for
            (batch, channels, *spatial); by default that of `lamina.config.image_data_format()`.
        name: the layer's name.

    Raises:
        ArgumentError: a size is not positive, or the padding is unknown.
        ShapeError: the input has another rank, or is smaller than the window.
    """

    rank: ClassVar[int]
    _pool: ClassVar[Callable[..., torch.Tensor]]

    def __init__(
        self,
        pool_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = windows.sizes(pool_size, self.rank, "pool_size")
        self.strides = windows.sizes(self.pool_size if strides is None else strides, self.rank, "strides")
        self.padding = windows.padding_mode(padding)
        self.data_format = config.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Pool each window."""
        try:
            return pooling.slide(self._pool, inputs, self.pool_size, self.strides, self.padding, self.data_format)
        except RuntimeError:
            self.compute_output_shape(tuple(inputs.shape))
            raise

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        windows.check_rank(self, input_shape)
        channels = input_shape[windows.channel_axis(self)]
        return windows.output_shape(self, input_shape, channels, self.pool_size, (1,) * self.rank)


class BaseMaxPooling(BasePooling):
    """The largest value of each window; arguments as for `BasePooling`, pool_size 2 by default."""

    _pool = staticmethod(pooling.largest)

    def __init__(
        self,
        pool_size: int | tuple[int, ...] = 2,
        strides: int | tuple[int, ...] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class BaseAveragePooling(BasePooling):
    """The mean value of each window. The arguments are those of `BasePooling`."""

    _pool = staticmethod(pooling.mean)


class BaseGlobalPooling(Layer):
    """One number for each channel of each sample.

    Args:
        data_format: "channels_last" or "channels_first"; by default that of
            `lamina.config.image_data_format()`.
        keepdims: whether the spatial axes stay, with size 1.

    Raises:
        ShapeError: the input has another rank.
    """

    rank: ClassVar[int]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = config.standardize_data_format(data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def _axes(self) -> tuple[int, ...]:
        """The spatial axes."""
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        windows.check_rank(self, input_shape)
        axes = self._axes()
        if self.keepdims:
            return tuple(1 if axis in axes else size for axis, size in enumerate(input_shape))
        return tuple(size for axis, size in enumerate(input_shape) if axis not in axes)


class BaseGlobalMaxPooling(BaseGlobalPooling):
    """The largest value of each channel. The arguments are those of `BaseGlobalPooling`."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Take the largest value of each channel."""
        return inputs.amax(self._axes(), self.keepdims)


class BaseGlobalAveragePooling(BaseGlobalPooling):
    """The mean value of each channel. The arguments are those of `BaseGlobalPooling`."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Take the mean of each channel."""
        return inputs.mean(self._axes(), self.keepdims)


class BaseAdaptivePooling(Layer):
    """As many windows as outputs are wanted, spread evenly over the input.

    Args:
        output_size: the length of each spatial axis of the output: an integer, or one per axis.
        data_format: "channels_last" or "channels_first"; by default that of
            `lamina.config.image_data_format()`.

    Raises:
        ArgumentError: a length is not positive.
        ShapeError: the input has another rank.
    """

    rank: ClassVar[int]
    _pool: ClassVar[Callable[..., torch.Tensor]]

    def __init__(self, output_size: int | tuple[int, ...], data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = windows.sizes(output_size, self.rank, "output_size")
        self.data_format = config.standardize_data_format(data_format)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check the shape of the input."""
        windows.check_rank(self, input_shape)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Pool each window."""
        return pooling.adapt(self._pool, inputs, self.output_size, self.data_format)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The output's shape for inputs of this shape."""
        windows.check_rank(self, input_shape)
        if self.data_format == "channels_last":
            return (input_shape[0], *self.output_size, input_shape[-1])
        return (input_shape[0], input_shape[1], *self.output_size)


class BaseAdaptiveMaxPooling(BaseAdaptivePooling):
    """The largest value of each window. The arguments are those of `BaseAdaptivePooling`."""

    _pool = staticmethod(pooling.adaptive_largest)


class BaseAdaptiveAveragePooling(BaseAdaptivePooling):
    """The mean value of each window. The arguments are those of `BaseAdaptivePooling`."""

    _pool = staticmethod(pooling.adaptive_mean)


@builtin("keras.layers")
class MaxPooling1D(BaseMaxPooling):
    """The largest value of windows over steps: (batch, steps, channels) to (batch, new_steps, channels).

    The arguments are those of `BasePooling`.

    Example:
        >>> MaxPooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten()
        tensor([3., 2.])

    Source: https://keras.io/api/layers/pooling_layers/max_pooling1d/
    """

    rank = 1


@builtin("keras.layers")
class MaxPooling2D(BaseMaxPooling):
    """The largest value of windows over images: (batch, height, width, channels) with fewer rows and columns.

    The arguments are those of `BasePooling`.

    Example:
        >>> MaxPooling2D(2, padding="same")(torch.ones(2, 5, 5, 3)).shape
        torch.Size([2, 3, 3, 3])

    Source: https://keras.io/api/layers/pooling_layers/max_pooling2d/
    """

    rank = 2


@builtin("keras.layers")
class MaxPooling3D(BaseMaxPooling):
    """The largest value of windows over volumes: (batch, depth, height, width, channels), each spatial axis
    shorter.

    The arguments are those of `BasePooling`.

    Example:
        >>> MaxPooling3D(2)(torch.ones(2, 4, 6, 8, 3)).shape
        torch.Size([2, 2, 3, 4, 3])

    Source: https://keras.io/api/layers/pooling_layers/max_pooling3d/
    """

    rank = 3


@builtin("keras.layers")
class AveragePooling1D(BaseAveragePooling):
    """The mean value of windows over steps: (batch, steps, channels) to (batch, new_steps, channels).

    The arguments are those of `BasePooling`.

    Example:
        >>> AveragePooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten()
        tensor([2., 1.])

    Source: https://keras.io/api/layers/pooling_layers/average_pooling1d/
    """

    rank = 1


@builtin("keras.layers")
class AveragePooling2D(BaseAveragePooling):
    """The mean value of windows over images: (batch, height, width, channels) with fewer rows and columns.

    The arguments are those of `BasePooling`.

    Example:
        >>> AveragePooling2D(2)(torch.ones(2, 6, 6, 3)).shape
        torch.Size([2, 3, 3, 3])

    Source: https://keras.io/api/layers/pooling_layers/average_pooling2d/
    """

    rank = 2


@builtin("keras.layers")
class AveragePooling3D(BaseAveragePooling):
    """The mean value of windows over volumes: (batch, depth, height, width, channels), each spatial axis
    shorter.

    The arguments are those of `BasePooling`.

    Example:
        >>> AveragePooling3D(2, padding="same")(torch.ones(2, 3, 3, 3, 3)).shape
        torch.Size([2, 2, 2, 2, 3])

    Source: https://keras.io/api/layers/pooling_layers/average_pooling3d/
    """

    rank = 3
    _pool = staticmethod(pooling.mean_of_volumes)


@builtin("keras.layers")
class GlobalMaxPooling1D(BaseGlobalMaxPooling):
    """The largest value of each channel over all steps: (batch, steps, channels) to (batch, channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalMaxPooling1D()(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]))
        tensor([[3., 5.]])

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling1d/
    """

    rank = 1


@builtin("keras.layers")
class GlobalMaxPooling2D(BaseGlobalMaxPooling):
    """The largest value of each channel of an image: (batch, height, width, channels) to (batch, channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalMaxPooling2D(keepdims=True)(torch.ones(2, 4, 4, 3)).shape
        torch.Size([2, 1, 1, 3])

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling2d/
    """

    rank = 2


@builtin("keras.layers")
class GlobalMaxPooling3D(BaseGlobalMaxPooling):
    """The largest value of each channel of a volume: (batch, depth, height, width, channels) to (batch,
    channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalMaxPooling3D()(torch.ones(2, 4, 4, 4, 3)).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling3d/
    """

    rank = 3


@builtin("keras.layers")
class GlobalAveragePooling1D(BaseGlobalAveragePooling):
    """The mean of each channel over all steps, or over those a mask leaves: (batch, steps, channels) to
    (batch, channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalAveragePooling1D()(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]))
        tensor([[2.0000, 3.5000]])

    Source: https://keras.io/api/layers/pooling_layers/global_average_pooling1d/
    """

    rank = 1

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Take the mean of each channel; `mask` (batch, steps) names the steps that count."""
        if mask is None:
            return inputs.mean(self._axes(), self.keepdims)
        counted = mask.bool().unsqueeze(windows.channel_axis(self))
        total = inputs.where(counted, 0).sum(self._axes(), self.keepdims)
        return total / counted.to(inputs.dtype).sum(self._axes(), self.keepdims)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """No mask: there are no steps left."""
        return


@builtin("keras.layers")
class GlobalAveragePooling2D(BaseGlobalAveragePooling):
    """The mean of each channel of an image: (batch, height, width, channels) to (batch, channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalAveragePooling2D()(torch.ones(2, 4, 4, 3)).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/pooling_layers/global_average_pooling2d/
    """

    rank = 2


@builtin("keras.layers")
class GlobalAveragePooling3D(BaseGlobalAveragePooling):
    """The mean of each channel of a volume: (batch, depth, height, width, channels) to (batch, channels).

    The arguments are those of `BaseGlobalPooling`.

    Example:
        >>> GlobalAveragePooling3D()(torch.ones(2, 4, 4, 4, 3)).shape
        torch.Size([2, 3])

    Source: https://keras.io/api/layers/pooling_layers/global_average_pooling3d/
    """

    rank = 3


@builtin("keras.layers")
class AdaptiveMaxPooling1D(BaseAdaptiveMaxPooling):
    """The largest value of `output_size` even windows over steps. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveMaxPooling1D(4)(torch.ones(2, 10, 3)).shape
        torch.Size([2, 4, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 1


@builtin("keras.layers")
class AdaptiveMaxPooling2D(BaseAdaptiveMaxPooling):
    """The largest value of `output_size` even windows over images. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveMaxPooling2D((2, 3))(torch.ones(2, 7, 7, 3)).shape
        torch.Size([2, 2, 3, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 2


@builtin("keras.layers")
class AdaptiveMaxPooling3D(BaseAdaptiveMaxPooling):
    """The largest value of `output_size` even windows over volumes. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveMaxPooling3D(2)(torch.ones(2, 7, 7, 7, 3)).shape
        torch.Size([2, 2, 2, 2, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 3


@builtin("keras.layers")
class AdaptiveAveragePooling1D(BaseAdaptiveAveragePooling):
    """The mean value of `output_size` even windows over steps. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveAveragePooling1D(4)(torch.ones(2, 10, 3)).shape
        torch.Size([2, 4, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 1


@builtin("keras.layers")
class AdaptiveAveragePooling2D(BaseAdaptiveAveragePooling):
    """The mean value of `output_size` even windows over images. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveAveragePooling2D((2, 3))(torch.ones(2, 7, 7, 3)).shape
        torch.Size([2, 2, 3, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 2


@builtin("keras.layers")
class AdaptiveAveragePooling3D(BaseAdaptiveAveragePooling):
    """The mean value of `output_size` even windows over volumes. The arguments are those of
    `BaseAdaptivePooling`.

    Example:
        >>> AdaptiveAveragePooling3D(2)(torch.ones(2, 7, 7, 7, 3)).shape
        torch.Size([2, 2, 2, 2, 3])

    Source: https://keras.io/api/layers/pooling_layers/
    """

    rank = 3


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
