"""What can be told before training, from the model and some of the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lamina.core import tree
from lamina.core.errors import LaminaError
from lamina.doctor import data_checks, model_checks
from lamina.doctor.finding import Finding, Findings
from lamina.doctor.target_checks import Target, check_target, initial_loss
from lamina.doctor.units import is_batch_norm, kernel_of, walk

Tensor = torch.Tensor
SAMPLES = 512


@dataclass(frozen=True)
class Examination:
    """What was found before training.

    Args:
        findings: the faults.
        baseline: the loss of a model that knows nothing; None where it is not known.
    """

    findings: Findings
    baseline: float | None = None


def examine(
    model: Any,
    x: Any,
    y: Any = None,
    validation: Any = None,
    rows: int | None = None,
    batch_size: int | None = None,
    weighted: bool = False,
) -> Examination:
    """Look at a model and its data before training; the model is left as it is, but built.

    Args:
        model: the model; with a loss, if it was compiled.
        x: tensors of inputs, some samples or all.
        y: tensors of targets.
        validation: tensors of the inputs of the validation.
        rows: how many samples there are in all, if known.
        batch_size: samples in a batch, if known.
        weighted: whether the samples have weights.
    """
    found: list[Finding] = [*data_checks.nan_in_data(x, "x"), *data_checks.nan_in_data(y, "y")]
    found += data_checks.constant_feature(x, "x")
    if validation is not None:
        found += data_checks.train_validation_overlap(x, validation)
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    limit = next((tensor.shape[0] for tensor in getattr(model, "inputs", None) or () if tensor.shape[0]), SAMPLES)
    some_x, some_y = _some(x, device, limit), _some(y, device, limit)
    seen = walk(model, some_x)
    found += _raw_inputs(seen, x)
    is_new = not _steps(model)
    # Before training, batch normalization in evaluation mode does not normalize.
    is_telling = is_new and not any(is_batch_norm(call.unit) for call in seen.calls)
    lost = any(finding.code == "nan-in-data" for finding in found)
    found += model_checks.bad_initialization(seen) if is_new and not lost else ()
    found += model_checks.dropout_misplaced(seen)
    found += model_checks.small_batches(seen, batch_size)
    found += model_checks.oversized_model(model, x, y, rows)
    targets = _targets(model, y, seen.outputs)
    baselines = []
    for target in targets:
        found += check_target(target, seen.maker_of(target.output), weighted)
        wrong = any(finding.severity == "error" for finding in found)
        if not wrong:
            some = _targets(model, some_y, seen.outputs)
            expected, finding = initial_loss(next(one for one in some if one.index == target.index), target.value)
            found += finding if is_telling else ()
            baselines.append(expected)
    known = [baseline for baseline in baselines if baseline is not None]
    return Examination(Findings(found), known[0] if len(known) == len(targets) == 1 else None)


def _raw_inputs(seen: Any, x: Any) -> Iterator[Finding]:
    """What the first layers with kernels are given, where no weights have touched it."""
    names = {id(leaf): part for part, leaf in data_checks.parts(x, "x")}
    only = next(iter(names.values())) if len(names) == 1 else "x"
    for call in seen.calls:
        if call.is_raw and call.inputs is not None and kernel_of(call.unit) is not None:
            for finding in data_checks.unscaled_inputs(call.inputs, only):
                yield finding
                return


def _some(data: Any, device: torch.device, limit: int) -> Any:
    """Some samples from all over the data, on the device."""

    def pick(leaf: Any) -> Any:
        if leaf is None:
            return None
        places = torch.linspace(0, len(leaf) - 1, min(limit, len(leaf))).long()
        return leaf[places.to(leaf.device)].to(device) if isinstance(leaf, Tensor) else leaf[places.numpy()]

    return tree.map_structure(pick, data)


def _steps(model: Any) -> int:
    """How many updates the model has seen."""
    return int(getattr(getattr(model, "optimizer", None), "iterations", 0) or 0)


def _targets(model: Any, y: Any, outputs: Any) -> list[Target]:
    """Targets, outputs and losses that belong together."""
    compiled = getattr(model, "_compiled", None)
    if compiled is None or compiled.loss is None or y is None:
        return []
    try:
        loss: Any = compiled.loss
        if not loss.built:
            loss.build(y, outputs)
        predictions, targets = loss.outputs.pick(outputs), loss.lay_out(y, "y")
    except (LaminaError, LookupError):
        return []  # fit says what is wrong
    several = len(loss.entries) > 1
    return [
        Target(index, one, targets[index], predictions[index], f"y[{index}]" if several else "y")
        for index, one, _ in loss.entries
        if isinstance(targets[index], Tensor) and isinstance(predictions[index], Tensor) and targets[index].numel()
    ]
