"""The `@op` decorator: one plain function serves real tensors and symbolic ones."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast, overload

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, LaminaError, ShapeError
from lamina.core.tensors import convert_to_tensor
from lamina.core.tracebacks import comes_from_program
from lamina.core.variable import Variable
from lamina.graph import node
from lamina.graph.infer import infer
from lamina.graph.tensor import KerasTensor
from lamina.graph.widening import CASTING, WIDENED, in_wider_dtype, lacks_kernel, suited, widening_half

P = ParamSpec("P")
R = TypeVar("R")

# Exact types that hold no symbolic tensor: what nearly every argument is.
_PLAIN = frozenset(
    {torch.Tensor, torch.nn.Parameter, Variable, np.ndarray, torch.dtype, FunctionType}
    | {type(None), bool, int, float, complex, str, slice, type(Ellipsis)}
)
# What Python and torch raise for arguments of kinds that a function cannot use.
_UNFIT = (TypeError, ValueError, KeyError, ZeroDivisionError)


@overload
def op(function: Callable[P, R]) -> Callable[P, R]: ...


@overload
def op(
    *,
    shape: Callable[..., Any] | None = None,
    symbolic: Callable[..., Any] | None = None,
    casts: bool = False,
    wide: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def op(
    function: Callable[P, R] | None = None,
    *,
    shape: Callable[..., Any] | None = None,
    symbolic: Callable[..., Any] | None = None,
    casts: bool = False,
    wide: bool = False,
) -> Any:
    """Make a function of tensors an op: on symbolic tensors its call is recorded in the graph instead.

    Args:
        function: the arithmetic, written for real tensors.
        shape: for element-wise functions of broadcasting tensors: computes the shape of the result from the shapes
            of the symbolic and real tensors among the arguments (`broadcast_shapes`). The dtype is still found by
            running the function, on tensors of size one. By default the function is run on tensors without data.
        symbolic: full override: called with the arguments, gives the symbolic result.
        casts: whether the function itself casts unsigned integers to what torch computes in.
        wide: whether torch has no kernels for it in half precision, so that it runs in float32. Where this is not
            said, such a call is repeated in float32 once torch has failed, which a traced graph cannot do.

    Example:
        >>> import torch
        >>> @op
        ... def double(x):
        ...     return x * 2
        >>> double(torch.ones(2)), double(KerasTensor((None, 2))).shape
        (tensor([2., 2.]), (None, 2))
    """
    if function is None:
        return functools.partial(_decorate, shape=shape, symbolic=symbolic, casts=casts, wide=wide)
    return _decorate(function)


def _decorate(
    function: Callable[P, R],
    shape: Callable[..., Any] | None = None,
    symbolic: Callable[..., Any] | None = None,
    casts: bool = False,
    wide: bool = False,
) -> Callable[P, R]:
    name = function.__name__  # type: ignore[attr-defined]
    if casts:
        CASTING.add(function)
    if wide:
        WIDENED.add(function)
    called = widening_half(function) if wide else function

    def record(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer_name = kwargs.pop("name", None) if "name" not in function.__code__.co_varnames else None  # type: ignore[attr-defined]
        where = f"op {name}"
        try:
            if symbolic is not None:
                outputs = symbolic(*args, **kwargs)
            elif shape is not None:
                outputs = _by_shape(suited(function, args, kwargs), shape, args, kwargs, where)
            else:
                outputs = infer(suited(function, args, kwargs), args, kwargs, where)
        except _UNFIT as error:
            _refuse(function, args, kwargs, error)
            raise
        return node.connect(node.Operation(function, layer_name, name), args, kwargs, outputs)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for argument in args:
            if type(argument) not in _PLAIN and any_symbolic(argument):
                return record(args, dict(kwargs))
        if kwargs:
            for argument in kwargs.values():
                if type(argument) not in _PLAIN and any_symbolic(argument):
                    return record(args, dict(kwargs))
        try:
            return called(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            if lacks_kernel(error):
                with contextlib.suppress(RuntimeError):
                    return in_wider_dtype(function, args, kwargs)
            _explain(function, args, kwargs, f"op {name}", error)
            error.add_note(f"in op {name}, called with {_described(args, kwargs)}")
            raise error
        except _UNFIT as error:
            _refuse(function, args, kwargs, error)
            raise

    node.OPS[name] = wrapper
    return cast("Callable[P, R]", wrapper)


def _explain(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], where: str, error: Exception
) -> None:
    """Raise an error that says more where a tensor is sparse, or dtypes or shapes alone make the call fail."""
    tensors = [x for x in tree.flatten((args, dict(kwargs))) if isinstance(x, torch.Tensor)]
    for tensor in tensors:
        convert_to_tensor(tensor)
    if isinstance(error, NotImplementedError) and tensors:
        dtypes = ", ".join(standardize_dtype(x.dtype) for x in tensors)
        fix = 'cast first: lamina.ops.cast(x, "float32")'
        raise DTypeError("This op does not take such dtypes.", where=where, received=dtypes, fix=fix) from error
    symbolic = tree.map_structure(_symbolic, (args, dict(kwargs)))
    try:
        infer(function, symbolic[0], symbolic[1], where)
    except ShapeError as error:
        raise error from None
    except Exception:  # the failure is not about shapes; the one that was met is told
        return


def _refuse(function: Callable[..., Any], args: Any, kwargs: dict[str, Any], error: Exception) -> None:
    """Raise what says more of arguments that the function cannot use, unless a function of the caller's has failed."""
    if isinstance(error, LaminaError) or comes_from_program(error):
        return
    parameters = inspect.signature(function).parameters.values()
    raise (ArgumentTypeError if isinstance(error, TypeError) else ArgumentError)(
        f"The arguments cannot be used: {str(error).partition(chr(10))[0]}",
        where=f"op {function.__name__}",  # type: ignore[attr-defined]
        expected=", ".join(str(parameter.replace(annotation=parameter.empty)) for parameter in parameters),
        received=_described(args, kwargs),
    ) from error


