import os

import h5py
import numpy as np
import pytest

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, FileError, StateError

random = np.random.default_rng(0)


def batch(*shape):
    return random.normal(size=shape).astype("float32")


def make(*units, inputs=4):
    return lamina.Sequential([layers.Input((inputs,)), *[layers.Dense(n, bias_initializer="uniform") for n in units]])


def assert_same(first, second):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.weights.h5"


def test_round_trip(path):
    first, second = make(3, 2), make(3, 2)
    first.save_weights(path)
    second.load_weights(path)
    assert_same(first, second)


def test_from_a_whole_model(path):
    first, second = make(3, 2), make(3, 2)
    first.save(path.with_name("m.keras"))
    second.load_weights(path.with_name("m.keras"))
    assert_same(first, second)


def test_optimizer_state_goes_along(path):
    def compiled():
        model = make(3, 2)
        model.compile("adam", "mse")
        return model

    x, y = batch(8, 4), batch(8, 2)
    first, second, third = compiled(), compiled(), make(3, 2)
    first.fit(x, y, verbose=0)
    first.save_weights(path)
    second.load_weights(path)
    assert int(second.optimizer.iterations) == 1
    third.load_weights(path)
    for model in (first, second):
        model.fit(x, y, verbose=0, shuffle=False)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    third.save_weights(path)
    second.load_weights(path)
    assert_same(second, third)


MISMATCHES = {
    "shape": (
        lambda: make(3, 2),
        lambda: make(3, 5),
        r"layers/dense_1/vars/0: expected float32 \(3, 5\), found float32 \(3, 2\)",
    ),
    "missing": (lambda: make(3), lambda: make(3, 2), r"layers/dense_1/vars/0: missing, expected float32 \(3, 2\)"),
    "extra": (lambda: make(3, 2), lambda: make(3), "layers/dense_1/vars: the model has no such part"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_refusal_changes_nothing(name, path):
    saved, other, message = MISMATCHES[name]
    saved().save_weights(path)
    model = other()
    before = model.get_weights()
    with pytest.raises(FileError, match=message) as caught:
        model.load_weights(path)
    assert str(path) in str(caught.value) and "skip_mismatch" in str(caught.value)
    for one, again in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("name", MISMATCHES)
def test_skip_mismatch_loads_the_rest(name, path):
    saved, other, message = MISMATCHES[name]
    first, second = saved(), other()
    first.save_weights(path)
    with pytest.warns(UserWarning, match=message):
        second.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])


def change(path, function):
    with h5py.File(path, "r+") as file:
        function(file)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda f: f.pop("layers/dense/vars/1"), "layers/dense/vars/1: missing"),
        (lambda f: f.create_dataset("layers/dense/vars/2", data=[1.0]), "layers/dense/vars/2: expected nothing"),
        (lambda f: f.pop("layers/dense"), "layers/dense/vars/0: missing"),
    ],
)
def test_edited_files(path, function, message):
    make(3).save_weights(path)
    change(path, function)
    with pytest.raises(FileError, match=message):
        make(3).load_weights(path)


