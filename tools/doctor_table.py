#!/usr/bin/env python3
"""What the doctor finds: each fault of the tests, and how often it speaks up where nothing is wrong.

    python tools/doctor_table.py [--seeds N] [--write docs/doctor.md]

Prints a table "fault, found at step, message, remedy, healthy after remedy", and the count of false alarms over the
healthy trainings of the tests, each with several seeds. With --write it replaces the part of the page between
its marks.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tests.doctor import faults, healthy  # noqa: E402

from lamina.core.seeds import set_random_seed  # noqa: E402

BEGIN, END = "<!-- begin table -->\n", "<!-- end table -->\n"


def rows() -> Iterator[list[str]]:
    """One row for each fault."""
    for name, fault in faults.FAULTS.items():
        set_random_seed(0)
        finding = next((one for one in faults.find(fault) if one.code == fault.code), None)
        title = f"`{fault.code}`: {name.replace('_', ' ')}"
        if finding is None:
            yield [title, "not found", "", "", ""]
            continue
        set_random_seed(0)
        left = [one for one in faults.find(fault, finding) if one.severity != "note"]
        unseen = "before" if fault.diagnosed else "end"
        remedy = " ".join(finding.remedy.split("\n"))
        yield [
            title,
            unseen if finding.step is None else str(finding.step),
            finding.message,
            f"`{remedy}`",
            "no" if left else "yes",
        ]


def false_alarms(seeds: int) -> Iterator[str]:
    """The healthy trainings in which something above a note is found, and what."""
    for seed in range(seeds):
        for name in healthy.CASES:
            set_random_seed(seed)
            found = healthy.false_alarms(name)
            if found:
                yield f"{name}, seed {seed}: {', '.join(one.code for one in found)}"


def lines(seeds: int) -> Iterator[str]:
    """The table and the count, line by line."""
    yield "| fault | found at step | message | remedy | healthy after remedy |"
    yield "|---|---|---|---|---|"
    for row in rows():
        yield "| " + " | ".join(row) + " |"
    wrong = list(false_alarms(seeds))
    runs = seeds * len(healthy.CASES)
    yield ""
    kinds = len(healthy.CASES)
    yield f"False alarms (a finding above a note): {len(wrong)} in {runs} healthy trainings of {kinds} kinds."
    yield from (f"- {one}" for one in wrong)


def main() -> None:
    """Print the table, and put it into the page if asked."""
    parser = argparse.ArgumentParser(description="What the doctor finds.")
    parser.add_argument("--seeds", type=int, default=1, help="how often each healthy training is run")
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    told: list[str] = []
    for line in lines(given.seeds):
        print(line, flush=True)
        told.append(line)
    if given.write is not None:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        given.write.write_text(before + BEGIN + "\n".join(told) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
