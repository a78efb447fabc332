"""The stand-in for TensorFlow where it is missing: tf.keras and tf.data.Dataset are lamina, all else is refused."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any, NoReturn

from lamina import ops
from lamina.core.errors import LaminaError, MissingPackageError, say_once
from lamina.data.pipeline import AUTOTUNE, INFINITE_CARDINALITY, UNKNOWN_CARDINALITY, Dataset
from lamina.ops import random

VERSION = "2.0.0+lamina"
"""What `tf.__version__` says: TensorFlow 2 as far as tf.keras goes, provided by lamina."""

_NAMESPACES = set(
    "app autodiff compat config data debugging distribute dtypes errors estimator experimental feature_column flags "
    "image initializers io layers linalg lite logging losses math metrics nest nn profiler python quantization ragged "
    "random raw_ops saved_model sets signal sparse strings summary sysconfig test tpu train types version xla".split()
)
_RENAMED = {
    "argsort": "ops.argsort",
    "clip_by_value": "ops.clip",
    "concat": "ops.concatenate",
    "constant": "ops.convert_to_tensor",
    "GradientTape": "torch.autograd.grad (or write train_step with loss.backward())",
    "Variable": "keras.Variable",
    "config.list_physical_devices": "torch.cuda.device_count()",
    "config.experimental.list_physical_devices": "torch.cuda.device_count()",
    "distribute.MirroredStrategy": "torch.nn.parallel.DistributedDataParallel",
    "function": "nothing: lamina chooses how a step is run by itself",
    "gather": "keras.ops.take",
    "image.decode_jpeg": "keras.utils.load_img",
    "io.read_file": "open(path, 'rb').read()",
    "matmul": "keras.ops.matmul",
    "newaxis": "None",
    "pow": "keras.ops.power",
    "random.set_seed": "keras.utils.set_random_seed",
    "set_random_seed": "keras.utils.set_random_seed",
    "reduce_all": "keras.ops.all",
    "reduce_any": "keras.ops.any",
    "reduce_max": "keras.ops.max",
    "reduce_mean": "keras.ops.mean",
    "reduce_min": "keras.ops.min",
    "reduce_prod": "keras.ops.prod",
    "reduce_sum": "keras.ops.sum",
    "size": "keras.ops.size",
    "test.gpu_device_name": "torch.cuda.get_device_name()",
    "test.is_gpu_available": "torch.cuda.is_available()",
}


# What scripts for tf.keras use to feed fit is there.
_OFFERED = {
    "data.AUTOTUNE": AUTOTUNE,
    "data.Dataset": Dataset,
    "data.INFINITE_CARDINALITY": INFINITE_CARDINALITY,
    "data.UNKNOWN_CARDINALITY": UNKNOWN_CARDINALITY,
    "data.experimental.AUTOTUNE": AUTOTUNE,
    "data.experimental.cardinality": Dataset.cardinality,
}


class NotTensorFlowError(LaminaError, AttributeError):
    """A part of TensorFlow other than tf.keras is used while TensorFlow is not installed."""


def replacement(path: str) -> str | None:
    """What to use in place of something of TensorFlow, None where nothing is known.

    Example:
        >>> replacement("reduce_mean"), replacement("math.sigmoid"), replacement("estimator.Estimator")
        ('keras.ops.mean', 'keras.ops.sigmoid', None)
    """
    known = _RENAMED.get(path) or _RENAMED.get(path.removeprefix("math."))
    if known is not None:
        return f"keras.{known}" if known.startswith("ops.") else known
    name = path.rpartition(".")[2]
    owner = path.rpartition(".")[0]
    if path.startswith("random.") and hasattr(random, name):
        return f"keras.random.{name}"
    if owner in ("image", "linalg", "nn") and hasattr(getattr(ops, owner, None), name):
        return f"keras.ops.{owner}.{name}"
    if owner in ("", "math", "nn", "linalg") and hasattr(ops, name):
        return f"keras.ops.{name}"
    return None


def calling_line() -> str | None:
    """File and line of the innermost caller that is neither lamina nor the import system."""
    package = str(Path(__file__).resolve().parent.parent)
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((package, "<frozen", "<string>")) and "importlib" not in file:
            return f"{file}, line {frame.f_lineno}"
        frame = frame.f_back
    return None


def _explain(path: str) -> tuple[str, str | None, str]:
    """What to say of a name of TensorFlow, where it is used, and what to use instead."""
    instead = replacement(path) or "its counterpart in torch or keras.ops, or install tensorflow"
    what = "TensorFlow is not installed, and lamina stands in for tf.keras and tf.data.Dataset only."
    return f"tf.{path} is not there: {what}", calling_line(), f"use {instead}"


def refuse(module: str) -> NoReturn:
    """Say that a module of TensorFlow cannot be imported."""
    what, where, fix = _explain(module.removeprefix("tensorflow."))
    raise MissingPackageError(what, where=where, fix=fix)


class TensorFlowPart(types.ModuleType):
    """A namespace of TensorFlow that is not there, e.g. tf.math: what is asked of it is refused by its full name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}".removeprefix("tensorflow.")
        if path in _NAMESPACES or path in ("compat.v1", "compat.v2", "config.experimental", "data.experimental"):
            return TensorFlowPart(f"tensorflow.{path}")
        if path in _OFFERED:
            return _OFFERED[path]
        what, where, fix = _explain(path)
        raise NotTensorFlowError(what, where=where, fix=fix)


class TensorFlowStandIn(TensorFlowPart):
    """The module `tensorflow` where TensorFlow is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, __doc__)
        self.__path__ = []
        if name == "tensorflow":
            self.__version__ = VERSION
            say_once("tensorflow is not installed; only tf.keras is there, and it is lamina.")

    def __getattr__(self, name: str) -> Any:
        if name == "keras" and self.__name__ in ("tensorflow", "tensorflow.python"):
            return importlib.import_module(f"{self.__name__}.keras")
        return super().__getattr__(name)
