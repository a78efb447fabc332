"""Operations of a program's own, and functions made of graphs."""

from __future__ import annotations

import pickle
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import KerasTensor, layers, ops
from lamina.utils import get_source_inputs


class Mix(lamina.Operation):
    def call(self, x: Any, y: Any, z: Any = None) -> Any:
        return 3 * z + x + 2 * y


class Split(lamina.Operation):
    def call(self, x: Any) -> Any:
        return x, x[:, :1]


class Affine(lamina.Operation):
    def __init__(self, alpha: Any, *, beta: float = 1.0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha, self.beta = alpha, beta

    def call(self, x: Any) -> Any:
        return self.alpha * x + self.beta


class Nameless(lamina.Operation):
    def __init__(self, alpha: float, beta: float = 1.0) -> None:
        super().__init__()


class Variadic(lamina.Operation):
    def __init__(self, *args: Any, name: str | None = None) -> None:
        super().__init__(name=name)


def test_operations_compute_and_stand_in_graphs() -> None:
    x, y, z = (KerasTensor((None, 3), name=name) for name in "xyz")
    operation = Mix(name="mix")
    out = operation(x, y=y, z=z)
    assert (out.shape, operation.input, operation.output) == ((None, 3), [x, y, z], out)
    assert repr(operation) == "<Operation name=mix>"
    assert operation(np.ones(2), np.ones(2), torch.ones(2)).tolist() == [6.0, 6.0]
    first, second = split = Split()(x)
    assert (first.shape, second.shape) == ((None, 3), (None, 1))
    assert second._keras_history.operation.output == list(split)
    for name in ("a/b", 3):
        with pytest.raises(ValueError, match="without a slash"):
            Split(name=name)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        lamina.Operation()(1.0)
    with pytest.raises(ValueError, match="not been called"):
        Split().input


def test_layers_and_ops_count_as_operations() -> None:
    x = layers.Input((2,))
    assert isinstance(layers.Dense(1), lamina.Operation)
    assert issubclass(lamina.Model, lamina.Operation)
    assert isinstance(ops.add(x, x)._keras_history.operation, lamina.Operation)
    assert not isinstance(3, lamina.Operation)
    assert not isinstance(layers.Dense(1), Mix)


def test_configs_are_those_of_keras() -> None:
    operation = Affine(0.2, name="a")
    assert operation.get_config() == {"alpha": 0.2, "beta": 1.0, "name": "a"}
    again = Affine.from_config(operation.get_config())
    assert (again.alpha, again.beta, again.name) == (0.2, 1.0, "a")
    assert Nameless(0.5).get_config() == {"alpha": 0.5, "beta": 1.0}
    for bad in (Affine(object()), Variadic(1, 2)):
        with pytest.raises(NotImplementedError, match="how it was made"):
            bad.get_config()
    with pytest.raises(TypeError, match="does not fit"):
        Affine.from_config({"gamma": 1})


def test_operations_in_models_are_saved_and_trained_through(tmp_path: Any) -> None:
    lamina.saving.register_keras_serializable("tests")(Affine)
    x = layers.Input((3,))
    model = lamina.Model(x, layers.Dense(2)(Affine(0.5)(x)))
    model.compile("sgd", loss="mse")
    data = np.ones((8, 3), "float32")
    model.fit(data, data[:, :2], verbose=0)
    model.save(tmp_path / "model.keras")
    again = lamina.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(data, verbose=0), model.predict(data, verbose=0), rtol=1e-6)


def test_rematerialized_operations() -> None:
    with lamina.RematScope():
        operation = Affine(2.0)
    x = torch.ones(2, requires_grad=True)
    operation(x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]  # type: ignore[union-attr]
    assert operation.rematerialized_call(operation.call) is not operation.call


def example(module: Any) -> Any:
    x1, x2 = module.KerasTensor((None, 3)), module.KerasTensor((None, 3))
    x = module.ops.add(x1, x2)
    return module.Function({"a": x1, "b": x2}, [x * 3, (x**2)[:, :2]], name="example")


