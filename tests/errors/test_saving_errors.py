"""Each error of files that are saved and loaded, and of FeatureSpace, provoked."""

import contextlib
import io
import json
import os
import random
import shutil
import struct

import h5py
import numpy as np
import pytest
import torch

import lamina
from lamina import layers, saving
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from lamina.core.forms import COUNT, GENERATORS, Maybe, any_of, array_like, check, check_generator, check_generators
from lamina.core.seeds import generators_state
from lamina.datasets.sources import find_file
from lamina.saving import Limits, shards
from lamina.saving.archive import newest
from lamina.saving.checkpoint import Snapshot, read_checkpoint
from lamina.saving.hdf5 import WeightsReader
from lamina.saving.safetensors import SafetensorsReader
from lamina.utils import FeatureSpace


def model():
    return lamina.Sequential([layers.Input((4,)), layers.Dense(2)])


@pytest.fixture
def folder(tmp_path):
    model().save(tmp_path / "saved", zipped=False)
    return tmp_path / "saved"


# Folders.


def test_folders_lack_a_member_or_hold_too_much(folder):
    with pytest.raises(FileError, match=r"config\.json is too long"):
        saving.load_model(folder, limits=Limits(json_bytes=10))
    (folder / "model.weights.h5").unlink()
    with pytest.raises(FileError, match=r"lacks model\.weights\.h5"):
        saving.load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "assets"])
def test_folders_with_links(folder, name):
    (folder / name).rename(folder / "other")
    (folder / name).symlink_to(folder / "other")
    with pytest.raises(FileError, match=f"is a link[^$]*{name}"):
        saving.load_model(folder)


def test_assets_that_are_larger_than_what_is_stored(folder):
    with (folder / "assets" / "x").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match="far more than they hold"):
        saving.load_model(folder)


def test_checkpoints_among_others_that_are_no_folders(folder, tmp_path):
    steps = tmp_path / "steps"
    shutil.copytree(folder, steps / "3")
    assert newest(steps) == steps / "3"
    (steps / "10").symlink_to(folder)
    with pytest.raises(FileError, match="a link"):
        saving.load_model(steps)
    (steps / "10").unlink()
    (steps / "10").write_text("")
    with pytest.raises(FileError, match="a file"):
        model().load_weights(steps)


def test_what_is_no_checkpoint_is_not_removed(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "steps" / "7").write_text("a file")
    (tmp_path / "steps" / "8").symlink_to(tmp_path / "kept")
    made = model()
    made.compile("sgd", "mse")
    made.fit(np.ones((4, 4)), np.ones((4, 2)), 4, 2, 0, [lamina.callbacks.OrbaxCheckpoint(tmp_path / "steps")])
    assert sorted(path.name for path in (tmp_path / "steps").iterdir()) == ["1", "7", "8"]
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("name", ["w.weights.h5", "w.safetensors", "w.keras"])
def test_pipes_and_folders_are_no_files(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(FileError, match="a device or a pipe"):
        model().load_weights(path)
    path.unlink()
    if name != "w.keras":
        path.mkdir()
        with pytest.raises(FileError, match="a folder"):
            model().load_weights(path)
        path.rmdir()
    with pytest.raises(FileError, match="cannot be opened"):
        model().load_weights(path)


# HDF5.


def weights(change=None, **options):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("vars/0", data=np.arange(64.0).reshape(8, 8), **options)
        if change is not None:
            change(file)
    return buffer


def read(buffer):
    with WeightsReader(buffer, "w.weights.h5") as reader:
        return reader.entries("")["0"]


def test_entries_that_are_cut_off_or_damaged():
    buffer = weights()
    with WeightsReader(buffer, "w.weights.h5") as reader:
        buffer.truncate(2100)
        with pytest.raises(FileError, match=r"cut off[^$]*vars/0"):
            reader.entries("")["0"]
    buffer = weights(chunks=(4, 4), compression="gzip", fletcher32=True)
    content = bytearray(buffer.getvalue())
    with h5py.File(buffer) as file:
        place = file["vars/0"].id.get_chunk_info(0)
    content[place.byte_offset + place.size // 2] ^= 255
    with pytest.raises(FileError, match=r"piece of the entry is damaged[^$]*\(0, 0\)"):
        read(io.BytesIO(bytes(content)))


def test_entries_that_are_not_there():
    with WeightsReader(weights(), "w.weights.h5") as reader, pytest.raises(FileError, match=r"holds no entry /vars/7"):
        reader.entries("")["7"]


def test_texts_that_are_damaged():
    def change(file):
        file.attrs["layer_names"] = np.array([b"caf\xe9"])

    with (
        WeightsReader(weights(change), "w.h5") as reader,
        pytest.raises(FileError, match="text in the HDF5 file is damaged"),
    ):
        reader.attributes("", "layer_names")


# Safetensors.


def tensors(header, content=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(text)) + text + content)


def entry(**changes):
    return {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}


LIES = {
    "no safetensors": (b"{", "one of 1 bytes"),
    "no table of texts": ({"__metadata__": {"a": 1}, "a": entry()}, "__metadata__"),
    "too many tensors": ({str(index): entry() for index in range(9)}, r"Limits\(arrays"),
    "no description of a tensor": ({"a": [1]}, "data_offsets"),
    "description": ({"a": entry(dtype="F99")}, "F32"),
    "another size": ({"a": entry(shape=[3])}, "12 bytes"),
    "overlap": ({"a": entry(), "b": entry()}, "begins at byte 16"),
    "another length": ({"a": entry(shape=[3], data_offsets=[0, 12])}, "12 bytes of tensors"),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_of_safetensors_that_lie(lie):
    header, words = LIES[lie]
    with pytest.raises(FileError, match=words):
        SafetensorsReader(tensors(header), "w.safetensors", Limits(arrays=5))


def test_safetensors_that_are_cut_off_while_they_are_read():
    file = tensors({"a": entry()})
    reader = SafetensorsReader(file, "w.safetensors")
    file.truncate(len(file.getvalue()) - 3)
    (path,) = reader.paths()
    with pytest.raises(FileError, match="13 bytes, where the file ends"):
        list(reader.entries(path).values())


def test_dtypes_that_safetensors_lack(tmp_path):
    class Wide(layers.Layer):
        def build(self, input_shape):
            self.angle = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex128), requires_grad=False)

        def save_own_variables(self, store):
            store["0"] = self.angle

        def call(self, inputs):
            return inputs

    with pytest.raises(FileError, match="no such dtype"):
        lamina.Sequential([layers.Input((4,)), Wide()]).save_weights(tmp_path / "w.safetensors")


