import gzip
import io
import json
import pickle
import tarfile

import numpy as np
import pytest

from lamina.core import config
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, DownloadError, FileError
from lamina.datasets import (
    boston_housing,
    california_housing,
    cifar10,
    cifar100,
    digits,
    download,
    fashion_mnist,
    imdb,
    mnist,
    reuters,
    sources,
)

random = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "given"
    path.mkdir()
    monkeypatch.setenv("LAMINA_DATASETS", str(path))
    return path


@pytest.fixture
def offline(monkeypatch):
    def refuse(address):
        raise OSError("no network here")

    monkeypatch.setattr(download, "open_address", refuse)


@pytest.fixture
def published(monkeypatch):
    """Addresses answered from memory, without checksums."""
    files = {}

    class Response(io.BytesIO):
        headers = {}

    monkeypatch.setattr(download, "open_address", lambda address: Response(files[address]))
    monkeypatch.setattr(sources.Checksum, "of", lambda value: None)
    return files


def images(count, *shape):
    return random.integers(0, 256, (count, *shape), dtype=np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)


def rows(*lists):
    array = np.empty(len(lists), dtype=object)
    array[:] = lists
    return array


def test_digits_ship_with_the_package():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert (x_train.shape, x_train.dtype) == ((6000, 28, 28), np.uint8)
    assert (x_test.shape, y_train.shape, y_test.shape) == ((1000, 28, 28), (6000,), (1000,))
    assert set(np.unique(y_test)) == set(range(10)) and x_train.max() == 255
    credit = sources.Path(digits.__file__).parent / "files" / "CREDITS.txt"
    assert "LeCun" in credit.read_text()


def test_folder_comes_first(folder, offline):
    x, y = images(3, 28, 28), np.array([1, 2, 3], np.uint8)
    save(folder / "mnist.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    (x_train, y_train), (x_test, _) = mnist.load_data()
    np.testing.assert_array_equal(x_train, x)
    np.testing.assert_array_equal(y_train, y)
    assert len(x_test) == 1


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (mnist.load_data, "mnist.npz"),
        (fashion_mnist.load_data, "fashion_mnist.npz"),
        (cifar10.load_data, "cifar10.npz"),
        (cifar100.load_data, "cifar100.npz"),
        (imdb.load_data, "imdb.npz"),
        (imdb.get_word_index, "imdb_word_index.json"),
        (reuters.load_data, "reuters.npz"),
        (california_housing.load_data, "california_housing.npz"),
        (boston_housing.load_data, "boston_housing.npz"),
    ],
)
def test_without_network_the_error_says_what_to_do(load, name, offline):
    with pytest.raises(DownloadError, match="LAMINA_DATASETS") as caught:
        load()
    assert name in str(caught.value) and "https://" in str(caught.value)


def test_mnist_checks_the_download(monkeypatch):
    class Response(io.BytesIO):
        headers = {}

    monkeypatch.setattr(download, "open_address", lambda address: Response(b"something else"))
    with pytest.raises(DownloadError, match="sha256 731c5ac6"):
        mnist.load_data()


@pytest.mark.parametrize("path", ["../mnist.npz", "a/b.npz", ".."])
def test_path_is_a_name(path):
    with pytest.raises(ArgumentError, match="plain file name"):
        mnist.load_data(path)


