"""Numbers of single training steps: what layers give, what gradients come back, how far weights move.

Hooks are there only while a step is watched. All numbers are made on the device, and fetched together at its end.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lamina.doctor.units import activation_of, first_tensor, is_batch_norm, units_of

Tensor = torch.Tensor

_kernels: Any = torch  # for functions that torch's stubs do not list
_LIMITS = {"sigmoid": (0.5, 0.49), "tanh": (0.0, 0.99)}
"""Where an activation sits when it is saturated: so far from its middle."""


@dataclass
class Outputs:
    """What one layer gave in one step.

    Args:
        name: the layer.
        activation: the activation it ends with, if known.
        mean: the mean of its outputs.
        spread: their standard deviation.
        saturated: the share at the limits of a sigmoid or tanh; None for other activations.
        dead: the share of units that gave zero for every sample, of those watched so far; None without a ReLU.
        drift: how far the moving mean is from that of the batch, in standard deviations; None but for batch norm.
        rows: samples in the batch.
    """

    name: str
    activation: str | None
    mean: float
    spread: float
    saturated: float | None = None
    dead: float | None = None
    drift: float | None = None
    rows: int = 0

    @property
    def is_finite(self) -> bool:
        """Whether it was all numbers."""
        return math.isfinite(self.mean) and math.isfinite(self.spread)


@dataclass
class Weight:
    """What happened to one weight in one step.

    Args:
        name: its path.
        layer: the layer it belongs to.
        shape: its shape.
        gradient: the norm of its gradient; None if it got none.
        norm: its own norm, before the step.
        change: the norm of its change.
        is_finite: whether it was all numbers after the step.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    gradient: float | None
    norm: float
    change: float
    is_finite: bool

    @property
    def ratio(self) -> float:
        """The change beside the weight."""
        return self.change / self.norm if self.norm > 0 else 0.0


@dataclass
class Sample:
    """One watched step.

    Args:
        step: which, from 0.
        outputs: of the layers, in the order of their calls.
        weights: the trainable ones.
        memory: the share of memory in use; None where it is not known.
        inputs_finite: whether the first layer was given numbers.
    """

    step: int
    outputs: list[Outputs] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    memory: float | None = None
    inputs_finite: bool = True

    @property
    def kernels(self) -> list[Weight]:
        """Weights with two axes or more, which got a gradient, in the order of the calls of their layers."""
        order = {one.name: place for place, one in reversed(list(enumerate(self.outputs)))}
        found = [weight for weight in self.weights if len(weight.shape) > 1 and weight.gradient is not None]
        return sorted(found, key=lambda weight: order.get(weight.layer, len(order)))

    @property
    def gradient_norm(self) -> float:
        """The norm of all gradients together."""
        return math.sqrt(sum(weight.gradient**2 for weight in self.weights if weight.gradient is not None))


