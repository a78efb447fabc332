"""Relatives of Adam: Adamax, Nadam, Lamb, Lion and schedule-free AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import (
    Slots,
    adam_steps_,
    add_number_,
    add_quotients_,
    add_scaled_,
    kernels,
    mix_,
    mix_squares_,
)


def _sizes(squares: list[Tensor], beta: float, step: Any, epsilon: float) -> tuple[list[Tensor], Any]:
    """Roots of mean squares, with epsilon added to them as if corrected; and what to divide them by for that."""
    correction = (1 - beta**step) ** 0.5
    sizes = kernels._foreach_sqrt(squares)
    add_number_(sizes, epsilon * correction)
    return sizes, correction


class _Moments(Optimizer):
    """Base of optimizers with Adam's arguments: running means of gradients and of their squares."""

    @takes_options(after="epsilon")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean gradients and mean squares."""
        return (("momentum", "velocity"),)


@builtin("keras.optimizers")
class Adamax(_Moments):
    """Adam with the largest gradient of late, slowly forgotten, in place of the mean square.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how much of the mean gradients stays at each step.
        beta_2: how much of the largest gradients stays at each step.
        epsilon: added to the largest gradients.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Adamax(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: Kingma and Ba 2014, https://arxiv.org/abs/1412.6980
    """

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean and largest gradients."""
        return (("momentum", "norm"),)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        means, norms = slots["momentum"], slots["norm"]
        mix_(means, gradients, self.beta_1)
        kernels._foreach_mul_(norms, self.beta_2)
        kernels._foreach_maximum_(norms, kernels._foreach_abs(gradients))
        sizes = kernels._foreach_add(norms, self.epsilon)
        add_quotients_(parameters, means, sizes, -learning_rate / (1 - self.beta_1**step))


@builtin("keras.optimizers")
class Nadam(_Moments):
    """Adam with Nesterov momentum.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how much of the mean gradients stays at each step.
        beta_2: how much of the mean squares stays at each step.
        epsilon: added to the root of the mean squares.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Nadam(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data.round(decimals=3)
        tensor([0.8940])

    Source: Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    def build(self, variables: Sequence[Tensor]) -> None:
        """Make the slots, and the running product of the momentum's schedule."""
        if not self.built:
            super().build(variables)
            dtype = standardize_dtype(variables[0].dtype) if variables else "float32"
            self._u_product: Tensor = self._host_variable(1.0, dtype, "u_product")

    def _schedule(self, step: Any) -> Any:
        return self.beta_1 * (1.0 - 0.5 * 0.96**step)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and slots in place."""
        self._u_product.mul_(self._schedule(step))
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
        means, squares = slots["momentum"], slots["velocity"]
        mix_(means, gradients, self.beta_1)
        mix_squares_(squares, gradients, self.beta_2)
        product: Any = self._u_product if self._explicit else float(self._u_product)
        following = self._schedule(step + 1)
        sizes, correction = _sizes(squares, self.beta_2, step, self.epsilon)
        ahead = kernels._foreach_mul(means, following / (1 - product * following))
        add_scaled_(ahead, gradients, (1 - self._schedule(step)) / (1 - product))
        add_quotients_(parameters, ahead, sizes, -learning_rate * correction)


@builtin("keras.optimizers")
class Lamb(_Moments):
    """Adam with each weight's update scaled to the size of the weight.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how much of the mean gradients stays at each step.
        beta_2: how much of the mean squares stays at each step.
        epsilon: added to the root of the mean squares.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([2.0]))
        >>> Lamb(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([1.8000])

    Source: You et al. 2019, https://arxiv.org/abs/1904.00962
    """

    elementwise = False

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        updates, plain = self._directions(parameters, gradients, slots, step)
        of = torch.stack(list(kernels._foreach_norm(parameters)))
        by = torch.stack(list(kernels._foreach_norm(updates)))
        factors = torch.where((of > 0) & (by > 0), of / by.masked_fill(by == 0, 1), plain) * -learning_rate
        kernels._foreach_addcmul_(parameters, updates, list(factors.unbind()))

    def _directions(
        self, parameters: list[Tensor], gradients: list[Tensor], slots: Slots, step: Any
    ) -> tuple[list[Tensor], Any]:
        """Adam's steps, or multiples of them, which the ratio of norms makes up for; and one over the multiple."""
        means, squares = slots["momentum"], slots["velocity"]
        if parameters[0].device.type == "cpu" and self._fuses(parameters):
            updates = [torch.zeros_like(parameter) for parameter in parameters]
            adam_steps_(updates, gradients, means, squares, -1.0, (self.beta_1, self.beta_2), self.epsilon, step)
            return updates, 1.0
        mix_(means, gradients, self.beta_1)
        mix_squares_(squares, gradients, self.beta_2)
        sizes, correction = _sizes(squares, self.beta_2, step, self.epsilon)
        return list(kernels._foreach_div(means, sizes)), correction / (1 - self.beta_1**step)


@builtin("keras.optimizers")
class Lion(Optimizer):
    """Steps of one size for all elements, in the direction of the sign of a running mean.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how much of the mean counts beside the gradient, in (0, 1].
        beta_2: how much of the mean stays at each step.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: beta_1 outside (0, 1].

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> Lion(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: Chen et al. 2023, https://arxiv.org/abs/2302.06675
    """

    @takes_options(after="beta_2")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ArgumentError("beta_1 is out of range.", where="beta_1", expected="0 < x <= 1", received=beta_1)
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Mean gradients."""
        return (("momentum",),)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        means = slots["momentum"]
        directions = kernels._foreach_lerp(means, gradients, 1 - self.beta_1)
        kernels._foreach_sign_(directions)
        add_scaled_(parameters, directions, -learning_rate)
        mix_(means, gradients, self.beta_2)


@builtin("keras.optimizers")
class ScheduleFreeAdamW(Optimizer):
    """AdamW that needs no falling learning rate: the weights are pulled to the mean of all steps so far.

    Args:
        learning_rate: see `Optimizer`.
        beta_1: how far the weights lie from the steps towards their mean.
        beta_2: how much of the mean squares stays at each step.
        epsilon: added to the root of the mean squares.
        warmup_steps: for how many steps the learning rate rises.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> ScheduleFreeAdamW(learning_rate=0.1).apply([torch.tensor([2.0])], [weight])
        >>> weight.data
        tensor([0.9000])

    Source: Defazio et al. 2024, https://arxiv.org/abs/2405.15682
    """

    @takes_options(after="warmup_steps")
    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warmup_steps = warmup_steps

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """The steps, called "momentum", and mean squares."""
        return (("momentum", "velocity"),)

    def initial_slot(self, name: str, parameter: Tensor) -> Tensor:
        """The steps begin at the weights."""
        return parameter.clone() if name == "momentum" else torch.zeros_like(parameter)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        steps, squares = slots["momentum"], slots["velocity"]
        if self.warmup_steps > 0:
            share = step / self.warmup_steps
            learning_rate = learning_rate * (share.clamp_max(1.0) if isinstance(share, Tensor) else min(share, 1.0))
        # The weights are y = (1 - beta_1) z + beta_1 x, with steps z and their mean x; only y and z are kept.
        if self.beta_1:
            mix_(parameters, steps, 1 / self.beta_1)
        if parameters[0].device.type == "cpu" and self._fuses(self._parameters):
            # Without a mean of its own, Adam's is the gradient, which thus is written over by itself.
            rate = float(learning_rate)
            adam_steps_(steps, gradients, gradients, squares, rate, (0.0, self.beta_2), self.epsilon, step)
        else:
            mix_squares_(squares, gradients, self.beta_2)
            sizes, correction = _sizes(squares, self.beta_2, step, self.epsilon)
            add_quotients_(steps, gradients, sizes, -learning_rate * correction)
        mix_(parameters, steps, self.beta_1 * (1 - 1 / step))
