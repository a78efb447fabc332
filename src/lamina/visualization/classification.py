"""How well a classifier does: confusion matrix, its mistakes, and whether it knows how sure it may be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.core.errors import ArgumentError, DataError
from lamina.core.tensors import convert_to_numpy
from lamina.visualization.figures import BLUE, FAINT, INK, ORANGE, new_figure, plain, save
from lamina.visualization.gallery import plot_predictions


def classes_of(values: Any, threshold: float = 0.5) -> np.ndarray:
    """Class numbers, (count,), from class numbers, one-hot rows, or probabilities or logits of each class.

    Args:
        values: (count,), (count, 1) or (count, classes).
        threshold: floats of a single column are class 1 above it.

    Raises:
        DataError: the values are none of these.

    Example:
        >>> classes_of([[0.1, 0.9], [0.8, 0.2]]), classes_of([[0.3], [0.6]]), classes_of([2.0, 0.0])
        (array([1, 0]), array([0, 1]), array([2, 0]))
    """
    array = convert_to_numpy(values)
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(-1)
    array = array.reshape(-1) if array.ndim == 2 else array
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise DataError(
            "These are no classes.",
            where="classes_of",
            expected="(count,), (count, 1) or (count, classes)",
            received=f"{array.dtype} of shape {array.shape}",
        )
    if array.dtype.kind == "f" and (array % 1).any():
        return (array > threshold).astype(int)
    return array.astype(int)


def confusion(labels: Any, predictions: Any, classes: int | None = None, threshold: float = 0.5) -> np.ndarray:
    """How often each class (row) was taken for each (column).

    Args:
        labels: the true classes, as `classes_of` takes them.
        predictions: likewise.
        classes: how many there are; by default as many as appear.
        threshold: of a single column of probabilities.

    Raises:
        DataError: labels and predictions differ in number, or there are none, or a class is out of range.

    Example:
        >>> confusion([0, 1, 1], [0, 1, 0])
        array([[1, 0],
               [1, 1]])
    """
    truth, told = classes_of(labels), classes_of(predictions, threshold)
    if len(truth) != len(told) or not len(truth):
        raise DataError(
            "Labels and predictions do not go together.",
            where="confusion matrix",
            expected="the same number of each, at least one",
            received=f"{len(truth)} and {len(told)}",
        )
    widths = [shape[1] for x in (labels, predictions) if len(shape := np.shape(x)) == 2]
    count = classes or max(int(max(truth.max(), told.max())) + 1, *widths, 2)
    if min(truth.min(), told.min()) < 0 or max(truth.max(), told.max()) >= count:
        raise DataError(
            "A class is out of range.",
            where="confusion matrix",
            expected=f"numbers from 0 to {count - 1}",
            received=f"{min(truth.min(), told.min())} to {max(truth.max(), told.max())}",
        )
    return np.bincount(truth * count + told, minlength=count**2).reshape(count, count)


def plot_confusion_matrix(
    labels: Any,
    predictions: Any,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    normalize: bool = False,
    title: str | None = None,
) -> Any:
    """Draw how often each class was taken for each: true classes downwards, predicted ones across.

    Args:
        labels: the true classes: numbers (count,), or one-hot (count, classes).
        predictions: probabilities or logits (count, classes), probabilities of class 1 (count, 1), or classes (count,).
        path: the file to write; its ending says which kind.
        class_names: the names of the classes; their numbers by default.
        normalize: show shares of each true class in place of numbers.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        DataError: labels and predictions do not go together.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_confusion_matrix([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], "confusion.png")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1', '0', '1', '1']
    """
    matrix = confusion(labels, predictions, len(class_names) if class_names else None)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    count = len(matrix)
    names = list(class_names) if class_names else [str(i) for i in range(count)]
    size = min(max(2.6, 0.52 * count), 8.5)
    figure = new_figure(size + 1.9, size + 1.3)
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = min(10.0, 150 / count)
    for row, column in np.ndindex(*matrix.shape) if count <= 30 else ():
        value = f"{shares[row, column]:.2f}".removeprefix("0") if normalize else f"{matrix[row, column]:,}"
        ink = "white" if shares[row, column] > 0.5 else INK if matrix[row, column] else "#8c959f"
        panel.text(column, row, value, ha="center", va="center", color=ink, fontsize=font)
    long = max(map(len, names)) > 3
    step = 1 if count <= 30 else -(-count // 20)
    panel.set_xticks(range(0, count, step), names[::step], rotation=45 if long else 0, ha="right" if long else "center")
    panel.set_yticks(range(0, count, step), names[::step])
    right = np.trace(matrix) / matrix.sum()
    plain(panel, title or f"{right:.1%} of {matrix.sum():,} right", "predicted", "true", grid=False)
    panel.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=panel, shrink=0.75, format=lambda share, _: f"{share:.0%}")
    bar.set_label("share of the true class", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK)
    save(figure, path)
    return figure


def mistakes(labels: Any, predictions: Any, count: int | None = None) -> np.ndarray:
    """The places of samples told wrong, those of which the model was surest first.

    Example:
        >>> mistakes([0, 0, 0], [[0.4, 0.6], [0.9, 0.1], [0.1, 0.9]])
        array([2, 0])
    """
    told = convert_to_numpy(predictions)
    wrong = np.flatnonzero(classes_of(labels) != classes_of(told))
    certainty = told.reshape(len(told), -1).max(-1)[wrong]
    if told.ndim == 2 and told.shape[1] == 1:
        certainty = np.abs(told[wrong, 0] - 0.5)
    return wrong[np.argsort(-certainty, kind="stable")][:count]


def plot_misclassified(
    images: Any,
    labels: Any,
    predictions: Any,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    count: int = 30,
    columns: int = 10,
    title: str | None = None,
) -> Any:
    """Draw the images that a classifier gets wrong, its surest mistakes first.

    Args:
        images: (count, height, width) or (count, height, width, 1 or 3).
        labels: the true classes: numbers (count,), or one-hot (count, classes).
        predictions: probabilities (count, classes) or (count, 1), or classes (count,).
        path: the file to write; its ending says which kind.
        class_names: the names of the classes; their numbers by default.
        count: how many to draw at most.
        columns: images in a row.
        title: stands above the picture.

    Returns:
        The matplotlib figure; None, and no file, where nothing is wrong.

    Raises:
        DataError: labels and predictions do not go together.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_misclassified(np.zeros((2, 8, 8)), [1, 0], [[0.1, 0.9], [0.3, 0.7]])
        >>> [panel.get_title() for panel in figure.axes]
        ['✗ 1 (is 0)']
    """
    truth, told = classes_of(labels), convert_to_numpy(predictions)
    confusion(truth, told)  # refuses what does not go together
    if told.ndim == 2 and told.shape[1] == 1:
        told = np.concatenate([1 - told, told], 1)
    places = mistakes(truth, told)
    if not len(places):
        return None
    title = title or f"{len(places):,} of {len(truth):,} wrong ({len(places) / len(truth):.1%}), the surest first"
    shown = places[:count]
    pictures = convert_to_numpy(images)[shown]
    width = min(columns, max(len(shown), 5 if len(shown) > 4 else len(shown)))
    return plot_predictions(pictures, truth[shown], told[shown], path, class_names, width, title)


def plot_calibration(
    labels: Any,
    probabilities: Any,
    path: str | os.PathLike[str] | None = None,
    bins: int = 10,
    title: str | None = None,
) -> Any:
    """Draw how often a classifier is right when it is so sure: on the diagonal it may be taken at its word.

    Below the curve stands how many samples there are of each certainty. With several classes the certainty is the
    largest probability; with one column it is that of class 1, and the curve shows how often that class is true.

    Args:
        labels: the true classes: numbers (count,), or one-hot (count, classes).
        probabilities: (count, classes), (count, 1) or (count,), from 0 to 1.
        path: the file to write; its ending says which kind.
        bins: in how many equal parts certainty is cut.
        title: stands above the picture.

    Returns:
        The matplotlib figure.

    Raises:
        ArgumentError: the probabilities are not between 0 and 1.
        DataError: labels and probabilities do not go together.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_calibration([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> figure.axes[0].get_title()
        'calibration error 30.0%'

    Source: https://arxiv.org/abs/1706.04599
    """
    told, truth = convert_to_numpy(probabilities).astype("float64"), classes_of(labels)
    if told.size and not (told.min() >= 0 and told.max() <= 1 + 1e-6):
        raise ArgumentError(
            "Calibration is about probabilities.",
            where="plot_calibration",
            expected="values from 0 to 1",
            received=f"{told.min():.3g} to {told.max():.3g}",
            fix="apply softmax or sigmoid to logits first",
        )
    confusion(truth, told)
    several = told.ndim == 2 and told.shape[1] > 1
    certainty = told.max(-1) if several else told.reshape(-1)
    hits = (told.argmax(-1) == truth if several else truth == 1).astype(float)
    places = np.minimum((certainty * bins).astype(int), bins - 1)
    numbers = np.bincount(places, minlength=bins)
    filled = numbers > 0
    sure, right = (np.bincount(places, x, bins)[filled] / numbers[filled] for x in (certainty, hits))
    error = float((np.abs(sure - right) * numbers[filled]).sum() / len(truth))
    figure = new_figure(4.6, 5.2)
    panel, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    panel.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.5, label="as sure as right")
    panel.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), color=ORANGE, linewidth=3, alpha=0.6)
    panel.plot(sure, right, color=BLUE, marker="o", markersize=5, label="this model")
    panel.set(xlim=(0, 1), ylim=(0, 1.02))
    panel.legend(frameon=False, labelcolor=INK, loc="upper left")
    plain(panel, title or f"calibration error {error:.1%}", "", "how often right" if several else "how often class 1")
    below.bar((np.arange(bins) + 0.5) / bins, numbers, width=0.92 / bins, color=BLUE)
    plain(below, "", "certainty" if several else "probability of class 1", "samples")
    save(figure, path)
    return figure
