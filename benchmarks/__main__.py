"""`python -m benchmarks` measures all peers on all workloads; `python -m benchmarks PROGRAM` runs another program."""

from __future__ import annotations

import importlib
import signal
import sys

from benchmarks import suite

PROGRAMS = {
    "machine": "what the machine can do",
    "scaling": "time and memory over depth, batch and rows",
    "calls": "Python calls and frames of a step",
    "curves": "whether compiled training is eager training",
    "memory": "whether memory grows",
    "imports": "what importing costs",
    "files": "saving and loading a gigabyte of weights",
    "doctor": "what the doctor costs a training",
    "first": "how soon the first step ends",
    "forward": "what a forward pass costs",
    "inputs": "rows a second for each kind of input",
    "ops": "what an op adds to the torch function",
    "optimizers": "what an update costs beside torch's own",
}


def main(arguments: list[str]) -> None:
    if arguments and arguments[0] in PROGRAMS:
        importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
        return
    # So that the processes of the peers are ended, however this one is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    programs = "; ".join(f"{name}: {what}" for name, what in PROGRAMS.items())
    suite.main(arguments, f"Other programs, by their names: {programs}.")


if __name__ == "__main__":
    main(sys.argv[1:])
