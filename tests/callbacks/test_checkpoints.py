"""Checkpoints in numbered folders."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from lamina import layers, saving
from lamina.callbacks import Callback, OrbaxCheckpoint
from lamina.core.errors import ArgumentError, FileError
from lamina.models import Sequential
from lamina.saving import snapshot

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :1]


def line():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(2), layers.Dense(1)])
    model.compile("adam", loss="mse")
    return model


def fit(callback, model=None, **options):
    model = model or line()
    model.fit(X, Y, **{"batch_size": 4, "epochs": 3, "verbose": 0, **options}, callbacks=[callback])
    return model


def steps(folder):
    return sorted(int(path.name) for path in folder.iterdir())


@pytest.mark.parametrize("background", [False, True])
def test_the_newest_is_the_model_as_it_was(tmp_path, background):
    model = fit(OrbaxCheckpoint(tmp_path, save_on_background=background))
    assert steps(tmp_path) == [2]
    loaded = saving.load_model(tmp_path)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert int(loaded.optimizer.iterations) == 12
    for mine, its in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


def test_a_certain_one_and_weights_alone(tmp_path):
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    model = line()
    checkpoint = OrbaxCheckpoint(tmp_path, max_to_keep=None, save_weights_only=True)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[Keep(), checkpoint])
    assert steps(tmp_path) == [0, 1, 2]
    for place, epoch in ((tmp_path, 2), (tmp_path / "1", 1)):
        other = line()
        other.load_weights(place)
        for mine, its in zip(kept[epoch], other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
    assert {path.name for path in (tmp_path / "1").iterdir()} == {"model.weights.json", "model_00000.weights.h5"}


def test_batches_are_counted_over_all_training(tmp_path):
    model = fit(OrbaxCheckpoint(tmp_path, save_freq=5, max_to_keep=None))
    assert steps(tmp_path) == [5, 10]
    fit(OrbaxCheckpoint(tmp_path, save_freq=5, max_to_keep=2), model, epochs=1)
    assert steps(tmp_path) == [5, 10]
    fit(OrbaxCheckpoint(tmp_path, save_freq=4, max_to_keep=2), model, epochs=1)
    assert steps(tmp_path) == [10, 20]


def test_those_of_an_earlier_training_go_first(tmp_path):
    fit(OrbaxCheckpoint(tmp_path, max_to_keep=None), epochs=5)
    fit(OrbaxCheckpoint(tmp_path, max_to_keep=3), epochs=2)
    assert steps(tmp_path) == [0, 1, 4]


def test_only_the_best(tmp_path, capsys):
    callback = OrbaxCheckpoint(tmp_path, monitor="loss", save_best_only=True, max_to_keep=None, verbose=1)
    model = line()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate([3.0, 4.0, 2.0, 2.5]):
        callback.on_epoch_end(epoch, {"loss": loss})
    callback.on_train_end()
    assert steps(tmp_path) == [0, 2] and "Saving checkpoint 2" in capsys.readouterr().out
    fit(OrbaxCheckpoint(tmp_path / "b", monitor="loss", save_best_only=True, initial_value_threshold=0.0))
    assert steps(tmp_path / "b") == []
    with pytest.warns(UserWarning, match="val_loss"):
        fit(OrbaxCheckpoint(tmp_path / "c", save_best_only=True))
    assert steps(tmp_path / "c") == []


def test_files_of_layers_are_saved_too(tmp_path):
    model = Sequential([layers.Input((1,), dtype="string"), layers.TextVectorization(output_sequence_length=2)])
    model.layers[0].set_vocabulary(["one", "two"])
    callback = OrbaxCheckpoint(tmp_path)
    callback.set_model(model)
    callback._save_checkpoint(3)
    callback.wait_until_finished()
    assert saving.load_model(tmp_path).layers[0].get_vocabulary() == model.layers[0].get_vocabulary()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    going_on, written = threading.Event(), []
    write = snapshot.ModelSnapshot.write

    def slow(self, folder):
        assert going_on.wait(20)
        write(self, folder)
        written.append(folder.name)

    class Note(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                assert written == []
                going_on.set()

    monkeypatch.setattr(snapshot.ModelSnapshot, "write", slow)
    model = line()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Note(), OrbaxCheckpoint(tmp_path, max_to_keep=None)])
    assert written == ["0", "1"]


def test_an_error_of_the_writer_is_raised(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "mine").touch()
    with pytest.raises(FileError, match="something else"):
        fit(OrbaxCheckpoint(tmp_path))
    assert (tmp_path / "0" / "mine").exists() and steps(tmp_path) == [0]


def test_large_models_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "SHARD_BYTES", 64)
    model = fit(OrbaxCheckpoint(tmp_path))
    assert len(list((tmp_path / "2").glob("*.h5"))) > 1
    np.testing.assert_array_equal(saving.load_model(tmp_path).predict(X, verbose=0), model.predict(X, verbose=0))


def test_the_rest(tmp_path):
    callback = OrbaxCheckpoint(tmp_path)
    assert callback.is_primary_host() and not callback.is_multihost_enabled()
    fit(callback)
    pickle.loads(pickle.dumps(callback.__getstate__()["directory"]))
    with pytest.raises(ArgumentError, match="save_freq"):
        OrbaxCheckpoint(tmp_path, save_freq="batch")
