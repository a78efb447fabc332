"""Spectral normalization: a wrapper that keeps the largest stretch of a layer's weight at one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.initializers import TruncatedNormal
from lamina.layers.arguments import positive
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec
from lamina.layers.wrappers import Wrapper


@builtin("keras.layers")
class SpectralNormalization(Wrapper):
    """Divides the weight of a layer by its largest singular value at every training step.

    The weight is seen as a matrix, all axes but the last as one. Power iteration finds its largest singular value, and
    goes on from step to step.

    Args:
        layer: a layer with a weight called `kernel` or `embeddings`.
        power_iterations: iterations at each step.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `power_iterations` is not positive, or `layer` is no layer, or has no such weight.

    Example:
        >>> from lamina.layers import Dense
        >>> layer = SpectralNormalization(Dense(4), power_iterations=20)
        >>> _ = layer(torch.ones(2, 3), training=True)
        >>> float(torch.linalg.matrix_norm(layer.layer.kernel.detach(), 2)) < 1.1
        True

    Source: https://keras.io/api/layers/normalization_layers/spectral_normalization/ and Miyato et al. 2018,
    https://arxiv.org/abs/1802.05957
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.power_iterations = positive(power_iterations, f"{self._where()}, power_iterations")

    def build(self, input_shape: Any = None) -> None:
        """Build the layer inside, and create the vector that the iteration goes on from."""
        super().build(input_shape)
        self.kernel = weight = self._weight()  # files hold it with the wrapper, and once more with the layer inside
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        self.vector_u = self.add_weight(
            (1, weight.shape[-1]), TruncatedNormal(stddev=0.02), name="vector_u", trainable=False, autocast=False
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The layer's outputs; in training after its weight was divided."""
        if training:
            with torch.no_grad():
                vector, divided = self.normalized_weights()
                self.vector_u.copy_(vector)
                self._weight().copy_(divided)
        outputs = self.layer(inputs)
        return outputs.to(inputs.dtype) if inputs.is_floating_point() else outputs

    def normalized_weights(self) -> tuple[Tensor, Tensor]:
        """The vector after the iterations, and the weight divided by its largest singular value.

        A weight of zeros stays as it is.
        """
        weight = self._weight()
        matrix = weight.reshape(-1, weight.shape[-1])
        left = vector = self.vector_u.to(matrix.dtype)
        for _ in range(self.power_iterations):
            left = F.normalize(vector @ matrix.T)
            vector = F.normalize(left @ matrix)
        vector, left = vector.detach(), left.detach()
        stretch = left @ matrix @ vector.T
        is_zero = (matrix == 0).all()
        divided = weight / torch.where(is_zero, 1.0, stretch).reshape(())
        return torch.where(is_zero, self.vector_u, vector.to(self.vector_u.dtype)), divided

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.pop(f"{prefix}kernel", None)  # it is there as the inner layer's

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        kernel = self._parameters.pop("kernel", None)
        super()._load_from_state_dict(*args, **kwargs)
        if kernel is not None:
            self._parameters["kernel"] = kernel

    def _weight(self) -> Any:
        for name in ("kernel", "embeddings"):
            weight = self.layer._parameters.get(name)
            if weight is not None:
                return weight
        raise ArgumentError(
            "The layer has no weight to normalize.",
            where=self._where(),
            expected="a layer with a weight called kernel or embeddings",
            received=type(self.layer).__name__,
        )
