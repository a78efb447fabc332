"""Large products on the CPU: the same numbers as torch's own, which does the work where anything is unusual."""

import pytest
import torch
from torch.func import grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

import lamina
from lamina.ops import affine as module
from lamina.ops.affine import affine

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


@pytest.fixture(autouse=True)
def prefer_onednn(monkeypatch):
    monkeypatch.setattr(module, "_prefers_onednn", lambda: True)
    torch.manual_seed(0)


def _given(*batch, dtype=torch.float32):
    x, kernel, bias = torch.randn(*batch, 1024), torch.randn(1024, 1024), torch.randn(1024)
    return tuple(t.to(dtype).requires_grad_() for t in (x, kernel, bias))


def _is_fast(y):
    return "_Affine" in type(y.grad_fn).__name__


@pytest.mark.parametrize("batch", [(64,), (256,), (4, 16)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients(batch, with_bias):
    x, kernel, bias = _given(*batch)
    given = (x, kernel, bias) if with_bias else (x, kernel)
    y = affine(x, kernel, bias if with_bias else None)
    exact = x.double() @ kernel.double() + (bias.double() if with_bias else 0)
    slope = torch.randn_like(y)
    assert _is_fast(y) and y.shape == (*batch, 1024)
    torch.testing.assert_close(y.double(), exact, atol=1e-3, rtol=1e-5)
    found = torch.autograd.grad(y, given, slope)
    wanted = torch.autograd.grad(exact, given, slope.double())
    for value, reference, weight in zip(found, wanted, given, strict=True):
        assert value.stride() == weight.stride()
        torch.testing.assert_close(value, reference, atol=1e-3, rtol=1e-5)


def test_inputs_in_any_order_of_axes():
    _, kernel, bias = _given(64)
    x = torch.randn(1024, 64).t()
    with torch.no_grad():
        torch.testing.assert_close(affine(x, kernel, bias), torch.addmm(bias, x, kernel), atol=1e-3, rtol=1e-5)


def test_gradients_only_where_they_are_wanted():
    x, kernel, bias = _given(64)
    y = affine(x.detach(), kernel, bias.detach())
    y.sum().backward()
    assert _is_fast(y) and kernel.grad is not None and x.grad is None and bias.grad is None


def test_gradients_of_gradients():
    x, kernel, bias = _given(64)

    def second(product):
        (first,) = torch.autograd.grad(product(x, kernel, bias).square().mean(), kernel, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (x, kernel, bias))

    for value, reference in zip(second(affine), second(lambda x, k, b: x @ k + b), strict=True):
        torch.testing.assert_close(value, reference, atol=1e-2, rtol=1e-3)


def test_batched_gradients():
    x, kernel, bias = _given(64)
    y = affine(x, kernel, bias)
    slopes = torch.randn(2, *y.shape)
    (found,) = torch.autograd.grad(y, x, slopes, is_grads_batched=True)
    torch.testing.assert_close(found, slopes @ kernel.t(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_to_torch(dtype):
    assert not _is_fast(affine(*_given(64, dtype=dtype)))


def test_without_onednn_torch_does_it(monkeypatch):
    monkeypatch.setattr(module, "_prefers_onednn", lambda: False)
    assert not _is_fast(affine(*_given(64)))


def test_small_products_are_left_to_torch():
    assert not _is_fast(affine(*_given(2)))


def test_modes_and_transforms_see_what_they_know():
    x, kernel, bias = _given(64)
    targets = [node.target for node in make_fx(affine)(x.detach(), kernel.detach(), bias.detach()).graph.nodes]
    assert torch.ops.aten.addmm.default in targets

    class Names(TorchFunctionMode):
        seen: list[str] = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.seen.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    with Names():
        affine(x, kernel, bias)
    assert "addmm" in Names.seen
    with torch.autocast("cpu", torch.bfloat16):
        assert affine(x, kernel, bias).dtype is torch.bfloat16
    x, kernel, bias = (t.detach() for t in (x, kernel, bias))
    assert vmap(lambda row: affine(row, kernel, bias))(torch.randn(2, 64, 1024)).shape == (2, 64, 1024)
    assert grad(lambda k: affine(x, k, bias).sum())(kernel).shape == (1024, 1024)
    assert jvp(lambda v: affine(v, kernel, bias), (x,), (x,))[1].shape == (64, 1024)


def test_torch_compile_and_export():
    layer = lamina.layers.Dense(1024)
    layer.build((None, 1024))
    x = torch.randn(64, 1024)
    wanted = layer(x)
    assert _is_fast(wanted)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)(x)
    exported = torch.export.export(layer, (x,))
    assert not any("mkldnn" in str(node.target) for node in exported.graph.nodes)
    for value in (compiled, exported.module()(x)):
        torch.testing.assert_close(value, wanted, atol=1e-4, rtol=1e-4)
