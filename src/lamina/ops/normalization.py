"""Mean and variance, and what is scaled by them.

Source: https://keras.io/api/ops/nn/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, nearest, warn_once
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops.operands import Axes, TensorLike, all_common, as_float, as_tensor, axes_of, axes_tuple, axis_of


@op
def moments(x: TensorLike, axes: Axes, keepdims: bool = False, synchronized: bool = False) -> tuple[Tensor, Tensor]:
    """The mean and the variance of `x` over `axes`; those of float16 are cut off at its largest value.

    Args:
        x: the input.
        axes: the axes to reduce; None for all of them.
        keepdims: whether they stay, with size 1.
        synchronized: kept for Keras; only False works.

    Raises:
        ArgumentError: synchronized is True.

    Example:
        >>> moments([[1.0, 3.0], [2.0, 6.0]], axes=1)
        (tensor([2., 4.]), tensor([1., 4.]))
    """
    if synchronized:
        raise ArgumentError(
            "Moments over several processes are not computed here.",
            where="synchronized",
            expected="False",
            received="synchronized=True",
            fix="use BatchNormalization(synchronized=True)",
        )
    x = as_float(x)
    wide = x.float() if x.dtype is torch.float16 else x
    variance, mean = torch.var_mean(wide, dim=axes_of(axes), correction=0, keepdim=keepdims)
    if x.dtype is torch.float16:
        largest = torch.finfo(torch.float16).max
        mean, variance = (value.clamp(-largest, largest).half() for value in (mean, variance))
    return mean, variance


@op
def normalize(x: TensorLike, axis: Axes = -1, order: int = 2, epsilon: float | None = None) -> Tensor:
    """`x` divided by its norm along `axis`, so that the norm becomes 1.

    Args:
        x: the input.
        axis: the axis or axes over which the norm is taken.
        order: which norm: the `order`-th root of the sum of that power of the magnitudes.
        epsilon: the smallest norm divided by; `config.epsilon()` by default.

    Raises:
        ArgumentError: order is no integer above 0.

    Example:
        >>> normalize([[3.0, 4.0], [0.0, 0.0]])
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if not isinstance(order, int) or order < 1:
        raise ArgumentError(
            "The order of the norm cannot be used.",
            where="ops.normalize(order=...)",
            expected="an integer >= 1",
            received=repr(order),
        )
    x = torch.atleast_1d(as_float(x))
    norm = torch.linalg.vector_norm(x, order, dim=axes_of(axis), keepdim=True)
    return x / norm.clamp_min(config.epsilon() if epsilon is None else epsilon)


