"""The mixin that gives a model fit, evaluate and predict. Read on in `loop`, then `execution`, then `step`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import torch

from lamina.callbacks.callback_list import CallbackList
from lamina.callbacks.doctor import Doctor, doctor_for
from lamina.callbacks.history import History
from lamina.callbacks.logs import to_numbers
from lamina.callbacks.report import Report
from lamina.core import tree
from lamina.core.config import limited, max_epochs
from lamina.core.errors import ArgumentError, DataError, one_of
from lamina.core.tensors import convert_to_numpy
from lamina.data.arrays import ArraySource, as_tensors, check_batch_size, check_lengths, split_validation
from lamina.data.feed import Feed
from lamina.data.py_dataset import PyDataset
from lamina.data.selection import has_columns, part_columns, roles_of, source_of
from lamina.data.source import add_class_weight, pack_x_y_sample_weight, to_device, unpack_x_y_sample_weight
from lamina.data.tables import Names, is_names
from lamina.doctor.finding import Findings
from lamina.training import loop
from lamina.training.diagnosis import examine_feed
from lamina.training.execution import Executor
from lamina.training.finders import Finders
from lamina.training.fingerprint import fingerprint_of
from lamina.training.metrics import CompiledMetrics
from lamina.training.plan import Plan
from lamina.training.prepare import (
    build_optimizer,
    device_of,
    executor_of,
    prepare,
    prepare_batch,
    reason_for_eager,
)
from lamina.training.report import ExecutionReport, StepReport
from lamina.training.resume import Run, attach_backups
from lamina.training.serving import Serving

_OVERRIDABLE = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")


class Trainer(Finders):
    """What a model needs to be trained; mixed into `Model`, and usable with any `Layer`.

    `compile` says how to train; `fit`, `evaluate` and `predict` run the loops of `training.loop`, which call one of the
    steps of `training.step` for each batch. A subclass may write its own `train_step`, `test_step` or `predict_step`,
    or change `compute_loss` and `compute_metrics`.

    Attributes:
        stop_training: set it to True (in a callback, for instance) to end `fit` after the batch.
        history: the `History` of the latest `fit`.
    """

    _initial_epoch: int | None = None
    stop_evaluating: bool = False
    stop_predicting: bool = False
    history: History | None = None
    train_function: Any = None
    test_function: Any = None
    predict_function: Any = None
    _serving: Serving | None = None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        resume: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str = "1 min",
        doctor: Any = None,
        report: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for some epochs.

        Args:
            x: arrays of inputs (one, or a list or dict of them); or a DataLoader, a Dataset, a PyDataset or a generator
                of batches (x, y) or (x, y, sample_weight).
            y: arrays of targets, when x is arrays.
            batch_size: samples in a batch, 32 by default.
            epochs: the number of the last epoch.
            verbose: 0 for nothing, 1 for a progress bar, 2 for a line an epoch; "auto" is 1.
            callbacks: one or a list.
            validation_split: the part of the arrays, taken from their end, that is evaluated on and not trained on.
            validation_data: (x, y) or (x, y, sample_weight), or anything x may be.
            shuffle: whether samples come in a new order each epoch.
            class_weight: weights of samples by class number.
            sample_weight: weights of samples, one array or one for each output.
            initial_epoch: the number of the first epoch, from 0.
            steps_per_epoch: batches in an epoch; all by default.
            validation_steps: batches in a validation; all by default.
            validation_batch_size: samples in a batch of validation; `batch_size` by default.
            validation_freq: validate every so many epochs, or after these epochs, counted from 1.
            resume: a folder for checkpoints of this run. If it holds some, training goes on from the newest: the same
                call, made again after the process was killed, ends as if it had not been. If the run there has ended,
                the history comes back at once. See docs/resuming.md.
            checkpoint_every: how often a checkpoint is made: a number of steps, "epoch", "5 epochs", "30s", "10 min".
            doctor: True, or a `callbacks.Doctor`, to look for what is wrong with model, data and training;
                `history.findings` says what, and what helps.
            report: a file ending in .html for a page about the training, written anew while it goes on; see
                `callbacks.Report` and docs/pictures.md.

        Returns:
            the history: `history.history` maps names to a list of numbers, one for each epoch; `history.fingerprint`
            tells what the run depended on.

        Raises:
            FileError: the checkpoint is of another model or optimizer.
            StateError: the model is not compiled.
            DataError: the data cannot be used.
            ShapeError: the data does not fit the model, or the targets the outputs.

        Example:
            >>> import numpy as np
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Dense(1)])
            >>> model.compile("sgd", loss="mse")
            >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
            >>> history = model.fit(x, 2 * x, epochs=3, verbose=0)
            >>> len(history.history["loss"])
            3

        Source: https://keras.io/api/models/model_training_apis/#fit-method
        """
        self._require_compiled("fit")
        check_batch_size(validation_batch_size, "validation_batch_size")
        _check_frequency(validation_freq)
        _check_epochs(epochs=epochs, initial_epoch=initial_epoch)
        epochs = limited(epochs, max_epochs(), "epochs")
        if validation_split and validation_data is None:
            roles = roles_of(x, y, sample_weight, self._names())
            x, y, sample_weight = part_columns(x, y, sample_weight, roles, "fit")
            (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
        elif validation_data is not None and is_names(y) and has_columns(validation_data):
            validation_data = (validation_data, y, sample_weight if is_names(sample_weight) else None)
        run = None if resume is None else Run(self, resume, checkpoint_every)
        feed = self._feed(
            "fit",
            x,
            y,
            sample_weight,
            batch_size,
            steps_per_epoch,
            shuffle=shuffle,
            class_weight=class_weight,
        )
        if run is not None:
            feed.follow()
        prepare(self, feed, "fit")
        validation = self._validation(
            validation_data, validation_batch_size or batch_size, validation_steps, validation_freq
        )
        build_optimizer(self)
        calls = self._callbacks(callbacks, verbose, epochs, feed, history=True)
        self._call_doctor(doctor, calls, feed, validation)
        if report is not None:
            self._call(Report(report), calls)
        for page in calls.callbacks:
            if isinstance(page, Report):
                page.looks_at(*_samples(feed, x) if validation is None else _samples(validation.feed, validation_data))
        self.zero_grad()
        self._run_epochs(feed, calls, range(initial_epoch, epochs), validation, run)
        assert self.history is not None
        return self.history

    def diagnose(
        self,
        x: Any,
        y: Any = None,
        validation_data: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
    ) -> Findings:
        """What is wrong with the model and the data, as far as can be told without training; the model is built by it.

        Args:
            x: as for `fit`; of batches that are not in memory the first 16 are used up.
            y: as for `fit`.
            validation_data: as for `fit`.
            batch_size: as for `fit`.
            sample_weight: as for `fit`.

        Returns:
            the findings, gravest first; printed, they say what to change.

        Raises:
            DataError: the data cannot be used.
            ShapeError: the data does not fit the model.

        Example:
            >>> import numpy as np
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Dense(3, activation="softmax")])
            >>> model.compile("adam", loss="sparse_categorical_crossentropy")
            >>> rng = np.random.default_rng(0)
            >>> model.diagnose(rng.normal(size=(60, 4)), np.arange(60) % 4)
            Findings(label-out-of-range)
        """
        feed = self._feed("diagnose", x, y, sample_weight, batch_size, None)
        validation = self._validation_feed(validation_data, None, None)
        return examine_feed(self, feed, validation, to_train=False).findings

    def _call_doctor(self, given: Any, calls: CallbackList, feed: Feed, validation: loop.Validation | None) -> None:
        """Put a doctor among the callbacks if one is wanted, and show model and data to those that are there."""
        called = doctor_for(given)
        if called is not None and called not in calls.callbacks:
            self._call(called, calls)
        for doctor in calls.callbacks:
            if isinstance(doctor, Doctor):
                doctor.examined(examine_feed(self, feed, None if validation is None else validation.feed))

    def _call(self, callback: Any, calls: CallbackList) -> None:
        """Put a callback behind those that were given."""
        calls.append(callback)
        callback.set_model(self)
        callback.set_params(calls.params or {})

    def _run_epochs(
        self, feed: Feed, calls: CallbackList, epochs: range, validation: loop.Validation | None, run: Run | None
    ) -> None:
        """The epochs of fit, with what keeps checkpoints along the way."""
        fingerprint = fingerprint_of(self, feed, device_of(self))
        if self.history is not None:
            self.history.depends_on(fingerprint)
        backups = attach_backups(self, calls, run)
        plan = None
        if run is not None:
            if validation is not None:
                validation.feed.follow()
            tested = None if validation is None else validation.steps(epochs)
            ahead = {"train": None if feed.length is None else feed.length * len(epochs), "test": tested}
            plan = Plan(ahead, self.jit_compile)
            run.prepare(feed, validation, calls, fingerprint(), plan)
            if run.is_complete(epochs.stop):
                return
        try:
            loop.fit(self, feed, executor_of(self, plan, anew=True), calls, epochs, validation, run)
        finally:
            for keeper in (*backups, run, *(page for page in calls.callbacks if isinstance(page, Report))):
                if keeper is not None:
                    keeper.close()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The loss and the metrics on data, in evaluation mode.

        Args:
            x: as for `fit`.
            y: arrays of targets, when x is arrays.
            batch_size: samples in a batch, 32 by default.
            verbose: as for `fit`.
            sample_weight: weights of samples.
            steps: batches to evaluate; all by default.
            callbacks: one or a list.
            return_dict: whether to return a dict by names instead of a list.
            **kwargs: none are known.

        Returns:
            the loss; with metrics, a list of the loss and these; or a dict by names.

        Raises:
            StateError: the model is not compiled.
            DataError: the data cannot be used.
            ShapeError: the data does not fit the model, or the targets the outputs.

        Source: https://keras.io/api/models/model_training_apis/#evaluate-method
        """
        if kwargs:
            raise ArgumentError("Unknown arguments.", where="evaluate()", received=[*kwargs], fix="leave them out")
        self._require_compiled("evaluate")
        feed = self._feed("evaluate", x, y, sample_weight, batch_size, steps)
        prepare(self, feed, "evaluate")
        calls = self._callbacks(callbacks, verbose, 1, feed)
        logs = loop.evaluate(self, feed, self._executor(), calls)
        return logs if return_dict else self._in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, in evaluation mode, as NumPy arrays; the model need not be compiled.

        Args:
            x: as for `fit`; targets that come with it are left aside.
            batch_size: samples in a batch, 32 by default.
            verbose: as for `fit`.
            steps: batches to predict; all by default.
            callbacks: one or a list.

        Returns:
            an array, or arrays in the structure of the model's outputs.

        Raises:
            DataError: the data cannot be used.
            ShapeError: the data does not fit the model.

        Source: https://keras.io/api/models/model_training_apis/#predict-method
        """
        serving = self._serving
        if (
            serving is not None
            and verbose == 0
            and callbacks is None
            and steps is None
            and serving.takes(x, batch_size)
        ):
            return serving.answer(x)
        feed = self._feed("predict", x, None, None, batch_size, steps)
        prepare(self, feed, "predict", targets=False)
        calls = self._callbacks(callbacks, verbose, 1, feed)
        start = time.perf_counter()
        outputs = loop.predict(self, feed, self._executor(), calls)
        self.__dict__["_serving"] = Serving.of(self, x, time.perf_counter() - start)
        return outputs

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update on one batch.

        Args:
            x: the inputs.
            y: the targets.
            sample_weight: weights of samples.
            class_weight: weights of samples by class number.
            return_dict: whether to return a dict by names.

        Returns:
            the results of this batch, as `evaluate` gives them.

        Raises:
            StateError: the model is not compiled.
        """
        self._require_compiled("train_on_batch")
        batch = self._batch(x, y, sample_weight, "train_on_batch", class_weight)
        prepare_batch(self, batch, "train_on_batch")
        build_optimizer(self)
        self.reset_metrics()
        executor = self._executor()
        executor.expect("train", 1)
        self.train()
        try:
            returned = executor.train(batch)
        finally:
            self.eval()
        return self._batch_results(returned, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The results on one batch.

        Args:
            x: the inputs.
            y: the targets.
            sample_weight: weights of samples.
            return_dict: whether to return a dict by names.

        Returns:
            as `evaluate`.

        Raises:
            StateError: the model is not compiled.
        """
        self._require_compiled("test_on_batch")
        batch = self._batch(x, y, sample_weight, "test_on_batch")
        prepare_batch(self, batch, "test_on_batch")
        self.reset_metrics()
        self.eval()
        executor = self._executor()
        executor.expect("test", 1)
        return self._batch_results(executor.test(batch), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as NumPy arrays.

        Args:
            x: the inputs.
        """
        batch = (to_device(as_tensors(x, "x"), device_of(self)),)
        prepare_batch(self, batch, "predict_on_batch", targets=False)
        self.eval()
        executor = self._executor()
        executor.expect("predict", 1)
        return tree.map_structure(convert_to_numpy, executor.predict(batch))

    # What the loops are given.

    def _has_own_steps(self) -> bool:
        """Whether a subclass has written one of the steps, or what they call."""
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(Trainer, name) for name in _OVERRIDABLE
        )

    def _executor(self) -> Executor:
        return executor_of(self)

    def execution_report(self) -> ExecutionReport:
        """How the steps of this model are run, why, and what was measured; printed, it is a table.

        Example:
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Dense(1)])
            >>> model.compile("sgd", loss="mse", run_eagerly=True)
            >>> print(model.execution_report())
            step  | runs  | eager | compiled | why
            train | eager | -     | -        | run_eagerly=True
        """
        reason = reason_for_eager(self)
        steps = {kind: adoption.report for kind, adoption in (self._adoptions or {}).items()}
        if reason is not None or not steps:
            steps = {"train": StepReport("train", why=reason or "no step was run yet")}
        return ExecutionReport(steps)

    def make_train_function(self, force: bool = False) -> Any:
        """The function that runs one training step on a batch, also kept as `train_function`."""
        if self.train_function is None or force:
            self.__dict__["train_function"] = self._executor().train
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """The function that evaluates one batch, also kept as `test_function`."""
        if self.test_function is None or force:
            self.__dict__["test_function"] = self._executor().test
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Any:
        """The function that gives the outputs for one batch, also kept as `predict_function`."""
        if self.predict_function is None or force:
            self.__dict__["predict_function"] = self._executor().predict
        return self.predict_function

    def _feed(
        self,
        where: str,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        steps: int | None,
        **options: Any,
    ) -> Feed:
        source = source_of(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps,
            device=device_of(self),
            where=where,
            names=self._names(),
            **options,
        )
        return Feed(source, steps, where)

    def _names(self) -> Names:
        """What the inputs and outputs are called, for data that has columns by name."""
        inputs = getattr(self, "inputs", None)
        by_key = getattr(self, "_inputs_struct", None)
        wanted = by_key if isinstance(by_key, dict) else [tensor.name for tensor in inputs or ()]
        outputs = getattr(self, "output_names", None) or ()
        is_single = len(wanted) == 1 if inputs else True if hasattr(self, "add") else None
        return Names(tuple(map(str, wanted)), tuple(outputs), is_single)

    def _validation_feed(self, data: Any, batch_size: int | None, steps: int | None) -> Feed | None:
        if data is None:
            return None
        x, y, sample_weight = unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
        return self._feed("fit(validation_data=...)", x, y, sample_weight, batch_size, steps)

    def _validation(
        self, data: Any, batch_size: int | None, steps: int | None, frequency: int | Iterable[int]
    ) -> loop.Validation | None:
        feed = self._validation_feed(data, batch_size, steps)
        if feed is None:
            return None
        if isinstance(feed.source, ArraySource):
            prepare(self, feed, "fit(validation_data=...)")
        return loop.Validation(feed, frequency)

    def _callbacks(
        self, callbacks: Any, verbose: int | str, epochs: int, feed: Feed, history: bool = False
    ) -> CallbackList:
        one_of(verbose, ("auto", 0, 1, 2), "verbose")
        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(
            callbacks,
            add_history=history,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            epochs=epochs,
            steps=feed.length,
        )

    def _batch(
        self, x: Any, y: Any, sample_weight: Any, where: str, class_weight: Mapping[int, float] | None = None
    ) -> Any:
        """A batch on the model's device."""
        parts = [as_tensors(part, name) for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight))]
        check_lengths(*parts, where=where)
        if class_weight is not None and sample_weight is not None:
            raise DataError("class_weight and sample_weight are both given.", where=where, fix="give one of them")
        batch = add_class_weight(pack_x_y_sample_weight(*parts), class_weight)
        return to_device(batch, device_of(self))

    def _batch_results(self, returned: Any, return_dict: bool) -> Any:
        logs = to_numbers(self.get_metrics_result() if returned is None else returned)
        return logs if return_dict else self._in_order(logs)

    def _in_order(self, logs: Mapping[str, Any]) -> Any:
        """Results as a list in the order of the metrics, those of other names at the end; a single one as it is."""
        names: list[str] = []
        for metric in self.metrics:
            names += [m.name for m in metric.metrics] if isinstance(metric, CompiledMetrics) else [metric.name]
        results = [logs[name] for name in names if name in logs]
        results += [logs[name] for name in sorted(logs) if name not in names]
        return results[0] if len(results) == 1 else results


def _check_epochs(**numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < 0:
            raise ArgumentError(f"{name} is no count.", where="fit", expected="0, 1, 2, ...", received=repr(value))


def _samples(feed: Feed, data: Any) -> tuple[Any, Any]:
    """Inputs and targets that can be looked at once more after training; (None, None) if there are none such."""
    if isinstance(feed.source, ArraySource):
        return feed.source.x, feed.source.y
    return (data, None) if isinstance(data, (PyDataset, torch.utils.data.DataLoader)) else (None, None)


def _check_frequency(frequency: Any) -> None:
    usable = isinstance(frequency, int) and frequency > 0
    if not usable and not isinstance(frequency, (list, tuple, set, range)):
        raise ArgumentError(
            "validation_freq is not usable.",
            where="fit(validation_freq=...)",
            expected="a positive integer, or a list of epochs counted from 1",
            received=f"{frequency!r} ({type(frequency).__name__})",
        )
