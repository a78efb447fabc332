"""Weights spread over several HDF5 files, with a JSON file that says which variables are where."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype, torch_dtype
from lamina.core.errors import ArgumentError, FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.archive import check_member_name, decoded, parse_json
from lamina.saving.files import open_file, replacing
from lamina.saving.hdf5 import VARS, Entries, Stored, WeightsReader, WeightsWriter
from lamina.saving.state import save_state

_SHARD = re.compile(r"_\d{5}\.weights\.h5")
_TRIES = 5


def save_shards(model: Any, path: Path, max_shard_size: float, skip: Iterable[Any] = ()) -> None:
    """Write NAME.weights.json and NAME_00000.weights.h5, NAME_00001.weights.h5, ...; the JSON file last.

    Over an older one the shards get names of their own, and the older shards go when the new table is there: at every
    moment the table names files that belong together.

    Args:
        model: the model.
        path: of the JSON file.
        max_shard_size: the most a shard holds, in GB.
        skip: parts to leave out.

    Raises:
        ArgumentError: one variable alone is larger than a shard.
    """
    older = _older_shards(path)
    with ShardedWriter(path, float(max_shard_size) * 1024**3, secrets.token_hex(4) if older else "") as target:
        save_state(model, target, skip=skip)
        target.finish()
    for name in older:
        path.with_name(name).unlink(missing_ok=True)


def _older_shards(path: Path) -> list[str]:
    """The shards of a table that is about to be replaced, as far as their names are those of shards."""
    base = path.name.removesuffix(".json").removesuffix(".weights")
    try:
        names = shard_names(path) if path.exists() else []
    except FileError:
        return []
    return [name for name in names if name.startswith(base) and _SHARD.search(name)]


class ShardedWriter:
    """Starts a new file when the present one is full.

    Args:
        path: of the JSON file.
        limit: the most a file holds, in bytes.
        mark: a part of the shards' names that sets them apart from older ones.
    """

    def __init__(self, path: Path, limit: float, mark: str = "") -> None:
        self.path, self.limit, self.mark = path, limit, mark
        self.total = self.size = 0
        self.weight_map: dict[str, str | list[str]] = {}
        self.count = 0
        self._files = contextlib.ExitStack()
        self._next()

    def __enter__(self) -> ShardedWriter:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.writer.__exit__(*exception)
        self._files.__exit__(*exception)

    def _next(self) -> None:
        if self.count:
            self.writer.__exit__()
        base = self.path.name.removesuffix(".json").removesuffix(".weights")
        self.name = f"{base}{self.mark and f'_{self.mark}'}_{self.count:05}.weights.h5"
        self.count += 1
        self.size = 0
        # The files take their places together, when all of them are complete.
        self.writer = WeightsWriter(self._files.enter_context(replacing(self.path.with_name(self.name))))

    def finish(self) -> None:
        """Close the shards and let them take their places; then write the table."""
        self.writer.__exit__()
        self._files.close()
        table = {"metadata": {"total_size": self.total}, "weight_map": self.weight_map}
        with replacing(self.path) as file:
            file.write(json.dumps(table, indent=4).encode())

    def slots(self, path: str, name: str | None) -> MutableMapping[str, Any]:
        """Where the variables of one part of the model go."""
        slots = ShardedSlots(self, path, name)
        if name is not None:
            slots.here()
        return slots

    def make_room(self, size: int, place: str) -> None:
        """Count a variable, in a new file if it does not fit into this one."""
        if size > self.limit:
            raise ArgumentError(
                "A variable is larger than a whole shard.",
                where=place,
                expected=f"at most {self.limit / 1024**3:g} GB",
                received=f"{size / 1024**3:.3g} GB",
                fix="raise max_shard_size",
            )
        if self.size + size > self.limit:
            self._next()
        self.size += size
        self.total += size

    def note(self, path: str) -> None:
        """Remember that variables of this part are in the present file."""
        key = f"/{path}/{VARS}" if path else f"/{VARS}"
        known = self.weight_map.get(key)
        if known is None:
            self.weight_map[key] = self.name
        elif self.name not in (known if isinstance(known, list) else [known]):
            self.weight_map[key] = [*(known if isinstance(known, list) else [known]), self.name]


class ShardedSlots(MutableMapping[str, Any]):
    """The variables of one part, in one file or several."""

    def __init__(self, owner: ShardedWriter, path: str, name: str | None) -> None:
        self.owner, self.path, self.name = owner, path, name
        self._slots: dict[str, Any] = {}
        self._of_key: dict[str, Any] = {}

    def here(self) -> Any:
        """This part's group in the present file."""
        shard = self.owner.name
        if shard not in self._slots:
            self._slots[shard] = self.owner.writer.slots(self.path, self.name)
        return self._slots[shard]

    def __setitem__(self, key: str, value: Any) -> None:
        itemsize = torch_dtype(standardize_dtype(getattr(value, "dtype", "float32"))).itemsize
        self.owner.make_room(math.prod(np.shape(value)) * itemsize, f"{self.path}/{VARS}/{key}")
        self._of_key[key] = self.here()
        self._of_key[key][key] = value
        self.owner.note(self.path)

    def __getitem__(self, key: str) -> Any:
        return self._of_key[key][key]

    def __delitem__(self, key: str) -> None:
        del self._of_key.pop(key)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of_key)

    def __len__(self) -> int:
        return len(self._of_key)


