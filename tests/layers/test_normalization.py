"""Normalization: statistics, frozen layers, several processes, axes that torch's kernels do not take, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.graph.tensor import KerasTensor
from lamina.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)


def test_moving_statistics_take_the_variance_over_the_count() -> None:
    layer = BatchNormalization(momentum=0.9).train()
    x = torch.randn(6, 5, 4, 3) * 2 + 1
    for _ in range(20):
        layer(x)
    flat = x.double().reshape(-1, 3)
    kept = 0.9**20
    mean, variance = flat.mean(0), flat.var(0, correction=0)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean * (1 - kept), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), kept + variance * (1 - kept), rtol=1e-5)


def test_a_long_training_does_not_drift() -> None:
    """The moving variance is scaled and scaled back at each step; errors must not add up."""
    layer = BatchNormalization().train()
    x = torch.randn(7, 3)
    with torch.no_grad():
        for _ in range(3000):
            layer(x)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x.var(0, correction=0), rtol=2e-5)


def test_inference_and_frozen_layers_leave_the_statistics_alone() -> None:
    x = torch.randn(8, 3)
    for layer, mode in ((BatchNormalization(), False), (BatchNormalization(trainable=False), True)):
        layer(x, training=mode)
        assert layer.moving_mean.numpy().tolist() == [0.0, 0.0, 0.0]
        torch.testing.assert_close(layer(x, training=mode), x / np.sqrt(1.001), rtol=1e-5, atol=1e-6)
        assert not layer.trainable_weights if mode else len(layer.trainable_weights) == 2


def test_freezing_later_works_at_once() -> None:
    layer = BatchNormalization().train()
    x = torch.randn(8, 3) + 5
    for _ in range(3):
        layer(x)
    before = layer.moving_mean.numpy()
    layer.trainable = False
    layer(x)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_two_calls_before_one_backward_pass() -> None:
    layer = BatchNormalization().train()
    x = torch.randn(4, 5, 5, 3, requires_grad=True)
    (layer(x).sum() + layer(x * 2).square().sum()).backward()
    assert x.grad is not None


def test_state_is_in_buffers() -> None:
    layer = BatchNormalization()
    layer.build((None, 3))
    assert [name for name, _ in layer.named_parameters()] == ["gamma", "beta"]
    assert [name for name, _ in layer.named_buffers()] == ["moving_mean", "moving_variance"]


def test_a_single_position_and_an_empty_batch() -> None:
    layer = BatchNormalization(beta_initializer="ones")
    np.testing.assert_allclose(layer(torch.full((1, 3), 7.0), training=True).detach(), np.ones((1, 3)))
    assert layer(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 4, 5, 3), (2, 2, 4, 5, 3)])
def test_results_stay_channels_last(shape) -> None:
    layer = BatchNormalization().train()
    x = torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn(shape))
    assert y.is_contiguous() and x.grad is not None and x.grad.is_contiguous()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"renorm": True}])
@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_statistics(policy, arguments, masked) -> None:
    """Large values lose their variance when statistics are taken in half precision."""
    x = torch.randn(64, 8, 3) + 30
    half = x.to(torch.float16 if policy[-7:] == "float16" and "b" not in policy else torch.bfloat16)
    mask = torch.ones(64, 8, dtype=torch.bool) if masked else None
    layer = BatchNormalization(dtype=policy, momentum=0.0, **arguments)
    layer(half, training=True, mask=mask)
    full = BatchNormalization(momentum=0.0, **arguments)
    full(half.float(), training=True, mask=mask)
    np.testing.assert_allclose(layer.moving_variance.float(), full.moving_variance, rtol=2e-2)


def test_a_mask_leaves_positions_out() -> None:
    x = torch.tensor([[[1.0], [3.0], [1000.0]]])
    mask = torch.tensor([[True, True, False]])
    layer = BatchNormalization(momentum=0.0)
    layer(x, training=True, mask=mask)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [2.0], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [1.0], rtol=1e-5)
    with pytest.raises(ShapeError, match="mask does not fit"):
        layer(x, training=True, mask=torch.ones(1, dtype=torch.bool))


def _one_process(rank: int, port: int, queue: multiprocessing.Queue) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    x = torch.randn(8, 5, 3)
    part = x[:3] if rank == 0 else x[3:]
    part = part.clone().requires_grad_()
    layer = BatchNormalization(synchronized=True, momentum=0.5).train()
    y = layer(part)
    (y * torch.linspace(0, 1, y.numel()).reshape(y.shape)).sum().backward()
    assert part.grad is not None
    queue.put((rank, y.detach().numpy(), layer.moving_mean.numpy(), layer.moving_variance.numpy(), part.grad.numpy()))
    distributed.barrier()
    distributed.destroy_process_group()


def test_synchronized_statistics(unused_port: int) -> None:
    """Two processes with parts of a batch, of unequal size, do what one does with the whole."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_one_process, args=(rank, unused_port, queue)) for rank in (0, 1)]
    for process in processes:
        process.start()
    results = sorted((queue.get(timeout=120) for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join(60)
    torch.manual_seed(0)
    x = torch.randn(8, 5, 3).requires_grad_()
    layer = BatchNormalization(synchronized=True, momentum=0.5).train()
    y = layer(x)
    weights = torch.cat([torch.linspace(0, 1, n * 15).reshape(n, 5, 3) for n in (3, 5)])
    (y * weights).sum().backward()
    np.testing.assert_allclose(np.concatenate([r[1] for r in results]), y.detach(), atol=1e-5)
    np.testing.assert_allclose(np.concatenate([r[4] for r in results]), x.grad, atol=1e-5)
    for result in results:
        np.testing.assert_allclose(result[2], layer.moving_mean, atol=1e-6)
        np.testing.assert_allclose(result[3], layer.moving_variance, atol=1e-6)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "clipping", [{"max": 1.0}, {"rmin": 2.0, "rmax": 1.0}, {"dmax": -1.0}], ids=["key", "order", "sign"]
)
def test_renorm_clipping_is_checked(clipping) -> None:
    with pytest.raises(ArgumentError, match="renorm_clipping"):
        BatchNormalization(renorm=True, renorm_clipping=clipping)


def _layer_norm(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)


@pytest.mark.parametrize("axis", [1, 0, [0, 2], [1, 2], [-1, 1], [-2], (2, 1)])
def test_layer_normalization_over_any_axes(axis) -> None:
    """Keras on torch fails on single axes that are not the last."""
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype("float32")
    layer = LayerNormalization(axis=axis)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    np.testing.assert_allclose(layer(torch.tensor(x)).detach(), _layer_norm(x, axes), atol=1e-5)
    gamma = np.random.default_rng(1).normal(size=layer.gamma.shape).astype("float32")
    layer.set_weights([gamma, np.zeros_like(gamma)])
    shape = [x.shape[i] if i in {a % 4 for a in axes} else 1 for i in range(4)]
    np.testing.assert_allclose(layer(torch.tensor(x)).detach(), _layer_norm(x, axes) * gamma.reshape(shape), atol=1e-5)


@pytest.mark.parametrize("axis", [1, [1, 3], [0, 2]])
def test_rms_normalization_over_any_axes(axis) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype("float32")
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    wanted = x / np.sqrt(np.square(x).mean(axes, keepdims=True) + 1e-6)
    np.testing.assert_allclose(RMSNormalization(axis=axis)(torch.tensor(x)).detach(), wanted, atol=1e-5)


def test_unit_normalization_of_zeros() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    UnitNormalization()(x).sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_layer_normalization_takes_inputs_as_they_are() -> None:
    layer = LayerNormalization(dtype="mixed_bfloat16")
    x = torch.randn(4, 3) + 100
    assert layer(x).dtype is torch.bfloat16
    np.testing.assert_allclose(layer(x).detach().float(), _layer_norm(x.numpy(), (1,)), atol=2e-2)
    assert LayerNormalization()(torch.arange(6).reshape(2, 3)).dtype is torch.float32


def test_files_of_keras_name_rms_scaling() -> None:
    layer = LayerNormalization(rms_scaling=False)
    assert layer.get_config()["rms_scaling"] is False
    assert LayerNormalization.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.warns(UserWarning, match="RMSNormalization"):
        layer = LayerNormalization(rms_scaling=True)
    x = torch.randn(3, 5)
    expected = x / (x.var(-1, correction=0, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(layer(x).detach(), expected)
    assert [weight.name for weight in layer.weights] == ["gamma"]
    assert LayerNormalization.from_config(layer.get_config()).rms_scaling


@pytest.mark.parametrize(("axis", "layout"), [(-1, (0, 1, 2, 3)), (1, (0, 3, 1, 2))])
def test_groups_of_inputs_that_need_no_gradient(axis: int, layout: tuple[int, ...]) -> None:
    layer = GroupNormalization(groups=2, axis=axis)
    layer(torch.randn(2, 3, 3, 4).permute(layout)).square().sum().backward()
    assert layer.gamma.grad.shape == (4,)


@pytest.mark.parametrize("axis", [4, -5, [1, 7]])
@pytest.mark.parametrize("make", [BatchNormalization, LayerNormalization, GroupNormalization, RMSNormalization])
def test_axes_that_do_not_exist(make, axis) -> None:
    if make in (BatchNormalization, GroupNormalization) and isinstance(axis, list):
        return
    for data in (torch.zeros(2, 3, 4, 32), KerasTensor((None, 3, 4, 32))):
        with pytest.raises(ShapeError, match="no such axis"):
            make(axis=axis)(data)


def test_other_errors() -> None:
    with pytest.raises(ArgumentTypeError, match="axis"):
        LayerNormalization(axis="last")
    with pytest.raises(ShapeError, match="must be known"):
        BatchNormalization()(KerasTensor((None, 4, None)))
    with pytest.raises(ShapeError, match="divisible by groups=3"):
        GroupNormalization(groups=3)(torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="divisible by groups=32"):
        GroupNormalization()(torch.zeros(2, 4))
    with pytest.raises(ArgumentError, match="groups"):
        GroupNormalization(groups=0)
    layer = BatchNormalization()
    for _ in range(2):
        layer(torch.zeros(2, 4))
    with pytest.raises(ShapeError):
        layer(torch.zeros(2, 5))
