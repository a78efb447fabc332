"""Hooks that see the gradients of weights, for callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

Hook = Callable[[torch.Tensor], None]


class GradientHooks:
    """Hooks on weights. While they are there, steps run as they are written: compiled ones have no hooks in them."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._adoptions: Any = None
        self._compiled: Any = None

    def attach(self, model: Any, hooks: Iterable[tuple[Any, Hook]]) -> None:
        """Call each hook when the gradient of its weight is there; a compiled step waits until they are gone."""
        self.remove()
        self._adoptions = vars(model).get("_adoptions")
        self._compiled = None if self._adoptions is None else self._adoptions.pop("train", None)
        self._handles = [weight.register_post_accumulate_grad_hook(hook) for weight, hook in hooks]

    def remove(self) -> None:
        """Take them away, and put the compiled step back."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._adoptions is not None:
            self._adoptions.pop("train", None)
            if self._compiled is not None:
                self._adoptions["train"] = self._compiled
        self._adoptions = self._compiled = None
