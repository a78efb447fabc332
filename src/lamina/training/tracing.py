"""Tracing beside the training: in a copy of the process where there can be one, in the process itself elsewhere.

A step is traced by running it once on tensors without data. That takes seconds for a large model, and loads the part of
torch that traces, some 75 MB. A forked process does both out of the training's way: it has every object of the model as
it is, sends back the graph, and ends. Nothing that it does to the objects is seen here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
import tempfile
import time
import warnings
import weakref
from typing import IO, Any

import torch

from lamina.training.capture import Capture, State, capture
from lamina.training.compiler import Graph, NotCapturable

_PATIENCE = 120
"""Seconds after which a copy that has not ended is taken for stuck."""
_NICENESS = 10


def can_fork() -> bool:
    """Whether a copy of this process could trace: on Linux, unless torch has threads for the backward pass of a GPU."""
    return sys.platform == "linux" and not torch.accelerator.is_available()


class Tracing:
    """A step on its way to a graph.

    Args:
        state: all that the step reads and changes.
        kind: "train", "test" or "predict".
        batch: a batch as the step will get it.
        awaited: whether somebody waits for it; else it takes what the training leaves of the processor.

    Raises:
        NotCapturable: the step cannot be traced; the message says why.
    """

    def __init__(self, state: State, kind: str, batch: Any, awaited: bool = False) -> None:
        self._step = state, kind, batch
        self._started = time.perf_counter()
        self._capture: Capture | None = None
        self._copy: tuple[int, IO[bytes]] | None = None
        self._sent = b""
        reason = state.reason_against()
        if reason is not None:
            raise NotCapturable(reason)
        if not can_fork():
            self._capture = capture(*self._step)
            return
        # A file without a name: nobody but the copy can write to it, so what is read from it may be unpickled.
        answer = tempfile.TemporaryFile()  # noqa: SIM115
        with warnings.catch_warnings():
            # Threads hold no lock that tracing takes; were it otherwise, the copy would be given up in time.
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            _trace_and_end(self._step, answer.fileno(), 0 if awaited else _NICENESS)
        self._copy = pid, answer
        self._stop = weakref.finalize(self, _end, pid, answer)

    def done(self, wait: bool = False) -> bool:
        """Whether it has ended.

        Args:
            wait: whether to wait for it.
        """
        if self._copy is None:
            return True
        pid, answer = self._copy
        while not (ended := _has_ended(pid)) and wait and not self._is_stuck():
            time.sleep(0.002)
        if not ended and not self._is_stuck():
            return False
        if ended:
            answer.seek(0)
            self._sent = answer.read()
        self._stop()
        self._copy = None
        return True

    def result(self) -> Capture:
        """The traced step, once it is done.

        Raises:
            NotCapturable: the step cannot be traced; the message says why.
        """
        if self._capture is None and self._sent:
            text, constants, outputs, reason = pickle.loads(self._sent)
            if reason is not None:
                raise NotCapturable(reason)
            self._capture = Capture(
                Graph(text, tuple(map(torch.from_numpy, constants))), self._step[0].tensors, outputs
            )
        if self._capture is None:  # what the copy found was of no use here
            self._capture = capture(*self._step)
        return self._capture

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.perf_counter() - self._started

    def _is_stuck(self) -> bool:
        return self.seconds > _PATIENCE


def _trace_and_end(step: tuple[State, str, Any], answer: int, niceness: int) -> None:
    """In the copy: trace, write the answer, and end without a trace of having been."""
    status = 1
    try:
        gc.disable()  # what is collected here could end processes and remove files of the original
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        os.nice(niceness)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        threads = torch.get_num_threads()
        known = {_address(x) for x in gc.get_objects() if isinstance(x, torch.Tensor)}
        torch.set_num_threads(1)  # the others of the pool are not in the copy
        message = _message(step, threads, known)
        if message is not None:
            with open(answer, "wb", closefd=False) as file:
                file.write(message)
            status = 0
    finally:
        os._exit(status)


def _message(step: tuple[State, str, Any], threads: int, known: set[int | None]) -> bytes | None:
    """The answer; None if the graph uses a tensor of the original that is no part of the state."""
    try:
        traced = capture(*step, threads=threads)
    except NotCapturable as error:
        return pickle.dumps((None, (), None, error.what))
    constants = traced.graph.constants
    if not all(constant.is_contiguous() and _address(constant) not in known for constant in constants):
        return None
    return pickle.dumps((traced.graph.text, [constant.numpy() for constant in constants], traced.outputs, None))


def _address(x: torch.Tensor) -> int | None:
    """Where its values lie, if it has any."""
    try:
        return x.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # somebody else has waited for it
        return True


def _end(pid: int, answer: IO[bytes]) -> None:
    """End the copy, if it has not ended, and close the file of its answer."""
    if not _has_ended(pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    answer.close()
