"""Normalization over batches, features, groups and vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F

from lamina import initializers
from lamina.core import config
from lamina.core.errors import ArgumentError, ShapeError, warn_once
from lamina.core.registry import builtin
from lamina.layers.arguments import within
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.layers.scale_and_offset import (
    HALF,
    ScaleAndOffset,
    checked_axis,
    computable,
    positions,
    sizes_at,
    where,
)

if distributed.is_available():
    from torch.distributed.nn.functional import all_reduce


def _follow(moving: torch.Tensor, value: torch.Tensor, momentum: float) -> None:
    """Move a running average towards a new value, in place."""
    with torch.no_grad():
        if moving.dtype == value.dtype:
            moving.lerp_(value, 1.0 - momentum)
        else:
            moving.copy_(torch.lerp(moving.to(value.dtype), value, 1.0 - momentum))


def _many_processes() -> bool:
    """Whether there are other processes to ask."""
    return distributed.is_available() and distributed.is_initialized()


@builtin("keras.layers")
class BatchNormalization(ScaleAndOffset):
    """Normalize each channel over the batch: mean zero, variance one, then scale and offset.

    While training, mean and variance of the batch are used, and the moving ones follow them:
    `moving = moving * momentum + batch * (1 - momentum)`, with the variance divided by the count (not the
    count less one). At inference, and always when `trainable` is False, the moving ones are used.

    Args:
        axis: the axis of the channels.
        momentum: how much of the moving statistics stays at each step.
        epsilon: see `ScaleAndOffset`, as for center, scale and the arguments of beta and gamma.
        moving_mean_initializer: how the moving mean begins.
        moving_variance_initializer: how the moving variance begins.
        renorm: whether training, too, normalizes towards slowly moving statistics (batch renormalization).
        renorm_clipping: bounds of its corrections, any of {"rmin", "rmax", "dmax"}.
        renorm_momentum: how much of its statistics stays at each step.
        synchronized: whether the statistics are those of the batches of all processes, where
            `torch.distributed` is initialized; without it there is one process.

    Call arguments:
        inputs: a tensor of any rank.
        training: whether the batch's statistics are used.
        mask: of the inputs' shape without the last axis; positions that are False do not count.

    Raises:
        ArgumentError: renorm_clipping has other keys, or bounds that exclude each other.
        ShapeError: the input has no such axis, its size there is unknown, or the mask does not fit.

    Example:
        >>> layer = BatchNormalization(momentum=0.9)
        >>> y = layer(torch.tensor([[1.0], [3.0]]), training=True)
        >>> y.detach().round(decimals=2).flatten(), layer.moving_mean.numpy()
        (tensor([-1.,  1.]), array([0.2], dtype=float32))

    Source: https://keras.io/api/layers/normalization_layers/batch_normalization/, Ioffe and Szegedy 2015
    (https://arxiv.org/abs/1502.03167); renorm: Ioffe 2017 (https://arxiv.org/abs/1702.03275)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._keep(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
        )
        self.axis = int(within(axis, "BatchNormalization, axis"))
        self.momentum = float(within(momentum, "BatchNormalization, momentum"))
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.renorm = renorm
        self.renorm_clipping = _checked_clipping(renorm_clipping) if renorm else renorm_clipping
        self.renorm_momentum = renorm_momentum
        self.synchronized = synchronized

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create scale, offset and moving statistics for inputs of this shape."""
        (axis,) = positions(self, self.axis, input_shape)
        shape = sizes_at(self, [axis], input_shape)
        self._add_scale_and_offset(shape)
        self.moving_mean = self._add_statistic("moving_mean", shape, self.moving_mean_initializer)
        self.moving_variance = self._add_statistic("moving_variance", shape, self.moving_variance_initializer)
        if self.renorm:
            deviation = _Root(self.moving_variance_initializer)
            self.moving_stddev = self._add_statistic("moving_stddev", shape, deviation)
            self.renorm_mean = self._add_statistic("renorm_mean", shape, _fresh(self.moving_mean_initializer))
            self.renorm_stddev = self._add_statistic("renorm_stddev", shape, deviation)
        # Torch has kernels for channels-last tensors of rank 4 and 5; those of other ranks it is shown as rows.
        rank = len(input_shape)
        self._as_rows, self._in_place = axis == rank - 1 and rank not in (2, 4, 5), axis == 1
        first, *rest = (other for other in range(rank) if other != axis)
        order = (first, axis, *rest)
        self._order, self._inverse = order, tuple(order.index(position) for position in range(rank))
        self.input_spec = InputSpec(ndim=rank, axes={self.axis: shape[0]})

    def _add_statistic(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        """State that training moves and gradients do not."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False, autocast=False)

    def call(
        self, inputs: torch.Tensor, training: bool | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalize, scale and offset."""
        x, gamma, beta = inputs, self.gamma, self.beta
        mean, variance = moving_mean, moving_variance = self.moving_mean, self.moving_variance
        if x.dtype is not mean.dtype or x.dtype in HALF:
            x, gamma, beta, mean, variance = computable(x, gamma, beta, mean, variance, mixes=True)
        count = x.numel() // x.shape[self.axis] if training and self._trainable else 0
        if count and (count == 1 or mask is not None or self.renorm or (self.synchronized and _many_processes())):
            x = x.float() if x.dtype in HALF else x
            return self._normalize_by(x, gamma, beta, *self._moments(x, mask)).to(self._compute_dtype)
        as_rows, in_place = self._as_rows, self._in_place
        view = x.reshape(-1, x.shape[-1]) if as_rows else x if in_place else x.permute(self._order)
        if count:
            # Torch averages the variance over count - 1. Scaled up beforehand and back afterwards, the moving
            # variance follows the one over count instead.
            excess, speed = count / (count - 1), 1.0 - self.momentum
            scaled = variance * excess
            y = torch.batch_norm(view, gamma, beta, mean, scaled, True, speed, self.epsilon, True)
            torch.mul(scaled, 1.0 / excess, out=moving_variance)
            if mean is not moving_mean:
                moving_mean.copy_(mean)
        else:
            y = torch.batch_norm(view, gamma, beta, mean, variance, False, 0.0, self.epsilon, True)
        if as_rows:
            y = y.view(x.shape)
        elif not in_place:
            y = y.permute(self._inverse)
        return y if y.dtype is self._compute_dtype else y.to(self._compute_dtype)

    def _normalize_by(
        self,
        x: torch.Tensor,
        gamma: torch.Tensor | None,
        beta: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """By statistics computed outside of torch's kernels."""
        inverse = torch.rsqrt(variance + self.epsilon)
        shape = [1] * x.dim()
        shape[self.axis] = -1
        y = (x - mean.view(shape)) * inverse.view(shape)
        if self.renorm:
            deviation = inverse.detach().reciprocal()
            gamma, beta = self._renormalized(mean.detach(), deviation, gamma, beta)
        else:
            _follow(self.moving_mean, mean.detach(), self.momentum)
            _follow(self.moving_variance, variance.detach(), self.momentum)
        y = y if gamma is None else y * gamma.view(shape)
        return y if beta is None else y + beta.view(shape)

    def _moments(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance per channel over the positions that count, in all processes when synchronized."""
        axes = [axis for axis in range(x.dim()) if axis != self.axis % x.dim()]
        channels = x.shape[self.axis]
        if mask is None:
            counted, margin = torch.ones((), dtype=torch.bool, device=x.device), 0.0
            count = x.new_full((channels,), x.numel() // channels)
        else:
            if mask.dim() != x.dim() - 1:
                raise ShapeError(
                    "The mask does not fit the inputs.",
                    where=where(self),
                    expected=f"{x.dim() - 1} axes, those of the inputs without the last",
                    received=f"a mask of shape {tuple(mask.shape)} for inputs of shape {tuple(x.shape)}",
                )
            counted, margin = mask.bool().unsqueeze(-1).expand(x.shape), config.epsilon()
            count = counted.to(x.dtype).sum(axes)
        shape = [1] * x.dim()
        shape[self.axis] = -1
        total, count = self._sum_over_processes(x.where(counted, 0).sum(axes), count)
        mean = total / (count + margin)
        squares = (x - mean.view(shape)).where(counted, 0).square().sum(axes)
        (squares,) = self._sum_over_processes(squares)
        return mean, squares / (count + margin)

    def _sum_over_processes(self, *values: torch.Tensor) -> list[torch.Tensor]:
        """Each value summed over all processes when synchronized; gradients are summed likewise."""
        if not (self.synchronized and _many_processes()):
            return list(values)
        return list(all_reduce(torch.stack(values)).unbind())  # pyright: ignore[reportPossiblyUnboundVariable]

    def _renormalized(
        self,
        mean: torch.Tensor,
        deviation: torch.Tensor,
        gamma: torch.Tensor | None,
        beta: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and offset with the corrections of batch renormalization in them; its statistics move on."""
        clipping = self.renorm_clipping or {}
        reference = self.renorm_stddev.to(mean.dtype).clamp_min(math.sqrt(self.epsilon))
        r = (deviation / reference).clamp(clipping.get("rmin", 0.0), clipping.get("rmax"))
        d = (mean - self.renorm_mean.to(mean.dtype)) / reference
        if (limit := clipping.get("dmax")) is not None:
            d = d.clamp(-limit, limit)
        _follow(self.renorm_mean, mean, self.renorm_momentum)
        _follow(self.renorm_stddev, deviation, self.renorm_momentum)
        _follow(self.moving_mean, mean, self.momentum)
        _follow(self.moving_stddev, deviation, self.momentum)
        with torch.no_grad():
            self.moving_variance.copy_((self.moving_stddev.square() - self.epsilon).clamp_min_(0.0))
        if gamma is not None:
            r, d = r * gamma, d * gamma
        return r, d if beta is None else d + beta


def _checked_clipping(clipping: dict[str, float] | None) -> dict[str, float]:
    """Bounds of the renorm corrections."""
    bounds = dict(clipping or {})
    rmin, rmax, dmax = bounds.get("rmin"), bounds.get("rmax"), bounds.get("dmax")
    unknown = set(bounds) - {"rmin", "rmax", "dmax"}
    exclusive = rmin is not None and rmax is not None and rmax < rmin
    if unknown or exclusive or (dmax is not None and dmax < 0):
        raise ArgumentError(
            "Unusable bounds for the corrections of batch renormalization.",
            where="renorm_clipping",
            expected='a dict with any of "rmin", "rmax", "dmax", where rmin <= rmax and dmax >= 0',
            received=repr(clipping),
        )
    return bounds


class _Root:
    """An initializer that gives the root of what another gives."""

    def __init__(self, initializer: Any) -> None:
        self.initializer = initializer

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> torch.Tensor:
        return torch.sqrt(_fresh(self.initializer)(shape, dtype=dtype))


def _fresh(initializer: Any) -> Any:
    """A copy of an initializer, for those that must not draw twice."""
    return initializer.clone() if hasattr(initializer, "clone") else initializer


def _over_axes(layer: Any, x: torch.Tensor, normalize: Any, *weights: torch.Tensor | None) -> torch.Tensor:
    """Apply one of torch's functions, which normalize trailing axes, over the layer's axes."""
    count = len(layer.axis)
    if layer.axis[0] == -count and layer.axis[-1] == -1:
        return normalize(x, x.shape[-count:], *weights, layer.epsilon)
    axes, target = positions(layer, layer.axis, x.shape), list(range(x.dim() - count, x.dim()))
    moved = x.movedim(axes, target)
    return normalize(moved, moved.shape[-count:], *weights, layer.epsilon).movedim(target, axes)


@builtin("keras.layers")
class LayerNormalization(ScaleAndOffset):
    """Normalize each sample over its features: mean zero, variance one, then scale and offset.

    Args:
        axis: the axis or axes of the features.
        epsilon: see `ScaleAndOffset`, as for the other arguments.

    Raises:
        ArgumentTypeError: the axis is neither an integer nor a list of integers.
        ShapeError: the input has no such axis, or its size there is unknown.

    Example:
        >>> LayerNormalization()(torch.tensor([[1.0, 3.0]])).detach().round(decimals=2)
        tensor([[-1.,  1.]])

    Source: https://keras.io/api/layers/normalization_layers/layer_normalization/, Ba et al. 2016
    (https://arxiv.org/abs/1607.06450)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        rms_scaling = bool(kwargs.pop("rms_scaling", False))
        if rms_scaling:
            warn_once(
                "rms_scaling=True is an old option of LayerNormalization that divides by the standard deviation; to "
                "divide by the root mean square, use lamina.layers.RMSNormalization."
            )
        super().__init__(**kwargs)
        self.rms_scaling = rms_scaling
        self._keep(
            epsilon,
            center and not rms_scaling,
            scale or rms_scaling,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
        )
        self.axis = checked_axis(axis)
        self.autocast = False

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name."""
        return {**super().get_config(), "rms_scaling": self.rms_scaling}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create scale and offset for inputs of this shape."""
        sizes = sizes_at(self, positions(self, self.axis, input_shape), input_shape)
        self.axis = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)
        # Keras, and so its files, order the weights' axes by the numbers they were given as, negative ones first.
        told = tuple(input_shape[axis] or 0 for axis in self.axis)
        self._sizes = None if told == sizes else sizes
        self._add_scale_and_offset(told)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize, scale and offset."""
        x, gamma, beta = inputs, self.gamma, self.beta
        if self._sizes is not None:
            gamma, beta = (None if weight is None else weight.view(self._sizes) for weight in (gamma, beta))
        weight = beta if gamma is None else gamma
        if x.dtype in HALF or (weight is not None and weight.dtype is not x.dtype):
            x, gamma, beta = computable(x, gamma, beta, mixes=x.device.type == "cpu")
        y = _over_axes(self, x, _by_deviation if self.rms_scaling else F.layer_norm, gamma, beta)
        return y if y.dtype is self._compute_dtype else y.to(self._compute_dtype)


def _by_deviation(
    x: torch.Tensor, shape: torch.Size, scale: torch.Tensor, offset: None, epsilon: float
) -> torch.Tensor:
    """Each sample divided by its standard deviation and not centered, as an old option has it."""
    axes = tuple(range(-len(shape), 0))
    return x * torch.rsqrt(x.var(axes, correction=0, keepdim=True) + epsilon) * scale


def _safe(x: torch.Tensor) -> torch.Tensor:
    """The images laid out so that torch can go backwards: channels-last, it crashes where they need no gradient."""
    return x.contiguous() if torch.is_grad_enabled() and not x.requires_grad else x


@builtin("keras.layers")
class GroupNormalization(ScaleAndOffset):
    """Normalize each sample over groups of its channels, together with all positions.

    Args:
        groups: how many groups the channels are split into; -1 makes each channel a group (instance
            normalization).
        axis: the axis of the channels.
        epsilon: see `ScaleAndOffset`, as for the other arguments.

    Raises:
        ArgumentError: groups is neither positive nor -1.
        ShapeError: the input has no such axis, or its channels do not split into the groups.

    Example:
        >>> GroupNormalization(groups=2)(torch.tensor([[1.0, 3.0, 10.0, 30.0]])).detach().round(decimals=2)
        tensor([[-1.,  1., -1.,  1.]])

    Source: https://keras.io/api/layers/normalization_layers/group_normalization/, Wu and He 2018
    (https://arxiv.org/abs/1803.08494)
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(groups, Integral) or (groups <= 0 and groups != -1):
            raise ArgumentError(
                "Unusable number of groups.",
                where="groups",
                expected="a positive integer, or -1",
                received=repr(groups),
            )
        super().__init__(**kwargs)
        self._keep(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
        )
        self.groups = int(groups)
        self.axis = axis
        self.autocast = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create scale and offset for inputs of this shape."""
        axes = positions(self, self.axis, input_shape)
        (channels,) = sizes_at(self, axes, input_shape)
        self.groups = channels if self.groups == -1 else self.groups
        if channels % self.groups:
            raise ShapeError(
                "The channels do not split evenly into the groups.",
                where=where(self),
                expected=f"a number of channels divisible by groups={self.groups}",
                received=f"{channels} channels (input of shape {tuple(input_shape)})",
                fix="choose groups that divides the number of channels",
            )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self._add_scale_and_offset((channels,))

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize, scale and offset."""
        x, gamma, beta = inputs, self.gamma, self.beta
        weight = beta if gamma is None else gamma
        if x.dtype in HALF or (weight is not None and weight.dtype is not x.dtype):
            x, gamma, beta = computable(x, gamma, beta, mixes=x.device.type == "cpu")
        # Torch's kernel cannot go backwards with an offset and no scale.
        gamma = torch.ones_like(beta) if gamma is None and beta is not None else gamma
        rank = x.dim()
        axis = self.axis % rank
        if axis != rank - 1:
            y = F.group_norm(_safe(x.movedim(axis, 1)), self.groups, gamma, beta, self.epsilon).movedim(1, axis)
        else:
            # Torch has a kernel for channels-last images; any other rank is shown to it as images of height 1.
            rows = x if rank == 4 else x.reshape(x.shape[0], 1, -1, x.shape[-1])
            y = F.group_norm(_safe(rows.permute(0, 3, 1, 2)), self.groups, gamma, beta, self.epsilon)
            y = y.permute(0, 2, 3, 1).reshape(x.shape)
        return y if y.dtype is self._compute_dtype else y.to(self._compute_dtype)


@builtin("keras.layers")
class RMSNormalization(Layer):
    """Divide by the root of the mean square over the features, then multiply by a learned scale.

    Args:
        axis: the axis or axes of the features.
        epsilon: what is added to the mean square, so that its root is not zero.

    Raises:
        ArgumentTypeError: the axis is neither an integer nor a list of integers.
        ShapeError: the input has no such axis, or its size there is unknown.

    Example:
        >>> RMSNormalization()(torch.tensor([[3.0, 4.0]])).detach().round(decimals=3)
        tensor([[0.8490, 1.1310]])

    Source: https://keras.io/api/layers/normalization_layers/rms_normalization/, Zhang and Sennrich 2019
    (https://arxiv.org/abs/1910.07467)
    """

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis(axis)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the scale for inputs of this shape."""
        axes = positions(self, self.axis, input_shape)
        self.axis = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)
        self.scale = self.add_weight(name="scale", shape=sizes_at(self, axes, input_shape), initializer="ones")

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize and scale."""
        dtype = torch.float32 if x.dtype in HALF else x.dtype
        return _over_axes(self, x.to(dtype), F.rms_norm, self.scale.to(dtype)).to(x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        positions(self, self.axis, input_shape)
        return tuple(input_shape)


@builtin("keras.layers")
class UnitNormalization(Layer):
    """Divide by the Euclidean length over the features, so that it becomes one.

    Args:
        axis: the axis or axes of the features.

    Raises:
        ArgumentTypeError: the axis is neither an integer nor a list of integers.

    Example:
        >>> UnitNormalization()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])

    Source: https://keras.io/api/layers/normalization_layers/unit_normalization/
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis(axis)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Divide each vector by its length."""
        try:
            length = torch.linalg.vector_norm(inputs, dim=self.axis, keepdim=True)
        except IndexError:
            positions(self, self.axis, inputs.shape)
            raise
        return inputs / length.clamp_min(1e-12)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        positions(self, self.axis, input_shape)
        return tuple(input_shape)
