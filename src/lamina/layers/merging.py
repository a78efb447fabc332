"""Layers that make one tensor of several, and the same as functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.dtypes import is_float, result_type
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.graph.tensor import KerasTensor
from lamina.layers.arguments import within
from lamina.layers.base import Layer
from lamina.layers.input_spec import InputSpec

Shape = tuple[int | None, ...]
Masks = Sequence[Tensor | None] | None


class _Merge(Layer):
    """Base of the layers that take a list of tensors.

    Shapes broadcast; tensors of fewer dimensions get dimensions of size 1 after the batch. The result is masked where
    every input is, provided that every input has a mask.
    """

    least: ClassVar[int] = 1
    most: ClassVar[int] = 1_000_000
    operation: ClassVar[Callable[..., Tensor]]
    ranks_differ = False
    weak: tuple[type, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Check that the shapes fit each other."""
        self._check_count(input_shape)
        self.ranks_differ = len(set(map(len, input_shape))) > 1
        self.compute_output_shape(input_shape)

    def _check_count(self, input_shape: Any) -> None:
        nested = all(isinstance(shape, (tuple, list)) for shape in input_shape)
        if nested and self.least <= len(input_shape) <= self.most:
            return
        wanted = f"{self.least} or more" if self.most > 2 else str(self.least)
        raise ShapeError(
            f"{type(self).__name__} takes a list of tensors.",
            where=self._where(),
            expected=f"a list of {wanted} tensors",
            received=f"{len(input_shape)} of shapes {input_shape}" if nested else f"one tensor of shape {input_shape}",
            fix="call the layer as layer([a, b])",
        )

    def _misfit(self, what: str, expected: str, input_shape: Sequence[Shape]) -> ShapeError:
        received = "shapes " + ", ".join(map(str, input_shape))
        return ShapeError(what, where=self._where(), expected=expected, received=received)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """The shape to which all inputs broadcast.

        Raises:
            ShapeError: they do not.
        """
        self._check_count(input_shape)
        batches = {shape[0] for shape in input_shape if shape} - {None}
        if len(batches) > 1:
            raise self._misfit("The batch sizes differ.", "as many samples in each", input_shape)
        rank = max(map(len, input_shape))
        sizes = []
        for axis in range(1 - rank, 0):
            found = {shape[axis] for shape in input_shape if len(shape) > -axis} - {1}
            if len(found - {None}) > 1:
                raise self._misfit(f"Sizes along axis {axis} differ.", "equal sizes, or 1", input_shape)
            sizes.append(None if None in found else found.pop() if found else 1)
        return (next(iter(batches), None), *sizes)

    def compute_output_spec(self, inputs: Sequence[Any], mask: Any = None) -> Any:
        """The output as a symbolic tensor."""
        self._maybe_build((inputs,), {})
        dtypes = [self.compute_dtype if is_float(x.dtype) else x.dtype for x in inputs]
        return KerasTensor(self.compute_output_shape([x.shape for x in inputs]), result_type(*dtypes, *self.weak))

    def call(self, inputs: Sequence[Tensor], mask: Masks = None) -> Tensor:
        """The inputs merged."""
        if self.ranks_differ:
            rank = max(x.ndim for x in inputs)
            inputs = [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        elif mask is not None:
            return self._merge_masked(inputs, _beside(inputs, mask))
        output = inputs[0]
        for x in inputs[1:]:
            output = self.operation(output, x)
        return output

    def _merge_masked(self, inputs: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor:
        """The same for inputs of which some have masks, which broadcast with them."""
        return functools.reduce(self.operation, inputs)

    def compute_mask(self, inputs: Any, previous_mask: Masks = None) -> Tensor | None:
        """True where any input counts; None if one of them has no mask."""
        masks = self._checked_masks(inputs, previous_mask)
        known = [mask for mask in masks if mask is not None]
        return functools.reduce(torch.logical_or, known) if known and len(known) == len(masks) else None

    def _checked_masks(self, inputs: Any, masks: Any) -> list[Tensor | None]:
        """The masks as tensors, if they are a list as long as that of the inputs."""
        if masks is None:
            return []
        if not (isinstance(masks, Sequence) and isinstance(inputs, Sequence) and len(masks) == len(inputs)):
            raise ArgumentError(
                "The masks do not fit the inputs.",
                where=self._where(),
                expected="a list of inputs, and a mask or None for each",
                received=f"{_counted(inputs, 'input')}, {_counted(masks, 'mask')}",
            )
        return [None if mask is None else convert_to_tensor(mask) for mask in masks]


@builtin("keras.layers")
class Add(_Merge):
    """The sum of the inputs.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> Add()([torch.ones(2, 3), torch.ones(2, 3)]).sum()
        tensor(12.)

    Source: https://keras.io/api/layers/merging_layers/add/
    """

    operation = staticmethod(torch.add)


@builtin("keras.layers")
class Subtract(_Merge):
    """The first input minus the second.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: there are not two inputs, or their shapes do not broadcast.

    Example:
        >>> Subtract()([torch.ones(2, 3), torch.ones(2, 3)]).sum()
        tensor(0.)

    Source: https://keras.io/api/layers/merging_layers/subtract/
    """

    least = most = 2
    operation = staticmethod(torch.sub)


@builtin("keras.layers")
class Multiply(_Merge):
    """The product of the inputs; masked steps count as 1, and steps masked in all inputs give 0.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> Multiply()([torch.full((2,), 3.0), torch.full((2,), 2.0)])
        tensor([6., 6.])

    Source: https://keras.io/api/layers/merging_layers/multiply/
    """

    operation = staticmethod(torch.mul)

    def _merge_masked(self, inputs: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor:
        parts = [x if kept is None else torch.where(kept, x, 1) for x, kept in zip(inputs, masks, strict=True)]
        output = functools.reduce(torch.mul, parts)
        if any(kept is None for kept in masks):
            return output
        return torch.where(functools.reduce(torch.logical_or, masks), output, 0)  # type: ignore[arg-type]


@builtin("keras.layers")
class Average(_Merge):
    """The mean of the inputs.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> Average()([torch.zeros(2), torch.ones(2)])
        tensor([0.5000, 0.5000])

    Source: https://keras.io/api/layers/merging_layers/average/
    """

    weak = (float,)
    operation = staticmethod(torch.add)

    def call(self, inputs: Sequence[Tensor], mask: Masks = None) -> Tensor:
        """The mean."""
        return super().call(inputs, mask) / len(inputs)


class _Extreme(_Merge):
    """The element-wise extreme; a step masked in one input is taken from the others."""

    def _merge_masked(self, inputs: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor:
        output, kept = inputs[0], masks[0]
        for x, also_kept in zip(inputs[1:], masks[1:], strict=True):
            if also_kept is not None:
                x = torch.where(also_kept, x, output)
            if kept is not None:
                output = torch.where(kept, output, x)
            kept = None if kept is None or also_kept is None else torch.logical_or(kept, also_kept)
            output = self.operation(output, x)
        return output


@builtin("keras.layers")
class Maximum(_Extreme):
    """The element-wise maximum of the inputs.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> Maximum()([torch.tensor([1.0, 4.0]), torch.tensor([3.0, 2.0])])
        tensor([3., 4.])

    Source: https://keras.io/api/layers/merging_layers/maximum/
    """

    operation = staticmethod(torch.maximum)


@builtin("keras.layers")
class Minimum(_Extreme):
    """The element-wise minimum of the inputs.

    Args:
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> Minimum()([torch.tensor([1.0, 4.0]), torch.tensor([3.0, 2.0])])
        tensor([1., 2.])

    Source: https://keras.io/api/layers/merging_layers/minimum/
    """

    operation = staticmethod(torch.minimum)


@builtin("keras.layers")
class Concatenate(_Merge):
    """The inputs one after the other along an axis.

    Args:
        axis: the axis, the batch being axis 0.
        **kwargs: as for `Layer`.

    Raises:
        ShapeError: the inputs differ in rank, or in a size other than that of the axis.

    Example:
        >>> Concatenate(axis=1)([torch.zeros(2, 2, 5), torch.zeros(2, 1, 5)]).shape
        torch.Size([2, 3, 5])

    Source: https://keras.io/api/layers/merging_layers/concatenate/
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = within(axis, f"{self._where()}, axis")

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """The sizes along the axis added up, the others as in the inputs."""
        self._check_count(input_shape)
        rank = len(input_shape[0])
        if any(len(shape) != rank for shape in input_shape):
            raise self._misfit("Tensors of different rank cannot be concatenated.", "one rank", input_shape)
        if not -rank <= self.axis < rank:
            raise self._misfit(f"There is no axis {self.axis} to concatenate along.", f"axis < {rank}", input_shape)
        output: list[int | None] = []
        for axis, sizes in enumerate(zip(*input_shape, strict=True)):
            known = [size for size in sizes if size is not None]
            if axis == self.axis % rank:
                output.append(sum(known) if len(known) == len(sizes) else None)
                continue
            if len(set(known)) > 1:
                raise self._misfit(
                    f"The shapes differ along axis {axis}.", f"differences along axis {self.axis} only", input_shape
                )
            output.append(known[0] if known else None)
        return tuple(output)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """The inputs joined."""
        return torch.cat(list(inputs), self.axis)

    def compute_mask(self, inputs: Any, previous_mask: Masks = None) -> Tensor | None:
        """The masks joined; along the feature axis, a step counts if it counts in any input."""
        masks = self._checked_masks(inputs, previous_mask)
        if all(mask is None for mask in masks):
            return None
        full = []
        for x, mask in zip(inputs, masks, strict=True):
            if mask is None:
                full.append(torch.ones_like(x, dtype=torch.bool))
            else:
                full.append(_expand(mask, x).expand(x.shape) if mask.ndim < x.ndim else mask)
        return torch.cat(full, self.axis).any(-1)


@builtin("keras.layers")
class Dot(_Merge):
    """The dot product of two tensors along an axis of each, sample by sample.

    Args:
        axes: the axis of both, or a pair; the batch is axis 0 and cannot be meant.
        normalize: whether to divide by the lengths first, which makes it the cosine.
        **kwargs: as for `Layer`.

    Shapes: `(batch, *a, n, *b)` and `(batch, *c, n, *d)` to `(batch, *a, *b, *c, *d)`; `(batch, 1)` for two vectors.

    Raises:
        ArgumentTypeError: `axes` is neither an integer nor a pair.
        ArgumentError: `axes` are not two integers.
        ShapeError: the sizes along the axes, or the batch sizes, differ.

    Example:
        >>> Dot(axes=(1, 2))([torch.zeros(2, 3, 5), torch.zeros(2, 10, 3)]).shape
        torch.Size([2, 5, 10])

    Source: https://keras.io/api/layers/merging_layers/dot/
    """

    least = most = 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, (int, list, tuple)):
            raise ArgumentTypeError(
                "`axes` cannot be used.", where=self._where(), expected="an integer or two", received=repr(axes)
            )
        if not isinstance(axes, int) and (len(axes) != 2 or not all(isinstance(axis, int) for axis in axes)):
            raise ArgumentError(
                "`axes` cannot be used.", where=self._where(), expected="two integers", received=repr(axes)
            )
        self.axes = axes
        self.normalize = normalize

    def _axes_of(self, input_shape: Sequence[Sequence[Any]]) -> list[int]:
        """The two axes, counted from the front."""
        axes = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        for axis, shape in zip(axes, input_shape, strict=True):
            if len(shape) < 2 or not -len(shape) < axis < len(shape) or axis == 0:
                raise ShapeError(
                    "The axes do not fit the inputs.",
                    where=self._where(),
                    expected="an axis other than the batch of each input, of 2 dimensions or more",
                    received=f"axes {self.axes} for shapes {', '.join(map(str, input_shape))}",
                )
        return [axis % len(shape) for axis, shape in zip(axes, input_shape, strict=True)]

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Check that the shapes fit each other, and write down what is to be summed: "abz,azc->abc"."""
        super().build(input_shape)
        ranks = [len(shape) for shape in input_shape]
        self.summed = self._axes_of(input_shape)
        letters = iter("bcdefghijklmnopqrstuvwxy")
        labels = [["a", *(next(letters) for _ in range(rank - 2))] for rank in ranks]
        kept = "".join(labels[0] + labels[1][1:])
        for label, axis in zip(labels, self.summed, strict=True):
            label.insert(axis, "z")
        self.equation = f"{''.join(labels[0])},{''.join(labels[1])}->{kept}"
        self.input_spec = [InputSpec(ndim=rank) for rank in ranks]

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """The batch, then what is left of the first input, then of the second."""
        self._check_count(input_shape)
        first, second = self._axes_of(input_shape)
        left, right = map(list, input_shape)
        sizes = left.pop(first), right.pop(second)
        batches = left.pop(0), right.pop(0)
        if None not in sizes and sizes[0] != sizes[1]:
            raise self._misfit(f"The sizes along axes {first} and {second} differ.", "equal sizes", input_shape)
        if None not in batches and batches[0] != batches[1]:
            raise self._misfit("The batch sizes differ.", "as many samples in each", input_shape)
        batch = batches[1] if batches[0] is None else batches[0]
        return (batch, *(left + right or [1]))

    def call(self, inputs: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """The dot products."""
        first, second = inputs
        if self.normalize:
            least = config.epsilon()
            first = F.normalize(first, dim=self.summed[0], eps=least)
            second = F.normalize(second, dim=self.summed[1], eps=least)
        output = torch.einsum(self.equation, first, second)
        return output.unsqueeze(1) if output.ndim == 1 else output

    def compute_mask(self, inputs: Any, previous_mask: Masks = None) -> None:
        """None: steps are summed away."""


def _expand(mask: Tensor, x: Tensor) -> Tensor:
    """A mask with dimensions of size 1 behind, up to the rank of the tensor it belongs to."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def _counted(values: Any, noun: str) -> str:
    return f"a list of {len(values)} {noun}s" if isinstance(values, Sequence) else f"one {noun}"


def _beside(inputs: Sequence[Tensor], mask: Sequence[Tensor | None]) -> list[Tensor | None]:
    """For each input its mask, ready to broadcast with it."""
    return [None if kept is None else _expand(kept, x) for x, kept in zip(inputs, mask, strict=True)]


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The sum of the inputs: `Add(**kwargs)(inputs)`.

    Example:
        >>> add([torch.ones(2), torch.ones(2)])
        tensor([2., 2.])
    """
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The first input minus the second: `Subtract(**kwargs)(inputs)`.

    Example:
        >>> subtract([torch.ones(2), torch.ones(2)])
        tensor([0., 0.])
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The product of the inputs: `Multiply(**kwargs)(inputs)`.

    Example:
        >>> multiply([torch.ones(2), torch.ones(2)])
        tensor([1., 1.])
    """
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The mean of the inputs: `Average(**kwargs)(inputs)`.

    Example:
        >>> average([torch.ones(2), torch.zeros(2)])
        tensor([0.5000, 0.5000])
    """
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The element-wise maximum of the inputs: `Maximum(**kwargs)(inputs)`.

    Example:
        >>> maximum([torch.ones(2), torch.zeros(2)])
        tensor([1., 1.])
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The element-wise minimum of the inputs: `Minimum(**kwargs)(inputs)`.

    Example:
        >>> minimum([torch.ones(2), torch.zeros(2)])
        tensor([0., 0.])
    """
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """The inputs one after the other: `Concatenate(axis, **kwargs)(inputs)`.

    Example:
        >>> concatenate([torch.ones(2, 1), torch.zeros(2, 3)]).shape
        torch.Size([2, 4])
    """
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Sequence[Any], axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """The dot product of two tensors: `Dot(axes, **kwargs)(inputs)`.

    Example:
        >>> dot([torch.ones(2, 3), torch.ones(2, 3)], axes=1)
        tensor([[3.],
                [3.]])
    """
    return Dot(axes=axes, **kwargs)(inputs)
