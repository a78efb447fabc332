"""Files from the network: kept in a cache, checked against their checksum, never half there."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import posixpath
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from lamina.core.config import home_folder
from lamina.core.errors import ArgumentError, DownloadError, FileError
from lamina.datasets.unpacking import unpack
from lamina.saving.files import replacing

TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 20
_NAME_BYTES = 200
_ALGORITHM_OF_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | list[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Download a file unless the cache has it, and return its path.

    The file is written beside its place, checked, and then moved there, so that a broken download leaves
    nothing.

    Args:
        fname: the file's name in the cache; by default the last part of the address.
        origin: the address, https:// (http:// is accepted with a warning when no checksum guards it).
        untar: unpack the file as a tar archive; `extract` says the same for any format.
        md5_hash: an MD5 checksum; `file_hash` is the better choice.
        file_hash: the checksum the file must have, in hexadecimal.
        cache_subdir: the folder inside the cache; an absolute path stands for itself.
        hash_algorithm: "sha256", "md5", or "auto" to tell by the checksum's length.
        extract: unpack the archive and return the folder.
        archive_format: "tar", "zip", a list of these, or "auto".
        cache_dir: the cache; by default the folder named by LAMINA_HOME, or `~/.lamina`.
        force_download: download even if the cache has the file.

    Returns:
        The path of the file, or of the folder it was unpacked into.

    Raises:
        ArgumentError: the address or the name cannot be used.
        DownloadError: the file cannot be had, or does not have the checksum.
        FileError: the archive is damaged, or would write outside its folder.

    Example:
        >>> import tempfile
        >>> cache = Path(tempfile.mkdtemp())
        >>> _ = (cache / "words.txt").write_text("kept")
        >>> path = get_file("words.txt", "https://example.com/words.txt", cache_subdir="", cache_dir=cache)
        >>> Path(path).read_text()
        'kept'

    Source: https://keras.io/api/utils/python_utils/#getfile-function
    """
    address = _checked_address(origin)
    name = _checked_name(fname, address)
    folder = Path(cache_dir if cache_dir is not None else home_folder()).expanduser() / cache_subdir
    checksum = Checksum.of(file_hash, md5_hash, hash_algorithm)
    unpacking = extract or untar
    target = folder / (_archive_name(name, given=fname is not None) if unpacking else name)

    fresh = force_download or not target.exists()
    if not fresh and checksum is not None and not checksum.fits(target):
        print(f"{target} does not have the expected checksum; downloading it again.", file=sys.stderr)
        fresh = True
    if fresh:
        download(address, target, checksum)
    if not unpacking:
        return str(target)
    destination = folder / _unpacked_name(name, given=fname is not None)
    if fresh or not destination.is_dir():
        unpack(target, destination, "tar" if untar else archive_format)
    return str(destination)


def download(address: str, target: Path, checksum: Checksum | None = None, by_hand: str | None = None) -> None:
    """Fetch an address into `target`, which appears only when complete and right.

    Args:
        address: https:// or http://.
        target: the file to write; its folder is made.
        checksum: what the content must hash to.
        by_hand: what to tell the user to do when the download fails.

    Raises:
        DownloadError: no connection, an error from the server, a short file, a wrong checksum.
    """
    if checksum is None and not _is_safe_transport(address):
        warnings.warn(
            f"{address} is fetched unencrypted and without a checksum: whoever is in between can change it. "
            "Pass file_hash=..., or use https.",
            stacklevel=3,
        )
    by_hand = by_hand or f"check the address and your connection, or fetch the file by hand and save it as {target}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            _fetch(address, file, checksum, by_hand, target.name)
    except (FileError, FileExistsError, NotADirectoryError, PermissionError) as error:
        raise DownloadError(
            "The cache folder cannot be written to.",
            where=str(target.parent),
            received=str(error),
            fix="name another folder with the environment variable LAMINA_HOME",
        ) from error


