"""What the command lines of all programs share."""

from __future__ import annotations

import argparse
import os


def parser_of(program: str, text: str | None) -> argparse.ArgumentParser:
    """A parser of the options of `python -m benchmarks PROGRAM` that shows the text as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks {program}".strip(),
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
