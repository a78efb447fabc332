"""The mixin that gives a model compile, fit, evaluate and predict."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lamina.callbacks.callback_list import CallbackList
from lamina.callbacks.history import History
from lamina.callbacks.logs import to_numbers
from lamina.core import tree
from lamina.core.capture import is_ours
from lamina.core.errors import ArgumentError, DataError, StateError
from lamina.core.serialization import deserialize_keras_object
from lamina.core.tensors import convert_to_numpy
from lamina.data.arrays import ArraySource, as_tensors, check_batch_size, check_lengths, split_validation
from lamina.data.feed import Feed
from lamina.data.selection import source_of
from lamina.data.source import add_class_weight, pack_x_y_sample_weight, to_device, unpack_x_y_sample_weight
from lamina.layers.base import Layer
from lamina.metrics import Metric
from lamina.training import loop
from lamina.training.compile import Compiled
from lamina.training.execution import EagerExecutor, Executor, MethodExecutor
from lamina.training.losses import track
from lamina.training.metrics import CompiledMetrics
from lamina.training.prepare import build_optimizer, device_of, prepare, prepare_batch, state_of
from lamina.training.step import Penalties, no_loss

Tensor = torch.Tensor

_OVERRIDABLE = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")


if TYPE_CHECKING:
    _Base = Layer
else:
    _Base = object


class Trainer(_Base):
    """What a model needs to be trained; mixed into `Model`, and usable with any `Layer`.

    `compile` says how to train; `fit`, `evaluate` and `predict` run the loops of `training.loop`, which call one of the
    steps of `training.step` for each batch. A subclass may write its own `train_step`, `test_step` or `predict_step`,
    or change `compute_loss` and `compute_metrics`.

    Attributes:
        stop_training: set it to True (in a callback, for instance) to end `fit` after the batch.
        history: the `History` of the latest `fit`.
    """

    _compiled: Compiled | None = None
    _initial_epoch: int | None = None
    stop_training: bool = False
    stop_evaluating: bool = False
    stop_predicting: bool = False
    history: History | None = None
    train_function: Any = None
    test_function: Any = None
    predict_function: Any = None

    # Compilation.

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train: names or objects of an optimizer, losses and metrics.

        Args:
            optimizer: a name, an optimizer, or one of torch's (an object, or a class).
            loss: a name, a function of (y_true, y_pred), a loss object or a loss module of torch; for several outputs a
                list or a dict by output names, with None for an output without a loss.
            loss_weights: factors of the losses, likewise.
            metrics: names, functions or metric objects in a list; for several outputs a list or dict of these.
                "accuracy" becomes the kind of accuracy that the shapes call for.
            weighted_metrics: metrics that see the sample weights, likewise.
            run_eagerly: kept for Keras.
            steps_per_execution: batch hooks of callbacks are called once in so many steps.
            jit_compile: kept for Keras; steps run eagerly.
            auto_scale_loss: whether the loss is scaled when the model computes in float16.

        Raises:
            UnknownNameError: a name stands for nothing known; the nearest one is suggested.

        Example:
            >>> from lamina import layers
            >>> from lamina.models import Sequential
            >>> model = Sequential([layers.Dense(1)])
            >>> model.compile(optimizer="adam", loss="mse", metrics=["mae"])
            >>> model.compiled
            True
        """
        given = {
            "optimizer": optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        names = getattr(self, "output_names", None)
        policy = getattr(getattr(self, "dtype_policy", None), "name", "")
        self.__dict__["_compiled"] = Compiled(given, names, policy == "mixed_float16")
        self.stop_training = False

    @property
    def compiled(self) -> bool:
        """Whether compile() has been called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> Any:
        """The optimizer that compile() was given, None before."""
        return None if self._compiled is None else self._compiled.optimizer

    @optimizer.setter
    def optimizer(self, value: Any) -> None:
        self._require_compiled("setting the optimizer").optimizer = value

    @property
    def loss(self) -> Any:
        """The loss as compile() was given it, None before."""
        return None if self._compiled is None else self._compiled.given["loss"]

    @property
    def steps_per_execution(self) -> int:
        """How many steps pass between two calls of batch hooks."""
        return 1 if self._compiled is None else self._compiled.steps_per_execution

    @property
    def run_eagerly(self) -> bool:
        """What compile() was given."""
        return self._compiled is not None and self._compiled.run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        self._require_compiled("setting run_eagerly").run_eagerly = bool(value)

    @property
    def jit_compile(self) -> bool:
        """Whether compilation was asked for."""
        return self._compiled is not None and self._compiled.jit_compile

    @jit_compile.setter
    def jit_compile(self, value: bool) -> None:
        self._require_compiled("setting jit_compile").jit_compile = bool(value)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of compile() as values that fit into JSON; empty if it was not called."""
        return {} if self._compiled is None else self._compiled.config()

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as `get_compile_config` describes."""
        if type(self).compile is not Trainer.compile:
            warnings.warn(
                f"{type(self).__name__} has a compile() of its own, so the model is not compiled on loading. Call "
                "compile(), or write get_compile_config() and compile_from_config().",
                stacklevel=2,
            )
            return
        if not config:
            return
        self.compile(**deserialize_keras_object(dict(config)))
        if getattr(self, "built", False) and self.optimizer is not None and self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    def _require_compiled(self, what: str) -> Compiled:
        if self._compiled is None:
            raise StateError(
                "The model is not compiled.",
                where=what,
                fix='call model.compile(optimizer="adam", loss=...) first',
            )
        return self._compiled

    # Metrics.

    @property
    def metrics(self) -> list[Any]:
        """The running loss, the metrics of compile(), and those that are attributes of the model or its layers."""
        found = [] if self._compiled is None else self._compiled.own_metrics()
        found += _metrics_in(self)
        for layer in self.modules():
            if not isinstance(layer, Trainer) and not is_ours(type(layer)):
                found += _metrics_in(layer)
        return list({id(metric): metric for metric in found}.values())

    @property
    def metrics_names(self) -> list[str]:
        """Their names."""
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Begin all running results anew."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The running results by name, as tensors."""
        results: dict[str, Any] = {}
        with torch.no_grad():
            for metric in self.metrics:
                result = metric.result()
                results.update(result if isinstance(result, Mapping) else {metric.name: result})
        return results

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Take a batch into the running results and return these. A subclass may add to them.

        Args:
            x: the inputs.
            y: the targets.
            y_pred: the outputs.
            sample_weight: weights of samples.
        """
        compiled = self._compiled
        if compiled is not None and compiled.metrics is not None:
            with torch.no_grad():
                compiled.metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch: that of compile(), penalties, and what layers added. A subclass may change it.

        Args:
            x: the inputs.
            y: the targets.
            y_pred: the outputs.
            sample_weight: weights of samples.
            training: whether it is a training step.

        Raises:
            StateError: there is nothing to add up.
        """
        compiled = self._compiled
        losses = [value.sum() if value.ndim else value for value in self.losses]
        if compiled is not None and compiled.loss is not None:
            main = compiled.loss(y, y_pred, sample_weight)
            losses = ([] if main is None else [main]) + losses
        if not losses:
            raise no_loss()
        return losses[0] if len(losses) == 1 else sum(losses[1:], losses[0])

    def _call_compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Tensor:
        if "training" in inspect.signature(self.compute_loss).parameters:
            return self.compute_loss(x, y, y_pred, sample_weight, training=training)
        return self.compute_loss(x, y, y_pred, sample_weight)

    # Single steps, for subclasses to change.

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update on a batch; returns results by name. A subclass may write its own.

        Args:
            data: a batch: x, (x, y) or (x, y, sample_weight).
        """
        y, y_pred, sample_weight, x, loss = self._forward(data, training=True)
        self.zero_grad()
        variables = self.trainable_variables
        if variables and self.optimizer is not None:
            self.optimizer.scale_loss(loss).backward()
            with torch.no_grad():
                self.optimizer.apply([variable.grad for variable in variables], variables)
        with torch.no_grad():
            return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One batch of evaluation; returns results by name. A subclass may write its own.

        Args:
            data: a batch: x, (x, y) or (x, y, sample_weight).
        """
        y, y_pred, sample_weight, x, _ = self._forward(data, training=False)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for a batch. A subclass may write its own.

        Args:
            data: a batch; targets are left aside.
        """
        return self(unpack_x_y_sample_weight(data)[0])

    def _forward(self, data: Any, training: bool) -> tuple[Any, Any, Any, Any, Tensor]:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        Penalties.of(self)
        y_pred = self(x)
        loss = self._call_compute_loss(x, y, y_pred, sample_weight, training)
        compiled = self._compiled
        if compiled is not None:
            first = next(leaf for leaf in tree.flatten(x) if leaf is not None)
            track(compiled.loss_tracker, loss, first.shape[0])
        return y, y_pred, sample_weight, x, loss

    def _has_own_steps(self) -> bool:
        """Whether a subclass has written one of the steps, or what they call."""
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(Trainer, name) for name in _OVERRIDABLE
        )

    def _executor(self) -> Executor:
        return MethodExecutor(self) if self._has_own_steps() else EagerExecutor(state_of(self))

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

    # Loops.

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

        Returns:
            the history: `history.history` maps names to a list of numbers, one for each epoch.

        Raises:
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
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
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
        prepare(self, feed, "fit")
        validation = self._validation(
            validation_data, validation_batch_size or batch_size, validation_steps, validation_freq
        )
        build_optimizer(self)
        calls = self._callbacks(callbacks, verbose, epochs, feed, history=True)
        self.zero_grad()
        first = self._initial_epoch or initial_epoch
        loop.fit(self, feed, self._executor(), calls, range(first, epochs), validation)
        assert self.history is not None
        return self.history

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
            raise ArgumentError("Unknown arguments.", where="evaluate", received=", ".join(kwargs))
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
        feed = self._feed("predict", x, None, None, batch_size, steps)
        prepare(self, feed, "predict", targets=False)
        calls = self._callbacks(callbacks, verbose, 1, feed)
        return loop.predict(self, feed, self._executor(), calls)

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
        self.train()
        try:
            returned = self._executor().train(batch)
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
        return self._batch_results(self._executor().test(batch), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as NumPy arrays.

        Args:
            x: the inputs.
        """
        batch = (to_device(as_tensors(x, "x"), device_of(self)),)
        prepare_batch(self, batch, "predict_on_batch", targets=False)
        self.eval()
        return tree.map_structure(convert_to_numpy, self._executor().predict(batch))

    # What the loops are given.

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
            self._by_column(x),
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps,
            device=device_of(self),
            where=where,
            **options,
        )
        return Feed(source, steps, where)

    def _by_column(self, x: Any) -> Any:
        """A data frame as a dict of its columns, for a model whose inputs are a dict."""
        wanted = getattr(self, "_inputs_struct", None)
        if isinstance(wanted, dict) and hasattr(x, "columns") and hasattr(x, "iloc") and set(wanted) <= set(x.columns):
            return {name: x[name] for name in wanted}
        return x

    def _validation(
        self, data: Any, batch_size: int | None, steps: int | None, frequency: int | Iterable[int]
    ) -> loop.Validation | None:
        if data is None:
            return None
        x, y, sample_weight = unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
        feed = self._feed("fit(validation_data=...)", x, y, sample_weight, batch_size, steps)
        if isinstance(feed.source, ArraySource):
            prepare(self, feed, "fit(validation_data=...)")
        return loop.Validation(feed, frequency)

    def _callbacks(
        self, callbacks: Any, verbose: int | str, epochs: int, feed: Feed, history: bool = False
    ) -> CallbackList:
        if verbose not in ("auto", 0, 1, 2):
            raise ArgumentError("verbose is not usable.", expected='"auto", 0, 1 or 2', received=repr(verbose))
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
            raise DataError("class_weight and sample_weight cannot be given together.", where=where)
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


def _metrics_in(module: Any) -> list[Any]:
    """The metrics that are attributes of a module, alone or in a list."""
    found: list[Any] = []
    for name, value in vars(module).items():
        if isinstance(value, Metric):
            found.append(value)
        elif isinstance(value, (list, tuple)) and value and not name.startswith("_"):
            found += [part for part in value if isinstance(part, Metric)]
    return found


def _check_frequency(frequency: Any) -> None:
    usable = isinstance(frequency, int) and frequency > 0
    if not usable and not isinstance(frequency, (list, tuple, set, range)):
        raise ArgumentError(
            "validation_freq is not usable.",
            expected="a positive integer, or a list of epochs counted from 1",
            received=f"{frequency!r} ({type(frequency).__name__})",
        )
