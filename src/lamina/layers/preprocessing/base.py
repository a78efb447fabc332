"""What preprocessing layers share: they take data as it comes, text included, and some learn from data beforehand."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from lamina.core.errors import ArgumentError, DataError, DTypeError, StateError, one_of
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.text import as_text, is_text
from lamina.graph.infer import infer
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer

_OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class PreprocessingLayer(Layer):
    """A layer that also takes lists, columns of data frames and, if it says so, text.

    In a worker of a DataLoader it computes on the CPU, elsewhere where its model stands.
    """

    takes_text: bool = False
    takes_gaps: bool = True
    """Whether missing numbers (NaN) may be among the inputs."""
    # Arguments, or keys of every layer, that Keras keeps out of the config of this one.
    _unsaved: ClassVar[frozenset[str]] = frozenset()
    _home: torch.device | None = None

    def _call_in_general(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            args = (self._taken_in(args[0]), *args[1:])
        return super()._call_in_general(*args, **kwargs)

    def _taken_in(self, value: Any) -> Any:
        """What the layer is called on, as a tensor or an array of text."""
        if isinstance(value, (Tensor, KerasTensor)) or any_symbolic(value):
            return value
        if is_text(value) or isinstance(value, (str, bytes)) or _is_meant_as_text(value, self.takes_text):
            if not self.takes_text:
                raise DTypeError(
                    "The layer takes numbers, not text.",
                    where=self._where(),
                    received=f"{value!r:.60}",
                    fix="convert it, x.astype('int64'), or use StringLookup, Hashing or TextVectorization",
                )
            return as_text(value)
        plain = isinstance(value, (list, tuple, bool, int, float))
        x = convert_to_tensor(value if plain else np.asarray(value), device=self._device())
        return x if self.takes_gaps else self._without_gaps(x)

    def _without_gaps(self, x: Tensor, place: str = "") -> Tensor:
        """The numbers, if none is missing."""
        if x.is_floating_point() and (gaps := int(x.isnan().sum())):
            raise DataError(
                "There are missing values.",
                where=self._where() + place,
                received=f"{gaps} of {x.numel()} are missing",
                fix="fill them in (fillna, fill_null) or drop these rows",
            )
        return x

    def _device(self) -> torch.device:
        if get_worker_info() is not None:
            return torch.device("cpu")
        buffer = next(self.buffers(), None)
        return buffer.device if buffer is not None else self._home or super()._device()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.__dict__["_home"] = fn(torch.empty(0, device=self._home or super()._device())).device
        return self

    def convert_weight(self, weight: Any) -> Any:
        """A weight for use in `call`: with a single engine, the weight itself."""
        return weight

    def _on_cpu(self, value: Tensor) -> np.ndarray:
        """The values of a tensor, for work that Python does."""
        if isinstance(value, FakeTensor) or torch.compiler.is_compiling():
            raise StateError(
                "The layer works in Python on values, which compiled code cannot.",
                where=self._where(),
                fix="apply it to the data before training: dataset.map(layer)",
            )
        return convert_to_numpy(value)

    def _check_mode(self, mode: str, allowed: tuple[str, ...], sparse: bool) -> str:
        """The output mode by its present name, and no wish for sparse tensors."""
        mode = _OLD_MODES.get(mode, mode)
        one_of(mode, allowed, f"{self._where()}, output_mode")
        if sparse:
            raise ArgumentError(
                "Sparse tensors are not supported.", where=self._where(), received="sparse=True", fix="leave it out"
            )
        return mode

    def _inferred(self, function: Callable[..., Any], shape: Any) -> Any:
        """What a function of indices gives, symbolically, for indices of a shape."""
        return infer(function, (KerasTensor(shape, "int64"),), {}, self._where())

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, name and dtype."""
        config = {key: value for key, value in super().get_config().items() if key not in self._unsaved}
        if "trainable" in self._unsaved:
            config["dtype"] = self.dtype  # Keras's layers without `trainable` have no policy in their config either
        return config


