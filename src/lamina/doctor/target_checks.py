"""What can be told from targets, outputs and the loss between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lamina.doctor.data_checks import class_imbalance
from lamina.doctor.finding import Finding
from lamina.doctor.units import activation_of

Tensor = torch.Tensor

SPARSE = "sparse_categorical_crossentropy"
_CATEGORICAL = ("categorical_crossentropy", "categorical_focal_crossentropy")
_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
_SQUARES = ("mean_squared_error",)
_NUMBERS = (*_SQUARES, "mean_absolute_error", "huber", "log_cosh")
_RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf)}
_MARGIN = 10.0
"""A first loss this many times that of a constant guess is more than bad luck."""


@dataclass(frozen=True)
class Target:
    """One output with its targets and its loss.

    Args:
        index: which output.
        loss: the loss object.
        value: the targets.
        output: the outputs, of some samples.
        name: how a user writes the targets.
    """

    index: int
    loss: Any
    value: Tensor
    output: Tensor
    name: str

    @property
    def function(self) -> str:
        """The name of the loss's function; "" where it has none."""
        return getattr(getattr(self.loss, "fn", None), "__name__", "")

    @property
    def from_logits(self) -> bool:
        """Whether the loss takes logits."""
        return bool(getattr(self.loss, "_fn_kwargs", {}).get("from_logits", False))

    @property
    def classes(self) -> int:
        """The size of the last axis of the outputs."""
        return self.output.shape[-1] if self.output.ndim else 1


def check_target(target: Target, maker: Any, weighted: bool) -> Iterator[Finding]:
    """All checks of one output.

    Args:
        target: the output.
        maker: the layer that makes it, if known.
        weighted: whether the samples have weights.
    """
    encoding = [*_label_encoding(target)]
    yield from encoding
    yield from _label_range(target)
    yield from () if encoding else _broadcasting(target)
    yield from _loss_activation(target, maker)
    if not weighted and not encoding:
        labels = _labels(target)
        yield from class_imbalance(labels) if labels is not None and labels.numel() else ()


def _call(name: str, **arguments: Any) -> str:
    """The code that makes a loss."""
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"losses.{''.join(word.capitalize() for word in name.split('_'))}({given})"


def _label_encoding(target: Target) -> Iterator[Finding]:
    shape, wanted = tuple(target.value.shape[1:]), tuple(target.output.shape[1:])
    evidence = {"targets": list(target.value.shape), "outputs": ["samples", *wanted]}
    if target.function == SPARSE and shape == wanted and target.classes > 1:
        yield Finding(
            "label-encoding-mismatch",
            "error",
            f"{target.name} is one-hot, but the loss {SPARSE} takes class numbers.",
            f"model.compile(loss={_call(_CATEGORICAL[0], from_logits=target.from_logits)})  # or y = y.argmax(-1)",
            evidence=evidence,
        )
    elif target.function in _CATEGORICAL and shape in (wanted[:-1], (*wanted[:-1], 1)) and target.classes > 1:
        yield Finding(
            "label-encoding-mismatch",
            "error",
            f"{target.name} holds class numbers, but the loss {target.function} takes one-hot rows.",
            f"model.compile(loss={_call(SPARSE, from_logits=target.from_logits)})  # or y = utils.to_categorical(y)",
            evidence=evidence,
        )


def _label_range(target: Target) -> Iterator[Finding]:
    values = target.value
    if values.is_floating_point():
        values = values[torch.isfinite(values)]
    ignored = getattr(target.loss, "_fn_kwargs", {}).get("ignore_class")
    values = values if ignored is None else values[values != ignored]
    if not values.numel():
        return
    low, high = float(values.min()), float(values.max())
    evidence = {"min": low, "max": high}
    if target.function == SPARSE and (low < 0 or high >= target.classes):
        fits = high - low < target.classes and low > 0
        remedy = (
            f"{target.name} = {target.name} - {low:g}" if fits or low < 0 else f"layers.Dense({int(high) + 1}, ...)"
        )
        yield Finding(
            "label-out-of-range",
            "error",
            f"{target.name} holds classes from {low:g} to {high:g}, the model has 0 to {target.classes - 1}.",
            f"{remedy}  # classes are numbered from 0, one unit for each",
            evidence={**evidence, "classes": target.classes},
        )
    elif target.function in (*_BINARY, *_CATEGORICAL) and (low < 0 or high > 1) and not _is_class_numbers(target):
        labels = f"({target.name} > {(low + high) / 2:g}).astype('float32')"
        yield Finding(
            "label-out-of-range",
            "error",
            f"{target.name} lies between {low:g} and {high:g}, but {target.function} takes targets from 0 to 1.",
            f"{target.name} = {labels}" if target.classes == 1 else f"model.compile(loss={_call(SPARSE)})",
            evidence=evidence,
        )


def _is_class_numbers(target: Target) -> bool:
    return target.function in _CATEGORICAL and target.value.ndim < target.output.ndim


def _broadcasting(target: Target) -> Iterator[Finding]:
    if target.function == SPARSE:
        return
    shape, wanted = tuple(target.value.shape[1:]), tuple(target.output.shape[1:])
    if shape == wanted or {shape, wanted} == {(), (1,)} or shape == (*wanted, 1) or (*shape, 1) == wanted:
        return
    padded = (1,) * (len(wanted) - len(shape)) + shape
    if len(shape) > len(wanted) or all(a in (b, 1) or b == 1 for a, b in zip(padded, wanted, strict=True)):
        units = shape[-1] if shape else 1
        yield Finding(
            "broadcasting-targets",
            "error",
            f"{target.name} has shape {('samples', *shape)}, the output {('samples', *wanted)}: each target would be "
            "compared with several outputs.",
            f"layers.Dense({units}, ...)  # as many units in the last layer as targets in a sample",
            evidence={"targets": list(shape), "outputs": list(wanted)},
        )


