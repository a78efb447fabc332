"""Normalization over batches, features, groups and vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F

from lamina import constraints, initializers, regularizers
from lamina.core import config
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.registry import builtin
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec

if distributed.is_available():
    from torch.distributed.nn.functional import all_reduce

_HALF = (torch.float16, torch.bfloat16)


class ScaleAndOffset(Layer):
    """Base of the normalizations that end with a learned scale and offset.

    Args:
        epsilon: what is added to the variance, so that its root is not zero.
        center: whether an offset `beta` is added.
        scale: whether the result is multiplied by `gamma`.
        beta_initializer: how beta begins.
        gamma_initializer: how gamma begins.
        beta_regularizer: a penalty on beta.
        gamma_regularizer: a penalty on gamma.
        beta_constraint: what beta is put through after each update.
        gamma_constraint: what gamma is put through after each update.
    """

    def _keep(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
    ) -> None:
        """Keep the arguments that all of them take."""
        self.supports_masking = True
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma = None
        self.beta = None

    def _add_scale_and_offset(self, shape: tuple[int, ...]) -> None:
        """Create gamma and beta."""
        if self.scale:
            self.gamma = self.add_weight(
                name="gamma",
                shape=shape,
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                autocast=False,
            )
        if self.center:
            self.beta = self.add_weight(
                name="beta",
                shape=shape,
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                autocast=False,
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        positions(self, self.axis, input_shape)
        return tuple(input_shape)


def positions(layer: Layer, axis: Any, shape: Sequence[int | None]) -> list[int]:
    """The axes counted from the front, in order.

    Raises:
        ShapeError: the input has no such axis.
    """
    axes, rank = [axis] if isinstance(axis, int) else list(axis), len(shape)
    if any(not -rank <= a < rank for a in axes):
        raise ShapeError(
            "The input has no such axis.",
            where=_where(layer),
            expected=f"axis from {-rank} to {rank - 1} for {rank} axes",
            received=f"axis={axis} for an input of shape {tuple(shape)}",
        )
    return sorted(a % rank for a in axes)


def sizes_at(layer: Layer, axes: Sequence[int], shape: Sequence[int | None]) -> tuple[int, ...]:
    """The sizes of some axes.

    Raises:
        ShapeError: one of them is not known.
    """
    sizes = tuple(size for size in (shape[axis] for axis in axes) if size is not None)
    if len(sizes) != len(axes):
        raise ShapeError(
            "The size of a normalized axis must be known to create the weights.",
            where=_where(layer),
            expected=f"known sizes on axes {list(axes)}",
            received=tuple(shape),
        )
    return sizes


def checked_axis(axis: Any) -> int | list[int]:
    """An axis or a list of axes.

    Raises:
        ArgumentTypeError: it is neither.
    """
    if isinstance(axis, (list, tuple)):
        return [int(a) for a in axis]
    if isinstance(axis, int):
        return axis
    raise ArgumentTypeError(
        "Unusable axis.", where="axis", expected="an integer or a list of integers", received=repr(axis)
    )


def _where(layer: Layer) -> str:
    return f"layer '{layer.name}' ({type(layer).__name__})"


def _as(weight: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A weight in the dtype computed in."""
    return weight if weight is None or weight.dtype == dtype else weight.to(dtype)


