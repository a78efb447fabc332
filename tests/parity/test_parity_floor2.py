"""Activations, initializers, regularizers and constraints against the real keras."""

from __future__ import annotations

import functools
import json
import math

import keras
import numpy as np
import pytest
import torch

from lamina import activations, constraints, initializers, regularizers
from lamina.core.registry import register_keras_serializable
from lamina.core.seeds import SeedGenerator
from lamina.ops import nn

EDGES = [0.0, 1e-3, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 6.0, 19.0, 25.0, 100.0, 6e4, 1e30, math.inf]
DTYPES = ["float64", "float32", "float16", "bfloat16"]
TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}

ELEMENTWISE = [
    ("relu", {}),
    ("relu", {"negative_slope": 0.3}),
    ("relu", {"max_value": 2.0}),
    ("relu", {"max_value": 6}),
    ("relu", {"threshold": 0.5}),
    ("relu", {"threshold": -1.0, "max_value": 3.0}),
    ("relu", {"negative_slope": 0.25, "max_value": 5.0, "threshold": 0.5}),
    ("relu", {"negative_slope": 0.25, "max_value": 6}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.01}),
    ("elu", {}),
    ("elu", {"alpha": 0.5}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 2.0}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": True}),
    ("sigmoid", {}),
    ("log_sigmoid", {}),
    ("hard_sigmoid", {}),
    ("sparse_sigmoid", {}),
    ("hard_silu", {}),
    ("softplus", {}),
    ("sparse_plus", {}),
    ("squareplus", {}),
    ("squareplus", {"b": 0.25}),
    ("softsign", {}),
    ("tanh", {}),
    ("hard_tanh", {}),
    ("tanh_shrink", {}),
    ("hard_shrink", {}),
    ("hard_shrink", {"threshold": 1.0}),
    ("soft_shrink", {}),
    ("soft_shrink", {"threshold": 1.0}),
    ("threshold", {"threshold": 0.5, "default_value": -2.0}),
    ("exponential", {}),
    ("mish", {}),
    ("linear", {}),
]


def value_and_gradient(function, x, weights):
    x = x.clone().requires_grad_()
    y = function(x)
    y.backward(weights.to(y.dtype).expand_as(y))
    return y.detach(), x.grad


def assert_same(ours, theirs, dtype, unless_nan=False):
    assert ours.dtype == theirs.dtype
    ours, theirs = ours.double(), theirs.double()
    if unless_nan:
        ours = torch.where(theirs.isnan(), theirs, ours)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * 0.5, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "arguments"), ELEMENTWISE)
def test_elementwise_values_and_gradients(name, arguments, dtype):
    torch_dtype = getattr(torch, dtype)
    random = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 4
    edges = torch.tensor(EDGES)
    x = torch.cat([random, edges, -edges]).to(torch_dtype)
    weights = torch.linspace(-1, 1, len(x))
    theirs = value_and_gradient(lambda x: getattr(keras.activations, name)(x, **arguments), x, weights)
    ours = value_and_gradient(lambda x: getattr(activations, name)(x, **arguments), x, weights)
    assert_same(ours[0], theirs[0], dtype)
    assert_same(ours[1], theirs[1], dtype, unless_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 1), (0, 2), None])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "glu"])
