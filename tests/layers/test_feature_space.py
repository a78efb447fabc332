"""FeatureSpace: what it learns from, how it encodes, where it works, what its file holds."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from lamina import Model, Sequential, layers
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, StateError
from lamina.saving import load_model
from lamina.utils import FeatureSpace

COUNT = 40
TABLE = {
    "age": np.linspace(20.0, 60.0, COUNT).astype("float32"),
    "income": np.linspace(-1.0, 3.0, COUNT) ** 2,
    "city": np.array(["Ulm", "Bonn", "Kiel", "Ulm"] * (COUNT // 4), dtype=object),
    "street": np.array([f"street {i % 7}" for i in range(COUNT)], dtype=object),
    "rooms": np.array([1, 2, 2, 3, 5] * (COUNT // 5)),
}
KINDS = {
    "age": "float_normalized",
    "income": "float_discretized",
    "city": "string_categorical",
    "street": "string_hashed",
    "rooms": "integer_categorical",
}
CROSSES = [("city", "rooms")]
WIDTH = 1 + 4 + (3 + 1) + 6 + (4 + 1) + 8


def space(output_mode="concat", **arguments):
    sizes = {"num_discretization_bins": 4, "hashing_dim": 6, "crossing_dim": 8}
    return FeatureSpace(KINDS, output_mode, CROSSES, **sizes, **arguments)


class Rows(Dataset):
    """Single rows, with a label."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return {name: column[index] for name, column in TABLE.items()}, index % 2


@pytest.fixture(scope="module")
def adapted():
    made = space()
    made.adapt(TABLE)
    return made


def batches(size):
    return [{name: column[at : at + size] for name, column in TABLE.items()} for at in range(0, COUNT, size)]


SOURCES = {
    "dict of lists": lambda: {name: column.tolist() for name, column in TABLE.items()},
    "pandas": lambda: pd.DataFrame(TABLE),
    "polars": lambda: pl.DataFrame(TABLE),
    "arrow": lambda: pa.Table.from_batches([pa.RecordBatch.from_pydict(batch) for batch in batches(32)]),
    "batches": lambda: iter(batches(32)),
    "labelled batches": lambda: [(batch, np.zeros(32)) for batch in batches(32)],
    "tables": lambda: map(pd.DataFrame, batches(32)),
    "rows": lambda: (dict(row) for row, _ in Rows()),
    "Dataset": Rows,
    "DataLoader": lambda: DataLoader(Rows(), batch_size=32),
}


