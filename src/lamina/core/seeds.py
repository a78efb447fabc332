"""Random numbers: one seed for everything, and generators with a state of their own."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, listing
from lamina.core.naming import auto_name
from lamina.core.registry import builtin
from lamina.core.variable import Variable

_source = random.Random()
_seed: int | None = None


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, and every seed that lamina draws from now on.

    Args:
        seed: an integer of 32 bits.

    Example:
        >>> set_random_seed(7)
    """
    global _seed
    _seed = seed = as_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    _source.seed(seed)


def latest_seed() -> int | None:
    """What `set_random_seed` was last given; None if it was not called."""
    return _seed


def enable_determinism() -> None:
    """Have the same program give the same numbers each time, on the same machine with the same versions.

    torch's deterministic algorithms are used (an operation that has none raises an error), cuDNN tries no
    alternatives, and no step changes over to compiled code at a moment that depends on time: steps stay eager, unless
    `compile(jit_compile=True)` asks for compiled ones. Call it, and `set_random_seed`, before a model is made.

    Example:
        >>> enable_determinism()
        >>> is_determinism_enabled()
        True
        >>> disable_determinism()

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _set_determinism(True)


def disable_determinism() -> None:
    """Take `enable_determinism` back."""
    _set_determinism(False)


def is_determinism_enabled() -> bool:
    """Whether torch uses deterministic algorithms only."""
    return torch.are_deterministic_algorithms_enabled()


def _set_determinism(on: bool) -> None:
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.deterministic = on
    if on:
        torch.backends.cudnn.benchmark = False


def generators_state() -> dict[str, Any]:
    """The states of all generators that a process shares: Python's, NumPy's, torch's, and that of lamina's seeds."""
    state = {
        "python": _state_of(random.getstate()),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "seeds": _state_of(_source.getstate()),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_generators_state(state: Mapping[str, Any]) -> None:
    """Put all generators into the states that `generators_state` gave."""
    set_python_state(random, state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    set_python_state(_source, state["seeds"])
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _state_of(state: tuple[Any, ...]) -> dict[str, Any]:
    version, numbers, normal = state
    return {"version": version, "numbers": np.array(numbers, "uint32"), "normal": normal}


def python_state(generator: random.Random) -> dict[str, Any]:
    """The state of one of Python's generators, its numbers as an array."""
    return _state_of(generator.getstate())


def set_python_state(generator: Any, state: Mapping[str, Any]) -> None:
    """Put one of Python's generators (or the module `random`) into a state."""
    generator.setstate((state["version"], tuple(state["numbers"].tolist()), state["normal"]))


def as_seed(seed: Any) -> int:
    """The seed as an integer.

    Raises:
        ArgumentError: it is something else.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ArgumentError("A seed is an integer.", where="seed=...", expected="an integer", received=repr(seed))
    return int(seed)


def draw_seed() -> int:
    """A fresh seed, repeatable after `set_random_seed`."""
    return _source.getrandbits(31)


@builtin("keras.random")
class SeedGenerator(Captured):
    """A stream of seeds that survives saving: each `next()` gives a new one.

    Args:
        seed: an integer, or None to draw one.
        name: its name.

    Raises:
        ArgumentError: the seed is something else, or there is an argument of another name.

    Example:
        >>> SeedGenerator(3).next().tolist() == SeedGenerator(3).next().tolist()
        True

    Source: https://keras.io/api/random/seed_generator/
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        kwargs.pop("backend", None)
        if kwargs:
            raise ArgumentError(
                "A seed generator has no such argument.",
                where="SeedGenerator",
                expected="seed, name",
                received=listing(kwargs),
            )
        self.name = name or auto_name("seed_generator")
        self.seed = None if seed is None else as_seed(seed)
        first = draw_seed() if self.seed is None else self.seed
        self.state = Variable(
            torch.tensor([first % 2**63, 0]), dtype="int64", trainable=False, name="seed_generator_state"
        )

    def next(self, ordered: bool = True) -> torch.Tensor:
        """The present seed (two int64 numbers); the state moves on by one, or leaps if not `ordered`."""
        value = self.state.detach().clone()
        if ordered:
            # Not `state[1] += 1`: of that, compiled code makes an expression that doubles with each draw.
            self.state.data.add_(torch.arange(2, device=self.state.device))
        else:
            self.state.data.copy_((value + 1) * 5387 % 933199)
        return value

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A torch.Generator seeded with the next seed."""
        base, count = self.next().tolist()
        return torch.Generator(device=device).manual_seed((base * 0x9E3779B97F4A7C15 + count) % 2**63)


def random_generator(seed: int | SeedGenerator | None, device: torch.device | str = "cpu") -> torch.Generator | None:
    """The torch.Generator to draw from: None (torch's default one) for None, a new one for an int."""
    if seed is None:
        return None
    if isinstance(seed, SeedGenerator):
        return seed.generator(device)
    return torch.Generator(device=device).manual_seed(as_seed(seed))
