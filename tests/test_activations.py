from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch

from lamina import activations
from lamina.core.errors import ArgumentError, ArgumentTypeError, FileError, ShapeError, UnknownNameError
from lamina.core.registry import CustomObjectScope, register_keras_serializable
from lamina.graph.tensor import KerasTensor
from lamina.ops import nn

NAMES = sorted(activations._BY_NAME)
ARGUMENTS = {"threshold": (0.5, 1.0)}


@register_keras_serializable("tests")
def doubled(x):
    return x * 2


def unregistered(x):
    return x * 2


@pytest.mark.parametrize("name", NAMES)
def test_names_configs_and_functions_all_mean_the_function(name):
    function = getattr(activations, name)
    assert activations.get(name) is activations.get(function) is activations.deserialize(name) is function
    serialized = activations.serialize(function)
    assert isinstance(serialized, str)
    assert activations.get(serialized) is function
    config = {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
    assert activations.get(config) is function


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_input_gives_the_same(name):
    function = getattr(activations, name)
    arguments = ARGUMENTS.get(name, ())
    values = [[-2.0, 0.5], [1.0, 3.0]]
    expected = function(torch.tensor(values), *arguments)
    torch.testing.assert_close(torch.as_tensor(function(values, *arguments)), expected)
    torch.testing.assert_close(torch.as_tensor(function(np.array(values, "float32"), *arguments)), expected)
    symbolic = function(KerasTensor((None, 2)), *arguments)
    assert symbolic.shape == (None, *expected.shape[1:])
    assert symbolic.dtype == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_integers_become_floats_unless_the_function_keeps_them(name):
    y = getattr(activations, name)(torch.tensor([[1, -2]], dtype=torch.int32), *ARGUMENTS.get(name, ()))
    keeps = name in ("relu", "relu6", "hard_tanh", "threshold", "linear")
    assert y.dtype is (torch.int32 if keeps else torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_without_graph_breaks(name):
    function = getattr(activations, name)
    x = torch.tensor([[-2.0, 0.5], [1.0, 3.0]])
    arguments = ARGUMENTS.get(name, ())
    torch.compiler.reset()
    compiled = torch.compile(lambda x: function(x, *arguments), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), function(x, *arguments))


def test_none_is_linear_and_any_callable_is_an_activation():
    assert activations.get(None) is activations.linear
    assert activations.get(torch.tanh) is torch.tanh
    module = torch.nn.ReLU()
    assert activations.get(module) is module
    assert isinstance(activations.get(torch.nn.ReLU), torch.nn.ReLU)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match='Did you mean "relu"'):
        activations.get("reluu")
    with pytest.raises(ValueError, match="Unknown activation"):
        activations.deserialize("nothing like it")
    with pytest.raises(ArgumentTypeError):
        activations.get(3)


def test_custom_functions_round_trip_when_registered():
    config = activations.serialize(doubled)
    assert config["config"] == "tests>doubled"
    assert activations.get(config) is activations.get("tests>doubled") is doubled


def test_custom_functions_not_registered_are_refused_on_loading():
    config = activations.serialize(unregistered)
    assert config["config"] == "unregistered"
    with pytest.raises(FileError, match="not registered"):
        activations.get(config)
    assert activations.deserialize(config, {"unregistered": unregistered}) is unregistered
    assert activations.deserialize("unregistered", {"unregistered": unregistered}) is unregistered
    with CustomObjectScope({"unregistered": unregistered}):
        assert activations.get("unregistered") is unregistered


def test_lambdas_have_no_name():
    with pytest.raises(ArgumentError, match="lambda"):
        activations.serialize(lambda x: x)


def test_softmax_and_sigmoid_keep_their_logits():
    x = torch.randn(2, 3, requires_grad=True)
    for y in (activations.sigmoid(x), activations.softmax(x), activations.softmax(x, axis=1)):
        assert y._keras_logits is x
    for y in (activations.softmax(x, axis=0), activations.softmax(x, axis=None), nn.softmax(x), nn.sigmoid(x)):
        assert not hasattr(y, "_keras_logits")
    assert not hasattr(activations.softmax([1.0, 2.0]), "_keras_logits")


