"""A scope in which variables have other values, and in which nothing changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode

from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.tensors import convert_to_tensor
from lamina.core.variable import Variable


class StatelessScope:
    """Within it variables have the values of a mapping, and new values are kept by the scope, not by the variables.

    Gradients reach the tensors of the mapping. For a whole layer `layer.stateless_call` does the same, faster.

    Args:
        state_mapping: pairs of a variable and its value.
        collect_losses: whether `add_loss` is meant to be used; kept for Keras.
        initialize_variables: kept for Keras; variables have a value from the start.

    Raises:
        ArgumentError: something in the mapping is no variable.
        ShapeError: a value does not fit its variable.

    Example:
        >>> v = Variable([1.0, 2.0])
        >>> with StatelessScope([(v, torch.zeros(2))]) as scope:
        ...     _ = v.assign_add([5.0, 5.0])
        >>> scope.get_current_value(v).tolist(), v.numpy().tolist()
        ([5.0, 5.0], [1.0, 2.0])

    Source: https://keras.io/api/utils/
    """

    def __init__(
        self,
        state_mapping: Iterable[tuple[Variable, Any]] | None = None,
        collect_losses: bool = False,
        initialize_variables: bool = True,
    ) -> None:
        self.collect_losses, self.initialize_variables = collect_losses, initialize_variables
        self.losses: list[Any] = []
        self._values: dict[int, tuple[Variable, torch.Tensor]] = {}
        self._modes: list[_Substitution] = []
        for variable, value in state_mapping or ():
            if not isinstance(variable, Variable):
                raise ArgumentError(
                    "A state mapping has variables in the first places.",
                    where="StatelessScope(state_mapping=...)",
                    expected="pairs (variable, value)",
                    received=repr(variable)[:120],
                )
            tensor = convert_to_tensor(value, variable.dtype, variable.device)
            if tensor.shape != variable.shape:
                raise ShapeError(
                    "A value does not fit its variable.",
                    where=f"StatelessScope, variable '{variable.path}'",
                    expected=tuple(variable.shape),
                    received=tuple(tensor.shape),
                )
            if isinstance(tensor, Variable):
                tensor = tensor.detach()
            self._values[id(variable)] = variable, tensor if variable.requires_grad else tensor.clone()

    def __enter__(self) -> Self:
        self._modes.append(_Substitution(self))
        self._modes[-1].__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._modes.pop().__exit__(*exception)

    def add_loss(self, loss: Any) -> None:
        """Keep a loss in `scope.losses`."""
        self.losses.append(loss)

    def add_update(self, update: tuple[Variable, Any]) -> None:
        """Give a variable a value within the scope.

        Args:
            update: the variable and the value.
        """
        variable, value = update
        self._values[id(variable)] = variable, value

    def get_current_value(self, variable: Variable) -> torch.Tensor | None:
        """The value a variable has in the scope; None if that is its own."""
        return self._values.get(id(variable), (None, None))[1]


class _Substitution(TorchFunctionMode):
    """Puts the values of a scope into every torch function; a variable about to be written to gets a copy first."""

    def __init__(self, scope: StatelessScope) -> None:
        super().__init__()
        self.scope = scope

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        values, name = self.scope._values, getattr(func, "__name__", "")
        target = args[0] if args else None
        is_write = (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__")
        if isinstance(target, Variable):
            known = values.get(id(target))
            if is_write if target.requires_grad else known is None:
                # State is copied before it is first used, because code may write to an alias of it.
                values[id(target)] = target, (known[1] if known else target).clone()

        def current(value: Any) -> Any:
            if isinstance(value, Variable) and id(value) in values:
                return values[id(value)][1]
            if type(value) in (list, tuple):
                return type(value)(current(part) for part in value)
            return value

        args = tuple(current(arg) for arg in args)
        kwargs = {key: current(value) for key, value in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        return target if is_write and isinstance(target, Variable) and result is args[0] else result
