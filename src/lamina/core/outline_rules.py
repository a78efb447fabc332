"""Results of torch's commonest functions on tensors without data, where torch's own way of telling them is slow.

Many of torch's functions for the "meta" device are written in Python, take up to a millisecond, and load sympy and
the tracer of `torch.compile`. A rule here gives the same result, or None for anything out of the ordinary: then torch
decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Rule = Callable[..., Any]


def rule_of(func: Any) -> Rule | None:
    """The rule for a function, called with its arguments, tensors on the "meta" device among them."""
    name, tags = str(func), func.tags
    if name in _RULES:
        return _RULES[name]
    if name in _RANGES:
        return lambda *args, **kwargs: _range(func, args, kwargs)
    if torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags and name not in _NOT_BROADCAST:
        return lambda *args, **kwargs: _pointwise(func, args, kwargs)
    if torch.Tag.reduction in tags:
        return lambda *args, **kwargs: _reduction(func, args, kwargs)
    return None


# Called value by value, but told a layout or a device.
_NOT_BROADCAST = frozenset({"aten.clone.default", "aten._to_copy.default"})


def _pointwise(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Sizes broadcast; the dtype is that of the function of single values, in which nothing but the rank matters."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if not tensors or any(isinstance(value, (list, tuple)) for value in args):
        return None
    shape = _broadcast_shape([tensor.shape for tensor in tensors])
    if shape is None:
        return None
    result = func(*[_single(value) for value in args], **{key: _single(value) for key, value in kwargs.items()})
    if not isinstance(result, Tensor):
        return None
    if func._schema.is_mutable:
        return args[0] if args[0].shape == shape else None
    model = next((tensor for tensor in tensors if tensor.shape == shape), None)
    if model is None:
        return torch.empty(shape, dtype=result.dtype, device="meta")
    return _like(model, result.dtype)


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor with the axes in the same order in memory, none apart and none repeated."""
    strides, step = [1] * x.ndim, 1
    given = x.stride()
    for axis in sorted(range(x.ndim), key=lambda axis: (given[axis], -axis)):
        strides[axis], step = step, step * max(x.shape[axis], 1)
    return torch.empty_strided(x.shape, strides, dtype=dtype or x.dtype, device="meta")


