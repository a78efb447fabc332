"""What a forward pass costs: a model of two Dense layers against the same in plain torch, in time and Python frames.

    python -m benchmarks forward [--rounds 40]

The candidates take turns; the best and the median round of each are reported. One thread is used.
"""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable

import torch

from benchmarks.calls import counted
from benchmarks.command import parser_of
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


def main(arguments: list[str]) -> None:
    parser = parser_of("forward", __doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args(arguments).rounds
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
            middle, best = statistics.median(values), min(values)
            opened = counted(lambda m=models[name]: m(x)).functions
            print(f"{name:<30}{middle:>10.1f}{ratio:>7.2f}{best:>8.1f}{opened:>8}")
