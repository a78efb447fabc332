"""Datasets made of directories, windows of series and split datasets, beside the real Keras."""

from __future__ import annotations

import random
import wave

import keras
import numpy as np
import pytest
import torch
from keras.src.utils import dataset_utils, image_dataset_utils

from lamina import preprocessing, utils
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, UnsupportedError
from lamina.data import Dataset
from lamina.data.audio import read_wav, resample

PIL = pytest.importorskip("PIL.Image")
IMAGES = image_dataset_utils.ALLOWLIST_FORMATS


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        for folder in ("", "more"):
            (root / name / folder).mkdir(exist_ok=True)
            for number in range(4):
                pixels = random.integers(0, 256, (20 + number, 17, 3), dtype="uint8")
                image = PIL.fromarray(pixels[..., 0] if number == 3 else pixels)
                image.save(root / name / folder / f"{number}.{'bmp' if number == 1 else 'png'}")
    (root / "cat" / "notes.md").write_text("none of them")
    (root / ".hidden").mkdir()
    return str(root)


def quiet(directory, **options):
    options.setdefault("image_size", (6, 8))
    return utils.image_dataset_from_directory(directory, verbose=False, **options)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("labels", ["inferred", None, "given"])
def test_files_and_their_order_are_those_of_keras(images, seed, labels):
    given = list(range(16)) if labels == "given" else labels
    copy = list(given) if labels == "given" else given
    paths, _, names = dataset_utils.index_directory(images, copy, IMAGES, shuffle=True, seed=seed, verbose=False)
    for subset in ("training", "validation"):
        expected, _ = dataset_utils.get_training_or_validation_split(paths, None, 0.3, subset)
        data = quiet(images, labels=given, seed=seed, validation_split=0.3, subset=subset)
        assert data.file_paths == expected and data.class_names == names
    both = quiet(images, labels=given, seed=seed, validation_split=0.3, subset="both")
    assert both[0].file_paths + both[1].file_paths == paths
    unshuffled = quiet(images, labels=given, shuffle=False)
    assert unshuffled.file_paths == dataset_utils.index_directory(images, given, IMAGES, shuffle=False)[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"color_mode": "grayscale"},
        {"color_mode": "rgba"},
        {"interpolation": "nearest"},
        {"interpolation": "bicubic"},
        {"crop_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True},
        {"data_format": "channels_first"},
    ],
)
def test_pixels_are_those_of_keras(images, options):
    data = quiet(images, shuffle=False, label_mode=None, batch_size=5, **options)
    channels = {"rgb": 3, "rgba": 4, "grayscale": 1}[options.get("color_mode", "rgb")]
    load = image_dataset_utils._load_image_grain
    rest = (
        options.get("interpolation", "bilinear"),
        options.get("data_format", "channels_last"),
        options.get("crop_to_aspect_ratio", False),
        options.get("pad_to_aspect_ratio", False),
    )
    expected = np.stack([np.asarray(load(path, (6, 8), channels, *rest)) for path in data.file_paths])
    got = torch.cat(list(data))
    assert got.dtype is torch.float32 and np.array_equal(got.numpy(), expected)
    assert [len(batch) for batch in data] == [5, 5, 5, 1] and data.batch_size == 5 and len(data) == 4


def test_labels(images):
    for mode, shape in {"int": (16,), "categorical": (16, 2), "binary": (16, 1)}.items():
        _, labels = next(iter(quiet(images, label_mode=mode, shuffle=False)))
        assert labels.shape == shape and labels.dtype is (torch.int32 if mode == "int" else torch.float32)
        numbers = labels.argmax(1) if mode == "categorical" else labels.flatten()
        assert numbers.tolist() == [0] * 8 + [1] * 8
    data = quiet(images, class_names=["dog", "cat"], shuffle=False)
    assert data.class_names == ["dog", "cat"] and "dog" in data.file_paths[0]
    image, label = next(iter(quiet(images, batch_size=None)))
    assert image.shape == (6, 8, 3) and label.shape == ()


def test_labels_stay_with_their_images_and_passes_differ(images):
    plain = quiet(images, shuffle=False, batch_size=None)
    known = {image.sum().item(): int(label) for image, label in plain}
    data = quiet(images, seed=3, batch_size=4)
    passes = [[image.sum().item() for x, _ in data for image in x] for _ in range(2)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1]) == sorted(known)
    assert all(known[image.sum().item()] == int(label) for x, y in data for image, label in zip(x, y, strict=True))
    again = quiet(images, seed=3, batch_size=4)
    assert [[image.sum().item() for x, _ in again for image in x] for _ in range(2)] == passes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "none"}, "labels is not usable"),
        ({"labels": [0, 1]}, "one entry for each file"),
        ({"labels": [0] * 16, "class_names": ["cat"]}, "class_names needs"),
        ({"label_mode": "float"}, "Unknown label_mode"),
        ({"class_names": ["bird"]}, "not there"),
        ({"class_names": ["cat"], "label_mode": "binary"}, "two classes"),
        ({"color_mode": "cmyk"}, "Unknown color_mode"),
        ({"image_size": 1.5}, "image_size"),
        ({"interpolation": "cubic"}, "Unknown interpolation"),
        ({"validation_split": 2, "subset": "training"}, "between 0 and 1"),
        ({"validation_split": 0.2}, "need each other"),
        ({"validation_split": 0.2, "subset": "test"}, "Unknown subset"),
        ({"validation_split": 0.2, "subset": "training"}, "seed"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "Only one"),
        ({"format": "torch"}, "Unknown format"),
    ],
)
def test_arguments_that_cannot_be_used(images, options, message):
    with pytest.raises(ArgumentError, match=message):
        quiet(images, **options)