def _single(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.ones((1,) if value.ndim else (), dtype=value.dtype)
    return value


def _reduction(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Sizes follow from the axes named; dtype and errors are those of the function on two values along each axis."""
    x, names = args[0], [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if not isinstance(x, Tensor) or any(isinstance(given[name], Tensor) for name in given if name != names[0]):
        return None
    axes = given.get("dim")
    if not x.numel() or x.ndim > 8 or ("dim" not in names and "keepdim" in names):
        return None
    few = func(torch.ones((2,) * x.ndim, dtype=x.dtype), *args[1:], **kwargs)
    axes = range(x.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    gone = {axis % x.ndim for axis in axes} if x.ndim else set()
    sizes = [1 if axis in gone else size for axis, size in enumerate(x.shape)]
    kept = sizes if given.get("keepdim") else [size for axis, size in enumerate(sizes) if axis not in gone]
    results = few if isinstance(few, tuple) else (few,)
    if any(result.ndim != len(kept) for result in results):
        return None
    made = tuple(torch.empty(kept, dtype=result.dtype, device="meta") for result in results)
    return made if isinstance(few, tuple) else made[0]


def _mm(left: Tensor, right: Tensor) -> Tensor | None:
    if left.ndim != 2 or right.ndim != 2 or left.dtype is not right.dtype or left.shape[1] != right.shape[0]:
        return None
    return left.new_empty((left.shape[0], right.shape[1]))


def _bmm(left: Tensor, right: Tensor) -> Tensor | None:
    if left.ndim != 3 or right.ndim != 3 or left.dtype is not right.dtype:
        return None
    if left.shape[0] != right.shape[0] or left.shape[2] != right.shape[1]:
        return None
    return left.new_empty((*left.shape[:2], right.shape[2]))


def _baddbmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor | None:
    product = _bmm(left, right)
    if product is None or bias.dtype is not left.dtype or not _broadcasts(bias.shape, product.shape):
        return None
    return product


def _addmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor | None:
    product = _mm(left, right)
    if product is None or bias.dtype is not left.dtype or not _broadcasts(bias.shape, product.shape):
        return None
    return product


def _broadcast_shape(shapes: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The shape tensors of these shapes broadcast to, None if they do not."""
    found: list[int] = []
    for sizes in itertools.zip_longest(*map(reversed, shapes), fillvalue=1):
        wanted = {size for size in sizes if size != 1}
        if len(wanted) > 1:
            return None
        found.append(wanted.pop() if wanted else 1)
    return tuple(reversed(found))


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
    return _like(x), saved, saved.clone()


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


def _convolution(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor | None:
    axes = x.ndim - 2
    if axes < 1 or kernel.ndim != x.ndim or kernel.dtype is not x.dtype:
        return None
    channels_in = kernel.shape[0] if transposed else kernel.shape[1] * groups
    channels = kernel.shape[1] * groups if transposed else kernel.shape[0]
    if x.shape[1] != channels_in or channels % groups or channels_in % groups or not _fits(x, (bias,), (channels,)):
        return None
    strides, paddings, gaps, more = (
        list(values) * axes if len(values) == 1 else list(values)
        for values in (stride, padding, dilation, output_padding)
    )
    sizes = []
    for axis, (size, length) in enumerate(zip(x.shape[2:], kernel.shape[2:], strict=True)):
        spread = gaps[axis] * (length - 1)
        if transposed:
            sizes.append((size - 1) * strides[axis] - 2 * paddings[axis] + spread + more[axis] + 1)
        else:
            sizes.append((size + 2 * paddings[axis] - spread - 1) // strides[axis] + 1)
    return _laid_out(x, (x.shape[0], channels, *sizes), channels_last=_is_channels_last(x) or _is_channels_last(kernel))


def _laid_out(x: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor | None:
    """A tensor like `x` of another shape, or None where a size is not positive."""
    if min(shape[1:]) < 1:
        return None
    layout = _LAYOUTS[x.ndim] if channels_last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=x.dtype, device="meta", memory_format=layout)


_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim in _LAYOUTS and not x.is_contiguous() and x.is_contiguous(memory_format=_LAYOUTS[x.ndim])


def _max_pool(
    x: Tensor,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Any:
    pooled = None if ceil_mode else _pooled(x, size, stride or size, padding, dilation)
    return None if pooled is None else (pooled, _like(pooled, torch.int64))


def _average_pool(
    x: Tensor,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor | None:
    return None if ceil_mode or divisor_override == 0 else _pooled(x, size, stride or size, padding, (1,))


def _pooled(
    x: Tensor, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor | None:
    axes = x.ndim - 2
    if (
        x.ndim not in _LAYOUTS
        or not x.is_floating_point()
        or any(len(part) not in (1, axes) for part in (size, stride))
    ):
        return None
    windows, strides, paddings, gaps = (
        list(values) * axes if len(values) == 1 else list(values) for values in (size, stride, padding, dilation)
    )
    if any(2 * beside > window for beside, window in zip(paddings, windows, strict=True)):
        return None
    sizes = [
        (length + 2 * paddings[axis] - gaps[axis] * (windows[axis] - 1) - 1) // strides[axis] + 1
        for axis, length in enumerate(x.shape[2:])
    ]
    return _laid_out(x, (*x.shape[:2], *sizes), channels_last=_is_channels_last(x))


def _cumulated(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor | None:
    if not -x.ndim <= dim < x.ndim:
        return None
    if x.is_floating_point() or x.is_complex():
        return _like(x, dtype)
    return x.new_empty(x.shape, dtype=dtype or torch.int64) if x.is_contiguous() or dtype is None else None


def _sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor] | None:
    return (_like(x), _like(x, torch.int64)) if -x.ndim <= dim < x.ndim else None


def _stable_sort(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Any:
    return _sort(x, dim)


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor | None:
    if half_to_float or not x.is_floating_point() or not -x.ndim <= dim < x.ndim:
        return None
    return x.new_empty(x.shape)


def _embedding(
    table: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor | None:
    if table.ndim != 2 or indices.dtype not in (torch.int32, torch.int64):
        return None
    return table.new_empty((*indices.shape, table.shape[1]))


def _same(x: Tensor, *args: Any, dtype: Any = None, memory_format: Any = None, **kwargs: Any) -> Tensor | None:
    return _like(x, dtype) if memory_format in (None, torch.preserve_format) else None


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    sums = torch.empty((query.shape[0], query.shape[2], query.shape[1]), dtype=torch.float32, device="meta")
    return _like(query), sums.transpose(1, 2)


def _range(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Numbers in a row are made for real: how many there are, and of which dtype, only torch itself says exactly."""
    made = func(*args, **{**kwargs, "device": "cpu"})
    return torch.empty(made.shape, dtype=made.dtype, device="meta")


_RANGES = frozenset({"aten.arange.default", "aten.arange.start", "aten.arange.start_step"})


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not -first.ndim <= dim < first.ndim:
        return None
    axis = dim % first.ndim
    rest = _without(first.shape, axis)
    for x in tensors:
        if x.ndim != first.ndim or x.dtype is not first.dtype or _without(x.shape, axis) != rest:
            return None
        if not x.shape[axis] or not (x.is_contiguous() or x.ndim not in _LAYOUTS):
            return None
    size = sum(x.shape[axis] for x in tensors)
    return first.new_empty((*first.shape[:axis], size, *first.shape[axis + 1 :]))


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not -first.ndim - 1 <= dim <= first.ndim:
        return None
    if any(x.shape != first.shape or x.dtype is not first.dtype or not x.is_contiguous() for x in tensors):
        return None
    axis = dim % (first.ndim + 1)
    return first.new_empty((*first.shape[:axis], len(tensors), *first.shape[axis:]))


_RULES: dict[str, Rule] = {
    "aten.mm.default": _mm,
    "aten.addmm.default": _addmm,
    "aten.bmm.default": _bmm,
    "aten.baddbmm.default": _baddbmm,
    "aten.convolution.default": _convolution,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.max_pool3d_with_indices.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.avg_pool3d.default": _average_pool,
    "aten.native_batch_norm.default": _batch_norm,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.cumsum.default": _cumulated,
    "aten.cumprod.default": _cumulated,
    "aten.sort.default": _sort,
    "aten.sort.stable": _stable_sort,
    "aten._softmax.default": _softmax,
    "aten._log_softmax.default": _softmax,
    "aten.embedding.default": _embedding,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
    "aten.cat.default": _cat,
    "aten.stack.default": _stack,
    "aten.zeros_like.default": _same,
    "aten.ones_like.default": _same,
    "aten.full_like.default": _same,
}
