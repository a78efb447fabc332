"""All that training changes in a model, by name: weights, state, seeds, optimizers, metrics; read out and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError
from lamina.core.forms import ANYTHING, COUNT, alike, any_of, check, described, refuse
from lamina.core.seeds import SeedGenerator
from lamina.core.variable import Variable
from lamina.optimizers import LossScaleOptimizer, Optimizer
from lamina.training.foreign import TorchMetric, TorchOptimizer
from lamina.training.metrics import CompiledMetrics
from lamina.training.torch_state import check_torch_optimizer

Tensor = torch.Tensor
_SHOWN = 8

_OWN = {"class": str, "weights": [(None, str)], "variables": [Tensor]}
_FOREIGN = {"class": str, "state": (None, {"state": dict, "param_groups": [{str: ANYTHING}]})}
_HELD = {**_FOREIGN, "iterations": COUNT}
MODEL = {
    "class": str,
    "tensors": {str: Tensor},
    "optimizers": {str: (_OWN, _HELD, _FOREIGN)},
    "metrics": [({"name": str, "variables": [Tensor]}, {"name": str, "parts": [{str: ANYTHING}]})],
    "stop_training": bool,
}
"""The form of what `read_out` gives."""


def tensors_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights, state and seeds of a model by path, each once."""
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            found |= {_join(path, key): value for key, value in table.items() if value is not None}
        for key, value in vars(module).items():
            if isinstance(value, Variable):
                found[_join(path, key)] = value
            for index, part in enumerate(value if isinstance(value, (list, tuple)) else (value,)):
                if isinstance(part, SeedGenerator):
                    found[_join(path, f"{key}.{index}.seed")] = part.state
    names = {id(tensor): name for name, tensor in reversed(found.items())}
    return {name: found[name] for name in reversed(names.values())}


def optimizers_of(model: Any) -> dict[str, Any]:
    """The optimizer of compile(), and those that are attributes of the model or its layers."""
    found = {"optimizer": model.optimizer}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            parts = value if isinstance(value, (list, tuple)) else (value,)
            for index, part in enumerate(parts):
                if isinstance(part, (Optimizer, torch.optim.Optimizer)):
                    found[_join(path, key) if parts == (value,) else f"{_join(path, key)}.{index}"] = part
    names = {id(part): name for name, part in reversed(found.items()) if part is not None}
    return {name: found[name] for name in reversed(names.values())}


def metrics_of(model: Any) -> list[Any]:
    """All running results, those of compile() one by one."""
    flat: list[Any] = []
    for metric in model.metrics if model.compiled else ():
        flat += metric.metrics if isinstance(metric, CompiledMetrics) else [metric]
    return list({id(metric): metric for metric in flat}.values())


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def read_out(model: Any) -> dict[str, Any]:
    """The state of a model, its optimizers and metrics, ready for a checkpoint."""
    tensors = tensors_of(model)
    names = {id(tensor): name for name, tensor in tensors.items()}
    return {
        "class": type(model).__name__,
        "tensors": tensors,
        "optimizers": {key: _optimizer_state(part, names) for key, part in optimizers_of(model).items()},
        "metrics": [_metric_state(metric) for metric in metrics_of(model)],
        "stop_training": bool(model.stop_training),
    }


def _optimizer_state(optimizer: Any, names: Mapping[int, str]) -> dict[str, Any]:
    if isinstance(optimizer, TorchOptimizer):
        inner = optimizer.optimizer
        state = None if inner is None else inner.state_dict()
        return {"class": type(inner).__name__, "state": state, "iterations": optimizer.iterations}
    if isinstance(optimizer, torch.optim.Optimizer):
        return {"class": type(optimizer).__name__, "state": optimizer.state_dict()}
    of = [names.get(id(weight)) for weight in optimizer._parameters]
    return {"class": _kind(optimizer), "weights": of, "variables": list(optimizer.variables)}


def _kind(optimizer: Any) -> str:
    """Its class, with those of the optimizers within it."""
    inner = getattr(optimizer, "optimizers", None)
    if isinstance(optimizer, LossScaleOptimizer):
        inner = [optimizer.inner_optimizer]
    names = ", ".join(map(_kind, inner)) if inner else ""
    return f"{type(optimizer).__name__}({names})" if names else type(optimizer).__name__


