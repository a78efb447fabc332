"""The command line, run as a person would."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
