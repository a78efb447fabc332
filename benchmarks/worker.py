"""The process in which one peer runs one workload: `python -m benchmarks.worker JSON`, commanded by `runner`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.peers.base import Channel, Options
from benchmarks.workloads import WORKLOADS


def main(task: dict[str, Any]) -> None:
    # Frameworks print to standard output; the parent's answers go where it was, and their words to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    channel = Channel(sys.stdin, answers)
    options = Options(**task["options"])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    workload = WORKLOADS[task["workload"]]
    workload = dataclasses.replace(workload, steps=min(workload.steps, task["steps"]))
    try:
        PEERS[task["peer"]].load()(workload, options).serve(channel)
    except Exception as error:
        traceback.print_exc()
        channel.send(error=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
