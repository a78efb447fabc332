"""Arguments and methods of earlier Keras versions, put onto lamina's classes while old scripts are supported."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lamina import optimizers
from lamina.callbacks import CallbackList, History, ModelCheckpoint, ReduceLROnPlateau
from lamina.compat import files
from lamina.compat.history import OldKeys, answering
from lamina.core import tree
from lamina.core.errors import say_once
from lamina.layers import Layer
from lamina.models import Model
from lamina.optimizers import Optimizer
from lamina.optimizers.schedules import InverseTimeDecay
from lamina.training.metrics import CompiledMetrics

_LOADING = ("max_queue_size", "max_q_size", "workers", "nb_worker", "use_multiprocessing", "pickle_safe")
_FIT = {"nb_epoch": "epochs", "samples_per_epoch": "steps_per_epoch", "nb_val_samples": "validation_steps"}
_COMPILE = ("sample_weight_mode", "target_tensors", "options", "distribute", "experimental_run_tf_function")

_originals: list[tuple[Any, str, Any]] = []
_ABSENT = object()


class Reduction:
    """The ways of `tf.keras.losses.Reduction`, as the names that losses take."""

    AUTO = "sum_over_batch_size"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    SUM = "sum"
    NONE = "none"


def multi_gpu_model(model: Model, gpus: Any = None, **_: Any) -> Model:
    """The model itself: several GPUs are used through `lamina.distribution` or torch's DistributedDataParallel."""
    return model


def fit_generator(
    self: Model, generator: Any, steps_per_epoch: int | None = None, epochs: int = 1, **options: Any
) -> History:
    """`fit` on a generator of batches."""
    say_once("Model.fit_generator is an old name; use Model.fit.")
    return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)


def evaluate_generator(self: Model, generator: Any, steps: int | None = None, **options: Any) -> Any:
    """`evaluate` on a generator of batches; silent unless `verbose` is given."""
    say_once("Model.evaluate_generator is an old name; use Model.evaluate.")
    return self.evaluate(generator, steps=steps, **_silent(options))


def predict_generator(self: Model, generator: Any, steps: int | None = None, **options: Any) -> Any:
    """`predict` on a generator of batches; silent unless `verbose` is given."""
    say_once("Model.predict_generator is an old name; use Model.predict.")
    return self.predict(generator, steps=steps, **_silent(options))


def _silent(options: dict[str, Any]) -> dict[str, Any]:
    return {"verbose": 0} | options


def predict_classes(self: Model, x: Any, batch_size: int = 32, verbose: int = 0) -> np.ndarray:
    """The most likely class of each sample; for one output unit 0 or 1, shaped (samples, 1)."""
    say_once("Model.predict_classes is an old name; use numpy.argmax(model.predict(x), axis=-1).")
    probabilities = self.predict(x, batch_size=batch_size, verbose=verbose)
    return np.argmax(probabilities, -1) if probabilities.shape[-1] > 1 else (probabilities > 0.5).astype("int32")


def predict_proba(self: Model, x: Any, batch_size: int = 32, verbose: int = 0) -> np.ndarray:
    """The probability of each class."""
    say_once("Model.predict_proba is an old name; use Model.predict.")
    return self.predict(x, batch_size=batch_size, verbose=verbose)


def renaming(
    function: Callable[..., Any], shown: str, renamed: Mapping[str, str], dropped: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """The function, called with old names of arguments replaced and arguments that have no meaning today left out."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for old in kwargs.keys() & renamed.keys():
            say_once(f"{shown}({old}=...) is an old argument; use {renamed[old]}=.")
            kwargs[renamed[old]] = kwargs.pop(old)
        for old in kwargs.keys() & set(dropped):
            say_once(f"{shown}({old}=...) is an old argument without effect; leave it out.")
            del kwargs[old]
        return function(*args, **kwargs)

    return call


def with_old_rates(init: Callable[..., None], name: str) -> Callable[..., None]:
    """An optimizer's constructor that also takes lr= and decay=."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        decay = kwargs.pop("decay", None)
        if kwargs.get("epsilon", 0) is None:
            del kwargs["epsilon"]
        if decay:
            say_once(f"{name}(decay=...) is an old argument; use learning_rate=InverseTimeDecay(...).")
            given = signature.bind_partial(self, *args, **kwargs).arguments
            rate = given.get("learning_rate", signature.parameters["learning_rate"].default)
            args, kwargs = args[1:], kwargs | {"learning_rate": InverseTimeDecay(rate, 1, decay)}
        init(self, *args, **kwargs)

    return renaming(call, name, {"lr": "learning_rate"}, ("schedule_decay",))


class StartingRate:
    """What `optimizer.lr` gives where the old `decay` was used: the rate that the decay starts from, to read and set.

    Args:
        schedule: the schedule in place of `decay`.
    """

    def __init__(self, schedule: InverseTimeDecay) -> None:
        self.schedule = schedule

    def assign(self, value: Any) -> StartingRate:
        """Start from another rate; the decay goes on."""
        self.schedule.initial_learning_rate = float(value)
        return self

    def numpy(self) -> np.ndarray:
        """The rate as an array without axes."""
        return np.asarray(self.schedule.initial_learning_rate, dtype="float32")

    def __float__(self) -> float:
        return float(self.schedule.initial_learning_rate)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy().astype(dtype or "float32")


def _starting_rate(optimizer: Optimizer) -> StartingRate | None:
    """The rate an old `decay` starts from, None where there is none."""
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, InverseTimeDecay) and schedule.decay_steps == 1:
        return StartingRate(schedule)
    return None


