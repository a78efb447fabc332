"""Layers that take text: what they accept, how they learn, where they work, what they say when something is wrong."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lamina import Input, Model, Sequential, layers
from lamina.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DTypeError,
    FileError,
    ShapeError,
    StateError,
)
from lamina.core.text import as_text, gather_text, is_text
from lamina.saving import load_model

TEXTS = ["foo bar", "bar baz", "baz bada boom"]
LEARNED = ["", "[UNK]", "baz", "bar", "foo", "boom", "bada"]


class Column:
    """A column of a library that offers NumPy's interface only, as those of polars and Arrow do."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=object)


KINDS = {
    "list": TEXTS,
    "rows": [[text] for text in TEXTS],
    "array": np.array(TEXTS),
    "bytes": np.array([text.encode() for text in TEXTS]),
    "objects": np.array(TEXTS, dtype=object),
    "series": pd.Series(TEXTS),
    "categories": pd.Series(TEXTS, dtype="category"),
    "frame": pd.DataFrame({"text": TEXTS}),
    "column": Column(TEXTS),
}


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_text_of_every_kind_is_learned_and_looked_up(data):
    layer = layers.TextVectorization()
    layer.adapt(data)
    assert layer.get_vocabulary() == LEARNED
    assert layer(data).tolist() == [[4, 3, 0], [3, 2, 0], [2, 6, 5]]
    lookup = layers.StringLookup()
    lookup.adapt(data)
    assert sorted(lookup(data).flatten().tolist()) == [1, 2, 3]


class Texts(Dataset):
    def __init__(self, layer=None):
        self.layer = layer

    def __len__(self):
        return 3

    def __getitem__(self, index):
        text = TEXTS[index]
        return (text if self.layer is None else self.layer(text)), float(index)


@pytest.mark.parametrize(
    "data",
    [
        (batch for batch in (TEXTS[:2], TEXTS[2:])),
        ((np.array(batch), np.zeros(len(batch))) for batch in (TEXTS[:2], TEXTS[2:])),
        DataLoader(Texts(), batch_size=2),
        [np.array(TEXTS[:2]), np.array(TEXTS[2:])],
    ],
    ids=["generator", "pairs", "loader", "list of arrays"],
)
def test_batches_are_learned_from(data):
    layer = layers.TextVectorization()
    layer.adapt(data)
    assert layer.get_vocabulary() == LEARNED


def test_adapt_begins_anew_and_stops_after_steps():
    layer = layers.StringLookup()
    layer.adapt(["a", "b"])
    layer.adapt(["c"])
    assert layer.get_vocabulary() == ["[UNK]", "c"]
    layer.adapt((batch for batch in (["a"], ["b"])), steps=1)
    assert layer.get_vocabulary() == ["[UNK]", "a"]
    layer.update_state(["b", "b"])
    layer.finalize_state()
    assert layer.get_vocabulary(include_special_tokens=False) == ["b"]


def test_layers_work_in_workers_and_survive_copies():
    layer = layers.TextVectorization(output_sequence_length=4)
    layer.adapt(TEXTS)
    batches = list(DataLoader(Texts(layer), batch_size=3, num_workers=1))
    assert batches[0][0].tolist() == layer(TEXTS).tolist()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(TEXTS).tolist() == layer(TEXTS).tolist()


def test_integers_are_looked_up_in_compiled_code():
    layer = layers.IntegerLookup(vocabulary=[5, 3, 9], mask_token=0, num_oov_indices=2)
    model = Sequential([Input((2,), dtype="int64"), layer, layers.Embedding(6, 2), layers.Flatten(), layers.Dense(1)])
    x = torch.tensor([[5, 0], [4, 9], [7, 3]])
    expected = model(x)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    assert layer(x).tolist() == [[3, 0], [1, 5], [2, 4]]


