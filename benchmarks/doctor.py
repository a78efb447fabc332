"""What `fit(..., doctor=True)` costs: the same training with and without it, taking turns.

    python -m benchmarks doctor [WORKLOAD ...] [--steps 2000] [--rounds 7] [--json FILE]

Each workload trains as written (eager) and as it is chosen by itself ("auto"). The first round, in which steps are
compiled, is not counted. Given are milliseconds a step without the doctor, the ratio of the two (the median over the
rounds, and the middle half of them), and how many steps were watched.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parser_of
from benchmarks.report import number, print_table
from lamina import Sequential, layers
from lamina.callbacks import Doctor

ROWS = 16_000


def mlp(width: int, depth: int) -> Any:
    """A regression on columns."""
    hidden = [layers.Dense(width, activation="relu") for _ in range(depth)]
    return Sequential([layers.Input((32,)), *hidden, layers.Dense(1)])


def cnn() -> Any:
    """A small convolutional network with batch normalization."""
    blocks = [
        layer
        for filters in (16, 32)
        for layer in (
            layers.Conv2D(filters, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
        )
    ]
    return Sequential([layers.Input((16, 16, 3)), *blocks, layers.Flatten(), layers.Dense(1)])


WORKLOADS = {
    "tiny MLP": (lambda: mlp(32, 2), (32,), 32),
    "deep MLP": (lambda: mlp(64, 12), (32,), 32),
    "wide MLP": (lambda: mlp(512, 3), (32,), 128),
    "CNN": (cnn, (16, 16, 3), 32),
}


def measured(name: str, mode: Any, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of each round, without and with the doctor, and the steps it watched."""
    build, shape, batch = WORKLOADS[name]
    random = np.random.default_rng(0)
    rows = min(ROWS, steps * batch)
    x = random.normal(size=(rows, *shape)).astype("float32")
    y = np.tanh(x.reshape(rows, -1)[:, :1]) + 0.3 * random.normal(size=(rows, 1)).astype("float32")
    model = build()
    model.compile("adam", loss="mse", jit_compile=mode)
    epochs = max(1, steps * batch // rows)
    times: dict[bool, list[float]] = {False: [], True: []}
    watched = 0
    for turn in range(rounds + 1):
        for on in (False, True) if turn % 2 else (True, False):
            doctor = Doctor(verbose=False) if on else None
            start = time.perf_counter()
            model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, doctor=doctor)
            if turn:
                times[on].append(time.perf_counter() - start)
            watched = doctor.watched if doctor else watched
    runs = "compiled" if "compiled" in str(model.execution_report()) else "eager"
    steps = epochs * -(-rows // batch)
    return {"off": times[False], "on": times[True], "steps": steps, "watched": watched, "runs": runs}


def main(arguments: list[str]) -> None:
    parser = parser_of("doctor", __doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="parts of names of workloads; by default all")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    rows, content = [], {}
    for name in WORKLOADS:
        if options.workloads and not any(part in name for part in options.workloads):
            continue
        for mode in (False, "auto"):
            found = measured(name, mode, options.steps, options.rounds)
            content[f"{name}, {found['runs'] if mode else 'eager'}"] = found
    for name, found in content.items():
        ratios = sorted(on / off for on, off in zip(found["on"], found["off"], strict=True))
        quarter = len(ratios) // 4
        middle = f"{ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
        step = statistics.median(found["off"]) / found["steps"]
        rows.append([name, number(step, 1e3), f"{statistics.median(ratios):.3f}", middle, str(found["watched"])])
    title = f"fit(..., doctor=True) over {options.steps:,} steps"
    print_table(title, ["", "ms/step", "with / without", "middle half", "watched"], rows)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")
