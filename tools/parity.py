#!/usr/bin/env python3
"""Compares every op, every layer and what `fit` needs with the real Keras.

    python tools/parity.py [OP ...] [layers] [LAYER ...] [fit] [losses] [metrics] [optimizers] [schedules]

Ops are tried with all dtypes, kinds of arguments and unknown sizes; layers with a grid of their arguments, inputs,
masks and policies, gradients and state included; losses, metrics, optimizers and schedules ("fit" is all four) with
grids of theirs, awkward inputs, weights and masks, the optimizers for 50 steps. Prints a line while it runs, then a
table and every difference. Exits with 1 if there is any that tests/parity/lattice_differences.py, the end of
layer_cases.py or of a grid_*.py there does not explain, or an entry there that explains nothing any more.
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

from tests.parity import grids, lattice, layer_grid  # noqa: E402
from tests.parity.lattice_differences import DIFFERENCES  # noqa: E402
from tests.parity.layer_cases import DIFFERENCES as LAYER_DIFFERENCES  # noqa: E402
from tests.parity.layer_cases import TABLE  # noqa: E402

COLUMNS = ("cases", "trials", "no answer", "deliberate", "differences")


def main(chosen: list[str]) -> int:
    """Runs what was chosen, or all; the exit status."""
    wanted = [grid for grid in grids.GRIDS if not chosen or {grid, "fit"} & set(chosen)]
    everything = not chosen
    chosen = [name for name in chosen if name not in ("fit", *grids.GRIDS)]
    failed = sum([grids.report(grid) for grid in wanted])
    if not chosen and not everything:
        return 1 if failed else 0
    names = [name for name in TABLE if not chosen or "layers" in chosen or name in chosen]
    ops = [name for name in chosen if name not in TABLE and name != "layers"]
    failed += run_ops(ops) if ops or not chosen else 0
    failed += run_layers(names) if names else 0
    return 1 if failed else 0


def run_layers(names: list[str]) -> int:
    """Runs the grid of these layers; the exit status."""
    start = shown = time.monotonic()
    count: collections.Counter[str] = collections.Counter()
    unexplained: list[layer_grid.Difference] = []
    used = set()
    for done, name in enumerate(names):
        for case in (case for row in TABLE[name] for case in layer_grid.cases_of(name, row)):
            verdict = layer_grid.run(case)
            entries = [layer_grid.known(difference, LAYER_DIFFERENCES) for difference in verdict.differences]
            used |= {(id(entry), name) for entry in entries if entry is not None}
            found = [d for d, entry in zip(verdict.differences, entries, strict=True) if entry is None]
            unexplained += found
            count["cases"] += 1
            count["deliberate"] += len(entries) > len(found)
            count["gradients"] += verdict.gradients
            count["states"] += verdict.states
            count["refused by both"] += verdict.refused
            count["Keras errs about symbols"] += verdict.mistaken
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(f"{done + 1}/{len(names)} layers, {count['cases']} cases, {len(unexplained)} differences", flush=True)
    print(*unexplained, sep="\n")
    stale = [
        f"{name}: {entry.reason}"
        for entry in LAYER_DIFFERENCES
        for name in entry.layers.split()
        if name in names and (id(entry), name) not in used
    ]
    if stale:
        print("These no longer differ:", *stale, sep="\n  ")
    print(
        f"layers: {len(names)} layers, {count['cases']} cases, gradients ({count['gradients']}) and state "
        f"({count['states']}) compared, {len(unexplained)} unexplained"
    )
    details = ", ".join(f"{count[key]} {key}" for key in ("refused by both", "deliberate", "Keras errs about symbols"))
    print(f"  of the cases: {details}; {time.monotonic() - start:.0f} s")
    return 1 if unexplained or stale else 0


def run_ops(chosen: list[str]) -> int:
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
