import io
import json
import os
import stat
import struct
import zipfile

import pytest

from lamina.core.errors import FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.archive import CONFIG, WEIGHTS, Window, open_archive, parse_json
from lamina.saving.files import may_write, replacing


def zip_of(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    buffer.seek(0)
    return buffer


def opened(buffer, limits=DEFAULT):
    return open_archive(buffer, limits).__enter__()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reads_what_was_written(compression):
    content = os.urandom(5000)
    archive = opened(zip_of({CONFIG: '{"a": 1}', WEIGHTS: content, "assets/a/v.txt": "x"}, compression))
    assert archive.has(CONFIG) and not archive.has("other")
    assert parse_json(archive.text(CONFIG), "test") == {"a": 1}
    with archive.binary(WEIGHTS) as file:
        assert file.read() == content
        file.seek(100)
        assert file.read(50) == content[100:150]
        file.seek(-10, os.SEEK_END)
        assert file.read(50) == content[-10:]


def test_assets(tmp_path):
    archive = opened(zip_of({"assets/layers/v.txt": "x", "assets/w.txt": "y", "other/z.txt": "z"}))
    archive.extract_assets(tmp_path)
    assert (tmp_path / "layers" / "v.txt").read_text() == "x"
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["v.txt", "w.txt"]


@pytest.mark.parametrize("name", ["/a", "../a", "assets/../../a", "a\\b", "c:/a", "..", "x" * 2000])
def test_names_that_lead_out(name):
    with pytest.raises(FileError, match="leads out"):
        opened(zip_of({CONFIG: "{}", name: "evil"}))


def test_names_with_a_null_byte():
    buffer = zip_of({"abcde": "evil"})
    with pytest.raises(FileError):
        opened(io.BytesIO(buffer.getvalue().replace(b"abcde", b"ab\0de")))


def test_links_and_devices():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("assets/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(FileError, match="no file"):
        opened(buffer)


def test_the_same_name_twice():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr(CONFIG, "{}")
        packed.writestr(CONFIG, '{"other": 1}')
    with pytest.raises(FileError, match="twice"):
        opened(buffer)


def test_too_many_members():
    with pytest.raises(FileError, match="too many"):
        opened(zip_of({str(index): "" for index in range(4)}), Limits(members=3))
    with pytest.raises(FileError, match="table of contents is too long"):
        opened(zip_of({f"{index:0900}": "" for index in range(10)}), Limits(members=3))


def test_unknown_compression():
    with pytest.raises(FileError, match="unknown way"):
        opened(zip_of({CONFIG: "{}" * 100}, zipfile.ZIP_LZMA))


def test_bomb_is_refused_before_unpacking():
    with pytest.raises(FileError, match="far more"):
        opened(zip_of({WEIGHTS: bytes(200 << 20)}, zipfile.ZIP_DEFLATED))


def test_sizes_that_lie():
    content = zip_of({CONFIG: "{}", WEIGHTS: b"a" * 100}).getvalue()
    central = content.rindex(b"PK\x01\x02")
    for size in (50, 1 << 30):
        lying = bytearray(content)
        struct.pack_into("<I", lying, central + 24, size)
        with pytest.raises(FileError, match="size is wrong"):
            opened(io.BytesIO(bytes(lying)))
        struct.pack_into("<I", lying, central + 20, size)
        with pytest.raises(FileError):
            archive = opened(io.BytesIO(bytes(lying)))
            archive.binary(WEIGHTS).__enter__()


def test_deflated_member_longer_than_it_says():
    content = zip_of({CONFIG: "a" * 10000}, zipfile.ZIP_DEFLATED).getvalue()
    lying = bytearray(content)
    struct.pack_into("<I", lying, content.rindex(b"PK\x01\x02") + 24, 10)
    with pytest.raises(FileError):
        opened(io.BytesIO(bytes(lying))).text(CONFIG)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_is_noticed(compression):
    content = os.urandom(2000)
    whole = zip_of({WEIGHTS: content}, compression).getvalue()
    damaged = bytearray(whole)
    damaged[1000] ^= 1
    with pytest.raises(FileError, match="damaged"):
        opened(io.BytesIO(bytes(damaged))).binary(WEIGHTS).__enter__()


def test_cut_short():
    whole = zip_of({CONFIG: "{}", WEIGHTS: os.urandom(500)}).getvalue()
    for cut in range(0, len(whole), 11):
        with pytest.raises(FileError):
            archive = opened(io.BytesIO(whole[:cut]))
            archive.text(CONFIG)
            archive.binary(WEIGHTS).__enter__()


def test_missing_member_and_missing_file(tmp_path):
    with pytest.raises(FileError, match=r"lacks config\.json"):
        opened(zip_of({"readme": ""})).text(CONFIG)
    with pytest.raises(FileError, match="cannot be opened"):
        open_archive(tmp_path / "none.keras").__enter__()
    with pytest.raises(FileError, match=r"lacks config\.json"):
        open_archive(tmp_path).__enter__().text(CONFIG)


def test_folder(tmp_path):
    (tmp_path / CONFIG).write_text("{}")
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    (tmp_path / "assets" / "a").mkdir(parents=True)
    (tmp_path / "assets" / "a" / "v.txt").write_text("x")
    (tmp_path / "assets" / "a" / "link").symlink_to("/etc/passwd")
    target = tmp_path / "copy"
    target.mkdir()
    with open_archive(tmp_path) as archive:
        assert archive.text(CONFIG) == "{}" and archive.has(WEIGHTS)
        with archive.binary(WEIGHTS) as file:
            assert file.read() == b"weights"
        archive.extract_assets(target)
    assert [path.name for path in target.rglob("*") if path.is_file()] == ["v.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no object"),
        ("{", "cannot be read"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a":' * 600 + "1" + "}" * 600, "deeply"),
        ('{"a":' + "[" * 600 + "]" * 600 + "}", "deeply"),
        ("[" * 1_000_000, "cannot be read"),
        ('{"a": ' + "9" * 10_000 + "}", "cannot be read"),
    ],
)
def test_json_that_is_refused(text, message):
    with pytest.raises(FileError, match=message):
        parse_json(text, "test")