def test_wrong_kind_of_numbers(path):
    make(3).save_weights(path)

    def complexify(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = np.zeros(3, "complex64")

    change(path, complexify)
    with pytest.raises(FileError, match=r"expected float32 \(3,\), found complex64 \(3,\)"):
        make(3).load_weights(path)


def test_other_precision_is_converted(path):
    make(3).save_weights(path)

    def widen(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = np.array([1.0, 2.0, 3.0], "float64")

    change(path, widen)
    model = make(3)
    model.load_weights(path)
    np.testing.assert_array_equal(model.get_weights()[1], np.array([1.0, 2.0, 3.0], "float32"))


def test_one_layer_in_several_places(path):
    def shared():
        x = lamina.Input((4,))
        layer = layers.Dense(4)
        return lamina.Model(x, layer(layers.Dense(4)(layer(x))))

    first, second = shared(), shared()
    first.save_weights(path)
    second.load_weights(path)
    assert_same(first, second)


def test_objects_to_skip(path):
    first, second = make(3, 2), make(3, 2)
    lamina.saving.save_weights(first, path)
    kept = second.layers[1].get_weights()
    second.load_weights(path, objects_to_skip=[second.layers[1]])
    np.testing.assert_array_equal(second.layers[1].get_weights()[0], kept[0])
    lamina.saving.save_weights(first, path, objects_to_skip=[first.layers[1]])
    second.load_weights(path, objects_to_skip=[second.layers[1]])
    np.testing.assert_array_equal(second.layers[1].get_weights()[0], kept[0])
    np.testing.assert_array_equal(second.layers[0].get_weights()[0], first.layers[0].get_weights()[0])


def test_shards(tmp_path):
    path = tmp_path / "big.weights.json"
    first, second = make(30, 20, 10), make(30, 20, 10)
    first.save_weights(path, max_shard_size=3000 / 1024**3)
    assert sorted(os.listdir(tmp_path)) == [
        "big.weights.json",
        "big_00000.weights.h5",
        "big_00001.weights.h5",
    ]
    second.load_weights(path)
    assert_same(first, second)
    with pytest.raises(ArgumentError, match="larger than a whole shard"):
        first.save_weights(path, max_shard_size=100 / 1024**3)
    second.load_weights(path)
    assert_same(first, second)
    os.unlink(tmp_path / "big_00001.weights.h5")
    with pytest.raises(FileError, match="big_00001"):
        second.load_weights(path)


@pytest.mark.parametrize("name", ["../a.weights.h5", "/a.weights.h5", "b/a.weights.h5", 3, ["..", "a"]])
def test_shards_elsewhere_are_refused(tmp_path, name):
    path = tmp_path / "a.weights.json"
    path.write_text(f'{{"weight_map": {{"/vars": {json_of(name)}}}}}')
    with pytest.raises(FileError):
        make(3).load_weights(path)


def json_of(value):
    import json

    return json.dumps(value)


def old_file(path, table):
    """A file as Keras 1 and 2 wrote it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in table]
        for name, weights in table.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in weights]
            for key, value in weights.items():
                group[f"{name}/{key}:0"] = value


def test_old_files(tmp_path):
    path = tmp_path / "old.h5"
    table = {
        "input": {},
        "dense_a": {"kernel": batch(4, 3), "bias": batch(3)},
        "dense_b": {"kernel": batch(3, 2), "bias": batch(2)},
    }
    old_file(path, table)
    model = make(3, 2)
    model.load_weights(path)
    np.testing.assert_array_equal(model.get_weights()[2], table["dense_b"]["kernel"])
    named = lamina.Sequential([layers.Input((4,)), layers.Dense(3, name="dense_a"), layers.Dense(5, name="other")])
    named.load_weights(path, by_name=True)
    np.testing.assert_array_equal(named.get_weights()[0], table["dense_a"]["kernel"])
    with pytest.raises(FileError, match="another number of layers"):
        make(3).load_weights(path)
    with pytest.raises(FileError, match=r"expected \(3, 7\), found \(3, 2\)"):
        make(3, 7).load_weights(path)
    other = make(3, 7)
    with pytest.warns(UserWarning, match=r"expected \(3, 7\)"):
        other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], table["dense_a"]["kernel"])


def test_old_files_that_lie(tmp_path):
    path = tmp_path / "old.h5"
    old_file(path, {"dense": {"kernel": batch(4, 3), "bias": batch(3)}})
    change(path, lambda file: file["dense"].attrs.__setitem__("weight_names", [b"../../x", b"dense/bias:0"]))
    with pytest.raises(FileError, match="does not hold"):
        make(3).load_weights(path)
    change(path, lambda file: file.attrs.__setitem__("layer_names", [b"nowhere"]))
    with pytest.raises(FileError, match="does not hold"):
        make(3).load_weights(path)


def test_endings(tmp_path):
    model = make(3)
    for name in ("a.h5", "a.keras", "a", "a.weights"):
        with pytest.raises(ArgumentError, match=r"a\.weights\.h5"):
            model.save_weights(tmp_path / name)
    with pytest.raises(ArgumentError, match="of this kind"):
        model.load_weights(tmp_path / "a.pt")
    with pytest.raises(FileError, match="cannot be opened"):
        model.load_weights(tmp_path / "a.weights.h5")


def test_arguments(path):
    model = make(3)
    model.save_weights(path)
    with pytest.raises(ArgumentError, match="by_name"):
        model.load_weights(path, by_name=True)
    with pytest.raises(ArgumentError, match="wrong"):
        model.load_weights(path, wrong=True)
    with pytest.raises(ArgumentError, match="objects_to_skip"):
        model.load_weights(path.with_name("m.keras"), objects_to_skip=[model])


def test_unbuilt(path):
    model = lamina.Sequential([layers.Dense(3)])
    with pytest.raises(StateError, match="not built"):
        model.save_weights(path)
    with pytest.raises(StateError, match="not built"):
        model.load_weights(path)
