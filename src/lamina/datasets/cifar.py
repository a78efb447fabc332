"""What CIFAR-10 and CIFAR-100 share: the published archive, read without unpacking or unpickling it."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamina.core import config
from lamina.core.errors import FileError
from lamina.datasets.sources import Split
from lamina.datasets.streams import AGAIN, read_plain

_MAX_BATCH_BYTES = 1 << 28


def read_batches(archive: Path, members: Sequence[str], label_keys: Sequence[str]) -> list[np.ndarray]:
    """Images and labels of some members of the archive, joined.

    Args:
        archive: the tar.gz file as published.
        members: the names of the batches in it.
        label_keys: which labels to return.

    Returns:
        The images, uint8 (N, 32, 32, 3), then uint8 labels (N, 1) for each key.

    Raises:
        FileError: the archive is damaged or lacks a batch.
    """
    images: list[np.ndarray] = []
    labels: dict[str, list[np.ndarray]] = {key: [] for key in label_keys}
    try:
        with tarfile.open(archive) as tar:
            for member in members:
                info = tar.getmember(member)
                content = tar.extractfile(info)
                if content is None or info.size > _MAX_BATCH_BYTES:
                    raise FileError("A batch is no file, or too large.", where=f"{archive}: {member}", fix=AGAIN)
                batch = {_name(key): value for key, value in read_plain(content.read()).items()}
                images.append(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                for key in label_keys:
                    labels[key].append(np.asarray(batch[key], dtype=np.uint8).reshape(-1, 1))
    except FileError as error:
        error.add_note(f"The file is {archive}.")
        raise
    except (tarfile.TarError, zlib.error, KeyError, ValueError, OSError, EOFError, AttributeError) as error:
        raise FileError("The archive cannot be read.", where=archive, received=error, fix=AGAIN) from error
    return [np.concatenate(images), *(np.concatenate(labels[key]) for key in label_keys)]


def _name(key: str | bytes) -> str:
    return key.decode("ascii") if isinstance(key, bytes) else key


def in_data_format(split: Split) -> Split:
    """The images in the layout that `image_data_format()` names."""
    if config.image_data_format() == "channels_last":
        return split
    (x_train, y_train), (x_test, y_test) = split
    return (x_train.transpose(0, 3, 1, 2), y_train), (x_test.transpose(0, 3, 1, 2), y_test)
