"""Checkpoints of runs are read by the closed reader: they can be damaged, or lie, and nothing comes of it."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from lamina.core.errors import FileError
from lamina.core.limits import Limits
from lamina.saving.checkpoint import ARRAYS, STATE, Snapshot, read_checkpoint

VALUE = {"weights": [torch.arange(6.0).reshape(2, 3)], "seeds": np.arange(4), "at": (1, "x", None), 3: 2.5}


def written(tmp_path):
    Snapshot(VALUE).write(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as archive:
        return json.loads(archive.read(STATE)), archive.read(ARRAYS)


def packed(state, arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(STATE, state if isinstance(state, str) else json.dumps(state))
        archive.writestr(ARRAYS, arrays)
    buffer.seek(0)
    return buffer


def test_from_a_path_and_from_a_file(tmp_path):
    Snapshot(VALUE).write(tmp_path / "a")
    for source in (tmp_path / "a", io.BytesIO((tmp_path / "a").read_bytes())):
        found = read_checkpoint(source)
        assert found["at"] == (1, "x", None) and found[3] == 2.5
        assert torch.equal(found["weights"][0], VALUE["weights"][0])
        np.testing.assert_array_equal(found["seeds"], VALUE["seeds"])


LIES = {
    "two arrays share bytes": {"at": 0},
    "too large": {"shape": [1 << 40], "size": 1 << 42},
    "negative": {"shape": [-1], "size": -8},
    "endless": {"size": float("inf")},
    "text": {"shape": "4"},
    "another size": {"shape": [5]},
    "no dtype": {"dtype": "object"},
}


@pytest.mark.parametrize("lie", LIES)
def test_entries_that_lie(lie, tmp_path):
    state, arrays = written(tmp_path)
    state["table"][1] |= LIES[lie]
    with pytest.raises(FileError, match="damaged"):
        read_checkpoint(packed(state, arrays))


@pytest.mark.parametrize("tree", [{"tensor": 9}, {"array": "x"}, {"dict": [[[], 1]]}, {"a": 1, "b": 2}, {"tuple": 3}])
def test_trees_that_lie(tree, tmp_path):
    state, arrays = written(tmp_path)
    with pytest.raises(FileError, match="damaged"):
        read_checkpoint(packed({**state, "tree": tree}, arrays))


def test_bounds(tmp_path):
    state, arrays = written(tmp_path)
    with pytest.raises(FileError, match="too long"):
        read_checkpoint(packed(state, arrays), Limits(json_bytes=10))
    deep = json.dumps({**state, "tree": None}).replace('"tree": null', '"tree": ' + "[" * 600 + "]" * 600)
    with pytest.raises(FileError, match="nested"):
        read_checkpoint(packed(deep, arrays))


def test_a_damaged_name_in_a_header(tmp_path):
    Snapshot(VALUE).write(tmp_path / "a")
    content = bytearray((tmp_path / "a").read_bytes())
    content[30] = 0xFF
    content[7] |= 8  # the name is said to be UTF-8
    with pytest.raises(FileError):
        read_checkpoint(io.BytesIO(bytes(content)))
