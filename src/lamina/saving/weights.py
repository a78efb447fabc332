"""Weights alone: .weights.h5 files, sharded or not, .safetensors files, and the old .h5 files of Keras 1 and 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from lamina.core.errors import ArgumentError, StateError
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.archive import SHARDS, newest, open_archive
from lamina.saving.files import may_write, open_file, replacing
from lamina.saving.hdf5 import WeightsReader, WeightsWriter
from lamina.saving.legacy import load_legacy_weights
from lamina.saving.models import open_weights
from lamina.saving.safetensors import SafetensorsReader, SafetensorsWriter
from lamina.saving.shards import ShardedReader, save_shards
from lamina.saving.state import Source, load_plain_state, load_state, save_state

_TENSORS = ".safetensors"


def save_weights(
    model: Any, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None, **kwargs: Any
) -> None:
    """Save a model's weights, and its optimizer's state if it has one.

    Args:
        model: the model, built.
        filepath: a path that ends in .weights.h5 or .safetensors, or in .weights.json for shards.
        overwrite: whether an existing file is replaced; otherwise you are asked, or an error is raised where
            nobody can be.
        max_shard_size: split the weights over files of at most this many GB.
        objects_to_skip: parts of the model to leave out.

    Raises:
        ArgumentError: the path has another ending, or an argument is unknown.
        StateError: the model is not built.
        FileError: the file exists and may not be overwritten, or cannot be written.

    Example:
        >>> import tempfile
        >>> from lamina import Sequential, layers
        >>> path = tempfile.mkdtemp() + "/dense.weights.h5"
        >>> first = Sequential([layers.Input((3,)), layers.Dense(2)])
        >>> second = Sequential([layers.Input((3,)), layers.Dense(2)])
        >>> save_weights(first, path)
        >>> load_weights(second, path)
        >>> bool((first.layers[0].kernel == second.layers[0].kernel).all())
        True

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    skip = _skipped(kwargs, "save_weights")
    path = Path(os.fspath(filepath))
    endings = (".weights.h5", _TENSORS) if max_shard_size is None else (".weights.json", ".weights.h5")
    if not path.name.endswith(endings):
        raise ArgumentError(
            "The ending of the path does not name a format.",
            where="filepath",
            expected=f"a path that ends in {' or '.join(endings)}",
            received=str(filepath),
            fix=f"save to {path.name.split('.')[0]}{endings[0]}",
        )
    _require_built(model, "saved")
    if max_shard_size is not None:
        path = path.with_name(path.name.removesuffix(".h5").removesuffix(".json") + ".json")
    if not may_write(path, overwrite):
        return
    if max_shard_size is not None:
        save_shards(model, path, max_shard_size, skip)
        return
    if path.suffix == _TENSORS:
        tensors = SafetensorsWriter()
        save_state(model, tensors, skip=skip)
        with replacing(path) as file:
            tensors.write(file)
        return
    with replacing(path) as file, WeightsWriter(file) as writer:
        save_state(model, writer, skip=skip)


