"""What holds for every test: which backend the oracle uses, and a clean state."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("LAMINA_HOME", tempfile.mkdtemp(prefix="lamina-home-"))

import pytest
from hypothesis import settings

from lamina.core import config, errors
from lamina.core.naming import clear_session
from lamina.core.policies import reset_dtype_policy
from lamina.core.seeds import set_random_seed
from lamina.core.tracebacks import disable_traceback_filtering

# Where the suite decides about a change, it must give the same answer twice; elsewhere each run looks for new cases.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

collect_ignore_glob = ["tests/compat/scripts/*", "tools/*", "benchmarks/*"]


@pytest.fixture(autouse=True)
def _clean_state() -> None:
    """Every test starts with fresh names, default settings and the same random numbers."""
    clear_session(free_memory=False)
    set_random_seed(0)
    errors._said.clear()
    disable_traceback_filtering()
    config.set_floatx("float32")
    reset_dtype_policy()
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True)
def _own_folder(request: pytest.FixtureRequest) -> None:
    """Examples in docstrings may write files: they run in a folder of their own."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
