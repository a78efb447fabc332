"""Image files to arrays and back, by Pillow."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.config import floatx, standardize_data_format
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileError,
    MissingPackageError,
    ShapeError,
    check_number,
    listing,
    nearest,
    warn_once,
)
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.ops.resampling import resize

_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_KEPT_AS_GRAY = ("L", "I;16", "I")
_RESAMPLING = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


class ImageFileError(FileError, OSError):
    """A file is no image."""


def _unknown(name: str, value: Any, options: Iterable[str]) -> ArgumentError:
    what = f"Unknown {name}.{nearest(str(value), options)}"
    return ArgumentError(what, where=f"load_img({name}=...)", expected=", ".join(options), received=repr(value))


def _misshapen(where: str, expected: str, shape: tuple[int, ...]) -> ShapeError:
    return ShapeError("The array has not the shape of an image.", where=where, expected=expected, received=shape)


def check_size(size: Any, where: str) -> None:
    """Raise unless the size is a pair of whole numbers."""
    if isinstance(size, str) or not hasattr(size, "__len__") or len(size) != 2:
        raise ArgumentError("This is no size.", where=where, expected="(height, width)", received=repr(size))
    for part in size:
        check_number(part, where, least=1)


def _pillow() -> Any:
    """Pillow's Image module."""
    try:
        from PIL import Image
    except ImportError as error:
        what = "Reading and writing images needs Pillow."
        raise MissingPackageError(what, where="lamina.utils (images)", fix="pip install pillow") from error
    return Image


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """Read an image file.

    Args:
        path: a path or an open binary file.
        color_mode: "rgb", "rgba" or "grayscale".
        target_size: (height, width) to resize to.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: whether the middle is cut out in the target's proportions before resizing.

    Returns:
        A Pillow image.

    Raises:
        ArgumentError: `color_mode` or `interpolation` is unknown.
        MissingPackageError: Pillow is not installed.

    Example:
        >>> save_img("gray.png", np.zeros((4, 6, 1)))
        >>> load_img("gray.png", target_size=(2, 3)).size
        (3, 2)

    Source: https://keras.io/api/data_loading/image/
    """
    if color_mode not in _MODES:
        raise _unknown("color_mode", color_mode, _MODES)
    if interpolation not in _RESAMPLING:
        raise _unknown("interpolation", interpolation, _RESAMPLING)
    if target_size is not None:
        check_size(target_size, "load_img(target_size=...)")
    pillow = _pillow()
    content = path.read() if hasattr(path, "read") else Path(os.fsdecode(path)).read_bytes()
    try:
        image = pillow.open(io.BytesIO(content))
    except OSError as error:
        what, fix = "Pillow cannot read the file.", "look whether it is an image, and whole"
        raise ImageFileError(what, where=path, expected="a PNG, a JPEG, ...", fix=fix) from error
    if not (color_mode == "grayscale" and image.mode in _KEPT_AS_GRAY) and image.mode != _MODES[color_mode]:
        image = image.convert(_MODES[color_mode])
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    method = pillow.Resampling[interpolation.upper()]
    box = _middle(image.size, target_size) if keep_aspect_ratio else None
    return image.resize((target_size[1], target_size[0]), method, box=box)


