"""What attention layers promise beside Keras's numbers: dropout, masks, overriding, tracing, copies."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import lamina
from lamina import layers, ops, random
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.seeds import SeedGenerator
from lamina.ops.random import drop

LAYERS = {
    "several heads": lambda **kwargs: layers.MultiHeadAttention(2, 4, **kwargs),
    "grouped heads": lambda **kwargs: layers.GroupedQueryAttention(4, 4, 2, **kwargs),
}
each = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


@each
def test_causal_and_dropout_never_look_ahead(make) -> None:
    layer = make(dropout=0.5)
    x = X.clone().requires_grad_()
    for training in (True, False):
        outputs = layer(x, x, use_causal_mask=True, training=training)
        (gradient,) = torch.autograd.grad(outputs[:, 1].sum(), x)
        assert bool((gradient[:, 2:] == 0).all()) and bool((gradient[:, :2] != 0).any())


@each
def test_dropout_while_training_only(make) -> None:
    layer = make(dropout=0.5, seed=3)
    calm = layer(X, X)
    torch.testing.assert_close(layer(X, X, training=False), calm)
    first, second = layer(X, X, training=True), layer(X, X, training=True)
    assert not torch.equal(first, calm) and not torch.equal(first, second)
    twin = make(dropout=0.5, seed=3)
    twin.build(X.shape, X.shape)
    twin.set_weights(layer.get_weights())
    assert torch.equal(twin(X, X, training=True), first)


@each
def test_blind_queries_are_finite(make) -> None:
    mask = torch.ones(2, 5, 5, dtype=torch.bool)
    mask[0, 1] = False
    for dropout in (0.0, 0.3):
        layer = make(dropout=dropout)
        x = X.clone().requires_grad_()
        for training in (False, True):
            outputs = layer(x, x, attention_mask=mask, training=training)
            (gradient,) = torch.autograd.grad(outputs.square().sum(), x)
            assert bool(outputs.isfinite().all()) and bool(gradient.isfinite().all())
        _, scores = layer(x, x, attention_mask=mask, return_attention_scores=True)
        assert bool((scores[0, :, 1] == 0).all())


@each
def test_masks_are_left_on_the_inputs_and_passed_on(make) -> None:
    x = X.clone()
    x._keras_mask = torch.arange(5).expand(2, 5) < 3
    outputs = make()(x, x)
    assert torch.equal(outputs._keras_mask, x._keras_mask)
    seen = make()
    plain = seen(X, X[:, :3])
    torch.testing.assert_close(seen(x, x)[:, :3], plain[:, :3])


@each
def test_symbolic_and_eager_agree(make) -> None:
    query, value = lamina.Input((None, 8)), lamina.Input((7, 8))
    outputs, scores = make()(query, value, return_attention_scores=True)
    assert outputs.shape == (None, None, 8) and scores.shape[0] is None and scores.shape[-1] == 7
    layer = make()
    assert layer.compute_output_shape((2, 5, 8), (2, 7, 8), None) == (2, 5, 8)
    model = lamina.Model([query, value], outputs)
    assert model([X, torch.ones(2, 7, 8)]).shape == (2, 5, 8)


@each
def test_copies_and_policies(make) -> None:
    layer = make(use_gate=True)
    outputs = layer(X, X)
    torch.testing.assert_close(copy.deepcopy(layer)(X, X), outputs)
    twin = type(layer).from_config(layer.get_config())
    twin.build(X.shape, X.shape)
    twin.load_state_dict(layer.state_dict())
    torch.testing.assert_close(twin(X, X), outputs)
    for policy, dtype in (("mixed_bfloat16", torch.bfloat16), ("bfloat16", torch.bfloat16), ("float64", torch.float64)):
        layer = make(dtype=policy, dropout=0.1)
        for training in (True, False):
            assert layer(X, X, training=training).dtype is dtype
        assert layer(lamina.Input((5, 8)), lamina.Input((5, 8))).dtype == str(dtype).removeprefix("torch.")


@each
def test_gradient_descends(make) -> None:
    layer = make(use_gate=True)
    before = layer(X, X).square().mean()
    before.backward()
    with torch.no_grad():
        for weight in layer.trainable_weights:
            assert weight.grad is not None
            weight -= 0.01 * weight.grad
    assert bool(layer(X, X).square().mean() < before)


@each
def test_torch_compile_takes_it_whole(make) -> None:
    layer = make()
    expected = layer(X, X)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: layer(x, x), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), expected)


def test_an_override_gets_the_causal_mask() -> None:
    seen = []

    class Mine(layers.MultiHeadAttention):
        def _compute_attention(self, query, key, value, attention_mask=None, training=None):
            seen.append(attention_mask)
            return super()._compute_attention(query, key, value, attention_mask, training)

    Mine(2, 4)(X, X, use_causal_mask=True)
    assert torch.equal(seen[0][0], torch.ones(5, 5, dtype=torch.bool).tril())


def test_causal_mask_and_another_together() -> None:
    layer = layers.MultiHeadAttention(2, 4)
    layer.build(X.shape, X.shape)
    heads = [torch.randn(2, 5, 2, 4) for _ in range(3)]
    extra = torch.ones(1, 5, 5, dtype=torch.bool)
    extra[:, 3, 1] = False
    for scores in (False, True):
        both = layer._compute_attention(*heads, extra, return_attention_scores=scores, use_causal_mask=True)[0]
        merged = layer._compute_attention(*heads, extra.tril(), return_attention_scores=scores)[0]
        torch.testing.assert_close(both, merged)


def test_arguments() -> None:
    for wrong in ({"num_heads": 0}, {"key_dim": -1}, {"value_dim": 0}, {"sliding_window": 0}, {"output_shape": 8.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            layers.MultiHeadAttention(**{"num_heads": 2, "key_dim": 4, **wrong})
    with pytest.raises(ArgumentError, match="Dropout is not supported"):
        layers.MultiHeadAttention(2, 4, flash_attention=True, dropout=0.1)
    with pytest.raises(ArgumentError, match="attention scores"):
        layers.MultiHeadAttention(2, 4, flash_attention=True)(X, X, return_attention_scores=True)
    with pytest.raises(ArgumentError, match="divisible"):
        layers.GroupedQueryAttention(4, 3, 2)
    with pytest.raises(ShapeError, match="must be equal"):
        layers.MultiHeadAttention(2, 4)(X, X, X[:, :3])
    with pytest.raises(ArgumentError, match="list"):
        layers.Attention()(X)
    with pytest.raises(ArgumentError, match="score_mode"):
        layers.Attention(score_mode="sum")
    with pytest.raises(ArgumentError, match="Invalid einsum equation"):
        layers.EinsumDense("ab,bc", 3)(X[0])
    with pytest.raises(ShapeError, match="do not match"):
        layers.EinsumDense("abc,cd->abd", (4, 3))(X)
    with pytest.raises(ArgumentError, match="nowhere else"):
        layers.EinsumDense("ab,bc->ac", 3, bias_axes="e")(X[0])


def test_attention_drops_while_training() -> None:
    layer = layers.Attention(dropout=0.5, seed=1)
    calm = layer([X, X])
    assert torch.equal(layer([X, X]), calm) and not torch.equal(layer([X, X], training=True), calm)


class Recorded(TorchDispatchMode):
    """Keeps the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_projections_are_one_product_each_and_nothing_is_copied() -> None:
    layer = layers.MultiHeadAttention(2, 4)
    layer(X, X)
    with Recorded() as recorded:
        layer(X, X)
    assert recorded.names.count("aten.addmm.default") == 4
    assert not {"aten.clone.default", "aten.copy_.default", "aten.bmm.default"} & set(recorded.names)


