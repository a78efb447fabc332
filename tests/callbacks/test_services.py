"""Results sent elsewhere: to a server, to MLflow, to Weights & Biases."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import types
import urllib.parse

import numpy as np
import pytest

from lamina import layers
from lamina.callbacks import MLflowLogger, RemoteMonitor, WandbLogger
from lamina.core import errors
from lamina.core.errors import ArgumentError, MissingPackageError
from lamina.models import Sequential

X = np.ones((8, 3), "float32")


def line():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(1)], name="line")
    model.compile("sgd", loss="mse")
    return model


@pytest.fixture
def server():
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            requests.append((self.path, dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()
        thread.join()


class TestRemoteMonitor:
    def test_a_form(self, server):
        root, requests = server
        history = line().fit(X, X[:, :1], epochs=2, verbose=0, callbacks=[RemoteMonitor(root)]).history
        path, headers, body = requests[1]
        assert len(requests) == 2 and path == "/publish/epoch/end/"
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert json.loads(urllib.parse.parse_qs(body)["data"][0]) == {"epoch": 1, "loss": history["loss"][1]}

    def test_json_with_arrays(self, server):
        root, requests = server
        monitor = RemoteMonitor(root, path="/here", send_as_json=True, headers={"Token": "abc"})
        monitor.on_epoch_end(0, {"a": np.float32(0.5), "b": np.arange(2), "c": np.array(1)})
        path, headers, body = requests[0]
        assert (path, headers["Token"], headers["Content-Type"]) == ("/here", "abc", "application/json")
        assert json.loads(body) == {"epoch": 0, "a": 0.5, "b": [0, 1], "c": 1}

    def test_nobody_there_is_warned_of_once(self, monkeypatch):
        monkeypatch.setattr(errors, "_said", set())
        monitor = RemoteMonitor("http://127.0.0.1:9")
        with pytest.warns(UserWarning, match="cannot reach http://127.0.0.1:9") as caught:
            line().fit(X, X[:, :1], epochs=3, verbose=0, callbacks=[monitor])
        assert len(caught) == 1


class FakeMLflow(types.ModuleType):
    def __init__(self, active=None):
        super().__init__("mlflow")
        self.calls, self.active = [], active

    def active_run(self):
        return self.active

    def start_run(self, run_id=None, run_name=None, tags=None):
        self.calls.append(("start_run", run_id, run_name, tags))
        self.active = types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "r1"))
        return self.active

    def end_run(self):
        self.calls.append(("end_run",))
        self.active = None

    def log_metrics(self, metrics, step=None):
        self.calls.append(("log_metrics", metrics, step))

    def log_params(self, params):
        self.calls.append(("log_params", params))

    def log_artifact(self, local_path):
        self.calls.append(("log_artifact", local_path.rpartition("/")[2]))

    def set_experiment(self, experiment_name):
        self.calls.append(("set_experiment", experiment_name))

    def set_tracking_uri(self, uri):
        self.calls.append(("set_tracking_uri", uri))


class FakeRun:
    id = "w1"

    def __init__(self):
        self.calls = []
        self.config = types.SimpleNamespace(update=lambda d, allow_val_change: self.calls.append(("config", d)))

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


class FakeArtifact:
    def __init__(self, name, type):
        self.name, self.type, self.files = name, type, []

    def add_file(self, path):
        self.files.append(path.rpartition("/")[2])


class FakeWandb(types.ModuleType):
    Artifact = FakeArtifact

    def __init__(self):
        super().__init__("wandb")
        self.run, self.options = None, []

    def init(self, **options):
        self.options.append(options)
        return FakeRun()


@pytest.fixture
def mlflow(monkeypatch):
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


class TestMLflow:
    def test_a_run(self, mlflow):
        logger = MLflowLogger("digits", "first", "file:here", {"a": 1}, {"flip": True}, 2, True)
        history = line().fit(X, X[:, :1], batch_size=2, epochs=1, verbose=0, callbacks=[logger]).history
        names = [call[0] for call in mlflow.calls]
        assert names[:4] == ["set_tracking_uri", "set_experiment", "start_run", "log_params"]
        params = mlflow.calls[3][1]
        assert params["flip"] is True and params["optimizer"] == "sgd" and params["loss"] == "mse"
        assert params["epochs"] == 1 and params["weights"] == 4 and "verbose" not in params
        metrics = [call[1:] for call in mlflow.calls if call[0] == "log_metrics"]
        assert [step for _, step in metrics] == [2, 4, 0] and list(metrics[0][0]) == ["batch_loss"]
        assert metrics[2][0]["loss"] == history["loss"][0]
        assert metrics[2][0]["learning_rate"] == pytest.approx(0.01)
        assert mlflow.calls[-2:] == [("log_artifact", "model.keras"), ("end_run",)]

    def test_an_open_run_stays_open(self, mlflow):
        mlflow.active = types.SimpleNamespace(info=types.SimpleNamespace(run_id="mine"))
        logger = MLflowLogger()
        line().fit(X, X[:, :1], verbose=0, callbacks=[logger])
        assert {call[0] for call in mlflow.calls} == {"log_params", "log_metrics"} and logger.run_id == "mine"

    def test_training_that_goes_on_goes_on_in_its_run(self, mlflow):
        first = MLflowLogger("digits")
        first.set_model(line())
        first.on_train_begin()
        first.on_epoch_end(0, {"loss": 1.0})
        state, mlflow.active = first.get_state(), None
        mlflow.calls.clear()
        second = MLflowLogger("digits")
        second.set_model(line())
        second.on_train_begin()
        second.set_state(state)
        second.on_epoch_end(1, {"loss": 0.5})
        assert mlflow.calls[0] == ("start_run", "r1", None, None)
        assert [call[0] for call in mlflow.calls] == ["start_run", "log_metrics"]

    def test_nothing_is_begun_before_there_are_results(self, mlflow):
        line().fit(X, X[:, :1], epochs=0, verbose=0, callbacks=[MLflowLogger(log_model=True)])
        assert mlflow.calls == []


class TestWandb:
    def test_a_run(self, wandb):
        logger = WandbLogger("digits", "first", {"flip": True}, "batch", True, mode="offline")
        begun = []
        logger.begin = lambda params, begin=logger.begin: (begin(params), begun.append(logger._run))
        line().fit(X, X[:, :1], batch_size=4, verbose=0, callbacks=[logger])
        assert wandb.options == [{"project": "digits", "name": "first", "mode": "offline"}]
        calls = begun[0].calls
        assert calls[0][0] == "config" and calls[0][1]["flip"] is True
        logged = [call[1] for call in calls if call[0] == "log"]
        assert [set(entry) for entry in logged] == [{"batch/loss", "batch/step"}] * 2 + [
            {"loss", "learning_rate", "epoch"}
        ]
        assert logged[1]["batch/step"] == 2 and logged[2]["epoch"] == 0
        (artifact,) = [call[1] for call in calls if call[0] == "log_artifact"]
        assert (artifact.name, artifact.type, artifact.files) == ("model-w1", "model", ["model.keras"])
        assert calls[-1] == ("finish",)

    def test_an_open_run_stays_open_and_a_kept_one_is_taken_up(self, wandb):
        wandb.run = run = FakeRun()
        line().fit(X, X[:, :1], verbose=0, callbacks=[WandbLogger()])
        assert wandb.options == [] and "finish" not in {call[0] for call in run.calls}
        wandb.run = None
        logger = WandbLogger("digits")
        logger.set_model(line())
        logger.on_train_begin()
        logger.set_state({"run_id": "w1", "_batches": 4})
        logger.on_epoch_end(3, {"loss": 1.0})
        assert wandb.options == [{"project": "digits", "name": None, "id": "w1", "resume": "allow"}]


@pytest.mark.parametrize("kind", [MLflowLogger, WandbLogger])
def test_what_is_missing_or_wrong(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackageError, match=r"lamina\[(mlflow|wandb)\]"):
        line().fit(X, X[:, :1], verbose=0, callbacks=[kind()])
    with pytest.raises(ArgumentError, match="update_freq"):
        kind(update_freq="step")
