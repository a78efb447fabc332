"""Each callback in a real fit, and the list that calls them."""

from __future__ import annotations

import csv
import pickle

import numpy as np
import pytest
import torch

from lamina import layers, ops
from lamina.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from lamina.callbacks.base import HOOKS
from lamina.callbacks.logs import Logs, to_numbers
from lamina.core.errors import ArgumentError, ArgumentTypeError, FileError
from lamina.models import Sequential

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :1]


def line(**options):
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(1)])
    model.compile("sgd", loss="mse", **options)
    return model


def play(callback, values, model, name="val_loss"):
    """Epochs with these results, until the callback stops; how many there were."""
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1


class TestLogs:
    def test_values_are_computed_when_read(self):
        computed = []
        logs = Logs(lambda: computed.append(1) or {"b": torch.tensor(2.0), "a": {"c": torch.tensor(1)}})
        assert computed == []
        assert logs["b"] == 2.0 and list(logs) == ["c", "b"]
        assert computed == [1]
        assert logs.get("missing") is None and "c" in logs and len(logs) == 2
        assert dict(logs) == {**logs} == logs.copy() == {"b": 2.0, "c": 1.0}
        logs["more"] = 3
        assert logs.pop("more") == 3 and "more" not in repr(logs)

    def test_settled_values_do_not_change(self):
        total = torch.tensor(1.0)
        logs = Logs(lambda: {"loss": total * 1})
        logs.settle()
        total.add_(5)
        assert logs["loss"] == 1.0

    def test_numbers(self):
        values = {"z": np.float32(1.5), "a": torch.ones(2), "s": "text", "n": 3}
        numbers = to_numbers(values)
        assert list(numbers) == ["a", "n", "s", "z"]
        assert numbers["z"] == 1.5 and numbers["n"] == 3.0 and numbers["s"] == "text"
        assert isinstance(numbers["a"], torch.Tensor)
        mixed = {"h": torch.tensor(1.0, dtype=torch.float16), "f": torch.tensor(2.0)}
        assert to_numbers(mixed) == {"f": 2.0, "h": 1.0}


class TestList:
    def test_only_hooks_that_do_something_are_called(self):
        class Old(Callback):
            def on_batch_end(self, batch, logs=None):
                pass

        class Foreign:
            def set_model(self, model): ...
            def set_params(self, params): ...
            def on_epoch_end(self, epoch, logs): ...

        callbacks = CallbackList([Old(), History(), Foreign(), LambdaCallback(on_train_batch_begin=print)])
        counts = {name: len(callbacks.hooks(name)) for name in HOOKS if callbacks.hooks(name)}
        assert counts == {
            "on_train_begin": 1,
            "on_epoch_end": 2,
            "on_train_batch_begin": 1,
            "on_train_batch_end": 1,
        }

    def test_a_checkpoint_by_epoch_costs_no_batch_hook(self):
        assert CallbackList([ModelCheckpoint("a.keras")]).hooks("on_train_batch_end") == []
        assert len(CallbackList([ModelCheckpoint("a.keras", save_freq=3)]).hooks("on_train_batch_end")) == 1

        class Own(ModelCheckpoint):
            def on_train_batch_end(self, batch, logs=None): ...

        assert len(CallbackList([Own("a.keras")]).hooks("on_train_batch_end")) == 1

    def test_append_and_nested_lists(self):
        callbacks = CallbackList([[History()], TerminateOnNaN()], add_history=True, add_progbar=True, verbose=0)
        assert len(callbacks.callbacks) == 3
        callbacks.append(LambdaCallback(on_train_end=lambda logs: None))
        assert len(callbacks.hooks("on_train_end")) == 1

    def test_tensors_become_numbers(self):
        seen = []
        callbacks = CallbackList(LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs)))
        callbacks.on_epoch_end(0, {"loss": torch.tensor(0.5)})
        assert seen == [{"loss": 0.5}]


