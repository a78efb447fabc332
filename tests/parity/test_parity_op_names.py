"""The names of ops in files are those of the real Keras."""

import importlib
import inspect

import pytest

from lamina.saving.keras_ops import keras_ops, op_names


@pytest.mark.parametrize("name", sorted(keras_ops()))
def test_keras_has_this_class(name):
    op = keras_ops()[name]
    cls = getattr(importlib.import_module(op.module), op.class_name)
    parameters = list(inspect.signature(cls.call).parameters)[1:]
    assert tuple(parameters) == op.inputs


def test_reverse():
    assert op_names()["Relu"] == "relu" and op_names()["LayerNorm"] == "layer_normalization"
    assert {keras_ops()[name].class_name for name in op_names().values()} == set(op_names())
