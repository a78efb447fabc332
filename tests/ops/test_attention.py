"""dot_product_attention and the two ways it is computed: both agree, masked rows stay finite, graphs hold it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lamina
from lamina.core.errors import ArgumentError, ShapeError
from lamina.ops.attention import attend, attention_weights, dot_product_attention, weighted


def tensors(heads: int = 4, dtype: torch.dtype = torch.float32, spread: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, 5, 8), (2, heads, 6, 8), (2, heads, 6, 8)
    return [(torch.randn(shape, generator=generator) * spread).to(dtype).requires_grad_() for shape in shapes]


def in_steps(query, key, value, mask=None, causal=False, scale=None):
    return weighted(attention_weights(query, key, mask, causal, scale), value)


@pytest.mark.parametrize(("heads", "masked", "causal"), [*itertools.product((4, 2, 1), (False, True), (False, True))])
def test_both_ways_agree(heads, masked, causal) -> None:
    mask = torch.rand(2, 1, 5, 6) > 0.4 if masked else None
    given = tensors(heads)
    results = []
    for way in (attend, in_steps):
        outputs = way(*given, mask, causal)
        results.append([outputs, *torch.autograd.grad(outputs.square().sum(), given)])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_query_that_sees_nothing(dtype) -> None:
    query, key, value = tensors(dtype=dtype)
    mask = torch.ones(1, 1, 5, 6, dtype=torch.bool)
    mask[:, :, 2] = False
    for way in (attend, in_steps):
        outputs = way(query, key, value, mask)
        assert torch.equal(outputs[:, :, 2], torch.zeros_like(outputs[:, :, 2]))
        for gradient in torch.autograd.grad(outputs.sum(), (query, key, value)):
            assert bool(gradient.isfinite().all())
    swapped = [x.transpose(1, 2) for x in (query, key, value)]
    outputs = dot_product_attention(*swapped, mask=mask)
    if dtype is not torch.float16:
        expected = swapped[2].float().mean(1)
        torch.testing.assert_close(outputs[:, 2].float(), expected, rtol=2e-2, atol=2e-2)
    assert bool(outputs.isfinite().all())


def test_products_in_bfloat16_are_about_as_exact_as_the_kernel() -> None:
    exact = attend(*[x.double() for x in tensors(spread=2.0)])
    errors = []
    for way in (torch.nn.functional.scaled_dot_product_attention, attend):
        outputs = way(*tensors(dtype=torch.bfloat16, spread=2.0)).double()
        errors.append(float((outputs - exact).detach().abs().mean()))
    assert errors[1] < 2 * errors[0]


def test_causal_and_dropout_together() -> None:
    query, key, _ = tensors()
    value = torch.eye(6).expand(2, 4, 6, 6)
    weights = attend(query, key, value, causal=True, dropout=0.4, seed=None)
    assert bool((weights.triu(1) == 0).all()) and bool((weights.tril() == 0).any())


def test_dropout_keeps_the_mean_and_is_repeatable() -> None:
    query, key, value = (torch.randn(8, 8, 64, 16) for _ in range(3))
    drawn = [attend(query, key, value.abs(), dropout=0.2, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].mean()) == pytest.approx(float(attend(query, key, value.abs()).mean()), rel=0.01)


def test_arguments() -> None:
    x = torch.ones(2, 5, 4, 8)
    with pytest.raises(ShapeError, match="steps, heads, size"):
        dot_product_attention(x[0], x, x)
    with pytest.raises(ShapeError, match="no multiple"):
        dot_product_attention(x, x[:, :, :3], x[:, :, :3])
    with pytest.raises(ArgumentError, match="TPU"):
        dot_product_attention(x, x, x, attn_logits_soft_cap=1.0)
    assert dot_product_attention(x, x, x, flash_attention=True).shape == x.shape


def test_symbolic() -> None:
    query, key = lamina.KerasTensor((None, None, 8, 16)), lamina.KerasTensor((None, None, 2, 16))
    outputs = dot_product_attention(query, key, key, is_causal=True)
    assert outputs.shape == (None, None, 8, 16) and outputs.dtype == "float32"
    inputs = lamina.Input((5, 4, 8))
    model = lamina.Model(inputs, lamina.ops.dot_product_attention(inputs, inputs, inputs))
    x = torch.randn(2, 5, 4, 8)
    torch.testing.assert_close(model(x), dot_product_attention(x, x, x))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_traced_with_gradients(dtype, dropout) -> None:
    def step(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        leaves = [x.detach().requires_grad_() for x in given]
        return torch.autograd.grad(attend(*leaves, causal=True, dropout=dropout).square().sum(), leaves)

    given = [x.detach() for x in tensors(dtype=dtype)]
    graph = make_fx(step, tracing_mode="fake")(*given)
    torch.manual_seed(1)
    found = graph(*given)
    torch.manual_seed(1)
    for first, second in zip(found, step(*given), strict=True):
        torch.testing.assert_close(first, second)


def test_flash_setting() -> None:
    config = lamina.config
    assert config.is_flash_attention_enabled() is None
    config.disable_flash_attention()
    assert config.is_flash_attention_enabled() is False
    config.enable_flash_attention()
    assert config.is_flash_attention_enabled() is None
