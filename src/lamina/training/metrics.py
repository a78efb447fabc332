"""The metrics named in compile(): resolved to objects, put beside the outputs, updated together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lamina import metrics
from lamina.core import tree
from lamina.core.errors import ArgumentError
from lamina.training.foreign import TorchMetric, is_torch_metric
from lamina.training.losses import display_name, label_kind
from lamina.training.outputs import Outputs, Pick

Tensor = torch.Tensor


def resolve_metric(identifier: Any, y_true: Tensor | None = None, y_pred: Tensor | None = None) -> Any:
    """A metric object for a name, function, class or object; "accuracy" and "acc" depend on the shapes.

    Raises:
        UnknownNameError: the name is no metric.
        ArgumentError: None where a metric is expected.
    """
    if identifier is None:
        raise ArgumentError("None is no metric.", where="compile(metrics=...)", fix="leave it out")
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        if y_true is None or y_pred is None:
            return None
        kind = label_kind(y_true, y_pred).title().replace("_", "")
        return getattr(metrics, f"{kind}Accuracy")(name=identifier)
    if is_torch_metric(identifier):
        return TorchMetric(identifier)
    found = metrics.get(identifier)
    if not isinstance(found, metrics.Metric):
        name = identifier if isinstance(identifier, str) else display_name(found)
        return metrics.MeanMetricWrapper(found, name=name)
    if isinstance(identifier, str):
        found.name = identifier
    return found


class CompiledMetrics:
    """All metrics of compile() as one: called "compile_metrics" among the metrics of a model.

    Args:
        given: what compile() was given as `metrics`: a list, or a list or dict by outputs.
        given_weighted: what it was given as `weighted_metrics`; these see the sample weights.
        output_names: the names of the model's outputs.

    Raises:
        ArgumentError: neither a list nor a dict.
        UnknownNameError: a name that is no metric.
    """

    name = "compile_metrics"

    def __init__(self, given: Any, given_weighted: Any, output_names: Sequence[str] | None = None) -> None:
        for argument, value in (("metrics", given), ("weighted_metrics", given_weighted)):
            if value and not isinstance(value, (list, tuple, dict)):
                raise ArgumentError(
                    f"{argument} must be a list, a tuple or a dict.",
                    where=f"compile({argument}=...)",
                    received=f"{value!r} ({type(value).__name__})",
                    fix=f"write {argument}=[{value!r}]",
                )
            for part in tree.flatten(value):
                if part is not None and isinstance(part, str):
                    resolve_metric(part)
        self.given = given
        self.given_weighted = given_weighted
        self.output_names = output_names
        self.outputs: Outputs | None = None
        self.entries: list[tuple[int, Any, bool, str]] = []
        self._single: list[tuple[Any, bool]] | None = None
        self._pickers: dict[Any, Pick] = {}

    @property
    def built(self) -> bool:
        """Whether the outputs are known."""
        return self.outputs is not None

    @property
    def metrics(self) -> list[Any]:
        """The single metrics, in order."""
        return [entry[1] for entry in self.entries]

    @property
    def variables(self) -> list[Any]:
        """Their state."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Put the metrics beside the outputs of a call."""
        outputs = Outputs(y_pred, self.output_names)
        plain = self._lay_out(outputs, self.given, "metrics")
        weighted = self._lay_out(outputs, self.given_weighted, "weighted_metrics")
        used = [i for i in range(outputs.count) if plain[i] or weighted[i]]
        targets = outputs.picker(y_true, used)(y_true)
        predictions = outputs.pick(y_pred)
        entries: list[tuple[int, Any, bool, str]] = []
        taken: dict[str, int] = {}
        for identifiers, with_weights in ((plain, False), (weighted, True)):
            for index, given in enumerate(identifiers):
                for identifier in given:
                    metric = resolve_metric(identifier, targets[index], predictions[index])
                    output = outputs.own_names[index] if outputs.count > 1 else None
                    entries.append(
                        (index, metric, with_weights, _result_name(metric.name, output, with_weights, taken))
                    )
        self.entries = entries
        self._single = [(metric, weighted) for _, metric, weighted, _ in entries] if outputs.count == 1 else None
        self._pickers = {}
        self.outputs = outputs

    def _lay_out(self, outputs: Outputs, given: Any, what: str) -> list[list[Any]]:
        """A list of metrics for each output."""
        if not given:
            return [[] for _ in range(outputs.count)]
        if outputs.count == 1:
            if isinstance(given, Mapping):
                outputs.lay_out(given, what)
            return [tree.flatten(given)]
        return [tree.flatten(part) if part is not None else [] for part in outputs.lay_out(given, what)]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Update every metric with a batch."""
        if self._single is not None and isinstance(y_pred, Tensor) and isinstance(y_true, Tensor):
            for metric, weighted in self._single:
                metric.update_state(y_true, y_pred, sample_weight if weighted else None)
            return
        if self.outputs is None:
            self.build(y_true, y_pred)
        assert self.outputs is not None
        predictions = self.outputs.pick(y_pred)
        targets = self._beside(y_true, "y")
        weights = self._beside(sample_weight, "sample_weight")
        for index, metric, weighted, _ in self.entries:
            metric.update_state(targets[index], predictions[index], weights[index] if weighted else None)

    def _beside(self, part: Any, what: str) -> Sequence[Any]:
        assert self.outputs is not None
        if not isinstance(part, (list, tuple, dict)):
            count = self.outputs.count
            if count == 1 or part is None or what == "sample_weight":
                return (part,) * count
        key = (what, type(part), len(part) if isinstance(part, (list, tuple, dict)) else 0)
        if key not in self._pickers:
            used = sorted({entry[0] for entry in self.entries})
            self._pickers[key] = self.outputs.picker(part, used, what)
        return self._pickers[key](part)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pickers": {}}

    def reset_state(self) -> None:
        """Begin anew."""
        for metric in self.metrics:
            metric.reset_state()

    def result(self) -> dict[str, Any]:
        """The results by their names in logs."""
        return {name: metric.result() for _, metric, _, name in self.entries}


def _result_name(metric: str, output: str | None, weighted: bool, taken: dict[str, int]) -> str:
    """A name in the logs that is not taken: the second "accuracy" is accuracy_1, or weighted_accuracy."""
    prefix = f"{output}_" if output else ""
    name = f"{prefix}{metric}"
    if weighted and name in taken:
        name = f"{prefix}weighted_{metric}"
    count = taken.get(name, 0)
    taken[name] = count + 1
    return f"{name}_{count}" if count else name
