"""Pictures of models as graphs of their layers: drawn by Graphviz where it is there, else here.

Source: https://keras.io/api/utils/model_plotting_utils/
"""

from __future__ import annotations

import html
import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from lamina.core.errors import ArgumentError, MissingPackageError, StateError
from lamina.visualization.cards import TEXT, TITLE, Card, Shown, cell_width, group_of
from lamina.visualization.figures import INK, new_figure
from lamina.visualization.layout import Box, Group
from lamina.visualization.vectors import model_svg


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
        >>> from lamina import Sequential, layers
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
            "A graph of pydot needs pydot.",
            where="model_to_dot",
            expected="pydot to be installed",
            fix="pip install pydot, or use plot_model, which writes .svg without it",
        ) from error
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    group = group_of(model, shown, expand_nested)
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

    Graphviz draws it where its `dot` and pydot are installed; else matplotlib does. An .svg needs neither: its colours
    follow the reader's, light or dark.

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
        splines: how arrows go: "ortho", "curved", "polyline", "spline" or "line"; "ortho" in an .svg without Graphviz.
        **kwargs: none are known.

    Returns:
        In a notebook the picture, to be shown; else None.

    Raises:
        StateError: the model is not built.
        ArgumentError: an argument is unknown.
        MissingPackageError: neither Graphviz nor matplotlib is installed, and the file is no .svg.

    Example:
        >>> from lamina import Sequential, layers
        >>> plot_model(Sequential([layers.Input((4,)), layers.Dense(1)]), "model.svg", show_shapes=True)
        >>> Path("model.svg").read_text().startswith("<?xml")
        True

    Source: https://keras.io/api/utils/model_plotting_utils/
    """
    _check(model, kwargs)
    if rankdir not in ("TB", "BT", "LR", "RL"):
        raise ArgumentError(
            "There is no such direction.",
            where="plot_model(rankdir=...)",
            expected="'TB', 'BT', 'LR' or 'RL'",
            received=repr(rankdir),
        )
    path = Path(to_file)
    if not path.suffix:
        path = path.with_suffix(".png")
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    if shutil.which("dot") and (dot := _dot_or_none(model, shown, rankdir, expand_nested, dpi, splines)) is not None:
        dot.write(str(path), format=path.suffix[1:])
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            path.write_text(model_svg(model, shown, expand_nested, rankdir=rankdir), "utf-8")
        else:
            figure = _draw(group_of(model, shown, expand_nested), rankdir, splines)
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
        raise ArgumentError(
            "Unknown arguments.",
            where="plot_model",
            expected="show_shapes, show_dtype, show_layer_names, expand_nested, ...",
            received=", ".join(kwargs),
            fix="leave them out",
        )
    if not model.built:
        raise StateError(
            "A model without shapes cannot be drawn.",
            where=f"model '{model.name}'",
            fix="call it on a batch of data, use build(input_shape), or begin it with Input(shape)",
        )


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


def _draw(group: Group, rankdir: str, splines: str) -> Any:
    """The figure of a group."""
    group.arrange(rankdir)
    width, height = group.width, group.height
    figure = new_figure(width / 72, height / 72)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _draw_group(axes, group, rankdir, splines)
    return figure


def _draw_group(axes: Any, group: Group, rankdir: str, splines: str) -> None:
    from matplotlib.patches import Rectangle

    for item in group.items:
        left, top = item.x - item.width / 2, item.y - item.height / 2
        if isinstance(item, Group):
            axes.add_patch(Rectangle((left, top), item.width, item.height, fill=False, edgecolor=INK, linestyle="--"))
            head = top + (item.height - 10 if rankdir == "BT" else 12)
            axes.text(left + 8, head, item.content, fontsize=TEXT, color=INK, va="center")
            _draw_group(axes, item, rankdir, splines)
        else:
            _draw_card(axes, item, left, top)
    lanes: dict[int, int] = {}
    across = rankdir in ("LR", "RL")
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
    write(box.x, top, f" ({card.kind})" if card.kind else "", card.title, "white", TITLE, True)
    if card.activation is not None:
        top += height
        cell(left, top, box.width, "white")
        write(box.x, top, "Activation: ", card.activation, INK, TEXT, False)
    if card.cells:
        top += height
        widths = [cell_width(one) for one in card.cells]
        stretch = box.width / sum(widths)
        for one, wide in zip(card.cells, widths, strict=True):
            cell(left, top, wide * stretch, one.color)
            ink = INK if one.color == "white" else "white"
            told = f"{one.what}: " if one.what else ""
            write(left + wide * stretch / 2, top, told, one.value, ink, TEXT, False)
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
