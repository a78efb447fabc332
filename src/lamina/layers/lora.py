"""Low-rank adaptation: a frozen weight and a small trainable addition to it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, StateError
from lamina.core.variable import Variable
from lamina.layers.base import Layer


class LowRank(Layer):
    """Base of the layers that have `enable_lora`.

    A subclass names its weight, of shape (rows, columns), as `lora_target`, and adds `low_rank(...)` to its outputs when
    `lora_enabled`. Files hold the weight with the addition in it, as Keras's do.
    """

    lora_target: ClassVar[str]
    lora_enabled: bool = False
    lora_rank: int | None = None
    lora_alpha: float | None = None

    def enable_lora(
        self,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
    ) -> None:
        """Freeze the weight and add `lora_alpha / rank * a @ b` to it, where `a` and `b` learn.

        Args:
            rank: the number of columns of `a`, and of rows of `b`.
            lora_alpha: the factor; `rank` by default.
            a_initializer: how `a` begins.
            b_initializer: how `b` begins; with zeros, nothing changes at first.

        Raises:
            StateError: the layer is not built, or this was done before.
            ArgumentError: the weight has a constraint.
        """
        name = self.lora_target
        weight: Any = self._parameters.get(name)
        if weight is None or self.lora_enabled:
            what = "LoRA is enabled already." if self.lora_enabled else "LoRA needs a layer that is built."
            raise StateError(what, where=self._where(), fix=None if weight is not None else "build the layer first")
        if getattr(self, f"{name}_constraint") is not None:
            raise ArgumentError(
                "LoRA and a constraint exclude each other.", where=self._where(), fix=f"leave out {name}_constraint"
            )
        rows, columns = weight.shape
        regularizer = getattr(self, f"{name}_regularizer")
        for letter, shape, initializer in (("a", (rows, rank), a_initializer), ("b", (rank, columns), b_initializer)):
            made = self.add_weight(shape, initializer, "float32", regularizer=regularizer, name=f"lora_{name}_{letter}")
            made.data = made.data.to(weight.device)
        weight.requires_grad_(False)
        self.lora_rank, self.lora_alpha = rank, lora_alpha if lora_alpha is not None else rank
        self.lora_enabled = True

    def low_rank(self, left: Tensor) -> Tensor:
        """`left @ a @ b`, scaled, in the compute dtype."""
        a, b = self._lora_pair()
        assert self.lora_alpha is not None and self.lora_rank is not None
        return self.cast(torch.matmul(torch.matmul(left.to(a.dtype), a), b) * (self.lora_alpha / self.lora_rank))

    def _lora_pair(self) -> tuple[Variable, Variable]:
        return getattr(self, f"lora_{self.lora_target}_a"), getattr(self, f"lora_{self.lora_target}_b")

    def save_own_variables(self, store: Any) -> None:
        """Write the weights into a mapping, the addition merged into its weight."""
        super().save_own_variables(store)
        if self.lora_enabled:
            own, pair = self._own_weights(), self._lora_pair()
            kept = [store[str(i)] for i, weight in enumerate(own) if not any(weight is half for half in pair)]
            with torch.no_grad():
                merged = self._parameters[self.lora_target] + self.low_rank(torch.eye(len(pair[0]))).to("cpu")  # type: ignore[operator]
