"""`lamina run`: a script written for Keras, run in this process on lamina."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lamina import compat


def run_script(script: Path, arguments: Sequence[str] = ()) -> int:
    """Run a script as `python script arguments` would, with Keras's names given by lamina.

    Args:
        script: the file.
        arguments: what the script sees as `sys.argv[1:]`.

    Returns:
        0, or 1 after an error in the script, whose traceback is then printed, or 2 if there is no such file.

    Raises:
        SystemExit: the script ends itself.
    """
    if not script.is_file():
        print(f"lamina: there is no script {script}", file=sys.stderr)
        return 2
    argv, path = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    compat.install()
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception as error:
        traceback.print_exception(type(error), error, _from_script(error.__traceback__, str(script)))
        return 1
    finally:
        compat.uninstall()
        sys.argv, sys.path[:] = argv, path
    return 0


def _from_script(trace: TracebackType | None, script: str) -> TracebackType | None:
    """The traceback from the script's own frame on, without the frames that started it."""
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    return trace
