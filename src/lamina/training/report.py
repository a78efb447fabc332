"""What runs the steps of a model, and why: `model.execution_report()`."""

from __future__ import annotations

from dataclasses import dataclass, field

_COLUMNS = ("step", "runs", "eager", "compiled", "why")
_NONE_YET = "no step was run yet"


@dataclass
class StepReport:
    """How one kind of step is run.

    Args:
        kind: "train", "test" or "predict".
        runs: "eager", "compiled" or "CUDA graph".
        why: the reason, in words.
        eager_ms: milliseconds of an eager step, the best seen; None before there was one.
        compiled_ms: the same of a compiled step.
        steps: how many steps were run.
        compiled_steps: how many of these ran compiled code.
        tracing_seconds: what tracing took.
        compiling_seconds: what compiling took, in the background; 0 where the code was on disk.
        from_disk: whether the code was compiled by an earlier run.
        difference: the largest difference that the compiled step made on a real batch, relative to the update.
    """

    kind: str
    runs: str = "eager"
    why: str = _NONE_YET
    eager_ms: float | None = None
    compiled_ms: float | None = None
    steps: int = 0
    compiled_steps: int = 0
    tracing_seconds: float = 0.0
    compiling_seconds: float = 0.0
    from_disk: bool = False
    difference: float | None = None

    def note_hooks(self) -> None:
        """A step ran as it is written because a callback watches it."""
        if self.why == _NONE_YET:
            self.why = "callbacks look into the steps"


@dataclass
class ExecutionReport:
    """How the steps of a model are run; printed, it is a table.

    Args:
        steps: by kind: "train", "test", "predict".
        jit_compile: what compile() was given.

    Example:
        >>> print(ExecutionReport({"train": StepReport("train", eager_ms=0.4)}))
        step  | runs  | eager    | compiled | why
        train | eager | 0.400 ms | -        | no step was run yet
    """

    steps: dict[str, StepReport] = field(default_factory=dict)
    jit_compile: bool | str = "auto"

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_row(step) for step in self.steps.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
        lines = [
            " | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)


def _row(step: StepReport) -> tuple[str, ...]:
    return (step.kind, step.runs, _milliseconds(step.eager_ms), _milliseconds(step.compiled_ms), step.why)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ms"
