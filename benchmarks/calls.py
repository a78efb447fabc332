"""How many Python functions one training step and one forward pass call, and how deep they are nested.

    python -m benchmarks calls

A model of two Dense layers, batch 32: lamina, plain torch, and Keras on torch. A step's count is the difference between
fits of different length, so that what fit does once is not counted; the depth is counted from the call of fit.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch

from benchmarks.command import parser_of
from benchmarks.report import print_table

BATCH, WIDTH = 32, 32


@dataclass
class Count:
    """What was seen of one call.

    Args:
        functions: Python functions that were entered.
        builtins: functions written in C that Python code called.
        depth: Python frames at the deepest place.
    """

    functions: int = 0
    builtins: int = 0
    depth: int = 0


def counted(work: Callable[[], object]) -> Count:
    """Count what the work calls; the work itself is not counted."""
    count, depth = Count(), 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal depth
        if event == "call":
            count.functions += 1
            depth += 1
            count.depth = max(count.depth, depth)
        elif event == "return":
            depth -= 1
        elif event == "c_call":
            count.builtins += 1

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    # The call that ends the counting is seen as well.
    return Count(count.functions - 1, count.builtins - 1, count.depth - 1)


def per_step(train: Callable[[int], object], steps: int = 20) -> Count:
    """Count one step of training for a number of steps."""
    train(2)
    short, long = counted(lambda: train(steps)), counted(lambda: train(2 * steps))
    functions, builtins = (long.functions - short.functions) / steps, (long.builtins - short.builtins) / steps
    return Count(round(functions), round(builtins), long.depth)


def arrays(steps: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(steps * BATCH, WIDTH)).astype("float32")
    return x, x[:, :1]


def keras_like(package: str) -> tuple[Count, Count]:
    """A step and a forward pass of lamina or Keras."""
    k = importlib.import_module(package)
    model = k.Sequential([k.Input((WIDTH,)), k.layers.Dense(WIDTH, activation="relu"), k.layers.Dense(1)])
    model.compile("adam", "mse")
    x = k.ops.convert_to_tensor(arrays(1)[0])
    step = per_step(lambda steps: model.fit(*arrays(steps), batch_size=BATCH, verbose=0))
    model(x), model(x)
    return step, counted(lambda: model(x))


def by_hand() -> tuple[Count, Count]:
    """A step and a forward pass of plain torch."""
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, 1))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss_of = torch.nn.MSELoss()

    def train(steps: int) -> None:
        x, y = map(torch.from_numpy, arrays(steps))
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = loss_of(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    x = torch.randn(BATCH, WIDTH)
    return per_step(train), counted(lambda: model(x))


def main(arguments: list[str]) -> None:
    parser = parser_of("calls", __doc__)
    parser.parse_args(arguments)
    found = {"torch by hand": by_hand(), "lamina": keras_like("lamina")}
    if importlib.util.find_spec("keras"):
        found["Keras on torch"] = keras_like("keras")
    rows = [
        [name, *(f"{n:,}" for count in counts for n in (count.functions, count.builtins, count.depth))]
        for name, counts in found.items()
    ]
    head = ["", "step: Python", "in C", "depth", "forward: Python", "in C", "depth"]
    print_table("Calls of one training step and of one forward pass", head, rows)
