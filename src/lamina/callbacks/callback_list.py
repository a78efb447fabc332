"""The callbacks of one call of fit, evaluate or predict, called together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lamina.callbacks.base import HOOKS, Callback, has_hook
from lamina.callbacks.history import History
from lamina.callbacks.learning_rate import TorchScheduler
from lamina.callbacks.logs import Logs, to_numbers
from lamina.callbacks.progress import ProgbarLogger
from lamina.core import tree
from lamina.core.errors import ArgumentTypeError


def as_callback(given: Any) -> Any:
    """A callback for what a user put into the list: callbacks as they are, schedulers of torch wrapped.

    Raises:
        ArgumentTypeError: it is neither.
    """
    if isinstance(given, torch.optim.lr_scheduler.LRScheduler):
        return TorchScheduler(given)
    if isinstance(given, type) or not hasattr(given, "set_model"):
        name = given.__name__ if isinstance(given, type) else type(given).__name__
        raise ArgumentTypeError(
            f"{given!r} is no callback.",
            where="callbacks",
            expected="objects derived from lamina.callbacks.Callback",
            fix=f"write {name}()" if isinstance(given, type) else "put functions into a LambdaCallback",
        )
    return given


class CallbackList(Callback):
    """Calls several callbacks in order. Which of them have which hook is decided once.

    Args:
        callbacks: the callbacks, one or a list.
        add_history: whether a `History` shall be among them.
        add_progbar: whether a `ProgbarLogger` shall be among them.
        model: the model.
        **params: what callbacks see as `params`.

    Example:
        >>> from lamina.callbacks import LambdaCallback
        >>> callbacks = CallbackList([LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))])
        >>> callbacks.on_epoch_end(0, {"loss": 0.25})
        0 {'loss': 0.25}

    Source: https://keras.io/api/callbacks/base_callback/
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Any] = [as_callback(c) for c in tree.flatten(callbacks)] if callbacks else []
        self.history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._hooks: dict[str, list[Callable[..., Any]]] = {}
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def append(self, callback: Any) -> None:
        """Add a callback at the end."""
        self.callbacks.append(as_callback(callback))
        self._hooks.clear()

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass the parameters on."""
        self.params = params
        self._hooks.clear()
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Pass the model on."""
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def hooks(self, name: str) -> list[Callable[..., Any]]:
        """The bound hooks of that name that do something, in order."""
        if not self._hooks:
            self._hooks = {hook: [getattr(c, hook) for c in self.callbacks if has_hook(c, hook)] for hook in HOOKS}
        return self._hooks[name]

    def keep_logs(self, name: str) -> bool:
        """Whether a callback with this hook may keep the logs it is given."""
        return any(getattr(c, "keeps_logs", True) for c in self.callbacks if has_hook(c, name))

    def hear_every_batch(self, kind: str) -> bool:
        """Whether a callback wants to hear of every batch of "train", "test" or "predict" steps."""
        names = (f"on_{kind}_batch_begin", f"on_{kind}_batch_end")
        return any(
            getattr(c, "hears_every_batch", True) for c in self.callbacks if any(has_hook(c, name) for name in names)
        )

    def _call(self, name: str, *position: int, logs: Mapping[str, Any] | None) -> None:
        numbers = logs if isinstance(logs, Logs) else to_numbers(logs)
        for hook in self.hooks(name):
            hook(*position, logs=numbers) if "_batch_" in name else hook(*position, numbers)

    def on_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_batch_begin", batch, logs=logs)

    def on_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_batch_end", batch, logs=logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_epoch_end", epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_batch_begin", batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_batch_end", batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_test_batch_begin", batch, logs=logs)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_test_batch_end", batch, logs=logs)

    def on_predict_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_predict_batch_begin", batch, logs=logs)

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_predict_batch_end", batch, logs=logs)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_begin", logs=logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_train_end", logs=logs)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_test_begin", logs=logs)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_test_end", logs=logs)

    def on_predict_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_predict_begin", logs=logs)

    def on_predict_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Call the hook of each callback."""
        self._call("on_predict_end", logs=logs)
