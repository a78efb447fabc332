"""Large matrix products on the CPU, by the fastest kernel that torch comes with.

For float32, torch multiplies matrices with Intel's MKL. On AMD's processors with AVX-512, oneDNN, which torch has for
convolutions, is 1.05 to 1.2 times as fast at products of 0.1 GFLOP and more, and up to twice as fast where the weights
are far larger than the batch. Both compute in float32 throughout, and round by a few 1e-7 of the result. The choice
follows from processor and shapes alone, so that the same program gives the same numbers each time. bfloat16 takes
oneDNN anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.nn import functional as F

from lamina.core.variable import Variable

LARGE_KERNEL = 2**17
"""From how many elements on a kernel may be worth another way; below, calling it costs more than it gains."""

_LARGE_PRODUCT = 5 * 10**7
_LARGE_IN_COMPILED = 2 * 10**7
_FEW_ROWS = 128

_PLAIN = (Tensor, torch.nn.Parameter, Variable)
_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def affine(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ kernel + bias`, for a kernel of at least `LARGE_KERNEL` elements; for smaller ones torch is as fast.

    Args:
        x: shape (..., k).
        kernel: shape (k, n).
        bias: shape (n,); None for none.

    Returns:
        The product, shape (..., n).

    Example:
        >>> affine(torch.ones(2, 3), torch.ones(3, 4), torch.ones(4))[0]
        tensor([4., 4., 4., 4.])
    """
    given = (x, kernel) if bias is None else (x, kernel, bias)
    if not torch.compiler.is_compiling() and _suit(given) and x.numel() * kernel.shape[-1] >= _LARGE_PRODUCT:
        if torch.is_grad_enabled():
            return _Affine.apply(x, kernel, bias)  # type: ignore[no-any-return]
        return _multiply(x, kernel.t(), bias)
    if bias is None:
        return torch.matmul(x, kernel)
    return torch.addmm(bias, x, kernel) if x.ndim == 2 else F.linear(x, kernel.t(), bias)


@functools.cache
def _prefers_onednn() -> bool:
    """Whether oneDNN is the faster library on this processor."""
    if _linear is None or not torch.backends.mkldnn.is_available():
        return False
    facts = torch.cpu.get_capabilities()
    return "AMD" in str(facts.get("cpu_name")) and bool(facts.get("avx512_f"))


def _suit(tensors: Sequence[Tensor]) -> bool:
    """Whether these are ordinary float32 tensors in the memory of the CPU, and nobody looks on."""
    return (
        all(type(t) in _PLAIN and t.dtype is torch.float32 and t.is_cpu and t.layout is torch.strided for t in tensors)
        and _prefers_onednn()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and not _is_watched()
    )


def _is_watched() -> bool:
    """Whether a mode or a transform is active, which wants to see operations that it knows."""
    return bool(
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


def prefers_onednn(left: Tensor, right: Tensor) -> bool:
    """Whether the product of two matrices is for oneDNN, in compiled code, where asking costs nothing.

    Args:
        left: shape (m, k); stored by columns where the product is the gradient of a kernel.
        right: shape (k, n).
    """
    rows, inner, columns = *left.shape, right.shape[1]
    if left.dtype is not torch.float32 or left.device.type != "cpu" or rows * inner * columns < _LARGE_IN_COMPILED:
        return False
    is_of_kernel = left.stride(0) == 1 and inner > 1
    suits = inner <= _FEW_ROWS and rows * columns >= LARGE_KERNEL if is_of_kernel else inner * columns >= LARGE_KERNEL
    return suits and _prefers_onednn()


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias` by oneDNN."""
    return _linear(x, weight, bias, "none", [], "")


class _Affine(torch.autograd.Function):
    """The product with gradients by the same kernels; those of gradients are torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return _multiply(x, kernel.t(), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = gradients
        x, kernel = ctx.saved_tensors
        direct = not torch.is_grad_enabled() and _suit((slope, kernel))
        rows, slopes = x.reshape(-1, x.shape[-1]), slope.reshape(-1, slope.shape[-1])
        of_x = of_kernel = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _multiply(slope, kernel, None) if direct else slope @ kernel.t()
        if ctx.needs_input_grad[1]:
            few = direct and rows.shape[0] <= _FEW_ROWS
            of_kernel = _multiply(rows.t(), slopes.t(), None) if few else rows.t() @ slopes
        if ctx.needs_input_grad[2]:
            of_bias = slopes.sum(0)
        return of_x, of_kernel, of_bias
