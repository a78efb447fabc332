"""Configs in the form of Keras 2."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import lamina
from lamina import activations, initializers, layers
from lamina.legacy.saving import deserialize_keras_object, serialize_keras_object


class Holder:
    def __init__(self, inner: Any, function: Any, name: str) -> None:
        self.inner, self.function, self.name = inner, function, name

    def get_config(self) -> dict[str, Any]:
        return {"inner": self.inner, "function": self.function, "name": self.name}


def double(x: Any) -> Any:
    return 2 * x


TABLE = {"Holder": Holder, "Constant": initializers.Constant, "double": double}


def test_configs_are_those_of_keras() -> None:
    for module in (lamina, keras):
        legacy = module.legacy.saving
        holder = Holder(module.initializers.Constant(2.0), double, "double")
        config = legacy.serialize_keras_object(holder)
        assert config == {
            "class_name": "Holder",
            "config": {
                "inner": {"class_name": "Constant", "config": {"value": 2.0}, "__passive_serialization__": True},
                "function": "double",
                "name": "double",
            },
        }
        table = {**TABLE, "Constant": module.initializers.Constant}
        again = legacy.deserialize_keras_object(config, table)
        assert (again.inner.value, again.function, again.name) == (2.0, double, "double")
        assert legacy.serialize_keras_object(None) is legacy.deserialize_keras_object(None) is None
        assert legacy.serialize_keras_object(double) == "double"
        assert legacy.deserialize_keras_object(double) is double
    # Names alone Keras 3.15.1 looks for in a table that it has no more.
    assert deserialize_keras_object("double", TABLE) is double
    assert deserialize_keras_object("Constant", {"Constant": list}) == []


def test_layers_and_custom_objects() -> None:
    config = serialize_keras_object(layers.Dense(3, activation="relu"))
    assert deserialize_keras_object(config, vars(layers)).activation is activations.relu
    assert deserialize_keras_object({"class_name": "Mine", "config": {}}, {}, {"Mine": dict}) == {}
    assert lamina.utils.legacy.serialize_keras_object is serialize_keras_object


def test_nothing_is_imported_by_name() -> None:
    for bad in ("os.system", {"class_name": "subprocess.Popen", "config": {}}):
        with pytest.raises(ValueError, match="Unknown thing"):
            deserialize_keras_object(bad, printable_module_name="thing")
    with pytest.raises(ValueError, match="Did you mean"):
        deserialize_keras_object("Constand", TABLE)
    with pytest.raises(ValueError, match="describes no"):
        deserialize_keras_object({"class_name": "Dense"})
    with pytest.raises(TypeError, match="no config"):
        serialize_keras_object(3.0)
