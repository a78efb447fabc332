"""Metric functions and classes, and how to get one by name."""

from __future__ import annotations

from typing import Any

from lamina.core.naming import to_snake_case
from lamina.core.registry import lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.losses.classification import binary_crossentropy as binary_crossentropy
from lamina.losses.classification import categorical_crossentropy as categorical_crossentropy
from lamina.losses.classification import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from lamina.losses.focal import binary_focal_crossentropy as binary_focal_crossentropy
from lamina.losses.focal import categorical_focal_crossentropy as categorical_focal_crossentropy
from lamina.losses.probabilistic import categorical_hinge as categorical_hinge
from lamina.losses.probabilistic import hinge as hinge
from lamina.losses.probabilistic import kl_divergence as kl_divergence
from lamina.losses.probabilistic import poisson as poisson
from lamina.losses.probabilistic import squared_hinge as squared_hinge
from lamina.losses.regression import huber as huber
from lamina.losses.regression import log_cosh as log_cosh
from lamina.losses.regression import mean_absolute_error as mean_absolute_error
from lamina.losses.regression import mean_absolute_percentage_error as mean_absolute_percentage_error
from lamina.losses.regression import mean_squared_error as mean_squared_error
from lamina.losses.regression import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from lamina.metrics.accuracy import Accuracy as Accuracy
from lamina.metrics.accuracy import BinaryAccuracy as BinaryAccuracy
from lamina.metrics.accuracy import CategoricalAccuracy as CategoricalAccuracy
from lamina.metrics.accuracy import SparseCategoricalAccuracy as SparseCategoricalAccuracy
from lamina.metrics.accuracy import SparseTopKCategoricalAccuracy as SparseTopKCategoricalAccuracy
from lamina.metrics.accuracy import TopKCategoricalAccuracy as TopKCategoricalAccuracy
from lamina.metrics.accuracy import binary_accuracy as binary_accuracy
from lamina.metrics.accuracy import categorical_accuracy as categorical_accuracy
from lamina.metrics.accuracy import sparse_categorical_accuracy as sparse_categorical_accuracy
from lamina.metrics.accuracy import sparse_top_k_categorical_accuracy as sparse_top_k_categorical_accuracy
from lamina.metrics.accuracy import top_k_categorical_accuracy as top_k_categorical_accuracy
from lamina.metrics.base import Metric as Metric
from lamina.metrics.confusion import FalseNegatives as FalseNegatives
from lamina.metrics.confusion import FalsePositives as FalsePositives
from lamina.metrics.confusion import Precision as Precision
from lamina.metrics.confusion import Recall as Recall
from lamina.metrics.confusion import TrueNegatives as TrueNegatives
from lamina.metrics.confusion import TruePositives as TruePositives
from lamina.metrics.curves import AUC as AUC
from lamina.metrics.curves import PrecisionAtRecall as PrecisionAtRecall
from lamina.metrics.curves import RecallAtPrecision as RecallAtPrecision
from lamina.metrics.curves import SensitivityAtSpecificity as SensitivityAtSpecificity
from lamina.metrics.curves import SpecificityAtSensitivity as SpecificityAtSensitivity
from lamina.metrics.probabilistic import BinaryCrossentropy as BinaryCrossentropy
from lamina.metrics.probabilistic import CategoricalCrossentropy as CategoricalCrossentropy
from lamina.metrics.probabilistic import CategoricalHinge as CategoricalHinge
from lamina.metrics.probabilistic import Hinge as Hinge
from lamina.metrics.probabilistic import KLDivergence as KLDivergence
from lamina.metrics.probabilistic import Poisson as Poisson
from lamina.metrics.probabilistic import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from lamina.metrics.probabilistic import SquaredHinge as SquaredHinge
from lamina.metrics.reduction import Mean as Mean
from lamina.metrics.reduction import MeanMetricWrapper as MeanMetricWrapper
from lamina.metrics.reduction import Sum as Sum
from lamina.metrics.regions import BinaryIoU as BinaryIoU
from lamina.metrics.regions import F1Score as F1Score
from lamina.metrics.regions import FBetaScore as FBetaScore
from lamina.metrics.regions import IoU as IoU
from lamina.metrics.regions import MeanIoU as MeanIoU
from lamina.metrics.regions import OneHotIoU as OneHotIoU
from lamina.metrics.regions import OneHotMeanIoU as OneHotMeanIoU
from lamina.metrics.regression import ConcordanceCorrelation as ConcordanceCorrelation
from lamina.metrics.regression import CosineSimilarity as CosineSimilarity
from lamina.metrics.regression import LogCoshError as LogCoshError
from lamina.metrics.regression import MeanAbsoluteError as MeanAbsoluteError
from lamina.metrics.regression import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from lamina.metrics.regression import MeanSquaredError as MeanSquaredError
from lamina.metrics.regression import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from lamina.metrics.regression import PearsonCorrelation as PearsonCorrelation
from lamina.metrics.regression import R2Score as R2Score
from lamina.metrics.regression import RootMeanSquaredError as RootMeanSquaredError
from lamina.metrics.regression import concordance_correlation as concordance_correlation
from lamina.metrics.regression import pearson_correlation as pearson_correlation

NAMES: dict[str, Any] = {
    name: obj for name, obj in list(globals().items()) if isinstance(obj, type) and issubclass(obj, Metric)
}
NAMES |= {to_snake_case(name): obj for name, obj in NAMES.items()}
NAMES |= {
    name: obj
    for name, obj in list(globals().items())
    if callable(obj)
    and name not in NAMES
    and name.islower()
    and getattr(obj, "__module__", "").startswith(("lamina.metrics.", "lamina.losses."))
}
for _short, _name in (
    ("bce", "BinaryCrossentropy"),
    ("mse", "MeanSquaredError"),
    ("mae", "MeanAbsoluteError"),
    ("mape", "MeanAbsolutePercentageError"),
    ("msle", "MeanSquaredLogarithmicError"),
):
    NAMES[_short] = NAMES[_short.upper()] = NAMES[_name]


def serialize(metric: Any) -> Any:
    """The config of a metric object or function.

    Example:
        >>> serialize(Mean())["class_name"]
        'Mean'
    """
    return serialize_keras_object(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric of a config, or of that name.

    Args:
        config: a config as `serialize` gives it, or a name.
        custom_objects: further metrics by name.

    Example:
        >>> deserialize(serialize(Precision(thresholds=0.3))).thresholds
        [0.3]
    """
    if isinstance(config, str):
        return lookup(config, kind="metric", table={**NAMES, **(custom_objects or {})})
    return deserialize_keras_object(config, custom_objects=custom_objects, module_objects=NAMES)


def get(identifier: Any) -> Any:
    """The metric meant by a name ("mse"), a config, a class, a function or a metric object.

    Raises:
        UnknownNameError: no metric has that name; the nearest one is suggested.

    Example:
        >>> get("mse")
        <MeanSquaredError name=mean_squared_error>
    """
    return lookup(identifier, kind="metric", table=NAMES, base=Metric, deserialize=deserialize)
