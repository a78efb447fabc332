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

    def attach(self, model: Any, hooks: Iterable[tuple[Any, Hook]]) -> None:
        """Call each hook when the gradient of its weight is there; a compiled step waits until they are gone."""
        self.remove()
        self._handles = [weight.register_post_accumulate_grad_hook(hook) for weight, hook in hooks]
        self._adoptions = vars(model).get("_adoptions") if self._handles else None
        if self._adoptions is not None:
            self._adoptions.hooks += 1

    def remove(self) -> None:
        """Take them away."""
        for handle in self._handles:
            handle.remove()
        if self._adoptions is not None:
            self._adoptions.hooks -= 1
        self._handles, self._adoptions = [], None
