"""Cases of recurrent layers and wrappers."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from tests.contract.harness import LayerCase, find

from lamina.layers.base import Layer


@dataclasses.dataclass(frozen=True)
class HoldingCase(LayerCase):
    """A layer that is given another one, by its name and arguments."""

    inner: str = ""
    inner_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, **extra: Any) -> Layer:
        """lamina's layer."""
        dtype = {key: value for key, value in extra.items() if key == "dtype"}
        inner = find(self.inner)(name="inner", **dtype, **self.inner_arguments)
        return find(self.layer)(inner, **{**self.arguments, **extra})

    def make_peer(self, **extra: Any) -> Any:
        """Keras's layer."""
        dtype = {key: value for key, value in extra.items() if key == "dtype"}
        inner = getattr(keras.layers, self.inner)(name="inner", **dtype, **self.inner_arguments)
        return getattr(keras.layers, self.layer)(inner, **{**self.arguments, **extra})


STEPS = (2, 7, 4)
GATED = {"units": 3}
EVERYTHING = {
    "units": 3,
    "use_bias": False,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "glorot_uniform",
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "kernel_constraint": "max_norm",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 3,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
}

# Keras leaves the seed out of the config of SimpleRNN.
GATED_CASES = [
    dataclasses.replace(case, config_extra=frozenset({"seed"})) if case.layer == "SimpleRNN" else case
    for name in ("LSTM", "GRU", "SimpleRNN")
    for case in (
        LayerCase(name, GATED, STEPS, unknown=(1,), frames=None, exports=True),
        LayerCase(
            name,
            {**GATED, "return_sequences": True},
            STEPS,
            "sequences",
            unknown=(1,),
            frames=None,
            keeps_mask=True,
            exports=True,
        ),
        LayerCase(name, EVERYTHING, STEPS, "all arguments", frames=None),
        LayerCase(name, {**GATED, "activation": "relu", "unroll": True}, STEPS, "relu", frames=None),
    )
]

FILTERS = {"filters": 3, "kernel_size": 3}
CONVOLUTIONAL = [
    LayerCase("ConvLSTM1D", FILTERS, (2, 4, 7, 2), frames=None, unknown=(1,), exports=True),
    LayerCase(
        "ConvLSTM2D",
        {**FILTERS, "padding": "same", "strides": 2, "return_sequences": True, "activity_regularizer": "l2"},
        (2, 4, 7, 6, 2),
        frames=None,
        keeps_mask=True,
    ),
    LayerCase(
        "ConvLSTM2D",
        {**FILTERS, "data_format": "channels_first", "dropout": 0.1, "recurrent_dropout": 0.1, "return_state": True},
        (2, 4, 2, 7, 6),
        "channels first",
        frames=None,
    ),
    LayerCase("ConvLSTM3D", {**FILTERS, "use_bias": False}, (2, 3, 4, 5, 4, 2), frames=None),
]

CASES = [
    *CONVOLUTIONAL,
    *GATED_CASES,
    LayerCase("GRU", {**GATED, "reset_after": False}, STEPS, "reset before", unknown=(1,), frames=None),
    HoldingCase("RNN", {"return_state": True}, STEPS, frames=None, inner="GRUCell", inner_arguments=GATED),
    HoldingCase("Bidirectional", {}, STEPS, unknown=(1,), frames=None, inner="LSTM", inner_arguments=GATED),
    HoldingCase(
        "Bidirectional",
        {"merge_mode": "sum"},
        STEPS,
        "sum",
        keeps_mask=True,
        frames=None,
        inner="GRU",
        inner_arguments={**GATED, "return_sequences": True},
    ),
    HoldingCase(
        "Bidirectional",
        {"merge_mode": None},
        STEPS,
        "two outputs",
        keeps_mask=True,
        frames=None,
        inner="GRU",
        inner_arguments={**GATED, "return_sequences": True, "return_state": True},
    ),
    HoldingCase(
        "TimeDistributed",
        {},
        STEPS,
        unknown=(1,),
        frames=None,
        keeps_mask=True,
        exports=True,
        inner="Dense",
        inner_arguments={"units": 3},
    ),
    HoldingCase(
        "TimeDistributed",
        {},
        (2, 3, 8, 8, 3),
        "convolution",
        frames=None,
        inner="Conv2D",
        inner_arguments={"filters": 4, "kernel_size": 3},
    ),
    HoldingCase("SpectralNormalization", {}, (2, 5), frames=None, inner="Dense", inner_arguments={"units": 3}),
    HoldingCase(
        "SpectralNormalization",
        {"power_iterations": 3},
        (2, 6, 6, 3),
        "convolution",
        frames=None,
        inner="Conv2D",
        inner_arguments={"filters": 4, "kernel_size": 3},
    ),
]
