"""Hooks into fit, evaluate and predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lamina.core import tree
from lamina.core.forms import ANYTHING, Maybe, alike, check, described, refuse

HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
)


class Callback:
    """Base of callbacks: override the hooks you need; those left alone cost nothing.

    `logs` maps names to results. The logs of a batch are fetched from the device when they are first read, so a hook
    that looks every hundred batches makes the training wait only then. Values put into the logs of `on_epoch_end` reach
    the callbacks that follow, and the history.

    Attributes:
        model: the model in training.
        params: "verbose", "epochs" and "steps" of the call.

    Example:
        >>> from lamina.callbacks import CallbackList
        >>> class Announce(Callback):
        ...     def on_train_begin(self, logs=None):
        ...         print("here we go")
        >>> callbacks = CallbackList([Announce()])
        >>> callbacks.on_train_begin()
        here we go

    Source: https://keras.io/api/callbacks/base_callback/
    """

    # Hooks that are overridden but have nothing to do with the options chosen.
    idle_hooks: frozenset[str] = frozenset()
    # A callback that reads batch logs at once or not at all; others may keep them, so their values are settled.
    keeps_logs: bool = True
    # Its batch hooks want to be called for every batch; otherwise once for several is enough.
    hears_every_batch: bool = True
    # The attributes that `get_state` keeps.
    kept: tuple[str, ...] = ()
    # What those of them may be that are None at first; see `lamina.core.forms`.
    _forms: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Receive "verbose", "epochs" and "steps" of the call."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Receive the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model, without a DistributedDataParallel around it."""
        model = getattr(self, "_model", None)
        return model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model

    def get_state(self) -> dict[str, Any]:
        """What the callback must know again for training to go on as if it had not stopped.

        Asked when all callbacks have heard of the end of an epoch, or of a batch.

        Returns:
            the attributes named in `kept`: what JSON can hold, arrays, tensors, and lists and dicts of these.
        """
        return {name: tree.map_structure(lambda leaf: leaf, getattr(self, name)) for name in self.kept}

    def _check_state(self, state: Any, where: str) -> None:
        """See whether `set_state` can take this up; a FileError that names the entry if not."""
        own = {name: Maybe(self._forms.get(name, ANYTHING)) for name in self.kept}
        check(state, own if type(self).get_state is Callback.get_state else dict, where)
        for name in self.kept:
            if name in state and name not in self._forms and not alike(state[name], getattr(self, name)):
                refuse(where, name, f"something like {described(getattr(self, name))}", described(state[name]))

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` gave; called after `on_train_begin` of the run that goes on.

        Args:
            state: what `get_state` gave, arrays in the place of tensors if it comes from a file.
        """
        for name in self.kept:
            if name in state:
                setattr(self, name, state[name])

    def on_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before an epoch of training; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After an epoch, validation included; validation results have names that begin with "val_"."""

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Before a training step; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After a training step; `logs` holds the results of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Before a batch of evaluation or validation."""

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After a batch of evaluation or validation."""

    def on_predict_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Before a batch of prediction."""

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After a batch of prediction; `logs["outputs"]` are its outputs."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of fit."""

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of fit, also after Ctrl-C; `logs` are those of the last epoch."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of evaluation or validation."""

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of evaluation or validation."""

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of prediction."""

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of prediction."""


_ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


def has_hook(callback: Any, hook: str) -> bool:
    """Whether calling the hook of this callback does anything."""
    if not isinstance(callback, Callback):
        return hasattr(callback, hook)
    if hook in callback.idle_hooks:
        return False
    names = [hook, _ALIASES[hook]] if hook in _ALIASES else [hook]
    return any(name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name) for name in names)
