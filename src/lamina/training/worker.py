"""Compiles one graph in a process of its own: `python -m lamina.training.worker FOLDER DESCRIPTOR SECONDS`.

The description of the graph comes from standard input. The descriptor is the end of a pipe; when its other end is
closed, nobody waits for the code any more. What takes longer than the seconds is given up.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

import torch

from lamina.training.compiler import compile_to


def main(target: Path, watched: int, seconds: int) -> None:
    """Compile the graph read from standard input into a new folder; it appears whole or not at all.

    Args:
        target: the folder.
        watched: the end of the pipe to watch.
        seconds: how long it may take.
    """
    text = sys.stdin.read()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what is unfinished is removed
    signal.signal(signal.SIGALRM, lambda *_: _give_up(seconds))
    signal.alarm(seconds)
    threading.Thread(target=_end_when_closed, args=(watched,), daemon=True).start()
    torch.set_num_threads(1)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        compile_to(folder, text)
        os.replace(folder, target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_when_closed(watched: int) -> None:
    """Wait until the other end is closed; then end this process and the compilers it has started."""
    os.read(watched, 1)
    os.killpg(0, signal.SIGTERM)


def _give_up(seconds: int) -> None:
    """End the compilers it has started, and this process with the reason as its last line."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(f"it did not end within {seconds} seconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
