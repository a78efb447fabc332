"""Random numbers: one seed for everything, and generators with a state of their own."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from lamina.core.capture import Captured
from lamina.core.errors import ArgumentError, listing
from lamina.core.naming import auto_name
from lamina.core.registry import builtin
from lamina.core.variable import Variable

_source = random.Random()


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, and every seed that lamina draws from now on.

    Args:
        seed: an integer of 32 bits.

    Example:
        >>> set_random_seed(7)
    """
    seed = as_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    _source.seed(seed)


def as_seed(seed: Any) -> int:
    """The seed as an integer.

    Raises:
        ArgumentError: it is something else.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ArgumentError("A seed is an integer.", where="seed", expected="an integer", received=repr(seed))
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
                "A seed generator has no such argument.", expected="seed, name", received=listing(kwargs)
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
            self.state.data[1] += 1
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