def test_logits_are_not_kept_longer_than_the_result():
    logits = torch.randn(2, 3, requires_grad=True) * 2
    reference = weakref.ref(logits)
    y = activations.softmax(logits)
    del logits
    assert reference() is not None
    del y
    assert reference() is None


def test_softmax_over_several_axes():
    x = torch.randn(2, 3, 4)
    y = activations.softmax(x, axis=(0, 2))
    torch.testing.assert_close(y.sum((0, 2)), torch.ones(3))
    torch.testing.assert_close(activations.log_softmax(x, axis=(0, 2)).exp(), y)
    torch.testing.assert_close(activations.softmax(x, axis=None).sum(), torch.tensor(1.0))


def test_softmax_over_one_value_warns():
    with pytest.warns(UserWarning, match="always gives 1"):
        activations.softmax(torch.zeros(7, 1))


def test_sparsemax_is_a_projection():
    x = torch.randn(50, 6, dtype=torch.float64) * 2
    y = activations.sparsemax(x)
    torch.testing.assert_close(y.sum(-1), torch.ones(50, dtype=torch.float64))
    assert (y == 0).any()
    # No step towards a corner of the simplex comes closer to x.
    steps = torch.eye(6, dtype=torch.float64)[None] - y[:, None]
    assert ((steps * (x - y)[:, None]).sum(-1) < 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sparsemax_of_large_values_keeps_its_digits(dtype):
    x = torch.randn(50, 6).mul(20).add(200).to(dtype)
    torch.testing.assert_close(activations.sparsemax(x), activations.sparsemax(x.double()).to(dtype))


def test_sparsemax_gradient():
    x = torch.tensor([[0.1, 0.5, 0.3, -2.0], [3.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(activations.sparsemax, (x,))
    assert torch.autograd.gradcheck(lambda x: activations.sparsemax(x, axis=0), (x,))


def test_sparse_plus_has_a_gradient_at_infinity():
    x = torch.tensor([-math.inf, -1.0, 1.0, math.inf], requires_grad=True)
    activations.sparse_plus(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_glu_refuses_an_odd_axis():
    with pytest.raises(ShapeError, match="odd"):
        activations.glu(torch.zeros(2, 3))
    with pytest.raises(ArgumentError):
        activations.glu(torch.zeros(2, 4), axis=2)


def test_normalize_has_a_finite_gradient_at_zero():
    x = torch.zeros(1, 3, requires_grad=True)
    nn.normalize(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_one_hot_ignores_indices_outside():
    assert nn.one_hot([-1, 0, 3], 3).sum(-1).tolist() == [0.0, 1.0, 0.0]
    assert nn.one_hot(KerasTensor((None, 2), "int32"), 5, axis=1, dtype="int32").shape == (None, 5, 2)
    with pytest.raises(ArgumentError, match="axis"):
        nn.one_hot([0], 2, axis=3)


def test_crossentropies_name_the_shapes():
    with pytest.raises(ShapeError, match=r"\(2, 4\)"):
        nn.categorical_crossentropy(torch.zeros(2, 4), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="class indices"):
        nn.sparse_categorical_crossentropy(torch.zeros(3), torch.zeros(2, 3))
    assert nn.sparse_categorical_crossentropy(torch.zeros(2, 1), torch.ones(2, 3)).shape == (2,)
    assert nn.sparse_categorical_crossentropy(torch.tensor(1), torch.ones(3)).shape == ()
    assert nn.binary_crossentropy(KerasTensor((None, 1)), KerasTensor((None, 1))).shape == (None, 1)


def test_normalizations_of_symbolic_tensors():
    x = KerasTensor((None, 4, 5))
    assert nn.layer_normalization(x, axis=(1, 2)).shape == (None, 4, 5)
    assert nn.rms_normalization(x).shape == (None, 4, 5)
    assert [part.shape for part in nn.moments(x, 1)] == [(None, 5), (None, 5)]
    assert nn.normalize(x, axis=1).shape == (None, 4, 5)


def test_moments_are_stable_and_wide():
    mean, variance = nn.moments(torch.tensor([10000.0, 10001.0], dtype=torch.float32), 0)
    assert (mean.item(), variance.item()) == (10000.5, 0.25)
    _, variance = nn.moments(torch.tensor([60000.0, -60000.0], dtype=torch.float16), 0)
    assert variance.item() == torch.finfo(torch.float16).max
