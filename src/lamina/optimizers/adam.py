"""Adam, and AdamW, which is Adam with weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch

from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import Slots, add_quotients_, kernels, mix_, mix_squares_


@builtin("keras.optimizers")
class Adam(Optimizer):
    """Running means of gradients, divided by the root of running means of their squares.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how much of the mean gradients stays at each step.
        beta_2: how much of the mean squares stays at each step.
        epsilon: added to the root: the "epsilon hat" of the paper.
        amsgrad: whether to divide by the largest root so far.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Adam(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: Kingma and Ba 2014, https://arxiv.org/abs/1412.6980
    """

    _step_tensor: Tensor | None = None

    @takes_options(after="amsgrad")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean gradients and mean squares, and with amsgrad the largest of the latter."""
        return (("momentum", "velocity"), *((("velocity_hat",),) if self.amsgrad else ()))

    def _apply_weight_decay(self, variables: list[Tensor], learning_rate: Number) -> None:
        if not (self._decays_all and self._fuses(variables)):
            super()._apply_weight_decay(variables, learning_rate)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and slots in place, in one kernel where there is one."""
        if not self._fuses(parameters):
            return super().update(parameters, gradients, learning_rate, step)
        slots = self.slots(parameters, *self._slot_names)
        count = self._step_tensor
        if count is None or count.device != parameters[0].device:
            self._step_tensor = count = torch.zeros((), device=parameters[0].device)
        count.fill_(step)
        kernels._fused_adamw_(
            parameters,
            gradients,
            slots["momentum"],
            slots["velocity"],
            slots.get("velocity_hat", []),
            [count] * len(parameters),
            lr=float(learning_rate),
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=(self.weight_decay or 0.0) if self._decays_all else 0.0,
            # torch adds its epsilon after the correction of the mean squares, Keras before.
            eps=self.epsilon / (1 - self.beta_2**step) ** 0.5,
            amsgrad=self.amsgrad,
            maximize=False,
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
        means, squares = slots["momentum"], slots["velocity"]
        mix_(means, gradients, self.beta_1)
        mix_squares_(squares, gradients, self.beta_2)
        if self.amsgrad:
            kernels._foreach_maximum_(slots["velocity_hat"], squares)
            squares = slots["velocity_hat"]
        sizes = kernels._foreach_sqrt(squares)
        kernels._foreach_add_(sizes, self.epsilon)
        rate = learning_rate * (1 - self.beta_2**step) ** 0.5 / (1 - self.beta_1**step)
        add_quotients_(parameters, means, sizes, -rate)


@builtin("keras.optimizers")
class AdamW(Adam):
    """Adam with weights that shrink at each step, apart from the gradients.

    Args:
        learning_rate: see `Optimizer`.
        weight_decay: see `Optimizer`.
        beta_1: see `Adam`.
        beta_2: see `Adam`.
        epsilon: see `Adam`.
        amsgrad: see `Adam`.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: weight_decay is None.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> AdamW(learning_rate=0.1, weight_decay=0.5).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.8500])

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101
    """

    @takes_options(after="amsgrad")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)
        if self.weight_decay is None:
            raise ArgumentError("AdamW needs a weight decay.", where="weight_decay", fix="use Adam, or give a number")
