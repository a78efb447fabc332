"""Run all measurements: `python -m benchmarks`, or only some: `python -m benchmarks forward tiny_mlp`.

Each prints a table; what it printed is also written to `benchmarks/results/NAME.txt`.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PROGRAMS = ("imports", "forward", "tiny_mlp")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run lamina's benchmarks.")
    parser.add_argument("names", nargs="*", default=PROGRAMS, help=f"which ones: {', '.join(PROGRAMS)}")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in PROGRAMS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    for name in names:
        print(f"\n== {name}", flush=True)
        with (results / f"{name}.txt").open("w") as file:
            process = subprocess.Popen([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                file.write(line)
            if process.wait():
                sys.exit(f"{name} failed with status {process.returncode}")


if __name__ == "__main__":
    main()
