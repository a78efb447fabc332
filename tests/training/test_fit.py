"""fit, evaluate and predict: what they do, with which data, and what callbacks see."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lamina import layers
from lamina.callbacks import Callback, History, LambdaCallback
from lamina.core.errors import DataError
from lamina.data import PyDataset
from lamina.models import Model, Sequential
from lamina.training import Trainer

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = X[:, :1] * 2 - 1


def line(**options):
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(1)])
    model.compile("sgd", loss="mse", **options)
    return model


def two_inputs():
    a, b = layers.Input(shape=(2,), name="a"), layers.Input(shape=(1,), name="b")
    model = Model({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile("sgd", loss="mse")
    return model


class Recorder(Callback):
    def __init__(self):
        super().__init__()
        self.calls, self.logs = [], []

    def on_train_begin(self, logs=None):
        self.calls.append("train_begin")

    def on_train_end(self, logs=None):
        self.calls.append("train_end")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch_begin {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch_end {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"end {batch}")
        self.logs.append(logs)

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(f"test {batch}")


def test_learning():
    model = line()
    history = model.fit(X, Y, epochs=60, batch_size=8, verbose=0)
    assert isinstance(history, History) and model.history is history
    assert history.history["loss"][-1] < 1e-2 * history.history["loss"][0]
    assert history.params == {"verbose": 0, "epochs": 60, "steps": 5}
    assert not model.training and not any(module.training for module in model.modules())


def test_the_reported_loss_weighs_samples_equally():
    model = line(metrics=["mse"])
    model.optimizer.learning_rate = 0.0
    logs = model.fit(X, Y, batch_size=32, verbose=0).history
    whole = ((model.predict(X, verbose=0) - Y) ** 2).mean()
    np.testing.assert_allclose([logs["loss"][0], logs["mse"][0]], whole, rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(X, Y, batch_size=7, verbose=0), whole, rtol=1e-5)


def test_callbacks_are_called_in_order():
    recorder = Recorder()
    line().fit(X, Y, batch_size=20, epochs=2, validation_data=(X, Y), verbose=0, callbacks=recorder)
    epoch = ["begin 0", "end 0", "begin 1", "end 1", "test 0", "test 1"]
    expected = ["train_begin"]
    for number in range(2):
        expected += [f"epoch_begin {number}", *epoch, f"epoch_end {number}"]
    assert recorder.calls == [*expected, "train_end"]


def test_steps_per_execution_calls_batch_hooks_less_often():
    recorder = Recorder()
    line(steps_per_execution=2).fit(X, Y, batch_size=8, verbose=0, callbacks=[recorder])
    assert [c for c in recorder.calls if " " in c and "epoch" not in c] == [
        "begin 0",
        "end 1",
        "begin 2",
        "end 3",
        "begin 4",
        "end 4",
    ]


def test_batch_logs_can_be_kept():
    recorder = Recorder()
    model = line()
    model.fit(X, Y, batch_size=10, verbose=0, callbacks=[recorder])
    losses = [logs["loss"] for logs in recorder.logs]
    assert len(set(losses)) == 4
    assert losses[-1] == pytest.approx(model.history.history["loss"][0])
    assert all(isinstance(logs, dict) and isinstance(dict(logs)["loss"], float) for logs in recorder.logs)


def test_values_put_into_logs_reach_the_history():
    def add(epoch, logs):
        logs["extra"] = epoch * 10

    history = line().fit(X, Y, epochs=2, verbose=0, callbacks=[LambdaCallback(on_epoch_end=add)])
    assert history.history["extra"] == [0, 10]


def test_stop_training_ends_after_the_batch():
    seen = []

    def stop(batch, logs):
        seen.append(batch)
        model.stop_training = batch == 1

    model = line()
    history = model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=stop)])
    assert seen == [0, 1] and history.epoch == [0]


def test_interrupt_leaves_a_usable_model_and_history():
    ended = []

    def interrupt(batch, logs):
        if len(model.history.epoch) == 2:
            raise KeyboardInterrupt

    model = line()
    hooks = LambdaCallback(on_train_batch_end=interrupt, on_train_end=lambda logs: ended.append(dict(logs)))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=5, verbose=0, callbacks=[hooks])
    assert len(model.history.history["loss"]) == 2 and len(ended) == 1 and "loss" in ended[0]
    assert not model.training
    model.fit(X, Y, verbose=0)


def test_errors_leave_the_model_in_evaluation_mode():
    def fail(batch, logs):
        raise OSError

    model = line()
    with pytest.raises(OSError):
        model.fit(X, Y, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=fail)])
    assert not model.training


def test_validation_options():
    model = line()
    history = model.fit(X, Y, epochs=4, validation_split=0.25, validation_freq=2, verbose=0).history
    assert len(history["val_loss"]) == 2 and len(history["loss"]) == 4
    history = model.fit(X, Y, epochs=4, validation_data=(X, Y), validation_freq=[1, 4], verbose=0).history
    assert len(history["val_loss"]) == 2
    recorder = Recorder()
    model.fit(
        X,
        Y,
        validation_data=(X, Y, np.ones(40)),
        validation_batch_size=5,
        validation_steps=3,
        verbose=0,
        callbacks=recorder,
    )
    assert sum(c.startswith("test") for c in recorder.calls) == 3


def test_initial_epoch_and_steps():
    model = line()
    history = model.fit(X, Y, initial_epoch=3, epochs=5, steps_per_epoch=2, batch_size=4, verbose=0)
    assert history.epoch == [3, 4] and history.params["steps"] == 2
    assert int(model.optimizer.iterations) == 4


FORMS = {
    "numpy": lambda: ((X, Y), {}),
    "torch": lambda: ((torch.tensor(X), torch.tensor(Y)), {}),
    "lists": lambda: ((X.tolist(), Y.tolist()), {}),
    "frame": lambda: ((pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(Y[:, 0])), {}),
    "rank one targets": lambda: ((X, Y[:, 0]), {}),
    "loader": lambda: ((DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=8),), {}),
    "dataset": lambda: ((TensorDataset(torch.tensor(X), torch.tensor(Y)),), {"batch_size": 8}),
    "generator": lambda: (((X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)), {}),
    "weighted generator": lambda: (((X[i : i + 8], Y[i : i + 8], np.ones(8)) for i in range(0, 40, 8)), {}),
    "py dataset": lambda: ((Batches(),), {}),
}


class Batches(PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        part = slice(index * 8, index * 8 + 8)
        return X[part], Y[part]


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_kinds_of_data(form):
    args, options = form()
    args = args if isinstance(args, tuple) else (args,)
    model = line(metrics=["mae"])
    weights = [np.array([[0.5], [0.1], [0.0]]), np.zeros(1)]
    model.set_weights(weights)
    history = model.fit(*args, shuffle=False, verbose=0, **{"batch_size": 8, **options}).history
    reference = line(metrics=["mae"])
    reference.set_weights(weights)
    expected = reference.fit(X, Y, shuffle=False, batch_size=8, verbose=0).history
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    args, _ = form()
    args = args if isinstance(args, tuple) else (args,)
    assert model.predict(args[0], verbose=0).shape == (40, 1)


def test_several_inputs():
    model = two_inputs()
    a, b, y = X[:, :2], X[:, 2:], Y
    model.fit({"a": a, "b": b}, y, verbose=0)
    model.fit([a, b], y, verbose=0)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    x, z = layers.Input(shape=(1,), name="a"), layers.Input(shape=(1,), name="b")
    by_column = Model({"a": x, "b": z}, layers.Dense(1)(layers.Add()([x, z])))
    by_column.compile("sgd", loss="mse")
    by_column.fit(frame, y, verbose=0)
    by_column.fit(dict(frame), y, verbose=0)
    assert by_column.predict(frame, verbose=0).shape == (40, 1)


def test_a_model_that_is_built_by_fit():
    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)
            self.seen = []

        def call(self, x, training=False):
            self.seen.append(bool(training))
            return self.dense(x)

    model = Own()
    model.compile("sgd", loss="mse", metrics=["mae"])
    model.fit(X, Y, batch_size=20, validation_data=(X, Y), verbose=0)
    assert model.built and len(model.trainable_weights) == 2
    assert model.seen[-4:] == [True, True, False, False]


def test_predict_joins_batches_and_keeps_structure():
    x = layers.Input(shape=(3,))
    model = Model(x, {"p": layers.Dense(1)(x), "q": [layers.Dense(2)(x), x]})
    out = model.predict(X, batch_size=16, verbose=0)
    assert out["p"].shape == (40, 1) and out["q"][0].shape == (40, 2)
    np.testing.assert_allclose(out["q"][1], X.astype("float32"))
    assert isinstance(out["p"], np.ndarray) and out["p"].dtype == np.float32
    assert model.predict_on_batch(X[:4])["p"].shape == (4, 1)
    with pytest.raises(DataError):
        model.predict(iter(()), verbose=0)


def test_batches_larger_than_the_data():
    assert line().fit(X, Y, batch_size=1000, verbose=0).params["steps"] == 1


def test_generator_that_ends_early():
    batches = ((X[:8], Y[:8]) for _ in range(3))
    with pytest.warns(UserWarning, match="ran out of data: only 1 of 2"):
        history = line().fit(batches, steps_per_epoch=2, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    batches = ((X[:8], Y[:8]) for _ in range(3))
    with pytest.warns(UserWarning, match="ran out of data: nothing is left"):
        history = line().fit(batches, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 1


def test_shuffling_is_repeatable():
    def run():
        model = line()
        model.set_weights([np.ones((3, 1)), np.zeros(1)])
        torch.manual_seed(3)
        return model.fit(X, Y, epochs=2, batch_size=4, verbose=0).history["loss"]

    assert run() == run()


def test_results_wait_until_someone_looks(monkeypatch):
    fetched = []
    monkeypatch.setattr("lamina.callbacks.logs._fetch", lambda scalars: fetched.append(1) or [0.0] * len(scalars))
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: pytest.fail("a step waits for the device"))
    line(metrics=["mae"]).fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[Recorder()])
    assert len(fetched) <= 4


def test_frozen_layers_do_not_learn():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(4), layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile("sgd", loss="mse")
    before = [w.copy() for w in model.get_weights()]
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[2], after[2])
    model.trainable = False
    model.compile("sgd", loss="mse")
    with pytest.warns(UserWarning, match="no weights to train"):
        model.fit(X, Y, verbose=0)


def test_gradients_of_the_user_do_not_leak_in():
    model, clean = line(), line()
    clean.set_weights(model.get_weights())
    for weight in model.trainable_weights:
        weight.grad = torch.ones_like(weight) * 100
    for m in (model, clean):
        m.fit(X, Y, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), clean.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(weight.grad is None for weight in model.trainable_weights)


def test_recompiling_forgets_old_metrics():
    model = line(metrics=["mae"])
    model.fit(X, Y, verbose=0)
    model.compile("sgd", loss="mae")
    assert list(model.fit(X, Y, verbose=0).history) == ["loss"]


def test_metrics_that_are_attributes():
    from lamina import metrics

    class Own(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)
            self.size = metrics.Mean(name="size")

        def call(self, x):
            y = self.dense(x)
            self.size.update_state(y.detach().abs())
            return y

    model = Own()
    model.compile("sgd", loss="mse")
    assert list(model.fit(X, Y, verbose=0).history) == ["loss", "size"]
    assert model.metrics_names == ["loss", "size"]


def test_without_warnings_of_any_kind():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line(metrics=["mae"]).fit(X, Y, epochs=2, validation_split=0.2, verbose=0)


def test_copies_go_on_training():
    model = line(metrics=["mae"])
    model.fit(X, Y, verbose=0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = model.fit(X, Y, shuffle=False, verbose=0).history
    for twin in twins:
        history = twin.fit(X, Y, shuffle=False, verbose=0).history
        assert list(history) == list(expected) and history["loss"] == pytest.approx(expected["loss"])


def test_any_layer_can_be_a_trainer():
    class Own(Trainer, layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.compile("sgd", loss="mse")
    history = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def two_outputs(as_dict=False):
    x = layers.Input((3,))
    outputs = [layers.Dense(1, name="b")(x), layers.Dense(1, name="a")(x)]
    return Model(x, dict(zip("ba", outputs, strict=True)) if as_dict else outputs)


def test_results_of_outputs_come_in_the_order_of_the_losses():
    model = two_outputs(as_dict=True)
    model.compile("sgd", loss={"b": "mse", "a": "mae"})
    model.fit(X, {"a": Y, "b": Y}, verbose=0)
    assert model.metrics_names == ["loss", "b_loss", "a_loss"]
    assert len(model.metrics_variables) == 6


def test_several_losses_of_one_output_are_added_up():
    model = two_outputs()
    model.compile("sgd", loss=["mse", ["mse", "mae"]])
    both = model.evaluate(X, [Y, Y], verbose=0, return_dict=True)
    model.compile("sgd", loss=["mse", "mse"], metrics=[[], ["mae"]])
    one = model.evaluate(X, [Y, Y], verbose=0, return_dict=True)
    assert list(both) == ["a_loss", "b_loss", "loss"]
    assert both["a_loss"] == pytest.approx(one["a_loss"] + one["a_mae"], rel=1e-5)


def test_options_of_running_may_be_set_before_compile():
    model = Sequential([layers.Dense(1)])
    model.run_eagerly, model.jit_compile = True, True
    assert model.run_eagerly and model.jit_compile
    model.compile("sgd", loss="mse")
    assert not model.run_eagerly and not model.jit_compile
