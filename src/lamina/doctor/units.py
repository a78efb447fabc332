"""The layers that are looked at one by one, and what passes between them in one call of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from lamina.core import tree
from lamina.core.capture import is_ours
from lamina.layers.base import Layer

Tensor = torch.Tensor

_NAMED = {"ReLU": "relu", "Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_NOT_KERNELS = ("Embedding", "Normalization", "Norm")


def units_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The layers of a model by name, those inside other models too, but not the parts of one of lamina's."""
    for name, module in model.named_children():
        is_container = not isinstance(module, Layer) or not is_ours(type(module)) or hasattr(module, "fit")
        if is_container and next(module.children(), None) is not None:
            yield from units_of(module)
        else:
            yield getattr(module, "name", None) or name, module


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor of floats in a structure."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    return next((leaf for leaf in tree.flatten(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()), None)


def activation_of(unit: Any) -> str | None:
    """The name of the activation a unit ends with; "linear" for a layer without, None where that is not known."""
    if type(unit).__name__ in _NAMED:
        return _NAMED[type(unit).__name__]
    activation = getattr(unit, "activation", None)
    if activation is None:
        return "linear" if kernel_of(unit) is not None and isinstance(unit, Layer) and is_ours(type(unit)) else None
    return getattr(activation, "__name__", type(activation).__name__.lower())


def kernel_of(unit: Any) -> Tensor | None:
    """The first weight of a unit that multiplies its inputs; None for one that has none."""
    if any(part in type(unit).__name__ for part in _NOT_KERNELS):
        return None
    return next((weight for weight in unit.parameters() if weight.ndim >= 2), None)


def is_dropout(unit: Any) -> bool:
    """Whether a unit drops some of its inputs in training."""
    return "Dropout" in type(unit).__name__ and bool(getattr(unit, "rate", getattr(unit, "p", 0)))


def is_batch_norm(unit: Any) -> bool:
    """Whether a unit normalizes by the statistics of the batch."""
    return "BatchNorm" in type(unit).__name__


@dataclass
class Call:
    """One call of a unit.

    Args:
        name: the unit's name.
        unit: the unit.
        inputs: what it was given.
        output: what it returned.
        is_raw: whether no weights have touched its inputs.
        after: the unit that made its inputs, where that is known.
    """

    name: str
    unit: Any
    inputs: Tensor | None
    output: Any
    is_raw: bool
    after: Any = None


@dataclass
class Walk:
    """One forward pass, unit by unit.

    Args:
        calls: the calls of units, in order.
        outputs: what the model returned.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: Any = None
    _makers: dict[int, Any] = field(default_factory=dict)

    def maker_of(self, output: Any) -> Any:
        """The unit that made a tensor; None if it was made outside of all units."""
        return self._makers.get(id(output))


@torch.no_grad()
def walk(model: Any, x: Any) -> Walk:
    """One forward pass in evaluation mode, with all that passes between the units kept.

    Args:
        model: the model.
        x: the inputs of some samples.
    """
    found = Walk()
    raw = {id(leaf) for leaf in tree.flatten(x)}
    if next(iter(units_of(model)), None) is None:
        found.outputs = model(x)
        return found

    def hook(name: str) -> Callable[..., None]:
        def note(unit: Any, inputs: Any, output: Any) -> None:
            given = [leaf for leaf in tree.flatten(inputs) if isinstance(leaf, Tensor)]
            # A model may cast or reshape what it is given before the first of its layers sees it.
            is_raw = all(id(leaf) in raw for leaf in given) or not found.calls
            maker = next((found._makers[id(leaf)] for leaf in given if id(leaf) in found._makers), None)
            found.calls.append(Call(name, unit, given[0] if given else None, output, is_raw, maker))
            for leaf in tree.flatten(output):
                found._makers[id(leaf)] = unit
                if is_raw and next(unit.parameters(), None) is None:
                    raw.add(id(leaf))

        return note

    if not getattr(model, "built", True):
        model(x)
    handles = [unit.register_forward_hook(hook(name)) for name, unit in units_of(model)]
    was_training = model.training
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.eval()
    try:
        found.outputs = model(x)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
        for buffer, value in kept:
            buffer.copy_(value)
    return found