def _middle(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box (left, top, right, bottom) around the middle that has the target's proportions."""
    width, height = size
    cut_height = min(height, width * target[0] // target[1])
    cut_width = min(width, height * target[1] // target[0])
    left, top = (width - cut_width) // 2, (height - cut_height) // 2
    return left, top, left + cut_width, top + cut_height


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """An image as an array.

    Args:
        img: a Pillow image.
        data_format: "channels_last" gives (height, width, channels), "channels_first" (channels, height, width).
        dtype: the dtype of the result, floatx by default.

    Example:
        >>> img_to_array(array_to_img(np.ones((2, 3, 3)))).shape
        (2, 3, 3)

    Source: https://keras.io/api/data_loading/image/
    """
    if isinstance(img, (str, os.PathLike)):
        fix = f"img_to_array(load_img({str(img)!r}))"
        raise ArgumentTypeError("A path is no image.", where="img_to_array", received=repr(img), fix=fix)
    array = np.asarray(img, dtype=dtype or floatx())
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise _misshapen("img_to_array", "(h, w) or (h, w, channels)", array.shape)
    return array.transpose(2, 0, 1) if standardize_data_format(data_format) == "channels_first" else array


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array as an image.

    Args:
        x: (height, width, channels) with 1, 3 or 4 channels, or channels first.
        data_format: "channels_last" or "channels_first".
        scale: whether the values are stretched to 0 to 255.
        dtype: the dtype to compute in, floatx by default.

    Raises:
        ShapeError: the array has not three axes, or another number of channels.

    Example:
        >>> array_to_img(np.zeros((2, 3, 1))).mode
        'L'

    Source: https://keras.io/api/data_loading/image/
    """
    array = np.asarray(x, dtype=dtype or floatx())
    if array.ndim != 3:
        raise _misshapen("array_to_img", "(h, w, channels); for one of a batch write x[0]", array.shape)
    if standardize_data_format(data_format) == "channels_first":
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in (1, 3, 4):
        raise _misshapen("array_to_img", "(h, w, channels) of 1, 3 or 4 channels", array.shape)
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    if array.shape[2] > 1:
        return _pillow().fromarray(array.astype("uint8"))
    return _pillow().fromarray(array[:, :, 0].astype("int32" if array.max() > 255 else "uint8"))


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file.

    Args:
        path: a path or a file opened for writing.
        x: the image, see `array_to_img`.
        data_format: "channels_last" or "channels_first".
        file_format: the kind of file; by default the path's ending tells.
        scale: whether the values are stretched to 0 to 255.
        **kwargs: passed to Pillow's `save`.

    Source: https://keras.io/api/data_loading/image/
    """
    if file_format is None and isinstance(path, (str, os.PathLike)):
        file_format = Path(path).suffix[1:].lower()
    file_format = "jpeg" if file_format and file_format.lower() == "jpg" else file_format
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        warn_once("JPEG holds no transparency; the image is saved without it.")
        image = image.convert("RGB")
    try:
        image.save(path, format=file_format or None, **kwargs)
    except KeyError:
        what = f"Unknown kind of image file.{nearest(str(file_format), _pillow().SAVE)}"
        expected = "an ending such as .png or .jpg, or file_format=..."
        raise ArgumentError(what, where=f"save_img({path!r})", expected=expected, received=repr(file_format)) from None


def smart_resize(
    x: Any,
    size: tuple[int, int],
    interpolation: str = "bilinear",
    data_format: str = "channels_last",
    **kwargs: Any,
) -> Any:
    """Images resized without distortion: their middle is cut out in the target's proportions before.

    Args:
        x: one image (height, width, channels) or a batch; arrays give arrays, tensors give tensors.
        size: the new (height, width).
        interpolation: "bilinear", "nearest", "bicubic", "lanczos3" or "lanczos5".
        data_format: "channels_last" or "channels_first".
        **kwargs: `backend_module`, kept for Keras.

    Raises:
        ShapeError: the image has neither three nor four axes.
        ArgumentError: `size` is no pair.
        ArgumentTypeError: there is an argument of another name.

    Example:
        >>> smart_resize(np.ones((340, 500, 3)), (200, 200)).shape
        (200, 200, 3)

    Source: https://keras.io/api/data_loading/image/
    """
    if set(kwargs) - {"backend_module"}:
        expected = "x, size, interpolation, data_format"
        raise ArgumentTypeError("Unknown arguments.", where="smart_resize", expected=expected, received=listing(kwargs))
    check_size(size, "smart_resize(size=...)")
    images = convert_to_tensor(x)
    if images.ndim not in (3, 4):
        raise _misshapen("smart_resize", "(h, w, channels), or a batch of such images", tuple(images.shape))
    down, across = (-3, -2) if data_format == "channels_last" else (-2, -1)
    height, width = images.shape[down], images.shape[across]
    cut_height = max(min(height, int(width * size[0] / size[1])), 1)
    cut_width = max(min(width, int(height * size[1] / size[0])), 1)
    images = images.narrow(down, int((height - cut_height) / 2), cut_height)
    images = images.narrow(across, int((width - cut_width) / 2), cut_width)
    resized = resize(images, tuple(size), interpolation, data_format=data_format)
    return convert_to_numpy(resized) if isinstance(x, np.ndarray) else resized
