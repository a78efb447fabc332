"""Pictures as SVG without any library: curves, points, and models as graphs, in colours for light and dark."""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamina.visualization.cards import TEXT, TITLE, Shown, cell_width, group_of
from lamina.visualization.layout import Box, Group

STYLE = """
svg text { fill: var(--ink, #24292f); font-family: Helvetica, Arial, sans-serif; }
svg .faint { stroke: var(--faint, #d0d7de); fill: none; }
svg .line { stroke: var(--ink, #24292f); fill: none; stroke-width: 1.3; }
svg .card { stroke: var(--ink, #24292f); fill: var(--ground, #ffffff); stroke-width: .8; }
svg .title { stroke: var(--ink, #24292f); fill: var(--title, #24292f); }
svg .title-text { fill: #ffffff; }
svg .good { fill: #1a7f37; } svg .bad { fill: #cf222e; } svg .head { fill: var(--ink, #24292f); }
svg .a { stroke: var(--blue, #0b6bcb); fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .b { stroke: var(--orange, #d9730d); fill: none; stroke-width: 2; stroke-dasharray: 5 3; }
svg .pa { fill: var(--blue, #0b6bcb); } svg .pb { fill: var(--orange, #d9730d); }
svg .small { font-size: 11px; fill: var(--soft, #57606a); }
"""
"""The style sheet of these pictures; a page may set the colours as variables."""
_DARK = dict(ink="#e6edf3", soft="#9198a1", faint="#3d444d", ground="#151b23", title="#2f3b4a")
_DARK |= dict(blue="#58a6ff", orange="#f0883e")

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 380, 230, 50, 12, 12, 34


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within a range, about so many.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Where an axis begins and ends, with some room."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _frame(across: tuple[float, float], up: tuple[float, float], label: str, whole: bool) -> tuple[list[str], Any]:
    """Grid and numbers of a chart, and the function that gives the place of a value."""

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (x - across[0]) / (across[1] - across[0]) * (_WIDTH - _LEFT - _RIGHT)
        return right, _HEIGHT - _BOTTOM - (y - up[0]) / (up[1] - up[0]) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for value in ticks(*up):
        y = place(across[0], value)[1]
        parts.append(f'<line class="faint" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="small" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in ticks(*across, 6):
        if not whole or value == int(value):
            x = place(value, up[0])[0]
            parts.append(
                f'<text class="small" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value:.5g}</text>'
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="small" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(label)}</text>')
    return parts, place


def _wrapped(parts: Sequence[str], label: str) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label)}">{inside}</svg>'


def curves_svg(name: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str = "epoch") -> str:
    """A chart of one line or two, the second dashed; gaps where values are not finite.

    Args:
        name: what the chart shows, for those who cannot see it.
        lines: by name the places and the values.
        label: the name of the horizontal axis.

    Example:
        >>> curves_svg("loss", {"training": ([1, 2], [0.9, 0.4])}).count("<path")
        1
    """
    places = [x for xs, _ in lines.values() for x in xs]
    low, high = min(places, default=0), max(places, default=1)
    across = (low, high) if high > low else (low - 0.5, high + 0.5)
    parts, place = _frame(across, _range([y for _, ys in lines.values() for y in ys]), label, True)
    for kind, (told, (xs, ys)) in zip("ab", lines.items(), strict=False):
        path, pen = "", "M"
        dot = 'r="3"' if len(xs) <= 30 else 'r="6" opacity="0"'  # many dots hide the line; they still tell their value
        for x, y in zip(xs, ys, strict=False):
            if not math.isfinite(y):
                pen = "M"
                continue
            path += "{}{:.1f} {:.1f}".format(pen, *place(x, y))
            pen = "L"
            if len(xs) <= 150:
                at = 'cx="{:.1f}" cy="{:.1f}"'.format(*place(x, y))
                tip = html.escape(f"{told}, {label} {x:g}: {y:.5g}")
                parts.append(f'<circle class="p{kind}" {at} {dot}><title>{tip}</title></circle>')
        parts.append(f'<path class="{kind}" d="{path}"/>')
    return _wrapped(parts, f"{name} by {label}")


def points_svg(truth: Sequence[float], told: Sequence[float]) -> str:
    """A chart of predictions over true values, with the line on which they would be right.

    Example:
        >>> points_svg([1.0, 2.0], [1.5, 2.0]).count("<circle")
        2
    """
    both = _range([*truth, *told])
    parts, place = _frame(both, both, "true value", False)
    (x1, y1), (x2, y2) = place(both[0], both[0]), place(both[1], both[1])
    parts.append(f'<line class="b" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    for x, y in zip(truth, told, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            parts.append('<circle class="pa" fill-opacity=".5" cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*place(x, y)))
    return _wrapped(parts, "predicted by true value")


def _own_style() -> str:
    """The style of a picture that is a file: without variables, which few programs but browsers know."""
    light = re.sub(r"var\(--\w+, (#\w+)\)", r"\1", STYLE)
    dark = re.sub(r"var\(--(\w+), #\w+\)", lambda found: _DARK[found[1]], STYLE)
    dark = f"@media (prefers-color-scheme: dark) {{ svg {{ background: {_DARK['ground']}; }}{dark}}}"
    return f"<style>svg {{ background: #ffffff; }}{light}{dark}</style>"


