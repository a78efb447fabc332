"""Files that are damaged at random end in lamina's own errors, through every reader; tools/fuzz_reader.py does more."""

import contextlib
import importlib.util
import json
import struct
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.core.errors import LaminaError

PATH = Path(__file__).parents[2] / "tools" / "fuzz_reader.py"
calm = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_reader", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_reader"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seeds(fuzz):
    found = {}
    for reader, content in fuzz.seeds():
        found.setdefault(reader.__name__, []).append((reader, content))
    return found


def attempt(reader, content):
    with contextlib.suppress(LaminaError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader(content)


# Where, which bytes are put there, and how many of the file's own they take the place of.
changes = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9), st.integers(0, 9)), min_size=1, max_size=4)


def changed(content, edits):
    content = bytearray(content)
    for place, piece, length in edits:
        at = int(place * len(content))
        content[at : at + length] = piece
    return bytes(content)


@pytest.mark.parametrize("name", ["read_archive", "read_hdf5", "read_safetensors", "read_run", "resume_run"])
@calm
@given(edits=changes, which=st.integers(0, 9))
def test_damaged_files(seeds, name, edits, which):
    reader, content = seeds[name][which % len(seeds[name])]
    attempt(reader, changed(content, edits))


@calm
@given(st.binary(max_size=200))
def test_files_of_anything(fuzz, content):
    for reader in (fuzz.read_archive, fuzz.read_hdf5, fuzz.read_safetensors, fuzz.read_run):
        attempt(reader, content)


numbers = st.integers(-1, 2**64) | st.sampled_from(["F32", "", None, 1.5, True])
tensors = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "BF16", "F99", 3]), "shape": st.lists(numbers, max_size=3)},
    optional={"data_offsets": st.lists(numbers, max_size=3), "more": numbers},
)


@calm
@given(st.dictionaries(st.text(max_size=8), tensors | numbers, max_size=3), st.integers(0, 64), st.integers(-9, 9))
def test_headers_of_safetensors(fuzz, header, size, lie):
    text = json.dumps(header).encode()
    attempt(fuzz.read_safetensors, struct.pack("<Q", max(0, len(text) + lie)) + text + bytes(size))


def places(node, found):
    """Every list and dict with its keys, all the way down."""
    for key in node if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], (dict, list)):
            places(node[key], found)
    return found


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats() | st.sampled_from(["relu", "float32", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {
        "class_name": st.sampled_from(["Dense", "Sequential", "Lambda", "InputLayer", "Add", "__lambda__", "function"]),
        "config": st.dictionaries(
            st.sampled_from(["units", "name", "layers", "batch_shape", "dtype", "activation", "trainable"]), values
        )
        | values,
    },
    optional={"module": st.sampled_from(["keras.layers", "keras", "os", "builtins"]), "registered_name": values},
)


@settings(calm, max_examples=40)
@given(entries)
def test_configs(fuzz, config):
    attempt(fuzz.read_config, json.dumps(config).encode())


kinds = st.sampled_from(["dict", "tuple", "tensor", "array", "x"])


@calm
@pytest.mark.parametrize("name", ["resume_run", "resume_torch_run"])
@given(st.floats(0, 0.999), values | st.dictionaries(kinds, values, max_size=1), st.booleans())
def test_checkpoints_of_another_structure(seeds, name, where, value, drop):
    reader, text = seeds[name][0]
    state = json.loads(text)
    found = places(state, [])
    holder, key = found[int(where * len(found))]
    if drop:
        del holder[key]
    else:
        holder[key] = value
    attempt(reader, json.dumps(state).encode())


def test_the_fuzzer_finds_failures(fuzz, tmp_path):
    def broken(content):
        raise KeyError(content)

    fuzzer = fuzz.Fuzzer(tmp_path / "out")
    fuzzer.run(broken, b"1")
    assert len(fuzzer.failures) == 1 and len(list((tmp_path / "out").iterdir())) == 1
    assert json.loads(fuzzer.report(1, 0.0))["inputs"] == 1
