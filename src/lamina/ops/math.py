"""Sums over segments, distances, sequences cut from signals, and Fourier transforms.

Complex numbers go in and out of the transforms as pairs of real tensors. Source: https://keras.io/api/ops/fft/
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lamina.core.dtypes import result_type
from lamina.core.errors import ArgumentError, DTypeError, ShapeError, one_of
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import TensorLike, as_common, as_float, as_floats, as_tensor, broadcast_in, kind_of


def _segment_spec(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> KerasTensor:
    """The symbolic result over segments: without `num_segments` their number is not known."""
    return KerasTensor((num_segments, *data.shape[1:]), data.dtype)


# Dtypes that sums and products over segments take a wider one for.
_SUMMED_IN = {torch.bool: torch.int32, torch.float16: torch.float32, torch.bfloat16: torch.float32}


def _segments(
    data: TensorLike,
    segment_ids: TensorLike,
    num_segments: int | None,
    reduction: str,
    start: Callable[..., Any],
) -> Tensor:
    """Rows of data combined by segment; rows outside all segments go to a last row, which is dropped."""
    data, ids = as_tensor(data), as_tensor(segment_ids).long()
    if ids.ndim != 1 or data.ndim == 0 or data.shape[0] != ids.shape[0]:
        raise ShapeError(
            "There is one segment id for each row.",
            where=f"ops.segment_{reduction}",
            expected=f"segment_ids of shape ({data.shape[0] if data.ndim else 1},)",
            received=f"shape {tuple(ids.shape)}",
        )
    if data.dtype in _SUMMED_IN:
        return _segments(data.to(_SUMMED_IN[data.dtype]), ids, num_segments, reduction, start).to(data.dtype)
    count = num_segments if num_segments is not None else (int(ids.max()) + 1 if ids.numel() else 0)
    ids = torch.where((ids >= 0) & (ids < count), ids, count)
    result = data.new_full((count + 1, *data.shape[1:]), start(data.dtype))
    if reduction == "sum":
        return result.index_add(0, ids, data)[:-1]
    index = ids.reshape(-1, *(1,) * (data.ndim - 1)).expand(data.shape)
    return result.scatter_reduce(0, index, data, reduction, include_self=True)[:-1]


def _lowest(dtype: torch.dtype) -> float | int:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float | int:
    return torch.inf if dtype.is_floating_point else torch.iinfo(dtype).max


@op(symbolic=_segment_spec)
def segment_sum(
    data: TensorLike, segment_ids: TensorLike, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """The sum of the rows of each segment.

    Args:
        data: rows along the first axis.
        segment_ids: the segment of each row; rows outside 0 to `num_segments` are left out.
        num_segments: how many segments; by default the greatest id plus 1, which waits for the device.
        sorted: kept for Keras.

    Example:
        >>> segment_sum([1, 2, 3], [0, 0, 1])
        tensor([3, 3], dtype=torch.int32)
    """
    return _segments(data, segment_ids, num_segments, "sum", lambda dtype: 0)


@op(symbolic=_segment_spec)
def segment_prod(
    data: TensorLike, segment_ids: TensorLike, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """The product of the rows of each segment, 1 where there is none; arguments as in `segment_sum`.

    Example:
        >>> segment_prod([2, 3, 4], [0, 0, 1])
        tensor([6, 4], dtype=torch.int32)
    """
    return _segments(data, segment_ids, num_segments, "prod", lambda dtype: 1)


@op(symbolic=_segment_spec)
def segment_max(
    data: TensorLike, segment_ids: TensorLike, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """The greatest row of each segment, the least possible value where there is none; else as `segment_sum`.

    Example:
        >>> segment_max([1, 2, 3], [0, 0, 1])
        tensor([2, 3], dtype=torch.int32)
    """
    return _segments(data, segment_ids, num_segments, "amax", _lowest)


@op(symbolic=_segment_spec)
def segment_min(
    data: TensorLike, segment_ids: TensorLike, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """The least row of each segment, the greatest possible value where there is none; else as `segment_sum`.

    Example:
        >>> segment_min([1, 2, 3], [0, 0, 1])
        tensor([1, 3], dtype=torch.int32)
    """
    return _segments(data, segment_ids, num_segments, "amin", _highest)


def _cdist_spec(x: Any, y: Any) -> KerasTensor:
    """The symbolic result of `cdist`; a size that is not known fits any other."""
    shapes = [tuple((side if isinstance(side, KerasTensor) else as_tensor(side)).shape) for side in (x, y)]
    _check_rows(*shapes)
    batch = broadcast_in("op cdist", *(shape[:-2] for shape in shapes))
    return KerasTensor((*batch, shapes[0][-2], shapes[1][-2]), result_type(kind_of(x), kind_of(y), float))


def _check_rows(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    if min(len(first), len(second)) < 2 or len({first[-1], second[-1]} - {None}) > 1:
        raise ShapeError(
            "Distances are between rows of equal size.",
            where="ops.cdist",
            expected="shapes (..., n, d) and (..., m, d)",
            received=f"{first} and {second}",
        )


@op(symbolic=_cdist_spec)
def cdist(x: TensorLike, y: TensorLike) -> Tensor:
    """The Euclidean distances between each row of one and each row of the other.

    Args:
        x: shape (..., n, d).
        y: shape (..., m, d).

    Returns:
        The distances, shape (..., n, m).

    Raises:
        ShapeError: the rows differ in size, or an argument is a vector.

    Example:
        >>> cdist([[0.0, 0.0]], [[3.0, 4.0]])
        tensor([[5.]])
    """
    x, y = as_common(x, y)
    _check_rows(tuple(x.shape), tuple(y.shape))
    difference = as_float(x).unsqueeze(-2) - as_float(y).unsqueeze(-3)
    return torch.linalg.vector_norm(difference, dim=-1)


@op
def extract_sequences(x: TensorLike, sequence_length: int, sequence_stride: int) -> Tensor:
    """The windows of a signal, along a new last axis.

    Args:
        x: signals along the last axis.
        sequence_length: the size of a window.
        sequence_stride: the distance between the starts of two windows.

    Example:
        >>> extract_sequences([1, 2, 3, 4], 2, 1)
        tensor([[1, 2],
                [2, 3],
                [3, 4]], dtype=torch.int32)
    """
    return as_tensor(x).unfold(-1, sequence_length, sequence_stride)


def _complex(x: Any, where: str) -> tuple[Tensor, torch.dtype]:
    """A pair of real tensors as a complex one, and the dtype of the parts: there is no complex one for short floats."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ArgumentError(
            "A complex tensor is a pair of real ones.",
            where=where,
            expected="(real, imaginary)",
            received=type(x).__name__,
        )
    real, imaginary = (as_tensor(part) for part in x)
    if real.shape != imaginary.shape:
        raise ShapeError(
            "The real and the imaginary part differ in shape.",
            where=where,
            expected="one shape for both",
            received=f"shapes {tuple(real.shape)} and {tuple(imaginary.shape)}",
        )
    if not (real.is_floating_point() and imaginary.is_floating_point()):
        raise ArgumentError(
            "The parts of a complex tensor are no floats.",
            where=where,
            expected="float dtypes",
            received=f"{real.dtype} and {imaginary.dtype}",
        )
    real, imaginary = as_floats(real, imaginary)
    dtype = real.dtype
    if dtype in _SUMMED_IN:
        real, imaginary = real.float(), imaginary.float()
    return torch.complex(real, imaginary), dtype


