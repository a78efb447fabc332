"""Recurrent layers: states, dropout, masks, tracing, and what goes wrong."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lamina
from lamina import layers
from lamina.layers import recurrent_kernels
from lamina.training.capture import capture
from lamina.training.prepare import state_of, whole_state

NAMES = ("LSTM", "GRU", "SimpleRNN")
SHAPE = (3, 6, 4)


def sequences(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype("float32"))


class Counting(layers.Layer):
    """A cell of a program: adds up its inputs, and counts the steps."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = [4, 1]

    def call(self, inputs: torch.Tensor, states: Any, training: bool = False) -> Any:
        total, count = states[0] + inputs, states[1] + 1
        return (total if training else -total), [total, count]


def test_cells_of_a_program() -> None:
    x = sequences()
    layer = layers.RNN(Counting(), return_sequences=True, return_state=True)
    output, total, count = layer(x)
    torch.testing.assert_close(output, -x.cumsum(1))
    torch.testing.assert_close(total, x.sum(1))
    assert count.unique().tolist() == [6]
    torch.testing.assert_close(layer(x, training=True)[0], x.cumsum(1))
    symbols = layer(layers.Input((None, 4)))
    assert [symbol.shape for symbol in symbols] == [(None, None, 4), (None, 4), (None, 1)]


def test_a_cell_need_not_be_a_layer() -> None:
    class Plain:
        state_size = 4

        def call(self, inputs: torch.Tensor, states: Any) -> Any:
            return inputs + states[0], [inputs + states[0]]

    torch.testing.assert_close(layers.RNN(Plain())(sequences()), sequences().sum(1))


def test_hooks_on_a_cell_are_called_at_every_step() -> None:
    cell, seen = Counting(), []
    cell.register_forward_hook(lambda *_: seen.append(1))
    layers.RNN(cell)(sequences())
    assert len(seen) == 6


