"""A weight or a piece of state: an `nn.Parameter` with a path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from lamina.core.dtypes import is_float, standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ShapeError, check_number, check_type, one_of
from lamina.core.limits import claim
from lamina.core.naming import auto_name
from lamina.core.outlines import with_data
from lamina.core.registry import builtins_of, lookup
from lamina.core.scopes import current_path
from lamina.core.tensors import convert_to_numpy, convert_to_tensor, default_device

_AGGREGATIONS = ("none", "mean", "sum", "only_first_replica")
# What a number takes at most; counted where a config asks for variables.
_WIDEST = 8


class Variable(torch.nn.Parameter):
    """A tensor that lives as long as its layer: a trainable weight, or state such as a moving average.

    It is an `nn.Parameter`, so it works wherever torch takes one; `requires_grad` is its `trainable`.

    Args:
        initializer: the value (tensor, array, number), a function of (shape, dtype) that makes it, or the name of an
            initializer.
        shape: the shape, needed with a function.
        dtype: the dtype; that of the value, or floatx, by default.
        trainable: whether gradients shall reach it; integer state never is.
        autocast: kept for Keras; a layer's policy decides about casting.
        aggregation: kept for Keras.
        synchronization: kept for Keras.
        name: its name; the path is the open name scopes and this.
        layout: how it is laid out over devices; kept for Keras.

    Raises:
        ArgumentError: a function is given without a shape.
        ShapeError: the value does not have the shape named.

    Example:
        >>> v = Variable([1.0, 2.0], name="state", trainable=False)
        >>> v.assign_add([1.0, 1.0]).numpy()
        array([2., 3.], dtype=float32)

    Source: https://keras.io/api/utils/backend_utils/
    """

    _name: str
    _path: str
    aggregation: str
    synchronization: str
    autocast: bool
    regularizer: Any
    constraint: Any
    overwrite_with_gradient: bool
    _layout: Any

    def __new__(
        cls,
        initializer: Any,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str | None = None,
        synchronization: str | None = None,
        name: str | None = None,
        layout: Any = None,
        path: str | None = None,
    ) -> Variable:
        """A variable with a first value."""
        if name is not None and (not isinstance(name, str) or "/" in name):
            where, expected = "Variable(name=...)", "a string without a slash"
            raise ArgumentError("This is no name of a variable.", where=where, expected=expected, received=repr(name))
        one_of(aggregation or "none", _AGGREGATIONS, "Variable, aggregation")
        if shape is not None:
            check_type(shape, Iterable, "Variable(shape=...)", "a tuple of sizes, e.g. (3,)")
            for size in shape:
                check_number(size, "Variable(shape=...)", least=0)
            claim(math.prod(shape) * _WIDEST, f"variable '{name}'")
        with torch.no_grad(), with_data():
            value = _initial_value(initializer, shape, dtype)
        return cls._wrap(
            value,
            trainable=trainable,
            name=name or auto_name("variable"),
            path=path,
            autocast=autocast,
            aggregation=aggregation or "none",
            synchronization=synchronization or "auto",
            layout=layout,
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @classmethod
    def _wrap(
        cls, value: torch.Tensor, *, trainable: bool, name: str, path: str | None = None, **kept: Any
    ) -> Variable:
        """A variable around a tensor, sharing its storage."""
        trainable = trainable and (value.is_floating_point() or value.is_complex())
        self = torch.Tensor._make_subclass(cls, value.detach(), trainable)
        self._name = name
        scope = current_path()
        self._path = path or (f"{scope}/{name}" if scope else name)
        self.autocast = kept.get("autocast", True)
        self.aggregation = kept.get("aggregation", "none")
        self.synchronization = kept.get("synchronization", "auto")
        self._layout = kept.get("layout")
        self.regularizer = kept.get("regularizer")
        self.constraint = kept.get("constraint")
        self.overwrite_with_gradient = False
        return self

    def _like(self, value: torch.Tensor) -> Variable:
        """The same variable around another tensor."""
        other = torch.Tensor._make_subclass(type(self), value.detach(), self.requires_grad and _can_train(value))
        vars(other).update(vars(self))  # pyright: ignore[reportAttributeAccessIssue]
        return other

    @property
    def name(self) -> str:  # type: ignore[override]
        """The last part of the path."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def path(self) -> str:
        """Where the variable stands, e.g. "sequential/dense/kernel"."""
        return self._path

    @path.setter
    def path(self, value: str) -> None:
        self._path = value

    @property
    def trainable(self) -> bool:
        """Whether gradients reach it."""
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.requires_grad_(bool(value) and _can_train(self))

    @property
    def value(self) -> Variable:
        """The tensor itself."""
        return self

    def assign(self, value: Any) -> Variable:
        """Overwrite the value in place.

        Raises:
            ShapeError: the shape differs.
        """
        with torch.no_grad():
            tensor = convert_to_tensor(value, device=self.device)
            if tensor.shape != self.shape:
                raise ShapeError(
                    "The value does not fit the variable.",
                    where=f"variable '{self.path}'",
                    expected=tuple(self.shape),
                    received=tuple(tensor.shape),
                )
            self.copy_(tensor)
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the value in place."""
        with torch.no_grad():
            self.add_(convert_to_tensor(value, self.dtype, self.device))
        return self

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the value in place."""
        with torch.no_grad():
            self.sub_(convert_to_tensor(value, self.dtype, self.device))
        return self

    def numpy(self, *, force: bool = False) -> np.ndarray:  # type: ignore[override]
        """The value as a NumPy array of its own."""
        return convert_to_numpy(self).copy()

    def __float__(self) -> float:
        return float(self.detach().item())

    def __int__(self) -> int:
        return int(self.detach().item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = convert_to_numpy(self)
        return array.astype(dtype) if dtype is not None else array

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        if id(self) not in memo:
            copied = self._like(self.detach().clone(memory_format=torch.preserve_format))
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        state = {key: value for key, value in self.__dict__.items() if not key.startswith("_keras")}
        return _rebuild, (type(self), self.data, self.requires_grad, state)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        dtype = standardize_dtype(self.dtype)
        shape = tuple(self.shape)
        if self.is_meta or type(self.data) is not torch.Tensor:
            return f"<Variable path={self.path}, shape={shape}, dtype={dtype}>"
        return f"<Variable path={self.path}, shape={shape}, dtype={dtype}, value={convert_to_numpy(self)}>"


def _can_train(value: torch.Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _rebuild(cls: type[Variable], value: torch.Tensor, requires_grad: bool, state: dict[str, Any]) -> Variable:
    variable = torch.Tensor._make_subclass(cls, value.detach(), requires_grad)
    vars(variable).update(state)  # pyright: ignore[reportAttributeAccessIssue]
    return variable


def _initial_value(initializer: Any, shape: Sequence[int] | None, dtype: Any) -> torch.Tensor:
    """The first value, in storage of its own."""
    if isinstance(initializer, str):
        initializer = lookup(initializer, kind="initializer", table=builtins_of("keras.initializers"))
    if callable(initializer) and not isinstance(initializer, (torch.Tensor, np.ndarray)):
        if shape is None:
            raise ArgumentError(
                "An initializer needs a shape.", where="Variable", fix="pass shape=(...), or a value instead"
            )
        dtype = standardize_dtype(dtype)
        value = convert_to_tensor(initializer(tuple(shape), dtype=dtype), dtype, default_device())
        expected = tuple(shape)
    else:
        dtype = None if dtype is None else torch_dtype(dtype)
        value = convert_to_tensor(initializer, dtype, default_device())
        if dtype is None and is_float(value.dtype) and not hasattr(initializer, "dtype"):
            value = value.to(torch_dtype(None))
        value = value.clone()
        expected = tuple(shape) if shape is not None else tuple(value.shape)
    if tuple(value.shape) != expected:
        where, received = "Variable(shape=...)", tuple(value.shape)
        raise ShapeError("The value does not have the shape named.", where=where, expected=expected, received=received)
    return value
