"""`lamina doctor`, and how findings are printed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lamina.cli.doctor import examine_script
from lamina.doctor import Finding, Findings

SCRIPT = """
import sys
import numpy as np
import keras

x = 200 * np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)], name="small")
model.compile("adam", loss="mse")
model.fit(x, x[:, :1] / 200, verbose=0)
print("arguments", sys.argv[1:])
"""


def test_a_script_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    assert examine_script(script, ["--fast"]) == 0
    printed = capsys.readouterr().out
    assert "arguments ['--fast']" in printed
    assert "fit 1 of 1, small" in printed
    assert "warning: unscaled-inputs" in printed and "fix: " in printed


def test_a_script_that_does_not_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "nothing.py"
    script.write_text("print('done')")
    assert examine_script(script) == 0
    assert "did not train" in capsys.readouterr().out


def test_the_table_shows_brackets_as_they_are() -> None:
    from rich.console import Console

    console = Console(width=120, file=io.StringIO())
    console.print(Findings([Finding("nan-in-data", "error", "x holds NaN.", "x, y = x[keep], y[keep]", step=3)]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "x[keep], y[keep]" in text and "step 3" in text and "nan-in-data" in text
