"""What an optimizer's update costs, beside torch's own: its fused kernel where it has one, else the foreach one.

    python -m benchmarks optimizers [NAME ...] [--mix cnn small] [--rounds 9] [--threads N]

Two mixes of weights: the 33 million of a convolutional network, most of them in one matrix, and 200 small tensors. What
torch lacks is compared with the update rule written straight over lists of tensors. The candidates take turns; medians
of the rounds are reported, and the time that memory alone needs: the bytes that must be moved, by the rate of copying.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import cores, parser_of
from benchmarks.machine import copy_bandwidth
from benchmarks.report import print_table
from lamina import optimizers
from lamina.core.memory import keep_memory

kernels: Any = torch
SHAPES = {
    "cnn": [(3, 3, 3, 64), (64,), (3, 3, 64, 128), (128,), (3, 3, 128, 256), (256,), (32768, 1000), (1000,)],
    "small": [(64, 64), (64,)] * 100,
}
RATE = 1e-3


def lion(weights: list[Tensor], gradients: list[Tensor], means: list[Tensor]) -> None:
    steps = kernels._foreach_sign(kernels._foreach_lerp(means, gradients, 0.1))
    kernels._foreach_add_(weights, steps, alpha=-RATE)
    kernels._foreach_lerp_(means, gradients, 0.01)


def lamb(weights: list[Tensor], gradients: list[Tensor], means: list[Tensor], squares: list[Tensor]) -> None:
    kernels._foreach_lerp_(means, gradients, 0.1)
    kernels._foreach_mul_(squares, 0.999)
    kernels._foreach_addcmul_(squares, gradients, gradients, 0.001)
    sizes = kernels._foreach_sqrt(squares)
    kernels._foreach_add_(sizes, 1e-7)
    steps = kernels._foreach_div(means, sizes)
    ratios = kernels._foreach_div(kernels._foreach_norm(weights), kernels._foreach_norm(steps))
    kernels._foreach_mul_(steps, ratios)
    kernels._foreach_add_(weights, steps, alpha=-RATE)


def ftrl(weights: list[Tensor], gradients: list[Tensor], sums: list[Tensor], linear: list[Tensor]) -> None:
    before = kernels._foreach_sqrt(sums)
    kernels._foreach_addcmul_(sums, gradients, gradients)
    after = kernels._foreach_sqrt(sums)
    kernels._foreach_add_(linear, gradients)
    change = kernels._foreach_mul(kernels._foreach_sub(after, before), weights)
    kernels._foreach_add_(linear, change, alpha=-1 / RATE)
    steps = kernels._foreach_div(linear, after)
    kernels._foreach_mul_(steps, -RATE)
    kernels._foreach_copy_(weights, steps)


def schedule_free(weights: list[Tensor], gradients: list[Tensor], steps: list[Tensor], squares: list[Tensor]) -> None:
    kernels._foreach_mul_(squares, 0.999)
    kernels._foreach_addcmul_(squares, gradients, gradients, 0.001)
    sizes = kernels._foreach_sqrt(squares)
    kernels._foreach_add_(sizes, 1e-8)
    kernels._foreach_add_(weights, steps, alpha=-0.1)
    kernels._foreach_addcdiv_(steps, gradients, sizes, -RATE)
    kernels._foreach_mul_(weights, 0.99)
    kernels._foreach_add_(weights, steps, alpha=0.109)


def straight(rule: Callable[..., None], slots: int) -> Callable[[list[Tensor]], Callable[[], Any]]:
    """The maker of an update by a rule over lists of tensors."""

    def make(weights: list[Tensor]) -> Callable[[], Any]:
        kept = [[torch.full_like(weight, 0.1) for weight in weights] for _ in range(slots)]

        @torch.no_grad()
        def update() -> None:
            rule([weight.data for weight in weights], [weight.grad for weight in weights], *kept)

        return update

    return make


def muon_of_torch(weights: list[Tensor]) -> Callable[[], Any]:
    """torch's Muon, which takes matrices only and works on them in bfloat16, and its AdamW for the rest."""
    matrices = torch.optim.Muon([weight for weight in weights if weight.dim() == 2], lr=RATE)
    rest = torch.optim.AdamW([weight for weight in weights if weight.dim() != 2], lr=RATE, fused=True)
    return lambda: (matrices.step(), rest.step())


