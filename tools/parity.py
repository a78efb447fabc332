#!/usr/bin/env python3
"""Compares every op with the real Keras: all dtypes, kinds of arguments and unknown sizes.

    python tools/parity.py [OP ...]

Prints a line while it runs, then a table and every difference. Exits with 1 if there is any that
tests/parity/lattice_differences.py does not explain, or an entry there that explains nothing any more.
"""

from __future__ import annotations

import collections
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
os.environ["KERAS_BACKEND"] = "torch"

from tests.parity import lattice  # noqa: E402
from tests.parity.lattice_differences import DIFFERENCES  # noqa: E402

COLUMNS = ("cases", "trials", "no answer", "deliberate", "differences")


def main(chosen: list[str]) -> int:
    """Runs the trials of the chosen ops, or of all; the exit status."""
    cases = [case for case in lattice.CASES if not chosen or case.op in chosen]
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    differences: list[lattice.Difference] = []
    used: set[tuple[int, str]] = set()
    start = shown = time.monotonic()
    for done, case in enumerate(cases):
        row = table[lattice.source_of(case.op)]
        row["cases"] += 1
        for trial in lattice.trials_of(case):
            found = lattice.run(trial)
            row["trials"] += 1
            row["no answer"] += found is None
            for difference in found or []:
                entry = lattice.known(difference)
                if entry is None:
                    differences.append(difference)
                else:
                    used.add((DIFFERENCES.index(entry), case.op))
                row["differences" if entry is None else "deliberate"] += 1
        now = time.monotonic()
        if now - shown > (0.2 if sys.stdout.isatty() else 20):
            shown = now
            trials = sum(row["trials"] for row in table.values())
            line = (
                f"{done + 1}/{len(cases)} cases, {trials} trials, {len(differences)} differences, {now - start:.0f} s"
            )
            print(f"\r{line}  {case.op:40}" if sys.stdout.isatty() else line, end="", flush=True)
            print("" if sys.stdout.isatty() else "\n", end="")
    report(table, differences)
    stale = [
        f"{op}: {entry.reason}"
        for i, entry in enumerate(DIFFERENCES)
        for op in entry.ops.split()
        if (not chosen or op in chosen) and (i, op) not in used
    ]
    without = sorted(set(lattice.public_names()) ^ {case.op for case in lattice.CASES})
    for title, lines in (("These no longer differ", stale), ("Ops without cases, or cases without op", without)):
        if lines:
            print(f"\n{title}:", *lines, sep="\n  ")
    print(f"\n{time.monotonic() - start:.0f} s")
    return 1 if differences or stale or without else 0


def report(table: dict[str, collections.Counter[str]], differences: list[lattice.Difference]) -> None:
    """Prints every difference, and the table below them."""
    print("\r" + " " * 100 + "\r", end="")
    for difference in differences:
        print(difference)
    print(f"{'':20}" + "".join(f"{column:>13}" for column in COLUMNS))
    total: collections.Counter[str] = collections.Counter()
    for name, row in sorted(table.items()):
        total += row
        print(f"{name:20}" + "".join(f"{row[column]:13}" for column in COLUMNS))
    print(f"{'all':20}" + "".join(f"{total[column]:13}" for column in COLUMNS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
