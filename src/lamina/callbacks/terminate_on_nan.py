"""Stopping when the loss is no longer a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamina.callbacks.base import Callback
from lamina.core.config import say
from lamina.core.errors import LaminaError


class NonFiniteLossError(LaminaError, RuntimeError):
    """The loss is no longer a number."""


class TerminateOnNaN(Callback):
    """Ends training at the first loss that is NaN or infinite. It looks at every step, so every step is waited for.

    Args:
        raise_error: whether to raise a RuntimeError instead of ending fit in good order.

    Example:
        >>> TerminateOnNaN().on_batch_end(0, {"loss": 1.0})

    Source: https://keras.io/api/callbacks/terminate_on_nan/
    """

    keeps_logs = False

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            fix = "lower the learning rate, clip gradients (clipnorm=1.0), or see fit(doctor=True) for the first cause"
            raise NonFiniteLossError("The loss is not finite.", where=f"batch {batch}", received=loss, fix=fix)
        say(f"Batch {batch}: the loss is {loss}, training ends")
        self.model.stop_training = True
