import io

import h5py
import numpy as np
import pytest
import torch

from lamina.core.errors import FileError
from lamina.core.limits import DEFAULT, Limits
from lamina.saving.hdf5 import WeightsReader, WeightsWriter


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def reader_of(path, limits=DEFAULT):
    return WeightsReader(io.BytesIO(path.read_bytes()), str(path), limits)


def test_round_trip(path):
    values = {
        "0": torch.arange(6.0).reshape(2, 3),
        "1": np.float32(2.5),
        "2": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "3": torch.tensor(True),
        "4": np.arange(4, dtype=np.int64)[::2],
        "5": torch.zeros(0, 3),
        "6": torch.tensor([1 + 2j]),
        "7": torch.ones(2, dtype=torch.float16),
    }
    with path.open("w+b") as file, WeightsWriter(file) as writer:
        slots = writer.slots("layers/dense", "mine")
        for key, value in values.items():
            slots[key] = value
        assert len(slots) == 8 and set(slots) == set(values)
        writer.slots("layers/empty", None)
        writer.slots("", "model")
    with reader_of(path) as reader:
        entries = reader.entries("layers/dense")
        assert dict(entries.stored)["2"].dtype == "bfloat16" and str(entries.stored["0"]) == "float32 (2, 3)"
        for key, value in values.items():
            expected = value.float() if getattr(value, "dtype", None) is torch.bfloat16 else value
            np.testing.assert_array_equal(entries[key], np.asarray(expected))
        assert len(reader.entries("nowhere")) == 0 and reader.paths() == ["layers/dense"]
        assert not reader.has("layers/empty") and reader.has("layers/dense")
        with pytest.raises(FileError, match="layers/dense/vars/9"):
            entries["9"]
    with h5py.File(path) as file:
        assert file["layers/dense/vars"].attrs["name"] == "mine" and file["vars"].attrs["name"] == "model"
        assert file["layers/dense/vars/2"].dtype == "V2"


def refused(path, message):
    with pytest.raises(FileError, match=message):
        reader_of(path)


def test_links(path, tmp_path):
    (tmp_path / "secret.h5").touch()
    for link in (h5py.ExternalLink(str(tmp_path / "secret.h5"), "/"), h5py.SoftLink("/a")):
        for place in ("link", "layers/dense/vars/0"):
            with h5py.File(path, "w") as file:
                file.create_group("a")
                file[place] = link
            refused(path, "link")


def test_hard_links_that_go_round(path):
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense")
        group["up"] = file["layers"]
    refused(path, "twice")


def test_external_storage(path, tmp_path):
    (tmp_path / "secret").write_bytes(b"a" * 100)
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (100,), "u1", external=[(str(tmp_path / "secret"), 0, 100)])
    refused(path, "outside")


def test_virtual_datasets(path, tmp_path):
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (4,))
        file.create_virtual_dataset("vars/0", layout)
    refused(path, "outside")


def test_strings_references_and_compounds(path):
    for value in ("text", np.array([b"a"]), np.zeros(1, [("a", "f4"), ("b", "i4")])):
        with h5py.File(path, "w") as file:
            file["vars/0"] = value
        refused(path, "other than numbers")
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (1,), h5py.ref_dtype)
    refused(path, "other than numbers")
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (2,), h5py.vlen_dtype(np.float32))
    refused(path, "other than numbers")


def test_named_types_and_empty_spaces(path):
    with h5py.File(path, "w") as file:
        file["type"] = np.dtype("f4")
    refused(path, "other than groups")
    with h5py.File(path, "w") as file:
        file["vars/0"] = h5py.Empty("f4")
    refused(path, "usable shape")


