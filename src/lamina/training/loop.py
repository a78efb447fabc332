"""The loops of fit, evaluate and predict: epochs, batches, callbacks, results."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lamina.callbacks.callback_list import CallbackList
from lamina.callbacks.logs import Logs, to_numbers
from lamina.core import tree
from lamina.core.errors import DataError, LaminaError
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.core.text import is_text
from lamina.data.feed import Feed
from lamina.training.checks import warn_of_lost_loss
from lamina.training.execution import Executor
from lamina.training.resume import Run


@dataclass(frozen=True)
class Validation:
    """When and on what to evaluate during fit.

    Args:
        feed: the batches.
        frequency: every so many epochs, or the epochs, counted from 1.
    """

    feed: Feed
    frequency: int | Iterable[int]

    def is_due(self, epoch: int) -> bool:
        """Whether to evaluate after this epoch, counted from 0."""
        if isinstance(self.frequency, int):
            return (epoch + 1) % self.frequency == 0
        return epoch + 1 in self.frequency

    def steps(self, epochs: range) -> int | None:
        """How many steps of evaluation lie ahead; None if nobody knows."""
        return None if self.feed.length is None else self.feed.length * sum(map(self.is_due, epochs))


def fit(
    model: Any,
    feed: Feed,
    executor: Executor,
    callbacks: CallbackList,
    epochs: range,
    validation: Validation | None = None,
    run: Run | None = None,
) -> None:
    """Train for some epochs. Ctrl-C ends it in good order, with weights and history as they are, and is passed on.

    Args:
        model: a model that is compiled and built.
        feed: the batches of each epoch.
        executor: runs the steps.
        callbacks: called along the way.
        epochs: the numbers of the epochs, from 0.
        validation: what to evaluate on, and when.
        run: leaves checkpoints, and says where to go on.
    """
    logs: dict[str, Any] = {}
    model.stop_training = False
    executor.expect("train", None if feed.length is None else feed.length * len(epochs))
    callbacks.on_train_begin()
    if model._initial_epoch:  # a callback has set it
        epochs = range(model._initial_epoch, epochs.stop)
        model._initial_epoch = None
    any_epochs = len(epochs) > 0
    done, last = 0, None
    if run is not None:
        if run.middle is not None:
            callbacks.on_epoch_begin(run.middle)
        start = run.begin(epochs.start)
        epochs = range(start.epoch, epochs.stop)
        logs, done, last = start.logs, start.batch, start.last
        epochs = range(0) if model.stop_training else epochs
    try:
        for epoch in epochs:
            if not done:
                model.reset_metrics()
                callbacks.on_epoch_begin(epoch)
            model.train()
            count, last = _run_steps(model, feed, executor, callbacks, "train", epoch, done, last, run)
            model.eval()
            done = 0
            if count == 0:
                break
            logs = _numbers(_results(model, last))
            if not model.stop_training:
                warn_of_lost_loss(model, logs)
            if validation is not None and validation.is_due(epoch):
                held_out = evaluate(model, validation.feed, executor, callbacks)
                logs.update({f"val_{name}": value for name, value in held_out.items()})
            callbacks.on_epoch_end(epoch, logs)
            if run is not None:
                run.after_epoch(epoch, logs)
            if model.stop_training:
                break
        if run is not None:
            run.before_end()
        if model.optimizer is not None and any_epochs:
            model.optimizer.finalize_variable_values(model.trainable_variables)
    except KeyboardInterrupt:
        model.eval()
        callbacks.on_train_end(logs)
        raise
    finally:
        model.eval()
    callbacks.on_train_end(logs)
    if run is not None:
        run.end()


def evaluate(model: Any, feed: Feed, executor: Executor, callbacks: CallbackList) -> dict[str, Any]:
    """The results on all batches of one epoch of a feed, as numbers by name.

    Args:
        model: a model that is built.
        feed: the batches.
        executor: runs the steps.
        callbacks: called along the way.
    """
    model.eval()
    model.stop_evaluating = False
    executor.expect("test", feed.length)
    callbacks.on_test_begin()
    model.reset_metrics()
    _, last = _run_steps(model, feed, executor, callbacks, "test")
    logs = to_numbers(_results(model, last))
    callbacks.on_test_end(logs)
    return logs


def predict(model: Any, feed: Feed, executor: Executor, callbacks: CallbackList) -> Any:
    """The outputs for all batches, joined on the device and then fetched as NumPy arrays.

    Args:
        model: a model that is built.
        feed: the batches.
        executor: runs the steps.
        callbacks: called along the way.
    """
    model.eval()
    model.stop_predicting = False
    begin, end = callbacks.hooks("on_predict_batch_begin"), callbacks.hooks("on_predict_batch_end")
    columns: list[list[Any]] = []
    outputs: Any = None
    executor.expect("predict", feed.length)
    callbacks.on_predict_begin()
    for count, data in enumerate(feed.epoch()):
        for hook in begin:
            hook(count, logs={})
        outputs = executor.predict(data)
        leaves = tree.flatten(outputs)
        columns = columns or [[] for _ in leaves]
        for column, leaf in zip(columns, leaves, strict=True):
            column.append(leaf)
        for hook in end:
            hook(count, logs={"outputs": outputs})
        if model.stop_predicting:
            break
    callbacks.on_predict_end()
    return tree.pack_sequence_as(outputs, [_join(column) for column in columns])


def _join(parts: list[Any]) -> Any:
    """One array of the outputs of all batches."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], np.ndarray) and is_text(parts[0]):
        return np.concatenate(parts)
    tensors = [convert_to_tensor(part) for part in parts]
    if tensors[0].ndim == 0:
        return convert_to_numpy(torch.stack(tensors))
    return convert_to_numpy(tensors[0] if len(tensors) == 1 else torch.cat(tensors))


