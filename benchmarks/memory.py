"""Whether memory grows: 10,000 steps of one fit, then 200 calls of fit and predict.

    python -m benchmarks memory [--steps 10000] [--calls 200] [--package keras]

Prints the resident memory of the process along the way, and whether it grows by less than 1% after the first hundred
steps, and after the first hundred calls. Exits with 1 if it does not.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

from benchmarks.command import parser_of
from benchmarks.peers.keras_like import compiled
from benchmarks.report import print_table
from benchmarks.workloads import WORKLOADS

LIMIT = 0.01
Samples = list[tuple[int, float]]


def resident() -> float:
    """MiB of memory that the process has now, or had at most where the system does not tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def during_fit(k: Any, model: Any, steps: int, settle: int) -> Samples:
    """Memory at some steps of a single fit, from the first after settling."""
    workload = WORKLOADS["tiny_mlp"]
    x, y = workload.data(workload.batch * min(steps, 500))
    every = max(1, steps // 10)
    samples: Samples = []
    seen = 0

    class Watch(k.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            nonlocal seen
            seen += 1
            if seen == settle or (seen > settle and seen % every == 0):
                samples.append((seen, resident()))

    model.fit(x, y, batch_size=workload.batch, epochs=-(-steps // min(steps, 500)), verbose=0, callbacks=[Watch()])
    return samples


def during_calls(model: Any, calls: int, settle: int) -> Samples:
    """Memory at some of many calls of fit and predict."""
    workload = WORKLOADS["tiny_mlp"]
    x, y = workload.data(workload.batch * 10)
    every = max(1, calls // 10)
    samples: Samples = []
    for seen in range(1, calls + 1):
        model.fit(x, y, batch_size=workload.batch, verbose=0)
        model.predict(x, verbose=0)
        if seen == settle or (seen > settle and seen % every == 0):
            samples.append((seen, resident()))
    return samples


def main(arguments: list[str]) -> None:
    parser = parser_of("memory", __doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--settle", type=int, default=100, help="steps and calls before the first look")
    parser.add_argument("--package", default="lamina", help="lamina or keras")
    options = parser.parse_args(arguments)
    k = importlib.import_module(options.package)
    model = compiled(k, WORKLOADS["tiny_mlp"])
    settle = min(options.settle, options.steps, options.calls)
    fitted = during_fit(k, model, options.steps, settle)
    gc.collect()
    called = during_calls(model, options.calls, settle)
    grows = False
    for title, samples in (("Steps of one fit", fitted), ("Calls of fit and predict", called)):
        first = samples[0][1]
        print_table(title, ["", "MiB", "growth"], [[f"{n:,}", f"{m:.1f}", f"{m / first - 1:.2%}"] for n, m in samples])
        growth = max(memory for _, memory in samples) / first - 1
        grows = grows or growth >= LIMIT
        verdict = "OVER" if growth >= LIMIT else "under"
        print(f"{options.package}: {growth:.2%} after the first {settle}, {verdict} {LIMIT:.0%}")
    if grows:
        sys.exit(1)
