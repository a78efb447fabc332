"""Core layers: what the contract and the parity tests do not ask."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
from tests.contract.harness import frames_beyond_torch

from lamina import activations, layers
from lamina.core.errors import ArgumentError, FileError, LaminaError, ShapeError, StateError
from lamina.core.registry import CustomObjectScope, register_keras_serializable
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.graph.tensor import KerasTensor


class TestDense:
    def test_kernel_is_one_matrix_in_keras_order(self):
        layer = layers.Dense(3)
        layer(torch.ones(2, 5))
        assert layer.kernel.shape == (5, 3) and layer.kernel.is_contiguous()
        assert dict(layer.state_dict()).keys() == {"kernel", "bias"}

    def test_a_vector_is_refused_before_anything_is_built(self):
        layer = layers.Dense(3, name="d")
        with pytest.raises(ShapeError, match=r"layer 'd' \(Dense\)") as caught:
            layer(torch.ones(5))
        assert "at least 2 dimensions" in str(caught.value) and "(5,)" in str(caught.value)
        assert not layer.built and not layer.weights
        assert layer(torch.ones(2, 4)).shape == (2, 3)

    def test_another_number_of_features_names_both(self):
        layer = layers.Dense(3)
        layer(torch.ones(2, 5))
        for x in (torch.ones(2, 4), KerasTensor((None, 4)), torch.ones(2, 3, 4)):
            with pytest.raises(ShapeError, match="5 on axis -1"):
                layer(x)

    def test_unflattened_images_get_the_remedy(self):
        layer = layers.Dense(3)
        layer(torch.ones(2, 28 * 28))
        with pytest.raises(ShapeError, match="Flatten"):
            layer(torch.ones(2, 28, 28))

    def test_features_must_be_known(self):
        with pytest.raises(ShapeError, match="known"):
            layers.Dense(3)(KerasTensor((None, None)))

    def test_a_new_activation_is_obeyed(self):
        layer = layers.Dense(3, activation="softmax")
        x = torch.randn(4, 5)
        layer(x), layer(x)
        layer.activation = activations.linear
        torch.testing.assert_close(layer(x), x @ layer.kernel + layer.bias)
        layer.activation = torch.nn.Tanh()
        torch.testing.assert_close(layer(x), torch.tanh(x @ layer.kernel + layer.bias))

    def test_decorated_activations_are_not_unwrapped(self):
        @functools.wraps(activations.relu)
        def doubled(x):
            return 2 * activations.relu(x)

        layer = layers.Dense(3, activation=doubled)
        x = torch.randn(4, 5)
        layer(x)
        torch.testing.assert_close(layer(x), 2 * torch.relu(x @ layer.kernel + layer.bias))

    def test_a_layer_as_activation(self):
        layer = layers.Dense(3, activation=layers.LeakyReLU(negative_slope=0.1))
        twin = layers.Dense.from_config(json.loads(json.dumps(layer.get_config())))
        x = torch.randn(4, 5)
        layer(x), twin(x)
        twin.set_weights(layer.get_weights())
        assert twin.activation.negative_slope == 0.1
        torch.testing.assert_close(twin(x), layer(x))

    @pytest.mark.parametrize(
        "activation", ["relu", "tanh", "sigmoid", "softmax", "gelu", "silu", "elu", "selu", "mish"]
    )
    def test_frames(self, activation):
        assert frames_beyond_torch(layers.Dense(3, activation=activation), torch.ones(2, 5)) <= 3

    @pytest.mark.parametrize("shape", [(0, 5), (0, 2, 5), (2, 0, 5)])
    def test_empty_batches(self, shape):
        assert layers.Dense(3)(torch.ones(shape)).shape == (*shape[:-1], 3)

    def test_legacy_input_dim(self):
        assert layers.Dense(3, input_dim=4)._batch_input_shape == (None, 4)
        assert layers.Dense(3, input_shape=(2, 4))._batch_input_shape == (None, 2, 4)

    def test_misspelt_argument(self):
        with pytest.raises(ArgumentError, match="kernel_initializer"):
            layers.Dense(3, kernel_initialiser="zeros")

    def test_a_frozen_layer_has_no_trainable_weights(self):
        layer = layers.Dense(3, trainable=False)
        layer(torch.ones(2, 5))
        assert not layer.trainable_weights and len(layer.non_trainable_weights) == 2


class TestLowRank:
    def build(self, **kwargs):
        layer = layers.Dense(4, **kwargs)
        x = torch.randn(3, 5)
        layer(x)
        return layer, x

    def test_freezes_and_adds(self):
        layer, x = self.build()
        before = layer(x)
        layer.enable_lora(2, lora_alpha=4)
        torch.testing.assert_close(layer(x), before)
        assert [w.name for w in layer.trainable_weights] == ["bias", "lora_kernel_a", "lora_kernel_b"]
        with torch.no_grad():
            layer.lora_kernel_b.fill_(0.5)
        merged = layer.plain_weight("kernel") + 2 * layer.lora_kernel_a @ layer.lora_kernel_b
        torch.testing.assert_close(layer.kernel, merged)
        torch.testing.assert_close(layer(x), x @ merged + layer.bias)

    @pytest.mark.parametrize("rank", [1, 2, 3])
    def test_convolutions(self, rank):
        conv = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
        layer, x = conv(6, 3, padding="same", lora_rank=2), torch.randn(2, *(5,) * rank, 4)
        before = layer(x)
        assert [w.name for w in layer.trainable_weights] == ["bias", "lora_kernel_a", "lora_kernel_b"]
        layer.lora_kernel_b.assign(torch.randn(2, 6))
        layer(x).square().mean().backward()
        assert layer.lora_kernel_a.grad.abs().sum() > 0 and layer.plain_weight("kernel").grad is None
        store: dict[str, np.ndarray] = {}
        layer.save_own_variables(store)
        plain = conv(6, 3, padding="same")
        plain.build(x.shape)
        plain.load_own_variables(store)
        assert not torch.allclose(layer(x), before)
        torch.testing.assert_close(plain(x), layer(x), rtol=1e-4, atol=1e-5)
        assert conv.from_config(layer.get_config()).lora_rank == 2 and "lora_rank" not in plain.get_config()

    def test_files_hold_the_sum(self):
        layer, x = self.build(lora_rank=2)
        with torch.no_grad():
            layer.lora_kernel_b.fill_(0.5)
        store: dict[str, np.ndarray] = {}
        layer.save_own_variables(store)
        assert list(store) == ["0", "1"]
        plain, _ = self.build()
        plain.load_own_variables(store)
        torch.testing.assert_close(plain(x), layer(x))
        layer.load_own_variables(store)
        torch.testing.assert_close(plain(x), layer(x))

    def test_config_names_it_only_when_it_is_on(self):
        assert "lora_rank" not in layers.Dense(3).get_config()
        config = layers.Dense(3, lora_rank=2, lora_alpha=3).get_config()
        assert (config["lora_rank"], config["lora_alpha"]) == (2, 3)
        assert layers.Dense.from_config(config).lora_alpha == 3

    def test_refusals(self):
        with pytest.raises(StateError):
            layers.Dense(3).enable_lora(2)
        layer, _ = self.build()
        layer.enable_lora(2)
        with pytest.raises(StateError):
            layer.enable_lora(2)
        layer, _ = self.build(kernel_constraint="max_norm")
        with pytest.raises(ArgumentError):
            layer.enable_lora(2)

    def test_mixed_precision(self):
        layer = layers.Dense(4, lora_rank=2, dtype="mixed_bfloat16")
        assert layer(torch.randn(3, 5)).dtype is torch.bfloat16


class TestEmbedding:
    @pytest.mark.parametrize(("ids", "named"), [([[1, 12]], "id 12"), ([[-1, 2]], "id -1")])
    def test_ids_outside_the_table(self, ids, named):
        layer = layers.Embedding(10, 3, name="words")
        with pytest.raises(ArgumentError, match=named) as caught:
            layer(torch.tensor(ids))
        assert "input_dim=10" in str(caught.value) and "words" in str(caught.value)

    def test_floats_are_cut(self):
        layer = layers.Embedding(10, 3)
        torch.testing.assert_close(layer(torch.tensor([[1.0, 2.9]])), layer(torch.tensor([[1, 2]])))

    def test_float_ids_are_not_rounded_to_the_policy(self):
        layer = layers.Embedding(1000, 3, dtype="mixed_bfloat16")
        ids = torch.tensor([[257.0, 999.0]])
        outputs = layer(ids)
        assert outputs.dtype is torch.bfloat16
        torch.testing.assert_close(outputs, layer.embeddings[ids.long()].bfloat16())

    def test_mask_only_on_request(self):
        ids = torch.tensor([[1, 0]])
        assert not hasattr(layers.Embedding(3, 2)(ids), "_keras_mask")
        assert layers.Embedding(3, 2, mask_zero=True)(ids)._keras_mask.tolist() == [[True, False]]

    def test_old_input_length(self):
        assert layers.Embedding(3, 2, input_length=4)(torch.zeros(1, 4, dtype=torch.int64)).shape == (1, 4, 2)

    def test_default_float_input(self):
        assert layers.Embedding(3, 2)(KerasTensor((None, 4))).shape == (None, 4, 2)

    def test_gradient_of_repeated_ids(self):
        layer = layers.Embedding(4, 2)
        layer(torch.tensor([[1, 1, 3]])).sum().backward()
        assert layer.embeddings.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


def test_masking_and_what_follows():
    x = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [0.0, 3.0]]])
    outputs = layers.Dense(2)(layers.Dropout(0.5)(layers.Masking()(x)))
    assert outputs._keras_mask.tolist() == [[True, False, True]]
    with pytest.warns(UserWarning, match="drops the mask"):
        layers.Flatten(name="a_flatten_that_drops")(outputs)


def test_identity_of_structures():
    x = {"a": torch.ones(2), "b": [torch.zeros(3)]}
    assert layers.Identity()(x)["b"][0] is x["b"][0]


@register_keras_serializable("test_core")
def cubed(x):
    return x**3


def unregistered(x):
    return x + 1


class TestLambda:
    def test_arguments_mask_and_training(self):
        def function(x, scale, mask=None, training=None):
            return x * scale + (100 if training else 0) + (0 if mask is None else mask.float())

        layer = layers.Lambda(function, arguments={"scale": 2.0})
        x = torch.ones(2, 3)
        assert layer(x).sum() == 12
        assert layer(x, training=True).sum() == 612
        x._keras_mask = torch.ones(2, 3, dtype=torch.bool)
        layer.supports_masking = True
        assert layer(x).sum() == 18

    def test_shapes(self):
        x = KerasTensor((None, 4))
        assert layers.Lambda(lambda t: t[:, :2])(x).shape == (None, 2)
        assert layers.Lambda(lambda t: t.numpy(), output_shape=(7,))(x).shape == (None, 7)
        assert layers.Lambda(lambda t: t, output_shape=lambda shape: (*shape, 5))(x).shape == (None, 4, 5)
        assert layers.Lambda(torch.abs)(x).shape == (None, 4)
        assert layers.Lambda(lambda t: t).compute_output_shape((2, 3)) == (2, 3)
        assert layers.Lambda(lambda t: t, output_shape=(3,)).compute_output_shape((2, 9)) == (2, 3)

    def test_masks(self):
        x = torch.ones(2, 3)
        mask = torch.tensor([[True, False, True]] * 2)
        assert torch.equal(layers.Lambda(lambda t: t, mask=mask)(x + 0)._keras_mask, mask)
        assert torch.equal(layers.Lambda(lambda t: t + 0, mask=lambda t, m: t > 0)(x)._keras_mask, x > 0)

    @pytest.mark.parametrize("function", [cubed, activations.relu, torch.abs])
    def test_named_functions_are_saved_by_name(self, function):
        layer = layers.Lambda(function, output_shape=(3,), arguments={})
        saved = json.loads(json.dumps(serialize_keras_object(layer)))
        assert "code" not in json.dumps(saved)
        with CustomObjectScope({"abs": torch.abs}):
            twin = deserialize_keras_object(saved)
        x = torch.randn(2, 3)
        torch.testing.assert_close(twin(x), function(x))
        assert twin.compute_output_shape((2, 3)) == (2, 3)

    def test_an_unregistered_function_loads_when_it_is_named(self):
        saved = json.loads(json.dumps(serialize_keras_object(layers.Lambda(unregistered))))
        with pytest.raises(FileError, match="register"):
            deserialize_keras_object(saved)
        twin = deserialize_keras_object(saved, custom_objects={"unregistered": unregistered})
        assert twin(torch.ones(1)).item() == 2

    def test_a_lambda_cannot_be_saved_but_copied(self):
        layer = layers.Lambda(lambda x: x + 1)
        with pytest.raises(LaminaError, match="register"):
            serialize_keras_object(layer)
        with pytest.raises(LaminaError):
            serialize_keras_object(layers.Lambda(functools.partial(torch.add, other=1)))
        assert layers.Lambda.from_config(layer.get_config())(torch.ones(1)).item() == 2

    def test_code_in_a_file_is_refused(self):
        config = layers.Lambda(cubed).get_config()
        config["function"] = {"class_name": "__lambda__", "config": {"code": "4wE=", "defaults": None, "closure": None}}
        with pytest.raises(FileError, match="code"):
            layers.Lambda.from_config(config)


def test_einsum_over_the_batch_as_in_keras():
    """Sizes told beyond the outputs' axes are left aside."""
    x = torch.arange(8.0).reshape(2, 4)
    for output_shape in ((), (2,)):
        layer = layers.EinsumDense("ab,ab->a", output_shape=output_shape, kernel_initializer="ones")
        assert layer(x).tolist() == [6.0, 22.0] and layer.kernel.shape == (2, 4)
