"""The one way into a saved model: a .keras file or a folder, with bounds on everything before it is read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from lamina.core.errors import FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.files import AGAIN, open_file

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
SHARDS = "model.weights.json"
ASSETS = "assets"

MEMORY_BYTES = 64 << 20
# A member's entry in the table of contents is at most this long, with a name of 1024 bytes.
_ENTRY_BYTES = 2048
# Containers and commas in a JSON text take this much less memory each than the text may have bytes.
_CONTAINERS, _COMMAS = 32, 4
_BLOCK = 1 << 20
_TRUST = "if the file is to be trusted, pass limits=lamina.saving.Limits({}=...)"


def newest(path: str | os.PathLike[str]) -> Path:
    """The checkpoint with the highest number in a folder of checkpoints; any other path as it is.

    Raises:
        FileError: what has that number is no folder.
    """
    place = Path(os.fspath(path))
    steps = [entry.name for entry in place.iterdir() if entry.name.isdecimal()] if place.is_dir() else []
    if not steps or (place / CONFIG).is_file():
        return place
    found = place / max(steps, key=lambda name: (len(name.lstrip("0")), name.lstrip("0")))
    if found.is_symlink() or not found.is_dir():
        raise FileError(
            "A checkpoint among others is no folder.",
            where=str(found),
            expected="a folder",
            received="a link" if found.is_symlink() else "a file",
            fix="remove it, or name the checkpoint that you mean",
        )
    return found


class Archive(Protocol):
    """What a saved model consists of."""

    def text(self, name: str) -> str:
        """A JSON member as text."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        ...

    def binary(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A member as a seekable file."""
        ...

    def extract_assets(self, folder: Path) -> None:
        """Write the assets into a folder."""
        ...


@contextlib.contextmanager
def open_archive(source: str | os.PathLike[str] | BinaryIO, limits: Limits = DEFAULT) -> Iterator[Archive]:
    """A saved model, ready to be read: a path to a .keras file or to a folder, or an open file.

    Args:
        source: where it is.
        limits: bounds on what it may hold.

    Raises:
        FileError: it is not there, no zip file, or one that breaks a bound.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield ZipArchive(source, "the file object", limits)
        return
    path = Path(source)
    if path.is_dir():
        yield FolderArchive(path, limits)
        return
    with open_file(path) as file:
        yield ZipArchive(file, str(path), limits)


class ZipArchive:
    """A .keras file, its table of contents checked.

    Args:
        file: the open, seekable file.
        label: what errors call it.
        limits: bounds on what it may hold.

    Raises:
        FileError: the table of contents breaks a bound.
    """

    def __init__(self, file: BinaryIO, label: str, limits: Limits = DEFAULT) -> None:
        self.file, self.label, self.limits = file, label, limits
        if (length := _contents_bytes(file)) > limits.members * _ENTRY_BYTES:
            raise self._refusal("Its table of contents is too long.", f"at most {limits.members} members", length)
        try:
            self.zip = zipfile.ZipFile(file)
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            struct.error,
            NotImplementedError,
            OverflowError,
            MemoryError,
        ) as error:
            raise FileError(
                "This is no .keras file.", where=label, expected="a zip archive", received=str(error)
            ) from error
        self.members = self._checked(self.zip.infolist())

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        size = self.file.seek(0, io.SEEK_END)
        limits = self.limits
        if len(infos) > limits.members:
            raise self._refusal("It has too many members.", f"at most {limits.members}", len(infos))
        members: dict[str, zipfile.ZipInfo] = {}
        stored = inflated = 0
        for info in infos:
            check_member_name(info.orig_filename, self.label)
            mode = info.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self._refusal("It holds something that is no file.", "plain files", info.filename)
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refusal("It is encrypted or packed in an unknown way.", "stored members", info.filename)
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise self._refusal("A member's size is wrong.", info.compress_size, info.file_size)
            if not 0 <= info.header_offset <= size - info.compress_size:
                raise self._refusal("A member lies outside of it.", f"{size} bytes", info.filename)
            if info.filename in members:
                raise self._refusal("It names a member twice.", "each once", info.filename)
            members[info.filename] = info
            stored += info.compress_size
            inflated += info.file_size
        if stored > size:
            raise self._refusal("It claims to hold more than the file does.", f"at most {size} bytes", stored)
        # Weights hardly compress; what grows more than this was made to fill memory or disk.
        if inflated > limits.floor + limits.expansion * size:
            raise self._refusal("It would unpack to far more than it holds.", f"{limits.expansion} times", inflated)
        return members

    def _refusal(self, what: str, expected: object, received: object) -> FileError:
        return FileError(f"The archive is refused. {what}", where=self.label, expected=expected, received=received)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.members

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise FileError(
                f"The archive lacks {name}.",
                where=self.label,
                expected=name,
                received=", ".join(sorted(self.members)[:12]) or "no members",
            )
        return self.members[name]

    def text(self, name: str) -> str:
        """A JSON member as text."""
        info = self._member(name)
        if info.file_size > self.limits.json_bytes:
            raise self._refusal(f"{name} is too long.", f"at most {self.limits.json_bytes} bytes", info.file_size)
        target = io.BytesIO()
        self._copy(info, target)
        return decoded(target.getvalue(), f"{self.label}: {name}")

    @contextlib.contextmanager
    def binary(self, name: str) -> Iterator[BinaryIO]:
        """A member as a seekable file: a window onto the archive, or an unpacked copy if it is compressed."""
        info = self._member(name)
        if info.compress_type == zipfile.ZIP_STORED:
            window = Window(self.file, self._start(info), info.file_size)
            self._check_content(window, info)
            yield io.BufferedReader(window)
            return
        with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as scratch:
            self._copy(info, scratch)  # type: ignore[arg-type]
            scratch.seek(0)
            yield scratch  # type: ignore[misc]

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin."""
        self.file.seek(info.header_offset)
        header = self.file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise self._refusal("A member's header is damaged.", "PK34", info.filename)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        if self.file.read(name_length).replace(b"\\", b"/") != info.orig_filename.encode("utf-8"):
            raise self._refusal("The table of contents and a member disagree.", info.filename, "another name")
        return info.header_offset + 30 + name_length + extra_length

    def _check_content(self, window: Window, info: zipfile.ZipInfo) -> None:
        checksum = _checksum(window)
        if window.tell() != info.file_size or checksum != info.CRC:
            raise FileError(
                "The file is damaged: a checksum is wrong.",
                where=f"{self.label}: {info.filename}",
                expected=f"{info.CRC:08x}",
                received=f"{checksum:08x}",
                fix=AGAIN,
            )
        window.seek(0)

    def _copy(self, info: zipfile.ZipInfo, target: BinaryIO) -> None:
        """Unpack a member, never beyond the size it declares."""
        try:
            with self.zip.open(info) as member:
                left = info.file_size
                while block := member.read(min(_BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise self._refusal("A member is longer than it says.", info.file_size, info.filename)
                    target.write(block)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            UnicodeDecodeError,
            struct.error,
        ) as error:
            raise FileError(
                "The file is damaged.", where=f"{self.label}: {info.filename}", received=str(error), fix=AGAIN
            ) from error

    def extract_assets(self, folder: Path) -> None:
        """Write the assets into a folder."""
        for name, info in self.members.items():
            parts = PurePosixPath(name).parts
            if len(parts) < 2 or parts[0] != ASSETS or name.endswith("/"):
                continue
            target = folder.joinpath(*parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                self._copy(info, file)


class FolderArchive:
    """A model saved with zipped=False: the same members as files in a folder.

    Args:
        folder: the folder.
        limits: bounds on what it may hold.
    """

    def __init__(self, folder: Path, limits: Limits = DEFAULT) -> None:
        self.folder, self.label, self.limits = folder, str(folder), limits

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return (self.folder / name).is_file()

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if path.is_symlink():
            raise _link(path)
        if not path.is_file():
            raise FileError(f"The folder lacks {name}.", where=self.label, expected=f"{CONFIG}, {WEIGHTS}")
        return path

    def text(self, name: str) -> str:
        """A JSON member as text."""
        with self._path(name).open("rb") as file:
            content = file.read(self.limits.json_bytes + 1)
        if len(content) > self.limits.json_bytes:
            raise FileError(
                f"{name} is too long.",
                where=self.label,
                expected=f"at most {self.limits.json_bytes} bytes",
                fix=_TRUST.format("json_bytes"),
            )
        return decoded(content, f"{self.label}: {name}")

    @contextlib.contextmanager
    def binary(self, name: str) -> Iterator[BinaryIO]:
        """A member as a seekable file."""
        with self._path(name).open("rb") as file:
            yield file

    def extract_assets(self, folder: Path) -> None:
        """Copy the assets into a folder; links among them are not followed.

        Raises:
            FileError: the folder of assets is a link itself, or its files are larger than what is stored.
        """
        root, limits = self.folder / ASSETS, self.limits
        if root.is_symlink():
            raise _link(root)
        paths = [path for path in sorted(root.rglob("*")) if not path.is_symlink()] if root.is_dir() else []
        sizes = [(info.st_size, getattr(info, "st_blocks", info.st_size) << 9) for info in map(Path.stat, paths)]
        declared, stored = sum(size for size, _ in sizes), sum(size for _, size in sizes)
        if declared > limits.floor + limits.expansion * stored:
            raise FileError(
                "The assets would grow to far more than they hold.",
                where=str(root),
                expected=f"at most {limits.expansion} times {stored} bytes",
                received=f"{declared} bytes",
                fix=_TRUST.format("expansion"),
            )
        for path in paths[: limits.members]:
            target = folder / path.relative_to(root)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif path.is_file() and target.parent.is_dir():
                shutil.copyfile(path, target)


def _link(path: Path) -> FileError:
    return FileError(
        "A member of a saved model is a link.",
        where=str(path),
        expected="plain files and folders",
        received="a link",
        fix="copy what it points to in its place",
    )


class Window(io.RawIOBase):
    """A stretch of a file as a file of its own; one without an end can be written to.

    Args:
        file: the file.
        start: where the stretch begins, in bytes.
        size: its length in bytes; None for all that follows.
    """

    def __init__(self, file: BinaryIO, start: int, size: int | None) -> None:
        super().__init__()
        self.file, self.start, self._end, self.at = file, start, size, 0

    @property
    def size(self) -> int:
        """The length of the stretch in bytes."""
        return self._end if self._end is not None else max(self.file.seek(0, io.SEEK_END) - self.start, 0)

    def writable(self) -> bool:
        """Whether the stretch has no end."""
        return self._end is None

    def write(self, content: Any) -> int:
        """Put bytes at the present place."""
        if self._end is not None:
            raise io.UnsupportedOperation("write")
        self.file.seek(self.start + self.at)
        count = self.file.write(content)
        self.at += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        if self._end is not None:
            raise io.UnsupportedOperation("truncate")
        size = self.at if size is None else size
        self.file.truncate(self.start + size)
        return size

    def flush(self) -> None:
        """Nothing is kept back here."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place in the stretch."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the stretch."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        self.at = max(0, base + offset)
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the stretch goes."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.size - self.at))
        self.file.seek(self.start + self.at)
        if hasattr(self.file, "readinto"):
            count = self.file.readinto(view[:count])  # type: ignore[attr-defined]
        else:
            content = self.file.read(count)
            count = len(content)
            view[:count] = content
        self.at += count
        return count


