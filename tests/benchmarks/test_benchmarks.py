"""The programs that measure run, in their smallest form. Nothing here is timed."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import torch
from benchmarks import calls, curves, machine, memory, scaling, suite
from benchmarks.peers import PEERS, floor, torch_models
from benchmarks.peers.base import Options
from benchmarks.peers.by_hand_torch import Eager
from benchmarks.peers.keras_like import Lamina, compiled
from benchmarks.runner import Plan, measure
from benchmarks.workloads import WORKLOADS

import lamina

# torch's LSTM has two biases where Keras's has one.
EXTRA_WEIGHTS = {"lstm": 4 * 128}
SMALL = ["--rounds", "2", "--turn", "0.02", "--warmup", "0", "--warmup-limit", "0.1", "--steps", "3", "--threads", "1"]


def test_table_of_lamina_torch_and_the_floor(tmp_path, capsys):
    files = ["--json", str(tmp_path / "table.json"), "--chart", str(tmp_path / "table.png")]
    suite.main(["tiny_mlp", "--peers", "lamina", "torch", "floor", *SMALL, *files])
    shown = capsys.readouterr().out
    assert "MLP 32-32-32-1, batch 32 (tiny_mlp)" in shown and "best peer / lamina" in shown and "failed" not in shown
    written = json.loads((tmp_path / "table.json").read_text())
    assert written["plan"]["threads"] == 1 and written["versions"]["torch"]
    by_peer = {result["peer"]: result for result in written["results"]["tiny_mlp"]}
    assert [len(by_peer[peer]["rounds"]) for peer in ("lamina", "torch", "floor")] == [2, 2, 2]
    assert by_peer["lamina"]["parameters"] == by_peer["torch"]["parameters"] == 32 * 33 * 2 + 33
    assert 0 < by_peer["lamina"]["first_step"] <= by_peer["lamina"]["first_epoch"]
    assert by_peer["lamina"]["memory"] > 2**20
    assert (tmp_path / "table.png").stat().st_size > 1000


def test_peer_that_fails_is_named():
    (result,) = measure("tiny_mlp", ["torch"], Plan(patience=0.0))
    assert result.error is not None and "no answer" in result.error and not result.rounds


def test_peers_that_cannot_run_are_named(monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "jax", PEERS["jax"].__class__("nowhere:Nothing", ("not_installed",)))
    assert suite.installed(["lamina", "jax"], "float32") == ["lamina"]
    assert "jax is left out: not_installed is not installed" in capsys.readouterr().out


def test_unknown_workload(capsys):
    with pytest.raises(SystemExit):
        suite.main(["nothing"])
    assert "unknown: nothing" in capsys.readouterr().err


BY_HAND = [name for name, workload in WORKLOADS.items() if workload.peers is None or "torch" in workload.peers]


@pytest.mark.parametrize("name", BY_HAND)
def test_descriptions_agree_about_the_weights(name):
    workload = WORKLOADS[name]
    by_hand = sum(parameter.numel() for parameter in torch_models.model(workload).parameters())
    for package in (keras, lamina):
        model = workload.describe(package)
        counted = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        assert counted + EXTRA_WEIGHTS.get(name, 0) == by_hand


@pytest.mark.parametrize("kind", [Lamina, Eager])
@pytest.mark.parametrize("name", ["predict_one", "call_one"])
def test_inference_runs_until_told(kind, name):
    told = iter([False, True])
    first: list[bool] = []
    kind(WORKLOADS[name], Options(threads=1)).run(lambda: next(told), lambda: first.append(True))
    assert first == [True] and next(told, None) is None


def test_floor_counts_operations():
    # Forward, gradients of the weights, and gradients of what goes into the second and the third layer.
    forward = 2 * 32 * (32 * 32 + 32 * 32 + 32)
    work = floor.count(WORKLOADS["tiny_mlp"])
    assert work.operations == 2 * forward + 2 * 32 * (32 * 32 + 32)
    weights = (32 * 33 * 2 + 33) * 4
    assert work.moved >= 2 * 3 * weights
    lstm = 2 * 64 * 100 * (32 + 128) * 4 * 128
    assert 2.5 * lstm < floor.count(WORKLOADS["lstm"]).operations < 3.1 * lstm


def test_machine():
    rates = machine.matrix_rates(torch.float32, 0.01)
    assert "torch" in rates and all(rate > 1e6 for rate in rates.values())
    assert machine.copy_bandwidth(2**20, 0.01) > 1e6


def test_calls_are_counted(capsys):
    def outer():
        return inner()

    def inner():
        return len("")

    count = calls.counted(lambda: outer())
    assert (count.functions, count.depth) == (2, 2)
    calls.main([])
    shown = capsys.readouterr().out
    assert "lamina" in shown and "Keras on torch" in shown


def test_curves_are_losses_of_steps_with_the_same_draws():
    others = {"optimizer", "lossscaleoptimizer", "multioptimizer", "optimizermap"}
    assert {name.lower() for name in curves.NAMES} == set(lamina.optimizers.NAMES) - others
    batches = curves.batches_of(3)
    one, two = (curves.curve("Adam", batches, 0.3, compiled=False) for _ in range(2))
    assert one[0].shape == (3,) and one[1] == "eager"
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.array_equal(one[0], curves.curve("Adam", batches, 0.0, compiled=False)[0])


def test_memory_is_sampled():
    model = compiled(lamina, WORKLOADS["tiny_mlp"])
    assert [steps for steps, _ in memory.during_fit(lamina, model, 20, 4)] == [4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert [number for number, _ in memory.during_calls(model, 3, 2)] == [2, 3]


def test_scaling(tmp_path, capsys):
    files = ["--json", str(tmp_path / "s.json"), "--chart", str(tmp_path / "s.png")]
    scaling.main(["depth", "--largest", "2", "--peers", "lamina", "--epochs", "2", "--threads", "1", *files])
    (point,) = json.loads((tmp_path / "s.json").read_text())["points"]
    assert point["error"] is None and point["step"] > 0 and point["build"] > 0
    assert (tmp_path / "s.png").exists() and "By depth" in capsys.readouterr().out
