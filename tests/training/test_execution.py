"""Executors: what runs, and that compiled steps do what eager ones do. Compiling takes seconds, so few tests do it."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.training import adoption, code_store, compiler
from lamina.training.adoption import Adoptions
from lamina.training.report import ExecutionReport, StepReport

needs_compiler = pytest.mark.skipif(compiler.unavailable() is not None, reason=str(compiler.unavailable()))

X = np.random.default_rng(0).normal(size=(72, 8)).astype("float32")
Y = (X[:, :1] ** 2).astype("float32")


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory):
    """Compiled code of these tests, in a place of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def make(**options):
    model = lamina.Sequential(
        [layers.Input((8,)), layers.Dense(16, activation="relu"), layers.Dropout(0.2, seed=1), layers.Dense(1)]
    )
    model.compile("adam", loss="mse", metrics=["mae"], **options)
    return model


def wait_for_code(model):
    """Until the step of training is traced and compiled."""
    adoption = model._adoptions["train"]
    while adoption._compilation is None and adoption._phase == "making":
        adoption._tracing.done(wait=True)
        model.fit(X[:8], Y[:8], batch_size=8, verbose=0)
    if adoption._compilation is not None:
        adoption._compilation.done(wait=True)


def twin_of(model, **options):
    twin = make(**options)
    twin.set_weights(model.get_weights())
    return twin


@needs_compiler
def test_a_compiled_run_is_the_eager_run():
    eager = make(jit_compile=False)
    forced = twin_of(eager, jit_compile=True)
    curves = []
    for model in (eager, forced):
        lamina.utils.set_random_seed(3)
        curves.append(model.fit(X, Y, batch_size=16, epochs=6, verbose=0).history)
    for name in ("loss", "mae"):
        np.testing.assert_allclose(curves[0][name], curves[1][name], rtol=1e-4)
    report = forced.execution_report().steps["train"]
    assert report.runs == "compiled" and report.why == "jit_compile=True"
    assert report.steps == 30 and report.compiled_steps == 23  # 6 last batches of 8 rows, and the very first
    assert report.difference is not None and report.difference < 1e-2
    assert eager.execution_report().steps["train"].why == "jit_compile=False"
    one, two = eager.evaluate(X, Y, verbose=0), forced.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(one, two, rtol=1e-4)
    np.testing.assert_allclose(eager.predict(X, verbose=0), forced.predict(X, verbose=0), rtol=1e-3, atol=1e-5)
    forced.predict(X, verbose=0)
    assert forced.execution_report().steps["predict"].compiled_steps > 0
    # A second call goes on with the code it has, a changed model is compiled anew, from disk where it was before.
    before = report.compiled_steps
    forced.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert forced.execution_report().steps["train"].compiled_steps == before + 4
    again = twin_of(forced, jit_compile=True)
    again.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert again.execution_report().steps["train"].from_disk
    forced.layers[0].trainable = False
    kernel = forced.layers[0].kernel.numpy()
    forced.compile("adam", loss="mse", jit_compile=False)
    forced.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    np.testing.assert_array_equal(kernel, forced.layers[0].kernel.numpy())


@needs_compiler
def test_auto_adopts_what_is_faster(monkeypatch):
    for name in ("_WORTH_SECONDS", "_SETTLING_SECONDS", "_TRACING_SECONDS", "_COMPILING_SECONDS"):
        monkeypatch.setattr(adoption, name, 0.0)
    model = make()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    report = model.execution_report().steps["train"]
    assert report.runs == "eager" and report.why == "compiled code is being made"
    wait_for_code(model)
    monkeypatch.setattr(adoption, "_GAIN", 1e9)
    model.fit(X, Y, batch_size=16, epochs=12, verbose=0)
    report = model.execution_report().steps["train"]
    assert report.runs == "compiled" and "times as fast" in report.why
    losses = model.history.history["loss"]
    assert losses[-1] < losses[0]


@needs_compiler
def test_what_is_not_faster_or_not_right_is_left(monkeypatch):
    for name in ("_WORTH_SECONDS", "_SETTLING_SECONDS", "_TRACING_SECONDS", "_COMPILING_SECONDS"):
        monkeypatch.setattr(adoption, name, 0.0)
    monkeypatch.setattr(adoption, "_GAIN", 0.0)
    model = make()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    wait_for_code(model)
    model.fit(X, Y, batch_size=16, epochs=12, verbose=0)
    report = model.execution_report().steps["train"]
    assert report.runs == "eager" and report.why == "the compiled step is not faster"
    assert report.compiled_ms is not None and report.eager_ms is not None

    run = adoption.CompiledStep.run
    monkeypatch.setattr(adoption.CompiledStep, "run", lambda self, batches: [run(self, batches) for _ in range(2)][-1])
    model = make()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    wait_for_code(model)
    model.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert "is off by" in model.execution_report().steps["train"].why


