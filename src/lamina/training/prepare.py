"""What happens once before a loop: the model is built, and data, outputs, losses and metrics are compared."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import LaminaError
from lamina.core.memory import keep_memory
from lamina.core.tensors import default_device
from lamina.data.arrays import ArraySource, check_lengths
from lamina.data.feed import Feed
from lamina.data.source import unpack_x_y_sample_weight
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.training.adoption import Adoptions
from lamina.training.capture import State
from lamina.training.checks import check_inputs, check_metrics, check_targets, check_values, warn_of_nan
from lamina.training.compile import Compiled
from lamina.training.execution import AdaptiveExecutor, EagerExecutor, Executor, MethodExecutor
from lamina.training.metrics import CompiledMetrics
from lamina.training.plan import Plan
from lamina.training.step import Penalties, TrainState

Tensor = torch.Tensor
_ARRAYS = (Tensor, np.ndarray)  # text comes in arrays of NumPy


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the model's weights lie, or will lie."""
    weight = next(model.parameters(), None)
    return default_device() if weight is None else weight.device


def prepare(model: Any, feed: Feed, where: str, targets: bool = True) -> None:
    """Build what is not built, and compare the data with the model, before the first step on it.

    Args:
        model: the model.
        feed: the batches; the first one is looked at, and stays.
        where: the method concerned, for error messages.
        targets: whether losses and metrics will be computed.

    Raises:
        ShapeError: the data does not fit the model, or the targets the outputs.
        DataError: targets that the loss cannot use.
    """
    source = feed.source
    batch = source.example() if isinstance(source, ArraySource) else feed.peek()
    y_pred = prepare_batch(model, batch, where, targets)
    compiled: Compiled | None = model._compiled
    if not targets or y_pred is None or compiled is None or compiled.loss is None:
        return
    if isinstance(source, ArraySource) and source.y is not None:
        check_values(compiled.loss, source.y, y_pred)
        if compiled.metrics is not None:
            check_metrics(compiled.metrics, compiled.loss, source.y)
        compiled.loss.explained = warn_of_nan(source.x)


def prepare_batch(model: Any, batch: Any, where: str, targets: bool = True) -> Any:
    """The same for a single batch; returns the outputs' shapes as symbolic tensors, None where they are not known."""
    own_step = model._has_own_steps()
    compiled: Compiled | None = model._compiled
    try:
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        seen = (_signature(x), _signature(y)) if targets and compiled is not None else None
        if seen is not None and compiled is not None and seen == compiled.seen and _is_built(model):
            return compiled.seen_outputs
        check_inputs(model, x, where)
        if targets and not own_step and _are_rows(x, y, sample_weight):
            check_lengths(x, y, sample_weight, where)
        if not targets and _is_built(model):
            return None
        y_pred = output_spec(model, x)
    except Exception:
        # A step of the user's may use the data in a way of its own, and build what it needs by itself.
        if own_step:
            return None
        raise
    if not targets or compiled is None:
        return y_pred
    if y is not None or not own_step:
        _place(compiled, y, y_pred, model, own_step)
    compiled.seen, compiled.seen_outputs = seen, y_pred
    return y_pred


def _signature(part: Any) -> Any:
    """What tells one kind of batch from another: names, shapes without the number of samples, dtypes."""
    if isinstance(part, _ARRAYS):
        return part.shape[1:], part.dtype
    return [
        (path, *_signature(leaf)) if isinstance(leaf, _ARRAYS) else path for path, leaf in tree.flatten_with_path(part)
    ]


def _are_rows(*parts: Any) -> bool:
    return all(leaf is None or (isinstance(leaf, _ARRAYS) and leaf.ndim > 0) for leaf in tree.flatten(parts))


def _is_built(model: torch.nn.Module) -> bool:
    return all(module.built for module in model.modules() if isinstance(module, Layer))


