"""Evaluation with the moving averages of the weights."""

from __future__ import annotations

from typing import Any

import torch

from lamina.callbacks.base import Callback
from lamina.core.errors import StateError


class SwapEMAWeights(Callback):
    """Puts the moving averages that the optimizer keeps into the model for evaluation, and the weights back after it.

    Both are exchanged in place, one weight at a time. The optimizer has to be made with `use_ema=True`.

    Args:
        swap_on_epoch: whether the averages are also in the model from the end of an epoch to the beginning of the next,
            so that callbacks that come later in the list, such as `ModelCheckpoint`, see them.

    Raises:
        StateError: the optimizer keeps no averages.

    Example:
        >>> SwapEMAWeights(swap_on_epoch=True).swap_on_epoch
        True

    Source: https://keras.io/api/callbacks/swap_ema_weights/
    """

    kept = ("_ema_weights_in_model",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._ema_weights_in_model = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the averages in; after the last epoch they stay, as the optimizer would leave them."""
        if not self.swap_on_epoch:
            return
        self._swap(True)
        if self.model.stop_training or epoch == (self.params or {}).get("epochs", 0) - 1:
            with torch.no_grad():
                for weight, average in self._pairs():
                    average.copy_(weight)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the averages in."""
        self._swap(True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        self._swap(False)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the averages in."""
        self._swap(True)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        self._swap(False)

    @torch.no_grad()
    def _swap(self, averages: bool) -> None:
        """See to it that the averages, or the weights, are in the model."""
        if averages is self._ema_weights_in_model:
            return
        for weight, average in self._pairs():
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
        self._ema_weights_in_model = averages

    def _pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each weight with its average, of all optimizers within the model's that keep some."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        parts = getattr(optimizer, "optimizers", None) or [optimizer]
        using = [part for part in parts if getattr(part, "use_ema", False)]
        if not using:
            raise StateError(
                "The optimizer keeps no moving averages of the weights.",
                where="SwapEMAWeights",
                received=type(optimizer).__name__,
                fix="make it with use_ema=True",
            )
        begun = [part for part in using if part.built and int(part.iterations)]
        return [pair for part in begun for pair in zip(part._parameters, part._slots["average"], strict=True)]
