"""Archives unpacked into a folder, and nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from lamina.core.errors import ArgumentError, FileError

MAX_MEMBERS = 2_000_000
_FORMATS = ("tar", "zip")


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
            "Unknown archive format.", where="archive_format", expected=_FORMATS, received=repr(unknown[0])
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
            for count, member in enumerate(tar):
                _check(archive, member.name, count)
                if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    raise FileError("The archive holds a device or a pipe.", where=f"{archive}: {member.name}")
                tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FileError("The archive cannot be unpacked.", where=str(archive), received=str(error)) from error


def _unpack_zip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            for count, member in enumerate(packed.infolist()):
                _check(archive, member.filename, count)
                packed.extract(member, folder)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise FileError("The archive cannot be unpacked.", where=str(archive), received=str(error)) from error


def _check(archive: Path, name: str, count: int) -> None:
    """Refuse names that lead out of the folder, and more members than any dataset has."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise FileError("The archive would write outside its folder.", where=str(archive), received=repr(name))
    if count >= MAX_MEMBERS:
        raise FileError("The archive holds too many files.", where=str(archive), expected=f"at most {MAX_MEMBERS}")
