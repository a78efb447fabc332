"""Losses that are divergences of distributions or margins: Kullback-Leibler, Poisson, and the hinge family."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core import config
from lamina.core.registry import builtin
from lamina.losses.base import MEANS, LossFunctionWrapper, Tensor, pair, tensors


@builtin("keras.losses")
def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """The sum over the last axis of y_true·log(y_true / y_pred), both clipped to [epsilon, 1].

    Args:
        y_true: probabilities, shape (batch, ..., d).
        y_pred: probabilities of the same shape.

    Example:
        >>> kl_divergence([[0.5, 0.5]], [[0.5, 0.5]])
        tensor([0.])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    y_true, y_pred = y_true.clamp(config.epsilon(), 1), y_pred.clamp(config.epsilon(), 1)
    return (y_true * (y_true / y_pred).log()).sum(-1)


@builtin("keras.losses")
def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of y_pred - y_true·log(y_pred).

    Args:
        y_true: counts, shape (batch, ..., d).
        y_pred: expected counts of the same shape, positive.

    Example:
        >>> poisson([[3.0, 0.0]], [[1.0, 1.0]])
        tensor([1.0000])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return (y_pred - y_true * (y_pred + config.epsilon()).log()).mean(-1)


def positive_part(x: Tensor) -> Tensor:
    """max(x, 0), with half the gradient where x is 0, and NaN where it is NaN: `clamp` has neither."""
    return torch.maximum(x, x.new_zeros(()))


def _signed(y_true: Tensor) -> Tensor:
    """Labels 0 and 1 as -1 and 1; any others as they are. Decided on the device, without waiting for it."""
    binary = ((y_true == 0) | (y_true == 1)).all()
    return torch.where(binary, 2.0 * y_true - 1.0, y_true)


@builtin("keras.losses")
def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of max(1 - y_true·y_pred, 0).

    Args:
        y_true: labels -1 and 1 (or 0 and 1), shape (batch, ..., d).
        y_pred: scores of the same shape.

    Example:
        >>> hinge([[-1.0, 1.0]], [[0.0, 2.0]])
        tensor([0.5000])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    return positive_part(1.0 - _signed(y_true) * y_pred).mean(-1)


@builtin("keras.losses")
def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The mean over the last axis of max(1 - y_true·y_pred, 0)².

    Args:
        y_true: labels -1 and 1 (or 0 and 1), shape (batch, ..., d).
        y_pred: scores of the same shape.

    Example:
        >>> squared_hinge([[-1.0, 1.0]], [[1.0, 2.0]])
        tensor([2.])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    return positive_part(1.0 - _signed(y_true) * y_pred).square().mean(-1)


@builtin("keras.losses")
def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """How far the best wrong class comes within 1 of the true one: max(wrong - true + 1, 0).

    Args:
        y_true: one-hot labels, shape (batch, ..., classes).
        y_pred: scores of the same shape.

    Example:
        >>> categorical_hinge([[0.0, 1.0]], [[0.5, 1.0]])
        tensor([0.5000])
    """
    y_true, y_pred = tensors(y_true, y_pred)
    true, wrong = (y_true * y_pred).sum(-1), ((1.0 - y_true) * y_pred).amax(-1)
    return positive_part(wrong - true + 1.0)


@builtin("keras.losses")
class KLDivergence(LossFunctionWrapper):
    """The Kullback-Leibler divergence of the predictions from the targets.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> KLDivergence()(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.)

    Source: https://keras.io/api/losses/probabilistic_losses/#kldivergence-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


@builtin("keras.losses")
class Poisson(LossFunctionWrapper):
    """The likelihood of counts under predicted rates, negated.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> Poisson()(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
        tensor(1.0000)

    Source: https://keras.io/api/losses/probabilistic_losses/#poisson-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, reduction, name, dtype)


@builtin("keras.losses")
class Hinge(LossFunctionWrapper):
    """How far scores fall short of a margin of 1.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> Hinge()(torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [2.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/losses/hinge_losses/#hinge-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, reduction, name, dtype)


@builtin("keras.losses")
class SquaredHinge(LossFunctionWrapper):
    """The square of how far scores fall short of a margin of 1.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> SquaredHinge()(torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [2.0]]))
        tensor(2.)

    Source: https://keras.io/api/losses/hinge_losses/#squaredhinge-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(squared_hinge, reduction, name, dtype)


@builtin("keras.losses")
class CategoricalHinge(LossFunctionWrapper):
    """How far the best wrong class comes within 1 of the true one.

    Args:
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> CategoricalHinge()(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]]))
        tensor(0.5000)

    Source: https://keras.io/api/losses/hinge_losses/#categoricalhinge-class
    """

    def __init__(self, reduction: str | None = MEANS[0], name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(categorical_hinge, reduction, name, dtype)
