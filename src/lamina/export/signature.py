"""What a model takes when it is called: shapes, dtypes and names of its inputs, unknown sizes as None."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, StateError
from lamina.graph.tensor import KerasTensor
from lamina.layers.input_spec import InputSpec

# Stand-ins for unknown sizes: (of the batch, of other axes). Others than those captured with are checked with.
CAPTURED, CHECKED = (3, 64), (2, 96)


def signature_of(model: Any, given: Any = None) -> list[Any]:
    """The positional arguments of a call of the model, each an `InputSpec` or a structure of these.

    Args:
        model: a layer or model that is built.
        given: what the caller says instead: one spec, or a list with one for each argument. A spec is an `InputSpec`,
            a symbolic tensor, a tensor, an array or a `TensorSpec`; of tensors the first size is left open.

    Raises:
        StateError: the model is not built, or nothing is known of its inputs.
        ArgumentError: what is given has another number of inputs than the model.
    """
    wanted = getattr(model, "_inputs_struct", None)
    if wanted is None and getattr(model, "inputs", None):
        wanted = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    if given is not None:
        arguments = list(given) if isinstance(given, (list, tuple)) else [given]
        specs = [tree.map_structure(spec_of, argument) for argument in arguments]
        if wanted is None or not tree.is_nested(wanted):
            return specs
        flat, expected = tree.flatten(specs), len(tree.flatten(wanted))
        if len(flat) != expected:
            raise ArgumentError(
                "The signature does not fit the model's inputs.",
                where=f"input_signature of '{model.name}'",
                expected=f"{expected} specs",
                received=f"{len(flat)}",
            )
        return [tree.pack_sequence_as(wanted, flat)]
    if not getattr(model, "built", True):
        raise StateError(
            "The model is not built yet, so its inputs are unknown.",
            where=f"export of '{model.name}'",
            fix="call it on data once, or pass input_signature=[lamina.InputSpec(shape=..., dtype=...)]",
        )
    if wanted is not None:
        return [tree.map_structure(spec_of, wanted)]
    shapes = getattr(model, "_build_shapes", None)
    if not shapes or len(shapes) < len(_required(type(model))):
        raise StateError(
            "Not all of the model's inputs are known.",
            where=f"export of '{getattr(model, 'name', type(model).__name__)}'",
            fix="pass input_signature=[lamina.InputSpec(shape=..., dtype=...)], one for each argument of call",
        )
    return [_specs_of_shapes(shape, model.input_dtype, name) for name, shape in shapes.items()]


def _required(cls: type) -> list[str]:
    """The arguments without which `call` cannot be called."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(getattr(cls, "call", cls.__call__)).parameters.values())[1:]
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def _specs_of_shapes(shape: Any, dtype: str, name: str) -> Any:
    """Specs for a shape or a structure of shapes, the batch left open."""
    if isinstance(shape, dict):
        return {key: _specs_of_shapes(part, dtype, str(key)) for key, part in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        name = name.removesuffix("_shape")
        return InputSpec(dtype, (None, *tuple(shape)[1:]), name=None if name in ("input", "shape") else name)
    return [_specs_of_shapes(part, dtype, f"{name.removesuffix('_shape')}_{i}") for i, part in enumerate(shape)]


def spec_of(given: Any) -> InputSpec:
    """An `InputSpec` with shape and dtype, of anything that has these.

    Raises:
        ArgumentTypeError: it has no shape or no dtype.
    """
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape is None or dtype is None:
        raise ArgumentTypeError(
            "An input's shape and dtype must be known.",
            where="input_signature",
            expected="lamina.InputSpec(shape=..., dtype=...), a symbolic tensor, a tensor or an array",
            received=repr(given),
        )
    sizes = tuple(shape.as_list() if hasattr(shape, "as_list") else shape)
    if isinstance(given, (KerasTensor, torch.Tensor, np.ndarray)):
        sizes = (None, *sizes[1:]) if sizes else sizes
    return InputSpec(standardize_dtype(getattr(dtype, "name", dtype)), sizes, name=getattr(given, "name", None))


def samples_of(arguments: list[Any], sizes: tuple[int, int]) -> list[Any]:
    """Tensors that fit the specs: normally distributed, or zeros and ones for integers and booleans.

    Args:
        arguments: specs as from `signature_of`.
        sizes: the size to take for an unknown first axis, and for other unknown ones.
    """
    draws = torch.Generator().manual_seed(0)

    def sample(spec: InputSpec) -> torch.Tensor:
        dtype = torch_dtype(spec.dtype)
        shape = [sizes[min(axis, 1)] if size is None else size for axis, size in enumerate(spec.shape or ())]
        if dtype.is_floating_point:
            return torch.randn(shape, generator=draws).to(dtype)
        return torch.randint(0, 2, shape, generator=draws).to(dtype)

    return tree.map_structure(sample, arguments)


def names_of(arguments: list[Any]) -> list[str]:
    """A name for each input, in flattened order; `input_0` and so on for those that have none."""
    names = [spec.name or f"input_{index}" for index, spec in enumerate(tree.flatten(arguments))]
    return names if len(set(names)) == len(names) else [f"input_{index}" for index in range(len(names))]
