"""Tensors without data: the same shapes, dtypes and strides as torch's fake tensors give, and nothing changed."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from lamina.core.outlines import NeedsData, Outline, Outlining, can_outline, with_data

_SHAPES = {
    "x": (6, 8),
    "w": (8, 4),
    "b": (4,),
    "c": (8,),
    "images": (2, 8, 9, 10),
    "kernel": (4, 8, 3, 3),
    "steps": (2, 5, 8),
    "heads": (2, 4, 5, 8),
    "volume": (2, 3, 6, 6, 6),
}
_CASES = {
    "add_broadcast": lambda t: t["x"] + t["c"],
    "add_outer": lambda t: t["c"][:, None] + t["c"],
    "promotion": lambda t: t["x"].int() + t["x"].double(),
    "scalar": lambda t: t["x"].int() * 2.5,
    "single_value": lambda t: t["x"].half() * torch.tensor(2.0),
    "compare": lambda t: (t["x"] > 1) & (t["x"] < 2),
    "where": lambda t: torch.where(t["x"] > 0, t["x"], 0.0),
    "divide_ints": lambda t: t["x"].int() / t["x"].int(),
    "relu_of_transposed": lambda t: t["x"].t().relu(),
    "gelu_channels_last": lambda t: F.gelu(t["images"].permute(0, 2, 3, 1)),
    "mm": lambda t: t["x"] @ t["w"],
    "addmm": lambda t: torch.addmm(t["b"], t["x"], t["w"]),
    "linear_of_steps": lambda t: F.linear(t["steps"], t["w"].t(), t["b"]),
    "bmm": lambda t: torch.bmm(t["steps"], t["steps"].mT),
    "baddbmm": lambda t: torch.baddbmm(t["c"][:5], t["steps"], t["steps"].mT),
    "convolution": lambda t: F.conv2d(t["images"], t["kernel"], t["b"], stride=2, padding=1),
    "convolution_channels_last": lambda t: F.conv2d(
        t["images"].to(memory_format=torch.channels_last), t["kernel"], dilation=2
    ),
    "convolution_groups": lambda t: F.conv2d(t["images"], t["kernel"][:, :4], groups=2),
    "convolution_transposed": lambda t: F.conv_transpose2d(
        t["images"], t["kernel"].transpose(0, 1), stride=2, padding=1, output_padding=1
    ),
    "convolution_1d": lambda t: F.conv1d(t["steps"].mT, t["kernel"][..., 0]),
    "max_pool": lambda t: F.max_pool2d(t["images"], 3, 2, 1),
    "max_pool_ceil": lambda t: F.max_pool2d(t["images"], 2, ceil_mode=True),
    "max_pool_3d": lambda t: F.max_pool3d(t["volume"], 2),
    "average_pool": lambda t: F.avg_pool2d(t["images"].to(memory_format=torch.channels_last), 2, padding=1),
    "average_pool_1d": lambda t: F.avg_pool1d(t["steps"].mT, 2),
    "batch_norm": lambda t: F.batch_norm(t["images"], t["c"], t["c"]),
    "batch_norm_training": lambda t: F.batch_norm(t["images"], None, None, t["c"], t["c"], training=True),
    "layer_norm": lambda t: F.layer_norm(t["steps"], (8,), t["c"], t["c"]),
    "group_norm": lambda t: F.group_norm(t["images"], 2, t["c"], t["c"]),
    "mean": lambda t: t["images"].mean((2, 3)),
    "mean_all": lambda t: t["images"].mean(),
    "sum_ints": lambda t: t["x"].int().sum(-1, keepdim=True),
    "variance": lambda t: torch.var_mean(t["images"], (1, 2), correction=0),
    "amax": lambda t: t["x"].amax(0),
    "max_with_indices": lambda t: t["x"].max(1),
    "argmax": lambda t: t["x"].argmax(-1),
    "any": lambda t: (t["x"] > 0).any(1),
    "norm": lambda t: torch.linalg.vector_norm(t["steps"], dim=(0, 2)),
    "logsumexp": lambda t: t["x"].logsumexp(1),
    "cumsum": lambda t: t["x"].cumsum(0),
    "cumsum_ints": lambda t: t["x"].int().cumsum(0),
    "cumsum_booleans": lambda t: (t["x"] > 0).mT.cumsum(-1),
    "cumprod_told": lambda t: t["x"].int().cumprod(0, dtype=torch.float64),
    "sort": lambda t: t["steps"].mT.sort(descending=True),
    "argsort": lambda t: t["x"].argsort(dim=0, stable=True),
    "softmax": lambda t: t["steps"].mT.softmax(-1),
    "log_softmax": lambda t: t["x"].log_softmax(0),
    "embedding": lambda t: F.embedding(t["x"].int(), t["w"]),
    "attention": lambda t: F.scaled_dot_product_attention(t["heads"], t["heads"], t["heads"]),
    "cat": lambda t: torch.cat([t["x"], t["x"][:3]]),
    "cat_transposed": lambda t: torch.cat([t["w"].t(), t["w"].t()[:, :1]], 1),
    "cat_dtypes": lambda t: torch.cat([t["x"], t["x"].double()], -1),
    "stack": lambda t: torch.stack([t["c"], t["c"]], -1),
    "arange": lambda t: torch.arange(1, 9, 3) * t["c"][:3],
    "full_like": lambda t: torch.full_like(t["x"], 1, dtype=torch.int64),
    "zeros_like_transposed": lambda t: torch.zeros_like(t["images"].permute(0, 2, 3, 1)),
    "in_place": lambda t: t["x"].clone().add_(t["c"]),
    "indices": lambda t: t["w"][t["x"].long()],
    "split": lambda t: t["x"].split(3),
    "rand": lambda t: torch.rand(3, 4, dtype=torch.float64),
    "pad": lambda t: F.pad(t["images"], (1, 2, 3, 4)),
    "to": lambda t: t["x"].to(torch.bfloat16),
}


def _described(result: object) -> object:
    if isinstance(result, torch.Tensor):
        return tuple(result.shape), result.dtype, result.stride(), result.device
    assert isinstance(result, (list, tuple))
    return [_described(part) for part in result]


@pytest.mark.parametrize("name", _CASES)
def test_outlines_are_what_fake_tensors_are(name: str) -> None:
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        expected = _described(_CASES[name]({key: torch.empty(shape) for key, shape in _SHAPES.items()}))
    with torch.no_grad(), Outlining() as mode:
        outlines = {key: mode.empty(shape, torch.float32) for key, shape in _SHAPES.items()}
        assert _described(_CASES[name](outlines)) == expected


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 1),
        lambda x: range(x.sum().long()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.unique(x),
        lambda x: x.unsqueeze_(0),
        lambda x: torch.allclose(x, x),
        lambda x: torch.tensor(1).item(),
        lambda x: torch.add(x, x, out=x),
    ],
)
def test_what_needs_data_is_refused(function: object) -> None:
    with Outlining() as mode, pytest.raises((NeedsData, NotImplementedError)):
        function(mode.empty((3, 4), torch.float32))  # type: ignore[operator]


def test_casting_by_torch_is_left_to_torch() -> None:
    with Outlining() as mode, torch.autocast("cpu", torch.bfloat16), pytest.raises(NeedsData):
        torch.matmul(mode.empty((3, 4), torch.float32), mode.empty((4, 3), torch.float32))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: torch.addmm(w, x, w),
        lambda x, w: x @ x,
        lambda x, w: x + x.t(),
        lambda x, w: F.conv2d(x, x),
        lambda x, w: F.layer_norm(x, (5,)),
        lambda x, w: torch.cat([x, x.t()]),
        lambda x, w: x.sum(7),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(function: object) -> None:
    with Outlining() as mode, pytest.raises((RuntimeError, IndexError)):
        function(mode.empty((3, 4), torch.float32), torch.ones(2, 2))  # type: ignore[operator]


def test_nothing_is_changed() -> None:
    weight, state = torch.ones(4, 4), torch.get_rng_state()
    with Outlining() as mode, torch.no_grad():
        weight.add_(1)
        weight.copy_(mode.empty((4, 4), torch.float32))
        F.dropout(torch.rand(4, 4), 0.5)
        assert isinstance(weight * 2, Outline)
    assert weight.tolist() == torch.ones(4, 4).tolist()
    assert torch.equal(state, torch.get_rng_state())


def test_weights_are_made_for_real_within() -> None:
    with Outlining() as mode:
        with with_data():
            assert (torch.ones(2) + 1).tolist() == [2.0, 2.0]
            with Outlining():
                assert isinstance(torch.ones(2), Outline)
            assert type(torch.ones(2)) is torch.Tensor
        assert isinstance(mode.empty((2,), torch.float32), Outline)
    assert type(torch.ones(2)) is torch.Tensor


def test_other_observers_are_not_disturbed() -> None:
    assert can_outline()
    with Outlining():
        assert can_outline()
    with FakeTensorMode():
        assert not can_outline()