def test_json_length():
    limits = Limits(json_bytes=10)
    with pytest.raises(FileError, match="too long"):
        parse_json(json.dumps({"a": "b" * 20}), "test", limits)
    with pytest.raises(FileError, match="too long"):
        opened(zip_of({CONFIG: json.dumps({"a": "b" * 20})}), limits).text(CONFIG)
    for text in ('{"a":[' + "[]," * 2_000_000 + "[]]}", '{"a":[' + "1," * 9_000_000 + "1]}"):
        with pytest.raises(FileError, match="too many values"):
            parse_json(text, "test")


def test_window():
    window = Window(io.BytesIO(b"0123456789"), 2, 5)
    assert (window.read(3), window.read(), window.read()) == (b"234", b"56", b"")
    assert (window.seek(-2, os.SEEK_END), window.read(9)) == (3, b"56")
    assert (window.seek(100), window.read(9)) == (100, b"")


def test_replacing_keeps_the_older_file_when_interrupted(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure), replacing(path) as file:
            file.write(b"half")
            raise failure
        assert path.read_bytes() == b"older" and os.listdir(tmp_path) == ["a.bin"]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a.bin"]


def test_replacing_follows_links_and_keeps_the_umask(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.bin"
    link.symlink_to(tmp_path / "real" / "a.bin")
    old = os.umask(0o027)
    try:
        with replacing(link) as file:
            file.write(b"new")
    finally:
        os.umask(old)
    assert link.is_symlink() and (tmp_path / "real" / "a.bin").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real" / "a.bin").stat().st_mode) == 0o640


def test_replacing_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="cannot be written"), replacing(tmp_path / "none" / "a.bin"):
        pass


def test_may_write(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    assert may_write(path, False)
    path.touch()
    assert may_write(path, True)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(FileError, match="overwrite=True"):
        may_write(path, False)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for answer, expected in (("y\n", True), ("n\n", False), ("\n", False)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert may_write(path, False) is expected
