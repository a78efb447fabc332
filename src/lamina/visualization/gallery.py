"""Images side by side with what a model says they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.core.tensors import convert_to_numpy
from lamina.visualization.figures import FAINT, INK, RIGHT, WRONG, new_figure, save


def plot_predictions(
    images: Any,
    labels: Any,
    predictions: Any,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    columns: int = 10,
    title: str | None = None,
) -> Any:
    """Draw images with the predicted class: right ones with a tick, wrong ones framed, crossed and with the true class.

    Args:
        images: (count, height, width) or (count, height, width, 1 or 3).
        labels: the true classes, (count,).
        predictions: probabilities (count, classes), or predicted classes (count,).
        path: the file to write; its ending says which kind.
        class_names: the names of the classes; their numbers by default.
        columns: images in a row.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        DataError: images, labels and predictions differ in number, or there are none.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_predictions(np.zeros((2, 8, 8)), [1, 0], [[0.1, 0.9], [0.3, 0.7]], columns=2)
        >>> [panel.get_title() for panel in figure.axes]
        ['✓ 1  90%', '✗ 1 (is 0)']
    """
    pictures, truth, told = (convert_to_numpy(x) for x in (images, labels, predictions))
    if not len(pictures) == len(truth) == len(told) or not len(pictures):
        raise DataError(
            "Images, labels and predictions do not go together.",
            where="plot_predictions",
            expected="the same number of each, at least one",
            received=f"{len(pictures)}, {len(truth)} and {len(told)}",
        )
    guesses = told.argmax(-1) if told.ndim > 1 else told
    rows = -(-len(pictures) // columns)
    figure = new_figure(1.0 * columns + 0.2, 1.25 * rows + (0.6 if title else 0.1))
    if title:
        figure.suptitle(title, color=INK, fontsize=12, fontweight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, panel in enumerate(panels):
        panel.set_xticks([])
        panel.set_yticks([])
        if i >= len(pictures):
            panel.set_axis_off()
            continue
        confidence = float(told[i].max()) if told.ndim > 1 else None
        _draw(panel, pictures[i], int(guesses[i]), int(truth[i]), confidence, class_names)
    save(figure, path)
    return figure


def _draw(
    panel: Any, image: np.ndarray, guess: int, truth: int, confidence: float | None, names: Sequence[str] | None
) -> None:
    """One image with its caption and frame."""
    gray = image.ndim == 2 or image.shape[-1] == 1
    panel.imshow(image.reshape(image.shape[:2]) if gray else image, cmap="gray_r" if gray else None)
    shown, true_name = (names[guess], names[truth]) if names else (str(guess), str(truth))
    is_right = guess == truth
    share = "" if confidence is None else f"  {confidence:.0%}"
    caption = f"✓ {shown}{share}" if is_right else f"✗ {shown} (is {true_name})"
    panel.set_title(
        caption, fontsize=9, pad=4, color=RIGHT if is_right else WRONG, fontweight=None if is_right else "bold"
    )
    for spine in panel.spines.values():
        spine.set_color(FAINT if is_right else WRONG)
        spine.set_linewidth(0.8 if is_right else 2.5)
