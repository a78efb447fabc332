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
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from lamina.core.errors import FileError
from lamina.saving.files import open_file

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
ASSETS = "assets"

MAX_MEMBERS = 10_000
MAX_JSON_BYTES = 64 << 20
MAX_JSON_DEPTH = 512
MEMORY_BYTES = 256 << 20
# Weights hardly compress; a member that grows more than this was made to fill memory or disk.
MAX_EXPANSION, EXPANSION_FLOOR = 100, 16 << 20
_BLOCK = 1 << 20


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
def open_archive(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Archive]:
    """A saved model, ready to be read: a path to a .keras file or to a folder, or an open file.

    Raises:
        FileError: it is not there, no zip file, or one that breaks a bound.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield ZipArchive(source, "the file object")
        return
    path = Path(source)
    if path.is_dir():
        yield FolderArchive(path)
        return
    with open_file(path) as file:
        yield ZipArchive(file, str(path))


class ZipArchive:
    """A .keras file, its table of contents checked.

    Args:
        file: the open, seekable file.
        label: what errors call it.

    Raises:
        FileError: the table of contents breaks a bound.
    """

    def __init__(self, file: BinaryIO, label: str) -> None:
        self.file, self.label = file, label
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, struct.error) as error:
            raise FileError(
                "This is no .keras file.", where=label, expected="a zip archive", received=str(error)
            ) from error
        self.members = self._checked(self.zip.infolist())

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        size = self.file.seek(0, io.SEEK_END)
        if len(infos) > MAX_MEMBERS:
            raise self._refusal("It has too many members.", f"at most {MAX_MEMBERS}", len(infos))
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
            if info.filename in members:
                raise self._refusal("It names a member twice.", "each once", info.filename)
            members[info.filename] = info
            stored += info.compress_size
            inflated += info.file_size
        if stored > size:
            raise self._refusal("It claims to hold more than the file does.", f"at most {size} bytes", stored)
        if inflated > EXPANSION_FLOOR + MAX_EXPANSION * size:
            raise self._refusal("It would unpack to far more than it holds.", f"{MAX_EXPANSION} times", inflated)
        return members

    def _refusal(self, what: str, expected: object, received: object) -> FileError:
        return FileError(f"The archive is refused. {what}", where=self.label, expected=expected, received=received)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.members

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise FileError(
                f"The archive lacks {name}.", where=self.label, received=", ".join(sorted(self.members)[:12])
            )
        return self.members[name]

    def text(self, name: str) -> str:
        """A JSON member as text."""
        info = self._member(name)
        if info.file_size > MAX_JSON_BYTES:
            raise self._refusal(f"{name} is too long.", f"at most {MAX_JSON_BYTES} bytes", info.file_size)
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
            yield io.BufferedReader(window, _BLOCK)
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
        checksum = 0
        for block in iter(lambda: window.read(_BLOCK), b""):
            checksum = zlib.crc32(block, checksum)
        if window.tell() != info.file_size or checksum != info.CRC:
            raise FileError("The file is damaged: its checksum is wrong.", where=f"{self.label}: {info.filename}")
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
        ) as error:
            raise FileError(
                "The file is damaged.", where=f"{self.label}: {info.filename}", received=str(error)
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
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.label = folder, str(folder)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return (self.folder / name).is_file()

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise FileError(f"The folder lacks {name}.", where=self.label, expected=f"{CONFIG}, {WEIGHTS}")
        return path

    def text(self, name: str) -> str:
        """A JSON member as text."""
        with self._path(name).open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise FileError(f"{name} is too long.", where=self.label, expected=f"at most {MAX_JSON_BYTES} bytes")
        return decoded(content, f"{self.label}: {name}")

    @contextlib.contextmanager
    def binary(self, name: str) -> Iterator[BinaryIO]:
        """A member as a seekable file."""
        with self._path(name).open("rb") as file:
            yield file

    def extract_assets(self, folder: Path) -> None:
        """Copy the assets into a folder; links among them are not followed."""
        root = self.folder / ASSETS
        paths = [path for path in sorted(root.rglob("*")) if not path.is_symlink()] if root.is_dir() else []
        for path in paths[:MAX_MEMBERS]:
            target = folder / path.relative_to(root)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif path.is_file() and target.parent.is_dir():
                shutil.copyfile(path, target)


class Window(io.RawIOBase):
    """A stretch of a file as a file of its own.

    Args:
        file: the file.
        start: where the stretch begins, in bytes.
        size: its length in bytes.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self.file, self.start, self.size, self.at = file, start, size, 0

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
        content = self.file.read(count)
        view[: len(content)] = content
        self.at += len(content)
        return len(content)


def check_member_name(name: str, label: str) -> None:
    """Refuse a member's name that could lead out of a folder.

    Raises:
        FileError: the name is absolute, has `..`, a backslash, a drive or a null byte.
    """
    parts = name.split("/")
    unsafe = not name or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]
    if unsafe or len(name) > 1024:
        raise FileError(
            "The archive is refused. A member's name leads out of it.", where=label, received=repr(name[:120])
        )


def decoded(content: bytes, label: str) -> str:
    """UTF-8 text."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError("The text is damaged.", where=label, received=str(error)) from error


def parse_json(text: str, label: str) -> dict[str, Any]:
    """A JSON object, within bounds on length and depth; keys may not repeat.

    Args:
        text: the JSON text.
        label: what errors call it.

    Raises:
        FileError: it is no JSON object, or breaks a bound.

    Example:
        >>> parse_json('{"units": 3}', "an example")
        {'units': 3}
    """
    if len(text) > MAX_JSON_BYTES:
        raise FileError("The JSON text is too long.", where=label, expected=f"at most {MAX_JSON_BYTES} characters")
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError("The JSON text cannot be read.", where=label, received=str(error)) from error
    if not isinstance(value, dict):
        raise FileError("The JSON text is no object.", where=label, received=type(value).__name__)
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [item for holder in level for item in (holder.values() if isinstance(holder, dict) else holder)]
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return value
    raise FileError("The JSON text is nested too deeply.", where=label, expected=f"at most {MAX_JSON_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FileError("The JSON text gives a key twice.", received=repr(twice))
    return table
