"""What every source of batches offers, and the form of a batch: x, (x,), (x, y) or (x, y, sample_weight)."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentTypeError, DataError, warn_once
from lamina.core.forms import check
from lamina.core.tensors import convert_to_tensor
from lamina.core.text import as_text, gather_text, is_text


class Source(abc.ABC):
    """Where batches come from. Iterating gives one pass over the data, batch by batch, as tensors on the device."""

    kind: str = "data source"
    is_ready: bool = False
    """Whether its batches are parts of what lies in memory already."""

    @property
    @abc.abstractmethod
    def batches(self) -> int | None:
        """Batches in one pass; None when that is not known beforehand."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Any]: ...

    @property
    def generators(self) -> list[torch.Generator]:
        """Generators of its own that decide about the order."""
        return []

    def follow(self) -> None:  # noqa: B027
        """Called before the first batch if `get_state` will be."""

    def get_state(self) -> dict[str, Any]:
        """What a source of the same data must know to give the same batches from here on, beside its order."""
        return {}

    def check_state(self, state: Mapping[str, Any], where: str, place: str, most: int | None) -> None:
        """See whether `set_state` can take this up; a FileError that names the entry if not.

        Args:
            state: what `get_state` gave.
            where: the file, for messages.
            place: the entry of the file.
            most: the most batches that can have been taken, where that is known.
        """
        check(state, {}, where, place)

    def set_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up what `get_state` gave."""

    def after(self, count: int) -> Iterator[Any]:
        """One pass, the first batches of which are left out now."""
        batches = iter(self)
        deque(islice(batches, count), maxlen=0)
        return batches

    def on_epoch_begin(self) -> None:  # noqa: B027 - most sources have nothing to do
        """Called before an epoch."""

    def on_epoch_end(self) -> None:  # noqa: B027
        """Called after an epoch, also one that was cut short."""


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """The three parts of a batch, None for those it does not have.

    Args:
        data: x, `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

    Raises:
        DataError: a tuple of more than three parts.

    Example:
        >>> unpack_x_y_sample_weight(("features", "labels"))
        ('features', 'labels', None)

    Source: https://keras.io/api/data_loading/
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise DataError(
            "A batch has one to three parts.",
            where="a batch of the data",
            expected="x, (x,), (x, y) or (x, y, sample_weight)",
            received=f"{len(data)} parts",
            fix="put several inputs into one tuple or dict: ((x1, x2), y)",
        )
    return tuple(data) + (None,) * (3 - len(data))  # type: ignore[return-value]


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The parts as a batch in the shortest form that `fit` takes.

    Args:
        x: the inputs.
        y: the targets.
        sample_weight: a weight for each sample.

    Example:
        >>> pack_x_y_sample_weight("features", "labels")
        ('features', 'labels')

    Source: https://keras.io/api/data_loading/
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch as some iterable gave it, its arrays as tensors on the device; double precision becomes floatx.

    Lists and arrays of strings become NumPy arrays of strings.
    """

    def move(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, (str, bytes)):
            return leaf
        if is_text(leaf):
            return as_text(leaf)
        tensor = leaf if isinstance(leaf, torch.Tensor) else convert_to_tensor(leaf, device=device)
        dtype = torch_dtype(None) if tensor.dtype is torch.float64 else tensor.dtype
        return tensor.to(device, dtype, non_blocking=True)

    if isinstance(batch, list) and not is_text(batch):
        batch = tuple(batch)
    return tree.map_structure(move, gather_text(batch))


def class_weight_to_sample_weights(y: Any, class_weight: Mapping[Any, float]) -> Any:
    """A weight for each label, 1 for classes not named.

    Args:
        y: integer labels of any shape (a last axis of size 1 is dropped), or one-hot labels with two or more axes.
        class_weight: weights by class index.
    """
    labels = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    elif labels.ndim > 1:
        if not np.allclose(labels.sum(-1), 1, atol=1e-3):
            warn_once(
                f"class_weight takes labels of shape {labels.shape[1:]} for one-hot rows, as Keras does, and some do "
                "not add up to 1: the weight is that of the largest value's place. Give sample_weight instead."
            )
        labels = labels.argmax(-1)
    classes, positions = np.unique(np.round(labels).astype(np.int64), return_inverse=True)
    weights = np.array([class_weight.get(int(c), 1.0) for c in classes], dtype=np.float64)
    tensor = convert_to_tensor(weights[positions].reshape(labels.shape), torch_dtype(None), "cpu")
    return tensor.to(y.device) if isinstance(y, torch.Tensor) else tensor


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__")


def add_class_weight(batch: Any, class_weight: Mapping[Any, float] | None) -> Any:
    """A batch with sample weights made of its labels' class weights.

    Raises:
        DataError: the batch has sample weights already, or several targets.
    """
    if class_weight is None:
        return batch
    if not isinstance(class_weight, Mapping) or not all(map(_is_number, tree.flatten([*class_weight.items()]))):
        raise ArgumentTypeError(
            "class_weight is not usable.",
            where="fit(class_weight=...)",
            expected="a dict of numbers by class number, e.g. {0: 1.0, 1: 5.0}",
            received=f"{class_weight!r} ({type(class_weight).__name__})",
            fix="for a list write class_weight=dict(enumerate(weights))",
        )
    x, y, sample_weight = unpack_x_y_sample_weight(batch)
    if sample_weight is not None:
        raise DataError(
            "class_weight and sample_weight cannot be given together.",
            where="fit",
            fix="multiply the class weights into sample_weight yourself",
        )
    if y is None:
        raise DataError("class_weight needs labels.", where="fit(class_weight=...)", fix="give y too, or leave it out")
    if tree.is_nested(y):
        raise DataError(
            "class_weight works for one output only.",
            where="fit",
            received=f"{len(tree.flatten(y))} targets",
            fix="give one sample_weight array for each output",
        )
    return x, y, class_weight_to_sample_weights(y, class_weight)
