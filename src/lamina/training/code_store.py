"""Compiled code on disk, kept between runs, and the processes that make it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from lamina.core.config import home_folder
from lamina.training.compiler import Graph

_KEPT = 64
_NICENESS = 10
_SECONDS, _SECONDS_AWAITED = 100, 600
"""How long compiling may take: beside the training, and where somebody has asked for it and waits."""


def code_folder() -> Path:
    """Where compiled code is kept: `compiled` in lamina's home, if only its owner may write there.

    Libraries in it are loaded into the process, so a folder that others may write to is not used; then, or where the
    home cannot be written to, code is kept in a temporary folder of this process.
    """
    folder = home_folder() / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return _temporary_folder()
    usable = status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
    return folder if usable else _temporary_folder()


_temporary: tempfile.TemporaryDirectory[str] | None = None


def _temporary_folder() -> Path:
    global _temporary
    if _temporary is None:
        _temporary = tempfile.TemporaryDirectory(prefix="lamina-compiled-")
    return Path(_temporary.name)


def _prune(folder: Path) -> None:
    """Drop the code that was not used for longest, and what broken-off compilations left behind."""
    with contextlib.suppress(OSError):
        entries = sorted((e for e in os.scandir(folder) if e.is_dir()), key=lambda e: e.stat().st_mtime, reverse=True)
        made = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "headers"]
        stale = [e for e in entries if e.name.startswith(".making-") and e.stat().st_mtime < time.time() - 3600]
        for entry in [*made[_KEPT:], *stale]:
            shutil.rmtree(entry.path, ignore_errors=True)


class Compilation:
    """A graph on its way to machine code, in a process of its own, unless the code is on disk already.

    Args:
        graph: the graph.
        awaited: whether somebody waits for it; else it takes what the training leaves of the processor.

    Attributes:
        folder: where the code lies once `done` has said True.
        was_kept: whether it was there from an earlier run.
    """

    def __init__(self, graph: Graph, awaited: bool = False) -> None:
        root = code_folder()
        self.folder = root / graph.key
        self.was_kept = (self.folder / "code.json").exists()
        self.error: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = time.perf_counter()
        self.seconds = 0.0
        if self.was_kept:
            with contextlib.suppress(OSError):
                os.utime(self.folder)
            return
        _prune(root)
        self._log = root / f".log-{graph.key}-{os.getpid()}"
        self._process, lifeline = _start(graph.text, self.folder, self._log, awaited)
        self._stop = weakref.finalize(self, _stop, self._process, self._log, lifeline)

    def done(self, wait: bool = False) -> bool:
        """Whether it has ended; `error` then says why there is no code, if there is none.

        Args:
            wait: whether to wait for it.
        """
        process = self._process
        if process is None:
            return True
        if wait:
            process.wait()
        if process.poll() is None:
            return False
        self.seconds = time.perf_counter() - self._started
        self._process = None
        if process.returncode or not (self.folder / "code.json").exists():
            lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
            self.error = lines[-1].strip() if lines else f"the compiler ended with status {process.returncode}"
        self._stop()
        return True


def _start(text: str, folder: Path, log: Path, awaited: bool) -> tuple[subprocess.Popen[bytes], int]:
    """The process that compiles a graph, with this package on its path; it ends when the descriptor is closed."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "headers"),
        "OMP_NUM_THREADS": "1",
    }
    nice = [] if awaited or not shutil.which("nice") else ["nice", "-n", str(_NICENESS)]
    seconds = _SECONDS_AWAITED if awaited else _SECONDS
    watched, lifeline = os.pipe()  # the system closes it for a process that is killed
    try:
        with tempfile.TemporaryFile() as graph, log.open("wb") as output:
            graph.write(text.encode())
            graph.seek(0)
            process = subprocess.Popen(
                [*nice, sys.executable, "-m", "lamina.training.worker", str(folder), str(watched), str(seconds)],
                stdin=graph,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=(watched,),
            )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(watched)
    return process, lifeline


def _stop(process: subprocess.Popen[bytes], log: Path, lifeline: int) -> None:
    """End a compilation that nobody waits for any more, with the compilers it has started."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, 15)
        process.wait()
    os.close(lifeline)
    log.unlink(missing_ok=True)
