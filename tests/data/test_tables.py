"""Tables of pandas, polars, Arrow and Hugging Face, and dicts of columns, given to fit."""

from __future__ import annotations

import datetime

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import torch
from torch.utils.data import DataLoader

import lamina
from lamina import layers
from lamina.core.errors import DataError
from lamina.data.arrays import ArraySource, as_tensors
from lamina.data.selection import source_of
from lamina.data.tables import Names, TableSource

CPU = torch.device("cpu")
ROWS = 100


@pytest.fixture(scope="module")
def columns():
    random = np.random.default_rng(0)
    return {
        "a": random.normal(size=ROWS).astype("float32"),
        "b": random.integers(0, 5, ROWS),
        "label": random.integers(0, 2, ROWS),
        "w": random.random(ROWS),
    }


@pytest.fixture(scope="module")
def parquet(columns, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "data.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=30)
    return str(path)


def hugging_face(columns):
    return datasets.Dataset.from_dict({name: column.tolist() for name, column in columns.items()})


MATRICES = {
    "pandas": lambda columns, _: pd.DataFrame(columns),
    "polars": lambda columns, _: pl.DataFrame(columns),
    "polars lazy": lambda columns, _: pl.DataFrame(columns).lazy(),
    "arrow": lambda columns, _: pa.table(columns),
    "arrow batch": lambda columns, _: pa.table(columns).to_batches()[0],
    "arrow chunks": lambda columns, _: pa.Table.from_batches(pa.table(columns).to_batches(max_chunksize=7)),
    "arrow reader": lambda columns, _: pa.table(columns).to_reader(max_chunksize=13),
    "arrow dataset": lambda _, path: pyarrow.dataset.dataset(path),
    "parquet path": lambda _, path: path,
    "parquet file": lambda _, path: pyarrow.parquet.ParquetFile(path),
    "hugging face": lambda columns, _: hugging_face(columns),
    "hugging face torch": lambda columns, _: hugging_face(columns).with_format("torch"),
    "hugging face stream": lambda columns, _: hugging_face(columns).to_iterable_dataset(),
    "hugging face torch stream": lambda columns, _: hugging_face(columns).to_iterable_dataset().with_format("torch"),
}
BY_NAME = MATRICES | {
    "dict": lambda columns, _: columns,
    "loader of dicts": lambda columns, _: DataLoader(
        [{name: column[row] for name, column in columns.items()} for row in range(ROWS)], batch_size=32
    ),
    "generator of dicts": lambda columns, _: (
        {name: column[start : start + 32] for name, column in columns.items()} for start in range(0, ROWS, 32)
    ),
    "hugging face transform": lambda columns, _: hugging_face(columns).with_transform(
        lambda rows: {name: np.asarray(values) for name, values in rows.items()}
    ),
}


def sequential():
    lamina.utils.set_random_seed(0)
    model = lamina.Sequential([layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", weighted_metrics=["accuracy"])
    return model


def by_name():
    lamina.utils.set_random_seed(0)
    a, b = layers.Input((1,), name="a"), layers.Input((1,), name="b", dtype="int32")
    joined = layers.Concatenate()([a, layers.Flatten()(layers.Embedding(5, 2)(b))])
    model = lamina.Model([a, b], layers.Dense(1, activation="sigmoid")(joined))
    model.compile("sgd", "binary_crossentropy", weighted_metrics=["accuracy"])
    return model


@pytest.mark.parametrize("kind", MATRICES)
def test_columns_side_by_side(kind, columns, parquet):
    x = np.stack([columns["a"], columns["b"]], axis=1).astype("float32")
    expected = sequential().fit(x, columns["label"], sample_weight=columns["w"], shuffle=False, verbose=0).history
    table = MATRICES[kind](columns, parquet)
    history = sequential().fit(table, y="label", sample_weight="w", shuffle=False, verbose=0).history
    assert history == {name: pytest.approx(values, rel=1e-6) for name, values in expected.items()}


@pytest.mark.parametrize("kind", BY_NAME)
def test_columns_by_name(kind, columns, parquet):
    x = {"a": columns["a"], "b": columns["b"]}
    expected = by_name().fit(x, columns["label"], sample_weight=columns["w"], shuffle=False, verbose=0).history
    table = BY_NAME[kind](columns, parquet)
    history = by_name().fit(table, y="label", sample_weight="w", shuffle=False, verbose=0).history
    assert history == {name: pytest.approx(values, rel=1e-6) for name, values in expected.items()}


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "hugging face", "dict"])
def test_split_validation_and_later_calls(kind, columns, parquet):
    table = BY_NAME[kind](columns, parquet)
    model = by_name()
    history = model.fit(table, y="label", validation_split=0.2, verbose=0).history
    assert {"loss", "val_loss"} <= set(history)
    last = {name: column[80:] for name, column in columns.items()}
    inputs = {name: last[name] for name in "ab"}
    again = model.evaluate(inputs, last["label"], verbose=0)
    assert history["val_loss"][0] == pytest.approx(again[0] if isinstance(again, list) else again, rel=1e-5)
    loss = model.evaluate(table, y="label", verbose=0)
    assert loss == pytest.approx(model.evaluate(pd.DataFrame(columns), y="label", verbose=0))
    if kind != "dict":
        assert model.predict(table, verbose=0).shape == (ROWS, 1)


def test_validation_data_has_the_same_columns(columns, parquet):
    model = sequential()
    frame = pd.DataFrame(columns).drop(columns="w")
    history = model.fit(frame, y="label", validation_data=frame, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(frame, y="label", verbose=0)[0], rel=1e-6)
    model = by_name()
    assert "val_loss" in model.fit(parquet, y="label", validation_data=parquet, verbose=0).history
    pairs = ({"a": columns["a"], "b": columns["b"]}, columns["label"])
    assert "val_loss" in model.fit(parquet, y="label", validation_data=pairs, verbose=0).history
    assert "val_loss" in model.fit(frame, y="label", validation_data=(frame, "label"), verbose=0).history


def test_several_labels(columns):
    frame = pd.DataFrame(columns)
    source = source_of(frame, ["label", "w"], device=CPU)
    assert source.y.shape == (ROWS, 2) and source.x.shape == (ROWS, 2)
    source = source_of(frame, ["label", "w"], device=CPU, names=Names(outputs=("w", "label")))
    assert {name: tuple(part.shape) for name, part in source.y.items()} == {"label": (ROWS, 1), "w": (ROWS, 1)}
    source = source_of(columns, ["label", "w"], device=CPU, names=Names(outputs=("first", "second")))
    assert [tuple(part.shape) for part in source.y] == [(ROWS,), (ROWS,)] and list(source.x) == ["a", "b"]


def test_class_weight_with_a_column(columns, parquet):
    for data in (pd.DataFrame(columns), parquet):
        _, y, weights = next(iter(source_of(data, "label", class_weight={1: 3.0}, device=CPU)))
        assert torch.equal(weights, torch.where(y[:, 0] == 1, 3.0, 1.0))


def test_unknown_columns_are_named(columns):
    with pytest.raises(DataError, match='no column "lable". Did you mean "label"'):
        sequential().fit(pd.DataFrame(columns), y="lable")
    with pytest.raises(DataError, match='input "b", and the table has no such column'):
        by_name().fit(pd.DataFrame(columns).drop(columns="b"), y="label")
    with pytest.raises(DataError, match=r"choose a split: data\['train'\]"):
        sequential().fit(datasets.DatasetDict({"train": hugging_face(columns)}), verbose=0)
    with pytest.raises(DataError, match="no columns by name"):
        sequential().fit(DataLoader([torch.zeros(2)]), y="label", verbose=0)
    with pytest.raises(DataError, match="y cannot be given beside"):
        sequential().fit(pa.table(columns).to_reader(), np.zeros(ROWS), verbose=0)


INTEGERS = [1, None, 3]
MISSING = {
    "pandas nullable": lambda: pd.DataFrame({"a": pd.array(INTEGERS, "Int64")}),
    "pandas objects": lambda: pd.DataFrame({"a": pd.Series(INTEGERS, dtype=object)}),
    "pandas booleans": lambda: pd.DataFrame({"a": pd.array([True, None, False], "boolean")}),
    "pandas text": lambda: pd.DataFrame({"a": ["u", None, "v"]}),
    "pandas categories": lambda: pd.DataFrame({"a": pd.Categorical(["u", None, "v"])}),
    "pandas arrow": lambda: pd.DataFrame({"a": pd.array(INTEGERS, pd.ArrowDtype(pa.int64()))}),
    "polars": lambda: pl.DataFrame({"a": INTEGERS}),
    "polars text": lambda: pl.DataFrame({"a": ["u", None, "v"]}),
    "arrow": lambda: pa.table({"a": INTEGERS}),
    "hugging face": lambda: datasets.Dataset.from_dict({"a": INTEGERS}),
    "hugging face stream": lambda: datasets.Dataset.from_dict({"a": INTEGERS}).to_iterable_dataset(),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_values_name_the_column(kind):
    with pytest.raises(DataError, match=r"x\['a'\] has missing values(.|\n)*1 missing|x has missing values"):
        next(iter(source_of(MISSING[kind](), device=CPU)))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_missing_floats_are_nan(make):
    frame = make({"a": pa.array([1.0, None, 3.0]) if make is pa.table else [1.0, None, 3.0]})
    assert torch.isnan(as_tensors(frame, "x")).flatten().tolist() == [False, True, False]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_kinds_of_columns(make):
    frame = make({"i": [1, 2], "f": [0.5, 1.5], "t": [True, False], "s": ["u", "v"], "v": [[1.0, 2.0], [3.0, 4.0]]})
    found = {name: as_tensors(frame[name], f"x[{name!r}]") for name in "iftsv"}
    assert {name: str(part.dtype) for name, part in found.items()} == {
        "i": "torch.int64",
        "f": "torch.float32",
        "t": "torch.bool",
        "s": "object",
        "v": "torch.float32",
    }
    assert {name: part.shape for name, part in found.items()} == dict.fromkeys("ifts", (2, 1)) | {"v": (2, 2)}
    assert as_tensors(make({"i": [1, 2], "t": [True, False]}), "x").dtype is torch.int64
    assert as_tensors(make({"t": [True, False], "u": [True, True]}), "x").dtype is torch.bool
    assert as_tensors(make({"i": [1, 2], "f": [0.5, 1.5]}), "x").tolist() == [[1.0, 0.5], [2.0, 1.5]]
    with pytest.raises(DataError, match="columns s"):
        as_tensors(frame[["i", "s"]] if make is not pa.table else frame.select(["i", "s"]), "x")
    with pytest.raises(DataError, match="rows of x differ in length(.|\n)*1 to 2"):
        as_tensors(make({"v": [[1.0], [2.0, 3.0]]})["v"], "x")
    with pytest.raises(DataError, match="y does not hold numbers"):
        as_tensors(frame["s"], "y")
    times = make({"when": [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2)]})
    with pytest.raises(DataError, match=r"x\['when'\] does not hold numbers(.|\n)*total_seconds"):
        as_tensors(times, "x")


def test_categories_are_what_they_stand_for():
    texts = ["u", "v", "u"]
    for column in (
        pd.Series(pd.Categorical(texts)),
        pl.Series(texts, dtype=pl.Categorical),
        pa.chunked_array([pa.array(texts).dictionary_encode()]),
    ):
        assert as_tensors(column, "x").tolist() == [["u"], ["v"], ["u"]]
    assert as_tensors(pd.Series(pd.Categorical([3, 5, 3])), "x").tolist() == [[3], [5], [3]]


def test_arrays_of_several_axes_in_hugging_face_datasets():
    images = np.arange(24, dtype="float32").reshape(3, 2, 4)
    features = datasets.Features({"image": datasets.Array2D((2, 4), "float32"), "label": datasets.Value("int64")})
    data = datasets.Dataset.from_dict({"image": list(images), "label": [0, 1, 2]}, features)
    for given in (data, data.to_iterable_dataset()):
        x, y = next(iter(source_of(given, "label", device=CPU)))
        assert torch.equal(x, torch.from_numpy(images)) and y.flatten().tolist() == [0, 1, 2]


def test_images_in_hugging_face_datasets_are_decoded():
    image = pytest.importorskip("PIL.Image")
    pixels = [image.fromarray(np.full((4, 5, 3), level, "uint8")) for level in (10, 20, 30)]
    data = datasets.Dataset.from_dict({"image": pixels, "label": [0, 1, 2]}).cast_column("image", datasets.Image())
    for given in (data, data.with_format("torch"), data.to_iterable_dataset()):
        batches = list(source_of(given, "label", batch_size=2, device=CPU))
        assert [len(x) for x, _ in batches] == [2, 1] and sorted(batches[0][0].shape[1:]) == [3, 4, 5]
        assert batches[1][0].unique().tolist() == [30]
    shuffled = source_of(data, "label", batch_size=1, shuffle=True, device=CPU)
    assert sorted(int(y) for _, y in shuffled) == [0, 1, 2] and shuffled.batches == 3


def test_parquet_is_read_in_pieces(parquet, monkeypatch):
    monkeypatch.setattr("lamina.data.tables._ROWS", 16)
    source = source_of(parquet, "label", batch_size=8, device=CPU)
    assert isinstance(source, TableSource) and source.batches == 13
    for _ in range(2):
        assert [len(y) for _, y in source] == [8] * 12 + [4]
    table = pyarrow.parquet.read_table(parquet)
    assert torch.cat([x for x, _ in source])[:, 0].tolist() == table["a"].to_pylist()
    shuffled = source_of(parquet, "label", batch_size=8, shuffle=True, device=CPU)
    passes = [torch.cat([x for x, _ in shuffled])[:, 0].tolist() for _ in range(2)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1]) == sorted(table["a"].to_pylist())