def _fetch(address: str, file: BinaryIO, checksum: Checksum | None, by_hand: str, name: str) -> None:
    """Stream the address into the file, and check what came."""
    running = checksum.start() if checksum is not None else None
    received = 0
    try:
        with open_address(address) as response:
            length = response.headers.get("Content-Length")
            expected = int(length) if length is not None and length.isdigit() else None
            with _progress(name, address, expected) as advance:
                while block := response.read(_BLOCK):
                    file.write(block)
                    if running is not None:
                        running.update(block)
                    received += len(block)
                    advance(len(block))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise DownloadError(
            f"The download of {name} failed.", where=address, received=f"{code}{reason}", fix=by_hand
        ) from error
    if expected is not None and received != expected:
        raise DownloadError(
            f"The download of {name} broke off.",
            where=address,
            expected=f"{expected} bytes",
            received=f"{received} bytes",
            fix=by_hand,
        )
    if checksum is not None and running is not None and running.hexdigest() != checksum.value:
        raise DownloadError(
            "The downloaded file is not the one expected.",
            where=address,
            expected=f"{checksum.algorithm} {checksum.value}",
            received=f"{checksum.algorithm} {running.hexdigest()}",
            fix=by_hand,
        )


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to something unencrypted."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise urllib.error.URLError(f"the server redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_address(address: str) -> Any:
    """The response to a GET of the address, as a context manager."""
    request = urllib.request.Request(address, headers={"User-Agent": "lamina"})
    return urllib.request.build_opener(_NoDowngrade).open(request, timeout=TIMEOUT_SECONDS)


@contextlib.contextmanager
def _progress(name: str, address: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, a line elsewhere."""
    if not sys.stderr.isatty():
        print(f"Downloading {address}", file=sys.stderr)
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


class Checksum:
    """What a file's content must hash to."""

    def __init__(self, algorithm: str, value: str) -> None:
        self.algorithm, self.value = algorithm, value.lower()

    @classmethod
    def of(cls, file_hash: str | None, md5_hash: str | None = None, algorithm: str = "auto") -> Checksum | None:
        """The checksum the arguments of `get_file` ask for, if any."""
        if file_hash is None and md5_hash is not None:
            file_hash, algorithm = md5_hash, "md5"
        if file_hash is None:
            return None
        if algorithm == "auto":
            algorithm = _ALGORITHM_OF_LENGTH.get(len(file_hash), "auto")
        if algorithm not in _ALGORITHM_OF_LENGTH.values():
            raise ArgumentError(
                "The checksum's kind is unknown.",
                where="get_file(file_hash=..., hash_algorithm=...)",
                expected="64 hexadecimal digits of SHA-256, or 32 of MD5",
                received=f"{len(file_hash)} characters, hash_algorithm={algorithm!r}",
            )
        return cls(algorithm, file_hash)

    def start(self) -> Any:
        """A running hash."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def fits(self, path: Path) -> bool:
        """Whether the file has this checksum."""
        running = self.start()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                running.update(block)
        return running.hexdigest() == self.value


def _checked_address(origin: str | None) -> str:
    if not origin:
        raise ArgumentError(
            "There is nothing to download.",
            where="get_file(origin=...)",
            expected="an address, https://...",
            received=repr(origin),
        )
    address = str(origin)
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0 and address.isprintable()
    except ValueError:
        usable = False
    if not usable:
        raise ArgumentError(
            "This address cannot be downloaded from.",
            where="get_file(origin=...)",
            expected="an address that starts with https://",
            received=repr(origin)[:200],
        )
    return address


def _is_safe_transport(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def _checked_name(fname: str | os.PathLike[str] | None, address: str) -> str:
    """The file's name in the cache, which must be a plain one."""
    name = os.fspath(fname) if fname else unquote(posixpath.basename(urlsplit(address).path))
    is_plain = name.isprintable() and name not in ("", ".", "..") and not any(c in name for c in "/\\:")
    # Room for the endings of what is written beside it.
    if not is_plain or len(os.fsencode(name)) > _NAME_BYTES:
        raise ArgumentError(
            "The file has no plain name.",
            where="get_file(fname=...)",
            expected=f"a name without folders, of at most {_NAME_BYTES} bytes",
            received=repr(name)[:200],
            fix="pass fname=...; folders are named by cache_dir and cache_subdir",
        )
    return name


def _archive_name(name: str, given: bool) -> str:
    """Keras's names for an archive in the cache and the folder beside it."""
    return name if given and "." in name else f"{name}_archive"


def _unpacked_name(name: str, given: bool) -> str:
    return f"{name.split('.')[0]}_extracted" if given and "." in name else name
