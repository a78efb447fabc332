"""What a model is trained for: compile(), its metrics and its loss, and the single steps that a subclass may change."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lamina.core import scopes, tree
from lamina.core.capture import is_ours
from lamina.core.errors import StateError, one_of
from lamina.core.serialization import deserialize_keras_object
from lamina.data.source import unpack_x_y_sample_weight
from lamina.layers.base import Layer
from lamina.metrics import Metric
from lamina.training.adoption import Adoptions
from lamina.training.compile import Compiled
from lamina.training.losses import track
from lamina.training.step import Penalties, no_loss

Tensor = torch.Tensor

if TYPE_CHECKING:
    _Base = Layer
else:
    _Base = object


class Objective(_Base):
    """The part of `Trainer` that says what a step computes; `Trainer` adds the loops around it."""

    _compiled: Compiled | None = None
    _run_eagerly: bool = False
    _jit_compile: bool = False
    _adoptions: Adoptions | None = None
    stop_training: bool = False

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
            run_eagerly: whether every step runs as it is written, whatever `jit_compile` says.
            steps_per_execution: batch hooks of callbacks are called once in so many steps.
            jit_compile: "auto" compiles steps in the background where enough work lies ahead, and uses the compiled
                step if it is faster; True compiles before the first step and says so if that cannot be; False never
                compiles. `execution_report` tells what came out.
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
        one_of(jit_compile, ("auto", True, False, None), "compile, jit_compile")
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
        self.__dict__.update(
            _compiled=Compiled(given, names, policy == "mixed_float16"),
            _run_eagerly=bool(run_eagerly),
            _jit_compile=jit_compile is True and not run_eagerly,
            _adoptions=Adoptions(),
            _serving=None,
        )
        self.stop_training = False
        for function in ("train_function", "test_function", "predict_function"):
            self.__dict__.pop(function, None)

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
        """What compile() was given, or was set since."""
        return self._run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        self.__dict__["_run_eagerly"] = bool(value)

    @property
    def jit_compile(self) -> bool:
        """Whether compilation was asked for, and not left to a measurement."""
        return self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value: bool) -> None:
        self.__dict__.update(_jit_compile=bool(value), _adoptions=Adoptions())

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of compile() as values that fit into JSON; empty if it was not called."""
        return {} if self._compiled is None else self._compiled.config()

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as `get_compile_config` describes."""
        if type(self).compile is not Objective.compile:
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
            if not isinstance(layer, Objective) and not is_ours(type(layer)):
                found += _metrics_in(layer)
        return list({id(metric): metric for metric in found}.values())

    @property
    def metrics_names(self) -> list[str]:
        """Their names."""
        return [metric.name for metric in self.metrics]

    @property
    def metrics_variables(self) -> list[Any]:
        """Their state, metric by metric."""
        return [variable for metric in self.metrics for variable in metric.variables]

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
        with scopes.entry():
            y_pred = self(x)
        loss = self._call_compute_loss(x, y, y_pred, sample_weight, training)
        compiled = self._compiled
        if compiled is not None:
            first = next(leaf for leaf in tree.flatten(x) if leaf is not None)
            track(compiled.loss_tracker, loss, first.shape[0])
        return y, y_pred, sample_weight, x, loss


def _metrics_in(module: Any) -> list[Any]:
    """The metrics that are attributes of a module, alone or in a list."""
    found: list[Any] = []
    for name, value in vars(module).items():
        if isinstance(value, Metric):
            found.append(value)
        elif isinstance(value, (list, tuple)) and value and not name.startswith("_"):
            found += [part for part in value if isinstance(part, Metric)]
    return found
