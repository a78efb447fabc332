"""Datasets of the files in a directory, a folder for each class: images, texts and sounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.core.config import standardize_data_format
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, DataError, UnsupportedError, check_number, check_type, nearest
from lamina.core.seeds import as_seed
from lamina.data.audio import read_wav, resample
from lamina.data.images import check_size, load_img
from lamina.data.pipeline import AUTOTUNE, Dataset
from lamina.ops.resampling import resize

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5")
_ONLY_TENSORFLOW = ("gaussian", "mitchellcubic")
_LABEL_MODES = ("int", "categorical", "binary", None)
_SUBSETS = ("training", "validation", "both", None)


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of the images (bmp, gif, jpeg, png) in a directory, read and resized by threads ahead of the training.

    Args:
        directory: the directory; with inferred labels it has a folder for each class.
        labels: "inferred" from the folders, None for no labels, or a list of class numbers, one for each file in
            alphanumeric order of the paths.
        label_mode: "int" gives int32 (batch,), "categorical" one-hot float32 (batch, classes), "binary" float32
            (batch, 1), None no labels.
        class_names: the folders to take, in the order of the class numbers; all, sorted, by default.
        color_mode: "rgb", "rgba" or "grayscale".
        batch_size: images in a batch; None for single images.
        image_size: (height, width) of all images.
        shuffle: whether the order is random, a new one each pass; files are else sorted.
        seed: makes the split and the orders repeatable.
        validation_split: the part of the files, between 0 and 1, that is for validation.
        subset: "training", "validation" or "both", where there is such a part.
        interpolation: "bilinear", "nearest", "bicubic", "area", "lanczos3" or "lanczos5".
        follow_links: whether to look into linked folders.
        crop_to_aspect_ratio: whether images are cut, around their middle, to the proportions of `image_size`.
        pad_to_aspect_ratio: whether images are widened to these.
        data_format: "channels_last" or "channels_first".
        format: "tf" or "grain", kept for Keras: the result is the same.
        verbose: whether to print how many files there are.

    Returns:
        A `Dataset` of float32 images (batch, height, width, channels) from 0 to 255, with labels in tuples; a list of
        two, for training and validation, with subset "both".

    Raises:
        ArgumentError: an argument has none of the values above.
        DataError: no images are found, or an image cannot be read.

    Example:
        >>> from lamina.data.images import save_img
        >>> for name in ("cat", "dog"):
        ...     _ = Path("pets", name).mkdir(parents=True)
        ...     save_img(f"pets/{name}/1.png", np.zeros((4, 6, 3)))
        >>> data = image_dataset_from_directory("pets", image_size=(8, 8), verbose=False)
        >>> data.class_names, next(iter(data))[0].shape
        (['cat', 'dog'], torch.Size([2, 8, 8, 3]))

    Source: https://keras.io/api/data_loading/image/#imagedatasetfromdirectory-function
    """
    _check_choice("color_mode", color_mode, tuple(_CHANNELS))
    _check_choice("format", format, ("tf", "grain"))
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    check_size(image_size, "image_dataset_from_directory(image_size=...)")
    check_type(interpolation, str, "image_dataset_from_directory(interpolation=...)", "a name such as 'bilinear'")
    if interpolation.lower() in _ONLY_TENSORFLOW:
        what, where = f'"{interpolation}" is there in TensorFlow only.', "image_dataset_from_directory"
        raise UnsupportedError(what, where=where, fix='interpolation="bicubic"')
    _check_choice("interpolation", interpolation.lower(), _INTERPOLATIONS)
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        what, fix = "Only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be set.", "leave one of them out"
        raise ArgumentError(what, where="image_dataset_from_directory", fix=fix)
    data_format = standardize_data_format(data_format)

    def load(path: str) -> torch.Tensor:
        try:
            pixels = np.array(load_img(path, color_mode), np.float32)
        except OSError as error:
            fix = "remove or convert the file; the folder may hold images only"
            raise DataError("An image cannot be read.", where=path, received=str(error), fix=fix) from None
        image = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None])
        image = image.permute(2, 0, 1) if data_format == "channels_first" else image
        return resize(
            image,
            tuple(image_size),
            interpolation.lower(),
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            data_format=data_format,
        )

    files = _Files("image", _IMAGES, directory, labels, label_mode, class_names, shuffle, seed, follow_links, verbose)
    datasets = files.datasets(validation_split, subset, lambda data: _batched(data, batch_size), load)
    return datasets if subset == "both" else datasets[0]


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of the text files (.txt) in a directory; arguments as for `image_dataset_from_directory`.

    Args:
        directory: the directory.
        labels: "inferred", None, or a list of class numbers.
        label_mode: "int", "categorical", "binary" or None.
        class_names: the folders to take, in order.
        batch_size: texts in a batch; None for single texts.
        max_length: texts are cut after so many characters.
        shuffle: whether the order is random.
        seed: makes the split and the orders repeatable.
        validation_split: the part of the files that is for validation.
        subset: "training", "validation" or "both".
        follow_links: whether to look into linked folders.
        format: "tf" or "grain", kept for Keras.
        verbose: whether to print how many files there are.

    Returns:
        A `Dataset` of texts as arrays of strings (batch,), with labels in tuples; a list of two with subset "both".

    Raises:
        ArgumentError: an argument has none of the values above.
        DataError: no texts are found, or a file is no text in UTF-8.

    Source: https://keras.io/api/data_loading/text/
    """
    _check_choice("format", format, ("tf", "grain"))
    if max_length is not None:
        check_number(max_length, "text_dataset_from_directory(max_length=...)", least=1)

    def load(path: str) -> str:
        try:
            return Path(path).read_text("utf-8")[:max_length]
        except UnicodeDecodeError as error:
            fix = "write it anew in UTF-8: Path(path).write_text(Path(path).read_text('latin-1'), 'utf-8')"
            raise DataError("A file is no text in UTF-8.", where=path, received=str(error), fix=fix) from None

    files = _Files("text", (".txt",), directory, labels, label_mode, class_names, shuffle, seed, follow_links, verbose)
    datasets = files.datasets(validation_split, subset, lambda data: _batched(data, batch_size), load)
    return datasets if subset == "both" else datasets[0]


def audio_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    sampling_rate: int | None = None,
    output_sequence_length: int | None = None,
    ragged: bool = False,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> Any:
    """Batches of the sounds (.wav) in a directory; arguments as for `image_dataset_from_directory`.

    Args:
        directory: the directory.
        labels: "inferred", None, or a list of class numbers.
        label_mode: "int", "categorical", "binary" or None.
        class_names: the folders to take, in order.
        batch_size: sounds in a batch; None for single sounds.
        sampling_rate: samples a second that all sounds are brought to; they are left as they are by default.
        output_sequence_length: samples that all sounds are cut or filled up to; that of the longest in the batch by
            default.
        ragged: must be False: torch has no ragged tensors.
        shuffle: whether the order is random.
        seed: makes the split and the orders repeatable.
        validation_split: the part of the files that is for validation.
        subset: "training", "validation" or "both".
        follow_links: whether to look into linked folders.
        verbose: whether to print how many files there are.

    Returns:
        A `Dataset` of float32 sounds (batch, samples, channels) from -1 to 1, with labels in tuples; a tuple of two
        with subset "both".

    Raises:
        ArgumentError: an argument has none of the values above.
        DataError: no sounds are found, or a file cannot be read.

    Source: https://keras.io/api/data_loading/audio/
    """
    if ragged and output_sequence_length is not None:
        what = "ragged and output_sequence_length cannot be set together."
        raise ArgumentError(what, where="audio_dataset_from_directory", fix="leave ragged out")
    if ragged:
        where, fix = "audio_dataset_from_directory(ragged=...)", "leave ragged out: batches are then filled up"
        raise UnsupportedError("torch has no ragged tensors.", where=where, fix=fix)
    if sampling_rate is not None and (not isinstance(sampling_rate, int) or sampling_rate <= 0):
        where, expected = "audio_dataset_from_directory(sampling_rate=...)", "a positive integer, e.g. 16000"
        raise ArgumentError("This is no rate.", where=where, expected=expected, received=repr(sampling_rate))
    if output_sequence_length is not None:
        check_number(output_sequence_length, "audio_dataset_from_directory(output_sequence_length=...)", least=1)

    def load(path: str) -> torch.Tensor:
        sound, rate = read_wav(path)
        if output_sequence_length is not None:
            sound = torch.nn.functional.pad(sound, (0, 0, 0, output_sequence_length - len(sound)))
        return sound if sampling_rate is None else resample(sound, rate, sampling_rate)

    def batched(data: Dataset) -> Dataset:
        if output_sequence_length is None and batch_size is not None:
            return data.padded_batch(batch_size).prefetch()
        return _batched(data, batch_size)

    files = _Files("audio", (".wav",), directory, labels, label_mode, class_names, shuffle, seed, follow_links, verbose)
    datasets = files.datasets(validation_split, subset, batched, load)
    return tuple(datasets) if subset == "both" else datasets[0]


def _batched(data: Dataset, batch_size: int | None) -> Dataset:
    return (data if batch_size is None else data.batch(batch_size)).prefetch()


@dataclass
class _Files:
    """Files in a directory and what their labels shall be."""

    kind: str
    endings: tuple[str, ...]
    directory: Any
    labels: Any
    label_mode: str | None
    class_names: Sequence[str] | None
    shuffle: bool
    seed: int | None
    follow_links: bool
    verbose: bool

    def datasets(
        self, split: float | None, subset: str | None, batched: Callable[[Dataset], Dataset], load: Callable[[str], Any]
    ) -> list[Dataset]:
        """The dataset of a subset; those of both of them."""
        self._check()
        _check_split(split, subset, self.shuffle, self.seed)
        seed = int(np.random.randint(10**6)) if self.seed is None else as_seed(self.seed)
        paths, labels, names = self._index(seed)
        if self.label_mode == "binary" and names is not None and len(names) != 2:
            where, received = f"{self.kind}_dataset_from_directory", ", ".join(names) or "no class"
            fix = 'label_mode="int"'
            raise ArgumentError('label_mode="binary" needs two classes.', where=where, received=received, fix=fix)
        held_out = int((split or 0) * len(paths))
        # As in Keras, nothing is left for training where nothing is held out.
        parts = {None: slice(None), "training": slice(0, -held_out), "validation": slice(-held_out, None)}
        made = []
        for part in ("training", "validation") if subset == "both" else (subset,):
            chosen = paths[parts[part]]
            if part is not None and self.verbose:
                print(f"Using {len(chosen)} files for {part}.")
            if not chosen:
                raise DataError(
                    f"No {part or ''} {self.kind} files are found.".replace("  ", " "),
                    where=str(self.directory),
                    expected=f"files ending in {', '.join(self.endings)}",
                    received=f"{len(paths)} such files in all",
                )
            own = None if labels is None else labels[parts[part]]
            data = self._dataset(chosen, own, len(names or ()), seed, part, load)
            data = batched(data)
            data.class_names, data.file_paths = names, chosen
            made.append(data)
        return made

    def _check(self) -> None:
        check_type(self.directory, (str, os.PathLike), f"{self.kind}_dataset_from_directory(directory)", "a path")
        if not isinstance(self.labels, (list, tuple)) and self.labels not in ("inferred", None):
            raise ArgumentError(
                "labels is not usable.",
                where=f"{self.kind}_dataset_from_directory(labels=...)",
                expected='"inferred", None, or a list of class numbers, one for each file',
                received=repr(self.labels),
            )
        _check_choice("label_mode", self.label_mode, _LABEL_MODES)
        if self.class_names is not None and self.labels != "inferred":
            where, received = f"{self.kind}_dataset_from_directory", f"labels={self.labels!r:.60}"
            fix = "leave class_names out"
            raise ArgumentError('class_names needs labels="inferred".', where=where, received=received, fix=fix)
        if self.labels is None or self.label_mode is None:
            self.labels = self.label_mode = None

    def _index(self, seed: int) -> tuple[list[str], np.ndarray | None, list[str] | None]:
        """Paths, class numbers and class names, in Keras's order for this seed."""
        root = os.fspath(self.directory)
        folders = [""]
        if self.labels == "inferred":
            folders = sorted(f.name for f in os.scandir(root) if f.is_dir() and not f.name.startswith("."))
            if not set(self.class_names or ()) <= set(folders):
                raise ArgumentError(
                    "class_names names folders that are not there.",
                    where=root,
                    expected=", ".join(folders),
                    received=", ".join(self.class_names or ()),
                )
            folders = list(self.class_names or folders)
        found = [self._files_in(root, folder) for folder in folders]
        paths = [path for part in found for path in part]
        names: list[str] | None = folders
        labels: Any = np.repeat(np.arange(len(folders), dtype=np.int32), [len(part) for part in found])
        if self.labels is None:
            labels = names = None
        elif self.labels != "inferred":
            if len(self.labels) != len(paths):
                raise ArgumentError(
                    "labels does not have one entry for each file.",
                    where=root,
                    expected=f"{len(paths)} labels",
                    received=f"{len(self.labels)} labels",
                )
            labels, names = np.asarray(self.labels), [str(label) for label in sorted(set(self.labels))]
        if self.verbose:
            print(f"Found {len(paths)} files" + (f" belonging to {len(names)} classes." if names is not None else "."))
        if self.shuffle:
            np.random.RandomState(seed).shuffle(paths)
            if labels is not None:
                np.random.RandomState(seed).shuffle(labels)
        return paths, labels, names

    def _files_in(self, root: str, folder: str) -> list[str]:
        """Paths of the files in a folder and those below it, sorted folder by folder."""
        top = os.path.join(root, folder)
        walked = sorted(os.walk(top, followlinks=self.follow_links))
        return [
            os.path.join(root, folder, os.path.relpath(os.path.join(place, name), top))
            for place, _, names in walked
            for name in sorted(names)
            if name.lower().endswith(self.endings)
        ]

    def _dataset(
        self, paths: list[str], labels: Any, classes: int, seed: int, part: str | None, load: Callable[[str], Any]
    ) -> Dataset:
        """Single samples, loaded by threads."""
        pair = paths if labels is None else (paths, _encoded(labels, self.label_mode, classes))
        data = Dataset.from_tensor_slices(pair)
        if self.shuffle and part != "validation":
            data = data.shuffle(len(paths), seed)
        if labels is None:
            return data.map(load, AUTOTUNE)
        return data.map(lambda path, label: (load(path), label), AUTOTUNE)