def _follow(moving: torch.Tensor, value: torch.Tensor, momentum: float) -> None:
    """Move a running average towards a new value, in place."""
    with torch.no_grad():
        if moving.dtype == value.dtype:
            moving.lerp_(value, 1.0 - momentum)
        else:
            moving.copy_(torch.lerp(moving.to(value.dtype), value, 1.0 - momentum))


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
        self.axis = int(axis)
        self.momentum = float(momentum)
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
        self._order, self._inverse = _channels_to_front(axis, len(input_shape))
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: shape[0]})

    def _add_statistic(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        """State that training moves and gradients do not."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False, autocast=False)

    def call(
        self, inputs: torch.Tensor, training: bool | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalize, scale and offset."""
        x, gamma, beta = inputs, self.gamma, self.beta
        if x.dtype in _HALF and not self._mixes():
            x = x.float()
        if x.dtype not in _HALF:
            gamma, beta = _as(gamma, x.dtype), _as(beta, x.dtype)
        if not training or not self._trainable:
            y = self._normalize(x, gamma, beta)
        elif mask is not None or self._communicates() or x.numel() == x.shape[self.axis]:
            y = self._normalize_by(x, gamma, beta, *self._moments(x, mask))
        elif self.renorm:
            y = self._renormalize(x, gamma, beta)
        else:
            y = self._normalize_batch(x, gamma, beta)
        return y if y.dtype is self._compute_dtype else y.to(self._compute_dtype)

    def _mixes(self) -> bool:
        """Whether torch's kernels take half-precision inputs with these weights, computing in float32."""
        return (
            self.gamma is not None
            and self.beta is not None
            and self.gamma.dtype == self.beta.dtype == self.moving_mean.dtype == torch.float32
        )

    def _to_torch(self, x: torch.Tensor) -> torch.Tensor:
        """A view with the channels on axis 1, of a layout that torch has kernels for."""
        return x.reshape(-1, x.shape[-1]) if self._order is None else x.permute(self._order)

    def _from_torch(self, y: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The view back from `_to_torch`."""
        return y.view(shape) if self._inverse is None else y.permute(self._inverse)

    def _normalize(self, x: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        """By the moving statistics."""
        mean, variance = self.moving_mean, self.moving_variance
        if x.dtype not in _HALF:
            mean, variance = _as(mean, x.dtype), _as(variance, x.dtype)
        y = torch.batch_norm(self._to_torch(x), gamma, beta, mean, variance, False, 0.0, self.epsilon, True)
        return self._from_torch(y, x.shape)

    def _normalize_batch(self, x: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        """By the statistics of this batch, in one fused pass that moves the averages too.

        Torch averages the variance over count - 1. Scaled by count / (count - 1) beforehand and back afterwards,
        the moving variance follows the one over count instead.
        """
        view, mean, variance = self._to_torch(x), self.moving_mean, self.moving_variance
        count = x.numel() // view.shape[1]
        excess = count / (count - 1)
        full = torch.float32 if x.dtype in _HALF else x.dtype
        new_mean, new_variance = mean.to(full), variance.to(full) * excess
        speed = 1.0 - self.momentum
        y = torch.batch_norm(view, gamma, beta, new_mean, new_variance, True, speed, self.epsilon, True)
        if new_mean is not mean:
            mean.copy_(new_mean)
        torch.mul(new_variance, 1.0 / excess, out=variance)
        return self._from_torch(y, x.shape)

    def _renormalize(self, x: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        """By the statistics of this batch, corrected towards those of batch renormalization."""
        view = self._to_torch(x)
        y, mean, inverse = torch.native_batch_norm(view, None, None, None, None, True, 0.0, self.epsilon)
        gamma, beta = self._renormalized(mean.detach(), inverse.detach().reciprocal(), gamma, beta)
        shape = (-1, *(1,) * (y.dim() - 2))
        return self._from_torch(torch.addcmul(beta.view(shape), y, gamma.view(shape)), x.shape)

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

    def _communicates(self) -> bool:
        """Whether there are other processes to ask."""
        return self.synchronized and distributed.is_available() and distributed.is_initialized()

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
                    where=_where(self),
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
        if not self._communicates():
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


def _channels_to_front(axis: int, rank: int) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The order of axes that puts this one second, and its inverse; None to see a tensor as rows of channels.

    Torch has kernels for channels-last tensors of rank 4 and 5; of other ranks it would copy them.
    """
    if axis == rank - 1 and rank not in (2, 4, 5):
        return None, None
    first, *rest = (other for other in range(rank) if other != axis)
    order = (first, axis, *rest)
    return order, tuple(order.index(position) for position in range(rank))


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
            received=clipping,
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


def _full_precision(x: torch.Tensor, *weights: torch.Tensor | None) -> torch.Tensor:
    """Half-precision inputs in float32, unless torch's kernel takes them with float32 weights, as on CPUs."""
    if x.dtype not in _HALF:
        return x
    mixes = x.device.type == "cpu" and all(w is not None and w.dtype == torch.float32 for w in weights)
    return x if mixes else x.float()


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
        # An old, misnamed option that files still spell out; it divides by the deviation without centering.
        self_rms_scaling = bool(kwargs.pop("rms_scaling", False))
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
        self.axis = checked_axis(axis)
        self.rms_scaling = self_rms_scaling
        self.autocast = False

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments by name."""
        return {**super().get_config(), "rms_scaling": self.rms_scaling}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create scale and offset for inputs of this shape."""
        axes = positions(self, self.axis, input_shape)
        self.axis = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)
        self._add_scale_and_offset(sizes_at(self, axes, input_shape))

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize, scale and offset."""
        x = _full_precision(inputs, self.gamma, self.beta)
        dtype = torch.float32 if x.dtype in _HALF else x.dtype
        gamma, beta = _as(self.gamma, dtype), _as(self.beta, dtype)
        y = _over_axes(self, x, F.layer_norm, gamma, beta)
        return y if y.dtype is self._compute_dtype else y.to(self._compute_dtype)


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
        if not isinstance(groups, int) or (groups <= 0 and groups != -1):
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
        self.groups = groups
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
                where=_where(self),
                expected=f"a number of channels divisible by groups={self.groups}",
                received=f"{channels} channels (input of shape {tuple(input_shape)})",
                fix="choose groups that divides the number of channels",
            )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self._add_scale_and_offset((channels,))

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize, scale and offset."""
        x = _full_precision(inputs, self.gamma, self.beta)
        dtype = torch.float32 if x.dtype in _HALF else x.dtype
        gamma, beta = _as(self.gamma, dtype), _as(self.beta, dtype)
        # Torch's kernel cannot go backwards with an offset and no scale.
        gamma = torch.ones_like(beta) if gamma is None and beta is not None else gamma
        rank = x.dim()
        axis = self.axis % rank
        if axis != rank - 1:
            y = F.group_norm(x.movedim(axis, 1), self.groups, gamma, beta, self.epsilon).movedim(1, axis)
        else:
            # Torch has a kernel for channels-last images; any other rank is shown to it as images of height 1.
            rows = x if rank == 4 else x.reshape(x.shape[0], 1, -1, x.shape[-1])
            y = F.group_norm(rows.permute(0, 3, 1, 2), self.groups, gamma, beta, self.epsilon)
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
        dtype = torch.float32 if x.dtype in _HALF else x.dtype
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

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """Divide each vector by its length."""
        length = torch.linalg.vector_norm(inputs, dim=positions(self, self.axis, inputs.shape), keepdim=True)
        return inputs / length.clamp_min(1e-12)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        positions(self, self.axis, input_shape)
        return tuple(input_shape)
