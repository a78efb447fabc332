"""Optimizers that treat matrices as wholes: Adafactor and Muon."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch

from lamina.core.registry import builtin
from lamina.core.variable import Variable
from lamina.optimizers.base import Number, Optimizer, Options, Tensor, takes_options
from lamina.optimizers.blocks import Slots, add_quotients_, add_scaled_, kernels, mix_, mix_squares_
from lamina.optimizers.schedules import LearningRateSchedule


def _least(first: Any, second: Any) -> Any:
    """The smaller of two numbers or tensors without axes."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return torch.minimum(torch.as_tensor(first), torch.as_tensor(second))
    return min(first, second)


@builtin("keras.optimizers")
class Adafactor(Optimizer):
    """Adam-like steps that keep only row and column means of a matrix's squared gradients.

    Args:
        learning_rate: see `Optimizer`; with relative_step its upper limit.
        beta_2_decay: the power of the step number by which the means become longer.
        epsilon_1: added to squared gradients.
        epsilon_2: the least size of a weight that updates are scaled by.
        clip_threshold: the largest root mean square of an update before scaling.
        relative_step: whether the learning rate falls with the root of the step number.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> Adafactor(learning_rate=0.1).apply([torch.ones(2, 2)], [weight])
        >>> weight.data
        tensor([[0.9000, 0.9000],
                [0.9000, 0.9000]])

    Source: Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235
    """

    elementwise = False

    @takes_options(after="relative_step")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_2_decay = beta_2_decay
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2
        self.clip_threshold = clip_threshold
        self.relative_step = relative_step

    def slot_groups(self) -> Sequence[Sequence[str]]:
        """Row means and column means (a mere 0 for vectors), and the squares made of them."""
        return (("row", "column", "velocity"),)

    def initial_slot(self, name: str, parameter: Tensor) -> Tensor:
        """Zeros of the shape of the rows, of the columns, or of the weight."""
        if name == "velocity":
            return torch.zeros_like(parameter)
        if parameter.dim() < 2:
            return torch.zeros((), dtype=torch.int32, device=parameter.device)
        return torch.zeros_like(parameter.select(-1 if name == "row" else -2, 0))

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        if self.relative_step and not isinstance(self._learning_rate, LearningRateSchedule):
            learning_rate = _least(learning_rate, step**-0.5)
        rate = _least(learning_rate, step**-0.5)
        keep = 1 - step**self.beta_2_decay
        squares = kernels._foreach_mul(gradients, gradients)
        for factored in (False, True):
            group = [i for i, weight in enumerate(parameters) if (weight.dim() > 1) is factored]
            if group:
                own = {name: [slot[i] for i in group] for name, slot in slots.items()}
                self._mix(own, [squares[i] for i in group], keep, factored)
        updates = kernels._foreach_rsqrt(slots["velocity"])
        kernels._foreach_mul_(updates, gradients)
        excess = (_root_means(updates) / self.clip_threshold).clamp_min(1.0)
        factors = _root_means(parameters).clamp_min(self.epsilon_2) * -rate / excess
        kernels._foreach_addcmul_(parameters, updates, list(factors.unbind()))

    def _mix(self, slots: Slots, squares: list[Tensor], keep: Any, factored: bool) -> None:
        """Move the means towards the squared gradients; of matrices those of rows and columns, and their product."""
        if not factored:
            return self._move(slots["velocity"], squares, keep)
        rows, columns = slots["row"], slots["column"]
        self._move(rows, [square.mean(-1) for square in squares], keep)
        self._move(columns, [square.mean(-2) for square in squares], keep)
        shares = kernels._foreach_div(rows, [row.mean(-1, keepdim=True) for row in rows])
        for velocity, share, column in zip(slots["velocity"], shares, columns, strict=True):
            torch.mul(share.unsqueeze(-1), column.unsqueeze(-2), out=velocity)

    def _move(self, means: list[Tensor], squares: list[Tensor], keep: Any) -> None:
        kernels._foreach_add_(squares, self.epsilon_1)
        mix_(means, squares, keep)


def _root_means(tensors: Sequence[Tensor]) -> Tensor:
    """The root mean square of each."""
    sizes = [max(tensor.numel(), 1) ** 0.5 for tensor in tensors]
    return torch.stack(list(kernels._foreach_div(kernels._foreach_norm(list(tensors)), sizes)))