@pytest.mark.parametrize("source", SOURCES)
def test_it_learns_the_same_from_data_of_every_kind(source, adapted):
    other = space()
    other.adapt(SOURCES[source]())
    assert adapted(TABLE).shape == (COUNT, WIDTH)
    torch.testing.assert_close(other(TABLE), adapted(TABLE), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_it_is_called_on_tables(kind, adapted):
    table = kind({**TABLE, "not used": range(COUNT)})
    torch.testing.assert_close(adapted(table), adapted(TABLE))


def test_features_stand_in_the_order_of_their_names_with_crosses_behind(adapted):
    parts = space("dict")
    parts.adapt(TABLE)
    encoded = parts(TABLE)
    assert list(encoded) == [*sorted(KINDS), "city_X_rooms"]
    torch.testing.assert_close(torch.cat(list(encoded.values()), dim=-1), adapted(TABLE))
    assert all(float(encoded[name].sum()) == COUNT for name in encoded if name != "age")
    assert abs(float(encoded["age"].mean())) < 1e-5


def test_a_single_row_has_no_axis_of_rows(adapted):
    row = {name: column[3] for name, column in TABLE.items()}
    assert adapted(row).shape == (WIDTH,)
    torch.testing.assert_close(adapted(row), adapted(TABLE)[3])
    tensors = {name: value if isinstance(value, str) else torch.tensor(value) for name, value in row.items()}
    torch.testing.assert_close(adapted(tensors), adapted(TABLE)[3])
    numbers = FeatureSpace({"a": FeatureSpace.integer_hashed(4, output_mode="int")}, output_mode="dict")
    assert numbers({"a": 7})["a"].shape == (1,) and not numbers({"a": 7})["a"].is_floating_point()


def test_layers_of_its_own_kind_and_those_that_know_all_already():
    made = FeatureSpace(
        {
            "text": FeatureSpace.feature("string", layers.TextVectorization(output_mode="tf_idf"), "float"),
            "known": FeatureSpace.feature("float32", layers.Normalization(mean=2.0, variance=4.0), "float"),
            "bins": FeatureSpace.float_discretized(None, bin_boundaries=[0.0, 1.0]),
        }
    )
    data = {"text": ["first row", "second row", "third row"], "known": [0.0, 2.0, 4.0], "bins": [-1.0, 0.5, 7.0]}
    made.adapt(data)
    assert made(data)[:, :4].tolist() == [[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 1]]
    assert made(data).shape == (3, 3 + 1 + 5)
    ready = FeatureSpace({"a": FeatureSpace.feature("int32", layers.IntegerLookup(vocabulary=[3, 4]), "one_hot")})
    assert ready({"a": [4]}).tolist() == [[0, 0, 1]]


def test_learning_anew_forgets_the_old(adapted):
    made = space()
    made.adapt({**TABLE, "city": np.array(["Ulm"] * COUNT)})
    assert made(TABLE).shape == (COUNT, WIDTH - 2)
    made.adapt(TABLE)
    torch.testing.assert_close(made(TABLE), adapted(TABLE))


def test_a_model_can_begin_with_it(adapted, tmp_path):
    labels = (TABLE["rooms"] > 2).astype("float32")[:, None]
    model = Model(adapted.get_inputs(), layers.Dense(1)(adapted.get_encoded_features()))
    model.compile("adam", "mse")
    history = model.fit(TABLE, labels, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras").predict(TABLE, verbose=0)
    np.testing.assert_allclose(again, model.predict(TABLE, verbose=0), rtol=1e-6)

    called = Model(adapted.inputs, adapted(adapted.inputs))
    np.testing.assert_allclose(called.predict(TABLE, verbose=0), adapted(TABLE), rtol=1e-6)


def encode(rows):
    """Collate rows and encode them, in a worker."""
    table, labels = default_collate(rows)
    return ENCODER(table), labels


ENCODER = space()


def test_it_encodes_in_workers_of_a_loader(adapted):
    ENCODER.adapt(TABLE)
    loader = DataLoader(Rows(), batch_size=16, num_workers=1, collate_fn=encode, multiprocessing_context="fork")
    found = torch.cat([x for x, _ in loader])
    torch.testing.assert_close(found, adapted(TABLE))
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(DataLoader(Rows(), batch_size=16, collate_fn=encode), verbose=0)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_encode_alike(twin, adapted):
    torch.testing.assert_close(twin(adapted)(TABLE), adapted(TABLE))


def test_its_file_holds_all_it_has_learned(adapted, tmp_path):
    adapted.save(tmp_path / "space.keras")
    again = load_model(tmp_path / "space.keras")
    again.save(tmp_path / "second.keras")
    for loaded in (again, load_model(tmp_path / "second.keras")):
        torch.testing.assert_close(loaded(TABLE), adapted(TABLE), rtol=0, atol=0)
        assert loaded.get_config()["crosses"] == adapted.get_config()["crosses"]
    rebuilt = FeatureSpace.from_config(adapted.get_config())
    with pytest.raises(StateError, match="learned nothing"):
        rebuilt(TABLE)
    space().save(tmp_path / "empty.keras")
    with pytest.raises(StateError, match="learned nothing"):
        load_model(tmp_path / "empty.keras").get_inputs()


WRONG = {
    "no features": (lambda: FeatureSpace({}), ArgumentError, "empty"),
    "kind": (lambda: FeatureSpace({"a": "string_hash"}), ArgumentError, 'mean "string_hashed"'),
    "mode": (lambda: FeatureSpace({"a": "float"}, output_mode="list"), ArgumentError, "output_mode"),
    "mode of a feature": (
        lambda: FeatureSpace.feature("int32", layers.Hashing(3), "two_hot"),
        ArgumentError,
        "Unknown",
    ),
    "crossing_dim": (
        lambda: FeatureSpace({"a": "float", "b": "float"}, crosses=[("a", "b")], crossing_dim=0),
        ArgumentError,
        "crossing_dim",
    ),
    "cross": (lambda: FeatureSpace({"a": "float"}, crosses=[("a", "b")]), ArgumentError, "'b'"),
    "not adapted": (lambda: space()(TABLE), StateError, "adapt"),
    "no data": (lambda: space().adapt([]), DataError, "no data"),
    "arrays": (lambda: space().adapt([np.zeros(3)]), DataError, "by their names"),
    "column": (lambda: space().adapt({"agee": [1.0]}), DataError, "no column 'age'"),
    "gaps": (lambda: space().adapt({**TABLE, "rooms": [1.0, np.nan]}), DataError, "column 'rooms'"),
    "no table": (lambda: FeatureSpace({"a": "float"})([1.0]), ArgumentTypeError, "dict"),
    "integers": (
        lambda: FeatureSpace({"a": FeatureSpace.integer_hashed(3, output_mode="int")})({"a": [1]}),
        ArgumentError,
        "output_mode='dict'",
    ),
    "floats": (
        lambda: FeatureSpace({"a": FeatureSpace.feature("float32", layers.Rescaling(2.0), "one_hot")})({"a": [1.0]}),
        ArgumentError,
        "Only integers",
    ),
    "size": (
        lambda: FeatureSpace({"a": FeatureSpace.feature("int32", layers.Identity(dtype="int32"), "one_hot")})(
            {"a": [1]}
        ),
        ArgumentError,
        "not known",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors_name_the_fault(what):
    make, kind, text = WRONG[what]
    with pytest.raises(kind, match=text):
        make()
