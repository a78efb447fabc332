import json

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core.errors import FileError
from lamina.saving import Limits, deserialize_keras_object, load_model


def dense(units):
    return lamina.Sequential([layers.Input((100,)), layers.Dense(units)])


def test_memory_is_that_of_the_weights(tmp_path):
    path = tmp_path / "m.keras"
    dense(1000).save(path)
    with pytest.raises(FileError, match="asks for more memory"):
        load_model(path, limits=Limits(floor=-1_500_000))
    assert load_model(path).count_params() == 101_000


def test_memory_of_a_config_alone():
    config = dense(1000).to_json()
    with pytest.raises(FileError, match=r"Limits\(memory"):
        deserialize_keras_object(json.loads(config), limits=Limits(memory=1 << 10))
    assert lamina.models.model_from_json(config).count_params() == 101_000


def test_objects_steps_and_depth():
    config = json.loads(dense(3).to_json())
    for limits, message in ((Limits(objects=3), "objects"), (Limits(steps=1), "work"), (Limits(depth=2), "deeply")):
        with pytest.raises(FileError, match=message):
            deserialize_keras_object(config, limits=limits)


def test_a_refusal_leaves_gradients_as_they_were():
    for steps in range(1, 40):
        with pytest.raises(FileError):
            deserialize_keras_object(json.loads(dense(3).to_json()), limits=Limits(steps=steps, memory=1200))
        assert torch.is_grad_enabled()


def test_limits_hold_only_while_something_is_loaded():
    with pytest.raises(FileError):
        deserialize_keras_object(json.loads(dense(3).to_json()), limits=Limits(memory=1))
    assert dense(2000).count_params() == 202_000


def test_weights_that_a_file_lacks_are_initialised(tmp_path):
    path = tmp_path / "m.keras"

    @lamina.saving.register_keras_serializable("limits")
    class Hidden(layers.Layer):
        """Saves nothing of a large layer that it hides from the walk."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dense(300)

        def build(self, input_shape):
            self.inner.build(input_shape)

        def call(self, inputs):
            return self.inner(inputs)

    model = lamina.Sequential([layers.Input((100,)), Hidden(), layers.Dense(300)])
    model.save(path)
    found = load_model(path)
    for one, other in zip(model.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_large_weights_are_not_initialised_on_loading(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model = lamina.Sequential([layers.Input((300,)), layers.Dense(300, kernel_initializer="orthogonal")])
    model.save(path)
    called = []
    monkeypatch.setattr(lamina.initializers.Orthogonal, "__call__", lambda *_, **__: called.append(1))
    found = load_model(path)
    assert not called
    np.testing.assert_array_equal(found.get_weights()[0], model.get_weights()[0])
