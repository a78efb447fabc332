"""The command line, run as a person would."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import onnxruntime
import pytest

from lamina import Sequential, layers
from lamina.cli.export import export_file
from lamina.core.errors import ArgumentError

SCRIPTS = Path(__file__).parent.parent / "compat" / "scripts"


def lamina(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lamina.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_run_passes_everything_after_the_script_on():
    result = lamina("run", SCRIPTS / "surroundings.py", "--out", "x", "--help", "-v")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "beside ['--out', 'x', '--help', '-v'] surroundings.py\n"


def test_run_gives_the_script_s_status(tmp_path):
    script = tmp_path / "ends.py"
    script.write_text("import sys\nsys.exit(7)\n")
    assert lamina("run", script).returncode == 7
    failed = lamina("run", SCRIPTS / "fails.py")
    assert failed.returncode == 1 and failed.stderr.endswith("KeyError: 'mine'\n")


def test_info_names_versions_devices_and_compiler():
    shown = lamina("info").stdout
    for part in ("lamina", "python", "torch", "devices", "threads", "C++ compiler", "Keras 3.15.1"):
        assert part in shown
    assert lamina("--version").stdout == "lamina 0.1.0\n"


@pytest.mark.slow
def test_demo_learns_and_leaves_pictures_and_a_model(tmp_path):
    result = lamina("demo", "--out", tmp_path / "out", "--epochs", 1)
    assert result.returncode == 0, result.stderr
    assert "Test accuracy" in result.stdout and "loaded again, it predicts the same" in result.stdout
    for name in ("curves.png", "predictions.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert "config.json" in zipfile.ZipFile(tmp_path / "out" / "m.keras").namelist()


def test_export_of_a_saved_model(tmp_path):
    model = Sequential([layers.Input((None, 4), name="rows"), layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    result = lamina("export", tmp_path / "m.keras", tmp_path / "m.onnx", "--shape", "?,5,4")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{tmp_path / 'm.keras'} -> {tmp_path / 'm.onnx'} (onnx, ")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 5, 4]
    for source, target, shapes, said in (
        ("m.keras", "m.bin", [], "No format"),
        ("m.keras", "m.onnx", ["a"], "cannot be read"),
        ("m.keras", "m.onnx", ["1,2,4", "1"], "Each input"),
    ):
        with pytest.raises(ArgumentError, match=said):
            export_file(tmp_path / source, tmp_path / target, None, shapes)