def test_einsum_dense_with_lora() -> None:
    layer = layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")
    before = layer(X)
    layer.enable_lora(2)
    torch.testing.assert_close(layer(X), before)
    assert [tuple(w.shape) for w in layer.trainable_weights] == [(2, 4), (8, 2, 2), (2, 4)]
    layer.lora_kernel_b.assign(torch.randn(2, 4))
    store: dict[str, np.ndarray] = {}
    layer.save_own_variables(store)
    other = layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")
    other.build(X.shape)
    other.load_own_variables(store)
    torch.testing.assert_close(other(X), layer(X))


def test_reversible_embedding_with_lora() -> None:
    layer = layers.ReversibleEmbedding(10, 4)
    ids = torch.tensor([[1, 2]])
    layer(ids)
    layer.enable_lora(2)
    layer.lora_embeddings_b.assign(torch.randn(2, 4))
    rows = layer(ids)
    torch.testing.assert_close(layer(rows, reverse=True)[0, 0, 1], rows[0, 0] @ rows[0, 0])
    assert layer.compute_output_shape((None, 3)) == (None, 3, 4)
    assert layer.compute_output_shape((None, 3, 4), reverse=True) == (None, 3, 10)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_choices_are_independent(rate) -> None:
    generator = SeedGenerator(5)
    choices = [drop(torch.ones(64, 64, 64), rate, (64, 64, 64), generator) * (1 - rate) for _ in range(3)]
    deviation = (rate * (1 - rate)) ** 0.5
    for kept in choices:
        centred = kept - (1 - rate)
        assert abs(float(centred.mean())) < 5 * deviation / 512
        for axis in range(3):
            spread = float(centred.sum(axis).var()) / 64
            assert spread == pytest.approx(deviation**2, rel=0.1)
        flat = centred.flatten()
        for lag in (1, 2, 8, 63, 64, 4096, 65536):
            assert abs(float((flat[lag:] * flat[:-lag]).mean())) < 6 * deviation**2 / 400
    assert abs(float(((choices[0] - 1 + rate) * (choices[1] - 1 + rate)).mean())) < 6 * deviation**2 / 512


def test_dropout_follows_the_seeds() -> None:
    x = torch.ones(200, 100)
    for seed in (7, np.int64(7)):
        assert torch.equal(random.dropout(x, 0.3, seed=int(seed)), random.dropout(x, 0.3, seed=7))
    assert not torch.equal(random.dropout(x, 0.3, seed=7), random.dropout(x, 0.3, seed=8))
    drawn = []
    for _ in range(2):
        torch.manual_seed(4)
        drawn += [ops.convert_to_tensor(random.dropout(x, 0.3)), random.dropout(x, 0.3)]
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(random.dropout(x, 1.0), torch.zeros_like(x))


def test_traced_dropout_draws_anew_each_time() -> None:
    layer = layers.Dropout(0.5)
    x = torch.ones(200, 100)
    layer(x, training=True)
    graph = make_fx(lambda x: layer(x, training=True) + layer(x, training=True), tracing_mode="fake")(x)
    first, second = graph(x), graph(x)
    assert not torch.equal(first, second)
    assert first.unique().tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("arguments", [{"value_dim": 5}, {"dropout": 0.1}])
def test_no_samples_at_all(arguments):
    layer, nothing = layers.MultiHeadAttention(2, 3, **arguments), torch.ones(0, 6, 4)
    assert layer(nothing, nothing, training=True).shape == (0, 6, 4)
