"""Every fault is found by its code, nothing graver is found beside it, and what is advised helps."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest
from tests.doctor.faults import FAULTS, Fault, find
from tests.doctor.healthy import mlp, numbers, smooth, trained

from lamina import callbacks, optimizers
from lamina.callbacks import doctor as watching
from lamina.doctor import CODES, Findings
from lamina.doctor.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ORDER = ("error", "warning", "note")


@pytest.mark.parametrize("name", FAULTS)
def test_found_and_cured(name: str) -> None:
    fault = FAULTS[name]
    found = find(fault)
    finding = next((one for one in found if one.code == fault.code), None)
    assert finding is not None, f"{fault.code} is not among {found.codes}"
    assert finding.evidence and finding.remedy and finding.message.endswith(".")
    others = {one.code for one in found if one.severity != "note"} - {fault.code} - fault.beside
    assert not others, str(found)
    left = find(fault, finding)
    assert [str(one) for one in left if one.severity != "note"] == []


def test_memory_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "memory_in_use", lambda device: 0.95)
    run = trained(mlp(8), optimizers.Adam(3e-3), "mse"), numbers(), smooth(numbers()), {}
    found = find(Fault("memory-pressure", lambda _: run))
    (finding,) = (one for one in found if one.severity != "note")
    assert finding.code == "memory-pressure" and finding.evidence["suggested"] == 16


def test_every_code_is_tested() -> None:
    assert {fault.code for fault in FAULTS.values()} | {"memory-pressure"} == set(CODES)


def test_step_and_layer_of_a_lost_loss() -> None:
    (finding,) = (one for one in find(FAULTS["logarithm"]) if one.code == "nan-loss")
    assert finding.step == 0 and finding.layer == "log" and "comes out of 'log' first" in finding.message


@pytest.mark.parametrize(("free", "expected"), [(60.0, {0, 1, 2, 5, 10, 20, 50}), (0.0, {0, 5, 10, 20})])
def test_the_steps_that_are_watched(free: float, expected: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FREE", free)
    doctor = callbacks.Doctor(verbose=False)
    x = numbers()
    trained(mlp(8), "adam", "mse").fit(x, smooth(x), batch_size=1, steps_per_epoch=60, verbose=0, callbacks=[doctor])
    steps = [sample.step for sample in doctor._course.samples]
    assert expected <= set(steps) and doctor.watched == len(steps) < 60


def test_later_looks_are_rarer_where_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Watch.end

    def slow(*given: Any) -> Any:
        time.sleep(0.1)
        return end(*given)

    x = numbers()
    watched = []
    for way in (end, slow):
        monkeypatch.setattr(Watch, "end", way)
        doctor = callbacks.Doctor(verbose=False)
        model = trained(mlp(8), optimizers.SGD(1e-3), "mse", jit_compile=False)
        model.fit(x, smooth(x), batch_size=8, epochs=600 * 8 // len(x), verbose=0, callbacks=[doctor])
        watched.append([sample.step for sample in doctor._course.samples if sample.step >= 100])
    often, rarely = watched
    assert not rarely and often


def test_history_has_the_findings_and_nothing_is_left_attached() -> None:
    model = trained(mlp(8, last="softmax", out=2), "adam", "mse")
    x = numbers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(x, 3 * x[:, :2], epochs=2, verbose=0, doctor=True)
    assert isinstance(history.findings, Findings) and "loss-activation-mismatch" in history.findings.codes
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(weight._post_accumulate_grad_hooks for weight in model.parameters())
    assert model._adoptions is None or (model._adoptions.limit is None and not model._adoptions.eagerly)


def test_without_a_doctor_there_are_no_findings() -> None:
    history = trained(mlp(8), "adam", "mse").fit(numbers(), 50 * smooth(numbers()), verbose=0)
    assert len(history.findings) == 0


def test_doctor_among_the_callbacks() -> None:
    doctor = callbacks.Doctor()
    model = trained(mlp(8), "adam", "mse")
    model.fit(100 * numbers(), smooth(numbers()), verbose=0, callbacks=[doctor])
    assert "unscaled-inputs" in doctor.findings.codes


def test_training_is_the_same_with_a_doctor() -> None:
    from lamina.utils import set_random_seed

    ends = []
    for doctor in (False, True):
        set_random_seed(3)
        model = trained(mlp(16, 16), optimizers.Adam(3e-3), "mse")
        ends.append(model.fit(numbers(), smooth(numbers()), epochs=4, verbose=0, doctor=doctor).history["loss"])
    assert ends[0] == ends[1]


def test_not_a_doctor() -> None:
    model = trained(mlp(8), "adam", "mse")
    with pytest.raises(TypeError, match="doctor is not usable"):
        model.fit(numbers(), smooth(numbers()), verbose=0, doctor="yes")
