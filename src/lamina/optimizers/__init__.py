"""Optimizers and learning rate schedules, and how to get one by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.core.errors import ArgumentTypeError
from lamina.core.registry import lookup
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.optimizers import legacy as legacy
from lamina.optimizers import schedules as schedules
from lamina.optimizers.adagrad import Adadelta as Adadelta
from lamina.optimizers.adagrad import Adagrad as Adagrad
from lamina.optimizers.adagrad import Ftrl as Ftrl
from lamina.optimizers.adam import Adam as Adam
from lamina.optimizers.adam import AdamW as AdamW
from lamina.optimizers.adaptive import Adamax as Adamax
from lamina.optimizers.adaptive import Lamb as Lamb
from lamina.optimizers.adaptive import Lion as Lion
from lamina.optimizers.adaptive import Nadam as Nadam
from lamina.optimizers.adaptive import ScheduleFreeAdamW as ScheduleFreeAdamW
from lamina.optimizers.base import Optimizer as Optimizer
from lamina.optimizers.combined import LossScaleOptimizer as LossScaleOptimizer
from lamina.optimizers.combined import MultiOptimizer as MultiOptimizer
from lamina.optimizers.combined import OptimizerMap as OptimizerMap
from lamina.optimizers.matrix import Adafactor as Adafactor
from lamina.optimizers.matrix import Muon as Muon
from lamina.optimizers.rmsprop import RMSprop as RMSprop
from lamina.optimizers.sgd import SGD as SGD

_BY_CLASS: dict[str, Any] = {
    name: obj
    for name, obj in list(globals().items())
    if isinstance(obj, type) and (issubclass(obj, Optimizer) or obj is OptimizerMap)
}
NAMES: dict[str, Any] = {name.lower(): obj for name, obj in _BY_CLASS.items()}


def serialize(optimizer: Any) -> Any:
    """The config of an optimizer.

    Example:
        >>> serialize(SGD())["class_name"]
        'SGD'
    """
    return serialize_keras_object(optimizer)


def deserialize(config: Mapping[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """An optimizer from its config; the class name in any case.

    Args:
        config: a config as `serialize` gives it.
        custom_objects: further optimizers by name.

    Example:
        >>> float(deserialize(serialize(SGD(0.5))).learning_rate)
        0.5
    """
    known = NAMES.get(str(config["class_name"]).lower())
    if known is not None and config["class_name"] not in _BY_CLASS:
        config = {**config, "class_name": known.__name__}
    return deserialize_keras_object(config, custom_objects=custom_objects, module_objects=_BY_CLASS)


def get(identifier: Any) -> Any:
    """The optimizer meant by a name ("adam"), a config, a class or an optimizer.

    Raises:
        UnknownNameError: no optimizer has that name; the nearest one is suggested.
        ArgumentTypeError: this is nothing of the kind.

    Example:
        >>> type(get("rmsprop")).__name__
        'RMSprop'
    """
    if isinstance(identifier, str) and identifier.lower() in NAMES:
        identifier = identifier.lower()
    found = lookup(identifier, kind="optimizer", table=NAMES, base=Optimizer, deserialize=deserialize)
    if found is not None and not isinstance(found, Optimizer):
        raise ArgumentTypeError(
            "This is no optimizer.",
            where="optimizer",
            expected="a name, a config or an Optimizer",
            received=repr(identifier),
        )
    return found
