import hashlib
import io
import os
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import pytest

from lamina.core.errors import ArgumentError, DownloadError, FileError
from lamina.datasets import download
from lamina.datasets.download import get_file

CONTENT = b"some words\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def leftovers(folder):
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".part")]


def test_downloads_once_and_keeps(server, tmp_path):
    server.files["/words.txt"] = CONTENT
    for _ in range(2):
        path = get_file(origin=f"{server.url}/words.txt", file_hash=SHA256)
        assert Path(path) == tmp_path / "home" / "datasets" / "words.txt"
        assert Path(path).read_bytes() == CONTENT
    assert server.requests == ["/words.txt"]
    get_file(origin=f"{server.url}/words.txt", force_download=True)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "kwargs", [{"file_hash": SHA256}, {"file_hash": SHA256.upper()}, {"md5_hash": MD5}, {"file_hash": MD5}]
)
def test_checksums_of_both_kinds(server, tmp_path, kwargs):
    server.files["/words.txt"] = CONTENT
    path = get_file("other.txt", f"{server.url}/words.txt", cache_dir=tmp_path, cache_subdir="x", **kwargs)
    assert Path(path) == tmp_path / "x" / "other.txt"


def test_an_archive_with_a_pipe_is_refused(server, tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("pipe")
        member.type = tarfile.FIFOTYPE
        tar.addfile(member)
    server.files["/a.tar"] = content.getvalue()
    with pytest.raises(FileError, match="device or a pipe"):
        get_file(origin=f"{server.url}/a.tar", extract=True)
    assert not list(tmp_path.rglob("pipe"))


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    server.files["/words.txt"] = CONTENT
    with pytest.raises(DownloadError, match="not the one expected") as caught:
        get_file(origin=f"{server.url}/words.txt", file_hash="0" * 64)
    assert "sha256 " + SHA256 in str(caught.value)
    assert not (tmp_path / "home" / "datasets" / "words.txt").exists()
    assert not leftovers(tmp_path)


def test_a_damaged_cached_file_is_fetched_again(server, tmp_path, capsys):
    server.files["/words.txt"] = CONTENT
    cached = tmp_path / "home" / "datasets" / "words.txt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    get_file(origin=f"{server.url}/words.txt", file_hash=SHA256)
    assert cached.read_bytes() == CONTENT
    assert "downloading it again" in capsys.readouterr().err


def test_failed_download_keeps_the_older_file(server, tmp_path):
    cached = tmp_path / "home" / "datasets" / "words.txt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"older")
    with pytest.raises(DownloadError, match="404"):
        get_file(origin=f"{server.url}/words.txt", force_download=True)
    assert cached.read_bytes() == b"older"
    assert not leftovers(tmp_path)


def test_short_answer(server, tmp_path):
    server.files["/words.txt"] = (200, {"Content-Length": str(len(CONTENT) + 5)}, CONTENT)
    with pytest.raises(DownloadError):
        get_file(origin=f"{server.url}/words.txt")
    assert not leftovers(tmp_path)


def test_no_server_says_what_to_do(tmp_path):
    with pytest.raises(DownloadError, match="by hand") as caught:
        get_file(origin="http://127.0.0.1:9/words.txt")
    assert str(tmp_path / "home" / "datasets" / "words.txt") in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_redirects_are_followed_but_not_to_other_schemes(server):
    server.files["/words.txt"] = CONTENT
    server.files["/moved"] = (302, {"Location": f"{server.url}/words.txt"}, b"")
    server.files["/trap"] = (302, {"Location": "file:///etc/hostname"}, b"")
    assert Path(get_file("a", f"{server.url}/moved")).read_bytes() == CONTENT
    with pytest.raises(DownloadError):
        get_file("b", f"{server.url}/trap")


def test_no_redirect_from_encrypted_to_plain():
    request = download.urllib.request.Request("https://example.com/a")
    with pytest.raises(urllib.error.URLError, match="not encrypted"):
        download._NoDowngrade().redirect_request(request, io.BytesIO(), 302, "", {}, "http://example.com/a")


UNUSABLE = [
    *(None, "", "file:///etc/passwd", "ftp://host/a", "words.txt", "https:///a", "https://[::1/a", "data:,a"),
    *("https://host:99999/a", "https://host:x/a", "https://host/a\r\nHost: other", "javascript:a", "//host/a"),
]


@pytest.mark.parametrize("origin", UNUSABLE)
def test_unusable_addresses(origin):
    with pytest.raises(ArgumentError, match="origin"):
        get_file("a", origin)


@pytest.mark.parametrize("fname", ["a/b", "../a", "..", "a\\b", "c:a", "a\0", "/etc/passwd", "a\nb", "a" * 300])
def test_unusable_names(fname, tmp_path):
    with pytest.raises(ArgumentError, match="plain name"):
        get_file(fname, "https://example.com/a")
    assert not list(tmp_path.iterdir())


HOSTILE_ENDS = [
    "",
    "?name=a",
    "%2e%2e",
    "..",
    "a%2f..%2fb",
    "%2Fetc%2Fpasswd",
    "a%5cb",
    "a\\b",
    "C%3aa",
    "%00",
    "%0a",
    ".",
]


@pytest.mark.parametrize("end", HOSTILE_ENDS)
def test_addresses_that_end_in_no_plain_name(end, tmp_path):
    with pytest.raises(ArgumentError, match="plain name"):
        get_file(origin=f"https://example.com/{end}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tail", ["?x=../../evil", "#/../evil", "?a=/etc/passwd&b=c\\d", ";v=1"])
def test_only_the_path_names_the_file(server, tmp_path, tail):
    sent = tail.partition("#")[0]
    server.files[f"/some/words.txt{sent}"] = CONTENT
    path = Path(get_file(origin=f"{server.url}/some/words.txt{tail}"))
    assert path.parent == tmp_path / "home" / "datasets" and path.name in ("words.txt", "words.txt;v=1")


def test_a_header_names_no_file(server, tmp_path):
    disposition = {"Content-Disposition": 'attachment; filename="../../evil"'}
    server.files["/words.txt"] = (200, disposition, CONTENT)
    assert Path(get_file(origin=f"{server.url}/words.txt")).name == "words.txt"
    assert not list(tmp_path.rglob("*evil*"))


def test_answers_that_are_none(server, tmp_path):
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": "7"}
    server.files["/words.txt"] = (200, chunked, b"zz\r\nhalf")
    with pytest.raises(DownloadError, match=r"words\.txt failed"):
        get_file(origin=f"{server.url}/words.txt")
    with pytest.raises(DownloadError, match="URL can't contain"):
        get_file("a", f"{server.url}/a b")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_while_it_is_downloaded_nothing_has_the_name(server, tmp_path, monkeypatch):
    server.files["/words.txt"] = CONTENT
    seen, target = [], tmp_path / "home" / "datasets" / "words.txt"

    class Watched(download.Checksum):
        def start(self):
            seen.append(target.exists())
            return super().start()

    download.download(f"{server.url}/words.txt", target, Watched("sha256", SHA256))
    assert seen == [False] and target.read_bytes() == CONTENT


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupted(_address):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "open_address", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get_file(origin=f"{server.url}/words.txt")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_archive_is_unpacked_only_with_the_right_checksum(server, tmp_path):
    server.files["/pets"] = tar_of({"cat.txt": b"miaow"})
    with pytest.raises(DownloadError, match="not the one expected"):
        get_file("pets", f"{server.url}/pets", file_hash=SHA256, extract=True)
    assert not list(tmp_path.rglob("cat.txt"))


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_archives_that_would_fill_the_disk(server, tmp_path, pack):
    buffer = io.BytesIO()
    if pack == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(100 << 20))
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo("zeros")
            info.size = 100 << 20
            archive.addfile(info, io.BytesIO(bytes(100 << 20)))
    server.files["/bomb"] = buffer.getvalue()
    with pytest.raises(FileError, match="far more than it holds"):
        get_file("bomb", f"{server.url}/bomb", extract=True)
    assert not list(tmp_path.rglob("zeros"))


