"""`Model.quantize`: which layers, training afterwards, and the modes that look at data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina import Input, Model, Sequential, layers, quantizers, saving
from lamina.core.errors import ArgumentError
from lamina.models.quantization import sequences


def net() -> Sequential:
    return Sequential([Input((8,)), layers.Dense(6, name="first"), layers.Dropout(0.5), layers.Dense(2, name="last")])


@pytest.mark.parametrize(
    ("filters", "modes"),
    [(None, ["int8", "int8"]), ("fir", ["int8", None]), (["^last$"], [None, "int8"]), (lambda x: False, [None, None])],
)
def test_filters(filters, modes):
    model = net()
    model.quantize("int8", filters=filters)
    assert [model.get_layer(name).quantization_mode for name in ("first", "last")] == modes


def test_layers_with_weights_that_cannot_be_quantized_are_named():
    model = Sequential([Input((8,)), layers.BatchNormalization()])
    with pytest.warns(UserWarning, match="BatchNormalization does not have a `quantize` method"):
        model.quantize("int8")


def test_outputs_change_at_once_and_training_goes_on():
    model, x = net(), np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    model.compile("adam", "mse")
    before = model.predict(x, verbose=0)
    model.quantize("int8")
    after = model.predict(x, verbose=0)
    assert 0 < np.abs(before - after).max() < 0.1
    model.compile("adam", "mse")
    model.fit(x, before, epochs=1, verbose=0)


class Tokens:
    def tokenize(self, text: str) -> list[int]:
        return [ord(letter) % 20 for letter in text]


def calibrated(mode: str) -> tuple[Model, list[Sequential], torch.Tensor, torch.Tensor]:
    """A model after a calibration, its blocks, ids, and what it made of them before."""
    torch.manual_seed(0)
    table, ids = layers.Embedding(20, 8), Input((None,), dtype="int32")
    blocks = [Sequential([layers.Dense(16, "relu"), layers.Dense(8)]) for _ in range(2)]
    model = Model(ids, blocks[1](blocks[0](table(ids))))
    structure = {"pre_block_layers": [table], "sequential_blocks": blocks}
    make = quantizers.GPTQConfig if mode == "gptq" else quantizers.AWQConfig
    texts = ["the quick brown fox jumps over the lazy dog", "and so on"]
    config = make(
        texts, Tokens(), num_samples=8, sequence_length=10, group_size=-1, quantization_layer_structure=structure
    )
    x = torch.randint(0, 20, (4, 10))
    before = model(x)
    with pytest.warns(UserWarning, match="Invalid quantization mode"):
        model.quantize(mode, config=config)
    return model, blocks, x, before


@pytest.mark.parametrize("mode", ["gptq", "awq"])
def test_calibration(mode):
    model, blocks, x, before = calibrated(mode)
    dense = blocks[0].layers[-1]
    assert dense.quantization_mode == mode
    assert dense.quantized_kernel.shape == (4, 16)
    error = (model(x) - before).abs().mean()
    assert 0 < error < 0.3 * before.abs().mean()


@pytest.mark.parametrize("mode", ["gptq", "awq"])
def test_calibrated_models_in_files(mode, tmp_path):
    model, _, x, _ = calibrated(mode)
    expected = model(x)
    model.save(tmp_path / "model.keras")
    loaded = saving.load_model(tmp_path / "model.keras")
    assert torch.equal(loaded(x), expected)
    twins = [Model.from_config(model.get_config()) for _ in range(2)]
    model.save_weights(tmp_path / "model.weights.h5")
    twins[0].load_weights(tmp_path / "model.weights.h5")
    twins[1].load_state_dict(model.state_dict())
    for twin in twins:
        assert torch.equal(twin(x), expected)
    dense = model.layers[-1].layers[-1]
    assert dense.get_config()["quantization_config"]["config"]["dataset"] is None


def test_calibration_needs_a_structure():
    with pytest.raises(ArgumentError, match="structure"):
        net().quantize("gptq", config=quantizers.GPTQConfig(["a"], Tokens()))
    with pytest.raises(ArgumentError, match="GPTQConfig"):
        net().quantize("gptq")


def test_sequences():
    found = sequences(Tokens(), 4, [[1, 2, 3], np.arange(4)], count=6)
    assert found.shape == (6, 1, 4)
    assert found.dtype == np.int32
    with pytest.raises(ArgumentError, match="empty"):
        sequences(None, 2, [])
    with pytest.raises(TypeError, match="iterable"):
        sequences(None, 2, "text")
