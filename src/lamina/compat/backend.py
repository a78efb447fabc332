"""The functions that `keras.backend` had in Keras 2: renamed ops, shapes, variables and the phases of training.

Arguments are those of Keras 2. Every function works on arrays, tensors and symbolic tensors alike, for it is made of
`lamina.ops`. `find` gives a function by its old name together with what replaces it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamina import ops
from lamina.core import config, tree
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.variable import Variable
from lamina.graph.tensor import KerasTensor
from lamina.layers import Input
from lamina.models import Model

RENAMED = {
    **{name: name for name in (
        "abs", "all", "any", "arange", "binary_crossentropy", "cast", "categorical_crossentropy", "cos", "dot",
        "elu", "equal", "exp", "greater", "greater_equal", "hard_sigmoid", "less", "less_equal", "log", "logsumexp",
        "max", "maximum", "mean", "min", "minimum", "not_equal", "one_hot", "ones_like", "prod", "reshape", "round",
        "shape", "sigmoid", "sign", "silu", "sin", "softmax", "softplus", "softsign", "sparse_categorical_crossentropy",
        "sqrt", "square", "squeeze", "stack", "std", "stop_gradient", "sum", "tan", "tanh", "transpose", "var",
        "zeros_like",
    )},
    "identity": "convert_to_tensor",
    "map_fn": "map",
    "permute_dimensions": "transpose",
    "pow": "power",
    "reverse": "flip",
    "tile": "tile",
}  # fmt: skip
"""Old names whose arguments are those of an op."""

_phase = {"learning": 0}


def argmax(x: Any, axis: int = -1) -> Any:
    """Where the largest element is along an axis."""
    return ops.argmax(x, axis=axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """Where the smallest element is along an axis."""
    return ops.argmin(x, axis=axis)


def batch_dot(x: Any, y: Any, axes: int | Sequence[int] | None = None) -> Any:
    """The product of each sample of `x` with the same sample of `y`, summed over one axis of each."""
    rank_x, rank_y = len(x.shape), len(y.shape)
    if axes is None:
        axes = (rank_x - 1, rank_y - 1 if rank_y == 2 else rank_y - 2)
    axis_x, axis_y = (axes, axes) if isinstance(axes, int) else axes
    axis_x, axis_y = axis_x % rank_x, axis_y % rank_y
    if axis_x == 0 or axis_y == 0:
        where, fix = "batch_dot(axes=...)", "name axes from 1 on, e.g. axes=(2, 1)"
        raise ArgumentError("The batch axis cannot be summed over.", where=where, received=axes, fix=fix)
    letters = iter("cdefghijkl")
    terms_x = ["b" if i == 0 else "a" if i == axis_x else next(letters) for i in range(rank_x)]
    terms_y = ["b" if i == 0 else "a" if i == axis_y else next(letters) for i in range(rank_y)]
    kept = [term for term in terms_x + terms_y[1:] if term != "a"]
    result = ops.einsum(f"{''.join(terms_x)},{''.join(terms_y)}->{''.join(kept)}", x, y)
    return ops.expand_dims(result, -1) if len(kept) == 1 else result


def batch_flatten(x: Any) -> Any:
    """Each sample as a vector."""
    return ops.reshape(x, (-1, _size(x.shape[1:])))


def batch_get_value(tensors: Sequence[Any]) -> list[Any]:
    """The values of several variables as arrays."""
    return [convert_to_numpy(x) for x in tensors]


def batch_set_value(tuples: Sequence[tuple[Any, Any]]) -> None:
    """Give several variables new values."""
    for x, value in tuples:
        x.assign(value)


def cast_to_floatx(x: Any) -> Any:
    """The value in the default float dtype: arrays stay arrays."""
    return ops.cast(x, config.floatx()) if hasattr(x, "assign") or _is_tensor(x) else _array(x)


def clip(x: Any, min_value: Any, max_value: Any) -> Any:
    """Every element, limited to a range."""
    low = -float("inf") if min_value is None else min_value
    high = float("inf") if max_value is None else max_value
    return ops.clip(x, low, high)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """Tensors joined along an axis."""
    return ops.concatenate(tensors, axis=axis)


def constant(value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str | None = None) -> Any:
    """A tensor of a fixed value, filled up to a shape where one is given."""
    tensor = convert_to_tensor(value, dtype or config.floatx())
    return tensor if shape is None else ops.broadcast_to(tensor, shape)


def count_params(x: Any) -> int:
    """How many elements a tensor has."""
    return _size(x.shape)


def cumprod(x: Any, axis: int = 0) -> Any:
    """Running products along an axis."""
    return ops.cumprod(x, axis=axis)


def cumsum(x: Any, axis: int = 0) -> Any:
    """Running sums along an axis."""
    return ops.cumsum(x, axis=axis)


def dtype(x: Any) -> str:
    """The name of a tensor's dtype."""
    return standardize_dtype(x.dtype)


def eval(x: Any) -> Any:
    """The value of a tensor as an array."""
    return convert_to_numpy(x)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """The tensor with an axis of size one added."""
    return ops.expand_dims(x, axis)


def eye(size: int | Sequence[int], dtype: Any = None, name: str | None = None) -> Any:
    """A matrix with ones on its diagonal."""
    rows, columns = (size, size) if isinstance(size, int) else size
    return ops.eye(rows, columns, dtype=dtype or config.floatx())


def flatten(x: Any) -> Any:
    """All elements as one vector."""
    return ops.reshape(x, (-1,))


