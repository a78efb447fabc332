"""A model's state to a weights file and back. All is checked before any is loaded."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError, LaminaError
from lamina.core.tensors import convert_to_tensor
from lamina.optimizers.base import Optimizer
from lamina.saving.hdf5 import VARS, Entries
from lamina.saving.walk import is_container, is_part, is_plain_module, items_of, parts_of

_SHOWN = 8
_RETRIES = 8
# Where lamina defines how variables are saved in their order; LoRA and quantization add to that where they are on.
_PLAIN_WAYS = (
    "lamina.layers.weights",
    "lamina.layers.lora",
    "lamina.layers.quantized_weights",
    "lamina.optimizers.state",
)
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


class Source(Protocol):
    """Where weights come from."""

    label: str

    def entries(self, path: str) -> Entries:
        """The variables stored under a path."""
        ...

    def paths(self) -> list[str]:
        """The paths under which variables are stored."""
        ...


class Target(Protocol):
    """Where weights go."""

    def slots(self, path: str, name: str | None) -> Any:
        """A mapping that takes the variables of one part."""
        ...


def save_state(model: Any, target: Target, assets: Path | None = None, skip: Iterable[Any] = ()) -> None:
    """Write the variables of a model and all its parts.

    Args:
        model: the model.
        target: takes the variables.
        assets: a folder for the files that layers keep, such as vocabularies.
        skip: parts to leave out.
    """
    done = {id(part) for part in skip}
    for path, part in walk(model, done):
        if hasattr(part, "save_own_variables"):
            name = getattr(part, "name", None)
            slots = target.slots(path, name if isinstance(name, str) else None)
            if (own := _in_order(part)) is None:
                part.save_own_variables(slots)
            else:
                # The tensors themselves, so that no copies pile up where a format is written at the end.
                for key, variable in own.items():
                    slots[key] = variable.detach()
        elif is_plain_module(part):
            slots = target.slots(path, None)
            for key, value in part.state_dict().items():
                slots[key] = value
        if assets is not None and hasattr(part, "save_assets"):
            folder = assets / path
            folder.mkdir(parents=True, exist_ok=True)
            part.save_assets(str(folder))


def walk(part: Any, done: set[int], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every part of a model once, with its path; those in `done` and what is below them are left out."""
    if id(part) in done:
        return
    done.add(id(part))
    if is_plain_module(part):
        done.update(id(module) for module in part.modules())
    yield path, part
    for name, value in parts_of(part):
        inner = f"{path}/{name}" if path else name
        if is_part(value):
            yield from walk(value, done, inner)
        else:
            yield from _walk_container(value, done, inner, set())


