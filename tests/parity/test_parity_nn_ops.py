"""The windowed and sequence ops of `ops.nn` beside the real Keras: values, gradients, dtypes, symbolic shapes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras")

from lamina import ops
from lamina.graph.tensor import KerasTensor

RNG = np.random.RandomState(0)
LAYOUTS = ("channels_last", "channels_first")
LENGTHS = {1: (7,), 2: (6, 7), 3: (4, 5, 6)}


def images(rank: int, data_format: str, channels: int = 3) -> torch.Tensor:
    spatial = LENGTHS[rank]
    shape = (2, *spatial, channels) if data_format == "channels_last" else (2, channels, *spatial)
    return torch.tensor(RNG.normal(size=shape), requires_grad=True)


def check(name: str, *args: Any, tolerance: float = 1e-9, **kwargs: Any) -> None:
    """Values and gradients are Keras's, and the symbolic shape is that of the result."""
    results = []
    for module in (keras.ops, ops):
        y = getattr(module, name)(*args, **kwargs)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        inputs = [x for x in args if isinstance(x, torch.Tensor)]
        results.append((y, *torch.autograd.grad((y * weights).sum(), inputs)))
    for expected, got in zip(*results, strict=True):
        assert expected.shape == got.shape
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    symbolic = [KerasTensor((None, *x.shape[1:]), "float64") if i == 0 else x for i, x in enumerate(args)]
    shape = getattr(ops, name)(*symbolic, **kwargs).shape
    assert tuple(shape) == (None, *results[1][0].shape[1:])


TRANSPOSED = [
    (rank, padding, *rest)
    for rank, padding in itertools.product((1, 2, 3), ("valid", "same"))
    for rest in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2), (None, 0, 1, 2))
    if rank < 3 or (rest[0] in (2, 3) and rest[3] != 2)
]


@pytest.mark.parametrize(("rank", "padding", "size", "stride", "dilation", "extra"), TRANSPOSED)
def test_conv_transpose(rank, padding, size, stride, dilation, extra):
    data_format = LAYOUTS[(size + stride) % 2]
    x = images(rank, data_format)
    kernel = torch.tensor(RNG.normal(size=(*(size + i % 2 for i in range(rank)), 2, 3)), requires_grad=True)
    arguments = {"strides": stride, "padding": padding, "output_padding": extra, "dilation_rate": dilation}
    try:
        keras.ops.conv_transpose(x, kernel, data_format=data_format, **arguments)
    except RuntimeError:
        # Torch's kernel has less padding than this; here the padding is made of zeros.
        ops.conv_transpose(x, kernel, data_format=data_format, **arguments)
        return
    check("conv_transpose", x, kernel, data_format=data_format, **arguments)


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling(rank, data_format):
    x = images(rank, data_format)
    for name, padding in itertools.product(("max_pool", "average_pool"), ("valid", "same")):
        for size, stride in itertools.product((1, 2, 3), (None, 1, 2, 3)):
            # With padding uneven on one axis only, Keras on torch averages repeated edges; Keras elsewhere does not.
            if (name, padding) != ("average_pool", "same"):
                check(name, x, size, stride, padding, data_format)
    for size in (1, 3, tuple(range(2, 2 + rank)), 9):
        for name in ("adaptive_max_pool", "adaptive_average_pool"):
            check(name, x, size, data_format)


