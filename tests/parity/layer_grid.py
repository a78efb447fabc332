"""The judge of the layers: one case in lamina and in the real Keras, with the same weights and inputs.

Compared are refusals, names and shapes of weights, and for two calls in a row: outputs, their dtypes and masks, losses,
the gradients of inputs and weights, and every variable afterwards; then what symbolic inputs give, and whether there
was a warning that a mask is lost.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import torch

from lamina import layers
from lamina.core import tree
from lamina.graph.tensor import KerasTensor

LIMIT = 40
"""Combinations of arguments tried for a row; of more, each value alone and then a fixed sample."""
LAST = "outputs, call 1"
POLICIES = ("float64", "bfloat16", "mixed_bfloat16", "float16")
TOLERANCES = {"float64": 1e-5, "float32": 3e-5, "bfloat16": 3e-2, "mixed_bfloat16": 3e-2, "float16": 6e-3}
REFUSALS = (ValueError, TypeError, IndexError, KeyError, AssertionError)


@dataclasses.dataclass(frozen=True)
class T:
    """A tensor to be made.

    Args:
        shape: its shape.
        kind: "float", "positive", "pixels", "ids" below `high`, or "bool".
        high: the bound of ids.
        dtype: its dtype, if another than the kind's usual one.
        mask: whether there is a mask on it, over its first two axes.
    """

    shape: tuple[int, ...]
    kind: str = "float"
    high: int = 10
    dtype: str = ""
    mask: bool = False

    def make(self, seed: int) -> torch.Tensor:
        """The tensor, the same for the same seed."""
        numbers = np.random.default_rng(seed)
        if self.kind == "ids":
            made = torch.from_numpy(numbers.integers(0, self.high, self.shape))
        elif self.kind == "bool":
            made = torch.from_numpy(numbers.random(self.shape) > 0.4)
        else:
            values = numbers.uniform(0, 255, self.shape) if self.kind == "pixels" else numbers.normal(size=self.shape)
            made = torch.from_numpy(np.abs(values) if self.kind == "positive" else values).float()
        made = made.to(getattr(torch, self.dtype)) if self.dtype else made
        if made.is_floating_point():
            made.requires_grad_()
        if self.mask:
            made._keras_mask = torch.from_numpy(numbers.random(self.shape[:2]) > 0.4)  # type: ignore[attr-defined]
        return made


@dataclasses.dataclass(frozen=True)
class L:
    """A layer to be made, as an argument of another."""

    layer: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """Cases of one layer: all combinations of these arguments and inputs.

    Args:
        base: arguments that stay.
        vary: values for others.
        inputs: each a T, a list of T for a layer that takes a list, or a tuple of T for several arguments.
        calls: keyword arguments of the call; a T in them is made.
        training: modes to call in; None for a layer that is not told.
        policies: other dtype policies that the base is tried with.
        drawn: whether lamina draws what both then do to images.
        tolerance: how many times the usual one.
        symbolic: whether to compare what symbolic inputs give.
    """

    base: dict[str, Any]
    inputs: Sequence[Any]
    vary: dict[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    calls: Sequence[dict[str, Any]] = ({},)
    training: Sequence[bool | None] = (None,)
    policies: Sequence[str] = POLICIES
    drawn: bool = False
    tolerance: float = 1.0
    symbolic: bool = True


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer, one set of arguments, one set of inputs."""

    layer: str
    arguments: dict[str, Any]
    inputs: Any
    call: dict[str, Any]
    row: Row

    def __str__(self) -> str:
        return f"{self.layer}({self.arguments}) on {self.inputs}, {self.call}"


@dataclasses.dataclass(frozen=True)
class Difference:
    """Where the two differ."""

    case: Case
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.case}\n    {self.what}: {self.text}"


@dataclasses.dataclass
class Verdict:
    """What came of a case."""

    differences: list[Difference] = dataclasses.field(default_factory=list)
    refused: bool = False
    mistaken: bool = False
    gradients: int = 0
    states: int = 0


