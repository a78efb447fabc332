"""Whole models to .keras files and back: config, weights, optimizer state, assets."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from torch import nn

from lamina.core.errors import ArgumentError, FileError, say_once
from lamina.core.limits import DEFAULT, Limits, loading
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.saving.archive import (
    ASSETS,
    CONFIG,
    MEMORY_BYTES,
    METADATA,
    SHARDS,
    WEIGHTS,
    Archive,
    FolderArchive,
    add_member,
    newest,
    open_archive,
    parse_json,
)
from lamina.saving.files import is_file_object, may_write, open_file, replace_folder, replacing
from lamina.saving.hdf5 import WeightsReader, WeightsWriter
from lamina.saving.legacy_models import load_legacy_model, save_legacy_model
from lamina.saving.shards import ShardedReader
from lamina.saving.state import Source, load_state, save_state

# The version of Keras whose format this is; Keras itself looks at it when it reads the file.
KERAS_VERSION = "3.15.1"
_LEGACY = (".h5", ".hdf5")


def save_model(model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
    """Save a model with everything that training it further needs, in a file that Keras 3 reads too.

    The new file takes the place of an older one only when it is complete.

    Args:
        model: the model.
        filepath: a path that ends in .keras, or an open binary file; with `zipped=False` a folder. A path that ends
            in .h5 or .hdf5 writes the format of Keras 1 and 2, which holds less.
        overwrite: whether an existing file is replaced; otherwise you are asked, or an error is raised where
            nobody can be.
        zipped: False writes a folder instead of one file.
        **kwargs: `include_optimizer=False` leaves the optimizer out of an .h5 file.

    Raises:
        ArgumentError: the path has another ending, or an argument is unknown.
        FileError: the file exists and may not be overwritten, or cannot be written.

    Example:
        >>> from lamina import Sequential, layers
        >>> from lamina.saving import load_model
        >>> folder = tempfile.mkdtemp()
        >>> model = Sequential([layers.Input((3,)), layers.Dense(2)])
        >>> save_model(model, f"{folder}/model.keras")
        >>> load_model(f"{folder}/model.keras").count_params()
        8

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    include_optimizer = kwargs.pop("include_optimizer", True)
    if kwargs.pop("save_format", None) is not None:
        say_once("save_format is not needed: the ending of the path says the format.")
    if kwargs:
        raise ArgumentError(
            "There are arguments that save_model does not know.",
            where="save_model",
            expected="overwrite, zipped, include_optimizer",
            received=", ".join(sorted(kwargs)),
        )
    if not getattr(model, "built", True):
        warnings.warn(
            "The model is saved before it is built, so the file holds no weights. "
            "Call it on data first, or build() it.",
            stacklevel=3,
        )
    if is_file_object(filepath):
        _write_zip(model, filepath)
        return
    path = Path(os.fspath(filepath))
    _check_target(path, zipped is not False)
    if not may_write(path, overwrite):
        return
    if zipped is False:
        _write_folder(model, path)
        return
    if path.suffix in _LEGACY:
        say_once(
            "HDF5 is the old format of whole models: it holds no ops, no assets and not all of the compiled state. "
            f"Better save to {path.with_suffix('.keras').name}."
        )
    with replacing(path) as file:
        if path.suffix in _LEGACY:
            save_legacy_model(model, file, include_optimizer, KERAS_VERSION)
        else:
            _write_zip(model, file)


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    limits: Limits | None = None,
) -> Any:
    """Load a model that lamina or Keras saved. Loading runs no code from the file, whatever it holds.

    Args:
        filepath: a .keras file, an old .h5 file, a folder made with `zipped=False`, a folder of checkpoints (the
            newest counts), or an open binary file.
        custom_objects: your classes and functions by name, where they are not registered.
        compile: whether to compile the model as it was, with the optimizer's state.
        safe_mode: kept for Keras; it is always safe.
        limits: bounds on what the file may ask for.

    Returns:
        The model.

    Raises:
        ArgumentError: the path is of a kind that cannot be loaded.
        FileError: the file is missing, damaged, or names something that is not registered.

    Example:
        >>> from lamina import Sequential, layers
        >>> path = tempfile.mkdtemp() + "/model.keras"
        >>> Sequential([layers.Input((3,)), layers.Dense(2)]).save(path)
        >>> [layer.name for layer in load_model(path).layers]
        ['dense']

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    if not is_file_object(filepath):
        filepath = newest(filepath)
        _check_source(Path(os.fspath(filepath)))
        if Path(filepath).suffix in _LEGACY and Path(filepath).is_file():
            return _load_old(Path(filepath), custom_objects, compile, limits or DEFAULT)
    limits, label = limits or DEFAULT, _label(filepath)
    with open_archive(filepath, limits) as archive, contextlib.ExitStack() as stack:
        config = parse_json(archive.text(CONFIG), f"{label}: {CONFIG}", limits)
        if not compile:
            config["compile_config"] = None
        reader = open_weights(archive, label, stack, limits)
        with loading(limits, _memory_for(reader, limits), blank=True) as budget:
            model = _revived(config, custom_objects, label)
            assets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamina-")))
            archive.extract_assets(assets)
            load_state(model, reader, assets)
            budget.fill()
    return model


def _load_old(path: Path, custom_objects: Mapping[str, Any] | None, compile: bool, limits: Limits) -> Any:
    with contextlib.ExitStack() as stack:
        reader = WeightsReader(stack.enter_context(open_file(path)), str(path), limits)
        budget = stack.enter_context(loading(limits, _memory_for(reader, limits), blank=True))
        model = load_legacy_model(
            reader,
            str(path),
            custom_objects,
            compile,
            limits,
            lambda config: _revived(config, custom_objects, str(path)),
        )
        budget.fill()
    return model


def _memory_for(reader: Any, limits: Limits) -> int:
    """Bytes that the config may ask for: what the weights take, and as much again for each of three optimizer slots."""
    return limits.floor + 4 * reader.nbytes


def _revived(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None, label: str) -> Any:
    """The model a config describes."""
    model = deserialize_keras_object(config, custom_objects)
    if not isinstance(model, nn.Module):
        raise FileError(
            "The file does not hold a model.",
            where=f"{label}: {CONFIG}",
            expected="the config of a model or a layer",
            received=type(model).__name__,
        )
    return model


def open_weights(archive: Archive, label: str, stack: contextlib.ExitStack, limits: Limits = DEFAULT) -> Source:
    """The weights of a saved model; `stack` closes them."""
    if isinstance(archive, FolderArchive) and archive.has(SHARDS):
        return ShardedReader(archive.folder / SHARDS, stack, limits)
    file = stack.enter_context(archive.binary(WEIGHTS))
    return stack.enter_context(WeightsReader(file, f"{label}: {WEIGHTS}", limits))


def _label(filepath: Any) -> str:
    return "the file object" if is_file_object(filepath) else str(filepath)


def _write_zip(model: Any, file: BinaryIO) -> None:
    """The members, stored uncompressed as Keras stores them; the weights go right to their place in the file."""
    config, metadata = describe(model)
    with tempfile.TemporaryDirectory(prefix="lamina-") as assets, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(METADATA, metadata)
        archive.writestr(CONFIG, config)
        if file.seekable() and hasattr(file, "read") and hasattr(file, "truncate"):
            add_member(archive, file, WEIGHTS, lambda target: _write_state(model, target, Path(assets)))
        else:
            with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as weights:
                _write_state(model, weights, Path(assets))  # type: ignore[arg-type]
                weights.seek(0)
                with archive.open(WEIGHTS, "w", force_zip64=True) as member:
                    shutil.copyfileobj(weights, member, 1 << 20)
        for path in sorted(Path(assets).rglob("*")):
            if path.is_file():
                archive.write(path, f"{ASSETS}/{path.relative_to(assets).as_posix()}")


def _write_folder(model: Any, path: Path) -> None:
    """The members as files; the folder takes the place of an older one at the end."""
    config, metadata = describe(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", dir=path.parent))
    try:
        (scratch / METADATA).write_text(metadata, encoding="utf-8")
        (scratch / CONFIG).write_text(config, encoding="utf-8")
        (scratch / ASSETS).mkdir()
        with (scratch / WEIGHTS).open("w+b") as weights:
            _write_state(model, weights, scratch / ASSETS)
        scratch.chmod(0o755)
        take_place(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def take_place(scratch: Path, path: Path) -> None:
    """Let a folder take the place of an older saved model; a folder that is something else is not touched.

    Args:
        scratch: the complete folder.
        path: its place.

    Raises:
        FileError: something else is there.
    """
    is_model = path.is_dir() and any((path / name).is_file() for name in (CONFIG, SHARDS))
    if path.exists() and not is_model and not (path.is_dir() and not any(path.iterdir())):
        raise FileError("There is something else at this path.", where=str(path), expected="a saved model, or nothing")
    replace_folder(scratch, path)


def _write_state(model: Any, file: BinaryIO, assets: Path) -> None:
    with WeightsWriter(file) as writer:
        save_state(model, writer, assets)
    for folder, _, _ in sorted(os.walk(assets), reverse=True):
        if Path(folder) != assets and not os.listdir(folder):
            os.rmdir(folder)


def describe(model: Any) -> tuple[str, str]:
    """The config and the metadata as JSON."""
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": KERAS_VERSION, "date_saved": now, "saved_by": "lamina"}
    return json.dumps(serialize_keras_object(model), default=_not_json), json.dumps(metadata)


def _not_json(value: Any) -> Any:
    raise ArgumentError(
        "The model's config holds a value that cannot be saved.",
        where="get_config()",
        received=f"{value!r:.120} ({type(value).__name__})",
        fix="return numbers, strings, lists, dicts or serializable objects from get_config()",
    )


def _check_target(path: Path, zipped: bool) -> None:
    name = str(path)
    if name.startswith("hf:"):
        _refuse_hub(name)
    if not zipped:
        if path.suffix == ".keras":
            raise ArgumentError(
                "zipped=False writes a folder.",
                where="filepath",
                expected="a path without .keras",
                received=name,
            )
        return
    if path.suffix not in (".keras", *_LEGACY):
        raise ArgumentError(
            "The ending of the path does not name a format.",
            where="filepath",
            expected="a path that ends in .keras",
            received=name,
            fix=f"save to {name}.keras; to export for serving use model.export()",
        )


def _check_source(path: Path) -> None:
    name = str(path)
    if name.startswith("hf:"):
        _refuse_hub(name)
    if path.is_dir() and (path / CONFIG).is_file():
        return
    if path.suffix not in (".keras", *_LEGACY):
        raise ArgumentError(
            "Models are loaded from .keras and .h5 files.",
            where="filepath",
            expected="a .keras file, an old .h5 file, or a folder saved with zipped=False",
            received=name,
        )
    if not path.exists():
        raise FileError(
            "There is no such file.",
            where=name,
            fix="check the path; it is looked up from the working folder",
        )


def _refuse_hub(name: str) -> None:
    raise ArgumentError(
        "Models are not loaded from the network or saved to it.",
        where="filepath",
        received=name,
        fix="use huggingface_hub to move the file, and a local path here",
    )
