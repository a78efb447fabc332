"""Attention, EinsumDense and ReversibleEmbedding against the real Keras: outputs, gradients, configs, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import layers, ops

RNG = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def pair(name: str, arguments: dict[str, Any], *shapes: Any) -> tuple[Any, Any]:
    """The layer of both, built and with the same weights."""
    theirs, mine = getattr(keras.layers, name)(**arguments), getattr(layers, name)(**arguments)
    theirs.build(*shapes)
    mine.build(*shapes)
    assert [(w.path.partition("/")[2], tuple(w.shape)) for w in mine.weights] == [
        (w.path.partition("/")[2], tuple(w.shape)) for w in theirs.weights
    ]
    values = [RNG.normal(size=w.shape).astype("float32") / 2 for w in theirs.weights]
    theirs.set_weights(values)
    mine.set_weights(values)
    return theirs, mine


def flat(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def compare(theirs: Any, mine: Any, inputs: list[np.ndarray], as_list: bool = False, **call: Any) -> None:
    """Outputs and all gradients of both."""
    results = []
    upstream: list[torch.Tensor] = []
    for layer in (theirs, mine):
        weights = [getattr(weight, "value", weight) for weight in layer.weights]
        for weight in weights:
            weight.grad = None
        tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
        outputs = flat(layer(tensors, **call) if as_list else layer(*tensors, **call))
        if not upstream:
            upstream = [torch.tensor(RNG.normal(size=tuple(y.shape))).to(y.dtype) for y in outputs]
        torch.autograd.backward(outputs, upstream)
        results.append((outputs, [x.grad for x in tensors], [weight.grad for weight in weights]))
    for what, a, b in zip(("output", "input gradient", "weight gradient"), *results, strict=True):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            x, y = (torch.zeros(()) if t is None else t for t in (x, y))
            torch.testing.assert_close(y, x, rtol=2e-4, atol=2e-5, msg=lambda text, what=what: f"{what}: {text}")


QUERY, VALUE = (2, 5, 6), (2, 7, 6)
MASKS = {
    "full": RNG.random((2, 5, 7)) > 0.3,
    "steps": RNG.random((5, 7)) > 0.3,
    "heads": RNG.random((2, 3, 5, 7)) > 0.3,
    "blind": np.concatenate([np.zeros((2, 2, 7), bool), np.ones((2, 3, 7), bool)], 1),
}
OPTIONS = [
    {},
    {"dropout": 0.3},
    {"value_dim": 3, "use_bias": False},
    {"use_gate": True, "output_shape": (4, 2)},
    {"sliding_window": 2, "output_shape": 9},
]


@pytest.mark.parametrize("scores", [False, True], ids=["outputs", "scores"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_multi_head_attention(options, mask, causal, scores) -> None:
    theirs, mine = pair("MultiHeadAttention", {"num_heads": 3, "key_dim": 4, **options}, QUERY, VALUE)
    call = {"use_causal_mask": causal, "return_attention_scores": scores}
    if mask:
        call["attention_mask"] = torch.tensor(MASKS[mask])
    compare(theirs, mine, [array(*QUERY), array(*VALUE)], **call)


def test_multi_head_attention_with_a_key() -> None:
    shapes = (2, 5, 6), (2, 7, 4), (2, 7, 3)
    compare(*pair("MultiHeadAttention", {"num_heads": 2, "key_dim": 4}, *shapes), [array(*shape) for shape in shapes])


@pytest.mark.parametrize(
    ("query", "value", "axes", "mask"),
    [
        ((3, 4), (3, 2), (2,), None),
        ((3, 4), (3, 2), (2,), (4, 2)),
        ((3, 4), (3, 2), (2,), (3, 4, 2)),
        ((3, 4), (3, 2), (-2,), (3, 3, 2, 4, 2)),
        ((3, 4), (3, 2), (1, 2), (3, 4, 3, 2)),
        ((5, 3, 4), (5, 3, 2), (2, 3), (3, 4, 3, 2)),
        ((3, 4), (3, 2), None, None),
    ],
)
@pytest.mark.parametrize("scores", [False, True], ids=["outputs", "scores"])
def test_multi_head_attention_over_other_axes(query, value, axes, mask, scores) -> None:
    shapes = (3, *query, 8), (3, *value, 8)
    theirs, mine = pair("MultiHeadAttention", {"num_heads": 2, "key_dim": 2, "attention_axes": axes}, *shapes)
    call = {} if mask is None else {"attention_mask": torch.tensor(RNG.random(mask) > 0.3)}
    compare(theirs, mine, [array(*shape) for shape in shapes], return_attention_scores=scores, **call)
    assert mine.attention_axes == theirs.attention_axes


@pytest.mark.parametrize("scores", [False, True], ids=["outputs", "scores"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("mask", [None, "full", "blind"])
@pytest.mark.parametrize("heads", [(4, 2), (4, 4), (3, 1)], ids=str)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"use_gate": True, "sliding_window": 3}], ids=str)
def test_grouped_query_attention(options, heads, mask, causal, scores) -> None:
    arguments = {"head_dim": 4, "num_query_heads": heads[0], "num_key_value_heads": heads[1], **options}
    theirs, mine = pair("GroupQueryAttention", arguments, QUERY, VALUE)
    call = {"use_causal_mask": causal, "return_attention_scores": scores}
    if mask:
        call["attention_mask"] = torch.tensor(MASKS[mask])
    compare(theirs, mine, [array(*QUERY), array(*VALUE)], **call)


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("name", ["MultiHeadAttention", "GroupQueryAttention"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_masks_of_embeddings(name, dropout, causal) -> None:
    arguments = {"num_heads": 2, "key_dim": 4} if name[0] == "M" else dict(zip(
        ("head_dim", "num_query_heads", "num_key_value_heads"), (4, 4, 2), strict=True
    ))  # fmt: skip
    theirs, mine = pair(name, {**arguments, "dropout": dropout}, (3, 5, 8), (3, 3, 8))
    query, value = (
        np.array([[1, 2, 3, 0, 0], [3, 3, 1, 1, 2], [1, 0, 0, 0, 0]]),
        np.array([[5, 4, 0], [3, 0, 0], [0] * 3]),
    )
    results = []
    for space, layer in ((keras, theirs), (lamina, mine)):
        embed = space.layers.Embedding(6, 8, mask_zero=True)
        embed.build((3, 5))
        embed.set_weights([np.arange(48, dtype="float32").reshape(6, 8) % 5])
        outputs = layer(embed(torch.tensor(query)), embed(torch.tensor(value)), use_causal_mask=causal)
        results.append((outputs, outputs._keras_mask))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-4, atol=1e-5)
    assert torch.equal(results[1][1], results[0][1])


ATTENTION = [
    ("Attention", {}),
    ("Attention", {"use_scale": True}),
    ("Attention", {"score_mode": "concat"}),
    ("Attention", {"score_mode": "concat", "use_scale": True, "dropout": 0.5}),
    ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False}),
]


@pytest.mark.parametrize("scores", [False, True], ids=["outputs", "scores"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("masked", ["", "query", "value", "both", "blind"])
@pytest.mark.parametrize(("name", "arguments"), ATTENTION, ids=str)
def test_attention(name, arguments, masked, causal, scores) -> None:
    shapes = [(2, 5, 4), (2, 7, 4), (2, 7, 4)]
    theirs, mine = pair(name, arguments, shapes)
    masks = [torch.tensor(RNG.random(shape[:2]) > 0.4) for shape in shapes[:2]]
    if masked == "blind":
        masks[1][0] = False
    kept = {"": None, "query": [masks[0], None], "value": [None, masks[1]]}.get(masked, masks)
    call = {"use_causal_mask": causal, "return_attention_scores": scores, "mask": kept}
    compare(theirs, mine, [array(*shape) for shape in shapes[: 3 if causal else 2]], as_list=True, **call)


EINSUM = [
    ("ab,bc->ac", 64, "c", (3, 5)),
    ("abc,cd->abd", (None, 7), "d", (2, 3, 5)),
    ("abc,cd->abd", (3, 7), "bd", (2, 3, 5)),
    ("abc,cde->abde", (None, 2, 4), "de", (2, 3, 5)),
    ("abc,cde->abde", (None, 2, 4), "e", (2, 3, 5)),
    ("abcd,cde->abe", (None, 4), "e", (2, 3, 2, 5)),
    ("abcd,cdef->abef", (None, 4, 2), None, (2, 3, 2, 5)),
    ("abc,bcd->abd", (3, 4), "d", (2, 3, 5)),
    ("abc,abde->cde", (2, 3), None, (1, 2, 5)),
    ("...x,xy->...y", 7, "y", (3, 5)),
    ("...x,xy->...y", 7, "y", (2, 3, 5)),
    ("...x,xy->...y", 7, "y", (2, 4, 3, 5)),
    ("...xy,yz->...xz", (None, 3), "xz", (2, 4, 3, 5)),
    ("ab...,bc->ac...", (4,), "c", (2, 3, 4, 5)),
    ("ab...,bc->cb...", (3,), None, (2, 3, 4)),
    ("abc,dc->abd", (None, 4), "d", (2, 3, 5)),
    ("abc,dc->adb", (4, None), "d", (2, 3, 5)),
]


@pytest.mark.parametrize(("equation", "output_shape", "bias_axes", "shape"), EINSUM, ids=str)
def test_einsum_dense(equation, output_shape, bias_axes, shape) -> None:
    arguments = {"equation": equation, "output_shape": output_shape, "bias_axes": bias_axes, "activation": "tanh"}
    try:
        theirs, mine = pair("EinsumDense", arguments, shape)
        compare(theirs, mine, [array(*shape)])
    except (ValueError, RuntimeError) as error:
        with pytest.raises((ValueError, RuntimeError)):
            layer = keras.layers.EinsumDense(**arguments)
            layer(array(*shape))
        assert isinstance(error, (ValueError, RuntimeError))


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape"),
    [
        ("abc,cde->abde", (None, 8, 16), None, (2, 3, 32)),
        ("abcd,cde->abe", (None, 64), None, (2, 3, 8, 16)),
        ("...x,xy->...y", 64, None, (2, 32)),
    ],
)
def test_einsum_dense_begins_as_wide(equation, output_shape, bias_axes, shape) -> None:
    spreads = []
    for space in (keras, layers):
        layer = getattr(space, "layers", space).EinsumDense(equation, output_shape, bias_axes=bias_axes)
        layer.build(shape)
        spreads.append(float(np.asarray(layer.get_weights()[0]).std()))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.08)


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("reverse_dtype", [None, "float32", "float16"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_reversible_embedding(policy, reverse_dtype, tie_weights) -> None:
    arguments = {"tie_weights": tie_weights, "reverse_dtype": reverse_dtype, "dtype": policy, "logit_soft_cap": 2.0}
    theirs, mine = pair("ReversibleEmbedding", {"input_dim": 10, "output_dim": 4, "mask_zero": True, **arguments}, None)
    results = []
    vectors = torch.tensor(array(1, 3, 4))
    for layer in (theirs, mine):
        rows = layer(torch.tensor([[1, 2, 0]]))
        results.append((rows, rows._keras_mask, layer(rows, reverse=True), layer(vectors, reverse=True)))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    assert getattr(results[1][2], "_keras_mask", None) is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "MultiHeadAttention",
            {"num_heads": 2, "key_dim": 4, "output_shape": 5, "activity_regularizer": "l2", "seed": 3},
        ),
        (
            "MultiHeadAttention",
            {"num_heads": 2, "key_dim": 4, "attention_axes": [1], "kernel_initializer": "he_normal"},
        ),
        ("GroupQueryAttention", {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2, "dropout": 0.1}),
        ("Attention", {"use_scale": True, "seed": 4}),
        ("AdditiveAttention", {"dropout": 0.2}),
        ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 5, "bias_axes": "c", "activation": "relu"}),
        ("ReversibleEmbedding", {"input_dim": 5, "output_dim": 3, "reverse_dtype": "float32"}),
    ],
    ids=str,
)
def test_configs(name, arguments) -> None:
    theirs = keras.saving.serialize_keras_object(getattr(keras.layers, name)(name="some_name", **arguments))
    mine = lamina.saving.serialize_keras_object(getattr(layers, name)(name="some_name", **arguments))
    for key in ("module", "class_name"):
        assert mine[key] == theirs[key]
    assert mine["config"].keys() | {"quantization_config"} == theirs["config"].keys() | {"quantization_config"}
    plain = (str, int, float, bool, tuple, list, type(None))
    for key, value in theirs["config"].items():
        if isinstance(value, plain) and key != "quantization_config":
            told = mine["config"][key]
            assert (list(told) if isinstance(told, tuple) else told) == (
                list(value) if isinstance(value, tuple) else value
            )
    for config in (theirs, mine):
        twin = lamina.saving.deserialize_keras_object(config)
        assert type(twin) is getattr(layers, name) and twin.get_config().keys() == mine["config"].keys()


def encoder(k: Any) -> Any:
    ids = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(20, 8, mask_zero=True)(ids)
    x = k.layers.LayerNormalization()(x + k.layers.MultiHeadAttention(2, 4, dropout=0.1, name="mha")(x, x))
    x = k.layers.GroupQueryAttention(4, 4, 2, use_gate=True, name="gqa")(x, x, use_causal_mask=True)
    x = k.layers.Attention(use_scale=True)([x, x])
    x = k.layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")(x)
    return k.Model(ids, k.layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("mine_first", [True, False])
def test_files_both_ways(tmp_path: Path, ending: str, mine_first: bool) -> None:
    writer, reader = (lamina, keras) if mine_first else (keras, lamina)
    ids = np.array([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 9, 10]], dtype="int32")
    model = encoder(writer)
    path = tmp_path / f"model{ending}"
    if ending == ".keras":
        model.save(path)
        other = reader.models.load_model(path)
    else:
        model.save_weights(path)
        other = encoder(reader)
        other.load_weights(path)
    np.testing.assert_allclose(other.predict(ids, verbose=0), model.predict(ids, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("mask", [None, (2, 4, 5, 6), (5, 6), (2, 1, 1, 6), "blind"], ids=str)
@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_dot_product_attention(scale, heads, mask, with_bias, causal) -> None:
    query, key, value = array(2, 5, 4, 8), array(2, 6, heads, 8), array(2, 6, heads, 8)
    call: dict[str, Any] = {"scale": scale, "is_causal": causal}
    if mask == "blind":
        call["mask"] = np.broadcast_to(np.arange(5)[:, None] > 1, (5, 6)).copy()
    elif mask is not None:
        call["mask"] = RNG.random(mask) > 0.3
    if with_bias:
        call["bias"] = array(2, 4, 5, 6)
    if with_bias and (causal or mask is not None):
        # Keras on torch refuses these together; on other backends it masks what the bias was added to.
        found = ops.dot_product_attention(query, key, value, **call)
        seen = np.broadcast_to(call.pop("mask", np.ones((5, 6), bool)), (2, 4, 5, 6))
        seen = seen & np.tri(5, 6, dtype=bool) if causal else seen
        call |= {"is_causal": False, "bias": np.where(seen, call["bias"], -2.3e38).astype("float32")}
    else:
        found = ops.dot_product_attention(query, key, value, **call)
    expected = keras.ops.dot_product_attention(query, key, value, **call)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