def test_a_reader_is_read_once(columns):
    model = sequential()
    with pytest.warns(UserWarning, match="nothing is left"):
        model.fit(pa.table(columns).to_reader(), y="label", epochs=2, verbose=0)


def test_streams_of_hugging_face_get_the_epoch(columns):
    data = hugging_face(columns).to_iterable_dataset().shuffle(seed=0, buffer_size=ROWS)
    source = source_of(data, "label", device=CPU)
    passes = []
    for _ in range(2):
        source.on_epoch_begin()
        passes.append(torch.cat([x["a"] for x, _ in source])[:, 0].tolist())
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1])


def test_mapped_files_are_not_copied_and_not_written_to(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40, dtype="float64").reshape(20, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = ArraySource(mapped, np.arange(20), batch_size=8, device=CPU)
    assert source.x.data_ptr() == mapped.ctypes.data and source.example()[0].dtype is torch.float32
    for x, _ in source:
        x.zero_()
    assert mapped[1, 1] == 3
    shuffled = ArraySource(mapped, np.arange(20), shuffle=True, device=CPU)
    assert all(torch.equal(x[:, 0], 2.0 * y) for x, y in shuffled)
    model = lamina.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    assert "val_loss" in model.fit(mapped, np.zeros(20), validation_split=0.5, verbose=0).history


def test_arrow_is_not_written_to():
    column = pa.array(np.arange(6, dtype="float32"))
    (batch,) = ArraySource(pa.table({"a": column}), device=CPU)
    batch.zero_()
    assert column.to_pylist() == [0, 1, 2, 3, 4, 5]
