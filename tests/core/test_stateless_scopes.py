"""Scopes: names, symbolic work, values in place of variables, results computed twice."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core.rematerialization import get_current_remat_mode
from lamina.core.scopes import current_path, in_symbolic_scope, name_scope


def test_names_stand_before_each_other() -> None:
    with name_scope("outer") as outer, name_scope("inner"):
        assert (outer.name, current_path()) == ("outer", "outer/inner")
        with name_scope("middle", override_parent="/an/absolute/path"), name_scope("last"):
            assert current_path() == "an/absolute/path/middle/last"
    assert current_path() == ""


def test_a_caller_opens_one_scope_at_a_time() -> None:
    with name_scope("a", caller=1), name_scope("a", caller=1):
        assert current_path() == "a"
        with name_scope("b", caller=1), name_scope("b", caller=1, deduplicate=False):
            assert current_path() == "a/b/b"
    for name in ("a/b", 4):
        with pytest.raises(ValueError, match="without a slash"):
            name_scope(name)  # type: ignore[arg-type]


def test_threads_have_scopes_of_their_own() -> None:
    paths = []
    with name_scope("main"):
        thread = threading.Thread(target=lambda: paths.append(current_path()))
        thread.start()
        thread.join()
    assert paths == [""]


def test_symbolic_scopes_are_seen() -> None:
    seen = []

    class Looking(layers.Layer):
        def call(self, inputs: Any) -> Any:
            seen.append(in_symbolic_scope())
            return inputs

    Looking()(lamina.KerasTensor((2, 2)))
    Looking()(torch.ones(2, 2))
    with lamina.SymbolicScope():
        assert in_symbolic_scope()
    assert not in_symbolic_scope()
    assert (seen[0], seen[-1]) == (True, False)


def test_stateless_scopes_keep_what_is_written() -> None:
    a, b, out = (lamina.Variable(np.zeros(2)) for _ in range(3))
    one = torch.ones(2)
    with lamina.StatelessScope([(a, one), (b, one)]) as scope:
        out.assign(a + b)
        np.testing.assert_array_equal((out + 0.0).detach(), [2, 2])
        a.assign_add([1.0, 1.0])
        assert a.numpy().tolist() == [2.0, 2.0]
    assert out.numpy().tolist() == a.numpy().tolist() == [0.0, 0.0]
    assert one.tolist() == [1.0, 1.0]
    assert scope.get_current_value(out).tolist() == scope.get_current_value(a).tolist() == [2.0, 2.0]  # type: ignore[union-attr]
    assert scope.get_current_value(lamina.Variable(1.0)) is None
    scope.add_loss(3.0)
    scope.add_update((b, one))
    assert scope.losses == [3.0]


def test_gradients_reach_the_values_of_a_stateless_scope() -> None:
    layer = layers.Dense(3)
    layer.build((None, 2))
    values = [torch.ones_like(w).requires_grad_() for w in layer.weights]
    with lamina.StatelessScope(zip(layer.weights, values, strict=True)):
        outputs = layer(torch.ones(1, 2))
    outputs.sum().backward()
    assert outputs.tolist() == [[3.0, 3.0, 3.0]]
    assert values[0].grad is not None
    assert layer.kernel.grad is None


def test_state_in_a_stateless_scope_is_that_of_stateless_call() -> None:
    model = lamina.Sequential([layers.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5, seed=1)])
    before = [variable.numpy() for variable in model.variables]
    x = torch.randn(8, 4)
    expected, state = model.stateless_call(model.trainable_variables, model.non_trainable_variables, x, training=True)
    with lamina.StatelessScope([(variable, variable) for variable in model.variables]) as scope:
        outputs = model(x, training=True)
    torch.testing.assert_close(outputs, expected)
    for variable, value, old in zip(model.non_trainable_variables, state, before[2:], strict=True):
        torch.testing.assert_close(scope.get_current_value(variable), torch.Tensor(value))
        np.testing.assert_array_equal(variable.numpy(), old)


def test_stateless_scopes_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="variables in the first places"):
        lamina.StatelessScope([("name", torch.ones(2))])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="does not fit"):
        lamina.StatelessScope([(lamina.Variable(np.zeros(2)), torch.ones(3))])


def test_remat_scopes_nest_and_check_their_mode() -> None:
    assert get_current_remat_mode() is None
    with lamina.RematScope(), lamina.RematScope("activations"):
        assert get_current_remat_mode() == ("activations", 1024, [])
    with pytest.raises(ValueError, match="no such mode"):
        lamina.RematScope("all")


class Counting(layers.Dense):
    """Counts how often it is computed."""

    count = 0

    def call(self, inputs: Any) -> Any:
        type(self).count += 1
        return super().call(inputs)


SCOPES = {
    "full": ({"mode": "full"}, 2),
    "larger": ({"mode": "larger_than", "output_size_threshold": 11}, 2),
    "smaller": ({"mode": "larger_than", "output_size_threshold": 12}, 1),
    "named": ({"mode": "list_of_layers", "layer_names": ["me"]}, 2),
    "others": ({"mode": "list_of_layers", "layer_names": ["you"]}, 1),
    "activations": ({"mode": "activations"}, 1),
    "none": ({"mode": None}, 1),
}


@pytest.mark.parametrize("case", SCOPES)
def test_layers_are_computed_twice_where_the_scope_says_so(case: str) -> None:
    scope, times = SCOPES[case]
    with lamina.RematScope(**scope):
        layer = Counting(3, activation="tanh", name="me")
    plain = layers.Dense(3, activation="tanh")
    x = torch.randn(4, 2, requires_grad=True)
    layer(x)
    plain(x)
    plain.set_weights(layer.get_weights())
    Counting.count = 0
    layer(x).square().sum().backward()
    assert Counting.count == times + (case in ("larger", "smaller"))  # the size of the outputs is asked for by a call
    grad, x.grad = x.grad, None
    plain(x).square().sum().backward()
    torch.testing.assert_close(x.grad, grad)
    torch.testing.assert_close(plain.kernel.grad, layer.kernel.grad)


def test_activations_alone_are_computed_twice() -> None:
    count = []

    def activation(x: torch.Tensor) -> torch.Tensor:
        count.append(x)
        return x.tanh()

    with lamina.RematScope("activations"):
        layer = layers.Dense(3, activation=activation)
    layer(torch.ones(1, 2))
    count.clear()
    layer(torch.ones(1, 2)).sum().backward()
    assert len(count) == 2
    assert layer.activation is activation


def test_state_is_moved_once_and_dropout_is_the_same_twice() -> None:
    def build() -> Any:
        lamina.utils.set_random_seed(3)
        return lamina.Sequential(
            [layers.Input((6,)), layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.5, seed=1)]
        )

    with lamina.RematScope():
        twice = build()
    once = build()
    twice.set_weights(once.get_weights())
    x = torch.randn(8, 6)
    for model in (once, twice):
        model(x, training=True).square().sum().backward()
    for a, b in zip(once.variables, twice.variables, strict=True):
        torch.testing.assert_close(torch.Tensor(a), torch.Tensor(b))
    for a, b in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_rematerialized_models_train_copy_and_pickle() -> None:
    with lamina.RematScope():
        model = lamina.Sequential([layers.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    x = np.ones((16, 4), "float32")
    losses = model.fit(x, x[:, :1], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    other = copy.deepcopy(model)
    assert other.layers[0].call.layer is other.layers[0]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)


def test_remat_of_a_function() -> None:
    count = []

    def function(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        count.append(1)
        return (x * scale).exp()

    x = torch.ones(3, requires_grad=True)
    lamina.remat(function)(x, scale=2.0).sum().backward()
    torch.testing.assert_close(x.grad, 2 * torch.full((3,), 2.0).exp())
    assert len(count) == 2
    with torch.no_grad():
        assert lamina.remat(function)(x).shape == (3,)
