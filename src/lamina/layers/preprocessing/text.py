"""Text to numbers: made uniform, split into tokens, and looked up in a vocabulary."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError, nearest
from lamina.core.registry import builtin
from lamina.core.text import as_text
from lamina.graph.tensor import KerasTensor
from lamina.layers.preprocessing.base import AdaptingLayer
from lamina.layers.preprocessing.lookup import StringLookup
from lamina.layers.preprocessing.vocabulary import refuse_path

Rows = list[list[str]]

# As Keras has it, only the letters of ASCII are made small.
_LOWER = dict(zip(map(ord, string.ascii_uppercase), string.ascii_lowercase, strict=True))
_NO_PUNCTUATION: dict[int, str | None] = dict.fromkeys(map(ord, string.punctuation))
STANDARDIZE = {
    "lower_and_strip_punctuation": {**_LOWER, **_NO_PUNCTUATION},
    "lower": _LOWER,
    "strip_punctuation": _NO_PUNCTUATION,
}
# str.split() knows more kinds of white space than Keras does.
SPLIT: dict[str, Callable[[str], list[str]]] = {
    "whitespace": re.compile(r"[^ \t\n\v\f\r]+").findall,
    "character": list,
}
_DROPPED = -1


@builtin("keras.layers")
class TextVectorization(AdaptingLayer):
    """Texts as rows of token numbers, or as vectors over a vocabulary, which is given or learned with `adapt`.

    Args:
        max_tokens: the largest size of the vocabulary, special tokens included.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", None, or a function of a NumPy array
            of strings that gives another of its shape.
        split: "whitespace", "character", None for texts that are tokens already, or a function of an array of strings
            that gives a list of tokens for each.
        ngrams: also join neighbouring tokens, up to so many; a tuple names the lengths, 1 being the tokens themselves.
        output_mode: "int" gives numbers, short rows filled up with 0; "multi_hot", "count" and "tf_idf" a vector for
            each text.
        output_sequence_length: in mode "int", how long all rows are.
        pad_to_max_tokens: whether vectors have `max_tokens` places, however many tokens there are.
        vocabulary: the tokens, or the path of a file with one on each line.
        idf_weights: in mode "tf_idf" the weight of each token.
        sparse: not supported.
        ragged: not supported: rows are filled up with 0, which `Embedding(mask_zero=True)` masks.
        encoding: how bytes are decoded.
        name: its name.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: an argument makes no sense.
        StateError: the layer is called before it has a vocabulary.

    Example:
        >>> layer = TextVectorization(output_sequence_length=4)
        >>> layer.adapt(["foo bar", "bar baz", "baz bada boom"])
        >>> layer([["foo qux bar"], ["qux baz"]])
        tensor([[4, 1, 3, 0],
                [1, 2, 0, 0]])

    Source: https://keras.io/api/layers/preprocessing_layers/text/text_vectorization/
    """

    takes_text = True

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        of_lookup = {key: kwargs.pop(key) for key in ("vocabulary_size", "has_input_vocabulary") if key in kwargs}
        super().__init__(name=name, **kwargs)
        self.output_mode = self._check_mode(output_mode, ("int", "one_hot", "multi_hot", "count", "tf_idf"), sparse)
        for key, value, known in (("standardize", standardize, STANDARDIZE), ("split", split, SPLIT)):
            if value is not None and not callable(value) and value not in known:
                raise ArgumentError(
                    f"Unknown `{key}`.{nearest(str(value), known)}",
                    where=self._where(),
                    expected=f"{', '.join(known)}, None or a function",
                    received=repr(value),
                )
        if ragged:
            raise ArgumentError(
                "Ragged tensors are not supported.",
                where=self._where(),
                received="ragged=True",
                fix="leave it out: rows are filled up with 0, which Embedding(mask_zero=True) masks",
            )
        self._check_lengths(ngrams, output_sequence_length)
        self.standardize, self.split, self.ngrams = standardize, split, ngrams
        self.output_sequence_length, self.encoding = output_sequence_length, encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=self.output_mode,
            encoding=encoding,
            **of_lookup,
        )
        self.vocabulary, self.idf_weights = self._lookup_layer.vocabulary, self._lookup_layer._idf_weights
        self._build_at_init()

    def _check_lengths(self, ngrams: Any, output_sequence_length: Any) -> None:
        is_tuple = isinstance(ngrams, tuple) and all(isinstance(width, int) for width in ngrams)
        if ngrams is not None and not isinstance(ngrams, int) and not is_tuple:
            raise ArgumentError(
                "`ngrams` cannot be used.",
                where=self._where(),
                expected="an integer, a tuple of integers or None",
                received=repr(ngrams),
            )
        length = output_sequence_length
        if length is not None and (self.output_mode != "int" or not isinstance(length, int)):
            raise ArgumentError(
                "`output_sequence_length` cannot be used.",
                where=self._where(),
                expected="an integer or None; None where output_mode is not 'int'",
                received=f"{length!r}, output_mode={self.output_mode!r}",
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer made from a config; one that names a file is refused."""
        refuse_path(config, cls.__name__)
        widths = config.get("ngrams")
        return super().from_config({**config, "ngrams": tuple(widths) if isinstance(widths, list) else widths})

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, with the vocabulary if it was given, and its size."""
        return super().get_config() | {"vocabulary_size": self._lookup_layer._size or self.vocabulary_size()}

    @property
    def compute_dtype(self) -> str:
        """The dtype of the inputs, whatever the policy."""
        return "string"

    @property
    def variable_dtype(self) -> str:
        """The dtype of the inputs, whatever the policy."""
        return "string"

    @property
    def dtype(self) -> str:
        """The dtype of the inputs, whatever the policy."""
        return "string"

    # The vocabulary is that of the lookup.

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The tokens in the order of their numbers; see `StringLookup`."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many tokens there are, with those for padding and for unknown tokens."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use these tokens; see `StringLookup`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    @property
    def learns(self) -> bool:
        """Whether the vocabulary is learned."""
        return self._lookup_layer.learns

    def adapt(  # pyright: ignore[reportIncompatibleMethodOverride] - Keras's order of parameters
        self, data: Any, batch_size: int | None = None, steps: int | None = None
    ) -> None:
        """Learn the vocabulary from texts, forgetting what was learned before.

        Args:
            data: an array, list or column of texts, or what gives batches of texts; see `AdaptingLayer`.
            batch_size: kept for Keras.
            steps: how many batches to take; all by default.

        Raises:
            StateError: the layer was given its vocabulary.
            DataError: there is no data, or it cannot be used.
        """
        super().adapt(data, steps)

    def reset_state(self) -> None:
        """Forget the tokens seen."""
        self._lookup_layer.reset_state()

    def update_state(self, data: Any) -> None:
        """Count the tokens of a batch of texts."""
        rows, _ = self._tokens(self._taken_in(data))
        self._lookup_layer.count(rows)

    def finalize_state(self) -> None:
        """Number the tokens seen, the most frequent first."""
        self._lookup_layer.finalize_state()

    def _batches(self, data: Any, steps: int | None) -> Any:
        for batch in super()._batches(data, steps):
            yield as_text(batch)[:, None] if batch is data and np.ndim(as_text(batch)) == 1 else batch

    def save_own_variables(self, store: Any) -> None:
        """Write the weights of the tokens, where there are some."""
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the weights of the tokens, where there are some."""
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, dir_path: str) -> None:
        """Write a vocabulary that is not in the config into a folder."""
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path: str) -> None:
        """Read the vocabulary that `save_assets` has written."""
        self._lookup_layer.load_assets(dir_path)

    # From text to tokens to numbers.

    def _tokens(self, inputs: Any) -> tuple[Rows, tuple[int, ...]]:
        """The tokens of each text, and the shape in which the texts stand."""
        if isinstance(inputs, Tensor):
            raise ArgumentTypeError(
                "The layer takes text.",
                where=self._where(),
                expected="an array or a list of str",
                received=f"a tensor of dtype {inputs.dtype}",
            )
        texts = self._standardized(as_text(inputs, self.encoding))
        if self.split is None:
            rows = np.atleast_1d(texts).reshape(-1, texts.shape[-1] if texts.ndim else 1).tolist()
            return self._with_ngrams(rows), texts.shape[:-1]
        if texts.ndim > 1:
            if texts.shape[-1] != 1:
                raise ShapeError(
                    "To split texts, the layer takes one for each sample.",
                    where=self._where(),
                    expected="shape (batch,) or (batch, 1)",
                    received=texts.shape,
                    fix="for texts that are split already, use split=None",
                )
            texts = texts[..., 0]
        return self._with_ngrams(self._split_texts(texts)), texts.shape

    def _standardized(self, texts: np.ndarray) -> np.ndarray:
        if self.standardize is None:
            return texts
        if callable(self.standardize):
            changed = np.asarray(self.standardize(texts.astype(str)))
            if changed.shape != texts.shape:
                raise ShapeError(
                    "The function `standardize` changes the shape.",
                    where=self._where(),
                    expected=texts.shape,
                    received=changed.shape,
                )
            return as_text(changed, self.encoding)
        table = STANDARDIZE[self.standardize]
        changed = np.empty(texts.size, dtype=object)
        changed[:] = [text.translate(table) for text in texts.flat]
        return changed.reshape(texts.shape)

    def _split_texts(self, texts: np.ndarray) -> Rows:
        if callable(self.split):
            rows: Any = self.split(texts.astype(str))
            return [as_text(np.ravel(row).tolist(), self.encoding).tolist() for row in rows]
        split = SPLIT[self.split]
        return [split(text) for text in texts.flat]

    def _with_ngrams(self, rows: Rows) -> Rows:
        if self.ngrams is None:
            return rows
        widths = range(1, self.ngrams + 1) if isinstance(self.ngrams, int) else self.ngrams
        return [
            [" ".join(row[at : at + width]) for width in widths for at in range(len(row) - width + 1)] for row in rows
        ]

    def call(self, inputs: Any) -> Tensor:
        """The numbers or vectors of texts."""
        self._lookup_layer.require_vocabulary()
        rows, shape = self._tokens(inputs)
        numbers = self._lookup_layer.numbers_of(list(itertools.chain.from_iterable(rows)))
        # Tokens that the mask drops from vectors are left out there as rows are filled up: with a number of no place.
        table = _filled(numbers, [len(row) for row in rows], 0 if self.output_mode == "int" else _DROPPED)
        if self.output_sequence_length is not None:
            length = self.output_sequence_length
            table = np.pad(table[:, :length], ((0, 0), (0, max(length - table.shape[1], 0))))
        tensor = torch.from_numpy(table.reshape(*shape, table.shape[1])).to(self._device())
        return self._lookup_layer._encode(tensor)

    def compute_output_spec(self, inputs: Any) -> Any:
        """The symbolic output."""
        shape = tuple(inputs.shape)
        length = None
        if self.split is None:
            shape, length = shape[:-1], shape[-1] if self.ngrams is None else None
        elif len(shape) > 1:
            shape = shape[:-1]
        if self.output_mode == "int":
            return KerasTensor((*shape, self.output_sequence_length or length), "int64")
        return self._inferred(self._lookup_layer._encode, (*shape, length))


def _filled(numbers: np.ndarray, lengths: Sequence[int], value: int) -> np.ndarray:
    """Rows of different lengths, which stand behind each other, as a table filled up with a value."""
    table = np.full((len(lengths), max(lengths, default=0)), value, dtype=np.int64)
    table[np.arange(table.shape[1]) < np.array(lengths, dtype=np.int64)[:, None]] = numbers
    return table
