"""What a layer's `call` and `build` take: looked at once for each class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from lamina.core import scopes, tree
from lamina.core.errors import ArgumentError, ArgumentTypeError


class CallSignature(NamedTuple):
    """The parameters of a `call`.

    `names` are those that take arguments by position or name, in order; `training` and `mask` tell whether
    these are among them; `masks` are the names of further masks, `{argument}_mask`; `variadic` tells whether
    it begins with `*args`, so that no name takes an argument by position.
    """

    names: tuple[str, ...]
    training: bool
    mask: bool
    masks: tuple[str, ...]
    variadic: bool


def call_signature(cls: type) -> CallSignature:
    """The signature of the class's `call`."""
    known = _signatures.get(cls)
    if known is None:
        known = _signatures[cls] = _read_signature(cls)
    return known


_signatures: dict[type, CallSignature] = {}


def _read_signature(cls: type) -> CallSignature:
    parameters = list(inspect.signature(cls.call).parameters.values())[1:]  # type: ignore[attr-defined]
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    masks = tuple(name for name in named if name.endswith("_mask") and name.removesuffix("_mask") in named)
    variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
    return CallSignature(tuple(named), "training" in named, "mask" in named, masks, variadic)


@functools.cache
def needed_shapes(cls: type) -> tuple[str, ...]:
    """The names of those parameters of the class's `build` that have no default."""
    parameters = inspect.signature(cls.build).parameters  # type: ignore[attr-defined]
    return tuple(name for name in build_parameters(cls) if parameters[name].default is inspect.Parameter.empty)


@functools.cache
def build_parameters(cls: type) -> tuple[str, ...]:
    """The names of the parameters of the class's `build`."""
    parameters = list(inspect.signature(cls.build).parameters.values())[1:]  # type: ignore[attr-defined]
    return tuple(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))


def shape_of(value: Any) -> Any:
    """The shape of each tensor in a value, in the same structure; sizes that stand for unknown ones are None."""
    stand_in = scopes.unknown_stand_in()

    def shape(leaf: Any) -> Any:
        if not hasattr(leaf, "shape"):
            return None
        return tuple(None if size is None or size == stand_in else int(size) for size in leaf.shape)

    return shape(value) if hasattr(value, "shape") else tree.map_structure(shape, value)


def build_arguments(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The shapes to build a layer with: that of the first argument, or one for each `{argument}_shape` of `build`."""
    names = call_signature(cls).names
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    wanted = build_parameters(cls)
    if len(wanted) <= 1:
        first = args[0] if args else next(iter(given.values()), None)
        return {wanted[0] if wanted else "input_shape": shape_of(first)}
    _check_build(cls, wanted, names)
    shapes = {}
    for name in wanted:
        value = given.get(name.removesuffix("_shape"))
        if value is not None:
            shapes[name] = shape_of(value)
    if not shapes and args:
        shapes[wanted[0]] = shape_of(args[0])
    if missing := [name for name in needed_shapes(cls) if name not in shapes]:
        raise ArgumentTypeError(
            f"The argument {missing[0].removesuffix('_shape')!r} is missing.",
            where=f"a call of {cls.__name__}",
            expected=", ".join(name.removesuffix("_shape") for name in needed_shapes(cls)),
            received=f"{len(args) + len(kwargs)} argument(s)",
        )
    return shapes


def _check_build(cls: type, wanted: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Refuse a `build` of several arguments that are not each the shape of an argument of `call`."""
    for name in wanted:
        argument = name.removesuffix("_shape")
        if argument == name or argument not in names:
            raise ArgumentError(
                f"build() takes {name!r}, which is not the shape of an argument of call().",
                where=f"{cls.__name__}.build",
                expected=", ".join(f"{known}_shape" for known in names),
                received=name,
            )


def refuse_constants(cls: type, args: tuple[Any, ...], where: str) -> None:
    """Refuse Python values among the positional arguments of a symbolic call, where tensors are expected.

    Raises:
        ArgumentError: there is one.
    """
    for index, value in enumerate(args):
        if isinstance(value, (bool, int, float, str)):
            names = call_signature(cls).names
            name = names[index] if index < len(names) else "argument"
            raise ArgumentError(
                "Positional arguments of a layer are tensors.",
                where=where,
                received=f"{value!r} at position {index}",
                fix=f"pass it by name: {name}={value!r}",
            )


def tuples(shape: Any) -> Any:
    """A shape read from JSON, its lists made tuples; lists of shapes stay lists."""
    if isinstance(shape, (list, tuple)):
        if all(size is None or isinstance(size, int) for size in shape):
            return tuple(shape)
        return [tuples(part) for part in shape]
    if isinstance(shape, Mapping):
        return {key: tuples(part) for key, part in shape.items()}
    return shape
