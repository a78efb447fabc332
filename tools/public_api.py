#!/usr/bin/env python3
"""The public API as text: one line for each name that lamina offers, with its parameters.

    python tools/public_api.py            prints it
    python tools/public_api.py --write    writes tests/public_api.txt, which a test compares with what is there

Public is what `lamina` offers by explicit `from ... import x as x` lines, and what the modules among that offer.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tests" / "public_api.txt"
sys.path.insert(0, str(ROOT / "src"))


def exported(module: types.ModuleType) -> list[str]:
    """The names that a module offers: what it defines, and what it imports under an explicit `as`.

    In an `__init__.py` that may be a new name; elsewhere `import x as y` is a matter of the file alone.
    """
    names: set[str] = set()
    is_face = hasattr(module, "__path__")
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update(a.asname for a in node.names if a.asname and (is_face or a.asname == a.name))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return sorted(name for name in names if not name.startswith("_"))


def signature(value: object) -> str:
    """The parameters of a class or function with their defaults, types left out."""
    try:
        parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    shown = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    shown = [p.replace(default=_Shown(p.default)) if p.default is not p.empty else p for p in shown]
    return str(inspect.Signature(shown))


class _Shown:
    """A default spelled so that it is the same in every process."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        plain = isinstance(self.value, str | int | float | bool | tuple | list | dict | type(None))
        return repr(self.value) if plain else f"<{type(self.value).__name__}>"


def lines(path: str = "lamina", seen: set[str] | None = None) -> Iterator[str]:
    """Every public name in a namespace and in those it offers."""
    seen = set() if seen is None else seen
    module = importlib.import_module(path) if path == "lamina" else sys.modules[path]
    seen.add(path)
    below: list[str] = []
    for name in exported(module):
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            if value.__name__.startswith("lamina."):
                yield f"module {path}.{name}"
                below += [value.__name__] if value.__name__ not in seen else []
        elif getattr(value, "__module__", "lamina").partition(".")[0] in ("lamina", "builtins"):
            kind = "class" if inspect.isclass(value) else "def" if callable(value) else "value"
            yield f"{kind} {path}.{name}{signature(value) if kind != 'value' else ''}"
    for namespace in below:
        yield from lines(namespace, seen)


def text() -> str:
    """The whole list."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        FILE.write_text(text(), encoding="utf-8")
    else:
        print(text(), end="")