# Shards and configs.


@pytest.fixture
def table(tmp_path):
    model().save_weights(tmp_path / "s.weights.json", max_shard_size=1)
    return tmp_path / "s.weights.json"


def test_tables_of_shards_that_lie(table):
    content = json.loads(table.read_text())
    (shard,) = shards.shard_names(table)
    shutil.copy(table.with_name(shard), table.with_name("other.weights.h5"))
    forged = {
        "weight_map": 3,
        "names of files": {"weight_map": {"/a": 3}},
        "beside": {"weight_map": {"/a": "b/c.h5"}},
        "in one shard": {"weight_map": {"/a": [shard, "other.weights.h5"]}},
        "too many shards": {"weight_map": {str(index): f"{index}.h5" for index in range(12)}},
    }
    for words, value in forged.items():
        table.write_text(json.dumps({**content, **value} if isinstance(value, dict) else {"weight_map": value}))
        with pytest.raises(FileError, match=words):
            model().load_weights(table, limits=Limits(members=10))


def test_shards_that_are_replaced_all_the_time(table, monkeypatch):
    names = iter(range(99))
    monkeypatch.setattr(shards, "shard_names", lambda *_: [f"{next(names)}.weights.h5"])
    with pytest.raises(FileError, match="time and again"):
        model().load_weights(table)


def test_configs_that_json_cannot_hold(tmp_path):
    class Turned:
        def get_config(self):
            return {"by": np.complex64(1j)}

    with pytest.raises(ArgumentError, match="cannot be saved"):
        saving.save_model(Turned(), tmp_path / "m.keras")


# Checkpoints.


def test_checkpoints_cannot_hold_or_be_everything(tmp_path):
    with pytest.raises(FileError, match=r"neither text nor a number"):
        Snapshot({"a": {(1, 2): 3}})
    with pytest.raises(FileError, match=r"cannot be written[^$]*a/0"):
        Snapshot({"a": [object()]})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "c")
    for name, words in (("a", "a folder"), ("b", "a link"), ("c", "a device or a pipe")):
        with pytest.raises(FileError, match=f"no plain file[^$]*{words}"):
            read_checkpoint(tmp_path / name)


def test_arrays_of_checkpoints_that_shrink_while_they_are_read(tmp_path, monkeypatch):
    Snapshot({"a": torch.ones(4)}).write(tmp_path / "a")
    monkeypatch.setattr("lamina.saving.archive.Window.readinto", lambda *_: 0)
    monkeypatch.setattr("lamina.saving.archive.ZipArchive._check_content", lambda *_: None)
    with pytest.raises(FileError, match=r"cut off[^$]*table/0"):
        read_checkpoint(tmp_path / "a")