def cases_of(layer: str, row: Row) -> Iterator[Case]:
    """All combinations of a row, or so many of them that each value occurs."""
    names = list(row.vary)
    axes: list[Sequence[Any]] = [*row.vary.values(), row.inputs, row.calls, row.training]
    if math.prod(map(len, axes)) <= LIMIT:
        chosen = list(itertools.product(*(range(len(axis)) for axis in axes)))
    else:
        alone = [
            tuple(i if k == axis else 0 for k in range(len(axes)))
            for axis in range(len(axes))
            for i in range(len(axes[axis]))
        ]
        numbers = random.Random(layer)
        drawn = [tuple(numbers.randrange(len(axis)) for axis in axes) for _ in range(LIMIT)]
        chosen = list(dict.fromkeys([*alone, *drawn]))[: max(LIMIT, len(set(alone)))]
    for places in chosen:
        values = [axis[place] for axis, place in zip(axes, places, strict=True)]
        *given, inputs, call, training = values
        call = call if training is None else {**call, "training": training}
        yield Case(layer, {**row.base, **dict(zip(names, given, strict=True))}, inputs, call, row)
    if row.policies:
        call = row.calls[0] if row.training[0] is None else {**row.calls[0], "training": row.training[0]}
        for policy in row.policies:
            yield Case(layer, {**row.base, "dtype": policy}, row.inputs[0], call, row)


def run(case: Case) -> Verdict:
    """Judge one case."""
    verdict = Verdict()
    answers = [_answer(home, case) for home in (layers, keras.layers)]
    errors = [answer if isinstance(answer, Exception) else None for answer in answers]

    def differ(what: str, text: Any) -> None:
        verdict.differences.append(Difference(case, what, str(text)[:300]))

    if errors[1] is not None:
        verdict.refused = True
        if errors[0] is None and isinstance(errors[1], REFUSALS):
            differ("refusal", f"Keras refuses: {errors[1]}")
        return verdict
    if errors[0] is not None:
        differ("refusal", f"lamina refuses: {type(errors[0]).__name__}: {errors[0]}")
        return verdict
    ours, theirs = answers
    tolerance = case.row.tolerance * TOLERANCES[case.arguments.get("dtype", "float32")]
    for what in ours:
        problem = _problem(ours[what], theirs[what], tolerance)
        if problem and what == "symbolic outputs" and _errs(ours, theirs):
            verdict.mistaken = True
        elif problem:
            differ(what.split(",")[0], f"{what}: {problem}")
        verdict.gradients += what.startswith("gradients")
        verdict.states += what.startswith("variables")
    return verdict


def _errs(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether Keras leaves open what is known, or tells of symbolic inputs what its own outputs are not."""
    for mine, other, output in zip(ours["symbolic outputs"], theirs["symbolic outputs"], theirs[LAST], strict=True):
        made = str(output.dtype).removeprefix("torch.")
        if (mine[1] != other[1] and other[1] == made) or len(mine[0]) != len(other[0]):
            return False
        for one, two, size in zip(mine[0], other[0], output.shape, strict=True):
            if one != two and (one != size or two == size):
                return False
    return True


def _answer(home: Any, case: Case) -> Any:
    """All that a layer gives, by what it is; or the error that it raises."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            layer = _made(L(case.layer, case.arguments), home)
            answer = _drawn(layer, home, case) if case.row.drawn else _called(layer, home, case)
            lost = any("drops the mask" in str(one.message) or "destroy the mask" in str(one.message) for one in told)
            return answer | {"warning": lost}
        except Exception as error:
            return error


def _made(value: Any, home: Any) -> Any:
    """A value with the layers in it made."""
    if isinstance(value, L):
        return getattr(home, value.layer)(**{key: _made(part, home) for key, part in value.arguments.items()})
    return [_made(part, home) for part in value] if isinstance(value, list) else value


def _tensors(value: Any, seeds: Iterator[int]) -> Any:
    if isinstance(value, T):
        return value.make(next(seeds))
    if isinstance(value, (list, tuple)):
        return type(value)(_tensors(part, seeds) for part in value)
    return value


def _called(layer: Any, home: Any, case: Case) -> dict[str, Any]:
    seeds = itertools.count()
    inputs = _tensors(case.inputs, seeds)
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    call = {key: _tensors(value, seeds) for key, value in case.call.items()}
    given = [(x, x._keras_mask) for x in tree.flatten(args) if hasattr(x, "_keras_mask")]
    layer(*args, **{**call, **({"training": False} if "training" in call else {})})
    answer: dict[str, Any] = {"weights": [(w.path.split("/")[-1], tuple(w.shape)) for w in layer.weights]}
    numbers = np.random.default_rng(1)
    layer.set_weights([_start(weight, numbers) for weight in layer.weights])
    is_stateful = getattr(layer, "stateful", False)
    if is_stateful:
        layer.reset_states()
    weights = [getattr(w, "value", w) for w in layer.trainable_weights]
    sources = [x for x in tree.flatten([*args, *call.values()]) if isinstance(x, torch.Tensor) and x.requires_grad]
    for step in range(2):
        for x, mask in given:
            x._keras_mask = mask  # Keras takes it off in some layers
        outputs = [y for y in tree.flatten(layer(*args, **call)) if y is not None]
        losses = list(layer.losses)
        answer[f"outputs, call {step}"] = [y.detach() for y in outputs]
        answer[f"masks, call {step}"] = [getattr(y, "_keras_mask", None) for y in outputs]
        answer[f"losses, call {step}"] = sum(
            (x.detach().double() for x in losses), torch.zeros((), dtype=torch.float64)
        )
        total = [
            (y.double() * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)).sum()
            for y in outputs
            if y.requires_grad
        ]
        total += [x.double() for x in losses if x.requires_grad]
        if total and (sources or weights):
            found = torch.autograd.grad(sum(total), [*sources, *weights], allow_unused=True)  # type: ignore[arg-type]
            pairs = zip(found, [*sources, *weights], strict=True)
            answer[f"gradients, call {step}"] = [torch.zeros_like(x) if g is None else g for g, x in pairs]
        variables = [*layer.weights, *(tree.flatten(layer.states) if is_stateful else [])]
        answer[f"variables, call {step}"] = [getattr(w, "value", w).detach().clone() for w in variables]
    if case.row.symbolic:
        kind = KerasTensor if home is layers else keras.KerasTensor
        fixed = case.arguments.get("stateful", False)
        symbols = tree.map_structure(
            lambda x: kind((x.shape[0] if fixed else None, *x.shape[1:]), str(x.dtype).removeprefix("torch.")), inputs
        )
        symbols = symbols if isinstance(inputs, tuple) else (symbols,)
        plain = {key: value for key, value in case.call.items() if not isinstance(value, (T, list))}
        spec = tree.flatten(layer.compute_output_spec(*symbols, **plain))
        answer["symbolic outputs"] = [(tuple(s.shape), str(s.dtype)) for s in spec if s is not None]
    return answer


