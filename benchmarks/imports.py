"""How much `import lamina` adds to `import torch`, in seconds, each in fresh processes that take turns.

python -m benchmarks imports [--rounds 7]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.command import parser_of
from benchmarks.runner import Plan, environment

PROGRAM = "import time; t = time.perf_counter(); import torch, numpy; m = time.perf_counter(); {}; " + (
    "print(m - t, time.perf_counter() - m)"
)


def main(arguments: list[str]) -> None:
    parser = parser_of("imports", __doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    command = [sys.executable, "-c", PROGRAM.format("import lamina")]
    torch_times, added = [], []
    for _ in range(rounds + 1):
        out = subprocess.run(command, env=os.environ | environment(Plan()), capture_output=True, check=True)
        first, second = map(float, out.stdout.split())
        torch_times.append(first)
        added.append(second)
    # The first round warms the disk.
    print(f"torch and numpy  {statistics.median(torch_times[1:]):.3f} s")
    print(f"lamina adds      {statistics.median(added[1:]):.3f} s (best {min(added[1:]):.3f})")
