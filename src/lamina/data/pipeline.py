"""Dataset: a chain of steps from files or arrays to batches, walked anew each epoch."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentTypeError, DataError, UnsupportedError, check_number, check_type
from lamina.core.seeds import draw_seed
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.text import as_text, is_text
from lamina.data.ahead import in_threads, read_ahead
from lamina.graph.tensor import KerasTensor

AUTOTUNE = -1
INFINITE_CARDINALITY = -1
UNKNOWN_CARDINALITY = -2

# Positions of elements: a range is sliced, an array selected by.
Order = range | np.ndarray


class Dataset:
    """Elements (samples or batches) that are made while they are walked, again and again; `fit` takes it as it is.

    It has those methods of `tf.data.Dataset` that programs for Keras use. Elements are tensors, strings, and tuples and
    dicts of these; batches of strings are NumPy arrays. The methods give a new dataset and leave this one as it was.

    Args:
        elements: gives an iterator over the elements for each pass.
        size: how many elements a pass has, `INFINITE_CARDINALITY` or `UNKNOWN_CARDINALITY`.
        order: positions of the elements of the next pass, where they can be had by position.
        pick: the element at a position, or for several positions at once a batch of elements.

    Attributes:
        class_names: names of the classes, where the dataset was made of a directory.
        file_paths: paths of the files, likewise.
        batch_size: samples in an element, where elements are batches.

    Example:
        >>> data = Dataset.from_tensor_slices((np.arange(5), np.arange(5) ** 2)).batch(2)
        >>> [y.tolist() for x, y in data]
        [[0, 1], [4, 9], [16]]

    Source: https://www.tensorflow.org/api_docs/python/tf/data/Dataset
    """

    def __init__(
        self,
        elements: Callable[[], Iterable[Any]] | None = None,
        size: int = UNKNOWN_CARDINALITY,
        *,
        order: Callable[[], Order] | None = None,
        pick: Callable[[Any], Any] | None = None,
        after: Iterable[Dataset] = (),
    ) -> None:
        self.generators = [generator for dataset in after for generator in dataset.generators]
        self._elements, self._size = elements, size
        self._order, self._pick = order, pick
        self.class_names: list[str] | None = None
        self.file_paths: list[str] | None = None
        self.batch_size: int | None = None

    # Where a chain begins.

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """One element for each position along the first axis of the arrays.

        Args:
            tensors: an array, or a tuple or dict of arrays of one length.

        Raises:
            DataError: the arrays differ in length.
        """
        arrays = tree.map_structure(_array, _joined(tensors))
        lengths = {len(leaf) if np.ndim(leaf) else -1 for leaf in tree.flatten(arrays)}
        if len(lengths) != 1 or -1 in lengths:
            received = ", ".join("a single number" if one < 0 else f"length {one}" for one in sorted(lengths))
            raise DataError(
                "The arrays do not have the same number of samples.",
                where="Dataset.from_tensor_slices",
                expected="arrays of one length",
                received=received or "no arrays",
            )
        rows = lengths.pop()
        return Dataset(
            size=rows,
            order=lambda: range(rows),
            pick=lambda at: tree.map_structure(lambda leaf: _rows(leaf, at), arrays),
        )

    @staticmethod
    def from_tensors(tensors: Any) -> Dataset:
        """The arrays, whole, as the only element."""
        element = tree.map_structure(_array, _joined(tensors))
        return Dataset(lambda: [element], 1)

    @staticmethod
    def from_generator(generator: Callable[..., Iterable[Any]], *_: Any, args: Any = (), **__: Any) -> Dataset:
        """What a function yields, called anew for each pass; signatures are not needed.

        Args:
            generator: the function.
            *_: kept for tf.data: dtypes and shapes.
            args: what the function is called with.
            **__: kept for tf.data.
        """
        check_type(generator, Callable, "Dataset.from_generator(generator)", "a function that yields, not its result")
        return Dataset(lambda: generator(*args))

    @staticmethod
    def range(*bounds: int) -> Dataset:
        """The integers of `range`."""
        return Dataset.from_tensor_slices(torch.arange(*map(int, bounds)))

    @staticmethod
    def zip(*datasets: Any) -> Dataset:
        """Tuples of one element from each dataset, until the shortest ends."""
        parts: Any = datasets[0] if len(datasets) == 1 and isinstance(datasets[0], (tuple, list)) else datasets
        for part in parts:
            check_type(part, Dataset, "Dataset.zip", "datasets, e.g. Dataset.from_tensor_slices(x)")
        sizes = [part._size for part in parts]
        known = [size for size in sizes if size >= 0]
        size = UNKNOWN_CARDINALITY if UNKNOWN_CARDINALITY in sizes else min(known, default=INFINITE_CARDINALITY)
        return Dataset(lambda: zip(*parts, strict=False), size, after=parts)

    # Walking it.

    def __iter__(self) -> Iterator[Any]:
        if self._elements is not None:
            return iter(self._elements())
        assert self._order is not None and self._pick is not None
        return map(self._pick, self._order())

    def __len__(self) -> int:
        if self._size < 0:
            what = f"The dataset has no {'end' if self._size == INFINITE_CARDINALITY else 'known length'}."
            raise ArgumentTypeError(what, where="len(dataset)", fix="count by walking, or ask dataset.cardinality()")
        return self._size

    def __bool__(self) -> bool:
        return True

    def cardinality(self) -> torch.Tensor:
        """How many elements a pass has: -1 if it has no end, -2 if that is not known."""
        return torch.tensor(self._size)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """One pass, with arrays in place of tensors."""

        def plain(leaf: Any) -> Any:
            array = convert_to_numpy(leaf) if isinstance(leaf, torch.Tensor) else leaf
            return array[()] if isinstance(array, np.ndarray) and array.ndim == 0 else array

        return (tree.map_structure(plain, element) for element in self)

    @property
    def element_spec(self) -> Any:
        """Shape and dtype of an element, found from the first one, as symbolic tensors."""
        first = next(iter(self), None)

        def spec(leaf: Any) -> KerasTensor:
            if isinstance(leaf, (str, bytes)) or is_text(leaf):
                return KerasTensor(self._spec_shape(np.shape(leaf)), "string")
            tensor = convert_to_tensor(leaf)
            return KerasTensor(self._spec_shape(tuple(tensor.shape)), standardize_dtype(tensor.dtype))

        return tree.map_structure(spec, first)

    def _spec_shape(self, shape: tuple[int, ...]) -> tuple[int | None, ...]:
        return shape if self.batch_size is None else (None, *shape[1:])

    # What may be done to elements.

    def map(self, map_func: Callable[..., Any], num_parallel_calls: int | None = None, **_: Any) -> Dataset:
        """A function's results on each element, which is unpacked if it is a tuple.

        Args:
            map_func: the function.
            num_parallel_calls: how many threads call it; AUTOTUNE (-1) for one per processor.
            **_: kept for tf.data.
        """
        check_type(map_func, Callable, "Dataset.map(map_func)", "a function")
        workers = _workers(num_parallel_calls)

        def call(element: Any) -> Any:
            return map_func(*element) if isinstance(element, tuple) else map_func(element)

        def elements() -> Iterator[Any]:
            return map(call, self) if workers == 0 else in_threads(call, self, workers, 2 * workers)

        mapped = Dataset(elements, self._size, after=[self])
        mapped.batch_size = self.batch_size
        return mapped

    def filter(self, predicate: Callable[..., Any]) -> Dataset:
        """The elements for which a function is true; tuples are unpacked for it."""

        check_type(predicate, Callable, "Dataset.filter(predicate)", "a function")

        def keep(element: Any) -> bool:
            return bool(predicate(*element) if isinstance(element, tuple) else predicate(element))

        return self._after(lambda: filter(keep, self), UNKNOWN_CARDINALITY)

    def batch(self, batch_size: int, drop_remainder: bool = False, **_: Any) -> Dataset:
        """Several elements put together along a new first axis.

        Args:
            batch_size: how many.
            drop_remainder: whether a last batch of fewer is left out.
            **_: kept for tf.data.

        Raises:
            ShapeError: elements differ in shape, seen while walking.
        """
        return self._batched(batch_size, drop_remainder, _stack)

    def padded_batch(self, batch_size: int, drop_remainder: bool = False) -> Dataset:
        """As `batch`, elements of different lengths filled up with zeros at their ends."""
        return self._batched(batch_size, drop_remainder, _stack_padded)

    def _batched(self, size: int, drop_remainder: bool, stack: Callable[[list[Any]], Any]) -> Dataset:
        check_number(size, "Dataset.batch(batch_size)", least=1)
        size = int(size)
        count = self._size if self._size < 0 else (self._size // size if drop_remainder else -(-self._size // size))

        def gathered() -> Iterator[Any]:
            rest = iter(self)
            while elements := list(itertools.islice(rest, size)):
                if drop_remainder and len(elements) < size:
                    return
                yield stack(elements)

        def picked() -> Iterator[Any]:
            assert self._order is not None and self._pick is not None
            order = self._order()
            return (self._pick(order[start : start + size]) for start in range(0, count * size, size))

        batched = Dataset(gathered if self._pick is None else picked, count, after=[self])
        batched.batch_size = size
        return batched

    def unbatch(self) -> Dataset:
        """Each element's rows as elements."""

        def rows() -> Iterator[Any]:
            for element in self:
                leaves = [_array(leaf) for leaf in tree.flatten(element)]
                for row in zip(*leaves, strict=True):
                    yield tree.pack_sequence_as(element, row)

        return Dataset(rows, after=[self])

    def shuffle(self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool = True) -> Dataset:
        """The elements in a random order, a new one for each pass.

        Args:
            buffer_size: among how many elements in line the next one is drawn; arrays are always shuffled as a whole.
            seed: makes the orders repeatable.
            reshuffle_each_iteration: whether passes differ.
        """
        check_number(buffer_size, "Dataset.shuffle(buffer_size)", least=0)
        fixed = draw_seed() if seed is None and not reshuffle_each_iteration else seed
        passes = torch.Generator().manual_seed(0 if fixed is None else int(fixed))

        def random() -> np.random.Generator:
            if fixed is None:
                return np.random.default_rng(draw_seed())
            number = int(torch.randint(2**62, (), generator=passes)) if reshuffle_each_iteration else 0
            return np.random.default_rng([int(fixed), number])

        if self._order is not None:
            order = self._order
            shuffled = self._reordered(lambda: random().permutation(np.asarray(order())), self._size)
        else:
            shuffled = self._after(lambda: _drawn(self, int(buffer_size), random()), self._size)
        shuffled.generators.append(passes)
        return shuffled

    def take(self, count: int) -> Dataset:
        """The first elements; all for -1."""
        check_number(count, "Dataset.take(count)")
        count = int(count)
        if count < 0:
            return self
        size = min(count, self._size) if self._size >= 0 else count if self._size == INFINITE_CARDINALITY else -2
        if self._order is not None:
            order = self._order
            return self._reordered(lambda: order()[:count], size)
        return self._after(lambda: itertools.islice(self, count), size)

    def skip(self, count: int) -> Dataset:
        """The elements without the first; none for -1."""
        check_number(count, "Dataset.skip(count)")
        count = int(count) if count >= 0 else sys.maxsize
        size = max(self._size - count, 0) if self._size >= 0 else self._size
        if self._order is not None:
            order = self._order
            return self._reordered(lambda: order()[count:], size)
        return self._after(lambda: itertools.islice(self, count, None), size)

    def repeat(self, count: int | None = None) -> Dataset:
        """The elements over and over, without end for None or -1."""
        if count is not None:
            check_number(count, "Dataset.repeat(count)", least=-1)
        if count is None or count < 0:
            return self._after(lambda: itertools.chain.from_iterable(itertools.repeat(self)), INFINITE_CARDINALITY)
        size = self._size * count if self._size >= 0 else self._size
        return self._after(lambda: itertools.chain.from_iterable(itertools.repeat(self, count)), size)

    def concatenate(self, dataset: Dataset) -> Dataset:
        """These elements, then those of another dataset."""
        check_type(dataset, Dataset, "Dataset.concatenate(dataset)", "a dataset")
        sizes = (self._size, dataset._size)
        size = sum(sizes) if min(sizes) >= 0 else min(sizes)
        return Dataset(lambda: itertools.chain(self, dataset), size, after=[self, dataset])

    def cache(self, filename: str = "") -> Dataset:
        """The elements kept in memory from the first whole pass on.

        Raises:
            UnsupportedError: a file is named.
        """
        if filename:
            raise UnsupportedError(
                "A dataset is cached in memory only.", where="cache(filename=...)", fix="leave the filename out"
            )
        kept: list[Any] = []
        is_whole = False

        def elements() -> Iterator[Any]:
            nonlocal kept, is_whole
            if is_whole:
                yield from kept
                return
            seen = []
            for element in self:
                seen.append(element)
                yield element
            kept, is_whole = seen, True

        return self._after(elements, self._size)

    def prefetch(self, buffer_size: int = AUTOTUNE, **_: Any) -> Dataset:
        """The same elements, drawn by a thread before they are wanted.

        Args:
            buffer_size: how many at most; AUTOTUNE (-1) for a few.
            **_: kept for tf.data.
        """
        count = int(buffer_size) if buffer_size > 0 else 4
        return self._after(lambda: read_ahead(self, count), self._size)

    def with_options(self, options: Any) -> Dataset:
        """This dataset: options of tf.data change nothing here."""
        return self

    def _after(self, elements: Callable[[], Iterable[Any]], size: int) -> Dataset:
        """A dataset of the same kind of elements."""
        result = Dataset(elements, size, after=[self])
        result.batch_size = self.batch_size
        return result

    def _reordered(self, order: Callable[[], Order], size: int) -> Dataset:
        return Dataset(size=size, order=order, pick=self._pick, after=[self])


