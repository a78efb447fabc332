"""The arguments that all optimizers share, and what makes them valid."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypedDict

from lamina.core.errors import ArgumentError, ArgumentTypeError, nearest, say_once
from lamina.core.tensors import convert_to_numpy


class Options(TypedDict, total=False):
    """The arguments that all optimizers share."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


_NUMBER = re.compile(r"\b(float|int)\b")
_DEFAULTS: dict[str, Any] = {"use_ema": False, "ema_momentum": 0.99}
_SHARED = [
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_DEFAULTS.get(name), annotation=kind)
    for name, kind in Options.__annotations__.items()
]


def takes_options(after: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Complete a constructor's signature by the shared arguments, put after one of its own.

    The constructor itself takes them as `**options`; by position or by name, they are what Keras has there.
    """

    def complete(init: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
        place = [p.name for p in own].index(after) + 1
        names = {p.name for p in own}
        rest = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
        inserted = [p for p in _SHARED if p.name not in names]
        signature = inspect.Signature([*own[:place], *inserted, *own[place:], rest])
        numbers = {p.name for p in signature.parameters.values() if _NUMBER.search(str(p.annotation))}

        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(self, *args, **kwargs).arguments
            for name, value in given.items():
                if value is not None and name in numbers and not hasattr(value, "__float__"):
                    where = f"{type(self).__name__}({name}=...)"
                    raise ArgumentTypeError(
                        "This is no number.", where=where, expected="a number", received=repr(value)
                    )
            init(given.pop("self"), **given.pop("kwargs", {}), **given)

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        return __init__

    return complete


def legacy(learning_rate: Any, kwargs: dict[str, Any]) -> Any:
    """The learning rate, also where it came under its old name; other unknown arguments are an error."""
    if "lr" in kwargs:
        say_once("The argument lr of optimizers is deprecated, use learning_rate; it goes in version 2.0.")
        learning_rate = kwargs.pop("lr")
    if kwargs.pop("decay", None) is not None:
        say_once("The argument decay of optimizers has no effect; use a learning rate schedule.")
    if kwargs:
        known = ("learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum")
        raise ArgumentError(
            f"Unknown argument of an optimizer.{nearest(next(iter(kwargs)), known)}",
            where=f"{next(iter(kwargs))}=...",
            fix="check the spelling, or leave it out",
        )
    return learning_rate


def number(value: Any) -> float:
    """A learning rate as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            return float(convert_to_numpy(value).item())
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentError(
                "This is no learning rate.",
                where="learning_rate",
                expected="a number, a LearningRateSchedule, or a function that returns a number",
                received=repr(value),
            ) from None
    return float(value)


def check_options(optimizer: Any) -> None:
    """Raise an error where shared arguments are out of range or at odds."""
    steps, frequency = optimizer.gradient_accumulation_steps, optimizer.ema_overwrite_frequency
    if steps and not steps >= 2:
        raise ArgumentError(
            "Gradients cannot be accumulated over fewer than 2 steps.",
            where="gradient_accumulation_steps",
            expected="None, or 2 and more",
            received=steps,
        )
    if optimizer.use_ema and not 0 <= optimizer.ema_momentum <= 1:
        raise ArgumentError(
            "The momentum of the average is out of range.",
            where="ema_momentum",
            expected="0 to 1",
            received=optimizer.ema_momentum,
        )
    if optimizer.use_ema and frequency and (not isinstance(frequency, int) or frequency < 1):
        raise ArgumentError(
            "The frequency is not usable.",
            where="ema_overwrite_frequency",
            expected="a positive whole number, or None",
            received=frequency,
        )
    factor = optimizer.loss_scale_factor
    if factor is not None and factor <= 0:
        raise ArgumentError("The factor is not positive.", where="loss_scale_factor", expected="> 0", received=factor)
    clips = {name: getattr(optimizer, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
    if sum(value is not None for value in clips.values()) > 1:
        raise ArgumentError(
            "Several kinds of clipping are set.", where=", ".join(clips), expected="one of them", received=clips
        )
