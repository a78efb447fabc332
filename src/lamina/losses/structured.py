"""Losses of whole outputs rather than elements: overlap of regions, sequences without alignment, embeddings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from lamina.core import config
from lamina.core.errors import ShapeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import MEANS, LossFunctionWrapper, Tensor, tensors
from lamina.ops.ctc import ctc_loss

Axis = int | tuple[int, ...] | list[int] | None


def _sum(x: Tensor, axis: Axis) -> Tensor:
    return x.sum() if axis is None else x.sum(axis)


@builtin("keras.losses")
def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> Tensor:
    """1 - 2·overlap / (size of both): 0 for equal regions.

    Args:
        y_true: regions as zeros and ones.
        y_pred: probabilities of the same shape.
        axis: the axes to sum over; all by default.

    Example:
        >>> dice([[1.0, 0.0]], [[0.0, 1.0]])
        tensor(1.)
    """
    y_true, y_pred = tensors(y_true, y_pred)
    sizes = _sum(y_true, axis) + _sum(y_pred, axis) + config.epsilon()
    return 1 - 2.0 * _sum(y_true * y_pred, axis) / sizes


@builtin("keras.losses")
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> Tensor:
    """Dice's loss with weights for what is missed and for what is too much.

    Args:
        y_true: regions as zeros and ones.
        y_pred: probabilities of the same shape.
        alpha: the weight of targets that predictions miss.
        beta: the weight of predictions outside the targets.
        axis: the axes to sum over; all by default.

    Example:
        >>> tversky([[1.0, 0.0]], [[0.0, 1.0]])
        tensor(1.)

    Source: Salehi et al. 2017, https://arxiv.org/abs/1706.05721
    """
    y_true, y_pred = tensors(y_true, y_pred)
    overlap = _sum(y_true * y_pred, axis)
    missed, too_much = _sum((1 - y_pred) * y_true, axis), _sum(y_pred * (1 - y_true), axis)
    return 1 - overlap / (overlap + missed * alpha + too_much * beta + config.epsilon())


@builtin("keras.losses")
def ctc(y_true: Any, y_pred: Any) -> Tensor:
    """Minus the log-likelihood of label sequences, whatever their alignment with the outputs.

    Args:
        y_true: label sequences, shape (batch, max_length), integers; 0 is the blank and pads.
        y_pred: logits, shape (batch, steps, classes).

    Raises:
        ShapeError: a rank is wrong.

    Example:
        >>> ctc([[1]], torch.zeros(1, 1, 2))
        tensor([0.6931])

    Source: Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf
    """
    y_pred = convert_to_tensor(y_pred)
    y_true = convert_to_tensor(y_true, device=y_pred.device)
    if y_true.dim() != 2 or y_pred.dim() != 3:
        raise ShapeError(
            "Labels are not of rank 2, or logits not of rank 3.",
            where="loss ctc",
            expected="y_true (batch, max_length), y_pred (batch, steps, classes)",
            received=f"y_true {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}",
        )
    lengths = (y_true != 0).sum(-1)
    return ctc_loss(y_true, y_pred, lengths, torch.full_like(lengths, y_pred.shape[1]))


@builtin("keras.losses")
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Tensor:
    """Pulls embeddings of one class together and pushes those of others apart, the worst placed most.

    Args:
        y_true: class indices, shape (batch,).
        y_pred: embeddings of length 1, shape (batch, d).
        ref_labels: classes to compare with; y_true by default.
        ref_embeddings: embeddings to compare with; y_pred by default.
        remove_diagonal: whether an embedding is not compared with the one in its own place.
        gamma: the scale.
        margin: how far apart classes shall be.

    Example:
        >>> circle([0, 0], [[1.0, 0.0], [1.0, 0.0]]).shape
        torch.Size([2])

    Source: Sun et al. 2020, https://arxiv.org/abs/2002.10857
    """
    y_pred = convert_to_tensor(y_pred)
    labels = convert_to_tensor(y_true, torch.int32, y_pred.device).reshape(-1, 1)
    others = y_pred if ref_embeddings is None else convert_to_tensor(ref_embeddings, device=y_pred.device)
    other_labels = labels if ref_labels is None else convert_to_tensor(ref_labels, torch.int32, y_pred.device)
    same = labels == other_labels.reshape(1, -1)
    different = ~same
    if remove_diagonal:
        same = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device)
    distance = (1 - y_pred @ others.transpose(-2, -1)).clamp_min(0.0)
    near = -gamma * (margin + distance) * (margin - distance)
    far = gamma * (1 + margin - distance).clamp_min(0.0) * (1 - margin - distance)
    nothing = float("-inf")
    same_score = torch.where(same, near, nothing).logsumexp(1)
    different_score = torch.where(different, far, nothing).logsumexp(1)
    losses = F.softplus(same_score + different_score)
    losses._keras_mask = losses > 0  # type: ignore[attr-defined]
    return losses


@builtin("keras.losses")
class Dice(LossFunctionWrapper):
    """1 - the Dice coefficient of two regions.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        axis: the axes to sum over; all by default.
        dtype: see `Loss`.

    Example:
        >>> Dice()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(1.)

    Source: https://keras.io/api/losses/regression_losses/#dice-class
    """

    def __init__(
        self, reduction: str | None = MEANS[0], name: str = "dice", axis: Axis = None, dtype: Any = None
    ) -> None:
        super().__init__(dice, reduction, name, dtype, axis=axis)
        self.axis = axis


@builtin("keras.losses")
class Tversky(LossFunctionWrapper):
    """Dice's loss with weights for what is missed and for what is too much.

    Args:
        alpha: the weight of targets that predictions miss.
        beta: the weight of predictions outside the targets.
        reduction: see `Loss`.
        name: see `Loss`.
        axis: the axes to sum over; all by default.
        dtype: see `Loss`.

    Example:
        >>> Tversky()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(1.)

    Source: https://keras.io/api/losses/regression_losses/#tversky-class
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = MEANS[0],
        name: str = "tversky",
        axis: Axis = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
        self.alpha = alpha
        self.beta = beta
        self.axis = axis


@builtin("keras.losses")
class CTC(LossFunctionWrapper):
    """The loss of label sequences whose alignment with the outputs is unknown.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> CTC()(torch.tensor([[1]]), torch.zeros(1, 1, 2))
        tensor(0.6931)

    Source: https://keras.io/api/losses/probabilistic_losses/#ctc-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "ctc", dtype: Any = None) -> None:
        super().__init__(ctc, reduction, name, dtype)


@builtin("keras.losses")
class Circle(LossFunctionWrapper):
    """The circle loss of embeddings with class labels.

    Args:
        gamma: the scale.
        margin: how far apart classes shall be.
        remove_diagonal: whether an embedding is not compared with itself.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> Circle()(torch.tensor([0, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(0.)

    Source: https://keras.io/api/losses/metric_learning_losses/
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = MEANS[0],
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(circle, reduction, name, dtype, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)
        self.gamma = gamma
        self.margin = margin
        self.remove_diagonal = remove_diagonal
