"""Windowed ops at their edges: gradients, unknown sizes, layers that share them, what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch

import lamina
from lamina import layers, ops
from lamina.core.errors import ArgumentError, LaminaError, ShapeError
from lamina.graph.tensor import KerasTensor


def doubles(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, k: ops.conv_transpose(x, k, 2, "same"), [(1, 3, 4, 2), (3, 2, 3, 2)]),
        (lambda x, k: ops.conv_transpose(x, k, 2, output_padding=5), [(1, 3, 2), (3, 2, 2)]),
        (lambda x, k: ops.conv_transpose(x, k, dilation_rate=2), [(1, 2, 2, 2, 1), (2, 1, 2, 2, 1)]),
        (lambda x: ops.adaptive_average_pool(x, 3), [(1, 5, 4, 2)]),
        (lambda x: ops.adaptive_max_pool(x, 2), [(1, 5, 2)]),
        (lambda x: ops.average_pool(x, 3, 2, "same"), [(1, 4, 5, 3, 1)]),
        (lambda x: ops.max_pool(x, 2, 1, "same"), [(1, 4, 5, 1)]),
        (lambda x: ops.unfold(x, 2, 1, 1, 2), [(1, 2, 4, 3)]),
        (lambda x: ops.fold(x, 3, 2), [(1, 8, 4)]),
    ],
)
def test_gradients(function, shapes):
    assert torch.autograd.gradcheck(function, [doubles(*shape) for shape in shapes])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unknown_sizes(rank):
    x = KerasTensor((None, *[None] * rank, 2))
    kernel = torch.ones(*[3] * rank, 4, 2)
    assert ops.conv_transpose(x, kernel, 2, "same").shape == (None, *[None] * rank, 4)
    assert ops.max_pool(x, 2, padding="same").shape == (None, *[None] * rank, 2)
    for pool in (ops.adaptive_average_pool, ops.adaptive_max_pool):
        assert pool(x, 3).shape == (None, *[3] * rank, 2)


def test_windows_of_unknown_sizes():
    assert ops.unfold(KerasTensor((None, 3, None, 8)), 2, stride=2).shape == (None, 12, None)
    assert ops.fold(KerasTensor((None, 12, 4)), 4, 2, stride=2).shape == (None, 3, 4, 4)


def test_padding_beyond_the_stride_is_of_zeros():
    x, kernel = torch.ones(1, 4, 1), torch.ones(3, 1, 1)
    base, padded = ops.conv_transpose(x, kernel, 2), ops.conv_transpose(x, kernel, 2, output_padding=4)
    assert torch.equal(padded[:, :9], base) and padded.shape == (1, 13, 1) and not padded[:, 9:].any()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layers_share_them(data_format):
    x = torch.randn(2, 6, 7, 5)
    channels = 5 if data_format == "channels_last" else 6
    layer = layers.Conv2DTranspose(4, 3, 2, "same", data_format=data_format, bias_initializer="ones")
    layer.build(x.shape)
    bias = torch.ones(4) if data_format == "channels_last" else torch.ones(4, 1, 1)
    expected = ops.conv_transpose(x, layer.kernel, 2, "same", data_format=data_format) + bias
    assert layer.kernel.shape == (3, 3, 4, channels)
    torch.testing.assert_close(layer(x), expected)
    for name, op in (("Max", ops.max_pool), ("Average", ops.average_pool)):
        for padding, stride in itertools.product(("valid", "same"), (1, 2, 3)):
            layer = getattr(layers, f"{name}Pooling2D")(3, stride, padding, data_format)
            assert torch.equal(layer(x), op(x, 3, stride, padding, data_format))


def test_largest_integers():
    x = torch.tensor([[[-5], [-7], [-128]]], dtype=torch.int8)
    assert ops.max_pool(x, 2, 1, "same").flatten().tolist() == [-5, -7, -128]
    assert ops.conv(x, torch.ones(2, 1, 1, dtype=torch.int32)).flatten().tolist() == [-12, -135]


def test_refused():
    with pytest.raises(ShapeError, match="kernel does not fit"):
        ops.conv_transpose(torch.ones(1, 4, 2), torch.ones(3, 4, 3))
    with pytest.raises(ArgumentError, match="output_padding"):
        ops.conv_transpose(torch.ones(1, 4, 2), torch.ones(3, 4, 2), output_padding=-1)
    with pytest.raises(ArgumentError, match="Unknown padding"):
        ops.conv_transpose(torch.ones(1, 4, 2), torch.ones(3, 4, 2), padding="causal")
    with pytest.raises(ArgumentError, match="output_size"):
        ops.adaptive_max_pool(torch.ones(1, 4, 4, 2), (2, None))
    with pytest.raises(ShapeError, match="number of axes"):
        ops.adaptive_average_pool(torch.ones(4, 4), 2)
    with pytest.raises(ShapeError, match="takes images"):
        ops.unfold(torch.ones(4, 4), 2)
    with pytest.raises(LaminaError, match="op fold"):
        ops.fold(torch.ones(1, 8, 5), 3, 2)
    with pytest.raises(ShapeError, match=r"(?s)offset.*a vector of length 2"):
        ops.batch_normalization(KerasTensor((None, 2)), torch.ones(2), torch.ones(2), -1, offset=torch.ones(3))
    for name in ("one_hot", "multi_hot"):
        with pytest.raises(ArgumentError, match=r"ops\.take"):
            getattr(ops, name)([1, 2], 4, sparse=True)


def test_rms_scaling_is_old():
    x = torch.tensor([[1.0, 3.0]])
    with pytest.warns(UserWarning, match="rms_normalization"):
        y = ops.layer_normalization(x, rms_scaling=True, epsilon=0.0)
    assert y.tolist() == [[1.0, 3.0]]


def test_a_model_of_them_is_saved(tmp_path):
    inputs = lamina.Input((8, 8, 2))
    x = ops.adaptive_average_pool(inputs, (3, 4))
    outputs = ops.fold(ops.unfold(ops.transpose(x, (0, 3, 1, 2)), 2), (3, 4), 2)
    model = lamina.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    values = torch.randn(2, 8, 8, 2)
    torch.testing.assert_close(lamina.models.load_model(tmp_path / "model.keras")(values), model(values))
