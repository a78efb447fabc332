"""What the suite says at its end beside passed and failed: how much the layers' contract held, which errors came up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests import provoked


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the name of a file for the errors that were provoked."""
    parser.addoption("--errors", metavar="FILE", help="write what the errors said that tests provoked")


def pytest_configure(config: pytest.Config) -> None:
    """Listen for errors from the start."""
    provoked.listen()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker has seen to the process that counts; there, hold a whole run to it where CI is set."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["provoked"] = provoked.reached
        return
    if name := session.config.getoption("--errors"):
        Path(name).write_text(json.dumps(provoked.reached, indent=1, sort_keys=True))
    if os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK and _unreached(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker has seen."""
    provoked.add(getattr(node, "workeroutput", {}).get("provoked", {}))


def _unreached(config: pytest.Config) -> list[Any] | None:
    """The places that no test reached, after a whole run; None after a part of one."""
    options = config.option
    is_whole = config.args == config.getini("testpaths") and not (options.keyword or options.markexpr or options.lf)
    return provoked.unreached() if is_whole and not options.collectonly else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print how many checks the layers' contract ran, and the errors that no test provoked."""
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
    if (missing := _unreached(config)) is not None:
        terminalreporter.write_line(f"errors: {len(missing)} places that no test reached")
        for place in missing:
            terminalreporter.write_line(f"  {place}")
