"""How much `import lamina` adds to `import torch`, in seconds, each in fresh processes that take turns.

python benchmarks/imports.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

PROGRAM = "import time; t = time.perf_counter(); import torch, numpy; m = time.perf_counter(); {}; " + (
    "print(m - t, time.perf_counter() - m)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch_times, added = [], []
    for _ in range(rounds + 1):
        out = subprocess.run([sys.executable, "-c", PROGRAM.format("import lamina")], capture_output=True, check=True)
        first, second = map(float, out.stdout.split())
        torch_times.append(first)
        added.append(second)
    # The first round warms the disk.
    print(f"torch and numpy  {statistics.median(torch_times[1:]):.3f} s")
    print(f"lamina adds      {statistics.median(added[1:]):.3f} s (best {min(added[1:]):.3f})")


if __name__ == "__main__":
    main()