def _encoded(labels: np.ndarray, mode: str | None, classes: int) -> torch.Tensor:
    numbers = torch.from_numpy(labels)
    if mode == "binary":
        return numbers.to(torch_dtype(None))[:, None]
    if mode == "categorical":
        return torch.nn.functional.one_hot(numbers.long(), classes).to(torch_dtype(None))
    return numbers.int()


def _check_choice(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value not in options:
        what = f"Unknown {name}.{nearest(str(value), filter(None, options))}"
        expected = ", ".join(map(repr, options))
        raise ArgumentError(what, where=f"{name}=...", expected=expected, received=repr(value))


def _check_split(split: float | None, subset: str | None, shuffle: bool, seed: int | None) -> None:
    if split:
        check_number(split, "validation_split=...", whole=False)
    if split and not 0 < split < 1:
        where, expected = "validation_split=...", "a share such as 0.2"
        raise ArgumentError("validation_split lies between 0 and 1.", where=where, expected=expected, received=split)
    _check_choice("subset", subset, _SUBSETS)
    if bool(split) != bool(subset):
        raise ArgumentError(
            "validation_split and subset need each other.",
            where="validation_split=..., subset=...",
            received=f"validation_split={split}, subset={subset!r}",
            fix='give both, e.g. validation_split=0.2, subset="training"',
        )
    if subset in ("training", "validation") and shuffle and seed is None:
        raise ArgumentError(
            "Without a seed the training and the validation files would overlap.",
            where=f"subset={subset!r}",
            fix='give both calls the same seed, or use subset="both"',
        )
