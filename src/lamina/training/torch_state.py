"""Whether a stored state fits an optimizer of torch, which by itself takes up whatever it is given."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from lamina.core.forms import ANYTHING, Rule, alike, check, described, is_number, refuse

Tensor = torch.Tensor

# Their steps need more than gradients: a closure, or gradients of another kind.
_NOT_TRIED = ("LBFGS", "SparseAdam")
_SIZE = 2
# What torch says of settings that make no sense.
_REFUSALS = (AssertionError, IndexError, OverflowError, RuntimeError, TypeError, ValueError, ZeroDivisionError)


def check_torch_optimizer(optimizer: torch.optim.Optimizer, state: Any, where: str, place: str) -> None:
    """Compare a state with the one the optimizer has, and with one that a step would leave.

    Args:
        optimizer: the optimizer.
        state: what its `state_dict()` gave once, or None.
        where: the file, for messages.
        place: the entry.

    Raises:
        FileError: it does not fit.
    """
    own = optimizer.state_dict()
    check(state, {"state": dict, "param_groups": [{str: ANYTHING}]}, where, place)
    groups, there = own["param_groups"], state["param_groups"]
    if len(there) != len(groups):
        refuse(where, f"{place}/param_groups", f"{len(groups)} groups", f"{len(there)} groups")
    for index, (group, stored) in enumerate(zip(groups, there, strict=True)):
        at = f"{place}/param_groups/{index}"
        weights = group["params"]
        numbers = Rule(f"the numbers of {len(weights)} weights", lambda value, own=weights: value == own)
        check(stored, {**dict.fromkeys(group, ANYTHING), "params": numbers}, where, at)
        for name, value in group.items():
            if not _may_stand(stored[name], value):
                refuse(where, f"{at}/{name}", described(value), described(stored[name]))
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    tried = _tried(optimizer, there, where, f"{place}/param_groups")
    for index, slots in state["state"].items():
        at = f"{place}/state/{index!s:.20}"
        if type(index) is not int or not 0 <= index < len(parameters):
            refuse(where, at, f"the number of one of {len(parameters)} weights", described(index))
        weight = parameters[index]
        present = optimizer.state.get(weight) if tried is None else _grown(tried[index], weight)
        _check_slots(slots, present or None, where, at)


def _may_stand(value: Any, own: Any) -> bool:
    """Whether a setting of a group can have this value; a rate may be a number or a tensor, and some None."""
    if is_number(own) or isinstance(own, Tensor):
        return is_number(value) or (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point())
    if isinstance(own, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(value) == len(own) and all(map(_may_stand, value, own))
    return own is None or value is None or alike(value, own)


def _check_slots(slots: Any, present: Mapping[str, Any] | None, where: str, place: str) -> None:
    check(slots, {str: ANYTHING} if present is None else dict.fromkeys(present, ANYTHING), where, place)
    for name, value in slots.items():
        own = None if present is None else present[name]
        like_own = alike(value, own) and (not isinstance(own, Tensor) or value.shape == own.shape)
        if not like_own:
            refuse(where, f"{place}/{name}", described(own), described(value))
        number = value if is_number(value) else value.item() if isinstance(value, Tensor) and not value.ndim else 0
        if name == "step" and not number >= 0:
            refuse(where, f"{place}/{name}", "a count from 0 on", str(number))


def _grown(slots: Mapping[str, Any], weight: Tensor) -> dict[str, Any]:
    """The slots of a weight, without memory, from those of the small one that was tried."""
    return {
        name: torch.empty(
            [size if part == _SIZE else part for part, size in zip(slot.shape, weight.shape, strict=True)],
            dtype=slot.dtype,
            device="meta",
        )
        if isinstance(slot, Tensor) and slot.ndim == weight.ndim
        else slot
        for name, slot in slots.items()
    }


def _tried(
    optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]], where: str, place: str
) -> list[Mapping[str, Any]] | None:
    """The slots that a step with these settings gives small weights of the same ranks; for torch's own classes."""
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim.") or kind.__name__ in _NOT_TRIED:
        return None
    probe = copy.copy(optimizer)
    probe._optimizer_step_pre_hooks = OrderedDict()
    probe._optimizer_step_post_hooks = OrderedDict()
    probe.state = defaultdict(dict)
    probe.param_groups = [
        {**copy.deepcopy(stored), "params": [_small(weight) for weight in group["params"]]}
        for group, stored in zip(optimizer.param_groups, settings, strict=True)
    ]
    try:
        with torch.enable_grad():
            kind.step(probe)
    except _REFUSALS as error:
        refuse(where, place, "settings with which a step can be made", f"{type(error).__name__}: {error!s:.200}")
    return [probe.state[weight] for group in probe.param_groups for weight in group["params"]]


def _small(weight: Tensor) -> Tensor:
    small = torch.nn.Parameter(torch.zeros((_SIZE,) * weight.ndim, dtype=weight.dtype, device=weight.device))
    small.grad = torch.zeros_like(small)
    return small