@op
def batch_normalization(
    x: TensorLike,
    mean: TensorLike,
    variance: TensorLike,
    axis: int,
    offset: TensorLike | None = None,
    scale: TensorLike | None = None,
    epsilon: float = 1e-3,
) -> Tensor:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, each of them a vector along `axis`.

    Args:
        x: the input.
        mean: the mean of each channel, of shape (channels,).
        variance: the variance of each channel, likewise.
        axis: the axis of the channels.
        offset: what is added to each channel, likewise; nothing by default.
        scale: what each channel is multiplied by, likewise; nothing by default.
        epsilon: keeps the division finite.

    Raises:
        ShapeError: one of the vectors has another length.

    Example:
        >>> batch_normalization([[1.0, 2.0]], mean=[1.0, 1.0], variance=[1.0, 0.25], axis=-1, epsilon=0.0)
        tensor([[0., 2.]])
    """
    x, mean, variance = all_common((x, mean, variance), float)
    axis = axis_of(axis, x.ndim)

    def along_axis(name: str, values: Any) -> Tensor:
        values = as_tensor(values)
        if values.shape != x.shape[axis : axis + 1]:
            raise ShapeError(
                f"{name} does not fit the input.",
                where="batch_normalization",
                expected=f"a vector of length {x.shape[axis]}",
                received=tuple(values.shape),
            )
        return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)])

    factor = torch.rsqrt(along_axis("variance", variance) + epsilon)
    if scale is not None:
        factor = factor * along_axis("scale", scale)
    y = (x - along_axis("mean", mean)) * factor
    return y if offset is None else y + along_axis("offset", offset)


@op
def layer_normalization(
    x: TensorLike,
    gamma: TensorLike | None = None,
    beta: TensorLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | None = None,
    **kwargs: Any,
) -> Tensor:
    """`x` brought to mean 0 and variance 1 over `axis`, times `gamma`, plus `beta`; at least in float32.

    Args:
        x: the input.
        gamma: a factor for each position along `axis`; none by default.
        beta: an offset for each position along `axis`; none by default.
        axis: the axis or axes normalized over.
        epsilon: added to the variance; `config.epsilon()` by default.
        kwargs: rms_scaling=True divides by the deviation without subtracting the mean (older Keras).

    Raises:
        ArgumentTypeError: any other keyword.

    Example:
        >>> layer_normalization([[1.0, 3.0]], epsilon=0.0)
        tensor([[-1.,  1.]])

    Source: Ba et al., 2016, https://arxiv.org/abs/1607.06450
    """
    rms_scaling = kwargs.pop("rms_scaling", False)
    if kwargs:
        raise ArgumentTypeError(
            f"Unknown argument.{nearest(next(iter(kwargs)), ('gamma', 'beta', 'axis', 'epsilon'))}",
            where="ops.layer_normalization",
            expected="gamma, beta, axis, epsilon",
            received=", ".join(kwargs),
        )
    if rms_scaling:
        warn_once("rms_scaling=True is old and divides by the deviation; use ops.rms_normalization instead.")
    epsilon = config.epsilon() if epsilon is None else epsilon
    wide, axes, (gamma, beta) = _prepare(x, axis, gamma, beta)
    if rms_scaling:
        y = wide * torch.rsqrt(wide.var(axes, correction=0, keepdim=True) + epsilon)
        y = y if gamma is None else y * gamma
    elif axes == _last(len(axes), wide.ndim):
        shape = wide.shape[axes[0] :]
        if _wider(gamma, shape) or _wider(beta, shape):
            y = F.layer_norm(wide, shape, eps=epsilon)
            y = y if gamma is None else y * gamma
            y = y if beta is None else y + beta
        else:
            y = F.layer_norm(wide, shape, _in_shape(gamma, shape), _in_shape(beta, shape), epsilon)
    else:
        variance, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
        y = (wide - mean) * torch.rsqrt(variance + epsilon)
        y = y if gamma is None else y * gamma
        y = y if beta is None else y + beta
    return y.to(as_tensor(x).dtype)


@op
def rms_normalization(
    x: TensorLike,
    scale: TensorLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | None = None,
) -> Tensor:
    """`x` divided by its root mean square over `axis`, times `scale`; at least in float32.

    Args:
        x: the input.
        scale: a factor for each position along `axis`; none by default.
        axis: the axis or axes normalized over.
        epsilon: added to the mean square; `config.epsilon()` by default.

    Example:
        >>> rms_normalization([[3.0, 3.0]], epsilon=0.0)
        tensor([[1., 1.]])

    Source: Zhang & Sennrich, 2019, https://arxiv.org/abs/1910.07467
    """
    epsilon = config.epsilon() if epsilon is None else epsilon
    wide, axes, (scale,) = _prepare(x, axis, scale)
    if axes == _last(len(axes), wide.ndim):
        shape = wide.shape[axes[0] :]
        fitting = None if _wider(scale, shape) else _in_shape(scale, shape)
        y = F.rms_norm(wide, list(shape), fitting, epsilon)
        y = y if scale is None or fitting is not None else y * scale
    else:
        y = wide * torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
        y = y if scale is None else y * scale
    return y.to(as_tensor(x).dtype)


def _prepare(x: Any, axis: Any, *weights: Any) -> tuple[Tensor, tuple[int, ...], list[Tensor | None]]:
    """`x` in at least float32, its axes in order, and the weights with one axis for each of `x`."""
    x = torch.atleast_1d(as_float(x))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    axes = tuple(sorted(axes_tuple(axis, wide.ndim)))
    sizes = [wide.shape[i] if i in axes else 1 for i in range(wide.ndim)]
    shaped: list[Tensor | None] = []
    unknown = unknown_stand_in()
    for weight in weights:
        tensor = None if weight is None else as_tensor(weight).to(wide.dtype)
        if tensor is not None and unknown in (*sizes, *tensor.shape):
            tensor = None  # it is taken to fit, and says nothing about the result
        if tensor is not None and tensor.ndim != wide.ndim and tensor.numel() == math.prod(sizes):
            tensor = tensor.reshape(sizes)
        shaped.append(tensor)
    return wide, axes, shaped


def _last(count: int, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim - count, ndim))


def _wider(weight: Tensor | None, shape: torch.Size) -> bool:
    """Whether the weight has more axes than those normalized, and must be broadcast."""
    return weight is not None and weight.numel() != math.prod(shape)


def _in_shape(weight: Tensor | None, shape: torch.Size) -> Tensor | None:
    """The weight in the shape of the normalized axes, as torch's own kernels want it."""
    return None if weight is None else weight.reshape(shape)
