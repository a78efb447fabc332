"""How time and memory grow with depth, batch and rows: lamina, and Keras on torch where it does not take too long.

    python -m benchmarks scaling [depth batch rows] [--peers lamina keras-torch] [--chart FILE.png]

Each point is measured in a process of its own: building and compiling the model, the first epoch, and then the median
epoch of some more, as time of a step; and the peak of memory. depth: so many Dense(32) layers, batch 32. batch: the MLP
784-256-64-10. rows: a fit of Dense(32) and Dense(1) on so many rows of 8 numbers, batch 4096, a step's time including
all that an epoch does.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.command import cores, parser_of
from benchmarks.peers import PEERS
from benchmarks.report import RESULTS
from benchmarks.runner import ROOT, Plan, environment
from benchmarks.workloads import mlp

SIZES = {
    "depth": (2, 8, 32, 128, 512),
    "batch": (1, 4, 16, 64, 256, 1024, 4096),
    "rows": (10**3, 10**4, 10**5, 10**6, 10**7),
}
# Beyond these, Keras takes minutes for a point.
KERAS_LIMIT = {"depth": 128, "batch": 4096, "rows": 10**6}


@dataclass
class Point:
    """What was measured at one size; times in seconds, memory in bytes."""

    series: str
    size: int
    peer: str
    build: float | None = None
    first: float | None = None
    step: float | None = None
    memory: int | None = None
    error: str | None = None


def prepared(k: Any, series: str, size: int) -> tuple[Any, np.ndarray, np.ndarray, int]:
    """Model, inputs, targets and batch size."""
    random = np.random.default_rng(0)
    dense = k.layers.Dense
    if series == "depth":
        model = k.Sequential([k.Input((32,)), *(dense(32, activation="relu") for _ in range(size - 1)), dense(1)])
        x, batch = random.standard_normal((32 * 20, 32), "float32"), 32
    elif series == "batch":
        model = mlp(k)
        x, batch = random.standard_normal((size * max(5, min(100, 4096 // size)), 784), "float32"), size
    else:
        model = k.Sequential([k.Input((8,)), dense(32, activation="relu"), dense(1)])
        x, batch = random.standard_normal((size, 8), "float32"), 4096
    y = random.integers(0, 10, len(x)) if series == "batch" else x[:, :1].copy()
    return model, x, y, batch


def measure_point(series: str, size: int, package: str, epochs: int) -> dict[str, Any]:
    """Measure in this process."""
    k = importlib.import_module(package)
    start = time.perf_counter()
    model, x, y, batch = prepared(k, series, size)
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True) if series == "batch" else "mse"
    model.compile("adam", loss)
    build = time.perf_counter() - start
    marks = [time.perf_counter()]

    class Marks(k.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            marks.append(time.perf_counter())
            # A first epoch that is long has shown enough for the big sizes.
            if len(marks) > 3 and marks[-1] - marks[0] > 30:
                self.model.stop_training = True

    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Marks()])
    times = [end - begin for begin, end in itertools.pairwise(marks)]
    return {
        "build": build,
        "first": times[0],
        "step": statistics.median(times[1:] or times) / -(-len(x) // batch),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def point(series: str, size: int, peer: str, epochs: int, plan: Plan) -> Point:
    """Measure in a process of its own."""
    package = "lamina" if peer == "lamina" else "keras"
    task = json.dumps([series, size, package, epochs])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.scaling", task],
            env=os.environ | environment(plan) | PEERS[peer].environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=plan.patience,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = error.stderr if isinstance(error.stderr, str) else ""
        return Point(series, size, peer, error=said.strip().rpartition("\n")[2] or type(error).__name__)
    return Point(series, size, peer, **json.loads(done.stdout.splitlines()[-1]))


def show(series: str, points: list[Point]) -> None:
    """One series as a table."""
    rows = [
        [
            f"{p.size:,} {p.peer}",
            report.number(p.build),
            report.number(p.first),
            report.number(p.step, 1e3),
            report.number(p.memory, 2**-20),
            p.error or "",
        ]
        for p in points
    ]
    report.print_table(f"By {series}", ["", "build s", "first epoch s", "ms/step", "memory MiB", ""], rows)


def write_chart(path: Path, points: list[Point]) -> None:
    """A column for each series: building, a step, memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = list(dict.fromkeys(p.series for p in points))
    quantities = (("build", "building, s", 1.0), ("step", "step, ms", 1e3), ("memory", "peak memory, MiB", 2**-20))
    figure, axes = pyplot.subplots(3, len(found), figsize=(4.5 * len(found), 8.5), squeeze=False)
    for column, series in enumerate(found):
        for axis, (quantity, label, scale) in zip(axes[:, column], quantities, strict=True):
            for peer in dict.fromkeys(p.peer for p in points):
                own = [p for p in points if p.series == series and p.peer == peer and not p.error]
                axis.plot([p.size for p in own], [scale * getattr(p, quantity) for p in own], "o-", label=peer)
            axis.set(xscale="log", xlabel=series, ylabel=label)
            if quantity == "memory":
                axis.set_ylim(bottom=0)
            else:
                axis.set_yscale("log")
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: list[str]) -> None:
    parser = parser_of("scaling", __doc__)
    parser.add_argument("series", nargs="*", help=f"of {', '.join(SIZES)}; all by default")
    parser.add_argument("--peers", nargs="+", choices=("lamina", "keras-torch"), default=("lamina", "keras-torch"))
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--largest", type=int, default=10**9, help="leave out greater sizes")
    parser.add_argument("--json", type=Path, default=RESULTS / "scaling.json", metavar="FILE")
    parser.add_argument("--chart", type=Path, default=RESULTS / "scaling.png", metavar="FILE.png")
    options = parser.parse_args(arguments)
    if unknown := set(options.series) - set(SIZES):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SIZES)}")
    plan = Plan(threads=options.threads)
    peers = [peer for peer in options.peers if not PEERS[peer].missing()]
    points: list[Point] = []
    for series in options.series or SIZES:
        for size in (size for size in SIZES[series] if size <= options.largest):
            for peer in peers:
                if peer == "lamina" or size <= KERAS_LIMIT[series]:
                    points.append(point(series, size, peer, options.epochs, plan))
        show(series, [p for p in points if p.series == series])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = report.surroundings(plan) | {"points": [asdict(p) for p in points]}
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    write_chart(options.chart, points)


if __name__ == "__main__":
    print(json.dumps(measure_point(*json.loads(sys.argv[1]))))