def test_functions_along_an_axis(name, axis, dtype):
    if name == "glu" and not isinstance(axis, int):
        pytest.skip("one axis only")
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1)).mul(3).to(getattr(torch, dtype))
    shape = torch.Size((2, 6, 4))
    if name == "glu":
        shape = torch.Size(size // 2 if i == axis % 3 else size for i, size in enumerate(shape))
    weights = torch.linspace(-1, 1, shape.numel()).view(shape)
    theirs = value_and_gradient(lambda x: getattr(keras.activations, name)(x, axis=axis), x, weights)
    ours = value_and_gradient(lambda x: getattr(activations, name)(x, axis=axis), x, weights)
    assert_same(ours[0], theirs[0], dtype)
    assert_same(ours[1], theirs[1], dtype)


def test_softmax_of_one_axis_and_of_large_values():
    for x in ([1.0, 2.0, 3.0], [[1e30, -1e30]], [[-math.inf, 0.0]]):
        theirs = keras.activations.softmax(torch.tensor(x))
        torch.testing.assert_close(activations.softmax(torch.tensor(x)), theirs, equal_nan=True)


def test_names_mean_the_same():
    from keras.src.activations import ALL_OBJECTS_DICT

    for name, function in ALL_OBJECTS_DICT.items():
        assert activations.get(name).__name__ == function.__name__
        assert activations.serialize(activations.get(name)) == keras.activations.serialize(function)


def custom_activation(x):
    return x * 2


def test_custom_activations_serialize_alike():
    assert activations.serialize(custom_activation) == keras.activations.serialize(custom_activation)


@keras.saving.register_keras_serializable("floor2")
@register_keras_serializable("floor2")
def registered_activation(x):
    return x * 3


def test_registered_activations_serialize_alike():
    config = activations.serialize(registered_activation)
    assert config == keras.activations.serialize(registered_activation)
    assert activations.get(config) is keras.activations.get(config) is registered_activation


def test_sparsemax_agrees_where_one_value_remains():
    # With more than one, Keras 3.15.1 gives rows that do not sum to 1 (keras-team/keras#23425, mended later).
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).mul(100)
    for axis in (-1, 0):
        torch.testing.assert_close(activations.sparsemax(x, axis), keras.activations.sparsemax(x, axis))


INITIALIZERS = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {}),
    ("Constant", {"value": 3.5}),
    ("Identity", {}),
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 0.5, "stddev": 2.0, "seed": 3}),
    ("RandomUniform", {}),
    ("RandomUniform", {"minval": -3, "maxval": 1.5, "seed": 4}),
    ("TruncatedNormal", {"mean": 1.0, "stddev": 0.3, "seed": 5}),
    ("VarianceScaling", {}),
    ("VarianceScaling", {"scale": 3.0, "mode": "fan_out", "distribution": "Uniform", "seed": 7}),
    ("VarianceScaling", {"distribution": "normal", "input_axes": [0], "output_axes": [1, 2]}),
    ("GlorotUniform", {"seed": 1}),
    ("GlorotNormal", {"seed": 1}),
    ("HeUniform", {"seed": 1}),
    ("HeNormal", {"seed": 1, "input_axes": [0], "output_axes": [1]}),
    ("LecunUniform", {}),
    ("LecunNormal", {}),
    ("Orthogonal", {"gain": 2.0, "seed": 9}),
    ("STFT", {}),
    ("STFT", {"side": "imag", "window": None, "scaling": "spectrum", "periodic": True}),
]


def as_json(config):
    return json.loads(json.dumps(config))


@pytest.mark.parametrize(("name", "arguments"), INITIALIZERS)
def test_initializer_configs(name, arguments):
    ours = initializers.serialize(getattr(initializers, name)(**arguments))
    theirs = keras.initializers.serialize(getattr(keras.initializers, name)(**arguments))
    assert as_json(ours) == as_json(theirs)
    assert initializers.serialize(initializers.get(as_json(theirs))) == ours
    assert keras.initializers.serialize(keras.initializers.get(as_json(ours))) == theirs


def test_a_seed_generator_stands_in_the_config():
    ours = initializers.HeNormal(seed=SeedGenerator(4, name="seeds"))
    theirs = keras.initializers.HeNormal(seed=keras.random.SeedGenerator(4, name="seeds"))
    assert as_json(initializers.serialize(ours)) == as_json(keras.initializers.serialize(theirs))