def _walk_container(container: Any, done: set[int], path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(container) in seen:
        return
    seen.add(id(container))
    for inner, value in items_of(container, path):
        if is_container(value):
            yield from _walk_container(value, done, inner, seen)
        else:
            yield from walk(value, done, inner)


@dataclass
class Match:
    """A part of the model, and what the file has for it."""

    part: Any
    path: str
    entries: Entries
    problem: str | None = None
    partial: bool = False

    @property
    def is_optimizer(self) -> bool:
        """Whether the part is an optimizer."""
        return isinstance(self.part, Optimizer)


def load_plain_state(model: Any, source: Any, skip_mismatch: bool = False) -> None:
    """Give a model the values of a file that names them as its `state_dict()` does.

    Args:
        model: the model, built.
        source: a safetensors file.
        skip_mismatch: leave what does not fit as it is, with a warning, instead of raising.

    Raises:
        FileError: an entry is missing, is left over, or has another shape or dtype. The model is then unchanged.
    """
    state, stored = model.state_dict(keep_vars=True), source.tensors
    problems = [f"{key}: missing, expected {_form(value)}" for key, value in state.items() if key not in stored]
    problems += [f"{key}: expected nothing, found {entry}" for key, entry in stored.items() if key not in state]
    fitting = {key: value for key, value in state.items() if key in stored and _fits(stored[key], value)}
    problems += [
        f"{key}: expected {_form(value)}, found {stored[key]}"
        for key, value in state.items()
        if key in stored and key not in fitting
    ]
    if problems and not skip_mismatch:
        raise _mismatch(problems, source.label)
    entries = Entries(source, "", stored)
    for key, value in fitting.items():
        _give(value, entries, key)
    if problems:
        warnings.warn(str(_mismatch(problems, source.label)), stacklevel=4)


def load_state(
    model: Any,
    source: Source,
    assets: Path | None = None,
    skip_mismatch: bool = False,
    skip: Iterable[Any] = (),
    other_optimizer: bool = False,
) -> None:
    """Give a model and all its parts the values in a file.

    Args:
        model: the model, built.
        source: has the variables.
        assets: the folder of files that layers keep.
        skip_mismatch: leave parts that do not fit as they are, with a warning, instead of raising.
        skip: parts to leave out.
        other_optimizer: whether an optimizer that does not fit keeps its own state, with a warning.

    Raises:
        FileError: an entry is missing, is left over, or has another shape or dtype. The model is then
            unchanged.
    """
    plan = _Plan(source, skip)
    plan.visit(model, "")
    problems = plan.problems(False) + plan.left_over()
    optional = plan.problems(True)
    if not other_optimizer:
        problems += optional
    if problems and not skip_mismatch:
        raise _mismatch(problems, source.label)
    if optional and other_optimizer:
        warnings.warn(f"The optimizer keeps its own state. {optional[0]}", stacklevel=4)
    for match in plan.matches.values():
        if match.problem is None:
            try:
                _load(match, assets)
            except (LaminaError, KeyError, IndexError, ValueError, TypeError, OSError, RuntimeError) as error:
                problems.append(f"{match.path or 'the model'}, {_described(match.part)}: {error}")
                if not skip_mismatch:
                    raise _mismatch(problems, source.label) from error
    if problems:
        warnings.warn(str(_mismatch(problems, source.label)), stacklevel=4)


class _Plan:
    """What to load where. A part with several paths takes the first that has what it needs."""

    def __init__(self, source: Source, skip: Iterable[Any]) -> None:
        self.source = source
        self.matches: dict[int, Match] = {}
        self.done: set[int] = set()
        self.tries: Counter[int] = Counter()
        self.skip = {id(part) for part in skip}
        self.skipped: list[str] = []

    def visit(self, part: Any, path: str, active: frozenset[int] = frozenset(), owner: Any = None) -> bool:
        """Match a part and those below it; whether all of them found what they need."""
        key = id(part)
        if key in self.skip:
            self.skipped.append(path)
        if key in active or key in self.done or key in self.skip:
            return True
        self.tries[key] += 1
        if self.tries[key] > _RETRIES:
            return False
        known = self.matches.get(key)
        if known is None or known.problem is not None:
            match = _matched(part, path, self.source.entries(path), owner)
            if known is None or match.problem is None:
                self.matches[key] = match
        fits = self.matches[key].problem is None
        for name, value in parts_of(part):
            inner = f"{path}/{name}" if path else name
            if is_part(value):
                fits &= self.visit(value, inner, active | {key}, part)
            else:
                fits &= self._visit_container(value, inner, active | {key}, set(), part)
        if fits:
            self.done.update(id(module) for module in part.modules()) if is_plain_module(part) else self.done.add(key)
        return fits

    def _visit_container(self, container: Any, path: str, active: frozenset[int], seen: set[int], owner: Any) -> bool:
        if id(container) in seen:
            return True
        seen.add(id(container))
        fits = True
        for inner, value in items_of(container, path):
            if is_container(value):
                fits &= self._visit_container(value, inner, active, seen, owner)
            else:
                fits &= self.visit(value, inner, active, owner)
        return fits

    def problems(self, of_optimizers: bool) -> list[str]:
        """What does not fit, for the optimizers or for all else."""
        return [m.problem for m in self.matches.values() if m.problem and m.is_optimizer is of_optimizers]

    def left_over(self) -> list[str]:
        """What the file has and the model does not; an optimizer's state may be left alone."""
        used = {match.path for match in self.matches.values()}
        below = tuple(f"{path}/" for path in self.skipped)
        extra = [
            path
            for path in self.source.paths()
            if path not in used
            and path not in self.skipped
            and not path.startswith(below)
            and path.split("/")[0] != "optimizer"
        ]
        return [f"{path}/{VARS}: the model has no such part" for path in sorted(extra)]


def _matched(part: Any, path: str, entries: Entries, owner: Any) -> Match:
    """Compare a part's variables with the entries under its path."""
    match = Match(part, path, entries)
    if not hasattr(part, "load_own_variables") and not is_plain_module(part):
        return match
    if match.is_optimizer:
        _prepare_optimizer(match, owner)
    expected = expected_variables(part)
    if expected is None:
        return match
    missing = [key for key in expected if key not in entries.stored]
    extra = [key for key in entries.stored if key not in expected]
    wrong = {
        key: variable
        for key, variable in expected.items()
        if key in entries.stored and not _fits(entries.stored[key], variable)
    }
    if match.partial:
        missing = []
    lines = [f"{_place(path, key)}: missing, expected {_form(expected[key])}" for key in missing]
    lines += [f"{_place(path, key)}: expected nothing, found {entries.stored[key]}" for key in extra]
    lines += [f"{_place(path, key)}: expected {_form(v)}, found {entries.stored[key]}" for key, v in wrong.items()]
    if lines:
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        match.problem = f"{_described(part)}: " + "; ".join(lines[:3]) + more
    return match


def _prepare_optimizer(match: Match, owner: Any) -> None:
    """Give an optimizer its slots if the file has some; else only step count and learning rate are loaded."""
    optimizer, stored = match.part, match.entries.stored
    scalars = [key for key, entry in stored.items() if key in ("0", "1") and entry.shape == ()]
    if len(stored) > len(scalars) and not optimizer.built and getattr(owner, "trainable_variables", None):
        optimizer.build(owner.trainable_variables)
    match.partial = len(stored) == len(scalars)


def expected_variables(part: Any) -> dict[str, Any] | None:
    """What a part would save, by key; None where that cannot be known beforehand."""
    if is_plain_module(part):
        return dict(part.state_dict())
    if not hasattr(part, "save_own_variables"):
        return {}
    method = getattr(type(part), "load_own_variables", None)
    if method is None or not is_ours_function(method):
        return None
    if (own := _in_order(part)) is not None:
        return own
    expected: dict[str, Any] = {}
    part.save_own_variables(expected)
    return expected


def _in_order(part: Any) -> dict[str, Any] | None:
    """A part's variables under "0", "1", ...; None where the part has a way of its own to save or load them."""
    methods = [getattr(part, name, None) for name in ("save_own_variables", "load_own_variables")]
    if any(getattr(method, "__module__", None) not in _PLAIN_WAYS for method in methods):
        return None
    if getattr(part, "lora_enabled", False) or getattr(part, "quantization_mode", None):
        return None
    variables = part.variables if isinstance(part, Optimizer) else part._own_weights()
    return {str(index): variable for index, variable in enumerate(variables)}


def is_ours_function(function: Any) -> bool:
    """Whether lamina itself defines a method, so that what it loads is what it saves."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "lamina"


def _load(match: Match, assets: Path | None) -> None:
    part, entries = match.part, match.entries
    if match.partial:
        for key in entries.stored:
            part.variables[int(key)].assign(entries[key])
    elif (own := _in_order(part)) is not None:
        for key, variable in own.items():
            _give(variable, entries, key)
    elif hasattr(part, "load_own_variables"):
        part.load_own_variables(entries)
    elif is_plain_module(part):
        state = {key: torch.as_tensor(entries[key]) for key in entries.stored}
        part.load_state_dict(state)
    if assets is not None and hasattr(part, "load_assets"):
        folder = assets / match.path
        if folder.is_dir():
            part.load_assets(str(folder))


def _give(variable: Any, entries: Entries, key: str) -> None:
    """Read an entry into a variable, without a copy in between where both lie in memory alike."""
    with torch.no_grad():
        if not entries.read_into(key, variable):
            variable.copy_(convert_to_tensor(entries[key], device=variable.device))


def _fits(stored: Any, variable: Any) -> bool:
    kind = "f" if "float" in stored.dtype else np.dtype(stored.dtype).kind
    dtype = standardize_dtype(variable.dtype) if hasattr(variable, "dtype") else "float32"
    wanted = "f" if "float" in dtype else np.dtype(dtype).kind
    return stored.shape == tuple(np.shape(variable)) and _RANK[kind] <= _RANK[wanted]


def _form(variable: Any) -> str:
    dtype = standardize_dtype(variable.dtype) if hasattr(variable, "dtype") else type(variable).__name__
    return f"{dtype} {tuple(np.shape(variable))}"


def _place(path: str, key: str) -> str:
    return "/".join(part for part in (path, VARS, key) if part)


def _described(part: Any) -> str:
    name = getattr(part, "name", None)
    label = type(part).__name__
    return f"{label} '{name}'" if isinstance(name, str) else label


def _mismatch(problems: list[str], label: str) -> FileError:
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    count = f"{len(problems)} parts differ" if len(problems) > 1 else "one part differs"
    return FileError(
        f"The file does not fit the model: {count}.",
        where=label,
        received="".join(f"\n    {line}" for line in problems[:_SHOWN] + more),
        fix="build the model as it was when saved, or keep what differs with load_weights(..., skip_mismatch=True)",
    )