def of_torch(name: str, **options: Any) -> Callable[[list[Tensor]], Callable[[], Any]]:
    """The maker of an update by an optimizer of torch."""
    return lambda weights: getattr(torch.optim, name)(weights, lr=RATE, **options).step


# lamina's class and options, what it is compared with and how that works, and the number of slots.
PAIRS: dict[str, tuple[str, dict[str, Any], str, Any, int]] = {
    "SGD": ("SGD", {}, "fused", of_torch("SGD", fused=True), 0),
    "SGD, momentum": ("SGD", {"momentum": 0.9}, "fused", of_torch("SGD", momentum=0.9, fused=True), 1),
    "RMSprop": ("RMSprop", {}, "foreach", of_torch("RMSprop", foreach=True), 1),
    "RMSprop, centered": (
        "RMSprop",
        {"centered": True, "momentum": 0.9},
        "foreach",
        of_torch("RMSprop", foreach=True, centered=True, momentum=0.9),
        3,
    ),
    "Adam": ("Adam", {}, "fused", of_torch("Adam", fused=True), 2),
    "Adam, amsgrad": ("Adam", {"amsgrad": True}, "fused", of_torch("Adam", amsgrad=True, fused=True), 3),
    "AdamW": ("AdamW", {}, "fused", of_torch("AdamW", fused=True), 2),
    "Adamax": ("Adamax", {}, "foreach", of_torch("Adamax", foreach=True), 2),
    "Nadam": ("Nadam", {}, "foreach", of_torch("NAdam", foreach=True), 2),
    "Adagrad": ("Adagrad", {}, "fused", of_torch("Adagrad", fused=True), 1),
    "Adadelta": ("Adadelta", {}, "foreach", of_torch("Adadelta", foreach=True), 2),
    "Adafactor": ("Adafactor", {}, "foreach", of_torch("Adafactor", foreach=True), 0),
    "Lion": ("Lion", {}, "straight", straight(lion, 1), 1),
    "Lamb": ("Lamb", {}, "straight", straight(lamb, 2), 2),
    "Ftrl": ("Ftrl", {}, "straight", straight(ftrl, 2), 2),
    "ScheduleFreeAdamW": ("ScheduleFreeAdamW", {}, "straight", straight(schedule_free, 2), 2),
    "Muon": ("Muon", {}, "one by one", muon_of_torch, 1),
}


def candidates(name: str, shapes: list[tuple[int, ...]]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The two updates, each of its own weights, with the same gradients."""
    kind, options, _, make, _ = PAIRS[name]
    weights = [[torch.nn.Parameter(torch.full(shape, 0.5)) for shape in shapes] for _ in range(2)]
    gradients = [torch.randn(shape) for shape in shapes]
    for weight, gradient in zip(weights[1], gradients, strict=True):
        weight.grad = gradient
    ours = getattr(optimizers, kind)(learning_rate=RATE, **options)
    ours.build(weights[0])
    return lambda: ours.apply(gradients, weights[0]), make(weights[1])


def seconds(update: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        update()
    return (time.perf_counter() - start) / calls


def main(arguments: list[str]) -> None:
    parser = parser_of("optimizers", __doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PAIRS)}; all by default")
    parser.add_argument("--mix", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_memory()  # as training does
    for mix in options.mix:
        size = sum(torch.Size(shape).numel() for shape in SHAPES[mix])
        bandwidth, rows = copy_bandwidth(8 * size, 1.0), []
        for name in options.names or PAIRS:
            _, _, how, _, slots = PAIRS[name]
            updates = candidates(name, SHAPES[mix])
            calls = 1 if size > 1e7 else 10
            for update in updates:
                update()
                update()
            times = [[seconds(update, calls) for update in updates] for _ in range(options.rounds)]
            ours, theirs = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
            ratio = statistics.median(own / other for own, other in times)
            floor = 4 * size * (3 + 2 * slots) / bandwidth * 1e3
            rows.append([name, f"{ours:.2f}", f"{theirs:.2f}", how, f"{ratio:.2f}", f"{floor:.2f}"])
        title = f"Milliseconds of an update of {len(SHAPES[mix])} tensors, {size:,} weights"
        print_table(title, ["optimizer", "lamina", "torch", "torch's way", "ratio", "memory alone"], rows)
