"""What the watched steps and the curves say."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.doctor.finding import Finding
from lamina.doctor.watch import Sample

_DEAD, _ALL_DEAD = 0.5, 0.9
_SATURATED = 0.6
_VANISHED = 3e-4
_EXPLODED, _HUGE = 1e3, 1e6
_GROWN = 1e4
_DEPTH = 4
_RATIO_HIGH, _RATIO_LOW = 0.15, 1e-6
_RATIO_SLOW, _RATIO_GOOD = 1e-4, 1e-3
_DRIFT = 2.0
_WARM = 5
"""Before this step the optimizer has hardly begun."""


@dataclass
class Course:
    """How a training went.

    Args:
        samples: the watched steps.
        losses: (step, mean loss of the steps since the one before).
        curves: results by name, epoch by epoch.
        rate: the learning rate at the beginning; None where there is none.
        optimizer: the name of its class.
        baseline: the loss of a model that knows nothing, if known.
        metrics: names of the results that are metrics.
        steps: how many steps there were.
        lost: the step at which the loss was first seen to be no number.
        lost_weights: the weights that were no numbers then.
        waiting: seconds that were spent waiting for data.
        working: seconds that were spent in steps.
        batches: how many batches these are.
    """

    samples: list[Sample] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    rate: float | None = None
    optimizer: str = "Adam"
    baseline: float | None = None
    metrics: tuple[str, ...] = ()
    steps: int = 0
    lost: int | None = None
    lost_weights: list[str] = field(default_factory=list)
    waiting: float = 0.0
    working: float = 0.0
    batches: int = 0

    @property
    def settled(self) -> list[Sample]:
        """The watched steps after the first few, or all, before the loss was lost."""
        known = [sample for sample in self.samples if self.lost is None or sample.step < self.lost]
        return [sample for sample in known if sample.step >= _WARM] or known

    @property
    def has_learned(self) -> bool:
        """Whether the loss is already far below that of a model that knows nothing."""
        epochs = self.curves.get("loss", [])
        return bool(epochs) and self.baseline is not None and epochs[-1] < 0.2 * self.baseline

    def compile_with(self, rate: float) -> str:
        """The code that sets a learning rate."""
        return f"model.compile(optimizer=optimizers.{self.optimizer}(learning_rate={rate:g}), loss=...)"


def judge(course: Course) -> list[Finding]:
    """All findings about a training.

    Args:
        course: how it went.
    """
    found: list[Finding] = []
    for check in _CHECKS:
        found += check(course)
    codes = {finding.code for finding in found}
    return [finding for finding in found if not _EXPLAINED.get(finding.code, frozenset()) & codes]


def _round_down(value: float) -> float:
    """A number with one digit, not above."""
    if value <= 0 or not math.isfinite(value):
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.floor(value / power + 1e-9) * power:.0e}")


def _better_rate(course: Course) -> float:
    """A learning rate at which the first steps would have changed the weights by a hundredth."""
    rate = course.rate or 0.01
    ratios = [_median_ratio(sample) for sample in course.samples[:2]]
    ratio = max((ratio for ratio in ratios if math.isfinite(ratio)), default=0.0)
    return _round_down(min(rate / 10, rate * 1e-2 / ratio) if ratio > 0 else rate / 10)


def _median_ratio(sample: Sample) -> float:
    ratios = [weight.ratio for weight in sample.kernels if weight.norm > 0 and math.isfinite(weight.ratio)]
    return statistics.median(ratios) if ratios else 0.0


def dead_relu(course: Course) -> Iterator[Finding]:
    """Units behind a ReLU that were zero for every sample of several steps."""
    if len(course.settled) < 3:
        return
    history: dict[str, list[tuple[int, float]]] = {}
    severity = "note" if course.has_learned else "warning"
    for sample in course.settled:
        for one in sample.outputs:
            if one.dead is not None:
                history.setdefault(one.name, []).append((sample.step, one.dead))
    for name, shares in history.items():
        step, share = shares[-1]
        if share >= _DEAD:
            first = next(step for step, share in shares if share >= _DEAD)
            yield Finding(
                "dead-relu",
                "error" if share >= _ALL_DEAD and severity == "warning" else severity,
                f"{share:.0%} of the units of '{name}' gave zero for every sample of the last watched steps.",
                f"{course.compile_with(_better_rate(course))}\n"
                'layers.Dense(..., activation="leaky_relu", kernel_initializer="he_normal", bias_initializer="zeros")',
                name,
                first,
                {"share": round(share, 3), "until": step, "suggested": _better_rate(course)},
            )


def vanishing_gradients(course: Course) -> Iterator[Finding]:
    """Gradients of the first kernels far below those of the last."""
    seen = [(sample.step, sample.kernels) for sample in course.settled]
    ratios = [
        (step, kernels, (kernels[0].gradient or 0.0) / most)
        for step, kernels in seen
        if len(kernels) >= _DEPTH and (most := max(weight.gradient or 0.0 for weight in kernels)) > 0
    ]
    if len(ratios) < 2 or statistics.median(ratio for *_, ratio in ratios) >= _VANISHED:
        return
    step, kernels, ratio = ratios[0]
    norms = [f"{weight.gradient:.1e}" for weight in kernels]
    yield Finding(
        "vanishing-gradients",
        "warning",
        f"The gradient of '{kernels[0].layer}' is {ratio:.1e} times the largest one: its weights hardly learn.",
        'layers.Dense(..., activation="relu", kernel_initializer="he_normal"), layers.BatchNormalization(), '
        "or skip connections",
        kernels[0].layer,
        step,
        {"ratio": ratio, "layers": len(kernels), "norms": " ".join([*norms[:2], "...", *norms[-2:]])},
    )


def exploding_gradients(course: Course) -> Iterator[Finding]:
    """Gradients that are huge, or grow from the last kernel to the first."""
    for sample in course.samples:
        kernels, norm = sample.kernels, sample.gradient_norm
        if not kernels or not math.isfinite(norm):
            continue
        first, last = kernels[0].gradient or 0.0, kernels[-1].gradient or 0.0
        size = math.sqrt(sum(weight.norm**2 for weight in kernels))
        grows = len(kernels) >= _DEPTH and last > 0 and first > _GROWN * last and first > 1.0
        if grows or (norm > _EXPLODED and norm > 100 * size):
            worst = max(kernels, key=lambda weight: weight.gradient or 0.0)
            yield Finding(
                "exploding-gradients",
                "error" if norm > _HUGE else "warning",
                f"The gradients have a norm of {norm:.2g}, most of it in '{worst.layer}'; the weights have {size:.2g}.",
                f"model.compile(optimizer=optimizers.{course.optimizer}(learning_rate={course.rate or 0.01:g}, "
                "clipnorm=1.0), loss=...)  # and scale inputs and targets",
                worst.layer,
                sample.step,
                {"norm": norm, "weights": size, "first": first, "last": last},
            )
            return


def saturated_activations(course: Course) -> Iterator[Finding]:
    """Hidden sigmoids and tanhs that sit at their limits."""
    history: dict[str, list[tuple[int, float]]] = {}
    for sample in course.settled:
        for one in sample.outputs[:-1]:
            if one.saturated is not None:
                history.setdefault(one.name, []).append((sample.step, one.saturated))
    for name, shares in history.items():
        share = statistics.median(share for _, share in shares)
        if share >= _SATURATED and shares[-1][1] >= _SATURATED:
            yield Finding(
                "saturated-activations",
                "warning",
                f"{share:.0%} of the outputs of '{name}' are at the limits of its activation, where it has no slope.",
                'kernel_initializer="glorot_uniform", inputs of unit spread (layers.Normalization()), or '
                "layers.BatchNormalization() before it",
                name,
                shares[0][0],
                {"share": round(share, 3)},
            )


def update_ratio(course: Course) -> Iterator[Finding]:
    """Kernels that a step changes too much, or hardly at all."""
    history: dict[str, list[tuple[int, float, str]]] = {}
    for sample in course.settled:
        for weight in sample.kernels:
            if weight.norm > 0 and (weight.gradient or 0.0) > 0 and math.isfinite(weight.ratio):
                history.setdefault(weight.name, []).append((sample.step, weight.ratio, weight.layer))
    found = {name: statistics.median(ratio for _, ratio, _ in seen) for name, seen in history.items()}
    if not found or course.rate is None:
        return
    high, low = max(found, key=found.__getitem__), max(found, key=lambda name: max(r for _, r, _ in history[name]))
    if found[high] > _RATIO_HIGH:
        suggested = _round_down(min(course.rate / 3, course.rate * 0.01 / found[high]))
        yield Finding(
            "update-ratio",
            "warning",
            f"A step changes {high} by {found[high]:.2g} of its size; a hundredth is much.",
            course.compile_with(suggested),
            history[high][0][2],
            history[high][0][0],
            {"ratio": found[high], "suggested": suggested},
        )
    elif (most := max(ratio for _, ratio, _ in history[low])) < _RATIO_LOW and len(course.samples) > 1:
        suggested = _round_down(course.rate * _RATIO_GOOD / most) if most > 0 else 1e-3
        yield Finding(
            "update-ratio",
            "warning",
            f"A step changes no weight by more than {most:.2g} of its size; a thousandth is usual.",
            course.compile_with(min(suggested, 0.1)),
            history[low][0][2],
            history[low][0][0],
            {"ratio": most, "suggested": min(suggested, 0.1)},
        )


def learning_rate_too_high(course: Course) -> Iterator[Finding]:
    """A loss that ends above where it began, or jumps up and down."""
    points = [(step, loss) for step, loss in course.losses if math.isfinite(loss)]
    if len(points) < 4 or course.rate is None:
        return
    losses = [loss for _, loss in points]
    start = max(losses[0], course.baseline or 0.0)
    last, best = statistics.median(losses[-3:]), min(losses)
    epochs = [loss for loss in course.curves.get("loss", []) if math.isfinite(loss)]
    jumps = sum(after > 1.3 * before for before, after in itertools.pairwise(epochs))
    peak = max(losses)
    diverged = last > 1.5 * start or (course.lost is not None and peak > 3 * start) or peak > 100 * start > 0
    oscillates = len(epochs) >= 5 and jumps >= max(2, (len(epochs) - 1) / 4) and epochs[-1] > 0.1 * start
    if not diverged and not oscillates:
        return
    place = next((step for step, loss in points if loss > 1.5 * start), points[-1][0])
    suggested = _better_rate(course)
    what = (
        f"rose from {losses[0]:.3g} to {peak:.3g}" if diverged else f"jumped up in {jumps} of {len(epochs) - 1} epochs"
    )
    yield Finding(
        "learning-rate-too-high",
        "error" if diverged else "warning",
        f"The loss {what} at a learning rate of {course.rate:g}.",
        course.compile_with(suggested),
        None,
        place,
        {"first": losses[0], "last": last, "best": best, "jumps": jumps, "rate": course.rate, "suggested": suggested},
    )


def learning_rate_too_low(course: Course) -> Iterator[Finding]:
    """A loss that hardly falls, because the steps are tiny."""
    losses = [loss for _, loss in course.losses if math.isfinite(loss)]
    epochs = course.curves.get("loss", [])
    ratios = [_median_ratio(sample) for sample in course.settled]
    if len(losses) < 3 or len(epochs) < 2 or course.rate is None or not any(ratios):
        return
    ratio = statistics.median(ratios)
    gain = 1 - epochs[-1] / epochs[0] if epochs[0] else 0.0
    good = epochs[-1] < 0.5 * (course.baseline if course.baseline is not None else 0.0)
    limit = _RATIO_SLOW if course.baseline is not None else _RATIO_SLOW / 10
    if good or ratio >= limit or not -0.05 < gain < 0.05:
        return
    suggested = min(_round_down(course.rate * _RATIO_GOOD / ratio), 0.1)
    yield Finding(
        "learning-rate-too-low",
        "warning",
        f"The loss went from {epochs[0]:.4g} to {epochs[-1]:.4g} in {len(epochs)} epochs; a step changes the weights "
        f"by {ratio:.1g} of their size.",
        course.compile_with(suggested),
        None,
        course.samples[-1].step,
        {"gain": round(gain, 4), "ratio": ratio, "rate": course.rate, "suggested": suggested},
    )


def nan_loss(course: Course) -> Iterator[Finding]:
    """The first step without a loss, and the layer and weight where it shows first."""
    if course.lost is None:
        return
    sample = next((one for one in course.samples if one.step >= course.lost), None)
    layer = next((one.name for one in sample.outputs if not one.is_finite), None) if sample else None
    gradient = (
        next(
            (one for one in reversed(sample.weights) if one.gradient is not None and not math.isfinite(one.gradient)),
            None,
        )
        if sample
        else None
    )
    remedy = f"{course.compile_with(_better_rate(course))}  # with clipnorm=1.0"
    if sample is not None and not sample.inputs_finite:
        place, remedy = "the inputs hold it already", "keep = np.isfinite(x).all(axis=1)\nx, y = x[keep], y[keep]"
    elif sample is not None and sample.step == course.lost and layer is not None:
        place = f"it comes out of '{layer}' first"
        if course.lost <= 2:
            remedy = f"look at the call of '{layer}': log(x + 1e-7), sqrt(x + 1e-7) or x / (y + 1e-7)"
    elif sample is not None and sample.step == course.lost:
        place = "all layers gave numbers: it is in the loss" + (
            f", and in the gradient of {gradient.name}" if gradient else ""
        )
        if course.lost <= 2:
            remedy = "look at the targets and the loss: np.isfinite(y).all(), and y in the range that the loss takes"
    else:
        place = "the weights were lost in the step before"
    weights = (
        f", {len(course.lost_weights)} weights with it, the first {course.lost_weights[0]}"
        if course.lost_weights
        else ""
    )
    yield Finding(
        "nan-loss",
        "error",
        f"The loss is NaN or infinite from step {course.lost} on: {place}{weights}.",
        remedy,
        layer,
        course.lost,
        {"weights": course.lost_weights[:3], "lost": len(course.lost_weights), "suggested": _better_rate(course)},
    )


def no_gradient(course: Course) -> Iterator[Finding]:
    """Trainable weights that never got a gradient, while others did."""
    if not course.samples or all(weight.gradient is None for weight in course.samples[0].weights):
        return
    missing = [
        weight
        for place, weight in enumerate(course.samples[0].weights)
        if all(sample.weights[place].gradient is None for sample in course.samples)
    ]
    for layer in dict.fromkeys(weight.layer for weight in missing):
        names = [weight.name for weight in missing if weight.layer == layer]
        yield Finding(
            "no-gradient",
            "warning",
            f"{', '.join(names[:3])} of '{layer}' got no gradient in any watched step: the loss does not depend on it.",
            f'use the output of "{layer}" for the loss, without stop_gradient, argmax or NumPy in between, '
            f'or model.get_layer("{layer}").trainable = False',
            layer,
            course.samples[0].step,
            {"weights": names[:3], "steps": len(course.samples)},
        )


def batch_norm(course: Course) -> Iterator[Finding]:
    """Moving averages that are far from the batches."""
    seen = course.settled
    if not seen:
        return
    for one in seen[-1].outputs:
        drifts = [other.drift for sample in seen[-3:] for other in sample.outputs if other.name == one.name]
        known = [drift for drift in drifts if drift is not None]
        if known and min(known) > _DRIFT:
            momentum = _round_down(0.1 ** (1 / max(course.steps / 10, 1)) * 100) / 100
            yield Finding(
                "small-batch-norm",
                "warning",
                f"The moving mean of '{one.name}' is {known[-1]:.1f} standard deviations from that of the batches: "
                "in use the model computes something else than in training.",
                f"layers.BatchNormalization(momentum={min(momentum, 0.9):g})  # or larger batches, or more steps",
                one.name,
                seen[-1].step,
                {"drift": round(known[-1], 2), "suggested": min(momentum, 0.9)},
            )


def overfitting(course: Course) -> Iterator[Finding]:
    """Validation gets worse while training goes on improving."""
    train, held_out = course.curves.get("loss", []), course.curves.get("val_loss", [])
    if len(held_out) < 5 or len(train) != len(held_out) or not all(map(math.isfinite, [*train, *held_out])):
        return
    best = min(range(len(held_out)), key=held_out.__getitem__)
    since = len(held_out) - 1 - best
    worse = held_out[-1] / held_out[best] if held_out[best] > 0 else math.inf
    # A loss near zero may double without meaning anything.
    matters = held_out[-1] - held_out[best] > 0.05 * max(train[0], held_out[0])
    if since >= 3 and worse > 1.15 and matters and train[-1] < 0.9 * train[best]:
        yield Finding(
            "overfitting",
            "warning",
            f"The validation loss is {held_out[-1]:.3g}, after {held_out[best]:.3g} at epoch {best + 1}, while the "
            f"training loss fell from {train[best]:.3g} to {train[-1]:.3g}.",
            "model.fit(..., callbacks=[callbacks.EarlyStopping(patience=2, restore_best_weights=True)])\n"
            "layers.Dropout(0.5), fewer units, or more data",
            evidence={"best_epoch": best + 1, "best": held_out[best], "last": held_out[-1], "train": train[-1]},
        )


def underfitting(course: Course) -> Iterator[Finding]:
    """A training loss that stays near that of a model that knows nothing."""
    train = course.curves.get("loss", [])
    if course.baseline is None or len(train) < 5 or not all(map(math.isfinite, train)) or course.baseline <= 0:
        return
    half = train[len(train) // 2]
    if train[-1] > 0.8 * course.baseline and half - train[-1] < 0.02 * half:
        yield Finding(
            "underfitting",
            "warning",
            f"The training loss stays at {train[-1]:.3g}; a model that knows nothing has {course.baseline:.3g}.",
            'a larger model: layers.Dense(64, activation="relu") before the last layer, or better features',
            evidence={"loss": train[-1], "baseline": round(course.baseline, 4), "epochs": len(train)},
        )


def stuck_metric(course: Course) -> Iterator[Finding]:
    """A metric that is the same in all epochs, while the loss moves."""
    loss = course.curves.get("loss", [])
    if len(loss) < 4 or not all(map(math.isfinite, loss)) or abs(loss[0] - loss[-1]) < 0.01 * abs(loss[0]):
        return
    for name in course.metrics:
        values = course.curves.get(name, [])
        if len(values) == len(loss) and len(set(values)) == 1 and values[0] != 1.0:
            is_accuracy = "acc" in name
            remedy = 'model.compile(..., metrics=["mae"])  # accuracy counts equal numbers: it is for classes'
            if not is_accuracy or values[0] > 0:
                remedy = 'model.compile(..., metrics=["AUC"])  # one that does not depend on a threshold'
            yield Finding(
                "stuck-metric",
                "warning",
                f"'{name}' is {values[0]:.4g} in all {len(values)} epochs, while the loss went from {loss[0]:.3g} to "
                f"{loss[-1]:.3g}.",
                remedy,
                evidence={"metric": name, "value": values[0], "epochs": len(values)},
            )


def input_bound(course: Course) -> Iterator[Finding]:
    """More time is spent waiting for data than in steps."""
    total = course.waiting + course.working
    if course.waiting < 0.1 or course.waiting < 0.5 * total:
        return
    each, step = 1e3 * course.waiting / course.batches, 1e3 * course.working / course.batches
    yield Finding(
        "input-bound",
        "warning",
        f"{course.waiting / total:.0%} of the time is spent waiting for data: {each:.2g} ms a batch, beside "
        f"{step:.2g} ms in the step.",
        "utils.PyDataset(workers=4, use_multiprocessing=True), torch.utils.data.DataLoader(..., num_workers=4), "
        "or arrays in memory",
        evidence={"share": round(course.waiting / total, 3), "waiting_ms": round(each, 3), "step_ms": round(step, 3)},
    )


def memory_pressure(course: Course) -> Iterator[Finding]:
    """Memory is nearly full."""
    for sample in course.samples:
        if sample.memory is not None and sample.memory > 0.9:
            rows = max((one.rows for one in sample.outputs), default=64)
            yield Finding(
                "memory-pressure",
                "warning",
                f"{sample.memory:.0%} of the memory is in use.",
                f"model.fit(..., batch_size={max(1, rows // 2)})",
                None,
                sample.step,
                {"share": round(sample.memory, 3), "batch_size": rows, "suggested": max(1, rows // 2)},
            )
            return


_CHECKS: Sequence[Callable[[Course], Iterator[Finding]]] = (
    nan_loss, exploding_gradients, learning_rate_too_high, dead_relu, vanishing_gradients, saturated_activations,
    no_gradient, batch_norm, update_ratio, learning_rate_too_low, overfitting, underfitting, stuck_metric, input_bound,
    memory_pressure,
)  # fmt: skip

_EXPLAINED: Mapping[str, frozenset[str]] = {
    "update-ratio": frozenset({"learning-rate-too-high", "learning-rate-too-low"}),
    "underfitting": frozenset(
        {"learning-rate-too-high", "learning-rate-too-low", "dead-relu", "vanishing-gradients", "nan-loss",
         "exploding-gradients", "update-ratio", "saturated-activations"}
    ),
    "stuck-metric": frozenset({"nan-loss", "dead-relu"}),
    "saturated-activations": frozenset({"learning-rate-too-high"}),
}  # fmt: skip
"""What says nothing new beside a finding that is its cause."""


def leave_numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """The results of an epoch that are plain numbers."""
    return {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
