"""A sample of all trials of every op beside the real Keras. `make parity` runs them all."""

from __future__ import annotations

import collections

import pytest

pytest.importorskip("keras")

from tests.parity import lattice
from tests.parity.lattice_differences import DIFFERENCES, Known

CASES = collections.defaultdict(list)
for case in lattice.CASES:
    CASES[case.op].append(case)


def test_every_public_op_has_cases():
    assert sorted(lattice.public_names()) == sorted(CASES)


@pytest.mark.parametrize("op", CASES)
def test_op(op):
    count = max(24 // len(CASES[op]), 4)
    trials = [trial for case in CASES[op] for trial in lattice.sampled(case, count)]
    found = [difference for trial in trials for difference in lattice.run(trial) or []]
    unknown = [str(difference) for difference in found if lattice.known(difference) is None]
    assert not unknown, "\n".join(unknown)


@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: f"{entry.ops}-{entry.aspects}")
def test_deliberate_differences_still_differ(entry: Known):
    for op in entry.ops.split():
        trials = (trial for case in CASES[op] for trial in lattice.trials_of(case))
        assert any(
            lattice.known(difference) is entry
            for trial in trials
            if lattice.covers(entry, trial)
            for difference in lattice.run(trial) or []
        ), f"{op} does what Keras does now: take it out of the table"
