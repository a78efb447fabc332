"""lamina, and Keras on each of its backends: the same calls, of the namespace that the peer imports."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.base import Options, Peer
from benchmarks.workloads import Workload

LOSSES = {"mse": "mse", "binary": "binary_crossentropy", "probabilities": "sparse_categorical_crossentropy"}


def compiled(k: Any, workload: Workload) -> Any:
    """The workload's model, ready to be trained."""
    model = workload.describe(k)
    loss = LOSSES.get(workload.loss) or k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=workload.optimizer, loss=loss)
    return model


class KerasLike(Peer):
    """Trains and predicts as users do, from arrays in memory."""

    package: str

    def __init__(self, workload: Workload, options: Options) -> None:
        super().__init__(workload, options)
        self.k = importlib.import_module(self.package)
        self.k.config.set_dtype_policy(options.policy)
        start = time.perf_counter()
        self.model = compiled(self.k, workload)
        self.build = time.perf_counter() - start

    def run(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None = None) -> None:
        """See `Peer`."""
        if self.workload.kind == "fit":
            callbacks = [_each_epoch(self.k, epoch_done)]
            if first_step is not None:
                callbacks.append(_first_batch(self.k, first_step))
            self.model.fit(self.x, self.y, batch_size=self.workload.batch, epochs=10**6, verbose=0, callbacks=callbacks)
            return
        infer = self._predict if self.workload.kind == "predict" else self._call
        result: Any = None
        while True:
            for _ in range(self.workload.steps):
                result = infer()
                if first_step is not None:
                    first_step()
                    first_step = None
            np.asarray(self.k.ops.convert_to_numpy(result))
            if epoch_done():
                return

    def _predict(self) -> Any:
        return self.model.predict(self.x, batch_size=self.workload.batch, verbose=0)

    def _call(self) -> Any:
        return self.model(self.x)

    def parameters(self) -> int:
        """See `Peer`."""
        return sum(int(np.prod(weight.shape)) for weight in self.model.trainable_weights)


def _each_epoch(k: Any, epoch_done: Callable[[], bool]) -> Any:
    class EachEpoch(k.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch_done():
                self.model.stop_training = True

    return EachEpoch()


def _first_batch(k: Any, first_step: Callable[[], None]) -> Any:
    class FirstBatch(k.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                float(logs["loss"])
                first_step()

    return FirstBatch()


class Lamina(KerasLike):
    """lamina, on torch's default device."""

    package = "lamina"

    def __init__(self, workload: Workload, options: Options) -> None:
        use_torch(options)
        super().__init__(workload, options)

    def settled(self) -> bool:
        """See `Peer`."""
        return "being made" not in self.note()

    def note(self) -> str:
        """See `Peer`."""
        kind = "train" if self.workload.kind == "fit" else "predict"
        report = self.model.execution_report().steps.get(kind)
        return f"{report.runs}: {report.why}" if report and self.workload.kind != "call" else ""

    def device_memory(self) -> int:
        """See `Peer`."""
        import torch

        return torch.cuda.max_memory_allocated()


class Keras(KerasLike):
    """Keras on the backend that KERAS_BACKEND names."""

    package = "keras"

    def __init__(self, workload: Workload, options: Options) -> None:
        if os.environ["KERAS_BACKEND"] == "torch":
            use_torch(options)
        super().__init__(workload, options)

    def device_memory(self) -> int:
        """See `Peer`."""
        backend = os.environ["KERAS_BACKEND"]
        if backend == "jax":
            import jax

            return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
        if backend == "tensorflow":
            import tensorflow

            return tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
        import torch

        return torch.cuda.max_memory_allocated()


def use_torch(options: Options) -> None:
    """Set torch's threads and default device."""
    import torch

    torch.set_num_threads(options.threads)
    if options.device != "cpu":  # a default device is a mode, which every call of torch then goes through
        torch.set_default_device(options.device)
