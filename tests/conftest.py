"""What the suite says at its end beside passed and failed: how much the contract of the layers held."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many checks the layers' contract ran."""
    done = [
        report.nodeid.split("::")[-1].partition("[")
        for report in terminalreporter.stats.get("passed", ())
        if "tests/contract/test_layers.py::test_" in report.nodeid and report.when == "call"
    ]
    cases = {(check, case.rstrip("]")) for check, _, case in done if case}
    if cases:
        layers = {case.split("-")[0] for _, case in cases}
        checks = {check for check, _ in cases}
        terminalreporter.write_line(
            f"layers' contract: {len(layers)} layers, {len(checks)} kinds of checks, {len(cases)} passed"
        )
