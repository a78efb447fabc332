"""A finding: what is wrong, how it shows, and the change that helps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from lamina.core.errors import one_of

SEVERITIES = ("error", "warning", "note")
"""From what makes training pointless to what is worth a look."""

CODES: dict[str, str] = {
    "loss-activation-mismatch": "the last activation and the loss do not fit",
    "label-out-of-range": "a label is no class of the model",
    "label-encoding-mismatch": "labels are one-hot where integers are due, or the other way round",
    "unscaled-inputs": "inputs are far from zero mean and unit spread, or their columns differ widely",
    "constant-feature": "an input never changes",
    "nan-in-data": "the data holds NaN or infinity",
    "class-imbalance": "one class is much rarer than another",
    "train-validation-overlap": "samples of the validation are in the training data",
    "bad-initialization": "weights are drawn too large or too small for the activation",
    "oversized-model": "the model has far more weights than the data has numbers",
    "initial-loss-off": "the first loss is far from that of a model that knows nothing",
    "broadcasting-targets": "targets and outputs differ in shape and would be broadcast",
    "dead-relu": "units give zero for every sample",
    "vanishing-gradients": "gradients of the first layers are tiny beside those of the last",
    "exploding-gradients": "gradients are huge, or grow from layer to layer",
    "saturated-activations": "a sigmoid or tanh sits at its limits",
    "update-ratio": "a step changes a weight far too much or hardly at all",
    "learning-rate-too-high": "the loss jumps or diverges",
    "learning-rate-too-low": "the loss goes down too slowly",
    "nan-loss": "the loss is NaN or infinite",
    "no-gradient": "a weight gets no gradient",
    "small-batch-norm": "batches are too small for batch normalization, or its averages drift",
    "dropout-misplaced": "dropout stands where it harms",
    "overfitting": "training goes on improving while validation gets worse",
    "underfitting": "even the training data is not learned",
    "stuck-metric": "a metric does not move",
    "input-bound": "training waits for data",
    "memory-pressure": "memory is near its limit",
}
"""The known faults. A code stays what it is from version to version."""


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        code: which fault, one of `CODES`.
        severity: "error", "warning" or "note".
        message: one sentence that names it, with the layer or column.
        remedy: the change in code that helps.
        layer: the name of the layer concerned.
        step: the step at which it was seen, from 0; None before training.
        evidence: the numbers it is concluded from.

    Raises:
        ArgumentError: an unknown code or severity.

    Example:
        >>> finding = Finding("nan-in-data", "error", "x holds 3 NaN.", "x = np.nan_to_num(x)", evidence={"count": 3})
        >>> finding.code, finding.evidence["count"]
        ('nan-in-data', 3)
    """

    code: str
    severity: str
    message: str
    remedy: str
    layer: str | None = None
    step: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of(self.code, CODES, "Finding, code")
        one_of(self.severity, SEVERITIES, "Finding, severity")


class Findings(Sequence[Finding]):
    """Findings in order of their gravity; printed, they are a table.

    Args:
        findings: in any order; of several with the same code and layer the first stays.

    Example:
        >>> print(Findings([]))
        Nothing found.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        kept: dict[tuple[str, str | None], Finding] = {}
        for finding in findings:
            kept.setdefault((finding.code, finding.layer), finding)
        self._findings = sorted(kept.values(), key=lambda finding: SEVERITIES.index(finding.severity))

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> Findings: ...
    def __getitem__(self, index: int | slice) -> Finding | Findings:
        found = self._findings[index]
        return Findings(found) if isinstance(found, list) else found

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __add__(self, other: Iterable[Finding]) -> Findings:
        return Findings([*self, *other])

    @property
    def codes(self) -> list[str]:
        """The codes that were found, each once, gravest first."""
        return list(dict.fromkeys(finding.code for finding in self))

    def __repr__(self) -> str:
        return f"Findings({', '.join(self.codes) or 'none'})"

    def __str__(self) -> str:
        if not self._findings:
            return "Nothing found."
        return "\n\n".join(_told(finding) for finding in self)

    def show(self) -> None:
        """Print them: a table on a terminal, plain text elsewhere."""
        if not sys.stdout.isatty():
            print(self, flush=True)
            return
        from rich.console import Console

        Console().print(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.markup import escape
        from rich.table import Table

        if not self._findings:
            yield "Nothing found."
            return
        table = Table("", "found", "where", "what", "remedy", show_lines=True)
        for finding in self:
            style = {"error": "bold red", "warning": "yellow", "note": "dim"}[finding.severity]
            place = [finding.layer or "", "" if finding.step is None else f"step {finding.step}"]
            table.add_row(
                f"[{style}]{finding.severity}[/]", finding.code, escape("\n".join(filter(None, place))),
                escape(finding.message), escape(finding.remedy),
            )  # fmt: skip
        yield table


def _told(finding: Finding) -> str:
    """A finding as plain text."""
    place = ", ".join(filter(None, [finding.layer, "" if finding.step is None else f"step {finding.step}"]))
    numbers = ", ".join(f"{name} {value}" for name, value in finding.evidence.items())
    lines = [f"{finding.severity}: {finding.code}{f' ({place})' if place else ''}", f"  {finding.message}"]
    lines += [f"  seen: {numbers}"] if numbers else []
    return "\n".join(
        [*lines, *(f"  {'fix:' if not i else '    '} {line}" for i, line in enumerate(finding.remedy.split("\n")))]
    )
