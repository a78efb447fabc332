"""Boxes and masks drawn into images.

Source: https://keras.io/api/visualization/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.core.config import standardize_data_format
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, MissingPackageError, ShapeError
from lamina.core.tensors import convert_to_numpy
from lamina.layers.preprocessing.boxes import convert_format


def draw_bounding_boxes(
    images: Any,
    bounding_boxes: Mapping[str, Any],
    bounding_box_format: str,
    class_mapping: Mapping[int, str] | None = None,
    color: Sequence[int] = (128, 128, 128),
    line_thickness: int = 2,
    text_thickness: int | None = 1,
    font_scale: float = 1.0,
    data_format: str | None = None,
) -> np.ndarray:
    """Draw boxes into images, each with the name of its class and how sure a model is of it.

    Args:
        images: (count, height, width, channels): integers from 0 to 255, or floats in that range or from 0 to 1.
        bounding_boxes: "boxes" (count, boxes, 4), "labels" (count, boxes) with -1 for none, and perhaps "confidences"
            (count, boxes).
        bounding_box_format: the format of the boxes, e.g. "xyxy" or "rel_xywh".
        class_mapping: names of classes by number; boxes of other classes have no caption.
        color: red, green and blue from 0 to 255.
        line_thickness: in pixels.
        text_thickness: in pixels; that of the lines for None.
        font_scale: the size of the text; 1.0 makes capitals about 20 pixels high.
        data_format: "channels_last" or "channels_first".

    Returns:
        The images as an array of the same shape and of dtype uint8.

    Raises:
        ShapeError: the images are no batch.
        ArgumentTypeError: the boxes are no dict.
        ArgumentError: boxes or labels are missing.
        MissingPackageError: a caption is wanted and Pillow is not installed.

    Example:
        >>> boxes = {"boxes": [[[1, 1, 5, 5]]], "labels": [[0]]}
        >>> draw_bounding_boxes(np.zeros((1, 8, 8, 3)), boxes, "xyxy", color=(9, 9, 9), line_thickness=1)[0, 1, :, 0]
        array([0, 9, 9, 9, 9, 9, 0, 0], dtype=uint8)

    Source: https://keras.io/api/visualization/
    """
    first = standardize_data_format(data_format) == "channels_first"
    pictures = batch_of(images, "draw_bounding_boxes", first)
    if not isinstance(bounding_boxes, Mapping):
        raise ArgumentTypeError(
            "The boxes are no dict.",
            where="draw_bounding_boxes(bounding_boxes=...)",
            expected="{'boxes': (count, boxes, 4), 'labels': (count, boxes)}",
            received=type(bounding_boxes).__name__,
        )
    if not {"boxes", "labels"} <= bounding_boxes.keys():
        raise ArgumentError(
            "Boxes or labels are missing.",
            where="draw_bounding_boxes(bounding_boxes=...)",
            expected="'boxes' (count, boxes, 4) and 'labels' (count, boxes)",
            received=", ".join(map(repr, bounding_boxes)) or "an empty dict",
        )
    height, width = pictures.shape[1:3]
    given = {key: convert_to_numpy(value) for key, value in bounding_boxes.items()}
    converted = convert_format(dict(given), bounding_box_format, "xyxy", height, width)
    boxes = convert_to_numpy(converted["boxes"]).astype(int)
    if pictures.dtype.kind == "f":
        pictures = np.clip(pictures * 255 if pictures.size and pictures.max() <= 1 else pictures, 0, 255)
    pictures = pictures.astype("uint8")
    ink = np.array([*color, 0])[: pictures.shape[-1]].astype("uint8")
    for index, picture in enumerate(pictures):
        for place, (box, label) in enumerate(zip(boxes[index], given["labels"][index].astype(int), strict=True)):
            if label == -1:
                continue
            _outline(picture, box, ink, line_thickness)
            caption = (class_mapping or {}).get(int(label))
            if caption is not None:
                if "confidences" in given:
                    caption = f"{caption} | {given['confidences'][index][place]:.2f}"
                _write(picture, caption, box[:2], ink, font_scale, text_thickness or line_thickness)
    return pictures.transpose(0, 3, 1, 2) if first else pictures


def draw_segmentation_masks(
    images: Any,
    segmentation_masks: Any,
    num_classes: int | None = None,
    color_mapping: Mapping[int, Sequence[int]] | None = None,
    alpha: float = 0.8,
    blend: bool = True,
    ignore_index: int = -1,
    data_format: str | None = None,
) -> np.ndarray:
    """Colour the pixels of images by the classes that masks give them.

    Args:
        images: (count, height, width, channels), from 0 to 255.
        segmentation_masks: the numbers of classes, (count, height, width) or (count, height, width, 1).
        num_classes: classes from 0 up to this one are drawn; all by default.
        color_mapping: red, green and blue by class, for the classes to be drawn.
        alpha: how much of the colour is seen, from 0 to 1.
        blend: whether the image shines through.
        ignore_index: the class of pixels that are left alone.
        data_format: "channels_last" or "channels_first", of images and masks.

    Returns:
        The images with the channels last: uint8, or without blending float32.

    Raises:
        ShapeError: the images are no batch.
        DTypeError: the masks are not integers.

    Example:
        >>> draw_segmentation_masks(np.zeros((1, 1, 2, 3)), np.array([[[0, 1]]]), 2, {1: (10, 20, 30)}, alpha=0.5)
        array([[[[ 0,  0,  0],
                 [ 5, 10, 15]]]], dtype=uint8)

    Source: https://keras.io/api/visualization/
    """
    first = standardize_data_format(data_format) == "channels_first"
    pictures = batch_of(images, "draw_segmentation_masks", first).astype("float32")
    masks = convert_to_numpy(segmentation_masks)
    if masks.dtype.kind not in "iu":
        raise DTypeError(
            "The masks are no numbers of classes.",
            where="draw_segmentation_masks(segmentation_masks=...)",
            expected="an integer dtype",
            received=masks.dtype,
            fix="for probabilities (..., classes) pass masks.argmax(-1)",
        )
    masks = masks.reshape(pictures.shape[:3])
    count = int(masks.max()) + 1 if num_classes is None else num_classes
    colors = color_mapping or {index: np.multiply(index, _PALETTE) % 255 for index in range(count)}
    drawn = pictures.copy()
    for index, color in colors.items():
        drawn[masks == index] = color
    if not blend:
        return drawn
    blended = pictures * np.float32(1 - alpha) + drawn * np.float32(alpha)
    return np.where((masks != ignore_index)[..., None], blended, pictures).astype("uint8")


_PALETTE = (2**25 - 1, 2**15 - 1, 2**21 - 1)


def batch_of(images: Any, where: str, channels_first: bool) -> np.ndarray:
    """Images as an array of (count, height, width, channels).

    Raises:
        ShapeError: they have not four axes.
    """
    pictures = convert_to_numpy(images)
    if pictures.ndim != 4:
        raise ShapeError(
            "A batch of images is needed.",
            where=where,
            expected="(count, height, width, channels)",
            received=pictures.shape,
        )
    return pictures.transpose(0, 2, 3, 1) if channels_first else pictures


def _outline(picture: np.ndarray, box: np.ndarray, ink: np.ndarray, thickness: int) -> None:
    """Draw a rectangle with round corners: all pixels near its sides. OpenCV draws the same."""
    reach = (thickness + 1) // 2 if thickness > 1 else 0
    (left, right), (top, bottom) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    rows = slice(max(top - reach, 0), max(bottom + reach + 1, 0))
    columns = slice(max(left - reach, 0), max(right + reach + 1, 0))
    window = picture[rows, columns]
    y = np.arange(rows.start, rows.start + window.shape[0])[:, None]
    x = np.arange(columns.start, columns.start + window.shape[1])[None]
    outside = np.maximum(0, np.maximum(left - x, x - right)) ** 2 + np.maximum(0, np.maximum(top - y, y - bottom)) ** 2
    inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    window[(outside <= reach**2) & (inside <= reach)] = ink


def _write(picture: np.ndarray, text: str, corner: np.ndarray, ink: np.ndarray, scale: float, thickness: int) -> None:
    """Write a caption above the corner of a box, or below where there is no room."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingPackageError(
            "Captions need Pillow.",
            where="draw_bounding_boxes(class_mapping=...)",
            expected="Pillow to be installed",
            fix="pip install pillow, or leave class_mapping out",
        ) from error
    height = int(scale * 12)
    x, y = int(corner[0]), int(corner[1]) - 8
    if y - 2 * height <= 0:
        x, y = x + 3, int(corner[1]) + 2 * height + thickness + 3
    canvas = Image.new("L", picture.shape[1::-1])
    font = ImageFont.load_default(max(29 * scale, 1))
    ImageDraw.Draw(canvas).text((x, y), text, 255, font, anchor="ls", stroke_width=(thickness - 1) // 2)
    picture[np.asarray(canvas) > 127] = ink
