"""Classes as vectors, and the crossentropy between them and predicted probabilities.

Source: https://keras.io/api/ops/nn/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, ShapeError
from lamina.graph.op import op
from lamina.ops.operands import DType, TensorLike, as_float, as_floats, as_tensor, axis_of


@op(casts=True)
def one_hot(x: TensorLike, num_classes: int, axis: int = -1, dtype: DType = None, sparse: bool = False) -> Tensor:
    """A vector of zeros with a one at the place `x` names, for each value of `x`.

    Args:
        x: class indices; one outside `0 ... num_classes - 1` gives a vector of zeros.
        num_classes: the length of the vectors.
        axis: the axis of the result along which the vectors lie.
        dtype: the dtype of the result, floatx by default.
        sparse: kept for Keras; only False works.

    Raises:
        ArgumentError: sparse is True, or there is no such axis.

    Example:
        >>> one_hot([0, 2, -1], 3)
        tensor([[1., 0., 0.],
                [0., 0., 1.],
                [0., 0., 0.]])
    """
    _refuse_sparse(sparse)
    x = as_tensor(x).long()
    axis = axis_of(axis, x.ndim + 1)
    classes = torch.arange(num_classes, device=x.device).view([-1 if i == axis else 1 for i in range(x.ndim + 1)])
    return (x.unsqueeze(axis) == classes).to(torch_dtype(dtype))


@op(casts=True)
def multi_hot(
    inputs: TensorLike,
    num_classes: int | None = None,
    axis: int = -1,
    dtype: DType = None,
    sparse: bool = False,
    **kwargs: Any,
) -> Tensor:
    """A vector with a one at each place that a row of `inputs` names.

    Args:
        inputs: class indices of shape (places,) or (batch, places, ...).
        num_classes: the length of the vectors; also taken by its older name, num_tokens.
        axis: the axis along which the vectors lie, as in `one_hot`.
        dtype: the dtype of the result, floatx by default.
        sparse: kept for Keras; only False works.

    Raises:
        ArgumentError: num_classes is missing, sparse is True, or there is no such axis.

    Example:
        >>> multi_hot([[0, 2], [1, 1]], 3)
        tensor([[1., 0., 1.],
                [0., 1., 0.]])
    """
    num_classes = kwargs.pop("num_tokens", num_classes)
    if num_classes is None or kwargs:
        raise ArgumentError(
            "There is no num_classes." if num_classes is None else "Unknown argument.",
            where="ops.multi_hot",
            expected="ops.multi_hot(inputs, num_classes, axis=..., dtype=..., sparse=False)",
            received=sorted(kwargs) or None,
        )
    hot = one_hot(inputs, num_classes, axis, dtype, sparse)
    return hot.amax(dim=1 if hot.ndim > 2 else 0)


def _refuse_sparse(sparse: bool) -> None:
    if sparse:
        raise ArgumentError(
            "Sparse results are not supported.",
            where="sparse",
            expected="False",
            fix="leave it at False; where the result would be multiplied by a matrix, take the matrix's rows: "
            "ops.take(matrix, indices, axis=0), or an Embedding layer",
        )


@op
def categorical_crossentropy(
    target: TensorLike, output: TensorLike, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """The crossentropy of predicted class probabilities against target probabilities.

    Args:
        target: probabilities, of the shape of `output`.
        output: predicted probabilities, scaled here to sum to 1 along `axis`; or logits.
        from_logits: whether `output` holds logits.
        axis: the axis of the classes; the result lacks it.

    Raises:
        ShapeError: the shapes differ, or there are no axes.

    Example:
        >>> categorical_crossentropy([[0.0, 1.0]], [[0.25, 0.75]])
        tensor([0.2877])
    """
    target, output = _pair(target, output)
    if output.ndim < 1:
        raise ShapeError(
            "Crossentropy needs an axis of classes.",
            where="ops.categorical_crossentropy",
            expected="shape (..., classes)",
            received="tensors without axes",
        )
    return -(target * _log_probabilities(output, from_logits, axis)).sum(axis)


@op
def sparse_categorical_crossentropy(
    target: TensorLike, output: TensorLike, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """The crossentropy of predicted class probabilities against the indices of the right classes.

    Args:
        target: class indices, of the shape of `output` without `axis`, or with size 1 there.
        output: predicted probabilities, scaled here to sum to 1 along `axis`; or logits.
        from_logits: whether `output` holds logits.
        axis: the axis of the classes; the result lacks it.

    Raises:
        ShapeError: the shapes do not fit.

    Example:
        >>> sparse_categorical_crossentropy([1], [[0.25, 0.75]])
        tensor([0.2877])
    """
    target, output = as_tensor(target).long(), as_float(output)
    if output.ndim < 1:
        raise ShapeError(
            "Crossentropy needs an axis of classes.",
            where="ops.sparse_categorical_crossentropy",
            expected="shape (..., classes)",
            received="an output without axes",
        )
    axis = axis_of(axis, output.ndim)
    if target.ndim == output.ndim and target.shape[axis] == 1:
        target = target.squeeze(axis)
    expected = output.shape[:axis] + output.shape[axis + 1 :]
    if target.shape != expected:
        raise ShapeError(
            "The class indices do not fit the output.",
            where="target",
            expected=f"{tuple(expected)} for an output of shape {tuple(output.shape)}",
            received=tuple(target.shape),
        )
    log_probabilities = _log_probabilities(output, from_logits, axis).movedim(axis, -1)
    flat = F.nll_loss(log_probabilities.reshape(-1, output.shape[axis]), target.reshape(-1), reduction="none")
    return flat.view(expected)


@op
def binary_crossentropy(target: TensorLike, output: TensorLike, from_logits: bool = False) -> Tensor:
    """The crossentropy of predicted probabilities against targets between 0 and 1, for each value by itself.

    Args:
        target: targets, of the shape of `output`.
        output: predicted probabilities, or logits.
        from_logits: whether `output` holds logits.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> binary_crossentropy([0.0, 1.0], [0.25, 0.25])
        tensor([0.2877, 1.3863])
    """
    target, output = _pair(target, output)
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")
    return F.binary_cross_entropy(_inside(output), target, reduction="none")


def _pair(target: Any, output: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of one float dtype, their shapes equal."""
    target, output = as_floats(target, as_float(output))
    if target.shape != output.shape:
        raise ShapeError(
            "target and output must have the same shape.",
            where="target",
            expected=tuple(output.shape),
            received=tuple(target.shape),
        )
    return target, output


def _inside(probabilities: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1, so that their logarithms are finite."""
    return probabilities.clamp(config.epsilon(), 1.0 - config.epsilon())


def _log_probabilities(output: Tensor, from_logits: bool, axis: int) -> Tensor:
    if from_logits:
        return torch.log_softmax(output, axis)
    return torch.log(_inside(output / output.sum(axis, keepdim=True)))
