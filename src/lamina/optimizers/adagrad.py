"""Adagrad, Adadelta and Ftrl: steps that depend on all squared gradients so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch

from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import (
    Slots,
    add_number_,
    add_quotients_,
    add_scaled_,
    kernels,
    mix_squares_,
    root_steps_,
)


@builtin("keras.optimizers")
class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares so far.

    Args:
        learning_rate: see `Optimizer`.
        initial_accumulator_value: where the sums begin.
        epsilon: added to the sums under the root.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Adagrad(learning_rate=0.1, initial_accumulator_value=0.0).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: Duchi et al. 2011, https://www.jmlr.org/papers/v12/duchi11a.html
    """

    _least: float | None = None

    @takes_options(after="epsilon")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Sums of squared gradients."""
        return (("accumulator",),)

    def initial_slot(self, name: str, parameter: Tensor) -> Tensor:
        """The value that the sums begin at."""
        return torch.full_like(parameter, self.initial_accumulator_value)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and sums in place, in one kernel where there is one."""
        on_cpu = parameters[0].device.type == "cpu"
        if not (on_cpu and self._fuses(parameters) and self._follows_root(parameters[0].dtype)):
            return super().update(parameters, gradients, learning_rate, step)
        sums = self.slots(parameters, "accumulator")["accumulator"]
        shift = self.epsilon / (2 * self._least**0.5) if self._least else 0.0
        root_steps_(parameters, gradients, sums, float(learning_rate), shift)

    def _follows_root(self, dtype: torch.dtype) -> bool:
        """Whether epsilon may be added to the root instead of to the sums, as torch's kernel does.

        With s the least sum, √(x + ε) and √x + ε / (2√s) differ by at most ε / (8s) of themselves for all x from s on:
        no more than rounding does. Sums only grow, so that they are looked at once.
        """
        if self._least is None:
            self._least = min((float(kept.min()) for kept in self._slots["accumulator"] if kept.numel()), default=0.0)
        return self.epsilon <= 10 * self._least * torch.finfo(dtype).eps

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """See `Optimizer`."""
        super().load_own_variables(store)
        self._least = None

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        sums = slots["accumulator"]
        kernels._foreach_addcmul_(sums, gradients, gradients)
        sizes = kernels._foreach_add(sums, self.epsilon)
        kernels._foreach_sqrt_(sizes)
        add_quotients_(parameters, gradients, sizes, -learning_rate)


@builtin("keras.optimizers")
class Adadelta(Optimizer):
    """Gradients scaled by the ratio of the running root mean squares of updates and of gradients.

    Args:
        learning_rate: see `Optimizer`; 1.0 gives the paper's rule.
        rho: how much of the running means stays at each step.
        epsilon: added to the means under the roots.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Adadelta(learning_rate=1.0, rho=0.0, epsilon=0.01).apply([torch.tensor([2.0])], [weight])
        >>> weight.data.round(decimals=3)
        tensor([0.9000])

    Source: Zeiler 2012, https://arxiv.org/abs/1212.5701
    """

    @takes_options(after="epsilon")
    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **options: Unpack[Options]
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.epsilon = epsilon

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean squares of gradients and of updates."""
        return (("accumulated_grad", "accumulated_delta_var"),)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        squares, moved = slots["accumulated_grad"], slots["accumulated_delta_var"]
        mix_squares_(squares, gradients, self.rho)
        updates = kernels._foreach_add(moved, self.epsilon)
        kernels._foreach_div_(updates, kernels._foreach_add(squares, self.epsilon))
        kernels._foreach_sqrt_(updates)
        kernels._foreach_mul_(updates, gradients)
        mix_squares_(moved, updates, self.rho)
        add_scaled_(parameters, updates, -learning_rate)


@builtin("keras.optimizers")
class Ftrl(Optimizer):
    """Follow the regularized leader: for shallow models with many sparse features.

    Args:
        learning_rate: see `Optimizer`.
        learning_rate_power: how the learning rate falls with the squared gradients, at most 0; 0 keeps it.
        initial_accumulator_value: where the sums of squared gradients begin, at least 0.
        l1_regularization_strength: how strongly weights are pulled to exactly 0, at least 0.
        l2_regularization_strength: how strongly weights are made small, at least 0.
        l2_shrinkage_regularization_strength: the same, but as a penalty in the gradient, at least 0.
        beta: added to the root of the sums, as in the paper.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a strength or a value out of range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.0]))
        >>> Ftrl(learning_rate=0.1, initial_accumulator_value=0.0).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([-0.1000])

    Source: McMahan et al. 2013, https://research.google.com/pubs/archive/41159.pdf
    """

    @takes_options(after="beta")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        for name in (
            "initial_accumulator_value",
            "l1_regularization_strength",
            "l2_regularization_strength",
            "l2_shrinkage_regularization_strength",
        ):
            if (value := getattr(self, name)) < 0:
                raise ArgumentError("The value is negative.", where=f"Ftrl({name}=)", expected=">= 0", received=value)
        if learning_rate_power > 0:
            raise ArgumentError(
                "The power is positive.", where="learning_rate_power", expected="<= 0", received=learning_rate_power
            )

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Sums of squared gradients, and the linear terms."""
        return (("accumulator", "linear"),)

    def initial_slot(self, name: str, parameter: Tensor) -> Tensor:
        """The value that the sums begin at, and zeros."""
        return torch.full_like(parameter, self.initial_accumulator_value if name == "accumulator" else 0.0)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and slots in place; at a learning rate of 0, which the rule divides by, nothing changes."""
        if isinstance(learning_rate, Tensor) and self._explicit:
            with self._only_if(learning_rate != 0):
                super().update(parameters, gradients, learning_rate, step)
        elif learning_rate:
            super().update(parameters, gradients, learning_rate, step)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        sums, linear = slots["accumulator"], slots["linear"]
        power, limit = -self.learning_rate_power, self.l1_regularization_strength
        change = _powers(sums, power)
        kernels._foreach_addcmul_(sums, gradients, gradients)
        after = _powers(sums, power)
        kernels._foreach_sub_(change, after)
        kernels._foreach_mul_(change, parameters)
        kernels._foreach_add_(linear, gradients)
        if self.l2_shrinkage_regularization_strength:
            kernels._foreach_add_(linear, parameters, alpha=2 * self.l2_shrinkage_regularization_strength)
        add_scaled_(linear, change, 1 / learning_rate)
        if self.l2_regularization_strength or self.beta:
            add_number_(after, 2 * self.l2_regularization_strength * learning_rate + self.beta)
        pulled = linear
        if limit:
            pulled = kernels._foreach_clamp_min(linear, -limit)
            kernels._foreach_clamp_max_(pulled, limit)
            kernels._foreach_sub_(pulled, linear)
        kernels._foreach_zero_(parameters)
        add_quotients_(parameters, pulled, after, learning_rate if limit else -learning_rate)


def _powers(tensors: list[Tensor], power: float) -> list[Tensor]:
    """Each to a power; roots, the usual case, take a fraction of the time."""
    return list(kernels._foreach_sqrt(tensors) if power == 0.5 else kernels._foreach_pow(tensors, power))
