"""Boxes, masks and galleries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lamina.core.errors import MissingPackageError
from lamina.visualization import (
    draw_bounding_boxes,
    draw_segmentation_masks,
    plot_bounding_box_gallery,
    plot_image_gallery,
    plot_segmentation_mask_gallery,
)
from lamina.visualization.figures import INK, WRONG

# What OpenCV's rectangle() sets from (8, 8) to (15, 15), the upper left quarter, by thickness.
CORNERS = {
    1: [0, 0, 0, 0b000000001111, 0b000000001000],
    2: [0, 0, 0b000000001111, 0b000000011111, 0b000000011111],
    3: [0, 0b000000001111, 0b000000011111, 0b000000111111, 0b000000111111],
    5: [0b000000001111, 0b000000111111, 0b000000111111, 0b000001111111, 0b000001111111],
}


def boxes(**more: Any) -> dict[str, Any]:
    return {"boxes": np.array([[[8, 8, 15, 15], [1, 1, 4, 4]]]), "labels": np.array([[0, -1]]), **more}


@pytest.mark.parametrize("thickness", CORNERS)
def test_boxes_are_those_of_opencv(thickness: int) -> None:
    image = np.zeros((1, 24, 24, 3), "uint8")
    drawn = draw_bounding_boxes(image, boxes(), "xyxy", color=(255, 0, 7), line_thickness=thickness)
    assert not image.any()
    red = drawn[0, ..., 0] > 0
    assert (drawn[0][red] == (255, 0, 7)).all()
    np.testing.assert_array_equal(red, red[::-1, ::-1])
    np.testing.assert_array_equal(red, red.T)
    rows = [int("".join("1" if x else "0" for x in row[:12]), 2) for row in red[5:10]]
    assert rows == CORNERS[thickness]


def test_captions_formats_and_ranges() -> None:
    image = np.full((1, 64, 96, 3), 0.5, "float32")
    given = {"boxes": [[[0.25, 0.5, 0.5, 0.25]]], "labels": [[1]], "confidences": [[0.876]]}
    bare = draw_bounding_boxes(image, given, "rel_xywh")
    named = draw_bounding_boxes(image, given, "rel_xywh", {1: "cat"}, font_scale=0.5)
    other = draw_bounding_boxes(image, given, "rel_xywh", {2: "dog"})
    assert bare[0, 0, 0].tolist() == [127] * 3
    np.testing.assert_array_equal(bare, other)
    assert (named != bare).any(-1).sum() > 60
    first = draw_bounding_boxes(image.transpose(0, 3, 1, 2), given, "rel_xywh", data_format="channels_first")
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), bare)


def test_boxes_that_leave_the_image_are_cut() -> None:
    given = {"boxes": [[[-5, -5, 3, 3], [6, 6, 20, 20]]], "labels": [[0, 0]]}
    drawn = draw_bounding_boxes(np.zeros((1, 8, 8, 1), "uint8"), given, "xyxy", line_thickness=1)
    assert np.argwhere(drawn[0, ..., 0]).tolist() == [
        *[[y, 3] for y in range(3)],
        *[[3, x] for x in range(4)],
        [6, 6],
        [6, 7],
        [7, 6],
    ]


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3}, {"ignore_index": 1}, {"blend": False}])
def test_masks_are_those_of_keras(options: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 6, 5, 3)).astype("float32")
    masks = random.integers(-1, 3, (2, 6, 5, 1))
    colors = {0: (0, 10, 20), 1: (200, 0, 0), 2: (0, 0, 99)}
    for mapping in (None, colors):
        theirs = keras.visualization.draw_segmentation_masks(images, masks, 3, mapping, **options)
        ours = draw_segmentation_masks(images, masks, 3, mapping, **options)
        np.testing.assert_array_equal(np.asarray(theirs), ours)
    flat = draw_segmentation_masks(images, masks[..., 0], 3, colors, **options)
    np.testing.assert_array_equal(flat, ours)


def test_all_classes_are_drawn_where_their_number_is_not_said() -> None:
    mask = np.arange(4).reshape(1, 2, 2)
    drawn = draw_segmentation_masks(np.full((1, 2, 2, 3), 255.0), mask, alpha=1.0)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 4


def test_galleries_hold_all_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3))
    figure = plot_image_gallery(images, y_pred=np.arange(5), label_map={0: "a"}, path=tmp_path / "images.png")
    assert [len(panel.images) for panel in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [panel.get_title() for panel in figure.axes[:2]] == ["Pred: a", "Pred: Unknown"]
    assert (tmp_path / "images.png").read_bytes().startswith(b"\x89PNG")
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), images[2])


def test_a_gallery_can_be_shown() -> None:
    assert plot_image_gallery(np.zeros((1, 4, 4, 1)), value_range=(0, 1)) is None


def test_box_and_mask_galleries() -> None:
    images = np.zeros((2, 24, 24, 3))
    twice = {key: np.repeat(value, 2, axis=0) for key, value in boxes().items()}
    figure = plot_bounding_box_gallery(images, "xyxy", twice, twice, value_range=(0, 1), legend=True, show=False)
    assert figure.axes[0].images[0].get_array()[8, 8].tolist() == [255, 235, 59]
    mask = np.ones((2, 24, 24), int)
    figure = plot_segmentation_mask_gallery(images, 2, y_pred=mask, color_mapping={1: (50, 0, 0)}, show=False)
    shown = [panel.images[0].get_array()[0, 0].tolist() for panel in figure.axes]
    assert shown == [[0, 0, 0], [40, 0, 0]] * 2


def test_captions_are_small_enough_and_mark_mistakes() -> None:
    figure = plot_image_gallery(np.zeros((2, 4, 4, 1)), [0, 1], [0, 0], {0: "long " * 4, 1: "b"}, show=False)
    assert [panel.title.get_color() for panel in figure.axes] == [INK, WRONG]
    figure.canvas.draw()
    for panel in figure.axes:
        assert panel.title.get_fontsize() >= 7 and panel.title.get_window_extent().width <= 2 * figure.dpi
    assert "\n" in figure.axes[0].get_title()


def test_masks_say_which_column_is_which() -> None:
    mask = np.ones((2, 8, 8), int)
    figure = plot_segmentation_mask_gallery(np.zeros((2, 8, 8, 3)), 2, y_pred=mask, show=False)
    assert [panel.get_title() for panel in figure.axes] == ["Image", "Pred", "", ""]


def test_captions_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match=r"where: draw_bounding_boxes[\s\S]*pip install pillow"):
        draw_bounding_boxes(np.zeros((1, 24, 24, 3)), boxes(), "xyxy", {0: "cat"})


def test_errors() -> None:
    image = np.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match="batch"):
        draw_bounding_boxes(image[0], boxes(), "xyxy")
    with pytest.raises(TypeError, match="dict"):
        draw_bounding_boxes(image, [1], "xyxy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing"):
        draw_bounding_boxes(image, {"boxes": []}, "xyxy")
    with pytest.raises(TypeError, match="integer"):
        draw_segmentation_masks(image, np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="not both"):
        plot_image_gallery(image, path="x.png", show=True)
    with pytest.raises(ValueError, match="without names"):
        plot_image_gallery(image, y_true=[1])
    with pytest.raises(ValueError, match="two legends"):
        plot_bounding_box_gallery(image, "xyxy", legend=True, legend_handles=[1])
