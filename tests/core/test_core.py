"""Names, dtypes, structures, registry and serialization."""

import pickle

import numpy as np
import pytest
import torch

from lamina.core import dtypes, naming, registry, seeds, serialization, tensors, tree
from lamina.core.capture import Captured
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    FileError,
    ShapeError,
    UnknownNameError,
    nearest,
)


def test_errors_say_what_where_expected_received_fix_and_survive_pickling():
    error = ShapeError("It does not fit.", where="layer 'a'", expected=(1,), received=(2,), fix="reshape it")
    assert isinstance(error, ValueError)
    assert str(error).splitlines()[0] == "It does not fit."
    for part in ("where: layer 'a'", "expected: (1,)", "received: (2,)", "fix: reshape it"):
        assert part in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ShapeError and str(again) == str(error) and again.fix == "reshape it"


def test_names_count_up_and_start_anew():
    naming.reset_names()
    assert [naming.auto_name("Conv2D") for _ in range(3)] == ["conv2d", "conv2d_1", "conv2d_2"]
    naming.clear_session()
    assert naming.auto_name("Conv2D") == "conv2d"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (torch.float16, "float16"),
        (np.int64, "int64"),
        (np.dtype("float64"), "float64"),
        (np.dtype("int64"), "int64"),
        (np.dtype("bool"), "bool"),
        (float, "float32"),
        (None, "float32"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_standardize_dtype(given, name):
    assert dtypes.standardize_dtype(given) == name


def test_unknown_dtype_names_the_nearest():
    with pytest.raises(DTypeError, match='"float32"'):
        dtypes.standardize_dtype("floot32")


def test_result_type_is_commutative_and_has_a_neutral_element():
    names = [name for name in dtypes._TORCH if not name.startswith(("float8", "complex"))]
    for first in names:
        assert dtypes.result_type(first, "bool") == first
        for second in names:
            assert dtypes.result_type(first, second) == dtypes.result_type(second, first)


def test_python_numbers_give_way():
    assert dtypes.result_type("int8", int) == "int8"
    assert dtypes.result_type("float16", float) == "float16"
    assert dtypes.result_type("int64", float) == "float32"


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, torch.int32),
        (2**40, torch.int64),
        (1.5, torch.float32),
        ([1.0, 2.0], torch.float32),
        ([[1], [2.5]], torch.float32),
        (np.ones(2), torch.float64),
        (np.ones(2, ">f4"), torch.float32),
        (np.ones((3, 2), "float32")[::-1], torch.float32),
        ([torch.ones(2), torch.ones(2)], torch.float32),
    ],
)
def test_convert_to_tensor(value, dtype):
    assert tensors.convert_to_tensor(value).dtype is dtype


@pytest.mark.parametrize("value", ["text", np.array(["a"]), [[1, 2], [3]], object()])
def test_values_that_cannot_be_tensors_say_so(value):
    with pytest.raises((ArgumentTypeError, DTypeError)):
        tensors.convert_to_tensor(value)


def test_tree_keeps_structures():
    structure = {"b": [1, (2, None)], "a": 3}
    assert tree.flatten(structure) == [3, 1, 2, None]
    assert tree.map_structure(lambda x: x, structure) == structure
    assert tree.pack_sequence_as(structure, tree.flatten(structure)) == structure
    with pytest.raises(ArgumentError):
        tree.pack_sequence_as(structure, [1])
    with pytest.raises(ArgumentError):
        tree.map_structure(lambda x, y: x, [1], [1, 2])
    assert tree.lists_to_tuples([1, [2, {"a": [3]}]]) == (1, (2, {"a": (3,)}))


def test_seeds_repeat():
    seeds.set_random_seed(3)
    first = [seeds.draw_seed() for _ in range(3)], torch.rand(2).tolist(), np.random.rand()
    seeds.set_random_seed(3)
    assert first == ([seeds.draw_seed() for _ in range(3)], torch.rand(2).tolist(), np.random.rand())
    generator = seeds.SeedGenerator(7)
    assert generator.next().tolist() != generator.next().tolist()


class Given(Captured):
    def __init__(self, size, *, scale=2.0, **kwargs):
        self.other = (size, scale)


def test_config_of_a_users_class_is_what_was_given():
    config = Given((1, 2), scale=np.float32(0.5).item(), extra="x").get_config()
    assert config == {"size": (1, 2), "scale": 0.5, "extra": "x"}
    assert Given.from_config(config).get_config() == config


def test_registered_objects_load_by_name_and_others_do_not():
    with pytest.raises(FileError, match="not registered"):
        serialization.deserialize_keras_object(serialization.serialize_keras_object(Given(1)))
    with registry.custom_object_scope({"Given": Given}):
        revived = serialization.deserialize_keras_object(serialization.serialize_keras_object(Given(1)))
    assert isinstance(revived, Given)
    registry.register_keras_serializable("test", "Thing")(Given)
    try:
        config = serialization.serialize_keras_object(Given(2))
        assert config["registered_name"] == "test>Thing"
        assert isinstance(serialization.deserialize_keras_object(config), Given)
    finally:
        registry.get_custom_objects().pop("test>Thing")
        registry._custom_names.pop(Given)


@pytest.mark.parametrize(
    "config",
    [
        {"module": "os", "class_name": "system", "config": "true", "registered_name": None},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        {"module": "keras.src.utils", "class_name": "get_file", "config": {}, "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    ],
)
def test_a_config_cannot_name_code(config):
    with pytest.raises(FileError):
        serialization.deserialize_keras_object(config)


def test_deep_nesting_is_refused():
    config: list = []
    for _ in range(1000):
        config = [config]
    with pytest.raises(FileError, match="deep"):
        serialization.deserialize_keras_object(config)


def test_lookup_suggests_the_nearest_name():
    with pytest.raises(UnknownNameError, match='Did you mean "adam"'):
        registry.lookup("adm", kind="optimizer", table={"adam": object, "sgd": object})
    assert registry.lookup("adam", kind="optimizer", table={"adam": dict}) == {}


def test_swapped_letters_are_the_nearest():
    assert nearest("adma", ["adamax", "adam"]) == ' Did you mean "adam"?'
    assert nearest("xyz", ["adam"]) == ""
