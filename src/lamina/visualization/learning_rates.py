"""The losses of a test of learning rates."""

from __future__ import annotations

import os
from typing import Any

from lamina.core.errors import ArgumentError
from lamina.visualization.figures import BLUE, FAINT, INK, ORANGE, new_figure, save


def plot_learning_rates(found: Any, path: str | os.PathLike[str] | None = None, title: str | None = None) -> Any:
    """Draw the loss over the learning rate, as measured and smoothed, with the rate that is suggested.

    Args:
        found: the `LearningRateFinder` that `find_learning_rate` gave.
        path: the file to write; its ending says which kind.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: no rate was tried.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> from lamina.callbacks import LearningRateFinder
        >>> found = LearningRateFinder()
        >>> found.rates, found.losses = [1e-3, 1e-2], [1.0, 0.5]
        >>> len(plot_learning_rates(found, "rates.png").axes)
        1
    """
    if not found.rates:
        raise ArgumentError("No learning rate was tried.", where="plot_learning_rates", fix="use find_learning_rate")
    figure = new_figure(6.4, 4.0)
    panel = figure.subplots()
    panel.plot(found.rates, found.losses, color=FAINT, linewidth=1.2, label="each batch")
    smoothed = found.smoothed
    panel.plot(found.rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    if (rate := found.suggestion) is not None:
        panel.axvline(rate, color=ORANGE, linestyle="--", label=f"suggested, {rate:.2g}")
    low, high = min(smoothed), max(smoothed[: max(2, len(smoothed) // 2)])
    room = 0.25 * (high - low) or 1.0
    panel.set_ylim(low - room, high + 2 * room)
    panel.set_xscale("log")
    panel.set_title(title or "loss by learning rate", color=INK, fontsize=12)
    panel.set_xlabel("learning rate", color=INK)
    panel.set_ylabel("loss", color=INK)
    panel.grid(color=FAINT, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK)
    panel.legend(frameon=False, labelcolor=INK)
    save(figure, path)
    return figure
