"""Variables are parameters with a path, and stay so through copies, pickles and moves."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.scopes import name_scope
from lamina.core.variable import Variable


def test_is_a_parameter_whose_trainable_is_requires_grad():
    weight = Variable([1.0, 2.0], name="weight")
    assert isinstance(weight, torch.nn.Parameter)
    assert weight.trainable and weight.requires_grad
    weight.trainable = False
    assert not weight.requires_grad


def test_integer_state_never_trains():
    assert not Variable([1, 2], name="count").trainable


def test_initializer_function_needs_a_shape():
    weight = Variable(lambda shape, dtype: torch.full(shape, 3.0), shape=(2, 2), name="weight")
    assert weight.shape == (2, 2) and weight.sum() == 12
    with pytest.raises(ArgumentError, match="shape"):
        Variable(lambda shape, dtype: torch.zeros(shape))


def test_value_is_its_own_copy():
    source = torch.ones(2)
    weight = Variable(source, name="weight")
    weight.assign([5.0, 6.0])
    assert source.tolist() == [1.0, 1.0]


def test_path_follows_open_scopes():
    with name_scope("model"), name_scope("dense"):
        assert Variable([1.0], name="kernel").path == "model/dense/kernel"


def test_assignments_are_in_place_and_checked():
    weight = Variable(np.zeros((2, 3), "float32"), name="weight")
    address = weight.data_ptr()
    weight.assign(np.ones((2, 3)))
    weight.assign_add(1.0)
    weight.assign_sub(torch.full((2, 3), 0.5))
    assert weight.data_ptr() == address
    np.testing.assert_array_equal(weight.numpy(), np.full((2, 3), 1.5, "float32"))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        weight.assign(np.ones((3, 2)))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_stay_variables(copy_of):
    weight = Variable([1.0, 2.0], name="weight", trainable=False)
    other = copy_of(weight)
    assert isinstance(other, Variable)
    assert other.path == weight.path and not other.trainable
    other.assign([3.0, 4.0])
    assert weight.tolist() == [1.0, 2.0]


def test_arithmetic_gives_plain_tensors_with_gradients():
    weight = Variable([2.0], name="weight")
    result = weight * 3
    assert type(result) is torch.Tensor
    result.backward()
    assert weight.grad is not None and weight.grad.tolist() == [3.0]


def test_numpy_conversions():
    weight = Variable([2.0], name="weight")
    assert np.array(weight).tolist() == [2.0]
    assert float(weight) == 2.0
    assert "path=weight" in repr(weight)
