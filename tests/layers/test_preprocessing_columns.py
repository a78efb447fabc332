"""Columns and tables of pandas, polars and Arrow in preprocessing layers, chunked and with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lamina import layers
from lamina.core.errors import DataError

COLUMNS = {
    "pandas": pd.Series,
    "pandas, new strings and integers": lambda values: pd.Series(values).convert_dtypes(),
    "polars": lambda values: pl.Series("x", values),
    "arrow": pa.array,
    "arrow, chunked": lambda values: pa.chunked_array([values[:2], values[2:]]),
    "pandas table": lambda values: pd.DataFrame({"x": values}),
    "polars table": lambda values: pl.DataFrame({"x": values}),
    "arrow table": lambda values: pa.table({"x": values}),
}
CODED = {
    "pandas categories": lambda values: pd.Series(values, dtype="category"),
    "polars categories": lambda values: pl.Series("x", values, dtype=pl.Categorical),
    "arrow dictionary": lambda values: pa.array(values).dictionary_encode(),
}
FLOATS, INTEGERS, STRINGS = [1.0, 2.0, 4.0, 2.5], [3, 1, 3, 7], ["b", "a", "b", "c d"]
LAYERS = {
    "Normalization": (lambda: layers.Normalization(axis=None), FLOATS),
    "Discretization": (lambda: layers.Discretization(num_bins=2), FLOATS),
    "Rescaling": (lambda: layers.Rescaling(2.0), FLOATS),
    "Normalization of integers": (lambda: layers.Normalization(axis=None), INTEGERS),
    "IntegerLookup": (lambda: layers.IntegerLookup(), INTEGERS),
    "Hashing of integers": (lambda: layers.Hashing(7), INTEGERS),
    "CategoryEncoding": (lambda: layers.CategoryEncoding(8, output_mode="one_hot"), INTEGERS),
    "StringLookup": (lambda: layers.StringLookup(), STRINGS),
    "Hashing of strings": (lambda: layers.Hashing(7), STRINGS),
    "TextVectorization": (lambda: layers.TextVectorization(), STRINGS),
}


def learned(make, data):
    layer = make()
    if hasattr(layer, "adapt"):
        layer.adapt(data)
    return layer


PAIRS = [(kind, column) for kind in LAYERS for column in COLUMNS]
PAIRS += [(kind, column) for kind, (_, values) in LAYERS.items() for column in CODED if values is STRINGS]


@pytest.mark.parametrize(("kind", "column"), PAIRS)
def test_columns_are_learned_from_and_taken(kind, column):
    make, values = LAYERS[kind]
    data = (COLUMNS | CODED)[column](values)
    array = np.array(values, dtype=object) if values is STRINGS else np.array(values)
    wanted = learned(make, array)(array)
    found = learned(make, data)(data)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-6)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "Rescaling"])
def test_gaps_are_named(kind, column):
    make, values = LAYERS[kind]
    data = COLUMNS[column]([values[0], None, *values[2:]])
    with pytest.raises(DataError, match="missing values"):
        learned(make, data)(data)


def test_gaps_pass_through_what_only_computes():
    layer = layers.Normalization(mean=1.0, variance=4.0, axis=None)
    np.testing.assert_equal(layer(pd.Series([3.0, None])).numpy(), [1.0, np.nan])