def foldl(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """A function of (result so far, element) applied from the first element to the last."""
    elements = list(ops.unstack(elems))
    return functools.reduce(fn, elements) if initializer is None else functools.reduce(fn, elements, initializer)


def foldr(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """A function of (result so far, element) applied from the last element to the first."""
    return foldl(fn, ops.flip(elems, 0), initializer)


def function(inputs: Sequence[Any], outputs: Any, updates: Any = None, name: str | None = None, **_: Any) -> Any:
    """A function from arrays to arrays, cut out of a model: `function([model.input], [layer.output])`."""
    symbolic = [x for x in inputs if not isinstance(x, (int, bool))]
    graph = Model(symbolic, outputs)

    def run(values: Any) -> Any:
        chosen = values[: len(symbolic)] if isinstance(values, (list, tuple)) else [values]
        with torch.no_grad():
            results = graph([convert_to_tensor(value) for value in chosen])
        return tree.pack_sequence_as(outputs, [convert_to_numpy(result) for result in tree.flatten(results)])

    return run


def gather(reference: Any, indices: Any) -> Any:
    """Rows of a tensor by number."""
    return ops.take(reference, indices, axis=0)


def get_value(x: Any) -> Any:
    """The value of a variable as an array."""
    return convert_to_numpy(x)


def gradients(loss: Any, variables: Any) -> list[Any]:
    """The gradients of a loss that was computed from real tensors."""
    if not isinstance(loss, torch.Tensor):
        raise ArgumentError(
            "There is no gradient of a symbolic tensor.",
            where="keras.backend.gradients",
            fix="compute the loss from real tensors, then call loss.backward() or torch.autograd.grad(loss, variables)",
        )
    chosen = list(variables) if isinstance(variables, (list, tuple)) else [variables]
    return list(torch.autograd.grad(loss, chosen, retain_graph=True, allow_unused=True))


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`alt` while training, `x` otherwise."""
    return in_train_phase(alt, x, training)


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` while training, `alt` otherwise; functions are called."""
    chosen = x if (_phase["learning"] if training is None else training) else alt
    return chosen() if callable(chosen) and not isinstance(chosen, torch.Tensor) else chosen


def image_dim_ordering() -> str:
    """Where images have their channels: "tf" for last, "th" for first."""
    return "th" if config.image_data_format() == "channels_first" else "tf"


def int_shape(x: Any) -> tuple[int | None, ...] | None:
    """The shape of a tensor as a tuple, None where a size is not known."""
    shape = getattr(x, "shape", None)
    return None if shape is None else tuple(shape)


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """The tensor divided by its length along an axis."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x / ops.sqrt(ops.maximum(squares, 1e-12))


def learning_phase() -> int:
    """1 after `set_learning_phase(1)`, else 0. Layers do not ask it: they get `training`."""
    return _phase["learning"]


def moving_average_update(x: Any, value: Any, momentum: float) -> Any:
    """Move a variable towards a value by one step of a moving average."""
    return x.assign(momentum * x + (1 - momentum) * convert_to_tensor(value))


def ndim(x: Any) -> int:
    """How many axes a tensor has."""
    return len(x.shape)


def ones(shape: Sequence[int], dtype: Any = None, name: str | None = None) -> Variable:
    """A variable of ones."""
    return variable(ops.ones(shape, dtype or config.floatx()), dtype, name)


def placeholder(
    shape: Any = None, ndim: int | None = None, dtype: Any = None, sparse: bool = False, name: str | None = None
) -> Any:
    """A symbolic tensor."""
    return Input(batch_shape=shape or (None,) * (ndim or 0), dtype=dtype, name=name)


def print_tensor(x: Any, message: str = "", summarize: int = 3) -> Any:
    """Print a tensor and give it back."""
    print(message, x)
    return x


def repeat(x: Any, n: int) -> Any:
    """A batch of vectors (batch, size), each n times: (batch, n, size)."""
    return ops.repeat(ops.expand_dims(x, 1), n, axis=1)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Every element several times along an axis."""
    return ops.repeat(x, rep, axis=axis)


def set_learning_phase(value: int) -> None:
    """Choose what `in_train_phase` takes where it is not told."""
    _phase["learning"] = int(value)


def set_value(x: Any, value: Any) -> None:
    """Give a variable a new value."""
    x.assign(value)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two expressions, element by element where the condition has axes."""
    first = then_expression() if callable(then_expression) else then_expression
    second = else_expression() if callable(else_expression) else else_expression
    missing = len(getattr(first, "shape", ())) - len(condition.shape)
    if len(condition.shape) and missing > 0:
        condition = ops.reshape(condition, (*(-1 if s is None else s for s in condition.shape), *(1,) * missing))
    return ops.where(ops.cast(condition, "bool"), first, second)


def update(x: Any, new_x: Any) -> Any:
    """Give a variable a new value."""
    return x.assign(new_x)


def update_add(x: Any, increment: Any) -> Any:
    """Add to a variable."""
    return x.assign_add(increment)


def update_sub(x: Any, decrement: Any) -> Any:
    """Subtract from a variable."""
    return x.assign_sub(decrement)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Variable:
    """A variable with a first value."""
    return Variable(convert_to_tensor(value, dtype or config.floatx()), dtype=dtype or config.floatx(), name=name)


def zeros(shape: Sequence[int], dtype: Any = None, name: str | None = None) -> Variable:
    """A variable of zeros."""
    return variable(ops.zeros(shape, dtype or config.floatx()), dtype, name)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, (torch.Tensor, KerasTensor))


def _array(x: Any) -> Any:
    return convert_to_numpy(x).astype(config.floatx())


def _size(shape: Sequence[int | None]) -> int:
    return functools.reduce(lambda total, size: total * (size or 1), shape, 1)
