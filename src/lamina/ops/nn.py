"""Ops that neural networks are made of: activations, convolutions, normalizations, crossentropies.

Source: https://keras.io/api/ops/nn/
"""

from __future__ import annotations

from lamina.ops.activation import celu as celu
from lamina.ops.activation import elu as elu
from lamina.ops.activation import gelu as gelu
from lamina.ops.activation import glu as glu
from lamina.ops.activation import hard_shrink as hard_shrink
from lamina.ops.activation import hard_sigmoid as hard_sigmoid
from lamina.ops.activation import hard_silu as hard_silu
from lamina.ops.activation import hard_swish as hard_swish
from lamina.ops.activation import hard_tanh as hard_tanh
from lamina.ops.activation import leaky_relu as leaky_relu
from lamina.ops.activation import log_sigmoid as log_sigmoid
from lamina.ops.activation import log_softmax as log_softmax
from lamina.ops.activation import relu as relu
from lamina.ops.activation import relu6 as relu6
from lamina.ops.activation import selu as selu
from lamina.ops.activation import sigmoid as sigmoid
from lamina.ops.activation import silu as silu
from lamina.ops.activation import soft_shrink as soft_shrink
from lamina.ops.activation import softmax as softmax
from lamina.ops.activation import softplus as softplus
from lamina.ops.activation import softsign as softsign
from lamina.ops.activation import sparse_plus as sparse_plus
from lamina.ops.activation import sparse_sigmoid as sparse_sigmoid
from lamina.ops.activation import sparsemax as sparsemax
from lamina.ops.activation import squareplus as squareplus
from lamina.ops.activation import swish as swish
from lamina.ops.activation import tanh_shrink as tanh_shrink
from lamina.ops.activation import threshold as threshold
from lamina.ops.arithmetic import polar as polar
from lamina.ops.attention import dot_product_attention as dot_product_attention
from lamina.ops.convolution import conv as conv
from lamina.ops.convolution import conv_transpose as conv_transpose
from lamina.ops.convolution import depthwise_conv as depthwise_conv
from lamina.ops.convolution import fold as fold
from lamina.ops.convolution import separable_conv as separable_conv
from lamina.ops.convolution import unfold as unfold
from lamina.ops.crossentropy import binary_crossentropy as binary_crossentropy
from lamina.ops.crossentropy import categorical_crossentropy as categorical_crossentropy
from lamina.ops.crossentropy import multi_hot as multi_hot
from lamina.ops.crossentropy import one_hot as one_hot
from lamina.ops.crossentropy import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from lamina.ops.ctc import ctc_decode as ctc_decode
from lamina.ops.ctc import ctc_loss as ctc_loss
from lamina.ops.imaging import psnr as psnr
from lamina.ops.normalization import batch_normalization as batch_normalization
from lamina.ops.normalization import layer_normalization as layer_normalization
from lamina.ops.normalization import moments as moments
from lamina.ops.normalization import normalize as normalize
from lamina.ops.normalization import rms_normalization as rms_normalization
from lamina.ops.pooling import adaptive_average_pool as adaptive_average_pool
from lamina.ops.pooling import adaptive_max_pool as adaptive_max_pool
from lamina.ops.pooling import average_pool as average_pool
from lamina.ops.pooling import max_pool as max_pool
from lamina.ops.rearranging import depth_to_space as depth_to_space
from lamina.ops.rearranging import space_to_depth as space_to_depth
