"""Loss functions and classes, and how to get one by name."""

from __future__ import annotations

from typing import Any

from lamina.core.registry import lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.losses import classification, focal, probabilistic, regression, structured
from lamina.losses.base import Loss as Loss
from lamina.losses.base import LossFunctionWrapper as LossFunctionWrapper
from lamina.losses.classification import BinaryCrossentropy as BinaryCrossentropy
from lamina.losses.classification import CategoricalCrossentropy as CategoricalCrossentropy
from lamina.losses.classification import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from lamina.losses.classification import binary_crossentropy as binary_crossentropy
from lamina.losses.classification import categorical_crossentropy as categorical_crossentropy
from lamina.losses.classification import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from lamina.losses.focal import BinaryFocalCrossentropy as BinaryFocalCrossentropy
from lamina.losses.focal import CategoricalFocalCrossentropy as CategoricalFocalCrossentropy
from lamina.losses.focal import CategoricalGeneralizedCrossEntropy as CategoricalGeneralizedCrossEntropy
from lamina.losses.focal import binary_focal_crossentropy as binary_focal_crossentropy
from lamina.losses.focal import categorical_focal_crossentropy as categorical_focal_crossentropy
from lamina.losses.focal import categorical_generalized_cross_entropy as categorical_generalized_cross_entropy
from lamina.losses.probabilistic import CategoricalHinge as CategoricalHinge
from lamina.losses.probabilistic import Hinge as Hinge
from lamina.losses.probabilistic import KLDivergence as KLDivergence
from lamina.losses.probabilistic import Poisson as Poisson
from lamina.losses.probabilistic import SquaredHinge as SquaredHinge
from lamina.losses.probabilistic import categorical_hinge as categorical_hinge
from lamina.losses.probabilistic import hinge as hinge
from lamina.losses.probabilistic import kl_divergence as kl_divergence
from lamina.losses.probabilistic import poisson as poisson
from lamina.losses.probabilistic import squared_hinge as squared_hinge
from lamina.losses.regression import CosineSimilarity as CosineSimilarity
from lamina.losses.regression import Huber as Huber
from lamina.losses.regression import LogCosh as LogCosh
from lamina.losses.regression import MeanAbsoluteError as MeanAbsoluteError
from lamina.losses.regression import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from lamina.losses.regression import MeanSquaredError as MeanSquaredError
from lamina.losses.regression import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from lamina.losses.regression import cosine_similarity as cosine_similarity
from lamina.losses.regression import huber as huber
from lamina.losses.regression import log_cosh as log_cosh
from lamina.losses.regression import mean_absolute_error as mean_absolute_error
from lamina.losses.regression import mean_absolute_percentage_error as mean_absolute_percentage_error
from lamina.losses.regression import mean_squared_error as mean_squared_error
from lamina.losses.regression import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from lamina.losses.structured import CTC as CTC
from lamina.losses.structured import Circle as Circle
from lamina.losses.structured import Dice as Dice
from lamina.losses.structured import Tversky as Tversky
from lamina.losses.structured import circle as circle
from lamina.losses.structured import ctc as ctc
from lamina.losses.structured import dice as dice
from lamina.losses.structured import tversky as tversky

_FILES = (regression, classification, focal, probabilistic, structured)
NAMES: dict[str, Any] = {"Loss": Loss, "LossFunctionWrapper": LossFunctionWrapper}
NAMES |= {
    name: obj
    for file in _FILES
    for name, obj in vars(file).items()
    if getattr(obj, "__module__", None) == file.__name__ and not name.startswith("_") and name in globals()
}
for _short, _name in (
    ("bce", "binary_crossentropy"),
    ("kld", "kl_divergence"),
    ("mae", "mean_absolute_error"),
    ("mse", "mean_squared_error"),
    ("mape", "mean_absolute_percentage_error"),
    ("msle", "mean_squared_logarithmic_error"),
):
    NAMES[_short] = NAMES[_short.upper()] = NAMES[_name]


def serialize(loss: Any) -> Any:
    """The config of a loss object or function.

    Example:
        >>> serialize(MeanSquaredError())["class_name"]
        'MeanSquaredError'
    """
    return serialize_keras_object(loss)


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss of a config, or of that name.

    Args:
        name: a config as `serialize` gives it, or a name.
        custom_objects: further losses by name.

    Example:
        >>> deserialize(serialize(Huber(delta=2.0))).delta
        2.0
    """
    if isinstance(name, str):
        return lookup(name, kind="loss", table={**NAMES, **(custom_objects or {})})
    return deserialize_keras_object(name, custom_objects=custom_objects, module_objects=NAMES)


def get(identifier: Any) -> Any:
    """The loss meant by a name ("mse"), a config, a class, a function or a loss object.

    Raises:
        UnknownNameError: no loss has that name; the nearest one is suggested.

    Example:
        >>> get("mse").__name__
        'mean_squared_error'
    """
    return lookup(identifier, kind="loss", table=NAMES, base=Loss, deserialize=deserialize)
