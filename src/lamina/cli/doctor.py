"""`lamina doctor`: a script run as by `lamina run`, with a doctor in every fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamina.callbacks.doctor import in_every_fit
from lamina.cli.run import run_script


def examine_script(script: Path, arguments: Sequence[str] = ()) -> int:
    """Run a script and print, at its end, what is wrong with each training in it.

    Args:
        script: the file.
        arguments: what the script sees as `sys.argv[1:]`.

    Returns:
        what `run_script` returns.

    Raises:
        SystemExit: the script ends itself.
    """
    with in_every_fit() as doctors:
        try:
            return run_script(script, arguments)
        finally:
            if not doctors:
                print("lamina doctor: the script did not train.")
            for number, doctor in enumerate(doctors, 1):
                name = getattr(doctor.model, "name", None) or "a model that did not begin to train"
                print(f"\nlamina doctor: fit {number} of {len(doctors)}, {name}", flush=True)
                doctor.findings.show()
