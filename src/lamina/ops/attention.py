"""Attention: each query's weighted mean of the values, with weights from the products of the query and the keys."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.dtypes import result_type
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.tensors import convert_to_tensor
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import TensorLike, as_tensor, dtype_of
from lamina.ops.random import Seed, drop

_MOST_WEIGHTS = 2**26
"""Beyond so many weights their memory matters more than time: 128 MiB in bfloat16."""


def _spec(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> KerasTensor:
    """The symbolic result of `dot_product_attention`."""
    _check_ranks(query, key, value)
    return KerasTensor((*query.shape[:-1], value.shape[-1]), result_type(query.dtype, key.dtype, value.dtype))


@op(symbolic=_spec)
def dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    bias: TensorLike | None = None,
    mask: TensorLike | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Tensor:
    """`softmax(scale * query @ key + bias) @ value`, for several heads at once.

    Args:
        query: shape (batch, queries, heads, size).
        key: shape (batch, keys, key heads, size); several heads of the query may share one of the keys.
        value: shape (batch, keys, key heads, value size).
        bias: is added to the logits; broadcasts to (batch, heads, queries, keys).
        mask: True where a query may look at a key; broadcasts likewise. A query that may look nowhere gets the mean
            of all values.
        scale: what the products are multiplied by; `1 / sqrt(size)` by default.
        is_causal: whether a query sees no later keys.
        flash_attention: True demands torch's flash kernel; otherwise torch chooses.
        attn_logits_soft_cap: kept for Keras, which has it on TPUs only.

    Returns:
        A tensor of shape (batch, queries, heads, value size).

    Raises:
        ShapeError: an argument has another rank, or the heads are no multiple of the key heads.
        ArgumentError: `attn_logits_soft_cap` is given.
        RuntimeError: flash attention is demanded and torch has no such kernel for these arguments.

    Example:
        >>> dot_product_attention(torch.ones(2, 4, 8, 16), torch.ones(2, 6, 8, 16), torch.ones(2, 6, 8, 16)).shape
        torch.Size([2, 4, 8, 16])

    Source: https://keras.io/api/ops/nn/#dotproductattention-function
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    _check_ranks(query, key, value)
    if query.shape[2] % key.shape[2]:
        raise ShapeError(
            "The heads of the query are no multiple of those of the key.",
            where="ops.dot_product_attention",
            expected=f"a multiple of the {key.shape[2]} heads of the key",
            received=f"{query.shape[2]} heads of the query",
        )
    if attn_logits_soft_cap is not None:
        raise ArgumentError(
            "`attn_logits_soft_cap` exists on TPUs only.",
            where="ops.dot_product_attention",
            expected="None",
            received=attn_logits_soft_cap,
            fix="compute the logits yourself and pass cap * tanh(logits / cap) to ops.softmax",
        )
    dtype = dtype_of(query, key, value)
    if bias is not None:
        bias = convert_to_tensor(bias, dtype, query.device)
    if mask is not None:
        mask = convert_to_tensor(mask, torch.bool, query.device)
    if is_causal and not (mask is None and bias is None):
        causal, is_causal = causal_mask(query.shape[1], key.shape[1], query.device), False
        mask = causal if mask is None else mask & causal
    if mask is not None:
        # Finite, so that where all is masked there are equal weights and no NaN.
        low = -0.7 * torch.finfo(dtype).max
        mask = torch.where(mask, torch.zeros((), dtype=dtype, device=mask.device) if bias is None else bias, low)
    query, key, value = (x.to(dtype).transpose(1, 2) for x in (query, key, value))
    mask, flash = bias if mask is None else mask, bool(flash_attention)
    return attend(query, key, value, mask, is_causal, scale, flash=flash).transpose(1, 2)