def test_opaque_bytes_are_bfloat16_only_when_they_say_so(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", data=np.zeros(2, "V2"))
    refused(path, "other than numbers")


def test_arrays_larger_than_what_is_stored(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (1 << 40,), "f4")
    refused(path, "larger than what is stored")
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")
    refused(path, "larger than what is stored")


def test_compressed_arrays_are_read(path):
    with h5py.File(path, "w") as file:
        for key, options in (
            ("0", {"compression": "gzip", "shuffle": True, "fletcher32": True}),
            ("1", {"compression": "gzip", "compression_opts": 9}),
        ):
            file.create_dataset(f"vars/{key}", data=np.arange(1000.0), chunks=(100,), **options)
    with reader_of(path) as reader:
        np.testing.assert_array_equal(reader.entries("")["0"], np.arange(1000.0))
        np.testing.assert_array_equal(reader.entries("")["1"], np.arange(1000.0))


def test_unknown_filters(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", data=np.arange(1000), chunks=(100,), scaleoffset=0)
    refused(path, "unknown way")
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", data=np.arange(1000), chunks=(100,), compression="lzf")
    refused(path, "unknown way")


def test_huge_chunks(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", (4,), "f4", maxshape=(None,), chunks=(1 << 26,))
    refused(path, "pieces larger")


def test_depth_and_number_of_objects(path):
    with h5py.File(path, "w") as file:
        file.create_group("/".join(["a"] * 100))
    refused(path, "too deeply")
    with h5py.File(path, "w") as file:
        for name in "abcd":
            file.create_group(name)
    with pytest.raises(FileError, match="too many"):
        reader_of(path, Limits(arrays=3))


def test_newer_forms(path):
    with h5py.File(path, "w", libver="latest") as file:
        file["vars/0"] = np.arange(3.0)
    refused(path, "newer form")
    with h5py.File(path, "w", track_order=True) as file:
        file["vars/0"] = np.arange(3.0)
    refused(path, "HDF5 file")


@pytest.mark.parametrize("dtype", ["?", "c8", "c16", "f2", "f4", "f8", ">f4", "i1", "u1", ">i2", "i4", "u8", "i8"])
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (3, 4), "compression": "gzip"}, {"chunks": (3, 4), "shuffle": True}]
)
def test_every_kind_of_number(path, dtype, options):
    values = np.random.default_rng(0).integers(0, 2, (7, 9)).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("vars/0", data=values, **options)
    with reader_of(path) as reader:
        found = reader.entries("")["0"]
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype.newbyteorder("=")


def test_many_groups_and_long_attributes(path):
    with h5py.File(path, "w") as file:
        for index in range(500):
            file[f"layers/dense_{index}/vars/0"] = np.full(2, index)
        file.attrs["words"] = np.array([b"a" * 100] * 600)
        file.attrs["text"] = "\N{GREEK SMALL LETTER ALPHA}" * 40_000
    with reader_of(path) as reader:
        assert len(reader.paths()) == 500 and reader.entries("layers/dense_499")["0"].tolist() == [499, 499]
        assert reader.attributes("", "words") == ["a" * 100] * 600
        assert reader.attributes("", "text") == ["\N{GREEK SMALL LETTER ALPHA}" * 40_000]
    with pytest.raises(FileError, match="too long"), reader_of(path, Limits(json_bytes=1000)) as reader:
        reader.attributes("", "text")


def test_total_size_is_bounded(path):
    with h5py.File(path, "w") as file:
        for index in range(40):
            file.create_dataset(f"vars/{index}", data=np.zeros(4 << 20, "f4"), chunks=(1 << 20,), compression="gzip")
    refused(path, "larger than what is stored")
    reader_of(path, Limits(floor=1 << 30))


def test_what_is_no_hdf5_file(path):
    path.write_bytes(b"something else")
    refused(path, "no HDF5")
    path.write_bytes(b"")
    refused(path, "no HDF5")


def test_damaged_files_end_in_our_error():
    buffer = io.BytesIO()
    with WeightsWriter(buffer) as writer:
        for name in ("a", "b"):
            writer.slots(f"layers/{name}", name)["0"] = np.arange(50.0)
    whole = buffer.getvalue()
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        try:
            with WeightsReader(io.BytesIO(bytes(damaged)), "damaged") as reader:
                for path in reader.paths():
                    for key in reader.entries(path):
                        assert reader.entries(path)[key].nbytes <= len(whole)
        except FileError:
            pass
