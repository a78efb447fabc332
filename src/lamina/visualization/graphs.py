"""Pictures of models as graphs of their layers: drawn by Graphviz where it is there, else here.

Source: https://keras.io/api/utils/model_plotting_utils/
"""

from __future__ import annotations

import html
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lamina.core import tree
from lamina.core.errors import ArgumentError, LaminaError, MissingPackageError, StateError
from lamina.graph.node import Operation
from lamina.models.functional import Functional
from lamina.models.sequential import Sequential
from lamina.visualization.figures import INK, RIGHT, WRONG, new_figure
from lamina.visualization.layout import Box, Group

_TITLE, _TEXT = 11, 9.5


@dataclass(frozen=True)
class Shown:
    """What is told about each layer."""

    shapes: bool = False
    dtype: bool = False
    names: bool = True
    activations: bool = False
    trainable: bool = False


class Cell(NamedTuple):
    """A word about a layer: what it is, its value, and the colour of the ground."""

    what: str
    value: str
    color: str = "white"


class Card(NamedTuple):
    """What a box says: a title, perhaps an activation, and cells side by side."""

    layer: Any
    title: str
    kind: str
    activation: str | None
    cells: tuple[Cell, ...]


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """A model as a graph of pydot.

    Args:
        model: a model that is built.
        show_shapes: whether to tell shapes of inputs and outputs.
        show_dtype: whether to tell dtypes of outputs.
        show_layer_names: whether to tell names of layers.
        rankdir: "TB" for a graph that goes downwards, "LR" for one to the right.
        expand_nested: whether to show the layers of models inside the model.
        dpi: dots per inch.
        subgraph: whether to return a cluster, to be put into another graph.
        show_layer_activations: whether to tell activations.
        show_trainable: whether to tell which layers learn.
        splines: how arrows go: "ortho", "curved", "polyline", "spline" or "line".
        **kwargs: none are known.

    Returns:
        A `pydot.Dot`, or with `subgraph` a `pydot.Cluster`.

    Raises:
        StateError: the model is not built.
        ArgumentError: an argument is unknown.
        MissingPackageError: pydot is not installed.

    Example:
        >>> from lamina import layers
        >>> graph = model_to_dot(Sequential([layers.Input((4,)), layers.Dense(2), layers.Dense(1)]))
        >>> len(graph.get_edges())
        1

    Source: https://keras.io/api/utils/model_plotting_utils/
    """
    _check(model, kwargs)
    try:
        import pydot
    except ImportError as error:
        raise MissingPackageError(
            "A graph of pydot needs pydot.", fix="pip install pydot, or use plot_model, which needs matplotlib"
        ) from error
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    group = _group(model, shown, expand_nested)
    if subgraph:
        dot: Any = pydot.Cluster(graph_name=model.name, style="dashed", label=model.name, labeljust="l")
    else:
        # pydot writes options as they are given, also those that are no strings.
        dot = pydot.Dot(rankdir=rankdir, concentrate=True, dpi=dpi, splines=splines)
        dot.set_node_defaults(shape="record")
    _fill_dot(pydot, dot, group)
    return dot


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """Write a picture of a model as a graph of its layers.

    Graphviz draws it where its `dot` and pydot are installed; else matplotlib does.

    Args:
        model: a model that is built.
        to_file: the file; its ending says which kind: .png, .svg, .pdf, ...
        show_shapes: whether to tell shapes of inputs and outputs.
        show_dtype: whether to tell dtypes of outputs.
        show_layer_names: whether to tell names of layers.
        rankdir: "TB", "BT", "LR" or "RL": from top to bottom, and so on.
        expand_nested: whether to show the layers of models inside the model.
        dpi: dots per inch; fewer where the picture would grow beyond 65,000 dots.
        show_layer_activations: whether to tell activations.
        show_trainable: whether to tell which layers learn.
        splines: how arrows go: "ortho", "curved", "polyline", "spline" or "line".
        **kwargs: none are known.

    Returns:
        In a notebook the picture, to be shown; else None.

    Raises:
        StateError: the model is not built.
        ArgumentError: an argument is unknown.
        MissingPackageError: neither Graphviz nor matplotlib is installed.

    Example:
        >>> from lamina import layers
        >>> plot_model(Sequential([layers.Input((4,)), layers.Dense(1)]), "model.svg", show_shapes=True)
        >>> Path("model.svg").read_text().startswith("<?xml")
        True

    Source: https://keras.io/api/utils/model_plotting_utils/
    """
    _check(model, kwargs)
    if rankdir not in ("TB", "BT", "LR", "RL"):
        raise ArgumentError("There is no such direction.", expected="TB, BT, LR or RL", received=repr(rankdir))
    path = Path(to_file)
    if not path.suffix:
        path = path.with_suffix(".png")
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    if shutil.which("dot") and (dot := _dot_or_none(model, shown, rankdir, expand_nested, dpi, splines)) is not None:
        dot.write(str(path), format=path.suffix[1:])
    else:
        figure = _draw(_group(model, shown, expand_nested), rankdir, splines)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=min(dpi, 65000 / max(figure.get_size_inches())))
    display = sys.modules.get("IPython.display") if "ipykernel" in sys.modules else None
    if display is None or path.suffix == ".pdf":
        return None
    return display.SVG(str(path)) if path.suffix == ".svg" else display.Image(str(path))


