"""What can be told from the layers of a model, before training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from lamina.core import tree
from lamina.doctor.finding import Finding
from lamina.doctor.units import Call, Walk, activation_of, first_tensor, is_batch_norm, is_dropout

Tensor = torch.Tensor

_SCALE = {"relu": "he_normal", "elu": "he_normal", "gelu": "he_normal", "silu": "he_normal", "selu": "lecun_normal"}
_TOO_SMALL, _TOO_LARGE = 0.2, 4.0
"""Beside the range of the common rules, from LeCun's to He's."""
_DEPTH = 1e-3
_MANY, _FAR_TOO_MANY = 20, 100
_SMALL_BATCH = 8


def bad_initialization(seen: Walk) -> Iterator[Finding]:
    """Kernels drawn with a spread that does not keep the size of the signal, one by one and over the depth."""
    kernels = [call for call in seen.calls if _fans(call) is not None]
    single = [finding for place, call in enumerate(kernels) for finding in _one_kernel(call, place + 1 == len(kernels))]
    yield from single
    normalized = any("Norm" in type(call.unit).__name__ for call in seen.calls)
    if single or normalized or len(kernels) < 4:
        return
    sizes = [_size(call.output) for call in kernels[:-1]]
    first, last = sizes[0], sizes[-1]
    if not (0 < first < math.inf and math.isfinite(last)) or _DEPTH < last / first < 1 / _DEPTH:
        return
    activation = activation_of(kernels[-2].unit) or "linear"
    wanted = _SCALE.get(activation, "glorot_uniform")
    change = "fades" if last < first else "grows"
    yield Finding(
        "bad-initialization",
        "warning",
        f"The signal {change} from {first:.2g} after '{kernels[0].name}' to {last:.2g} after '{kernels[-2].name}', "
        f"{len(sizes)} layers later.",
        f'layers.Dense(..., activation="{activation}", kernel_initializer="{wanted}")',
        kernels[-2].name,
        evidence={"first": first, "last": last, "layers": len(sizes), "suggested": wanted},
    )


def _size(output: Any) -> float:
    tensor = first_tensor(output)
    return 0.0 if tensor is None else float(tensor.detach().float().square().mean().sqrt())


def _fans(call: Call) -> tuple[int, int] | None:
    """How many inputs a unit of a dense or convolution layer sums up, and how many units use an input."""
    kernel = getattr(call.unit, "kernel", None)
    if not isinstance(kernel, Tensor) or kernel.ndim < 2 or "Depthwise" in type(call.unit).__name__:
        return None
    field = math.prod(kernel.shape[:-2])
    return field * kernel.shape[-2], field * kernel.shape[-1]


def _one_kernel(call: Call, is_last: bool) -> Iterator[Finding]:
    fans = _fans(call)
    if fans is None:
        return
    kernel: Tensor = call.unit.kernel.detach().float()
    spread = float(kernel.std(correction=0))
    activation = activation_of(call.unit) or "linear"
    lecun, he, glorot = math.sqrt(1 / fans[0]), math.sqrt(2 / fans[0]), math.sqrt(2 / sum(fans))
    low, high = _TOO_SMALL * min(lecun, glorot), _TOO_LARGE * max(he, glorot)
    if kernel.numel() < 16 or low <= spread <= high or (is_last and spread < low):
        return
    wanted = _SCALE.get(activation, "glorot_uniform")
    expected = he if wanted == "he_normal" else lecun if wanted == "lecun_normal" else glorot
    yield Finding(
        "bad-initialization",
        "error" if spread == 0 else "warning",
        f"The kernel of '{call.name}' is drawn with a spread of {spread:.2g}; for {fans[0]} inputs and {activation} it "
        f"should be near {expected:.2g}.",
        f'kernel_initializer="{wanted}"',
        call.name,
        evidence={"spread": spread, "expected": expected, "output": _size(call.output), "suggested": wanted},
    )


def dropout_misplaced(seen: Walk) -> Iterator[Finding]:
    """Dropout on the outputs of the model, and right before batch normalization."""
    for output in tree.flatten(seen.outputs):
        maker = seen.maker_of(output)
        if maker is not None and is_dropout(maker):
            yield Finding(
                "dropout-misplaced",
                "error",
                f"'{maker.name}' drops outputs of the model, in training but not in use.",
                f"remove '{maker.name}', or put it before the last layer with weights",
                maker.name,
                evidence={"rate": getattr(maker, "rate", None)},
            )
    for call in seen.calls:
        if is_batch_norm(call.unit) and call.after is not None and is_dropout(call.after):
            yield Finding(
                "dropout-misplaced",
                "warning",
                f"'{call.after.name}' stands before '{call.name}': the variance that is averaged in training is not "
                "the one in use.",
                f"[..., layers.BatchNormalization(), layers.Dropout({getattr(call.after, 'rate', 0.5)}), ...]",
                call.after.name,
                evidence={"rate": getattr(call.after, "rate", None), "before": call.name},
            )


def small_batches(seen: Walk, batch_size: int | None) -> Iterator[Finding]:
    """Batches of too few values for batch normalization."""
    for call in seen.calls:
        if batch_size is None or not is_batch_norm(call.unit) or call.inputs is None:
            continue
        places = math.prod(call.inputs.shape[1:-1]) if call.inputs.ndim > 2 else 1
        if batch_size < _SMALL_BATCH and batch_size * places < 4 * _SMALL_BATCH:
            yield Finding(
                "small-batch-norm",
                "warning",
                f"'{call.name}' takes means over {batch_size * places} values, of batches of {batch_size}.",
                "model.fit(x, y, batch_size=32)  # or layers.LayerNormalization()",
                call.name,
                evidence={"batch_size": batch_size, "values": batch_size * places, "suggested": 32},
            )
            return


def oversized_model(model: Any, x: Any, y: Any, rows: int | None) -> Iterator[Finding]:
    """Far more weights than numbers in the data."""
    if rows is None:
        return
    leaves = [leaf for leaf in tree.flatten((x, y)) if isinstance(leaf, Tensor) and len(leaf)]
    numbers = sum(rows * leaf.numel() // len(leaf) for leaf in leaves)
    weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if not numbers or weights <= _MANY * numbers:
        return
    yield Finding(
        "oversized-model",
        "warning" if weights > _FAR_TOO_MANY * numbers else "note",
        f"The model has {weights:,} weights, the data {numbers:,} numbers in {rows:,} samples.",
        f"use layers of about {math.sqrt(numbers / weights):.1%} of the units, Dropout(0.5), or more data",
        evidence={"weights": weights, "numbers": numbers, "ratio": round(weights / numbers, 1)},
    )
