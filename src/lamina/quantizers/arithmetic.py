"""How weights and activations become small numbers and back: scales, zero points, nibbles, 8-bit floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, DTypeError, ShapeError
from lamina.graph.op import op
from lamina.ops.operands import as_tensor

EPSILON = 1e-7


def abs_max_quantize(
    inputs: Any,
    axis: int | Sequence[int],
    value_range: tuple[int, int] = (-127, 127),
    dtype: Any = "int8",
    epsilon: float = EPSILON,
    to_numpy: bool = False,
) -> tuple[Tensor, Tensor]:
    """Round values to integers, scaled so that the largest along some axes becomes the end of the range.

    Args:
        inputs: the values.
        axis: the axis or axes that share a scale.
        value_range: the smallest and the largest integer.
        dtype: the dtype of the integers.
        epsilon: added to the largest value, which may be 0.
        to_numpy: compute on the host, to save memory on the device.

    Returns:
        The integers, and the scale they are divided by to get the values back, with axes of size 1.

    Example:
        >>> integers, scale = abs_max_quantize(torch.tensor([[1.0, -2.0]]), axis=-1)
        >>> integers.tolist(), round(scale.item(), 3)
        ([[64, -127]], 63.5)

    Source: https://keras.io/api/quantizers/
    """
    values = as_tensor(inputs)
    device, dtype_of_scale = values.device, values.dtype
    values = _on_host(values) if to_numpy else values
    largest = values.abs().amax(axis if isinstance(axis, int) else tuple(axis), keepdim=True)
    scale = torch.full_like(largest, value_range[1]) / (largest + epsilon)
    integers = (values * scale).round().clamp(*value_range).to(torch_dtype(dtype))
    return integers.to(device), scale.to(device, dtype_of_scale)


def abs_max_quantize_grouped_with_zero_point(
    inputs: Any,
    block_size: int,
    value_range: tuple[int, int] = (-8, 7),
    dtype: Any = "int8",
    epsilon: float = EPSILON,
    to_numpy: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Round a matrix to integers, each group of rows with a scale and a zero point of its own in every column.

    Args:
        inputs: the matrix, of shape (rows, columns).
        block_size: the number of rows in a group; the last may have less.
        value_range: the smallest and the largest integer.
        dtype: the dtype of the integers.
        epsilon: added to the range of a group, which may be 0.
        to_numpy: compute on the host, to save memory on the device; a group of equal values then keeps `epsilon` as
            its range, where otherwise it gets one of 2.

    Returns:
        The integers of shape (rows, columns); scales and zero points of shape (groups, columns). The values are
        `(integers - zero_point) * scale`.

    Example:
        >>> integers, scale, zero = abs_max_quantize_grouped_with_zero_point(torch.randn(6, 3), block_size=4)
        >>> integers.shape, scale.shape, zero.dtype
        (torch.Size([6, 3]), torch.Size([2, 3]), torch.int8)

    Source: https://keras.io/api/quantizers/
    """
    matrix = as_tensor(inputs)
    device, dtype_of_scale = matrix.device, matrix.dtype
    matrix = _on_host(matrix) if to_numpy else matrix
    rows, columns = matrix.shape
    groups = _grouped(matrix, block_size)
    # Keras counts the zeros that fill a group up, except on the device where there is one group alone.
    counted = matrix.unsqueeze(0) if len(groups) == 1 and not to_numpy else groups
    low, high = counted.amin(1), counted.amax(1)
    if not to_numpy:
        low, high = _widened(low, high)
    smallest, largest = value_range
    # NumPy keeps the difference of two bfloat16 in that dtype, but adds a float to it in float32.
    width = (high - low).to(dtype_of_scale).to(high.dtype)
    scale = (width + epsilon) / (largest - smallest)
    zero = (torch.round(-low / scale) + smallest).clamp(smallest, largest)
    integers = torch.round(groups / scale.unsqueeze(1)) + zero.unsqueeze(1)
    integers = integers.clamp(smallest, largest).to(torch_dtype(dtype)).reshape(-1, columns)[:rows]
    return integers.to(device), scale.to(device, dtype_of_scale), zero.to(torch.int8).to(device)


def _on_host(values: Tensor) -> Tensor:
    """Values on the CPU, bfloat16 as float32: so NumPy, and with it Keras, computes as soon as a float is involved."""
    return values.cpu().float() if values.dtype is torch.bfloat16 else values.cpu()


def _grouped(matrix: Tensor, size: int) -> Tensor:
    """Rows in groups, zeros added to the last: (groups, size, columns)."""
    rows, columns = matrix.shape
    missing = -rows % size
    padded = torch.cat([matrix, matrix.new_zeros(missing, columns)]) if missing else matrix
    return padded.reshape(-1, size, columns)