def _metric_state(metric: Any) -> dict[str, Any]:
    if isinstance(metric, TorchMetric):
        return {"name": metric.name, "parts": [_torchmetric_state(part) for part in _torchmetrics(metric)]}
    return {"name": metric.name, "variables": list(metric.variables)}


def _torchmetrics(metric: TorchMetric) -> list[Any]:
    """The metrics of torchmetrics within one, itself included."""
    modules = metric.metric.modules() if isinstance(metric.metric, torch.nn.Module) else (metric.metric,)
    return [module for module in modules if hasattr(module, "_defaults")]


def _torchmetric_state(metric: Any) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in (*metric._defaults, "_update_count")}


# Back.


def put_back(model: Any, state: Mapping[str, Any], label: str, warm_up: Callable[[], None]) -> None:
    """Give a model the state that `read_out` gave; nothing is changed if it does not fit.

    Args:
        model: the model, built.
        state: the state, of the form `MODEL`.
        label: where it comes from, for error messages.
        warm_up: has every metric make its variables.

    Raises:
        FileError: it is of another model or optimizer; what differs is named.
    """
    compare(model, state, label, warm_up)()


def compare(model: Any, state: Mapping[str, Any], label: str, warm_up: Callable[[], None]) -> Callable[[], None]:
    """See whether a state fits a model, all of it, and give the function that puts it back; see `put_back`."""
    tensors, optimizers = tensors_of(model), optimizers_of(model)
    problems = list(_differences(tensors, state["tensors"]))
    if not problems:
        problems = list(_unlike_optimizers(optimizers, state["optimizers"], tensors, label))
    metrics = metrics_of(model)
    if not problems:
        problems = list(_unlike_metrics(metrics, state["metrics"], label, warm_up))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise FileError(
            "The checkpoint is of another model, or of one compiled otherwise.",
            where=label,
            received="".join(f"\n    {line}" for line in problems[:_SHOWN] + more),
            fix="make and compile the model as it was, or name another folder",
        )
    return lambda: give(model, state, tensors, optimizers, metrics)


@torch.no_grad()
def give(
    model: Any, state: Mapping[str, Any], tensors: dict[str, Tensor], optimizers: dict[str, Any], metrics: list[Any]
) -> None:
    """Put a state back that is known to fit.

    Args:
        model: the model.
        state: what `read_out` gave.
        tensors: what `tensors_of(model)` gives.
        optimizers: what `optimizers_of(model)` gives.
        metrics: what `metrics_of(model)` gives.
    """
    for name, value in state["tensors"].items():
        tensors[name].copy_(value)
    for key, stored in state["optimizers"].items():
        _restore_optimizer(optimizers[key], stored)
    for metric, stored in zip(metrics, state["metrics"], strict=True):
        _restore_metric(metric, stored)
    model.stop_training = state["stop_training"]


