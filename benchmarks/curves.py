"""Whether compiled training is eager training: loss by loss, over 200 steps, for every optimizer.

    python -m benchmarks curves [OPTIMIZER ...] [--steps 200]

Trains the same model from the same weights on the same batches twice, with `jit_compile=False` and with `True`, without
dropout and with it (one seed, so the same draws), and prints the largest relative difference of the losses. Exits with
1 if one is over the tolerance. On a GPU the second way is a recorded CUDA graph.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import lamina
from benchmarks.command import parser_of
from benchmarks.report import print_table
from lamina import layers, optimizers

NAMES = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam", "RMSprop",
    "SGD", "ScheduleFreeAdamW",
)  # fmt: skip
TOLERANCE = 1e-3
Batches = list[tuple[np.ndarray, np.ndarray]]


def batches_of(steps: int, rows: int = 32) -> Batches:
    """Noisy samples of a smooth function, another batch for each step."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(steps, rows, 16)).astype("float32")
    targets = np.sin(inputs[..., :4].sum(-1, keepdims=True)) + 0.1 * random.normal(size=(steps, rows, 1))
    return list(zip(inputs, targets.astype("float32"), strict=True))


def curve(optimizer: str, batches: Batches, dropout: float, compiled: bool) -> tuple[np.ndarray, str]:
    """The loss of each step, and how the steps ran."""
    lamina.utils.set_random_seed(1)
    model = lamina.Sequential(
        [
            layers.Input((16,)),
            layers.Dense(64, activation="tanh"),
            *([layers.Dropout(dropout, seed=3)] if dropout else []),
            layers.Dense(64, activation="tanh"),
            layers.Dense(1),
        ]
    )
    model.compile(getattr(optimizers, optimizer)(), loss="mse", jit_compile=compiled)
    losses: list[Any] = [model.train_on_batch(x, y) for x, y in batches]
    return np.array(losses), model.execution_report().steps["train"].runs


def main(arguments: list[str]) -> None:
    parser = parser_of("curves", __doc__)
    parser.add_argument("optimizers", nargs="*", default=list(NAMES), help="names of classes in lamina.optimizers")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(arguments)
    batches = batches_of(options.steps)
    rows, over = [], False
    for name in options.optimizers:
        row = [name]
        for dropout in (0.0, 0.3):
            (eager, _), (compiled, runs) = (curve(name, batches, dropout, way) for way in (False, True))
            difference = float(np.max(np.abs(compiled - eager) / np.abs(eager)))
            over = over or difference > TOLERANCE or not np.isfinite(difference)
            row += [f"{difference:.1e}", f"{eager[0]:.3f} to {eager[-20:].mean():.3f}", runs]
        rows.append(row)
        print(*row, sep="  ", flush=True)
    head = ["largest difference", "loss", "ran"]
    print_table(f"Losses of {options.steps} steps, compiled against eager", ["", *head, *head], rows)
    if over:
        sys.exit(f"A difference is over {TOLERANCE}.")
