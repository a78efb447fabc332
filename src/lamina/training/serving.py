"""The short way of `predict`: one array that makes one batch, of a kind that has gone the long way before."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from lamina.core import tree
from lamina.core.tensors import convert_to_numpy

_SHORT = 0.01
"""Predictions that take longer, in seconds, gain nothing from the short way, and may gain from a compiled step."""
_DTYPES = frozenset(map(np.dtype, ("float32", "float16", "int64", "int32", "uint8", "bool")))


class Serving:
    """What is known of the latest arrays a model has predicted on, so that nothing need be found out again.

    Args:
        model: the model, built, with a `predict_step` that was not overridden.
        shape: the shape of a sample.
        dtype: the dtype of the array.
    """

    def __init__(self, model: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.model = model
        self.shape = shape
        self.dtype = dtype
        self.weight = next(iter(model.parameters()), None)

    @classmethod
    def of(cls, model: Any, x: Any, seconds: float) -> Self | None:
        """What may be answered directly from now on; None if nothing may, or if it would save too little.

        Args:
            model: the model.
            x: what it has predicted on.
            seconds: what that took.
        """
        if seconds > _SHORT or type(x) is not np.ndarray or x.dtype not in _DTYPES or x.ndim == 0:
            return None
        if model._has_own_steps():
            return None
        return cls(model, x.shape[1:], x.dtype)

    def takes(self, x: Any, batch_size: int | None) -> bool:
        """Whether this array is one batch of the same kind, on a CPU."""
        return (
            type(x) is np.ndarray
            and x.shape[1:] == self.shape
            and x.dtype == self.dtype
            and 0 < x.shape[0] <= (batch_size if type(batch_size) is int else 32)
            and x.flags.writeable
            and x.flags.c_contiguous
            and (self.weight is None or self.weight.is_cpu)
            and "predict_step" not in self.model.__dict__
        )

    def answer(self, x: np.ndarray) -> Any:
        """The outputs."""
        model = self.model
        if model.training:
            model.eval()
        inputs = torch.from_numpy(x)
        with torch.no_grad():
            outputs = model(inputs)
        if type(outputs) is torch.Tensor and outputs.dtype is torch.float32:
            return outputs.numpy() if outputs.data_ptr() != inputs.data_ptr() else outputs.numpy().copy()
        return tree.map_structure(convert_to_numpy, outputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None
