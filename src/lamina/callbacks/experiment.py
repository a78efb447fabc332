"""Results sent to services that keep records of experiments: MLflow, and Weights & Biases."""

from __future__ import annotations

import abc
import os
import tempfile
from collections.abc import Mapping
from numbers import Real
from typing import Any

from lamina.callbacks.base import Callback
from lamina.callbacks.learning_rate import learning_rates
from lamina.core.errors import ArgumentError, MissingPackageError


class ExperimentLogger(Callback):
    """Base of callbacks that write to a record of experiments.

    A run is started by the first results, taken up if one is open already, and ended with training if it was started
    here. Training that is resumed goes on in the same run.

    Args:
        params: settings to note down beside those of the training itself (epochs, steps, optimizer, loss, size).
        update_freq: "epoch", "batch", or a number of batches after which results are sent too.
        log_model: whether the model is saved with the run at the end.
    """

    keeps_logs = False
    kept = ("run_id", "_batches")
    _forms: Mapping[str, Any] = {"run_id": (None, str)}

    def __init__(
        self, params: Mapping[str, Any] | None = None, update_freq: int | str = "epoch", log_model: bool = False
    ) -> None:
        super().__init__()
        self.settings = dict(params or {})
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.log_model = log_model
        self.run_id: str | None = None
        self._batches = 0
        self._begun = False
        if self.update_freq == "epoch":
            self.idle_hooks = frozenset({"on_train_batch_end"})
        elif not isinstance(self.update_freq, int) or self.update_freq < 1:
            raise ArgumentError(
                "update_freq is not usable.",
                where=f"{type(self).__name__}(update_freq=...)",
                expected='"epoch", "batch" or a number of batches',
                received=repr(update_freq),
            )

    @abc.abstractmethod
    def begin(self, params: dict[str, Any]) -> None:
        """Open a run, that of `run_id` if it is known, and note settings down."""

    @abc.abstractmethod
    def log(self, results: dict[str, float], step: int, batch: bool) -> None:
        """Send results of an epoch or of a batch."""

    @abc.abstractmethod
    def save(self, path: str) -> None:
        """Keep a file with the run."""

    @abc.abstractmethod
    def end(self) -> None:
        """Close the run, if it was opened here."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Get ready for another run."""
        self.run_id = None
        self._batches = 0
        self._begun = False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Send the results if it is time."""
        self._batches += 1
        if isinstance(self.update_freq, int) and self._batches % self.update_freq == 0:
            self._send(logs or {}, self._batches, True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send the results, and the learning rate."""
        self._send({**(logs or {}), **learning_rates(self.model)}, epoch, False)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save the model with the run, and close it."""
        if not self._begun:
            return
        if self.log_model:
            with tempfile.TemporaryDirectory(prefix="lamina-") as folder:
                path = os.path.join(folder, "model.keras")
                self.model.save(path)
                self.save(path)
        self.end()
        self._begun = False

    def _send(self, results: Mapping[str, Any], step: int, batch: bool) -> None:
        if not self._begun:
            self.begin({**self._described(), **self.settings})
            self._begun = True
        self.log({name: float(value) for name, value in results.items() if isinstance(value, Real)}, step, batch)

    def _described(self) -> dict[str, Any]:
        """The settings of the training."""
        model, optimizer, loss = self.model, self.model.optimizer, self.model.loss
        values = {name: value for name, value in (self.params or {}).items() if name != "verbose"}
        loss = loss if isinstance(loss, (str, dict, list)) else getattr(loss, "name", None)
        optimizer = getattr(optimizer, "name", None)
        return {**values, "model": model.name, "optimizer": optimizer, "loss": loss, "weights": model.count_params()}


class MLflowLogger(ExperimentLogger):
    """Writes parameters, results and, if asked, the model to MLflow.

    Results of epochs keep their names, with the epoch as step; those of batches are called `batch_NAME`.

    Args:
        experiment: the experiment's name.
        run_name: the run's name.
        tracking_uri: where records are kept, a server or a folder; as MLflow is set up by default.
        tags: tags of the run.
        params: see `ExperimentLogger`.
        update_freq: see `ExperimentLogger`.
        log_model: whether the model is saved as an artifact at the end.

    Raises:
        MissingPackageError: mlflow is not installed.

    Example:
        >>> MLflowLogger(experiment="digits", params={"augmentation": "flip"}).experiment
        'digits'

    Source: https://mlflow.org/docs/latest/ml/tracking/tracking-api/
    """

    def __init__(
        self,
        experiment: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        update_freq: int | str = "epoch",
        log_model: bool = False,
    ) -> None:
        super().__init__(params, update_freq, log_model)
        self.experiment = experiment
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.tags = tags

    @property
    def _mlflow(self) -> Any:
        try:
            import mlflow
        except ImportError as error:
            raise MissingPackageError(
                "MLflowLogger needs mlflow.", where="MLflowLogger", fix="pip install 'lamina[mlflow]'"
            ) from error
        return mlflow

    def begin(self, params: dict[str, Any]) -> None:
        """Open a run, or take part in the one that is open."""
        mlflow, resumed = self._mlflow, self.run_id is not None
        run = mlflow.active_run()
        self._own = run is None
        if run is None:
            if self.tracking_uri is not None:
                mlflow.set_tracking_uri(self.tracking_uri)
            if self.experiment is not None and not resumed:
                mlflow.set_experiment(self.experiment)
            run = mlflow.start_run(
                run_id=self.run_id, run_name=self.run_name, tags=None if self.tags is None else dict(self.tags)
            )
        self.run_id = run.info.run_id
        if not resumed:  # a parameter cannot be given a second value
            mlflow.log_params(params)

    def log(self, results: dict[str, float], step: int, batch: bool) -> None:
        """Send results of an epoch or of a batch."""
        self._mlflow.log_metrics({f"batch_{name}": v for name, v in results.items()} if batch else results, step=step)

    def save(self, path: str) -> None:
        """Keep a file as an artifact."""
        self._mlflow.log_artifact(path)

    def end(self) -> None:
        """Close the run, if it was opened here."""
        if self._own:
            self._mlflow.end_run()


class WandbLogger(ExperimentLogger):
    """Writes settings, results and, if asked, the model to Weights & Biases.

    Results of epochs keep their names and are drawn over `epoch`; those of batches are called `batch/NAME` and drawn
    over `batch/step`.

    Args:
        project: the project's name.
        name: the run's name.
        params: see `ExperimentLogger`; they become the run's config.
        update_freq: see `ExperimentLogger`.
        log_model: whether the model is saved as an artifact at the end.
        **options: what else `wandb.init` takes, such as entity, group, tags, dir and mode.

    Raises:
        MissingPackageError: wandb is not installed.

    Example:
        >>> WandbLogger(project="digits", mode="offline").options
        {'mode': 'offline'}

    Source: https://docs.wandb.ai/ref/python/
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
        update_freq: int | str = "epoch",
        log_model: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, update_freq, log_model)
        self.project = project
        self.name = name
        self.options = options
        self._run: Any = None

    @property
    def _wandb(self) -> Any:
        try:
            import wandb
        except ImportError as error:
            raise MissingPackageError(
                "WandbLogger needs wandb.", where="WandbLogger", fix="pip install 'lamina[wandb]'"
            ) from error
        return wandb

    def begin(self, params: dict[str, Any]) -> None:
        """Open a run, or take part in the one that is open."""
        wandb = self._wandb
        self._own = wandb.run is None
        again = {} if self.run_id is None else {"id": self.run_id, "resume": "allow"}
        opened = wandb.run or wandb.init(project=self.project, name=self.name, **{**self.options, **again})
        self._run, self.run_id = opened, opened.id
        opened.config.update(params, allow_val_change=True)
        opened.define_metric("epoch")
        opened.define_metric("*", step_metric="epoch")
        opened.define_metric("batch/step")
        opened.define_metric("batch/*", step_metric="batch/step")

    def log(self, results: dict[str, float], step: int, batch: bool) -> None:
        """Send results of an epoch or of a batch."""
        named = {f"batch/{name}": v for name, v in results.items()} if batch else results
        self._run.log({**named, "batch/step" if batch else "epoch": step})

    def save(self, path: str) -> None:
        """Keep a file as an artifact of the run."""
        artifact = self._wandb.Artifact(f"model-{self.run_id}", type="model")
        artifact.add_file(path)
        self._run.log_artifact(artifact)

    def end(self) -> None:
        """Close the run, if it was opened here."""
        if self._own:
            self._run.finish()
        self._run = None