def test_wrong_content_is_named(folder):
    x, y = images(3, 32, 32), np.zeros(3, np.uint8)
    save(folder / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(DataError, match=r"\(28, 28\)"):
        mnist.load_data()
    save(folder / "mnist.npz", x_train=x)
    with pytest.raises(DataError, match="lacks an array"):
        mnist.load_data()
    (folder / "mnist.npz").write_bytes(b"no npz")
    with pytest.raises(FileError, match="cannot be read"):
        mnist.load_data()


def test_objects_in_a_file_are_refused(folder):
    save(folder / "mnist.npz", x_train=rows([1]), y_train=rows([1]), x_test=rows([1]), y_test=rows([1]))
    with pytest.raises(FileError):
        mnist.load_data()


def cifar_archive(folder, batches):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, batch in batches.items():
            content = pickle.dumps(batch, protocol=2)
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_cifar10_from_the_published_archive(published, tmp_path):
    x = images(12, 3, 32, 32)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = {
        name: {b"data": x[2 * i : 2 * i + 2].reshape(2, -1), b"labels": [i, i + 1]} for i, name in enumerate(names)
    }
    published["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"] = cifar_archive("cifar-10-batches-py", batches)
    for _ in range(2):
        (x_train, y_train), (x_test, y_test) = cifar10.load_data()
        np.testing.assert_array_equal(x_train, x[:10].transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(x_test, x[10:].transpose(0, 2, 3, 1))
        assert y_train.ravel().tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5] and y_train.shape == (10, 1)
        assert (y_train.dtype, y_test.tolist()) == (np.uint8, [[5], [6]])
        published.clear()
    config.set_image_data_format("channels_first")
    try:
        assert cifar10.load_data()[0][0].shape == (10, 3, 32, 32)
    finally:
        config.set_image_data_format("channels_last")


def test_cifar100_both_kinds_of_labels(published):
    x = images(4, 3, 32, 32).reshape(4, -1)
    batch = {"data": x, "fine_labels": [7, 8, 9, 99], "coarse_labels": [1, 2, 3, 19]}
    published["https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"] = cifar_archive(
        "cifar-100-python", {"train": batch, "test": {key: value[:2] for key, value in batch.items()}}
    )
    (x_train, y_train), (x_test, _) = cifar100.load_data()
    assert (x_train.shape, x_test.shape) == ((4, 32, 32, 3), (2, 32, 32, 3))
    assert y_train.ravel().tolist() == [7, 8, 9, 99]
    assert cifar100.load_data("coarse")[0][1].ravel().tolist() == [1, 2, 3, 19]
    with pytest.raises(ArgumentError, match="label_mode"):
        cifar100.load_data("both")


def test_cifar_archive_with_code_in_it(published, tmp_path, monkeypatch):
    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    published["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"] = cifar_archive(
        "cifar-10-batches-py", {"data_batch_1": {"data": Runs(), "labels": []}}
    )
    with pytest.raises(FileError, match="plain data"):
        cifar10.load_data()
    assert not (tmp_path / "ran").exists()


def idx(array):
    header = np.array([0x800 + array.ndim, *array.shape], dtype=">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def test_fashion_mnist_from_the_published_files(published, monkeypatch):
    arrays = {
        "x_train": images(5, 28, 28),
        "y_train": np.arange(5, dtype=np.uint8),
        "x_test": images(2, 28, 28),
        "y_test": np.array([9, 8], np.uint8),
    }
    files = {key: (name, "", arrays[key].shape) for key, (name, _, _) in fashion_mnist._FILES.items()}
    monkeypatch.setattr(fashion_mnist, "_FILES", files)
    for key, (name, _, _) in files.items():
        published[sources.KERAS_STORE + name] = idx(arrays[key])
    for _ in range(2):
        (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
        for found, key in (
            (x_train, "x_train"),
            (y_train, "y_train"),
            (x_test, "x_test"),
            (y_test, "y_test"),
        ):
            np.testing.assert_array_equal(found, arrays[key])
        published.clear()


def test_idx_of_another_shape(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(idx(images(4, 28, 28)))
    with pytest.raises(DataError):
        fashion_mnist.read_idx(path, (5, 28, 28))
    path.write_bytes(b"damaged")
    with pytest.raises(FileError):
        fashion_mnist.read_idx(path, (4, 28, 28))


def texts(count):
    return rows(*[random.integers(1, 60, random.integers(1, 30)).tolist() for _ in range(count)])


@pytest.fixture
def oracle(monkeypatch, tmp_path):
    """The real Keras, which finds the same files in its own cache."""
    pytest.importorskip("keras")
    import keras

    monkeypatch.setattr("keras.src.utils.file_utils.validate_file", lambda *args, **kwargs: True)
    for name in ("imdb", "reuters", "california_housing", "boston_housing"):
        monkeypatch.setattr(
            f"keras.src.datasets.{name}.get_file",
            lambda *args, **kwargs: str(tmp_path / "given" / (kwargs.get("fname") or args[0])),
        )
    return keras.datasets


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"num_words": 40},
        {"skip_top": 5, "oov_char": None},
        {"maxlen": 15},
        {"start_char": None, "index_from": 0},
        {"start_char": None},
        {"seed": 5, "num_words": 20, "skip_top": 2, "maxlen": 20},
    ],
)
def test_imdb_and_reuters_like_keras(folder, oracle, kwargs):
    save(
        folder / "imdb.npz",
        x_train=texts(20),
        y_train=np.arange(20),
        x_test=texts(10),
        y_test=np.arange(10),
    )
    save(folder / "reuters.npz", x=texts(30), y=np.arange(30))
    for ours, theirs in ((imdb, oracle.imdb), (reuters, oracle.reuters)):
        found, wanted = ours.load_data(**kwargs), theirs.load_data(**kwargs)
        for part, expected in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
            assert [np.asarray(row).tolist() for row in part] == [np.asarray(row).tolist() for row in expected]


@pytest.mark.parametrize("kwargs", [{}, {"test_split": 0.5, "seed": 3}])
def test_tables_like_keras(folder, oracle, kwargs):
    x, y = random.normal(size=(700, 8)), random.normal(size=700)
    save(folder / "california_housing.npz", x=x, y=y)
    save(folder / "boston_housing.npz", x=x, y=y)
    pairs = [
        (california_housing.load_data(**kwargs), oracle.california_housing.load_data(**kwargs)),
        (
            california_housing.load_data("small", **kwargs),
            oracle.california_housing.load_data("small", **kwargs),
        ),
        (boston_housing.load_data(**kwargs), oracle.boston_housing.load_data(**kwargs)),
    ]
    for found, wanted in pairs:
        for part, expected in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
            np.testing.assert_array_equal(part, expected)


def test_label_names_like_keras(oracle):
    assert reuters.get_label_names() == tuple(oracle.reuters.get_label_names())


def test_arguments_out_of_range(folder):
    with pytest.raises(ArgumentError, match="test_split"):
        california_housing.load_data(test_split=1.0)
    with pytest.raises(ArgumentError, match="version"):
        california_housing.load_data("medium")
    with pytest.raises(ArgumentTypeError, match="nb_words"):
        imdb.load_data(nb_words=3)
    save(folder / "reuters.npz", x=texts(5), y=np.arange(5))
    with pytest.raises(ArgumentError, match="maxlen"):
        reuters.load_data(maxlen=1)


def test_word_index(folder):
    (folder / "imdb_word_index.json").write_text(json.dumps({"the": 1}))
    (folder / "reuters_word_index.json").write_text(json.dumps({"of": 2}))
    assert imdb.get_word_index() == {"the": 1} and reuters.get_word_index() == {"of": 2}
    (folder / "imdb_word_index.json").write_text("[1]")
    with pytest.raises(FileError, match="no table"):
        imdb.get_word_index()