def test_what_is_no_cell() -> None:
    for wrong in (3, layers.Dense(2)):
        with pytest.raises(TypeError, match="cell"):
            layers.RNN(wrong)
    with pytest.raises(TypeError, match="state_size"):
        layers.StackedRNNCells([layers.LSTMCell(2), layers.Dense(2)])
    with pytest.raises(ValueError, match="units"):
        layers.LSTM(0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_one_node_of_a_traced_graph(name: str, masked: bool) -> None:
    layer = getattr(layers, name)(5)
    x = sequences(shape=(3, 50, 4))
    layer(x)
    weights = {key: value.detach().as_subclass(torch.Tensor) for key, value in layer.named_parameters()}

    def step(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        weights = {key: value.detach().requires_grad_() for key, value in weights.items()}
        call = {"mask": x[..., 0] > 0} if masked else {}
        y = torch.func.functional_call(layer, weights, (x,), call)
        return list(torch.autograd.grad(y.square().sum(), list(weights.values())))

    graph = make_fx(step, tracing_mode="fake")(x, weights)
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert names.count("lamina.recurrence.default") == names.count("lamina.recurrence_backward.default") == 1
    assert len(names) < 120
    for found, expected in zip(graph(x, weights), step(x, weights), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", recurrent_kernels.KINDS)
def test_the_operation_is_well_formed(kind: str) -> None:
    units, gates = 3, {"lstm": 4, "gru": 3}.get(kind, 1)
    x, h = sequences(shape=(5, 2, 4)), sequences(1, (2, units))
    weights = [
        sequences(2, (4, gates * units)).requires_grad_(),
        sequences(3, (units, gates * units)).requires_grad_(),
        sequences(4, (2, gates * units) if kind == "gru" else (gates * units,)).requires_grad_(),
    ]
    arguments = (kind, x, h, sequences(5, (2, units)) if kind == "lstm" else None, *weights, True)
    torch.library.opcheck(
        torch.ops.lamina.recurrence.default, arguments, test_utils=("test_schema", "test_autograd_registration")
    )
    if kind != "lstm":
        doubles = [t.double().detach() if isinstance(t, torch.Tensor) else t for t in arguments[:-1]]
        doubles[-3:] = [weight.requires_grad_() for weight in doubles[-3:]]
        doubles[1].requires_grad_()

        def run(*tensors: torch.Tensor) -> Any:
            return recurrent_kernels.run(kind, tensors[0], doubles[2], None, *tensors[1:])[0]

        assert torch.autograd.gradcheck(run, (doubles[1], *doubles[-3:]))


@pytest.mark.parametrize("kind", recurrent_kernels.KINDS)
def test_the_operation_agrees_with_torch(kind: str) -> None:
    units, gates = 3, {"lstm": 4, "gru": 3}.get(kind, 1)
    c = sequences(5, (2, units)) if kind == "lstm" else None
    bias = sequences(4, (2, gates * units) if kind == "gru" else (gates * units,))
    given = (sequences(shape=(19, 2, 4)), sequences(1, (2, units)), c)
    weights = [
        w.requires_grad_() for w in (sequences(2, (4, gates * units)), sequences(3, (units, gates * units)), bias)
    ]
    operation = torch.ops.lamina.recurrence.default(kind, *given, *weights, True)[: 2 if c is None else 3]
    results = []
    for outputs in (operation, recurrent_kernels._by_torch(kind, *given, *weights)):
        loss = sum(((i + 1) * output).sum() for i, output in enumerate(outputs))
        results.append([*outputs, *torch.autograd.grad(loss, weights)])  # type: ignore[arg-type]
    with torch.no_grad():
        small = recurrent_kernels.run(kind, *given, *weights)[0]
        torch.testing.assert_close(small, operation[0])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_dropout(name: str) -> None:
    make = getattr(layers, name)
    x = torch.ones(64, 6, 40)
    for arguments in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"dropout": 0.5, "recurrent_dropout": 0.3}):
        layer = make(8, return_sequences=True, seed=1, **arguments)
        torch.testing.assert_close(layer(x), layer(x))
        first, second = layer(x, training=True), layer(x, training=True)
        assert not torch.allclose(first, second)
        assert not torch.allclose(first, layer(x))
        twin = make(8, return_sequences=True, seed=1, **arguments)
        twin.build(x.shape)
        twin.set_weights(layer.get_weights())
        torch.testing.assert_close(twin(x, training=True), first)
        first.sum().backward()
        assert all(weight.grad is not None for weight in layer.trainable_weights)


def test_dropout_drops_the_same_inputs_in_all_steps() -> None:
    layer = layers.SimpleRNN(8, dropout=0.5, activation=None, recurrent_initializer="zeros", return_sequences=True)
    y = layer(torch.ones(2, 5, 8), training=True)
    torch.testing.assert_close(y, y[:, :1].expand_as(y))


def test_a_cell_keeps_what_it_dropped_until_told_to_forget() -> None:
    cell = layers.LSTMCell(4, dropout=0.5, recurrent_dropout=0.5)
    x, state = torch.ones(2, 30), [torch.ones(2, 4)] * 2
    first = cell(x, state, training=True)[0]
    torch.testing.assert_close(cell(x, state, training=True)[0], first)
    assert len(cell.get_dropout_mask(x)) == 4
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()
    assert not torch.allclose(cell(x, state, training=True)[0], first)


@pytest.mark.parametrize("name", NAMES)
def test_masked_steps_change_nothing(name: str) -> None:
    layer = getattr(layers, name)(5, return_sequences=True, return_state=True)
    x, mask = sequences(), torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]]).bool()
    y, *states = layer(x, mask=mask)
    assert (y._keras_mask == mask).all()
    other = torch.where(mask[..., None], x, 100.0)
    for a, b in zip(layer(other, mask=mask), (y, *states), strict=True):
        torch.testing.assert_close(a, b)
    for row in range(2):
        alone, *last = layer(x[row : row + 1, mask[row]])
        torch.testing.assert_close(y[row, mask[row]], alone[0])
        for a, b in zip(states, last, strict=True):
            torch.testing.assert_close(a[row], b[0])
    assert not y[2].any() and not states[0][2].any()


def test_masks_of_an_embedding_reach_the_layer() -> None:
    tokens = torch.tensor([[4, 2, 0, 0], [1, 0, 0, 0]])
    model = lamina.Sequential([layers.Input((None,), dtype="int32"), layers.Embedding(9, 3, mask_zero=True)])
    model.add(layers.LSTM(4))
    torch.testing.assert_close(model(tokens), model(tokens[:, :2]))
    torch.testing.assert_close(model(tokens)[1:], model(tokens[1:, :1]))


