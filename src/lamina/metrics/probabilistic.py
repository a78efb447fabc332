"""Crossentropies, divergences and hinge losses, averaged over all batches."""

from __future__ import annotations

from typing import Any

from lamina.core.registry import builtin
from lamina.losses.classification import (
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from lamina.losses.probabilistic import categorical_hinge, hinge, kl_divergence, poisson, squared_hinge
from lamina.metrics.reduction import MeanMetricWrapper


@builtin("keras.metrics")
class BinaryCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of yes-or-no labels.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how far labels are moved towards 0.5.

    Example:
        >>> BinaryCrossentropy()([[0.0], [1.0]], [[0.5], [0.5]])
        tensor(0.6931)

    Source: https://keras.io/api/metrics/probabilistic_metrics/#binarycrossentropy-class
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        options: dict[str, Any] = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(binary_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing


@builtin("keras.metrics")
class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of one-hot labels.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        from_logits: whether predictions are logits, not probabilities.
        label_smoothing: in [0, 1]: how much of the labels is spread over all classes.
        axis: the axis of the classes.

    Example:
        >>> CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]])
        tensor(0.6931)

    Source: https://keras.io/api/metrics/probabilistic_metrics/#categoricalcrossentropy-class
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        options: dict[str, Any] = {
            "from_logits": from_logits,
            "label_smoothing": label_smoothing,
            "axis": axis,
        }
        super().__init__(categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@builtin("keras.metrics")
class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of labels given as class indices.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.
        from_logits: whether predictions are logits, not probabilities.
        ignore_class: an index whose samples give 0.
        axis: the axis of the classes.

    Example:
        >>> SparseCategoricalCrossentropy()([1], [[0.5, 0.5]])
        tensor(0.6931)

    Source: https://keras.io/api/metrics/probabilistic_metrics/#sparsecategoricalcrossentropy-class
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options: dict[str, Any] = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(sparse_categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis


@builtin("keras.metrics")
class KLDivergence(MeanMetricWrapper):
    """The mean Kullback-Leibler divergence of the predictions from the targets.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> KLDivergence()([[0.5, 0.5]], [[0.5, 0.5]])
        tensor(0.)

    Source: https://keras.io/api/metrics/probabilistic_metrics/#kldivergence-class
    """

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(kl_divergence, name, dtype)


@builtin("keras.metrics")
class Poisson(MeanMetricWrapper):
    """The mean likelihood of counts under predicted rates, negated.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> Poisson()([[3.0]], [[1.0]])
        tensor(1.0000)

    Source: https://keras.io/api/metrics/probabilistic_metrics/#poisson-class
    """

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, name, dtype)


@builtin("keras.metrics")
class Hinge(MeanMetricWrapper):
    """The mean of how far scores fall short of a margin of 1.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> Hinge()([[-1.0], [1.0]], [[0.0], [2.0]])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/hinge_metrics/#hinge-class
    """

    _direction = "down"

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, name, dtype)


@builtin("keras.metrics")
class SquaredHinge(MeanMetricWrapper):
    """The mean of the square of how far scores fall short of a margin of 1.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> SquaredHinge()([[-1.0], [1.0]], [[1.0], [2.0]])
        tensor(2.)

    Source: https://keras.io/api/metrics/hinge_metrics/#squaredhinge-class
    """

    _direction = "down"

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(squared_hinge, name, dtype)


@builtin("keras.metrics")
class CategoricalHinge(MeanMetricWrapper):
    """The mean of how far the best wrong class comes within 1 of the true one.

    Args:
        name: see `Metric`.
        dtype: see `Metric`.

    Example:
        >>> CategoricalHinge()([[0.0, 1.0]], [[0.5, 1.0]])
        tensor(0.5000)

    Source: https://keras.io/api/metrics/hinge_metrics/#categoricalhinge-class
    """

    _direction = "down"

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(categorical_hinge, name, dtype)
