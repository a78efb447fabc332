"""What a layer demands of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lamina.core import tree
from lamina.core.capture import Captured
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.registry import builtin


@builtin("keras", "InputSpec")
class InputSpec(Captured):
    """The rank, shape and dtype that a layer takes; None leaves a property open.

    Args:
        dtype: the dtype.
        shape: the whole shape, None for sizes left open.
        ndim: the exact rank.
        max_ndim: the highest rank.
        min_ndim: the lowest rank.
        axes: sizes of single axes, {axis: size}.
        allow_last_axis_squeeze: a last axis of size one may be missing or be there.
        name: the key of the input where inputs come as a dict.
        optional: the input may be None.

    Example:
        >>> InputSpec(min_ndim=2, axes={-1: 3}).get_config()["min_ndim"]
        2

    Source: https://keras.io/api/layers/base_layer/
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Iterable[int | None] | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = standardize_dtype(dtype) if dtype is not None else None
        self.shape = tuple(shape) if shape is not None else None
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.name, self.optional = name, optional
        if self.axes and (self.ndim is not None or max_ndim is not None):
            limit = (self.ndim if self.ndim is not None else max_ndim or 0) - 1
            if max(self.axes) > limit:
                raise ArgumentError(
                    "An axis lies beyond the rank.", where="axes", expected=f"at most {limit}", received=max(self.axes)
                )

    def __repr__(self) -> str:
        properties = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        given = [f"{key}={value}" for key in properties if (value := getattr(self, key))]
        return f"InputSpec({', '.join(given)})"


def assert_input_compatibility(input_spec: Any, inputs: Any, where: str) -> None:
    """Check shapes of tensors against a layer's demands.

    Args:
        input_spec: an InputSpec, or a list or dict of them.
        inputs: tensors in the same structure.
        where: the layer, for the error.

    Raises:
        ShapeError: a tensor does not fit.
    """
    if not input_spec:
        return
    specs = tree.flatten(input_spec)
    if isinstance(input_spec, InputSpec) and isinstance(inputs, Mapping):
        raise ShapeError(
            "The layer takes one tensor, not a dict.",
            where=where,
            expected="one tensor",
            received=f"a dict of {', '.join(map(repr, inputs))}",
            fix="begin the model with an Input for each key and join them, e.g. with Concatenate()",
        )
    if isinstance(inputs, Mapping):
        names = [spec.name for spec in specs]
        tensors = [inputs.get(name) for name in names] if all(names) else tree.flatten(inputs)
    else:
        tensors = tree.flatten(inputs)
    if len(tensors) != len(specs):
        raise ShapeError(
            "The number of inputs is wrong.", where=where, expected=f"{len(specs)} tensor(s)", received=len(tensors)
        )
    for index, (tensor, spec) in enumerate(zip(tensors, specs, strict=True)):
        if spec is None or tensor is None or not hasattr(tensor, "shape"):
            continue
        label = where if len(specs) == 1 else f"{where}, input {spec.name or index}"
        _check(spec, tuple(tensor.shape), label)


def _check(spec: InputSpec, shape: tuple[int | None, ...], where: str) -> None:
    ndim = len(shape)
    if spec.shape is not None and spec.allow_last_axis_squeeze:
        shape, wanted = _squeezed(shape), _squeezed(spec.shape)
        if len(shape) == len(wanted) and all(_fits(a, b) for a, b in zip(wanted, shape, strict=True)):
            return
        raise ShapeError("The input has the wrong shape.", where=where, expected=spec.shape, received=shape)
    if spec.ndim is not None and ndim != spec.ndim:
        raise _rank_error(spec, shape, where, f"{spec.ndim} dimensions")
    if spec.max_ndim is not None and ndim > spec.max_ndim:
        raise _rank_error(spec, shape, where, f"at most {spec.max_ndim} dimensions")
    if spec.min_ndim is not None and ndim < spec.min_ndim:
        raise _rank_error(spec, shape, where, f"at least {spec.min_ndim} dimensions")
    for axis, size in spec.axes.items():
        if -ndim <= axis < ndim and not _fits(size, shape[axis]):
            raise ShapeError(
                f"The input has the wrong size on axis {axis}.",
                where=where,
                expected=f"{size} on axis {axis}",
                received=f"{shape[axis]}, in shape {shape}",
                fix=_flatten_hint(size, shape),
            )
    if spec.shape is not None and not all(_fits(a, b) for a, b in zip(spec.shape, shape, strict=True)):
        raise ShapeError(
            "The input has the wrong shape.",
            where=where,
            expected=spec.shape,
            received=shape,
            fix=_flatten_hint(spec.shape[-1] if spec.shape else None, shape),
        )


def _fits(wanted: int | None, found: int | None) -> bool:
    return wanted is None or found is None or wanted == found


def _squeezed(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape


def _rank_error(spec: InputSpec, shape: tuple[int | None, ...], where: str, expected: str) -> ShapeError:
    missing = spec.ndim is not None and len(shape) == spec.ndim - 1
    last = spec.shape[-1] if spec.shape else spec.axes.get(-1)
    fix = _flatten_hint(last, shape)
    if fix is None and missing and last in (None, 1):
        fix = "if the channel axis is missing, add one: x[..., None]; if the batch axis is, x[None]"
    elif fix is None and missing:
        fix = "an axis is missing: for the batch axis x[None], for the channel axis x[..., None]"
    elif fix is None and spec.min_ndim == len(shape) + 1:
        fix = "for a single sample add the batch axis, x[None]; for one feature per sample x[:, None]"
    return ShapeError(
        "The input has the wrong number of dimensions.",
        where=where,
        expected=expected,
        received=f"{len(shape)}, shape {shape}",
        fix=fix,
    )


def _flatten_hint(wanted: int | None, shape: tuple[int | None, ...]) -> str | None:
    """The remedy when the sizes of an unflattened input multiply to what is wanted."""
    sizes = shape[1:]
    if wanted is None or len(sizes) < 2 or None in sizes:
        return None
    product = 1
    for size in sizes:
        product *= size or 0
    if product != wanted:
        return None
    spelled = "x".join(str(size) for size in sizes)
    return f"{spelled} = {wanted}: put a Flatten() layer first, or reshape the data to (n, {wanted})"
