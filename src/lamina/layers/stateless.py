"""A layer as a function of its variables: called with given values, and left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lamina.core.errors import ArgumentError, StateError
from lamina.core.tensors import convert_to_tensor
from lamina.core.variable import Variable
from lamina.layers.weights import WeightOwner, seed_generators


def stateless_call(
    layer: WeightOwner,
    trainable: Sequence[Any],
    non_trainable: Sequence[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, list[torch.Tensor], list[torch.Tensor]]:
    """Call a layer with these values in place of its variables.

    Returns:
        The outputs, the non-trainable variables after the call, and the losses.

    Raises:
        StateError: the layer is not built.
        ArgumentError: the number of values differs from that of the variables.
    """
    (outputs, losses), state = with_values(
        layer, trainable, non_trainable, lambda: (layer(*args, **kwargs), layer.losses)
    )
    return outputs, state, losses


def with_values(
    layer: WeightOwner, trainable: Sequence[Any], non_trainable: Sequence[Any], function: Callable[[], Any]
) -> tuple[Any, list[torch.Tensor]]:
    """Call a function while a layer has these values in place of its variables.

    Returns:
        What the function gave, and the non-trainable variables after it.

    Raises:
        StateError: the layer is not built.
        ArgumentError: the number of values differs from that of the variables.
    """
    where = f"layer '{layer.name}' ({type(layer).__name__})"
    if not layer.built:
        raise StateError(
            "A layer that is not built has no variables to stand in for.",
            where=where,
            fix="build it first: layer.build(input_shape)",
        )
    swapped: dict[int, torch.Tensor] = {}
    state: list[torch.Tensor] = []
    for name, values in (("trainable_variables", trainable), ("non_trainable_variables", non_trainable)):
        variables = getattr(layer, name)
        if len(values) != len(variables):
            raise ArgumentError(
                f"`{name}` does not fit.", where=where, expected=f"{len(variables)} values", received=len(values)
            )
        for variable, value in zip(variables, values, strict=True):
            tensor = convert_to_tensor(value, variable.dtype, variable.device)
            if name == "non_trainable_variables":
                # A copy, for what the call writes into it.
                tensor = like(variable, tensor.detach().clone())
                state.append(tensor)
            elif not tensor.requires_grad:
                tensor = like(variable, tensor)
            swapped[id(variable)] = tensor
    with replaced(layer, swapped), kept_losses(layer):
        return function(), state


def like(variable: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The value as what the variable is: with a path, `assign` and so on where it is lamina's own."""
    return variable._like(value) if isinstance(variable, Variable) else value


@contextlib.contextmanager
def replaced(layer: WeightOwner, swapped: dict[int, torch.Tensor]) -> Iterator[None]:
    """Other tensors in place of the layer's variables for a while."""
    kept: list[tuple[Any, str, Any]] = []
    for module in layer.modules():
        for table in (module._parameters, module._buffers):
            kept += [(table, key, weight) for key, weight in table.items() if id(weight) in swapped]
    kept += [(vars(generator), "state", generator.state) for generator in seed_generators(layer)]
    try:
        for table, key, weight in kept:
            table[key] = swapped[id(weight)]
        yield
    finally:
        for table, key, weight in kept:
            table[key] = weight


@contextlib.contextmanager
def kept_losses(layer: WeightOwner) -> Iterator[None]:
    """The losses of an earlier call put back at the end."""
    kept = [(vars(part), list(part._call_losses), part._losses_of) for part in layer._flatten_layers()]
    try:
        yield
    finally:
        for attributes, losses, entry in kept:
            attributes.update(_call_losses=losses, _losses_of=entry)
