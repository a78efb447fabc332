"""Activation layers: what the contract and the parity tests do not ask."""

from __future__ import annotations

import pytest
import torch

from lamina import layers
from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.tensor import KerasTensor


def test_prelu_learns_one_slope_per_channel():
    layer = layers.PReLU(shared_axes=[1, 2])
    layer(torch.randn(2, 4, 4, 3))
    assert layer.alpha.shape == (1, 1, 3)
    layer(torch.randn(2, 7, 5, 3))
    with pytest.raises(ShapeError, match="3 on axis 3"):
        layer(torch.randn(2, 7, 5, 4))


def test_prelu_needs_known_sizes():
    with pytest.raises(ShapeError, match="shared_axes"):
        layers.PReLU()(KerasTensor((None, None, 3)))
    assert layers.PReLU(shared_axes=[1])(KerasTensor((None, None, 3))).shape == (None, None, 3)


def test_prelu_counts_axes_from_the_end_too():
    layer = layers.PReLU(shared_axes=[-1])
    layer(torch.randn(2, 4, 3))
    assert layer.alpha.shape == (4, 1)


def test_softmax_gives_no_share_to_what_is_masked():
    x = torch.randn(3, 4)
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    y = layers.Softmax()(x, mask=mask)
    assert y[0, 2] == 0 and not y[1].any()
    torch.testing.assert_close(y[0].sum(), torch.tensor(1.0))
    torch.testing.assert_close(y[2], x[2].softmax(-1))
    half = layers.Softmax(dtype="float16")(x, mask=mask)
    assert torch.isfinite(half).all() and half[0, 2] == 0


def test_softmax_refuses_masks_that_are_too_large():
    for shape in ((2, 3, 4), (3, 5)):
        with pytest.raises(ShapeError, match="mask"):
            layers.Softmax()(torch.ones(3, 4), mask=torch.ones(shape, dtype=torch.bool))


def test_softmax_of_one_element_warns():
    with pytest.warns(UserWarning):
        layers.Dense(1, activation="softmax")(torch.ones(2, 3))


def test_errors_name_argument_and_layer():
    with pytest.raises(ArgumentError, match="max_value") as caught:
        layers.ReLU(max_value=-1, name="r")
    assert "layer 'r' (ReLU)" in str(caught.value)
