"""Whole models in the old .h5 format: configs of Keras 1 and 2 and of Keras 3's writer of old files, and back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch

from lamina.core.errors import ArgumentError, FileError, LaminaError
from lamina.core.limits import Limits
from lamina.core.registry import builtin_name, find_builtin, get_registered_name, maybe_scope
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_numpy
from lamina.saving.archive import parse_json
from lamina.saving.hdf5 import WeightsReader
from lamina.saving.legacy import TOP, in_old_order, load_legacy_weights

# Where a name without a module is looked for. Keys of a config say more than this order.
_AREAS = (
    "keras.layers",
    "keras",
    "keras.src.models.functional",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.losses",
    "keras.metrics",
    "keras.dtype_policies",
)
_AREA_OF = {"loss": "keras.losses", "metrics": "keras.metrics", "weighted_metrics": "keras.metrics"}
_AREA_OF |= {"optimizer_config": "keras.optimizers", "learning_rate": "keras.optimizers.schedules"}
# Settings that earlier versions wrote and that have no meaning any more.
_DROPPED = {
    "Lambda": ("module", "function_type", "output_shape_type", "output_shape_module"),
    "InputLayer": ("ragged",),
}
# A header of HDF5 holds no attribute longer than this.
_ATTRIBUTE_BYTES = 64_512


def load_legacy_model(
    reader: WeightsReader,
    label: str,
    custom_objects: Mapping[str, Any] | None,
    compile: bool,
    limits: Limits,
    revive: Any,
) -> Any:
    """The model in an old file, with its weights and as much of its training state as fits.

    Args:
        reader: the file.
        label: what errors call it.
        custom_objects: classes and functions by name.
        compile: whether to compile the model as it was.
        limits: bounds.
        revive: makes a model of a config.

    Raises:
        FileError: the file holds no model, names something unknown, or does not fit together.
    """
    texts = reader.attributes("", "model_config")
    if len(texts) != 1:
        raise FileError(
            "The file holds no model.",
            where=label,
            expected="an attribute model_config",
            fix="if it holds weights alone, build the model in code and use load_weights()",
        )
    config = _modern(parse_json(texts[0], f"{label}: model_config", limits), "model_config")
    model = revive(config)
    load_legacy_weights(model, reader, False, False)
    texts = reader.attributes("", "training_config") if compile else []
    if texts:
        training = parse_json(texts[0], f"{label}: training_config", limits)
        with maybe_scope(custom_objects):
            _compile(model, training, reader)
    return model


# Classes that old files call by another name than Keras's own namespace does.
_OLD_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}


def _modern(value: Any, key: str) -> Any:
    """A config with a module for each class, and without what earlier versions wrote into it."""
    if isinstance(value, list):
        return [_modern(item, key) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "class_name" not in value or "config" not in value or str(value["class_name"]).startswith("__"):
        return {name: _modern(item, name) for name, item in value.items()}
    name, config = str(value["class_name"]), value["config"]
    name = next((today for today, old in _OLD_NAMES.items() if old == name), name)
    if name == "Sequential" and isinstance(config, list):
        config = {"name": None, "layers": config}
    if isinstance(config, Mapping):
        config = {inner: _modern(item, inner) for inner, item in config.items()}
        _correct(name, config)
    return {**value, "class_name": name, "module": value.get("module") or _area_of(name, key), "config": config}


def _correct(name: str, config: dict[str, Any]) -> None:
    """Settings whose form has changed."""
    for dropped in _DROPPED.get(name, ()):
        config.pop(dropped, None)
    if name == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    if isinstance(axis := config.get("axis"), list) and len(axis) == 1:
        config["axis"] = axis[0]
    outputs = config.get("output_layers")
    if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], list):
        config["output_layers"] = outputs[0]
    function = config.get("function")
    if name == "Lambda" and isinstance(function, list):
        config["function"] = {"class_name": "__lambda__", "config": {}}
    elif name == "Lambda" and isinstance(function, str):
        config["function"] = {"class_name": "function", "config": function, "registered_name": function}


def _area_of(name: str, key: str) -> str | None:
    """The module of a name, as the key under which it stands suggests; None for a class of a program."""
    hint = _AREA_OF.get(key) or f"keras.{key.rpartition('_')[2]}s"
    return next((area for area in (hint, *_AREAS) if find_builtin(area, name) is not None), None)


def _compile(model: Any, training: Mapping[str, Any], reader: WeightsReader) -> None:
    """Compile as the file says; where that cannot be done any more, the model stays uncompiled, with a warning."""
    optimizer = dict(training.get("optimizer_config") or {})
    settings = dict(optimizer.get("config") or {})
    if "lr" in settings:
        settings["learning_rate"] = settings.pop("lr")
    if not settings.get("decay"):
        settings.pop("decay", None)
    arguments = {key: training.get(key) for key in ("loss", "loss_weights", "metrics", "weighted_metrics")}
    try:
        made = {
            key: deserialize_keras_object(_modern(value, key)) for key, value in arguments.items() if value is not None
        }
        made["optimizer"] = deserialize_keras_object(_modern({**optimizer, "config": settings}, "optimizer_config"))
        model.compile(**made)
    except (LaminaError, TypeError, ValueError, KeyError, AttributeError) as error:
        warnings.warn(f"The model is not compiled, because its training settings are not read: {error}", stacklevel=4)
        return
    if reader.has("optimizer_weights"):
        _load_optimizer(model, reader)


def _load_optimizer(model: Any, reader: WeightsReader) -> None:
    root = "optimizer_weights"
    model.optimizer.build(model.trainable_variables)
    variables = model.optimizer.variables
    stored = []
    for name in reader.attributes(root, "weight_names"):
        group, _, key = f"{root}/{name}".rpartition("/")
        stored.append((f"{root}/{name}", reader.groups.get(group, {}).get(key)))
    same = [entry is not None and entry.shape == tuple(v.shape) for (_, entry), v in zip(stored, variables)]  # noqa: B905
    if len(stored) != len(variables) or not all(same):
        warnings.warn(
            f"The optimizer begins anew: the file has {len(stored)} variables for it, and it has {len(variables)}.",
            stacklevel=5,
        )
        return
    with torch.no_grad():
        for variable, (place, entry) in zip(variables, stored, strict=True):
            variable.copy_(torch.as_tensor(reader.read(entry, place)))  # type: ignore[arg-type]


def save_legacy_model(model: Any, file: BinaryIO, include_optimizer: bool, version: str) -> None:
    """Write a model as Keras 3 writes old files.

    Args:
        model: the model, built.
        file: the open file, readable and writable.
        include_optimizer: whether to write what `compile` was given, and the optimizer's state.
        version: the version of Keras whose format this is.

    Raises:
        ArgumentError: the model has something that the old format cannot hold.
    """
    import h5py

    config = _old(serialize_keras_object(model))
    optimizer = getattr(model, "optimizer", None) if include_optimizer else None
    with h5py.File(file, "w") as target:
        target.attrs.update(keras_version=version, backend="torch", model_config=json.dumps(config).encode())
        weights = target.create_group("model_weights")
        weights.attrs.update(keras_version=version, backend="torch")
        _write_names(weights, "layer_names", [layer.name for layer in model.layers])
        for layer in sorted(model.layers, key=lambda layer: layer.name):
            _write(weights.create_group(layer.name), in_old_order(layer))
        _write(weights.create_group(TOP), model._own_weights())
        if optimizer is not None:
            target.attrs["training_config"] = json.dumps(_training_config(model)).encode()
            if optimizer.variables:
                _write(target.create_group("optimizer_weights"), optimizer.variables)


def _write_names(group: Any, name: str, words: list[str]) -> None:
    """A list of words as an attribute, in several where one would be too long."""
    texts = [word.encode() for word in words]
    size = max([len(text) for text in texts], default=1)
    step = max(_ATTRIBUTE_BYTES // max(size, 1), 1)
    if len(texts) <= step:
        group.attrs[name] = np.array(texts, dtype=f"S{max(size, 1)}")
        return
    for index, start in enumerate(range(0, len(texts), step)):
        group.attrs[f"{name}{index}"] = np.array(texts[start : start + step], dtype=f"S{size}")


def _write(group: Any, weights: list[Any]) -> None:
    names: dict[str, Any] = {}
    for weight in weights:
        name = str(weight.path)
        while name in names:
            name += "_1"
        names[name] = weight
    _write_names(group, "weight_names", list(names))
    for name, weight in names.items():
        group.create_dataset(name, data=np.asarray(convert_to_numpy(weight)))


def _old(entry: Any) -> dict[str, Any]:
    """A layer's config as old files have it: the class by name alone, models in models likewise."""
    module, name = str(entry.get("module")), entry["class_name"]
    if module.startswith(("keras.src.ops", "keras.ops", "lamina.ops", "torch")):
        raise ArgumentError(
            "The old .h5 format cannot hold ops in a graph.",
            where=f"op {name}",
            fix="save to .keras, or put the computation into a layer",
        )
    config = dict(entry["config"])
    if (name == "Sequential" or "input_layers" in config) and find_builtin(module, name) is not None:
        layers = config["layers"]
        config["layers"] = [_old(layer) if "class_name" in layer else layer for layer in layers]
    kept = {key: entry[key] for key in ("name", "inbound_nodes") if key in entry}
    name = entry.get("registered_name") or _OLD_NAMES.get(name, name)
    return {"class_name": name, "config": config, **kept}


def _plain(value: Any) -> Any:
    """Losses and metrics with functions by their names."""
    if isinstance(value, Mapping):
        is_function = value.get("class_name") == "function"
        return value["config"] if is_function else {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _training_config(model: Any) -> dict[str, Any]:
    """What `compile` was given, in the old form."""
    config = {key: _plain(value) for key, value in model.get_compile_config().items() if key != "optimizer"}
    kind = type(model.optimizer)
    name = (builtin_name(kind) or (None, None))[1] or get_registered_name(kind)
    settings = serialize_keras_object(model.optimizer.get_config())
    return {**config, "optimizer_config": {"class_name": name, "config": settings}}
