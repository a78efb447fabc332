"""Gradient descent, with or without momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import Slots, add_scaled_, kernels


@builtin("keras.optimizers")
class SGD(Optimizer):
    """Gradient descent: a step against the gradient, or against a running sum of gradients.

    With momentum, `velocity = momentum * velocity - learning_rate * gradient` is added to the weight.

    Args:
        learning_rate: see `Optimizer`.
        momentum: how much of the velocity stays at each step, in [0, 1].
        nesterov: whether to take the gradient's part a step ahead.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: momentum outside [0, 1].

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> SGD(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.8000])

    Source: https://keras.io/api/optimizers/sgd/
    """

    @takes_options(after="nesterov")
    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ArgumentError("The momentum is out of range.", where="momentum", expected="0 to 1", received=momentum)
        self.momentum = float(momentum)
        self.nesterov = nesterov

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """The velocities, called "momentum", where there is momentum."""
        return (("momentum",),) if self.momentum else ()

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and velocities in place, in one kernel where there is one."""
        if not self._fuses(parameters):
            return super().update(parameters, gradients, learning_rate, step)
        rate, velocities, dampening = float(learning_rate), [], 0.0
        if self.momentum:
            # The kernel keeps momentum * velocity + (1 - dampening) * gradient and subtracts it times its rate.
            velocities = self.slots(parameters, "momentum")["momentum"]
            if self.nesterov:
                gradients = list(kernels._foreach_mul(gradients, -rate))
            else:
                dampening = 1.0 + rate
            rate = -1.0
        kernels._fused_sgd_(
            parameters,
            gradients,
            velocities,
            weight_decay=0.0,
            momentum=self.momentum,
            lr=rate,
            dampening=dampening,
            nesterov=self.nesterov and self.momentum > 0,
            maximize=False,
            is_first_step=False,
        )

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """The same in steps, for all kinds of tensors."""
        if not self.momentum:
            return add_scaled_(parameters, gradients, -learning_rate)
        velocities = slots["momentum"]
        kernels._foreach_mul_(velocities, self.momentum)
        add_scaled_(velocities, gradients, -learning_rate)
        if self.nesterov:
            kernels._foreach_add_(parameters, velocities, alpha=self.momentum)
            add_scaled_(parameters, gradients, -learning_rate)
        else:
            kernels._foreach_add_(parameters, velocities)
