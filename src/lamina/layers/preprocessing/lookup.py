"""Terms of a vocabulary and their numbers: of integers, and of strings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, DTypeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_numpy
from lamina.core.text import as_text
from lamina.layers.preprocessing.vocabulary import UNKNOWN, Lookup


@builtin("keras.layers")
class IntegerLookup(Lookup):
    """Integers replaced by their places in a vocabulary, or places by integers.

    Args:
        max_tokens: the largest size of the vocabulary, special tokens included.
        num_oov_indices: how many places unknown integers share; with 0 they raise an error.
        mask_token: an integer that stands for nothing: it becomes 0, or is left out of vectors.
        oov_token: with `invert`, what the places of unknown integers become.
        vocabulary: the integers, or the path of a file with one on each line; without it call `adapt`.
        vocabulary_dtype: "int64".
        idf_weights: in mode "tf_idf" the weight of each term.
        invert: whether to turn places into integers.
        output_mode: "int" gives places; "one_hot" a vector for each place; "multi_hot", "count" and "tf_idf" (counts
            times weights) a vector for each sample.
        sparse: not supported.
        pad_to_max_tokens: whether vectors have `max_tokens` places, however many terms there are.
        oov_method: how unknown integers share several places: "floormod", or "farmhash" by a hash function.
        salt: with "farmhash", one or two integers that make the hash another one.
        name: its name.
        **kwargs: `vocabulary_size`, as the config has it.

    Raises:
        ArgumentError: an argument makes no sense.
        StateError: the layer is called before it has a vocabulary.

    Example:
        >>> layer = IntegerLookup()
        >>> layer.adapt([[12, 1138, 42], [42, 1000, 36]])
        >>> layer.get_vocabulary()
        [-1, 42, 1138, 1000, 36, 12]
        >>> layer([42, 7])
        tensor([1, 0])

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/integer_lookup/
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ArgumentError(
                "The vocabulary is int64.",
                where="IntegerLookup(vocabulary_dtype=...)",
                expected='"int64"',
                received=vocabulary_dtype,
                fix="leave vocabulary_dtype out",
            )
        self.vocabulary_dtype = vocabulary_dtype
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=None if mask_token is None else int(mask_token),
            oov_token=None if oov_token is None else int(oov_token),
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            oov_method=oov_method,
            salt=salt,
            name=name,
            **kwargs,
        )

    def _make_table(self, numbers: Iterable[int]) -> None:
        table = dict(zip(self._terms or (), numbers, strict=True))
        if self.mask_token is not None:
            table[self.mask_token] = self._mask_number()
        terms = sorted(table) or [0]
        self._keys = torch.tensor(terms, dtype=torch.int64)
        self._places = torch.tensor([table.get(term, UNKNOWN) for term in terms], dtype=torch.int64)
        self._names = torch.tensor(self.get_vocabulary() if None not in self._special() else [0], dtype=torch.int64)

    def _at(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The tables, on a device."""
        if self._keys.device != device:
            tables = self._keys.to(device), self._places.to(device), self._names.to(device)
            self._keys, self._places, self._names = tables
        return self._keys, self._places, self._names

    def _terms_in(self, inputs: Any) -> np.ndarray:
        return convert_to_numpy(inputs).astype(np.int64)

    def _numbers(self, inputs: Tensor) -> Tensor:
        inputs = inputs.long()
        keys, places, _ = self._at(inputs.device)
        at = torch.searchsorted(keys, inputs.contiguous()).clamp(max=keys.shape[0] - 1)
        found = torch.where(keys[at] == inputs, places[at], UNKNOWN)
        unknown = found == UNKNOWN
        if self.num_oov_indices == 1:
            return torch.where(unknown, self._first_unknown, found)
        if self.num_oov_indices == 0:
            if bool(unknown.any()):
                self._refuse_unknown(inputs[unknown].tolist())
            return found
        if self.oov_method == "floormod":
            return torch.where(unknown, inputs % self.num_oov_indices + self._first_unknown, found)
        spread = self._spread(self._on_cpu(inputs)).reshape(inputs.shape)
        return torch.where(unknown, torch.from_numpy(spread).to(inputs.device), found)

    def _named(self, inputs: Tensor) -> Tensor:
        inputs = inputs.long()
        names = self._at(inputs.device)[2]
        inside = (inputs >= 0) & (inputs < names.shape[0])
        return torch.where(inside, names[inputs.clamp(0, names.shape[0] - 1)], self.oov_token or 0)

    def _terms_of(self, values: Sequence[Any]) -> list[int]:
        try:
            return [int(value) for value in values]
        except (TypeError, ValueError):
            raise DTypeError(
                "The vocabulary does not hold integers.",
                where=self._where(),
                received=repr(list(values[:4])),
                fix="use StringLookup for text",
            ) from None


@builtin("keras.layers")
class StringLookup(Lookup):
    """Strings replaced by their places in a vocabulary, or places by strings.

    Args:
        max_tokens: the largest size of the vocabulary, special tokens included.
        num_oov_indices: how many places unknown strings share, by a hash function; with 0 they raise an error.
        mask_token: a string that stands for nothing: it becomes 0, or is left out of vectors.
        oov_token: with `invert`, what the places of unknown strings become.
        vocabulary: the strings, or the path of a file with one on each line; without it call `adapt`.
        idf_weights: in mode "tf_idf" the weight of each term.
        invert: whether to turn places into strings, which come as a NumPy array.
        output_mode: "int" gives places; "one_hot" a vector for each place; "multi_hot", "count" and "tf_idf" (counts
            times weights) a vector for each sample.
        pad_to_max_tokens: whether vectors have `max_tokens` places, however many terms there are.
        sparse: not supported.
        encoding: how bytes are decoded.
        name: its name.
        salt: one or two integers that make the hash another one.
        oov_method: kept for Keras.
        **kwargs: `vocabulary_size`, as the config has it.

    Raises:
        ArgumentError: an argument makes no sense.
        StateError: the layer is called before it has a vocabulary.

    Example:
        >>> layer = StringLookup(vocabulary=["a", "b"])
        >>> layer([["a", "z"], ["b", "a"]])
        tensor([[1, 0],
                [2, 1]])
        >>> StringLookup(vocabulary=["a", "b"], invert=True)([1, 0])
        array(['a', '[UNK]'], dtype=object)

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/string_lookup/
    """

    vocabulary_dtype = "string"

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        oov_method: str = "floormod",
        **kwargs: Any,
    ) -> None:
        self.encoding = encoding
        self.takes_text = not invert
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            oov_method=oov_method,
            salt=salt,
            name=name,
            **kwargs,
        )

    def _make_table(self, numbers: Iterable[int]) -> None:
        self._table = dict(zip(self._terms or (), numbers, strict=True))
        if self.mask_token is not None:
            self._table[self.mask_token] = self._mask_number()

    def _terms_in(self, inputs: Any) -> np.ndarray:
        if isinstance(inputs, Tensor):
            raise DTypeError(
                "The layer takes text.",
                where=self._where(),
                received=f"a tensor of dtype {inputs.dtype}",
                fix="use IntegerLookup for integers, or write them as text: x.astype(str)",
            )
        return as_text(inputs, self.encoding)

    def _numbers(self, inputs: Any) -> Tensor:
        terms = self._terms_in(inputs)
        numbers = self.numbers_of(terms.ravel().tolist()).reshape(terms.shape)
        return torch.from_numpy(numbers).to(self._device())

    def numbers_of(self, terms: list[str]) -> np.ndarray:
        """The number of each string, as an array of int64."""
        default = self._first_unknown if self.num_oov_indices == 1 else UNKNOWN
        numbers = np.fromiter(map(self._table.get, terms, itertools.repeat(default)), np.int64, len(terms))
        if self.num_oov_indices != 1:
            unknown = np.flatnonzero(numbers == UNKNOWN)
            rest = [terms[index] for index in unknown]
            if rest and self.num_oov_indices == 0:
                self._refuse_unknown(rest)
            if rest:
                numbers[unknown] = self._spread(np.array(rest, dtype=object))
        return numbers

    def _named(self, inputs: Any) -> np.ndarray:
        numbers = self._on_cpu(inputs)
        names = np.array([*self.get_vocabulary(), self.oov_token], dtype=object)
        inside = (numbers >= 0) & (numbers < len(names))
        return np.asarray(names[np.where(inside, numbers, len(names) - 1).astype(np.int64)], dtype=object)

    def _terms_of(self, values: Sequence[Any]) -> list[str]:
        return as_text(list(values), self.encoding).tolist()
