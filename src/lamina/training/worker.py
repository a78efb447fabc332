"""Compiles one graph in a process of its own: `python -m lamina.training.worker FOLDER`.

The description of the graph comes from standard input.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import torch

from lamina.training.compiler import compile_to


def main(target: Path) -> None:
    """Compile the graph read from standard input into a new folder; it appears whole or not at all.

    Args:
        target: the folder.
    """
    text = sys.stdin.read()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what is unfinished is removed
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