def _seen_activation(target: Target, maker: Any) -> str | None:
    """The last activation: by the layer, by what it left on its outputs, or by the outputs themselves."""
    named = activation_of(maker) if maker is not None else None
    known = named or getattr(target.output, "_keras_activation", None)
    if known is not None:
        return known
    values = target.output.detach().float()
    if not bool(torch.isfinite(values).all()):
        return None
    if bool((values < 0).any()) or bool((values > 1).any()):
        return "linear"
    is_rows = target.classes > 1 and bool(((values.sum(-1) - 1).abs() < 1e-3).all())
    return "softmax" if is_rows else None


def _loss_activation(target: Target, maker: Any) -> Iterator[Finding]:
    name, activation = target.function, _seen_activation(target, maker)
    layer = getattr(maker, "name", None)
    last = "the last layer" if layer is None else f"'{layer}'"
    values = target.output.detach()
    evidence = {"activation": activation, "min": round(float(values.min()), 4), "max": round(float(values.max()), 4)}
    found: tuple[str, str] | None = None
    if "crossentropy" in name and activation is not None:
        found = _of_probabilities(target, name, activation, last)
    elif name in _NUMBERS and activation in _RANGES:
        low, high = _RANGES[activation]
        least, most = float(target.value.min()), float(target.value.max())
        if least < low or most > high:
            found = (
                f"{last} ends in {activation}, which gives {low:g} to {high:g}, but {target.name} goes from "
                f"{least:.3g} to {most:.3g}.",
                f'layers.Dense({target.classes}, activation="linear")',
            )
    if found is not None:
        message = found[0][0].upper() + found[0][1:]
        yield Finding("loss-activation-mismatch", "error", message, found[1], layer, evidence=evidence)


def _of_probabilities(target: Target, name: str, activation: str, last: str) -> tuple[str, str] | None:
    """Message and remedy where a crossentropy does not fit an activation."""
    is_binary = name in _BINARY
    if target.from_logits and activation in ("softmax", "sigmoid"):
        return (
            f"{last} ends in {activation}, but the loss has from_logits=True and applies it once more.",
            f"model.compile(loss={_call(name, from_logits=False)})",
        )
    if target.classes == 1 and (activation == "softmax" or not is_binary):
        return (
            f"{name} of one unit with {activation} never changes.",
            f'layers.Dense(1, activation="sigmoid")  # and\nmodel.compile(loss={_call("binary_crossentropy")})',
        )
    if not target.from_logits and activation in ("linear", "tanh", "relu", "elu", "selu", "gelu", "leaky_relu"):
        return (
            f"{last} ends in {activation}, but {name} takes probabilities unless it has from_logits=True.",
            f"model.compile(loss={_call(name, from_logits=True)})"
            if activation == "linear"
            else f'layers.Dense({target.classes}, activation="{"sigmoid" if is_binary else "softmax"}")',
        )
    if not is_binary and activation == "sigmoid":
        return (
            f"{last} ends in sigmoid, but {name} takes probabilities that sum to 1 over the classes.",
            f'layers.Dense({target.classes}, activation="softmax")',
        )
    if is_binary and activation == "softmax":
        return (
            f"{last} ends in softmax, but {name} takes each output for a question of its own.",
            f"model.compile(loss={_call(_CATEGORICAL[0])})",
        )
    return None


def _labels(target: Target) -> Tensor | None:
    """Class numbers, where each sample has one class."""
    values = target.value
    if target.function == SPARSE:
        labels = values.reshape(-1)
        return labels[(labels >= 0) & (labels < max(target.classes, 2))].long()
    if target.function in _CATEGORICAL and values.ndim == 2 and values.shape[1] == target.classes:
        return values.argmax(-1)
    if target.function in _BINARY and target.classes == 1 and bool(((values == 0) | (values == 1)).all()):
        return values.reshape(-1).long()
    return None


def initial_loss(some: Target, everything: Tensor) -> tuple[float | None, list[Finding]]:
    """The loss of a model that knows nothing, and what is to be said of the first loss beside it.

    Args:
        some: some samples with their outputs.
        everything: all targets.
    """
    name, spread = some.function, 0.0
    if name in (SPARSE, *_CATEGORICAL[:1]) and some.classes > 1:
        expected, margin, why = math.log(some.classes), 2.5, f"log({some.classes}) for {some.classes} classes"
    elif name == _BINARY[0]:
        expected, margin, why = math.log(2), 2.5, "log(2) for a yes or no"
    elif name in _SQUARES:
        values = everything.float()
        spread = float(values.std(correction=0))
        expected, margin, why = spread**2, _MARGIN, "the variance of the targets"
    else:
        return None, []
    with torch.no_grad():
        first = float(some.loss(some.value, some.output))
    if not math.isfinite(first) or first <= margin * expected + (0.0 if spread else 1.0):
        return expected, []
    remedy = (
        "scale the inputs, and draw the weights of the last layer smaller: kernel_initializer=RandomNormal(stddev=0.01)"
    )
    center = float(everything.float().mean())
    if spread and first < _MARGIN * (center**2 + spread**2):
        remedy = f"{some.name} = ({some.name} - {center:.4g}) / {spread:.4g}"
    evidence = {"loss": round(first, 4), "expected": round(expected, 4)}
    message = f"The first loss is {first:.4g}; a model that knows nothing has {expected:.4g}, {why}."
    return expected, [Finding("initial-loss-off", "warning", message, remedy, step=0, evidence=evidence)]
