"""The public API changes only on purpose: the list in public_api.txt is what there is."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_public_api_is_the_one_on_file():
    spec = importlib.util.spec_from_file_location("public_api", ROOT / "tools" / "public_api.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    on_file = tool.FILE.read_text(encoding="utf-8").splitlines()
    changes = list(difflib.unified_diff(on_file, tool.text().splitlines(), "on file", "there is", lineterm="", n=0))
    assert not changes, "\n".join([*changes[:40], "If this is meant: python tools/public_api.py --write"])