def _place(compiled: Compiled, y: Any, y_pred: Any, model: Any, own_step: bool) -> None:
    try:
        compiled.build(y, y_pred)
        if compiled.loss is not None and not own_step:
            check_targets(compiled.loss, y, y_pred, model)
    except LaminaError:
        if not own_step:
            raise


def output_spec(model: Any, x: Any) -> Any:
    """The outputs for a batch, without data where that can be told; builds the model."""
    leaves = [leaf for leaf in tree.flatten(x) if leaf is not None]
    if all(isinstance(leaf, _ARRAYS) for leaf in leaves):
        try:
            return model.compute_output_spec(tree.map_structure(_symbolic, x))
        except (LaminaError, RuntimeError, TypeError, NotImplementedError):
            # Whatever was wrong, it shows, or works, on real data.
            pass
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model(x)
    finally:
        model.train(was_training)


def _symbolic(leaf: Any) -> Any:
    return None if leaf is None else KerasTensor((None, *leaf.shape[1:]), standardize_dtype(leaf.dtype))


def build_optimizer(model: Any) -> None:
    """Make the optimizer's slots for the variables that learn."""
    optimizer = model.optimizer
    if optimizer is None:
        return
    variables = model.trainable_variables
    if not variables:
        warnings.warn("The model has no weights to train: layers made in call() are not its own.", stacklevel=4)
    elif not optimizer.built:
        optimizer.build(variables)


def executor_of(model: Any, plan: Plan | None = None, anew: bool = False) -> Executor:
    """What runs the steps of a model.

    Args:
        model: the model.
        plan: says which steps are compiled, instead of a measurement.
        anew: whether an earlier plan is over.
    """
    if device_of(model).type == "cpu":
        keep_memory()
    if model._has_own_steps():
        return MethodExecutor(model)
    state = state_of(model)
    if reason_for_eager(model) is not None:
        return EagerExecutor(state)
    forced = model._compiled is not None and model._jit_compile
    adoptions = model.__dict__.setdefault("_adoptions", Adoptions())
    if anew and not (plan is None and adoptions.plan is None):
        adoptions = model.__dict__["_adoptions"] = Adoptions()
        adoptions.plan = plan
    return AdaptiveExecutor(state, lambda kind: whole_state(model, state_of(model), kind), adoptions, forced)


def reason_for_eager(model: Any) -> str | None:
    """Why the steps of a model are not compiled, whatever they are; None if they may be."""
    compiled: Compiled | None = model._compiled
    if model._has_own_steps():
        return "the model has steps of its own, which run as they are written"
    if model._run_eagerly:
        return "run_eagerly=True"
    if compiled is not None and compiled.given["jit_compile"] is False and not model._jit_compile:
        return "jit_compile=False"
    if torch.are_deterministic_algorithms_enabled() and not model._jit_compile:
        return "deterministic results were asked for, and the moment of changing over depends on time"
    return None


def whole_state(model: Any, state: TrainState, kind: str = "train") -> State:
    """All tensors that the steps of a model of one kind ("train", "test" or "predict") read or change."""
    compiled: Compiled | None = model._compiled
    metrics: list[Any] = []
    for metric in model.metrics if compiled is not None and kind != "predict" else ():
        metrics += metric.metrics if isinstance(metric, CompiledMetrics) else [metric]
    return State(state, metrics, compiled.optimizer if compiled is not None and kind == "train" else None)


def state_of(model: Any) -> TrainState:
    """The state a step reads and changes, of a model that is built."""
    compiled: Compiled | None = model._compiled
    if compiled is None:
        return TrainState(model, [], None, None, Penalties([], []), None)
    return TrainState(
        model=model,
        variables=list(model.trainable_variables),
        optimizer=compiled.optimizer,
        loss=compiled.loss,
        penalties=Penalties.of(model),
        loss_tracker=compiled.loss_tracker,
        update_metrics=None if compiled.metrics is None else compiled.metrics.update_state,
    )
