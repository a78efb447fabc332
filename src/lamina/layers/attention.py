"""Attention layers: with several heads, and the plain ones between given queries and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina import regularizers
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.core.seeds import SeedGenerator
from lamina.layers.attention_heads import HeadsLayer
from lamina.layers.base import Layer
from lamina.layers.einsum_dense import EinsumDense
from lamina.ops.attention import attend, causal_mask
from lamina.ops.operands import as_tensor
from lamina.ops.random import drop


@builtin("keras.layers")
class MultiHeadAttention(HeadsLayer):
    """Attention with several heads: each looks at the keys in its own projection.

    Args:
        num_heads: the number of heads.
        key_dim: the size of each head's queries and keys.
        value_dim: the size of its values; `key_dim` by default.
        dropout: the share of weights dropped while training.
        use_bias: whether the projections have biases.
        output_shape: the sizes of the output's last axes; those of the query by default.
        attention_axes: the axes along which attention goes; all but batch and features by default.
        sliding_window: queries see only keys less than so many steps away.
        flash_attention: True demands torch's flash kernel; otherwise torch chooses.
        kernel_initializer: how kernels begin, as for `EinsumDense`, like the arguments that follow.
        bias_initializer: how biases begin.
        kernel_regularizer: a penalty on kernels.
        bias_regularizer: a penalty on biases.
        activity_regularizer: a penalty on the projections' outputs.
        kernel_constraint: what kernels are put through after each update.
        bias_constraint: what biases are put through after each update.
        use_gate: whether the result is multiplied by a sigmoid of the projected query.
        seed: an integer makes dropout repeatable.
        **kwargs: as for `Layer`.

    Call arguments: see `HeadsLayer`.

    Returns:
        The outputs, shape (batch, queries, features), and with `return_attention_scores` the weights, shape (batch,
        heads, queries, keys).

    Raises:
        ArgumentError: a size is no positive integer, or flash attention shall have dropout or give weights.
        ShapeError: key and value have different numbers of steps.

    Example:
        >>> layer = MultiHeadAttention(num_heads=2, key_dim=8)
        >>> x = torch.ones(1, 5, 16)
        >>> layer(x, x, use_causal_mask=True).shape
        torch.Size([1, 5, 16])

    Source: https://keras.io/api/layers/attention_layers/multi_head_attention/; Vaswani et al., 2017
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        weights = {
            "kernel_initializer": kernel_initializer,
            "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer,
            "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint,
            "bias_constraint": bias_constraint,
        }
        self._keep(dropout, use_bias, sliding_window, flash_attention, weights, use_gate, seed)
        self.num_heads = self._positive(num_heads, "num_heads")
        self.key_dim = self._positive(key_dim, "key_dim")
        self.value_dim = self._positive(value_dim, "value_dim", optional=True) or key_dim
        self._output_shape = self._sizes(output_shape, "output_shape")
        self.attention_axes = self._sizes(attention_axes, "attention_axes")
        self._activity_regularizer = regularizers.get(activity_regularizer)

    def _sizes(self, value: Any, name: str) -> tuple[int, ...] | None:
        """One integer or several as a tuple."""
        if value is None or isinstance(value, int):
            return None if value is None else (value,)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ArgumentError(
                f"Invalid `{name}`.", where=self._where(), expected="an int, list or tuple", received=repr(value)
            )
        return tuple(value)

    def _penalty(self) -> Any:
        return self._activity_regularizer

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Create the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        self._check_shapes(query_shape, value_shape, key_shape)
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim)
        self._query_dense = self._projection("query", query_shape, 1, keys)
        self._key_dense = self._projection("key", key_shape, 1, keys)
        if self.use_gate:
            self._gate_dense = self._projection("gate", query_shape, 1, values, "sigmoid")
        self._value_dense = self._projection("value", value_shape, 1, values)
        rank = len(query_shape)
        axes = range(1, rank - 1) if self.attention_axes is None else self.attention_axes
        self.attention_axes = self._attends_to = tuple(axis if axis >= 0 else rank + axis for axis in axes)
        self._build_attention()
        made = self._output_shape or (query_shape[-1],)
        self._output_dense = self._projection("attention_output", (*query_shape[:-1], *values), 2, made)

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Each query's weighted mean of the values, of all heads."""
        key = value if key is None else key
        # As in Keras, only the mask that travels with the query counts.
        masks = (getattr(query, "_keras_mask", None), key_mask, value_mask)
        return self._attention(
            (query, key, value), masks, attention_mask, return_attention_scores, training, use_causal_mask
        )

    @property
    def query_dense(self) -> EinsumDense:
        """The layer that projects the query."""
        return self._query_dense

    @property
    def key_dense(self) -> EinsumDense:
        """The layer that projects the key."""
        return self._key_dense

    @property
    def value_dense(self) -> EinsumDense:
        """The layer that projects the value."""
        return self._value_dense

    @property
    def output_dense(self) -> EinsumDense:
        """The layer that projects the result back."""
        return self._output_dense

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config()
        del config["flash_attention"]
        return config | {"activity_regularizer": regularizers.serialize(self._activity_regularizer)}