class TestEarlyStopping:
    def test_patience(self):
        model = line()
        assert play(EarlyStopping(), [3, 2, 2, 1], model) == 3
        assert play(EarlyStopping(patience=2), [3, 2, 2, 1, 1, 1, 0], model) == 6
        assert play(EarlyStopping(min_delta=0.5, patience=1), [3, 2.7, 2.4, 2.3], model) == 2
        assert play(EarlyStopping("val_accuracy"), [0.1, 0.2, 0.1], model, "val_accuracy") == 3
        assert play(EarlyStopping("x", mode="max"), [1, 2, 1], model, "x") == 3
        assert play(EarlyStopping(baseline=1.0, patience=2), [3, 2, 1.5, 1.2], model) == 4
        assert play(EarlyStopping(start_from_epoch=3), [1, 2, 3, 4, 5], model) == 5

    def test_direction_that_cannot_be_told(self):
        with pytest.raises(ArgumentError, match="mode"):
            play(EarlyStopping("beauty"), [1, 2], line(), "beauty")
        with pytest.warns(UserWarning, match="'least'"):
            EarlyStopping(mode="least")

    def test_restores_the_best_weights(self, capsys):
        model = line()
        callback = EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
        best = []

        def change(epoch, logs):
            if epoch == 1:
                best.extend(model.get_weights())
            model.layers[-1].kernel.assign(np.full((3, 1), epoch + 10.0))

        callback.set_model(model)
        callback.on_train_begin()
        for epoch, value in enumerate([3, 1, 2, 2]):
            callback.on_epoch_end(epoch, {"val_loss": value})
            change(epoch, None)
        callback.on_train_end()
        for a, b in zip(best, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert callback.best_epoch == 1 and callback.stopped_epoch == 3
        assert isinstance(callback.best_weights[0], torch.Tensor)
        assert "Epoch 4: stopped early" in capsys.readouterr().out

    def test_missing_result_is_warned_of_once(self):
        with pytest.warns(UserWarning, match='watches "val_loss".*loss, mae.*validation_data') as caught:
            line(metrics=["mae"]).fit(X, Y, epochs=3, verbose=0, callbacks=[EarlyStopping()])
        assert len(caught) == 1

    def test_misspelled_name(self):
        with pytest.raises(ArgumentError, match='"los" is not among the results. Did you mean "loss"'):
            line().fit(X, Y, verbose=0, callbacks=[EarlyStopping("los")])

    def test_comparison_by_name(self):
        callback = EarlyStopping("acc")
        assert callback.monitor_op is None
        callback.set_model(line())
        callback.on_train_begin()
        for epoch in range(2):
            callback.on_epoch_end(epoch, {"acc": 0.5})
        assert callback.monitor_op is ops.greater

    def test_in_fit(self):
        history = line().fit(
            X,
            Y * 0,
            epochs=50,
            verbose=0,
            validation_data=(X, Y),
            callbacks=[EarlyStopping("loss", min_delta=10, patience=4)],
        )
        assert len(history.epoch) == 5


class TestModelCheckpoint:
    def test_names(self, tmp_path):
        path = tmp_path / "deep" / "{epoch:02d}-{val_loss:.1f}.keras"
        saved = []
        model = line()
        model.__dict__["save"] = lambda path, overwrite: saved.append(path)
        model.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[ModelCheckpoint(path)])
        assert [s.rpartition("/")[2][:3] for s in saved] == ["01-", "02-"]
        assert (tmp_path / "deep").is_dir()
        with pytest.raises(ArgumentError, match='"val_loss"'):
            model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(path)])

    def test_best_only(self, tmp_path, capsys):
        saved = []
        model = line()
        model.__dict__["save_weights"] = lambda path, overwrite: saved.append(path)
        callback = ModelCheckpoint(
            f"{tmp_path}/{{epoch}}.weights.h5", save_best_only=True, save_weights_only=True, verbose=1
        )
        play(callback, [3.0, 4.0, 2.0, 2.0], model)
        assert [s.rpartition("/")[2] for s in saved] == ["1.weights.h5", "3.weights.h5"]
        assert "val_loss is no better than 3.0" in capsys.readouterr().out
        saved.clear()
        callback = ModelCheckpoint(
            f"{tmp_path}/a.weights.h5",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=2.5,
        )
        play(callback, [3.0, 2.4], model)
        assert len(saved) == 1

    def test_every_few_batches(self, tmp_path):
        saved = []
        model = line()
        model.__dict__["save"] = lambda path, overwrite: saved.append(path.rpartition("/")[2])
        callback = ModelCheckpoint(f"{tmp_path}/{{epoch}}-{{batch}}.keras", save_freq=3)
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[callback])
        assert saved == ["1-3.keras", "2-2.keras"]

    def test_a_real_file(self, tmp_path):
        model = line()
        path = tmp_path / "m.weights.h5"
        model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(path, save_weights_only=True)])
        other = line()
        other.load_weights(path)
        np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))

    def test_errors(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"expected: \.keras"):
            ModelCheckpoint("model")
        with pytest.raises(ArgumentError, match=r"\.weights\.h5"):
            ModelCheckpoint("model.keras", save_weights_only=True)
        with pytest.raises(ArgumentError, match="save_freq"):
            ModelCheckpoint("model.keras", save_freq="batch")
        (tmp_path / "a.keras").mkdir()
        with pytest.raises(FileError, match="folder"):
            line().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "a.keras")])
        with pytest.warns(UserWarning, match="watches"):
            callback = ModelCheckpoint(tmp_path / "b.keras", save_best_only=True)
            model = line()
            model.__dict__["save"] = lambda path, overwrite: None
            model.fit(X, Y, verbose=0, callbacks=[callback])


