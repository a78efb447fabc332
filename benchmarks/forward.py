"""What a forward pass costs: a model of two Dense layers against the same in plain torch, in time and Python frames.

    python benchmarks/forward.py [--rounds 40]

The candidates take turns; the best and the median round of each are reported. One thread is used.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import timeit
from collections.abc import Callable
from typing import Any

import torch

from lamina import Model, Sequential, layers

BATCH, WIDTH, CALLS = 32, 32, 500


def candidates() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    x = layers.Input((WIDTH,))
    return {
        "torch": torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, 1)),
        "lamina, Sequential": Sequential(
            [layers.Input((WIDTH,)), layers.Dense(WIDTH, activation="relu"), layers.Dense(1)]
        ),
        "lamina, functional": Model(x, layers.Dense(1)(layers.Dense(WIDTH, activation="relu")(x))),
    }


def frames(function: Callable[[Any], Any], argument: Any) -> int:
    """How many Python frames a call opens."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        function(argument)
    finally:
        sys.setprofile(None)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    x = torch.randn(BATCH, WIDTH)
    models = candidates()
    for model in models.values():
        model(x), model(x)
    for grad in (False, True):
        times: dict[str, list[float]] = {name: [] for name in models}
        with torch.set_grad_enabled(grad):
            for _ in range(rounds):
                for name, model in models.items():
                    times[name].append(timeit.timeit(lambda m=model: m(x), number=CALLS) / CALLS * 1e6)
        base = times["torch"]
        print(f"{'with' if grad else 'without'} gradients, us a call {'median':>8}{'ratio':>7}{'best':>8}{'frames':>8}")
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
            middle, best, opened = statistics.median(values), min(values), frames(models[name], x)
            print(f"{name:<30}{middle:>10.1f}{ratio:>7.2f}{best:>8.1f}{opened:>8}")


if __name__ == "__main__":
    main()
