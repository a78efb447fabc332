"""Spectra of sound: with fixed triangular filters, or with kernels that can be trained."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import initializers
from lamina.core.config import epsilon, standardize_data_format
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, DTypeError, one_of
from lamina.core.registry import builtin
from lamina.layers.arguments import positive
from lamina.layers.input_spec import InputSpec
from lamina.layers.preprocessing.base import PreprocessingLayer
from lamina.layers.windows import torch_padding
from lamina.ops.math import stft

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


@builtin("keras.layers")
class MelSpectrogram(PreprocessingLayer):
    """The strength of the pitches in a sound over time, pitches spaced as people hear them.

    Args:
        fft_length: the size of a Fourier transform, in samples.
        sequence_stride: how many samples lie between two transforms.
        sequence_length: the size of a window; `fft_length` by default.
        window: "hann", "hamming", the values of the window, or None.
        sampling_rate: samples in a second.
        num_mel_bins: how many pitches.
        min_freq: the lowest frequency, in hertz.
        max_freq: the highest frequency, in hertz; half the sampling rate by default.
        power_to_db: whether to give decibels.
        top_db: how many decibels below the loudest place of the batch values are cut off.
        mag_exp: the power to which magnitudes are raised.
        min_power: what smaller powers are taken for.
        ref_power: the power of 0 decibels.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: the window is longer than the transform.

    Example:
        >>> layer = MelSpectrogram(num_mel_bins=8, fft_length=256, sequence_stride=128, sampling_rate=8000)
        >>> layer(torch.zeros(2, 1024)).shape
        torch.Size([2, 8, 9])

    Source: https://keras.io/api/layers/preprocessing_layers/audio_preprocessing/mel_spectrogram/
    """

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fft_length, self.sequence_stride = positive(fft_length, f"{self._where()}, fft_length"), sequence_stride
        self.sequence_length = sequence_length or fft_length
        if self.sequence_length > fft_length:
            raise ArgumentError(
                "A window is no longer than the transform.",
                where=self._where(),
                expected=f"sequence_length of at most {fft_length}",
                received=self.sequence_length,
            )
        self.window, self.sampling_rate, self.num_mel_bins = window, sampling_rate, num_mel_bins
        self.min_freq, self.max_freq = min_freq, max_freq or int(sampling_rate / 2)
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power
        self._filters = self.linear_to_mel_weight_matrix(
            num_mel_bins, fft_length // 2 + 1, sampling_rate, min_freq, self.max_freq
        )
        self._build_at_init()

    def call(self, inputs: Tensor) -> Tensor:
        """The spectra, shape (..., num_mel_bins, time), of signals (..., samples)."""
        if inputs.ndim > 1 and not inputs.shape[0]:
            return self.call(inputs.new_zeros(1, *inputs.shape[1:]))[:0]  # torch transforms no empty batch
        dtype = self._compute_dtype if self._compute_dtype in (torch.float32, torch.float64) else torch.float32
        real, imag = stft(
            inputs.to(dtype), self.sequence_length, self.sequence_stride, self.fft_length, self.window, center=True
        )
        power = (real**2 + imag**2) ** (self.mag_exp / 2)
        mel = torch.matmul(power, self._filters.to(power.device, dtype))
        if self.power_to_db:
            loudness = 10 * mel.clamp_min(self.min_power).log10()
            loudness = loudness - 10 * math.log10(max(abs(self.ref_power), self.min_power))
            mel = torch.maximum(loudness, loudness.max() - self.top_db)
        return mel.mT.to(self._compute_dtype)

    def linear_to_mel_weight_matrix(
        self,
        num_mel_bins: int = 20,
        num_spectrogram_bins: int = 129,
        sampling_rate: int = 8000,
        lower_edge_hertz: float = 125.0,
        upper_edge_hertz: float = 3800.0,
        dtype: Any = "float32",
    ) -> Tensor:
        """The triangular filters: how much each frequency of a spectrum adds to each pitch.

        Args:
            num_mel_bins: how many pitches.
            num_spectrogram_bins: how many frequencies, evenly spaced from 0 to half the sampling rate.
            sampling_rate: samples in a second.
            lower_edge_hertz: where the lowest filter begins.
            upper_edge_hertz: where the highest filter ends.
            dtype: the dtype of the result.

        Returns:
            A tensor (num_spectrogram_bins, num_mel_bins).
        """
        edges = np.linspace(_mel(lower_edge_hertz), _mel(upper_edge_hertz), num_mel_bins + 2)
        pitches = _mel(np.linspace(0, sampling_rate / 2, num_spectrogram_bins))[:, None]
        rising = (pitches - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - pitches) / (edges[2:] - edges[1:-1])
        filters = np.maximum(0, np.minimum(rising, falling))
        filters[0] = 0  # a constant has no pitch
        return torch.as_tensor(filters, dtype=torch_dtype(dtype))


def _mel(hertz: Any) -> Any:
    """Frequencies on a scale on which equal steps sound equal."""
    return 1127 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700)


@builtin("keras.layers")
class STFTSpectrogram(PreprocessingLayer):
    """Short-time Fourier transforms by convolution, whose kernels begin as sines and cosines and can be trained.

    Args:
        mode: "log", "magnitude" or "psd" (power) of the transform, its "real" or "imag" part, its "angle", or "stft",
            both parts.
        frame_length: the samples in a frame.
        frame_step: the samples between the starts of two frames; half a frame by default.
        fft_length: the size of the transform; the power of two that holds a frame by default.
        window: the name of a window, its values, or None.
        periodic: whether the window is made for frames that repeat.
        scaling: "density", "spectrum" or None.
        padding: "valid" or "same".
        expand_dims: whether frequencies get an axis of their own.
        data_format: "channels_last" for inputs (batch, time, channels), "channels_first" for (batch, channels, time).
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: an argument makes no sense.
        DTypeError: the inputs are no floats.

    Example:
        >>> STFTSpectrogram(frame_length=64, frame_step=32)(torch.zeros(2, 256, 1)).shape
        torch.Size([2, 7, 33])

    Source: https://keras.io/api/layers/preprocessing_layers/audio_preprocessing/stft_spectrogram/
    """

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, known in (("mode", mode, _MODES), ("padding", padding, ("valid", "same"))):
            one_of(value, known, f"{self._where()}, {name}")
        if frame_step is not None and not 1 <= frame_step <= frame_length:
            raise ArgumentError(
                "frame_step lies outside its range.",
                where=self._where(),
                expected=f"1 to {frame_length}",
                received=frame_step,
            )
        if fft_length is not None and fft_length < frame_length:
            raise ArgumentError(
                "A transform holds a whole frame.",
                where=self._where(),
                expected=f"fft_length of {frame_length} or more",
                received=fft_length,
            )
        if fft_length is not None and fft_length & (fft_length - 1):
            warnings.warn(f"fft_length={fft_length} is slow: powers of two are fast.", stacklevel=2)
        self._kernels = {side: initializers.STFT(side, window, scaling, periodic) for side in ("real", "imag")}
        self.mode, self.padding, self.expand_dims = mode, padding, expand_dims
        self.frame_length, self.frame_step, self.fft_length = frame_length, frame_step, fft_length
        self.window, self.periodic, self.scaling = window, periodic, scaling
        self._step = frame_step or frame_length // 2
        self._frequencies = (fft_length or 1 << (frame_length - 1).bit_length()) // 2 + 1
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=3)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the kernels that the mode needs."""
        shape = (self.frame_length, 1, self._frequencies)
        if self.mode != "imag":
            self.real_kernel = self.add_weight(shape=shape, initializer=self._kernels["real"], name="real_kernel")
        if self.mode != "real":
            self.imag_kernel = self.add_weight(shape=shape, initializer=self._kernels["imag"], name="imag_kernel")

    def call(self, inputs: Tensor) -> Tensor:
        """The spectra."""
        if not inputs.is_floating_point():
            raise DTypeError(
                "Signals are floats.",
                where=self._where(),
                expected="a float dtype",
                received=f"dtype {inputs.dtype}",
                fix="x.astype('float32')",
            )
        signal = inputs.mT if self.data_format == "channels_last" else inputs
        if self.mode in ("real", "imag"):
            return self._laid_out(
                self._transformed(signal, self.real_kernel if self.mode == "real" else self.imag_kernel)
            )
        real, imag = self._transformed(signal, self.real_kernel), self._transformed(signal, self.imag_kernel)
        if self.mode == "stft":
            return self._laid_out(torch.cat([real, imag], 2))
        if self.mode == "angle":
            return self._laid_out(torch.atan2(imag, real))
        power = real**2 + imag**2
        if self.mode == "psd":
            # All frequencies but the first and the last stand for negative ones too.
            return self._laid_out(power + F.pad(power[:, :, 1:-1], (0, 0, 1, 1)))
        magnitude = power.clamp_min(epsilon()).sqrt()
        return self._laid_out(magnitude if self.mode == "magnitude" else magnitude.clamp_min(epsilon()).log())

    def _transformed(self, signal: Tensor, kernel: Tensor) -> Tensor:
        """(batch, channels, time) to (batch, channels, frequencies, frames)."""
        batch, channels, time = signal.shape
        window, step = (self.frame_length,), (self._step,)
        padding, before = torch_padding(self.padding, (time,), window, step, (1,))
        flat = signal.reshape(batch * channels, 1, time)
        frames = F.conv1d(F.pad(flat, before) if before else flat, kernel.permute(2, 1, 0), None, step, padding)
        return frames.reshape(batch, channels, frames.shape[1], frames.shape[2])

    def _laid_out(self, spectra: Tensor) -> Tensor:
        """(batch, channels, frequencies, frames) as the arguments want it."""
        last = self.data_format == "channels_last"
        if self.expand_dims:
            return spectra.permute(0, 3, 2, 1) if last else spectra.permute(0, 1, 3, 2)
        flat = spectra.flatten(1, 2)
        return flat.mT if last else flat