def test_archives_that_are_damaged_or_too_many(server, monkeypatch):
    def content(pack):
        packed = bytearray(pack({"a.txt": bytes(range(256)) * 40}))
        packed[len(packed) // 2] ^= 255
        return bytes(packed)

    for name, pack in (("a", tar_of), ("b", zip_of)):
        server.files[f"/{name}"] = content(pack)
        with pytest.raises(FileError, match="cannot be unpacked"):
            get_file(name, f"{server.url}/{name}", extract=True)
    monkeypatch.setattr("lamina.datasets.unpacking.MAX_MEMBERS", 1)
    server.files["/c"] = zip_of({"a": b"", "b": b""})
    with pytest.raises(FileError, match="too many files"):
        get_file("c", f"{server.url}/c", extract=True)


def test_unknown_checksum():
    with pytest.raises(ArgumentError, match="checksum"):
        get_file("a", "https://example.com/a", file_hash="abc")


def test_plain_http_without_checksum_warns(monkeypatch):
    monkeypatch.setattr(download, "open_address", lambda address: pytest.fail("stop", pytrace=False))
    with pytest.warns(UserWarning, match="without a checksum"), pytest.raises(pytest.fail.Exception):
        get_file("a", "http://example.com/a")


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match="LAMINA_HOME"):
        get_file("a", "http://127.0.0.1:9/a")


def test_progress_bar_on_a_terminal(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    server.files["/words.txt"] = CONTENT
    get_file(origin=f"{server.url}/words.txt")
    assert "words.txt" in terminal.getvalue()


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_extract(server, tmp_path, pack):
    server.files["/pets.tgz"] = pack({"pets/cat.txt": b"miaow", "pets/dog.txt": b"woof"})
    folder = Path(get_file("pets", f"{server.url}/pets.tgz", extract=True))
    assert folder == tmp_path / "home" / "datasets" / "pets"
    assert (folder / "pets" / "cat.txt").read_bytes() == b"miaow"
    assert Path(get_file("pets.tgz", f"{server.url}/pets.tgz", extract=True)).name == "pets_extracted"
    assert get_file("pets", f"{server.url}/pets.tgz", extract=True) == str(folder)
    assert server.requests.count("/pets.tgz") == 2


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "a\\..\\..\\evil"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_extract_never_leaves_the_folder(server, tmp_path, pack, name):
    server.files["/pets"] = pack({"fine.txt": b"", name: b"evil"})
    with pytest.raises(FileError, match="outside"):
        get_file("pets", f"{server.url}/pets", extract=True)
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "home" / "datasets" / "pets").exists()


def test_extract_refuses_links_out(server, tmp_path):
    server.files["/pets"] = tar_of({"link": None})
    with pytest.raises(FileError):
        get_file("pets", f"{server.url}/pets", extract=True)


def test_extract_what_is_no_archive(server):
    server.files["/pets"] = CONTENT
    with pytest.raises(FileError, match="no archive"):
        get_file("pets", f"{server.url}/pets", extract=True)
    with pytest.raises(ArgumentError, match="format"):
        get_file("pets", f"{server.url}/pets", extract=True, archive_format="rar")
