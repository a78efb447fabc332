"""The table of all workloads and peers: the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import report
from benchmarks.command import cores, parser_of
from benchmarks.peers import PEERS
from benchmarks.runner import Plan, Result, measure
from benchmarks.workloads import WORKLOADS


def _names(is_extra: bool) -> list[str]:
    return [name for name, workload in WORKLOADS.items() if workload.is_extra is is_extra]


def parser(epilog: str) -> argparse.ArgumentParser:
    """The options."""
    text = "Measure training and inference of lamina and its peers, each in a process of its own, in turns."
    parser = parser_of("", text)
    parser.epilog = epilog
    add = parser.add_argument
    add(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"{', '.join(_names(False))} by default; also {', '.join(_names(True))}",
    )
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help=f"of {', '.join(PEERS)}")
    add("--rounds", type=int, help="turns of each peer that count; 7, or 3 with --quick")
    add("--turn", type=float, help="seconds a turn lasts at least; 0.7, or 0.4 with --quick")
    add("--warmup", type=float, help="seconds of training before, at least; 4, or 1 with --quick")
    add("--warmup-limit", type=float, help="the same, at most; 60, or 10 with --quick")
    add("--threads", type=int, default=cores(), help="CPU cores that each process may use; all by default")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--policy", choices=("float32", "mixed_bfloat16"), default="float32", help="dtype policy")
    add("--steps", type=int, default=10**6, help="the most steps in an epoch, for trying things out")
    add("--json", type=Path, default=report.RESULTS / "table.json", metavar="FILE")
    add("--chart", type=Path, default=report.RESULTS / "table.png", metavar="FILE.png")
    add("--cold", action="store_true", help="hide compiled code that lamina and torch have kept on disk")
    add("--quick", action="store_true", help="fewer rounds, shorter turns")
    return parser


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan; options that are not given depend on --quick."""

    def chosen(name: str, usual: float, quick: float) -> float:
        given = getattr(options, name)
        return given if given is not None else quick if options.quick else usual

    return Plan(
        rounds=int(chosen("rounds", 7, 3)),
        turn=chosen("turn", 0.7, 0.4),
        warmup=(chosen("warmup", 4.0, 1.0), chosen("warmup_limit", 60.0, 10.0)),
        threads=options.threads,
        device=options.device,
        policy=options.policy,
        steps=options.steps,
        cold=options.cold,
    )


def installed(peers: list[str], policy: str) -> list[str]:
    """The peers that can run; a line for each that cannot."""
    usable = []
    for name in dict.fromkeys(peers):
        if missing := PEERS[name].missing():
            print(f"{name} is left out: {', '.join(missing)} is not installed (benchmarks/requirements.txt)")
        elif policy not in PEERS[name].policies:
            print(f"{name} is left out: it is not written for {policy}")
        else:
            usable.append(name)
    return usable


def main(arguments: list[str], epilog: str = "") -> None:
    """Measure, print, write."""
    command = parser(epilog)
    options = command.parse_args(arguments)
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        command.error(f"unknown: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    plan = plan_of(options)
    peers = installed(options.peers, plan.policy)
    print(f"{report.processor_name()}, {plan.threads} threads, {plan.device}, {plan.policy}")
    results: dict[str, list[Result]] = {}
    for workload in options.workloads or _names(False):
        able = WORKLOADS[workload].peers
        results[workload] = measure(workload, [peer for peer in peers if able is None or peer in able], plan)
        report.show_workload(workload, results[workload])
        report.write_json(options.json, plan, results)
    report.show_summary(results)
    report.write_chart(options.chart, plan, results)
    print(f"\nwritten: {options.json} and {options.chart}")
