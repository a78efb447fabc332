"""Weights in HDF5: groups named like the model's parts, each with its variables in `vars`.

Reading goes through `hdf5_format`, which knows only what weights need; h5py writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.core.tensors import convert_to_numpy
from lamina.saving.hdf5_format import Array, Hdf5File

VARS = "vars"
_BFLOAT16 = np.dtype("V2")


@dataclass(frozen=True)
class Stored:
    """One dataset as the file describes it, not yet read."""

    shape: tuple[int, ...]
    dtype: str
    source: Any

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class Reader(Protocol):
    """What reads arrays."""

    label: str

    def read(self, stored: Stored, path: str) -> Any:
        """The content of an array."""
        ...

    def read_into(self, stored: Stored, weight: torch.Tensor, path: str) -> bool:
        """Read an array right into a weight's memory, where both lie in memory alike; whether that was done."""
        ...


class Entries(Mapping[str, Any]):
    """The variables stored under one path, read one by one when asked for.

    Values are NumPy arrays; bfloat16, which NumPy does not know, comes as float32.
    """

    def __init__(self, reader: Reader, path: str, stored: Mapping[str, Stored]) -> None:
        self.reader, self.path, self.stored = reader, path, stored

    def __getitem__(self, key: str) -> Any:
        if key not in self.stored:
            raise FileError(
                f"The file holds no entry {self.path}/{VARS}/{key}.",
                where=self.reader.label,
                expected=f"an entry {key} in {self.path}/{VARS}",
                received=", ".join(sorted(self.stored)[:12]) or "no entries there",
            )
        return self.reader.read(self.stored[key], f"{self.path}/{VARS}/{key}")

    def read_into(self, key: str, weight: torch.Tensor) -> bool:
        """Read a variable right into a weight's memory; whether that could be done."""
        return self.reader.read_into(self.stored[key], weight, f"{self.path}/{VARS}/{key}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class WeightsReader:
    """An HDF5 file of weights. Opening it looks at every object in it and reads none.

    Args:
        file: the open, seekable file.
        label: what errors call it.
        limits: bounds on what it may hold.

    Raises:
        FileError: it is no HDF5 file, is damaged, or holds anything but groups and arrays of its own.
    """

    def __init__(self, file: BinaryIO, label: str, limits: Limits = DEFAULT) -> None:
        self.label = label
        self._file = Hdf5File(file, label, limits)
        self.groups: dict[str, dict[str, Stored]] = {
            path: {name: _stored(array) for name, array in arrays.items()} for path, arrays in self._file.arrays.items()
        }

    def close(self) -> None:
        """Nothing is held open but the file that was given."""

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays once they are read."""
        return sum(array.place.size for arrays in self._file.arrays.values() for array in arrays.values())

    def entries(self, path: str) -> Entries:
        """The variables of the part of the model at this path; none if the file does not know it."""
        return Entries(self, path, self.groups.get(_join(path, VARS), {}))

    def has(self, path: str) -> bool:
        """Whether the file has a group of this path."""
        return path in self.groups

    def paths(self) -> list[str]:
        """The paths under which variables are stored."""
        return [
            group.rpartition("/")[0]
            for group, datasets in self.groups.items()
            if datasets and group.rpartition("/")[2] == VARS
        ]

    def has_attribute(self, path: str, name: str) -> bool:
        """Whether a group carries an attribute."""
        return name in self._file.attributes[path]

    def attributes(self, path: str, name: str) -> list[str]:
        """An attribute that is a list of words, split into name0, name1, ... when it was long."""
        held = self._file.attributes[path]
        words: list[str] = []
        names = [name] if name in held else [f"{name}{index}" for index in range(len(held))]
        for part in names:
            if part not in held:
                break
            words += self._file.words(held[part])
        return words

    def read(self, stored: Stored, path: str) -> Any:
        """The content of an array."""
        values = self._file.read(stored.source, path)
        if stored.dtype == "bfloat16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def read_into(self, stored: Stored, weight: torch.Tensor, path: str) -> bool:
        """Read an array right into a weight's memory, where both lie in memory alike; whether that was done."""
        array: Array = stored.source
        if array.place.chunk or (array.dtype is not None and array.dtype.byteorder == ">"):
            return False
        memory = memory_of(weight, stored)
        if memory is None:
            return False
        self._file.read_into(array, memory, path)
        torch.autograd.graph.increment_version(weight)
        return True


def _stored(array: Array) -> Stored:
    dtype = "bfloat16" if array.dtype is None else array.dtype.newbyteorder("=").name
    return Stored(array.shape, dtype, array)


def memory_of(weight: torch.Tensor, stored: Stored) -> memoryview | None:
    """A weight's memory, to be written by byte, if it has the layout and dtype of a stored array."""
    fits = weight.device.type == "cpu" and weight.is_contiguous() and tuple(weight.shape) == stored.shape
    if not fits or not weight.numel() or standardize_dtype(weight.dtype) != stored.dtype or sys.byteorder != "little":
        return None
    return weight.detach().reshape(-1).view(torch.uint8).numpy().data


class WeightsWriter:
    """An HDF5 file of weights being written.

    Args:
        file: the open file, readable and writable.
    """

    def __init__(self, file: BinaryIO) -> None:
        import h5py

        self.file = h5py.File(file, "w")

    def __enter__(self) -> WeightsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def slots(self, path: str, name: str | None) -> Slots:
        """Where the variables of one part go; a part with a name has its group even without variables."""
        slots = Slots(self, path)
        if name is not None:
            slots.group.attrs["name"] = name
        return slots


class Slots(MutableMapping[str, Any]):
    """The variables of one part of the model, written as they are set.

    Values are tensors, arrays or numbers; keys are names without a slash.
    """

    def __init__(self, writer: WeightsWriter, path: str) -> None:
        self.writer, self.path = writer, path
        self._group: Any = None

    @property
    def group(self) -> Any:
        """The group, made when first needed, so that nothing empty is left."""
        if self._group is None:
            self._group = self.writer.file.create_group(_join(self.path, VARS))
        return self._group

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16:
            raw = value.detach().cpu().contiguous().view(torch.int16).numpy().view(_BFLOAT16)
            self.group.create_dataset(key, data=raw.reshape(tuple(value.shape)))
            self.group[key].attrs["dtype"] = "bfloat16"
        else:
            self.group.create_dataset(key, data=np.ascontiguousarray(convert_to_numpy(value)).reshape(np.shape(value)))

    def __getitem__(self, key: str) -> Any:
        return self.group[key][()]

    def __delitem__(self, key: str) -> None:
        del self.group[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.group) if self._group is not None else iter(())

    def __len__(self) -> int:
        return len(self.group) if self._group is not None else 0


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
