"""The step of `fit`, for loops written by hand."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from lamina.callbacks.logs import Logs
from lamina.data.arrays import as_tensors
from lamina.data.source import to_device
from lamina.training.execution import Executor
from lamina.training.prepare import build_optimizer, device_of, executor_of, prepare_batch

Tensor = torch.Tensor


class Step:
    """The steps that `fit` and `evaluate` run, one call each: compiled in the same way, and never waiting.

    What comes back are running results: of all batches since training (or evaluation) last began, which is the first
    call, the first after calls of the other kind, or the first after `reset`. They are fetched from the device when
    they are read.

    Args:
        model: a compiled model; it is built by the first batch if need be.

    Raises:
        StateError: the model is not compiled.

    Example:
        >>> import numpy as np
        >>> from lamina import layers
        >>> from lamina.models import Sequential
        >>> model = Sequential([layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> step = Step(model)
        >>> x = np.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
        >>> for epoch in range(3):
        ...     step.reset()
        ...     for first in range(0, 64, 32):
        ...         logs = step(x[first : first + 32], 2 * x[first : first + 32])
        >>> sorted(logs)
        ['loss']
        >>> step.predict(x).shape
        torch.Size([64, 1])

    Source: https://keras.io/guides/writing_a_custom_training_loop_in_torch/
    """

    def __init__(self, model: Any) -> None:
        model._require_compiled("Step")
        self.model = model
        self._executor: Executor | None = None
        self._kind: str | None = None
        self._seen: dict[str, Any] = {}
        self._latest: weakref.ref[Logs] | None = None

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        """One update on a batch; the running results.

        Args:
            x: the inputs: arrays or tensors.
            y: the targets.
            sample_weight: weights of samples.

        Raises:
            ShapeError: the batch does not fit the model, or the targets the outputs.
        """
        batch = self._batch("train", x, y, sample_weight)
        self.model.train()
        try:
            returned = self._run("train", batch)
        finally:
            self.model.eval()
        return self._logs(returned)

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        """The same for evaluation: nothing is learned."""
        return self._logs(self._run("test", self._batch("test", x, y, sample_weight)))

    def predict(self, x: Any) -> Any:
        """The outputs for a batch, as tensors on the device."""
        batch = to_device((as_tensors(x, "x"),), device_of(self.model))
        prepare_batch(self.model, batch, "Step", targets=False)
        return self._use("predict").predict(batch)

    def reset(self) -> None:
        """Begin the running results anew."""
        self._settle()
        self.model.reset_metrics()

    def _batch(self, kind: str, x: Any, y: Any, sample_weight: Any) -> Any:
        """The batch on the device; what is new about it is compared with the model."""
        parts = (x, y) if sample_weight is None else (x, y, sample_weight)
        signature = [(part.shape[1:], part.dtype, part.device) for part in parts if type(part) is Tensor]
        if len(signature) == len(parts) and self._seen.get(kind) == signature:
            return parts
        batch = self.model._batch(x, y, sample_weight, "Step")
        prepare_batch(self.model, batch, "Step")
        build_optimizer(self.model)
        if all(one is other for one, other in zip(parts, batch if isinstance(batch, tuple) else (), strict=False)):
            self._seen[kind] = signature
        return batch

    def _use(self, kind: str) -> Executor:
        """The executor, which is told when another kind of step begins."""
        if self._executor is None:
            self._executor = executor_of(self.model)
        if kind != self._kind:
            self._settle()
            if kind != "predict":
                self.model.reset_metrics()
            self._kind = kind
            self._executor.expect(kind, None)
        return self._executor

    def _run(self, kind: str, batch: Any) -> Any:
        executor = self._use(kind)
        self._settle()
        return executor.run(kind, (batch,))

    def _settle(self) -> None:
        """Results that somebody kept, and has not read, stay those of their batch."""
        kept = None if self._latest is None else self._latest()
        if kept is not None:
            kept.settle()
        self._latest = None

    def _logs(self, returned: Any) -> Logs:
        logs = Logs(self.model.get_metrics_result if returned is None else lambda: returned)
        self._latest = weakref.ref(logs)
        return logs
