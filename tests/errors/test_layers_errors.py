"""What layers say about arguments and inputs that they cannot use."""

import numpy as np
import pytest
import torch
from tests.errors.refusing import refused
from torch._subclasses import FakeTensorMode

import lamina
from lamina import Input, layers
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    LaminaError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from lamina.layers import InputSpec
from lamina.layers.preprocessing import boxes

X, SEQUENCE, IMAGE = torch.ones(2, 4), torch.ones(2, 5, 4), torch.ones(2, 8, 8, 3)
BOXES = torch.tensor([[0.0, 0.0, 2.0, 2.0]])


def called(layer, *args, **kwargs):
    """A call that may fail where the layer is made or where it is called."""
    return lambda: layer()(*args, **kwargs)


class Narrow(layers.Layer):
    """A layer that takes inputs of one specification."""

    def __init__(self, spec):
        super().__init__()
        self.input_spec = spec

    def call(self, inputs):
        return inputs


class NoSizes(layers.Layer):
    """A cell whose sizes are no sizes."""

    state_size = "three"

    def call(self, inputs, states):
        return inputs, states


def quantized(mode):
    layer = layers.Dense(16)
    layer.build((None, 16))
    layer.quantize(mode)
    return layer


def with_lora(mode):
    layer = quantized(mode)
    layer.enable_lora(2)
    return layer


def in_half_precision():
    layer = layers.Dense(3, dtype="float16")
    layer.build((None, 4))
    layer.quantize("int8")


def four_axes():
    layer = layers.EinsumDense("abc,cdef->abdef", output_shape=(None, 2, 2, 2))
    layer.build((None, 3, 4))
    layer.quantize("gptq", config=lamina.quantizers.GPTQConfig(dataset=["text"], tokenizer=lambda text: [1]))


def built(**kwargs):
    layer = layers.Dense(3, **kwargs)
    layer.build((None, 4))
    return layer


ARGUMENTS = [
    (lambda: layers.Dense("3"), ArgumentError, "units"),
    (lambda: layers.Dense(2.5), ArgumentError, ">= 1"),
    (lambda: layers.Dense(X), ArgumentError, "layer(...)(x)"),
    (lambda: layers.Dense(3, name="a/b"), ArgumentError, "name='a_b'"),
    (lambda: layers.Dense(3, trainable="yes"), ArgumentError, "Dense(trainable=...)"),
    (lambda: layers.Dense(3, unit=4), ArgumentError, 'Did you mean "units"?'),
    (lambda: layers.Dense.from_config({"unit": 4}), ArgumentTypeError, "get_config()"),
    (lambda: layers.Dense.from_config(5), ArgumentTypeError, "a dict"),
    (lambda: layers.deserialize({"class_name": "Zeros", "config": {}}), LaminaError, ""),
    (
        lambda: layers.deserialize(
            {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
        ),
        ArgumentTypeError,
        "layers.serialize(layer)",
    ),
    (lambda: layers.Conv2D("3", 3), ArgumentError, "filters"),
    (lambda: layers.Conv2D(4, 3, groups=0), ArgumentError, "groups"),
    (lambda: layers.LSTM(0), ArgumentError, "units"),
    (lambda: layers.LSTM(3, dropout="a"), ArgumentError, "dropout"),
    (lambda: layers.GRU(3, use_cudnn="yes"), ArgumentError, "'auto' or True or False"),
    (lambda: layers.RNN(NoSizes()), ArgumentTypeError, "one for each state"),
    (lambda: layers.ConvLSTM1D(3, 3).cell.__class__(4, 3, 3), ArgumentError, "1, 2 or 3 spatial axes"),
    (lambda: layers.Dropout("0.5"), ArgumentError, "from 0 to 1"),
    (lambda: layers.LeakyReLU(-1), ArgumentError, "a number >= 0"),
    (lambda: layers.SpectralNormalization(layers.Dense(3), power_iterations=0), ArgumentError, "power_iterations"),
    (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="summ"), ArgumentError, 'Did you mean "sum"?'),
    (lambda: layers.Lambda(5), ArgumentTypeError, "a function of tensors"),
    (lambda: layers.UpSampling2D(interpolation="bilinar"), ArgumentError, 'Did you mean "bilinear"?'),
    (lambda: layers.Attention(score_mode="dott"), ArgumentError, '"dot" or "concat"'),
    (lambda: layers.GroupQueryAttention(4, 3, 2), ArgumentError, "a multiple of num_key_value_heads=2"),
    (lambda: layers.InputLayer((3,), sparse=True), ArgumentError, "dense tensors"),
    (lambda: layers.InputLayer((3,), batch_shape=(2, 3)), ArgumentError, "Input(batch_shape=(2, 3))"),
    (lambda: layers.InputLayer(batch_size=2, batch_shape=(2, 3)), ArgumentError, "Input(batch_shape=(2, 3))"),
    (lambda: Input(), ArgumentError, "Input(shape=(features,))"),
    (lambda: Input(5), ArgumentError, "shape=(5,)"),
    (lambda: InputSpec(ndim=2, axes={4: 3}), ArgumentError, "at most 1"),
    (lambda: layers.TorchModuleWrapper(5), ArgumentTypeError, "torch.nn.Module"),
    (lambda: layers.Layer().add_weight(shape=(-1,)), ShapeError, "integers of 0 or more"),
    (lambda: layers.Layer().add_weight((2,), "zeros", "float32", 5), ArgumentTypeError, "the rest by name"),
    (lambda: layers.Layer().add_weight((2,), shape=(2,)), ArgumentError, "leave out shape=..."),
    (lambda: layers.Resizing("a", 3), ArgumentError, "height"),
    (lambda: layers.BatchNormalization(momentum="a"), ArgumentError, "momentum"),
]