@pytest.mark.parametrize("name", NAMES)
def test_states_between_batches(name: str) -> None:
    whole = getattr(layers, name)(5, return_sequences=True)
    parts = getattr(layers, name)(5, return_sequences=True, stateful=True)
    x = sequences()
    expected = whole(x)
    parts.build((3, 2, 4))
    parts.set_weights(whole.get_weights())
    assert not any("state" in key for key in parts.state_dict())
    for start in (0, 2, 4):
        found = parts(x[:, start : start + 2])
        found.sum().backward()
        torch.testing.assert_close(found, expected[:, start : start + 2])
    twin = copy.deepcopy(parts)
    parts.reset_states()
    assert not any(state.any() for state in parts.states)
    assert all(state.any() for state in twin.states)
    torch.testing.assert_close(parts(x[:, :2]), expected[:, :2])
    with pytest.raises(ValueError, match="batch size"):
        parts(x[:1])
    with pytest.raises(ValueError, match="batch size"):
        getattr(layers, name)(5, stateful=True)(layers.Input((6, 4)))


def test_stateful_layers_in_training() -> None:
    model = lamina.Sequential([layers.Input((6, 4), batch_size=2), layers.GRU(3, stateful=True), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 6, 4)), np.ones((8, 1)), batch_size=2, shuffle=False, verbose=0)
    assert model.layers[0].states[0].any()


@pytest.mark.parametrize("name", NAMES)
def test_initial_states_get_gradients(name: str) -> None:
    layer = getattr(layers, name)(5)
    states = [sequences(i, (3, 5)).requires_grad_() for i in range(2 if name == "LSTM" else 1)]
    layer(sequences(), initial_state=states).sum().backward()
    assert all(state.grad is not None and state.grad.any() for state in states)
    torch.testing.assert_close(layer(sequences(), initial_state=states), layer(sequences(), states))


def test_memory_layout_is_that_of_torch() -> None:
    layer = layers.LSTM(5)
    layer(sequences()).sum().backward()
    for weight in (layer.cell.kernel, layer.cell.recurrent_kernel):
        assert weight.t().is_contiguous() and weight.grad is not None and weight.grad.t().is_contiguous()


def test_the_forget_gate_begins_open() -> None:
    layer = layers.LSTM(2)
    layer.build(SHAPE)
    assert layer.cell.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    layer = layers.LSTM(2, unit_forget_bias=False)
    layer.build(SHAPE)
    assert not layer.cell.bias.any()


def test_cudnn() -> None:
    for use in ("auto", True, False):
        assert layers.LSTM(2, use_cudnn=use)(sequences()).shape == (3, 2)
    with pytest.raises(ValueError, match="use_cudnn"):
        layers.GRU(2, use_cudnn="always")
    for arguments in ({"recurrent_dropout": 0.1}, {"activation": "relu"}, {"reset_after": False}):
        with pytest.raises(ValueError, match="cuDNN"):
            layers.GRU(2, use_cudnn=True, **arguments)


def test_wrong_ranks_and_sizes() -> None:
    with pytest.raises(ValueError, match="dimensions"):
        layers.LSTM(2)(torch.ones(3, 4))
    with pytest.raises(ValueError, match="spatial"):
        layers.ConvLSTM2D(2, 3)(layers.Input((5, None, 8, 1)))
    with pytest.raises(ValueError, match="stride or be dilated"):
        layers.ConvLSTM1D(2, 3, strides=2, dilation_rate=2)


def test_no_samples_and_integers() -> None:
    layer = layers.LSTM(2)
    assert layer(torch.ones(0, 3, 4)).shape == (0, 2)
    assert layer(torch.ones(2, 3, 4, dtype=torch.int32)).dtype is torch.float32


def test_states_between_batches_are_state_of_a_traced_step() -> None:
    model = lamina.Sequential([layers.Input((3, 4), batch_size=2), layers.LSTM(3, stateful=True), layers.Dense(1)])
    model.compile("sgd", "mse")
    batch = (sequences(shape=(2, 3, 4)), torch.ones(2, 1))
    model.train_on_batch(*batch)
    before = [state.clone() for state in model.layers[0].states]
    captured = capture(whole_state(model, state_of(model)), "train", batch)
    found = {id(tensor) for tensor in captured.state}
    assert all(id(state) in found for state in model.layers[0].states)
    for state, kept in zip(model.layers[0].states, before, strict=True):
        torch.testing.assert_close(state.detach(), kept.detach())
