"""The table that `model.summary()` prints: drawn where a person looks at it, plain text elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lamina.core import tree
from lamina.core.config import say
from lamina.core.errors import ArgumentError, LaminaError, nearest
from lamina.layers.costs import cost_of


class Row(NamedTuple):
    """One layer in the table."""

    name: str
    shape: str
    parameters: str
    connected: str
    trainable: str
    depth: int
    costs: tuple[str, ...] = ()


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
    flops: bool = False,
    memory: bool = False,
) -> None:
    """Print a model's layers, shapes and weights; see `Model.summary`."""
    from rich.console import Console

    drawn = sys.stdout.isatty() or "ipykernel" in sys.modules
    graph = not _is_chain(model)
    rows = list(_rows(model, expand_nested, layer_range, costs=(flops, memory)))
    headers = ["Layer (type)", "Output Shape", "Param #"]
    headers += ["Connected to"] if graph else []
    headers += ["Trainable"] if show_trainable else []
    headers += ["FLOPs"] * flops + ["Weights", "Outputs"] * memory
    table = _table(headers, rows, graph, show_trainable, drawn and print_fn is None, positions, line_length)
    width = line_length or (100 if graph else 80) + 12 * flops + 24 * memory
    console = Console(width=width, highlight=False, force_terminal=None if print_fn is None else False)
    with console.capture() as captured:
        console.print(f'[bold]Model: "{model.name}"[/bold]' if drawn else f'Model: "{model.name}"', markup=drawn)
        console.print(table)
        for line in [*_totals(model), *_cost_totals(model, flops, memory)]:
            console.print(line, markup=drawn)
    text = "\n".join(line.rstrip() for line in captured.get().rstrip("\n").splitlines())
    if print_fn is not None:
        print_fn(text)
        return
    say(text)


def _table(
    headers: list[str],
    rows: list[Row],
    graph: bool,
    show_trainable: bool,
    drawn: bool,
    positions: Sequence[float] | None,
    line_length: int | None,
) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.HEAVY_HEAD if drawn else box.ASCII2,
        show_lines=drawn,
        expand=True,
        width=line_length,
        header_style="bold" if drawn else "none",
    )
    ratios = _ratios(positions, len(headers))
    for header, ratio in zip(headers, ratios, strict=True):
        numbers = header in ("Param #", "FLOPs", "Weights", "Outputs")
        table.add_column(header, justify="right" if numbers else "left", ratio=ratio, overflow="fold")
    for row in rows:
        cells = [_cell("    " * row.depth + row.name), _cell(row.shape), _cell(row.parameters)]
        cells += [_cell(row.connected)] if graph else []
        cells += [_cell(row.trainable)] if show_trainable else []
        cells += map(_cell, row.costs)
        table.add_row(*cells)
    return table


