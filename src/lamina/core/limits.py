"""What a file or a config may ask for: bounds that only the caller moves, held while something is being loaded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lamina.core.errors import FileError

# Weights below this size are cheap to initialise; larger ones wait for their values from the file.
_BLANK_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Bounds on what loading may take; nothing in a file moves them.

    Args:
        members: the most members of an archive, and the most shards.
        json_bytes: the longest JSON text, and the longest text in an HDF5 attribute.
        depth: how deeply a config may be nested.
        objects: the most layers, initializers and the like in a config.
        steps: the most tensor operations that finding the shapes in a config may take.
        arrays: the most groups and arrays in a weights file.
        expansion: how many times larger than the file the unpacked content may be.
        floor: bytes that may be unpacked however small the file is.
        memory: bytes of weights that a config may name where no weights come with it. Where they do, it may name four
            times what the file holds.

    Example:
        >>> Limits(memory=1 << 20).memory
        1048576
    """

    members: int = 10_000
    json_bytes: int = 32 << 20
    depth: int = 500
    objects: int = 50_000
    steps: int = 500_000
    arrays: int = 1_000_000
    expansion: int = 100
    floor: int = 64 << 20
    memory: int = 16 << 30


DEFAULT = Limits()


class Budget:
    """What is left of the bounds while one config is made real.

    Args:
        limits: the bounds.
        memory: bytes of weights, in place of `limits.memory`.
        blank: whether large weights may stay zero until the file gives their values.
    """

    def __init__(self, limits: Limits, memory: int | None = None, blank: bool = False) -> None:
        self.limits, self.blank = limits, blank
        self.memory = self.left = limits.memory if memory is None else memory
        self.objects = limits.objects
        self.depth = 0
        self.waiting: list[tuple[torch.Tensor, int, Callable[[], torch.Tensor]]] = []

    def fill(self) -> None:
        """Initialise the weights that the file had no values for."""
        with torch.no_grad():
            for weight, version, initial in self.waiting:
                if weight._version == version:
                    weight.copy_(initial())
        self.waiting.clear()


class _Steps(TorchFunctionMode):
    """Counts what torch is asked to do, and the pieces it is asked to cut tensors into."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.left = self.limit = limit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call."""
        if not args or not isinstance(args[0], (torch.Tensor, list, tuple)):
            # Among these are the calls that end a context such as no_grad, which must not fail.
            return func(*args, **(kwargs or {}))
        self.left -= 1
        name = getattr(func, "__name__", "")
        if name in _CUTTING and isinstance(args[0], torch.Tensor):
            self.left -= _pieces(name, args[0], args[1] if len(args) > 1 else None)
        if self.left < 0:
            raise FileError(
                "The config asks for more work than it may.",
                where="the config being loaded",
                expected=f"at most {self.limit} tensor operations",
                fix="if the file is to be trusted, pass limits=lamina.saving.Limits(steps=...)",
            )
        return func(*args, **(kwargs or {}))


_CUTTING = frozenset({"split", "split_with_sizes", "tensor_split", "chunk", "unbind", "hsplit", "vsplit", "dsplit"})


def _pieces(name: str, x: torch.Tensor, by: Any) -> int:
    """About how many tensors a call gives, at most."""
    longest = max(x.shape, default=1)
    if isinstance(by, int) and name != "unbind":
        return longest // max(by, 1) if name == "split" else min(abs(by), 1 << 62)
    return len(by) if isinstance(by, (list, tuple)) else int(longest)


class _Local(threading.local):
    budget: Budget | None = None


_local = _Local()


@contextlib.contextmanager
def loading(limits: Limits | None = None, memory: int | None = None, blank: bool = False) -> Iterator[Budget]:
    """Within it, what is made counts against these bounds; an inner use goes on with the outer one's.

    Example:
        >>> with loading(Limits(memory=100)):
        ...     claim(1000, "a weight")
        Traceback (most recent call last):
        ...
        lamina.core.errors.FileError: The config asks for more memory than it may.
        ...
    """
    outer = _local.budget
    if outer is not None:
        yield outer
        return
    _local.budget = Budget(limits or DEFAULT, memory, blank)
    try:
        with _Steps(_local.budget.limits.steps):
            yield _local.budget
    finally:
        _local.budget = None


def claim(size: int, what: str) -> None:
    """Take bytes from the bounds, where something is being loaded.

    Raises:
        FileError: too few are left.
    """
    budget = _local.budget
    if budget is None:
        return
    if size > budget.left:
        raise FileError(
            "The config asks for more memory than it may.",
            where=what,
            expected=f"at most {budget.memory} bytes in all",
            received=f"{size} bytes here",
            fix="if the file is to be trusted, pass limits=lamina.saving.Limits(memory=...)",
        )
    budget.left -= size


def too_large(bound: str, most: int) -> FileError:
    """The error for a config that goes beyond one of the bounds."""
    what = "The config holds too many objects." if bound == "objects" else "The config is nested too deeply."
    fix = f"if the file is to be trusted, pass limits=lamina.saving.Limits({bound}=...)"
    return FileError(what, where="the config being loaded", expected=f"at most {most}", fix=fix)


@contextlib.contextmanager
def nested(count: int = 0) -> Iterator[None]:
    """One level deeper in a config, with `count` further objects.

    Raises:
        FileError: the config is nested too deeply, or has too many objects.
    """
    budget = _local.budget
    if budget is None:
        yield
        return
    budget.objects -= count
    if budget.objects < 0:
        raise too_large("objects", budget.limits.objects)
    if budget.depth >= budget.limits.depth:
        raise too_large("depth", budget.limits.depth)
    budget.depth += 1
    try:
        yield
    finally:
        budget.depth -= 1


def blank(shape: tuple[int, ...], dtype: torch.dtype, device: Any) -> torch.Tensor | None:
    """Zeros for a large weight whose values the file being loaded has; None where it must be initialised."""
    budget = _local.budget
    if budget is None or not budget.blank:
        return None
    value = torch.empty(shape, dtype=dtype, device="meta")
    return torch.zeros(shape, dtype=dtype, device=device) if value.nbytes >= _BLANK_BYTES else None


def await_values(weight: torch.Tensor, initial: Callable[[], torch.Tensor]) -> None:
    """Note a blank weight, and how it is initialised should the file have no values for it."""
    budget = _local.budget
    if budget is not None:
        budget.waiting.append((weight, weight._version, initial))