def add_member(archive: zipfile.ZipFile, file: BinaryIO, name: str, write: Callable[[BinaryIO], None]) -> None:
    """Add a stored member that is written out of order, which ZipFile's own way does not allow.

    Args:
        archive: the zip file, open for writing.
        file: the file it is written to, readable, seekable and at its end.
        name: the member's name.
        write: writes the content to a file of its own.
    """
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.external_attr, info.CRC = 0o600 << 16, 0
    info.header_offset = file.seek(0, io.SEEK_END)
    file.write(info.FileHeader(zip64=True))
    window = Window(file, file.tell(), None)
    write(window)  # type: ignore[arg-type]
    info.file_size = info.compress_size = window.size
    info.CRC = _checksum(window)
    file.seek(info.header_offset)
    file.write(info.FileHeader(zip64=True))
    archive.filelist.append(info)
    archive.NameToInfo[name] = info
    archive.start_dir = file.seek(0, io.SEEK_END)
    archive._didModify = True  # type: ignore[attr-defined]


def _checksum(window: Window) -> int:
    """The checksum of a stretch, read to its end."""
    checksum, buffer = 0, memoryview(bytearray(_BLOCK))
    window.seek(0)
    while count := window.readinto(buffer):
        checksum = zlib.crc32(buffer[:count], checksum)
    return checksum