def test_initializer_names_mean_the_same():
    from keras.src.initializers import ALL_OBJECTS_DICT

    for name, cls in ALL_OBJECTS_DICT.items():
        assert type(initializers.get(name)).__name__ == cls.__name__
        assert type(initializers.get({"class_name": name, "config": {}})).__name__ == cls.__name__


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("RandomNormal", {"mean": 0.5, "stddev": 2.0}, (7, 3)),
        ("RandomUniform", {"minval": -3, "maxval": 1.5}, (7, 3)),
        ("GlorotUniform", {}, (50, 7)),
        ("HeUniform", {}, (3, 3, 5, 7)),
        ("LecunUniform", {}, (9,)),
        ("VarianceScaling", {"distribution": "untruncated_normal", "mode": "fan_avg"}, (5, 4)),
        ("Orthogonal", {"gain": 0.5}, (9, 4)),
        ("Orthogonal", {}, (3, 2, 8)),
    ],
)
@pytest.mark.parametrize("seed", [0, 3, 2**31 - 1])
def test_equal_seeds_give_equal_values(name, arguments, shape, seed):
    if torch.cuda.is_available():
        pytest.skip("the devices' generators are compared on the CPU")
    ours = getattr(initializers, name)(**arguments, seed=seed)(shape)
    theirs = getattr(keras.initializers, name)(**arguments, seed=seed)(shape)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 4, 6), (3, 3, 4, 6), (2, 3, 3, 4, 6)])
@pytest.mark.parametrize("axes", [(None, None), ([0], [-1]), ([0], None)])
def test_fans(shape, axes):
    from keras.src.initializers.random_initializers import compute_fans

    if not shape and axes[1]:
        pytest.skip("no axes")
    assert initializers.compute_fans(shape, *axes) == compute_fans(shape, *axes)


WINDOWS = ["hann", "hamming", "blackman", "bartlett", "boxcar", "nuttall", "blackmanharris", "flattop", "cosine"]
WINDOWS += ["triang", "parzen", "bohman", "barthann", "lanczos", "tukey", "exponential", None]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("periodic", [False, True])
def test_stft_kernels(window, periodic):
    pytest.importorskip("scipy")
    for side, scaling, shape in [("real", "density", (128, 1, 65)), ("imag", "spectrum", (33, 1, 129))]:
        arguments = {"side": side, "window": window, "scaling": scaling, "periodic": periodic}
        for dtype, tolerance in [("float32", 2e-7), ("float64", 1e-14)]:
            ours = initializers.STFT(**arguments)(shape, dtype)
            theirs = keras.initializers.STFT(**arguments)(shape, dtype)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_stft_with_a_window_of_its_own():
    window = np.linspace(0.1, 1.0, 16, dtype="float32")
    ours = initializers.STFT(window=window)
    theirs = keras.initializers.STFT(window=window)
    torch.testing.assert_close(ours((16, 1, 9)), theirs((16, 1, 9)))
    assert as_json(initializers.serialize(ours)) == as_json(keras.initializers.serialize(theirs))


REGULARIZERS = [
    ("L1", {"l1": 0.25}),
    ("L2", {"l2": 0.3}),
    ("L1L2", {"l1": 0.25, "l2": 0.3}),
    ("L1L2", {}),
    ("L1L2", {"l2": 0.3}),
    ("OrthogonalRegularizer", {"factor": 0.5}),
    ("OrthogonalRegularizer", {"factor": 0.25, "mode": "columns"}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "arguments"), REGULARIZERS)
def test_regularizers(name, arguments, dtype):
    if dtype != "float32" and name == "OrthogonalRegularizer":
        pytest.skip("keras computes this one in float32 only")
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).to(getattr(torch, dtype))
    x[0, 0] = 0.0
    ours, theirs = getattr(regularizers, name)(**arguments), getattr(keras.regularizers, name)(**arguments)
    assert regularizers.serialize(ours) == keras.regularizers.serialize(theirs)
    assert regularizers.serialize(regularizers.get(keras.regularizers.serialize(theirs))) == regularizers.serialize(
        ours
    )
    assert_same(ours(x), theirs(x), dtype)
    if arguments:
        _, gradient = value_and_gradient(ours, x, torch.ones(()))
        _, their_gradient = value_and_gradient(theirs, x, torch.ones(()))
        assert_same(gradient, their_gradient, dtype)


