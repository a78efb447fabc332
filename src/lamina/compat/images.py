"""ImageDataGenerator of earlier Keras versions. Today's way is augmentation layers in the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.core import config
from lamina.core.errors import ArgumentError, DataError, StateError, nearest
from lamina.data import PyDataset
from lamina.data.images import img_to_array, load_img

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff")
_FILLS = ("nearest", "constant", "reflect", "wrap")
_MODES = ("categorical", "binary", "sparse", "input", None)


class ImageBatches(PyDataset):
    """Batches of images, by index and, with `next()`, without end.

    Args:
        count: how many images there are.
        load: gives the batch for an array of image numbers.
        batch_size: images in a batch.
        shuffle: whether each pass has a new order.
        seed: makes the order repeatable.
    """

    def __init__(
        self, count: int, load: Callable[[np.ndarray], Any], batch_size: int, shuffle: bool, seed: int | None
    ) -> None:
        super().__init__()
        self.n, self.batch_size, self.shuffle = count, batch_size, shuffle
        self._load, self._random = load, np.random.default_rng(seed)
        self._position = 0
        self._order = np.arange(count)
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._load(self._order[index * self.batch_size : (index + 1) * self.batch_size])

    def on_epoch_end(self) -> None:
        """Draw a new order."""
        if self.shuffle:
            self._order = self._random.permutation(self.n)

    def reset(self) -> None:
        """Begin with the first batch again."""
        self._position = 0

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._position == len(self):
            self.reset()
            self.on_epoch_end()
        self._position += 1
        return self[self._position - 1]


class DirectoryBatches(ImageBatches):
    """Batches of image files; attributes as in Keras: `class_indices`, `classes`, `filenames`, `samples`."""

    filenames: list[str]
    filepaths: list[str]
    classes: np.ndarray
    class_indices: dict[str, int]
    num_classes: int
    samples: int


class ImageDataGenerator:
    """Makes batches of images, each changed at random.

    Args:
        featurewise_center: subtract the mean of the data given to `fit`.
        samplewise_center: subtract each image's mean.
        featurewise_std_normalization: divide by the deviation of the data given to `fit`.
        samplewise_std_normalization: divide by each image's deviation.
        zca_whitening: remove correlations found in the data given to `fit`.
        zca_epsilon: keeps that finite.
        rotation_range: turn by up to so many degrees.
        width_shift_range: move sideways: a share of the width, pixels from 1 on, or a list of pixels to choose from.
        height_shift_range: move up and down, likewise.
        brightness_range: (lowest, highest) factor of brightness.
        shear_range: shear by up to so many degrees.
        zoom_range: (lowest, highest) zoom, or x for (1 - x, 1 + x).
        channel_shift_range: add up to so much to each image.
        fill_mode: what lies outside: "nearest", "constant", "reflect" or "wrap".
        cval: the value outside for "constant".
        horizontal_flip: whether half the images are mirrored sideways.
        vertical_flip: whether half the images are turned upside down.
        rescale: a factor, applied after all else.
        preprocessing_function: called on each image (height, width, channels) before anything else.
        data_format: "channels_last" or "channels_first".
        validation_split: the share of images, from the start, that is `subset="validation"`.
        interpolation_order: 0 for the nearest pixel, else a linear mixture.
        dtype: the dtype of the batches.

    Example:
        >>> generator = ImageDataGenerator(rescale=1 / 255, horizontal_flip=True)
        >>> x, y = next(generator.flow(np.ones((8, 4, 4, 3)), np.arange(8), batch_size=2))
        >>> x.shape, y.shape
        ((2, 4, 4, 3), (2,))

    Source: https://www.tensorflow.org/api_docs/python/tf/keras/preprocessing/image/ImageDataGenerator
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
    ) -> None:
        if fill_mode not in _FILLS:
            raise ArgumentError(
                f"Unknown fill_mode.{nearest(str(fill_mode), _FILLS)}",
                where="ImageDataGenerator(fill_mode=...)",
                expected=", ".join(_FILLS),
                received=repr(fill_mode),
            )
        if not 0 <= validation_split < 1:
            where, expected = "ImageDataGenerator(validation_split=...)", "0 to below 1, e.g. 0.2"
            raise ArgumentError("This is no share.", where=where, expected=expected, received=validation_split)
        self.featurewise_std_normalization = featurewise_std_normalization and not zca_whitening
        self.featurewise_center = featurewise_center or featurewise_std_normalization or zca_whitening
        self.samplewise_std_normalization = samplewise_std_normalization
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.brightness_range, self.channel_shift_range = brightness_range, channel_shift_range
        is_number = isinstance(zoom_range, (int, float))
        self.zoom_range = (1 - zoom_range, 1 + zoom_range) if is_number else tuple(zoom_range)
        self.fill_mode, self.cval = fill_mode, cval
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.data_format = config.standardize_data_format(data_format)
        self.interpolation_order, self.dtype = interpolation_order, dtype or config.floatx()
        self._validation_split = validation_split
        self.mean: Any = None
        self.std: Any = None
        self.zca_whitening_matrix: Any = None

    # Sources of images.

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        subset: str | None = None,
        **_: Any,
    ) -> ImageBatches:
        """Batches (x), (x, y) or (x, y, sample_weight) of changed images from arrays.

        Args:
            x: images, (count, height, width, channels) or channels first.
            y: targets, one for each image.
            batch_size: images in a batch.
            shuffle: whether each pass has a new order.
            sample_weight: weights, one for each image.
            seed: makes order and changes repeatable.
            subset: "training" or "validation", where `validation_split` was given.
        """
        images = np.asarray(x, self.dtype)
        if images.ndim != 4:
            raise DataError("Images have four axes.", where="flow(x)", expected="(n, h, w, c)", received=images.shape)
        part = self._part(len(images), subset)
        parts = [np.asarray(array)[part] for array in (y, sample_weight) if array is not None]
        images, random = images[part], np.random.default_rng(seed)

        def load(chosen: np.ndarray) -> Any:
            batch = np.stack([self._finish(self.random_transform(images[i], random=random)) for i in chosen])
            return (batch, *(array[chosen] for array in parts)) if parts else batch

        return ImageBatches(len(images), load, batch_size, shuffle, seed)

    def flow_from_directory(
        self,
        directory: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        **_: Any,
    ) -> DirectoryBatches:
        """Batches of changed images from files, a folder for each class.

        Args:
            directory: the folder with the folders of the classes.
            target_size: (height, width) of the images.
            color_mode: "rgb", "rgba" or "grayscale".
            classes: the folders to use, in the order of their numbers; all by default.
            class_mode: what the targets are: "categorical" rows, "binary" or "sparse" numbers, "input" images, or None.
            batch_size: images in a batch.
            shuffle: whether each pass has a new order.
            seed: makes order and changes repeatable.
            subset: "training" or "validation", where `validation_split` was given.
            interpolation: how images are resized.
            keep_aspect_ratio: whether the middle is cut out first.
        """
        if class_mode not in _MODES:
            what = f"Unknown class_mode.{nearest(str(class_mode), filter(None, _MODES))}"
            where = "flow_from_directory(class_mode=...)"
            raise ArgumentError(what, where=where, expected=_MODES, received=repr(class_mode))
        root = Path(directory)
        names = list(classes or sorted(entry.name for entry in root.iterdir() if entry.is_dir()))
        files: list[tuple[Path, int]] = []
        for number, name in enumerate(names):
            found = sorted(f for f in (root / name).rglob("*") if f.suffix.lower() in _ENDINGS)
            files += [(file, number) for file in found[self._part(len(found), subset)]]
        labels = np.array([number for _, number in files], dtype="int32")
        random = np.random.default_rng(seed)

        def load(chosen: np.ndarray) -> Any:
            raw = [load_img(files[i][0], color_mode, target_size, interpolation, keep_aspect_ratio) for i in chosen]
            arrays = [img_to_array(image, self.data_format, self.dtype) for image in raw]
            batch = np.stack([self._finish(self.random_transform(array, random=random)) for array in arrays])
            if class_mode is None:
                return batch
            return batch, _targets(class_mode, labels[chosen], len(names), batch, self.dtype)

        batches = DirectoryBatches(len(files), load, batch_size, shuffle, seed)
        batches.filepaths = [str(file) for file, _ in files]
        batches.filenames = [str(file.relative_to(root)) for file, _ in files]
        batches.classes, batches.class_indices = labels, {name: i for i, name in enumerate(names)}
        batches.num_classes, batches.samples = len(names), len(files)
        print(f"Found {len(files)} images belonging to {len(names)} classes.")
        return batches

    def _part(self, count: int, subset: str | None) -> slice:
        """The images of a subset."""
        if subset is None:
            return slice(None)
        border = int(self._validation_split * count)
        if subset not in ("training", "validation") or not self._validation_split:
            raise ArgumentError(
                "There is no such subset.",
                where="subset=...",
                expected='"training" or "validation", and ImageDataGenerator(validation_split=0.2)',
                received=repr(subset),
            )
        return slice(0, border) if subset == "validation" else slice(border, None)

    # Statistics.

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find the mean, deviation and correlations that the featurewise options need.

        Args:
            x: images.
            augment: whether to look at changed images.
            rounds: how often to go through them then.
            seed: makes the changes repeatable.
        """
        images = np.asarray(x, self.dtype)
        if augment:
            random = np.random.default_rng(seed)
            images = np.stack([self.random_transform(image, random=random) for _ in range(rounds) for image in images])
        axes = (0, 1, 2) if self.data_format == "channels_last" else (0, 2, 3)
        self.mean = images.mean(axes, keepdims=True)[0]
        self.std = (images - self.mean).std(axes, keepdims=True)[0]
        if self.zca_whitening:
            flat = (images - self.mean).reshape(len(images), -1)
            _, values, directions = np.linalg.svd(flat, full_matrices=False)
            scale = np.sqrt(len(images)) / np.sqrt(values**2 + self.zca_epsilon)
            self.zca_whitening_matrix = (directions.T * scale) @ directions

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """An image after preprocessing, centring and scaling."""
        if self.preprocessing_function is not None:
            x = np.asarray(self.preprocessing_function(x))
        if self.rescale:
            x = x * self.rescale
        if self.samplewise_center:
            x = x - x.mean()
        if self.samplewise_std_normalization:
            x = x / (x.std() + 1e-6)
        if not self.featurewise_center:
            return x
        if self.mean is None:
            raise StateError("The mean of the data is not known.", where="ImageDataGenerator", fix="call fit(x) first")
        x = x - self.mean
        if self.featurewise_std_normalization:
            x = x / (self.std + 1e-6)
        if self.zca_whitening:
            x = (x.reshape(-1) @ self.zca_whitening_matrix).reshape(x.shape)
        return x

    def _finish(self, x: np.ndarray) -> np.ndarray:
        return self.standardize(x).astype(self.dtype)

    # Changes.

    def get_random_transform(
        self, img_shape: Sequence[int], seed: int | None = None, random: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """What to do to one image, drawn at random; see `apply_transform`."""
        random = random or np.random.default_rng(seed)
        height, width = img_shape[:2] if self.data_format == "channels_last" else img_shape[1:3]
        low, high = self.zoom_range
        zoom = random.uniform(low, high, 2) if (low, high) != (1, 1) else (1.0, 1.0)
        darkest, brightest = self.brightness_range or (1.0, 1.0)
        return {
            "theta": random.uniform(-self.rotation_range, self.rotation_range),
            "tx": _shift(self.width_shift_range, width, random),
            "ty": _shift(self.height_shift_range, height, random),
            "shear": random.uniform(-self.shear_range, self.shear_range),
            "zx": float(zoom[0]),
            "zy": float(zoom[1]),
            "flip_horizontal": self.horizontal_flip and random.random() < 0.5,
            "flip_vertical": self.vertical_flip and random.random() < 0.5,
            "channel_shift_intensity": random.uniform(-self.channel_shift_range, self.channel_shift_range) or None,
            "brightness": random.uniform(darkest, brightest) if self.brightness_range else None,
        }

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """An image turned by `theta` degrees, moved by (`tx`, `ty`) pixels, sheared, zoomed, flipped, made brighter.

        Args:
            x: one image.
            transform_parameters: as `get_random_transform` gives; what is missing is left as it is.
        """
        given = transform_parameters
        first = self.data_format == "channels_first"
        image = np.moveaxis(x, 0, -1) if first else x
        image = self._warp(image, given)
        if given.get("channel_shift_intensity"):
            image = np.clip(image + given["channel_shift_intensity"], image.min(), image.max())
        if given.get("flip_horizontal"):
            image = image[:, ::-1]
        if given.get("flip_vertical"):
            image = image[::-1]
        if given.get("brightness") is not None:
            image = np.clip(image * given["brightness"], 0, max(255.0, float(image.max())))
        return np.ascontiguousarray(np.moveaxis(image, -1, 0) if first else image)

    def random_transform(
        self, x: np.ndarray, seed: int | None = None, random: np.random.Generator | None = None
    ) -> np.ndarray:
        """An image changed at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed, random))

    def _warp(self, image: np.ndarray, given: dict[str, Any]) -> np.ndarray:
        """Rotation, shift, shear and zoom in one, about the middle."""
        theta, shear = (math.radians(given.get(name, 0)) for name in ("theta", "shear"))
        rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
        shearing = np.array([[1, -math.sin(shear)], [0, math.cos(shear)]])
        zoom = np.diag([given.get("zx", 1.0), given.get("zy", 1.0)])
        matrix = rotation @ shearing @ zoom
        shift = rotation @ np.array([given.get("tx", 0.0), given.get("ty", 0.0)])
        if np.allclose(matrix, np.eye(2)) and not shift.any():
            return image
        height, width = image.shape[:2]
        middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) - middle
        places = places @ matrix.T + middle + shift
        if self.fill_mode == "wrap":
            places = places % np.array([width, height])
        return self._sample(image, places)

    def _sample(self, image: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The image's values at places (x, y) between the pixels."""
        outside = {"nearest": "border", "constant": "zeros", "reflect": "reflection", "wrap": "border"}[self.fill_mode]
        height, width = image.shape[:2]
        scaled = (2 * places + 1) / np.array([width, height]) - 1
        grid = torch.from_numpy(scaled[None].astype("float32"))
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None] - self.cval, dtype="float32"))
        mode = "bilinear" if self.interpolation_order else "nearest"
        result = torch.nn.functional.grid_sample(pixels, grid, mode, outside, align_corners=False)
        return result[0].permute(1, 2, 0).numpy().astype(image.dtype) + self.cval


def _shift(amount: Any, size: int, random: np.random.Generator) -> float:
    """A shift in pixels, drawn from a share of the size, a number of pixels, or a list of pixels."""
    if not isinstance(amount, (int, float)):
        return float(random.choice(amount) * random.choice((-1, 1)))
    if isinstance(amount, int) and amount:
        return float(random.integers(-amount, amount + 1))
    shift = random.uniform(-amount, amount)
    return float(shift * size) if abs(amount) < 1 else float(shift)


def _targets(mode: str, labels: np.ndarray, count: int, batch: np.ndarray, dtype: Any) -> np.ndarray:
    if mode == "input":
        return batch
    return np.eye(count, dtype=dtype)[labels] if mode == "categorical" else labels.astype(dtype)
