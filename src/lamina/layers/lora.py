"""Low-rank adaptation: a frozen weight and a small trainable addition to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, StateError
from lamina.core.tensors import convert_to_numpy
from lamina.core.variable import Variable
from lamina.layers.base import Layer


class Adapted:
    """The attribute of a weight that LoRA may add to: it reads as the weight with the addition in it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        weight = layer.plain_weight(self.name)
        return weight + layer.low_rank_weight() if layer.lora_enabled else weight


class LowRank(Layer):
    """Base of the layers that have `enable_lora`.

    A subclass has an attribute `Adapted()` for its weight, of shape (rows..., columns), and names it as `lora_target`.
    Where `low_rank(...)` is the cheaper way, it adds that to outputs of its `plain_weight`. Files hold the weight with
    the addition in it, as Keras's do.
    """

    lora_target: ClassVar[str]
    lora_enabled: bool = False
    lora_rank: int | None = None
    lora_alpha: float | None = None

    def _weight_as_told(self, name: str, shape: Any, autocast: bool = True, initializer: Any = None) -> Variable:
        """A new weight, with the initializer (or another), regularizer and constraint kept under its name."""
        told = {part: getattr(self, f"{name}_{part}") for part in ("initializer", "regularizer", "constraint")}
        told["initializer"] = initializer or told["initializer"]
        return self.add_weight(shape, name=name, autocast=autocast, **told)

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
        weight = self._lora_base()
        if weight is None or self.lora_enabled:
            what = "LoRA is enabled already." if self.lora_enabled else "LoRA needs a layer that is built."
            raise StateError(what, where=self._where(), fix=None if weight is not None else "build the layer first")
        if getattr(self, f"{name}_constraint") is not None:
            raise ArgumentError(
                "LoRA and a constraint exclude each other.", where=self._where(), fix=f"leave out {name}_constraint"
            )
        *rows, columns = weight.shape
        regularizer = getattr(self, f"{name}_regularizer")
        for letter, shape, initializer in (("a", (*rows, rank), a_initializer), ("b", (rank, columns), b_initializer)):
            key = f"lora_{name}_{letter}"
            made = self.add_weight(shape, initializer, "float32", regularizer=regularizer, name=key)
            made.data = made.data.to(weight.device)
        weight.requires_grad_(False)
        self.lora_rank, self.lora_alpha = rank, lora_alpha if lora_alpha is not None else rank
        self.lora_enabled = True

    def plain_weight(self, name: str) -> Any:
        """A weight without the addition, in the dtype the layer computes in.

        Raises:
            AttributeError: there is none.
        """
        own = self.__dict__
        if name not in own.get("_parameters", ()):
            return self._weight_not_held(name)
        return self._read_weight(name) if own["_mixed"] else own["_parameters"][name]

    def _weight_not_held(self, name: str) -> Any:
        """What stands for a weight that is no parameter."""
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}' before it is built")

    def _lora_base(self) -> Any:
        """The weight that an addition is for, or None before it is made."""
        return self._parameters.get(self.lora_target)

    def low_rank(self, left: Tensor) -> Tensor:
        """`left @ a @ b`, scaled: what is added to `left @ weight`."""
        a = self._lora_pair()[0]
        return self._scaled(torch.matmul(left.to(a.dtype), a))

    def low_rank_rows(self, ids: Tensor) -> Tensor:
        """What is added to the rows of the weight that these integers pick."""
        return self._scaled(torch.embedding(self._lora_pair()[0], ids))

    def low_rank_weight(self) -> Tensor:
        """What is added to the weight."""
        return self._scaled(self._lora_pair()[0])

    def _scaled(self, projected: Tensor) -> Tensor:
        scale = (self.lora_alpha or 1) / (self.lora_rank or 1)
        return self.cast(torch.matmul(projected, self._lora_pair()[1]) * scale)

    def _lora_pair(self) -> list[Tensor]:
        names = (f"lora_{self.lora_target}_{letter}" for letter in "ab")
        return [weight for name in names if (weight := self._parameters.get(name)) is not None]

    def _own_weights(self) -> list[Any]:
        pair = self._lora_pair()
        return [weight for weight in super()._own_weights() if not any(weight is half for half in pair)]

    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own weights into a mapping, the addition merged into its weight."""
        if not self.lora_enabled:
            return super().save_own_variables(store)
        target = self._parameters[self.lora_target]
        assert target is not None
        with torch.no_grad():
            merged = target + self.low_rank_weight().to(target.dtype)
        for index, weight in enumerate(self._own_weights()):
            store[str(index)] = convert_to_numpy(merged if weight is target else weight)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the layer's own weights from a mapping; an addition begins anew from nothing."""
        super().load_own_variables(store)
        if self.lora_enabled:
            with torch.no_grad():
                self._lora_pair()[1].zero_()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; those of LoRA only where it is on, as Keras writes them."""
        config = super().get_config()
        return config if self.lora_rank else {k: v for k, v in config.items() if not k.startswith("lora_")}
