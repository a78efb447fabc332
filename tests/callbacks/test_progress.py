"""What the progress bar prints, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
import sys
import types

import numpy as np
import pytest

from lamina import config, layers
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


def test_notes_are_left_out_where_there_is_no_room(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    bar = Progbar(10, interval=0)
    bar.notes = ["1:20 to the end", "35 steps/s"]
    bar.update(3, [("loss", 1.0)])
    drawn = plain(terminal.getvalue())
    assert "loss: 1.0000" in drawn and "steps/s" not in drawn and "to the" not in drawn


def test_a_list_of_values_is_shown_as_its_mean(capsys):
    Progbar(1, verbose=2).update(1, [("loss", [1.0, 2.0])])
    assert "loss: 1.5000" in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [1, 2])
def test_steps_that_are_not_known_are_counted(capsys, verbose):
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(((X[:4], X[:4, :1]) for _ in range(3)), verbose=verbose)
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("3/3")


def test_speed_and_the_time_left_for_all_epochs_are_shown_while_it_runs(terminal, monkeypatch):
    monkeypatch.setattr(ProgbarLogger, "interval", 0.0)
    monkeypatch.setenv("COLUMNS", "120")
    line().fit(X, X[:, :1], batch_size=4, epochs=2)
    drawn = plain(terminal.getvalue()).replace("\r", "\n").splitlines()
    first, second = [part for part in drawn if " 3/10" in part]
    assert re.search(r"loss: \S+ - \d+s to the end - [\d.]+ steps/s$", first.rstrip())
    assert second.rstrip().endswith("steps/s")
    finished = [part for part in drawn if part.startswith("10/10") and "steps/s" not in part]
    assert len(finished) == 2


def test_what_is_left_is_reckoned_from_whole_epochs():
    bar = ProgbarLogger()
    bar.set_params({"verbose": 1, "epochs": 4, "steps": 10})
    bar.on_train_begin()
    bar._epoch, bar._begun, bar.seen, bar._taken = 1, 100.0, 5, [30.0]
    assert bar._notes(110.0) == ["1:20 to the end", "0.5 steps/s"]  # 20 s of this epoch, and two of 30 s
    bar._taken = []
    assert bar._notes(110.0) == ["50s to the end", "0.5 steps/s"]
    bar._epoch = 3
    assert bar._notes(110.0) == ["0.5 steps/s"]


def test_a_notebook_is_shown_one_line_that_is_replaced(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown[-1].append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append([data["text/plain"]])
        return Handle()

    class OutStream(io.StringIO):
        pass

    OutStream.__module__ = "ipykernel.iostream"
    out = OutStream()
    modules = {"ipykernel": None}
    monkeypatch.setattr("lamina.callbacks.progress.sys", types.SimpleNamespace(stdout=out, modules=modules))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(ProgbarLogger, "interval", 0.0)
    line().fit(X, X[:, :1], batch_size=4, epochs=2)
    assert len(shown) == 2 and all(len(lines) == 11 for lines in shown)
    assert plain(shown[1][-1]).startswith("10/10") and out.getvalue() == ""


def test_a_line_of_its_own_where_messages_are_logged(terminal, caplog):
    config.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", "lamina"):
            line().fit(X, X[:, :1], batch_size=4)
    finally:
        config.enable_interactive_logging()
    assert terminal.getvalue() == "" and len(caplog.messages) == 1 and caplog.messages[0].startswith("10/10")