class Watch:
    """Watches single steps of a model.

    Args:
        model: the model, built.
    """

    def __init__(self, model: Any) -> None:
        self._units = list(units_of(model)) or [(str(getattr(model, "name", "model")), model)]
        owners = {id(weight): name for name, unit in self._units for weight in unit.parameters()}
        self._weights = [
            (str(getattr(weight, "path", name)), owners.get(id(weight), ""), weight)
            for name, weight in model.named_parameters()
            if weight.requires_grad
        ]
        self._activations = [activation_of(unit) for _, unit in self._units]
        self._alive: dict[str, list[Tensor]] = {}
        self._handles: list[Any] = []

    def begin(self) -> None:
        """Attach the hooks."""
        self.end_hooks()
        self._numbers: list[tuple[str, str | None, int, dict[str, Tensor]]] = []
        self._entry: Tensor | None = None
        self._gradients: list[Tensor | None] = [None] * len(self._weights)
        self._before = [weight.detach().clone() for _, _, weight in self._weights]
        for (name, unit), activation in zip(self._units, self._activations, strict=True):
            self._handles.append(unit.register_forward_hook(self._note(name, activation)))
        for place, (_, _, weight) in enumerate(self._weights):
            self._handles.append(weight.register_post_accumulate_grad_hook(self._note_gradient(place)))

    def end_hooks(self) -> None:
        """Detach the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for _, _, weight in self._weights:
            # An empty table of hooks would still be looked into at each backward pass.
            if weight._post_accumulate_grad_hooks is not None and not weight._post_accumulate_grad_hooks:
                weight._post_accumulate_grad_hooks = None

    def _note_gradient(self, place: int) -> Callable[[Tensor], None]:
        def note(weight: Tensor) -> None:
            if weight.grad is not None:
                self._gradients[place] = torch.linalg.vector_norm(weight.grad.detach(), dtype=torch.float32)

        return note

    def _note(self, name: str, activation: str | None) -> Callable[..., None]:
        @torch.no_grad()
        def note(unit: Any, inputs: Any, output: Any) -> None:
            given = first_tensor(inputs)
            if self._entry is None and given is not None:
                self._entry = given.detach().float().sum()
            value = first_tensor(output)
            if value is None or not value.numel() or not value.ndim:
                return
            value = value.detach().float()
            mean = value.mean()
            # torch.std_mean, and a maximum or "any" over all axes but the last, run on one thread without vectors: they
            # take ten to fifty times as long as sums.
            spread = torch.linalg.vector_norm(value - mean) / math.sqrt(value.numel())
            numbers = {"mean": mean, "spread": spread}
            if activation in _LIMITS:
                middle, limit = _LIMITS[activation]
                numbers["saturated"] = (value - middle).abs_().gt_(limit).mean()
            elif activation == "relu":
                numbers["dead"] = self._dead_share(name, unit, value)
            elif is_batch_norm(unit) and given is not None:
                numbers["drift"] = _drift(unit, given.detach().float())
            self._numbers.append((name, activation, len(value), numbers))

        return note

    def _dead_share(self, name: str, unit: Any, value: Tensor) -> Tensor:
        """The share of units that were zero for all samples of this and the last few watched steps."""
        axis = 1 if getattr(unit, "data_format", "") == "channels_first" else value.ndim - 1
        alive = value.abs().movedim(axis, -1).reshape(-1, value.shape[axis]).sum(0) > 0
        kept = self._alive.setdefault(name, [])
        kept[:] = [*kept[-3:], alive] if not kept or kept[-1].shape == alive.shape else [alive]
        return 1.0 - functools.reduce(torch.logical_or, kept).float().mean()

    def end(self, step: int, scale: float = 1.0) -> Sample:
        """Detach the hooks; the numbers of the step.

        Args:
            step: which it was.
            scale: what the loss was multiplied with.
        """
        self.end_hooks()
        before, self._before = self._before, []
        weights = _norms(before)
        _kernels._foreach_sub_(before, [weight.detach() for _, _, weight in self._weights])
        changes = _norms(before)
        gradients = [weight if found is None else found for weight, found in zip(weights, self._gradients, strict=True)]
        flat = [number for *_, numbers in self._numbers for number in numbers.values()]
        entry = [] if self._entry is None else [self._entry]
        values = _fetch([*weights, *changes, *gradients, *flat, *entry])
        count = len(weights)
        norms, moved, grads = values[:count], values[count : 2 * count], values[2 * count : 3 * count]
        sample = Sample(step, inputs_finite=not entry or math.isfinite(values[-1]))
        for place, (path, layer, weight) in enumerate(self._weights):
            has_gradient = self._gradients[place] is not None
            sample.weights.append(
                Weight(
                    path, layer, tuple(weight.shape), grads[place] / scale if has_gradient else None, norms[place],
                    moved[place], math.isfinite(norms[place]) and math.isfinite(moved[place]),
                )
            )  # fmt: skip
        rest = iter(values[3 * count :])
        for name, activation, rows, numbers in self._numbers:
            known = {kind: next(rest) for kind in numbers}
            sample.outputs.append(Outputs(name, activation, rows=rows, **known))
        self._numbers = []
        return sample


def _norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The norm of each tensor, in float32."""
    return list(_kernels._foreach_norm([tensor.float() for tensor in tensors])) if tensors else []


def _fetch(numbers: Sequence[Tensor]) -> list[float]:
    """Numbers from the device, in one transfer where all lie on one."""
    if not numbers:
        return []
    if len({number.device for number in numbers}) > 1:
        numbers = [number.cpu() for number in numbers]
    return torch.stack([number if number.dtype == torch.float32 else number.float() for number in numbers]).tolist()


def _drift(unit: Any, given: Tensor) -> Tensor:
    """How far the moving mean of a batch normalization is from the batch's, in standard deviations."""
    moving = getattr(unit, "moving_mean", getattr(unit, "running_mean", None))
    variance = getattr(unit, "moving_variance", getattr(unit, "running_var", None))
    if moving is None or variance is None:
        return given.new_zeros(())
    axis = getattr(unit, "axis", 1)
    axis = axis if isinstance(axis, int) else axis[0]
    rows = given.movedim(axis, -1).reshape(-1, given.shape[axis])
    mean = rows.mean(0)
    both = torch.maximum(variance.detach().float(), (rows - mean).square_().mean(0))
    return ((mean - moving.detach().float()).abs() / (both + 1e-3).sqrt()).mean()


def find_lost(model: Any) -> list[str]:
    """The weights that hold NaN or infinity."""
    return [
        str(getattr(weight, "path", name))
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]
