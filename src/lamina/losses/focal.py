"""Crossentropy's relatives: focal losses, in which easy examples count less, and one that bears wrong labels."""

from __future__ import annotations

from typing import Any

from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.losses.base import MEANS, LossFunctionWrapper, Tensor, tensors
from lamina.losses.classification import binary_terms, check_one_hot, class_indices, clipped, explain_labels, logits_of


@builtin("keras.losses")
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Binary crossentropy with each element weighted by (1 - probability of the truth)^gamma.

    Args:
        y_true: labels in [0, 1], shape (batch, ..., d).
        y_pred: probabilities, or logits, of the same shape.
        apply_class_balancing: whether to weigh ones by alpha and zeros by 1 - alpha.
        alpha: the weight of ones.
        gamma: how strongly easy examples lose weight.
        from_logits: whether y_pred are logits.
        label_smoothing: in [0, 1]: how far labels are moved towards 0.5.
        axis: the axis to take the mean over.

    Example:
        >>> binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        tensor([0.1733])

    Source: Lin et al. 2018, https://arxiv.org/abs/1708.02002
    """
    y_true, y_pred = tensors(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    terms = binary_terms(y_true, y_pred, from_logits, 0.0, "none")
    probability = y_pred.sigmoid() if from_logits else y_pred
    of_truth = y_true * probability + (1 - y_true) * (1 - probability)
    terms = (1.0 - of_truth) ** gamma * terms
    if apply_class_balancing:
        terms = (y_true * alpha + (1 - y_true) * (1 - alpha)) * terms
    return terms.mean(axis)


@builtin("keras.losses")
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Categorical crossentropy with each class weighted by alpha·(1 - y_pred)^gamma.

    Args:
        y_true: one-hot labels or probabilities, shape (batch, ..., classes).
        y_pred: probabilities, or logits, of the same shape.
        alpha: a factor, or one per class.
        gamma: how strongly easy examples lose weight.
        from_logits: whether y_pred are logits.
        label_smoothing: in [0, 1]: how much of the labels is spread over all classes.
        axis: the axis of the classes.

    Example:
        >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        tensor([0.0433])

    Source: Lin et al. 2018, https://arxiv.org/abs/1708.02002
    """
    y_true, y_pred = tensors(y_true, y_pred)
    check_one_hot(y_true, y_pred, axis)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
    logits = y_pred if from_logits else logits_of(y_pred, "softmax", axis)
    probability = y_pred.softmax(axis) if from_logits else y_pred / y_pred.sum(axis, keepdim=True)
    probability = clipped(probability)
    logarithm = probability.log() if logits is None else logits.log_softmax(axis)
    if not isinstance(alpha, (int, float)):
        alpha = convert_to_tensor(alpha, y_pred.dtype, y_pred.device)  # type: ignore[assignment]
    return ((1.0 - probability) ** gamma * alpha * -y_true * logarithm).sum(axis)


@builtin("keras.losses")
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Tensor:
    """(1 - p^q) / q for the probability p of the true class: robust against wrong labels.

    Args:
        y_true: class indices, shape (batch, ...).
        y_pred: probabilities, shape (batch, ..., classes).
        q: between 0 (crossentropy) and 1 (absolute error).

    Example:
        >>> categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5)
        tensor([1.])

    Source: Zhang and Sabuncu 2018, https://arxiv.org/abs/1805.07836
    """
    y_true, y_pred = class_indices(y_true, y_pred, -1)
    try:
        of_truth = y_pred.gather(-1, y_true.unsqueeze(-1)).squeeze(-1)
    except RuntimeError as error:
        explain_labels(y_true, y_pred.shape[-1], error, "categorical_generalized_cross_entropy")
        raise
    return (1 - of_truth**q) / q


@builtin("keras.losses")
class BinaryFocalCrossentropy(LossFunctionWrapper):
    """Crossentropy of yes-or-no labels in which easy examples count less.

    Args:
        apply_class_balancing: whether to weigh ones by alpha and zeros by 1 - alpha.
        alpha: the weight of ones.
        gamma: how strongly easy examples lose weight.
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how far labels are moved towards 0.5.
        axis: the axis to take the mean over.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> BinaryFocalCrossentropy()([[0.0], [1.0]], [[0.5], [0.5]])
        tensor(0.1733)

    Source: https://keras.io/api/losses/probabilistic_losses/#binaryfocalcrossentropy-class
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEANS[0],
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {
            "apply_class_balancing": apply_class_balancing,
            "alpha": alpha,
            "gamma": gamma,
            "from_logits": from_logits,
            "label_smoothing": label_smoothing,
            "axis": axis,
        }
        super().__init__(binary_focal_crossentropy, reduction, name, dtype, **options)
        self.__dict__.update(options)


@builtin("keras.losses")
class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """Crossentropy of one-hot labels in which easy examples count less.

    Args:
        alpha: a factor, or one per class.
        gamma: how strongly easy examples lose weight.
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how much of the labels is spread over all classes.
        axis: the axis of the classes.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Example:
        >>> CategoricalFocalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]])
        tensor(0.0433)

    Source: https://keras.io/api/losses/probabilistic_losses/#categoricalfocalcrossentropy-class
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEANS[0],
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {
            "alpha": alpha,
            "gamma": gamma,
            "from_logits": from_logits,
            "label_smoothing": label_smoothing,
            "axis": axis,
        }
        super().__init__(categorical_focal_crossentropy, reduction, name, dtype, **options)
        self.__dict__.update(options)


@builtin("keras.losses")
class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """A loss between crossentropy and absolute error, robust against wrong labels.

    Args:
        q: between 0 (crossentropy) and 1 (absolute error), both excluded.
        reduction: see `Loss`.
        name: see `Loss`.
        dtype: see `Loss`.

    Raises:
        ArgumentError: q is not between 0 and 1.

    Example:
        >>> CategoricalGeneralizedCrossEntropy()([1], [[0.75, 0.25]])
        tensor(1.)

    Source: https://keras.io/api/losses/probabilistic_losses/#categoricalgeneralizedcrossentropy-class
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = MEANS[0],
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ArgumentError("q lies between 0 and 1.", where="q", expected="0 < q < 1", received=q)
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
        self.q = q
