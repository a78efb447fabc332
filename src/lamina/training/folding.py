"""Convolutions that also do what a batch normalization in use would do to their results.

It multiplies each channel and adds to it, which kernel and offset can do as well. Both are made anew at each call,
since weights may change: they are small beside the images that are then read and written once less.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import torch

Tensor = torch.Tensor
Nodes = list[tuple[Any, Any]]
"""Operations with their arguments, as `compiler.Graph` describes them: positional ones, then those with names."""


def fold_normalizations(nodes: Nodes, inputs: int, results: Any) -> None:
    """Fold batch normalizations by moving averages into the convolutions whose results only they read.

    Args:
        nodes: those of a described graph; changed in place.
        inputs: how many inputs the graph has; the first node has this number.
        results: which nodes it returns, encoded like arguments.
    """
    aten = torch.ops.aten
    uses = collections.Counter(_named_in([[arguments for _, arguments in nodes], results]))
    for place, (operation, (arguments, names)) in enumerate(nodes):
        if operation is not aten.native_batch_norm.default:
            continue
        x, *statistics, is_training, _, epsilon = arguments
        number, axes = x["node"], [0, 1, 2, 3]
        while number >= inputs and uses[number] == 1 and nodes[number - inputs][0] is aten.permute.default:
            before, order = nodes[number - inputs][1][0]
            number, axes = before["node"], [order[axis] for axis in axes]
        if is_training or axes != [0, 1, 2, 3] or number < inputs or uses[number] != 1:
            continue
        source, (given, _) = nodes[number - inputs]
        if source is not aten.convolution.default or len(given[3]) != 2 or given[6]:
            continue  # it is no convolution of images, or a transposed one
        if all(one is None or one["node"] < inputs for one in statistics):
            nodes[number - inputs] = _normalized_convolution, [[given, *statistics, epsilon], names]
            nodes[place] = _alone, [[x], names]


def _named_in(value: Any) -> Iterator[int]:
    """The nodes that encoded arguments name, as often as they do."""
    if isinstance(value, list):
        for part in value:
            yield from _named_in(part)
    elif isinstance(value, dict):
        ((tag, content),) = value.items()
        if tag == "node":
            yield content
        elif tag == "dict":
            yield from _named_in(list(content.values()))


def _alone(value: Any) -> tuple[Any]:
    return (value,)


def _normalized_convolution(
    given: list[Any], gamma: Any, beta: Any, mean: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    """A convolution and a batch normalization by moving averages, as one convolution."""
    x, kernel, bias, *settings = given
    if kernel.dtype is not variance.dtype:
        y = torch.ops.aten.convolution(*given)
        return torch.ops.aten.native_batch_norm(y, gamma, beta, mean, variance, False, 0.0, epsilon)[0]
    scale = torch.rsqrt(variance + epsilon)
    scale = scale if gamma is None else scale * gamma
    offset = (-mean if bias is None else bias - mean) * scale
    offset = offset if beta is None else offset + beta
    return torch.ops.aten.convolution(x, kernel * scale.view(-1, 1, 1, 1), offset, *settings)