def model_svg(
    model: Any, shown: Shown, expand_nested: bool = False, standalone: bool = True, rankdir: str = "TB"
) -> str:
    """A model as a graph of its layers.

    Args:
        model: a model that is built.
        shown: what is told about each layer.
        expand_nested: whether to show the layers of models inside the model.
        standalone: whether it is to be a file of its own, with its style; else it grows no wider than the page.
        rankdir: "TB", "BT", "LR" or "RL": from top to bottom, and so on.

    Example:
        >>> from lamina import Sequential, layers
        >>> model_svg(Sequential([layers.Input((4,)), layers.Dense(2), layers.Dense(1)]), Shown()).count("<rect")
        2
    """
    group = group_of(model, shown, expand_nested)
    group.arrange(rankdir)
    size = f'viewBox="0 0 {group.width:.0f} {group.height:.0f}" width="{group.width:.0f}" height="{group.height:.0f}"'
    label = html.escape(f"The layers of {model.name}")
    inside = "".join(_of_group(group, rankdir))
    begin = '<?xml version="1.0" encoding="utf-8"?>\n' if standalone else ""
    style = _own_style() if standalone else ""
    # Letters that shrink with the page shall stay large enough to be read.
    space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else f' style="min-width: {0.7 * group.width:.0f}px"'
    return f'{begin}<svg{space} {size} role="img" aria-label="{label}">{style}{inside}</svg>'


def _of_group(group: Group, rankdir: str) -> Iterator[str]:
    for begin, chain, end in group.routes:
        yield _arrow(begin, chain, end, rankdir in ("LR", "RL"))
    for item in group.items:
        left, top = item.x - item.width / 2, item.y - item.height / 2
        if isinstance(item, Group):
            yield (
                f'<rect class="line" stroke-dasharray="4 3" x="{left:.1f}" y="{top:.1f}" width="{item.width:.1f}" '
                f'height="{item.height:.1f}"/>'
            )
            head = top + (item.height - 6 if rankdir == "BT" else 15)
            yield _text(left + 8, head, html.escape(str(item.content)), TEXT, "", "start")
            yield from _of_group(item, rankdir)
        else:
            yield from _of_card(item, left, top)


def _of_card(box: Box, left: float, top: float) -> Iterator[str]:
    card = box.content
    kind = f' <tspan font-weight="normal">({html.escape(card.kind)})</tspan>' if card.kind else ""
    yield _cell(left, top, box.width, "title")
    title = f'<tspan font-weight="bold">{html.escape(card.title)}</tspan>{kind}'
    yield _text(box.x, top + 16, title, TITLE, "title-text")
    if card.activation is not None:
        top += 24
        yield _cell(left, top, box.width, "card")
        told = f'Activation: <tspan font-weight="bold">{html.escape(card.activation)}</tspan>'
        yield _text(box.x, top + 15.5, told, TEXT)
    widths = [cell_width(one) for one in card.cells]
    for one, wide in zip(card.cells, widths, strict=True):
        wide *= box.width / sum(widths)
        name = {"Trainable": "good", "Non-trainable": "bad"}.get(one.value, "")
        yield _cell(left, top + 24, wide, f"card {name}")
        told = f'{html.escape(f"{one.what}: ") if one.what else ""}<tspan font-weight="bold">{html.escape(one.value)}'
        yield _text(left + wide / 2, top + 39.5, f"{told}</tspan>", TEXT, "title-text" if name else "")
        left += wide


def _cell(x: float, y: float, wide: float, name: str) -> str:
    return f'<rect class="{name.strip()}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="24"/>'


def _text(x: float, y: float, told: str, size: float, name: str = "", anchor: str = "middle") -> str:
    named = f' class="{name}"' if name else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{told}</text>'


def _arrow(begin: Box, chain: Sequence[Box], end: Box, across: bool) -> str:
    """An arrow that leaves each layer straight and turns halfway between two."""
    first, last = chain[0], chain[-1]
    ahead = 0.5 if _along(end, across) > _along(begin, across) else -0.5
    aside, start = _ends(begin, begin.width if across else begin.height, ahead, across)
    points = [(aside, start), (aside, _along(first, across) + first.band * ahead)]
    for bend in chain[1:-1]:
        points += [_ends(bend, bend.band + 10, -ahead, across), _ends(bend, bend.band, ahead, across)]
    x, y = _ends(end, end.width if across else end.height, -ahead, across)
    points += [(x, _along(last, across) - (last.band + 10) * ahead), (x, y - 10 * ahead)]
    begins, onward, sideways = ("M{1:.1f} {0:.1f}", "H", "V") if across else ("M{0:.1f} {1:.1f}", "V", "H")
    path = begins.format(*points[0])
    for (_, above), (u, v) in itertools.pairwise(points):
        path += f"{onward}{(above + v) / 2:.1f}{sideways}{u:.1f}{onward}{v:.1f}"
    corners = ((x - 4, y - 16 * ahead), (x + 4, y - 16 * ahead), (x, y))
    head = " ".join("{:.1f},{:.1f}".format(*(at[::-1] if across else at)) for at in corners)
    return f'<path class="line" d="{path}"/><polygon class="head" points="{head}"/>'


def _along(box: Box, across: bool) -> float:
    """Where a box stands in the direction of the arrows."""
    return box.x if across else box.y


def _ends(box: Box, size: float, ahead: float, across: bool) -> tuple[float, float]:
    """Where an arrow meets a box: aside, and in the direction of the arrows."""
    return (box.y if across else box.x), _along(box, across) + size * ahead
