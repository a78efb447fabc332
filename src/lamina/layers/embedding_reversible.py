"""ReversibleEmbedding: from ids to vectors, and from vectors back to logits of ids."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.registry import builtin
from lamina.layers.core import Embedding


@builtin("keras.layers")
class ReversibleEmbedding(Embedding):
    """An embedding that also works backwards, from vectors to a logit for each id, as language models want it.

    Args:
        input_dim: see `Embedding`, as for the other arguments not named here.
        tie_weights: whether the way back uses the same table; otherwise it has a matrix of its own.
        reverse_dtype: the dtype of the way back; the compute dtype by default.
        logit_soft_cap: logits become `cap * tanh(logits / cap)`.
        **kwargs: as for `Embedding`.

    Call arguments:
        inputs: ids, or with `reverse` vectors of shape (..., output_dim).
        reverse: whether to go back: the result has shape (..., input_dim).

    Example:
        >>> layer = ReversibleEmbedding(100, 8)
        >>> vectors = layer(torch.tensor([[4, 20, 7]]))
        >>> vectors.shape, layer(vectors, reverse=True).shape
        (torch.Size([1, 3, 8]), torch.Size([1, 3, 100]))

    Source: https://keras.io/api/layers/core_layers/; Press and Wolf, 2016
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            **kwargs,
        )
        self.tie_weights = tie_weights
        self.reverse_dtype = None if reverse_dtype is None else standardize_dtype(reverse_dtype)
        self.logit_soft_cap = logit_soft_cap

    def _refresh(self) -> None:
        super()._refresh()
        # Vectors and logits may have different dtypes, so `call` casts.
        self.__dict__["_mixed"] = False

    def build(self, input_shape: Any = None) -> None:
        """Create the table, and the matrix of the way back if it is another."""
        super().build(input_shape)
        if not (self.tie_weights or self._is_quantized):
            shape = (self.output_dim, self.input_dim)
            self.reverse_embeddings = self.add_weight(shape, self.embeddings_initializer, name="reverse_embeddings")

    def call(self, inputs: Tensor, reverse: bool = False) -> Tensor:
        """The rows the inputs name, or with `reverse` the logits of the inputs."""
        if not reverse:
            return self._with_mask(super().call(inputs), inputs)
        kernel = self.cast(self.embeddings.T if self.tie_weights else self.reverse_embeddings)
        wanted = torch_dtype(self.reverse_dtype) if self.reverse_dtype else None
        dtype = wanted or torch.promote_types(inputs.dtype, kernel.dtype)
        return self._capped(torch.matmul(inputs.to(dtype), kernel.to(dtype)))

    def _capped(self, logits: Tensor) -> Tensor:
        cap = self.logit_soft_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _with_mask(self, rows: Tensor, ids: Tensor) -> Tensor:
        if self.mask_zero:
            rows._keras_mask = ids != 0  # type: ignore[attr-defined]
        return rows

    @property
    def _reverse_is_held(self) -> bool:  # type: ignore[override]
        return not self.tie_weights

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: `call` puts the mask on vectors, and logits have none."""
        return None

    def compute_output_shape(self, input_shape: tuple[int | None, ...], reverse: bool = False) -> Any:
        """The input shape with the size of the vectors added, or the number of ids in its place."""
        if reverse:
            return (*input_shape[:-1], self.input_dim)
        return super().compute_output_shape(input_shape)