def load_weights(
    model: Any,
    filepath: Any,
    skip_mismatch: bool = False,
    *,
    device: Any = None,
    mmap: bool = False,
    limits: Limits | None = None,
    **kwargs: Any,
) -> None:
    """Load weights into a model of the same architecture. If anything does not fit, nothing is changed.

    Args:
        model: the model, built.
        filepath: a .weights.h5, .safetensors, .weights.json or .keras file, a folder of checkpoints, or an old .h5
            file. Names in a .safetensors file may be those of `state_dict()`.
        skip_mismatch: leave layers that do not fit as they are, with a warning, instead of raising.
        device: a device to move the model to, weight by weight as they are read; a model made on the device "meta" gets
            its memory there.
        mmap: whether weights become views of a .safetensors file, whose pages are read when they are first needed.
        limits: bounds on what the file may ask for.
        by_name: match layers by name; for old .h5 files only.
        objects_to_skip: parts of the model to leave as they are; for .weights.h5 files only.

    Raises:
        ArgumentError: the path has another ending, or an argument does not go with the format.
        StateError: the model is not built.
        FileError: the file is missing or damaged, or an entry does not fit; the message names it.

    Example:
        >>> import tempfile
        >>> from lamina import Sequential, layers
        >>> path = tempfile.mkdtemp() + "/dense.weights.h5"
        >>> Sequential([layers.Input((3,)), layers.Dense(2)]).save_weights(path)
        >>> load_weights(Sequential([layers.Input((4,)), layers.Dense(2)]), path)
        Traceback (most recent call last):
        ...
        lamina.core.errors.FileError: The file does not fit the model: one part differs.
        ...

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    by_name = kwargs.pop("by_name", None)
    skip = _skipped(kwargs, "load_weights")
    path = newest(filepath)
    path = path / SHARDS if (path / SHARDS).is_file() else path
    sharded, whole = path.name.endswith(".weights.json"), path.suffix == ".keras"
    legacy = path.suffix in (".h5", ".hdf5") and not path.name.endswith(".weights.h5")
    tensors, limits = path.suffix == _TENSORS, limits or DEFAULT
    if not (sharded or whole or tensors or path.suffix in (".h5", ".hdf5")):
        raise ArgumentError(
            "Weights are not loaded from files of this kind.",
            where="filepath",
            expected="a .weights.h5, .safetensors, .weights.json, .keras or .h5 file",
            received=str(filepath),
        )
    if by_name is not None and not legacy:
        raise ArgumentError(
            "by_name is for old .h5 files only.",
            where="load_weights(by_name=...)",
            expected="an old .h5 file",
            received=str(filepath),
            fix="leave it out; skip_mismatch=True keeps what does not fit",
        )
    if skip and (legacy or whole):
        raise ArgumentError(
            "objects_to_skip is for files of weights only.",
            where="load_weights(objects_to_skip=...)",
            expected="a .weights.h5, .weights.json or .safetensors file",
            received=str(filepath),
        )
    if mmap and not tensors:
        raise ArgumentError(
            "mmap is for .safetensors files only.",
            where="load_weights(mmap=...)",
            expected="a .safetensors file",
            received=str(filepath),
            fix="leave it out, or convert the file with `lamina convert`",
        )
    _require_built(model, "loaded")
    if device is not None:
        _move(model, torch.device(device))
    with contextlib.ExitStack() as stack:
        if whole:
            archive = stack.enter_context(open_archive(path, limits))
            _load(model, open_weights(archive, str(path), stack, limits), skip_mismatch)
        elif sharded:
            _load(model, ShardedReader(path, stack, limits), skip_mismatch, skip)
        elif tensors:
            source = SafetensorsReader(stack.enter_context(open_file(path)), str(path), limits, mmap)
            if source.is_plain:
                load_plain_state(model, source, skip_mismatch)
            else:
                _load(model, source, skip_mismatch, skip)
        else:
            file = stack.enter_context(open_file(path))
            reader = stack.enter_context(WeightsReader(file, str(path), limits))
            if legacy and (reader.has("model_weights") or reader.has_attribute("", "layer_names")):
                load_legacy_weights(model, reader, bool(by_name), skip_mismatch)
            else:
                _load(model, reader, skip_mismatch, skip)


def _move(model: Any, device: torch.device) -> None:
    """Move a model to a device; weights without memory get some there."""
    if any(weight.device.type == "meta" for weight in model.weights):
        model.to_empty(device=device)
    else:
        model.to(device)


def _load(model: Any, source: Source, skip_mismatch: bool, skip: Iterable[Any] = ()) -> None:
    load_state(model, source, skip_mismatch=skip_mismatch, skip=skip, other_optimizer=True)


def _skipped(kwargs: dict[str, Any], where: str) -> list[Any]:
    skip: Iterable[Any] | None = kwargs.pop("objects_to_skip", None)
    if kwargs:
        raise ArgumentError(
            f"There are arguments that {where} does not know.",
            where=where,
            expected="objects_to_skip" + (", by_name" if where == "load_weights" else ""),
            received=", ".join(sorted(kwargs)),
        )
    return list(skip or ())


def _require_built(model: Any, verb: str) -> None:
    if not getattr(model, "built", True):
        raise StateError(
            f"The model is not built, so it has no weights that could be {verb}.",
            where=f"model '{getattr(model, 'name', '?')}'",
            fix="call it on data, or build(input_shape), first",
        )
