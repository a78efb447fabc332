"""Time of a training step of a tiny network: lamina's fit, a loop written by hand in torch, and Keras on torch.

    python benchmarks/tiny_mlp.py [--epochs 30] [--no-keras]

A 32-32-32-1 MLP, batch 32, Adam, mean squared error, 200 steps an epoch, batches included. The candidates take turns,
epoch by epoch, and the median epoch of each is reported, in wall-clock and in processor time: on a busy machine only
ratios, and rather those of processor time, mean something. One thread is used, which is fastest at this size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch

import lamina
from lamina import layers

STEPS, BATCH, WIDTH = 200, 32, 32


def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * BATCH, WIDTH)).astype("float32")
    return x, x[:, :1] ** 2


def by_hand(lean: bool = False) -> Callable[[], None]:
    """One epoch of the loop that a torch user writes: fused Adam, batches by shuffled indices, the mean loss.

    The lean one shuffles whole tensors once and cuts them into views, as lamina does.
    """
    x, y = map(torch.from_numpy, data())
    model = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss_of = torch.nn.MSELoss()

    def epoch() -> None:
        order = torch.randperm(len(x))
        total = torch.zeros(())
        if lean:
            batches = zip(x[order].split(BATCH), y[order].split(BATCH), strict=True)
        else:
            batches = ((x[rows], y[rows]) for rows in order.split(BATCH))
        for inputs, targets in batches:
            loss = loss_of(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)

    return epoch


def with_lamina(metrics: tuple[str, ...] = ()) -> Callable[[], None]:
    x, y = data()
    model = lamina.Sequential(
        [layers.Dense(32, activation="relu"), layers.Dense(32, activation="relu"), layers.Dense(1)]
    )
    model.compile("adam", loss="mse", metrics=list(metrics))
    return lambda: _fit(model, x, y)


def with_keras() -> Callable[[], None]:
    import keras

    x, y = data()
    dense = keras.layers.Dense
    model = keras.Sequential([dense(32, activation="relu"), dense(32, activation="relu"), dense(1)])
    model.compile("adam", loss="mse")
    return lambda: _fit(model, x, y)


def _fit(model, x, y) -> None:
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--no-keras", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    candidates = {
        "torch by hand": by_hand(),
        "torch, lean": by_hand(lean=True),
        "lamina": with_lamina(),
        "lamina, with mae": with_lamina(("mae",)),
    }
    if not options.no_keras:
        try:
            candidates["Keras on torch"] = with_keras()
        except ImportError:
            print("keras is not installed")
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    processor: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(options.epochs + 2):
        for name, epoch in candidates.items():
            start, start_processor = time.perf_counter(), time.process_time()
            epoch()
            if turn >= 2:
                wall[name].append((time.perf_counter() - start) / STEPS * 1e3)
                processor[name].append((time.process_time() - start_processor) / STEPS * 1e3)
    print(f"{'ms a step':18} {'wall':>8} {'ratio':>6} {'best':>8} {'processor':>10} {'ratio':>6}")
    first = next(iter(candidates))
    for name in candidates:
        medians = [statistics.median(times[name]) for times in (wall, processor)]
        ratios = [m / statistics.median(times[first]) for m, times in zip(medians, (wall, processor), strict=True)]
        print(
            f"{name:18} {medians[0]:8.3f} {ratios[0]:6.2f} {min(wall[name]):8.3f} {medians[1]:10.3f} {ratios[1]:6.2f}"
        )


if __name__ == "__main__":
    main()
