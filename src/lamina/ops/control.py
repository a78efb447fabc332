"""Conversions, loops and branches over tensors, and control over gradients.

Source: https://keras.io/api/ops/core/
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, _higher_order_ops

from lamina.core import tensors, tree
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph.infer import infer
from lamina.graph.node import Operation, connect
from lamina.graph.op import any_symbolic, op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import DType, TensorLike, as_tensor


@op
def convert_to_tensor(x: Any, dtype: DType = None, sparse: bool | None = None, ragged: bool | None = None) -> Tensor:
    """Anything array-like as a tensor.

    Args:
        x: a tensor, variable, NumPy array, number, or nested list of these.
        dtype: the dtype; arrays keep theirs by default, Python floats become floatx, integers int32.
        sparse: not supported.
        ragged: not supported.

    Example:
        >>> convert_to_tensor([1.0, 2.0])
        tensor([1., 2.])
    """
    if sparse or ragged:
        raise ArgumentError(
            "Sparse and ragged tensors are not supported.", where="ops.convert_to_tensor", fix="use dense tensors"
        )
    return tensors.convert_to_tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """A tensor, from any device and with or without gradient, as a NumPy array.

    Example:
        >>> convert_to_numpy(torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    return tensors.convert_to_numpy(np.asarray(x) if isinstance(x, KerasTensor) else x)


def is_tensor(x: Any) -> bool:
    """Whether the value is a tensor that holds numbers (a symbolic one does not)."""
    return isinstance(x, Tensor)


def shape(x: Any) -> tuple[Any, ...]:
    """The shape, with None for sizes of a symbolic tensor that are not known.

    Example:
        >>> shape(torch.ones(2, 3))
        (2, 3)
    """
    return tuple(x.shape) if hasattr(x, "shape") else tuple(as_tensor(x).shape)


def dtype(x: Any) -> str:
    """The dtype's name.

    Example:
        >>> dtype(torch.ones(2))
        'float32'
    """
    return standardize_dtype(x.dtype if hasattr(x, "dtype") else as_tensor(x).dtype)


@op
def cast(x: TensorLike, dtype: DType) -> Tensor:
    """The values in another dtype.

    Example:
        >>> cast([1.7, -1.7], "int32")
        tensor([ 1, -1], dtype=torch.int32)
    """
    return x.to(torch_dtype(dtype)) if isinstance(x, Tensor) else tensors.convert_to_tensor(x).to(torch_dtype(dtype))


@op
def saturate_cast(x: TensorLike, dtype: DType) -> Tensor:
    """The values in another dtype; those beyond its range become its least or greatest value.

    Example:
        >>> saturate_cast([-1.0, 300.0], "uint8")
        tensor([  0, 255], dtype=torch.uint8)
    """
    x, target = as_tensor(x), torch_dtype(dtype)
    low, high = _range(target)
    own_low, own_high = _range(x.dtype)
    if x.is_floating_point() and not target.is_floating_point:
        # The greatest integer may lie between two floats: the lower one is safe. The least is a power of two.
        digits, bits = 1 - round(math.log2(torch.finfo(x.dtype).eps)), high.bit_length()
        high = high if bits <= digits else (1 << bits) - (1 << (bits - digits))
    elif not x.is_floating_point() and (target.is_floating_point or (own_low >= low and own_high <= high)):
        return x.to(target) if target is not torch.float16 else torch.clamp(x.float(), low, high).to(target)
    return torch.clamp(x, max(low, own_low), min(high, own_high)).to(target)


def _range(dtype: torch.dtype) -> tuple[Any, Any]:
    """The least and the greatest value of a dtype."""
    if dtype is torch.bool:
        return 0, 1
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return limits.min, limits.max


@op
def stop_gradient(variable: TensorLike) -> Tensor:
    """The same values, through which no gradient flows."""
    return as_tensor(variable).detach()


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a gradient of its own.

    Args:
        f: gives (output, gradient function) for its tensors; the latter is called with the arguments and
            `upstream=` the gradient of the output (or with that alone, when it takes no `upstream`), and
            gives the gradient of each argument.

    Returns:
        The function of the same arguments that gives the output.

    Example:
        >>> @custom_gradient
        ... def twice(x):
        ...     return 2 * x, lambda *args, upstream: 100 * upstream
        >>> x = torch.ones(1, requires_grad=True)
        >>> twice(x).sum().backward()
        >>> x.grad
        tensor([100.])
    """

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            output, ctx.gradient = f(*args)
            ctx.is_tensor = [isinstance(arg, Tensor) for arg in args]
            ctx.others = [None if isinstance(arg, Tensor) else arg for arg in args]
            ctx.save_for_backward(*(arg for arg in args if isinstance(arg, Tensor)))
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            saved = iter(ctx.saved_tensors)
            args = [next(saved) if is_one else other for is_one, other in zip(ctx.is_tensor, ctx.others, strict=True)]
            upstream = grads[0] if len(grads) == 1 else grads
            if _takes_arguments(ctx.gradient, args):
                found = ctx.gradient(*args, upstream=upstream)
            else:
                found = ctx.gradient(upstream)
            found = list(found) if isinstance(found, (tuple, list)) else [found]
            return tuple(found + [None] * (len(args) - len(found)))

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            bound = inspect.signature(f).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        if any_symbolic(args):
            where = f"custom gradient of {getattr(f, '__name__', 'a function')}"
            return connect(Operation(function), args, {}, infer(function, args, {}, where))
        return Gradient.apply(*args)

    function.__name__ = getattr(f, "__name__", "custom_gradient")
    function.__doc__ = f.__doc__
    return function


def _takes_arguments(gradient: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Whether the gradient function is called with the arguments and `upstream`, or with `upstream` alone."""
    try:
        inspect.signature(gradient).bind(*args, upstream=None)
    except TypeError:
        return False
    return True


def _cond_spec(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """The symbolic result of `cond`, on which both branches must agree."""
    results = [infer(branch, (), {}, "ops.cond") for branch in (true_fn, false_fn)]
    facts = [[(getattr(x, "shape", None), getattr(x, "dtype", None)) for x in tree.flatten(r)] for r in results]
    if facts[0] != facts[1]:
        raise ShapeError(
            "Both branches must give results of the same structure, shapes and dtypes.",
            where="ops.cond",
            expected=f"as from true_fn: {results[0]}",
            received=f"from false_fn: {results[1]}",
        )
    return results[0]


@op(symbolic=_cond_spec)
def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """The result of one of two functions.

    Args:
        pred: a boolean, or a tensor of one value.
        true_fn: called without arguments when `pred` holds.
        false_fn: called without arguments otherwise.

    Example:
        >>> cond(torch.tensor(2) > 1, lambda: "greater", lambda: "not greater")
        'greater'
    """
    if isinstance(pred, Tensor):
        if unknown_stand_in() is not None:
            return true_fn()
        if is_recorded():
            return torch.cond(pred.reshape(()).bool(), lambda: _fresh(true_fn()), lambda: _fresh(false_fn()))
    return true_fn() if pred else false_fn()


def is_recorded() -> bool:
    """Whether `torch.compile`, `torch.export` or `make_fx` is recording, so that no value may be looked at."""
    return (
        torch.compiler.is_compiling() or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


def _fresh(results: Any) -> Any:
    """Results as tensors of their own: torch's operators refuse to give back what they were given."""
    return tree.map_structure(lambda x: None if x is None else as_tensor(x).clone(), results)


@op
def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """The result of one of several functions.

    Args:
        index: which one; below 0 the first, beyond the end the last.
        branches: the functions.
        *operands: their arguments.

    Example:
        >>> switch(1, [lambda x: x + 1, lambda x: x * 10], 4)
        40
    """
    if isinstance(index, Tensor):
        if unknown_stand_in() is not None:
            return branches[0](*operands)
        if is_recorded():
            first, *others = branches
            rest = (lambda: switch(index - 1, others, *operands)) if others else (lambda: first(*operands))
            return cond(index <= 0, lambda: first(*operands), rest) if others else rest()
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def _loop_spec(cond: Any, body: Any, loop_vars: Any, maximum_iterations: Any = None) -> Any:
    """The symbolic result of a loop: its variables keep their shapes."""
    parts = loop_vars if isinstance(loop_vars, (tuple, list)) else (loop_vars,)
    parts = [x if isinstance(x, KerasTensor) else as_tensor(x) for x in parts]
    results = tuple(KerasTensor(tuple(x.shape), x.dtype) for x in parts)
    return results if isinstance(loop_vars, (tuple, list)) else results[0]


@op(symbolic=_loop_spec)
def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None
) -> Any:
    """The loop variables after the body has been applied for as long as the condition holds.

    Args:
        cond: the condition, a function of the loop variables.
        body: gives the next loop variables.
        loop_vars: the first ones: a tuple or list, or one value.
        maximum_iterations: how often at most.

    Example:
        >>> while_loop(lambda i: i < 10, lambda i: i * 2, 1)
        tensor(16, dtype=torch.int32)
    """
    several = isinstance(loop_vars, (tuple, list))
    state = tuple(tree.map_structure(as_tensor, part) for part in (loop_vars if several else (loop_vars,)))
    if unknown_stand_in() is None and is_recorded():
        state = _captured_loop(cond, body, state, maximum_iterations)
        return state if several else state[0]
    limit = 1 if unknown_stand_in() is not None else maximum_iterations
    count = 0
    while (limit is None or count < limit) and (unknown_stand_in() is not None or cond(*state)):
        result = body(*state)
        state = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        count += 1
    return state if several else state[0]


def _captured_loop(cond: Any, body: Any, state: tuple[Any, ...], maximum_iterations: Any) -> tuple[Any, ...]:
    """The loop as one operator of torch's, with a count of the rounds where they are limited."""

    def again(count: Tensor, *state: Any) -> Any:
        going = torch.as_tensor(cond(*state)).reshape(()).bool()
        return going if maximum_iterations is None else going & (count < maximum_iterations)

    def step(count: Tensor, *state: Any) -> Any:
        result = body(*state)
        return count + 1, *_fresh(tuple(result) if isinstance(result, (tuple, list)) else (result,))

    start = torch.zeros((), dtype=torch.int64)
    return tuple(_higher_order_ops.while_loop(again, step, (start, *_fresh(state)))[1:])


@op
def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """The state after the body has been applied for each index from `lower` up to, not including, `upper`.

    Args:
        lower: the first index.
        upper: the end.
        body_fun: gives the next state from the index and the state.
        init_val: the first state.

    Example:
        >>> fori_loop(0, 4, lambda i, total: total + i, 0)
        6
    """
    if isinstance(upper, Tensor) and unknown_stand_in() is None and is_recorded():
        start = torch.zeros_like(upper) + lower
        return while_loop(lambda i, _: i < upper, lambda i, x: (i + 1, body_fun(i, x)), (start, init_val))[1]
    state = init_val
    for index in range(int(lower), int(upper)):
        state = body_fun(index, state)
    return state


@op
def scan(
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """A state carried along the first axis, and what each step gave.

    Args:
        f: gives (next state, output) from the state and one slice of `xs`.
        init: the first state.
        xs: tensors to walk along, in any structure, or None.
        length: the number of steps, needed without `xs`.
        reverse: whether to walk from the end.
        unroll: kept for Keras.

    Returns:
        The last state, and the outputs stacked along a new first axis.

    Example:
        >>> scan(lambda total, x: (total + x, total), torch.tensor(0), torch.tensor([1, 2, 3]))
        (tensor(6), tensor([0, 1, 3]))
    """
    _check_function(f, "ops.scan", "f(carry, x) -> (carry, y)")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ArgumentError(
            "`unroll` cannot be used.", where="ops.scan", expected="an integer >= 1, or a boolean", received=unroll
        )
    if xs is None and length is None:
        raise ArgumentError("Without xs the number of steps is needed.", where="ops.scan", fix="pass length=...")
    xs = None if xs is None else tree.map_structure(as_tensor, xs)
    steps = int(length) if length is not None else tree.flatten(xs)[0].shape[0]
    # While shapes are inferred, one step tells all.
    count = 1 if steps == unknown_stand_in() else steps
    state = tree.map_structure(as_tensor, init)
    if count == steps > 1 and is_recorded() and _steady(f, state, xs):
        whole = _higher_order_ops.scan(lambda c, x: _fresh(f(c, x)), state, xs, reverse=reverse)
        return tuple(whole)  # type: ignore[return-value]
    outputs = []
    for i in reversed(range(count)) if reverse else range(count):
        state, output = f(state, None if xs is None else tree.map_structure(lambda x, i=i: x[i], xs))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return state, _stacked(outputs * (steps if count != steps else 1))


def _check_function(f: Any, where: str, expected: str) -> None:
    if not callable(f):
        raise ArgumentTypeError("`f` is no function.", where=where, expected=expected, received=repr(f))


def _steady(f: Callable[..., Any], state: Any, xs: Any) -> bool:
    """Whether torch's operator can do this scan: nothing changes from step to step, nothing needs a gradient."""
    if xs is None:
        return False
    # Recorded as well, but nothing uses the results, so they do not stay in the graph.
    after, outputs = f(state, tree.map_structure(lambda x: x[0], xs))
    parts = [*tree.flatten(after), *tree.flatten(outputs)]
    before = tree.flatten(state)
    return all(isinstance(x, Tensor) and not x.requires_grad for x in parts) and all(
        x.shape == old.shape and x.dtype is old.dtype for x, old in zip(parts, before, strict=False)
    )


def _stacked(outputs: list[Any]) -> Any:
    """Structures of tensors as one, stacked along a new first axis; None where there is no output."""
    if not outputs or outputs[0] is None:
        return None
    return tree.map_structure(lambda *parts: torch.stack([as_tensor(part) for part in parts]), *outputs)


@op
def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """The results of a function for each slice along the first axis, stacked.

    Args:
        f: a function of one slice of each tensor in `xs`.
        xs: tensors in any structure.

    Example:
        >>> map(lambda x: x * 2, torch.tensor([1, 2]))
        tensor([2, 4])
    """
    _check_function(f, "ops.map", "f(x) -> y")
    return scan(lambda state, x: (state, f(x)), 0, xs)[1]


@op
def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """The running results of an associative function along an axis, in a logarithmic number of steps.

    Args:
        f: combines two slices of elements; `f(a, f(b, c)) == f(f(a, b), c)`.
        elems: tensors in any structure, equally long along the axis.
        reverse: whether to run from the end.
        axis: the axis.

    Raises:
        ShapeError: the tensors differ in length.

    Example:
        >>> associative_scan(lambda a, b: a + b, torch.tensor([1, 2, 3, 4]))
        tensor([ 1,  3,  6, 10])
    """
    _check_function(f, "ops.associative_scan", "f(a, b) -> c")
    elems = tree.map_structure(as_tensor, elems)
    size, *others = [x.shape[axis] for x in tree.flatten(elems)]
    if any(other != size for other in others):
        raise ShapeError(
            "The tensors differ in length along the axis.",
            where="ops.associative_scan",
            expected=f"{size} elements along axis {axis} in each",
            received=f"{[size, *others]}",
        )
    step = 1
    if reverse:
        elems = tree.map_structure(lambda x: torch.flip(x, (axis,)), elems)
    while step < size:
        head = tree.map_structure(lambda x, n=step: torch.narrow(x, axis, 0, n), elems)
        earlier = tree.map_structure(lambda x, n=step: torch.narrow(x, axis, 0, size - n), elems)
        later = tree.map_structure(lambda x, n=step: torch.narrow(x, axis, n, size - n), elems)
        elems = tree.map_structure(lambda a, b: torch.cat((a, b), axis), head, f(earlier, later))
        step *= 2
    return tree.map_structure(lambda x: torch.flip(x, (axis,)), elems) if reverse else elems


@op
def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """The results of a function for each slice along the first axis, computed at once.

    Args:
        function: a function of one slice of each tensor in `elements`.
        elements: a tensor, or tensors in any structure.

    Example:
        >>> vectorized_map(torch.sum, torch.ones(3, 2))
        tensor([2., 2., 2.])
    """
    return torch.vmap(function)(tree.map_structure(as_tensor, elements))
