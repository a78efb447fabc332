"""A program that trains, is killed again and again, and goes on; `test_resume` starts it and compares what it leaves.

It imports lamina once and forks a process for each attempt.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina import callbacks, layers

KILLS = 20


class Kill(callbacks.Callback):
    """Ends the process without a word, some steps and up to 8 ms from now."""

    def __init__(self, steps: int, delay: float) -> None:
        super().__init__()
        self.steps, self.delay = steps, delay

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count down."""
        self.steps -= 1
        if self.steps == 0:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def train(folder: Path, kill: Kill | None) -> None:
    """The whole program of a user; leaves its results in the folder."""
    os.chdir(folder)
    lamina.utils.set_random_seed(5)
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(120, 6)).astype("float32")
    y = (x.sum(1, keepdims=True) + numbers.normal(size=(120, 1)) > 0).astype("float32")
    model = lamina.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", lamina.metrics.AUC(name="auc")])
    chosen: list[Any] = [
        callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.8, patience=2),
        callbacks.EarlyStopping(monitor="val_auc", mode="max", patience=1000, restore_best_weights=True),
        callbacks.CSVLogger("log.csv"),
        callbacks.ModelCheckpoint("best.weights.h5", save_best_only=True, save_weights_only=True),
    ]
    history = model.fit(
        x,
        y,
        batch_size=12,
        epochs=45,
        verbose=0,
        validation_split=0.2,
        callbacks=chosen + ([] if kill is None else [kill]),
        resume="run",
        checkpoint_every=5,
    )
    tensors = [*model.state_dict().values(), *model.optimizer.variables]
    np.savez("tensors.npz", *[tensor.detach().numpy() for tensor in tensors])
    Path("history.json").write_text(json.dumps(history.history))


def attempt(folder: Path, kill: Kill | None) -> bool:
    """Train in a process of its own; whether it came to its end."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(folder, kill)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(process, 0)
    if os.WIFEXITED(ended) and os.WEXITSTATUS(ended):
        raise SystemExit("the training raised an error")
    return os.WIFEXITED(ended)


def main(folder: Path) -> None:
    """Train once in peace, and once with kills."""
    chance = random.Random(int(sys.argv[2]))
    attempt(folder / "whole", None)
    kills = 0
    while kills < KILLS and not attempt(folder / "killed", Kill(chance.randint(3, 28), chance.random() * 0.008)):
        kills += 1
    if kills == KILLS:
        attempt(folder / "killed", None)
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