CALLS = [
    (called(lambda: layers.Dense(3), None), ArgumentTypeError, "received: None"),
    (called(lambda: layers.Dense(3), "text"), ArgumentTypeError, "received: 'text'"),
    (called(lambda: layers.Dense(3), np.array([["a"]])), ArgumentTypeError, "an array of numbers"),
    (called(lambda: layers.Dense(3)), ArgumentTypeError, "no argument"),
    (called(lambda: layers.MultiHeadAttention(2, 4), SEQUENCE), ArgumentTypeError, "query, value"),
    (called(lambda: layers.MultiHeadAttention(2, 4), X, X), ShapeError, "(batch, steps, features)"),
    (called(lambda: layers.MultiHeadAttention(2, 4), SEQUENCE, SEQUENCE, SEQUENCE[:, :3]), ShapeError, "each value"),
    (called(lambda: layers.LSTM(3), SEQUENCE, initial_state=[torch.ones(2, 3)]), ShapeError, "2 of size 3, 3"),
    (called(lambda: layers.LSTM(3), SEQUENCE, initial_state=[torch.ones(2, 5)] * 2), ShapeError, "(2, 5), (2, 5)"),
    (called(lambda: layers.RNN(layers.LSTMCell(3)), X), ShapeError, "at least 3 dimensions"),
    (called(lambda: layers.ConvLSTM2D(3, 3), Input((4, None, None, 3))), ShapeError, "fixed sizes"),
    (called(lambda: layers.PReLU(shared_axes=[9]), IMAGE), ArgumentError, "axis"),
    (called(lambda: layers.Concatenate(), [X, SEQUENCE]), ShapeError, "one rank"),
    (called(lambda: layers.Concatenate(axis=5), [X, X]), ShapeError, "axis < 2"),
    (called(lambda: layers.Concatenate(axis=1), [SEQUENCE, torch.ones(2, 3, 5)]), ShapeError, "along axis 1 only"),
    (called(lambda: layers.Add(), [X, torch.ones(2, 5)]), ShapeError, "equal sizes"),
    (called(lambda: layers.Add(), [Input(batch_shape=(2, 4)), Input(batch_shape=(3, 4))]), ShapeError, "as many"),
    (called(lambda: layers.EinsumDense("ab,bc->ad", 3), X), ArgumentError, "d in two of"),
    (called(lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="z"), X), ArgumentError, "z in the output"),
    (called(lambda: layers.EinsumDense("abc,cd->abd", output_shape=3), X), ShapeError, "output_shape"),
    (called(lambda: Narrow(InputSpec(shape=(None, 3))), X), ShapeError, "(None, 3)"),
    (called(lambda: Narrow([InputSpec(ndim=2)] * 2), X), ShapeError, "2 tensor(s)"),
    (called(lambda: Narrow(InputSpec(shape=(None, 3), allow_last_axis_squeeze=True)), X), ShapeError, "(None, 3)"),
    (called(lambda: layers.Layer(), X), UnsupportedError, "def call(self, inputs)"),
    (lambda: layers.Dense(3).quantize("int8"), StateError, "build"),
    (lambda: quantized("int8").quantize("int8"), StateError, "quantize a layer once"),
    (lambda: with_lora("float8")(torch.ones(2, 16)), UnsupportedError, "int8 or int4"),
    (lambda: built(dtype="gptq/4/-1_from_float32").enable_lora(2), UnsupportedError, "int8 or int4"),
    (lambda: layers.Dropout(0.5).quantize("int8"), UnsupportedError, "EinsumDense"),
    (in_half_precision, ArgumentError, "mixed_bfloat16"),
    (four_axes, ArgumentError, "two or three axes"),
    (lambda: layers.Dense(3).load_own_variables({"0": np.ones(2)}), StateError, "before loading"),
    (lambda: built().load_own_variables({"0": np.ones((4, 3))}), ArgumentError, "2 weights"),
    (lambda: built().load_own_variables({"0": np.ones((4, 5)), "1": np.ones(3)}), ShapeError, "(4, 3)"),
    (lambda: layers.TorchModuleWrapper(torch.nn.Linear(2, 3)).load_own_variables({"x": np.ones(2)}), ArgumentError,
     "when the file was saved"),
    (lambda: layers.Dense(3).stateless_call([], [], X), StateError, "layer.build(input_shape)"),
]  # fmt: skip