def _pair(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return x.real.to(dtype), x.imag.to(dtype)


def _transformed(transform: Callable[[Tensor], Tensor], x: Any, where: str) -> tuple[Tensor, Tensor]:
    values, dtype = _complex(x, where)
    return _pair(transform(values), dtype)


@op
def fft(x: tuple[TensorLike, TensorLike]) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform along the last axis.

    Args:
        x: the real and the imaginary parts.

    Returns:
        The real and the imaginary parts of the transform.

    Example:
        >>> fft(([1.0, 1.0], [0.0, 0.0]))[0]
        tensor([2., 0.])
    """
    return _transformed(torch.fft.fft, x, "ops.fft")


@op
def fft2(x: tuple[TensorLike, TensorLike]) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform along the last two axes; arguments and results as in `fft`."""
    return _transformed(torch.fft.fft2, x, "ops.fft2")


@op
def ifft2(x: tuple[TensorLike, TensorLike]) -> tuple[Tensor, Tensor]:
    """The inverse of `fft2`."""
    return _transformed(torch.fft.ifft2, x, "ops.ifft2")


@op
def rfft(x: TensorLike, fft_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform of real signals along the last axis, without the redundant half.

    Args:
        x: real signals.
        fft_length: cut or fill up the signals with zeros to this size.

    Returns:
        The real and the imaginary parts, `fft_length // 2 + 1` of each.

    Example:
        >>> rfft([1.0, 1.0])
        (tensor([2., 0.]), tensor([0., 0.]))
    """
    x = as_float(x)
    return _pair(torch.fft.rfft(x.float() if x.dtype in _SUMMED_IN else x, fft_length), x.dtype)


@op
def irfft(x: tuple[TensorLike, TensorLike], fft_length: int | None = None) -> Tensor:
    """The inverse of `rfft`.

    Args:
        x: the real and the imaginary parts.
        fft_length: the size of the signals; by default twice that of the parts minus 2.

    Example:
        >>> irfft(([2.0, 0.0], [0.0, 0.0]))
        tensor([1., 1.])
    """
    values, dtype = _complex(x, "ops.irfft")
    return torch.fft.irfft(values, fft_length).to(dtype)


def _window(window: Any, size: int, dtype: torch.dtype, device: torch.device, where: str) -> Tensor:
    """The window function, named or given by its values; ones for None."""
    if window is None:
        return torch.ones(size, dtype=dtype, device=device)
    if isinstance(window, str):
        named = {"hann": torch.hann_window, "hamming": torch.hamming_window}
        one_of(window, named, f"{where}, window")
        return named[window](size, periodic=True, dtype=dtype, device=device)
    values = as_tensor(window).to(device, dtype)
    if values.shape != (size,):
        raise ShapeError(
            "The window is as long as a sequence.", where=where, expected=(size,), received=tuple(values.shape)
        )
    return values


@op
def stft(
    x: TensorLike,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: Any = "hann",
    center: bool = True,
) -> tuple[Tensor, Tensor]:
    """The Fourier transforms of the windows of a signal.

    Args:
        x: real signals, float32 or float64, shape (..., samples).
        sequence_length: the size of a window.
        sequence_stride: the distance between the starts of two windows.
        fft_length: the size of each transform, at least that of a window.
        window: "hann", "hamming", the values of the window, or None for ones.
        center: whether the signal is mirrored at both ends, so that each window has its place in its middle.

    Returns:
        The real and the imaginary parts, shape (..., windows, fft_length // 2 + 1).

    Raises:
        DTypeError: the signals are of another dtype.
        ArgumentError: the sizes or the window make no sense.

    Example:
        >>> stft(torch.ones(8), 4, 2, 4)[0].shape
        torch.Size([5, 3])
    """
    x = as_tensor(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise DTypeError(
            "The signal has a dtype without a transform.",
            where="ops.stft",
            expected="float32 or float64",
            received=f"dtype {x.dtype}",
            fix="ops.cast(x, 'float32')",
        )
    _check_sizes(sequence_length, sequence_stride, fft_length, "ops.stft")
    values = _window(window, sequence_length, x.dtype, x.device, "ops.stft")
    flat = x.reshape(-1, x.shape[-1])
    spectrum = torch.stft(
        flat, fft_length, sequence_stride, sequence_length, values, center=center, return_complex=True
    ).mT
    return _pair(spectrum.reshape(*x.shape[:-1], *spectrum.shape[-2:]), x.dtype)


def _check_sizes(sequence_length: int, sequence_stride: int, fft_length: int, where: str) -> None:
    if not isinstance(sequence_stride, Integral) or sequence_stride < 1:
        raise ArgumentError(
            "The step between windows cannot be used.",
            where=f"{where}, sequence_stride",
            expected="an integer >= 1",
            received=sequence_stride,
        )
    if fft_length < sequence_length:
        raise ArgumentError(
            "A transform is at least as long as a sequence.",
            where=where,
            expected=f"fft_length >= {sequence_length}",
            received=fft_length,
        )


@op
def istft(
    x: tuple[TensorLike, TensorLike],
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Tensor:
    """The signal whose transforms are given: the inverse of `stft`.

    Args:
        x: the real and the imaginary parts, shape (..., windows, fft_length // 2 + 1).
        sequence_length: the size of a window.
        sequence_stride: the distance between the starts of two windows.
        fft_length: the size of each transform.
        length: cut the signal, or fill it up with zeros, to this size.
        window: the window that was used.
        center: whether the signal had been mirrored.

    Example:
        >>> istft(stft(torch.ones(8), 4, 2, 4), 4, 2, 4)
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    spectrum, dtype = _complex(x, "ops.istft")
    _check_sizes(sequence_length, sequence_stride, fft_length, "ops.istft")
    frames = torch.fft.irfft(spectrum, fft_length)
    if window is not None:
        values = _window(window, sequence_length, frames.dtype, frames.device, "ops.istft")
        before = (fft_length - sequence_length) // 2
        values = torch.nn.functional.pad(values, (before, fft_length - sequence_length - before))
    else:
        values = None
    signal = _overlapped(frames * values if values is not None else frames, sequence_stride)
    if values is not None:
        weights = _overlapped((values * values).expand(frames.shape[-2], -1), sequence_stride)
        signal = signal / torch.where(weights > 1e-11, weights, 1)
    start = fft_length // 2 if center else 0
    end = signal.shape[-1] - start if length is None else start + length
    if end > signal.shape[-1]:
        signal = torch.nn.functional.pad(signal, (0, end - signal.shape[-1]))
    return signal[..., start:end].to(dtype)


def _overlapped(frames: Tensor, stride: int) -> Tensor:
    """Windows, shape (..., windows, size), added up at their places in one signal."""
    count, size = frames.shape[-2:]
    columns = frames.reshape(-1, count, size).mT
    total = stride * (count - 1) + size
    signal = torch.nn.functional.fold(columns, (1, total), (1, size), stride=(1, stride))
    return signal.reshape(*frames.shape[:-2], total)
