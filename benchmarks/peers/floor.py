"""The time that no implementation of a step can go below on this machine, measured in turn with those it is for.

It is the greater of the operations of the step's matrix products and convolutions over the rate of matrix products,
and of the bytes that it has to move over the bandwidth of copying. Counted as moved are: the batch; what forward keeps
for backward, written and read once; weights and the optimizer's slots, read and written once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import DTYPES, copy_bandwidth, matrix_rates
from benchmarks.peers import torch_models
from benchmarks.peers.base import Channel, Options
from benchmarks.workloads import SLOTS, Workload


@dataclass(frozen=True)
class Work:
    """What one step takes.

    Args:
        operations: of matrix products and convolutions.
        moved: bytes read and written.
        held: bytes of memory that this goes over.
    """

    operations: int
    moved: int
    held: int


def count(workload: Workload) -> Work:
    """Count one step of the model written by hand in torch."""
    x, y = map(torch.from_numpy, workload.data(workload.batch))
    y = y.long() if y.dtype == torch.int32 else y
    inputs = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    module = torch_models.model(workload)
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    own.add(x.untyped_storage().data_ptr())

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = sum(parameter.nbytes for parameter in module.parameters())
    counter = FlopCounterMode(display=False)
    # Without oneDNN, an LSTM falls into matrix products that can be counted. Setting that warns about Intel's GPUs.
    with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False), counter:
        if workload.kind != "fit":
            with torch.inference_mode():
                module.eval()(inputs)
            return Work(counter.get_total_flops(), weights + x.nbytes, weights + x.nbytes)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = torch_models.criterion(workload)(module.train()(inputs), y)
        loss.backward()
    held = weights * (1 + SLOTS[workload.optimizer]) + sum(kept.values())
    return Work(counter.get_total_flops(), 2 * held + x.nbytes, held + x.nbytes)


class Floor:
    """Measures the machine in its turns, and answers what a step takes at least."""

    def __init__(self, workload: Workload, options: Options) -> None:
        torch.set_num_threads(options.threads)
        if options.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
        self.options = options
        self.work = count(workload)

    def serve(self, channel: Channel) -> None:
        """Take turns as the parent commands."""
        channel.receive()
        channel.send(operations=self.work.operations, moved=self.work.moved)
        scale = 0.5 if self.options.policy == "mixed_bfloat16" else 1.0
        while seconds := channel.receive():
            rates = matrix_rates(DTYPES[self.options.policy], 0.7 * seconds, self.options.device)
            bandwidth = copy_bandwidth(scale * self.work.held, 0.3 * seconds, self.options.device)
            computing, moving = self.work.operations / max(rates.values()), scale * self.work.moved / bandwidth
            channel.send(step=max(computing, moving), computing=computing, moving=moving)
