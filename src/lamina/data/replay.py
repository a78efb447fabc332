"""What it takes to give the same batches again: what changes in a dataset, and the way back to a place in it."""

from __future__ import annotations

import contextlib
import copy
import random
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from lamina.core.errors import say_once
from lamina.core.forms import alike, check_generator, described, refuse
from lamina.core.seeds import python_state, set_python_state

_BYTES = 16 << 20
_WORTH_A_WORD = 5.0
_PLAIN = (bool, int, float, str, type(None))
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


class Attributes:
    """The attributes of a dataset that have changed since: numbers, text, lists of these, arrays, generators.

    Arrays of more than 16 MB are taken for data that stays.

    Args:
        holder: the dataset, as it is before the first batch.
    """

    def __init__(self, holder: Any) -> None:
        self.holder = holder
        self._before = copy.deepcopy(self._values())

    def _values(self) -> dict[str, Any]:
        held = getattr(self.holder, "__dict__", {})
        values = {name: _state_of(value) for name, value in held.items()}
        return {name: value for name, value in values.items() if value is not _OTHER}

    def changed(self) -> dict[str, Any]:
        """Those that have another value than at first."""
        before = {name: _digest(value) for name, value in self._before.items()}
        return {name: value for name, value in self._values().items() if before.get(name) != _digest(value)}

    def check(self, state: Mapping[str, Any], where: str, place: str) -> None:
        """See whether the dataset can have these attributes: none of its class, none in the place of something else.

        Args:
            state: what `changed` gave.
            where: the file, for messages.
            place: the entry of the file.

        Raises:
            FileError: it cannot.
        """
        held = getattr(self.holder, "__dict__", {})
        for name, value in state.items():
            at, present = f"{place}/{name!s:.60}", held.get(name)
            if not str(name).isidentifier() or (name not in held and hasattr(self.holder, name)):
                refuse(where, at, "the name of an attribute that a dataset may set", "a name of its class, or none")
            if isinstance(present, _GENERATORS):
                check_generator(value, present, where, at)
            elif not (alike(value, present) and _state_of(value) is not _OTHER) and value is not None:
                refuse(where, at, f"something like {described(present)}", described(value))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Give them the values that `changed` gave, and the others those that they had at first."""
        first = {name: self._before[name] for name in self.changed() if name in self._before}
        for name, value in {**first, **state}.items():
            if not _restored(self.holder.__dict__.get(name), value):
                setattr(self.holder, name, value)


_OTHER = object()


def _state_of(value: Any) -> Any:
    """A value, or the state of a generator, as a checkpoint can hold it."""
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    if isinstance(value, random.Random):
        return python_state(value)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, (np.ndarray, torch.Tensor)):
        numeric = isinstance(value, torch.Tensor) or value.dtype.kind in "biuf"
        return value if numeric and value.nbytes <= _BYTES else _OTHER
    if isinstance(value, list) and len(value) <= _BYTES >> 6:
        return value if all(isinstance(part, (*_PLAIN, np.generic)) for part in value) else _OTHER
    return value if isinstance(value, _PLAIN) else _OTHER


def _restored(present: Any, state: Any) -> bool:
    """Put a generator into a state; whether there was one."""
    if isinstance(present, np.random.Generator):
        present.bit_generator.state = state
    elif isinstance(present, np.random.RandomState):
        present.set_state(state)
    elif isinstance(present, random.Random):
        set_python_state(present, state)
    elif isinstance(present, torch.Generator):
        present.set_state(state)
    return isinstance(present, _GENERATORS)


def _digest(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), zlib.crc32(np.ascontiguousarray(value).tobytes())
    return repr(value)


@contextlib.contextmanager
def skipping(kind: str, count: int) -> Iterator[None]:
    """Say so, once, if leaving out batches takes long."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    if seconds > _WORTH_A_WORD:
        say_once(f"the {kind} gave {count} batches again, to get back to its place, which took {seconds:.0f} s.")


def aligned(leaf: Any) -> Any:
    """A tensor whose memory begins at a multiple of 64 bytes, as that of torch's own does.

    Kernels may add in another order elsewhere, and where an array of NumPy begins differs from run to run.
    """
    if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" and leaf.data_ptr() % 64:
        return leaf.clone()
    return leaf
