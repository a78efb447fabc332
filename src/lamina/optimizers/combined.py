"""Optimizers made of others: loss scaling for 16-bit training, and different optimizers for different weights."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self

import torch

from lamina.core.capture import Captured, revive
from lamina.core.errors import ArgumentError, ArgumentTypeError, StateError
from lamina.core.registry import builtin, maybe_scope
from lamina.core.serialization import serialize_keras_object
from lamina.optimizers.base import Optimizer, Options, Tensor, without_weights
from lamina.optimizers.blocks import kernels


@builtin("keras.optimizers")
class LossScaleOptimizer(Optimizer):
    """Another optimizer, with the loss scaled so that gradients of 16 bits neither vanish nor overflow.

    The scale doubles after so many steps without overflow. A step whose gradients are not finite is left out, and
    halves the scale.

    Args:
        inner_optimizer: the optimizer.
        initial_scale: the first scale.
        dynamic_growth_steps: after how many good steps the scale doubles.
        name: see `Optimizer`.

    Raises:
        ArgumentError: another argument is given that belongs to the inner optimizer.

    Example:
        >>> from lamina import Variable
        >>> from lamina.optimizers import SGD
        >>> weight, optimizer = Variable([1.0]), LossScaleOptimizer(SGD(0.5), initial_scale=4.0)
        >>> optimizer.apply([torch.tensor([4.0])], [weight])
        >>> weight.numpy()
        array([0.5], dtype=float32)

    Source: https://keras.io/api/optimizers/loss_scale_optimizer/
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.pop("dynamic", True):
            raise ArgumentError(
                "The scale of a LossScaleOptimizer always moves.",
                where="dynamic",
                fix="for a fixed scale, set loss_scale_factor on the optimizer itself",
            )
        shared = set(Options.__annotations__)
        defaults = {"use_ema": False, "ema_momentum": 0.99}
        for key, value in kwargs.items():
            if key not in shared or value != defaults.get(key):
                raise ArgumentError(
                    "This argument does not belong to a LossScaleOptimizer.",
                    where=key,
                    received=value,
                    fix=f"set {key} on the inner optimizer" if key in shared else "leave it out",
                )
        _require_optimizer(inner_optimizer, "LossScaleOptimizer(inner_optimizer)")
        super().__init__(0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None

    def build(self, variables: Sequence[Tensor]) -> None:
        """Make the slots of the inner optimizer."""
        if self.built:
            return
        self.step_counter = self._host_variable(0, "int64", "step_counter")
        self.dynamic_scale = self._host_variable(self.initial_scale, "float32", "dynamic_scale")
        self.inner_optimizer.build(variables)
        super().build(variables)
        self._follow()

    def _follow(self) -> None:
        """Take to the weights what depends on whether gradients are finite; there, nobody waits to know it."""
        if not self._parameters:
            return
        device = self._parameters[0].device
        inner = self.inner_optimizer
        for optimizer in (self, inner, *getattr(inner, "optimizers", ())):
            for variable in optimizer._variables:
                if variable is not optimizer._learning_rate and not variable.ndim and variable.device != device:
                    variable.data = variable.data.to(device)

    @property
    def variables(self) -> list[Any]:
        """Its own variables, then those of the inner optimizer."""
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the inner optimizer."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """How many updates the inner optimizer made."""
        return self.inner_optimizer.iterations

    def check_finite(self, grads: Sequence[Any]) -> Tensor:
        """Whether all gradients are finite, as a tensor."""
        given = [gradient for gradient in grads if gradient is not None and gradient.numel()]
        if not given:
            return torch.ones((), dtype=torch.bool)
        if self._explicit:  # compilers merge these, and have no kernel for the maximum norm
            return torch.stack([gradient.isfinite().all() for gradient in given]).all()
        return torch.stack(list(kernels._foreach_norm(given, float("inf")))).isfinite().all()

    def _apply(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        if not self.built:
            if variables is None:
                raise without_weights(self)
            self.build(list(variables))
        grads = [g.to_dense() if g is not None and g.layout is not torch.strided else g for g in grads]
        inner, scale = self.inner_optimizer, self.dynamic_scale
        if not self._explicit and scale.device != self._parameters[0].device:
            self._follow()
        finite = self.check_finite(grads)
        if self._explicit:
            self._apply_if(finite, grads, variables)
        elif scale.device.type == "cpu" or hasattr(inner, "optimizers"):
            if finite:
                inner.apply(self._unscaled(grads, variables), variables)
        else:
            with inner.explicit():
                self._apply_if(finite, grads, variables)
        grows = finite & (self.step_counter == self.dynamic_growth_steps - 1)
        scale.mul_(torch.where(finite, 1.0 + grows.to(scale.dtype), 0.5))
        self.step_counter.add_(1).mul_(finite & ~grows)

    def _apply_if(self, finite: Tensor, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        """Apply the gradients, and take all back where they are not finite; the device alone knows."""
        inner = self.inner_optimizer
        changing = [t for t in (*inner._parameters, *inner._variables) if t is not inner._learning_rate]
        before = [tensor.clone() for tensor in changing]
        inner.apply(self._unscaled(grads, variables), variables)
        for tensor, old in zip(changing, before, strict=True):
            tensor.copy_(torch.where(finite, tensor, old))

    def _unscaled(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> list[Any]:
        """The gradients over the scale; None, and what is no gradient but a value to put in place, stay as they are."""
        weights = self._parameters if variables is None else variables
        scaled = [
            gradient is not None and not getattr(weight, "overwrite_with_gradient", False)
            for gradient, weight in zip(grads, weights, strict=True)
        ]
        given = [gradient for gradient, is_scaled in zip(grads, scaled, strict=True) if is_scaled]
        divided = iter(kernels._foreach_div(given, self.dynamic_scale) if given else ())
        return [next(divided) if is_scaled else gradient for gradient, is_scaled in zip(grads, scaled, strict=True)]

    @contextlib.contextmanager
    def explicit(
        self, variables: Sequence[Tensor] | None = None, trainable_variables: Sequence[Tensor] | None = None
    ) -> Iterator[None]:
        """See `Optimizer`; the inner optimizer's state is explicit too."""
        variables = self.variables if variables is None else self._one_to_one(variables, self.variables)
        own = len(self._variables)
        with (
            super().explicit(variables[:own], trainable_variables),
            self.inner_optimizer.explicit(variables[own:], trainable_variables),
        ):
            yield

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One step as a function: the weights and the optimizer's variables after it, given those before."""
        return _stateless(self, optimizer_variables, grads, trainable_variables)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        return loss * (self.dynamic_scale.detach() if self.built else self.initial_scale)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """See `Optimizer`."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, the inner optimizer as its config."""
        return {
            "name": self.name,
            "inner_optimizer": serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }


def _stateless(
    optimizer: Optimizer, values: Sequence[Any], grads: Sequence[Any], weights: Sequence[Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """One step of an optimizer made of others, as a function: its tensors hold other values for the while."""
    variables = optimizer._one_to_one(optimizer.variables, values)
    parameters = optimizer._one_to_one(optimizer._parameters, weights)
    kept = [tensor.data for tensor in (*parameters, *variables)]
    try:
        for tensor, value in zip((*parameters, *variables), (*weights, *values), strict=True):
            tensor.data = torch.as_tensor(value, dtype=tensor.dtype).detach().clone()
        optimizer.apply(grads, parameters)
        return [tensor.data for tensor in parameters], [tensor.data for tensor in variables]
    finally:
        for tensor, value in zip((*parameters, *variables), kept, strict=True):
            tensor.data = value


@builtin("keras.optimizers")
class OptimizerMap(Captured, MutableMapping[str, Optimizer]):
    """Which optimizer updates which weight, by the weight's path.

    Args:
        default_optimizer: for weights that no entry names.
        optimizer_map: optimizers by path, or by a regular expression for whole paths.

    Raises:
        ArgumentTypeError: no optimizer, or no dict.

    Example:
        >>> from lamina.optimizers import SGD, Adam
        >>> chosen = OptimizerMap(SGD(), {".*/bias": Adam()})
        >>> type(chosen["dense/bias"]).__name__, type(chosen["dense/kernel"]).__name__
        ('Adam', 'SGD')

    Source: https://keras.io/api/optimizers/
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None) -> None:
        _require_optimizer(default_optimizer, "OptimizerMap(default_optimizer=...)")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise ArgumentTypeError(
                "The map is no dict.",
                where="OptimizerMap(optimizer_map=...)",
                expected='{"path or pattern": optimizer}',
                received=repr(optimizer_map),
            )
        self.default_optimizer = default_optimizer
        self.optimizer_map: dict[str, Optimizer] = optimizer_map or {}

    def __getitem__(self, key: str) -> Optimizer:
        if key in self.optimizer_map:
            return self.optimizer_map[key]
        found = [pattern for pattern in self.optimizer_map if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ArgumentError(
                "Several patterns fit one weight.", where=key, received=found, fix="make the patterns narrower"
            )
        return self.optimizer_map[found[0]] if found else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if key in self.optimizer_map:
            raise ArgumentError("The key has an optimizer already.", where=repr(key), fix=f"first del map[{key!r}]")
        if not isinstance(key, str):
            raise ArgumentError("A key is no path or pattern.", where="map[key]", expected="str", received=repr(key))
        _require_plain(optimizer, f"map[{key!r}]")
        self.optimizer_map[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self.optimizer_map[key]

    def __len__(self) -> int:
        return len(self.optimizer_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self.optimizer_map)

    def __call__(self, variable: Any) -> Optimizer:
        """The optimizer of a weight."""
        return self[variable.path]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A map made from a config."""
        with maybe_scope(custom_objects):
            return cls(**revive(config))


@builtin("keras.optimizers")
class MultiOptimizer(Optimizer):
    """Several optimizers, each for its share of the weights.

    Args:
        optimizer_map: an `OptimizerMap`, or a function from a weight to its optimizer.
        loss_scale_factor: see `Optimizer`.
        name: see `Optimizer`.

    Example:
        >>> from lamina import Variable
        >>> from lamina.optimizers import SGD
        >>> first, second = Variable([1.0], name="first"), Variable([1.0], name="second")
        >>> optimizer = MultiOptimizer(OptimizerMap(SGD(0.5), {"first": SGD(0.1)}))
        >>> optimizer.apply([torch.ones(1), torch.ones(1)], [first, second])
        >>> first.numpy(), second.numpy()
        (array([0.9], dtype=float32), array([0.5], dtype=float32))

    Source: https://keras.io/api/optimizers/
    """

    def __init__(self, optimizer_map: Any, loss_scale_factor: float | None = None, name: str | None = None) -> None:
        self.optimizers: list[Optimizer] = []
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self.optimizer_map = optimizer_map
        for optimizer in optimizer_map.values() if hasattr(optimizer_map, "values") else ():
            self._adopt(optimizer)
        if (default := getattr(optimizer_map, "default_optimizer", None)) is not None:
            self._adopt(default)

    def _adopt(self, optimizer: Any) -> int:
        """The place of an optimizer in the list, put there if need be."""
        _require_plain(optimizer, f"optimizer '{self.name}'")
        for place, known in enumerate(self.optimizers):
            if known is optimizer:
                return place
        optimizer.loss_scale_factor = self.loss_scale_factor
        self.optimizers.append(optimizer)
        return len(self.optimizers) - 1

    @property
    def loss_scale_factor(self) -> float | None:
        """The factor of the loss, the same for all."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for optimizer in self.optimizers:
            optimizer.loss_scale_factor = value

    def build(self, variables: Sequence[Tensor]) -> None:
        """Share out the weights and make the slots."""
        if self.built:
            return
        self._places = [self._adopt(self.optimizer_map(variable)) for variable in variables]
        super().build(variables)
        for place, optimizer in enumerate(self.optimizers):
            own = [variable for variable in variables if self._place(variable) == place]
            if own:
                optimizer.build(own)
        self._constraints = []

    def _place(self, variable: Any) -> int:
        return self._places[self._index[id(variable)]]

    @property
    def variables(self) -> list[Any]:
        """Its own variables, then those of each optimizer."""
        return [
            *self._variables,
            *(variable for optimizer in self.optimizers for variable in optimizer.variables),
        ]

    @property
    def learning_rate(self) -> Any:
        """There is none: each optimizer has its own."""
        raise AttributeError("A MultiOptimizer has no learning rate; look at those of its optimizers.")

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        raise AttributeError("A MultiOptimizer has no learning rate; set those of its optimizers.")

    def _apply(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        if variables is None and self.built:
            variables = self._parameters
        if not self.built and variables is not None:
            self.build(list(variables))
        if variables is None:
            raise without_weights(self)
        if len(grads) != len(self._parameters):
            raise StateError(
                "Gradients and weights do not match one to one.",
                where=f"optimizer '{self.name}'",
                expected=len(self._parameters),
                received=len(grads),
                fix="give one gradient, or None, for each weight",
            )
        shares: list[tuple[list[Any], list[Any]]] = [([], []) for _ in self.optimizers]
        for gradient, variable in zip(grads, self._checked(variables), strict=True):
            gradients, own = shares[self._place(variable)]
            gradients.append(gradient)
            own.append(variable)
        for optimizer, (gradients, own) in zip(self.optimizers, shares, strict=True):
            if own:
                optimizer.apply(gradients, own)
        self._iterations.add_(1)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One step as a function: the weights and the optimizer's variables after it, given those before."""
        return _stateless(self, optimizer_variables, grads, trainable_variables)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """See `Optimizer`."""
        for place, optimizer in enumerate(self.optimizers):
            own = [variable for variable in var_list if self._place(variable) == place]
            if own:
                optimizer.finalize_variable_values(own)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, the map as its config."""
        return {
            "optimizer_map": serialize_keras_object(self.optimizer_map),
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }


def _require_optimizer(optimizer: Any, where: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(
            "This is no optimizer.", where=where, expected="an Optimizer, such as Adam()", received=repr(optimizer)
        )


def _require_plain(optimizer: Any, where: str) -> None:
    """Raise unless this can be one of several optimizers."""
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)):
        raise ArgumentError(
            "This cannot be one of several optimizers.",
            where=where,
            expected="a plain optimizer, such as Adam()",
            received=repr(optimizer),
        )
