"""Scripts as people wrote them for Keras 2 and tf.keras, run unmodified."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lamina.cli.run import run_script

SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("name", ["keras2_classifier", "tf_keras_functional", "texts"])
def test_script_runs(name, capsys):
    status = run_script(SCRIPTS / f"{name}.py")
    shown = capsys.readouterr()
    assert status == 0, shown.err
    assert shown.out.endswith("done\n")


@pytest.mark.parametrize("name", ["generators", "files"])
def test_script_with_files_runs(name, tmp_path, capsys):
    assert run_script(SCRIPTS / f"{name}.py", [str(tmp_path)]) == 0, capsys.readouterr().err


def test_each_old_name_is_reported_once(capsys):
    run_script(SCRIPTS / "keras2_classifier.py")
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("lamina: ")]
    assert len(said) == len(set(said))
    for old, new in (
        ("keras.layers.core", "keras.layers"),
        ("keras.utils.np_utils", "keras.utils"),
        ("SGD(lr=...)", "learning_rate="),
        ("SGD(decay=...)", "InverseTimeDecay"),
        ("Model.fit(nb_epoch=...)", "epochs="),
        ("Model.predict_classes", "argmax"),
        ('"val_acc"', '"val_accuracy"'),
        ("optimizer.lr", "optimizer.learning_rate"),
    ):
        assert any(old in line and new in line for line in said), (old, said)


def test_surroundings_are_those_of_a_script(capsys):
    before = list(sys.path), list(sys.argv)
    assert run_script(SCRIPTS / "surroundings.py", ["--epochs", "3", "--help"]) == 0
    assert capsys.readouterr().out == "beside ['--epochs', '3', '--help'] surroundings.py\n"
    assert (list(sys.path), list(sys.argv)) == before


def test_use_of_tensorflow_names_attribute_line_and_replacement(capsys):
    assert run_script(SCRIPTS / "fails_in_tensorflow.py") == 1
    shown = capsys.readouterr()
    assert shown.out == "before\n"
    assert "tf.reduce_mean" in shown.err and "fails_in_tensorflow.py, line 5" in shown.err
    assert "fix: use keras.ops.mean" in shown.err


def test_an_error_of_the_script_is_shown_from_its_own_line_on(capsys):
    assert run_script(SCRIPTS / "fails.py") == 1
    shown = capsys.readouterr().err
    assert "KeyError: 'mine'" in shown and "in broken" in shown
    assert "runpy" not in shown and "run_script" not in shown


def test_there_is_no_such_script(capsys):
    assert run_script(SCRIPTS / "none.py") == 2
    assert "none.py" in capsys.readouterr().err
