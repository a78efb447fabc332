"""Bounding boxes: their formats, what moves them with an image, how much they overlap.

A box is four numbers, and boxes have shape (boxes, 4) or (batch, boxes, 4). The formats are

- "xyxy": left, top, right, bottom; "yxyx": top, left, bottom, right
- "xywh": left, top, width, height
- "center_xywh": middle x, middle y, width, height; "center_yxhw": middle y, middle x, height, width

in pixels, and "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh" in parts of the image's width and height. Where a
box comes with its class, both stand in a dict as "boxes" and "labels", shape (..., boxes); the label -1 means no box.

Source: https://keras.io/api/utils/bounding_boxes/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import config
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, ShapeError, UnsupportedError, nearest, one_of
from lamina.core.tensors import convert_to_tensor
from lamina.ops.operands import DType, TensorLike, as_float, as_tensor

SUPPORTED_FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def convert_format(
    boxes: Any,
    source: str,
    target: str,
    height: TensorLike | None = None,
    width: TensorLike | None = None,
    dtype: DType = "float32",
) -> Any:
    """Boxes in another format.

    Args:
        boxes: the boxes, shape (..., 4), or a dict of them and their labels.
        source: their format, in letters of any case.
        target: the format wanted.
        height: the height of the image in pixels, which relative formats need: a number, or a tensor (batch, 1, 1).
        width: its width likewise.
        dtype: the dtype of the result.

    Raises:
        ShapeError: the last axis has other than four elements.
        ArgumentError: a format is unknown, or a size of the image is missing.

    Example:
        >>> convert_format(torch.tensor([[10, 20, 30, 50]]), "xyxy", "center_xywh")
        tensor([[20., 35., 20., 30.]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    if isinstance(boxes, Mapping):
        return {**boxes, "boxes": convert_format(boxes["boxes"], source, target, height, width, dtype)}
    boxes = convert_to_tensor(boxes, torch_dtype(dtype))
    if boxes.shape[-1:] != (4,):
        raise ShapeError(
            "A box is four numbers.", where="convert_format, boxes", expected=(..., 4), received=tuple(boxes.shape)
        )
    source, target = _known(source, "source"), _known(target, "target")
    before, after = source.removeprefix("rel_"), target.removeprefix("rel_")
    if (before, after) != (source, target) and (height is None or width is None):
        raise ArgumentError(
            "Relative boxes need the size of their image: convert_format() must receive `height` and `width`.",
            where=f"convert_format, {source!r} to {target!r}",
            received=f"height={height}, width={width}",
            fix="convert_format(..., height=image_height, width=image_width)",
        )
    boxes = _to_corners(boxes, before)
    if (source == before) != (target == after):
        wide, tall = _size(width, boxes), _size(height, boxes)
        xs, ys = boxes[..., 0::2], boxes[..., 1::2]
        boxes = _joined(xs / wide, ys / tall) if source == before else _joined(xs * wide, ys * tall)
    return _from_corners(boxes, after)


def _known(name: str, argument: str) -> str:
    """The name of a format as it is spelled."""
    if name.lower() not in SUPPORTED_FORMATS:
        raise ArgumentError(
            f"Unknown format of bounding boxes.{nearest(name, SUPPORTED_FORMATS)}",
            where=f"convert_format, {argument}",
            expected=", ".join(SUPPORTED_FORMATS),
            received=repr(name),
        )
    return name.lower()


def _size(size: Any, boxes: Tensor) -> Any:
    """The size of an image, or of each in a batch, beside the coordinates of boxes."""
    return size if isinstance(size, (int, float, torch.SymInt)) else convert_to_tensor(size, boxes.dtype, boxes.device)


def _joined(xs: Tensor, ys: Tensor) -> Tensor:
    """Boxes (..., 4) from the two places of each on the x axis, and the two on the y axis."""
    return torch.stack([xs, ys], dim=-1).flatten(-2)


def _swapped(boxes: Tensor) -> Tensor:
    """The boxes with x and y exchanged."""
    return _joined(boxes[..., 1::2], boxes[..., 0::2])


def _to_corners(boxes: Tensor, layout: str) -> Tensor:
    """Boxes of an absolute format as left, top, right, bottom."""
    boxes = _swapped(boxes) if layout in ("yxyx", "center_yxhw") else boxes
    first, second = boxes[..., :2], boxes[..., 2:]
    if layout.startswith("center"):
        return torch.cat([first - second / 2, first + second / 2], dim=-1)
    return torch.cat([first, first + second], dim=-1) if layout == "xywh" else boxes


def _from_corners(boxes: Tensor, layout: str) -> Tensor:
    """The way back."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if layout.startswith("center"):
        boxes = torch.cat([first + (second - first) / 2, second - first], dim=-1)
    elif layout == "xywh":
        boxes = torch.cat([first, second - first], dim=-1)
    return _swapped(boxes) if layout in ("yxyx", "center_yxhw") else boxes


def _only(given: str, *formats: str, where: str) -> None:
    if given not in formats:
        raise UnsupportedError(
            "This works in few formats of bounding boxes.",
            where=f"{where}, bounding_box_format",
            expected=" or ".join(formats),
            received=repr(given),
            fix="use convert_format() first",
        )


def clip_to_image_size(
    bounding_boxes: Mapping[str, Any],
    height: TensorLike | None = None,
    width: TensorLike | None = None,
    bounding_box_format: str = "xyxy",
) -> dict[str, Any]:
    """What of the boxes lies within the image; those of which nothing does get the label -1.

    Args:
        bounding_boxes: a dict of "boxes" and, perhaps, "labels".
        height: the height of the image, which "xyxy" needs.
        width: its width likewise.
        bounding_box_format: "xyxy" or "rel_xyxy".

    Raises:
        UnsupportedError: the format is another.
        ArgumentError: the size of the image is missing.

    Example:
        >>> boxes = {"boxes": torch.tensor([[-5.0, 2, 4, 4], [9, 9, 12, 12]]), "labels": torch.tensor([3, 4])}
        >>> clip_to_image_size(boxes, height=8, width=8)["labels"]
        tensor([ 3, -1])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    _only(bounding_box_format, "xyxy", "rel_xyxy", where="clip_to_image_size")
    if bounding_box_format == "rel_xyxy":
        height, width = 1, 1
    elif height is None or width is None:
        raise ArgumentError(
            "`height` and `width` must be set for boxes in pixels.",
            where="clip_to_image_size",
            received=f"height={height}, width={width}",
            fix="clip_to_image_size(..., height=image_height, width=image_width)",
        )
    boxes = as_float(bounding_boxes["boxes"])
    clipped = crop(boxes, 0, 0, height, width)
    result = {**bounding_boxes, "boxes": clipped}
    if bounding_boxes.get("labels") is not None:
        result["labels"] = torch.where(_area(clipped) > 0, as_tensor(bounding_boxes["labels"]), -1)
    return result


def crop(
    boxes: TensorLike,
    top: TensorLike,
    left: TensorLike,
    height: TensorLike,
    width: TensorLike,
    bounding_box_format: str = "xyxy",
) -> Tensor:
    """The boxes as they lie in a window of the image.

    Args:
        boxes: the boxes, shape (..., 4).
        top: where the window begins, in rows from above.
        left: where it begins, in columns from the left.
        height: its height.
        width: its width.
        bounding_box_format: "xyxy".

    Raises:
        UnsupportedError: the format is another.

    Example:
        >>> crop(torch.tensor([[10.0, 20, 50, 60]]), top=10, left=20, height=40, width=20)
        tensor([[ 0., 10., 20., 40.]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    moved = pad(boxes, -_size(top, as_float(boxes)), -_size(left, as_float(boxes)), None, None, bounding_box_format)
    xs = moved[..., 0::2].clamp(min=0).clamp(max=_size(width, moved))
    ys = moved[..., 1::2].clamp(min=0).clamp(max=_size(height, moved))
    return _joined(xs, ys)


def pad(
    boxes: TensorLike,
    top: TensorLike,
    left: TensorLike,
    height: TensorLike | None = None,
    width: TensorLike | None = None,
    bounding_box_format: str = "xyxy",
) -> Tensor:
    """The boxes as they lie in an image with borders added.

    Args:
        boxes: the boxes, shape (..., 4).
        top: how many rows were added above.
        left: how many columns were added on the left.
        height: not used.
        width: not used.
        bounding_box_format: "xyxy".

    Raises:
        UnsupportedError: the format is another.

    Example:
        >>> pad(torch.tensor([[10.0, 20, 50, 60]]), top=5, left=2)
        tensor([[12., 25., 52., 65.]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    _only(bounding_box_format, "xyxy", where="crop or pad")
    boxes = as_float(boxes)
    return _joined(boxes[..., 0::2] + _size(left, boxes), boxes[..., 1::2] + _size(top, boxes))


def affine_transform(
    boxes: TensorLike,
    angle: TensorLike,
    translate_x: TensorLike,
    translate_y: TensorLike,
    scale: TensorLike,
    shear_x: TensorLike,
    shear_y: TensorLike,
    height: TensorLike,
    width: TensorLike,
    center_x: TensorLike | None = None,
    center_y: TensorLike | None = None,
    bounding_box_format: str = "xyxy",
) -> Tensor:
    """The upright boxes around boxes that were turned, moved, scaled and sheared. Arguments have one number per image.

    Args:
        boxes: the boxes, shape (batch, boxes, 4).
        angle: how far they are turned, in degrees, shape (batch,).
        translate_x: how far the image is moved to the left, in parts of its width.
        translate_y: how far it is moved up, in parts of its height.
        scale: the factor of its size.
        shear_x: the shear along x, in degrees.
        shear_y: the shear along y, in degrees.
        height: the height of the image.
        width: its width.
        center_x: what stays in place, in parts of the width; the middle by default.
        center_y: likewise, in parts of the height.
        bounding_box_format: "xyxy".

    Raises:
        UnsupportedError: the format is another.

    Example:
        >>> zero = torch.zeros(1)
        >>> box = torch.tensor([[[0.0, 0.0, 2.0, 4.0]]])
        >>> affine_transform(box, torch.tensor([180.0]), zero, zero, zero + 1, zero, zero, 11, 11).round()
        tensor([[[ 8.,  6., 10., 10.]]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    _only(bounding_box_format, "xyxy", where="affine_transform")
    angle, numbers = as_float(angle), (translate_x, translate_y, scale, shear_x, shear_y)
    to_left, up, scale, shear_x, shear_y = (convert_to_tensor(x, angle.dtype, angle.device) for x in numbers)
    turn, tilt_x, tilt_y = -torch.deg2rad(angle), -torch.deg2rad(shear_x), -torch.deg2rad(shear_y)
    middle_x, middle_y = (0.5 if center is None else center for center in (center_x, center_y))
    x0, y0 = middle_x * (width - 1), middle_y * (height - 1)
    # The matrix that finds the pixels of the image, [[a, b], [c, d]] of determinant 1, inverted.
    a, c = torch.cos(turn - tilt_y) / torch.cos(tilt_y), -torch.sin(turn - tilt_y) / torch.cos(tilt_y)
    b, d = a * torch.tan(tilt_x) + torch.sin(turn), torch.cos(turn) - c * torch.tan(tilt_x)
    xx, xy, yx, yy = d * scale, -b * scale, -c * scale, a * scale
    from_x, from_y = x0 - to_left * (width - 1), y0 - up * (height - 1)
    along_x, along_y = x0 - xx * from_x - xy * from_y, y0 - yx * from_x - yy * from_y
    x1, y1, x2, y2 = convert_to_tensor(boxes, angle.dtype).unbind(-1)
    xs, ys = torch.stack([x1, x2, x2, x1], dim=-1), torch.stack([y1, y1, y2, y2], dim=-1)
    new_xs = _each(xx) * xs + _each(xy) * ys + _each(along_x)
    new_ys = _each(yx) * xs + _each(yy) * ys + _each(along_y)
    return around(new_xs, new_ys)


def rescale(boxes: Tensor, by_x: Any, by_y: Any) -> Tensor:
    """The boxes, as "xyxy", in an image stretched by two factors."""
    return _joined(boxes[..., 0::2] * by_x, boxes[..., 1::2] * by_y)


def _each(x: Tensor) -> Tensor:
    """One number for each image, beside its boxes and their corners."""
    return x[:, None, None]


def around(xs: Tensor, ys: Tensor) -> Tensor:
    """The upright boxes around points, the last axis of `xs` and `ys`."""
    return torch.stack([xs.amin(-1), ys.amin(-1), xs.amax(-1), ys.amax(-1)], dim=-1)


def encode_box_to_deltas(
    anchors: TensorLike,
    boxes: TensorLike,
    anchor_format: str,
    box_format: str,
    encoding_format: str = "center_yxhw",
    variance: TensorLike | None = None,
    image_shape: Sequence[int] | None = None,
) -> Tensor:
    """How boxes differ from anchors: the way between their middles, in sizes of the anchor, and the log of the ratio.

    Args:
        anchors: boxes to start from, shape (boxes, 4).
        boxes: the boxes, shape (boxes, 4) or (batch, boxes, 4).
        anchor_format: the format of the anchors.
        box_format: the format of the boxes.
        encoding_format: "center_yxhw" or "center_xywh", the order of the result.
        variance: four numbers that the result is divided by.
        image_shape: (height, width, channels), which relative formats need.

    Raises:
        ArgumentError: the encoding format is unknown, or the variance has not four numbers.

    Example:
        >>> encode_box_to_deltas([[0, 0, 2, 2]], [[1, 0, 3, 2]], "xyxy", "xyxy", "center_xywh")
        tensor([[0.5000, 0.0000, 0.0000, 0.0000]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    scale = _delta_scale(variance, encoding_format, "encoding_format")
    height, width = _image_size(image_shape)
    anchors = convert_format(anchors, anchor_format, encoding_format, height, width)
    boxes = convert_format(boxes, box_format, encoding_format, height, width)
    size, box_size = (x[..., 2:].clamp(min=config.epsilon()) for x in (anchors, boxes))
    deltas = torch.cat([(boxes[..., :2] - anchors[..., :2]) / size, torch.log(box_size / size)], dim=-1)
    return deltas if scale is None else deltas / scale.to(deltas.device)


def decode_deltas_to_boxes(
    anchors: Any,
    boxes_delta: Any,
    anchor_format: str,
    box_format: str,
    encoded_format: str = "center_yxhw",
    variance: TensorLike | None = None,
    image_shape: Sequence[int] | None = None,
) -> Any:
    """The boxes that `encode_box_to_deltas` has encoded.

    Args:
        anchors: boxes to start from, shape (boxes, 4), or a dict of such.
        boxes_delta: how the boxes differ, shape (boxes, 4) or (batch, boxes, 4), or a dict with the same keys.
        anchor_format: the format of the anchors.
        box_format: the format wanted.
        encoded_format: "center_yxhw" or "center_xywh", the order of the differences.
        variance: four numbers that they were divided by.
        image_shape: (height, width, channels), which relative formats need.

    Raises:
        ArgumentError: the encoded format is unknown, or the variance has not four numbers.

    Example:
        >>> decode_deltas_to_boxes([[0, 0, 2, 2]], [[0.5, 0, 0, 0]], "xyxy", "xyxy", "center_xywh")
        tensor([[1., 0., 3., 2.]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    if isinstance(anchors, Mapping) and isinstance(boxes_delta, Mapping):
        rest = anchor_format, box_format, encoded_format, variance, image_shape
        return {key: decode_deltas_to_boxes(anchor, boxes_delta[key], *rest) for key, anchor in anchors.items()}
    scale = _delta_scale(variance, encoded_format, "encoded_format")
    height, width = _image_size(image_shape)
    anchors = convert_format(anchors, anchor_format, encoded_format, height, width)
    deltas = convert_to_tensor(boxes_delta, torch.float32)
    deltas = deltas if scale is None else deltas * scale.to(deltas.device)
    first, size = anchors[..., :2], anchors[..., 2:]
    boxes = torch.cat([deltas[..., :2] * size + first, torch.exp(deltas[..., 2:]) * size], dim=-1)
    return convert_format(boxes, encoded_format, box_format, height, width)


def _delta_scale(variance: Any, layout: str, argument: str) -> Tensor | None:
    one_of(layout, ("center_xywh", "center_yxhw"), argument)
    scale = None if variance is None else convert_to_tensor(variance, torch.float32)
    if scale is not None and scale.shape[-1:] != (4,):
        received = f"shape {tuple(scale.shape)}"
        raise ArgumentError(
            "`variance` must be length 4.", where="variance", expected="four numbers", received=received
        )
    return scale


def _image_size(image_shape: Sequence[int] | None) -> tuple[int | None, int | None]:
    return (None, None) if image_shape is None else (image_shape[0], image_shape[1])


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _overlap(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """The area that two boxes share."""
    ends, starts = torch.minimum(boxes1[..., 2:], boxes2[..., 2:]), torch.maximum(boxes1[..., :2], boxes2[..., :2])
    return (ends - starts).clamp(min=0).prod(-1)


def compute_iou(
    boxes1: TensorLike,
    boxes2: TensorLike,
    bounding_box_format: str,
    use_masking: bool = False,
    mask_val: float = -1,
    image_shape: Sequence[int] | None = None,
) -> Tensor:
    """How much each box overlaps each other one: the area of their intersection by that of their union.

    Args:
        boxes1: the boxes, shape (m, 4) or (batch, m, 4).
        boxes2: the others, shape (n, 4) or (batch, n, 4).
        bounding_box_format: the format of all.
        use_masking: whether boxes of which all coordinates are negative count as missing.
        mask_val: the result for those.
        image_shape: (height, width, channels), which relative formats need.

    Returns:
        Shape (m, n) or (batch, m, n).

    Raises:
        ShapeError: boxes have another rank.
        ArgumentError: the format is unknown, or the size of the image is missing.

    Example:
        >>> compute_iou([[0, 0, 2, 2]], [[0, 0, 2, 1], [4, 4, 5, 5]], "xyxy")
        tensor([[0.5000, 0.0000]])

    Source: https://keras.io/api/utils/bounding_boxes/
    """
    height, width = _image_size(image_shape)
    first, second = (convert_format(x, bounding_box_format, "xyxy", height, width) for x in (boxes1, boxes2))
    for boxes in (first, second):
        if boxes.ndim not in (2, 3):
            raise ShapeError(
                "Unusable rank of boxes.",
                where="compute_iou",
                expected="shape (boxes, 4) or (batch, boxes, 4)",
                received=tuple(boxes.shape),
            )
    first, second = first.unsqueeze(-2), second.unsqueeze(-3)
    shared = _overlap(first, second)
    ratio = shared / (_area(first) + _area(second) - shared + config.epsilon())
    if not use_masking:
        return ratio
    return torch.where((first.amax(-1) < 0) | (second.amax(-1) < 0), mask_val, ratio)


def compute_ciou(
    boxes1: TensorLike, boxes2: TensorLike, bounding_box_format: str, image_shape: Sequence[int] | None = None
) -> Tensor:
    """How much boxes overlap, less for the distance of their middles and the difference of their proportions.

    Args:
        boxes1: the boxes, shape (..., 4).
        boxes2: the others, of a shape that broadcasts.
        bounding_box_format: the format of all, one in pixels.
        image_shape: not used.

    Raises:
        ArgumentError: the format is relative or unknown.

    Example:
        >>> compute_ciou([[0.0, 0, 2, 2]], [[0.0, 0, 2, 2]], "xyxy").round(decimals=4)
        tensor([1.])

    Source: https://keras.io/api/utils/bounding_boxes/; Zheng et al., 2020
    """
    if "rel" in bounding_box_format:
        raise ArgumentError(
            "The proportions of boxes are known in pixels only.",
            where="compute_ciou, bounding_box_format",
            received=bounding_box_format,
            fix="use convert_format() first",
        )
    tiny = config.epsilon()
    first, second = (convert_format(x, bounding_box_format, "xyxy") for x in (boxes1, boxes2))
    (wide1, tall1), (wide2, tall2) = ((x[..., 2:] - x[..., :2]).unbind(-1) for x in (first, second))
    tall1, tall2 = tall1 + tiny, tall2 + tiny
    shared = _overlap(first, second)
    ratio = shared / (wide1 * tall1 + wide2 * tall2 - shared + 2 * tiny)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    shape = 4 / math.pi**2 * (torch.atan(wide2 / tall2) - torch.atan(wide1 / tall1)) ** 2
    weight = shape / (shape - ratio + (1 + tiny))
    return ratio - (apart.square().sum(-1) / (hull.square().sum(-1) + tiny) + shape * weight)


def densify_bounding_boxes(
    bounding_boxes: Any,
    is_batched: bool = False,
    max_boxes: int | None = None,
    boxes_default_value: float = 0,
    labels_default_value: int = -1,
) -> dict[str, Any]:
    """Boxes and labels as tensors; lists, which may be of different lengths, are padded.

    Args:
        bounding_boxes: a dict of "boxes" and "labels".
        is_batched: whether they belong to many images.
        max_boxes: how many boxes lists are cut or padded to, by default the most that there are.
        boxes_default_value: the coordinates of the boxes added.
        labels_default_value: their label.

    Raises:
        ArgumentError: there is no such dict.
        ShapeError: boxes and labels do not fit each other.

    Example:
        >>> boxes = {"boxes": [[[0, 0, 2, 2], [1, 1, 3, 3]], [[0, 0, 1, 1]]], "labels": [[5, 6], [7]]}
        >>> densify_bounding_boxes(boxes, is_batched=True)["labels"].tolist()
        [[5, 6], [7, -1]]
    """
    validate_bounding_boxes(bounding_boxes)
    boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
    if isinstance(boxes, list):
        rows, marks = (boxes, labels) if is_batched else ([boxes], [labels])
        count = max(map(len, rows)) if max_boxes is None else max_boxes
        fill = float(boxes_default_value)
        boxes = torch.stack(
            [_padded(convert_to_tensor(row, torch.float32).reshape(-1, 4), count, fill) for row in rows]
        )
        labels = torch.stack(
            [_padded(convert_to_tensor(row, torch.int32), count, labels_default_value) for row in marks]
        )
        if not is_batched:
            boxes, labels = boxes.squeeze(0), labels.squeeze(0)
    return {**bounding_boxes, "boxes": convert_to_tensor(boxes, torch.float32), "labels": convert_to_tensor(labels)}


def _padded(rows: Tensor, count: int, value: float) -> Tensor:
    rows = rows[:count]
    return F.pad(rows, [0] * (2 * rows.ndim - 1) + [count - rows.shape[0]], value=value)


def validate_bounding_boxes(bounding_boxes: Any) -> None:
    """Raise an error unless this is a dict of boxes and labels that fit each other."""
    if not isinstance(bounding_boxes, Mapping) or not {"boxes", "labels"} <= bounding_boxes.keys():
        raise ArgumentError(
            "Unusable bounding boxes.",
            where="bounding_boxes",
            expected='a dict of "boxes" and "labels"',
            received=list(bounding_boxes) if isinstance(bounding_boxes, Mapping) else type(bounding_boxes).__name__,
        )
    boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
    if isinstance(boxes, list):
        fits = isinstance(labels, list) and len(boxes) == len(labels)
        shapes = f"{len(boxes)} boxes" if isinstance(labels, list) else "boxes in a list"
        found = f"{len(labels)} labels" if isinstance(labels, list) else type(labels).__name__
    else:
        shapes, found = tuple(boxes.shape), tuple(labels.shape)
        fits = len(shapes) in (2, 3) and len(found) in (len(shapes) - 1, len(shapes))
    if not fits:
        raise ShapeError(
            "The boxes and their labels do not fit each other.",
            where="bounding_boxes",
            expected="boxes (boxes, 4) or (batch, boxes, 4) and a label for each, both as tensors or both as lists",
            received=f"{shapes} and {found}",
        )
