"""FeatureSpace: the columns of a table, each prepared in a way of its own, as one vector for a model.

Source: https://keras.io/api/utils/feature_space/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lamina import saving
from lamina.core import tree
from lamina.core.capture import revive
from lamina.core.dtypes import standardize_dtype
from lamina.core.errors import ArgumentError, ArgumentTypeError, DataError, StateError, listing, nearest
from lamina.core.naming import auto_name
from lamina.core.registry import builtin
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.core.tensors import convert_to_tensor
from lamina.core.text import as_text
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer
from lamina.layers.input import Input
from lamina.layers.preprocessing.base import AdaptingLayer, PreprocessingLayer, batches_in
from lamina.layers.preprocessing.categories import CategoryEncoding, HashedCrossing, Hashing
from lamina.layers.preprocessing.lookup import IntegerLookup, StringLookup
from lamina.layers.preprocessing.numeric import Discretization, Normalization, Rescaling

Number: TypeAlias = float

# Where files of Keras say that these classes come from.
_MODULE = "keras.src.layers.preprocessing.feature_space"
_ROWS = 32


class _Described:
    """What a config describes by its attributes. No part of a model: the state of its layers is saved elsewhere."""

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return {name: serialize_keras_object(value) for name, value in vars(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """One made from a config."""
        return cls(**revive(config))


@builtin(_MODULE)
class Cross(_Described):
    """Features whose combinations are a feature; made by `FeatureSpace.cross`."""

    def __init__(self, feature_names: Sequence[str], crossing_dim: int, output_mode: str = "one_hot") -> None:
        names = () if isinstance(feature_names, str) else tuple(feature_names)
        if len(names) < 2 or not all(isinstance(name, str) for name in names):
            raise ArgumentError(
                "A cross is not made of the names of features.",
                where="FeatureSpace.cross(feature_names=...)",
                expected="two names or more",
                received=f"{feature_names!r:.80}",
            )
        if not isinstance(crossing_dim, int) or not 0 < crossing_dim < 1 << 31:
            raise ArgumentError(
                "A cross cannot have this size.",
                where="FeatureSpace.cross(crossing_dim=...)",
                expected="an integer from 1 on",
                received=f"{crossing_dim!r:.80}",
            )
        self.feature_names, self.crossing_dim = names, crossing_dim
        self.output_mode = _known(output_mode, ("int", "one_hot"), "Cross")

    @property
    def name(self) -> str:
        """The names of the features, joined."""
        return "_X_".join(self.feature_names)


@builtin(_MODULE)
class Feature(_Described):
    """A column, and the layer that prepares it; made by `FeatureSpace.feature` and its like."""

    def __init__(self, dtype: str, preprocessor: Any, output_mode: str) -> None:
        if not callable(preprocessor):
            raise ArgumentTypeError(
                "A feature's preprocessor is no layer.",
                where="FeatureSpace.feature(preprocessor=...)",
                expected="a layer",
                received=f"{preprocessor!r:.80} ({type(preprocessor).__name__})",
            )
        self.dtype = _known_dtype(dtype)
        self.preprocessor: Any = preprocessor
        self.output_mode = _known(output_mode, ("int", "one_hot", "float"), "Feature")


@builtin(_MODULE, "TFDIdentity")
class _Unchanged(PreprocessingLayer):
    """What a column of plain numbers goes through."""

    _unsaved = frozenset({"autocast"})

    def call(self, inputs: Tensor) -> Tensor:
        return inputs


@builtin(_MODULE, "TFDConcat")
class _SideBySide(Layer):
    """Encoded features as one vector."""

    def __init__(self, axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat([self.cast(x) for x in xs], dim=self.axis)


@builtin("keras.utils")
class FeatureSpace(PreprocessingLayer):
    """The columns of a table as one vector, or as a dict of vectors: normalized, binned, looked up, hashed, crossed.

    Args:
        features: for the name of each column what it is: "float", "float_normalized", "float_rescaled",
            "float_discretized", "integer_categorical", "string_categorical", "integer_hashed", "string_hashed"; or what
            the method of that name, or `feature`, has made.
        output_mode: "concat" gives one vector for a row, the features in the order of their names, crosses behind
            them; "dict" one for each feature and cross.
        crosses: tuples of names whose combinations shall be features too, or what `cross` has made.
        crossing_dim: the size of the vector of a cross that is given as names.
        hashing_dim: the size of the vectors of "integer_hashed" and "string_hashed".
        num_discretization_bins: the size of the vectors of "float_discretized".
        name: its name.

    Raises:
        ArgumentError: an argument makes no sense.
        StateError: it is used before `adapt`, where a feature has something to learn.

    Example:
        >>> space = FeatureSpace({"age": "float", "city": FeatureSpace.string_categorical()})
        >>> space.adapt({"age": [31.0, 54.0, 20.0], "city": ["Ulm", "Bonn", "Ulm"]})
        >>> space({"age": [40.0], "city": ["Ulm"]})
        tensor([[40.,  0.,  1.,  0.]])

    Source: https://keras.io/api/utils/feature_space/
    """

    takes_text = True

    def __init__(
        self,
        features: Mapping[str, Any],
        output_mode: str = "concat",
        crosses: Sequence[Any] | None = None,
        crossing_dim: int = 32,
        hashing_dim: int = 32,
        num_discretization_bins: int = 32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not features:
            raise ArgumentError(
                "`features` cannot be None or empty.",
                where="FeatureSpace(features=...)",
                expected='a dict such as {"age": "float_normalized", "city": "string_categorical"}',
                received=repr(features),
            )
        self.crossing_dim, self.hashing_dim = crossing_dim, hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.output_mode = _known(output_mode, ("concat", "dict"), "FeatureSpace")
        self.features = {name: self._feature(name, kind) for name, kind in features.items()}
        self.crosses = [self._cross(cross) for cross in crosses or ()]
        self.crosses_by_name = {cross.name: cross for cross in self.crosses}
        self.inputs = {name: Input((1,), dtype=part.dtype, name=name) for name, part in self.features.items()}
        self.preprocessors = {name: feature.preprocessor for name, feature in self.features.items()}
        self.crossers = {cross.name: HashedCrossing(cross.crossing_dim, name=cross.name) for cross in self.crosses}
        self.one_hot_encoders: dict[str, CategoryEncoding] = {}
        self.concat = _SideBySide(axis=-1)
        self.encoded_features: Any = None
        self._is_adapted = False
        self._build_at_init()

    def _feature(self, name: str, kind: Any) -> Feature:
        kind = deserialize_keras_object(kind) if isinstance(kind, Mapping) else kind
        if isinstance(kind, Feature):
            return kind
        sizes = {
            "integer_hashed": self.hashing_dim,
            "string_hashed": self.hashing_dim,
            "float_discretized": self.num_discretization_bins,
        }
        if kind not in _KINDS:
            raise ArgumentError(
                f"Unknown kind of feature.{nearest(str(kind), _KINDS)}",
                where=f"FeatureSpace, feature {name!r}",
                expected=", ".join(_KINDS),
                received=repr(kind),
            )
        make = getattr(self, kind)
        return make(sizes[kind], name=name) if kind in sizes else make(name=name)

    def _cross(self, cross: Any) -> Cross:
        cross = deserialize_keras_object(cross) if isinstance(cross, Mapping) else cross
        is_made = isinstance(cross, Cross)
        if not is_made and not self.crossing_dim:
            raise ArgumentError(
                "`crossing_dim` is needed for crosses given as names.",
                where="FeatureSpace(crossing_dim=...)",
                expected="an integer from 1 on",
                received=repr(self.crossing_dim),
            )
        cross = cross if is_made else Cross(cross, self.crossing_dim)
        if unknown := [name for name in cross.feature_names if name not in self.features]:
            raise ArgumentError(
                "The features of `crosses` should be present in `features`.",
                where="FeatureSpace(crosses=...)",
                expected=listing(map(repr, self.features)),
                received=listing(map(repr, unknown)),
            )
        return cross

    # Kinds of features.

    @classmethod
    def cross(cls, feature_names: Sequence[str], crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """A feature made of the combinations of others, by hashing: as a vector ("one_hot") or a number ("int")."""
        return Cross(feature_names, crossing_dim, output_mode)

    @classmethod
    def feature(cls, dtype: str, preprocessor: Any, output_mode: str) -> Feature:
        """A column of a dtype that goes through a layer; its output is taken as it is ("int", "float") or encoded."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float_rescaled(cls, scale: Number = 1.0, offset: Number = 0.0, name: str | None = None) -> Feature:
        """Numbers times a factor, plus an offset."""
        return Feature("float32", Rescaling(scale, offset, name=_named("float_rescaled", name)), "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """Numbers brought to mean 0 and variance 1."""
        return Feature("float32", Normalization(axis=-1, name=_named("float_normalized", name)), "float")

    @classmethod
    def float_discretized(
        cls, num_bins: int | None, bin_boundaries: Any = None, output_mode: str = "one_hot", name: str | None = None
    ) -> Feature:
        """Numbers sorted into bins, which are learned, or given by their boundaries (then `num_bins` is None)."""
        layer = Discretization(bin_boundaries, num_bins, name=_named("float_discretized", name))
        return Feature("float32", layer, output_mode)

    @classmethod
    def integer_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Integers looked up in a vocabulary that is learned."""
        layer = IntegerLookup(max_tokens, num_oov_indices, name=_named("integer_categorical", name))
        return Feature("int32", layer, output_mode)

    @classmethod
    def string_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Strings looked up in a vocabulary that is learned."""
        layer = StringLookup(max_tokens, num_oov_indices, name=_named("string_categorical", name))
        return Feature("string", layer, output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Strings put into buckets by a hash function."""
        return Feature("string", Hashing(num_bins, name=_named("string_hashed", name)), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Integers put into buckets by a hash function."""
        return Feature("int32", Hashing(num_bins, name=_named("integer_hashed", name)), output_mode)

    @classmethod
    def float(  # pyright: ignore[reportIncompatibleMethodOverride] - Keras's name; `.to(torch.float32)` does that
        cls, name: str | None = None
    ) -> Feature:
        """Numbers as they are."""
        return Feature("float32", _Unchanged(dtype="float32", name=_named("float", name)), "float")

    # Learning.

    @torch.no_grad()
    def adapt(self, dataset: Any) -> None:
        """Learn what the features need, in one pass over the data, forgetting what was learned before.

        Args:
            dataset: a dict of columns or a table (pandas, polars, Arrow); or what gives batches of these, or single
                rows: a DataLoader, a Dataset, an iterable. Of a batch (x, y), x is taken.

        Raises:
            DataError: there is no data, a column is missing, or it cannot be used.
        """
        layers = {name: layer for name, layer in self.preprocessors.items() if _learns(layer)}
        streams: dict[str, list[Any]] = {name: [] for name in layers}
        for layer in layers.values():
            if isinstance(layer, AdaptingLayer):
                layer.reset_state()
        count = 0
        for count, batch in enumerate(self._batches(dataset), 1):  # noqa: B007
            for name, layer in layers.items():
                column = _upright(self._column(batch, name))
                if isinstance(layer, AdaptingLayer):
                    layer.update_state(column)
                else:
                    streams[name].append(column)
        if not count:
            raise DataError(
                "adapt() was given no data.",
                where=f"{self._where()}, adapt(dataset)",
                expected="at least one row",
                received=repr(dataset)[:80],
            )
        for name, layer in layers.items():
            if isinstance(layer, AdaptingLayer):
                layer.finalize_state()
            else:
                layer.adapt(streams[name])
        self._is_adapted, self.encoded_features = True, None
        self.get_encoded_features()

    def _batches(self, data: Any) -> Iterator[Any]:
        """Tables in the data; a whole one comes in pieces, since bins depend on how much is seen at once."""
        if _is_table(data):
            columns = {name: self._column(data, name) for name in self.features}
            size = min(len(_upright(column)) for column in columns.values())
            for start in range(0, size, _ROWS):
                yield {name: _upright(column)[start : start + _ROWS] for name, column in columns.items()}
            return
        if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
            data = DataLoader(data, _ROWS)
        batches = iter(self._table_in(batch) for batch in batches_in(data, self._where()))
        first = next(batches, None)
        if first is None:
            return
        batches = itertools.chain([first], batches)
        if any(self._column(first, name).ndim for name in self.features):
            yield from batches
            return
        while rows := list(itertools.islice(batches, _ROWS)):
            columns = {name: [self._column(row, name) for row in rows] for name in self.features}
            yield {name: [value.item() for value in column] for name, column in columns.items()}

    def _table_in(self, batch: Any) -> Any:
        table = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if _is_table(table):
            return table
        raise DataError(
            "A FeatureSpace takes columns by their names.",
            where=self._where(),
            expected="a dict of columns, a table, or batches of these",
            received=f"{table!r:.60} ({type(table).__name__})",
        )

    def _column(self, table: Any, name: str) -> Any:
        """A column as a tensor or an array of text."""
        try:
            value = table[name]
        except (KeyError, IndexError):
            names = list(table) if isinstance(table, Mapping) else getattr(table, "column_names", table.columns)
            raise DataError(
                f"There is no column {name!r}.{nearest(name, map(str, names))}",
                where=self._where(),
                expected=listing(map(repr, self.features)),
                received=listing(map(repr, names)),
            ) from None
        if (dtype := self.features[name].dtype) == "string":
            return as_text(value)
        x = convert_to_tensor(value, device=self._device())
        return x if "float" in dtype else self._without_gaps(x, f", column {name!r}")

    # Encoding.

    def get_inputs(self) -> dict[str, KerasTensor]:
        """The inputs of a model that begins with these features, by name."""
        self.get_encoded_features()
        return self.inputs

    def get_encoded_features(self) -> Any:
        """The features as symbolic tensors, to make a model of: one, or a dict."""
        if not self._is_adapted and any(_learns(layer) for layer in self.preprocessors.values()):
            raise StateError(
                "The features have learned nothing yet.",
                where=self._where(),
                fix="You need to call `.adapt(dataset)` on the FeatureSpace first",
            )
        if self.encoded_features is None:
            parts = self._parts(self.inputs)
            self.one_hot_encoders = {
                name: self._encoder(name, part)
                for name, part in parts.items()
                if (self.features.get(name) or self.crosses_by_name[name]).output_mode == "one_hot"
            }
            self.encoded_features = self._joined(parts)
        return self.encoded_features

    def _encoder(self, name: str, part: KerasTensor) -> CategoryEncoding:
        layer = self.preprocessors.get(name) or self.crossers[name]
        if not part.dtype.startswith("int"):
            raise ArgumentError(
                "Only integers can be encoded with output_mode='one_hot'.",
                where=f"{self._where()}, feature {name!r}",
                expected="a preprocessor that gives integers",
                received=f"one that gives {part.dtype}",
                fix="use output_mode='float' or 'int', which take the output as it is",
            )
        if (size := _cardinality(layer)) is None:
            raise ArgumentError(
                "How many values the feature has is not known, so it cannot be encoded.",
                where=f"{self._where()}, feature {name!r}",
                received=f"the preprocessor {type(layer).__name__}",
                fix="use output_mode='int'",
            )
        return CategoryEncoding(size, output_mode="multi_hot")

    def _parts(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Features and crosses, each sorted by name, not yet encoded."""
        parts = {name: self.preprocessors[name](columns[name]) for name in sorted(self.features)}
        crosses = sorted(self.crosses, key=lambda cross: cross.name)
        return parts | {
            cross.name: self.crossers[cross.name]([parts[name] for name in cross.feature_names]) for cross in crosses
        }

    def _joined(self, parts: Mapping[str, Any]) -> Any:
        encoders = self.one_hot_encoders
        encoded = {name: encoders[name](part) if name in encoders else part for name, part in parts.items()}
        if self.output_mode == "dict":
            return encoded
        for name, part in encoded.items():
            if isinstance(part, KerasTensor) and (part.dtype.startswith("int") or part.dtype == "string"):
                raise ArgumentError(
                    "Features that are not encoded cannot be put into one vector.",
                    where=f"{self._where()}, feature {name!r}",
                    received=f"dtype {part.dtype}",
                    fix="use output_mode='dict'",
                )
        return self.concat(list(encoded.values()))

    def _taken_in(self, value: Any) -> dict[str, Any]:
        self.get_encoded_features()
        if any_symbolic(value):
            return value
        if not _is_table(value):
            raise ArgumentTypeError(
                "A FeatureSpace is called on columns by their names.",
                where=self._where(),
                expected="a dict or a table",
                received=f"{value!r:.60} ({type(value).__name__})",
            )
        return {name: self._column(value, name) for name in self.features}

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._joined(self._parts(args[0]))

    def call(self, data: Any) -> Any:
        """The features of rows; of a single row, whose columns are single values, without an axis for rows."""
        outputs = self._joined(self._parts({name: _upright(column) for name, column in data.items()}))
        if all(column.ndim for column in data.values()):
            return outputs
        return tree.map_structure(lambda x: x.squeeze(0) if x.ndim > 1 else x, outputs)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = super().get_config()
        names = ("features", "output_mode", "crosses", "crossing_dim", "hashing_dim", "num_discretization_bins")
        return {name: config[name] for name in names}

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes that the layers were built with; None before `adapt`."""
        if not self._is_adapted:
            return None
        return {name: layer.get_build_config() for name, layer in self.preprocessors.items()}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Take the features for adapted: what they have learned is loaded next."""
        for name, shapes in config.items():
            self.preprocessors[name].build_from_config(shapes)
        self._is_adapted = True

    def save(self, filepath: Any, **kwargs: Any) -> None:
        """Save it with all it has learned into a `.keras` file, which `lamina.saving.load_model` reads."""
        saving.save_model(self, filepath, **kwargs)


_KINDS = (
    "float",
    "float_normalized",
    "float_rescaled",
    "float_discretized",
    "integer_categorical",
    "string_categorical",
    "integer_hashed",
    "string_hashed",
)


def _known(mode: str, modes: Sequence[str], where: str) -> str:
    if mode not in modes:
        raise ArgumentError(
            f"Unknown value for argument `output_mode`.{nearest(str(mode), modes)}",
            where=where,
            expected=", ".join(modes),
            received=repr(mode),
        )
    return mode


def _known_dtype(dtype: Any) -> str:
    if not isinstance(dtype, str):
        raise ArgumentTypeError(
            "A feature's dtype is no name of a dtype.",
            where="FeatureSpace.feature(dtype=...)",
            expected='text such as "float32", "int32", "string"',
            received=f"{dtype!r:.80}",
        )
    return dtype if dtype == "string" else standardize_dtype(dtype)


def _named(kind: str, name: str | None) -> str:
    return f"{name or auto_name(kind)}_preprocessor"


def _learns(layer: Any) -> bool:
    """Whether a layer has something to learn from data."""
    return layer.learns if isinstance(layer, AdaptingLayer) else hasattr(layer, "adapt")


def _is_table(data: Any) -> bool:
    """Whether columns are found in the data by their names; single rows are tables too."""
    return isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "__getitem__"))


def _upright(column: Any) -> Any:
    """Values as a column, shape (rows, 1); what has more axes as it is."""
    return column if column.ndim > 1 else column.reshape(-1, 1)


def _cardinality(layer: Any) -> int | None:
    """How many values the integers that a layer gives can have; None if nobody knows."""
    if isinstance(layer, (IntegerLookup, StringLookup)):
        return layer.vocabulary_size()
    if isinstance(layer, Discretization):
        return layer.num_bins if layer.learns else len(layer.bin_boundaries or ()) + 1
    if isinstance(layer, CategoryEncoding):
        return layer.num_tokens
    return layer.num_bins if isinstance(layer, (Hashing, HashedCrossing)) else None
