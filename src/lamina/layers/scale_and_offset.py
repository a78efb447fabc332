"""What the normalizations share: scale and offset, axes, and precision."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from lamina import constraints, initializers, regularizers
from lamina.core.errors import ArgumentTypeError, ShapeError
from lamina.layers.base import Layer

HALF = (torch.float16, torch.bfloat16)


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
            where=where(layer),
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
            where=where(layer),
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
    if isinstance(axis, Integral):
        return int(axis)
    raise ArgumentTypeError(
        "Unusable axis.", where="axis", expected="an integer or a list of integers", received=repr(axis)
    )


def where(layer: Layer) -> str:
    """The layer as errors name it."""
    return f"layer '{layer.name}' ({type(layer).__name__})"


def computable(x: torch.Tensor, *weights: torch.Tensor | None, mixes: bool) -> tuple[Any, ...]:
    """Inputs and weights in dtypes that torch's kernels take together, computing in float32 or better.

    Args:
        x: the inputs.
        weights: the weights, None for those that the layer has not.
        mixes: whether the kernel takes half-precision inputs with float32 weights.
    """
    if mixes and x.dtype in HALF and all(w is not None and w.dtype is torch.float32 for w in weights):
        return x, *weights
    x = x.float() if x.dtype in HALF or not x.is_floating_point() else x
    return x, *(None if weight is None else weight.to(x.dtype) for weight in weights)