def test_without_enough_work_nothing_is_compiled(monkeypatch):
    model = make()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert model.execution_report().steps["train"].why == "it has just begun"
    monkeypatch.setattr(adoption, "_SETTLING_SECONDS", 0.0)
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    report = model.execution_report().steps["train"]
    assert report.runs == "eager" and "not enough work" in report.why
    assert model._adoptions["train"]._compilation is None


def test_no_compiler_means_eager_and_a_reason(monkeypatch):
    monkeypatch.setattr(compiler, "compiler_of_machine", lambda: None)
    model = make(jit_compile=True)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert "no C++ compiler" in str(model.execution_report())


def test_another_torch_means_eager_and_a_reason(monkeypatch):
    monkeypatch.setattr(compiler, "TESTED", ("1.0",))
    assert "not one of the versions" in str(compiler.unavailable())


def test_a_failing_compiler_is_reported(monkeypatch):
    monkeypatch.setattr(adoption, "Compilation", Broken)
    model = make(jit_compile=True)
    with pytest.warns(UserWarning, match="run eagerly: compiling failed: no space"):
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)


@needs_compiler
def test_a_compilation_that_takes_too_long_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))  # where no other test has left this very step
    monkeypatch.setattr(code_store, "_SECONDS_AWAITED", 1)
    model = make(jit_compile=True)
    with pytest.warns(UserWarning, match="run eagerly: compiling failed: it did not end within 1 seconds"):
        model.fit(X[:40], Y[:40], batch_size=20, epochs=2, verbose=0)
    assert not [name for name in os.listdir(code_store.code_folder()) if name.startswith(".")]


def test_whatever_fails_on_the_way_leaves_training_as_it_was(monkeypatch):
    monkeypatch.setattr(adoption, "Compilation", Unreadable)
    model = make(jit_compile=True)
    with pytest.warns(UserWarning, match="run eagerly: ValueError: no JSON"):
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 10


class Broken:
    was_kept, seconds, error = False, 0.0, "no space left"

    def __init__(self, graph, awaited):
        pass

    def done(self, wait=False):
        return True


class Unreadable(Broken):
    def done(self, wait=False):
        raise ValueError("no JSON")


def test_reasons_for_eager():
    class Own(lamina.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    own = Own([layers.Input((8,)), layers.Dense(1)])
    own.compile("sgd", loss="mse", jit_compile=True)
    assert "steps of its own" in str(own.execution_report())
    assert "run_eagerly=True" in str(make(run_eagerly=True).execution_report())
    model = make()
    torch.use_deterministic_algorithms(True)
    try:
        assert "deterministic" in str(model.execution_report())
    finally:
        torch.use_deterministic_algorithms(False)
    assert "no step was run yet" in str(model.execution_report())


def test_copies_begin_without_compiled_code():
    model = make()
    model.fit(X, Y, batch_size=16, verbose=0)
    assert model._adoptions["train"].report.steps == 5
    assert copy.deepcopy(model)._adoptions == {}
    assert pickle.loads(pickle.dumps(Adoptions(a=1))) == {}


def test_the_report_is_a_table():
    report = ExecutionReport({"train": StepReport("train", "compiled", "2.00 times as fast", 1.0, 0.5)})
    assert str(report).splitlines()[1] == "train | compiled | 1.000 ms | 0.500 ms | 2.00 times as fast"


def test_callbacks_that_listen_hear_every_batch():
    heard = []
    callback = lamina.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(batch))
    model = make()
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[callback])
    assert heard == list(range(9)) * 3


def test_a_compilation_ends_with_the_process_that_wants_it():
    program = (
        "import sys, threading, time; from lamina.training.worker import _end_when_closed\n"
        "threading.Thread(target=_end_when_closed, args=(int(sys.argv[1]),), daemon=True).start()\n"
        "print('watching', flush=True); time.sleep(60)"
    )
    watched, lifeline = os.pipe()
    command = [sys.executable, "-c", program, str(watched)]
    with subprocess.Popen(
        command, pass_fds=(watched,), start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(watched)
        assert process.stdout is not None and process.stdout.readline() == "watching\n"
        os.close(lifeline)
        assert process.wait(20) == -signal.SIGTERM
