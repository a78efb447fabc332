"""Steps divided by the root of a running mean of squared gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from lamina.core.registry import builtin
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import Slots, add_quotients_, affine_, kernels, mix_, mix_squares_, root_steps_


@builtin("keras.optimizers")
class RMSprop(Optimizer):
    """Gradients divided by the root of the running mean of their squares.

    Args:
        learning_rate: see `Optimizer`.
        rho: how much of the running means stays at each step.
        momentum: how much of the last update is added to the next.
        epsilon: added to the mean square under the root.
        centered: whether to divide by an estimate of the standard deviation instead.
        **options: see `Optimizer`.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> RMSprop(learning_rate=0.1, rho=0.0).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: https://keras.io/api/optimizers/rmsprop/
    """

    @takes_options(after="centered")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean squares, and where wanted last updates and mean gradients."""
        wanted = {"velocity": True, "momentum": self.momentum > 0, "average_gradient": self.centered}
        return [(name,) for name, is_wanted in wanted.items() if is_wanted]

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and slots in place, in one kernel where there is one."""
        plain = not self.momentum and not self.centered and self.rho not in (0.0, 0.5, 1.0)
        if not (plain and parameters[0].device.type == "cpu" and self._fuses(parameters)):
            return super().update(parameters, gradients, learning_rate, step)
        # The kernel is Adagrad's: it adds squared gradients to sums and divides by their roots. So the means become
        # sums, (rho * mean + epsilon) / (1 - rho), and after it means again.
        rho, rate = self.rho, float(learning_rate) * (1 - self.rho) ** -0.5
        for weights, slopes, slots in self._pieces(parameters, gradients):
            squares = slots["velocity"]
            affine_(squares, rho / (1 - rho), self.epsilon / (1 - rho))
            root_steps_(weights, slopes, squares, rate)
            affine_(squares, 1 - rho, -self.epsilon)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        squares = slots["velocity"]
        mix_squares_(squares, gradients, self.rho)
        sizes = kernels._foreach_add(squares, self.epsilon)
        if self.centered:
            means = slots["average_gradient"]
            mix_(means, gradients, self.rho)
            kernels._foreach_addcmul_(sizes, means, means, value=-1.0)
        kernels._foreach_sqrt_(sizes)
        if self.momentum > 0:
            moved = slots["momentum"]
            kernels._foreach_mul_(moved, self.momentum)
            add_quotients_(moved, gradients, sizes, learning_rate)
            kernels._foreach_sub_(parameters, moved)
        else:
            add_quotients_(parameters, gradients, sizes, -learning_rate)