def _described(args: Any, kwargs: dict[str, Any]) -> str:
    """The arguments of a call in a few words."""
    given = [("", value) for value in args] + [(f"{key}=", value) for key, value in kwargs.items()]
    return ", ".join(
        name + (f"shape {tuple(value.shape)}" if hasattr(value, "shape") else f"{value!r:.60}") for name, value in given
    )


def _symbolic(leaf: Any) -> Any:
    return KerasTensor(leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf


def any_symbolic(value: Any) -> bool:
    """Whether a symbolic tensor stands anywhere in a value."""
    if isinstance(value, KerasTensor):
        return True
    if isinstance(value, (list, tuple)):
        # A loop, because it runs before every op: a generator costs three times as much.
        for item in value:
            if type(item) not in _PLAIN and any_symbolic(item):
                return True
    elif isinstance(value, dict):
        return any(any_symbolic(item) for item in value.values())
    return False


def _by_shape(
    function: Callable[..., Any],
    shape: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    where: str,
) -> Any:
    """Result by a shape rule; the dtype by running the function on single elements."""
    args, kwargs = _arrays(args), _arrays(kwargs)
    tensors = [leaf for leaf in tree.flatten((args, kwargs)) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    try:
        sizes = shape(*[tuple(tensor.shape) for tensor in tensors])
    except ShapeError as error:
        what, expected, received = error.what, error.expected, error.received
        raise ShapeError(what, where=where, expected=expected, received=received, fix=error.fix) from None
    single = tree.map_structure(_single, (args, kwargs))
    result = infer(function, single[0], single[1], where)
    return tree.map_structure(lambda leaf: KerasTensor(sizes, leaf.dtype), result)


def _single(leaf: Any) -> Any:
    if not isinstance(leaf, np.generic) and hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return KerasTensor((1,) * len(leaf.shape), standardize_dtype(leaf.dtype))
    return leaf


def _arrays(arguments: Any) -> Any:
    """The arguments with lists of numbers made tensors."""
    if isinstance(arguments, dict):
        return {key: _array(value) for key, value in arguments.items()}
    return tuple(_array(value) for value in arguments)


def _array(value: Any) -> Any:
    return convert_to_tensor(value) if isinstance(value, (list, tuple)) and not any_symbolic(value) else value


def broadcast_shapes(*shapes: Sequence[int | None]) -> tuple[int | None, ...]:
    """The shape that tensors of these shapes broadcast to; an unknown size gives way to any known one but 1.

    Raises:
        ShapeError: they do not broadcast.

    Example:
        >>> broadcast_shapes((None, 3), (2, None))
        (2, 3)
    """
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[int | None] = []
    for sizes in zip(*padded, strict=True):
        known = {size for size in sizes if size is not None and size != 1}
        if len(known) > 1:
            raise ShapeError(
                "Shapes do not broadcast.",
                where="broadcast_shapes",
                expected="sizes of each axis, counted from the last, that are equal, or one of them 1",
                received=" and ".join(str(tuple(shape)) for shape in shapes),
            )
        result.append(known.pop() if known else (None if None in sizes else 1))
    return tuple(result)


def _record(operation: node.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    outputs = infer(operation.function, args, kwargs, f"torch function {operation.label}")
    return node.connect(operation, args, kwargs, outputs)


node._recorder.append(_record)


def _item_spec(x: Any, key: Any) -> Any:
    """The symbolic result of `get_item`; how much a slice takes of an axis of unknown size is unknown as well."""
    result = infer(_item, (x, key), {}, "op get_item")
    key = _as_tuple(key)
    parts = list(key) if isinstance(key, tuple) else [key]
    basic = all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts)
    if None not in getattr(x, "shape", ()) or not basic:
        return result
    if parts.count(Ellipsis) > 1:
        fix = "write the further ones as :, a colon for each axis"
        raise ShapeError("An index has one ellipsis at most.", where="op get_item", received=key, fix=fix)
    rest = [slice(None)] * (len(x.shape) - sum(part is not None and part is not Ellipsis for part in parts))
    at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    sizes, shape = iter(x.shape), list(result.shape)
    place = 0
    for part in [*parts[:at], *rest, *parts[at + 1 :]]:
        if part is not None and next(sizes) is None and isinstance(part, slice):
            shape[place] = None
        place += not isinstance(part, int)
    return KerasTensor(shape, result.dtype)


@op(symbolic=_item_spec)
def get_item(x: Any, key: Any) -> Any:
    """`x[key]` as a node of the graph."""
    return _item(x, key)


def _item(x: Any, key: Any) -> Any:
    return x[_as_tuple(key)]


def _as_tuple(key: Any) -> Any:
    """A key read from a file is a list: JSON has no tuples. One with slices in it can only have been a tuple."""
    if isinstance(key, list) and any(part is None or part is Ellipsis or isinstance(part, slice) for part in key):
        return tuple(key)
    return key
