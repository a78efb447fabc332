"""The torch functions that may stand in a graph, by the names under which files know them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

_SPACES = {
    "": torch,
    "nn.functional.": torch.nn.functional,
    "linalg.": torch.linalg,
    "fft.": torch.fft,
    "special.": torch.special,
    "Tensor.": torch.Tensor,
}
# Methods that give something other than tensors, or act on more than their result.
_REFUSED = frozenset(
    """
    apply backward ccol_indices col_indices crow_indices data_ptr dim_order element_size has_names indices
    is_shared item map module_load names ndimension nelement numel numpy record_stream refine_names
    register_hook register_post_accumulate_grad_hook reinforce rename resize resize_as retain_grad row_indices
    storage storage_offset storage_type stride tolist type typed_storage untyped_storage values
    """.split()
)


def is_kept_method(name: str) -> bool:
    """Whether symbolic tensors have this method of torch's tensors: public, and changing nothing in place.

    Example:
        >>> is_kept_method("mean"), is_kept_method("add_"), is_kept_method("numpy")
        (True, False, False)
    """
    return (
        not name.startswith("_")
        and not name.endswith("_")
        and name not in _REFUSED
        and callable(getattr(torch.Tensor, name, None))
    )


@functools.cache
def torch_functions() -> Mapping[str, Callable[..., Any]]:
    """Every torch function of tensors that a file can name; functions that change tensors in place are left out.

    Example:
        >>> torch_functions()["nn.functional.relu"] is torch.nn.functional.relu
        True
    """
    overridable = set()
    for functions in torch.overrides.get_overridable_functions().values():
        overridable.update(functions)
    table: dict[str, Callable[..., Any]] = {}
    for prefix, space in _SPACES.items():
        for name in dir(space):
            function = getattr(space, name)
            changes = name.startswith("_") or name.endswith("_")
            kept = is_kept_method(name) if space is torch.Tensor else callable(function) and not changes
            if kept and function in overridable:
                table[prefix + name] = function
    return table


@functools.cache
def _names() -> Mapping[Any, str]:
    return {function: name for name, function in reversed(list(torch_functions().items()))}


def torch_name(function: Callable[..., Any]) -> str | None:
    """The name a file keeps for a torch function; None for any other function.

    Example:
        >>> torch_name(torch.softmax)
        'softmax'
    """
    try:
        return _names().get(function)
    except TypeError:
        return None
