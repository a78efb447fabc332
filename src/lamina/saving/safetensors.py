"""Weights in safetensors files: a JSON header that says where each tensor is, then their bytes.

Names are those of .weights.h5 files, such as `layers/dense/vars/0`; files that name tensors as `state_dict()` does are
read too. Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterator, MutableMapping
from typing import Any, BinaryIO

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.core.tensors import convert_to_numpy
from lamina.saving.archive import decoded, parse_json
from lamina.saving.files import AGAIN
from lamina.saving.hdf5 import VARS, Entries, Stored, memory_of
from lamina.saving.hdf5_format import is_usable

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"


class SafetensorsWriter:
    """Takes variables, and writes them when all are known.

    Only references are kept, so that saving takes no memory of its own.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}

    def slots(self, path: str, name: str | None) -> MutableMapping[str, Any]:
        """Where the variables of one part go."""
        return _Slots(self.tensors, f"{path}/{VARS}/" if path else f"{VARS}/")

    def write(self, file: BinaryIO) -> None:
        """Write the header and the tensors one after the other, the widest numbers first, so that all are aligned."""
        header: dict[str, Any] = {_METADATA: {"format": "pt"}}
        at = 0
        tensors = sorted(self.tensors.items(), key=lambda item: -np.dtype(_storage(_dtype_of(item[1]))).itemsize)
        for name, value in tensors:
            dtype = _dtype_of(value)
            if dtype not in _NAMES:
                raise FileError(
                    "Safetensors files have no such dtype.",
                    where=name,
                    expected=", ".join(_NAMES),
                    received=dtype,
                    fix="save to a .weights.h5 file",
                )
            size = math.prod(np.shape(value)) * np.dtype(_storage(dtype)).itemsize
            header[name] = {"dtype": _NAMES[dtype], "shape": list(np.shape(value)), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, value in tensors:
            file.write(_bytes_of(value).data)


class _Slots(MutableMapping[str, Any]):
    """The tensors under one prefix."""

    def __init__(self, tensors: dict[str, Any], prefix: str) -> None:
        self.tensors, self.prefix = tensors, prefix

    def __setitem__(self, key: str, value: Any) -> None:
        self.tensors[self.prefix + key] = value

    def __getitem__(self, key: str) -> Any:
        return self.tensors[self.prefix + key]

    def __delitem__(self, key: str) -> None:
        del self.tensors[self.prefix + key]

    def __iter__(self) -> Iterator[str]:
        inside = (name[len(self.prefix) :] for name in self.tensors if name.startswith(self.prefix))
        return iter([key for key in inside if "/" not in key])

    def __len__(self) -> int:
        return len(list(iter(self)))


class SafetensorsReader:
    """A safetensors file. Opening it reads the header alone, and checks that each byte belongs to one tensor.

    Args:
        file: the open, seekable file.
        label: what errors call it.
        limits: bounds.
        mapped: whether weights may become views of the file, whose pages are read when they are first needed and copied
            when they are written to. The file must be one of the file system.

    Raises:
        FileError: it is no such file, or its header does not fit its content.
    """

    def __init__(self, file: BinaryIO, label: str, limits: Limits = DEFAULT, mapped: bool = False) -> None:
        self.file, self.label = file, label
        size = file.seek(0, 2)
        file.seek(0)
        length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else 0
        if not 2 <= length <= min(size - 8, limits.json_bytes):
            raise FileError(
                "This is no safetensors file.",
                where=label,
                expected=f"a header of 2 to {max(2, min(size - 8, limits.json_bytes))} bytes",
                received=f"one of {length} bytes in a file of {size}",
            )
        header = parse_json(decoded(file.read(length), label), f"{label}: header", limits)
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise FileError(
                "The metadata is no table of texts.",
                where=f"{label}: {_METADATA}",
                expected="a dict of texts",
                received=repr(metadata)[:80],
            )
        if len(header) > limits.arrays:
            raise FileError(
                "The file holds too many tensors.",
                where=label,
                expected=f"at most {limits.arrays}",
                received=len(header),
                fix="if the file is to be trusted, pass limits=lamina.saving.Limits(arrays=...)",
            )
        self.metadata: dict[str, str] = metadata
        self.tensors = {name: self._stored(name, entry) for name, entry in header.items()}
        self._start, end = 8 + length, 0
        for name, stored in sorted(self.tensors.items(), key=lambda item: item[1].source):
            if stored.source[0] != end:
                raise FileError(
                    "The tensors overlap or leave gaps.",
                    where=f"{label}: {name[:200]}",
                    expected=f"a tensor that begins at byte {end}",
                    received=f"one that begins at byte {stored.source[0]}",
                )
            end = stored.source[1]
        if end != size - self._start:
            raise FileError(
                "The file has another length than its header says.",
                where=label,
                expected=f"{end} bytes of tensors",
                received=f"{size - self._start} bytes",
                fix=AGAIN,
            )
        self._map: np.ndarray | None = None
        if mapped and end:
            self._map = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)

    def _stored(self, name: str, entry: Any) -> Stored:
        where = f"{self.label}: {name[:200]}"
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise _no_tensor(where, entry)
        dtype, shape, offsets = _DTYPES.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
        numbers = [shape, offsets]
        if dtype is None or not all(isinstance(n, list) and all(type(i) is int and i >= 0 for i in n) for n in numbers):
            raise _no_tensor(where, entry)
        size = math.prod(shape) * np.dtype(_storage(dtype)).itemsize if is_usable(shape) else -1
        if len(offsets) != 2 or offsets[1] - offsets[0] != size:
            raise FileError(
                "The entry has another size than its shape says.",
                where=where,
                expected=f"{size} bytes for {dtype} {tuple(shape)!s:.80}" if size >= 0 else "a shape that can be used",
                received=f"data_offsets {offsets!r:.80}, shape {shape!r:.80}",
            )
        return Stored(tuple(shape), dtype, tuple(offsets))

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(stored.source[1] - stored.source[0] for stored in self.tensors.values())

    @property
    def is_plain(self) -> bool:
        """Whether the names are those of a `state_dict()`."""
        return not any(f"/{name}".rpartition("/")[0].endswith(f"/{VARS}") for name in self.tensors)

    def entries(self, path: str) -> Entries:
        """The variables of the part of the model at this path; none if the file does not know it."""
        return Entries(self, path, self._groups().get(path, {}))

    def paths(self) -> list[str]:
        """The paths under which variables are stored; a name that is no such path stands for itself."""
        return list(self._groups())

    def _groups(self) -> dict[str, dict[str, Stored]]:
        if "_grouped" not in self.__dict__:
            grouped: dict[str, dict[str, Stored]] = {}
            for name, stored in self.tensors.items():
                group, _, key = f"/{name}".rpartition("/")
                path = group.removesuffix(f"/{VARS}").removeprefix("/") if group.endswith(f"/{VARS}") else name
                grouped.setdefault(path, {})[key] = stored
            self._grouped = grouped
        return self._grouped

    def read(self, stored: Stored, path: str) -> Any:
        """The content of a tensor; bfloat16 comes as float32."""
        values = np.empty(stored.shape, _storage(stored.dtype))
        self._read(stored, values.reshape(-1).view(np.uint8).data, path)
        return (values.astype(np.uint32) << 16).view(np.float32) if stored.dtype == "bfloat16" else values

    def read_into(self, stored: Stored, weight: torch.Tensor, path: str) -> bool:
        """Read a tensor right into a weight's memory, or map it there; whether that could be done."""
        memory = memory_of(weight, stored)
        if memory is None:
            return False
        begin, end = stored.source
        if self._map is not None and not (self._start + begin) % np.dtype(_storage(stored.dtype)).itemsize:
            flat = torch.from_numpy(self._map[self._start + begin : self._start + end])
            weight.data = flat.view(weight.dtype).reshape(stored.shape)
        else:
            self._read(stored, memory, path)
        torch.autograd.graph.increment_version(weight)
        return True

    def _read(self, stored: Stored, target: memoryview, path: str) -> None:
        self.file.seek(self._start + stored.source[0])
        at = 0
        while at < target.nbytes:
            count = self.file.readinto(target[at:])  # type: ignore[attr-defined]
            if not count:
                raise FileError(
                    "The entry is cut off.",
                    where=f"{self.label}: {path}",
                    expected=f"{target.nbytes} bytes",
                    received=f"{at} bytes, where the file ends",
                    fix=AGAIN,
                )
            at += count


def _no_tensor(where: str, entry: Any) -> FileError:
    return FileError(
        "The entry is no description of a tensor.",
        where=where,
        expected=f"dtype ({', '.join(_DTYPES)}), shape and data_offsets, both lists of whole numbers",
        received=repr(entry)[:120],
    )


def _dtype_of(value: Any) -> str:
    return standardize_dtype(value.dtype) if hasattr(value, "dtype") else str(np.asarray(value).dtype)


def _storage(dtype: str) -> str:
    """The NumPy dtype of the same size; NumPy has no bfloat16."""
    return "uint16" if dtype == "bfloat16" else dtype


def _bytes_of(value: Any) -> np.ndarray:
    """A value's bytes; without a copy where it lies contiguously in the host's memory."""
    if isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16:
        return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    array = np.ascontiguousarray(convert_to_numpy(value) if isinstance(value, torch.Tensor) else value)
    return array.reshape(-1).view(np.uint8)
