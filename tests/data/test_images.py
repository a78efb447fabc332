"""Image files to arrays and back: the same as Keras gives."""

from __future__ import annotations

import sys
import warnings

import keras
import numpy as np
import pytest

from lamina import utils
from lamina.core.errors import ArgumentError, MissingPackageError, ShapeError


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    utils.save_img(path, np.random.default_rng(0).uniform(0, 255, (13, 20, 3)), scale=False)
    return path


@pytest.mark.parametrize("mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("keep", [False, True])
def test_load_img_matches_keras(photo, mode, interpolation, keep):
    options = {"color_mode": mode, "target_size": (7, 8), "interpolation": interpolation, "keep_aspect_ratio": keep}
    ours, theirs = utils.load_img(photo, **options), keras.utils.load_img(photo, **options)
    assert ours.mode == theirs.mode
    np.testing.assert_array_equal(utils.img_to_array(ours), keras.utils.img_to_array(theirs))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("scale", [True, False])
def test_array_to_img_matches_keras(channels, data_format, scale):
    x = np.random.uniform(0, 255, (6, 5, channels))
    x = x if data_format == "channels_last" else x.transpose(2, 0, 1)
    ours = utils.array_to_img(x, data_format, scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras uses an argument that Pillow has given up
        theirs = keras.utils.array_to_img(x, data_format, scale)
    assert ours.mode == theirs.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    back = utils.img_to_array(ours, data_format)
    np.testing.assert_array_equal(back, keras.utils.img_to_array(theirs, data_format))
    assert back.dtype == np.float32


def test_large_gray_values_survive():
    image = utils.array_to_img(np.array([[[0.0], [1000.0]]]), scale=False)
    assert np.asarray(image).tolist() == [[0, 1000]]


def test_jpeg_without_transparency(tmp_path):
    with pytest.warns(UserWarning, match="transparency"):
        utils.save_img(tmp_path / "x.jpg", np.ones((4, 4, 4)))
    assert utils.load_img(tmp_path / "x.jpg").mode == "RGB"


def test_what_cannot_be_an_image(photo):
    with pytest.raises(ShapeError):
        utils.array_to_img(np.ones((4, 4)))
    with pytest.raises(ShapeError, match="channels"):
        utils.array_to_img(np.ones((4, 4, 2)))
    with pytest.raises(ShapeError):
        utils.img_to_array(np.ones(4))
    with pytest.raises(ArgumentError, match="color_mode"):
        utils.load_img(photo, color_mode="cmyk")
    with pytest.raises(ArgumentError, match="interpolation"):
        utils.load_img(photo, target_size=(2, 2), interpolation="best")


def test_without_pillow_the_error_says_so(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match="pip install pillow"):
        utils.load_img(photo)
