"""Work on long lists of tensors cut into pieces that fit into a processor's cache.

An update rule makes several passes over weights, gradients and slots. Each pass over a large tensor goes through main
memory; over a piece at a time, only the first does. A kernel that makes a single pass needs none of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Slots = dict[str, list[Tensor]]
Piece = tuple[list[Tensor], list[Tensor], Slots]

kernels: Any = torch
"""torch, whose functions over lists of tensors bear private names."""

BLOCK = 524288
"""Elements per piece: large enough that threads seldom wait for each other, small enough for the cache."""


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one stretch of memory, in any order of axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _flat(tensor: Tensor) -> Tensor:
    return tensor.view(-1) if tensor.is_contiguous() else tensor.as_strided((tensor.numel(),), (1,))


def blocks(parameters: Sequence[Tensor], gradients: Sequence[Tensor], slots: Slots) -> Iterator[Piece]:
    """The lists cut up: small tensors in groups, large ones in pieces. All belonging together have equal strides."""
    group: list[int] = []
    size = 0
    for index, parameter in enumerate(parameters):
        count = parameter.numel()
        if count > BLOCK and is_dense(parameter):
            pieces = zip(
                _flat(parameter).split(BLOCK),
                _flat(gradients[index]).split(BLOCK),
                *(_flat(slot[index]).split(BLOCK) for slot in slots.values()),
                strict=True,
            )
            for piece, gradient, *parts in pieces:
                yield [piece], [gradient], {name: [part] for name, part in zip(slots, parts, strict=True)}
            continue
        group.append(index)
        size += count
        if size >= BLOCK:
            yield _picked(group, parameters, gradients, slots)
            group, size = [], 0
    if group:
        yield _picked(group, parameters, gradients, slots)


def _picked(group: list[int], parameters: Sequence[Tensor], gradients: Sequence[Tensor], slots: Slots) -> Piece:
    return (
        [parameters[index] for index in group],
        [gradients[index] for index in group],
        {name: [slot[index] for index in group] for name, slot in slots.items()},
    )


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Overwrite each by its source; the kernel over lists does not take every kind of tensor."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def add_scaled_(tensors: Sequence[Tensor], others: Sequence[Tensor], factor: float | Tensor) -> None:
    """Add `factor` times the others, in place."""
    if isinstance(factor, Tensor):
        kernels._foreach_add_(list(tensors), kernels._foreach_mul(list(others), factor))
    else:
        kernels._foreach_add_(list(tensors), list(others), alpha=factor)


def add_number_(tensors: Sequence[Tensor], number: float | Tensor) -> None:
    """Add one number, or a tensor without axes, to all, in place."""
    if isinstance(number, Tensor):
        kernels._foreach_add_(list(tensors), [number] * len(tensors))
    else:
        kernels._foreach_add_(list(tensors), number)


def add_quotients_(
    tensors: Sequence[Tensor],
    numerators: Sequence[Tensor],
    denominators: Sequence[Tensor],
    factor: float | Tensor,
) -> None:
    """Add `factor` times numerator / denominator, in place."""
    if isinstance(factor, Tensor):
        add_scaled_(tensors, kernels._foreach_div(list(numerators), list(denominators)), factor)
    else:
        kernels._foreach_addcdiv_(list(tensors), list(numerators), list(denominators), value=factor)


def root_steps_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    sums: Sequence[Tensor],
    learning_rate: float,
    epsilon: float = 0.0,
) -> None:
    """Add squared gradients to sums, and subtract gradients / (their roots + epsilon), in one pass on the CPU."""
    once = torch.ones(())
    kernels._fused_adagrad_(
        list(parameters),
        list(gradients),
        list(sums),
        [once] * len(parameters),
        lr=learning_rate,
        lr_decay=0.0,
        weight_decay=0.0,
        eps=epsilon,
        maximize=False,
    )


def adam_steps_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    step: int,
) -> None:
    """Move the means, and subtract Adam's step with epsilon beside the corrected root, in one pass on the CPU."""
    kernels._fused_adam_(
        list(parameters),
        list(gradients),
        list(means),
        list(squares),
        [],
        [torch.tensor(float(step))] * len(parameters),
        lr=learning_rate,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )


def affine_(tensors: Sequence[Tensor], factor: float, shift: float) -> None:
    """factor·x + shift in place, for a factor other than 1; a single tensor in a single pass."""
    if len(tensors) > 1:
        kernels._foreach_mul_(list(tensors), factor)
        kernels._foreach_add_(list(tensors), shift)
        return
    end = torch.tensor(shift / (1 - factor)).to(tensors[0])
    tensors[0].lerp_(end, 1 - factor)


def mix_(averages: Sequence[Tensor], values: Sequence[Tensor], keep: float | Tensor) -> None:
    """Move running averages towards values: keep·average + (1 - keep)·value, in place."""
    if isinstance(keep, Tensor):
        kernels._foreach_mul_(list(averages), keep)
        add_scaled_(averages, values, 1 - keep)
    else:
        kernels._foreach_lerp_(list(averages), list(values), 1 - keep)


def mix_squares_(averages: Sequence[Tensor], values: Sequence[Tensor], keep: float) -> None:
    """Move running averages towards the squares of values, in place."""
    kernels._foreach_mul_(list(averages), keep)
    kernels._foreach_addcmul_(list(averages), list(values), list(values), value=1 - keep)


def clip_by_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Each gradient scaled down so that its own norm is at most `limit`."""
    norms = kernels._foreach_norm(list(gradients))
    return list(kernels._foreach_mul(list(gradients), [limit / norm.clamp_min(limit) for norm in norms]))


def clip_by_global_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """All gradients scaled by one factor so that the norm of all together is at most `limit`; NaN if it is infinite."""
    norm = torch.nn.utils.get_total_norm(list(gradients))
    # The difference is 0, or NaN where the norm is infinite: then nothing is left to trust.
    scale = limit / norm.clamp_min(limit) + (norm - norm)
    return list(kernels._foreach_mul(list(gradients), scale))


def clip_by_value(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Every element between -limit and limit."""
    clipped = list(kernels._foreach_clamp_max(list(gradients), limit))
    kernels._foreach_clamp_min_(clipped, -limit)
    return clipped