class TestLearningRate:
    def test_scheduler(self, capsys):
        model = line()
        callback = LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
        history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[callback]).history
        assert history["learning_rate"] == pytest.approx([0.005, 0.0025, 0.00125])
        assert "learning_rate is set to" in capsys.readouterr().out
        model.fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: 0.5)])
        assert float(model.optimizer.learning_rate) == 0.5
        with pytest.raises(ArgumentTypeError, match="float"):
            model.fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda epoch, rate: "a")])

    def test_plateau(self):
        model = line()
        model.fit(X, Y, verbose=0)
        model.optimizer.learning_rate = 0.1
        callback = ReduceLROnPlateau(factor=0.5, patience=1, cooldown=1, min_lr=0.04)
        play(callback, [3, 3, 3, 3, 3, 3, 3, 3], model)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.04)
        history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[ReduceLROnPlateau("loss")]).history
        assert history["learning_rate"] == pytest.approx([0.04, 0.04])
        with pytest.raises(ArgumentError, match="below 1"):
            ReduceLROnPlateau(factor=1.0)


class TestSmallOnes:
    def test_csv(self, tmp_path):
        path = tmp_path / "log.csv"
        model = line(metrics=["mae"])
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[CSVLogger(path)])
        model.fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[CSVLogger(path, append=True)])
        rows = list(csv.reader(path.read_text().splitlines()))
        assert rows[0] == ["epoch", "loss", "mae", "val_loss", "val_mae"]
        assert [row[0] for row in rows[1:]] == ["0", "1", "0"]
        assert rows[1][3] == "NA" and float(rows[3][3]) > 0
        pickle.loads(pickle.dumps(CSVLogger(path)))

    def test_nan(self, capsys):
        model = line()
        model.layers[-1].kernel.assign(np.full((3, 1), np.nan))
        history = model.fit(X, Y, epochs=3, batch_size=4, verbose=0, callbacks=[TerminateOnNaN()])
        assert history.epoch == [0] and "Batch 0" in capsys.readouterr().out
        with pytest.raises(RuntimeError, match="batch 0"):
            model.fit(X, Y, verbose=0, callbacks=[TerminateOnNaN(raise_error=True)])

    def test_lambda(self):
        calls = []
        callback = LambdaCallback(on_test_end=lambda logs: calls.append(logs), extra=3)
        line().evaluate(X, Y, verbose=0, callbacks=[callback])
        assert list(calls[0]) == ["loss"] and callback.extra == 3
        with pytest.raises(ArgumentTypeError, match="on_epoch_end"):
            LambdaCallback(on_epoch_ends=print)

    def test_history_goes_on_in_the_next_fit(self):
        history, model = History(), line()
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[history])
        model.fit(X, Y, epochs=1, verbose=0, callbacks=[history])
        assert len(history.history["loss"]) == 3 and history.epoch == [0]

    def test_the_model_of_a_parallel_wrapper(self):
        callback = Callback()
        callback.set_model("model")
        assert callback.model == "model"
