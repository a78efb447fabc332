"""Settings of the process, and what hides frames from tracebacks."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import traceback
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import config, layers, utils
from lamina.core.config import say
from lamina.core.tracebacks import filter_traceback


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    config.enable_traceback_filtering()
    yield
    config.enable_interactive_logging()
    config.set_max_epochs(None)
    config.set_max_steps_per_epoch(None)


def model() -> Any:
    made = lamina.Sequential([layers.Input((2,)), layers.Dense(1)])
    made.compile("sgd", loss="mse", jit_compile=False)
    return made


class Counter(lamina.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.epochs = self.batches = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1


def test_fit_obeys_the_limits() -> None:
    x, y = np.ones((32, 2)), np.ones((32, 1))
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(3)
    assert (config.max_epochs(), config.max_steps_per_epoch()) == (2, 3)
    counter = Counter()
    with pytest.warns(UserWarning, match="Limiting"):
        model().fit(x, y, batch_size=4, epochs=5, callbacks=[counter], verbose=0)
    assert (counter.epochs, counter.batches) == (2, 6)
    with pytest.warns(UserWarning, match="Limiting steps_per_epoch to 3"):
        assert model().predict(x, batch_size=4, verbose=0).shape == (12, 1)
    counter = Counter()
    model().fit(x, y, batch_size=16, epochs=1, callbacks=[counter], verbose=0)
    assert (counter.epochs, counter.batches) == (1, 2)


def test_the_environment_sets_limits() -> None:
    code = "import lamina; print(lamina.config.max_epochs(), lamina.config.max_steps_per_epoch())"
    environment = {"KERAS_MAX_EPOCHS": "3", "KERAS_MAX_STEPS_PER_EPOCH": "7", "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["3", "7"]


def test_engines_and_switches_that_change_nothing() -> None:
    config.set_backend("torch")
    with pytest.raises(ValueError, match="no other engine"):
        config.set_backend("jax")
    assert config.is_nnx_enabled() is False
    with pytest.warns(UserWarning, match="never runs code"):
        config.enable_unsafe_deserialization()


def test_messages_go_to_the_log_where_nobody_looks(capsys: Any, caplog: Any) -> None:
    assert config.is_interactive_logging_enabled()
    say("shown")
    config.disable_interactive_logging()
    assert not utils.is_interactive_logging_enabled()
    with caplog.at_level(logging.INFO, "lamina"):
        say("logged")
    assert capsys.readouterr().out == "shown\n"
    assert caplog.messages == ["logged"]


def frames(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def test_errors_of_fit_show_only_the_program() -> None:
    class Broken(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs @ torch.ones(7, 7) if lamina.Layer else inputs

    broken = lamina.Sequential([layers.Dense(2), Broken()])
    broken.compile("sgd", loss="mse", jit_compile=False)
    with pytest.raises(Exception) as caught:
        broken.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
    assert {name == __file__ for name in frames(caught.value)} == {True}
    cause = caught.value.__cause__
    assert cause is None or not any("lamina" in name for name in frames(cause))
    config.disable_traceback_filtering()
    assert not config.is_traceback_filtering_enabled()
    with pytest.raises(Exception) as caught:
        broken.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
    assert any(name.endswith("trainer.py") for name in frames(caught.value))


def test_causes_are_kept_and_filtered() -> None:
    def inner() -> None:
        torch.nn.functional.linear(torch.ones(2), torch.ones(3, 3))

    @filter_traceback
    def outer() -> None:
        try:
            torch.utils.checkpoint.checkpoint(inner, use_reentrant=False)
        except RuntimeError as error:
            raise ValueError("told better") from error

    with pytest.raises(ValueError) as caught:
        outer()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert {name == __file__ for name in frames(caught.value.__cause__)} == {True}
    assert outer.__name__ == "outer"


def test_config_holds_what_keras_s_does() -> None:
    for kind in (keras.utils.Config, utils.Config):
        entries = kind(rate=0.1, seed=3)
        entries.b, entries["a"] = 2, 1
        assert entries.rate == entries["rate"] == entries.get("rate") == 0.1
        assert entries.get("nothing", 5) == 5
        assert list(entries) == ["a", "b", "rate", "seed"]
        assert entries.as_dict() == {"rate": 0.1, "seed": 3, "b": 2, "a": 1}
        assert entries.to_json() == '{"rate": 0.1, "seed": 3, "b": 2, "a": 1}'
        assert (len(entries), "a" in entries, entries.pop("a")) == (4, True, 1)
        entries.freeze()
        assert entries.frozen
        for change in (lambda: setattr(entries, "c", 1), lambda: entries.update(c=1), lambda: entries.pop("b")):  # noqa: B023
            with pytest.raises(ValueError, match="frozen"):
                change()
        with pytest.raises(AttributeError, match="Did you mean"):
            entries.rat
        entries.unfreeze()
        del entries["b"]
        assert repr(entries) == "<Config {'rate': 0.1, 'seed': 3}>"
    assert copy.deepcopy(entries).as_dict() == pickle.loads(pickle.dumps(entries)).as_dict() == entries.as_dict()


def test_errors_of_a_call_show_the_program_and_torch_s_way_into_it() -> None:
    stack = lamina.Sequential([lamina.Sequential([layers.Dense(2), layers.Dense(3)]), layers.Dense(1)])
    stack(torch.ones(1, 4))
    for inputs in (torch.ones(1, 5), torch.ones(3)):
        with pytest.raises(Exception) as caught:
            stack(inputs)
        assert len([name for name in frames(caught.value) if name != __file__]) <= 2


def test_progress_and_summaries_go_to_the_log_too(capsys: Any, caplog: Any) -> None:
    config.disable_interactive_logging()
    with caplog.at_level(logging.INFO, "lamina"):
        made = model()
        made.summary()
        made.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=2)
    assert capsys.readouterr().out == ""
    told = "\n".join(caplog.messages)
    for words in ("Model:", "Epoch 2/2", "loss:"):
        assert words in told
