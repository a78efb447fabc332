"""BackupAndRestore, as Keras has it: weights, optimizer and epoch come back, and an interrupted epoch begins anew."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.callbacks import BackupAndRestore, Callback
from lamina.core.errors import ArgumentError, FileError, StateError

X = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


class Interrupt(Callback):
    def __init__(self, steps: int = 0, epochs: int = 0) -> None:
        super().__init__()
        self.steps, self.epochs = steps, epochs

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise RuntimeError("interrupted")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs -= 1
        if self.epochs == 0:
            raise RuntimeError("interrupted")


class Canary(layers.Layer):
    def build(self, input_shape):
        self.counter = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.counter.assign_add(1.0)
        return x


def make() -> Any:
    lamina.utils.clear_session()
    lamina.utils.set_random_seed(1)
    model = lamina.Sequential([layers.Input((3,)), Canary(), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fit(model: Any, callbacks: Any, epochs: int = 5) -> Any:
    return model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks)


def test_signature():
    ours, theirs = (inspect.signature(c.__init__) for c in (BackupAndRestore, keras.callbacks.BackupAndRestore))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]


def test_by_batch(tmp_path):
    folder = tmp_path / "backup"
    model, callback = make(), BackupAndRestore(folder, save_freq=1)
    with pytest.raises(RuntimeError):
        fit(model, [callback, Interrupt(steps=2)])
    assert folder.exists() and callback._current_epoch == 0 and callback._last_batch_seen == 1
    model = make()
    history = fit(model, [callback])
    assert history.epoch == [0, 1, 2, 3, 4] and model.layers[0].counter.item() == 2 + 5 * 3
    assert not folder.exists()


def test_by_epoch(tmp_path):
    whole = make()
    fit(whole, [])
    model, callback = make(), BackupAndRestore(tmp_path, delete_checkpoint=False)
    with pytest.raises(RuntimeError):
        fit(model, [callback, Interrupt(epochs=2)])
    assert callback._current_epoch == 2
    model = make()
    history = fit(model, [BackupAndRestore(tmp_path, delete_checkpoint=False)])
    assert history.epoch == [2, 3, 4] and len(history.history["loss"]) == 3
    assert all(map(torch.equal, model.weights, whole.weights))
    assert len(list(tmp_path.iterdir())) == 1
    # What was finished is not trained further, and later trainings are not affected.
    assert fit(make(), [BackupAndRestore(tmp_path, delete_checkpoint=False)]).epoch == []
    assert len(fit(model, [], epochs=1).epoch) == 1


def test_a_damaged_backup(tmp_path):
    for double in (True, False):
        folder = tmp_path / str(double)
        with pytest.raises(RuntimeError):
            fit(make(), [BackupAndRestore(folder, double_checkpoint=double), Interrupt(epochs=3)])
        assert len(list(folder.iterdir())) == 1 + double
        max(folder.iterdir()).write_bytes(b"0")
        with pytest.warns(UserWarning, match="damaged"):
            if double:
                assert fit(make(), [BackupAndRestore(folder)]).epoch == [2, 3, 4]
            else:
                with pytest.raises(FileError):
                    fit(make(), [BackupAndRestore(folder)])


def test_arguments(tmp_path):
    for folder in ("", None):
        with pytest.raises(ArgumentError, match="folder"):
            BackupAndRestore(folder)  # type: ignore[arg-type]
    for frequency in ("batch", 0.15):
        with pytest.raises(ArgumentError, match="save_freq"):
            BackupAndRestore("backup", save_freq=frequency)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="Two things"):
        make().fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)], resume=tmp_path / "run")
    with pytest.raises(StateError, match="within fit"):
        BackupAndRestore(tmp_path).on_train_begin()
