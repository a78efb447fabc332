"""What callbacks keep, so that a training that was cut off goes on as if it had not been."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from lamina import layers
from lamina.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    GradientNorm,
    History,
    LearningRateScheduler,
    ModelCheckpoint,
    OrbaxCheckpoint,
    ReduceLROnPlateau,
    SwapEMAWeights,
    TensorBoard,
)
from lamina.callbacks.learning_rate import TorchScheduler
from lamina.models import Sequential
from lamina.optimizers import SGD

VALUES = [3.0, 2.0, 2.5, 2.4, 2.3, 2.6, 2.2, 2.1]


def line():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.stop_training = False
    return model


def play(callback, model, epochs, state=None):
    """Epochs with made-up results; the state after them, as a file would give it back."""
    callback.set_model(model)
    callback.on_train_begin()
    if state is not None:
        callback.set_state(state)
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_begin(0)
        callback.on_train_batch_end(0, {"loss": VALUES[epoch]})
        callback.on_epoch_end(epoch, {"loss": VALUES[epoch], "val_loss": VALUES[epoch]})
    state = json.loads(json.dumps(callback.get_state(), default=lambda value: value.tolist()))
    callback.on_train_end()
    return state


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: EarlyStopping(patience=9),
        lambda folder: EarlyStopping(patience=9, restore_best_weights=True),
        lambda folder: ReduceLROnPlateau(patience=2, cooldown=1),
        lambda folder: ModelCheckpoint(folder / "a.weights.h5", save_weights_only=True, save_best_only=True),
        lambda folder: ModelCheckpoint(folder / "a.weights.h5", save_weights_only=True, save_freq=3),
        lambda folder: OrbaxCheckpoint(folder / "o", save_freq=3),
        lambda folder: OrbaxCheckpoint(folder / "o", save_best_only=True),
        lambda folder: TensorBoard(folder / "t", update_freq=2),
        lambda folder: CSVLogger(folder / "log.csv"),
        lambda folder: History(),
        lambda folder: LearningRateScheduler(lambda epoch, rate: rate / 2),
    ],
    ids=lambda make: make.__code__.co_names[0],
)
def test_cut_off_and_gone_on_is_as_run_through(make, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    model = line()
    expected = play(make(whole), model, range(8))
    rate = float(model.optimizer.learning_rate)
    model = line()
    state = play(make(cut), model, range(4))
    assert play(make(cut), model, range(4, 8), state) == expected
    assert float(model.optimizer.learning_rate) == rate
    for name in ("log.csv", "a.weights.h5"):
        assert (whole / name).exists() == (cut / name).exists()
    if (whole / "log.csv").exists():
        assert (cut / "log.csv").read_text() == (whole / "log.csv").read_text()


def test_default_state_is_empty():
    callback = Callback()
    assert callback.get_state() == {}
    callback.set_state({"unknown": 1})
    assert not hasattr(callback, "unknown")


def test_a_state_does_not_change_afterwards():
    history = History()
    history.on_train_begin()
    history.on_epoch_end(0, {"loss": 1.0})
    state = history.get_state()
    history.on_epoch_end(1, {"loss": 2.0})
    assert state == {"history": {"loss": [1.0]}, "epoch": [0]}


def test_best_weights_come_back_as_arrays():
    model = line()
    callback = EarlyStopping(restore_best_weights=True, patience=9)
    play(callback, model, range(3))
    best = [weight.numpy() for weight in callback.get_state()["best_weights"]]
    model.layers[-1].kernel.assign(np.full((3, 1), 7.0))
    again = EarlyStopping(restore_best_weights=True, patience=9)
    again.set_model(model)
    again.on_train_begin()
    again.set_state({"best": 2.0, "best_weights": best, "wait": 1, "best_epoch": 1, "stopped_epoch": 0})
    again.on_train_end()
    np.testing.assert_array_equal(model.get_weights()[0], best[0])


def test_rows_that_were_written_after_the_state_are_written_once(tmp_path):
    path = tmp_path / "log.csv"
    first = CSVLogger(path, append=True)
    state = play(first, line(), range(2))
    with path.open("a") as file:
        file.write("2,0.0,0.0\n")
    play(CSVLogger(path, append=True), line(), range(2, 4), state)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert [row[0] for row in rows] == ["epoch", "0", "1", "2", "3"] and rows[3][1] == "2.5"


def test_a_file_is_emptied_only_when_it_is_written_anew(tmp_path):
    path = tmp_path / "log.csv"
    play(CSVLogger(path), line(), range(2))
    play(CSVLogger(path), line(), [])
    assert len(path.read_text().splitlines()) == 3
    play(CSVLogger(path), line(), range(1))
    assert len(path.read_text().splitlines()) == 2


SCHEDULERS = {
    "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=20),
    "steps": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 5], 0.1),
    "restarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "sequence": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o, 0.1, 2), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[3],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_of_torch(name):
    def run(epochs, state=None):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
        callback = TorchScheduler(SCHEDULERS[name](optimizer))
        optimizer.step()
        if state is not None:
            callback.set_state(state)
        rates = []
        for epoch in epochs:
            callback.on_epoch_end(epoch, {"loss": VALUES[epoch]})
            rates.append(optimizer.param_groups[0]["lr"])
        return rates, json.loads(json.dumps(callback.get_state()))

    expected, _ = run(range(8))
    first, state = run(range(4))
    rest, _ = run(range(4, 8), state)
    assert first + rest == pytest.approx(expected)


def test_whether_averages_are_in_the_model_is_kept():
    model = line()
    model.compile(SGD(use_ema=True), loss="mse")
    x = np.ones((4, 3), "float32")
    callback = SwapEMAWeights(swap_on_epoch=True)
    model.fit(x, x[:, :1], epochs=1, verbose=0)
    callback.set_model(model)
    callback.set_params({"epochs": 5})
    model.layers[-1].kernel.assign(np.full((3, 1), 7.0))
    callback.on_epoch_end(0)
    again = SwapEMAWeights(swap_on_epoch=True)
    again.set_model(model)
    swapped = model.get_weights()[0]
    again.set_state(callback.get_state())
    again.on_epoch_begin(1)
    assert not np.array_equal(model.get_weights()[0], swapped) and not again._ema_weights_in_model


def test_norms_of_half_an_epoch_are_kept():
    first, second = GradientNorm(), GradientNorm()
    first._sum, first._max, first._measured, first._seen = torch.tensor([3.0]), torch.tensor(2.0), 2, 2
    second.set_state(first.get_state())
    assert second._measured == 2 and float(second._max) == 2.0
