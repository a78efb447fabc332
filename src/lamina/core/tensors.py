"""Values of any kind to tensors and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils import _device

from lamina.core import tree
from lamina.core.dtypes import result_type, torch_dtype
from lamina.core.errors import ArgumentTypeError

_SPARSE_LAYOUTS = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}
# Sparse and ragged objects of other packages: what they are known by, and how they are made dense.
_SPARSE_OBJECTS = {
    ("scipy", "toarray"): "x.toarray()",
    ("tensorflow", "dense_shape"): "tf.sparse.to_dense(x)",
    ("tensorflow", "row_splits"): "x.to_tensor()",
    ("jax", "todense"): "x.todense()",
}

_forced: list[torch.device] = []
# Not functools.cache, about which torch.compile warns.
_found: list[torch.device] = []


def _accelerator() -> torch.device:
    if not _found:
        _found.append(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return _found[0]


def default_device() -> torch.device:
    """Where new tensors live: torch's default device if it was changed, else the GPU if there is one, else the CPU."""
    if _forced:
        return _forced[-1]
    # What torch.get_default_device() looks at, which torch.compile cannot record.
    chosen = _device.CURRENT_DEVICE if torch.compiler.is_compiling() else torch.get_default_device()
    return _accelerator() if chosen is None or chosen.type == "cpu" else chosen


def convert_to_tensor(x: Any, dtype: Any = None, device: torch.device | str | None = None) -> torch.Tensor:
    """Any array-like value as a tensor; tensors stay where they are unless a device is named.

    Args:
        x: a tensor, NumPy array, pandas object, Python number, or nested list of these.
        dtype: the dtype wanted; by default arrays keep theirs, Python floats become floatx, ints int32.
        device: where the result shall live; for values that are not tensors `default_device()`.

    Raises:
        ArgumentTypeError: the value cannot be a tensor.

    Example:
        >>> convert_to_tensor([1.0, 2.0]).dtype
        torch.float32
    """
    target = None if dtype is None else torch_dtype(dtype)
    if isinstance(x, torch.Tensor):
        if x.layout in _SPARSE_LAYOUTS:
            raise _sparse(x, "x.to_dense()")
        if (target is None or x.dtype is target) and (device is None or x.device == torch.device(device)):
            return x
        return x.to(device=device, dtype=target)
    where = default_device() if device is None else device
    if isinstance(x, np.ndarray):
        return _from_array(x, target, where)
    if isinstance(x, (bool, int, float, complex)):
        return torch.tensor(x, dtype=target or _scalar_dtype(x), device=where)
    if isinstance(x, (list, tuple)):
        return _from_sequence(x, target, where)
    return _from_array(_as_array(x), target, where)


def _scalar_dtype(x: bool | int | float | complex) -> torch.dtype:
    if isinstance(x, bool):
        return torch.bool
    if isinstance(x, int):
        return torch.int32 if -(2**31) <= x < 2**31 else torch.int64
    return torch_dtype(None) if isinstance(x, float) else torch.complex64


def _from_array(x: np.ndarray, dtype: torch.dtype | None, device: torch.device | str) -> torch.Tensor:
    if x.dtype.name == "bfloat16":
        x, dtype = x.astype(np.float32), dtype or torch.bfloat16
    elif x.dtype == np.uint32 or x.dtype == np.uint64:
        x = x.astype(np.int64)
    if x.dtype.kind not in "biufc":
        raise ArgumentTypeError(
            "This array holds something other than numbers.",
            where="a value that is to be a tensor",
            received=f"an array of dtype {x.dtype} and shape {x.shape}",
            fix="convert the values to numbers first, e.g. x.astype('float32')",
        )
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = x.copy()
    return torch.as_tensor(x, dtype=dtype, device=device)


def _from_sequence(x: list[Any] | tuple[Any, ...], dtype: torch.dtype | None, device: Any) -> torch.Tensor:
    x = tuple(x) if isinstance(x, torch.Size) else x
    leaves = tree.flatten(x)
    if any(isinstance(leaf, torch.Tensor) for leaf in leaves):
        stacked = torch.stack([convert_to_tensor(part, dtype, device) for part in x])
        return stacked if dtype is None else stacked.to(dtype)
    if dtype is None:
        try:
            dtype = torch_dtype(result_type(*[getattr(leaf, "dtype", type(leaf)) for leaf in leaves]))
        except KeyError:  # text among the numbers
            return _from_array(_as_array(x), dtype, device)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ArgumentTypeError(
            "A ragged list cannot be a tensor.",
            where="a value that is to be a tensor",
            received=str(error),
            fix="pad the rows to equal length: lamina.utils.pad_sequences(x)",
        ) from None
    return _from_array(array, dtype, device)


def _sparse(x: Any, dense: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        "Sparse and ragged tensors are not supported.",
        where="a value that is to be a tensor",
        expected="a dense tensor or array",
        received=f"{type(x).__module__}.{type(x).__name__} of shape {tuple(x.shape)}",
        fix=f"give {dense}, which needs the memory of all the zeros",
    )


def _as_array(x: Any) -> np.ndarray:
    package = type(x).__module__.partition(".")[0]
    for (owner, attribute), dense in _SPARSE_OBJECTS.items():
        if package == owner and hasattr(x, attribute):
            raise _sparse(x, dense)
    array = x.to_numpy() if hasattr(x, "to_numpy") else np.asarray(x)
    if array.dtype.kind == "O" and array.size and x is not None and not isinstance(array.flat[0], (str, bytes)):
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(np.float32)
    if array.dtype.kind not in "biufc":
        raise ArgumentTypeError(
            "A value of this kind cannot become a tensor.",
            where="a value that is to be a tensor",
            expected="a tensor, an array, a number or a list of numbers",
            received=f"{type(x).__name__}",
        )
    return array


def convert_to_numpy(x: Any) -> np.ndarray:
    """A tensor (on any device, with or without gradient) or array-like as a NumPy array; bfloat16 becomes float32.

    Example:
        >>> convert_to_numpy(torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    if isinstance(x, torch.Tensor):
        x = x.detach()
        if x.device.type != "cpu":
            x = x.cpu()
        if x.dtype is torch.bfloat16:
            x = x.float()
        return torch.Tensor.numpy(x.resolve_conj().resolve_neg())
    if isinstance(x, (list, tuple)) and any(isinstance(leaf, torch.Tensor) for leaf in tree.flatten(x)):
        return np.array(tree.map_structure(convert_to_numpy, x))
    return np.asarray(x)


@contextlib.contextmanager
def device(device_name: str | torch.device) -> Iterator[torch.device]:
    """Within it, new tensors and weights live on this device: "cpu", "gpu:0" or "cuda:0", "mps".

    Example:
        >>> with device("cpu"):
        ...     convert_to_tensor([1.0]).device.type
        'cpu'
    """
    where = torch.device(str(device_name).lower().replace("gpu", "cuda"))
    with where:
        _forced.append(where)
        try:
            yield where
        finally:
            _forced.pop()