@builtin("keras.optimizers")
class Muon(Optimizer):
    """Momentum made orthogonal for matrices; AdamW for all other weights, and for embeddings.

    Args:
        learning_rate: see `Optimizer`.
        adam_beta_1: beta_1 of Adam.
        adam_beta_2: beta_2 of Adam.
        adam_weight_decay: the weight decay of what Adam updates.
        epsilon: epsilon of Adam.
        weight_decay: the weight decay of the matrices.
        exclude_layers: regular expressions; Adam also updates weights whose path contains a match.
        exclude_embeddings: whether Adam updates weights with "embedding" in their path.
        muon_a: the first coefficient of the Newton-Schulz iteration.
        muon_b: the second.
        muon_c: the third.
        adam_lr_ratio: Adam's learning rate as a multiple of learning_rate.
        momentum: how much of the running sum of gradients stays at each step.
        ns_steps: how many Newton-Schulz iterations to make.
        nesterov: whether to look a step ahead.
        rms_rate: scales updates to Adam's usual size; None for no scaling.
        **options: see `Optimizer`.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1, 1))
        >>> Muon(learning_rate=0.1, exclude_embeddings=False).apply([torch.ones(1, 1)], [weight])
        >>> bool(weight < 0)
        True

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """

    elementwise = False

    @takes_options(after="weight_decay")
    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_weight_decay = adam_weight_decay
        self.epsilon = epsilon
        self.exclude_layers = list(exclude_layers or [])
        self.exclude_embeddings = exclude_embeddings
        self.muon_a = muon_a
        self.muon_b = muon_b
        self.muon_c = muon_c
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.ns_steps = ns_steps
        self.nesterov = nesterov
        self.rms_rate = rms_rate

    def _is_for_adam(self, weight: Tensor) -> bool:
        path = getattr(weight, "path", None) or ""
        if weight.dim() != 2 or (self.exclude_embeddings and "embedding" in path.lower()):
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def build(self, variables: Sequence[Tensor]) -> None:
        """Make the slots: a running sum of gradients for each weight, mean squares for those that Adam updates."""
        if self.built:
            return
        super().build(variables)
        with torch.no_grad():
            for weight in self._parameters:
                for name in ("momentum", "velocity"):
                    made = self.add_variable_from_reference(weight, name) if self._wants(weight, name) else None
                    self._slots.setdefault(name, []).append(made)

    def _wants(self, weight: Tensor, slot: str) -> bool:
        return slot == "momentum" or self._is_for_adam(weight)

    def _apply_weight_decay(self, variables: list[Tensor], learning_rate: Number) -> None:
        for variable in variables:
            decay = self.adam_weight_decay if self._is_for_adam(variable) else self.weight_decay
            if decay is not None and self._use_weight_decay(variable):
                variable.mul_(1 - decay * learning_rate)

    def _update_now(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        if self.weight_decay is None and self.adam_weight_decay is not None:
            rate = self.learning_rate
            self._apply_weight_decay(parameters, rate if self._explicit else float(rate))
        super()._update_now(parameters, gradients)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """Change weights and slots in place."""
        slots = self.slots(parameters, "momentum", "velocity")
        whose = [velocity is not None for velocity in slots["velocity"]]
        picked = [[i for i, adam in enumerate(whose) if adam is wanted] for wanted in (True, False)]
        for group, rule in zip(picked, (self._adam_rule, self._muon_rule), strict=True):
            if group:
                own = {name: [slot[i] for i in group] for name, slot in slots.items()}
                rule([parameters[i] for i in group], [gradients[i] for i in group], own, learning_rate, step)

    def _adam_rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        mix_(slots["momentum"], gradients, self.adam_beta_1)
        mix_squares_(slots["velocity"], gradients, self.adam_beta_2)
        sizes = kernels._foreach_sqrt(slots["velocity"])
        kernels._foreach_add_(sizes, self.epsilon)
        rate = learning_rate * self.adam_lr_ratio * (1 - self.adam_beta_2**step) ** 0.5 / (1 - self.adam_beta_1**step)
        add_quotients_(parameters, slots["momentum"], sizes, -rate)

    def _muon_rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        sums = slots["momentum"]
        kernels._foreach_mul_(sums, self.momentum)
        kernels._foreach_add_(sums, gradients)
        ahead = kernels._foreach_add(gradients, sums, alpha=self.momentum) if self.nesterov else sums
        for group in _batches(parameters):
            first = ahead[group[0]]
            matrices = torch.stack([ahead[i] for i in group]) if len(group) > 1 else first
            steps = self.lr_adjust(self.zeropower_via_newtonschulz5(matrices, self.ns_steps))
            found = list(steps.unbind()) if len(group) > 1 else [steps]
            add_scaled_([parameters[i] for i in group], found, -learning_rate)

    def lr_adjust(self, x: Tensor) -> Tensor:
        """An update scaled to the size that Adam's would have."""
        return x if self.rms_rate is None else x * (max(x.shape[-2:]) ** 0.5 * self.rms_rate)

    def transpose_last_axis(self, X: Tensor) -> Tensor:
        """The matrix with rows and columns exchanged."""
        return X.mT

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """About the nearest orthogonal matrix, by so many Newton-Schulz iterations."""
        tall = x.shape[-2] > x.shape[-1]
        x = x.mT if tall else x
        x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
        product = torch.addmm if x.dim() == 2 else torch.baddbmm
        if steps > 1 and x.shape[-1] >= 4 * x.shape[-2]:
            x = self._small_products(x, steps, product)
        else:
            for _ in range(steps):
                square = x @ x.mT
                change = product(square, square, square, beta=self.muon_b, alpha=self.muon_c)
                x = product(x, change, x, beta=self.muon_a)
        return x.mT if tall else x

    def _small_products(self, x: Tensor, steps: int, product: Callable[..., Tensor]) -> Tensor:
        """The iterations of a long matrix, which only meets the product of all their factors.

        Each factor is muon_a·1 + a polynomial of x xᵀ. So they commute, and x xᵀ after an iteration follows from that
        before; the product is kept as a multiple of 1 and the rest.
        """
        a, square = self.muon_a, x @ x.mT
        change = product(square, square, square, beta=self.muon_b, alpha=self.muon_c)
        multiple, rest = a, change
        for _ in range(steps - 1):
            square = product(square, change, square, beta=a)
            square = product(square, square, change, beta=a)
            change = product(square, square, square, beta=self.muon_b, alpha=self.muon_c)
            multiple, rest = a * multiple, product(a * rest + multiple * change, change, rest)
        return product(x, rest, x, beta=multiple)


def _batches(matrices: Sequence[Tensor]) -> list[list[int]]:
    """Places of matrices to be worked on together: small ones of the same shape; others alone."""
    groups: dict[Any, list[int]] = {}
    for place, matrix in enumerate(matrices):
        small = matrix.numel() <= 65536 and type(matrix) in (torch.nn.Parameter, Variable, Tensor)
        groups.setdefault((matrix.shape, matrix.dtype, matrix.device) if small else place, []).append(place)
    return list(groups.values())
