"""No false alarms: nothing above a note is found in trainings that go well."""

from __future__ import annotations

import pytest
from tests.doctor.healthy import CASES, false_alarms


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_found(name: str) -> None:
    assert [str(finding) for finding in false_alarms(name)] == []


def test_there_are_enough_kinds() -> None:
    assert len(CASES) >= 30
