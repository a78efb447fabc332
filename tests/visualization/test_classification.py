"""Confusion matrix, mistakes and calibration: what is counted and drawn."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.core.errors import ArgumentError, DataError
from lamina.visualization import plot_calibration, plot_confusion_matrix, plot_misclassified
from lamina.visualization.classification import classes_of, confusion, mistakes


def test_classes_come_from_numbers_one_hot_rows_probabilities_and_logits():
    assert classes_of([2, 0]).tolist() == [2, 0]
    assert classes_of(np.eye(3)[[1, 2]]).tolist() == [1, 2]
    assert classes_of([[-3.0], [2.5]], threshold=0.0).tolist() == [0, 1]
    with pytest.raises(DataError, match="no classes"):
        classes_of(np.zeros((2, 3, 4)))


def test_confusion_agrees_with_counting_by_hand():
    rng = np.random.default_rng(0)
    truth, told = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    by_hand = [[int(((truth == i) & (told == j)).sum()) for j in range(4)] for i in range(4)]
    assert confusion(truth, np.eye(4)[told]).tolist() == by_hand


@pytest.mark.parametrize("labels, told", [([0, 1], [0]), ([], []), ([-1, 0], [0, 1])])
def test_confusion_refuses_what_does_not_go_together(labels, told):
    with pytest.raises(DataError):
        confusion(np.array(labels, int), np.array(told, int))
    with pytest.raises(DataError, match="0 to 1"):
        confusion([0, 2], [0, 1], classes=2)


def test_confusion_matrix_shows_numbers_or_shares_with_names(tmp_path):
    labels, told = [0, 0, 1, 1], [0, 1, 1, 1]
    figure = plot_confusion_matrix(labels, told, tmp_path / "c.png", ["cat", "dog"])
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["1", "1", "0", "2"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["cat", "dog"]
    assert panel.get_title() == "75.0% of 4 right" and panel.get_ylabel() == "true"
    assert (tmp_path / "c.png").stat().st_size > 0
    shares = plot_confusion_matrix(labels, told, normalize=True)
    assert [text.get_text() for text in shares.axes[0].texts] == [".50", ".50", ".00", "1.00"]


def test_many_classes_are_drawn_without_numbers():
    panel = plot_confusion_matrix(np.arange(60), np.arange(60)).axes[0]
    assert not panel.texts and len(panel.get_xticks()) == 20


def test_surest_mistakes_come_first(tmp_path):
    told = [[0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.8, 0.2]]
    assert mistakes([0, 0, 0, 0], told).tolist() == [2, 0]
    assert mistakes([0, 0, 1], [[0.6], [0.9], [0.2]]).tolist() == [1, 2, 0]
    figure = plot_misclassified(np.zeros((4, 8, 8)), [0, 0, 0, 0], told, tmp_path / "m.png", ["cat", "dog"], count=1)
    assert [panel.get_title() for panel in figure.axes] == ["✗ dog (is cat)"]
    assert "2 of 4 wrong (50.0%)" in figure.get_suptitle()
    assert plot_misclassified(np.zeros((1, 8, 8)), [1], [[0.1, 0.9]], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_calibration_shows_how_often_it_is_right():
    truth = np.array([0] * 8 + [1] * 2)
    told = np.tile([0.8, 0.2], (10, 1))
    figure = plot_calibration(truth, told)
    line = figure.axes[0].lines[1]
    assert np.allclose(line.get_xdata(), [0.8]) and np.allclose(line.get_ydata(), [0.8])
    assert figure.axes[0].get_title() == "calibration error 0.0%"
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 10
    single = plot_calibration([1, 0, 1, 1], [0.25, 0.25, 0.95, 0.95], bins=4)
    assert np.allclose(single.axes[0].lines[1].get_ydata(), [0.5, 1.0])


def test_calibration_refuses_logits():
    with pytest.raises(ArgumentError, match="softmax"):
        plot_calibration([0, 1], [[3.0, -1.0], [0.0, 2.0]])