def _settable(rate: property) -> property:
    """`learning_rate`, which callbacks of old scripts set although there is a decay."""

    def assign(self: Optimizer, value: Any) -> None:
        start = None if callable(value) else _starting_rate(self)
        if start is not None:
            start.assign(value)
        elif rate.fset is not None:
            rate.fset(self, value)

    return property(rate.fget, assign, doc=rate.__doc__)


def _rate(self: Optimizer) -> Any:
    say_once("optimizer.lr is an old name; use optimizer.learning_rate.")
    return _starting_rate(self) or self.learning_rate


def _set_rate(self: Optimizer, value: Any) -> None:
    say_once("optimizer.lr is an old name; use optimizer.learning_rate.")
    self.learning_rate = value


def _history_with_old_keys(init: Callable[[History], None]) -> Callable[[History], None]:
    @functools.wraps(init)
    def call(self: History) -> None:
        init(self)
        self.history = OldKeys(self.history)

    return call


def _hooks_with_old_keys(hooks: Callable[..., Any]) -> Callable[..., Any]:
    """`CallbackList.hooks` whose hooks at the end of an epoch get results that answer old keys."""

    @functools.wraps(hooks)
    def call(self: CallbackList, name: str) -> list[Callable[..., Any]]:
        found = hooks(self, name)
        if name != "on_epoch_end" or not found:
            return found

        def run(epoch: int, logs: Any = None) -> None:
            results = answering(logs)
            for hook in found:
                hook(epoch, results)

        return [run]

    return call


def weight_named_first(add_weight: Callable[..., Any]) -> Callable[..., Any]:
    """`Layer.add_weight` that also takes its arguments in the old order: name, shape, dtype, initializer."""

    @functools.wraps(add_weight)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], str):
            say_once("add_weight(name, shape, ...) is an old order of arguments; use add_weight(shape=..., name=...).")
            kwargs |= dict(zip(("name", "shape", "dtype", "initializer"), args, strict=False))
            args = ()
        return add_weight(self, *args, **kwargs)

    return call


def metrics_third(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`Model.compile` that also takes the metrics as its third argument, where today the weights of losses are."""

    @functools.wraps(compile_)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > 2 and any(isinstance(part, str) or callable(part) for part in tree.flatten(args[2])):
            say_once("compile(optimizer, loss, metrics) is an old order of arguments; use metrics=.")
            kwargs |= dict(zip(("metrics", "loss_weights"), args[2:4], strict=False))
            args = args[:2]
        return compile_(self, *args, **kwargs)

    return call


def _with_old_epsilon(init: Callable[..., None]) -> Callable[..., None]:
    return renaming(init, "ReduceLROnPlateau", {"epsilon": "min_delta"})


def _metrics_by_name(names: property) -> property:
    """`Model.metrics_names` as it was: the names of what `evaluate` returns."""

    def get(self: Model) -> list[str]:
        groups = ([*m.metrics] if isinstance(m, CompiledMetrics) else [m] for m in self.metrics)
        return [metric.name for group in groups for metric in group]

    return property(get, doc=names.__doc__)


def _takes_a_rate(cls: Any) -> bool:
    is_optimizer = isinstance(cls, type) and issubclass(cls, Optimizer) and "__init__" in cls.__dict__
    return is_optimizer and "learning_rate" in inspect.signature(cls.__init__).parameters


def _replace(owner: Any, name: str, value: Any) -> None:
    _originals.append((owner, name, owner.__dict__.get(name, _ABSENT)))
    setattr(owner, name, value)


def _wrap(cls: type, name: str, around: Callable[..., Any]) -> None:
    """Put something around an attribute of a class, in the class that defines it, so that nothing is overridden."""
    owner = next(base for base in cls.__mro__ if name in base.__dict__)
    _replace(owner, name, around(owner.__dict__[name]))


def _rename(method: str, renamed: Mapping[str, str], dropped: tuple[str, ...]) -> None:
    """Let a method of models take old arguments."""
    _wrap(Model, method, lambda function: renaming(function, f"Model.{method}", renamed, dropped))


def install_arguments() -> None:
    """Let lamina's classes take the arguments, and have the methods, that old scripts use."""
    if _originals:
        return
    for method in (fit_generator, evaluate_generator, predict_generator, predict_classes, predict_proba):
        _replace(Model, method.__name__, method)
    _rename("fit", _FIT, _LOADING)
    _rename("evaluate", {"val_samples": "steps"}, _LOADING)
    _rename("predict", {"val_samples": "steps"}, _LOADING)
    _rename("compile", {}, _COMPILE)
    _wrap(Model, "compile", metrics_third)
    _wrap(Model, "metrics_names", _metrics_by_name)
    _wrap(Layer, "add_weight", weight_named_first)
    _wrap(Model, "save_weights", files.saving_weights)
    _wrap(ModelCheckpoint, "__init__", files.checkpoints)
    _wrap(ReduceLROnPlateau, "__init__", _with_old_epsilon)
    for name, cls in vars(optimizers).items():
        if _takes_a_rate(cls):
            _replace(cls, "__init__", with_old_rates(cls.__init__, name))
    _replace(Optimizer, "lr", property(_rate, _set_rate))
    # Saving looks through what `dir` gives, and need not come upon the old name.
    _replace(Optimizer, "__dir__", lambda self: [name for name in object.__dir__(self) if name != "lr"])
    _wrap(Optimizer, "learning_rate", _settable)
    _replace(History, "__init__", _history_with_old_keys(History.__init__))
    _replace(CallbackList, "hooks", _hooks_with_old_keys(CallbackList.hooks))


def remove_arguments() -> None:
    """Undo `install_arguments`."""
    while _originals:
        owner, name, value = _originals.pop()
        if value is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