TERMS = ["a", "b"]


def in_compiled_code():
    with FakeTensorMode() as mode:
        layers.Hashing(3)._on_cpu(mode.from_tensor(torch.ones(2)))


PREPROCESSING = [
    (lambda: layers.STFTSpectrogram(frame_length=8, fft_length=4), ArgumentError, "fft_length of 8 or more"),
    (lambda: layers.STFTSpectrogram(mode="logg"), ArgumentError, 'Did you mean "log"?'),
    (called(lambda: layers.STFTSpectrogram(), torch.ones(1, 400, 1).int()), DTypeError, "x.astype('float32')"),
    (lambda: layers.MelSpectrogram(fft_length="a"), ArgumentError, "fft_length"),
    (lambda: layers.CategoryEncoding(0), ArgumentError, "num_tokens"),
    (lambda: layers.CategoryEncoding(3)([1], count_weights=[1.0]), ArgumentError, "leave count_weights out"),
    (lambda: layers.Hashing(0), ArgumentError, "num_bins"),
    (lambda: layers.Hashing(3, salt="a"), ArgumentError, "a list of two"),
    (lambda: layers.Hashing(3, dtype="float32", output_mode="int"), ArgumentError, "int64"),
    (lambda: layers.Hashing(3, output_mode="onehot"), ArgumentError, 'Did you mean "one_hot"?'),
    (called(lambda: layers.HashedCrossing(3), [["a"]]), ArgumentError, "[first, second, ...]"),
    (called(lambda: layers.HashedCrossing(3), (np.ones(2), np.ones(2))), ArgumentError, "Discretization"),
    (lambda: layers.IntegerLookup(vocabulary_dtype="int32"), ArgumentError, "leave vocabulary_dtype out"),
    (lambda: layers.Normalization(mean=1.0), ArgumentError, "both or neither"),
    (lambda: layers.Normalization().adapt([]), LaminaError, "adapt"),
    (lambda: layers.Discretization(), ArgumentError, "Discretization(num_bins=4)"),
    (lambda: layers.Discretization(num_bins=-1), ArgumentError, "num_bins"),
    (lambda: layers.TextVectorization(ngrams="a"), ArgumentError, "a tuple of integers"),
    (lambda: layers.TextVectorization(output_sequence_length="a"), ArgumentError, "output_mode is not"),
    (called(lambda: layers.TextVectorization(vocabulary=TERMS), torch.ones(2)), ArgumentTypeError, "a list of str"),
    (lambda: layers.StringLookup(max_tokens=1), ArgumentError, "a number >= 2"),
    (lambda: layers.StringLookup(pad_to_max_tokens=True), ArgumentError, "max_tokens=..."),
    (lambda: layers.StringLookup(oov_method="farm"), ArgumentError, 'Did you mean "farmhash"?'),
    (lambda: layers.IntegerLookup(salt=5), ArgumentError, "oov_method='farmhash'"),
    (lambda: layers.StringLookup(invert=True, output_mode="one_hot"), ArgumentError, "leave output_mode out"),
    (lambda: layers.StringLookup(vocabulary=TERMS, idf_weights=[1.0, 1.0]), ArgumentError, "no idf_weights"),
    (lambda: layers.StringLookup(vocabulary=TERMS, output_mode="tf_idf"), ArgumentError, "idf_weights=weights"),
    (lambda: layers.StringLookup().set_vocabulary(TERMS, [1.0, 1.0]), ArgumentError, "leave idf_weights out"),
    (lambda: layers.StringLookup().set_vocabulary([]), ArgumentError, "at least one term"),
    (lambda: layers.StringLookup(vocabulary=["a", "a"]), ArgumentError, "each term once"),
    (lambda: layers.StringLookup(vocabulary=TERMS, idf_weights=[1.0], output_mode="tf_idf"), ArgumentError,
     "2 weights"),
    (lambda: layers.StringLookup(vocabulary="/nowhere.txt"), LaminaError, "UTF-8"),
    (in_compiled_code, StateError, "dataset.map(layer)"),
    (lambda: boxes.convert_format(BOXES, "xyxy", "rel_xyxy"), ArgumentError, "height=image_height"),
    (lambda: boxes.convert_format(BOXES, "xyxyz", "xyxy"), ArgumentError, 'Did you mean "xyxy"?'),
    (lambda: boxes.clip_to_image_size({"boxes": BOXES, "labels": BOXES[:, 0]}, bounding_box_format="xyxy"),
     ArgumentError, "width=image_width"),
    (lambda: boxes.compute_iou(BOXES[0], BOXES, "xyxy"), ShapeError, "(boxes, 4)"),
    (lambda: boxes.compute_ciou(BOXES, BOXES, "rel_xyxy"), ArgumentError, "convert_format()"),
    (lambda: boxes.encode_box_to_deltas(BOXES, BOXES, "xyxy", "xyxy", "xyxy"), ArgumentError, "center_xywh"),
    (lambda: boxes.encode_box_to_deltas(BOXES, BOXES, "xyxy", "xyxy", variance=[1.0]), ArgumentError, "four numbers"),
    (lambda: boxes.pad(BOXES, 1, 1, bounding_box_format="rel_xyxy"), UnsupportedError, "convert_format()"),
    (lambda: layers.Pipeline.from_config({"layers": 5}), ArgumentError, "a list of configs"),
    (lambda: layers.RandomRotation(0.5, fill_mode="reflekt"), UnsupportedError, 'Did you mean "reflect"?'),
    (lambda: layers.RandomFlip("horizontl"), ArgumentError, 'Did you mean "horizontal"?'),
    (lambda: layers.RandomGrayscale(factor=3), ArgumentError, "from"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, words", ARGUMENTS)
def test_arguments(call, kind, words):
    refused(call, kind, words)


@pytest.mark.parametrize("call, kind, words", CALLS)
def test_calls(call, kind, words):
    refused(call, kind, words)


@pytest.mark.parametrize("call, kind, words", PREPROCESSING)
def test_preprocessing(call, kind, words):
    refused(call, kind, words)
