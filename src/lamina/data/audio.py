"""Sounds in WAV files as tensors, and their change to another sampling rate."""

from __future__ import annotations

import math
import wave
from typing import Any

import numpy as np
import torch

from lamina.core.errors import DataError

_WIDTH = 6  # zero crossings of the filter, on each side
_ROLLOFF = 0.99  # the part of the lower rate's band that is kept


def read_wav(path: Any) -> tuple[torch.Tensor, int]:
    """The samples of a WAV file and their number a second.

    Args:
        path: the file, of whole numbers of 8, 16, 24 or 32 bits; of other kinds where `soundfile` is installed.

    Returns:
        Values from -1 to 1, float32 (samples, channels); samples a second.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, size, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    except (wave.Error, EOFError) as error:
        return _by_soundfile(path, error)
    # Samples stand at the upper end of 32 bits, lowest byte first; those of one byte have no sign.
    wide = np.zeros((len(raw) // size, 4), np.uint8)
    wide[:, 4 - size :] = raw[: len(wide) * size].reshape(-1, size)
    if size == 1:
        wide[:, 3] ^= 128
    samples = wide.view("<i4").astype(np.float32) / 2.0**31
    return torch.from_numpy(samples.reshape(-1, channels)), rate


def _by_soundfile(path: Any, error: Exception) -> tuple[torch.Tensor, int]:
    try:
        import soundfile
    except ImportError:
        raise DataError(
            "A sound cannot be read.",
            where=str(path),
            expected="a WAV file of whole numbers",
            received=str(error),
            fix="pip install soundfile, which reads more kinds",
        ) from None
    samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    return torch.from_numpy(samples), rate


def resample(sound: torch.Tensor, rate: int, new_rate: int) -> torch.Tensor:
    """A sound at another number of samples a second, by interpolation with a windowed sinc.

    Args:
        sound: (samples, channels).
        rate: its samples a second.
        new_rate: those wanted.

    Example:
        >>> resample(torch.ones(8, 1), 16000, 8000).shape
        torch.Size([4, 1])

    Source: https://ccrma.stanford.edu/~jos/resample/
    """
    if rate == new_rate:
        return sound
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    band = min(old, new) * _ROLLOFF
    reach = math.ceil(_WIDTH * old / band)
    places = torch.arange(-reach, reach + old) / old
    phases = (places - torch.arange(new)[:, None] / new).mul(band).clamp(-_WIDTH, _WIDTH)
    kernel = torch.sinc(phases) * torch.cos(phases * math.pi / _WIDTH / 2) ** 2 * (band / old)
    padded = torch.nn.functional.pad(sound.T[:, None], (reach, reach + old))
    result = torch.nn.functional.conv1d(padded, kernel[:, None], stride=old)
    count = math.ceil(len(sound) * new / old)
    return result.permute(2, 1, 0).reshape(-1, sound.shape[1])[:count]
