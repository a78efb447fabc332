"""Layers of earlier Keras versions."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core.registry import builtin
from lamina.layers import Layer


@builtin("keras.layers")
class ThresholdedReLU(Layer):
    """Passes what is above a threshold and sets the rest to zero.

    Args:
        theta: the threshold.
        **kwargs: see `Layer`.

    Example:
        >>> ThresholdedReLU(theta=1.0)(torch.tensor([0.5, 2.0]))
        tensor([0., 2.])

    Source: https://keras.io/2/api/layers/activation_layers/thresholded_relu/
    """

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = theta
        self.supports_masking = True

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """The elements above the threshold."""
        return torch.where(inputs > self.theta, inputs, 0.0)