@pytest.mark.parametrize(("size", "stride"), [*itertools.product((1, 2, 3, (2, 3)), (1, 2, 3, (2, 1)))])
def test_means_of_what_lies_inside(size, stride):
    x = images(2, "channels_last").detach()
    sizes, strides = (v if isinstance(v, tuple) else (v, v) for v in (size, stride))
    amounts = []
    for length, window, step in zip(LENGTHS[2], sizes, strides, strict=True):
        total = max(0, (-(-length // step) - 1) * step + window - length)
        amounts = [total // 2, total - total // 2, *amounts]
    padded, ones = (torch.nn.functional.pad(v, [0, 0, *amounts]) for v in (x, torch.ones_like(x)))
    sums, counts = (keras.ops.average_pool(v, size, stride) for v in (padded, ones))
    torch.testing.assert_close(ops.average_pool(x, size, stride, "same"), sums / counts)


@pytest.mark.parametrize("size", [1, 2, (2, 3)])
@pytest.mark.parametrize(("dilation", "padding", "stride"), [(1, 0, 1), (2, 1, 1), (1, (1, 0), 2), ((1, 2), 1, (2, 1))])
def test_windows_and_back(size, dilation, padding, stride):
    x = images(2, "channels_first")
    check("unfold", x, size, dilation, padding, stride)
    columns = ops.unfold(x, size, dilation, padding, stride).detach().requires_grad_()
    check("fold", columns, LENGTHS[2], size, dilation, padding, stride)


DTYPES = ("int8", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    kind = getattr(torch, dtype)
    x, kernel = torch.arange(18).view(1, 3, 3, 2).to(kind), torch.arange(8).view(2, 2, 1, 2).to(kind)
    calls = {
        "conv": (x, kernel.movedim(-1, -2)),
        "depthwise_conv": (x, kernel.movedim(-1, -2)),
        "conv_transpose": (x, kernel, 2),
        "max_pool": (x, 2, 1, "same"),
        "adaptive_max_pool": (x, 2),
        "unfold": (x.movedim(-1, 1), 2),
        "fold": (torch.ones(1, 4, 4).to(kind), 3, 2),
    }
    if kind.is_floating_point:
        calls |= {"average_pool": (x, 2, 1, "same"), "adaptive_average_pool": (x, 2)}
    for name, args in calls.items():
        got = getattr(ops, name)(*args)
        assert got.dtype is kind, name
        symbolic = [KerasTensor(a.shape, dtype) if isinstance(a, torch.Tensor) else a for a in args]
        assert getattr(ops, name)(*symbolic).dtype == dtype
        # Torch has no integer kernels for most of them: what they would give is then the float result.
        wide = [a.double() if isinstance(a, torch.Tensor) else a for a in args]
        expected = getattr(keras.ops, name)(*wide)
        expected = expected.long().to(kind) if not kind.is_floating_point else expected.to(kind)
        torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2)


def logits(batch: int, steps: int, classes: int) -> np.ndarray:
    return RNG.normal(scale=RNG.choice([0.3, 1.0, 3.0]), size=(batch, steps, classes)).astype("float32")


@pytest.mark.parametrize("trial", range(30))
def test_ctc_decode(trial):
    batch, steps, classes = RNG.randint(1, 4), RNG.randint(1, 9), RNG.randint(2, 6)
    x, lengths = logits(batch, steps, classes), RNG.randint(1, steps + 1, batch).astype("int32")
    width, paths = [(1, 1), (2, 1), (3, 3), (5, 2), (100, 4), (2, 3)][trial % 6]
    settings = (
        {"strategy": "greedy", "merge_repeated": bool(trial % 2)},
        {"strategy": "beam_search", "beam_width": width, "top_paths": paths},
    )
    for setting in settings:
        setting["mask_index"] = (0, classes - 1, None)[trial % 3]
        labels, scores = keras.ops.ctc_decode(x, lengths, **setting)
        got = ops.ctc_decode(x, lengths, **setting)
        assert got[0].dtype is torch.int32 and got[1].dtype is torch.float32
        assert torch.equal(got[0], labels)
        torch.testing.assert_close(got[1], scores, rtol=1e-4, atol=1e-4)
        symbolic = ops.ctc_decode(KerasTensor((None, steps, classes)), KerasTensor((None,), "int32"), **setting)
        assert symbolic[0].shape == (labels.shape[0], None, steps) and symbolic[1].shape == (None, scores.shape[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32"])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_loss(dtype, blank):
    x = torch.tensor(logits(3, 6, 5)).to(getattr(torch, dtype)).requires_grad_(dtype != "int32")
    target = np.array([[1, 2, 2], [4, 2, 0], [1, 1, 1]])
    given = target, x, np.array([3, 2, 3]), np.array([6, 4, 2])
    expected, got = keras.ops.ctc_loss(*given, mask_index=blank), ops.ctc_loss(*given, mask_index=blank)
    assert got.dtype is expected.dtype is torch.float32
    assert bool(got[2].isinf())
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    if x.requires_grad:
        gradients = [torch.autograd.grad(loss[:2].sum(), x)[0] for loss in (expected, got)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4, equal_nan=True)
