"""Each error of quantizers, provoked."""

import pytest
import torch

from lamina import quantizers
from lamina.core.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from lamina.quantizers import arithmetic
from lamina.quantizers.calibration import Calibration
from lamina.quantizers.configs import (
    GPTQConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    QuantizationConfig,
    resolve_config,
)


def to_int8(**options):
    return quantizers.AbsMaxQuantizer(axis=-1, **options)


class OfNoKind(QuantizationConfig):
    mode = "gptq"


CASES = {
    "no weights": (lambda: arithmetic.compute_quantization_parameters(None, bits=4), ArgumentError, "rank 2 or more"),
    "a row": (lambda: arithmetic.compute_quantization_parameters(torch.ones(3), bits=4), ShapeError, "(3,)"),
    "packed floats": (lambda: quantizers.pack_int4(torch.ones(4)), DTypeError, "pack_int4(arr)"),
    "unpacked floats": (lambda: quantizers.unpack_int4(torch.ones(4), 4), DTypeError, "int8 or uint8"),
    "a dtype": (lambda: quantizers.pack_int4(torch.ones(4), dtype="int4"), ArgumentError, "dtype"),
    "no config": (lambda: quantizers.Quantizer().get_config(), UnsupportedError, "get_config(self)"),
    "no mode": (lambda: QuantizationConfig().mode, UnsupportedError, "mode(self)"),
    "a wide range": (lambda: to_int8(value_range=(-200, 127)), ArgumentError, "-128 to 127"),
    "no inputs": (lambda: Calibration.checked(None, 3), ArgumentError, "(..., 3)"),
    "other inputs": (lambda: Calibration.checked(torch.ones(2, 4), 3), ShapeError, "(2, 4)"),
    "a block": (lambda: Int4QuantizationConfig(block_size=0), ArgumentError, "block_size"),
    "a block and a quantizer": (
        lambda: Int4QuantizationConfig(to_int8(value_range=(-8, 7)), block_size=16),
        ArgumentError,
        "leave the quantizers out",
    ),
    "a range of 8 bits": (lambda: Int4QuantizationConfig(to_int8(), block_size=None), ArgumentError, "(-8, 7)"),
    "bits": (lambda: GPTQConfig(None, None, weight_bits=5), ArgumentError, "GPTQConfig(weight_bits=...)"),
    "text for a config": (lambda: resolve_config("int8", {"mode": "int8"}), ArgumentError, "Int8QuantizationConfig()"),
    "nothing": (lambda: resolve_config(None, None), ArgumentError, 'quantize("int8")'),
    "a mode": (lambda: resolve_config("int9", None), ArgumentError, 'mean "int8"'),
    "GPTQ without config": (lambda: resolve_config("gptq", None), ArgumentError, "GPTQConfig(...)"),
    "another mode": (lambda: resolve_config("int4", Int8QuantizationConfig()), ArgumentError, "mode='int8', or none"),
    "another config": (lambda: resolve_config("gptq", OfNoKind()), ArgumentError, "GPTQConfig"),
    "floats": (lambda: Int8QuantizationConfig(to_int8(output_dtype="float32")), ArgumentError, "output_dtype='int8'"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in str(caught.value)
