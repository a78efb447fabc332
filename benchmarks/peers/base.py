"""What every peer offers to the process that measures it, and how that process is commanded."""

from __future__ import annotations

import abc
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Options:
    """How a peer shall run: the device is "cpu" or "cuda", the policy a dtype policy of Keras."""

    threads: int
    device: str = "cpu"
    policy: str = "float32"


class Channel:
    """Messages to and from the parent, one line of JSON each."""

    def __init__(self, commands: TextIO, answers: TextIO) -> None:
        self.commands, self.answers = commands, answers

    def send(self, **message: Any) -> None:
        self.answers.write(json.dumps(message) + "\n")
        self.answers.flush()

    def receive(self) -> float:
        """How many seconds the next turn shall last; 0 is the end."""
        return float(self.commands.readline() or 0)


class Peer(abc.ABC):
    """A framework with one workload in hand.

    Args:
        workload: what to do.
        options: how.

    Attributes:
        x: the inputs.
        y: the targets.
        build: seconds that making the model and the optimizer took.
    """

    build: float

    def __init__(self, workload: Workload, options: Options) -> None:
        self.workload, self.options = workload, options
        self.x: np.ndarray
        self.y: np.ndarray
        self.x, self.y = workload.data(workload.samples)

    @abc.abstractmethod
    def run(self, epoch_done: Callable[[], bool], first_step: Callable[[], None] | None = None) -> None:
        """Run epochs until `epoch_done`, called after each, says so; call `first_step` once, after the first step."""

    @abc.abstractmethod
    def parameters(self) -> int:
        """How many weights are trained."""

    @abc.abstractmethod
    def device_memory(self) -> int:
        """The peak of memory taken on the accelerator, in bytes."""

    def settled(self) -> bool:
        """Whether steps are run now as they will be from now on."""
        return True

    def note(self) -> str:
        """How steps are run, in words, where there is something to say."""
        return ""

    def serve(self, channel: Channel) -> None:
        """Take turns as the parent commands: one epoch, timed from its very beginning, then a single long run."""
        channel.receive()
        marks: list[float] = []
        start = time.perf_counter()
        self.run(lambda: True, lambda: marks.append(time.perf_counter() - start))
        elapsed = time.perf_counter() - start
        channel.send(build=self.build, first_step=marks[0], first_epoch=elapsed, parameters=self.parameters())
        turns = _Turns(self, channel)
        if turns.next():
            self.run(turns)

    def memory(self) -> int:
        """The peak of memory, in bytes: of the accelerator if that is used, of the process otherwise."""
        if self.options.device != "cpu":
            return self.device_memory()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Turns:
    """Called at the end of each epoch: reports when the turn is over, and waits for the next."""

    def __init__(self, peer: Peer, channel: Channel) -> None:
        self.peer, self.channel = peer, channel

    def next(self) -> bool:
        self.seconds = self.channel.receive()
        self.epochs = 0
        self.start, self.processor = time.perf_counter(), time.process_time()
        return self.seconds > 0

    def __call__(self) -> bool:
        self.epochs += 1
        elapsed = time.perf_counter() - self.start
        if elapsed < self.seconds:
            return False
        steps = self.epochs * self.peer.workload.steps
        processor = time.process_time() - self.processor
        self.channel.send(
            step=elapsed / steps,
            processor=processor / steps,
            memory=self.peer.memory(),
            settled=self.peer.settled(),
            note=self.peer.note(),
        )
        return not self.next()