def _run_steps(
    model: Any,
    feed: Feed,
    executor: Executor,
    callbacks: CallbackList,
    kind: str,
    epoch: int | None = None,
    count: int = 0,
    last: Any = None,
    run: Run | None = None,
) -> tuple[int, Any]:
    """Run one epoch's steps, or those after the first `count`; how many there were, and what the last one returned.

    Where no callback wants to hear of every batch, the executor is given several at a time.
    """
    begin, end = callbacks.hooks(f"on_{kind}_batch_begin"), callbacks.hooks(f"on_{kind}_batch_end")
    keep = callbacks.keep_logs(f"on_{kind}_batch_end")
    heard = callbacks.hear_every_batch(kind) or not feed.is_ready
    every = model.steps_per_execution
    stop = "stop_training" if kind == "train" else "stop_evaluating"
    batches = feed.epoch()
    while some := _next(batches, every if heard else max(every, executor.steps_per_call(kind)), feed, count, epoch):
        for hook in begin:
            hook(count, logs={})
        try:
            last = executor.run(kind, some)
        except Exception as error:
            error.add_note(f"It happened in {_place(count, len(some), epoch)}.{_numpy_hint(error)}")
            raise
        count += len(some)
        if end:
            _tell(model, end, count - 1, last, keep)
        if run is not None:
            run.after_batches(count, len(some), last)
        if getattr(model, stop):
            break
    return count, last


def _next(batches: Iterator[Any], number: int, feed: Feed, count: int, epoch: int | None) -> list[Any]:
    """Some batches more; none at the end.

    Raises:
        DataError: the data raised an error, which is kept as the cause.
    """
    some: list[Any] = []
    try:
        some.extend(itertools.islice(batches, number))
    except LaminaError as error:
        error.add_note(f"It happened while {_place(count + len(some), 1, epoch)} was read.")
        raise
    except Exception as error:
        raise DataError(
            f"The {feed.source.kind} raised an error.",
            where=_place(count + len(some), 1, epoch),
            received=f"{type(error).__name__}: {error}",
            fix="mend what the error above names, in the code that makes the batches",
        ) from error
    return some


def _numpy_hint(error: Exception) -> str:
    """What helps where the error comes out of NumPy, which knows no gradients."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    inside = trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("numpy.")
    if inside or "numpy()" in str(error):
        return " NumPy was given a tensor: use lamina.ops or torch in losses, metrics and layers."
    return ""


def _place(count: int, number: int, epoch: int | None) -> str:
    """Which batches these are, counted from 1 as in the progress bar."""
    batches = f"batch {count + 1}" if number == 1 else f"one of the batches {count + 1} to {count + number}"
    return batches if epoch is None else f"{batches} of epoch {epoch + 1}"


def _tell(model: Any, hooks: list[Any], batch: int, returned: Any, keep: bool) -> None:
    """Call the hooks at the end of a batch, with results that are computed when they are read."""
    logs = Logs(model.get_metrics_result if returned is None else lambda: returned)
    if keep:
        logs.settle()
    for hook in hooks:
        hook(batch, logs=logs)


def _results(model: Any, returned: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The results of an epoch: the running ones, unless a step of the user's returns others."""
    running = model.get_metrics_result()
    if returned is None or (isinstance(returned, Mapping) and set(returned) == set(running)):
        return running
    if isinstance(returned, Mapping):
        return returned
    warnings.warn(
        f"A step returned a {type(returned).__name__}, not a dict of results, which is left aside.",
        stacklevel=2,
    )
    return running


def _numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results as numbers; those within a dict stay there, because the order of all follows from the outer names."""
    flat = to_numbers(results)
    return {
        name: {inner: flat.get(inner) for inner in value} if isinstance(value, Mapping) else flat[name]
        for name, value in results.items()
    }
