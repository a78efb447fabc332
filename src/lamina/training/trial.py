"""Training that leaves no trace: what it changes in a model is copied before, and put back after."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from lamina.core import tree
from lamina.core.seeds import generators_state, set_generators_state
from lamina.training.whole_state import give, metrics_of, optimizers_of, read_out, tensors_of


class Trial:
    """The state of a model and of all random generators when it was made; the copy lies in the memory of the host.

    Args:
        model: the model, built.
        generators: the state of the generators to go back to; the present one by default.
    """

    def __init__(self, model: Any, generators: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self._generators = generators_state() if generators is None else generators
        self._state = tree.map_structure(_copied, read_out(model))
        found = optimizers_of(model).items()
        self._unbuilt = {key: copy.deepcopy(vars(part)) for key, part in found if not getattr(part, "built", True)}

    def end(self) -> None:
        """Put everything back."""
        model, state = self._model, self._state
        model.zero_grad()
        model.eval()
        model.reset_metrics()
        for key, own in self._unbuilt.items():
            optimizers_of(model)[key].__dict__ = own
        made = read_out(model)["metrics"]
        known = [*state["metrics"], *made[len(state["metrics"]) :]]
        # What a metric has made in the trial is reset already.
        state["metrics"] = [old if len(old.get("variables", ())) == len(new.get("variables", ())) else new
                            for old, new in zip(known, made, strict=True)]  # fmt: skip
        give(model, state, tensors_of(model), optimizers_of(model), metrics_of(model))
        set_generators_state(self._generators)


def _copied(leaf: Any) -> Any:
    return leaf.detach().to("cpu", copy=True) if isinstance(leaf, torch.Tensor) else leaf
