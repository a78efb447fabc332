"""Functional models whose nodes are ops, torch functions and methods of tensors: saved, loaded, the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

keras = pytest.importorskip("keras")

import lamina
from lamina import ops
from lamina.core.errors import FileError
from lamina.core.tree import flatten
from lamina.graph.node import OPS
from lamina.layers import Input
from lamina.models import Model, model_from_json
from lamina.saving import load_model

# Those of one tensor that a model of one input cannot have: without values, or of a sequence.
_OTHERS = {"concatenate", "stack", "unstack", "empty_like", "qr", "svd"}


def _values():
    return torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def _names():
    """Every op that takes one tensor alone."""
    found = []
    for name in sorted(set(OPS) & set(dir(ops)) - _OTHERS):
        try:
            getattr(ops, name)(_values())
        except Exception:
            continue
        found.append(name)
    return found


def _same(model, again, *data):
    expected, received = (flatten(m(list(data) if len(data) > 1 else data[0])) for m in (model, again))
    for first, second in zip(expected, received, strict=True):
        assert first.dtype is second.dtype
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def test_every_op_of_one_tensor_survives_json():
    names = _names()
    assert len(names) > 100
    for name in names:
        x = Input((4, 6))
        model = Model(x, getattr(ops, name)(x))
        value = model(_values())
        if all(isinstance(part, torch.Tensor) for part in flatten(value)):
            _same(model, model_from_json(model.to_json()), _values())


NODES = {
    "indices": lambda v: [v[:, 1:3, ::2], v[:, -1], v[:, None, ..., 0], v[:, [0, 2]], v[:, torch.tensor([0, 2])]],
    "numpy": lambda v: [v[:, np.array([0, 2])], v + np.ones(6, "float32"), v + [1.0] * 6],
    "ops": lambda v: [
        ops.einsum("bij,bkj->bik", v, v),
        ops.where(v > 0.5, v, float("inf")),
        ops.cast(v, torch.float16),
        ops.cumsum(v, axis=1, dtype="float64"),
        ops.split(v, 2, axis=1),
        {"pad": ops.pad(v, [(0, 0), (1, 1), (0, 0)]), "slice": ops.slice(v, (0, 1, 1), (1, 2, 2))},
        ops.sum(v) / ops.cast(ops.size(v), "float32"),
    ],
    "operators": lambda v: [
        v @ v.mT,
        v.T,
        2**v,
        1 / v,
        v % 0.3,
        v // 0.3,
        -v,
        abs(v),
        ~(v > 0.3) & (v < 0.6),
        round(v, 1),
    ],
    "torch": lambda v: [
        torch.sin(v),
        torch.cat([v, v], 1),
        torch.softmax(v, dim=-1),
        torch.where(v > 0.4, v, torch.zeros_like(v)),
        torch.einsum("bij,bkj->bik", v, v),
        torch.topk(v, 2),
        torch.linalg.norm(v, dim=-1),
        functional.gelu(v, approximate="tanh"),
        functional.layer_norm(v, (6,)),
    ],
    "methods": lambda v: [
        v.mean(),
        v.mean(dim=1),
        v.max(dim=1),
        v.permute(0, 2, 1),
        v.unsqueeze(1).expand(-1, 3, -1, -1),
        v.to(torch.float64).flatten(1),
        v.clamp(0, 0.5).masked_fill(v > 0.5, 0.0),
        v.chunk(2, dim=1),
        v.argmax(-1),
    ],
}


@pytest.mark.parametrize("kind", NODES)
def test_nodes_of_every_kind_survive_a_file(kind, tmp_path):
    x = Input((4, 6))
    model = Model(x, NODES[kind](x))
    for symbolic, real in zip(flatten(model.outputs), flatten(model(_values())), strict=True):
        assert all(size in (None, found) for size, found in zip(symbolic.shape, real.shape, strict=True))
    model.save(tmp_path / "model.keras")
    _same(model, load_model(tmp_path / "model.keras"), _values())


def test_indices_that_are_inputs(tmp_path):
    x, index = Input((4,)), Input((2,), dtype="int64")
    model = Model([x, index], [ops.take_along_axis(x, index, axis=1), torch.gather(x, 1, index), x[:, index[0]]])
    model.save(tmp_path / "model.keras")
    _same(model, load_model(tmp_path / "model.keras"), _values()[:, :, 0], torch.tensor([[0, 2], [1, 1]]))


@pytest.mark.parametrize("name", ["save", "load", "Tensor.apply_", "Tensor.numpy", "os.system", "from_file"])
def test_files_can_name_functions_of_tensors_only(name):
    x = Input((4,))
    config = json.loads(Model(x, torch.sin(x)).to_json())
    (node,) = (entry for entry in config["config"]["layers"] if entry["module"] == "torch")
    node["class_name"] = name
    with pytest.raises(FileError, match="torch function"):
        model_from_json(json.dumps(config))


def test_symbolic_tensors_have_no_methods_that_need_values():
    for name in ("numpy", "item", "backward", "add_", "register_hook", "_version"):
        assert not hasattr(Input((4,)), name)


def test_shape_and_dtype_cannot_be_set():
    x = Input((4,))
    for name, value in (("shape", (2,)), ("dtype", "int32")):
        with pytest.raises(AttributeError):
            setattr(x, name, value)


def test_layers_stand_in_the_order_of_keras(tmp_path):
    """Files number layers in this order, so weights of branches of unequal depth would be mixed up otherwise."""

    def describe(k):
        layers = k.layers
        a, b = k.Input((3,), name="a"), k.Input((3,), name="b")
        shared = layers.Dense(4, name="shared")
        x = layers.Dense(4, name="second")(layers.Dense(4, name="first")(a))
        y = shared(b)
        z = layers.Concatenate(name="joined")([y, shared(layers.Dense(3, name="third")(x))])
        unused = k.Input((2,), name="unused")
        return k.Model([a, b, unused], [layers.Dense(1, name="out")(z), layers.Dense(4, name="other")(b)])

    theirs = describe(keras)
    path = tmp_path / "model.keras"
    theirs.save(path)
    x = [np.random.default_rng(0).normal(size=(2, n)).astype("float32") for n in (3, 3, 2)]
    for model in (describe(lamina), lamina.saving.load_model(path)):
        assert [layer.name for layer in model.layers] == [layer.name for layer in theirs.layers]
        assert [weight.path for weight in model.weights] == [weight.path for weight in theirs.weights]
    for one, other in zip(model.predict(x, verbose=0), theirs.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_names_of_ops_are_their_own():
    """Files know an op by its name, so no function elsewhere may take it."""
    public = {name: getattr(space, name) for space in (ops.image, ops) for name in dir(space)}
    taken = [name for name, op in OPS.items() if name in public and public[name] is not op]
    assert taken == []