def _start(weight: Any, numbers: np.random.Generator) -> np.ndarray:
    values = numbers.normal(size=tuple(weight.shape)) * 0.5
    return np.abs(values) + 0.5 if "variance" in weight.path or "stddev" in weight.path else values


_TRANSFORMATIONS: dict[int, Any] = {}


def _drawn(layer: Any, home: Any, case: Case) -> dict[str, Any]:
    """What the layer does to images, given what lamina's drew."""
    images = _tensors(case.inputs, itertools.count())
    if home is layers:
        _TRANSFORMATIONS[id(case)] = layer.get_random_transformation(images, training=True)
        transformation = _TRANSFORMATIONS[id(case)]
    else:
        transformation = _TRANSFORMATIONS.pop(id(case))
    outputs = layer.transform_images(images, copy.deepcopy(transformation))
    answer: dict[str, Any] = {"outputs": [outputs.detach()]}
    if outputs.requires_grad:
        answer["gradients"] = list(torch.autograd.grad(outputs.square().mean(), [images], allow_unused=True))
    return answer


def _problem(ours: Any, theirs: Any, tolerance: float) -> str | None:
    """How two answers differ, or None."""
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{len(ours)} values, Keras has {len(theirs)}"
        found = (_problem(one, other, tolerance) for one, other in zip(ours, theirs, strict=True))
        return next((problem for problem in found if problem), None)
    if not isinstance(theirs, torch.Tensor) or not isinstance(ours, torch.Tensor):
        return None if type(ours) is type(theirs) and ours == theirs else f"{ours}, Keras has {theirs}"
    if ours.dtype is not theirs.dtype or ours.shape != theirs.shape:
        return f"{ours.dtype} {tuple(ours.shape)}, Keras has {theirs.dtype} {tuple(theirs.shape)}"
    one, other = ours.double(), theirs.double()
    finite = other[torch.isfinite(other)]
    scale = max(1.0, float(finite.abs().max())) if finite.numel() else 1.0
    if torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        return None
    return f"off by {float((one - other).abs().nan_to_num(math.inf).max()):.3g} of {scale:.3g}"


Condition = Callable[[Difference], bool]


@dataclasses.dataclass(frozen=True)
class Known:
    """A difference that is meant.

    Args:
        layers: the layers' names.
        what: what differs: "outputs", "masks", "losses", "gradients", "variables", "weights", "refusal" or "warning".
        reason: why.
        applies: tells the cases.
    """

    layers: str
    what: str
    reason: str
    applies: Condition = lambda difference: True


def known(difference: Difference, entries: Sequence[Known]) -> Known | None:
    """The entry that explains a difference, or None."""
    case, what = difference.case, difference.what
    for entry in entries:
        if case.layer in entry.layers.split() and what in entry.what.split() and entry.applies(difference):
            return entry
    return None
