"""Where a dataset's file is: a folder the user names, the cache, or the network, in this order."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.config import home_folder
from lamina.core.errors import ArgumentError, DataError, FileError
from lamina.core.limits import DEFAULT
from lamina.datasets.download import Checksum, download
from lamina.saving.files import replacing

KERAS_STORE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def local_file(name: str) -> Path | None:
    """The file of this name in the folder named by LAMINA_DATASETS, if it is there."""
    folder = os.environ.get("LAMINA_DATASETS")
    if not folder:
        return None
    path = Path(folder).expanduser() / name
    return path if path.is_file() else None


def cache_folder() -> Path:
    """Where downloaded datasets are kept."""
    return home_folder() / "datasets"


def find_file(name: str, address: str, checksum: str, offer: str | None = None) -> Path:
    """The path of a dataset's file, downloaded if need be.

    Args:
        name: its name in LAMINA_DATASETS and in the cache.
        address: where it is published.
        checksum: SHA-256 (or MD5) of the published file, in hexadecimal. A file the user put into
            LAMINA_DATASETS may differ.
        offer: the name of the file to put into LAMINA_DATASETS instead, for the error message.

    Raises:
        DownloadError: it is nowhere, and cannot be downloaded.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise ArgumentError(
            "A dataset's path is no plain file name.",
            where="load_data(path=...)",
            expected="a name without folders",
            received=repr(name),
            fix="name the folder with the environment variable LAMINA_DATASETS",
        )
    if (found := local_file(name)) is not None:
        return found
    target, expected = cache_folder() / name, Checksum.of(checksum)
    if target.is_file() and (expected is None or expected.fits(target)):
        return target
    download(address, target, expected, by_hand=_by_hand(target, offer or name))
    return target


def _by_hand(target: Path, name: str) -> str:
    return (
        f"fetch the file by hand and save it as {target}, or put {name} into a folder and name that folder "
        "with the environment variable LAMINA_DATASETS"
    )


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of numbers from an npz file.

    Raises:
        DataError: an array is missing.
        FileError: the file is damaged, or holds Python objects.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise DataError(
                    "The dataset's file lacks an array.",
                    where=str(path),
                    expected=list(names),
                    received=list(file),
                )
            return [file[name] for name in names]
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            "The dataset's file cannot be read.",
            where=str(path),
            received=str(error),
            fix="delete the file so that it is fetched anew",
        ) from error


def _check_sizes(path: Path) -> None:
    """Refuse arrays that claim more than their members hold, and members that unpack to far more than the file."""
    with zipfile.ZipFile(path) as packed:
        members = packed.infolist()
        if sum(info.file_size for info in members) > DEFAULT.floor + DEFAULT.expansion * path.stat().st_size:
            raise ValueError("it would unpack to far more than it holds")
        for info in members:
            with packed.open(info) as member:
                if not info.filename.endswith(".npy"):
                    continue
                read = _HEADERS.get(np.lib.format.read_magic(member))
                if read is None:
                    raise ValueError(f"{info.filename} has an unknown form")
                shape, _, dtype = read(member)
                if math.prod(shape) * dtype.itemsize > info.file_size:
                    raise ValueError(f"{info.filename} claims to be larger than what is stored")


def read_split(path: Path, shape: tuple[int, ...]) -> Split:
    """The arrays x_train, y_train, x_test and y_test of an npz file.

    Args:
        path: the file.
        shape: what one sample must look like.

    Raises:
        DataError: an array is missing or has another shape.
    """
    x_train, y_train, x_test, y_test = read_arrays(path, "x_train", "y_train", "x_test", "y_test")
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if x.shape[1:] != shape or len(x) != len(y):
            raise DataError(
                "The dataset's file holds other data than its name says.",
                where=str(path),
                expected=f"samples of shape {shape}, and a label for each",
                received=f"samples of shape {x.shape}, labels of shape {y.shape}",
            )
    return (x_train, y_train), (x_test, y_test)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file, which appears only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]