def check_member_name(name: str, label: str) -> None:
    """Refuse a member's name that could lead out of a folder.

    Raises:
        FileError: the name is absolute, has `..`, a backslash, a drive or a null byte.
    """
    parts = name.split("/")
    unsafe = not name or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]
    if unsafe or len(name) > 1024:
        raise FileError(
            "The archive is refused. A member's name leads out of it.",
            where=label,
            expected="relative names without '..', backslashes, drives and null bytes, of at most 1024 characters",
            received=repr(name[:120]),
        )


def decoded(content: bytes, label: str) -> str:
    """UTF-8 text."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError("The text is damaged.", where=label, expected="UTF-8", received=str(error)) from error


def parse_json(text: str, label: str, limits: Limits = DEFAULT) -> dict[str, Any]:
    """A JSON object, within bounds on length and depth; keys may not repeat.

    Args:
        text: the JSON text.
        label: what errors call it.
        limits: bounds.

    Raises:
        FileError: it is no JSON object, or breaks a bound.

    Example:
        >>> parse_json('{"units": 3}', "an example")
        {'units': 3}
    """
    if len(text) > limits.json_bytes:
        raise FileError(
            "The JSON text is too long.",
            where=label,
            expected=f"at most {limits.json_bytes} characters",
            received=f"{len(text)} characters",
            fix=_TRUST.format("json_bytes"),
        )
    # Counted before anything is parsed: an empty list takes 2 characters and 64 bytes.
    if text.count("[") + text.count("{") > limits.json_bytes // _CONTAINERS or (
        text.count(",") > limits.json_bytes // _COMMAS
    ):
        raise FileError(
            "The JSON text holds too many values.",
            where=label,
            expected=f"at most {limits.json_bytes // _CONTAINERS} lists and dicts, and 8 times as many commas",
            fix=_TRUST.format("json_bytes"),
        )
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, label))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            "The JSON text cannot be read.", where=label, expected="JSON", received=str(error), fix=AGAIN
        ) from error
    if not isinstance(value, dict):
        raise FileError("The JSON text is no object.", where=label, expected="{...}", received=type(value).__name__)
    level: list[Any] = [value]
    for _ in range(limits.depth):
        level = [item for holder in level for item in (holder.values() if isinstance(holder, dict) else holder)]
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return value
    raise FileError(
        "The JSON text is nested too deeply.",
        where=label,
        expected=f"at most {limits.depth} levels",
        fix=_TRUST.format("depth"),
    )


def _contents_bytes(file: BinaryIO) -> int:
    """The length that a zip file gives for its table of contents; 0 if there is none to be found."""
    size = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, size - (1 << 16) - 42))
    tail = file.read(size - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return 0
    length = struct.unpack_from("<I", tail, at + 12)[0]
    if at >= 76 and tail[at - 76 : at - 72] == b"PK\6\6":
        return struct.unpack_from("<Q", tail, at - 36)[0]
    return 0 if length == 0xFFFFFFFF else length


def _unique(pairs: list[tuple[str, Any]], label: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FileError("The JSON text gives a key twice.", where=label, expected="each key once", received=repr(twice))
    return table