def _dot_or_none(model: Any, shown: Shown, rankdir: str, expand_nested: bool, dpi: int, splines: str) -> Any:
    """The graph of pydot, where pydot is installed."""
    try:
        return model_to_dot(
            model,
            shown.shapes,
            shown.dtype,
            shown.names,
            rankdir,
            expand_nested,
            dpi,
            show_layer_activations=shown.activations,
            show_trainable=shown.trainable,
            splines=splines,
        )
    except MissingPackageError:
        return None


def _check(model: Any, kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise ArgumentError("Unknown arguments.", where="plot_model", received=", ".join(kwargs))
    if not model.built:
        raise StateError(
            "A model without shapes cannot be drawn.",
            where=f"model '{model.name}'",
            fix="call it on a batch of data, use build(input_shape), or begin it with Input(shape)",
        )


# What is drawn.


def _group(model: Any, shown: Shown, expand: bool, name: str | None = None) -> Group:
    """A model's layers and how they are connected, models inside it as groups where they are expanded."""
    if isinstance(model, Sequential):
        layers = model.layers
        links = [(index, index + 1, 0, 0) for index in range(len(layers) - 1)]
    elif isinstance(model, Functional):
        layers = model.operations
        links = list(_links(model, layers))
    else:
        layers, links = [model], []
    parts: list[Box] = []
    for layer in layers:
        nested = expand and layer is not model and isinstance(layer, (Functional, Sequential))
        parts.append(_group(layer, shown, True, layer.name) if nested else _box(_card(layer, model, shown)))
    group = Group(content=name, items=parts)
    known = set()
    for source, target, output, place in links:
        begin, end = _exit(parts[source], layers[source], output), _entry(parts[target], layers[target], place)
        if (id(begin), id(end)) not in known:
            known.add((id(begin), id(end)))
            group.edges.append((source, target, begin, end))
    return group


def _links(model: Functional, layers: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Which layers a layer reads: their places, which of their outputs, and as which input."""
    place = {id(layer): index for index, layer in enumerate(layers)}
    for node in model._nodes:
        for index, tensor in enumerate(node.input_tensors):
            source, _, output = tensor._keras_history
            if id(source) in place:
                yield place[id(source)], place[id(node.operation)], output, index


def _exit(part: Box, layer: Any, output: int) -> Box:
    """The box that an output of a layer comes from, deep inside where the layer is a group."""
    if not isinstance(part, Group):
        return part
    inner = layer.layers[-1] if isinstance(layer, Sequential) else layer.outputs[output]._keras_history.operation
    index = 0 if isinstance(layer, Sequential) else layer.outputs[output]._keras_history.tensor_index
    return _exit(_part_of(part, layer, inner), inner, index)


def _entry(part: Box, layer: Any, place: int) -> Box:
    """The box that takes an input of a layer, deep inside where the layer is a group."""
    if not isinstance(part, Group):
        return part
    inner = layer.layers[0] if isinstance(layer, Sequential) else layer.inputs[place]._keras_history.operation
    return _entry(_part_of(part, layer, inner), inner, place if isinstance(layer, Sequential) else 0)


def _part_of(group: Group, model: Any, layer: Any) -> Box:
    layers = model.layers if isinstance(model, Sequential) else model.operations
    return group.items[next(index for index, one in enumerate(layers) if one is layer)]


def _card(layer: Any, model: Any, shown: Shown) -> Card:
    is_op = isinstance(layer, Operation)
    kind = layer.label.title().replace("_", "") if is_op else type(layer).__name__
    activation = getattr(layer, "activation", None) if shown.activations else None
    named = getattr(activation, "name", None) or getattr(activation, "__name__", None) or str(activation)
    cells = []
    inputs, outputs = _tensors(layer, model)
    if shown.shapes:
        if kind != "InputLayer":
            cells.append(Cell("Input shape", _told(inputs, "shape")))
        cells.append(Cell("Output shape", _told(outputs, "shape")))
    if shown.dtype:
        cells.append(Cell("Output dtype", _told(outputs, "dtype")))
    if shown.trainable and getattr(layer, "weights", None):
        cells.append(Cell("", "Trainable", RIGHT) if layer.trainable else Cell("", "Non-trainable", WRONG))
    title = layer.name if shown.names else kind
    return Card(layer, title, kind if shown.names else "", named if activation is not None else None, tuple(cells))


def _tensors(layer: Any, model: Any) -> tuple[Any, Any]:
    """The symbolic inputs and outputs of a layer's first call in a model, or None."""
    nodes = [node for node in getattr(model, "_nodes", ()) if node.operation is layer] or layer._inbound_nodes
    if nodes:
        node = nodes[0]
        inputs = node.args[0] if len(node.args) == 1 and not node.kwargs else node.input_tensors
        return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs, node.outputs
    try:
        return layer.input, layer.output
    except (LaminaError, AttributeError):
        return None, None


def _told(tensors: Any, what: str) -> str:
    if tensors is None:
        return "?"
    told = tree.map_structure(lambda tensor: getattr(tensor, what, None), tensors)
    if isinstance(told, dict):
        return ", ".join(f"{key}: {value}" for key, value in told.items())
    return str(told)


# Drawn by Graphviz.


def _fill_dot(pydot: Any, dot: Any, group: Group) -> None:
    """Put a group's boxes and arrows into a graph of pydot."""
    for item in group.items:
        if isinstance(item, Group):
            cluster = pydot.Cluster(graph_name=item.content, style="dashed", label=item.content, labeljust="l")
            _fill_dot(pydot, cluster, item)
            dot.add_subgraph(cluster)
        else:
            label = _dot_label(item.content)
            dot.add_node(pydot.Node(_dot_name(item), label=label, fontname="Helvetica", border="0", margin="0"))
    for _, _, begin, end in group.edges:
        dot.add_edge(pydot.Edge(_dot_name(begin), _dot_name(end), penwidth="2"))


def _dot_name(box: Box) -> str:
    return str(id(box.content.layer))


def _dot_label(card: Card) -> str:
    """A table in Graphviz's HTML."""
    span = max(1, len(card.cells))

    def row(*cells: tuple[str, str, str, int]) -> str:
        made = [
            f'<td bgcolor="{ground}" colspan="{wide}"><font color="{ink}">{text}</font></td>'
            for text, ground, ink, wide in cells
        ]
        return f"<tr>{''.join(made)}</tr>"

    kind = f" ({html.escape(card.kind)})" if card.kind else ""
    rows = [row((f"<b>{html.escape(card.title)}</b>{kind}", INK, "white", span))]
    if card.activation:
        rows.append(row((f"Activation: <b>{html.escape(card.activation)}</b>", "white", INK, span)))
    if card.cells:
        told = [(f"{c.what}{': ' if c.what else ''}<b>{html.escape(c.value)}</b>", c.color) for c in card.cells]
        rows.append(row(*[(text, ground, INK if ground == "white" else "white", 1) for text, ground in told]))
    return f'<<table border="0" cellborder="1" cellspacing="0" cellpadding="8">{"".join(rows)}</table>>'


# Drawn here.


def _box(card: Card) -> Box:
    """A box as large as its text wants."""
    rows = 1 + (card.activation is not None) + bool(card.cells)
    title = len(card.title) * 0.66 * _TITLE + len(f" ({card.kind})") * 0.56 * _TITLE * bool(card.kind)
    activation = (len(card.activation) + 12) * 0.6 * _TEXT if card.activation else 0
    width = max(title + 24, activation + 24, sum(map(_cell_width, card.cells)), 60)
    return Box(width, 24 * rows, card)


def _cell_width(cell: Cell) -> float:
    return (len(cell.what) * 0.54 + len(cell.value) * 0.64 + 2) * _TEXT + 12


def _draw(group: Group, rankdir: str, splines: str) -> Any:
    """The figure of a group."""
    across = rankdir in ("LR", "RL")
    group.place(across)
    group.settle()
    width, height = group.width, group.height
    figure = new_figure(width / 72, height / 72)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for box in group.everything():
        if rankdir == "BT":
            box.y = height - box.y
        elif rankdir == "RL":
            box.x = width - box.x
    _draw_group(axes, group, across, splines)
    return figure


def _draw_group(axes: Any, group: Group, across: bool, splines: str) -> None:
    from matplotlib.patches import Rectangle

    for item in group.items:
        left, top = item.x - item.width / 2, item.y - item.height / 2
        if isinstance(item, Group):
            axes.add_patch(Rectangle((left, top), item.width, item.height, fill=False, edgecolor=INK, linestyle="--"))
            axes.text(left + 8, top + 12, item.content, fontsize=_TEXT, color=INK, va="center")
            _draw_group(axes, item, across, splines)
        else:
            _draw_card(axes, item, left, top)
    lanes: dict[int, int] = {}
    for begin, chain, end in group.routes:
        lane = lanes.setdefault(id(begin), len(lanes))
        _draw_arrow(axes, begin, chain, end, across, splines, (0.5, 0.35, 0.65)[lane % 3])


def _draw_card(axes: Any, box: Box, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    card, height = box.content, 24.0

    def cell(x: float, y: float, wide: float, ground: str) -> None:
        axes.add_patch(Rectangle((x, y), wide, height, facecolor=ground, edgecolor=INK, linewidth=0.8, zorder=3))

    def write(x: float, y: float, plain: str, bold: str, ink: str, size: float, first: bool) -> None:
        parts = ((bold, "bold"), (plain, "normal")) if first else ((plain, "normal"), (bold, "bold"))
        _write_centred(axes, x, y + height / 2, parts, ink, size)

    cell(left, top, box.width, INK)
    write(box.x, top, f" ({card.kind})" if card.kind else "", card.title, "white", _TITLE, True)
    if card.activation is not None:
        top += height
        cell(left, top, box.width, "white")
        write(box.x, top, "Activation: ", card.activation, INK, _TEXT, False)
    if card.cells:
        top += height
        widths = [_cell_width(one) for one in card.cells]
        stretch = box.width / sum(widths)
        for one, wide in zip(card.cells, widths, strict=True):
            cell(left, top, wide * stretch, one.color)
            ink = INK if one.color == "white" else "white"
            told = f"{one.what}: " if one.what else ""
            write(left + wide * stretch / 2, top, told, one.value, ink, _TEXT, False)
            left += wide * stretch


def _write_centred(axes: Any, x: float, y: float, parts: Any, ink: str, size: float) -> None:
    """Write pieces of text in different weights beside each other, the whole centred."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    fonts = [FontProperties(family="DejaVu Sans", weight=weight) for _, weight in parts]
    # What a path measures begins and ends at the ink: stops around the text measure its margins too.
    stop = TextPath((0, 0), "..", size=size, prop=fonts[0]).get_extents().width
    parts = [(text.strip(), weight) for text, weight in parts]
    widths = [
        TextPath((0, 0), f".{text}.", size=size, prop=font).get_extents().width - stop if text else 0.0
        for (text, _), font in zip(parts, fonts, strict=True)
    ]
    gap = 3.5 + 0.02 * sum(widths) if all(widths) else 0.0
    at = x - (sum(widths) + gap) / 2
    for (text, _), font, wide in zip(parts, fonts, widths, strict=True):
        axes.text(at, y, text, fontproperties=font, fontsize=size, color=ink, va="center_baseline", zorder=4)
        at += wide + gap


def _draw_arrow(axes: Any, begin: Box, chain: list[Box], end: Box, across: bool, splines: str, turning: float) -> None:
    """An arrow between two boxes that leaves each layer straight and turns between the layers, so far on the way."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    def main(box: Box) -> float:
        return box.x if across else box.y

    def point(box: Box, along: float) -> tuple[float, float]:
        return (along, box.y) if across else (box.x, along)

    ahead = 0.5 if main(end) > main(begin) else -0.5
    size = "width" if across else "height"
    first, last = chain[0], chain[-1]
    places = [point(begin, main(begin) + getattr(begin, size) * ahead), point(begin, main(first) + first.band * ahead)]
    for bend in chain[1:-1]:
        places += [point(bend, main(bend) - bend.band * ahead), point(bend, main(bend) + bend.band * ahead)]
    places += [point(end, main(last) - last.band * ahead), point(end, main(end) - getattr(end, size) * ahead)]
    line, codes = [places[0]], [Line.MOVETO]
    for index, ((x, y), (u, v)) in enumerate(itertools.pairwise(places)):
        at = x + (u - x) * turning, y + (v - y) * turning
        turn = ((at[0], y), (at[0], v)) if across else ((x, at[1]), (u, at[1]))
        if (x, y) == (u, v):
            continue
        if index % 2 == 0 or splines in ("line", "polyline"):
            line.append((u, v))
            codes.append(Line.LINETO)
        else:
            line += [*turn, (u, v)]
            codes += [Line.LINETO if splines == "ortho" else Line.CURVE4] * 3
    arrow = FancyArrowPatch(
        path=Line(line, codes), arrowstyle="-|>", mutation_scale=11, color=INK, linewidth=1.3, shrinkA=0, shrinkB=0
    )
    arrow.set(zorder=2, joinstyle="round")
    axes.add_patch(arrow)
