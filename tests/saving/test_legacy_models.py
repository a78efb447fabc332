"""Whole models in old .h5 files: configs as Keras 1 and 2 wrote them, and what lamina itself writes."""

import json

import h5py
import numpy as np
import pytest

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, FileError
from lamina.saving import load_model

luck = np.random.default_rng(0)


def batch(*shape):
    return luck.normal(size=shape).astype("float32")


def old_model(path, config, weights, training=None, optimizer=()):
    """A file as Keras 1 and 2 wrote it; weights by layer."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.2.4"
        file.attrs["model_config"] = json.dumps(config).encode()
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([name.encode() for name in weights])
        for name, arrays in weights.items():
            group = root.create_group(name)
            names = [f"{name}/w{index}:0" for index in range(len(arrays))]
            group.attrs["weight_names"] = np.array([n.encode() for n in names], dtype="S99")
            for key, array in zip(names, arrays, strict=True):
                group[key] = array
        for index, array in enumerate(optimizer):
            file[f"optimizer_weights/o{index}"] = array
        if optimizer:
            names = [f"o{index}".encode() for index in range(len(optimizer))]
            file["optimizer_weights"].attrs["weight_names"] = names


def dense(units, name, **more):
    initializer = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "seed": None}}
    config = {"name": name, "units": units, "activation": "relu", "kernel_initializer": initializer, **more}
    return {"class_name": "Dense", "config": config}


def test_sequential_of_keras_2(tmp_path):
    kernel, bias = batch(4, 3), batch(3)
    config = {"class_name": "Sequential", "config": [dense(3, "d", batch_input_shape=[None, 4], dtype="float32")]}
    old_model(tmp_path / "m.h5", config, {"d": [kernel, bias]})
    x = batch(5, 4)
    model = load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), np.maximum(x @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
    assert model.optimizer is None


def test_graph_of_keras_2(tmp_path):
    first = {"class_name": "InputLayer", "name": "x", "inbound_nodes": []}
    first["config"] = {
        "name": "x",
        "batch_input_shape": [None, 4],
        "dtype": "float32",
        "sparse": False,
        "ragged": False,
    }
    shared = {**dense(4, "s"), "name": "s", "inbound_nodes": [[["x", 0, 0, {}]], [["s", 0, 0, {}]]]}
    norm = {"class_name": "BatchNormalization", "config": {"name": "n", "axis": [1]}, "name": "n"}
    norm["inbound_nodes"] = [[["s", 1, 0, {}]]]
    add = {
        "class_name": "Add",
        "config": {"name": "a"},
        "name": "a",
        "inbound_nodes": [[["n", 0, 0, {}], ["x", 0, 0, {}]]],
    }
    inner = {
        "name": "m",
        "layers": [first, shared, norm, add],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["a", 0, 0]],
    }
    kernel, bias = batch(4, 4), batch(4)
    statistics = [np.ones(4, "f4"), np.zeros(4, "f4"), np.zeros(4, "f4"), np.ones(4, "f4")]
    weights = {"x": [], "s": [kernel, bias], "n": statistics, "a": []}
    old_model(tmp_path / "m.hdf5", {"class_name": "Model", "config": inner}, weights)
    x = batch(5, 4)
    hidden = np.maximum(np.maximum(x @ kernel + bias, 0) @ kernel + bias, 0)
    found = load_model(tmp_path / "m.hdf5").predict(x, verbose=0)
    np.testing.assert_allclose(found, hidden / np.sqrt(1.001) + x, rtol=1e-4, atol=1e-5)


def test_training_settings_of_keras_2(tmp_path):
    config = {
        "class_name": "Sequential",
        "config": {"name": "q", "layers": [dense(3, "d", batch_input_shape=[None, 4])]},
    }
    optimizer = {"class_name": "SGD", "config": {"lr": 0.25, "momentum": 0.0, "decay": 0.0, "nesterov": False}}
    training = {"optimizer_config": optimizer, "loss": "mse", "metrics": ["mae"], "sample_weight_mode": None}
    old_model(tmp_path / "m.h5", config, {"d": [batch(4, 3), batch(3)]}, training)
    model = load_model(tmp_path / "m.h5")
    assert float(model.optimizer.learning_rate) == 0.25
    assert set(model.evaluate(batch(5, 4), batch(5, 3), verbose=0, return_dict=True)) == {"loss", "mae"}
    assert load_model(tmp_path / "m.h5", compile=False).optimizer is None
    old_model(tmp_path / "m.h5", config, {"d": [batch(4, 3), batch(3)]}, training, [batch(2), batch(2)])
    with pytest.warns(UserWarning, match="begins anew"):
        load_model(tmp_path / "m.h5")
    training["optimizer_config"] = {"class_name": "TFOptimizer", "config": {}}
    old_model(tmp_path / "m.h5", config, {"d": [batch(4, 3), batch(3)]}, training)
    with pytest.warns(UserWarning, match="not compiled"):
        assert load_model(tmp_path / "m.h5").optimizer is None


def test_functions_by_name_need_to_be_registered(tmp_path):
    config = {"name": "l", "function": "halved", "function_type": "function", "batch_input_shape": [None, 4]}
    old_model(
        tmp_path / "m.h5",
        {"class_name": "Sequential", "config": [{"class_name": "Lambda", "config": config}]},
        {"l": []},
    )
    with pytest.raises(FileError, match="halved"):
        load_model(tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5", custom_objects={"halved": lambda x: x / 2})
    np.testing.assert_array_equal(model.predict(np.ones((1, 4)), verbose=0), np.full((1, 4), 0.5))


def test_round_trip_and_what_does_not_fit(tmp_path):
    x = layers.Input((4,))
    inner = lamina.Sequential([layers.Input((4,)), layers.Dense(3), layers.BatchNormalization()], name="inner")
    model = lamina.Model(x, layers.Dense(2)(inner(x)))
    model.compile("adam", lamina.losses.Huber(), metrics=["mae"])
    data, targets = batch(8, 4), batch(8, 2)
    model.fit(data, targets, verbose=0)
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    for one in (model, again):
        one.fit(data, targets, verbose=0, shuffle=False)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    model.save(tmp_path / "n.h5", include_optimizer=False)
    assert load_model(tmp_path / "n.h5").optimizer is None
    graph = lamina.Model(x, lamina.ops.relu(x))
    with pytest.raises(ArgumentError, match="cannot hold ops"):
        graph.save(tmp_path / "m.h5")
    assert load_model(tmp_path / "m.h5").count_params() == model.count_params()


def test_weights_that_do_not_fit_the_config(tmp_path):
    config = {"class_name": "Sequential", "config": [dense(3, "d", batch_input_shape=[None, 4])]}
    old_model(tmp_path / "m.h5", config, {"d": [batch(4, 2), batch(3)]})
    with pytest.raises(FileError, match=r"expected \(4, 3\), found \(4, 2\)"):
        load_model(tmp_path / "m.h5")
    lamina.Sequential([layers.Input((4,)), layers.Dense(3)]).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(FileError, match="holds no model"):
        load_model(tmp_path / "w.weights.h5")
