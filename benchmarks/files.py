"""Saving and loading a gigabyte of weights: lamina, the real Keras, and safetensors alone on the same bytes.

    python -m benchmarks files [--megabytes 1024]

Every way runs in a process of its own, several times in turns; medians count. Memory is the peak of the process above
what it needed to make the model, as a multiple of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = (
    "safetensors alone",
    "lamina .safetensors",
    "lamina .weights.h5",
    "keras .weights.h5",
    "lamina .keras",
    "keras .keras",
)
_LAYERS = 8


def main(arguments: list[str]) -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks files", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args(arguments)
    if asked.way is not None:
        print(json.dumps(_measure(asked.way, asked.megabytes, asked.folder)))
        return
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for _ in range(asked.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks", "files", "--way", way, "--folder", folder]
                command += ["--megabytes", str(asked.megabytes)]
                environment = {**os.environ, "KERAS_BACKEND": "torch"}
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
                if done.returncode:
                    sys.exit(f"benchmarks files: {way} failed, see above; it needs lamina[bench] and the real Keras")
                results[way].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{asked.megabytes} MB of weights in {_LAYERS} layers, medians of {asked.rounds} runs\n")
    print(f"{'':<22}{'save, s':>10}{'load, s':>10}{'peak save':>12}{'peak load':>12}")
    for way, runs in results.items():
        save, load, high, higher = (statistics.median(run[key] for run in runs) for key in runs[0])
        print(f"{way:<22}{save:>10.2f}{load:>10.2f}{high:>11.2f}x{higher:>11.2f}x")


def _measure(way: str, megabytes: int, folder: Path) -> dict[str, float]:
    """Seconds and peaks of one save and one load; the disk's cache is warm, and what is written is synced."""
    library, _, ending = way.partition(" ")
    side = int((megabytes * (1 << 20) / 4 / _LAYERS) ** 0.5)
    path = folder / f"w{ending if ending.startswith('.') else '.safetensors'}"
    save, load = _ways(library, ending, side, path)
    path.unlink(missing_ok=True)
    os.sync()
    size, before = _LAYERS * side * side * 4, _peak()
    began = time.perf_counter()
    save()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    saved, high = time.perf_counter() - began, _peak()
    began = time.perf_counter()
    load()
    loaded = time.perf_counter() - began
    # The peak while saving counts in that while loading, because a process has only one.
    return {"save": saved, "load": loaded, "high": (high - before) / size, "higher": (_peak() - before) / size}


def _ways(library: str, ending: str, side: int, path: Path) -> tuple[Any, Any]:
    if library == "safetensors":
        import torch
        from safetensors.torch import load_file, save_file

        tensors = {str(index): torch.rand(side, side) for index in range(_LAYERS)}
        targets = {name: torch.zeros(side, side) + 1 for name in tensors}

        def read() -> None:
            for name, value in load_file(path).items():
                targets[name].copy_(value)

        return lambda: save_file(tensors, path), read
    if library == "lamina":
        import lamina as k
    else:
        import keras as k
    model = k.Sequential([k.Input((side,)), *[k.layers.Dense(side, use_bias=False) for _ in range(_LAYERS)]])
    if ending == ".keras":
        return lambda: model.save(path), lambda: k.saving.load_model(path)
    return lambda: model.save_weights(path), lambda: model.load_weights(path)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    main(sys.argv[1:])
