"""What every metric is made of: state that follows the data to its device and is updated in place, never waiting."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lamina import initializers
from lamina.core import config, policies
from lamina.core.capture import Captured
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ShapeError, StateError, unwritten
from lamina.core.naming import auto_name
from lamina.core.registry import builtin
from lamina.core.scopes import name_scope
from lamina.core.variable import Variable

Tensor = torch.Tensor


def _guarded(update: Callable[..., Any]) -> Callable[..., Any]:
    """An `update_state` that records no gradients and finds the state on the device of the data."""

    @functools.wraps(update)
    def update_state(self: Metric, *args: Any, **kwargs: Any) -> Any:
        for value in args:
            if isinstance(value, torch.Tensor):
                if value.device != self._device:
                    self._follow(value.device)
                break
        if not torch.is_grad_enabled():
            return update(self, *args, **kwargs)
        with torch.no_grad():
            return update(self, *args, **kwargs)

    return update_state


def _held(value: Any) -> Iterator[Variable]:
    """The variables in a value: itself, those of a metric, or those in a list or dict of such."""
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, Metric):
        yield from value.variables
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _held(part)


@builtin("keras.metrics")
class Metric(Captured):
    """Base of all metrics: a subclass adds variables, and writes `update_state` and `result`.

    The state is kept in variables that `update_state` changes in place, without gradients and without waiting for the
    device. It moves to the device of the data at the first update.

    Args:
        dtype: the dtype of the result, or a dtype policy; floatx by default.
        name: its name; the class name in snake case by default.

    Example:
        >>> class Largest(Metric):
        ...     def __init__(self, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.largest = self.add_variable(shape=(), initializer="zeros", name="largest")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         torch.maximum(self.largest, (y_true - y_pred).abs().max(), out=self.largest)
        ...     def result(self):
        ...         return self.largest.value
        >>> metric = Largest()
        >>> float(metric(torch.zeros(3), torch.tensor([1.0, -4.0, 2.0])))
        4.0

    Source: https://keras.io/api/metrics/base_metric/
    """

    _direction: str | None = None
    _device: torch.device | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("update_state")
        if own is not None:
            cls.update_state = _guarded(own)  # type: ignore[method-assign]

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or auto_name(type(self).__name__)
        self._dtype_policy = policies.get(dtype or config.floatx())
        self._torch_dtype = torch_dtype(self._dtype_policy.compute_dtype)
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """The dtype of the result."""
        return self._dtype_policy.compute_dtype

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A piece of state.

        Args:
            shape: its shape.
            initializer: a name or an initializer.
            dtype: its dtype; floatx by default.
            aggregation: kept for Keras.
            name: its name.
        """
        if "_variables" not in self.__dict__:
            raise StateError(
                "The metric has not called super().__init__().",
                where=f"{type(self).__name__}.__init__",
                fix="call super().__init__(name=name) before anything else",
            )
        with name_scope(self.name.replace("/", ">")):
            variable = Variable(
                initializers.get("zeros" if initializer is None else initializer),
                shape=tuple(shape),
                dtype=dtype,
                trainable=False,
                aggregation=aggregation,
                synchronization="on_read",
                name=name,
            )
        if self._device is not None:
            variable.data = variable.data.to(self._device)
        self._variables.append(variable)
        return variable

    def add_weight(
        self, shape: Sequence[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """A piece of state; see `add_variable`."""
        return self.add_variable(shape=shape, initializer=initializer, dtype=dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The state: this metric's own, then that of metrics it holds."""
        found = list(self._variables)
        seen = {id(variable) for variable in found}
        for variable in _held(list(self.__dict__.values())):
            if id(variable) not in seen:
                found.append(variable)
                seen.add(id(variable))
        return found

    def _follow(self, device: torch.device) -> None:
        """Take the state to a device."""
        for variable in self.variables:
            if variable.device != device:
                variable.data = variable.data.to(device)
        self._device = device

    def reset_state(self) -> None:
        """Set the state back to zero, in place."""
        with torch.no_grad():
            for variable in self.variables:
                variable.zero_()

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch to the state."""
        raise unwritten(self, "update_state(self, y_true, y_pred, sample_weight=None)")

    def result(self) -> Any:
        """The metric of all batches since the last reset: a tensor without axes, or a dict of them."""
        raise unwritten(self, "result(self)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and give the result of all so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    @contextlib.contextmanager
    def _state(self, values: Sequence[Any] | None) -> Iterator[list[Variable]]:
        """The variables with other values (copies of them) for a while."""
        variables = self.variables
        if values is not None and len(values) != len(variables):
            raise self._miscounted(values, variables)
        kept = [variable.data for variable in variables]
        try:
            for variable, value in zip(variables, kept if values is None else values, strict=True):
                variable.data = torch.as_tensor(value, dtype=variable.dtype).detach().clone()
            yield variables
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.data = value

    @contextlib.contextmanager
    def explicit(self, variables: Sequence[Tensor]) -> Iterator[None]:
        """Within it, other tensors stand in for the variables and are changed in place: for tracing and capturing.

        Args:
            variables: what stands for `metric.variables`, one to one.

        Example:
            >>> from lamina.metrics import Mean
            >>> metric, state = Mean(), [torch.zeros(()), torch.zeros(())]
            >>> with metric.explicit(state):
            ...     metric.update_state(torch.tensor([1.0, 3.0]))
            >>> state, metric.result()
            ([tensor(4.), tensor(2.)], tensor(0.))
        """
        own = self.variables
        if len(variables) != len(own):
            raise self._miscounted(variables, own)
        replaced = {id(old): new for old, new in zip(own, variables, strict=True)}
        changed: list[tuple[Metric, dict[str, Any]]] = []
        try:
            self._substitute(replaced, changed)
            yield
        finally:
            for metric, kept in reversed(changed):
                metric.__dict__.update(kept)

    def _substitute(self, replaced: dict[int, Tensor], changed: list[tuple[Metric, dict[str, Any]]]) -> None:
        """Put other tensors in the place of variables, noting what was there."""
        changed.append((self, dict(self.__dict__)))

        def other(value: Any) -> Any:
            if isinstance(value, Metric):
                value._substitute(replaced, changed)
            elif type(value) in (list, tuple):
                return type(value)(other(part) for part in value)
            elif isinstance(value, dict):
                return {key: other(part) for key, part in value.items()}
            return replaced.get(id(value), value)

        for key, value in list(self.__dict__.items()):
            if isinstance(value, (Tensor, Metric, list, tuple, dict)):
                self.__dict__[key] = other(value)

    def _miscounted(self, given: Sequence[Any], own: Sequence[Any]) -> ShapeError:
        return ShapeError(
            "The metric has another number of variables.",
            where=f"metric '{self.name}'",
            expected=len(own),
            received=len(given),
            fix="give one value for each of metric.variables",
        )

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """The state after a batch, given the state before it; the metric itself stays as it is.

        Example:
            >>> from lamina.metrics import Mean
            >>> Mean().stateless_update_state([0.0, 0.0], torch.tensor([1.0, 3.0]))
            [tensor(4.), tensor(2.)]
        """
        with self._state(metric_variables) as variables:
            self.update_state(*args, **kwargs)
            return [variable.data for variable in variables]

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """The result for a given state."""
        with self._state(metric_variables):
            return self.result()

    def stateless_reset_state(self) -> list[Tensor]:
        """The state at the start, as tensors."""
        with self._state(None) as variables:
            self.reset_state()
            return [variable.data for variable in variables]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"
