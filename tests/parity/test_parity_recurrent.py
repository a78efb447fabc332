"""Recurrent layers and wrappers against the real Keras: outputs, states, gradients, masks, files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import layers

STEPS, UNITS = 7, 5
SHAPE = (4, STEPS, 3)
MASKS = {
    "none": None,
    "right": np.arange(STEPS)[None] < np.array([7, 3, 1, 0])[:, None],
    "left": np.arange(STEPS)[None] >= np.array([0, 3, 6, 7])[:, None],
    "scattered": np.random.default_rng(5).random((4, STEPS)) > 0.5,
    "full": np.ones((4, STEPS), bool),
}
GATED = {
    "LSTM": [{}, {"use_bias": False}, {"activation": "relu", "recurrent_activation": "hard_sigmoid"}],
    "GRU": [{}, {"use_bias": False}, {"reset_after": False}, {"activation": "elu"}],
    "SimpleRNN": [{}, {"use_bias": False}, {"activation": "relu"}, {"activation": "sigmoid"}],
}


def leaves(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in lamina.tree.flatten(value) if leaf is not None]


def assert_same(mine: Any, theirs: Any, shape: tuple[int, ...], tolerance: float = 2e-5, **call: Any) -> None:
    """Both, given the same weights, agree in outputs and in all gradients."""
    rng = np.random.default_rng(0)
    if not mine.built:
        theirs.build(shape)
        mine.build(shape)
    assert [tuple(w.shape) for w in mine.weights] == [tuple(w.shape) for w in theirs.weights]
    assert [w.path for w in mine.weights] == [w.path for w in theirs.weights]
    values = [rng.normal(size=weight.shape) * 0.5 for weight in theirs.weights]
    theirs.set_weights(values)
    mine.set_weights(values)
    x = rng.normal(size=shape).astype("float32")
    results = []
    for layer in (mine, theirs):
        inputs = torch.tensor(x, requires_grad=True)
        outputs = leaves(layer(inputs, **call))
        upstream = np.random.default_rng(1)
        loss = sum((y * torch.tensor(upstream.normal(size=tuple(y.shape))).float()).sum() for y in outputs)
        weights = [getattr(w, "value", w) for w in layer.trainable_weights]
        results.append((outputs, torch.autograd.grad(loss, [inputs, *weights])))  # type: ignore[arg-type]
    for found, expected in zip(*results, strict=True):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            scale = max(1.0, float(b.detach().abs().max()))
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * scale)


def states(count: int, units: int = UNITS) -> list[torch.Tensor]:
    rng = np.random.default_rng(3)
    return [torch.tensor(rng.normal(size=(4, units)).astype("float32")) for _ in range(count)]


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("name", list(GATED))
def test_gated_layers(name: str, mask: str) -> None:
    given = None if MASKS[mask] is None else torch.tensor(MASKS[mask])
    options = itertools.product(GATED[name], (False, True), (False, True), (False, True))
    for extra, sequences, backwards, zeros in options:
        begun = sequences == backwards
        arguments = {
            "units": UNITS,
            "return_sequences": sequences,
            "return_state": True,
            "go_backwards": backwards,
            "zero_output_for_mask": zeros,
            "name": "layer",
            **extra,
        }
        initial = states(2 if name == "LSTM" else 1) if begun else None
        mine, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
        assert_same(mine, theirs, SHAPE, mask=given, initial_state=initial)


@pytest.mark.parametrize("name", list(GATED))
def test_unrolled_and_plain_loops(name: str) -> None:
    for extra in ({"unroll": True}, {"use_cudnn": False} if name != "SimpleRNN" else {}):
        arguments = {"units": UNITS, "return_sequences": True, "name": "layer", **extra}
        assert_same(getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments), SHAPE)


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
@pytest.mark.parametrize("implementation", [1, 2])
def test_cells(name: str, implementation: int) -> None:
    arguments: dict[str, Any] = {"units": UNITS, "name": "cell"}
    if name != "SimpleRNNCell":
        arguments["implementation"] = implementation
    mine, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    assert_same(mine, theirs, (4, 3), states=states(2 if name == "LSTMCell" else 1))


@pytest.mark.parametrize("mask", ["none", "scattered"])
@pytest.mark.parametrize("sequences", [False, True])
def test_stacked_cells(mask: str, sequences: bool) -> None:
    def make(of: Any) -> Any:
        cells = [of.LSTMCell(6, name="a"), of.GRUCell(4, name="b"), of.SimpleRNNCell(5, name="c")]
        stack = of.StackedRNNCells(cells, name="stack")
        return of.RNN(stack, return_sequences=sequences, return_state=True, name="rnn")

    given = None if MASKS[mask] is None else torch.tensor(MASKS[mask])
    assert_same(make(layers), make(keras.layers), SHAPE, mask=given)


def test_a_stack_of_one() -> None:
    x, results = torch.tensor(np.random.default_rng(0).normal(size=SHAPE).astype("float32")), []
    for of in (layers, keras.layers):
        layer = of.RNN([of.LSTMCell(3, kernel_initializer="ones", recurrent_initializer="ones")], return_state=True)
        results.append(layer(x))
    assert lamina.tree.map_structure(np.shape, results[0]) == lamina.tree.map_structure(np.shape, results[1])
    for found, expected in zip(*map(leaves, results), strict=True):
        torch.testing.assert_close(found, expected)


def cell_of(base: Any, ops: Any) -> Any:
    class Cell(base):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = self.output_size = units
            self.state_size = [units, units]

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")

        def call(self, inputs: Any, states: Any) -> Any:
            total = states[0] + ops.tanh(ops.matmul(inputs, self.kernel))
            return total * states[1], [total, states[1] + 1]

    return Cell


@pytest.mark.parametrize("mask", list(MASKS))
def test_own_cells(mask: str) -> None:
    given = None if MASKS[mask] is None else torch.tensor(MASKS[mask])
    for sequences, backwards, stacked in itertools.product((False, True), repeat=3):

        def make(of: Any, ops: Any, stacked: bool = stacked, **arguments: Any) -> Any:
            cell = cell_of(of.Layer, ops)
            cells = [cell(4, name="a"), cell(UNITS, name="b")] if stacked else cell(UNITS, name="a")
            return of.RNN(cells, name="rnn", **arguments)

        arguments = {"return_sequences": sequences, "go_backwards": backwards, "return_state": True}
        mine, theirs = make(layers, lamina.ops, **arguments), make(keras.layers, keras.ops, **arguments)
        if stacked:
            theirs.cell.name = mine.cell.name = "stack"
        assert_same(mine, theirs, SHAPE, mask=given)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("name", list(GATED))
def test_bidirectional(name: str, merge: str | None) -> None:
    for sequences, returned, mask in itertools.product((False, True), (False, True), ("none", "right", "scattered")):
        begun = mask == "right"
        arguments = {"units": UNITS, "return_sequences": sequences, "return_state": returned, "name": "inner"}
        mine = layers.Bidirectional(getattr(layers, name)(**arguments), merge_mode=merge, name="both")
        theirs = keras.layers.Bidirectional(getattr(keras.layers, name)(**arguments), merge_mode=merge, name="both")
        given = None if MASKS[mask] is None else torch.tensor(MASKS[mask])
        initial = states(4 if name == "LSTM" else 2) if begun else None
        assert_same(mine, theirs, SHAPE, mask=given, initial_state=initial)


def test_bidirectional_with_a_layer_of_its_own() -> None:
    def make(of: Any) -> Any:
        backward = of.GRU(4, go_backwards=True, return_sequences=True, name="other")
        return of.Bidirectional(of.LSTM(6, return_sequences=True, name="inner"), backward_layer=backward, name="both")

    assert_same(make(layers), make(keras.layers), SHAPE)


@pytest.mark.parametrize(
    ("make", "shape", "training"),
    [
        (lambda of: of.Dense(5, name="inner"), SHAPE, False),
        (lambda of: of.Conv2D(3, 2, name="inner"), (2, 3, 5, 5, 2), False),
        (lambda of: of.LSTM(4, name="inner"), (2, 3, 5, 2), False),
        (lambda of: of.BatchNormalization(name="inner"), SHAPE, False),
        (lambda of: of.BatchNormalization(name="inner"), SHAPE, True),
    ],
)
def test_time_distributed(make: Any, shape: tuple[int, ...], training: bool) -> None:
    mine, theirs = layers.TimeDistributed(make(layers)), keras.layers.TimeDistributed(make(keras.layers))
    mine.name = theirs.name = "each"
    theirs.build(shape)
    mine.build(shape)
    if training:
        x = np.random.default_rng(0).normal(1, 2, shape).astype("float32")
        found, expected = mine(torch.tensor(x), training=True), theirs(torch.tensor(x), training=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            torch.testing.assert_close(a.detach(), b.value.detach(), rtol=1e-5, atol=1e-5, check_dtype=True)
        return
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    mine.set_weights(theirs.get_weights())
    torch.testing.assert_close(mine(torch.tensor(x)), theirs(torch.tensor(x)), rtol=1e-5, atol=1e-5)


def test_time_distributed_passes_masks_to_the_layer() -> None:
    shape = (2, 3, STEPS, 4)
    mask = torch.tensor(np.random.default_rng(0).random((2, 3, STEPS)) > 0.4)
    mine = layers.TimeDistributed(layers.LSTM(5, name="inner"), name="each")
    theirs = keras.layers.TimeDistributed(keras.layers.LSTM(5, name="inner"), name="each")
    assert_same(mine, theirs, shape, mask=mask)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutional_lstm(rank: int) -> None:
    sizes = (6, 5, 4)[:rank]
    options: list[dict[str, Any]] = [
        {},
        {"padding": "same", "strides": 2, "return_sequences": True, "return_state": True},
        {"padding": "same", "dilation_rate": 2, "use_bias": False, "go_backwards": True},
        {"data_format": "channels_first", "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    ]
    for arguments, mask in itertools.product(options, ("none", "right")):
        first = arguments.get("data_format") == "channels_first"
        shape = (4, STEPS, *((2, *sizes) if first else (*sizes, 2)))
        both = [getattr(of, f"ConvLSTM{rank}D")(3, 2, name="layer", **arguments) for of in (layers, keras.layers)]
        given = None if MASKS[mask] is None else torch.tensor(MASKS[mask])
        assert_same(both[0], both[1], shape, tolerance=1e-4, mask=given)


@pytest.mark.parametrize("name", list(GATED))
def test_stateful_layers(name: str) -> None:
    arguments = {"units": UNITS, "stateful": True, "return_sequences": True, "name": "layer"}
    mine, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    theirs.build(SHAPE)
    mine.build(SHAPE)
    mine.set_weights(theirs.get_weights())
    assert len(mine.weights) == len(theirs.weights)
    rng = np.random.default_rng(0)
    for batch in range(4):
        x = torch.tensor(rng.normal(size=SHAPE).astype("float32"))
        torch.testing.assert_close(mine(x), theirs(x), rtol=1e-5, atol=1e-5)
        for a, b in zip(mine.states, theirs.states, strict=True):
            torch.testing.assert_close(a.detach(), b.value.detach(), rtol=1e-5, atol=1e-5, check_dtype=True)
        if batch == 1:
            mine.reset_state()
            theirs.reset_state()


def model_of(of: Any, embed: bool = True) -> Any:
    tokens = of.Input((6,), dtype="int32", name="tokens")
    x = of.layers.Embedding(20, 4, mask_zero=embed, name="embedding")(tokens)
    x, *last = of.layers.LSTM(5, return_sequences=True, return_state=True, name="encoder")(x)
    x = of.layers.Bidirectional(of.layers.GRU(3, return_sequences=True, name="gru"), name="both")(x)
    x = of.layers.TimeDistributed(of.layers.Dense(4, name="dense"), name="each")(x)
    x = of.layers.LSTM(5, name="decoder")(x, initial_state=last)
    return of.Model(tokens, of.layers.Dense(2, name="top")(x))


def test_masks_of_an_embedding_and_symbolic_initial_states(tmp_path: Path) -> None:
    mine, theirs = model_of(lamina), model_of(keras)
    mine.set_weights(theirs.get_weights())
    tokens = np.random.default_rng(0).integers(0, 20, (5, 6))
    tokens[0, 3:], tokens[1, :2], tokens[2] = 0, 0, 0
    np.testing.assert_allclose(mine.predict(tokens, verbose=0), theirs.predict(tokens, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_files_go_both_ways(tmp_path: Path, suffix: str) -> None:
    mine, theirs = model_of(lamina), model_of(keras)
    tokens = np.random.default_rng(0).integers(0, 20, (5, 6))

    def save(model: Any, path: Path) -> None:
        model.save(path) if suffix == ".keras" else model.save_weights(path)

    def load(of: Any, path: Path) -> Any:
        if suffix == ".keras":
            return of.saving.load_model(path)
        model = model_of(of)
        model.load_weights(path)
        return model

    for model, other, name in ((mine, keras, "a"), (theirs, lamina, "b")):
        path = tmp_path / f"{name}{suffix}"
        save(model, path)
        found = load(other, path).predict(tokens, verbose=0)
        np.testing.assert_allclose(found, model.predict(tokens, verbose=0), rtol=1e-5, atol=1e-6)


def test_files_with_dropout_and_stacks_go_both_ways(tmp_path: Path) -> None:
    def make(of: Any) -> Any:
        cells = [of.layers.LSTMCell(4, dropout=0.1, seed=1), of.layers.GRUCell(3, recurrent_dropout=0.1)]
        stack = of.layers.RNN(cells, return_sequences=True)
        return of.Sequential([of.Input((STEPS, 3)), stack, of.layers.GRU(2)])

    x = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    for mine, other, name in ((make(lamina), keras, "a.keras"), (make(keras), lamina, "b.keras")):
        mine.save(tmp_path / name)
        found = other.saving.load_model(tmp_path / name).predict(x, verbose=0)
        np.testing.assert_allclose(found, mine.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
