"""What the tests of the doctor share."""

from __future__ import annotations

import math

import pytest

from lamina.callbacks import doctor


@pytest.fixture(autouse=True)
def watches_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the doctor looks less often; what it finds is tested with all its first looks."""
    monkeypatch.setattr(doctor, "_FREE", math.inf)
