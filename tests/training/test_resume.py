"""Training that was broken off ends bit by bit as training that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset
from torchmetrics.classification import BinaryAccuracy

import lamina
from lamina import data, layers, optimizers
from lamina.callbacks import Callback, LearningRateScheduler
from lamina.core.errors import ArgumentError, FileError
from lamina.saving.checkpoint import Checkpoints, read_checkpoint
from lamina.training.resume import Interval

X = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
Y = (X.sum(1, keepdims=True) > 0).astype("float32")
T = TensorDataset(torch.tensor(X), torch.tensor(Y))


class Interruption(Exception):
    pass


class Interrupt(Callback):
    """Ends training after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise Interruption


def make(optimizer: Any = "adam", policy: str = "float32", metrics: Any = ("accuracy",), **options: Any) -> Any:
    lamina.utils.clear_session()
    lamina.utils.set_random_seed(3)
    lamina.config.set_dtype_policy(policy)
    model = lamina.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, activation="relu", name="one"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid", dtype="float32"),
        ]
    )
    made = optimizer(model) if callable(optimizer) and not isinstance(optimizer, type) else optimizer
    model.compile(made, "binary_crossentropy", metrics=[m() if callable(m) else m for m in metrics], **options)
    return model


def fit(model: Any, folder: Path | None, steps: int | None = None, callbacks: Any = (), **options: Any) -> Any:
    """Fit, checkpoints after every second step, interrupted after some steps."""
    options = {"x": X, "y": Y, "batch_size": 16, "epochs": 3, "verbose": 0, "checkpoint_every": 2, **options}
    chosen = [*callbacks, *([] if steps is None else [Interrupt(steps)])]
    if steps is None:
        return model.fit(callbacks=chosen, resume=folder, **options)
    with pytest.raises(Interruption):
        model.fit(callbacks=chosen, resume=folder, **options)
    return None


def assert_same(one: Any, other: Any) -> None:
    def states(model: Any) -> list[Any]:
        inner = getattr(model.optimizer, "optimizer", None)
        slots = [v for s in inner.state.values() for v in s.values()] if inner else model.optimizer.variables
        return [*model.state_dict().values(), *slots]

    for tensor, expected in zip(states(one), states(other), strict=True):
        assert torch.equal(torch.as_tensor(tensor), torch.as_tensor(expected))
    assert one.history.history == other.history.history
    assert one.history.epoch == other.history.epoch


