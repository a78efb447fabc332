"""Curves of losses and metrics over the epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lamina.core.errors import ArgumentError
from lamina.visualization.figures import BLUE, INK, ORANGE, new_figure, plain, save


def plot_history(
    history: Any,
    path: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Any:
    """Draw the results of `fit`, a panel for each: training as a full line, validation as a dashed one.

    Args:
        history: what `fit` gave, or its `history` dict.
        path: the file to write; its ending says which kind.
        names: which results to draw, e.g. ["loss", "accuracy"]; all by default.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: there is nothing to draw, or a name is not among the results.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_history({"loss": [0.9, 0.4], "val_loss": [0.8, 0.5]}, "loss.png")
        >>> len(figure.axes)
        1
    """
    results: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    chosen = list(names) if names else [name for name in results if not name.startswith("val_")]
    unknown = [name for name in chosen if name not in results]
    if not chosen or unknown:
        raise ArgumentError(
            "There is no such result to draw." if unknown else "There are no results to draw.",
            where="plot_history",
            expected=", ".join(results) or "the History that fit gives",
            received=", ".join(unknown) or repr(history),
        )
    columns = min(len(chosen), 3)
    rows = -(-len(chosen) // columns)
    figure = new_figure(5.2 * columns, 3.6 * rows + (0.4 if title else 0))
    if title:
        figure.suptitle(title, color=INK, fontsize=13, fontweight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, name in zip(panels, chosen, strict=False):
        _draw(panel, name, results[name], results.get(f"val_{name}"))
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    save(figure, path)
    return figure


def _draw(panel: Any, name: str, training: Sequence[float], validation: Sequence[float] | None) -> None:
    """One panel: the curves of a result, each with its last value."""
    epochs = range(1, len(training) + 1)
    marker = "o" if len(training) <= 30 else None
    panel.plot(epochs, training, color=BLUE, marker=marker, markersize=4, label=f"training, last {training[-1]:.4g}")
    if validation:
        spacing = max(1, len(training) // len(validation))
        places = [spacing * (i + 1) for i in range(len(validation))]
        label = f"validation, last {validation[-1]:.4g}"
        panel.plot(places, validation, color=ORANGE, linestyle="--", marker=marker, markersize=4, label=label)
    plain(panel, name.replace("_", " "), "epoch")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(frameon=False, labelcolor=INK)
