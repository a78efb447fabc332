"""Each error of data, compat and the wrappers, provoked."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from tests.errors.refusing import refused

import lamina
from lamina import layers, utils, wrappers
from lamina.compat.backend import batch_dot
from lamina.compat.images import ImageDataGenerator
from lamina.compat.sequences import TimeseriesGenerator
from lamina.compat.text import Tokenizer
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    MissingPackageError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from lamina.data import images
from lamina.data.pipeline import Dataset
from lamina.data.source import add_class_weight

X = np.arange(80, dtype="float32").reshape(20, 4)
Y = np.arange(20, dtype="float32")
DATA = Dataset.from_tensor_slices((X, Y))


class Lengthless(utils.PyDataset):
    pass


class Batchless(utils.PyDataset):
    def __len__(self):
        return 2


def fit(x=X, y=Y, **options):
    model = lamina.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0, **options)


def fit_named(table, y):
    """Train a model whose inputs have names of their own."""
    inputs = [lamina.Input((1,), name=name) for name in ("a", "b")]
    model = lamina.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    model.fit(table, y, verbose=0)


def folder(*files):
    """A folder of two classes with files of no content."""
    for name in files or ("a/1.png", "b/1.png"):
        path = Path("folder", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xfe")
    return "folder"


def read_images(*files, **options):
    return list(utils.image_dataset_from_directory(folder(*files), **{"verbose": False, **options}))


def read_texts(**options):
    return list(utils.text_dataset_from_directory(folder("a/1.txt", "b/1.txt"), verbose=False, **options))


def read_sounds(**options):
    return utils.audio_dataset_from_directory(folder("a/1.wav", "b/1.wav"), verbose=False, **options)


def windows(data=X, **options):
    return utils.timeseries_dataset_from_array(data, None, **{"sequence_length": 3, **options})


def resize(image, size=(2, 2), **options):
    return images.smart_resize(image, size, **options)


def image(*shape):
    return np.zeros(shape or (4, 4, 3))


def columns(**parts):
    return pd.DataFrame(parts)


CASES = {
    "batch_size": (lambda: fit(batch_size=0), ArgumentError, "batch_size=32"),
    "batch_size true": (lambda: fit(batch_size=True), ArgumentError, "received: True"),
    "split": (lambda: fit(validation_split=1.5), ArgumentError, "validation_split=0.2"),
    "split of text": (lambda: fit(validation_split="0.2"), ArgumentTypeError, "fit(validation_split=...)"),
    "shuffle": (lambda: fit(shuffle="bach"), ArgumentError, 'mean "batch"'),
    "steps": (lambda: fit(steps_per_epoch=1.5), ArgumentError, "leave it out"),
    "nothing": (lambda: fit(None, None), DataError, "There is no data"),
    "empty": (lambda: fit(X[:0], Y[:0]), DataError, "at least one sample"),
    "no arrays": (lambda: fit([None], None), DataError, "arrays for x (and y)"),
    "no array": (lambda: fit(y=object()), DataError, "where: y"),
    "one number": (lambda: fit(np.array(3.0)), DataError, "single number"),
    "class_weight of a list": (lambda: fit(class_weight=[1, 2]), ArgumentTypeError, "dict(enumerate(weights))"),
    "class_weight by text": (lambda: fit(class_weight={"0": 1.0}), ArgumentTypeError, "by class number"),
    "class_weight of text": (lambda: fit(class_weight={0: "a"}), ArgumentTypeError, "fit(class_weight=...)"),
    "class_weight without labels": (lambda: add_class_weight(X, {0: 1.0}), DataError, "give y too"),
    "strings": (lambda: fit(iter([("a.png", 1.0)]), None), DataError, "let it load them"),
    "four parts": (lambda: fit(iter([(X, Y, Y, Y)]), None), DataError, "((x1, x2), y)"),
    "used up": (lambda: fit(iter([]), None), DataError, "used up"),
    "no columns": (lambda: fit(y=pl.DataFrame()), DataError, "at least one column"),
    "column twice": (lambda: fit(pd.DataFrame([[1, "x"]] * 20, columns=["a", "a"])), DataError, "x.to_numpy()"),
    "columns of text": (lambda: fit(columns(a=[1, 2], b=["x", "y"]), Y[:2]), DataError, "columns b"),
    "columns of arrays": (
        lambda: fit(columns(a=[np.zeros((2, 2)), np.zeros((2, 2))], b=[1.0, 2.0]), Y[:2]),
        DataError,
        "an Input of its own",
    ),
    "only y": (lambda: fit(columns(a=[1.0, 2.0]), "a"), DataError, "beside those of y"),
    "no such column": (lambda: fit_named(columns(a=[1.0], c=[2.0], d=[3.0]), "d"), DataError, "name the inputs"),
    "image_size": (lambda: read_images(image_size=(2,)), ArgumentError, "(height, width)"),
    "image_size of text": (lambda: read_images(image_size=("a", "b")), ArgumentTypeError, "image_size"),
    "interpolation": (lambda: read_images(interpolation="biliner"), ArgumentError, 'mean "bilinear"'),
    "no interpolation": (lambda: read_images(interpolation=None), ArgumentTypeError, "interpolation=..."),
    "TensorFlow's": (lambda: read_images(interpolation="gaussian"), UnsupportedError, "bicubic"),
    "crop and pad": (
        lambda: read_images(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        ArgumentError,
        "leave one of them out",
    ),
    "no image": (read_images, DataError, "folder/a/1.png"),
    "no folder": (lambda: utils.image_dataset_from_directory(None), ArgumentTypeError, "image_dataset_from_directory"),
    "labels": (lambda: read_images(labels="infered"), ArgumentError, "labels=..."),
    "class_names": (lambda: read_images(class_names=["a", "c"]), ArgumentError, "where: folder"),
    "class_names alone": (lambda: read_images(labels=None, class_names=["a"]), ArgumentError, "leave class_names out"),
    "label_mode": (lambda: read_images(label_mode="cat"), ArgumentError, "label_mode=..."),
    "two classes": (
        lambda: read_images("a/1.png", "b/1.png", "c/1.png", label_mode="binary"),
        ArgumentError,
        'label_mode="int"',
    ),
    "number of labels": (lambda: read_images(labels=[0]), ArgumentError, "2 labels"),
    "share": (lambda: read_images(validation_split=2.0, subset="training", seed=1), ArgumentError, "such as 0.2"),
    "share of text": (lambda: read_images(validation_split="a", subset="training", seed=1), ArgumentTypeError, "split"),
    "subset": (lambda: read_images(validation_split=0.5), ArgumentError, 'subset="training"'),
    "no seed": (lambda: read_images(validation_split=0.5, subset="training"), ArgumentError, "same seed"),
    "seed": (lambda: read_images(seed="a"), ArgumentError, "an integer"),
    "encoding": (read_texts, DataError, "folder/"),
    "max_length": (lambda: read_texts(max_length=-1), ArgumentError, "max_length"),
    "ragged and length": (lambda: read_sounds(ragged=True, output_sequence_length=3), ArgumentError, "leave ragged"),
    "ragged": (lambda: read_sounds(ragged=True), UnsupportedError, "filled up"),
    "rate": (lambda: read_sounds(sampling_rate="16k"), ArgumentError, "16000"),
    "length": (lambda: read_sounds(output_sequence_length="a"), ArgumentTypeError, "output_sequence_length"),
    "color_mode": (lambda: images.load_img("x.png", "rbg"), ArgumentError, 'mean "rgb"'),
    "load's interpolation": (lambda: images.load_img("x.png", interpolation="cubic"), ArgumentError, "bicubic"),
    "target_size": (lambda: images.load_img("x.png", target_size=(2,)), ArgumentError, "load_img(target_size=...)"),
    "no image file": (lambda: images.load_img(folder() + "/a/1.png"), OSError, "folder/a/1.png"),
    "path": (lambda: images.img_to_array("x.png"), ArgumentTypeError, "load_img('x.png')"),
    "array's axes": (lambda: images.img_to_array(np.zeros(3)), ShapeError, "(h, w, channels)"),
    "image's axes": (lambda: images.array_to_img(X), ShapeError, "write x[0]"),
    "image's channels": (lambda: images.array_to_img(image(2, 2, 7)), ShapeError, "1, 3 or 4"),
    "kind of file": (lambda: images.save_img("x.pgn", image()), ArgumentError, 'mean "PNG"'),
    "argument": (lambda: resize(image(), mode="a"), ArgumentTypeError, "data_format"),
    "size": (lambda: resize(image(), (2,)), ArgumentError, "smart_resize(size=...)"),
    "size of text": (lambda: resize(image(), (2, "a")), ArgumentTypeError, "smart_resize(size=...)"),
    "axes": (lambda: resize(X), ShapeError, "a batch of such images"),
    "slices": (lambda: Dataset.from_tensor_slices((X, Y[:3])), DataError, "length 3, length 20"),
    "slices of a number": (lambda: Dataset.from_tensor_slices(5), DataError, "a single number"),
    "batches of none": (lambda: DATA.batch(0), ArgumentError, "Dataset.batch"),
    "function": (lambda: DATA.map(5), ArgumentTypeError, "Dataset.map"),
    "predicate": (lambda: DATA.filter(5), ArgumentTypeError, "Dataset.filter"),
    "generator": (lambda: Dataset.from_generator([1]), ArgumentTypeError, "not its result"),
    "buffer": (lambda: DATA.shuffle("all"), ArgumentTypeError, "Dataset.shuffle"),
    "take": (lambda: DATA.take("a"), ArgumentTypeError, "Dataset.take"),
    "skip": (lambda: DATA.skip(None), ArgumentTypeError, "Dataset.skip"),
    "repeat": (lambda: DATA.repeat(-5), ArgumentError, "Dataset.repeat"),
    "zip": (lambda: Dataset.zip(DATA, X), ArgumentTypeError, "Dataset.zip"),
    "concatenate": (lambda: DATA.concatenate(X), ArgumentTypeError, "Dataset.concatenate"),
    "cache": (lambda: DATA.cache("file"), UnsupportedError, "leave the filename out"),
    "endless": (lambda: len(DATA.repeat()), TypeError, "no end"),
    "shapes": (lambda: list(Dataset(lambda: [np.zeros(2), np.zeros(3)]).batch(2)), DataError, "padded_batch()"),
    "labels of text": (lambda: utils.to_categorical(["a"]), DataError, "return_inverse=True"),
    "label outside": (lambda: utils.to_categorical([0, 5], 3), DataError, "raise num_classes"),
    "classes": (lambda: utils.to_categorical([0, 1], 2.5), ArgumentTypeError, "num_classes"),
    "normalize": (lambda: utils.normalize("abc"), DataError, "normalize(x)"),
    "sequences": (lambda: utils.pad_sequences([1, 2]), DataError, "[[1, 2], [3]]"),
    "padding": (lambda: utils.pad_sequences([[1]], padding="left"), ArgumentError, "pad_sequences, padding"),
    "maxlen": (lambda: utils.pad_sequences([[1]], maxlen=-2), ArgumentError, "pad_sequences(maxlen=...)"),
    "words": (lambda: utils.pad_sequences([["a"]]), DataError, "dtype=object"),
    "filling": (lambda: utils.pad_sequences([[1]], value="a"), ArgumentError, "pad_sequences(value=...)"),
    "sequence's steps": (lambda: utils.pad_sequences([[[1]], [[1, 2]]]), ShapeError, "sequence 1"),
    "dataset's length": (lambda: Lengthless().num_batches, UnsupportedError, "__len__"),
    "dataset's batches": (lambda: Batchless()[0], UnsupportedError, "def __getitem__"),
    "workers": (lambda: utils.PyDataset(workers=-1), ArgumentError, "PyDataset(workers=...)"),
    "series": (lambda: windows(None), ArgumentTypeError, "an array"),
    "window": (lambda: windows(sequence_length=0), ArgumentError, "sequence_length"),
    "stride": (lambda: windows(sequence_stride=0), ArgumentError, "timeseries_dataset_from_array(sequence_stride"),
    "no split": (lambda: utils.split_dataset(X), ArgumentError, "left_size=0.8"),
    "nothing to split": (lambda: utils.split_dataset(X[:0], 0.5), DataError, "nothing to split"),
    "split by text": (lambda: utils.split_dataset(X, "a"), ArgumentTypeError, "split_dataset(left_size=...)"),
    "split's lengths": (lambda: utils.split_dataset([X, Y[:3]], 0.5), DataError, "lengths 20, 3"),
    "split's seed": (lambda: utils.split_dataset(X, 0.5, shuffle=True, seed="a"), ArgumentError, "an integer"),
    "batch axis": (lambda: batch_dot(torch.ones(2, 3), torch.ones(2, 3), axes=0), ArgumentError, "axes=(2, 1)"),
    "fill_mode": (lambda: ImageDataGenerator(fill_mode="wrp"), ArgumentError, 'mean "wrap"'),
    "generator's share": (lambda: ImageDataGenerator(validation_split=2), ArgumentError, "0 to below 1"),
    "class_mode": (
        lambda: ImageDataGenerator().flow_from_directory("folder", class_mode="binry"),
        ArgumentError,
        'mean "binary"',
    ),
    "generator's subset": (lambda: ImageDataGenerator().flow(image(2, 4, 4, 3), subset="a"), ArgumentError, "subset"),
    "mean": (lambda: ImageDataGenerator(featurewise_center=True).standardize(image()), StateError, "fit(x)"),
    "targets": (lambda: TimeseriesGenerator(X, Y[:3], 2), ArgumentError, "20 targets"),
    "no window": (lambda: TimeseriesGenerator(X, Y, 50), ArgumentError, "length at most"),
    "words unknown": (lambda: Tokenizer().sequences_to_matrix([[1]]), StateError, "fit_on_texts"),
    "frequencies": (lambda: Tokenizer(3).sequences_to_matrix([[1]], "tfidf"), StateError, "tfidf"),
    "text's mode": (lambda: Tokenizer(3).sequences_to_matrix([[1]], "bin"), ArgumentError, "sequences_to_matrix"),
    "estimator": (lambda: wrappers.SKLearnRegressor(5).fit(X, Y), ArgumentTypeError, "compiled model"),
    "no model": (lambda: wrappers.SKLearnRegressor(lambda X, y: None).fit(X, Y), ArgumentTypeError, "`return`"),
    "not compiled": (lambda: wrappers.SKLearnRegressor(lamina.Sequential()).fit(X, Y), StateError, "compile("),
    "one class": (
        lambda: wrappers.SKLearnClassifier(lamina.Sequential()).fit(X, Y > 50),
        ArgumentError,
        "at least two classes",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*CASES[case])


MISSING = {
    "pandas' columns": ("pyarrow", lambda: fit(pl.DataFrame({"a": [[1.0], [2.0]]}), Y[:2]), "pip install pyarrow"),
    "Parquet": ("pyarrow", lambda: fit("data.parquet", "a"), "where: data.parquet"),
    "images": ("PIL", lambda: images.array_to_img(image()), "pip install pillow"),
    "estimators": ("sklearn", lambda: renewed(wrappers.SKLearnRegressor), "lamina[sklearn]"),
}


def renewed(kind):
    """An estimator of a class for which scikit-learn's bases have not joined."""
    return type("Own", (kind,), {})(lamina.Sequential())


@pytest.mark.parametrize("case", MISSING)
def test_a_missing_package_is_named(case, monkeypatch):
    package, provoke, words = MISSING[case]
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError) as caught:
        provoke()
    assert words in str(caught.value)
