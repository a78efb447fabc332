"""Settings of the whole process: default float, fuzz factor, data layout. Spelled as Keras spells them."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.core.errors import ArgumentError, check_number, nearest

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_logger = logging.getLogger("lamina")
_FORMATS = ("channels_last", "channels_first")


@dataclass
class _Settings:
    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    flash_attention: bool | None = None
    keep_memory: bool = True
    interactive_logging: bool = True
    max_epochs: int | None = None
    max_steps_per_epoch: int | None = None


def _limit(name: str) -> int | None:
    """A limit that the environment sets."""
    value = os.environ.get(name)
    if value is None or value.isdecimal():
        return int(value) if value else None
    where, fix = f"the environment variable {name}", f"export {name}=10, or unset it"
    raise ArgumentError("The limit is no whole number.", where=where, received=repr(value), fix=fix)


_settings = _Settings(max_epochs=_limit("KERAS_MAX_EPOCHS"), max_steps_per_epoch=_limit("KERAS_MAX_STEPS_PER_EPOCH"))


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
        what = f"Unknown default float dtype.{nearest(str(value), _FLOATS)}"
        raise ArgumentError(what, where="set_floatx(value)", expected=" or ".join(_FLOATS), received=repr(value))
    _settings.floatx = str(value)


def epsilon() -> float:
    """The small number that keeps divisions and logarithms finite, 1e-7 by default."""
    return _settings.epsilon


def set_epsilon(value: float) -> None:
    """Set the small number returned by `epsilon()`."""
    check_number(value, "set_epsilon(value)", least=0, whole=False)
    _settings.epsilon = float(value)


def image_data_format() -> str:
    """The default image layout: "channels_last" or "channels_first"."""
    return _settings.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set the default image layout: "channels_last" or "channels_first"."""
    _settings.image_data_format = standardize_data_format(str(data_format))


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
            where="data_format=...",
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


def set_backend(backend: str) -> None:
    """Name the engine: lamina has one, so that anything but "torch" is an error.

    Raises:
        ArgumentError: it is another one.

    Example:
        >>> set_backend("torch")
    """
    if backend != "torch":
        raise ArgumentError(
            "lamina has no other engine than PyTorch.",
            where="set_backend(backend)",
            expected="'torch'",
            received=repr(backend),
            fix="leave the call out, or run the script on Keras itself",
        )


def is_nnx_enabled() -> bool:
    """False: NNX belongs to JAX."""
    return False


def enable_unsafe_deserialization() -> None:
    """Keras's switch that lets files run their code: it does nothing here, and says so.

    What a file names is looked up in the registry, never imported or run, so there is nothing to switch on.
    """
    warnings.warn(
        "enable_unsafe_deserialization() changes nothing: lamina never runs code from a file. Register your own "
        "classes and functions with @lamina.saving.register_keras_serializable(), or pass custom_objects to the load.",
        stacklevel=2,
    )


def max_epochs() -> int | None:
    """The most epochs that one `fit` may run, or None."""
    return _settings.max_epochs


def set_max_epochs(max_epochs: int | None) -> None:
    """Cut every `fit` to so many epochs, to try a script out; the environment variable KERAS_MAX_EPOCHS does it too.

    Args:
        max_epochs: the limit, or None for no limit.

    Example:
        >>> set_max_epochs(1)
        >>> max_epochs()
        1
        >>> set_max_epochs(None)
    """
    _settings.max_epochs = max_epochs


def max_steps_per_epoch() -> int | None:
    """The most batches that an epoch of `fit`, `evaluate` or `predict` may have, or None."""
    return _settings.max_steps_per_epoch


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Cut every epoch to so many batches, to try a script out; so does KERAS_MAX_STEPS_PER_EPOCH.

    Args:
        max_steps_per_epoch: the limit, or None for no limit.
    """
    _settings.max_steps_per_epoch = max_steps_per_epoch


def limited(wanted: Any, limit: int | None, name: str) -> Any:
    """The number wanted, or the limit where that is lower, with a warning; None wants no end.

    Example:
        >>> limited(20, None, "epochs"), limited(2, 5, "epochs")
        (20, 2)
    """
    if not limit or (wanted and wanted <= limit):
        return wanted
    warnings.warn(f"Limiting {name} to {limit}, as lamina.config says.", stacklevel=3)
    return limit


def enable_interactive_logging() -> None:
    """Have progress and messages printed, as they are from the start."""
    _settings.interactive_logging = True


def disable_interactive_logging() -> None:
    """Have progress and messages go to the logger "lamina", as suits servers and jobs, instead of being printed."""
    _settings.interactive_logging = False


def is_interactive_logging_enabled() -> bool:
    """Whether progress and messages are printed.

    Example:
        >>> is_interactive_logging_enabled()
        True
    """
    return _settings.interactive_logging


def say(text: str, end: str = "\n") -> None:
    """Print a message for the user, or log it where interactive logging is disabled."""
    if not _settings.interactive_logging:
        if text.strip():
            _logger.info(text.strip())
        return
    print(text, end=end, flush=True)
