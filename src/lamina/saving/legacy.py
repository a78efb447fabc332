"""Weights of the old .h5 files: a list of layers by name, each with a list of weights by name."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from lamina.core.errors import FileError
from lamina.core.tensors import convert_to_tensor
from lamina.saving.files import AGAIN
from lamina.saving.hdf5 import Stored, WeightsReader

TOP = "top_level_model_weights"


def load_legacy_weights(model: Any, reader: WeightsReader, by_name: bool, skip_mismatch: bool) -> None:
    """Load weights layer by layer, in the file's order or by the layers' names.

    Args:
        model: the model, built.
        reader: the file.
        by_name: match layers by name and pass over those without a counterpart, instead of by order.
        skip_mismatch: leave what does not fit as it is, with a warning.

    Raises:
        FileError: something does not fit. The model is then unchanged.
    """
    root = "model_weights" if reader.has("model_weights") and not reader.has_attribute("", "layer_names") else ""
    saved = {name: _weights_of(reader, root, name) for name in reader.attributes(root, "layer_names")}
    pairs = _by_name(model, saved) if by_name else _in_order(model, saved, reader.label)
    if top := (_weights_of(reader, root, TOP) if reader.has(f"{root}/{TOP}".lstrip("/")) else []):
        pairs.append((TOP, model, model._own_weights(), top))
    plan: list[tuple[Any, Stored, str]] = []
    problems: list[str] = []
    for name, layer, weights, stored in pairs:
        lines = _differences(name, layer, weights, stored)
        problems += lines
        if not lines:
            plan += [(weight, entry, place) for weight, (place, entry) in zip(weights, stored, strict=True)]
    if problems:
        error = _mismatch(problems, reader.label)
        if not skip_mismatch:
            raise error
        warnings.warn(str(error), stacklevel=4)
    with torch.no_grad():
        for weight, entry, place in plan:
            if not reader.read_into(entry, weight, place):
                weight.copy_(convert_to_tensor(reader.read(entry, place), device=weight.device))


Pair = tuple[str, Any, list[Any], list[tuple[str, Stored]]]


def _weights_of(reader: WeightsReader, root: str, name: str) -> list[tuple[str, Stored]]:
    """A layer's weights as the file lists them, with their places."""
    layer = f"{root}/{name}".lstrip("/")
    if not reader.has(layer):
        raise FileError(
            "The file lists a layer that it does not hold.",
            where=reader.label,
            expected=f"a group {layer}",
            received="nothing of that name",
            fix=AGAIN,
        )
    found = []
    for weight in reader.attributes(layer, "weight_names"):
        group, _, key = f"{layer}/{weight}".rpartition("/")
        stored = reader.groups.get(group, {}).get(key)
        if stored is None:
            raise FileError(
                "The file lists a weight that it does not hold.",
                where=reader.label,
                expected=f"an array {group}/{key}",
                received="nothing of that name",
                fix=AGAIN,
            )
        found.append((f"{group}/{key}", stored))
    return found


def in_old_order(layer: Any) -> list[Any]:
    """A layer's weights in the old order: those that learn, then the others."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _by_name(model: Any, saved: dict[str, list[tuple[str, Stored]]]) -> list[Pair]:
    layers = [layer for layer in model.layers if layer.name in saved]
    return [(layer.name, layer, in_old_order(layer), saved[layer.name]) for layer in layers]


def _in_order(model: Any, saved: dict[str, list[tuple[str, Stored]]], label: str) -> list[Pair]:
    layers = [layer for layer in model.layers if layer.weights]
    names = [name for name, weights in saved.items() if weights]
    if len(layers) != len(names):
        raise FileError(
            "The file has another number of layers with weights.",
            where=label,
            expected=f"{len(layers)}: {', '.join(layer.name for layer in layers[:12])}",
            received=f"{len(names)}: {', '.join(names[:12])}",
            fix="build the same model, or pass by_name=True to load the layers that both have",
        )
    return [(name, layer, in_old_order(layer), saved[name]) for name, layer in zip(names, layers, strict=True)]


def _differences(name: str, layer: Any, weights: list[Any], stored: list[tuple[str, Stored]]) -> list[str]:
    label = f"{type(layer).__name__} '{layer.name}'"
    if len(weights) != len(stored):
        return [f"{label}: expected {len(weights)} weights, found {len(stored)} in {name}"]
    return [
        f"{label}: {place}: expected {tuple(weight.shape)}, found {entry.shape}"
        for weight, (place, entry) in zip(weights, stored, strict=True)
        if tuple(np.shape(weight)) != entry.shape
    ]


def _mismatch(problems: list[str], label: str) -> FileError:
    return FileError(
        "The file does not fit the model.",
        where=label,
        received="".join(f"\n    {line}" for line in problems[:8]),
        fix="build the model as it was when saved, or pass skip_mismatch=True to keep what differs",
    )