def _workers(calls: int | None) -> int:
    return min(32, os.cpu_count() or 1) if calls == AUTOTUNE else int(calls or 0)


def _joined(structure: Any) -> Any:
    """A structure with lists of numbers or strings made arrays, so that they are no structures themselves."""
    if isinstance(structure, dict):
        return {key: _joined(part) for key, part in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_joined(part) for part in structure)
    return _array(structure)


def _array(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x
    return as_text(x) if is_text(x) else convert_to_tensor(x, device="cpu")


def _rows(leaf: Any, at: Any) -> Any:
    """What stands at one position, or at several."""
    if isinstance(at, range):
        return leaf[at.start : at.stop]
    if isinstance(at, np.ndarray) and isinstance(leaf, torch.Tensor):
        return leaf.index_select(0, torch.from_numpy(at))
    return leaf[at]


def _drawn(elements: Iterable[Any], buffer_size: int, random: np.random.Generator) -> Iterator[Any]:
    """Elements drawn at random from a buffer that is filled up in line."""
    rest = iter(elements)
    buffer = list(itertools.islice(rest, max(buffer_size, 1)))
    for element in rest:
        place = int(random.integers(len(buffer)))
        buffer[place], drawn = element, buffer[place]
        yield drawn
    random.shuffle(buffer)
    yield from buffer


def _stack(elements: list[Any]) -> Any:
    """Elements of one structure as one, along a new first axis."""
    columns = zip(*map(tree.flatten, elements), strict=True)
    return tree.pack_sequence_as(elements[0], [_stack_leaves(column) for column in columns])


def _stack_leaves(leaves: tuple[Any, ...]) -> Any:
    first = leaves[0]
    if isinstance(first, (str, bytes)) or is_text(first):
        return as_text(np.stack([np.asarray(leaf, object) for leaf in leaves]))
    tensors = [leaf if isinstance(leaf, torch.Tensor) else convert_to_tensor(leaf, device="cpu") for leaf in leaves]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise DataError(
            "The elements of a batch differ in shape.",
            where="batch",
            received=", ".join(map(str, sorted(shapes))),
            fix="make them alike with map(), or use padded_batch()",
        )
    return torch.stack(tensors)


def _stack_padded(elements: list[Any]) -> Any:
    def stack(*leaves: Any) -> Any:
        if isinstance(leaves[0], str) or is_text(leaves[0]):
            return _stack_leaves(leaves)
        tensors = [convert_to_tensor(leaf) for leaf in leaves]
        shape = np.max([tensor.shape for tensor in tensors], axis=0).astype(int)
        padded = tensors[0].new_zeros((len(tensors), *shape))
        for row, tensor in zip(padded, tensors, strict=True):
            row[tuple(slice(0, size) for size in tensor.shape)] = tensor
        return padded

    return tree.map_structure(stack, *elements)
