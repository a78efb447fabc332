"""Windows: weights that fade a stretch of samples in and out, by name.

Source: https://docs.scipy.org/doc/scipy/reference/signal.windows.html
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def window_values(name: str, samples: int, periodic: bool = False) -> np.ndarray:
    """A window by its name, in float64.

    Args:
        name: e.g. "hann", "hamming", "blackman".
        samples: how many values.
        periodic: whether the window is one period of a sequence that repeats, rather than symmetric.

    Example:
        >>> window_values("hann", 3)
        array([0., 1., 0.])
    """
    if samples <= 1:
        return np.ones(samples)
    size = samples + 1 if periodic else samples
    return WINDOWS[name](np.linspace(-1.0, 1.0, size), size)[:samples]


def _cosines(*weights: float) -> Callable[[np.ndarray, int], np.ndarray]:
    """A window that is a weighted sum of cosines of 0, 1, 2, ... half turns."""
    return lambda x, size: sum((w * np.cos(k * np.pi * x) for k, w in enumerate(weights)), np.zeros(size))


def _parzen(x: np.ndarray, size: int) -> np.ndarray:
    distance = np.abs(x) * (size - 1) / size
    return np.where(distance <= 0.5, 1 - 6 * distance**2 * (1 - distance), 2 * (1 - distance) ** 3)


def _bohman(x: np.ndarray, size: int) -> np.ndarray:
    distance = np.abs(x)
    window = (1 - distance) * np.cos(np.pi * distance) + np.sin(np.pi * distance) / np.pi
    window[[0, -1]] = 0.0
    return window


# Each window as a function of the places from -1 to 1, and of how many there are.
WINDOWS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "barthann": lambda x, size: 0.62 - 0.24 * np.abs(x) + 0.38 * np.cos(np.pi * x),
    "bartlett": lambda x, size: 1 - np.abs(x),
    "blackman": _cosines(0.42, 0.5, 0.08),
    "blackmanharris": _cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "bohman": _bohman,
    "boxcar": _cosines(1.0),
    "cosine": lambda x, size: np.cos(np.pi / 2 * x * (size - 1) / size),
    "exponential": lambda x, size: np.exp(-np.abs(x) * (size - 1) / 2),
    "flattop": _cosines(0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "hamming": _cosines(0.54, 0.46),
    "hann": _cosines(0.5, 0.5),
    "lanczos": lambda x, size: np.sinc(x),
    "nuttall": _cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "parzen": _parzen,
    "triang": lambda x, size: 1 - np.abs(x) * (size - 1) / (size + size % 2),
    "tukey": lambda x, size: np.where(np.abs(x) <= 0.5, 1.0, 0.5 - 0.5 * np.cos(2 * np.pi * x)),
}