def _cell(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _ratios(positions: Sequence[float] | None, count: int) -> list[int]:
    """Column widths from the relative ends of the columns."""
    if positions is None:
        known = {3: [43, 34, 23], 4: [34, 26, 17, 23], 5: [30, 22, 13, 21, 14]}
        return known.get(count) or [30, 22, *[14] * (count - 2)]
    ends = list(positions)[:count]
    if len(ends) < count:
        ends += [1.0] * (count - len(ends))
    return [max(1, round(100 * (end - start))) for start, end in zip([0.0, *ends[:-1]], ends, strict=True)]


def _is_chain(model: Any) -> bool:
    """Whether each layer has one input and no layer is used twice."""
    nodes = getattr(model, "_nodes", None)
    if nodes is None:
        return True
    uses: dict[int, int] = {}
    for node in nodes:
        if len(node.input_tensors) > 1 or len(node.output_tensors) > 1:
            return False
        for tensor in node.input_tensors:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    operations = [node.operation for node in nodes]
    return len(set(map(id, operations))) == len(operations) and all(count == 1 for count in uses.values())


def _rows(
    model: Any,
    expand: bool,
    layer_range: Sequence[str] | None,
    depth: int = 0,
    costs: tuple[bool, bool] = (False, False),
) -> Iterator[Row]:
    parts = list(getattr(model, "_operations", None) or model.layers)
    known = {id(part) for part in parts}
    parts += [layer for layer in model.layers if id(layer) not in known]
    if layer_range is not None and depth == 0:
        parts = _between(parts, layer_range)
    for part in parts:
        yield _row(part, model, depth, costs)
        if expand and getattr(part, "layers", None):
            yield from _rows(part, expand, None, depth + 1, costs)


def _between(parts: list[Any], layer_range: Sequence[str]) -> list[Any]:
    if len(layer_range) != 2:
        raise ArgumentError(
            "A layer range does not name two layers.",
            where="layer_range",
            expected='("first", "last")',
            received=layer_range,
        )
    names = [_name(part) for part in parts]

    def places(pattern: str) -> list[int]:
        found = [i for i, name in enumerate(names) if name == pattern or re.fullmatch(pattern, name)]
        if not found:
            raise ArgumentError(
                f'No layer matches "{pattern}".{nearest(pattern, names)}',
                where="layer_range",
                expected=", ".join(names),
            )
        return found

    start, stop = sorted((min(places(layer_range[0])), max(places(layer_range[1]))))
    return parts[start : stop + 1]


def _row(part: Any, model: Any, depth: int, costs: tuple[bool, bool]) -> Row:
    weights = _weights(part)
    trainable = "-"
    if weights:
        trainable = "Y" if any(weight.requires_grad for weight in weights) else "N"
    built = getattr(part, "built", True)
    count = f"{sum(weight.numel() for weight in weights):,}" if built or weights else "0 (unbuilt)"
    told = _costs(part, model, *costs) if any(costs) else ()
    return Row(f"{_name(part)} ({_kind(part)})", _shape(part), count, _connections(part, model), trainable, depth, told)


def _costs(part: Any, model: Any, flops: bool, memory: bool) -> tuple[str, ...]:
    """The cells about what a layer costs for one sample."""
    cost = cost_of(part, model)
    told = ["?" if cost.flops is None else f"{cost.flops:,}"] * flops
    return (*told, *[_size(cost.weights), "?" if cost.outputs is None else _size(cost.outputs)] * memory)


def _cost_totals(model: Any, flops: bool, memory: bool) -> list[str]:
    """The lines about what a model costs for one sample."""
    if not flops and not memory:
        return []
    costs = [cost_of(part, model) for part in getattr(model, "_operations", None) or model.layers]
    lines = [f" FLOPs per sample: {sum(cost.flops or 0 for cost in costs):,}"] * flops
    return lines + [f" Outputs per sample: {_size(sum(cost.outputs or 0 for cost in costs))}"] * memory


def _name(part: Any) -> str:
    return getattr(part, "name", type(part).__name__)


def _kind(part: Any) -> str:
    label = getattr(part, "label", None)
    return label if isinstance(label, str) else type(part).__name__


def _weights(part: Any) -> list[Any]:
    if hasattr(part, "weights") and not hasattr(part, "label"):
        return list(part.weights)
    return list(part.parameters()) + list(part.buffers()) if hasattr(part, "parameters") else []


def _shape(part: Any) -> str:
    nodes = getattr(part, "_inbound_nodes", [])
    if not nodes:
        outputs = getattr(part, "outputs", None)
        return _spell([tensor.shape for tensor in outputs]) if outputs else _shape_by_build(part)
    shapes = list(dict.fromkeys(_spell(tree_shapes(node.outputs)) for node in nodes))
    return ", ".join(shapes)


def _shape_by_build(part: Any) -> str:
    """The output shape of a layer outside a graph, for the shapes it was built with."""
    built_for = getattr(part, "_build_shapes", None)
    if not built_for:
        return "?"
    try:
        shapes = part.compute_output_shape(*built_for.values())
    except (LaminaError, NotImplementedError, RuntimeError, TypeError):
        return "?"
    found: list[Any] = []
    tree.map_shape_structure(found.append, shapes)
    return _spell(found)


def tree_shapes(outputs: Any) -> list[Any]:
    """The shapes of the tensors in a structure."""
    return [leaf.shape for leaf in tree.flatten(outputs) if hasattr(leaf, "shape")]


def _spell(shapes: list[Any]) -> str:
    return ", ".join(str(tuple(shape)) for shape in shapes)


def _connections(part: Any, model: Any) -> str:
    sources = []
    for node in getattr(model, "_nodes", []):
        if node.operation is part:
            for tensor in node.input_tensors:
                operation, index, position = tensor._keras_history
                sources.append(f"{operation.name}[{index}][{position}]")
    return ", ".join(sources) if sources else "-"


def _totals(model: Any) -> list[str]:
    """The lines under the table."""
    trainable = sum_of(model.trainable_weights)
    fixed = sum_of(model.non_trainable_weights)
    optimizer = getattr(model, "optimizer", None)
    slots = sum_of(getattr(optimizer, "variables", None) or []) if getattr(optimizer, "built", False) else (0, 0)
    lines = [("Total params", _add(trainable, fixed, slots)), ("Trainable params", trainable)]
    lines.append(("Non-trainable params", fixed))
    if slots[0]:
        lines.append(("Optimizer params", slots))
    return [f" {label}: {count:,} ({_size(size)})" for label, (count, size) in lines]


def sum_of(weights: Any) -> tuple[int, int]:
    """How many scalars, and how many bytes."""
    return sum(w.numel() for w in weights), sum(w.numel() * w.element_size() for w in weights)


def _add(*pairs: tuple[int, int]) -> tuple[int, int]:
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"
