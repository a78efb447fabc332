"""Losses, metrics, optimizers and schedules beside the real Keras, over grids of arguments and of awkward inputs.

    python -m tests.parity.grids [NAME ...]

Prints every difference that nothing explains, and counts for each grid. Exits with 1 if there is any.
"""

from __future__ import annotations

import collections
import importlib
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch

GRIDS = ("losses", "metrics", "optimizers", "schedules")


class Case(NamedTuple):
    """One cell of a grid.

    Args:
        name: the class, and all that it is given, in words.
        run: what is to be compared, computed with the namespaces of either package.
        rtol: how far apart numbers may be, beside their size.
        atol: how far apart they may be at least.
    """

    name: str
    run: Callable[[Any], list[np.ndarray]]
    rtol: float = 2e-5
    atol: float = 2e-6


class Outcome(NamedTuple):
    """What came of a case: "same", "refused" by both, "deliberate" or "different"; and what differs, or why."""

    kind: str
    note: str = ""


def answer(case: Case, package: Any) -> list[np.ndarray] | Exception:
    """The numbers a package gives, or the error it raises."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.asarray(value) for value in case.run(package)]
    except Exception as error:
        return error


def difference(case: Case, ours: Any, theirs: Any) -> str:
    """What differs in the answers; nothing where they are the same."""
    for error, who in ((ours, "lamina"), (theirs, "keras")):
        if isinstance(error, Exception):
            return f"only {who} refuses: {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    if len(ours) != len(theirs):
        return f"{len(ours)} results, keras has {len(theirs)}"
    for place, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our.shape != their.shape or our.dtype != their.dtype:
            return f"result {place} is {our.dtype}{our.shape}, keras has {their.dtype}{their.shape}"
        if our.dtype.kind in "US":
            if our != their:
                return f"result {place} is {our}, keras has {their}"
        elif not np.allclose(our, their, case.rtol, case.atol, equal_nan=True):
            where = ~np.isclose(our, their, case.rtol, case.atol, equal_nan=True)
            return f"result {place} is {our[where].ravel()[:3]}, keras has {their[where].ravel()[:3]}"
    return ""


def compare(case: Case, packages: tuple[Any, Any], deliberate: dict[str, str]) -> Outcome:
    """Run a case with both packages; `deliberate` has patterns of "name: difference", and the reasons."""
    ours, theirs = (answer(case, package) for package in packages)
    if isinstance(ours, Exception) and isinstance(theirs, Exception):
        return Outcome("refused")
    found = difference(case, ours, theirs)
    if not found:
        return Outcome("same")
    for pattern, reason in deliberate.items():
        if re.search(pattern, f"{case.name}: {found}"):
            return Outcome("deliberate", reason)
    return Outcome("different", f"{case.name}: {found}")


def outcomes(grid: str, chosen: tuple[str, ...] = (), every: int = 1, first: int = 0) -> Iterator[Outcome]:
    """The outcomes of a grid's cases: those that begin with a chosen name, and of these every so many."""
    module = importlib.import_module(f"tests.parity.grid_{grid}")
    cases = (case for case in module.cases() if not chosen or case.name.split("(")[0] in chosen)
    for place, case in enumerate(cases):
        if place % every == first:
            yield compare(case, module.PACKAGES, module.DELIBERATE)


def sample(grid: str, every: int) -> None:
    """Fail if any of a sample of a grid differs without reason, or compares nothing."""
    found = list(outcomes(grid, every=every))
    wrong = [outcome.note for outcome in found if outcome.kind == "different"]
    assert not wrong, "\n".join(wrong)
    assert any(outcome.kind == "same" for outcome in found)


def report(grid: str, chosen: tuple[str, ...] = ()) -> int:
    """Print the unexplained differences of a grid and its counts; how many there are, explanations of nothing added."""
    start, counts = time.monotonic(), collections.Counter[str]()
    stale = set() if chosen else set(importlib.import_module(f"tests.parity.grid_{grid}").DELIBERATE.values())
    for outcome in outcomes(grid, chosen):
        counts[outcome.kind] += 1
        stale.discard(outcome.note)
        if outcome.kind == "different":
            print(outcome.note, flush=True)
    if stale:
        print("These no longer differ:", *sorted(stale), sep="\n  ")
    print(
        f"{grid}: {counts.total()} cases, {counts['different']} unexplained\n"
        f"  {counts['same']} the same, {counts['refused']} refused by both, {counts['deliberate']} deliberately "
        f"different; {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return counts["different"] + len(stale)


if __name__ == "__main__":
    sys.exit(1 if sum([report(grid, tuple(sys.argv[1:])) for grid in GRIDS]) else 0)
