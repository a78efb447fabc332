"""Checkpoints of a training run: numbers, arrays and tensors in one file, written whole, beside the training."""

from __future__ import annotations

import json
import math
import os
import threading
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from lamina.core.errors import FileError
from lamina.core.forms import ANYTHING, COUNT, Rule, any_of, check, described, refuse
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.archive import Archive, ZipArchive, open_archive, parse_json
from lamina.saving.files import replacing
from lamina.saving.hdf5_format import is_usable

Tensor = torch.Tensor

STATE, ARRAYS = "state.json", "arrays.bin"
_ENDING = ".checkpoint"
_CHUNK = 16 << 20
_KINDS = "biufc"
# What is written is nested far less; the reader takes three calls for a level.
_DEPTH = 150
_FIX = "delete the file, so that the one before it counts, or begin anew in another folder"
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2),
    )
}


class Snapshot:
    """A value as it is now, copied so that training may go on while it is written.

    Args:
        value: numbers, text, None, arrays and tensors, in dicts, lists and tuples.

    Raises:
        FileError: there is something else in it.
    """

    def __init__(self, value: Any) -> None:
        self.blocks: list[Tensor] = []
        self.table: list[dict[str, Any]] = []
        self._at = 0
        self.tree = self._packed(value, "")

    def _packed(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return float(value) if isinstance(value, np.floating) else value
        if isinstance(value, Mapping):
            return {"dict": [[_key(key, path), self._packed(part, f"{path}/{key}")] for key, part in value.items()]}
        if isinstance(value, (list, tuple)):
            parts = [self._packed(part, f"{path}/{index}") for index, part in enumerate(value)]
            return parts if isinstance(value, list) else {"tuple": parts}
        if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
            return value.item()
        if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
            contiguous = np.array(value, order="C", dtype=value.dtype.newbyteorder("="))
            return {"array": self._kept(torch.from_numpy(contiguous))}
        if isinstance(value, Tensor) and value.layout is torch.strided:
            return {"tensor": self._kept(_copied(value))}
        raise FileError(
            "This cannot be written to a checkpoint.",
            where=path or "the checkpoint",
            expected="numbers, text, arrays and tensors, in dicts and lists",
            received=f"{value!r:.60} ({type(value).__name__})",
        )

    def _kept(self, tensor: Tensor) -> int:
        name = str(tensor.dtype).removeprefix("torch.")
        size = tensor.numel() * tensor.element_size()
        self.table.append({"dtype": name, "shape": list(tensor.shape), "at": self._at, "size": size})
        self.blocks.append(tensor.reshape(-1).view(torch.uint8))
        self._at += size
        return len(self.blocks) - 1

    def write(self, path: Path) -> None:
        """Put it into a file, whole or not at all."""
        text = json.dumps({"format": 1, "table": self.table, "tree": self.tree})
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(STATE, text)
            with archive.open(ARRAYS, "w", force_zip64=True) as member:
                for block in self.blocks:
                    view = block.numpy().data
                    for start in range(0, len(view), _CHUNK):
                        member.write(view[start : start + _CHUNK])


def _key(key: Any, path: str) -> Any:
    if not isinstance(key, (str, int)):
        raise FileError(
            "A name in what a checkpoint shall hold is neither text nor a number.",
            where=path or "the checkpoint",
            expected="keys of dicts that are text or whole numbers",
            received=f"{key!r:.60} ({type(key).__name__})",
        )
    return key


def _copied(tensor: Tensor) -> Tensor:
    """A copy in the processor's memory, in the order of the indices."""
    tensor = tensor.detach()
    if tensor.device.type == "cpu":
        return torch.Tensor.clone(tensor, memory_format=torch.contiguous_format).as_subclass(Tensor)
    return tensor.to("cpu", copy=True).contiguous().as_subclass(Tensor)


def read_checkpoint(path: Path | BinaryIO, limits: Limits = DEFAULT) -> Any:
    """What was written: numbers, text, arrays and tensors; nothing else can be in it.

    Args:
        path: the file, by its path or open.
        limits: bounds on what it may hold.

    Raises:
        FileError: the file is damaged, or no checkpoint.
    """
    label = str(path) if isinstance(path, Path) else "the file object"
    if isinstance(path, Path) and path.exists() and (path.is_symlink() or not path.is_file()):
        raise FileError("A checkpoint is no plain file.", where=label, expected="a file", received=_sort(path))
    with open_archive(path, limits) as archive:
        if isinstance(archive, ZipArchive) and (others := archive.members.keys() - {STATE, ARRAYS}):
            refuse(label, sorted(others)[0][:120], f"{STATE} and {ARRAYS} alone", "a member of another name")
        bounds = replace(limits, depth=min(limits.depth, _DEPTH))
        content = parse_json(archive.text(STATE), f"{label}: {STATE}", bounds)
        check(content.get("format"), _FORMAT, label, "format")
        check(content, {"format": _FORMAT, "table": [_ENTRY], "tree": ANYTHING}, label)
        reading = _Reading(label, _tensors(archive, content["table"], label))
        value = reading.unpacked(content["tree"], "")
        if reading.taken != len(reading.tensors):
            refuse(label, "table", f"{reading.taken} arrays, which the tree names", f"{len(reading.tensors)} arrays")
        return value


_FORMAT = Rule("1, the format that this version reads", lambda value: type(value) is int and value == 1)
_ENTRY = {"dtype": any_of(*_DTYPES), "shape": [COUNT], "at": COUNT, "size": COUNT}


def _sort(path: Path) -> str:
    return "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"


def _tensors(archive: Archive, table: list[Any], label: str) -> list[Tensor]:
    with archive.binary(ARRAYS) as file:
        end = file.seek(0, os.SEEK_END)
        tensors, at = [], 0
        for index, entry in enumerate(table):
            # One after the other, so that no two share bytes and all together are no larger than the file.
            tensors.append(_tensor(file, entry, at, end, f"{label}: table/{index}"))
            at += tensors[-1].nbytes
        return tensors


def _tensor(file: BinaryIO, entry: dict[str, Any], start: int, end: int, where: str) -> Tensor:
    dtype, shape, at, size = _DTYPES[entry["dtype"]], entry["shape"], entry["at"], entry["size"]
    usable = is_usable(shape) and math.prod(shape) * dtype.itemsize == size
    if not usable or at != start or size > end - start:
        raise FileError(
            "The checkpoint is damaged: an array does not lie where it must.",
            where=where,
            expected=f"an array from byte {start} on, as large as dtype and shape say, within {end} bytes",
            received=f"{entry['dtype']} {tuple(shape)!s:.80}, {size} bytes at {at}",
            fix=_FIX,
        )
    values = torch.empty(size, dtype=torch.uint8)
    file.seek(at)
    if size and (count := file.readinto(values.numpy().data)) != size:  # type: ignore[attr-defined]
        raise FileError(
            "The checkpoint is damaged: an array is cut off.",
            where=where,
            expected=f"{size} bytes",
            received=f"{count} bytes",
            fix=_FIX,
        )
    return values.view(dtype).reshape(shape)


class _Reading:
    """Makes values of the tree; each array is used once, in the order of the table, as they were written."""

    def __init__(self, label: str, tensors: list[Tensor]) -> None:
        self.label, self.tensors, self.taken = label, tensors, 0

    def unpacked(self, node: Any, place: str) -> Any:
        if isinstance(node, list):
            return self._parts(node, place)
        if not isinstance(node, dict):
            return node
        if len(node) != 1 or not node.keys() <= _NODES.keys():
            refuse(self.label, place, "a dict of one of " + ", ".join(_NODES), described(node))
        ((kind, content),) = node.items()
        check(content, _NODES[kind], self.label, place)
        if kind == "dict":
            return self._dict(content, place)
        return tuple(self._parts(content, place)) if kind == "tuple" else self._array(kind, content, place)

    def _parts(self, nodes: list[Any], place: str) -> list[Any]:
        return [self.unpacked(part, f"{place}/{index}") for index, part in enumerate(nodes)]

    def _dict(self, pairs: list[Any], place: str) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, part in pairs:
            inner = f"{place}/{key!s:.120}".lstrip("/")
            if key in found:
                refuse(self.label, inner, "each name once", "the name a second time")
            found[key] = self.unpacked(part, inner)
        return found

    def _array(self, kind: str, index: int, place: str) -> Any:
        if index != self.taken or index >= len(self.tensors):
            refuse(self.label, place, f"array {self.taken} of {len(self.tensors)}", f"array {index}")
        self.taken += 1
        tensor = self.tensors[index]
        if kind == "tensor":
            return tensor
        if tensor.dtype in _OF_TORCH_ALONE:
            refuse(self.label, place, "a dtype that NumPy has", described(tensor))
        return tensor.numpy()


_OF_TORCH_ALONE = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
_PAIR = Rule(
    "a name and a value",
    lambda value: isinstance(value, list) and len(value) == 2 and type(value[0]) in (str, int),
)
_NODES: dict[str, Any] = {"dict": [_PAIR], "tuple": list, "tensor": COUNT, "array": COUNT}


class Checkpoints:
    """The checkpoints in a folder, of which the last few are kept. They are written by a thread of their own.

    Args:
        folder: the folder; made when the first is written.
        keep: how many to keep.
        form: what the checkpoints must hold; see `lamina.core.forms`.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, form: Any = ANYTHING) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self.form = form
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._number = max(map(_number, self.paths()), default=0)

    def paths(self) -> list[Path]:
        """The files, the newest first."""
        found = self.folder.glob(f"*{_ENDING}") if self.folder.is_dir() else ()
        return sorted((path for path in found if path.stem.isdecimal()), key=_number, reverse=True)

    @property
    def is_writing(self) -> bool:
        """Whether the last one is still being written."""
        return self._writer is not None and self._writer.is_alive()

    def write(self, value: Any) -> None:
        """Copy a value now, and write it while the caller goes on.

        Raises:
            FileError: the value cannot be written, or the one before it could not.
        """
        snapshot = Snapshot(value)
        self.wait()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        path = self.folder / f"{self._number:08d}{_ENDING}"
        self._writer = threading.Thread(target=self._write, args=(snapshot, path), name="lamina-checkpoint")
        self._writer.start()

    def _write(self, snapshot: Snapshot, path: Path) -> None:
        try:
            snapshot.write(path)
            left_behind = self.folder.glob(f".*{_ENDING}.*.part")
            for old in [*self.paths()[self.keep :], *left_behind]:
                old.unlink(missing_ok=True)
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            FileError: it could not be.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        if error is not None:
            raise FileError(
                "The checkpoint could not be written.",
                where=str(self.folder),
                received=error,
                fix="make room on the disk, or name a folder that can be written to",
            ) from error

    def read(self, skip: int = 0) -> Any:
        """The newest that can be read, None if there is none at all; a damaged one is passed over with a warning.

        Args:
            skip: how many of the newest to leave out.

        Raises:
            FileError: there are some, and all are damaged.
        """
        self.wait()
        error: FileError | None = None
        for path in self.paths()[skip:]:
            try:
                found = read_checkpoint(path)
                check(found, self.form, str(path))
                return found
            except FileError as problem:
                error = problem
                warnings.warn(f"A checkpoint is damaged and passed over. {problem}", stacklevel=2)
        if error is not None:
            raise error
        return None

    def delete(self) -> None:
        """Remove them, and the folder if nothing else is in it."""
        self.wait()
        for path in (*self.paths(), *self.folder.glob(f".*{_ENDING}.*.part")):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0
