"""KerasTensor: a tensor that is not there yet. It knows its shape, its dtype and where it comes from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, NotIterableError, ShapeError
from lamina.core.naming import auto_name
from lamina.graph import node
from lamina.graph.torch_functions import is_kept_method


class KerasTensor:
    """A symbolic tensor: what `Input()` gives and what layers and ops make of it.

    Args:
        shape: the shape, None for dimensions that are not known.
        dtype: the dtype's name.
        sparse: not supported; kept for Keras.
        ragged: not supported; kept for Keras.
        record_history: kept for Keras.
        name: its name.
        ragged_rank: kept for Keras.
        row_splits_dtype: kept for Keras.

    Example:
        >>> KerasTensor((None, 3)).shape
        (None, 3)

    Source: https://keras.io/api/models/model/
    """

    _keras_history: node.KerasHistory
    _node: node.Node
    sparse: bool = False
    ragged: bool = False
    ragged_rank: int | None = None
    row_splits_dtype: str | None = None

    def __init__(
        self,
        shape: Iterable[int | None],
        dtype: Any = "float32",
        sparse: bool = False,
        ragged: bool = False,
        record_history: bool = True,
        name: str | None = None,
        ragged_rank: int | None = None,
        row_splits_dtype: Any = None,
    ) -> None:
        if sparse or ragged:
            what, fix = "Sparse and ragged tensors are not supported.", "use dense tensors and a mask"
            raise ArgumentTypeError(what, where="sparse=..., ragged=...", fix=fix)
        self._shape = standardize_shape(shape)
        self._dtype = standardize_dtype(dtype)
        self.record_history = record_history
        self.name = name or auto_name("keras_tensor")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None where not known."""
        return self._shape

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def __getattr__(self, name: str) -> Any:
        """A method of torch's tensors, whose call becomes a node of the graph."""
        if not is_kept_method(name):
            raise AttributeError(f"A symbolic tensor has no attribute {name!r}.", name=name, obj=self)
        return functools.partial(_call_method, getattr(torch.Tensor, name), self)

    def reshape(self, *shape: Any) -> Any:
        """The tensor reshaped."""
        target = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        return node.call_op("reshape", self, tuple(target))

    def squeeze(self, axis: int | None = None) -> Any:
        """The tensor without dimensions of size one."""
        return node.call_op("squeeze", self, axis)

    @property
    def T(self) -> Any:
        """The tensor with its dimensions reversed."""
        return node.call_op("transpose", self)

    @property
    def mT(self) -> Any:
        """The tensor with its last two dimensions exchanged."""
        return node.call_op("swapaxes", self, -2, -1)

    def __len__(self) -> int:
        raise ArgumentTypeError("A symbolic tensor has no length.", where=repr(self), fix="use tensor.shape")

    def __bool__(self) -> bool:
        raise ArgumentTypeError(
            "A symbolic tensor has no value, so it cannot decide an `if` or a `while`.",
            where=repr(self),
            fix="use lamina.ops.where or lamina.ops.cond, or put the code into the call() of a layer",
        )

    def __iter__(self) -> Any:
        raise NotIterableError(
            "A symbolic tensor cannot be iterated over.", where=repr(self), fix="use lamina.ops.unstack"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentError(
            "A symbolic tensor has no values and cannot become an array.",
            where=repr(self),
            fix="use lamina.ops (or torch) functions instead of NumPy's, or put the code into the call() of a layer",
        )

    def __float__(self) -> float:
        fix = "keep to tensors: lamina.ops.cast(x, dtype), or put the code into the call() of a layer"
        raise ArgumentTypeError("A symbolic tensor has no value, so it is no number.", where=repr(self), fix=fix)

    def __int__(self) -> int:
        return int(self.__float__())

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse={self.sparse}, name={self.name}>"

    def __getitem__(self, key: Any) -> Any:
        return node.call_op("get_item", self, key)

    def __round__(self, ndigits: int | None = None) -> Any:
        return node.call_op("round", self, ndigits or 0)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Any torch function of a symbolic tensor becomes a node of the graph."""
        return node.record_torch_function(func, args, kwargs or {})


def _call_method(method: Callable[..., Any], tensor: KerasTensor, *args: Any, **kwargs: Any) -> Any:
    return node.record_torch_function(method, (tensor, *args), kwargs)


def _binary(name: str) -> Callable[[KerasTensor, Any], Any]:
    def operator(self: KerasTensor, other: Any) -> Any:
        return node.call_op(name, self, other)

    return operator


def _reflected(name: str) -> Callable[[KerasTensor, Any], Any]:
    def operator(self: KerasTensor, other: Any) -> Any:
        return node.call_op(name, other, self)

    return operator


def _unary(name: str) -> Callable[[KerasTensor], Any]:
    def operator(self: KerasTensor) -> Any:
        return node.call_op(name, self)

    return operator


for _symbol, _name in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "pow": "power",
    "matmul": "matmul",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
}.items():
    setattr(KerasTensor, f"__{_symbol}__", _binary(_name))
    setattr(KerasTensor, f"__r{_symbol}__", _reflected(_name))
for _symbol, _name in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "ne": "not_equal",
}.items():
    setattr(KerasTensor, f"__{_symbol}__", _binary(_name))
for _symbol, _name in {"neg": "negative", "abs": "absolute", "invert": "logical_not"}.items():
    setattr(KerasTensor, f"__{_symbol}__", _unary(_name))


def standardize_shape(shape: Iterable[int | None]) -> tuple[int | None, ...]:
    """A shape as a tuple of ints and None.

    Raises:
        ShapeError: it is no sequence, or holds something else or a negative size.
    """
    if isinstance(shape, (str, int)) or not isinstance(shape, Iterable):
        fix = f"write ({shape},)" if isinstance(shape, int) else "write a tuple, e.g. (28, 28, 1)"
        raise ShapeError("A shape is a tuple of sizes.", where="shape=...", received=repr(shape), fix=fix)
    sizes: list[int | None] = []
    for size in shape:
        if size is None or isinstance(size, torch.SymInt):
            sizes.append(size)  # type: ignore[arg-type]
            continue
        try:
            number = int(size)
        except (TypeError, ValueError):
            number = -1
        if number < 0 or number != size:
            where, expected = "shape=...", "whole numbers of at least 0, or None for an open size"
            received = f"{size!r} in {shape!r}"
            raise ShapeError("This is no size of an axis.", where=where, expected=expected, received=received)
        sizes.append(number)
    return tuple(sizes)


def is_keras_tensor(x: Any) -> bool:
    """Whether a value is a symbolic tensor.

    Example:
        >>> is_keras_tensor(KerasTensor((2,)))
        True
    """
    return isinstance(x, KerasTensor)
