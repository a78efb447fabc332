"""How steps are run. All executors run the same functions of `step`; they differ in when the work is planned."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch

from lamina.training.step import TrainState, predict_step, test_step, train_step


class Executor(abc.ABC):
    """Runs single steps on batches that lie on the device.

    A step returns its results where it computes them itself, and None where they are the model's running results.
    """

    @abc.abstractmethod
    def train(self, data: Any) -> Mapping[str, Any] | None:
        """One update."""

    @abc.abstractmethod
    def test(self, data: Any) -> Mapping[str, Any] | None:
        """One batch of evaluation."""

    @abc.abstractmethod
    def predict(self, data: Any) -> Any:
        """The outputs for a batch."""


class EagerExecutor(Executor):
    """Runs the steps as they are written.

    Args:
        state: what the steps read and change.
    """

    def __init__(self, state: TrainState) -> None:
        self.state = state

    def train(self, data: Any) -> None:
        """One update."""
        return train_step(self.state, data)

    def test(self, data: Any) -> None:
        """One batch of evaluation."""
        return test_step(self.state, data)

    def predict(self, data: Any) -> Any:
        """The outputs for a batch."""
        return predict_step(self.state, data)


class MethodExecutor(Executor):
    """Runs the steps that a subclass of Model has written itself.

    Args:
        model: the model, with train_step, test_step and predict_step.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def train(self, data: Any) -> Mapping[str, Any] | None:
        """One update."""
        return self.model.train_step(data)

    def test(self, data: Any) -> Mapping[str, Any] | None:
        """One batch of evaluation."""
        with torch.no_grad():
            return self.model.test_step(data)

    def predict(self, data: Any) -> Any:
        """The outputs for a batch."""
        with torch.no_grad():
            return self.model.predict_step(data)