@builtin("keras.layers", "GroupQueryAttention")
class GroupedQueryAttention(HeadsLayer):
    """Attention with several heads, where groups of query heads share a head of keys and values.

    Args:
        head_dim: the size of each head.
        num_query_heads: the number of heads of the query.
        num_key_value_heads: the number of heads of key and value; divides that of the query.
        dropout: see `MultiHeadAttention`, like the other arguments.

    Call arguments: see `HeadsLayer`.

    Returns:
        The outputs, shape (batch, queries, features), and with `return_attention_scores` the weights, shape (batch,
        query heads, queries, keys).

    Raises:
        ArgumentError: the numbers of heads do not divide, or flash attention shall have dropout or give weights.
        ShapeError: key and value have different numbers of steps.

    Example:
        >>> layer = GroupedQueryAttention(head_dim=8, num_query_heads=4, num_key_value_heads=2)
        >>> x = torch.ones(1, 5, 16)
        >>> layer(x, x).shape
        torch.Size([1, 5, 16])

    Source: https://keras.io/api/layers/attention_layers/group_query_attention/; Ainslie et al., 2023
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        weights = {
            "kernel_initializer": kernel_initializer,
            "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer,
            "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint,
            "bias_constraint": bias_constraint,
        }
        self._keep(dropout, use_bias, sliding_window, flash_attention, weights, use_gate, seed)
        if num_query_heads % num_key_value_heads:
            raise ArgumentError(
                "`num_query_heads` must be divisible by `num_key_value_heads`.",
                where=self._where(),
                expected=f"a multiple of num_key_value_heads={num_key_value_heads}",
                received=f"num_query_heads={num_query_heads}",
            )
        self.head_dim = head_dim
        self.num_query_heads, self.num_key_value_heads = num_query_heads, num_key_value_heads
        self.num_repeats = num_query_heads // num_key_value_heads

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Create the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        self._check_shapes(query_shape, value_shape, key_shape)
        queries, keys = (self.num_query_heads, self.head_dim), (self.num_key_value_heads, self.head_dim)
        self.feature_dim = query_shape[-1]
        self._query_dense = self._projection("query", query_shape, 1, queries)
        self._key_dense = self._projection("key", key_shape, 1, keys)
        if self.use_gate:
            self._gate_dense = self._projection("gate", query_shape, 1, queries, "sigmoid")
        self._value_dense = self._projection("value", value_shape, 1, keys)
        self._build_attention()
        self._output_dense = self._projection("attention_output", (*query_shape[:-1], *queries), 2, (self.feature_dim,))

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Each query's weighted mean of the values, of all heads."""
        key = value if key is None else key
        masks = (query_mask, key_mask, value_mask)
        return self._attention(
            (query, key, value), masks, attention_mask, return_attention_scores, training, use_causal_mask
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config()
        del config["flash_attention"]
        return config | {"activity_regularizer": regularizers.serialize(self.activity_regularizer)}


GroupQueryAttention = GroupedQueryAttention


@builtin("keras.layers")
class Attention(Layer):
    """Attention by dot products (Luong): `softmax(query @ key) @ value`.

    Args:
        use_scale: whether the products are multiplied by a learned number.
        score_mode: "dot" for products, or "concat" for a learned multiple of `sum(tanh(query + key))`.
        dropout: the share of weights dropped while training.
        seed: an integer makes dropout repeatable.
        **kwargs: as for `Layer`.

    Call arguments:
        inputs: a list of query, shape (batch, queries, size), value, shape (batch, keys, size), and optionally a key
            of the value's shape.
        mask: a list of masks: outputs of masked queries are zero, and masked values do not count.
        training: whether weights are dropped.
        return_attention_scores: whether to give the weights too.
        use_causal_mask: whether a query sees no later keys.

    Returns:
        The outputs, shape (batch, queries, size), and with `return_attention_scores` the weights, shape (batch,
        queries, keys).

    Raises:
        ArgumentError: `score_mode` is unknown, or inputs or masks are no list of two or three.

    Example:
        >>> query, value = torch.ones(1, 2, 3), torch.arange(6.0).reshape(1, 2, 3)
        >>> Attention()([query, value])[0, 0].round(decimals=1)
        tensor([3., 4., 5.])

    Source: https://keras.io/api/layers/attention_layers/attention/; Luong et al., 2015
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ArgumentError(
                "Invalid value for argument score_mode.",
                where=self._where(),
                expected='"dot" or "concat"',
                received=repr(score_mode),
            )
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = dropout
        self.seed = seed
        self.seed_generator = None if seed is None else SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the learned numbers."""
        self._check_list(input_shape, "inputs")
        self.scale = self.add_weight((), "ones", name="scale") if self.use_scale else None
        concat = self.score_mode == "concat"
        self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight") if concat else None

    def call(
        self,
        inputs: list[Tensor],
        mask: list[Tensor | None] | None = None,
        training: bool | None = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Each query's weighted mean of the values."""
        self._check_list(inputs, "inputs")
        query, value, key = inputs[0], inputs[1], inputs[-1] if len(inputs) > 2 else inputs[1]
        query_mask = value_mask = None
        if mask is not None:
            self._check_list(mask, "mask")
            query_mask, value_mask = mask[0], mask[1]
        rate = self.dropout if training else 0.0
        weights = None
        if return_attention_scores or rate or value_mask is not None or query.ndim != 3 or not self._is_product():
            seen = None if value_mask is None else value_mask.bool().unsqueeze(-2)
            if use_causal_mask:
                earlier = causal_mask(query.shape[-2], key.shape[-2], query.device)
                seen = earlier if seen is None else seen & earlier
            logits = self._calculate_scores(query, key)
            if seen is not None:
                # Added, not put in its place: where all is masked, the differences stay.
                logits = torch.where(seen, logits, logits - (65504.0 if logits.dtype is torch.float16 else 1e9))
            weights = torch.softmax(logits, -1)
            weights = drop(weights, rate, weights.shape, self.seed_generator) if rate else weights
            outputs = torch.matmul(weights, value)
        else:
            scaled = query if self.scale is None else query * self.scale
            heads = (x.unsqueeze(1) for x in (scaled, key, value))
            outputs = attend(*heads, causal=use_causal_mask, scale=1.0).squeeze(1)
        if query_mask is not None:
            outputs = torch.where(query_mask.bool().unsqueeze(-1), outputs, 0.0)
        return (outputs, weights) if return_attention_scores else outputs

    def _is_product(self) -> bool:
        """Whether the logits are products of query and key."""
        return self.score_mode == "dot"

    def _calculate_scores(self, query: Tensor, key: Tensor) -> Tensor:
        """The logits, shape (batch, queries, keys)."""
        if self.concat_score_weight is None:
            scores = torch.matmul(query, key.transpose(-2, -1))
            return scores if self.scale is None else scores * self.scale
        sums = query.unsqueeze(-2) + key.unsqueeze(-3)
        sums = sums if self.scale is None else sums * self.scale
        return self.concat_score_weight * torch.tanh(sums).sum(-1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mask of the query."""
        self._check_list(inputs, "inputs")
        if mask is None:
            return None
        self._check_list(mask, "mask")
        return None if mask[0] is None else as_tensor(mask[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the query with the size of the value."""
        query_shape, value_shape = input_shape[:2]
        return (*query_shape[:-1], value_shape[-1])

    def _check_list(self, value: Any, name: str) -> None:
        if not isinstance(value, list) or not 2 <= len(value) <= 3:
            kind = "layer must be called on a list of inputs" if name == "inputs" else "layer mask must be a list"
            raise ArgumentError(
                f"{type(self).__name__} {kind}, with length 2 or 3.",
                where=self._where(),
                expected="[query, value] or [query, value, key]",
                received=f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else repr(value),
            )


@builtin("keras.layers")
class AdditiveAttention(Attention):
    """Attention by sums (Bahdanau): the logits are `sum(scale * tanh(query + key))`.

    Args:
        use_scale: whether there is a learned scale for each feature.
        dropout: see `Attention`, as for the call arguments.
        **kwargs: as for `Attention`.

    Raises:
        ShapeError: the size of the query is unknown.

    Example:
        >>> AdditiveAttention()([torch.ones(1, 2, 3), torch.ones(1, 4, 3)]).shape
        torch.Size([1, 2, 3])

    Source: https://keras.io/api/layers/attention_layers/additive_attention/; Bahdanau et al., 2014
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Create the scale."""
        self._check_list(input_shape, "inputs")
        sizes = (input_shape[0][-1],)
        self.scale = self.add_weight(sizes, "glorot_uniform", name="scale") if self.use_scale else None

    def _is_product(self) -> bool:
        return False

    def _calculate_scores(self, query: Tensor, key: Tensor) -> Tensor:
        sums = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return (sums if self.scale is None else sums * self.scale).sum(-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return {**super().get_config(), "seed": self.seed}
