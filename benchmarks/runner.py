"""The processes of one workload: started, warmed up, and then measured in turns.

Each peer has a process of its own. All stay alive and take turns, so that noise of the machine hits all alike; those
that are not at turn are stopped, so that nothing they do in the background can hit others.
"""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Args:
        rounds: turns of each peer that count.
        turn: seconds that a turn lasts at least; it ends with an epoch.
        warmup: seconds of training before the first turn that counts, at least and at most; in between it ends when
            steps have stopped becoming faster.
        threads: CPU cores that each process may use.
        device: "cpu" or "cuda".
        policy: a dtype policy of Keras.
        steps: the most steps of an epoch, for trying things out.
        cold: whether code that earlier runs have compiled is hidden.
        patience: seconds to wait for an answer.
    """

    rounds: int = 7
    turn: float = 0.7
    warmup: tuple[float, float] = (4.0, 60.0)
    threads: int = 1
    device: str = "cpu"
    policy: str = "float32"
    steps: int = 10**6
    cold: bool = False
    patience: float = 600.0


@dataclass
class Result:
    """What was measured of one peer on one workload; times in seconds, of one step where nothing else is said.

    Args:
        build: making the model and the optimizer.
        first_step: from calling fit for the first time to the end of the first step.
        first_epoch: from there to the end of the first epoch.
        parameters: weights that are trained.
        rounds: time of a step in each round.
        processor: processor time of a step in each round, of all threads together.
        memory: the peak in bytes, of the process or the accelerator.
        note: how the peer runs steps, in words.
        error: why there is no result.
        counts: of the floor, the operations and bytes that were counted.
    """

    workload: str
    peer: str
    build: float | None = None
    first_step: float | None = None
    first_epoch: float | None = None
    parameters: int | None = None
    rounds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: int | None = None
    note: str = ""
    error: str | None = None
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return min(self.rounds)


class PeerFailedError(Exception):
    """A process gave no answer, or an error for an answer."""


class Child:
    """The process of one peer; stopped except while it is asked something."""

    def __init__(self, workload: str, peer: str, plan: Plan) -> None:
        self.result = Result(workload, peer)
        self.patience = plan.patience
        self.caches = tempfile.TemporaryDirectory() if plan.cold else None
        # It is open as long as the process lives.
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        options = {"threads": plan.threads, "device": plan.device, "policy": plan.policy}
        task = {"workload": workload, "peer": peer, "options": options, "steps": plan.steps}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(task)],
            env=os.environ | environment(plan) | self._hidden() | PEERS[peer].environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )

    def _hidden(self) -> dict[str, str]:
        if self.caches is None:
            return {}
        return {"LAMINA_HOME": self.caches.name, "TORCHINDUCTOR_CACHE_DIR": self.caches.name}

    def ask(self, seconds: float) -> dict[str, Any]:
        """Let the process run a turn of so many seconds; its answer.

        Raises:
            PeerFailedError: it failed, died or took too long.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            os.killpg(self.process.pid, signal.SIGCONT)
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
            line = self.process.stdout.readline() if ready else ""
            os.killpg(self.process.pid, signal.SIGSTOP)
        except (OSError, ValueError) as error:
            raise PeerFailedError(str(error)) from error
        answer = json.loads(line) if line else {"error": f"gave no answer; {self._last_words()}"}
        if "error" in answer:
            raise PeerFailedError(answer["error"])
        return answer

    def start(self) -> None:
        """The first epoch."""
        answer = self.ask(1.0)
        for name in ("build", "first_step", "first_epoch", "parameters"):
            setattr(self.result, name, answer.pop(name, None))
        self.result.counts.update(answer)

    def warm_up(self, plan: Plan) -> None:
        """Train until the peer has settled and is no longer becoming faster, or time is up.

        It is becoming faster while the best of the latest two turns is better by 3% than the best before.
        """
        least, most = plan.warmup
        start, seen, settled = time.monotonic(), [], False
        while (elapsed := time.monotonic() - start) < most:
            if elapsed >= least and len(seen) > 2 and settled and min(seen[-2:]) > 0.97 * min(seen[:-2]):
                return
            answer = self.ask(plan.turn)
            seen.append(answer["step"])
            settled = answer["settled"]

    def turn(self, plan: Plan) -> None:
        """One turn that counts."""
        answer = self.ask(plan.turn)
        self.result.rounds.append(answer.pop("step"))
        self.result.memory = answer.pop("memory", None)
        self.result.note = answer.pop("note", "")
        answer.pop("settled", None)
        if "processor" in answer:
            self.result.processor.append(answer.pop("processor"))
        self.result.counts.update(answer)

    def end(self) -> None:
        """End the process and all that it started."""
        for signal_number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, signal_number)
            except ProcessLookupError:
                break
        self.process.wait()
        if self.caches is not None:
            self.caches.cleanup()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            try:
                if stream is not None:
                    stream.close()
            except BrokenPipeError:
                pass

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def environment(plan: Plan) -> dict[str, str]:
    """What the processes' frameworks are told; lamina is found in the source tree."""
    places = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    settings = {
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "OMP_NUM_THREADS": str(plan.threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if plan.device == "cpu":
        return settings | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    # By default each of these takes most of the device's memory for itself.
    return settings | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def measure(workload: str, peers: list[str], plan: Plan) -> list[Result]:
    """Measure one workload. Peers that fail have an error in their result; the others go on.

    Args:
        workload: its name.
        peers: their names.
        plan: how to measure.
    """
    assert workload in WORKLOADS
    results: list[Result] = []
    alive: list[Child] = []
    try:
        for peer in peers:
            child = Child(workload, peer, plan)
            results.append(child.result)
            alive.append(child)
            _attempt(child, alive, child.start)
            if child in alive and peer != "floor":
                _attempt(child, alive, lambda child=child: child.warm_up(plan))
        for number in range(plan.rounds):
            first = number % len(alive) if alive else 0
            for child in alive[first:] + alive[:first]:
                _attempt(child, alive, lambda child=child: child.turn(plan))
    finally:
        for child in alive:
            child.end()
    return results


def _attempt(child: Child, alive: list[Child], action: Any) -> None:
    try:
        action()
    except PeerFailedError as failure:
        child.result.error = str(failure)
        child.result.rounds.clear()
        alive.remove(child)
        child.end()
