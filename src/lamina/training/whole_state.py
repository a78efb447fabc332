"""All that training changes in a model, by name: weights, state, seeds, optimizers, metrics; read out and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import FileError
from lamina.core.seeds import SeedGenerator
from lamina.core.variable import Variable
from lamina.optimizers import LossScaleOptimizer, Optimizer
from lamina.training.foreign import TorchMetric, TorchOptimizer
from lamina.training.metrics import CompiledMetrics

Tensor = torch.Tensor
_SHOWN = 8


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
        state: the state.
        label: where it comes from, for error messages.
        warm_up: has every metric make its variables.

    Raises:
        FileError: it is of another model or optimizer; what differs is named.
    """
    tensors, optimizers = tensors_of(model), optimizers_of(model)
    problems = list(_differences(tensors, state["tensors"]))
    if not problems:
        problems = list(_unlike_optimizers(optimizers, state["optimizers"], tensors))
    metrics = metrics_of(model)
    if not problems and any(map(_is_unmade, metrics, state["metrics"])):
        warm_up()
    problems += _unlike_metrics(metrics, state["metrics"])
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise FileError(
            "The checkpoint is of another model, or of one compiled otherwise.",
            where=label,
            received="".join(f"\n    {line}" for line in problems[:_SHOWN] + more),
            fix="make and compile the model as it was, or name another folder",
        )
    with torch.no_grad():
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
    own: Mapping[str, Any], stored: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[str]:
    for key in sorted(own.keys() | stored.keys()):
        part, state = own.get(key), stored.get(key, {})
        if isinstance(part, TorchOptimizer):
            part = part.optimizer
        kind = _kind(part) if isinstance(part, Optimizer) else type(part).__name__
        if kind != state.get("class"):
            yield f"{key}: {'none' if part is None else kind} here, {state.get('class', 'none')} in the checkpoint"
        elif isinstance(part, Optimizer):
            if not part.built and all(name in tensors for name in state["weights"]) and state["weights"]:
                part.build([tensors[name] for name in state["weights"]])
            named = {str(index): value for index, value in enumerate(part.variables)}
            saved = {str(index): value for index, value in enumerate(state["variables"])}
            yield from (f"{key} ({kind}), variable {line}" for line in _differences(named, saved))


def _unlike_metrics(own: list[Any], stored: list[Any]) -> Iterator[str]:
    here, there = [metric.name for metric in own], [state["name"] for state in stored]
    if here != there:
        yield f"metrics: {', '.join(here)} here, {', '.join(there)} in the checkpoint"
        return
    for metric, state in zip(own, stored, strict=True):
        if "variables" in state and [*map(_form, metric.variables)] != [*map(_form, state["variables"])]:
            yield f"metric {metric.name}: its variables have other shapes"


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
