"""The part of HDF5 that files of weights use, read in Python: nothing else of the format can be reached.

A file is a tree of groups (symbol tables) with arrays of numbers (contiguous, compact or in chunks) and attributes that
are text. Links, external and virtual storage, committed types and foreign filters have no code here and are refused.
Every address and size is checked against the file before it is used, and no byte is looked at more than a few times, so
that a crafted file costs no more than its own size.

Source: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np

from lamina.core.errors import FileError
from lamina.core.limits import Limits
from lamina.saving.files import AGAIN

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = 0xFFFFFFFFFFFFFFFF
MAX_RANK = 32
_LARGEST = 1 << 58
_DEPTH = 64
_EXAMINED, _EXAMINED_FLOOR = 8, 1 << 16
_SPACE, _TYPE, _LINK_INFO, _LINK, _EXTERNAL, _LAYOUT, _FILTERS = 0x1, 0x3, 0x2, 0x6, 0x7, 0x8, 0xB
_ATTRIBUTE, _CONTINUED, _TABLE, _ATTRIBUTE_INFO = 0xC, 0x10, 0x11, 0x15
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
# What taking bytes apart makes of bytes that are none of this format.
_DAMAGE = (struct.error, IndexError, OverflowError, ValueError, OSError)
_FLOATS = {
    struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15): "f2",
    struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127): "f4",
    struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023): "f8",
}
_F4 = b"\x11\x20\x1f\x00\x04\x00\x00\x00" + next(key for key, name in _FLOATS.items() if name == "f4")
_F8 = b"\x11\x20\x3f\x00\x08\x00\x00\x00" + next(key for key, name in _FLOATS.items() if name == "f8")
# Truth values are an enumeration, complex numbers a pair, exactly as h5py writes them.
_BOOL = b"\x18\x02\x00\x00\x01\x00\x00\x00\x10\x08\x00\x00\x01\x00\x00\x00\x00\x00\x08\x00FALSE\0\0\0TRUE\0\0\0\0\0\1"


def _pair(number: bytes, size: int) -> bytes:
    first, second = (name.ljust(8, b"\0") + struct.pack("<I28x", at) for name, at in ((b"r", 0), (b"i", size)))
    return b"\x16\x02\x00\x00" + struct.pack("<I", 2 * size) + first + number + second + number


_EXACT = {_BOOL: "?", _pair(_F4, 4): "c8", _pair(_F8, 8): "c16"}


@dataclass(frozen=True)
class Chunk:
    """A piece of an array: where it belongs, where its bytes are, and the filters left out for it."""

    corner: tuple[int, ...]
    address: int
    size: int
    skipped: int


@dataclass(frozen=True)
class Place:
    """Where an array's bytes are: in one stretch, in chunks that went through filters, or here."""

    address: int
    size: int
    chunk: tuple[int, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    filters: tuple[int, ...] = ()
    inline: bytes | None = None


@dataclass(frozen=True)
class Array:
    """An array of numbers, checked and not yet read; `dtype` is None for two opaque bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    place: Place

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return self.dtype.itemsize if self.dtype is not None else 2


@dataclass(frozen=True)
class Attribute:
    """An attribute, as its bytes."""

    kind: bytes
    count: int
    data: bytes


class Hdf5File:
    """An HDF5 file, all of its groups, arrays and attributes found.

    Args:
        file: the open, seekable file.
        label: what errors call it.
        limits: bounds.

    Raises:
        FileError: it is no such file, is damaged, or holds anything else.
    """

    def __init__(self, file: BinaryIO, label: str, limits: Limits) -> None:
        self.file, self.label, self.limits = file, label, limits
        self.arrays: dict[str, dict[str, Array]] = {}
        self.attributes: dict[str, dict[str, Attribute]] = {}
        self._size = file.seek(0, 2)
        self._examined = self._objects = self._held = self._declared = 0
        self._seen: set[int] = set()
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        try:
            messages = self._messages(self._root())
            if _TABLE not in {kind for kind, _, _ in messages}:
                self.damaged("the root is no group of a form that is read")
            self._group(messages, "", 0)
        except FileError:
            raise
        except _DAMAGE as error:
            raise FileError(
                "The HDF5 file is damaged.", where=label, received=f"{type(error).__name__}: {error}", fix=AGAIN
            ) from error

    # Bytes.

    def _at(self, address: int, length: int) -> bytes:
        """Bytes of the file's structure; looking at all of it again and again is what only a crafted file asks for."""
        if address < 0 or length < 0 or address + length > self._size:
            self.damaged(f"bytes {address} to {address + length} of {self._size}")
        self._examined += length
        if self._examined > _EXAMINED * self._size + _EXAMINED_FLOOR:
            self.refuse("Its parts overlap.", f"{self._size} bytes")
        self.file.seek(address)
        content = self.file.read(length)
        if len(content) != length:
            self.damaged("the file ends early")
        return content

    def _once(self, address: int) -> int:
        """An address that nothing else in the file may have."""
        if address in self._seen:
            self.refuse("It holds the same object twice.", f"at byte {address}")
        self._seen.add(address)
        return address

    def refuse(self, what: str, received: object) -> NoReturn:
        """Raise the error that a file breaks a rule."""
        raise FileError(
            f"The HDF5 file is refused. {what}",
            where=self.label,
            received=received,
            fix="save the weights anew with lamina or Keras: files that these write hold nothing of the kind",
        )

    def damaged(self, received: object) -> NoReturn:
        """Raise the error that a file makes no sense."""
        raise FileError("The HDF5 file is damaged.", where=self.label, received=received, fix=AGAIN)

    # The tree.

    def _root(self) -> int:
        """The address of the root group's header."""
        if self._size < 96 or self._at(0, 8) != SIGNATURE:
            raise FileError("This is no HDF5 file.", where=self.label, expected="an HDF5 file", received="other bytes")
        head = self._at(8, 88)
        version, sizes = head[0], head[5:7]
        if version > 1 or sizes != b"\x08\x08":
            raise FileError(
                "The HDF5 file has a newer form, which is not read.",
                where=self.label,
                expected="superblock 0 or 1, as Keras and h5py write it",
                received=f"superblock {version}",
                fix="copy it with h5py into a file opened with libver='earliest'",
            )
        start = 16 + 4 * version
        base, _, end, driver = struct.unpack_from("<4Q", head, start)
        if base != 0 or driver != _NOWHERE or end > self._size:
            self.damaged(f"it says to hold {end} bytes, and holds {self._size}")
        return struct.unpack_from("<Q", head, start + 40)[0]

    def _messages(self, address: int) -> list[tuple[int, int, bytes]]:
        """The messages of an object's header: kind, flags, content."""
        version, count, size = struct.unpack("<BxHxxxxI", self._at(self._once(address), 12))
        if version != 1:
            self.refuse("An object has a newer form, which may be a link.", f"at byte {address}")
        messages: list[tuple[int, int, bytes]] = []
        blocks = [(address + 16, size)]
        while blocks:
            start, length = blocks.pop(0)
            block, at = self._at(start, length), 0
            while at + 8 <= length and len(messages) < count:
                kind, size, flags = struct.unpack_from("<HHB", block, at)
                content = block[at + 8 : at + 8 + size]
                if len(content) != size:
                    self.damaged(f"a header at byte {start}")
                at += 8 + size
                messages.append((kind, flags, content))
                if kind == _CONTINUED:
                    blocks.append(struct.unpack_from("<QQ", content))
        return messages

    def _group(self, messages: list[tuple[int, int, bytes]], path: str, depth: int) -> None:
        """Note what a group holds, then what is below it."""
        if depth > _DEPTH:
            self.refuse("Its groups are nested too deeply.", path[:200])
        self.arrays[path] = {}
        self.attributes[path] = self._attributes(messages)
        table = next(content for kind, _, content in messages if kind == _TABLE)
        for name, address in self._entries(*struct.unpack_from("<QQ", table)):
            inner = f"{path}/{name}" if path else name
            self._objects += 1
            if self._objects > self.limits.arrays:
                self.refuse("It holds too many objects.", f"more than {self.limits.arrays}")
            found = self._messages(address)
            kinds = {kind for kind, _, _ in found}
            if kinds & {_LINK, _LINK_INFO}:
                self.refuse("It holds a link to something else.", inner)
            if _TABLE in kinds:
                self._group(found, inner, depth + 1)
            elif {_SPACE, _TYPE, _LAYOUT} <= kinds:
                if name in self.arrays[path]:
                    self.refuse("It names an array twice.", inner)
                self.arrays[path][name] = self._array(found, inner)
            else:
                self.refuse("It holds something other than groups and numbers.", inner)

    def _entries(self, tree: int, heap: int) -> list[tuple[str, int]]:
        """Names and addresses in a group."""
        head = self._at(self._once(heap), 32)
        size, start = struct.unpack("<8xQ8xQ", head)
        if head[:4] != b"HEAP":
            self.damaged("the names of a group")
        names, entries = self._at(start, size), []
        for leaf in self._leaves(tree, 0):
            head = self._at(self._once(leaf), 8)
            count = struct.unpack("<6xH", head)[0]
            if head[:4] != b"SNOD":
                self.damaged("the table of a group")
            for at, address, cached in struct.iter_unpack("<QQI20x", self._at(leaf + 8, 40 * count)):
                name = names[at : names.index(b"\0", at)].decode("utf-8") if at < len(names) else ""
                if cached == 2:
                    self.refuse("It holds a link to something else.", name)
                if not name or "/" in name or name in (".", "..") or len(name) > 1024:
                    self.refuse("It holds a name that is none.", repr(name[:80]))
                entries.append((name, address))
        if len({name for name, _ in entries}) != len(entries):
            self.refuse("It names an object twice.", entries[0][0])
        return entries

    def _leaves(self, tree: int, rank: int) -> list[Any]:
        """What the leaves of a tree name: addresses of tables, or for rank > 0 the chunks of an array."""
        leaves: list[Any] = []
        nodes = [tree] if tree != _NOWHERE else []
        key_size = 8 + 8 * rank if rank else 8
        while nodes:
            node = self._once(nodes.pop(0))
            head = self._at(node, 24)
            kind, level, count = struct.unpack_from("<BBH", head, 4)
            if head[:4] != b"TREE" or kind != int(rank > 0) or level > 32:
                self.damaged("a tree of groups or chunks")
            block = self._at(node + 24, count * (key_size + 8))
            for at in range(0, len(block), key_size + 8):
                child = struct.unpack_from("<Q", block, at + key_size)[0]
                if level:
                    nodes.append(child)
                elif rank:
                    size, skipped, *corner = struct.unpack_from(f"<II{rank}Q", block, at)
                    leaves.append(Chunk(tuple(corner), child, size, skipped))
                else:
                    leaves.append(child)
        return leaves

    # Arrays.

    def _array(self, messages: list[tuple[int, int, bytes]], path: str) -> Array:
        """An array's shape and dtype, once its storage is known to be here and as large as it says."""
        found = {kind: content for kind, _, content in messages}
        if _EXTERNAL in found:
            self.refuse("It keeps data outside of itself.", path)
        if any(flags & 2 for kind, flags, _ in messages if kind != _ATTRIBUTE):
            self.refuse("It holds something other than numbers.", f"{path}: a shared description")
        dtype = _dtype(found[_TYPE])
        if dtype is None and not self._is_bfloat16(found[_TYPE], messages):
            self.refuse("It holds something other than numbers.", f"{path}: type {found[_TYPE][0] & 15}")
        shape = _shape(found[_SPACE])
        if shape is None or not is_usable(shape):
            self.refuse("It holds an array without a usable shape.", path)
        itemsize = dtype.itemsize if dtype is not None else 2
        filters = self._filters(found.get(_FILTERS), path)
        place = self._place(found[_LAYOUT], shape, itemsize, filters, path)
        self._declared += math.prod(shape) * itemsize
        if self._declared > self.limits.floor + self.limits.expansion * self._size:
            self.refuse("An array claims to be larger than what is stored.", path)
        if self._held > self._size:
            self.refuse("Its arrays overlap.", path)
        return Array(shape, dtype, place)

    def _is_bfloat16(self, kind: bytes, messages: list[tuple[int, int, bytes]]) -> bool:
        """Whether two opaque bytes are said to be a bfloat16, as Keras says it."""
        mark = self._attributes(messages).get("dtype")
        return (
            kind[:1] == b"\x15" and kind[4:8] == b"\2\0\0\0" and mark is not None and self.words(mark) == ["bfloat16"]
        )

    def _filters(self, message: bytes | None, path: str) -> tuple[int, ...]:
        """The numbers of the filters that chunks went through."""
        if message is None:
            return ()
        version, count = message[:2]
        at, filters = (8 if version == 1 else 2), []
        for _ in range(count):
            number = struct.unpack_from("<H", message, at)[0]
            named = version == 1 or number >= 256
            length = struct.unpack_from("<H", message, at + 2)[0] if named else 0
            values = struct.unpack_from("<H", message, at + (6 if named else 4))[0]
            at += (8 if named else 6) + length + 4 * (values + (values % 2 if version == 1 else 0))
            filters.append(number)
        if set(filters) - {_DEFLATE, _SHUFFLE, _FLETCHER}:
            self.refuse("It is compressed in an unknown way.", f"{path}: filters {sorted(filters)}")
        return tuple(filters)

    def _place(
        self, message: bytes, shape: tuple[int, ...], itemsize: int, filters: tuple[int, ...], path: str
    ) -> Place:
        """Where an array's bytes are."""
        version, kind = message[:2]
        if version != 3:
            what = "It keeps data outside of itself." if kind == 3 else "An array has a form that is not read."
            self.refuse(what, f"{path}: layout {version}")
        declared = math.prod(shape) * itemsize
        if kind == 2:
            return self._chunked(message, shape, itemsize, filters, path)
        address, held = struct.unpack_from("<QQ", message, 2) if kind == 1 else (0, 0)
        if kind == 0:
            held = struct.unpack_from("<H", message, 2)[0]
            if held != declared or len(message) < 4 + held:
                self.refuse("An array claims to be larger than what is stored.", path)
            return Place(_NOWHERE, held, inline=message[4 : 4 + held])
        if address == _NOWHERE:
            held = 0
        if kind != 1 or declared > held or filters:
            self.refuse("An array claims to be larger than what is stored.", f"{path}: {declared} bytes, {held} stored")
        if held and address + held > self._size:
            self.damaged(f"{path} lies beyond the end of the file")
        self._held += held
        return Place(address, declared)

    def _chunked(
        self, message: bytes, shape: tuple[int, ...], itemsize: int, filters: tuple[int, ...], path: str
    ) -> Place:
        rank = message[2]
        tree, *chunk = struct.unpack_from(f"<Q{rank}I", message, 3)
        if rank != len(shape) + 1 or chunk.pop() != itemsize or 0 in chunk:
            self.damaged(f"{path}: chunks of {rank - 1} axes")
        declared, piece = math.prod(shape) * itemsize, math.prod(chunk) * itemsize
        if piece > max(declared, self.limits.floor // 4):
            self.refuse("An array is stored in pieces larger than itself.", path)
        chunks = self._leaves(tree, rank)
        held = sum(part.size for part in chunks)
        grid = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
        if declared > self.limits.floor // 4 + self.limits.expansion * held or len(chunks) < math.prod(grid):
            self.refuse("An array claims to be larger than what is stored.", f"{path}: {declared} bytes, {held} stored")
        for part in chunks:
            *corner, last = part.corner
            fits = all(at % step == 0 and at < size for at, step, size in zip(corner, chunk, shape, strict=True))
            if last or not fits or part.address + part.size > self._size:
                self.damaged(f"{path}: a chunk at {part.corner}")
        if len(chunks) != math.prod(grid) or len({part.corner for part in chunks}) != len(chunks):
            self.refuse("An array has a piece twice.", path)
        self._held += held
        return Place(_NOWHERE, declared, tuple(chunk), tuple(chunks), filters)

    def read(self, array: Array, place: str) -> np.ndarray:
        """The numbers of an array; two opaque bytes come as uint16."""
        stored = array.dtype if array.dtype is not None else np.dtype("<u2")
        if array.place.chunk:
            return self._read_chunks(array, stored, place)
        values = np.empty(array.shape, stored)
        self.read_into(array, values.reshape(-1).view(np.uint8).data, place)
        return values

    def read_into(self, array: Array, target: memoryview, place: str) -> None:
        """The bytes of an array that is stored in one stretch."""
        if target.nbytes != array.place.size:
            self.damaged(place)
        if array.place.inline is not None:
            target[:] = array.place.inline
            return
        self.file.seek(array.place.address if array.place.size else 0)
        at = 0
        while at < target.nbytes:
            count = self.file.readinto(target[at:])  # type: ignore[attr-defined]
            if not count:
                raise FileError(
                    "The entry is cut off.",
                    where=f"{self.label}: {place}",
                    expected=f"{target.nbytes} bytes",
                    received=f"{at} bytes, where the file ends",
                    fix=AGAIN,
                )
            at += count

    def _read_chunks(self, array: Array, stored: np.dtype[Any], place: str) -> np.ndarray:
        values = np.empty(array.shape, stored)
        step = array.place.chunk
        for part in array.place.chunks:
            piece = self._unfiltered(part, array.place.filters, math.prod(step) * stored.itemsize, stored.itemsize)
            if piece is None:
                raise FileError(
                    "A piece of the entry is damaged.",
                    where=f"{self.label}: {place}, piece at {part.corner[:-1]}",
                    expected=f"{math.prod(step) * stored.itemsize} bytes once it is unpacked, and the right checksum",
                    fix=AGAIN,
                )
            corner = part.corner[:-1]
            inside = tuple(
                slice(at, min(at + size, whole)) for at, size, whole in zip(corner, step, array.shape, strict=True)
            )
            cut = tuple(slice(0, where.stop - where.start) for where in inside)
            values[inside] = np.frombuffer(piece, stored).reshape(step)[cut]
        return values

    def _unfiltered(self, part: Chunk, filters: tuple[int, ...], size: int, itemsize: int) -> bytes | None:
        """A chunk's bytes with the filters undone; None if that does not give its size."""
        self.file.seek(part.address)
        content = self.file.read(part.size)
        for index, number in reversed(list(enumerate(filters))):
            if part.skipped >> index & 1:
                continue
            if number == _FLETCHER:
                content, total = content[:-4], content[-4:]
                if len(total) != 4 or _fletcher32(content) != struct.unpack("<I", total)[0]:
                    return None
            elif number == _SHUFFLE:
                if len(content) % itemsize == 0:
                    content = np.frombuffer(content, np.uint8).reshape(itemsize, -1).T.tobytes()
            else:
                inflater = zlib.decompressobj()
                try:
                    content = inflater.decompress(content, size + 4)
                except zlib.error:
                    return None
        return content if len(content) == size else None

    # Attributes.

    def _attributes(self, messages: list[tuple[int, int, bytes]]) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        for kind, flags, content in messages:
            if kind == _ATTRIBUTE_INFO and content[2:10].strip(b"\xff"):
                self.refuse("It keeps attributes in a form that is not read.", "a table of attributes")
            if kind != _ATTRIBUTE:
                continue
            version, shared, name_size, type_size, space_size = struct.unpack_from("<BBHHH", content)
            at = 9 if version == 3 else 8
            unit = 8 if version == 1 else 1
            if flags & 2 or (version > 1 and shared) or version not in (1, 2, 3):
                self.refuse("It holds an attribute of a form that is not read.", f"version {version}")
            parts = []
            for size in (name_size, type_size, space_size):
                parts.append(content[at : at + size])
                at += -(-size // unit) * unit
            name = parts[0].rstrip(b"\0").decode("utf-8")
            shape = _shape(parts[2])
            found[name] = Attribute(parts[1], math.prod(shape) if shape is not None else 0, content[at:])
        return found

    def words(self, attribute: Attribute) -> list[str]:
        """The texts in an attribute; none if it is something else."""
        try:
            return self._words(attribute)
        except FileError:
            raise
        except _DAMAGE as error:
            raise FileError(
                "A text in the HDF5 file is damaged.", where=self.label, received=str(error), fix=AGAIN
            ) from error

    def _words(self, attribute: Attribute) -> list[str]:
        kind, size = attribute.kind[0] & 15, struct.unpack_from("<I", attribute.kind, 4)[0]
        if attribute.count * max(size, 1) > min(len(attribute.data), self.limits.json_bytes):
            self.refuse("An attribute is too long.", f"{attribute.count} times {size} bytes")
        parts = [attribute.data[at * size : (at + 1) * size] for at in range(attribute.count)]
        if kind == 9 and size == 16 and attribute.kind[1] & 15 == 1:
            left, texts = self.limits.json_bytes, []
            for part in parts:
                length, address, index = struct.unpack("<IQI", part)
                left -= length
                if left < 0:
                    self.refuse("An attribute is too long.", f"more than {self.limits.json_bytes} bytes")
                texts.append(self._from_heap(address, index, length) if length else b"")
            parts = texts
        elif kind != 3:
            return []
        return [part.rstrip(b"\0").decode("utf-8") for part in parts]

    def _from_heap(self, address: int, index: int, length: int) -> bytes:
        if address not in self._heaps:
            head = self._at(address, 16)
            size = struct.unpack("<8xQ", head)[0]
            if head[:4] != b"GCOL":
                self.damaged("a heap of texts")
            block, at, found = self._at(address, size), 16, {}
            while at + 16 <= size:
                number, held = struct.unpack_from("<H6xQ", block, at)
                if number == 0:
                    break
                found[number] = (address + at + 16, held)
                at += 16 + -(-held // 8) * 8
            self._heaps[address] = found
        start, held = self._heaps[address].get(index, (0, -1))
        if length > held:
            self.damaged("a text in a heap")
        return self._at(start, length)


def _dtype(kind: bytes) -> np.dtype[Any] | None:
    """The dtype of numbers that NumPy knows, or None."""
    for exact, name in _EXACT.items():
        if kind.startswith(exact) and not kind[len(exact) :].strip(b"\0"):
            return np.dtype(name)
    order, size = "<>"[kind[1] & 1], struct.unpack_from("<I", kind, 4)[0]
    if kind[0] == 0x10 and size in (1, 2, 4, 8) and kind[8:12] == struct.pack("<HH", 0, 8 * size):
        return np.dtype(f"{order}{'i' if kind[1] & 8 else 'u'}{size}")
    if kind[0] == 0x11 and kind[1] & ~1 == 0x20 and (name := _FLOATS.get(kind[8:20])) and name[1:] == str(size):
        return np.dtype(order + name)
    return None


def _shape(space: bytes) -> tuple[int, ...] | None:
    """The shape in a description of a space; None for no shape at all."""
    version, rank = space[:2]
    if version not in (1, 2) or (version == 2 and space[3] == 2):
        return None
    return struct.unpack_from(f"<{rank}Q", space, 8 if version == 1 else 4)


def is_usable(shape: Sequence[int]) -> bool:
    """Whether an array can have this shape, be it only an empty one."""
    return len(shape) <= MAX_RANK and math.prod(max(size, 1) for size in shape) < _LARGEST


def _fletcher32(content: bytes) -> int:
    """The checksum of HDF5: sums of 16-bit words, and of these sums, modulo 65535."""
    words = np.frombuffer(content + b"\0" * (len(content) % 2), ">u2").astype(np.uint64)
    first = second = 0
    for start in range(0, len(words), 1 << 16):
        block = words[start : start + (1 << 16)]
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second = (second + first * len(block) + int((block * weights).sum())) % 65535
        first = (first + int(block.sum())) % 65535
    return second << 16 | first
