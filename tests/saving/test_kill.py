"""A save that dies leaves the file before it, or the one after it: never half of one."""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest

import lamina
from lamina import layers
from lamina.core.errors import FileError
from lamina.saving import files as saved_files
from lamina.saving import load_model, save_model

TRIES = 9


def filled(value):
    model = lamina.Sequential([layers.Input((64,)), layers.Dense(256), layers.Dense(64)])
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value))
    return model


def save_forever(save):
    """A child that saves models of ever higher numbers until it is killed; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        model, number = filled(0.0), 0.0
        while True:
            number += 1.0
            for weight in model.weights:
                weight.data.fill_(number)
            save(model)
    finally:
        os._exit(1)


def number_in(model):
    found = {float(value) for weight in model.weights for value in np.unique(weight.numpy())}
    assert len(found) == 1, "weights of two saves in one file"
    return found.pop()


def loaded(path):
    if path.name.startswith("w"):
        model = filled(-1.0)
        model.load_weights(path)
        return model
    return load_model(path)


WAYS = {
    "m.keras": lambda path: lambda model: model.save(path),
    "folder": lambda path: lambda model: save_model(model, path, zipped=False),
    "w.weights.h5": lambda path: lambda model: model.save_weights(path),
    "w.safetensors": lambda path: lambda model: model.save_weights(path),
    "w.weights.json": lambda path: lambda model: model.save_weights(path, max_shard_size=70e-6),
    "m.h5": lambda path: lambda model: model.save(path),
}


@pytest.mark.parametrize("name", WAYS)
def test_killed_while_saving(name, tmp_path):
    path = tmp_path / name
    save, luck, last = WAYS[name](path), random.Random(0), 0.0
    save(filled(0.0))
    for _ in range(TRIES):
        child = save_forever(save)
        time.sleep(0.01 + 0.05 * luck.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        last = number_in(loaded(path))
    assert last >= 0.0


@pytest.mark.parametrize("name", WAYS)
def test_readers_beside_a_writer(name, tmp_path):
    path = tmp_path / name
    save = WAYS[name](path)
    save(filled(0.0))
    child, until = save_forever(save), time.monotonic() + 0.7
    try:
        seen = []
        while time.monotonic() < until:
            seen.append(number_in(loaded(path)))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert seen


@pytest.mark.parametrize("name", WAYS)
def test_a_full_disk_leaves_the_older_file(name, tmp_path, monkeypatch):
    path = tmp_path / name
    save = WAYS[name](path)
    save(filled(1.0))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_files.os, "fsync", full)
    monkeypatch.setattr(saved_files.os, "replace", full)
    monkeypatch.setattr(saved_files, "_exchange", full)
    with pytest.raises(OSError, match="No space"):
        save(filled(2.0))
    monkeypatch.undo()
    assert number_in(loaded(path)) == 1.0
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_older_shards_go_when_the_new_ones_are_there(tmp_path):
    path = tmp_path / "w.weights.json"
    for value in (1.0, 2.0, 3.0):
        filled(value).save_weights(path, max_shard_size=70e-6)
    names = sorted(item.name for item in tmp_path.iterdir())
    assert number_in(loaded(path)) == 3.0
    assert len(names) == 1 + len(lamina.saving.shards.shard_names(path))
    path.unlink()
    with pytest.raises(FileError):
        loaded(path)


def test_folders_are_replaced_without_a_moment_of_nothing(tmp_path):
    path = tmp_path / "folder"
    save = WAYS["folder"](path)
    save(filled(1.0))
    missing, done = [], threading.Event()

    def watch():
        while not done.is_set():
            if not path.exists():
                missing.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for value in range(5):
        save(filled(float(value)))
    done.set()
    watcher.join()
    assert not missing or not hasattr(saved_files.ctypes.CDLL(None), "renameat2")
