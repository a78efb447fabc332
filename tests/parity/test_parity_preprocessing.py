"""Preprocessing layers beside what Keras gives on its TensorFlow backend, stored in fixtures/preprocessing.json."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from lamina import layers
from lamina.graph.tensor import KerasTensor
from lamina.saving import load_model
from lamina.utils import FeatureSpace

FIXTURES = pathlib.Path(__file__).with_name("fixtures") / "preprocessing.json"
CASES = json.loads(FIXTURES.read_text(encoding="utf-8"))
NAMES = [f"{index}-{case['layer']}" for index, case in enumerate(CASES)]

each = pytest.mark.parametrize("case", CASES, ids=NAMES)


def columns(case: dict[str, Any], value: Any) -> Any:
    """Data as Keras got it: floats in double precision, tuples of columns."""
    return tuple(map(np.array, value)) if case["layer"] == "HashedCrossing" else np.array(value)


def adapted(case: dict[str, Any]) -> Any:
    arguments = dict(case["arguments"])
    if isinstance(arguments.get("ngrams"), list):
        arguments["ngrams"] = tuple(arguments["ngrams"])
    layer = getattr(layers, case["layer"])(**arguments)
    if case["adapt"] is not None:
        layer.adapt(columns(case, case["adapt"]))
    return layer


@each
def test_outputs_are_those_of_keras(case):
    layer = adapted(case)
    output = layer(columns(case, case["inputs"]))
    if case["dtype"] == "string":
        assert output.tolist() == case["output"]
        return
    assert str(output.dtype) == f"torch.{case['dtype']}"
    expected = torch.tensor(case["output"], dtype=output.dtype)
    tolerance = 2e-4 if "Spectrogram" in case["layer"] else 2e-6
    if case["arguments"].get("mode") == "angle":  # -pi is pi
        output, expected = torch.cos(output), torch.cos(expected)
    torch.testing.assert_close(output.detach(), expected, atol=tolerance, rtol=tolerance)
    if "vocabulary" in case:
        assert layer.get_vocabulary() == case["vocabulary"]


@each
def test_configs_are_those_of_keras(case):
    layer = adapted(case)
    config = json.loads(json.dumps(layer.get_config()))
    named = {key: value for key, value in config.items() if key not in ("name", "dtype")}
    assert rounded(named) == rounded(case["config"])
    twin = type(layer).from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config


def rounded(config: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(config)
    return json.loads(text, parse_float=lambda number: round(float(number), 5))


@each
def test_symbolic_outputs_have_the_shape_of_real_ones(case):
    layer = adapted(case)
    inputs = columns(case, case["inputs"])
    output = layer(inputs)

    def symbol(array: np.ndarray) -> KerasTensor:
        dtype = "string" if array.dtype.kind == "U" else "float32" if array.dtype.kind == "f" else "int64"
        keeps_batch = case["layer"] == "Normalization" and 0 in (layer.axis or ())
        return KerasTensor((array.shape[0] if keeps_batch else None, *array.shape[1:]), dtype)

    symbols = [symbol(part) for part in inputs] if isinstance(inputs, tuple) else symbol(inputs)
    symbolic = layer(symbols)
    assert len(symbolic.shape) == output.ndim
    assert all(size in (None, real) for size, real in zip(symbolic.shape, output.shape, strict=True))
    assert symbolic.dtype == case["dtype"]


SPACES = json.loads(FIXTURES.with_name("feature_space.json").read_text(encoding="utf-8"))


def compare_features(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            compare_features(found[name], value)
    else:
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["concat", "dict"])
def test_a_feature_space_encodes_as_that_of_keras(mode):
    data, kept = SPACES["data"], SPACES[mode]
    space = FeatureSpace.from_config(kept["config"])
    space.adapt(data)
    compare_features(space({name: column[:7] for name, column in data.items()}), kept["rows"])
    compare_features(space({name: column[3] for name, column in data.items()}), kept["row"])


def test_a_feature_space_that_keras_saved_is_loaded():
    space = load_model(FIXTURES.with_name("feature_space.keras"))
    rows = {name: column[:7] for name, column in SPACES["data"].items()}
    compare_features(space(rows), SPACES["concat"]["rows"])
