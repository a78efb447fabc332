"""Axes split, merged and reordered by a pattern that names them."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor

from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops.operands import TensorLike, as_tensor


def _groups(side: str) -> list[list[str]]:
    """The axes of one side of a pattern; names in parentheses stand together."""
    return [token.strip("()").split() for token in re.findall(r"\([^)]*\)|\w+", side)]


@op
def rearrange(tensor: TensorLike, pattern: str, **axes_lengths: int) -> Tensor:
    """The tensor with its axes split, merged and reordered.

    Args:
        tensor: the tensor.
        pattern: its axes and those of the result by name, e.g. "b (h p) c -> b h (p c)"; names in
            parentheses are parts of one axis.
        **axes_lengths: the sizes of such parts; one part of each axis may be left out.

    Raises:
        ArgumentError: the pattern does not name the same axes on both sides.
        ShapeError: the tensor does not fit the pattern.

    Example:
        >>> rearrange([[1, 2, 3, 4]], "a (b c) -> b (a c)", b=2)
        tensor([[1, 2],
                [3, 4]], dtype=torch.int32)

    Source: https://keras.io/api/ops/einops/
    """
    x = as_tensor(tensor)
    left, arrow, right = pattern.partition("->")
    before, after = _groups(left), _groups(right)
    names, wanted = [name for group in before for name in group], [name for group in after for name in group]
    if not arrow or sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise ArgumentError("Both sides name the same axes, each once.", where="ops.rearrange", received=repr(pattern))
    if len(before) != x.ndim:
        raise ShapeError(
            "The tensor does not fit the pattern.",
            where="ops.rearrange",
            expected=left,
            received=tuple(x.shape),
        )
    sizes: dict[str, int] = {}
    for group, size in zip(before, x.shape, strict=True):
        sizes |= _parts(group, size, axes_lengths, pattern)
    x = x.reshape([sizes[name] for name in names])
    x = x.permute([names.index(name) for name in wanted])
    return x.reshape([math.prod(sizes[name] for name in group) for group in after])


def _parts(group: list[str], size: Any, given: dict[str, int], pattern: str) -> dict[str, int]:
    """The size of each part of one axis."""
    missing = [name for name in group if name not in given]
    known = math.prod(given[name] for name in group if name in given)
    if len(missing) > 1:
        raise ArgumentError(
            "Only one part of an axis can be left out.", where=f"ops.rearrange, {pattern!r}", received=missing
        )
    if (size % known or (not missing and size != known)) and size != unknown_stand_in():
        raise ShapeError(
            "An axis does not split into these parts.",
            where=f"ops.rearrange, {pattern!r}",
            expected=f"a size that {' * '.join(group)} makes up",
            received=size,
        )
    return {name: given[name] if name in given else size // known for name in group}
