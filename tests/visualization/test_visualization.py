"""Pictures: what is drawn, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lamina.core.errors import ArgumentError, DataError, MissingPackageError
from lamina.visualization import plot_history, plot_predictions

HISTORY = {"accuracy": [0.6, 0.8], "loss": [0.9, 0.4], "val_accuracy": [0.5, 0.7], "val_loss": [1.0, 0.6]}


def test_history_draws_a_panel_for_each_result_with_its_validation(tmp_path):
    figure = plot_history(HISTORY, tmp_path / "new" / "curves.png", title="Run")
    assert [panel.get_title() for panel in figure.axes] == ["accuracy", "loss"]
    training, validation = figure.axes[1].lines
    assert list(training.get_xdata()) == [1, 2] and list(training.get_ydata()) == [0.9, 0.4]
    assert list(validation.get_ydata()) == [1.0, 0.6]
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_history_draws_validation_of_every_second_epoch_at_its_epoch():
    figure = plot_history({"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [3.5, 1.5]})
    assert list(figure.axes[0].lines[1].get_xdata()) == [2, 4]


def test_history_without_the_result_names_those_there_are():
    with pytest.raises(ArgumentError, match=r"expected: accuracy, loss.*\n.*received: acc"):
        plot_history(HISTORY, names=["acc"])
    with pytest.raises(ArgumentError, match="no results"):
        plot_history({})


def test_gallery_tells_right_from_wrong():
    images = np.zeros((3, 8, 8, 1))
    figure = plot_predictions(images, [0, 1, 1], np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), columns=2)
    shown = [panel for panel in figure.axes if panel.axison]
    assert [panel.get_title() for panel in shown] == ["✓ 0  90%", "✗ 0 (is 1)", "✓ 1  60%"]
    frames = [panel.spines["left"].get_edgecolor() for panel in shown]
    assert frames[0] == frames[2] != frames[1]
    assert shown[1].spines["left"].get_linewidth() > shown[0].spines["left"].get_linewidth()


def test_gallery_takes_classes_and_names_and_colour(tmp_path):
    names = ["cat", "dog"]
    figure = plot_predictions(np.zeros((2, 4, 4, 3)), [0, 1], [1, 1], tmp_path / "g.png", names, columns=2)
    assert [panel.get_title() for panel in figure.axes] == ["✗ dog (is cat)", "✓ dog"]
    assert (tmp_path / "g.png").stat().st_size > 0


def test_gallery_refuses_unequal_numbers():
    with pytest.raises(DataError, match="2, 1 and 2"):
        plot_predictions(np.zeros((2, 4, 4)), [0], [0, 1])


def test_without_matplotlib_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lamina\[plot\]'"):
        plot_history(HISTORY)
