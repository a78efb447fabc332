"""What the tests of the doctor share."""

from __future__ import annotations

import pytest

from lamina.callbacks import doctor


@pytest.fixture(autouse=True)
def looks_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found must be found with the looks that are always there, on a busy machine too."""
    monkeypatch.setattr(doctor, "_FREE", 0.0)
