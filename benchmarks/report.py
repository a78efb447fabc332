"""What was measured, as tables, as JSON and as a chart."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.runner import Plan, Result
from benchmarks.workloads import WORKLOADS

PACKAGES = ("torch", "numpy", "keras", "jax", "tensorflow", "tensorflow-cpu")
RESULTS = Path(__file__).parent / "results"
Rows = list[list[str]]


def print_table(title: str, head: list[str], rows: Rows) -> None:
    """A table, by rich in a terminal and as plain text elsewhere; the first column is words, the others numbers."""
    if sys.stdout.isatty():
        import rich
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        rich.print(table)
        return
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}")
    for line in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    sys.stdout.flush()


def number(value: float | None, scale: float = 1.0) -> str:
    """Three digits that count, or nothing."""
    if value is None:
        return ""
    value *= scale
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.3f}"


def show_workload(workload: str, results: list[Result]) -> None:
    """One workload: each peer with all figures."""
    own = next((result for result in results if result.peer == "lamina" and result.rounds), None)
    head = ["", "ms/step", "best", "to lamina", "CPU ms", "build s", "first step s", "first epoch s", "memory MiB"]
    rows = []
    for result in results:
        if not result.rounds:
            rows.append([result.peer, "failed", *[""] * (len(head) - 2)])
            continue
        processor = sorted(result.processor)
        rows.append(
            [
                result.peer,
                number(result.median, 1e3),
                number(result.best, 1e3),
                number(result.median / own.median if own else None),
                number(processor[len(processor) // 2] if processor else None, 1e3),
                number(result.build),
                number(result.first_step),
                number(result.first_epoch),
                number(result.memory, 2**-20),
            ]
        )
    print_table(f"{WORKLOADS[workload].title} ({workload})", head, rows)
    for result in results:
        if result.error:
            print(f"{result.peer} failed: {result.error}")
        elif result.note:
            print(f"{result.peer}: {result.note}")


def show_summary(results: dict[str, list[Result]]) -> None:
    """All workloads: lamina against the best peer and the floor. Over 1 means that lamina is faster.

    The ratio is that of medians; on a busy machine that of the best rounds tells more.
    """
    head = ["", "lamina ms", "best peer ms", "", "best peer / lamina", "by best rounds", "floor ms", "lamina / floor"]
    rows = []
    for workload, measured in results.items():
        by_name = {result.peer: result for result in measured if result.rounds}
        own, floor = by_name.pop("lamina", None), by_name.pop("floor", None)
        peers = list(by_name.values())
        peer = min(peers, key=lambda result: result.median, default=None)
        rows.append(
            [
                workload,
                number(own.median if own else None, 1e3),
                number(peer.median if peer else None, 1e3),
                peer.peer if peer else "",
                number(peer.median / own.median if own and peer else None),
                number(min(r.best for r in peers) / own.best if own and peers else None),
                number(floor.best if floor else None, 1e3),
                number(own.median / floor.best if own and floor else None),
            ]
        )
    print_table("Time of a step", head, rows)


def processor_name() -> str:
    """What the CPU calls itself."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "") or (
        platform.processor()
    )


def surroundings(plan: Plan) -> dict[str, Any]:
    """Versions, machine and settings."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": versions,
        "plan": asdict(plan),
    }


def write_json(path: Path, plan: Plan, results: dict[str, list[Result]]) -> None:
    """All that was measured, with each round."""
    content = surroundings(plan) | {"results": {name: [asdict(r) for r in rs] for name, rs in results.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_chart(path: Path, plan: Plan, results: dict[str, list[Result]]) -> None:
    """A panel of bars for each workload, with a line at the floor."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(2, len(results))
    lines = -(-len(results) // columns)
    height = 0.9 + 0.3 * max(len(measured) for measured in results.values())
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(6.5 * columns, height * lines + 0.5), squeeze=False, layout="constrained"
    )
    for axis, (workload, measured) in zip(axes.flat, results.items(), strict=False):
        _draw(axis, workload, measured)
    for axis in list(axes.flat)[len(results) :]:
        axis.set_visible(False)
    figure.suptitle(f"{processor_name()}, {plan.threads} threads, {plan.device}, {plan.policy}", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw(axis: Any, workload: str, measured: list[Result]) -> None:
    floor = next((result.best for result in measured if result.peer == "floor" and result.rounds), None)
    bars = [result for result in measured if result.rounds and result.peer != "floor"]
    values = [1e3 * result.median for result in bars]
    colours = ["tab:orange" if result.peer == "lamina" else "tab:blue" for result in bars]
    axis.barh([result.peer for result in bars], values, color=colours)
    # One very slow peer shall not make all other bars vanish.
    end = min(max(values, default=1.0), 5 * statistics.median(values or [1.0]))
    for place, value in enumerate(values):
        axis.text(min(value, end), place, f" {number(value)}{' ...' if value > end else ''}", va="center", fontsize=9)
    axis.set_xlim(0, 1.2 * end)
    axis.set_xlabel("ms a step", fontsize=9)
    if floor is not None:
        axis.axvline(1e3 * floor, color="black", linestyle=":", linewidth=1.2)
        axis.set_xlabel(f"ms a step; dotted: the floor, {number(1e3 * floor)}", fontsize=9)
    axis.invert_yaxis()
    axis.set_title(WORKLOADS[workload].title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
