"""Masks travel with their tensors, as the attribute `_keras_mask`."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core import tree


def masks_on(value: Any) -> Any:
    """The masks that travel with the tensors of a value, in its structure; None if there are none."""
    if isinstance(value, torch.Tensor):
        return getattr(value, "_keras_mask", None)
    masks = tree.map_structure(lambda leaf: getattr(leaf, "_keras_mask", None), value)
    return masks if any(mask is not None for mask in tree.flatten(masks)) else None


def attach_masks(outputs: Any, masks: Any) -> None:
    """Put each mask on its tensor."""
    if masks is None:
        return
    if isinstance(outputs, torch.Tensor):
        outputs._keras_mask = masks  # type: ignore[attr-defined]
        return
    for output, mask in zip(tree.flatten(outputs), tree.flatten(masks), strict=False):
        if mask is not None and isinstance(output, torch.Tensor):
            output._keras_mask = mask  # type: ignore[attr-defined]


def loses_masks(outputs: Any, masks: Any) -> bool:
    """Whether there were masks, and no output has one."""
    given = any(mask is not None for mask in tree.flatten(masks))
    return given and not any(hasattr(output, "_keras_mask") for output in tree.flatten(outputs))
