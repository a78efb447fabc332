"""Weights in HDF5: groups named like the model's parts, each with its variables in `vars`.

Of HDF5 only what weights need is read: groups and datasets of numbers, stored in the file itself. Links,
external or virtual storage, strings, references and foreign filters are refused before anything is followed
or allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch

from lamina.core.errors import FileError
from lamina.core.tensors import convert_to_numpy

VARS = "vars"
MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64
MAX_RANK = 32
MAX_ATTRIBUTE_BYTES = 16 << 20
# Compressed datasets may grow this much; contiguous ones hold exactly what they declare.
MAX_EXPANSION, EXPANSION_FLOOR = 1000, 16 << 20
_FILTERS = frozenset({1, 2, 3, 32000})  # deflate, shuffle, fletcher32, lzf: all inside the library
_BFLOAT16 = np.dtype("V2")
_KINDS = frozenset("biufc")


@dataclass(frozen=True)
class Stored:
    """One dataset as the file describes it, not yet read."""

    shape: tuple[int, ...]
    dtype: str
    source: Any

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class Reader(Protocol):
    """What reads datasets."""

    label: str

    def read(self, stored: Stored, path: str) -> Any:
        """The content of a dataset."""
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
                received=", ".join(sorted(self.stored)[:12]) or "no entries there",
            )
        return self.reader.read(self.stored[key], f"{self.path}/{VARS}/{key}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class WeightsReader:
    """An HDF5 file of weights. Opening it looks at every object in it and reads none.

    Args:
        file: the open, seekable file.
        label: what errors call it.

    Raises:
        FileError: it is no HDF5 file, is damaged, or holds anything but groups and datasets of its own.
    """

    def __init__(self, file: BinaryIO, label: str) -> None:
        import h5py

        self.label = label
        self.groups: dict[str, dict[str, Stored]] = {}
        self._h5: Any = h5py
        self._seen: set[int] = set()
        self._objects = 0
        try:
            self.file = h5py.File(file, "r")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise FileError("This is no HDF5 file.", where=label, received=str(error)) from error
        try:
            self._look(self.file, "", 0)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            self.file.close()
            if isinstance(error, FileError):
                raise
            raise FileError("The HDF5 file is damaged.", where=label, received=str(error)) from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
        return name in (self.file[path] if path else self.file).attrs

    def attributes(self, path: str, name: str) -> list[str]:
        """An attribute that is a list of words, split into name0, name1, ... when it was long."""
        holder = self.file[path] if path else self.file
        words: list[str] = []
        names = [name] if name in holder.attrs else [f"{name}{index}" for index in range(len(holder.attrs))]
        for part in names:
            if part not in holder.attrs:
                break
            if _attribute_bytes(holder, part) > MAX_ATTRIBUTE_BYTES:
                raise self._refusal("An attribute is too long.", f"{path}@{part}")
            value = np.asarray(holder.attrs[part]).ravel().tolist()
            words += [word.decode("utf-8") if isinstance(word, bytes) else str(word) for word in value]
        return words

    def read(self, stored: Stored, path: str) -> Any:
        """The content of a dataset."""
        try:
            if stored.dtype == "bfloat16":
                raw = np.empty(stored.shape, dtype=_BFLOAT16)
                stored.source.read_direct(raw) if raw.size else None
                return torch.from_numpy(raw.view(np.int16)).view(torch.bfloat16).float().numpy()
            return np.asarray(stored.source[()])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise FileError("The entry is damaged.", where=f"{self.label}: {path}", received=str(error)) from error

    def _look(self, group: Any, path: str, depth: int) -> None:
        """Note the group's datasets, then those below it."""
        if depth > MAX_DEPTH:
            raise self._refusal("Its groups are nested too deeply.", path)
        datasets: dict[str, Stored] = {}
        self.groups[path] = datasets
        for name in group:
            inner = _join(path, name)
            self._objects += 1
            if self._objects > MAX_OBJECTS:
                raise self._refusal("It holds too many objects.", f"more than {MAX_OBJECTS}")
            if not isinstance(group.get(name, getlink=True), self._h5.HardLink):
                raise self._refusal("It holds a link to something else.", inner)
            found = group[name]
            address = self._h5.h5o.get_info(found.id).addr
            if address in self._seen:
                raise self._refusal("It holds the same object twice.", inner)
            self._seen.add(address)
            if isinstance(found, self._h5.Group):
                self._look(found, inner, depth + 1)
            elif isinstance(found, self._h5.Dataset):
                datasets[name] = self._described(found, inner)
            else:
                raise self._refusal("It holds something other than groups and numbers.", inner)

    def _described(self, dataset: Any, path: str) -> Stored:
        """A dataset's shape and dtype, once its storage is known to be here and as large as it says."""
        creation = dataset.id.get_create_plist()
        if creation.get_external_count() or dataset.is_virtual:
            raise self._refusal("It keeps data outside of itself.", path)
        filters = {creation.get_filter(index)[0] for index in range(creation.get_nfilters())}
        if filters - _FILTERS:
            raise self._refusal("It is compressed in an unknown way.", f"{path}: filters {sorted(filters)}")
        shape = dataset.shape
        if shape is None or len(shape) > MAX_RANK:
            raise self._refusal("It holds an array without a usable shape.", path)
        dtype = self._dtype(dataset, path)
        declared = math.prod(shape) * dataset.dtype.itemsize
        held = dataset.id.get_storage_size()
        limit = EXPANSION_FLOOR + MAX_EXPANSION * held if dataset.chunks else held
        if declared > limit:
            raise self._refusal(
                "An array claims to be larger than what is stored.",
                f"{path}: {declared} bytes, {held} stored",
            )
        chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
        if chunk > max(declared, EXPANSION_FLOOR):
            raise self._refusal("An array is stored in pieces larger than itself.", path)
        return Stored(tuple(int(size) for size in shape), dtype, dataset)

    def _dtype(self, dataset: Any, path: str) -> str:
        if dataset.dtype == _BFLOAT16:
            attributes = dataset.attrs
            small = "dtype" in attributes and _attribute_bytes(dataset, "dtype") <= MAX_ATTRIBUTE_BYTES
            if small and attributes["dtype"] == "bfloat16":
                return "bfloat16"
        if dataset.dtype.kind not in _KINDS or dataset.dtype.hasobject or dataset.dtype.subdtype is not None:
            raise self._refusal("It holds something other than numbers.", f"{path}: {dataset.dtype}")
        return dataset.dtype.newbyteorder("=").name

    def _refusal(self, what: str, received: object) -> FileError:
        return FileError(f"The HDF5 file is refused. {what}", where=self.label, received=received)


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


def _attribute_bytes(holder: Any, name: str) -> int:
    """The size that an attribute declares."""
    attribute = holder.attrs.get_id(name)
    return math.prod(attribute.shape) * attribute.dtype.itemsize


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
