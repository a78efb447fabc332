"""Steps on a GPU recorded once as a CUDA graph over buffers that stay, and then replayed with a single launch.

A recorded step reads its batch from buffers of its own and changes the state where it lies. Numbers that the optimizer
keeps on the CPU (step count, learning rate) get twins on the GPU while the graph is in use; nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamina.core import tree
from lamina.training.capture import STEPS, State
from lamina.training.compiler import NotCapturable

Tensor = torch.Tensor
Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]

_WARM_UP = 3


def record(function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Record what a function launches; gives a call that launches it all again, and what the function returned.

    The function is run a few times before, on a stream of its own, so that libraries choose their kernels.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        returned = function()
    return graph.replay, returned


class RecordedStep:
    """One kind of step over static buffers.

    Args:
        state: all that the step reads and changes.
        tensors: where the state lies; `state.tensors`, or copies to try the step on.
        kind: "train", "test" or "predict".
        batch: a batch; those to come have its shapes.
        recorder: records and replays; CUDA graphs unless a test says otherwise.

    Raises:
        NotCapturable: the state cannot be made explicit.
        RuntimeError: the step does something that a CUDA graph cannot hold, such as waiting for the device.
    """

    def __init__(
        self, state: State, tensors: Sequence[Tensor], kind: str, batch: Any, recorder: Record = record
    ) -> None:
        reason = state.reason_against()
        if reason is not None:
            raise NotCapturable(reason)
        if state.seeds and kind == "train":
            raise NotCapturable("a layer draws from a seed of its own, which lives on the CPU")
        leaves = tree.flatten(batch)
        device = next((leaf.device for leaf in leaves if isinstance(leaf, Tensor)), torch.device("cpu"))
        self.kind = kind
        self._buffers = [leaf if leaf is None else leaf.clone() for leaf in leaves]
        self._hosts = [tensor for tensor in tensors if tensor.device != device]
        self._twins = [tensor.detach().to(device) for tensor in self._hosts]
        self._known = [_number(host) for host in self._hosts]
        twins = dict(zip(map(id, self._hosts), self._twins, strict=True))
        self._stand_ins = [twins.get(id(tensor), tensor) for tensor in tensors]
        data = tree.pack_sequence_as(batch, self._buffers)
        saved = [tensor.detach().clone() for tensor in self._stand_ins]

        def step() -> Any:
            with state.replaced(self._stand_ins) as step_state:
                return STEPS[kind](step_state, data)

        self._replay, self._outputs = recorder(step)
        with torch.no_grad():
            for tensor, before in zip(self._stand_ins, saved, strict=True):
                tensor.copy_(before)

    def run(self, batches: Sequence[Any]) -> Any:
        """One step for each batch; what the last one returns."""
        self._fetch()
        for batch in batches:
            for buffer, leaf in zip(self._buffers, tree.flatten(batch), strict=True):
                if buffer is not None:
                    buffer.copy_(leaf, non_blocking=True)
            self._replay()
        if self.kind == "train":
            self._count(len(batches))
        if self.kind != "predict":
            return None
        return tree.map_structure(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, self._outputs)

    def _fetch(self) -> None:
        """Give the twins what somebody has assigned to the numbers on the CPU."""
        for index, (host, twin) in enumerate(zip(self._hosts, self._twins, strict=True)):
            value = _number(host)
            if value != self._known[index]:
                twin.fill_(value)
                self._known[index] = value

    def _count(self, steps: int) -> None:
        """Move the step count on the CPU on as the graph has moved its twin."""
        for index, host in enumerate(self._hosts):
            if not host.is_floating_point():
                host.add_(steps)
                self._known[index] = _number(host)


def _number(host: Tensor) -> float | int:
    """The value of a number on the CPU, which waits for nothing."""
    if host.numel() != 1 or host.device.type != "cpu":
        raise NotCapturable("a weight lies on another device than the batches")
    return host.item()