FORMS = [
    (3.5, COUNT, "a whole number from 0 on"),
    (True, int, "a whole number"),
    (1, bool, "True or False"),
    (None, str, "text"),
    ([], None, "None"),
    ("x", (None, int), "None or a whole number"),
    ({"a": 1}, {"a": str}, "f: a"),
    ({}, {"a": str}, "nothing"),
    ({"lr": 1}, {"rl": Maybe(int)}, "nothing of that name"),
    ({3: 1}, {str: int}, "f: 3"),
    ([1, "x"], [int], "f: 1"),
    (3, [int], "a list"),
    (3, {"a": int}, "a dict of a"),
    (3, {}, "an empty dict"),
    ("c", any_of("a", "b"), "'a' or 'b'"),
    (np.zeros(3), array_like(np.zeros((2, 2))), r"float64 \(2, 2\)"),
    ({"a": {"b": 1}}, ({"a": {"b": str}}, None), "f: a/b"),
]


@pytest.mark.parametrize(("value", "form", "words"), FORMS)
def test_forms(value, form, words):
    with pytest.raises(FileError, match=words):
        check(value, form, "f")


def test_forms_that_fit():
    check({"a": [1, 2], "c": None}, {"a": [COUNT], "b": Maybe(str), "c": (None, str)}, "f")
    check_generators(generators_state(), "f", "generators")
    assert GENERATORS.keys() >= generators_state().keys() - {"cuda"}


@pytest.mark.parametrize(
    ("own", "change"),
    [
        (np.random.default_rng(0), {"state": {"state": -1, "inc": 1}}),
        (np.random.Generator(np.random.Philox(0)), {"buffer_pos": -9}),
        (np.random.Generator(np.random.MT19937(0)), {"state": {"key": np.zeros(624, "uint32"), "pos": 10**9}}),
    ],
)
def test_states_that_lead_out_of_a_generators_memory(own, change):
    state = own.bit_generator.state
    check_generator(state, own, "f", "g")
    with pytest.raises(FileError, match="f: g"):
        check_generator({**state, **change}, own, "f", "g")


def test_states_of_other_generators():
    for own in (random, np.random.RandomState(0), torch.Generator()):
        with pytest.raises(FileError, match="f: g"):
            check_generator({"version": 3}, own, "f", "g")


# Arguments.


def test_arguments_of_loading(tmp_path):
    path = tmp_path / "w.weights.h5"
    model().save_weights(path)
    calls = {
        "by_name is for": lambda: model().load_weights(path, by_name=True),
        "mmap is for": lambda: model().load_weights(path, mmap=True),
        "load_weights does not know": lambda: model().load_weights(path, more=1),
        "save_weights does not know": lambda: model().save_weights(path, more=1),
        "save_model does not know": lambda: model().save(tmp_path / "m.keras", more=1),
    }
    for words, call in calls.items():
        with pytest.raises(ArgumentError, match=words):
            call()
    old = tmp_path / "m.h5"
    model().save(old)
    with pytest.raises(ArgumentError, match="objects_to_skip is for"):
        model().load_weights(old, objects_to_skip=[1])


def test_paths_of_data_sets():
    for name in ("../a", "", "a/b"):
        with pytest.raises(ArgumentError, match="no plain file name"):
            find_file(name, "https://example.com/a", "0" * 64)


# FeatureSpace.


SPACES = {
    "cannot be None or empty": lambda: FeatureSpace({}),
    "not made of the names": lambda: FeatureSpace.cross("ab", 3),
    "two names or more": lambda: FeatureSpace.cross(["a"], 3),
    "cannot have this size": lambda: FeatureSpace.cross(["a", "b"], 1 << 40),
    "`crossing_dim` is needed": lambda: FeatureSpace({"a": "float"}, crosses=[("a", "a")], crossing_dim=0),
    "no layer": lambda: FeatureSpace.feature("float32", "relu", "float"),
    "no name of a dtype": lambda: FeatureSpace.feature(None, layers.Dense(1), "float"),
    "Only integers": lambda: FeatureSpace({"a": FeatureSpace.feature("float32", layers.Rescaling(1.0), "one_hot")})(
        {"a": [1.0]}
    ),
    "given no data": lambda: FeatureSpace({"a": "float_normalized"}).adapt([]),
}


@pytest.mark.parametrize("words", SPACES)
def test_feature_spaces(words):
    with pytest.raises((ArgumentError, ArgumentTypeError, DataError), match=words):
        SPACES[words]()


@pytest.mark.parametrize("words", ["a path", "of that name already", "no such place", "no dict", "be a weight"])
def test_edits_that_cannot_be(tmp_path, words):
    path = tmp_path / "w.weights.h5"
    lamina.Sequential([layers.Input((4,)), layers.Dense(2), layers.Dense(2)]).save_weights(path)
    editor = saving.KerasFileEditor(path)
    calls = {
        "a path": lambda: editor.rename_object("dense", "a/b"),
        "of that name already": lambda: editor.rename_object("dense", "dense_1"),
        "no such place": lambda: editor.add_object("nowhere/dense", {}),
        "no dict": lambda: editor.add_weights("dense", [1]),
        "be a weight": lambda: editor.add_weights("dense", {"a/b": np.zeros(2)}),
    }
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        calls[words]()
    with contextlib.suppress(ArgumentError):
        editor.save(path)
