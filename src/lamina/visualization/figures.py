"""What all pictures share: matplotlib, loaded when first needed, the colours, and saving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lamina.core.errors import MissingPackageError

INK, FAINT = "#24292f", "#d0d7de"
BLUE, ORANGE = "#0b6bcb", "#d9730d"
RIGHT, WRONG = "#1a7f37", "#cf222e"


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure that stands for itself: no window, no global state.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "Pictures need matplotlib.",
            where="lamina.visualization",
            expected="matplotlib to be installed",
            fix="pip install 'lamina[plot]'",
        ) from error
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white", layout="constrained")
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.08, h_pad=0.08)
    return figure


def save(figure: Any, path: str | os.PathLike[str] | None) -> None:
    """Write a figure to a file, its folders made; nothing is written for None."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def plain(panel: Any, title: str, across: str = "", up: str = "", grid: bool = True) -> None:
    """Give a panel its title and names of axes, in the style of all pictures.

    Args:
        panel: axes of matplotlib.
        title: stands above it.
        across: the name of the horizontal axis.
        up: the name of the vertical axis.
        grid: whether faint lines are drawn.
    """
    panel.set_title(title, color=INK, fontsize=12)
    panel.set_xlabel(across, color=INK)
    panel.set_ylabel(up, color=INK)
    if grid:
        panel.grid(color=FAINT, linewidth=0.6)
        panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK)
