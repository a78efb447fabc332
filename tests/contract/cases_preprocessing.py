"""Cases of preprocessing on numbers. Layers for text, which Keras has with TensorFlow only, are not among them."""

from __future__ import annotations

import torch
from tests.contract.harness import LayerCase

TABLE, SOUND, CHANNELS = (4, 3), (2, 400), (2, 200, 2)
MOMENTS = {"mean": [0.5, 1.0, -1.0], "variance": [1.0, 4.0, 0.25]}
BINS = {"bin_boundaries": [-1.0, 0.0, 0.5]}
MEL = {"num_mel_bins": 6, "fft_length": 64, "sequence_stride": 32, "sampling_rate": 8000}
STFT = {"frame_length": 32, "frame_step": 20}
# torch has no Fourier transform of half precision, and compares conv kernels of sines to a tolerance.
FULL = ("float32", "float64")

CASES = [
    LayerCase("Rescaling", {"scale": 0.5, "offset": 1.0}, TABLE, keeps_mask=True, exports=True),
    LayerCase("Rescaling", {"scale": [0.5, 1.0, 2.0]}, TABLE, "channels", frames=None),
    LayerCase("Normalization", MOMENTS, TABLE, keeps_mask=True, exports=True, frames=None),
    LayerCase("Normalization", {"axis": None, "mean": 1.0, "variance": 2.0}, TABLE, "one", unknown=(1,), frames=None),
    LayerCase("Normalization", {"invert": True}, TABLE, "learned", frames=None, exports=True),
    LayerCase(
        "Discretization",
        BINS,
        TABLE,
        unknown=(1,),
        output_dtype=torch.int32,
        input_gradient=False,
        frames=None,
    ),
    LayerCase(
        "Discretization", {**BINS, "output_mode": "one_hot"}, TABLE, "one hot", input_gradient=False, frames=None
    ),
    LayerCase(
        "CategoryEncoding",
        {"num_tokens": 10},
        (2, 6),
        kind="ids",
        unknown=(1,),
        input_gradient=False,
        frames=None,
        exports=True,
    ),
    LayerCase(
        "CategoryEncoding",
        {"num_tokens": 10, "output_mode": "one_hot"},
        (2, 6),
        "one hot",
        kind="ids",
        unknown=(1,),
        input_gradient=False,
        frames=None,
    ),
    LayerCase("MelSpectrogram", MEL, SOUND, unknown=(1,), frames=None, policies=FULL, tolerance=1e-4),
    LayerCase("STFTSpectrogram", STFT, CHANNELS, unknown=(1,), frames=None, policies=FULL, tolerance=1e-4),
    LayerCase(
        "STFTSpectrogram",
        {**STFT, "mode": "stft", "padding": "same", "expand_dims": True},
        CHANNELS,
        "same",
        unknown=(1,),
        frames=None,
        policies=FULL,
        tolerance=1e-4,
    ),
]
