"""Dtypes by name, and Keras's rules for what two dtypes make."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from lamina.core import config
from lamina.core.errors import DTypeError, nearest

_TORCH = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "uint64": torch.uint64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
_PYTHON: dict[str | type, str | None] = {
    bool: "bool",
    int: "int32",
    "int": "int32",
    float: None,
    "float": None,
    complex: "complex64",
    str: "string",
    "str": "string",
    "string": "string",
}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}
_FLOATS = frozenset(name for name in _TORCH if "float" in name)
_INTS = frozenset(name for name in _TORCH if "int" in name)


def standardize_dtype(dtype: Any) -> str:
    """The dtype's name: 'float32' for "float32", torch.float32, numpy.float32; floatx() for None.

    Raises:
        DTypeError: the dtype is not known.

    Example:
        >>> standardize_dtype(torch.float32), standardize_dtype(int), standardize_dtype(None)
        ('float32', 'int32', 'float32')
    """
    if dtype is None:
        return config.floatx()
    if isinstance(dtype, str) and dtype in _TORCH:
        return dtype
    if isinstance(dtype, torch.dtype):
        name = _NAMES.get(dtype)
        if name is not None:
            return name
    if isinstance(dtype, (str, type)) and dtype in _PYTHON:
        return _PYTHON[dtype] or config.floatx()
    if getattr(dtype, "kind", None) in ("U", "S", "T", "O"):
        return "string"  # NumPy's and pandas' dtypes of text
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or _numpy_name(dtype)
    if name in _TORCH:
        return str(name)
    what = f"Unknown dtype {dtype!r}.{nearest(str(name), _TORCH)}"
    raise DTypeError(what, where="dtype=...", expected=", ".join(_TORCH), received=repr(dtype))


def _numpy_name(dtype: Any) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def torch_dtype(dtype: Any) -> torch.dtype:
    """The torch.dtype for a name, numpy dtype or torch dtype; floatx() for None."""
    if isinstance(dtype, torch.dtype):
        return dtype
    name = standardize_dtype(dtype)
    if name not in _TORCH:
        fix = "encode strings as integers first (StringLookup, Hashing, TextVectorization)"
        raise DTypeError(f"Tensors of dtype {name!r} do not exist in torch.", where="dtype=...", fix=fix)
    return _TORCH[name]


def is_float(dtype: Any) -> bool:
    """Whether the dtype is a floating-point one."""
    return standardize_dtype(dtype) in _FLOATS


def is_int(dtype: Any) -> bool:
    """Whether the dtype is an integer one (bool is not)."""
    return standardize_dtype(dtype) in _INTS


# The lattice: each dtype or kind of Python scalar, and what lies right above it. The least upper bound of two
# nodes is the dtype of their sum. "int" and "float" (weak) stand for Python numbers, which adapt to the other operand.
_ABOVE: dict[str, tuple[str, ...]] = {
    "bool": ("int",),
    "int": ("uint8", "int8"),
    "uint8": ("int16", "uint16"),
    "uint16": ("int32", "uint32"),
    "uint32": ("int64", "uint64"),
    "uint64": ("float",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64", "complex64"),
    "float64": ("complex128",),
    "complex64": ("complex128",),
    "complex128": (),
}


@functools.cache
def _upper_bounds(name: str) -> frozenset[str]:
    bounds = {name}
    for above in _ABOVE[name]:
        bounds |= _upper_bounds(above)
    return frozenset(bounds)


@functools.cache
def _join(first: str, second: str) -> str:
    common = _upper_bounds(first) & _upper_bounds(second)
    least = [name for name in common if common <= _upper_bounds(name)]
    return least[0]


@functools.cache
def _result_type(names: tuple[str, ...], default_float: str) -> str:
    joined = functools.reduce(_join, names)
    if joined == "int":
        return "int32"
    return default_float if joined == "float" else joined


def _lattice_name(dtype: Any) -> str:
    if dtype is int or dtype == "int":
        return "int"
    if dtype is float or dtype == "float":
        return "float"
    if dtype is bool:
        return "bool"
    return standardize_dtype(dtype)


def result_type(*dtypes: Any) -> str:
    """The dtype of an operation on these dtypes, by Keras's promotion lattice.

    Python's `int` and `float` stand for plain numbers, which give way to a tensor's dtype. 64-bit integers together
    with floats stay at the float's width, and 64-bit integers keep theirs.

    Example:
        >>> result_type("int32", "float16"), result_type("bfloat16", "float16"), result_type(int, "uint8")
        ('float16', 'float32', 'uint8')
    """
    if not dtypes:
        return config.floatx()
    return _result_type(tuple(_lattice_name(dtype) for dtype in dtypes), config.floatx())
