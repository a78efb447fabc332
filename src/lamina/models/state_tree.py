"""All of a model's state as nested dicts by path, and back: weights, optimizer slots and running metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lamina.core.errors import ArgumentError, listing, nearest, one_of

FORMATS = ("backend_tensor", "numpy_array")


def variables_of(model: Any) -> dict[str, Sequence[Any]]:
    """The variables of a model by what they are for."""
    return {
        "trainable_variables": model.trainable_variables,
        "non_trainable_variables": model.non_trainable_variables,
        "optimizer_variables": [] if model.optimizer is None else model.optimizer.variables,
        "metrics_variables": model.metrics_variables,
    }


def state_tree_of(model: Any, value_format: str) -> dict[str, Any]:
    """The values of all variables; see `Model.get_state_tree`."""
    one_of(value_format, FORMATS, "get_state_tree, value_format")
    return {kind: _nested(variables, value_format) for kind, variables in variables_of(model).items()}


def _nested(variables: Sequence[Any], value_format: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for variable in variables:
        *folders, name = variable.path.split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        if name in place:
            raise ArgumentError(
                "Two variables have the same path, so a tree cannot hold both.",
                where="get_state_tree()",
                received=variable.path,
                fix="give the layers names of their own",
            )
        place[name] = variable.detach() if value_format == "backend_tensor" else variable.numpy()
    return root


def assign_state_tree(model: Any, tree: Mapping[str, Any]) -> None:
    """Give the variables the values of a tree; see `Model.set_state_tree`."""
    kinds = variables_of(model)
    for kind, values in tree.items():
        if kind not in kinds:
            raise ArgumentError(
                f'The tree has an unknown part "{kind}".{nearest(kind, kinds)}',
                where="set_state_tree()",
                expected=listing(kinds),
            )
        by_path = {variable.path: variable for variable in kinds[kind]}
        for path, value in _flat(values):
            if path not in by_path:
                raise ArgumentError(
                    f'There is no variable "{path}".{nearest(path, by_path)}',
                    where=f"model '{model.name}', {kind}",
                    expected=listing(by_path),
                )
            with torch.no_grad():
                by_path[path].assign(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of (path, value)."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
