"""Quantization against the real Keras: weights, scales, outputs, gradients, names, configs and files of both."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras.src.quantizers import awq as keras_awq
from keras.src.quantizers import gptq as keras_gptq
from keras.src.quantizers import quantizers as keras_arithmetic

import lamina
from lamina.quantizers import arithmetic, calibration

pytestmark = pytest.mark.filterwarnings("ignore:.*x.T. on tensors of dimension other than 2")

MODES: dict[str, Any] = {
    "int8": lambda q: q.Int8QuantizationConfig(),
    "int8 weights": lambda q: q.Int8QuantizationConfig(activation_quantizer=None),
    "int8 own": lambda q: q.Int8QuantizationConfig(
        q.AbsMaxQuantizer(axis=0, value_range=(-100, 100)), q.AbsMaxQuantizer(value_range=(-64, 63))
    ),
    "int4": lambda q: q.Int4QuantizationConfig(block_size=None),
    "int4 inputs": lambda q: q.Int4QuantizationConfig(block_size=-1, activation_quantizer=q.AbsMaxQuantizer()),
    "int4 groups": lambda q: q.Int4QuantizationConfig(block_size=4),
    "int4 default": lambda q: q.Int4QuantizationConfig(),
    "float8": lambda q: q.Float8QuantizationConfig(),
}
KERNELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": (lambda k, **o: k.layers.Dense(7, activation="tanh", **o), (5, 12)),
    "dense 3d": (lambda k, **o: k.layers.Dense(6, use_bias=False, **o), (2, 5, 9)),
    "query": (lambda k, **o: k.layers.EinsumDense("abc,cde->abde", (None, 2, 6), bias_axes="de", **o), (2, 3, 10)),
    "output": (lambda k, **o: k.layers.EinsumDense("abde,dec->abc", (None, 7), bias_axes="c", **o), (2, 3, 2, 5)),
    "plain": (lambda k, **o: k.layers.EinsumDense("ab,bc->ac", 5, activation="relu", **o), (4, 8)),
    "middle": (lambda k, **o: k.layers.EinsumDense("abc,bd->adc", (5, 6), **o), (2, 4, 6)),
    "batched": (lambda k, **o: k.layers.EinsumDense("abc,bcd->abd", (4, 6), **o), (2, 4, 8)),
}
TABLES: dict[str, Any] = {
    "embedding": lambda k, **o: k.layers.Embedding(11, 9, **o),
    "tied": lambda k, **o: k.layers.ReversibleEmbedding(11, 9, logit_soft_cap=2.0, **o),
    "untied": lambda k, **o: k.layers.ReversibleEmbedding(11, 9, tie_weights=False, **o),
}
IDS = np.array([[1, 5, 10], [0, 2, 2]], "int32")


def array(x: Any) -> np.ndarray:
    x = getattr(x, "value", x)
    return x.detach().float().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def close(mine: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    mine, theirs = array(mine), array(theirs)
    np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * max(1.0, np.abs(theirs).max(initial=0)))


def by_name(layer: Any) -> dict[str, Any]:
    return {w.path.partition("/")[2]: w for w in layer.weights}


def same_weights(mine: Any, theirs: Any) -> None:
    mine, theirs = by_name(mine), by_name(theirs)
    assert list(mine) == list(theirs)
    for name, weight in theirs.items():
        assert tuple(mine[name].shape) == tuple(weight.shape), name
        assert keras.backend.standardize_dtype(mine[name].dtype) == weight.dtype, name
        np.testing.assert_array_equal(array(mine[name]), array(weight), err_msg=name)


def pair(make: Any, shape: tuple[int, ...] | None, **options: Any) -> tuple[Any, Any]:
    theirs, mine = make(keras, name="layer", **options), make(lamina, name="layer", **options)
    theirs.build(shape)
    mine.build(shape)
    random = np.random.default_rng(3)
    values = [random.normal(size=w.shape).astype("float32") for w in theirs.weights]
    theirs.set_weights(values)
    mine.set_weights(values)
    return mine, theirs


def both(mine: Any, theirs: Any, mode: str) -> None:
    mine.quantize(config=MODES[mode](lamina.quantizers))
    theirs.quantize(config=MODES[mode](keras.quantizers))


def outputs_and_gradient(layer: Any, x: np.ndarray, *args: Any) -> tuple[Any, Any]:
    inputs = torch.tensor(x, requires_grad=True)
    outputs = layer(inputs, *args)
    weights = torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape)
    (outputs.float() * weights).sum().backward()
    return outputs, inputs.grad


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name, mode, policy):
    make, shape = KERNELS[name]
    if mode == "int8 own" and name not in ("dense", "dense 3d", "plain", "query"):
        pytest.skip("the quantizer's axis is that of a matrix")
    if mode == "int8 weights" and name in ("middle", "batched"):
        pytest.skip("the real one fails on such an equation")
    mine, theirs = pair(make, shape, dtype=policy)
    both(mine, theirs, mode)
    same_weights(mine, theirs)
    assert mine.dtype_policy.name == theirs.dtype_policy.name
    assert mine.quantization_mode == theirs.quantization_mode
    assert mine.variable_serialization_spec == theirs.variable_serialization_spec
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    # In 16 bits the order of additions shows.
    tolerance = 1e-5 if policy == "float32" else 2e-2
    for one, other in zip(outputs_and_gradient(mine, x), outputs_and_gradient(theirs, x), strict=True):
        close(one, other, tolerance)
    assert mine(torch.tensor(x)).dtype is theirs(torch.tensor(x)).dtype
    close(mine.kernel, theirs.kernel)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("float8", "int8 own")])
@pytest.mark.parametrize("name", TABLES)
def test_tables(name, mode, policy):
    mine, theirs = pair(TABLES[name], None, dtype=policy)
    both(mine, theirs, mode)
    same_weights(mine, theirs)
    assert mine.dtype_policy.name == theirs.dtype_policy.name
    assert mine.variable_serialization_spec == theirs.variable_serialization_spec
    tolerance = 1e-5 if policy == "float32" else 2e-2
    close(mine(torch.tensor(IDS)), theirs(torch.tensor(IDS)), tolerance)
    close(mine.embeddings, theirs.embeddings)
    if name != "embedding":
        x = torch.tensor(np.random.default_rng(1).normal(size=(2, 3, 9)).astype("float32"))
        close(mine(x, reverse=True), theirs(x, reverse=True), tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*KERNELS, *TABLES])
def test_files_and_configs(name, mode, tmp_path):
    if mode == "int8 own" or (mode == "float8" and name in TABLES):
        pytest.skip("not for this layer")
    if name in KERNELS:
        make, shape = KERNELS[name]
        data = np.random.default_rng(1).normal(size=shape).astype("float32")
        inputs = {"shape": shape[1:]}
    else:
        make, data, inputs = TABLES[name], IDS, {"shape": (3,), "dtype": "int32"}

    def model(k: Any) -> Any:
        return k.Sequential([k.Input(**inputs), make(k, name="layer")])

    mine, theirs = model(lamina), model(keras)
    theirs.set_weights(mine.get_weights())
    both(mine.layers[-1], theirs.layers[-1], mode)
    path = tmp_path / "one.keras"
    theirs.save(path)
    loaded = lamina.saving.load_model(path)
    same_weights(loaded.layers[-1], keras.saving.load_model(path).layers[-1])
    close(loaded(torch.tensor(data)), theirs(torch.tensor(data)))
    mine.save(tmp_path / "other.keras")
    back = keras.saving.load_model(tmp_path / "other.keras")
    close(mine(torch.tensor(data)), back(torch.tensor(data)))
    assert [w.path for w in back.weights] == [w.path for w in loaded.weights]
    config, expected = mine.layers[-1].get_config(), theirs.layers[-1].get_config()
    for key in ("dtype", "quantization_config"):
        assert keras.saving.serialize_keras_object(expected[key]) == config[key]
    mine.save_weights(tmp_path / "w.weights.h5")
    back.load_weights(tmp_path / "w.weights.h5")
    theirs.save_weights(tmp_path / "v.weights.h5")
    mine.load_weights(tmp_path / "v.weights.h5")
    close(mine(torch.tensor(data)), theirs(torch.tensor(data)))


@pytest.mark.parametrize("mode", ["int8", "int8 weights", "int4", "int4 groups"])
@pytest.mark.parametrize("name", ["dense", "query", "output", "embedding"])
def test_lora_on_a_quantized_layer(name, mode, tmp_path):
    make, shape = KERNELS[name] if name in KERNELS else (TABLES[name], None)
    mine, theirs = pair(make, shape)
    both(mine, theirs, mode)
    mine.enable_lora(2, lora_alpha=3.0)
    theirs.enable_lora(2, lora_alpha=3.0)
    assert [(w.path, tuple(w.shape)) for w in mine.trainable_weights] == [
        (w.path, tuple(w.shape)) for w in theirs.trainable_weights
    ]
    random = np.random.default_rng(5)
    for one, other in zip(mine.trainable_weights, theirs.trainable_weights, strict=True):
        value = random.normal(size=one.shape).astype("float32")
        one.assign(value)
        other.assign(value)
    if name == "embedding":
        close(mine(torch.tensor(IDS)), theirs(torch.tensor(IDS)))
    else:
        x = random.normal(size=shape).astype("float32")
        for one, other in zip(outputs_and_gradient(mine, x), outputs_and_gradient(theirs, x), strict=True):
            close(one, other)
        for one, other in zip(mine.trainable_weights, theirs.trainable_weights, strict=True):
            close(one.grad, other.value.grad)
    stores: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    mine.save_own_variables(stores[0])
    theirs.save_own_variables(stores[1])
    assert stores[0].keys() == stores[1].keys()
    for key in stores[0]:
        # A value in the middle between two integers may fall to either side.
        assert np.abs(array(stores[0][key]) - array(stores[1][key])).mean() < 1e-2


def test_arithmetic():
    random = np.random.default_rng(0)
    x = random.normal(size=(10, 7)).astype("float32")
    x[:, 2] = 0.5
    for to_numpy in (False, True):
        for axis in (0, -1, (0, 1)):
            for mine, theirs in zip(
                lamina.quantizers.abs_max_quantize(x, axis, to_numpy=to_numpy),
                keras.quantizers.abs_max_quantize(x, axis, to_numpy=to_numpy),
                strict=True,
            ):
                np.testing.assert_array_equal(array(mine), array(theirs))
        for size in (2, 3, 16):
            for mine, theirs in zip(
                lamina.quantizers.abs_max_quantize_grouped_with_zero_point(x, size, to_numpy=to_numpy),
                keras.quantizers.abs_max_quantize_grouped_with_zero_point(x, size, to_numpy=to_numpy),
                strict=True,
            ):
                np.testing.assert_array_equal(array(mine), array(theirs))
    for options in (
        {"bits": 4, "per_channel": True, "group_size": 3},
        {"bits": 8, "symmetric": True},
        {"bits": 3, "per_channel": True, "symmetric": True, "signed": True, "epsilon": 1e-7},
    ):
        for mine, theirs in zip(
            arithmetic.compute_quantization_parameters(torch.tensor(x), **options),
            keras_arithmetic.compute_quantization_parameters(torch.tensor(x), **options),
            strict=True,
        ):
            np.testing.assert_array_equal(array(mine), array(theirs))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shape", [(6, 3), (5, 4), (3, 5, 2)])
def test_nibbles(dtype, shape):
    low = -8 if dtype == "int8" else 0
    values = np.random.default_rng(0).integers(low, low + 16, shape).astype(dtype)
    for axis in range(-len(shape), len(shape)):
        packed, size, rows = lamina.quantizers.pack_int4(values, axis, dtype)
        expected = keras.quantizers.pack_int4(values, axis, dtype)
        np.testing.assert_array_equal(packed, expected[0])
        assert (size, rows) == expected[1:]
        np.testing.assert_array_equal(lamina.quantizers.unpack_int4(packed, rows, axis, dtype), values)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("bits", "axis"), [(8, None), (3, None), (8, 1), (4, 0), (4, -1)])
def test_fake_quant(bits, axis, narrow):
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, (4, 5)).astype("float32")
    size = () if axis is None else (x.shape[axis],)
    low, high = -random.uniform(0.3, 1.5, size).astype("float32"), random.uniform(0.3, 1.5, size).astype("float32")
    results = []
    for function in (lamina.quantizers.fake_quant_with_min_max_vars, keras.quantizers.fake_quant_with_min_max_vars):
        shapes = low, high
        if axis is not None and function is not lamina.quantizers.fake_quant_with_min_max_vars:
            # The real one leaves it to the caller to shape the limits, unless axis is the last.
            place = [1, 1]
            place[axis] = -1
            shapes = low.reshape(place), high.reshape(place)
        tensors = [torch.tensor(value, requires_grad=True) for value in (x, *shapes)]
        outputs = function(*tensors, num_bits=bits, narrow_range=narrow, axis=axis)
        (outputs * torch.arange(20.0).reshape(4, 5)).sum().backward()
        results.append([outputs, *(tensor.grad.reshape(-1) for tensor in tensors)])
    for mine, theirs in zip(*results, strict=True):
        close(mine, theirs, 1e-6)


def test_float8_arithmetic():
    history = torch.tensor([3.0, 1.0, 2.0])
    for x in (torch.tensor([1.0, -7.0]), torch.zeros(2)):
        name = "compute_float8_amax_history"
        close(getattr(lamina.quantizers, name)(x, history), getattr(keras.quantizers, name)(x, history), 0)
    for amax in (2.0, 0.0, float("inf"), float("nan")):
        arguments = torch.tensor(amax), torch.tensor(0.7), torch.tensor(448.0)
        close(
            lamina.quantizers.compute_float8_scale(*arguments, margin=1),
            keras.quantizers.compute_float8_scale(*arguments, margin=1),
            0,
        )
    x = torch.linspace(-600, 600, 101)
    for dtype in ("float8_e4m3fn", "float8_e5m2"):
        arguments = x, torch.tensor(0.9), dtype, "float32"
        close(
            lamina.quantizers.quantize_and_dequantize(*arguments),
            keras.quantizers.quantize_and_dequantize(*arguments),
            0,
        )


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have")
def test_float8_training():
    mine, theirs = (k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.Dense(2)]) for k in (lamina, keras))
    theirs.set_weights(mine.get_weights())
    random = np.random.default_rng(0)
    x, y = random.normal(size=(32, 4)).astype("float32"), random.normal(size=(32, 2)).astype("float32")
    for k, model in ((lamina, mine), (keras, theirs)):
        model.quantize("float8")
        model.compile(k.optimizers.Adam(0.01), "mse")
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        close(one, other, 1e-4)
    assert mine.layers[-1].inputs_amax_history[0] > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"group_size": -1},
        {"group_size": 4},
        {"group_size": 5, "activation_order": True},
        {"group_size": -1, "symmetric": True, "weight_bits": 8, "per_channel": False},
        {"group_size": 64, "weight_bits": 3},
    ],
)
@pytest.mark.parametrize("name", ["dense", "query", "output", "plain"])
def test_gptq(name, settings):
    make, shape = KERNELS[name]
    mine, theirs = pair(make, shape)
    x = torch.tensor(np.random.default_rng(2).normal(size=(20, *shape[1:])).astype("float32"))
    config = keras.quantizers.GPTQConfig(None, None, **settings)
    theirs_before = theirs(x)
    theirs.quantize("gptq", config=config)
    gathered = keras_gptq.GPTQ(theirs, config)
    gathered.update_hessian_with_batch(x.reshape(-1, gathered.rows))
    gathered.update_hessian_with_batch(2 * x.reshape(-1, gathered.rows))
    gathered.quantize_and_correct_layer()

    ours = lamina.quantizers.GPTQConfig(None, None, **settings)
    mine.quantize("gptq", config=ours)
    close(mine(x), theirs_before)
    calibrated(mine, calibration.GPTQCalibration(gathered.rows, ours), x)
    assert_same_calibrated(mine, theirs, x)


@pytest.mark.parametrize("group_size", [-1, 4, 64])
@pytest.mark.parametrize("name", ["dense", "query", "output", "plain"])
def test_awq(name, group_size):
    make, shape = KERNELS[name]
    mine, theirs = pair(make, shape)
    x = torch.tensor(np.random.default_rng(2).normal(size=(20, *shape[1:])).astype("float32"))
    config = keras.quantizers.AWQConfig(None, None, group_size=group_size)
    theirs.quantize("awq", config=config)
    gathered = keras_awq.AWQ(theirs, config)
    gathered.update_activation_magnitudes(x.reshape(-1, gathered.rows))
    gathered.update_activation_magnitudes(2 * x.reshape(-1, gathered.rows))
    gathered.quantize_layer()

    ours = lamina.quantizers.AWQConfig(None, None, group_size=group_size)
    mine.quantize("awq", config=ours)
    calibrated(mine, calibration.AWQCalibration(gathered.rows, ours), x)
    assert_same_calibrated(mine, theirs, x)


def calibrated(layer: Any, gathered: Any, x: torch.Tensor) -> None:
    for batch in (x, 2 * x):
        gathered.update(batch.reshape(-1, len(layer.g_idx)))
    layer.schemes[layer.quantization_mode].calibrate(layer, gathered)


def assert_same_calibrated(mine: Any, theirs: Any, x: torch.Tensor) -> None:
    assert mine.dtype_policy.name == theirs.dtype_policy.name
    assert list(by_name(mine)) == list(by_name(theirs))
    for name, weight in by_name(theirs).items():
        one, other = by_name(mine)[name], weight
        assert tuple(one.shape) == tuple(other.shape), name
        assert np.abs(array(one) - array(other)).mean() < 1e-3, name
    close(mine(x), theirs(x), 1e-4)
    close(mine.kernel, theirs.kernel)