def check(tmp_path: Path, build: Any, steps: Any = (3, 15), **options: Any) -> Any:
    """A whole run beside runs that were interrupted after so many steps."""
    own = {key: value for key, value in options.items() if not callable(value)}
    fresh = {key: value for key, value in options.items() if callable(value)}

    def given(model: Any) -> dict[str, Any]:
        return {**own, **{key: value(model) for key, value in fresh.items()}}

    whole = build()
    fit(whole, tmp_path / "whole", **given(whole))
    for count in steps:
        model = build()
        fit(model, tmp_path / str(count), count, **given(model))
        model = build()
        fit(model, tmp_path / str(count), **given(model))
        assert_same(model, whole)
    return whole


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    program = Path(__file__).with_name("killing.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(lamina.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(program), str(tmp_path), "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "20", done.stderr[-2000:]
    for name in ("history.json", "log.csv", "best.weights.h5"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with np.load(tmp_path / "whole/tensors.npz") as whole, np.load(tmp_path / "killed/tensors.npz") as killed:
        assert len(whole.files) > 15 and len(json.loads((tmp_path / "whole/history.json").read_text())["loss"]) == 45
        for name in whole.files:
            assert whole[name].tobytes() == killed[name].tobytes()


# Sources.


class Noisy(Dataset[Any]):
    """Draws from a generator of its own and from a shared one."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        noise = torch.from_numpy(self.rng.normal(size=8).astype("float32"))
        return torch.from_numpy(X[index]) + noise + torch.randn(8), Y[index]


class NoisyInWorkers(Noisy):
    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(X[index]) + torch.randn(8), Y[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


class Batches(lamina.utils.PyDataset):
    """Shuffles itself in place after each epoch, as many do."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.order = np.arange(100)

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Any:
        rows = self.order[16 * index : 16 * index + 16]
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


def endless() -> Any:
    numbers = np.random.default_rng(9)
    while True:
        rows = numbers.integers(0, 100, 16)
        yield X[rows], Y[rows]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def pipeline() -> data.Dataset:
    return data.Dataset.from_tensor_slices((X, Y))


SOURCES: dict[str, Any] = {
    "not shuffled": {"shuffle": False},
    "shuffled in batches": {"shuffle": "batch"},
    "arrays, short epochs": {"batch_size": 17, "steps_per_epoch": 3, "epochs": 5},
    "loader": {"x": lambda _: DataLoader(T, 16, shuffle=True)},
    "loader with a generator": {"x": lambda _: DataLoader(T, 16, shuffle=True, generator=seeded())},
    "sampler": {"x": lambda _: DataLoader(T, 16, sampler=RandomSampler(T, replacement=True, generator=seeded()))},
    "loader, short epochs": {"x": lambda _: DataLoader(T, 17, shuffle=True), "steps_per_epoch": 3, "epochs": 5},
    "random dataset": {"x": lambda _: DataLoader(Noisy(), 16, shuffle=True)},
    "workers": {"x": lambda _: DataLoader(NoisyInWorkers(), 16, shuffle=True, num_workers=1)},
    "iterable dataset": {"x": lambda _: DataLoader(Stream(), 16)},
    "PyDataset": {"x": lambda _: Batches()},
    "PyDataset, threads": {"x": lambda _: Batches(workers=2)},
    "generator": {"x": lambda _: endless(), "steps_per_epoch": 6},
    "pipeline": {"x": lambda _: pipeline().shuffle(100, seed=3).batch(16)},
    "pipeline, in line": {
        "x": lambda _: pipeline().map(lambda x, y: (2 * x, y)).shuffle(20, seed=3).batch(16).prefetch()
    },
    "pipeline, no seed": {"x": lambda _: pipeline().shuffle(100).batch(17).repeat(), "steps_per_epoch": 4, "epochs": 5},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_sources(tmp_path, kind):
    options = {"batch_size": None, "y": None, **SOURCES[kind]} if "x" in SOURCES[kind] else SOURCES[kind]
    check(tmp_path, make, **options)


def test_workers_that_stay_are_told_of(tmp_path):
    def loader(_: Any) -> Any:
        return DataLoader(T, 16, shuffle=True, num_workers=1, persistent_workers=True)

    fit(make(), tmp_path, 9, x=loader(None), y=None, batch_size=None)
    with pytest.warns(UserWarning, match="Workers that stay"):
        fit(make(), tmp_path, x=loader(None), y=None, batch_size=None)


def test_validation_goes_on_where_it_was(tmp_path):
    check(tmp_path, make, validation_data=lambda _: endless(), validation_steps=2)


# What is trained.


def with_scheduler(model: Any) -> list[Any]:
    return [torch.optim.lr_scheduler.ExponentialLR(model.optimizer.optimizer, 0.5)]


OPTIMIZERS: dict[str, Any] = {
    "accumulation and average": lambda _: optimizers.Adam(
        1e-2, gradient_accumulation_steps=3, use_ema=True, ema_overwrite_frequency=4
    ),
    "several": lambda _: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizers.SGD(0.1, momentum=0.9), {".*one.*": optimizers.Adam(1e-2)})
    ),
    "schedule free": lambda _: optimizers.ScheduleFreeAdamW(1e-2, warmup_steps=5),
    "schedule": lambda _: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 20), momentum=0.9),
    "class of torch": torch.optim.Adam,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(tmp_path, name):
    check(tmp_path, lambda: make(OPTIMIZERS[name]), (5, 13))


def test_torch_optimizer_and_scheduler(tmp_path):
    def build() -> Any:
        return make(lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2))

    check(tmp_path, build, (5, 13), callbacks=with_scheduler)


def test_loss_scale(tmp_path):
    whole = check(tmp_path, lambda: make(policy="mixed_float16"), (5, 13))
    assert isinstance(whole.optimizer, optimizers.LossScaleOptimizer)


def test_metrics_in_the_middle_of_an_epoch(tmp_path):
    metrics = (lamina.metrics.R2Score, lamina.metrics.AUC, BinaryAccuracy)
    check(tmp_path, lambda: make(metrics=metrics), (5,))


def test_a_schedule_of_epochs_is_not_applied_twice(tmp_path):
    check(tmp_path, make, (10,), callbacks=lambda _: [LearningRateScheduler(lambda _epoch, rate: rate * 0.5)])


@pytest.mark.slow
def test_compiled(tmp_path):
    whole = check(tmp_path, lambda: make("sgd", jit_compile=True, metrics=()), (6,))
    assert whole.execution_report().steps["train"].compiled_steps == 18  # all but the short batches


def test_execution_is_decided_by_the_number_of_steps(tmp_path, monkeypatch):
    model = make()
    fit(model, tmp_path / "few")
    assert "21 steps lay ahead" in str(model.execution_report())
    monkeypatch.setattr("lamina.training.plan.WORTH_STEPS", 20)
    monkeypatch.setattr("lamina.training.adoption.unavailable", lambda: "there is no compiler")
    model = make()
    fit(model, tmp_path / "many", 5)
    assert "there is no compiler" in str(model.execution_report())
    monkeypatch.setattr("lamina.training.plan.WORTH_STEPS", 5000)
    model = make()
    fit(model, tmp_path / "many")
    assert "there is no compiler" in str(model.execution_report())  # what was found stays


# Folders.


def test_resuming_changes_nothing_but_the_speed(tmp_path):
    plain = make()
    fit(plain, None)
    kept = make()
    fit(kept, tmp_path)
    assert_same(kept, plain)


