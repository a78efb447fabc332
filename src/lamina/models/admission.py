"""Data on its way into a model: brought to the rank and the kind of numbers that the model's inputs name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from lamina.core.dtypes import torch_dtype
from lamina.graph.tensor import KerasTensor
from lamina.layers.core import Embedding


def fit_rank(value: Any, expected: tuple[int | None, ...]) -> Any:
    """The value with a last axis of size one added or dropped, where that gives it the rank expected.

    Example:
        >>> fit_rank(torch.ones(4), (None, 1)).shape
        torch.Size([4, 1])
    """
    fitted = value
    if value.ndim == len(expected) - 1 and expected and expected[-1] == 1 and value.ndim > 0:
        fitted = value[..., None]
    elif value.ndim == len(expected) + 1 and value.shape[-1] == 1:
        fitted = value[..., 0]
    return _with_mask(fitted, value)


def entry_dtype(tensor: KerasTensor, readers: Iterable[Any]) -> torch.dtype | None:
    """The dtype in which an input's data is handed on; None where it is handed on as it comes.

    Args:
        tensor: the symbolic input.
        readers: the layers and ops that read it.
    """
    if tensor.dtype == "string":
        return None  # text stays in NumPy arrays
    readers = list(readers)
    if readers and all(isinstance(reader, Embedding) for reader in readers):
        return None  # it takes numbers of any kind, and looks them up as integers
    return torch_dtype(tensor.dtype)


def cast_to(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The data as an input's dtype has it; integers of another size stay what they are.

    Example:
        >>> cast_to(torch.tensor([200], dtype=torch.uint8), torch.float32).dtype
        torch.float32
    """
    if dtype is None or value.dtype is dtype or (_is_integer(value.dtype) and _is_integer(dtype)):
        return value
    return _with_mask(value.to(dtype), value)


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)


def _with_mask(value: Any, original: Any) -> Any:
    if value is not original and hasattr(original, "_keras_mask"):
        value._keras_mask = original._keras_mask
    return value
