"""Every known attack on loaders of Keras files, through every entry point, under a guard, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import attacks

SCRIPT = Path(attacks.__file__)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    source = SCRIPT.parents[2] / "src"
    paths = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_is_refused_and_does_nothing(name, report):
    found = report[name]
    assert not found["through"], "not refused with an error of lamina's own"
    assert not found["seen"], "did something that loading never does"
    assert found["refused"] > 0
