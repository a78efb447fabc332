"""Quantizers: how weights and inputs become small integers, and the configs of quantization."""

from lamina.quantizers.arithmetic import abs_max_quantize as abs_max_quantize
from lamina.quantizers.arithmetic import (
    abs_max_quantize_grouped_with_zero_point as abs_max_quantize_grouped_with_zero_point,
)
from lamina.quantizers.arithmetic import compute_float8_amax_history as compute_float8_amax_history
from lamina.quantizers.arithmetic import compute_float8_scale as compute_float8_scale
from lamina.quantizers.arithmetic import fake_quant_with_min_max_vars as fake_quant_with_min_max_vars
from lamina.quantizers.arithmetic import pack_int4 as pack_int4
from lamina.quantizers.arithmetic import quantize_and_dequantize as quantize_and_dequantize
from lamina.quantizers.arithmetic import unpack_int4 as unpack_int4
from lamina.quantizers.base import AbsMaxQuantizer as AbsMaxQuantizer
from lamina.quantizers.base import Quantizer as Quantizer
from lamina.quantizers.base import deserialize as deserialize
from lamina.quantizers.base import get as get
from lamina.quantizers.base import serialize as serialize
from lamina.quantizers.configs import AWQConfig as AWQConfig
from lamina.quantizers.configs import Float8QuantizationConfig as Float8QuantizationConfig
from lamina.quantizers.configs import GPTQConfig as GPTQConfig
from lamina.quantizers.configs import Int4QuantizationConfig as Int4QuantizationConfig
from lamina.quantizers.configs import Int8QuantizationConfig as Int8QuantizationConfig
from lamina.quantizers.configs import QuantizationConfig as QuantizationConfig
