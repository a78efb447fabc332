"""What an op adds to the torch function that does the same, on small tensors, and how long a large graph takes.

    python -m benchmarks ops [--rounds 25]

The candidates take turns; the processor time of each round counts, and the median of the rounds is reported. One thread
is used.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.command import parser_of
from benchmarks.report import print_table
from lamina import Input, Model, ops

CALLS, NODES = 300, 300


def pairs() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """An op and the torch function for each name."""
    a, b, index = torch.rand(4, 4), torch.rand(4, 4), torch.tensor([1, 0, 2])
    where = a > 0.5
    return {
        "add": (lambda: ops.add(a, b), lambda: torch.add(a, b)),
        "maximum": (lambda: ops.maximum(a, b), lambda: torch.maximum(a, b)),
        "power": (lambda: ops.power(a, b), lambda: torch.pow(a, b)),
        "equal": (lambda: ops.equal(a, b), lambda: torch.eq(a, b)),
        "logical_and": (lambda: ops.logical_and(where, where), lambda: torch.logical_and(where, where)),
        "exp": (lambda: ops.exp(a), lambda: torch.exp(a)),
        "sqrt": (lambda: ops.sqrt(a), lambda: torch.sqrt(a)),
        "relu": (lambda: ops.relu(a), lambda: functional.relu(a)),
        "gelu": (lambda: ops.gelu(a), lambda: functional.gelu(a, approximate="tanh")),
        "softmax": (lambda: ops.softmax(a), lambda: torch.softmax(a, -1)),
        "matmul": (lambda: ops.matmul(a, b), lambda: torch.matmul(a, b)),
        "where": (lambda: ops.where(where, a, b), lambda: torch.where(where, a, b)),
        "sum": (lambda: ops.sum(a), lambda: torch.sum(a)),
        "mean": (lambda: ops.mean(a, axis=-1), lambda: torch.mean(a, dim=-1)),
        "max": (lambda: ops.max(a, axis=-1), lambda: torch.amax(a, dim=-1)),
        "reshape": (lambda: ops.reshape(a, (2, 8)), lambda: torch.reshape(a, (2, 8))),
        "transpose": (lambda: ops.transpose(a, (1, 0)), lambda: torch.permute(a, (1, 0))),
        "expand_dims": (lambda: ops.expand_dims(a, 0), lambda: torch.unsqueeze(a, 0)),
        "concatenate": (lambda: ops.concatenate([a, b]), lambda: torch.cat([a, b])),
        "stack": (lambda: ops.stack([a, b]), lambda: torch.stack([a, b])),
        "take": (lambda: ops.take(a, index, axis=0), lambda: a[index]),
        "cast": (lambda: ops.cast(a, "float16"), lambda: a.to(torch.float16)),
    }


def microseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - start) / CALLS * 1e6


def build() -> float:
    """Seconds that a functional model of many op nodes takes to build."""
    start = time.process_time()
    x = y = Input((8,))
    for _ in range(NODES // 5):
        y = ops.concatenate([ops.multiply(ops.relu(ops.add(y, x)), 0.5), x])[:, :8]
    Model(x, y)
    return time.process_time() - start


def main(arguments: list[str]) -> None:
    parser = parser_of("ops", __doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args(arguments).rounds
    torch.set_num_threads(1)
    gc.disable()
    rows, added = [], []
    for name, (of_lamina, of_torch) in pairs().items():
        for call in (of_lamina, of_torch):
            call()
        times = [(microseconds(of_lamina), microseconds(of_torch)) for _ in range(rounds)]
        added.append(statistics.median(ours - theirs for ours, theirs in times))
        columns = [statistics.median(column) for column in zip(*times, strict=True)]
        rows.append([name, *(f"{value:.2f}" for value in (*columns, added[-1]))])
    gc.enable()
    print_table("Microseconds of a call", ["op", "lamina", "torch", "added"], rows)
    print(f"median added {statistics.median(added):.2f} us, most {max(added):.2f} us")
    print(f"a functional model of {NODES} op nodes: {statistics.median(build() for _ in range(5)):.2f} s")
