"""Results of torch's commonest functions on tensors without data, where torch's own way of telling them is slow.

Many of torch's functions for the "meta" device are written in Python, take some 0.5 ms and load the tracer of
`torch.compile`. A rule here gives the same result, or None for anything out of the ordinary: then torch decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Rule = Callable[..., Any]
_aten = torch.ops.aten


def rule_of(func: Any) -> Rule | None:
    """The rule for a function, called with its arguments, tensors on the "meta" device among them."""
    if func in _RULES:
        return _RULES[func]
    tags = func.tags
    if torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags and func not in _NOT_BROADCAST:
        return lambda *args, **kwargs: _pointwise(func, args, kwargs)
    return None


# Called value by value, but told a layout or a device.
_NOT_BROADCAST = frozenset({_aten.clone.default, _aten._to_copy.default})


def _pointwise(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Sizes broadcast; the dtype is that of the function of single values, in which nothing but the rank matters."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if not tensors or any(isinstance(value, (list, tuple)) for value in args):
        return None
    shape = torch.broadcast_shapes(*{tensor.shape for tensor in tensors}) if len(tensors) > 1 else tensors[0].shape
    result = func(*[_single(value) for value in args], **{key: _single(value) for key, value in kwargs.items()})
    if not isinstance(result, Tensor):
        return None
    if func._schema.is_mutable:
        return args[0] if args[0].shape == shape else None
    model = next((tensor for tensor in tensors if tensor.shape == shape), None)
    if model is None:
        return torch.empty(shape, dtype=result.dtype, device="meta")
    return torch.empty_like(model, dtype=result.dtype)


def _single(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.ones((1,) if value.ndim else (), dtype=value.dtype)
    return value


def _addmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor | None:
    if left.ndim != 2 or right.ndim != 2 or not bias.dtype is left.dtype is right.dtype:
        return None
    product = torch.mm(left, right)
    return product if _broadcasts(bias.shape, product.shape) else None


def _broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    return len(shape) <= len(target) and all(
        size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(target), strict=False)
    )


def _fits(x: Tensor, weights: Sequence[Tensor | None], shape: Sequence[int]) -> bool:
    return x.is_floating_point() and all(
        weight is None or (weight.shape == tuple(shape) and weight.dtype is x.dtype) for weight in weights
    )


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, eps: float
) -> Any:
    if x.ndim < 2 or not _fits(x, (weight, bias, mean, variance), x.shape[1:2]):
        return None
    saved = x.new_empty(x.shape[1] if training else 0)
    return torch.empty_like(x), saved, saved.clone()


def _layer_norm(x: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    axes = len(shape)
    if not axes or tuple(x.shape[-axes:]) != tuple(shape) or not _fits(x, (weight, bias), shape):
        return None
    saved = x.new_empty((*x.shape[:-axes], *[1] * axes))
    return x.new_empty(x.shape), saved, saved.clone()


def _group_norm(x: Tensor, weight: Any, bias: Any, n: int, channels: int, size: int, groups: int, eps: float) -> Any:
    if x.ndim < 2 or channels % groups or x.shape[1] != channels or not _fits(x, (weight, bias), (channels,)):
        return None
    saved = x.new_empty((n, groups))
    return x.new_empty(x.shape), saved, saved.clone()


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor | None:
    return torch.sum(x, dim, keepdim, dtype=dtype) if x.is_floating_point() else None


def _any(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor | None:
    if x.dtype is not torch.bool or (dim is None and not x.ndim):
        return None
    return torch.sum(x, dim, keepdim, dtype=torch.bool)


def _cumulated(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor | None:
    if not x.is_floating_point() or not -x.ndim <= dim < x.ndim or dtype is not None:
        return None
    return torch.empty_like(x)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return _aten._softmax.default(x, dim, half_to_float)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not -first.ndim <= dim < first.ndim:
        return None
    axis = dim % first.ndim
    rest = _without(first.shape, axis)
    for x in tensors:
        if x.ndim != first.ndim or x.dtype is not first.dtype or _without(x.shape, axis) != rest:
            return None
        if not x.is_contiguous() or not x.shape[axis]:
            return None
    size = sum(x.shape[axis] for x in tensors)
    return first.new_empty((*first.shape[:axis], size, *first.shape[axis + 1 :]))


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


_RULES: dict[Any, Rule] = {
    _aten.addmm.default: _addmm,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_group_norm.default: _group_norm,
    _aten.mean.dim: _mean,
    _aten.any.dim: _any,
    _aten.any.dims: _any,
    _aten.all.dim: _any,
    _aten.all.dims: _any,
    _aten.cumsum.default: _cumulated,
    _aten.cumprod.default: _cumulated,
    _aten._log_softmax.default: _log_softmax,
    _aten.cat.default: _cat,
}
