"""Each error of data sets' files, and of the doctor's findings, provoked."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from lamina.datasets import california_housing, cifar, cifar100, fashion_mnist, imdb, streams, texts
from lamina.doctor import Finding

BATCH = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}, protocol=2)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def archive(kind=tarfile.REGTYPE, content=BATCH):
    """A batch of images read from an archive."""
    with tarfile.open("images.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("batch")
        info.type, info.size = kind, len(content)
        tar.addfile(info, io.BytesIO(content))
    return cifar.read_batches("images.tar.gz", ["batch"], ["labels"])


def arrays(name="x", content=b""):
    """An array read from a zip file."""
    with zipfile.ZipFile("texts.npz", "w") as file:
        file.writestr(f"{name}.npy", content)
    return texts.read_rows("texts.npz", "x")


def object_array(shape, content):
    """An array file whose header names a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "|O"})
    return stream.getvalue() + pickle.dumps(content, protocol=2)


def words(table):
    path = texts.Path("words.json")
    path.write_text(table)
    return texts.read_word_index(path)


CASES = {
    "no file in an archive": (lambda: archive(tarfile.DIRTYPE, b""), FileError, "images.tar.gz: batch"),
    "a damaged batch": (lambda: archive(content=BATCH[:40]), FileError, "downloaded anew"),
    "no archive": (lambda: cifar.read_batches(texts.Path(__file__), ["batch"], []), FileError, "downloaded anew"),
    "no gzip": (lambda: fashion_mnist.read_idx(texts.Path(__file__), (1,)), FileError, "downloaded anew"),
    "no array": (lambda: arrays("y"), DataError, "downloaded anew"),
    "no header": (arrays, FileError, "texts.npz"),
    "another shape": (lambda: arrays(content=object_array((3,), np.array([[1], [2]], object))), FileError, "(3,)"),
    "a cut stream": (lambda: streams.read_plain(b"\x80"), FileError, "cut short"),
    "a damaged stream": (lambda: streams.read_plain(b"K\x01e."), FileError, "as published"),
    "a function": (lambda: streams.read_plain(pickle.dumps(print)), FileError, "plain data"),
    "no words": (lambda: words("{"), FileError, "words.json"),
    "other words": (lambda: words(json.dumps({"a": "b"})), FileError, "no table"),
    "short texts": (lambda: texts.drop_long([[1, 2]], np.zeros(1), 1), ArgumentError, "raise maxlen"),
    "an argument": (lambda: imdb.load_data(num_wrds=3), ArgumentTypeError, 'mean "num_words"'),
    "labels": (lambda: cifar100.load_data("corse"), ArgumentError, 'mean "coarse"'),
    "a version": (lambda: california_housing.load_data("tiny"), ArgumentError, "version"),
    "a share": (lambda: california_housing.load_data(test_split=1.0), ArgumentError, "test_split"),
    "a code": (lambda: Finding("ded-relu", "error", None, "", "", ""), ArgumentError, 'mean "dead-relu"'),
    "a severity": (lambda: Finding("dead-relu", "bad", None, "", "", ""), ArgumentError, "Finding, severity"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case):
    provoke, kind, words = CASES[case]
    with pytest.raises(kind) as caught:
        provoke()
    assert words in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_member_that_is_too_large(monkeypatch):
    monkeypatch.setattr(texts, "_MAX_MEMBER_BYTES", 1)
    with pytest.raises(FileError, match=r"texts.npz: x"):
        arrays(content=b"12")


def test_an_array_of_another_kind():
    texts.Path("a.gz").write_bytes(gzip.compress(bytes(5)))
    with pytest.raises(DataError, match=r"expected: \(1,\)"):
        fashion_mnist.read_idx(texts.Path("a.gz"), (1,))
