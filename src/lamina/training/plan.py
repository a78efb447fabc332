"""How steps are run in a training that shall come out the same each time: decided once, before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORTH_STEPS = 5000
"""Steps ahead from which on compiling in the foreground, some 10 to 30 s if the code is not on disk, is worth it."""


class Plan:
    """For each kind of step whether it is compiled before the first one, or never.

    Unlike a measurement, the number of steps ahead is the same each time.

    Args:
        ahead: the number of steps by kind; None where nobody knows.
        forced: whether `compile(jit_compile=True)` asks for compiled steps.

    Attributes:
        kinds: by kind "runs" ("compiled" or "eager"), "why", whether that was "forced", whether the code was "made",
            and the "signature" of the batches it is for.
    """

    def __init__(self, ahead: Mapping[str, int | None], forced: bool = False) -> None:
        self.kinds = {kind: _decision(steps, forced) for kind, steps in ahead.items()}

    def take_up(self, kinds: Mapping[str, dict[str, Any]]) -> None:
        """Go on as an earlier run was run."""
        self.kinds = {kind: dict(decision) for kind, decision in kinds.items()}

    def of(self, kind: str) -> dict[str, Any]:
        """The decision for a kind of step."""
        return self.kinds.setdefault(kind, _decision(None, False))


def _decision(steps: int | None, forced: bool) -> dict[str, Any]:
    if forced:
        runs, why = "compiled", "jit_compile=True"
    else:
        runs = "eager" if steps is None or steps < WORTH_STEPS else "compiled"
        ahead = "nobody knew how many steps lay ahead" if steps is None else f"{steps} steps lay ahead"
        why = f"the run can be resumed, so this was decided at the start, when {ahead}"
    return {"runs": runs, "why": why, "forced": forced, "made": False, "signature": None}