def test_factors_are_not_rounded():
    # Keras keeps two of them as float32 tensors and writes 0.10000000149011612 into files.
    assert regularizers.serialize(regularizers.L1(0.1))["config"] == {"l1": 0.1}
    assert regularizers.get(keras.regularizers.serialize(keras.regularizers.L1(0.1))).l1 == pytest.approx(0.1)


CONSTRAINTS = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 1.5, "axis": [0, 1]}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 1.5, "rate": 0.7, "axis": -1}),
    ("NonNeg", {}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "arguments"), CONSTRAINTS)
def test_constraints(name, arguments, dtype):
    w = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(3)).to(getattr(torch, dtype))
    w[:, 0] = 0.0
    ours, theirs = getattr(constraints, name)(**arguments), getattr(keras.constraints, name)(**arguments)
    # Keras's NonNeg turns float64 into float32.
    assert_same(ours(w), theirs(w).to(w.dtype), dtype)
    assert as_json(constraints.serialize(ours)) == as_json(keras.constraints.serialize(theirs))
    assert constraints.serialize(constraints.get(keras.constraints.serialize(theirs))) == constraints.serialize(ours)


@pytest.mark.parametrize(("ours", "theirs"), [(regularizers, "regularizers"), (constraints, "constraints")])
def test_names_of_regularizers_and_constraints(ours, theirs):
    table = __import__(f"keras.src.{theirs}", fromlist=["ALL_OBJECTS_DICT"]).ALL_OBJECTS_DICT
    for name, cls in table.items():
        assert type(ours.get(name)).__name__ == cls.__name__


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_crossentropies(from_logits, axis):
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 4, 5, generator=generator)
    output = logits if from_logits else torch.sigmoid(logits)
    target = torch.softmax(torch.randn(3, 4, 5, generator=generator), axis)
    classes = torch.randint(0, output.shape[axis], target.select(axis, 0).shape, generator=generator)
    for name, labels, keywords in [
        ("categorical_crossentropy", target, {"axis": axis}),
        ("sparse_categorical_crossentropy", classes, {"axis": axis}),
        ("binary_crossentropy", target, {}),
    ]:
        ours, theirs = (
            value_and_gradient(
                functools.partial(getattr(ops, name), labels, from_logits=from_logits, **keywords),
                output,
                torch.ones(()),
            )
            for ops in (nn, keras.ops)
        )
        assert_same(ours[0], theirs[0], "float32")
        assert_same(ours[1], theirs[1], "float32")


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis):
    x = torch.tensor([[0, 2, -1], [3, 1, 1]])
    torch.testing.assert_close(nn.one_hot(x, 4, axis=axis), keras.ops.one_hot(x, 4, axis=axis))
    torch.testing.assert_close(nn.multi_hot(x.clamp(min=0), 4), keras.ops.multi_hot(x.clamp(min=0), 4))


# Keras normalizes float64 in float32.
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("axis", [-1, (1, 2), (0, 2)])
def test_layer_and_rms_normalization(axis, dtype):
    x = normal(3, 4, 5, dtype=dtype)
    sizes = [x.shape[i] for i in ([axis % 3] if isinstance(axis, int) else axis)]
    gamma, beta = normal(*sizes), normal(*sizes)
    assert_same(nn.layer_normalization(x, axis=axis), keras.ops.layer_normalization(x, axis=axis), dtype)
    assert_same(
        nn.layer_normalization(x, gamma, beta, axis=axis, epsilon=1e-3),
        keras.ops.layer_normalization(x, gamma, beta, axis=axis, epsilon=1e-3),
        dtype,
    )
    assert_same(nn.rms_normalization(x, axis=axis), keras.ops.rms_normalization(x, axis=axis), dtype)
    if axis == -1:
        theirs = keras.ops.rms_normalization(x, gamma, axis=axis, epsilon=1e-3)
        assert_same(nn.rms_normalization(x, gamma, axis=axis, epsilon=1e-3), theirs, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (0, 2)])