def _is_meant_as_text(value: Any, takes_text: bool) -> bool:
    """Whether strings are among other things in a value, or it is empty where text is wanted."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return takes_text
    return array.dtype.kind == "U" or (takes_text and (not array.size or array.dtype.kind == "O"))


class AdaptingLayer(PreprocessingLayer, abc.ABC):
    """A preprocessing layer with state that `adapt` learns from data."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether there is something to learn: False where the layer was made with it."""

    @torch.no_grad()
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn from data, forgetting what was learned before.

        Args:
            data: an array, tensor, list, or a column or table of a data frame; or what gives batches of these: a
                DataLoader, a PyDataset, a generator, a list of arrays. Of a batch (x, y), x is taken.
            steps: how many batches to take; all by default.

        Raises:
            StateError: the layer was made with what it would learn.
            DataError: there is no data, or it cannot be used.
        """
        self.reset_state()
        taken = 0
        for batch in self._batches(data, steps):
            self.update_state(batch)
            taken += 1
        if not taken:
            raise DataError(
                "adapt() was given no data.",
                where=self._where(),
                expected="an array, or batches of it",
                received=repr(data)[:80],
            )
        self.finalize_state()

    @abc.abstractmethod
    def reset_state(self) -> None:
        """Forget what was learned."""

    @abc.abstractmethod
    def update_state(self, data: Any) -> None:
        """Learn from one batch."""

    @abc.abstractmethod
    def finalize_state(self) -> None:
        """Put what was learned to use."""

    def _batches(self, data: Any, steps: int | None) -> Iterator[Any]:
        """The batches in what `adapt` was given; an array is one."""
        if _is_one(data):
            yield data
            return
        for batch in itertools.islice(batches_in(data, self._where()), steps):
            is_pair = isinstance(batch, tuple) or (isinstance(data, DataLoader) and isinstance(batch, list))
            yield batch[0] if is_pair and not is_text(batch) and batch and not np.isscalar(batch[0]) else batch


def _is_one(data: Any) -> bool:
    """Whether data is one array rather than batches of arrays."""
    if isinstance(data, (list, tuple)) and data:
        first = data[0][0] if isinstance(data[0], tuple) and data[0] else data[0]
        return not hasattr(first, "shape") or np.isscalar(first)
    return isinstance(data, (str, bytes, Tensor)) or hasattr(data, "__array__")


def batches_in(data: Any, where: str) -> Iterator[Any]:
    """The batches that a DataLoader, a PyDataset or an iterable gives."""
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):
        return (data[index] for index in range(len(data)))
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise DataError(
            "A Dataset gives single samples, and adapt() takes batches.",
            where=where,
            received=type(data).__name__,
            fix="wrap it: adapt(torch.utils.data.DataLoader(dataset, batch_size=256))",
        )
    if not isinstance(data, Iterable):
        raise DataError(
            "This kind of data is not known.",
            where=f"{where}, adapt()",
            expected="an array, a column, a list, a DataLoader or an iterable of batches",
            received=type(data).__name__,
        )
    return iter(data)


def encode(
    indices: Tensor, mode: str, depth: int, dtype: torch.dtype, weights: Tensor | None = None, scale: Any = None
) -> Tensor:
    """Indices as they are, or as vectors of `depth` numbers; indices outside of 0 to depth - 1 are left out.

    Args:
        indices: integers; a sample is one axis: the last, the second of several.
        mode: "int", "one_hot" (a vector for each index), "multi_hot" (one for a sample) or "count".
        depth: the size of the vectors.
        dtype: the dtype of the result.
        weights: in mode "count", what each index counts; as many as indices.
        scale: a factor for each place of the vectors.

    Example:
        >>> encode(torch.tensor([[1, 1, 2]]), "count", 4, torch.int64)
        tensor([[0, 2, 1, 0]])
    """
    if mode == "int":
        return indices.to(dtype)
    indices = indices.long()
    if indices.ndim == 0:
        indices = indices[None]
    if mode == "one_hot":
        if indices.ndim == 1 or indices.shape[-1] != 1:
            indices = indices[..., None]
    elif indices.ndim > 2:
        indices = indices.movedim(1, -1)
        weights = None if weights is None else weights.movedim(1, -1)
    inside = (indices >= 0) & (indices < depth)
    counted = inside.to(dtype) if weights is None else torch.where(inside, weights.to(dtype), 0)
    counts = torch.zeros((*indices.shape[:-1], depth), dtype=dtype, device=indices.device)
    counts = counts.scatter_add(-1, indices.clamp(0, max(depth - 1, 0)), counted)
    if mode != "count":
        counts = counts.clamp(max=1)
    return counts if scale is None else counts * scale
