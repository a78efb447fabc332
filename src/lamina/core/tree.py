"""Nested structures (lists, tuples, dicts, namedtuples) walked through optree. None is a leaf, as in Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optree

from lamina.core.errors import ArgumentError

_OPTIONS: dict[str, Any] = {"none_is_leaf": True, "namespace": "lamina"}


class MAP_TO_NONE:
    """Returned by a traverse function to put None in a structure."""


def is_nested(structure: Any) -> bool:
    """Whether the value is a list, tuple, dict or other container rather than a leaf."""
    return not optree.tree_is_leaf(structure, **_OPTIONS)


def flatten(structure: Any) -> list[Any]:
    """The leaves, depth first; dicts in the order of their sorted keys.

    Example:
        >>> flatten({"b": [2, 3], "a": 1})
        [1, 2, 3]
    """
    return list(optree.tree_leaves(structure, **_OPTIONS))


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Pairs of (path, leaf); a path is the keys and indices that lead to the leaf."""
    paths, leaves, _ = optree.tree_flatten_with_path(structure, **_OPTIONS)
    return list(zip(map(tuple, paths), leaves, strict=True))


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """`func` applied to matching leaves, the results in the same structure.

    Raises:
        ArgumentError: no structure given, or structures that differ.

    Example:
        >>> map_structure(lambda x, y: x + y, {"a": 1}, {"a": 2})
        {'a': 3}
    """
    if not structures:
        raise ArgumentError("At least one structure is needed.", where="tree.map_structure", fix="map_structure(f, x)")
    try:
        return optree.tree_map(func, *structures, none_is_leaf=none_is_leaf, namespace="lamina")
    except ValueError as error:
        if len(structures) > 1 and not _same(structures):
            where, expected = "tree.map_structure", "structures alike in their containers and keys"
            raise ArgumentError("The structures differ.", where=where, expected=expected, received=str(error)) from None
        raise


def _same(structures: tuple[Any, ...]) -> bool:
    specs = [optree.tree_structure(structure, **_OPTIONS) for structure in structures]
    return all(spec == specs[0] for spec in specs)


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """`func` applied to the parts of each structure that stand at the leaves of the shallow one."""
    spec = optree.tree_structure(shallow_structure, **_OPTIONS)
    columns = [spec.flatten_up_to(structure) for structure in structures]
    return spec.unflatten([func(*row) for row in zip(*columns, strict=True)])


def pack_sequence_as(structure: Any, flat_sequence: Iterable[Any]) -> Any:
    """The leaves of a flat sequence put into the shape of `structure`.

    Raises:
        ArgumentError: the number of leaves differs.
    """
    spec = optree.tree_structure(structure, **_OPTIONS)
    leaves = list(flat_sequence)
    if len(leaves) != spec.num_leaves:
        raise ArgumentError(
            "The flat sequence does not fit the structure.",
            where="tree.pack_sequence_as",
            expected=f"{spec.num_leaves} leaves",
            received=f"{len(leaves)} leaves",
        )
    return spec.unflatten(leaves)


def assert_same_structure(a: Any, b: Any, check_types: Any = None) -> None:
    """Raise ArgumentError unless both have the same structure."""
    if not _same((a, b)):
        raise ArgumentError("The structures differ.", where="tree.assert_same_structure", expected=a, received=b)


def assert_same_paths(a: Any, b: Any) -> None:
    """Raise ArgumentError unless both have the same paths to their leaves, whatever the containers."""
    paths_a, paths_b = ({path for path, _ in flatten_with_path(structure)} for structure in (a, b))
    if paths_a != paths_b:
        one, other = (sorted(paths, key=str) for paths in (paths_a, paths_b))
        raise ArgumentError("The paths differ.", where="tree.assert_same_paths", expected=one, received=other)


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Walk every container and leaf; where `func` returns a value, it replaces that part (MAP_TO_NONE gives None)."""

    def visit(part: Any) -> Any:
        if top_down and (replacement := func(part)) is not None:
            return None if replacement is MAP_TO_NONE else replacement
        if is_nested(part):
            spec = optree.tree_structure(part, is_leaf=lambda child: child is not part, **_OPTIONS)
            part = spec.unflatten([visit(child) for child in spec.flatten_up_to(part)])
        if not top_down and (replacement := func(part)) is not None:
            return None if replacement is MAP_TO_NONE else replacement
        return part

    return visit(structure)


def lists_to_tuples(structure: Any) -> Any:
    """The structure with every list made a tuple."""
    if isinstance(structure, Mapping):
        return {key: lists_to_tuples(value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return tuple(lists_to_tuples(value) for value in structure)
    return structure


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """`func` applied to each shape (a tuple or list of sizes and None) in a structure.

    Example:
        >>> map_shape_structure(len, {"a": (None, 3), "b": [(1,), (2, 2)]})
        {'a': 2, 'b': [1, 2]}
    """
    return optree.tree_map(func, structure, is_leaf=is_shape, **_OPTIONS)


def is_shape(value: Any) -> bool:
    """Whether a value is a tuple or list of sizes and None."""
    return isinstance(value, (tuple, list)) and all(size is None or isinstance(size, int) for size in value)
