"""Activation functions as layers call them: on a real float tensor, with nothing between the layer and torch.

The functions of `lamina.activations` also take symbolic tensors, lists and integers; finding out costs several Python
frames a call. A layer that has a real tensor in hand calls `direct(activation)(outputs)`, or looks the function up in
`DIRECT` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import activations
from lamina.core.registry import builtins_of


def _sigmoid(x: Tensor) -> Tensor:
    """Sigmoid, with its input kept on the result for losses."""
    y = torch.sigmoid(x)
    if not torch.compiler.is_compiling():
        y._keras_logits, y._keras_activation = x, "sigmoid"  # type: ignore[attr-defined]
    return y


def _softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis, with its input kept on the result for losses."""
    if x.shape[-1] == 1:
        return activations.softmax(x)  # which warns
    y = torch.softmax(x, -1)
    if not torch.compiler.is_compiling():
        y._keras_logits, y._keras_activation = x, "softmax"  # type: ignore[attr-defined]
    return y


DIRECT: dict[Callable[..., Any] | None, Callable[[Tensor], Tensor]] = {
    function: function.__wrapped__
    for function in builtins_of("keras.activations").values()
    if hasattr(function, "__wrapped__")
} | {
    None: activations.linear,
    activations.exponential: torch.exp,
    activations.gelu: F.gelu,
    activations.relu: torch.relu,
    activations.sigmoid: _sigmoid,
    activations.silu: F.silu,
    activations.softmax: _softmax,
    activations.tanh: torch.tanh,
}
"""For each of lamina's own activations the function that does the same to a float tensor."""