def test_moments(axis, dtype):
    x = normal(3, 4, 5, dtype=dtype)
    for keepdims in (False, True):
        theirs = keras.ops.moments(x, axis, keepdims=keepdims)
        for our_part, their_part in zip(nn.moments(x, axis, keepdims=keepdims), theirs, strict=True):
            # Keras subtracts the squared mean from the mean square, which loses digits.
            torch.testing.assert_close(our_part, their_part, rtol=20 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_batch_normalization_and_normalize(axis, dtype):
    x = normal(3, 4, 5, dtype=dtype)
    mean, offset, scale = (normal(x.shape[axis], dtype=dtype) for _ in range(3))
    variance = normal(x.shape[axis], dtype=dtype).square()
    ours = nn.batch_normalization(x, mean, variance, axis, offset, scale)
    theirs = keras.ops.batch_normalization(x, mean, variance, axis, offset, scale)
    torch.testing.assert_close(ours, theirs, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])
    for order in (1, 2, 3) if dtype != "float64" else ():  # Keras normalizes float64 in float32.
        theirs = keras.ops.normalize(x, axis=axis, order=order)
        assert_same(nn.normalize(x, axis=axis, order=order), theirs, dtype)


def normal(*shape, dtype="float32"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(5)).mul(2).add(1).to(getattr(torch, dtype))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("spatial", "window", "strides", "dilation"),
    [
        ((9,), (3,), 2, 1),
        ((9,), (2,), 1, 2),
        ((8, 7), (3, 2), 1, 1),
        ((8, 7), (2, 3), 2, 1),
        ((5, 6, 7), (2, 3, 2), 2, 1),
    ],
)
def test_convolutions(spatial, window, strides, dilation, padding, data_format):
    x = normal(2, *spatial, 4) if data_format == "channels_last" else normal(2, 4, *spatial)
    keywords = {"strides": strides, "padding": padding, "data_format": data_format, "dilation_rate": dilation}
    for name, *kernels in [
        ("conv", normal(*window, 4, 6)),
        ("conv", normal(*window, 2, 6)),
        ("depthwise_conv", normal(*window, 4, 3)),
        ("separable_conv", normal(*window, 4, 2), normal(*(1,) * len(window), 8, 5)),
    ]:
        if name != "conv" and len(window) == 3:
            continue
        theirs = getattr(keras.ops, name)(x, *kernels, **keywords)
        torch.testing.assert_close(getattr(nn, name)(x, *kernels, **keywords), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("spatial", "window", "strides"),
    [((9,), 3, 1), ((9,), 2, None), ((8, 7), (3, 3), 1), ((8, 7), (2, 3), 2), ((5, 6, 7), 2, (1, 2, 2))],
)
def test_pooling(spatial, window, strides, padding, data_format):
    x = normal(2, *spatial, 4) if data_format == "channels_last" else normal(2, 4, *spatial)
    keywords = {"strides": strides, "padding": padding, "data_format": data_format}
    torch.testing.assert_close(nn.max_pool(x, window, **keywords), keras.ops.max_pool(x, window, **keywords))
    ours = nn.average_pool(x, window, **keywords)
    theirs = keras.ops.average_pool(x, window, **keywords)
    if padding == "valid" or (window in (3, (3, 3)) and strides == 1):
        torch.testing.assert_close(ours, theirs)
    else:
        # Where the sides differ, Keras on torch repeats the border; on its other backends it counts for nothing.
        ones = nn.average_pool(torch.ones_like(x), window, **keywords)
        torch.testing.assert_close(ones, torch.ones_like(theirs))
