"""Settings of the whole process: default float, fuzz factor, data layout. Spelled as Keras spells them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lamina.core.errors import ArgumentError, nearest

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_FORMATS = ("channels_last", "channels_first")


@dataclass
class _Settings:
    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    flash_attention: bool | None = None
    keep_memory: bool = True


_settings = _Settings()


def backend() -> str:
    """The engine: always "torch".

    Example:
        >>> backend()
        'torch'
    """
    return "torch"


def home_folder() -> Path:
    """Where lamina keeps files: the folder named by LAMINA_HOME, or `~/.lamina`."""
    return Path(os.environ.get("LAMINA_HOME") or "~/.lamina").expanduser()


def floatx() -> str:
    """The default float dtype, "float32" unless set_floatx changed it.

    Example:
        >>> floatx()
        'float32'
    """
    return _settings.floatx


def set_floatx(value: str) -> None:
    """Set the default float dtype: one of "bfloat16", "float16", "float32", "float64"."""
    if value not in _FLOATS:
        raise ArgumentError("Unknown default float dtype.", where="value", expected=_FLOATS, received=repr(value))
    _settings.floatx = str(value)


def epsilon() -> float:
    """The small number that keeps divisions and logarithms finite, 1e-7 by default."""
    return _settings.epsilon


def set_epsilon(value: float) -> None:
    """Set the small number returned by `epsilon()`."""
    _settings.epsilon = float(value)


def image_data_format() -> str:
    """The default image layout: "channels_last" or "channels_first"."""
    return _settings.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set the default image layout: "channels_last" or "channels_first"."""
    _settings.image_data_format = standardize_data_format(data_format)


def enable_flash_attention() -> None:
    """Let attention layers use flash kernels where these exist, as they do from the start."""
    _settings.flash_attention = None


def disable_flash_attention() -> None:
    """Have attention layers made from now on demand no flash kernel."""
    _settings.flash_attention = False


def is_flash_attention_enabled() -> bool | None:
    """False after `disable_flash_attention()`, else None: layers decide."""
    return _settings.flash_attention


def standardize_data_format(data_format: str | None) -> str:
    """The layout named, or the default one for None; any other value is an error."""
    if data_format is None:
        return _settings.image_data_format
    lowered = str(data_format).lower()
    if lowered not in _FORMATS:
        raise ArgumentError(
            f"Unknown data_format.{nearest(lowered, _FORMATS)}",
            where="data_format",
            expected=" or ".join(_FORMATS),
            received=repr(data_format),
        )
    return lowered


def keeps_memory() -> bool:
    """Whether training on a CPU makes the process keep the memory it frees, for the next step."""
    return _settings.keep_memory


def set_keep_memory(value: bool) -> None:
    """Set whether training on a CPU makes the process keep the memory it frees, for the next step.

    It does by default: steps with large weights become up to 1.5 times as fast, because the system need not clear the
    same pages again and again. The process then stays as large as it has once been. It applies from the next `fit`,
    `evaluate` or `predict` on, to the GNU C library's allocator only.

    Args:
        value: False to give freed memory back to the system at once.

    Example:
        >>> set_keep_memory(False)
        >>> keeps_memory()
        False
        >>> set_keep_memory(True)
    """
    _settings.keep_memory = bool(value)