def test_files_that_cannot_be_used(tmp_path, capsys):
    with pytest.raises(DataError, match="No image files are found"):
        quiet(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*broken\.png"):
        next(iter(quiet(tmp_path)))
    with pytest.raises(UnsupportedError, match="bicubic"):
        quiet(tmp_path, interpolation="gaussian")
    utils.image_dataset_from_directory(tmp_path, labels=None)
    assert capsys.readouterr().out == "Found 1 files.\n"


def test_texts(tmp_path):
    for name in ("neg", "pos"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.txt").write_text(f"{name} ä {number}", "utf-8")
    data = preprocessing.text_dataset_from_directory(tmp_path, shuffle=False, batch_size=4, verbose=False)
    texts, labels = next(iter(data))
    assert texts.tolist() == ["neg ä 0", "neg ä 1", "neg ä 2", "pos ä 0"] and labels.tolist() == [0, 0, 0, 1]
    short = utils.text_dataset_from_directory(tmp_path, max_length=3, label_mode=None, verbose=False)
    assert set(next(iter(short))) == {"neg", "pos"}
    (tmp_path / "neg" / "0.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"UTF-8(.|\n)*0\.txt"):
        next(iter(data))


def write_wav(path, samples, width, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_sounds(tmp_path):
    (tmp_path / "one").mkdir()
    sounds = [np.random.default_rng(n).integers(-(2**15), 2**15, (10 + n, 2)).astype("<i2") for n in range(3)]
    for number, sound in enumerate(sounds):
        write_wav(tmp_path / "one" / f"{number}.wav", sound, 2)
    data = utils.audio_dataset_from_directory(tmp_path, shuffle=False, verbose=False)
    x, y = next(iter(data))
    assert x.shape == (3, 12, 2) and y.tolist() == [0, 0, 0] and data.class_names == ["one"]
    assert torch.equal(x[1, :11], torch.from_numpy(sounds[1] / 2.0**15).float()) and not x[1, 11:].any()
    cut = utils.audio_dataset_from_directory(tmp_path, output_sequence_length=11, label_mode=None, verbose=False)
    assert next(iter(cut)).shape == (3, 11, 2)
    slow = utils.audio_dataset_from_directory(tmp_path, sampling_rate=4000, label_mode=None, verbose=False)
    assert next(iter(slow)).shape == (3, 6, 2)
    both = utils.audio_dataset_from_directory(tmp_path, validation_split=0.4, subset="both", seed=1, verbose=False)
    assert isinstance(both, tuple) and [len(part.file_paths) for part in both] == [2, 1]
    with pytest.raises(UnsupportedError, match="ragged"):
        utils.audio_dataset_from_directory(tmp_path, ragged=True)
    with pytest.raises(ArgumentError, match="sampling_rate"):
        utils.audio_dataset_from_directory(tmp_path, sampling_rate=0)
    (tmp_path / "one" / "0.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*soundfile"):
        next(iter(data))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers_of_all_sizes(tmp_path, width):
    levels = [-1.0, -0.5, 0.0, 0.5]
    whole = [round(level * 2 ** (8 * width - 1)) + (128 if width == 1 else 0) for level in levels]
    raw = b"".join(number.to_bytes(width, "little", signed=width > 1) for number in whole)
    write_wav(tmp_path / "x.wav", np.frombuffer(raw, "u1").reshape(-1, width).view(f"V{width}"), width)
    sound, rate = read_wav(tmp_path / "x.wav")
    assert sound.flatten().tolist() == levels and rate == 8000


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 16000), (44100, 16000), (16000, 8000), (8000, 8000)])
def test_resampling_keeps_a_tone(rate, new_rate):
    def tone(rate):
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate // 4) / rate)[:, None]

    changed, expected = resample(tone(rate), rate, new_rate), tone(new_rate)
    assert changed.shape == expected.shape
    assert (changed - expected)[200:-200].abs().max() < 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_length": 5},
        {"sequence_length": 4, "sequence_stride": 3, "sampling_rate": 2},
        {"sequence_length": 4, "start_index": 3, "end_index": 40, "batch_size": 7},
        {"sequence_length": 4, "batch_size": None},
        {"sequence_length": 60},
    ],
)
@pytest.mark.parametrize("has_targets", [True, False])
def test_windows(options, has_targets):
    series, targets = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50)[4:] if has_targets else None
    data = utils.timeseries_dataset_from_array(series, targets, **options)
    start, end = options.get("start_index", 0), options.get("end_index", 50)
    length, rate = options["sequence_length"], options.get("sampling_rate", 1)
    count = end - start - (length - 1) * rate
    count = count if targets is None else min(count, len(targets))
    begins = range(start, start + count, options.get("sequence_stride", 1))
    parts = list(data) if options.get("batch_size", 128) is None else list(data.unbatch())
    windows = parts if targets is None else [window for window, _ in parts]
    assert len(windows) == len(begins)
    assert all(np.array_equal(w, series[b : b + length * rate : rate]) for w, b in zip(windows, begins, strict=True))
    if targets is not None:
        assert [int(target) for _, target in parts] == [int(targets[b]) for b in begins]


