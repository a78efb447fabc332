#!/usr/bin/env python3
"""The house rules that no linter knows: sizes of files and functions, and where imports may stand.

    python tools/check_style.py [FOLDER ...]

Prints one line per breach and exits with 1 if there is any; warnings alone do not fail.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LIMIT, FILE_AIM, FUNCTION_LIMIT = 1000, 600, 80
API_BUDGET, BEYOND_BUDGET = 38_000, 10_500
# What Keras has no name for: the engine under fit, resuming, tables, export formats, the commands, the doctor, shims.
BEYOND = (
    "callbacks/device_memory.py", "callbacks/doctor.py", "callbacks/experiment.py", "callbacks/gradient_hooks.py",
    "callbacks/gradient_norm.py",
    "callbacks/learning_rate_finder.py", "callbacks/report.py", "callbacks/weight_histograms.py", "cli/", "compat/",
    "core/limits.py", "core/memory.py", "core/outline_rules.py", "core/outlines.py", "data/columns.py",
    "data/replay.py", "data/tables.py", "doctor/", "export/onnx.py", "export/program.py", "export/signature.py",
    "export/torch_names.py", "layers/costs.py", "report/", "saving/checkpoint.py", "saving/hdf5_format.py",
    "saving/safetensors.py", "training/adoption.py", "training/batch_sizes.py", "training/capture.py",
    "training/code_store.py", "training/compiler.py", "training/cuda_graph.py", "training/execution.py",
    "training/finders.py", "training/fingerprint.py", "training/foreign.py", "training/hand_written.py",
    "training/plan.py", "training/report.py", "training/resume.py", "training/serving.py", "training/tracing.py",
    "training/trial.py", "training/whole_state.py", "training/worker.py",
    "visualization/classification.py", "visualization/curves.py", "visualization/figures.py",
    "visualization/gallery.py", "visualization/insides.py", "visualization/layout.py",
    "visualization/learning_rates.py", "visualization/vectors.py",
)  # fmt: skip
# Code lines of the classes that a newcomer reads first; what they share stands in bases, which have limits too.
CLASS_LIMITS = {
    "Dense": 60, "Dropout": 25, "BaseConv": 150, "RNN": 150, "LSTM": 150, "GRU": 150, "SimpleRNN": 150,
    "MultiHeadAttention": 200, "HeadsLayer": 200,
}  # fmt: skip
AT_TOP = {"torch", "numpy", "optree", "lamina", *sys.stdlib_module_names}
DELAYED = {
    "ai_edge_litert", "h5py", "IPython", "litert_torch", "matplotlib", "mlflow", "onnx", "onnxruntime", "onnxscript",
    "openvino", "pandas", "PIL", "pyarrow", "pydot", "rich", "safetensors", "scipy", "sklearn", "soundfile",
    "tensorboard",
    "tensorflow", "torchmetrics", "torchvision", "typer", "wandb", "yaml",
}  # fmt: skip
DELAYED_PARTS = ("torch.",)  # heavy parts of torch, such as torch.export or torch._inductor


def code_lines(source: str) -> int:
    """Lines that hold code: no blanks, comments or docstrings."""
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    at_statement_start = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in skipped:
            at_statement_start = at_statement_start or token.type == tokenize.NEWLINE
            continue
        is_docstring = at_statement_start and token.type == tokenize.STRING
        at_statement_start = False
        if not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def body_size(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring not counted."""
    body = function.body
    has_docstring = (
        isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )
    first = body[1] if has_docstring and len(body) > 1 else body[0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def class_size(source: str, node: ast.ClassDef) -> int:
    """Code lines of a class, its decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return code_lines("".join(source.splitlines(keepends=True)[first - 1 : node.end_lineno]))


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The dotted names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        return ["." * node.level + (node.module or "")]
    return [node.module or ""]


def may_be_delayed(module: str) -> bool:
    """Whether a module may be imported inside a function."""
    return module.split(".")[0] in DELAYED or module.startswith(DELAYED_PARTS)


class Imports(ast.NodeVisitor):
    """Finds the imports that stand where they may not."""

    def __init__(self) -> None:
        self.depth = 0
        self.breaches: list[tuple[int, str]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.dump(node.test):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for module in imported(node):
            if module.startswith("."):
                self.breaches.append((node.lineno, f"relative import of {module}: write lamina. in full"))
            elif self.depth and not may_be_delayed(module):
                self.breaches.append((node.lineno, f"import of {module} inside a function"))
            elif not self.depth and module.split(".")[0] not in AT_TOP:
                self.breaches.append((node.lineno, f"{module} is imported at the top; delay it into the function"))

    visit_ImportFrom = visit_Import


def is_beyond(path: Path) -> bool:
    """Whether a file holds what Keras has no name for."""
    parts = path.parts
    inside = "/".join(parts[parts.index("lamina") + 1 :]) if "lamina" in parts else ""
    return inside.startswith(BEYOND)


def check_file(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, text and gravity of each breach in a file; gravity False is a warning."""
    source = path.read_text(encoding="utf-8")
    length = source.count("\n")
    if length > FILE_AIM:
        fails = length > FILE_LIMIT
        yield (
            1,
            f"{length} lines, the {'limit' if fails else 'aim'} is {FILE_LIMIT if fails else FILE_AIM}",
            fails,
        )
    module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (size := body_size(node)) > FUNCTION_LIMIT:
            yield node.lineno, f"{node.name} has {size} lines, the limit is {FUNCTION_LIMIT}", True
    for node in module.body:
        limit = CLASS_LIMITS.get(node.name) if isinstance(node, ast.ClassDef) else None
        if isinstance(node, ast.ClassDef) and limit and (size := class_size(source, node)) > limit:
            yield node.lineno, f"{node.name} has {size} code lines, the limit is {limit}", True
    imports = Imports()
    imports.visit(module)
    yield from ((line, text, True) for line, text in imports.breaches)


def main(folders: list[str]) -> int:
    """Check all Python files below the folders; the exit status."""
    api = beyond = failures = 0
    for folder in folders or [str(ROOT / "src" / "lamina")]:
        for path in sorted(Path(folder).rglob("*.py")):
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            lines = code_lines(path.read_text(encoding="utf-8"))
            api, beyond = (api, beyond + lines) if is_beyond(shown) else (api + lines, beyond)
            for line, text, fails in check_file(path):
                failures += fails
                print(f"{shown}:{line}: {'' if fails else 'warning: '}{text}")
    print(
        f"{api:,} code lines of {API_BUDGET:,} for Keras's API, {beyond:,} of {BEYOND_BUDGET:,} beyond it; "
        f"{failures} breaches of the house rules"
    )
    over = api > API_BUDGET or beyond > BEYOND_BUDGET
    if over:
        print("The whole is over its budget: take something out.")
    return int(failures > 0 or over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
