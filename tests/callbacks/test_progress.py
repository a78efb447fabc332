"""What the progress bar prints, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
import types

import numpy as np
import pytest

from lamina import layers
from lamina.callbacks.progress import Progbar, ProgbarLogger, _clock, _duration
from lamina.core.errors import ArgumentError
from lamina.models import Sequential

X = np.zeros((40, 2), "float32")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    out = Terminal()
    monkeypatch.setattr("lamina.callbacks.progress.sys", types.SimpleNamespace(stdout=out, modules={}))
    monkeypatch.setenv("TERM", "xterm")
    return out


def line():
    model = Sequential([layers.Input(shape=(2,)), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    return model


def plain(text):
    return re.sub(r"\x1b\[\d+m", "", text)


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_a_file_gets_one_line_an_epoch(capsys, verbose):
    line().fit(X, X[:, :1], epochs=2, batch_size=4, validation_data=(X, X[:, :1]), verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2" and len(lines) == 4
    assert re.match(r"10/10 .* \d+(ms|us|s)/step - loss: \S+ - val_loss: \S+$", lines[1])


def test_silence(capsys):
    model = line()
    model.fit(X, X[:, :1], verbose=0)
    model.evaluate(X, X[:, :1], verbose=0)
    model.predict(X, verbose=0)
    assert capsys.readouterr().out == ""


def test_evaluate_and_predict(capsys):
    model = line()
    model.evaluate(X, X[:, :1])
    model.predict(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "loss: 0.0000" in lines[0] and "loss" not in lines[1]


def test_a_terminal_line_is_drawn_over(terminal, monkeypatch):
    monkeypatch.setattr(ProgbarLogger, "interval", 0.0)
    line().fit(X, X[:, :1], batch_size=4)
    drawn = plain(terminal.getvalue())
    assert drawn.count("\r") == 11 and drawn.count("\n") == 1
    assert " 3/10 ━━━━━━━━━━━━━━━━━━━━" in drawn and drawn.rstrip().splitlines()[-1].startswith("10/10")


def test_a_terminal_is_not_flooded(terminal):
    line().fit(X, X[:, :1], batch_size=1)
    assert terminal.getvalue().count("\r") < 10


def test_unknown_length(terminal):
    line().fit((X, X[:, :1]) for _ in range(3))
    assert plain(terminal.getvalue()).rstrip().splitlines()[-1].startswith("3/3")


def test_bar_averages(terminal):
    bar = Progbar(4, stateful_metrics=["kept"], interval=0)
    bar.update(1, [("mean", 1.0), ("kept", 1.0)])
    bar.add(2, [("mean", 4.0), ("kept", 5.0)])
    assert "mean: 3.0000 - kept: 5.0000" in plain(terminal.getvalue())
    bar.update(4, [("mean", 0.0005)])
    assert plain(terminal.getvalue()).endswith("\n") and "5.0000e-04" in terminal.getvalue()
    with pytest.raises(ArgumentError):
        Progbar(1, stateful_metrics=[], stateless_metrics=[])


def test_times():
    assert [_clock(s) for s in (0.2, 59.6, 75, 3725)] == ["0s", "1:00", "1:15", "1:02:05"]
    assert [_duration(s) for s in (2.0, 0.02, 2e-5)] == ["2s", "20ms", "20us"]


def test_a_line_does_not_wrap(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    bar = Progbar(10, interval=0)
    bar.update(3, [(f"a long name {index}", 1.0) for index in range(9)])
    assert len(plain(terminal.getvalue()).strip("\r")) == 59


def test_a_list_of_values_is_shown_as_its_mean(capsys):
    Progbar(1, verbose=2).update(1, [("loss", [1.0, 2.0])])
    assert "loss: 1.5000" in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [1, 2])
def test_steps_that_are_not_known_are_counted(capsys, verbose):
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(((X[:4], X[:4, :1]) for _ in range(3)), verbose=verbose)
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("3/3")
