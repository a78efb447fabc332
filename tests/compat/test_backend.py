"""The functions of Keras 2's backend: values against NumPy, and that they work on symbolic tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lamina
from lamina import layers, ops
from lamina.compat import backend as K
from lamina.compat import backend_nn as N
from lamina.compat.names import OBJECTS
from lamina.core.errors import ArgumentError

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


def same(result, expected, **tolerance):
    expected = ops.convert_to_numpy(expected)
    np.testing.assert_allclose(ops.convert_to_numpy(result), expected, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def test_every_renamed_op_exists():
    assert [new for new in K.RENAMED.values() if not hasattr(ops, new)] == []


def test_old_defaults_of_axes():
    same(K.argmax(X), X.argmax(-1))
    same(K.argmin(X), X.argmin(-1))
    same(K.cumsum(X), X.cumsum(0))
    same(K.cumprod(X), X.cumprod(0))
    same(K.concatenate([X, X]), np.concatenate([X, X], -1))
    same(K.expand_dims(X), X[..., None])


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((2, 3), (2, 3)), None),
        (((2, 3, 4), (2, 4, 5)), None),
        (((2, 3, 4), (2, 3)), (1, 1)),
        (((2, 3, 4), (2, 5, 4)), 2),
    ],
)
def test_batch_dot(shapes, axes):
    x, y = (np.random.default_rng(1).normal(size=shape).astype("float32") for shape in shapes)
    a, b = (axes, axes) if isinstance(axes, int) else axes or (x.ndim - 1, y.ndim - (1 if y.ndim == 2 else 2))
    expected = np.stack([np.tensordot(x[i], y[i], axes=(a - 1, b - 1)) for i in range(2)])
    same(K.batch_dot(x, y, axes), expected.reshape(2, 1) if expected.ndim == 1 else expected)
    with pytest.raises(ArgumentError):
        K.batch_dot(x, y, 0)


def test_shapes_and_values():
    assert K.int_shape(X) == (2, 3, 4) and K.ndim(X) == 3 and K.count_params(X) == 24 and K.int_shape(3) is None
    assert K.dtype(ops.ones(2)) == "float32"
    same(K.batch_flatten(X), X.reshape(2, -1))
    same(K.flatten(X), X.ravel())
    same(K.clip(X, None, 0.5), np.minimum(X, 0.5))
    same(K.constant(2, shape=(2, 2)), np.full((2, 2), 2))
    same(K.eye(3), np.eye(3))
    same(K.gather(X, [1, 0]), X[[1, 0]])
    same(K.repeat(X[0], 5), np.repeat(X[0][:, None], 5, 1))
    same(K.repeat_elements(X, 2, 1), X.repeat(2, 1))
    same(K.l2_normalize(X, -1), X / np.linalg.norm(X, axis=-1, keepdims=True))
    same(K.switch(ops.array([True, False]), X, -X), np.stack([X[0], -X[1]]))
    same(K.switch(ops.array(True), lambda: ops.array(1.0), lambda: ops.array(2.0)), 1.0)
    assert K.cast_to_floatx(np.arange(3)).dtype == np.float32
    same(K.foldl(lambda a, b: a - b, ops.array([1.0, 2.0, 3.0])), -4)
    same(K.foldr(lambda a, b: a - b, ops.array([1.0, 2.0, 3.0])), 0)


def test_variables():
    x = K.variable([1.0, 2.0])
    K.set_value(x, [3.0, 4.0])
    same(K.get_value(x), [3, 4])
    K.update_add(x, [1.0, 1.0])
    K.update_sub(x, [0.5, 0.5])
    same(K.eval(x), [3.5, 4.5])
    K.moving_average_update(x, [0.0, 0.0], 0.9)
    same(x, [3.15, 4.05])
    K.batch_set_value([(x, [0.0, 0.0])])
    same(K.batch_get_value([x, K.ones((2,))]), [[0, 0], [1, 1]])
    K.update(x, K.zeros((2,)))


def test_phases():
    assert K.learning_phase() == 0
    assert K.in_train_phase(lambda: 1, 2) == 2 and K.in_test_phase(1, 2) == 1
    K.set_learning_phase(1)
    assert K.in_train_phase(1, 2) == 1 and K.in_train_phase(1, 2, training=False) == 2
    K.set_learning_phase(0)


def test_function_cuts_a_model():
    inputs = layers.Input((3,))
    hidden = layers.Dense(4, activation="relu")(inputs)
    model = lamina.Model(inputs, layers.Dense(1)(hidden))
    run = K.function([model.input, K.learning_phase()], [hidden, model.output])
    x = np.ones((2, 3), "float32")
    first, second = run([x, 0])
    assert isinstance(first, np.ndarray) and first.shape == (2, 4)
    same(second, model.predict(x, verbose=0))


def test_gradients_of_real_tensors_only():
    x = torch.ones(3, requires_grad=True)
    same(K.gradients((x**2).sum(), x)[0], [2, 2, 2])
    with pytest.raises(ArgumentError, match=r"torch\.autograd\.grad"):
        K.gradients(K.placeholder((None, 3)), [x])


def test_network_functions():
    image = np.random.default_rng(2).normal(size=(1, 4, 4, 2)).astype("float32")
    same(N.spatial_2d_padding(image), np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))))
    same(N.temporal_padding(X), np.pad(X, ((0, 0), (1, 1), (0, 0))))
    same(N.pool2d(image, (2, 2), (2, 2)), image.reshape(1, 2, 2, 2, 2, 2).max((2, 4)))
    same(N.pool2d(image, (2, 2), (2, 2), pool_mode="avg"), image.reshape(1, 2, 2, 2, 2, 2).mean((2, 4)))
    same(N.resize_images(image, 2, 3, "channels_last"), image.repeat(2, 1).repeat(3, 2))
    same(N.relu(X, 0.1, 1.0, 0.2), np.where(X >= 0.2, np.minimum(X, 1.0), 0.1 * (X - 0.2)))
    same(N.bias_add(ops.array(image), ops.array([1.0, 2.0])), image + np.array([1, 2]))
    moved = image.transpose(0, 3, 1, 2)
    same(
        N.bias_add(ops.array(moved), ops.array([1.0, 2.0]), "channels_first"),
        moved + np.array([1, 2]).reshape(1, 2, 1, 1),
    )
    same(N.batch_normalization(ops.array(X), 1.0, 4.0, 0.5, 2.0, epsilon=0.0), (X - 1) / 2 * 2 + 0.5)
    assert N.conv1d(X, np.ones((3, 4, 5), "float32"), padding="causal").shape == (2, 3, 5)
    assert N.random_uniform((3,), 2.0, 3.0).min() >= 2
    assert N.random_uniform_variable((3,), 2.0, 3.0).assign_add([1.0, 1.0, 1.0]).min() >= 3
    assert K.int_shape(N.random_normal_variable((3, 2), 0.0, 1.0)) == (3, 2)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("strides", "size"), [((1, 1), 3), ((2, 2), 3), ((2, 2), 4), ((3, 3), 2)])
def test_transposed_convolution_is_the_layer_s(padding, strides, size):
    layer = layers.Conv2DTranspose(5, size, strides, padding, use_bias=False)
    x = ops.convert_to_tensor(np.random.default_rng(3).normal(size=(2, 6, 7, 3)).astype("float32"))
    expected = layer(x)
    same(N.conv2d_transpose(x, layer.kernel, expected.shape, strides, padding), expected)
    moved = N.conv2d_transpose(
        ops.transpose(x, (0, 3, 1, 2)), layer.kernel, (2, 5, *expected.shape[1:3]), strides, padding, "channels_first"
    )
    same(ops.transpose(moved, (0, 2, 3, 1)), expected)


def test_ctc():
    chances = np.array([[[0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.7, 0.1, 0.2]]] * 2, "float32")
    lengths = np.array([[3], [2]])
    decoded, scores = N.ctc_decode(chances, lengths[:, 0])
    assert decoded[0].tolist() == [[1, 0], [1, -1]]
    same(scores, [[-np.log(0.6 * 0.5 * 0.7)], [-np.log(0.6 * 0.5)]])
    # With two steps the label 1 comes from the paths (1, 1), (1, blank) and (blank, 1).
    cost = N.ctc_batch_cost(np.array([[1], [1]]), chances, np.array([[2], [2]]), np.array([[1], [1]]))
    same(cost, [[-np.log(0.6 * 0.3 + 0.6 * 0.5 + 0.3 * 0.3)]] * 2, rtol=1e-4)
    with pytest.raises(ArgumentError, match="greedy"):
        N.ctc_decode(chances, lengths, greedy=False)


def test_focal_losses():
    target, output = np.array([[1.0, 0.0]], "float32"), np.array([[0.8, 0.3]], "float32")
    right = np.array([[0.8, 0.7]])
    same(N.binary_focal_crossentropy(target, output), (1 - right) ** 2 * -np.log(right), rtol=1e-4)
    probability = output / output.sum()
    expected = (0.25 * (1 - probability) ** 2 * -np.log(probability) * target).sum(-1)
    same(N.categorical_focal_crossentropy(target, output), expected, rtol=1e-4)


def test_rnn_keeps_states_where_masked():
    mask = np.array([[True, True, False], [True, False, False]])
    last, outputs, states = N.rnn(lambda x, s: (x + s[0], [x + s[0]]), X, [ops.zeros((2, 4))], mask=mask)
    sums = np.cumsum(np.where(mask[..., None], X, 0), 1)
    same(last, sums[:, -1])
    same(outputs, sums)
    same(states[0], sums[:, -1])


@pytest.mark.parametrize("name", ["sigmoid", "exp", "square", "mean", "sum", "max", "abs", "softmax"])
def test_old_functions_work_on_symbolic_tensors(name):
    function = getattr(ops, OBJECTS["backend"][name].value.removeprefix("ops."))
    inputs = layers.Input((3,))
    model = lamina.Model(inputs, layers.Lambda(lambda t: t * 1.0)(function(inputs)))
    same(model(X[0, :, :3]), function(X[0, :, :3]))
