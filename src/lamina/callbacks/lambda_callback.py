"""Callbacks made of single functions."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any

from lamina.callbacks.base import HOOKS, Callback
from lamina.core.errors import ArgumentTypeError, check_type, listing, nearest

_NAMES = (*HOOKS, "on_batch_begin", "on_batch_end")


class LambdaCallback(Callback):
    """A callback made of functions, each called as the hook of its name is.

    Args:
        on_epoch_begin: called with (epoch, logs).
        on_epoch_end: called with (epoch, logs).
        on_train_begin: called with (logs).
        on_train_end: called with (logs).
        on_train_batch_begin: called with (batch, logs=logs).
        on_train_batch_end: called with (batch, logs=logs).
        **kwargs: any other hook of `Callback` by name.

    Raises:
        ArgumentTypeError: a name that is no hook.

    Example:
        >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> callback.on_epoch_end(3, {"loss": 0.5})
        3 0.5

    Source: https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in named.items():
            if name.startswith("on_") and name not in _NAMES:
                what = f'"{name}" is no hook of a callback.{nearest(name, _NAMES)}'
                raise ArgumentTypeError(what, where=f"LambdaCallback({name}=...)", expected=listing(_NAMES, limit=99))
            if name.startswith("on_"):
                check_type(function, (Callable, NoneType), f"LambdaCallback({name}=...)", "a function")
            if function is not None:
                self.__dict__[name] = function
