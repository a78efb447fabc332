"""How long after `fit` is called the first step ends, in seconds, beside the same in torch by hand and a later step.

python -m benchmarks first [WORKLOAD ...] [--rounds 5] [--threads 2] [--peers lamina torch]

Every figure comes from a fresh process; the peers take turns. What a first step costs more than a later one goes to
threads, kernels and memory that are used for the first time.
"""

from __future__ import annotations

import statistics

from benchmarks.command import cores, parser_of
from benchmarks.peers import PEERS
from benchmarks.runner import Child, PeerFailedError, Plan
from benchmarks.workloads import WORKLOADS


def main(arguments: list[str]) -> None:
    parser = parser_of("first", __doc__)
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; by default all that train"
    )
    parser.add_argument("--peers", nargs="+", default=["lamina", "torch"], choices=sorted(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args(arguments)
    names = options.workloads or [
        name for name, workload in WORKLOADS.items() if workload.kind == "fit" and not workload.is_extra
    ]
    print(f"{'workload':<18}{'peer':<18}{'build':>10}{'first step':>12}{'at best':>10}{'later step':>12}")
    for name in names:
        found: dict[str, list[tuple[float, float, float]]] = {peer: [] for peer in options.peers}
        for _ in range(options.rounds):
            for peer in options.peers:
                found[peer].append(_times(name, peer, Plan(threads=options.threads, cold=True, steps=4)))
        for peer, times in found.items():
            build, first, later = (list(column) for column in zip(*times, strict=True))
            print(
                f"{name:<18}{peer:<18}{statistics.median(build):>8.3f} s{statistics.median(first):>10.3f} s"
                f"{min(first):>8.3f} s{statistics.median(later):>10.3f} s"
            )


def _times(workload: str, peer: str, plan: Plan) -> tuple[float, float, float]:
    """Building, first step, and the mean of the next three, in a process of its own."""
    child = Child(workload, peer, plan)
    try:
        child.start()
    except PeerFailedError as failure:
        raise SystemExit(f"{peer} on {workload}: {failure}") from failure
    finally:
        child.end()
    result = child.result
    assert result.build is not None and result.first_step is not None and result.first_epoch is not None
    return result.build, result.first_step, (result.first_epoch - result.first_step) / (plan.steps - 1)


if __name__ == "__main__":
    main([])
