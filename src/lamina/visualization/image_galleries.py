"""Galleries of images, with labels, boxes or masks.

Source: https://keras.io/api/visualization/
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.core.config import standardize_data_format
from lamina.core.errors import ArgumentError
from lamina.core.tensors import convert_to_numpy
from lamina.visualization.drawing import batch_of, draw_bounding_boxes, draw_segmentation_masks
from lamina.visualization.figures import INK, WRONG, new_figure


def plot_image_gallery(
    images: Any,
    y_true: Any = None,
    y_pred: Any = None,
    label_map: Mapping[int, str] | None = None,
    rows: int | None = None,
    cols: int | None = None,
    value_range: tuple[float, float] = (0, 255),
    scale: float = 2,
    path: str | os.PathLike[str] | None = None,
    show: bool | None = None,
    transparent: bool = True,
    dpi: int = 60,
    legend_handles: Sequence[Any] | None = None,
    data_format: str | None = None,
) -> Any:
    """Draw images side by side, with the names of true and predicted classes.

    Args:
        images: (count, height, width, channels).
        y_true: the true classes, (count,).
        y_pred: the predicted classes, (count,).
        label_map: names of classes by number.
        rows: images one below the other; about as many as side by side by default.
        cols: images side by side.
        value_range: what stands for black and white.
        scale: the size of an image in inches.
        path: the file to write; its ending says which kind.
        show: whether to open a window, or draw into the notebook; so it is by default where there is no path.
        transparent: whether the file has no background.
        dpi: pixels per inch of the file.
        legend_handles: matplotlib's handles for a legend.
        data_format: "channels_last" or "channels_first".

    Returns:
        The matplotlib figure; None where it was shown.

    Raises:
        ArgumentError: a path is given and the figure shall be shown too, or classes are given without names.
        ShapeError: the images are no batch.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> figure = plot_image_gallery(np.zeros((4, 8, 8, 3)), [0, 1, 1, 0], label_map={0: "no", 1: "yes"}, show=False)
        >>> [panel.get_title() for panel in figure.axes]
        ['Label: no', 'Label: yes', 'Label: yes', 'Label: no']

    Source: https://keras.io/api/visualization/
    """
    if (y_true is not None or y_pred is not None) and label_map is None:
        raise ArgumentError(
            "Classes are given without names.",
            where="plot_image_gallery(label_map=...)",
            expected="a dict of names by number",
            received="None",
            fix="pass label_map={0: ..., 1: ...}",
        )
    pictures = batch_of(images, "plot_image_gallery", standardize_data_format(data_format) == "channels_first")
    captions = [_caption(y_true, y_pred, index, label_map or {}) for index in range(len(pictures))]
    return _gallery(pictures, captions, rows, cols, value_range, scale, path, show, transparent, dpi, legend_handles)


def _gallery(
    pictures: np.ndarray,
    captions: Sequence[tuple[str, bool]],
    rows: int | None = None,
    cols: int | None = None,
    value_range: tuple[float, float] = (0, 255),
    scale: float = 2,
    path: str | os.PathLike[str] | None = None,
    show: bool | None = None,
    transparent: bool = True,
    dpi: int = 60,
    legend_handles: Sequence[Any] | None = None,
) -> Any:
    """Images side by side, each with its caption, and whether that tells of a mistake."""
    if path is not None and show:
        raise ArgumentError(
            "A gallery is written to a file or shown, not both.",
            where="a gallery's path and show",
            received=f"path={os.fspath(path)!r}, show={show}",
            fix="leave show out, and show the figure that is returned",
        )
    rows = rows or (math.ceil(len(pictures) / cols) if cols else math.ceil(math.sqrt(len(pictures))))
    cols = cols or math.ceil(len(pictures) / rows)
    low, high = value_range
    pictures = ((pictures.astype("float32") - low) * (255 / (high - low))).clip(0, 255).astype("uint8")
    figure = new_figure(cols * scale, rows * scale)
    panels = figure.subplots(rows, cols, squeeze=False).ravel()
    from matplotlib.patheffects import withStroke  # the figure has told where matplotlib is missing

    for index, panel in enumerate(panels):
        panel.set_axis_off()
        if index < len(pictures):
            gray = pictures.shape[-1] == 1
            panel.imshow(pictures[index, ..., 0] if gray else pictures[index], cmap="gray" if gray else None)
            text, wrong = captions[index]
            room = 72 * scale / 0.62  # a letter is so much of its size wide
            if room < 7.5 * len(text):
                text = text.replace("  ", "\n")
            size = min(10.0, room / max(map(len, [*text.splitlines(), " "])))
            shown = panel.set_title(text, fontsize=size, color=WRONG if wrong else INK)
            # Without a background the page behind may be dark.
            shown.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    if legend_handles is not None:
        figure.legend(handles=legend_handles, loc="outside lower center")
    if path is not None:
        figure.savefig(path, pad_inches=0.04, bbox_inches="tight", transparent=transparent, dpi=dpi)
    elif show is None or show:
        _show(figure)
        return None
    return figure


def plot_bounding_box_gallery(
    images: Any,
    bounding_box_format: str,
    y_true: Mapping[str, Any] | None = None,
    y_pred: Mapping[str, Any] | None = None,
    value_range: tuple[float, float] = (0, 255),
    true_color: Sequence[int] = (0, 188, 212),
    pred_color: Sequence[int] = (255, 235, 59),
    line_thickness: int = 2,
    font_scale: float = 1.0,
    text_thickness: int | None = None,
    class_mapping: Mapping[int, str] | None = None,
    ground_truth_mapping: Mapping[int, str] | None = None,
    prediction_mapping: Mapping[int, str] | None = None,
    legend: bool = False,
    legend_handles: Sequence[Any] | None = None,
    rows: int | None = None,
    cols: int | None = None,
    data_format: str | None = None,
    **kwargs: Any,
) -> Any:
    """Draw images side by side, with true and predicted boxes.

    Args:
        images: (count, height, width, channels).
        bounding_box_format: the format of the boxes, e.g. "xyxy" or "rel_xywh".
        y_true: the true boxes, as `draw_bounding_boxes` takes them.
        y_pred: the predicted boxes.
        value_range: what stands for black and white.
        true_color: red, green and blue of the true boxes, from 0 to 255.
        pred_color: those of the predicted boxes.
        line_thickness: in pixels.
        font_scale: the size of the text.
        text_thickness: in pixels; that of the lines by default.
        class_mapping: names of classes by number.
        ground_truth_mapping: those for the true boxes, where they differ.
        prediction_mapping: those for the predicted boxes, where they differ.
        legend: whether to say what the colours mean.
        legend_handles: matplotlib's handles for a legend of one's own.
        rows: images one below the other.
        cols: images side by side.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `plot_image_gallery`.

    Returns:
        As `plot_image_gallery`.

    Raises:
        ArgumentError: there are two legends.
        ShapeError: the images are no batch.
        MissingPackageError: matplotlib is not installed, or Pillow, which captions need.

    Example:
        >>> boxes = {"boxes": [[[1, 1, 5, 5]]], "labels": [[0]]}
        >>> figure = plot_bounding_box_gallery(np.zeros((1, 8, 8, 3)), "xyxy", boxes, legend=True, show=False)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['Ground Truth', 'Prediction']

    Source: https://keras.io/api/visualization/
    """
    where = "plot_bounding_box_gallery"
    if legend and legend_handles:
        raise ArgumentError(
            "There are two legends.",
            where=f"{where}(legend=..., legend_handles=...)",
            fix="leave legend out",
        )
    pictures = batch_of(images, where, standardize_data_format(data_format) == "channels_first")
    sets = (
        (y_true, true_color, ground_truth_mapping or class_mapping, "Ground Truth"),
        (y_pred, pred_color, prediction_mapping or class_mapping, "Prediction"),
    )
    for boxes, color, names, _ in sets:
        if boxes is not None:
            pictures = draw_bounding_boxes(
                pictures,
                boxes,
                bounding_box_format,
                class_mapping=names,
                color=color,
                line_thickness=line_thickness,
                text_thickness=text_thickness,
                font_scale=font_scale,
                data_format="channels_last",
            )
            value_range = (0, 255)
    if legend:
        from matplotlib.patches import Patch

        legend_handles = [Patch(color=_shade(color), label=label) for _, color, _, label in sets]
    return plot_image_gallery(
        pictures,
        value_range=value_range,
        legend_handles=legend_handles,
        rows=rows,
        cols=cols,
        data_format="channels_last",
        **kwargs,
    )


def plot_segmentation_mask_gallery(
    images: Any,
    num_classes: int,
    value_range: tuple[float, float] = (0, 255),
    y_true: Any = None,
    y_pred: Any = None,
    color_mapping: Mapping[int, Sequence[int]] | None = None,
    blend: bool = True,
    alpha: float = 0.8,
    ignore_index: int = -1,
    data_format: str | None = None,
    **kwargs: Any,
) -> Any:
    """Draw each image in a row with its true and its predicted mask.

    Args:
        images: (count, height, width, channels).
        num_classes: classes from 0 up to this one are drawn.
        value_range: what stands for black and white.
        y_true: the true masks, (count, height, width) or with one channel.
        y_pred: the predicted masks.
        color_mapping: red, green and blue by class.
        blend: whether the image shines through.
        alpha: how much of the colour is seen, from 0 to 1.
        ignore_index: the class of pixels that are left alone.
        data_format: "channels_last" or "channels_first", of images and masks.
        **kwargs: as for `plot_image_gallery`.

    Returns:
        As `plot_image_gallery`.

    Raises:
        ShapeError: the images are no batch.
        MissingPackageError: matplotlib is not installed.

    Example:
        >>> mask = np.ones((2, 8, 8, 1), int)
        >>> figure = plot_segmentation_mask_gallery(np.zeros((2, 8, 8, 3)), 2, y_true=mask, y_pred=mask, show=False)
        >>> len(figure.axes)
        6

    Source: https://keras.io/api/visualization/
    """
    channels_first = standardize_data_format(data_format) == "channels_first"
    pictures = batch_of(images, "plot_segmentation_mask_gallery", channels_first)
    columns, heads = [pictures], ["Image"]
    for masks, head in ((y_true, "Label"), (y_pred, "Pred")):
        if masks is not None:
            heads.append(head)
            numbers = convert_to_numpy(masks).astype("int32")
            columns.append(
                draw_segmentation_masks(
                    pictures, numbers, num_classes, color_mapping, alpha, blend, ignore_index, "channels_last"
                )
            )
    together = np.stack(columns, axis=1).reshape(-1, *pictures.shape[1:])
    captions = [(head if row == 0 else "", False) for row in range(len(pictures)) for head in heads]
    return _gallery(together, captions, len(pictures), len(columns), value_range, **kwargs)


def _caption(y_true: Any, y_pred: Any, index: int, names: Mapping[int, str]) -> tuple[str, bool]:
    """What stands above an image, and whether the prediction is wrong."""
    told = {
        what: names.get(convert_to_numpy(classes)[index], "Unknown")
        for what, classes in {"Label": y_true, "Pred": y_pred}.items()
        if classes is not None and index < len(classes)
    }
    return "  ".join(f"{what}: {name}" for what, name in told.items()), len(set(told.values())) > 1


def _shade(color: Sequence[int]) -> Any:
    """A colour as matplotlib takes it."""
    return tuple(part / 255 for part in color)


def _show(figure: Any) -> None:
    """Open the figure where matplotlib shows figures."""
    from matplotlib import pyplot

    window = pyplot.figure(figsize=figure.get_size_inches())
    figure.set_canvas(window.canvas)
    window.canvas.figure = figure
    pyplot.show()
    pyplot.close(window)
