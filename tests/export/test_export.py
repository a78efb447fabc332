"""Exported files compute what the model computes, on sizes other than those they were made with."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lamina
from lamina import layers, ops
from lamina.core.errors import ArgumentError, MissingPackageError, StateError, UnsupportedError
from lamina.export import ExportArchive, torch_state_dict
from lamina.export.formats import ExportError, _compare
from lamina.export.signature import signature_of
from lamina.training import compiler

needs_compiler = pytest.mark.skipif(compiler.unavailable() is not None, reason=str(compiler.unavailable()))


def image_model():
    inputs = layers.Input((None, None, 3), name="picture")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("swish")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.add([x, layers.Conv2D(12, 1)(x)])
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.4)(x))
    return lamina.Model(inputs, layers.Dense(5, activation="softmax", name="scores")(x))


def sequence_model(cell=layers.LSTM, steps=None):
    tokens = layers.Input((steps,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8)(tokens)
    x = layers.Bidirectional(cell(6, return_sequences=True, bias_initializer="normal"))(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 6)(x, x))
    return lamina.Model(tokens, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))


def two_in_two_out():
    first, second = layers.Input((4,), name="first"), layers.Input((6,), name="second")
    x = layers.Concatenate()([first, ops.sin(second)])
    outputs = {"large": layers.Dense(3, name="a")(x), "small": layers.Dense(1, name="b")(x)}
    return lamina.Model({"one": first, "two": second}, outputs)


def of(model, *inputs):
    return [np.asarray(output) for output in lamina.tree.flatten(model.predict(*inputs, verbose=0))]


def test_onnx_of_images_keeps_all_sizes_open(tmp_path, capfd):
    model = image_model()
    model.layers[3].moving_mean.assign(np.linspace(0, 1, 8))
    path = tmp_path / "deep" / "m.onnx"
    model.export(path, format="onnx")
    assert capfd.readouterr().out == f"Saved the model at '{path}' (onnx).\n"
    assert [part.name for part in path.parent.iterdir()] == ["m.onnx"]
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path))
    (given,) = session.get_inputs()
    assert given.name == "picture" and given.shape == ["batch", "dim_0_1", "dim_0_2", 3]
    assert [output.name for output in session.get_outputs()] == ["scores"]
    x = np.random.default_rng(0).uniform(0, 255, (5, 40, 56, 3)).astype("float32")
    np.testing.assert_allclose(session.run(None, {"picture": x})[0], model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_onnx_of_sequences_of_any_length(tmp_path, cell):
    model, path = sequence_model(cell), tmp_path / "m.onnx"
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path))
    operations = {node.op_type for node in onnx.load(path).graph.node}
    assert {layers.LSTM: "LSTM", layers.GRU: "GRU", layers.SimpleRNN: "RNN"}[cell] in operations
    x = np.random.default_rng(0).integers(0, 20, (4, 11)).astype("int32")
    np.testing.assert_allclose(session.run(None, {"tokens": x})[0], model.predict(x, verbose=0), atol=1e-5)


def test_structures_of_inputs_and_outputs(tmp_path):
    model = two_in_two_out()
    x = {"one": np.ones((7, 4), "float32"), "two": np.full((7, 6), 0.3, "float32")}
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False, opset_version=20)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert [given.name for given in session.get_inputs()] == ["first", "second"]
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 20
    results = session.run(None, {"first": x["one"], "second": x["two"]})
    for ours, theirs in zip(of(model, x), results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    model.export(tmp_path / "m.pt2", format="torch", verbose=False)
    program = torch.export.load(tmp_path / "m.pt2").module()
    found = program({name: torch.from_numpy(value) for name, value in x.items()})
    np.testing.assert_allclose(found["small"].detach(), model.predict(x, verbose=0)["small"], atol=1e-6)


def test_programs_of_torch_need_no_lamina(tmp_path):
    for model in (image_model(), sequence_model()):
        model.export(tmp_path / "m.pt2", format="torch", verbose=False)
        program = torch.export.load(tmp_path / "m.pt2")
        assert all("lamina" not in str(node.target) for node in program.graph.nodes)
    fixed = sequence_model(layers.GRU, steps=5)
    fixed.export(tmp_path / "m.pt2", format="torch", verbose=False)
    program = torch.export.load(tmp_path / "m.pt2")
    assert all("lamina" not in str(node.target) for node in program.graph.nodes)
    x = torch.randint(0, 20, (9, 5), dtype=torch.int32)
    np.testing.assert_allclose(program.module()(x).detach(), fixed.predict(x, verbose=0), atol=1e-5)
    with pytest.warns(UserWarning, match="import lamina"):
        sequence_model(layers.GRU).export(tmp_path / "m.pt2", format="torch", verbose=False)


@needs_compiler
def test_a_compiled_package(tmp_path):
    inputs = layers.Input((4,))
    model = lamina.Model(inputs, layers.Dense(2, activation="tanh")(inputs))
    model.export(tmp_path / "m.pt2", format="aotinductor", verbose=False)  # run and compared within
    assert (tmp_path / "m.pt2").stat().st_size > 1000


def test_a_subclass_and_its_signature(tmp_path):
    class Scaled(lamina.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x, scale):
            return self.dense(x) * scale

    model = Scaled()
    with pytest.raises(StateError, match="not built"):
        model.export(tmp_path / "m.onnx", format="onnx")
    x, scale = np.ones((3, 4), "float32"), np.full((3, 1), 2.0, "float32")
    wanted = model(x, scale)
    with pytest.raises(StateError, match="one for each argument of call"):
        model.export(tmp_path / "m.onnx", format="onnx")
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False, input_signature=[x, scale])
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert [given.shape for given in session.get_inputs()] == [["batch", 4], ["batch", 1]]
    found = session.run(None, {"input_0": x, "input_1": scale})[0]
    np.testing.assert_allclose(found, wanted.detach(), atol=1e-6)
    spec = lamina.InputSpec(shape=(2, 4), dtype="float32", name="rows")
    model.export(
        tmp_path / "n.onnx", format="onnx", verbose=False,
        input_signature=[spec, lamina.InputSpec(shape=(2, 1), dtype="float32")],
    )  # fmt: skip
    (rows, _) = onnxruntime.InferenceSession(str(tmp_path / "n.onnx")).get_inputs()
    assert rows.name == "rows" and rows.shape == [2, 4]


def test_modes_and_weights_are_left_alone(tmp_path):
    model = image_model()
    model.layers[2].train()
    before = [weight.copy() for weight in model.get_weights()]
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    assert model.layers[2].training and not model.layers[3].training
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_refusals(tmp_path, monkeypatch):
    model = two_in_two_out()
    with pytest.raises(UnsupportedError, match="onnx"):
        model.export(tmp_path / "m")
    with pytest.raises(ArgumentError, match=r"Did you mean|onnx"):
        model.export(tmp_path / "m.onnx", format="onx")
    with pytest.raises(ArgumentError, match=r"\.onnx"):
        model.export(tmp_path / "m.pb", format="onnx")
    with pytest.raises(ArgumentError, match="2 specs"):
        model.export(tmp_path / "m.onnx", format="onnx", input_signature=[np.ones((1, 4))])
    with pytest.raises(UnsupportedError, match="fixed sizes"):
        image_model().export(tmp_path / "m.tflite", format="litert")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match="openvino"):
        model.export(tmp_path / "m.xml", format="openvino")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_looks_at_values_is_refused(tmp_path):
    class Looks(lamina.Model):
        def call(self, x):
            return x * 2 if float(x.sum()) > 0 else x

    model = Looks()
    model(np.ones((2, 3), "float32"))
    with pytest.raises(UnsupportedError, match="cannot be captured"):
        model.export(tmp_path / "m.pt2", format="torch")


def test_other_numbers_are_found(tmp_path):
    model = two_in_two_out()
    arguments = signature_of(model)
    wrong = [np.zeros((2, 3), "float32"), np.zeros((2, 1), "float32")]
    with pytest.raises(ExportError, match="output 0"):
        _compare(model, arguments, lambda path, samples: wrong, tmp_path, "onnx", False)


def test_weights_under_the_names_of_torch(tmp_path):
    model = lamina.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="0"),
            layers.BatchNormalization(name="1"),
            layers.Conv2DTranspose(5, 3, strides=2, name="2"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="3"),
        ]
    )
    for weight in model.weights:
        weight.assign(np.abs(np.random.default_rng(0).normal(size=weight.shape)))
    model.export(tmp_path / "w.safetensors", format="state_dict", verbose=False)
    twin = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3), nn.ConvTranspose2d(4, 5, 3, stride=2),
        nn.Conv2d(5, 10, 3, groups=5),
    ).eval()  # fmt: skip
    missing, unexpected = twin.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=False)
    assert set(missing) <= {"1.num_batches_tracked"} and unexpected == []
    x = torch.randn(2, 8, 8, 3)
    np.testing.assert_allclose(
        twin(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach(), model(x).detach(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("ours, theirs", [(layers.LSTM, nn.LSTM), (layers.GRU, nn.GRU), (layers.SimpleRNN, nn.RNN)])
def test_recurrent_weights_under_the_names_of_torch(ours, theirs):
    layer = ours(5, return_sequences=True, bias_initializer="normal")
    x = torch.randn(2, 7, 3)
    wanted = layer(x)
    twin = theirs(3, 5, batch_first=True)
    twin.load_state_dict(torch_state_dict(layer))
    np.testing.assert_allclose(twin(x)[0].detach(), wanted.detach(), atol=1e-5)


def test_an_archive_of_several_functions(tmp_path):
    model = two_in_two_out()
    archive = ExportArchive()
    with pytest.raises(StateError, match="nothing to write"):
        archive.write_out(tmp_path)
    archive.track_and_add_endpoint("serve", model, None)
    dense = model.get_layer("a")
    archive.add_endpoint(
        "double", lambda x: 2 * dense(x), input_signature=[lamina.InputSpec(shape=(None, 10), dtype="float32")]
    )
    archive.add_variable_collection("dense", dense.weights)
    for name in ("serve", "../up"):
        with pytest.raises(ArgumentError):
            archive.add_endpoint(name, model)
    archive.write_out(tmp_path / "served", verbose=False)
    served = {name: torch.export.load(tmp_path / "served" / f"{name}.pt2").module() for name in ("serve", "double")}
    assert json.loads((tmp_path / "served" / "archive.json").read_text())["endpoints"]["double"][0]["shape"] == [
        None,
        10,
    ]
    x = torch.randn(6, 10)
    np.testing.assert_allclose(served["double"](x).detach(), 2 * dense(x).detach(), atol=1e-6)
    inputs = {"one": torch.ones(4, 4), "two": torch.ones(4, 6)}
    np.testing.assert_allclose(served["serve"](inputs)["large"].detach(), model(inputs)["large"].detach(), atol=1e-6)
    assert set(load_file(tmp_path / "served" / "dense.safetensors")) == {weight.path for weight in dense.weights}