def test_a_vocabulary_is_read_from_a_file_named_by_the_user_only(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("wind\nfire\n", encoding="utf-8")
    layer = layers.StringLookup(vocabulary=str(path))
    assert layer.get_vocabulary() == ["[UNK]", "wind", "fire"]
    assert layer.get_config()["vocabulary"] is None
    for cls in (layers.StringLookup, layers.TextVectorization):
        with pytest.raises(FileError, match="may not name a file"):
            cls.from_config({**cls().get_config(), "vocabulary": str(path)})
    with pytest.raises(FileError, match="cannot be read"):
        layers.StringLookup(vocabulary=str(tmp_path / "none.txt"))


def test_vocabularies_are_saved_with_the_model(tmp_path):
    vectorize = layers.TextVectorization(output_mode="tf_idf")
    vectorize.adapt(TEXTS)
    lookup = layers.StringLookup(mask_token="", num_oov_indices=2)
    lookup.adapt(["a\rb", "c\x85d", "é"])
    number = layers.IntegerLookup(output_mode="count")
    number.adapt([3, 3, -8])
    text, term, integer = Input((1,), dtype="string"), Input((1,), dtype="string"), Input((2,), dtype="int64")
    model = Model([text, term, integer], [vectorize(text), lookup(term), number(integer)])
    path = tmp_path / "model.keras"
    model.save(path)
    again = load_model(path)
    x = [np.array(TEXTS), np.array(["c\x85d", "a\rb", "?"]), np.array([[3, 0], [-8, -8], [1, 2]])]
    for old, new in zip(model.predict(x, verbose=0), again.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(old, new)
    assert again.layers[3].get_vocabulary() == vectorize.get_vocabulary()


def test_a_line_break_in_a_vocabulary_is_not_lost_in_silence(tmp_path):
    layer = layers.StringLookup()
    layer.adapt(["a\nb"])
    with pytest.raises(FileError, match="line break"):
        layer.save_assets(str(tmp_path))
    given = layers.StringLookup(vocabulary=["a\nb"])
    twin = layers.StringLookup.from_config(json.loads(json.dumps(given.get_config())))
    assert twin(["a\nb"]).tolist() == [1]


def test_functions_standardize_and_split():
    layer = layers.TextVectorization(
        standardize=lambda texts: np.char.replace(texts, "-", " "),
        split=lambda texts: [text.split("|") for text in texts],
        vocabulary=["a b", "c"],
    )
    assert layer(["a-b|c", "c"]).tolist() == [[2, 3], [3, 0]]
    with pytest.raises(ShapeError, match="changes the shape"):
        layers.TextVectorization(standardize=lambda texts: texts[:1], vocabulary=["a"])(["a", "b"])


def test_text_runs_through_fit_in_every_form():
    lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = Sequential([Input((1,), dtype="string"), lookup, layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = ["a", "b", "c", "a"] * 4, np.arange(16.0)
    for data in (x, np.array(x), np.array(x)[:, None], pd.Series(x), np.array(x).astype(bytes)):
        model.fit(data, y, batch_size=4, verbose=0)
        assert model.predict(data, verbose=0).shape == (16, 1)
    model.fit(x, y, batch_size=4, shuffle="batch", validation_split=0.25, verbose=0)
    model.fit(((x[:4], y[:4]) for _ in range(2)), verbose=0)
    model.evaluate(np.array(x), y, verbose=0)
    model.train_on_batch(x, y)
    assert model.predict_on_batch(x[:3]).shape == model(x[:3]).shape == (3, 1)
    frame = {"word": np.array(x), "size": y}
    word, size = Input((1,), dtype="string", name="word"), Input((1,), name="size")
    both = Model({"word": word, "size": size}, layers.Dense(1)(layers.Concatenate()([lookup(word), size])))
    both.compile("sgd", "mse")
    both.fit(frame, y, verbose=0)
    assert both.predict(pd.DataFrame(frame), verbose=0).shape == (16, 1)


def test_steps_on_text_run_eagerly_and_say_why():
    model = Sequential([layers.StringLookup(vocabulary=["a"], output_mode="one_hot"), layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    with pytest.warns(UserWarning, match="holds text"):
        model.fit(["a", "b"] * 8, np.zeros(16), batch_size=4, verbose=0)
    assert "text" in str(model.execution_report())


def test_predictions_may_be_text():
    layer = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    model = Sequential([Input((2,), dtype="int64"), layer])
    assert model.output.dtype == "string"
    assert model.predict(np.array([[0, 1], [2, 9]]), batch_size=1, verbose=0).tolist() == [
        ["[UNK]", "a"],
        ["b", "[UNK]"],
    ]


def test_vectors_drop_the_mask_and_grow_only_with_room():
    lookup = layers.StringLookup(output_mode="count", mask_token="")
    lookup.adapt(["a", ""])
    assert lookup([["", "a", "z"]]).tolist() == [[1, 1]]
    with pytest.raises(StateError, match="size of the vocabulary"):
        lookup.adapt(["b", "c"])
    padded = layers.StringLookup(output_mode="count", max_tokens=4, pad_to_max_tokens=True)
    padded.adapt(["a"])
    padded.adapt(["b", "c"])
    assert padded([["b", "c"]]).tolist() == [[0, 1, 1, 0]]


def test_empty_batches():
    layer = layers.TextVectorization(vocabulary=["a"])
    assert layer(np.array([], dtype=object)).shape == (0, 0)
    assert layer(["", " "]).shape == (2, 0)
    assert layers.StringLookup(vocabulary=["a"])([]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: layers.StringLookup()(["a"]), StateError, r"no vocabulary yet(.|\n)*adapt"),
        (lambda: layers.TextVectorization()(["a"]), StateError, "no vocabulary yet"),
        (lambda: layers.StringLookup(output_mode="count")(Input((1,), dtype="string")), StateError, "no vocabulary"),
        (lambda: layers.StringLookup(vocabulary=["a"]).adapt(["b"]), StateError, "nothing to adapt"),
        (lambda: layers.StringLookup(vocabulary=["a"])(torch.ones(2)), DTypeError, "IntegerLookup"),
        (lambda: layers.StringLookup(vocabulary=["a"])(["a", 1]), ArgumentTypeError, "1 "),
        (lambda: layers.StringLookup(vocabulary=["a"])(["a", None]), DataError, "missing"),
        (lambda: layers.StringLookup(vocabulary=["a"])([["a", "b"], ["a"]]), DataError, "differ in length"),
        (lambda: layers.IntegerLookup(vocabulary=[1])(["1"]), DTypeError, "astype"),
        (lambda: layers.IntegerLookup(vocabulary=["x"]), DTypeError, "StringLookup"),
        (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "z"]), DataError, "'z'"),
        (lambda: layers.IntegerLookup(vocabulary=[1], num_oov_indices=0)([1, 7]), DataError, "7"),
        (lambda: layers.StringLookup(vocabulary=["a", "a"]), ArgumentError, "repeated"),
        (lambda: layers.StringLookup(vocabulary=["a", "m"], mask_token="m"), ArgumentError, "special token"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), ArgumentError, "larger than max_tokens"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), ArgumentError, "idf_weights"),
        (lambda: layers.StringLookup(vocabulary=["a"], sparse=True, output_mode="count"), ArgumentError, "Sparse"),
        (lambda: layers.StringLookup(output_mode="onehot"), ArgumentError, 'mean "one_hot"'),
        (lambda: layers.TextVectorization(ragged=True), ArgumentError, "mask_zero=True"),
        (lambda: layers.TextVectorization(standardize="lowercase"), ArgumentError, "Unknown `standardize`"),
        (lambda: layers.TextVectorization(vocabulary=["a"])([["a", "b"]]), ShapeError, "split=None"),
        (lambda: layers.TextVectorization(vocabulary=["a"])([b"\xff"]), DataError, "encoding"),
        (lambda: layers.TextVectorization().adapt([]), DataError, "encoding|no data|empty"),
        (lambda: layers.StringLookup().adapt(iter([])), DataError, "no data"),
        (lambda: layers.StringLookup().adapt(TensorDataset(torch.zeros(2))), DataError, "DataLoader"),
        (lambda: layers.Hashing(3, mask_value="a")([1, 2]), ArgumentTypeError, "different kinds"),
        (lambda: layers.HashedCrossing(3)(["a"]), ArgumentError, "at least two"),
        (lambda: layers.HashedCrossing(3)((["a"], [1, 2])), ShapeError, "one length"),
    ],
)
def test_errors_teach(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_model_of_numbers_refuses_text():
    model = Sequential([Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(DataError, match="does not hold numbers"):
        model.fit(["a", "b"], np.zeros(2), verbose=0)


def test_what_counts_as_text():
    assert is_text(["a"]) and is_text(pd.Series(["a"])) and is_text(np.array([b"a"]))
    assert not any(map(is_text, ("a", [], [1], ["a", 1], np.ones(2), torch.ones(2), pd.Series(["a", None]))))
    assert as_text(["a", b"b"], "utf-8").tolist() == ["a", "b"]
    gathered = gather_text({"x": (["a", "b"], [1]), "y": 2})
    assert gathered["x"][0].dtype == object and gathered["x"][1] == [1] and gathered["y"] == 2
