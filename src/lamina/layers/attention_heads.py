"""What attention layers with several heads share: projections, masks, and the attention itself."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina import constraints, initializers, regularizers
from lamina.core.config import is_flash_attention_enabled
from lamina.core.errors import ArgumentError, ShapeError
from lamina.layers.activation import Softmax
from lamina.layers.base import Layer
from lamina.layers.einsum_dense import EinsumDense
from lamina.layers.regularization import Dropout
from lamina.ops.attention import attend, attention_weights, causal_mask, weighted
from lamina.ops.random import drop


class HeadsLayer(Layer):
    """Base of the attention layers that project query, key and value to several heads, and the result back.

    Call arguments:
        query: shape (batch, queries, features).
        value: shape (batch, keys, features).
        key: likewise; the value by default.
        attention_mask: True where a query may look at a key; broadcasts to (batch, heads, queries, keys), the heads
            may be left out.
        return_attention_scores: whether to give the weights too.
        training: whether weights are dropped.
        use_causal_mask: whether a query sees no later keys.

    Masks that travel with the tensors (`Embedding(mask_zero=True)` makes such) are combined with these.
    """

    _query_dense: EinsumDense
    _key_dense: EinsumDense
    _value_dense: EinsumDense
    _output_dense: EinsumDense
    _gate_dense: EinsumDense
    _attends_to: tuple[int, ...] = (1,)

    def _keep(
        self,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        weights: dict[str, Any],
        use_gate: bool,
        seed: int | None,
    ) -> None:
        """Keep the arguments that all such layers have; `weights` are those about kernels and biases."""
        self.dropout = dropout
        self.use_bias = use_bias
        self.sliding_window = self._positive(sliding_window, "sliding_window", optional=True)
        self._flash_attention = flash_attention or is_flash_attention_enabled()
        for name, value in weights.items():
            kind = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
            setattr(self, name, kind[name.rpartition("_")[2]].get(value))
        self.use_gate = use_gate
        self.seed = seed
        self.supports_masking = True
        if self._flash_attention and dropout > 0:
            raise ArgumentError(
                "Dropout is not supported when flash attention is enabled.",
                where=self._where(),
                received=f"dropout={dropout}",
                fix="set dropout to 0, or leave flash_attention out",
            )

    def _positive(self, value: Any, name: str, optional: bool = False) -> Any:
        """The value, if it is an integer of 1 or more (or None where that is allowed)."""
        if (optional and value is None) or (isinstance(value, int) and value > 0):
            return value
        raise ArgumentError(
            f"Invalid value for argument `{name}`.",
            where=self._where(),
            expected="a positive integer" + (" or None" if optional else ""),
            received=repr(value),
        )

    def _check_shapes(self, query_shape: Sequence[Any], value_shape: Sequence[Any], key_shape: Sequence[Any]) -> None:
        if min(map(len, (query_shape, value_shape, key_shape))) < 3:
            raise ShapeError(
                "Attention is between sequences.",
                where=self._where(),
                expected="query, value and key of shape (batch, steps, features)",
                received=f"query of shape {tuple(query_shape)}, value of shape {tuple(value_shape)}",
            )
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ShapeError(
                "All dimensions of `value` and `key`, except the last one, must be equal.",
                where=self._where(),
                expected="one key for each value: shapes that differ in the last axis only",
                received=f"value of shape {tuple(value_shape)}, key of shape {tuple(key_shape)}",
            )

    def _projection(
        self, name: str, shape: Sequence[Any], met: int, made: Sequence[int], activation: Any = None
    ) -> EinsumDense:
        """A dense layer, built, from the last `met` axes of a shape to new ones of the sizes `made`."""
        free = len(shape) - met
        letters = string.ascii_lowercase
        x, new = letters[: len(shape)], letters[len(shape) : len(shape) + len(made)]
        told: dict[str, Any] = {
            f"{weight}_{kind}": getattr(self, f"{weight}_{kind}")
            for weight in ("kernel", "bias")
            for kind in ("regularizer", "constraint")
        }
        for weight in ("kernel", "bias"):
            initializer = getattr(self, f"{weight}_initializer")
            # A copy for each layer: the same one, without a seed, would give each the same values.
            told[f"{weight}_initializer"] = initializer.clone() if hasattr(initializer, "clone") else initializer
        dense = EinsumDense(
            f"{x},{x[free:]}{new}->{x[:free]}{new}",
            output_shape=(*[None] * (free - 1), *made),
            bias_axes=new if self.use_bias else None,
            activation=activation,
            activity_regularizer=self._penalty(),
            name=name,
            dtype=self.dtype_policy,
            **told,
        )
        dense.build(tuple(shape))
        return dense

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> Any:
        """The shape of the outputs."""
        key_shape = value_shape if key_shape is None else key_shape
        self._check_shapes(query_shape, value_shape, key_shape)
        return super().compute_output_shape(query_shape, value_shape, key_shape)

    def _penalty(self) -> Any:
        """The regularizer of the projections' outputs."""
        return self.activity_regularizer

    def _build_attention(self) -> None:
        """Create the layers that stand between the projections."""
        self._softmax = Softmax(tuple(range(-len(self._attends_to), 0)), dtype=self.dtype_policy)
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)

    def _attention(
        self,
        tensors: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        attention_mask: Tensor | None,
        return_attention_scores: bool,
        training: bool | None,
        use_causal_mask: bool,
    ) -> Any:
        """What `call` gives, for (query, key, value) and their masks."""
        # The projections know no masks; these are dealt with here.
        query, key, value = (x.view(x.shape) if hasattr(x, "_keras_mask") else x for x in tensors)
        # One who overrides `_compute_attention` is given the causal mask in the mask.
        overridden = type(self)._compute_attention is not HeadsLayer._compute_attention
        told: dict[str, Any] = {"return_attention_scores": True} if return_attention_scores else {}
        if use_causal_mask and not overridden:
            told["use_causal_mask"], use_causal_mask = True, False
        query_mask, key_mask, value_mask = masks
        mask = self._compute_attention_mask(
            query, value, query_mask, key_mask, value_mask, attention_mask, use_causal_mask
        )
        heads = self._query_dense(query), self._key_dense(key), self._value_dense(value)
        outputs, scores = self._compute_attention(*heads, mask, training, **told)
        if self.use_gate:
            outputs = outputs * self._gate_dense(query)
        outputs = self._output_dense(outputs)
        return (outputs, scores) if return_attention_scores else outputs

    def _compute_attention_mask(
        self,
        query: Tensor,
        value: Tensor,
        query_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_causal_mask: bool = False,
    ) -> Tensor | None:
        """All masks in one, of shape (batch, queries, keys) or that of the attention mask; None if there are none."""
        steps, keys = query.shape[1], value.shape[1]
        found = [mask.bool().unsqueeze(-2) for mask in (key_mask, value_mask) if mask is not None]
        if query_mask is not None:
            found.append(query_mask.bool().unsqueeze(-1))
        if use_causal_mask:
            found.append(causal_mask(steps, keys, query.device)[None])
        if self.sliding_window is not None:
            rows, columns = (torch.arange(size, device=query.device) for size in (steps, keys))
            found.append(((rows[:, None] - columns).abs() < self.sliding_window)[None])
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
            # One with heads: the others have none, so each gets an axis for them.
            found = [mask.unsqueeze(-3) if attention_mask.ndim > mask.ndim else mask for mask in found]
            found.append(attention_mask)
        merged = None
        for mask in found:
            merged = mask if merged is None else merged & mask
        return merged

    def _compute_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention between projected tensors of shape (batch, steps, heads, size); a subclass may override it."""
        if self._flash_attention and return_attention_scores:
            raise ArgumentError(
                "Returning attention scores is not supported when flash attention is enabled.",
                where=self._where(),
                received="flash_attention and return_attention_scores, both on",
                fix="leave flash_attention out to access attention scores",
            )
        rate = self.dropout if training else 0.0
        seed = self._dropout_layer.seed_generator
        if query.ndim != 4:
            return self._attend_over_axes(query, key, value, attention_mask, use_causal_mask, rate)
        mask = self._expanded(attention_mask, 4)
        scale = query.shape[-1] ** -0.5
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        if return_attention_scores:
            scores = attention_weights(query, key, mask, use_causal_mask, scale)
            dropped = drop(scores, rate, scores.shape, seed) if rate else scores
            return weighted(dropped, value).transpose(1, 2), scores
        if mask is not None and not self.dropout:
            # As Keras has it: a query that sees nothing gets the mean of all values here, and zeros with dropout.
            if use_causal_mask:
                mask, use_causal_mask = mask & causal_mask(query.shape[2], key.shape[2], mask.device), False
            zero = torch.zeros((), dtype=query.dtype, device=mask.device)
            mask = torch.where(mask, zero, -0.7 * torch.finfo(query.dtype).max)
        flash = bool(self._flash_attention)
        return attend(query, key, value, mask, use_causal_mask, scale, rate, seed, flash).transpose(1, 2), None

    def _expanded(self, mask: Tensor | None, rank: int) -> Tensor | None:
        """A mask with axes for the heads and what else stands before queries and keys."""
        if mask is None:
            return None
        for _ in range(rank - mask.ndim):
            mask = mask.unsqueeze(-2 * len(self._attends_to) - 1)
        return mask.bool()

    def _attend_over_axes(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Attention between tensors of any rank, over the axes that the layer attends to."""
        axes = self._attends_to
        if causal:
            earlier = causal_mask(query.shape[1], key.shape[1], query.device)[None]
            mask = earlier if mask is None else mask.bool() & earlier
        products, sums = equations(query.ndim, axes)
        logits = torch.einsum(products, key, query * query.shape[-1] ** -0.5)
        scores = self._softmax(logits, mask=self._expanded(mask, logits.ndim))
        dropped = drop(scores, rate, scores.shape, self._dropout_layer.seed_generator) if rate else scores
        return torch.einsum(sums, dropped, value), scores


def equations(rank: int, axes: Sequence[int]) -> tuple[str, str]:
    """Einsum equations of (key, query) to weights and of (weights, value) to the result, attending over some axes.

    Example:
        >>> equations(4, (1,))
        ('aecd,abcd->acbe', 'acbe,aecd->abcd')
    """
    ours = string.ascii_lowercase[:rank]
    theirs = list(ours)
    for index, axis in enumerate(axes):
        theirs[axis] = string.ascii_lowercase[rank + index]
    kept = [ours[axis] for axis in range(rank - 1) if axis not in axes]
    weights = "".join([*kept, *(ours[axis] for axis in axes), *(theirs[axis] for axis in axes)])
    other = "".join(theirs)
    return f"{other},{ours}->{weights}", f"{weights},{other}->{ours}"
