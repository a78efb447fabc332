"""What `fit(..., doctor=True)` costs: the same training with and without it, taking turns.

    python -m benchmarks doctor [WORKLOAD ...] [--seconds 4] [--rounds 6] [--json FILE]

Each workload trains as written (eager) and as it is chosen by itself ("auto"), after a training in which steps are
compiled. Given are milliseconds a step without the doctor, what the doctor adds (by the fastest quarter of the rounds
of either: other work on the machine only ever adds), how many of the steps were watched, and what looking at data and
model before the first step takes, which the first of these does not hold.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parser_of
from benchmarks.report import number, print_table
from lamina import Sequential, layers
from lamina.callbacks import Doctor

BATCHES = 200
WARM_UP = 30.0
"""Seconds at most until steps are compiled."""


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


def measured(name: str, mode: Any, seconds: float, rounds: int) -> dict[str, Any]:
    """Seconds of each round, without and with the doctor, and the steps it watched."""
    build, shape, batch = WORKLOADS[name]
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCHES * batch, *shape)).astype("float32")
    y = np.tanh(x.reshape(len(x), -1)[:, :1]) + 0.3 * random.normal(size=(len(x), 1)).astype("float32")
    model = build()
    model.compile("adam", loss="mse", jit_compile=mode)

    def train(epochs: int, doctor: Doctor | None = None) -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, doctor=doctor)
        return time.perf_counter() - start

    end = time.perf_counter() + (WARM_UP if mode else seconds)
    while time.perf_counter() < end and "compiled" not in _runs(model):
        train(10)
    epochs = max(1, round(seconds / (min(train(5) for _ in range(3)) / 5)))
    times: dict[bool, list[float]] = {False: [], True: []}
    doctor = Doctor(verbose=False)
    for turn in range(rounds):
        for on in (False, True) if turn % 2 else (True, False):
            doctor = Doctor(verbose=False) if on else doctor
            times[on].append(train(epochs, doctor if on else None))
    start = time.perf_counter()
    model.diagnose(x, y, batch_size=batch)
    return {
        "before": time.perf_counter() - start,
        "off": times[False],
        "on": times[True],
        "steps": epochs * BATCHES,
        "watched": doctor.watched,
        "runs": _runs(model),
    }


def _runs(model: Any) -> str:
    return model.execution_report().steps["train"].runs


def main(arguments: list[str]) -> None:
    parser = parser_of("doctor", __doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="parts of names of workloads; by default all")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long one training takes")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    rows, content = [], {}
    for name in WORKLOADS:
        if options.workloads and not any(part in name for part in options.workloads):
            continue
        for mode in (False, "auto"):
            found = measured(name, mode, options.seconds, options.rounds)
            content[f"{name}, {found['runs']}"] = found
            print(f"{name}, {found['runs']}: measured", flush=True)
    for name, found in content.items():
        off, on = sorted(found["off"]), sorted(found["on"])
        best = max(1, len(off) // 4)
        ratio = (sum(on[:best]) - best * found["before"]) / sum(off[:best])
        watched = f"{found['watched']} of {found['steps']:,}"
        rows.append(
            [
                name,
                number(off[0] / found["steps"], 1e3),
                f"{100 * (ratio - 1):.1f}%",
                watched,
                number(found["before"], 1e3),
            ]
        )
    title = f"fit(..., doctor=True) over {options.seconds:g} s of training"
    print_table(title, ["", "ms/step", "added", "watched", "before, ms"], rows)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")