def test_windows_in_random_order():
    data = preprocessing.timeseries_dataset_from_array(np.arange(30), np.arange(30), 2, shuffle=True, seed=1)
    passes = [torch.cat([y for _, y in data]).tolist() for _ in range(2)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1]) == list(range(29))
    assert all(torch.equal(x[:, 0], y) for x, y in data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_index": -1},
        {"start_index": 10},
        {"end_index": 10},
        {"end_index": 2, "start_index": 3},
        {"sampling_rate": 0},
        {"sequence_stride": 10},
        {"format": "torch"},
    ],
)
def test_windows_that_do_not_fit(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        utils.timeseries_dataset_from_array(np.arange(10), None, 3, **wrong)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", [(7, 5), (5, 30), (13, 21)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
def test_smart_resize_is_that_of_keras(data_format, size, interpolation):
    images = np.random.default_rng(1).normal(size=(2, 13, 21, 4)).astype("float32")
    given = (size, interpolation, data_format)
    for x in (images, images[0]):
        mine = preprocessing.image.smart_resize(x, *given)
        assert isinstance(mine, np.ndarray)
        np.testing.assert_array_equal(mine, keras.preprocessing.image.smart_resize(x, *given))
    assert isinstance(preprocessing.image.smart_resize(torch.from_numpy(images), *given), torch.Tensor)
    with pytest.raises(ArgumentTypeError):
        preprocessing.image.smart_resize(images, size, antialias=True)


@pytest.mark.parametrize("sizes", [{"left_size": 0.8}, {"right_size": 3}, {"left_size": 4, "right_size": 6}])
@pytest.mark.parametrize("seed", [0, 11])
def test_splits_are_those_of_keras(sizes, seed):
    arrays = [np.arange(10), np.arange(20).reshape(10, 2)]
    for data in (arrays, tuple(arrays), arrays[1]):
        mine = utils.split_dataset(data, **sizes, shuffle=True, seed=seed)
        theirs = keras.utils.split_dataset(data, **sizes, shuffle=True, seed=seed)
        for part, other in zip(mine, theirs, strict=True):
            assert part.indices == list(other.indices)
            assert all(torch.equal(a, b) for x, y in zip(part, other, strict=True) for a, b in zip(x, y, strict=True))


def test_splits_without_shuffling_keep_the_order():
    left, right = utils.split_dataset(np.arange(10), left_size=0.5, right_size=0.2)
    assert [int(x) for (x,) in left] == [0, 1, 2, 3, 4] and [int(x) for (x,) in right] == [8, 9]
    data = Dataset.from_tensor_slices((np.arange(10), np.arange(10))).batch(3)
    left, right = utils.split_dataset(data, left_size=7)
    assert [y.tolist() for _, y in left] == [[0, 1, 2], [3, 4, 5], [6]] and len(right) == 1
    left, _ = utils.split_dataset(np.arange(10), left_size=0.5, shuffle=True, seed=3, preferred_backend="tensorflow")
    order = list(range(10))
    random.Random(3).shuffle(order)
    assert isinstance(left, Dataset) and [int(x) for x in left] == order[:5]


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"left_size": 0},
        {"left_size": 1.5},
        {"right_size": 10},
        {"left_size": 0.6, "right_size": 0.6},
        {"left_size": 0.01},
    ],
)
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(ArgumentError, match="split_dataset|sizes"):
        utils.split_dataset(np.arange(10), **sizes)


def test_what_cannot_be_split():
    with pytest.raises(ArgumentTypeError, match="left_size"):
        utils.split_dataset(np.arange(10), left_size="1")
    with pytest.raises(ArgumentTypeError, match="str"):
        utils.split_dataset("abc", left_size=1)
    with pytest.raises(DataError, match="no arrays"):
        utils.split_dataset([], left_size=1)
    with pytest.raises(DataError, match="same number"):
        utils.split_dataset([np.zeros(2), np.zeros(3)], left_size=1)
