"""What a model says of some samples: predictions, and pictures as data."""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from lamina.core import tree
from lamina.core.errors import DataError
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.visualization.classification import classes_of

SAMPLES, _BATCH = 1000, 128


class Evidence(NamedTuple):
    """Some samples and what a model says of them.

    Args:
        x: the first input, (count, ...).
        truth: the targets, (count, ...).
        told: the outputs, (count, ...).
        kind: "classes", "numbers" or "other".
    """

    x: np.ndarray
    truth: np.ndarray
    told: np.ndarray
    kind: str

    @property
    def threshold(self) -> float:
        """Above it, outputs of a single column mean class 1: they are probabilities, or logits."""
        return 0.5 if self.told.min() >= 0 and self.told.max() <= 1 else 0.0


def gather(model: Any, x: Any, y: Any = None) -> Evidence | None:
    """Run a model on the first samples; None where it has several outputs or there are no targets.

    Args:
        model: a model that is built.
        x: arrays of inputs, or something of known length that gives batches (x, y).
        y: arrays of targets, where x is arrays.

    Raises:
        DataError: there is no sample.
    """
    device = next((weight.device for weight in model.parameters()), None)
    was_training = model.training
    found: list[tuple[Any, Any, Any]] = []
    model.eval()
    try:
        # What shuffles takes numbers from torch's generator, which shall be as if nothing had been looked at.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for inputs, truth in _batches(x, y):
                outputs = model(tree.map_structure(lambda leaf: convert_to_tensor(leaf).to(device), inputs))
                made, due = tree.flatten(outputs), tree.flatten(truth)
                if len(made) != 1 or len(due) != 1:
                    return None
                found.append((tree.flatten(inputs)[0], due[0], made[0]))
                if sum(len(part[2]) for part in found) >= SAMPLES:
                    break
    finally:
        model.train(was_training)
    if not found:
        raise DataError(
            "There is no sample to look at.",
            where="the samples of a report",
            expected="arrays of at least one sample, or at least one batch (x, y)",
            received=type(x).__name__,
        )
    arrays = [np.concatenate([convert_to_numpy(part[i]) for part in found])[:SAMPLES] for i in range(3)]
    return Evidence(*arrays, kind=_kind(arrays[1], arrays[2]))


def _batches(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    if y is None:
        for batch in itertools.islice(x, len(x)):
            yield batch[0], batch[1]
        return
    for start in range(0, min(SAMPLES, len(tree.flatten(x)[0])), _BATCH):
        cut = slice(start, min(start + _BATCH, SAMPLES))
        yield tree.map_structure(lambda leaf: leaf[cut], x), tree.map_structure(lambda leaf: leaf[cut], y)  # noqa: B023


def _kind(truth: np.ndarray, told: np.ndarray) -> str:
    """What the outputs are about."""
    if told.ndim > 2 or truth.dtype.kind not in "biuf" or truth.size == 0:
        return "other"
    width = told.shape[1] if told.ndim == 2 else 1
    flat = truth.reshape(len(truth), -1)
    if width > 1:
        if flat.shape[1] == 1:
            whole = not (flat % 1).any() and flat.min() >= 0 and flat.max() < width
            return "classes" if whole else "other"
        one_hot = flat.shape[1] == width and np.isin(flat, (0, 1)).all() and (flat.sum(1) == 1).all()
        return "classes" if one_hot else "other"
    if flat.shape[1] != 1:
        return "other"
    return "classes" if np.isin(flat, (0, 1)).all() else "numbers"


def decided(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes."""
    return classes_of(evidence.truth), classes_of(evidence.told, evidence.threshold)


def is_images(x: np.ndarray) -> bool:
    """Whether samples can be shown as pictures.

    Example:
        >>> is_images(np.zeros((2, 8, 8, 3))), is_images(np.zeros((2, 8)))
        (True, False)
    """
    sizes = x.shape[1:3]
    return (
        x.dtype.kind in "buif"
        and len(sizes) == 2
        and min(sizes) > 3
        and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3)))
    )


def picture(image: np.ndarray, low: float, high: float) -> str:
    """An image as a PNG inside an address, for a page without files; large ones are thinned out.

    Args:
        image: (height, width) or (height, width, 1 or 3).
        low: what is black.
        high: what is white.

    Example:
        >>> picture(np.zeros((2, 2)), 0.0, 1.0)[:30]
        'data:image/png;base64,iVBORw0K'
    """
    step = max(1, max(image.shape[:2]) // 128)
    image = np.nan_to_num(image[::step, ::step].astype("float64"), nan=low)
    shades = np.clip((image - low) / ((high - low) or 1) * 255, 0, 255).astype("uint8")
    colour = shades.ndim == 3 and shades.shape[2] == 3
    rows = shades.reshape(len(shades), -1)
    raw = np.concatenate([np.zeros((len(rows), 1), "uint8"), rows], 1).tobytes()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", shades.shape[1], shades.shape[0], 8, 2 if colour else 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()
