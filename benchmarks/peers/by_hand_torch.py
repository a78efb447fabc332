"""The loop that a good torch user writes by hand, eager and with torch.compile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import torch_models
from benchmarks.peers.base import Options, Peer
from benchmarks.peers.keras_like import use_torch
from benchmarks.workloads import Workload


class Eager(Peer):
    """Fused optimizers, channels_last, data on the device, shuffled by indices, the loss read once an epoch."""

    def __init__(self, workload: Workload, options: Options) -> None:
        use_torch(options)
        super().__init__(workload, options)
        start = time.perf_counter()
        self.module = torch_models.model(workload)
        self.criterion = torch_models.criterion(workload)
        self.optimizer = torch_models.optimizer(workload, self.module)
        self.build = time.perf_counter() - start
        self.forward: Callable[[Tensor], Tensor] = self.module
        self.loss_of: Callable[[Tensor, Tensor], Tensor] = self._loss_of
        self.update: Callable[[], object] = self.optimizer.step
        self.mixed = options.policy == "mixed_bfloat16"

    def _loss_of(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.mixed):
            return self.criterion(self.module(x), y)

    def run(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None = None) -> None:
        """See `Peer`."""
        if self.workload.kind == "fit":
            self._fit(epoch_done, first_step)
        else:
            with torch.inference_mode(), torch.autocast(self.options.device, torch.bfloat16, enabled=self.mixed):
                self._infer(epoch_done, first_step)

    def _fit(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None) -> None:
        x, y = (torch.from_numpy(array).to(self.options.device) for array in (self.x, self.y))
        y = y.long() if y.dtype == torch.int32 else y
        self.module.train()
        while True:
            total = torch.zeros(())
            for rows in torch.randperm(len(x)).split(self.workload.batch):
                loss = self.loss_of(_as_images(x[rows]), y[rows])
                self.optimizer.zero_grad()
                loss.backward()
                self.update()
                total += loss.detach()
                if first_step is not None:
                    float(total)
                    first_step()
                    first_step = None
            float(total)
            if epoch_done():
                return

    def _infer(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None) -> None:
        self.module.eval()
        fetch = self.workload.kind == "predict"
        result: Any = None
        while True:
            for _ in range(self.workload.steps):
                result = self.forward(_as_images(torch.from_numpy(self.x).to(self.options.device)))
                if fetch:
                    result.float().cpu().numpy()
                if first_step is not None:
                    first_step()
                    first_step = None
            result.cpu()
            if epoch_done():
                return

    def parameters(self) -> int:
        """See `Peer`."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def device_memory(self) -> int:
        """See `Peer`."""
        return torch.cuda.max_memory_allocated()


class Compiled(Eager):
    """The same under torch.compile: forward, loss and backward, and the update where torch has no fused one."""

    def __init__(self, workload: Workload, options: Options) -> None:
        super().__init__(workload, options)
        if workload.kind == "fit":
            self.loss_of = torch.compile(self._loss_of)
            if workload.optimizer == "rmsprop":
                self.update = torch.compile(self.optimizer.step)
        else:
            import torch._inductor.config as inductor

            inductor.freezing = True
            self.forward = torch.compile(self.module)


def _as_images(x: Tensor) -> Tensor:
    """Images as NCHW, in the layout channels_last; anything else as it is."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x