def test_functions_are_those_of_keras() -> None:
    ours, theirs = example(lamina), example(keras)
    a, b = np.full((2, 3), 2.0, "float32"), np.ones((2, 3), "float32")
    for mine, other in zip(ours({"a": a, "b": b}), theirs({"a": a, "b": b}), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
    shape = {"a": (5, 3), "b": (5, 3)}
    assert ours.compute_output_shape(shape) == theirs.compute_output_shape(shape) == [(5, 3), (5, 2)]
    assert [len(ours.inputs), len(ours.outputs)] == [2, 2]
    assert len(ours.operations) == len(theirs.operations)
    symbolic = ours({"a": KerasTensor((4, 3)), "b": KerasTensor((4, 3))})
    assert [tensor.shape for tensor in symbolic] == [(4, 3), (4, 2)]
    assert symbolic[0]._keras_history.operation is ours


def test_functions_refuse_what_does_not_fit() -> None:
    function = example(lamina)
    with pytest.raises(ValueError, match="structure"):
        function([np.ones((2, 3)), np.ones((2, 3))])
    with pytest.raises(ValueError, match="does not fit"):
        function({"a": np.ones((2, 4)), "b": np.ones((2, 4))})
    x = KerasTensor((2,))
    with pytest.raises(ValueError, match="inputs and outputs"):
        lamina.Function([], x)
    with pytest.raises(ValueError, match="comes from nowhere"):
        lamina.Function(x, KerasTensor((2,)) + x)


def test_functions_with_layers_and_from_the_middle_of_a_graph() -> None:
    x = layers.Input((3,))
    middle = layers.Dense(4, name="first")(x)
    out = layers.Dense(2, name="second")(middle)
    function = lamina.Function(middle, out)
    assert [operation.name for operation in function.operations] == ["second"]
    whole = lamina.Function(x, out)
    assert [operation.name for operation in whole.operations][1:] == ["first", "second"]
    data = torch.ones(1, 3)
    first = next(operation for operation in whole.operations if operation.name == "first")
    torch.testing.assert_close(function(first(data)), whole(data))


def test_sources_of_tensors() -> None:
    a, b = KerasTensor((2,)), layers.Input(batch_shape=(2,))
    x = ops.square(a + b + 2)
    assert get_source_inputs(x) == [a, b]
    assert get_source_inputs(b) == [b]
    assert get_source_inputs(3) == 3


def test_symbolic_tensors_have_keras_s_members() -> None:
    x = KerasTensor((2,))
    assert (x.sparse, x.ragged, x.ragged_rank, x.row_splits_dtype) == (False, False, None, None)


def test_members_of_layers() -> None:
    layer = layers.Dense(2)
    layer.build((None, 3))
    assert layer.symbolic_call(KerasTensor((5, 3))).shape == (5, 2)
    assert set(layer.torch_params) == {"dense/kernel", "dense/bias"}
    assert layer.rematerialized_call(layer.call) == layer.call
    extra = layers.Layer().add_variable((2,), "ones", name="extra")
    assert extra.numpy().tolist() == [1.0, 1.0]
    with pytest.raises(NotImplementedError, match="add_metric"):
        layer.add_metric(1)
    assert lamina.Variable(1.0, layout=None).trainable
    with lamina.device(device_name="cpu") as device:
        assert device == torch.device("cpu")


def test_sequential_models_have_inputs_and_outputs_once_they_are_built() -> None:
    model = lamina.Sequential([layers.Dense(2)])
    assert not hasattr(model, "inputs")
    with pytest.raises(AttributeError, match="no outputs yet"):
        model.outputs
    model.build((None, 3))
    assert [tensor.shape for tensor in (*model.inputs, *model.outputs)] == [(None, 3), (None, 2)]
    assert pickle.loads(pickle.dumps(model)).outputs[0].shape == (None, 2)


def test_stateless_losses_are_those_of_keras() -> None:
    results = []
    for module in (lamina, keras):
        dense = module.layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l2")
        model = module.Sequential([module.layers.Input((2,)), dense])
        model.compile("sgd", loss="mse", metrics=["mae"])
        y, y_pred = np.ones((4, 1), "float32"), np.full((4, 1), 3.0, "float32")
        values = [np.full((2, 1), 2.0, "float32"), np.ones(1, "float32")]
        metrics = [np.asarray(variable.numpy()) for variable in model.metrics_variables]
        loss, (trainable, state, after) = model.stateless_compute_loss(
            values, [], metrics, None, torch.tensor(y), torch.tensor(y_pred)
        )
        results.append(float(loss.detach()))
        assert (trainable is values, state, len(after)) == (True, [], len(metrics))
        assert dense.get_weights()[0][0, 0] == 1.0
    assert results[0] == pytest.approx(results[1])
