"""What the searches for a learning rate and a batch size have found."""

from __future__ import annotations

import os
from typing import Any

from lamina.core.errors import ArgumentError
from lamina.visualization.figures import BLUE, FAINT, INK, ORANGE, WRONG, new_figure, plain, save


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
    plain(panel, title or "loss by learning rate", "learning rate", "loss")
    panel.legend(frameon=False, labelcolor=INK)
    save(figure, path)
    return figure


def plot_batch_sizes(found: Any, path: str | os.PathLike[str] | None = None, title: str | None = None) -> Any:
    """Draw the samples in a second and the memory of a step over the size of batches, with the size suggested.

    Args:
        found: what `model.find_batch_size` gave.
        path: the file to write; its ending says which kind.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> from lamina.training import BatchSizes, BatchSizeTry
        >>> found = BatchSizes({2: BatchSizeTry(900.0, 1 << 20), 4: BatchSizeTry(1500.0, 2 << 20)}, 8, 100)
        >>> len(plot_batch_sizes(found, "sizes.png").axes)
        2
    """
    figure = new_figure(9.0, 3.8 + (0.4 if title else 0.0))
    if title:
        figure.suptitle(title, color=INK, fontsize=13, fontweight="bold")
    sizes, tries = list(found.table), found.table.values()
    speeds, memory = [one.samples_per_second for one in tries], [one.memory / 2**20 for one in tries]
    for panel, name, values in zip(figure.subplots(1, 2), ("samples/s", "MiB"), (speeds, memory), strict=True):
        panel.plot(sizes, values, color=BLUE, marker="o", markersize=4, linewidth=2)
        panel.axvline(found.suggestion, color=ORANGE, linestyle="--", label=f"suggested, {found.suggestion:,}")
        if found.failed:
            panel.axvline(found.failed, color=WRONG, linewidth=1.2, label=f"does not fit, {found.failed:,}")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        panel.set_ylim(0, 1.1 * max(values) or 1.0)
        plain(panel, "speed" if name == "samples/s" else "memory of a step", "batch size", name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, labelcolor=INK)
    save(figure, path)
    return figure
