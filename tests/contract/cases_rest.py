"""Cases of layers that are called with several arguments, given other objects, or work on text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import torch
from tests.contract.harness import LayerCase, find

from lamina import layers
from lamina.core.registry import register_keras_serializable
from lamina.layers.base import Layer


@dataclasses.dataclass(frozen=True)
class MadeCase(LayerCase):
    """A layer whose arguments are made anew for each, of lamina's layers or of Keras's; or that is given no dtype."""

    of: Callable[..., dict[str, Any]] = lambda home, **dtype: {}
    untyped: bool = False

    def make(self, **extra: Any) -> Layer:
        """lamina's layer."""
        return find(self.layer)(**self._arguments(layers, extra))

    def make_peer(self, **extra: Any) -> Any:
        """Keras's layer."""
        return getattr(keras.layers, self.layer)(**self._arguments(keras.layers, extra))

    def _arguments(self, home: Any, extra: dict[str, Any]) -> dict[str, Any]:
        dtype = {key: value for key, value in extra.items() if key == "dtype"}
        extra = {key: value for key, value in extra.items() if key != "dtype" or not self.untyped}
        return {**self.arguments, **self.of(home, **dtype), **extra}


@register_keras_serializable("contract")
@keras.saving.register_keras_serializable("contract")
def doubled(x: Any) -> Any:
    """What a Lambda does here."""
    return x * 2


def _stack(home: Any, **dtype: Any) -> dict[str, Any]:
    return {"cells": [home.GRUCell(3, name="gru", **dtype), home.SimpleRNNCell(4, name="simple", **dtype)]}


def _pipeline(home: Any, **dtype: Any) -> dict[str, Any]:
    return {"layers": [home.Rescaling(0.5, name="scale"), home.RandomInvert(name="invert")]}


NO_TENSORFLOW = "requires TensorFlow"
SEQUENCES, SHORT = [(2, 6, 4), (2, 6, 4)], [(2, 6, 4), (2, 3, 4), (2, 3, 4)]
HEADS = {"num_heads": 2, "key_dim": 3}
GROUPED = {"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2}
# These give numbers of words, whatever the policy.
LOOKUP: dict[str, Any] = {
    "peerless": NO_TENSORFLOW,
    "input_gradient": False,
    "frames": None,
    "untyped": True,
    "policies": ("float32",),
    "output_dtype": torch.int64,
}
WORDS: dict[str, Any] = LOOKUP | {"kind": "text", "eager": "other than tensors", "compiles": False}

ATTENTION = [
    LayerCase("MultiHeadAttention", HEADS, SEQUENCES, spread=True, unknown=(1,), frames=None, exports=True),
    LayerCase(
        "MultiHeadAttention",
        {**HEADS, "value_dim": 5, "output_shape": 7, "use_bias": False, "dropout": 0.1, "kernel_regularizer": "l2"},
        SHORT,
        "all arguments",
        spread=True,
        frames=None,
    ),
    LayerCase("GroupQueryAttention", GROUPED, SEQUENCES, spread=True, unknown=(1,), frames=None, exports=True),
    LayerCase("GroupQueryAttention", {**GROUPED, "use_bias": False}, SHORT, "keys", spread=True, frames=None),
]

CELLS = [
    *(
        LayerCase(name, {"units": 3}, [(2, 4), (2, 3)], spread=True, frames=None)
        for name in ("GRUCell", "SimpleRNNCell")
    ),
    LayerCase("LSTMCell", {"units": 3}, [(2, 4), [(2, 3), (2, 3)]], spread=True, frames=None),
    MadeCase("StackedRNNCells", {}, [(2, 4), [(2, 3), (2, 4)]], spread=True, frames=None, of=_stack),
]

TEXT = [
    MadeCase("StringLookup", {"vocabulary": ["a", "b"]}, (2, 3), **WORDS),
    MadeCase("TextVectorization", {"vocabulary": ["a", "b"], "output_sequence_length": 4}, (2, 1), **WORDS),
    MadeCase("Hashing", {"num_bins": 5}, (2, 3), **WORDS),
    MadeCase("HashedCrossing", {"num_bins": 5}, [(2, 1), (2, 1)], **WORDS),
    MadeCase("IntegerLookup", {"vocabulary": [1, 2, 3]}, (2, 3), **{**LOOKUP, "kind": "ids"}),
]

CASES = [
    *ATTENTION,
    *CELLS,
    *TEXT,
    LayerCase("Lambda", {"function": doubled}, (2, 5), frames=None, exports=True),
    MadeCase("Pipeline", {}, (2, 6, 5, 3), frames=None, untyped=True, policies=("float32",), of=_pipeline),
    MadeCase(
        "TorchModuleWrapper",
        {},
        (2, 5),
        frames=None,
        policies=("float32",),
        of=lambda home, **dtype: {"module": torch.nn.Linear(5, 3)},
        unsaved="Linear cannot be put into a config",
    ),
]
