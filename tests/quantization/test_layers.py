"""Quantized layers: memory, copies, devices of state, traces, errors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lamina import Sequential, dtype_policies, layers, saving
from lamina import config as lamina_config
from lamina.core import policies
from lamina.core.errors import ArgumentError, StateError, UnsupportedError
from lamina.quantizers import Int4QuantizationConfig, Int8QuantizationConfig
from lamina.quantizers.arithmetic import int_matmul

CONFIGS = {
    "int8": Int8QuantizationConfig(),
    "int8 weights": Int8QuantizationConfig(activation_quantizer=None),
    "int4": Int4QuantizationConfig(block_size=None),
    "int4 groups": Int4QuantizationConfig(block_size=4),
}


def dense(mode: str | None = None) -> layers.Dense:
    torch.manual_seed(0)
    layer = layers.Dense(6, activation="relu", name="layer")
    layer.build((None, 8))
    if mode is not None:
        layer.quantize(config=CONFIGS[mode])
    return layer


@pytest.mark.parametrize("mode", CONFIGS)
def test_a_quantized_layer_is_a_module_like_others(mode):
    layer, x = dense(mode), torch.randn(5, 8)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other.bias.data.add_(1)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(x), expected)
    twin = layers.Dense.from_config(layer.get_config())
    twin.build((None, 8))
    assert [w.path for w in twin.weights] == [w.path for w in layer.weights]
    twin.set_weights(layer.get_weights())
    assert torch.equal(twin(x), expected)


def test_the_weight_takes_less_memory():
    def size(layer):
        return sum(w.numel() * w.element_size() for w in layer.weights)

    floats, whole, halves = (layers.Dense(256) for _ in range(3))
    for layer in (floats, whole, halves):
        layer.build((None, 512))
    whole.quantize("int8")
    halves.quantize("int4")
    assert size(whole) < 0.26 * size(floats)
    assert size(halves) < 0.15 * size(floats)
    assert sum(p.numel() for p in whole.parameters()) == 256


@pytest.mark.parametrize("mode", CONFIGS)
def test_traced_and_called_in_any_shape(mode):
    layer = dense(mode)
    for shape in ((1, 8), (3, 8), (2, 3, 8), (0, 8)):
        x = torch.randn(shape)
        expected = layer(x)
        assert expected.shape == (*shape[:-1], 6)
        state = {key: value.data for key, value in layer.state_dict().items()}
        traced = make_fx(lambda state, x: torch.func.functional_call(layer, state, x))(state, x)
        assert torch.allclose(traced(state, x), expected)
    assert layers.Input((8,)).shape == (None, 8)
    assert layer(layers.Input((8,))).shape == (None, 6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (17, 24, 16), (40, 1100, 9)])
def test_products_of_integers_are_exact(shape):
    rows, inner, columns = shape
    left = torch.full((rows, inner), -127, dtype=torch.int8)
    right = torch.randint(-127, 128, (inner, columns), dtype=torch.int8)
    assert torch.equal(int_matmul(left, right).long(), left.long() @ right.long())


def test_a_float_layer_knows_nothing_of_it():
    layer = dense()
    assert "call" not in vars(layer)
    assert layer.quantization_mode is None
    layer.quantize("int8")
    assert "call" in vars(layer)
    assert layer.kernel.dtype is torch.int8


def test_policies_quantize():
    layer = dense()
    layer.dtype_policy = "int4/4_from_float32"
    assert layer.kernel_scale.shape == (2, 6)
    built = layers.Dense(
        3, dtype=dtype_policies.DTypePolicyMap("float32", {"other": "int8_from_float32"}), name="other"
    )
    built.build((None, 4))
    assert built.quantization_mode == "int8"
    assert built.kernel.dtype is torch.int8
    plain = layers.Dense(3, dtype=built.dtype_policy, name="plain")
    plain.build((None, 4))
    assert plain.quantization_mode is None


def test_a_table_built_without_a_shape_comes_back_from_a_file(tmp_path):
    for kind in (layers.Embedding, layers.ReversibleEmbedding):
        layer = kind(10, 6)
        layer.build()
        layer.quantize("int4")
        model, ids = Sequential([layer]), torch.tensor([[1, 9]])
        expected = model(ids)
        model.save(tmp_path / "model.keras")
        assert torch.equal(saving.load_model(tmp_path / "model.keras")(ids), expected)


def test_policies_of_layers_inside_come_back_from_a_config():
    several = dtype_policies.DTypePolicyMap("mixed_bfloat16", {"outer/dense": "int8_from_float32"})
    again = dtype_policies.deserialize(dtype_policies.serialize(several))
    assert again == several
    assert again["outer/dense"].quantization_mode == "int8"


def test_the_default_policy():
    lamina_config.set_dtype_policy("mixed_bfloat16")
    try:
        assert dtype_policies.DTypePolicy().name == "mixed_bfloat16"
        for wrong in (None, 12345):
            with pytest.raises(ArgumentError):
                lamina_config.set_dtype_policy(wrong)
    finally:
        policies.reset_dtype_policy()
    with pytest.raises(TypeError, match="no dtype policy"):
        dtype_policies.QuantizedDTypePolicy("int8", 123)


def test_errors():
    with pytest.raises(StateError, match="isn't yet built"):
        layers.Dense(2).quantize("int8")
    with pytest.raises(StateError, match="already quantized"):
        dense("int8").quantize("int8")
    with pytest.raises(ArgumentError, match="Unknown mode"):
        dense().quantize("int3")
    with pytest.raises(ArgumentError, match="contradict"):
        dense().quantize("int8", config=Int4QuantizationConfig())
    with pytest.raises(UnsupportedError, match="does not have a `quantize` method"):
        layers.Dropout(0.5).quantize("int8")
    table = layers.Embedding(4, 3)
    table.build()
    with pytest.raises(UnsupportedError, match="Invalid quantization mode"):
        table.quantize("float8")
    table.quantize("int8")
    with pytest.raises(ArgumentError, match="lies outside the table"):
        table(torch.tensor([4]))

    class Own(layers.Dense):
        pass

    own = Own(2)
    own.build((None, 3))
    with pytest.raises(UnsupportedError, match="does not have a `quantize` method"):
        own.quantize("int8")
    own.quantize("int8", type_check=False)
    assert own.kernel.dtype is torch.int8


def test_an_adapter_learns_on_frozen_integers():
    layer, x = dense("int8"), torch.randn(5, 8)
    layer.enable_lora(2)
    before = layer.kernel.detach().clone()
    layer(x).sum().backward()
    assert [w.name for w in layer.trainable_weights] == ["bias", "lora_kernel_a", "lora_kernel_b"]
    assert layer.lora_kernel_b.grad.abs().sum() > 0
    assert torch.equal(layer.kernel, before)


@pytest.mark.parametrize("units", [7, 8])
@pytest.mark.parametrize(("rows", "size"), [(16, None), (16, 4), (10, 4), (6, 4), (80, 40)])
def test_packed_kernels_are_multiplied_without_being_sorted(rows, size, units):
    """The quick way gives what the restored kernel gives, going forwards and backwards."""
    layer = layers.Dense(units)
    layer.build((None, rows))
    layer.quantize("int4", config=Int4QuantizationConfig(block_size=size))
    kernel = layer.schemes["int4"].restored(layer)
    x = torch.randn(2, 5, rows, requires_grad=True)
    factor = torch.randn(2, 5, units)
    found, expected = layer(x), x @ kernel
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((y * factor).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_groups_need_not_be_rows_one_after_the_other():
    """Whatever gives the group numbers, and also where the layer was called with others before."""
    layer = layers.Dense(6)
    layer.build((None, 16))
    layer.quantize("int4", config=Int4QuantizationConfig(block_size=4))
    x = torch.randn(3, 16)
    rows, others = layer.g_idx.clone(), layer.g_idx.flip(0)
    file: dict[str, torch.Tensor] = {}
    layer.save_own_variables(file)
    last = {str(len(file) - 1): others.numpy()}
    for give, expected in (
        (lambda: layer(x), True),
        (lambda: layer.g_idx.assign(others), False),
        (lambda: layer.load_state_dict({**layer.state_dict(), "g_idx": rows}), True),
        (lambda: layer.load_own_variables({**file, **last}), False),
    ):
        give()
        for one in (layer, copy.deepcopy(layer), torch.compile(layer, backend="eager", fullgraph=True)):
            torch.testing.assert_close(one(x), x @ layer.schemes["int4"].restored(layer), rtol=1e-5, atol=1e-5)
        assert layer._groups_in_rows is expected
