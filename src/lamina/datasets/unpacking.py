"""Archives unpacked into a folder, and nowhere else."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lamina.core.errors import ArgumentError, FileError
from lamina.core.limits import DEFAULT

MAX_MEMBERS = 2_000_000
_FORMATS = ("tar", "zip")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


def unpack(archive: Path, destination: Path, archive_format: str | list[str] | None = "auto") -> None:
    """Unpack an archive; the folder appears only when everything is there, and replaces an older one.

    Args:
        archive: a tar file (plain, gz, bz2, xz) or a zip file.
        destination: the folder to make.
        archive_format: "tar", "zip", a list of these, or "auto".

    Raises:
        FileError: it is no such archive, or a member would land outside the folder.
    """
    wanted = _FORMATS if archive_format == "auto" else archive_format or ()
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if unknown := [name for name in wanted if name not in _FORMATS]:
        raise ArgumentError(
            "Unknown archive format.",
            where="get_file(archive_format=...)",
            expected="'tar', 'zip', a list of these, or 'auto'",
            received=repr(unknown[0]),
        )
    scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name[:60]}.", dir=destination.parent))
    try:
        if "tar" in wanted and tarfile.is_tarfile(archive):
            _unpack_tar(archive, scratch)
        elif "zip" in wanted and zipfile.is_zipfile(archive):
            _unpack_zip(archive, scratch)
        else:
            raise FileError("This file is no archive.", where=str(archive), expected=" or ".join(wanted) or "a format")
        os.chmod(scratch, 0o755)
        if destination.is_dir():
            shutil.rmtree(destination)
        os.replace(scratch, destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_tar(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            size = 0
            for count, member in enumerate(tar):
                size += member.size
                _check(archive, member.name, count, size)
                if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    raise FileError(
                        "The archive holds a device or a pipe.",
                        where=f"{archive}: {member.name}",
                        expected="files, folders and links within the folder",
                    )
                tar.extract(member, folder, filter="data")
            # The checksum of what was compressed stands at its end.
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, *_DAMAGE) as error:
        raise _damaged(archive, error) from error


def _unpack_zip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            size = 0
            for count, member in enumerate(packed.infolist()):
                size += member.file_size
                _check(archive, member.filename, count, size)
                packed.extract(member, folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, *_DAMAGE) as error:
        raise _damaged(archive, error) from error


def _check(archive: Path, name: str, count: int, size: int) -> None:
    """Refuse names that lead out of the folder, and more members and bytes than any dataset has."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise FileError(
            "The archive would write outside its folder.",
            where=str(archive),
            expected="relative names without '..' and drives",
            received=repr(name[:200]),
        )
    most = DEFAULT.floor + DEFAULT.expansion * archive.stat().st_size
    if size > most:
        raise FileError(
            "The archive would unpack to far more than it holds.",
            where=str(archive),
            expected=f"at most {most} bytes",
            received=f"{size} bytes by {name[:200]!r}",
            fix="if it is to be trusted, unpack it by hand",
        )
    if count >= MAX_MEMBERS:
        raise FileError(
            "The archive holds too many files.",
            where=str(archive),
            expected=f"at most {MAX_MEMBERS}",
            fix="unpack it by hand",
        )


def _damaged(archive: Path, error: Exception) -> FileError:
    return FileError(
        "The archive cannot be unpacked.",
        where=str(archive),
        received=f"{type(error).__name__}: {error}",
        fix="delete the file so that it is fetched anew, and see that the disk has room",
    )
