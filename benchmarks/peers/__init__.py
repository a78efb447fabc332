"""Who is measured, by name: where it is implemented, what it needs, and in which environment it runs."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A peer.

    Args:
        place: "module:Class" below this package.
        needs: the packages without which it is left out.
        environment: variables of its process.
        policies: the dtype policies it can compute in.
    """

    place: str
    needs: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    policies: tuple[str, ...] = ("float32", "mixed_bfloat16")

    def load(self) -> type:
        """The class; imports its framework."""
        module, name = self.place.split(":")
        return getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


PEERS = {
    "lamina": Entry("keras_like:Lamina", ("torch",)),
    "torch": Entry("by_hand_torch:Eager", ("torch",)),
    "torch-compile": Entry("by_hand_torch:Compiled", ("torch",)),
    "jax": Entry("by_hand_jax:Jitted", ("jax",), policies=("float32",)),
    "keras-jax": Entry("keras_like:Keras", ("keras", "jax"), {"KERAS_BACKEND": "jax"}),
    "keras-tensorflow": Entry("keras_like:Keras", ("keras", "tensorflow"), {"KERAS_BACKEND": "tensorflow"}),
    "keras-torch": Entry("keras_like:Keras", ("keras", "torch"), {"KERAS_BACKEND": "torch"}),
    "floor": Entry("floor:Floor", ("torch",)),
}
