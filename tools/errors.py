"""Every place in the source that makes one of lamina's errors: what the standard asks of them, and docs/errors.md."""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "lamina"
PAGE = ROOT / "docs" / "errors.md"
BASE = "LaminaError"
SIGNALS = frozenset({"NotCapturable"})
"""Errors that never reach a user: they end what they stop, and their sentence alone goes on, into a report."""
_LONGEST = 180


HEAD = """# Errors

Every error that lamina raises on purpose, by the part of the package it comes from, each with a message that a test
provoked. Every error says what is wrong, where, what was expected and received, and what helps; the user's own line
ends the traceback, and frames of lamina are left out unless `config.disable_traceback_filtering()` asks for them.
`pytest --errors=FILE && python tools/errors.py --write FILE` makes this page; `make check` holds every place to the
standard and the page to the source, and a whole run of the tests names the places that it did not reach."""


@dataclass(frozen=True)
class Place:
    """One place that makes an error.

    Args:
        path: the file, relative to the package.
        line: the first line of the call.
        last: its last line.
        function: the function around it, with its class.
        kind: the error's class.
        parts: what the error says, by part; `what` is the first.
    """

    path: str
    line: int
    last: int
    function: str
    kind: str
    parts: dict[str, str]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.kind} in {self.function}"


def places() -> list[Place]:
    """Every place in the package, by file and line."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    kinds = _kinds(trees.values())
    return [place for path, tree in trees.items() for place in _in_file(str(path.relative_to(SOURCE)), tree, kinds)]


def _kinds(trees: Iterable[ast.Module]) -> set[str]:
    """The names of all classes of errors."""
    bases = {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {BASE}
    while more := {name for name, above in bases.items() if above & known} - known:
        known |= more
    return known


def _in_file(path: str, tree: ast.Module, kinds: set[str]) -> Iterator[Place]:
    def visit(node: ast.AST, around: tuple[str, ...]) -> Iterator[Place]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            around = (*around, node.name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in kinds:
            given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            first = {"what": node.args[0]} if node.args else {}
            parts = {name: _text(value) for name, value in {**first, **given}.items()}
            kind = ast.unparse(node.func).split(".")[-1]
            yield Place(path, node.lineno, node.end_lineno or node.lineno, ".".join(around) or "module", kind, parts)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, around)

    yield from visit(tree, ())


def _text(node: ast.expr) -> str:
    """A message as a reader would see it, with what is filled in later between braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else _text(part)
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body)} / {_text(node.orelse)}"
    if isinstance(node, ast.FormattedValue):
        node = node.value
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "nearest":
        return ""
    return "{" + ast.unparse(node) + "}"


def lacking(place: Place) -> list[str]:
    """What the standard asks for that the place does not say: where it is, and what would be right."""
    if place.kind in SIGNALS or (len(place.parts) == 1 and place.parts.get("what", "").startswith("{")):
        return []
    lacks = [] if "where" in place.parts else ["where"]
    return lacks if {"expected", "fix"} & set(place.parts) else [*lacks, "expected or fix"]


def page(found: list[Place], seen: dict[str, dict[str, str]]) -> str:
    """The table in docs.

    Args:
        found: the places.
        seen: messages that tests provoked, by `path:line`.
    """
    lines = [HEAD]
    area = None
    for place in found:
        if _area(place) != area:
            area = _area(place)
            lines += [
                "",
                f"## {area}",
                "",
                "| error | what, for example | where | expected | fix |",
                "|---|---|---|---|---|",
            ]
        examples = [seen[key] for line in range(place.line, place.last + 1) if (key := f"{place.path}:{line}") in seen]
        said = examples[0] if examples else place.parts
        cells = [place.kind, *(_cell(said.get(part, "")) for part in ("what", "where", "expected", "fix"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _area(place: Place) -> str:
    return place.path.split("/")[0].removesuffix(".py")


def _cell(text: str) -> str:
    """A message on one line, without what differs from run to run."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", " ".join(text.split()))
    text = re.sub(r"0x[0-9a-f]{6,}", "0x...", text)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return text.replace("|", "\\|").replace("<", "&lt;")


def rows_of(text: str) -> list[tuple[str, str]]:
    """The kinds of errors in the page, each with its part of the package."""
    rows, area = [], ""
    for line in text.splitlines():
        area = line[3:] if line.startswith("## ") else area
        if line.startswith("| ") and not line.startswith("| error"):
            rows.append((area, line.split(" | ")[0][2:]))
    return rows


def main() -> int:
    """Check the places, list what they lack, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="FILE", type=Path, help="write docs/errors.md with the messages in FILE")
    parser.add_argument("--list", action="store_true", help="print every place")
    given = parser.parse_args()
    found = places()
    if given.list:
        print("\n".join(f"{place} {sorted(place.parts)}" for place in found))
    faults = [f"src/lamina/{place}: says nothing of {', '.join(lacks)}" for place in found if (lacks := lacking(place))]
    if given.write:
        PAGE.write_text(page(found, json.loads(given.write.read_text())))
    rows = rows_of(PAGE.read_text()) if PAGE.exists() else []
    if sorted(rows) != sorted((_area(place), place.kind) for place in found):
        faults.append("docs/errors.md has other errors than the source: its first lines say how it is made")
    print("\n".join(faults) or f"{len(found)} places, all to the standard", file=sys.stderr if faults else sys.stdout)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
