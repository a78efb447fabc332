"""`lamina convert`: a file of a model or of weights in another format."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from lamina.core.errors import ArgumentError
from lamina.saving.archive import CONFIG, open_archive
from lamina.saving.files import open_file, replacing
from lamina.saving.hdf5 import WeightsReader, WeightsWriter
from lamina.saving.models import load_model, open_weights, save_model
from lamina.saving.safetensors import SafetensorsReader, SafetensorsWriter
from lamina.saving.shards import ShardedReader

_WEIGHTS = (".weights.h5", ".safetensors", ".weights.json")


def convert_file(source: Path, target: Path) -> str:
    """Write the content of a file in the format that the target's ending names.

    Whole models become whole models, weights, or a config (.json); weights become weights. Arrays keep their names and
    dtypes.

    Args:
        source: a .keras, .h5, .weights.h5, .weights.json or .safetensors file, or a folder saved with `zipped=False`.
        target: a path that ends in .keras, .h5, .weights.h5, .safetensors or .json.

    Returns:
        A line that says what was done.

    Raises:
        ArgumentError: the target's format cannot hold what the source has.
        FileError: the source is refused.
    """
    has_model = source.is_dir() or source.suffix == ".keras" or (_is_old(source) and _holds_model(source))
    if target.name.endswith((".weights.h5", ".safetensors")):
        if has_model and _is_old(source):
            load_model(source).save_weights(target)
            return f"{target}: the model's weights."
        count = _convert_weights(source, target)
        return f"{target}: {count} arrays."
    if not has_model:
        raise ArgumentError(
            "Weights alone do not make a model.",
            where=str(target),
            expected="a path that ends in .weights.h5 or .safetensors",
            received=str(source),
            fix="build the model in code, load_weights(), and save it",
        )
    if target.suffix == ".json":
        text = _config_of(source)
        with replacing(target) as file:
            file.write(text.encode("utf-8"))
        return f"{target}: the architecture."
    save_model(load_model(source), target)
    return f"{target}: the model with its weights."


def _is_old(path: Path) -> bool:
    return path.suffix in (".h5", ".hdf5") and not path.name.endswith(".weights.h5")


def _holds_model(path: Path) -> bool:
    with open_file(path) as file:
        return WeightsReader(file, str(path)).has_attribute("", "model_config")


def _config_of(source: Path) -> str:
    if _is_old(source):
        return load_model(source, compile=False).to_json()
    with open_archive(source) as archive:
        return archive.text(CONFIG)


def _convert_weights(source: Path, target: Path) -> int:
    """Write a file's arrays one by one into another file."""
    count = 0
    with contextlib.ExitStack() as stack:
        reader = _reader(source, stack)
        tensors: Any = SafetensorsWriter() if target.suffix == ".safetensors" else None
        file = stack.enter_context(replacing(target))
        writer = tensors or stack.enter_context(WeightsWriter(file))
        for path in reader.paths():
            slots = writer.slots(path, None)
            entries = reader.entries(path)
            for key, value in entries.items():
                is_short = entries.stored[key].dtype == "bfloat16"
                slots[key] = torch.from_numpy(value).bfloat16() if is_short else value
                count += 1
        if tensors is not None:
            tensors.write(file)
    return count


def _reader(source: Path, stack: Any) -> Any:
    if source.is_dir() or source.suffix == ".keras":
        return open_weights(stack.enter_context(open_archive(source)), str(source), stack)
    if source.name.endswith(".weights.json"):
        return ShardedReader(source, stack)
    file = stack.enter_context(open_file(source))
    if source.suffix == ".safetensors":
        return SafetensorsReader(file, str(source))
    if source.name.endswith(".weights.h5"):
        return WeightsReader(file, str(source))
    raise ArgumentError(
        "Weights are not converted from files of this kind.",
        where=str(source),
        expected="a .keras file, a folder, or one of " + ", ".join(_WEIGHTS),
        fix="load the model and save its weights",
    )