def _differences(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> Iterator[str]:
    for name in sorted(own.keys() | stored.keys()):
        here, there = (_form(own[name]) if name in own else None), (_form(stored[name]) if name in stored else None)
        if here != there:
            yield f"{name}: {here or 'not there'} in the model, {there or 'not there'} in the checkpoint"


def _form(tensor: Tensor) -> str:
    return f"{standardize_dtype(tensor.dtype)} {tuple(tensor.shape)}"


def _unlike_optimizers(
    own: Mapping[str, Any], stored: Mapping[str, Any], tensors: Mapping[str, Tensor], label: str
) -> Iterator[str]:
    """What differs. An optimizer is given its slots when all else fits."""
    unbuilt: list[tuple[str, Any, Any]] = []
    for key in sorted(own.keys() | stored.keys()):
        part, state, place = own.get(key), stored.get(key, {}), f"model/optimizers/{key}"
        form: Any = _OWN
        if isinstance(part, TorchOptimizer):
            part, form = part.optimizer, _HELD
        elif isinstance(part, torch.optim.Optimizer):
            form = _FOREIGN
        kind = _kind(part) if isinstance(part, Optimizer) else type(part).__name__
        if part is None or kind != state.get("class"):
            yield f"{key}: {'none' if part is None else kind} here, {state.get('class', 'none')} in the checkpoint"
            continue
        check(state, form, label, place)
        if isinstance(part, torch.optim.Optimizer):
            check_torch_optimizer(part, state["state"], label, f"{place}/state")
        elif isinstance(part, Optimizer):
            if not part.built and state["weights"] and all(name in tensors for name in state["weights"]):
                unbuilt.append((key, part, state))
            else:
                yield from _unlike_slots(key, part, state, label)
    for key, part, state in unbuilt:
        part.build([tensors[name] for name in state["weights"]])
        yield from _unlike_slots(key, part, state, label)


def _unlike_slots(key: str, optimizer: Any, state: Mapping[str, Any], label: str) -> Iterator[str]:
    named = {str(index): value for index, value in enumerate(optimizer.variables)}
    saved = {str(index): value for index, value in enumerate(state["variables"])}
    for line in _differences(named, saved):
        yield f"{key} ({state['class']}), variable {line}"
    for index, value in saved.items():
        # Whole numbers in an optimizer count steps.
        if value.dtype in (torch.int32, torch.int64) and value.numel() and int(value.min()) < 0:
            refuse(label, f"model/optimizers/{key}/variables/{index}", "a count from 0 on", str(int(value.min())))


def _unlike_metrics(own: list[Any], stored: list[Any], label: str, warm_up: Callable[[], None]) -> Iterator[str]:
    here, there = [metric.name for metric in own], [state["name"] for state in stored]
    if here != there:
        yield f"metrics: {', '.join(here)} here, {', '.join(there)} in the checkpoint"
        return
    pairs = list(zip(own, stored, strict=True))
    for metric, state in pairs:
        foreign = isinstance(metric, TorchMetric)
        place = f"model/metrics/{metric.name}"
        check(
            state,
            {"name": str, "parts": [{str: ANYTHING}]} if foreign else {"name": str, "variables": [Tensor]},
            label,
            place,
        )
        if foreign:
            _check_torchmetrics(_torchmetrics(metric), state["parts"], label, f"{place}/parts")
    before = [(variable, variable.detach().clone()) for metric in own for variable in metric.variables]
    if any(map(_is_unmade, own, stored)):
        warm_up()
    lines = [
        f"metric {metric.name}: its variables have other shapes"
        for metric, state in pairs
        if "variables" in state and [*map(_form, metric.variables)] != [*map(_form, state["variables"])]
    ]
    if lines:
        with torch.no_grad():
            for variable, value in before:
                variable.copy_(value)
    yield from lines


def _check_torchmetrics(own: list[Any], stored: list[dict[str, Any]], label: str, place: str) -> None:
    check(stored, [dict] if len(stored) == len(own) else any_of(f"states of {len(own)} metrics"), label, place)
    for index, (part, values) in enumerate(zip(own, stored, strict=True)):
        present = _torchmetric_state(part)
        for name in sorted(values.keys() | present.keys()):
            at = f"{place}/{index}/{name}"
            if name not in values or name not in present:
                refuse(label, at, *(("nothing", "an entry") if name in values else ("an entry", "nothing")))
            value, form = values[name], COUNT if name == "_update_count" else (Tensor, [Tensor])
            check(value, form, label, at)
            if isinstance(present[name], Tensor) and not alike(value, present[name]):
                refuse(label, at, described(present[name]), described(value))


def _is_unmade(metric: Any, stored: Mapping[str, Any]) -> bool:
    return len(stored.get("variables", ())) > len(metric.variables)


def _restore_optimizer(optimizer: Any, stored: Mapping[str, Any]) -> None:
    if isinstance(optimizer, TorchOptimizer):
        optimizer.iterations = stored["iterations"]
        optimizer = optimizer.optimizer
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.load_state_dict(stored["state"])
        return
    for variable, value in zip(optimizer.variables, stored["variables"], strict=True):
        variable.copy_(value)


def _restore_metric(metric: Any, stored: Mapping[str, Any]) -> None:
    if not isinstance(metric, TorchMetric):
        for variable, value in zip(metric.variables, stored["variables"], strict=True):
            variable.copy_(value)
        return
    for part, values in zip(_torchmetrics(metric), stored["parts"], strict=True):
        for name, value in values.items():
            setattr(part, name, value.to(part.device) if isinstance(value, Tensor) else value)
        part._computed = None