class ShardedReader:
    """The shards named by a JSON file, which must lie beside it.

    Args:
        path: of the JSON file.
        stack: closes the files.
        limits: bounds.

    Raises:
        FileError: a file is missing, two hold the same entry, or the JSON file names one outside its folder.
    """

    def __init__(self, path: Path, stack: contextlib.ExitStack, limits: Limits = DEFAULT) -> None:
        self.label = str(path)
        self.readers: list[WeightsReader] = []
        self._reader_of: dict[int, WeightsReader] = {}
        for shard, file in self._open(path, stack, limits):
            self.readers.append(reader := WeightsReader(file, str(shard), limits))
            self._reader_of |= {id(stored): reader for group in reader.groups.values() for stored in group.values()}

    def _open(self, path: Path, stack: contextlib.ExitStack, limits: Limits) -> list[tuple[Path, BinaryIO]]:
        """The shards, all open. When they are saved anew meanwhile, the table is read again."""
        for _ in range(_TRIES):
            with contextlib.ExitStack() as opened:
                shards = [path.with_name(name) for name in shard_names(path, limits)]
                try:
                    files = [(shard, opened.enter_context(open_file(shard))) for shard in shards]
                except FileError:
                    if [path.with_name(name) for name in shard_names(path, limits)] == shards:
                        raise
                    continue
                stack.push(opened.pop_all())
                return files
        raise FileError(
            "The shards were replaced while they were opened, time and again.",
            where=self.label,
            expected=f"shards that stay as they are for one of {_TRIES} attempts",
            fix="load again when nothing is being saved there",
        )

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays once they are read."""
        return sum(reader.nbytes for reader in self.readers)

    def entries(self, path: str) -> Entries:
        """The variables stored under a path in any of the shards."""
        found: dict[str, Stored] = {}
        for reader in self.readers:
            stored = reader.entries(path).stored
            if twice := found.keys() & stored.keys():
                raise FileError(
                    "Two shards hold the same entry.",
                    where=self.label,
                    expected="each entry in one shard",
                    received=f"{path}/{VARS}/{sorted(twice)[0]} in {reader.label} too",
                )
            found |= stored
        return Entries(self, path, found)

    def read(self, stored: Stored, path: str) -> Any:
        """The content of an array, whichever shard it is in."""
        return self._reader_of[id(stored)].read(stored, path)

    def read_into(self, stored: Stored, weight: torch.Tensor, path: str) -> bool:
        """Read an array right into a weight's memory; whether that could be done."""
        return self._reader_of[id(stored)].read_into(stored, weight, path)

    def paths(self) -> list[str]:
        """The paths under which variables are stored."""
        return list(dict.fromkeys(path for reader in self.readers for path in reader.paths()))


def shard_names(path: Path, limits: Limits = DEFAULT) -> list[str]:
    """The files that a table of shards names.

    Args:
        path: of the JSON file.
        limits: bounds.

    Raises:
        FileError: it is no such table, or names a file that does not lie beside it.
    """
    with open_file(path) as file:
        text = decoded(file.read(limits.json_bytes + 1), str(path))
    table = parse_json(text, str(path), limits).get("weight_map")
    if not isinstance(table, dict):
        raise FileError(
            "The file is no table of shards.",
            where=str(path),
            expected='a dict under "weight_map"',
            received="nothing" if table is None else f"{table!r:.80}",
        )
    names: dict[str, None] = {}
    for value in table.values():
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str):
                raise FileError(
                    "The file is no table of shards.",
                    where=f"{path}: weight_map",
                    expected="names of files",
                    received=repr(name)[:80],
                )
            check_member_name(name, str(path))
            if os.path.basename(name) != name or path.with_name(name).is_symlink():
                raise FileError(
                    "A shard does not lie beside its table.",
                    where=f"{path}: weight_map",
                    expected="the name of a plain file in the same folder",
                    received=repr(name)[:120],
                )
            names[name] = None
    if len(names) > limits.members:
        raise FileError(
            "The table names too many shards.",
            where=str(path),
            expected=f"at most {limits.members}",
            received=len(names),
            fix="if the file is to be trusted, pass limits=lamina.saving.Limits(members=...)",
        )
    return list(names)