def _check_ranks(query: Any, key: Any, value: Any) -> None:
    four = len(query.shape) == len(key.shape) == len(value.shape) == 4
    if not four or any(None not in (k, v) and k != v for k, v in zip(key.shape[:3], value.shape[:3], strict=True)):
        raise ShapeError(
            "The tensors do not fit each other.",
            where="ops.dot_product_attention",
            expected="shapes (batch, steps, heads, size), with a key for each value",
            received=", ".join(str(tuple(x.shape)) for x in (query, key, value)),
        )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: Seed = None,
    flash: bool = False,
) -> Tensor:
    """Attention on float tensors of one dtype, heads before steps.

    Args:
        query: shape (batch, heads, queries, size).
        key: shape (batch, key heads, keys, size).
        value: shape (batch, key heads, keys, value size).
        mask: what broadcasts to (batch, heads, queries, keys): floats are added to the logits; booleans tell what is
            seen, and a query that sees nothing gets zeros.
        causal: whether a query sees no later keys; with it, a mask is of booleans.
        scale: what the products are multiplied by; `1 / sqrt(size)` by default.
        dropout: the share of weights that is dropped.
        seed: as for `random.dropout`.
        flash: whether only torch's kernel will do.
    """
    if flash:
        return _flash(query, key, value, mask, causal, scale)
    if _better_in_steps(query, key, value, dropout, seed):
        weights = attention_weights(query, key, mask, causal, scale)
        if dropout:
            weights = drop(weights, dropout, weights.shape, seed)
        return weighted(weights, value)
    if causal and mask is not None:
        mask, causal = mask & causal_mask(query.shape[2], key.shape[2], mask.device), False
    shared = key.shape[1] != query.shape[1]
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, causal, scale=scale, enable_gqa=shared)


def _flash(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    """Attention by torch's flash kernel and no other."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    shared = key.shape[1] != query.shape[1]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale, enable_gqa=shared)


def _better_in_steps(query: Tensor, key: Tensor, value: Tensor, dropout: float, seed: Seed) -> bool:
    """Whether products and softmax one by one serve better than torch's kernel for all of it.

    On CPUs that kernel has no dropout and no values of another size, and going backwards in bfloat16 it takes two to
    five times as long; in float32 it is the faster one.
    """
    if dropout and seed is not None:
        return True
    if query.device.type != "cpu":
        return False
    if dropout or value.shape[-1] != query.shape[-1]:
        return True
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    return learns and query.dtype is torch.bfloat16 and math.prod(query.shape[:3]) * key.shape[2] <= _MOST_WEIGHTS


def attention_weights(
    query: Tensor, key: Tensor, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The weights of `attend`, shape (batch, heads, queries, keys)."""
    batch, heads, steps, size = query.shape
    scaled = query * (size**-0.5 if scale is None else scale)
    # The heads that share a key head stand as further queries of it, so that no key is repeated.
    logits = torch.matmul(
        scaled.reshape(batch, key.shape[1], heads // key.shape[1] * steps, size), key.transpose(-1, -2)
    )
    logits = logits.view(batch, heads, steps, key.shape[2])
    if mask is not None and mask.is_floating_point():
        return torch.softmax(logits + mask, -1)
    seen = mask
    if causal:
        seen = causal_mask(steps, key.shape[2], query.device)
        seen = seen if mask is None else seen & mask
    if seen is None:
        return torch.softmax(logits, -1)
    low = -3e4 if logits.dtype is torch.float16 else -1e9
    weights = torch.softmax(torch.where(seen, logits, low), -1)
    return weights if mask is None else torch.where(seen, weights, 0.0)


def weighted(weights: Tensor, value: Tensor) -> Tensor:
    """The sums of the values with these weights, shape (batch, heads, queries, value size)."""
    batch, heads, steps, keys = weights.shape
    sums = torch.matmul(weights.reshape(batch, value.shape[1], heads // value.shape[1] * steps, keys), value)
    return sums.view(batch, heads, steps, value.shape[-1])


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where the key is no later than the query, shape (queries, keys)."""
    return torch.ones((queries, keys), dtype=torch.bool, device=device).tril()
