import h5py
import numpy as np
import pytest

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, ArgumentTypeError, FileError
from lamina.saving import KerasFileEditor

random = np.random.default_rng(0)


def source():
    x = lamina.Input((2,))
    return lamina.Model(x, layers.Dense(3, name="out")(layers.Dense(3, name="first")(x)))


def target():
    x = lamina.Input((2,))
    return lamina.Model(x, layers.Dense(3, name="out")(layers.Dense(3)(layers.Dense(3, name="first")(x))))


def test_edit_and_load(tmp_path, capsys):
    source().save(tmp_path / "m.keras")
    editor = KerasFileEditor(tmp_path / "m.keras")
    assert editor.config["class_name"] == "Functional" and editor.metadata["keras_version"]
    assert editor.compare(source()) == {"status": "success", "error_count": 0, "match_count": 4}
    new = target()
    assert editor.compare(new)["status"] == "error"
    editor.add_object("layers/dense_3", {"0": random.normal(size=(3, 3))})
    assert editor.compare(new)["error_count"] == 2
    editor.rename_object("dense_3", "dense_4")
    editor.rename_object("layers/dense_4", "dense_2")
    editor.add_weights("dense_2", {"1": np.zeros(3)})
    assert editor.compare(new) == {"status": "success", "error_count": 0, "match_count": 6}
    editor.add_weights("dense_2", {"1": np.zeros(7)})
    assert editor.compare(new)["error_count"] == 1
    editor.delete_weight("dense_2", "1")
    assert editor.compare(new)["error_count"] == 1
    editor.add_weights("dense_2", {"1": np.zeros(3)})
    editor.save(tmp_path / "new.weights.h5")
    new.load_weights(tmp_path / "new.weights.h5")
    np.testing.assert_array_equal(new.layers[1].get_weights()[0], editor.weights_dict["layers"]["dense"]["0"])
    editor.delete_object("layers/dense_2")
    editor.summary()
    printed = capsys.readouterr().out
    assert "layers/dense_2/1: shape (7,) in the file, (3,) in the model" in printed and "float32 (2, 3)" in printed


def test_what_cannot_be_done(tmp_path):
    x = lamina.Input((2,))
    inner = lamina.Sequential([layers.Input((2,)), layers.Dense(2)])
    lamina.Model(x, layers.Dense(2)(inner(x))).save_weights(tmp_path / "m.weights.h5")
    editor = KerasFileEditor(tmp_path / "m.weights.h5")
    assert editor.config is None
    for act in (
        lambda: editor.rename_object("dense", "other"),
        lambda: editor.rename_object("layers/dens", "other"),
        lambda: editor.rename_object("layers/dense", "a/b"),
        lambda: editor.rename_object("layers/dense", "sequential"),
        lambda: editor.delete_object("nothing"),
        lambda: editor.delete_weight("layers/dense", "7"),
        lambda: editor.add_object("nowhere/dense", {}),
        lambda: editor.save(tmp_path / "m.keras"),
    ):
        with pytest.raises(ArgumentError):
            act()
    with pytest.raises(ArgumentTypeError):
        editor.add_weights("layers/dense", [1.0])
    with pytest.raises(ArgumentTypeError):
        editor.add_weights("layers/dense", {"0": np.array(["text"])})
    with pytest.raises(ArgumentError, match="cannot be edited"):
        KerasFileEditor(tmp_path / "m.pt")


def test_links_are_refused(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("other.h5", "/layers")
    with pytest.raises(FileError, match="link"):
        KerasFileEditor(tmp_path / "m.weights.h5")