def test_a_run_that_has_ended_comes_back_at_once(tmp_path):
    whole = make()
    fit(whole, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    model = make()
    history = fit(model, tmp_path, callbacks=[Interrupt(1)])
    assert history.history == whole.history.history
    assert torch.equal(model.weights[0], whole.weights[0])


def test_a_run_that_has_ended_can_be_made_longer(tmp_path):
    whole = make(optimizers.SGD(0.1, use_ema=True))
    fit(whole, tmp_path / "whole", epochs=5)
    fit(make(optimizers.SGD(0.1, use_ema=True)), tmp_path / "longer", epochs=2)
    model = make(optimizers.SGD(0.1, use_ema=True))
    fit(model, tmp_path / "longer", epochs=5)
    assert_same(model, whole)


def test_stopping_is_an_end(tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 1

    fit(make(), tmp_path, callbacks=[Stop()], epochs=5)
    assert len(fit(make(), tmp_path, callbacks=[Interrupt(1)], epochs=9).epoch) == 2


def test_another_model_is_refused(tmp_path):
    fit(make(), tmp_path, 5)
    with pytest.raises(FileError, match=r"optimizer: SGD here, Adam in the checkpoint"):
        fit(make("sgd"), tmp_path)
    model = lamina.Sequential([layers.Input((8,)), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    before = model.get_weights()
    with pytest.raises(FileError, match=r"one.kernel: not there in the model, float32 \(8, 16\) in the checkpoint"):
        fit(model, tmp_path)
    assert all(map(np.array_equal, model.get_weights(), before))
    with pytest.raises(FileError, match=r"metrics: loss here, loss, accuracy in the checkpoint"):
        fit(make(metrics=()), tmp_path)


def test_what_has_changed_is_told(tmp_path):
    fit(make(), tmp_path, 5)
    with pytest.warns(UserWarning, match=r"data: \w+ before, \w+ now"):
        fit(make(), tmp_path, x=X + 1)
    threads = torch.get_num_threads()
    fit(make(), tmp_path / "threads", 5)
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(UserWarning, match="threads"):
            fit(make(), tmp_path / "threads")
    finally:
        torch.set_num_threads(threads)


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    whole = make()
    fit(whole, None)
    fit(make(), tmp_path, 9)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    model = make()
    with pytest.warns(UserWarning, match="damaged"):
        fit(model, tmp_path)
    assert_same(model, whole)
    for path in tmp_path.iterdir():
        path.write_bytes(b"0")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(FileError):
        fit(make(), tmp_path)


def test_checkpoints_are_written_beside_and_kept_two(tmp_path):
    (tmp_path / ".00000009.checkpoint.abc.part").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    value = {"a": torch.arange(6).reshape(2, 3).t(), 3: (None, 1.5, float("inf")), "b": np.arange(2), "c": [True, "x"]}
    value["small"] = torch.ones((), dtype=torch.bfloat16)
    for number in range(3):
        value["n"] = torch.tensor([number])
        checkpoints.write(value)
        value["n"] += 10  # too late to be seen
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002.checkpoint", "00000003.checkpoint"]
    found = checkpoints.read()
    assert found["n"].item() == 2 and torch.equal(found["a"], value["a"]) and found[3] == value[3]
    assert found["small"].dtype is torch.bfloat16 and isinstance(found["b"], np.ndarray) and found["c"] == value["c"]
    with pytest.raises(FileError, match="cannot be written"):
        checkpoints.write({"a": {"b": object()}})


@pytest.mark.parametrize("entry", [{"at": 10**9}, {"size": 8}, {"shape": [-1]}, {"dtype": "object"}, {"at": -4}])
def test_bounds_of_arrays_are_checked(tmp_path, entry, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    dumps = json.dumps

    def forge(content: Any) -> str:
        content["table"][0].update(entry)
        return dumps(content)

    monkeypatch.setattr("lamina.saving.checkpoint.json.dumps", forge)
    checkpoints.write({"a": torch.ones(3)})
    checkpoints.wait()
    with pytest.raises(FileError, match="damaged"):
        read_checkpoint(checkpoints.paths()[0])


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("lamina.saving.checkpoint.Snapshot.write", refuse)
    with pytest.raises(FileError, match="no space left"):
        fit(make(), tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name == "lamina-checkpoint"]


def test_intervals(tmp_path):
    assert Interval.of("epoch") == Interval.of("1 epoch") == Interval(epochs=1)
    assert Interval.of(7) == Interval.of("7 steps") == Interval(steps=7)
    assert Interval.of("30s") == Interval(seconds=30.0) and Interval.of("1.5 h") == Interval(seconds=5400.0)
    for wrong in (0, True, "soon", "0.5 epochs", None):
        with pytest.raises(ArgumentError, match="checkpoint_every"):
            Interval.of(wrong)
    with pytest.raises(ArgumentError, match="resume"):
        fit(make(), "")  # type: ignore[arg-type]
    model = make()
    fit(model, tmp_path, 15, checkpoint_every="2 epochs")
    (path,) = tmp_path.iterdir()
    assert read_checkpoint(path)["position"]["epoch"] == 2
