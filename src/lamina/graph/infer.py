"""Shapes and dtypes of results that are not there yet, found by running the function itself on tensors without data.

Each unknown dimension gets a stand-in size; the function runs twice, with two different stand-ins, and whatever differs
between the two results is unknown too. Outlines are tried first, which is fast; torch's fake tensors decide what these
cannot, and tell every error.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from lamina.core import scopes, tree
from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import LaminaError, ShapeError
from lamina.core.outlines import Outlining, can_outline
from lamina.core.tensors import default_device
from lamina.graph.tensor import KerasTensor

_logger = logging.getLogger("torch._subclasses.fake_tensor")

# Two sizes that real code hardly ever names, both divisible by 2 ** 7, so that repeated halving works.
STAND_INS = (128 * 19, 128 * 23)


def infer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> Any:
    """The result of `function` on symbolic tensors, as symbolic tensors.

    Args:
        function: what would be called with real tensors.
        args: positional arguments, symbolic tensors anywhere among them.
        kwargs: keyword arguments likewise.
        where: the layer or op, for errors.

    Returns:
        The function's result with every tensor replaced by a KerasTensor.

    Raises:
        ShapeError: the function fails on tensors of these shapes.

    Example:
        >>> infer(torch.add, (KerasTensor((None, 3)), 1.0), {}, "add").shape
        (None, 3)
    """
    symbolic = [leaf for leaf in tree.flatten((args, kwargs)) if isinstance(leaf, KerasTensor)]
    stand_ins = STAND_INS if any(None in tensor.shape for tensor in symbolic) else STAND_INS[:1]
    if can_outline():
        try:
            return _symbolic(*[_outline(function, args, kwargs, stand_in) for stand_in in stand_ins])
        except Exception:  # whatever it was, it happens again below if it is no matter of outlines
            pass
    try:
        return _symbolic(*[_run(function, args, kwargs, stand_in, symbolic, where) for stand_in in stand_ins])
    except ShapeError:
        # Perhaps only because an unknown size met a known one, to which it then must be equal.
        for broadcast in (1, None):
            agreed = _agreed(args, kwargs, {None, broadcast})
            if agreed is not None:
                with contextlib.suppress(LaminaError):
                    return infer(function, agreed[0], agreed[1], where)
        raise


def _agreed(args: tuple[Any, ...], kwargs: dict[str, Any], ignored: set[int | None]) -> Any:
    """The arguments with unknown sizes made those that other tensors have at the same axis; None if there are none."""
    shapes = [tuple(leaf.shape) for leaf in tree.flatten((args, kwargs)) if hasattr(leaf, "shape")]
    changed = False

    def agree(leaf: Any) -> Any:
        nonlocal changed
        if not isinstance(leaf, KerasTensor) or None not in leaf.shape:
            return leaf
        sizes = list(leaf.shape)
        for axis, size in enumerate(sizes):
            known = {shape[axis] for shape in shapes if len(shape) > axis} - ignored
            if size is None and len(known) == 1:
                sizes[axis], changed = known.pop(), True
        return _masked(KerasTensor(sizes, leaf.dtype), _mask_of(leaf))

    agreed = tree.map_structure(agree, (args, kwargs))
    return agreed if changed else None


def _symbolic(first: Any, second: Any = None) -> Any:
    """The results of the runs as symbolic tensors."""
    return tree.map_structure(_known, first) if second is None else tree.map_structure(_merge, first, second)


def _outline(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], stand_in: int) -> Any:
    device = default_device()
    with Outlining() as mode, torch.no_grad(), scopes.inferring(stand_in):

        def concrete(leaf: Any) -> Any:
            if not isinstance(leaf, KerasTensor):
                return leaf
            tensor = mode.empty(_sizes(leaf, stand_in), torch_dtype(leaf.dtype), device)
            return _masked(tensor, concrete(_mask_of(leaf)))

        args, kwargs = tree.map_structure(concrete, (args, kwargs))
        return function(*args, **kwargs)


def _run(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stand_in: int,
    symbolic: list[KerasTensor],
    where: str,
) -> Any:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), scopes.inferring(stand_in), _quiet():
        concrete = tree.map_structure(lambda leaf: _stand_in_tensor(leaf, stand_in), (args, kwargs))
        try:
            return function(*concrete[0], **concrete[1])
        except LaminaError:
            raise
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise ShapeError(
                "The result's shape or the way taken depends on values, which symbolic tensors do not have.",
                where=where,
                received=str(error),
                fix="put this part into a layer with compute_output_shape(), or avoid branching on values",
            ) from error
        except (RuntimeError, ValueError, IndexError) as error:
            raise ShapeError(
                _readable(error, stand_in),
                where=where,
                received="inputs of shape " + ", ".join(str(tensor.shape) for tensor in symbolic),
                fix="check the sizes of its arguments against these shapes (None is an open size)",
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from logging a failure that is about to become an error."""
    disabled, _logger.disabled = _logger.disabled, True
    try:
        yield
    finally:
        _logger.disabled = disabled


def _readable(error: Exception, stand_in: int) -> str:
    """The first line of an error, stand-ins shown as None."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).replace(str(stand_in), "None")


def _stand_in_tensor(leaf: Any, stand_in: int) -> Any:
    if not isinstance(leaf, KerasTensor):
        return leaf
    tensor = torch.empty(_sizes(leaf, stand_in), dtype=torch_dtype(leaf.dtype))
    return _masked(tensor, _stand_in_tensor(_mask_of(leaf), stand_in))


def _sizes(tensor: KerasTensor, stand_in: int) -> list[int]:
    return [stand_in if size is None else size for size in tensor.shape]


def _mask_of(tensor: Any) -> Any:
    return getattr(tensor, "_keras_mask", None)


def _masked(tensor: Any, mask: Any) -> Any:
    """The tensor, with its mask where it has one."""
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


def _known(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        symbolic = KerasTensor(tuple(result.shape), standardize_dtype(result.dtype))
        return _masked(symbolic, _known(_mask_of(result)))
    return result


def _merge(first: Any, second: Any) -> Any:
    if isinstance(first, torch.Tensor):
        sizes = [a if a == b else None for a, b in zip(first.shape, second.shape, strict=True)]
        mask = _merge(_mask_of(first), _mask_of(second))
        return _masked(KerasTensor(sizes, standardize_dtype(first.dtype)), mask)
    if isinstance(first, int) and not isinstance(first, bool) and first != second:
        return None
    return first
