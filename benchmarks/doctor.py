"""What `fit(..., doctor=True)` costs: the same training with and without it, taking turns.

    python -m benchmarks doctor [WORKLOAD ...] [--seconds 1] [--rounds 15] [--json FILE]

Each workload trains as written (eager) and as it is chosen by itself ("auto"), after a training in which steps are
compiled. What the doctor adds is measured twice, for a machine's clock may change by a tenth from second to second:

- added: by the steps of one training. What watched steps take beyond the median of the others, and what the doctor does
  at those others, over all the rest; the median of the rounds.
- by pairs: a training with it beside the one without it that came just before or after; the median of all pairs, and
  the middle half of them.

Neither holds what it takes to look at data and model before the first step, which is given by itself.
"""

from __future__ import annotations

import itertools
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


class Timed(Doctor):
    """A doctor that times its own work."""

    def __init__(self) -> None:
        super().__init__(verbose=False)
        self.calls: list[tuple[float, int, bool]] = []
        self.spent = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        start = time.perf_counter()
        super().on_train_batch_begin(batch, logs)
        self.calls.append((start, self._step, self._watching))
        self.spent += 0.0 if self._watching else time.perf_counter() - start

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        start, watching = time.perf_counter(), self._watching
        super().on_train_batch_end(batch, logs)
        self.spent += 0.0 if watching else time.perf_counter() - start

    @property
    def added(self) -> float:
        """What it added, beside all the rest."""
        spans = [
            (after[0] - before[0], after[1] - before[1], before[2]) for before, after in itertools.pairwise(self.calls)
        ]
        plain = statistics.median(span / steps for span, steps, watched in spans if not watched)
        looks = sum(span - plain for span, _, watched in spans if watched)
        total = sum(span for span, _, _ in spans)
        return (looks + self.spent) / (total - looks - self.spent)


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
    epochs = 1
    while (took := min(train(epochs), train(epochs))) < seconds / 2:
        epochs *= 2
    epochs = max(1, round(epochs * seconds / took))
    times: dict[bool, list[float]] = {False: [], True: []}
    before, added = [], []
    doctor = Timed()
    for turn in range(rounds):
        for on in (False, True) if turn % 2 else (True, False):
            doctor = Timed() if on else doctor
            times[on].append(train(epochs, doctor if on else None))
        added.append(doctor.added)
        start = time.perf_counter()
        model.diagnose(x, y, batch_size=batch)
        before.append(time.perf_counter() - start)
    return {
        "before": statistics.median(before),
        "added": added,
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
    parser.add_argument("--seconds", type=float, default=1.0, help="how long one training takes")
    parser.add_argument("--rounds", type=int, default=15)
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
        pairs = zip(found["off"], found["on"], strict=True)
        low, middle, high = statistics.quantiles(((on - found["before"]) / off - 1 for off, on in pairs), n=4)
        watched = f"{found['watched']} of {found['steps']:,}"
        rows.append(
            [
                name,
                number(statistics.median(found["off"]) / found["steps"], 1e3),
                f"{100 * statistics.median(found['added']):.1f}%",
                f"{100 * middle:.1f}% ({100 * low:.1f} to {100 * high:.1f})",
                watched,
                number(found["before"], 1e3),
            ]
        )
    title = f"fit(..., doctor=True) over {options.seconds:g} s of training"
    print_table(title, ["", "ms/step", "added", "by pairs", "watched", "before, ms"], rows)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")