def _widened(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Ranges, those of no width made 2 wide."""
    empty = low == high
    return torch.where(empty, low - 1, low), torch.where(empty, high + 1, high)


def compute_quantization_parameters(
    x: Tensor,
    *,
    bits: int,
    symmetric: bool = False,
    per_channel: bool = False,
    group_size: int = -1,
    compute_dtype: Any = "float32",
    epsilon: float = 0.0,
    signed: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scales and zero points for a matrix of weights.

    Args:
        x: the weights, of shape (outputs, inputs).
        bits: the size of the integers.
        symmetric: whether the range is the same on both sides of 0.
        per_channel: whether each output has scales of its own.
        group_size: how many inputs share a scale, with `per_channel`; -1 for all.
        compute_dtype: the dtype of `maxq`.
        epsilon: added to the ranges.
        signed: whether the integers begin at `-2 ** (bits - 1)` and not at 0.

    Returns:
        Scales and zero points of shape (outputs, groups), and the largest integer of an unsigned range.

    Raises:
        ArgumentError: there are no weights.
        ShapeError: there are less than two axes.

    Example:
        >>> scale, zero, maxq = compute_quantization_parameters(torch.tensor([[0.0, 15.0]]), bits=4)
        >>> scale.item(), zero.item(), maxq.item()
        (1.0, 0, 15.0)
    """
    if x is None or math.prod(x.shape) == 0:
        raise ArgumentError("There are no weights to quantize.", where="x", expected="a tensor of rank 2 or more")
    if len(x.shape) < 2:
        raise ShapeError(
            "The weights have too few axes.", where="x", expected="a tensor of rank 2 or more", received=tuple(x.shape)
        )
    x = as_tensor(x)
    outputs, inputs = x.shape[:2]
    if per_channel and 0 < group_size < inputs:
        groups = torch.nn.functional.pad(x, (0, -inputs % group_size)).reshape(outputs, -1, group_size)
    else:
        groups = x.reshape(outputs if per_channel else 1, 1, -1)
    low, high = groups.amin(2), groups.amax(2)
    if symmetric:
        high = torch.maximum(low.abs(), high)
        low = torch.where(low < 0, -high, low)
    low, high = _widened(low, high)
    levels = 2**bits - 1
    scale = (high - low + epsilon if epsilon > 0 else high - low) / levels
    scale = torch.where(scale <= 0, 1e-8, scale)
    first = -(2 ** (bits - 1)) if signed else 0
    zero = (torch.full_like(scale, (levels + 1) / 2) if symmetric else torch.round(-low / scale)) + first
    zero = zero.clamp(first, first + levels) if signed else zero
    zero = zero.to(torch.int8 if signed else torch.uint8)
    maxq = torch.tensor(levels, dtype=torch_dtype(compute_dtype), device=x.device)
    if not per_channel:
        scale, zero = scale.expand(outputs, 1).clone(), zero.expand(outputs, 1).clone()
    return scale, zero, maxq


def quantize_with_zero_point(values: Tensor, scale: Tensor, zero: Tensor, maxq: Any) -> Tensor:
    """Values as whole numbers from 0 to `maxq`, still in a float dtype."""
    safe = torch.where(scale == 0, 1e-8, scale)
    return torch.round(values / safe + zero.to(scale.dtype)).clamp(min=0).minimum(as_tensor(maxq).to(safe))


def dequantize_with_zero_point(integers: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The values that whole numbers stand for."""
    return scale * (integers - zero.to(scale.dtype))


def quantize_with_sz_map(
    weights_matrix: Tensor, scale: Tensor, zero: Tensor, g_idx: Tensor, maxq: Any, group_axis: int = -1
) -> Tensor:
    """Values as whole numbers, each position along an axis with the scale and zero point of its group.

    Args:
        weights_matrix: the values.
        scale: the scales, with the groups along `group_axis`.
        zero: the zero points, likewise.
        g_idx: the number of the group for each position.
        maxq: the largest whole number.
        group_axis: the axis.

    Example:
        >>> scale, zero = torch.tensor([[1.0, 2.0]]), torch.tensor([[0, 1]], dtype=torch.uint8)
        >>> quantize_with_sz_map(torch.tensor([[3.0, 4.0]]), scale, zero, torch.tensor([0, 1]), 15)
        tensor([[3., 3.]])
    """
    groups = g_idx.long()
    return quantize_with_zero_point(
        weights_matrix, scale.index_select(group_axis, groups), zero.index_select(group_axis, groups), maxq
    )


def dequantize_with_sz_map(
    weights_matrix: Tensor, scale: Tensor, zero: Tensor, g_idx: Tensor, group_axis: int = -1
) -> Tensor:
    """The values that whole numbers stand for; see `quantize_with_sz_map`.

    Example:
        >>> scale, zero = torch.tensor([[1.0, 2.0]]), torch.tensor([[0, 1]], dtype=torch.uint8)
        >>> dequantize_with_sz_map(torch.tensor([[3, 3]]), scale, zero, torch.tensor([0, 1]))
        tensor([[3., 4.]])
    """
    groups = g_idx.long()
    scales = scale.index_select(group_axis, groups)
    return (weights_matrix - zero.index_select(group_axis, groups).to(scales.dtype)) * scales


def pack_int4(arr: Any, axis: int = 0, dtype: Any = "int8") -> tuple[Tensor, tuple[int, ...], int]:
    """Put two integers of 4 bits into each byte: along an axis, the first of a pair into the low half.

    Args:
        arr: integers from -8 to 7 (or 0 to 15) of 8 bits.
        axis: the axis; a zero is added where its size is odd.
        dtype: "int8" or "uint8", that of `arr` and of the result.

    Returns:
        The bytes, their shape, and the size of the axis before.

    Raises:
        ArgumentError: the dtype is another one.
        DTypeError: `arr` has another dtype.

    Example:
        >>> pack_int4(torch.tensor([[-3, 7], [2, -8], [1, 0]], dtype=torch.int8))[0].tolist()
        [[45, -121], [1, 0]]

    Source: https://keras.io/api/quantizers/
    """
    _check_int4(dtype)
    values = as_tensor(arr)
    if standardize_dtype(values.dtype) != dtype:
        raise DTypeError("The array has another dtype.", where="pack_int4(arr)", expected=dtype, received=values.dtype)
    size = values.shape[axis]
    pairs = values.view(torch.uint8).movedim(axis, 0)
    if size % 2:
        pairs = torch.cat([pairs, torch.zeros_like(pairs[:1])])
    packed = (pairs[::2] & 15) | (pairs[1::2] << 4)
    packed = packed.movedim(0, axis).contiguous().view(torch_dtype(dtype))
    return packed, tuple(packed.shape), size


def unpack_int4(packed: Any, orig_len: int, axis: int = 0, dtype: Any = "int8") -> Tensor:
    """Get the integers back that `pack_int4` put into bytes.

    Args:
        packed: the bytes.
        orig_len: the size of the axis before.
        axis: the axis.
        dtype: "int8" for integers from -8 to 7, "uint8" for 0 to 15.

    Raises:
        ArgumentError: the dtype is another one.
        DTypeError: `packed` does not consist of bytes.

    Example:
        >>> unpack_int4(torch.tensor([[45, -121], [1, 0]], dtype=torch.int8), 3).tolist()
        [[-3, 7], [2, -8], [1, 0]]

    Source: https://keras.io/api/quantizers/
    """
    _check_int4(dtype)
    packed = as_tensor(packed)
    if packed.dtype not in (torch.int8, torch.uint8):
        raise DTypeError("These are no bytes.", where="packed", expected="int8 or uint8", received=packed.dtype)
    axis %= packed.ndim
    if dtype == "int8":
        signed = packed.view(torch.int8)
        halves = (signed << 4) >> 4, signed >> 4
    else:
        unsigned = packed.view(torch.uint8)
        halves = unsigned & 15, unsigned >> 4
    return torch.stack(halves, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, orig_len)


def _check_int4(dtype: Any) -> None:
    if dtype not in ("int8", "uint8"):
        raise ArgumentError("This is no dtype of bytes.", where="dtype", expected="int8 or uint8", received=repr(dtype))


def int_matmul(left: Tensor, right: Tensor) -> Tensor:
    """The exact product of two matrices of 8-bit integers, as int32.

    torch has a kernel for it that is several times as fast as float32; on CUDA it takes certain sizes only, and others
    go through float64, which is exact too.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    if left.device.type == "cpu" or (left.is_cuda and rows > 16 and inner % 8 == columns % 8 == 0 and inner >= 16):
        return torch._int_mm(left, right)  # pyright: ignore[reportPrivateImportUsage]
    return (left.double() @ right.double()).int()


def compute_float8_scale(amax: Any, scale: Any, dtype_max: Any, margin: int = 0) -> Tensor:
    """The scale by which values are divided before they become 8-bit floats.

    Args:
        amax: the largest value of late.
        scale: the scale until now, kept where `amax` is 0 or not finite.
        dtype_max: the largest number of the dtype.
        margin: powers of two to stay below it.

    Example:
        >>> compute_float8_scale(torch.tensor(896.0), torch.tensor(1.0), 448.0)
        tensor(2.)

    Source: https://keras.io/api/quantizers/; Micikevicius et al., 2022
    """
    amax, before = as_tensor(amax), as_tensor(scale).reciprocal()
    found = as_tensor(dtype_max).to(amax) / amax / 2**margin
    return torch.where((amax > 0) & amax.isfinite(), found, before).reciprocal()


def compute_float8_amax_history(x: Any, amax_history: Any) -> Tensor:
    """The largest values of late, with that of `x` in the place of the oldest.

    Args:
        x: the newest values.
        amax_history: the largest values before, a vector.

    Example:
        >>> compute_float8_amax_history(torch.tensor([1.0, -5.0]), torch.tensor([1.0, 2.0, 3.0]))
        tensor([5., 3., 1.])

    Source: https://keras.io/api/quantizers/; Micikevicius et al., 2022
    """
    history = as_tensor(amax_history)
    newest = as_tensor(x).abs().amax().to(history.dtype).reshape(1)
    return torch.cat([newest, history.roll(-1)[1:]])


def quantize_and_dequantize(inputs: Any, scale: Any, quantized_dtype: Any, compute_dtype: Any) -> Tensor:
    """Values as they are after a way through a smaller float dtype.

    Args:
        inputs: the values.
        scale: what they are divided by on the way in, and multiplied with on the way out.
        quantized_dtype: the smaller dtype, such as "float8_e4m3fn".
        compute_dtype: the dtype of the result.

    Example:
        >>> quantize_and_dequantize(torch.tensor([1.06, 1000.0]), 1.0, "float8_e4m3fn", "float32")
        tensor([  1., 448.])

    Source: https://keras.io/api/quantizers/; Micikevicius et al., 2022
    """
    small, dtype = torch_dtype(quantized_dtype), torch_dtype(compute_dtype)
    scale, limit = as_tensor(scale).to(dtype), torch.finfo(small).max
    return (as_tensor(inputs) / scale).clamp(-limit, limit).to(small).to(dtype) * scale


@op
def fake_quant_with_min_max_vars(
    inputs: Any,
    min_vals: Any,
    max_vals: Any,
    num_bits: int = 8,
    narrow_range: bool = False,
    axis: int | None = None,
) -> Tensor:
    """Values as they are after a way through integers, with gradients to values and limits.

    Args:
        inputs: the values, floats.
        min_vals: the lower limit, or one for each index of an axis.
        max_vals: the upper limit, likewise.
        num_bits: the size of the integers.
        narrow_range: whether they begin at 1 and not at 0.
        axis: the axis along which limits differ; None for one pair of limits.

    Returns:
        The values, cut at the limits (moved so that 0 is hit exactly) and rounded to steps between them. Gradients
        pass to values within the limits, and to the limit where a value lies beyond.

    Example:
        >>> fake_quant_with_min_max_vars(torch.tensor([-1.0, 0.26, 9.0]), 0.0, 1.0, num_bits=2)
        tensor([0.0000, 0.3333, 1.0000])

    Source: https://keras.io/api/quantizers/; Jacob et al., 2017
    """
    values = as_tensor(inputs)
    low, high = (as_tensor(limit).to(values.device) for limit in (min_vals, max_vals))
    if axis is not None:
        low, high = _along(low, values.ndim, axis), _along(high, values.ndim, axis)
    work = torch.promote_types(low.dtype, torch.float32)
    lowest, highest = int(narrow_range), 2 ** int(num_bits) - 1
    with torch.no_grad():
        width = high.to(work) - low.to(work)
        step, per_step = width / (highest - lowest), torch.full_like(width, highest - lowest) / width
        zero = (lowest - low.to(work) / step).round().clamp(lowest, highest)
        nudged = (lowest - zero) * step, (highest - zero) * step
        shift = torch.floor(-nudged[0] * per_step + 0.5)
    x = values.to(work)
    below, above = x <= nudged[0], x >= nudged[1]
    with torch.no_grad():
        cut = x.clamp(*nudged) - nudged[0]
        rounded = torch.floor(cut * per_step - shift + 0.5) * step
    inside = torch.where((x >= nudged[0]) & (x <= nudged[1]), x, 0)
    way = inside + torch.where(below, low.to(work), 0) + torch.where(above, high.to(work), 0)
    return (rounded + (way - way.detach())).to(values.dtype)


def _along(limit: Tensor, ndim: int, axis: int) -> Tensor:
    """A vector of limits shaped to broadcast along an axis."""
    shape = [1] * ndim
    shape[axis] = -1
    return limit.reshape(shape)
