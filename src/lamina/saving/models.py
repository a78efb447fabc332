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

from lamina.core.errors import ArgumentError, FileError, LaminaError, say_once
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.saving.archive import (
    ASSETS,
    CONFIG,
    MEMORY_BYTES,
    METADATA,
    WEIGHTS,
    Archive,
    open_archive,
    parse_json,
)
from lamina.saving.files import is_file_object, may_write, replacing
from lamina.saving.hdf5 import WeightsReader, WeightsWriter
from lamina.saving.state import load_state, save_state

# The version of Keras whose format this is; Keras itself looks at it when it reads the file.
KERAS_VERSION = "3.15.1"
_LEGACY = (".h5", ".hdf5")


def save_model(model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
    """Save a model with everything that training it further needs, in a file that Keras 3 reads too.

    The new file takes the place of an older one only when it is complete.

    Args:
        model: the model.
        filepath: a path that ends in .keras, or an open binary file; with `zipped=False` a folder.
        overwrite: whether an existing file is replaced; otherwise you are asked, or an error is raised where
            nobody can be.
        zipped: False writes a folder instead of one file.

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
    kwargs.pop("include_optimizer", None)
    if kwargs.pop("save_format", None) is not None:
        say_once("save_format is not needed: the ending of the path says the format.")
    if kwargs:
        raise ArgumentError("save_model does not know these arguments.", received=", ".join(sorted(kwargs)))
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
    with replacing(path) as file:
        _write_zip(model, file)


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a model that lamina or Keras 3 saved. Loading runs no code from the file, whatever it holds.

    Args:
        filepath: a .keras file, a folder made with `zipped=False`, or an open binary file.
        custom_objects: your classes and functions by name, where they are not registered.
        compile: whether to compile the model as it was, with the optimizer's state.
        safe_mode: kept for Keras; it is always safe.

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
        _check_source(Path(os.fspath(filepath)))
    with open_archive(filepath) as archive:
        config = parse_json(archive.text(CONFIG), f"{_label(filepath)}: {CONFIG}")
        if not compile:
            config["compile_config"] = None
        model = _revived(config, custom_objects, _label(filepath))
        with contextlib.ExitStack() as stack:
            assets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamina-")))
            archive.extract_assets(assets)
            reader = open_weights(archive, _label(filepath), stack)
            load_state(model, reader, assets)
    return model


def _revived(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None, label: str) -> Any:
    """The model a config describes. A config that is none ends in our error, whatever it makes of constructors."""
    try:
        model = deserialize_keras_object(config, custom_objects)
    except LaminaError:
        raise
    except (AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(
            "The model cannot be made from its config.",
            where=f"{label}: {CONFIG}",
            received=f"{type(error).__name__}: {error}",
            fix="check that get_config() and from_config() of your own classes go together",
        ) from error
    if not isinstance(model, nn.Module):
        raise FileError("The file does not hold a model.", where=f"{label}: {CONFIG}", received=type(model).__name__)
    return model


def open_weights(archive: Archive, label: str, stack: contextlib.ExitStack) -> WeightsReader:
    """The weights of a saved model; `stack` closes them."""
    file = stack.enter_context(archive.binary(WEIGHTS))
    return stack.enter_context(WeightsReader(file, f"{label}: {WEIGHTS}"))


def _label(filepath: Any) -> str:
    return "the file object" if is_file_object(filepath) else str(filepath)


def _write_zip(model: Any, file: BinaryIO) -> None:
    """The members, stored uncompressed as Keras stores them."""
    config, metadata = _descriptions(model)
    with (
        tempfile.TemporaryDirectory(prefix="lamina-") as assets,
        tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as weights,
    ):
        _write_state(model, weights, Path(assets))  # type: ignore[arg-type]
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(METADATA, metadata)
            archive.writestr(CONFIG, config)
            weights.seek(0)
            with archive.open(WEIGHTS, "w", force_zip64=True) as member:
                shutil.copyfileobj(weights, member, 1 << 20)
            for path in sorted(Path(assets).rglob("*")):
                if path.is_file():
                    archive.write(path, f"{ASSETS}/{path.relative_to(assets).as_posix()}")


def _write_folder(model: Any, path: Path) -> None:
    """The members as files; the folder takes the place of an older one at the end."""
    config, metadata = _descriptions(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", dir=path.parent))
    try:
        (scratch / METADATA).write_text(metadata, encoding="utf-8")
        (scratch / CONFIG).write_text(config, encoding="utf-8")
        (scratch / ASSETS).mkdir()
        with (scratch / WEIGHTS).open("w+b") as weights:
            _write_state(model, weights, scratch / ASSETS)
        scratch.chmod(0o755)
        older = _set_aside(path)
        os.replace(scratch, path)
        if older is not None:
            shutil.rmtree(older)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _set_aside(path: Path) -> Path | None:
    """Move an older saved model out of the way; a folder that is something else is not touched."""
    if not path.exists():
        return None
    if not path.is_dir() or (any(path.iterdir()) and not (path / CONFIG).is_file()):
        raise FileError("There is something else at this path.", where=str(path), expected="a saved model, or nothing")
    older = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.old.", dir=path.parent))
    os.replace(path, older)
    return older


def _write_state(model: Any, file: BinaryIO, assets: Path) -> None:
    with WeightsWriter(file) as writer:
        save_state(model, writer, assets)
    for folder, _, _ in sorted(os.walk(assets), reverse=True):
        if Path(folder) != assets and not os.listdir(folder):
            os.rmdir(folder)


def _descriptions(model: Any) -> tuple[str, str]:
    """The config and the metadata as JSON."""
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": KERAS_VERSION, "date_saved": now, "saved_by": "lamina"}
    return json.dumps(serialize_keras_object(model), default=_not_json), json.dumps(metadata)


def _not_json(value: Any) -> Any:
    raise ArgumentError(
        "The model's config holds a value that cannot be saved.",
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
    if path.suffix in _LEGACY:
        raise ArgumentError(
            "Whole models are not written as HDF5: it is the format of Keras 1 and 2.",
            where="filepath",
            received=name,
            fix=f"save to {path.with_suffix('.keras').name}, or only the weights with "
            f"save_weights({path.with_suffix('.weights.h5').name!r})",
        )
    if path.suffix != ".keras":
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
    if path.suffix in _LEGACY:
        raise ArgumentError(
            "Whole models in HDF5, the format of Keras 1 and 2, are not loaded.",
            where="filepath",
            received=name,
            fix="save it as .keras with Keras itself, or build the model in code and use load_weights()",
        )
    if path.suffix != ".keras":
        raise ArgumentError(
            "Models are loaded from .keras files.",
            where="filepath",
            expected="a .keras file, or a folder saved with zipped=False",
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
