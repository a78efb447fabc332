import contextlib
import io
import os
import pickle

import numpy as np
import pytest

from lamina.core.errors import FileError
from lamina.datasets.streams import read_object_array, read_plain


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "value",
    [
        [1, 200, 70000, -5, 2**70, True, None, 1.5],
        {"a": [1], b"b": (1, (2, "x"), ()), 3: {}},
        [],
        "text",
        b"bytes",
        ["same"] * 3,
    ],
)
def test_plain_values(value, protocol):
    assert read_plain(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", ">i4", "bool"])
def test_arrays(dtype, protocol):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    for value in (array, np.asfortranarray(array), array[:0], array[0, 0:1].reshape(())):
        found = read_plain(pickle.dumps({"x": value}, protocol=protocol))["x"]
        assert found.dtype == value.dtype and found.shape == value.shape
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_lists(protocol):
    rows = np.empty(3, dtype=object)
    rows[:] = [[1, 2, 300], [], [70000]]
    assert read_plain(pickle.dumps(rows, protocol=protocol)).tolist() == rows.tolist()


def test_npy_with_lists():
    rows = np.empty(2, dtype=object)
    rows[:] = [[1], [2, 3]]
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=True)
    buffer.seek(0)
    assert read_object_array(buffer).tolist() == [[1], [2, 3]]


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        Runs(os.system, "echo ran > ran"),
        Runs(eval, "1 + 1"),
        Runs(open, "ran", "w"),
        os.system,
        np.dtype("f4"),
    ],
)
def test_code_is_refused(value, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError):
        read_plain(pickle.dumps(value, protocol=protocol))
    with pytest.raises(FileError):
        read_plain(pickle.dumps([value], protocol=protocol))
    assert not os.listdir(tmp_path)


def test_damaged_streams_are_refused():
    stream = pickle.dumps({"data": np.arange(100), "labels": list(range(100))}, protocol=2)
    random = np.random.default_rng(0)
    for cut in range(0, len(stream), 7):
        with pytest.raises(FileError):
            read_plain(stream[:cut])
    for _ in range(300):
        damaged = bytearray(stream)
        damaged[random.integers(len(stream))] = random.integers(256)
        with contextlib.suppress(FileError):
            read_plain(bytes(damaged))


def test_array_larger_than_its_content_is_refused():
    stream = pickle.dumps(np.zeros(4, "u1"), protocol=4)
    huge = stream.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85")
    assert huge != stream
    with pytest.raises(FileError, match="fill its shape"):
        read_plain(huge)
