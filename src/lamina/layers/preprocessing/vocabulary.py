"""What layers with a vocabulary share: what stands where, what is unknown, how terms are learned and saved."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import floatx
from lamina.core.dtypes import torch_dtype
from lamina.core.errors import ArgumentError, DataError, FileError, StateError, listing, one_of
from lamina.core.limits import claim
from lamina.core.tensors import convert_to_numpy
from lamina.graph.tensor import KerasTensor
from lamina.layers.arguments import within
from lamina.layers.preprocessing import hashing
from lamina.layers.preprocessing.base import AdaptingLayer, encode
from lamina.layers.preprocessing.categories import as_decimals, checked_salt

VOCABULARY_FILE = "vocabulary.txt"
_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
UNKNOWN, DROPPED = -1, -2


class Lookup(AdaptingLayer):
    """Base of the layers that number the terms of a vocabulary, or name the terms of numbers.

    First comes the mask token (where there is one and the output is numbers), then places for unknown terms, then the
    terms. A vocabulary that was learned is saved as an asset of the model, one that was given in its config.
    """

    takes_gaps = False
    vocabulary_dtype: str
    max_tokens: int | None

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        pad_to_max_tokens: bool,
        sparse: bool,
        oov_method: str,
        salt: Any,
        name: str | None,
        vocabulary_size: int | None = None,
        has_input_vocabulary: bool | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        where = self._where()
        self.output_mode = self._check_mode(output_mode, _MODES, sparse)
        for name_, value, least in (("max_tokens", max_tokens, 2), ("num_oov_indices", num_oov_indices, 0)):
            if value is not None:
                within(value, f"{where}, {name_}", least)
        if pad_to_max_tokens and max_tokens is None:
            raise ArgumentError(
                "There is no max_tokens to pad to.",
                where=where,
                received="pad_to_max_tokens=True",
                fix="name max_tokens=..., or leave pad_to_max_tokens out",
            )
        one_of(oov_method, ("floormod", "farmhash"), f"{where}, oov_method")
        if salt is not None and self.vocabulary_dtype != "string" and oov_method != "farmhash":
            raise ArgumentError(
                "A salt is for oov_method='farmhash'.",
                where=where,
                received=f"salt={salt!r}",
                fix="oov_method='farmhash', or no salt",
            )
        if invert and self.output_mode != "int":
            raise ArgumentError(
                "invert=True goes with output_mode='int'.",
                where=where,
                received=repr(output_mode),
                fix="leave output_mode out",
            )
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ArgumentError(
                "idf_weights are for output_mode='tf_idf'.",
                where=where,
                received=repr(output_mode),
                fix="output_mode='tf_idf', or no idf_weights",
            )
        claim(8 * num_oov_indices, f"{where}, num_oov_indices")
        self.max_tokens, self.num_oov_indices, self.pad_to_max_tokens = max_tokens, num_oov_indices, pad_to_max_tokens
        self.mask_token, self.oov_token = mask_token, oov_token
        self.invert, self.sparse = invert, sparse
        self.oov_method, self.salt = oov_method, checked_salt(salt, where)
        # A vocabulary from a file is an asset, and its path appears nowhere.
        self.vocabulary = None if vocabulary is None or is_path(vocabulary) else _as_list(vocabulary)
        self._idf_weights = None if idf_weights is None else _as_list(idf_weights)
        self._is_given = vocabulary is not None if has_input_vocabulary is None else has_input_vocabulary
        self._size = vocabulary_size
        self._terms: list[Any] | None = None
        self._changes = 0  # tells a compiled step that the table it holds is out of date
        self._idf = np.broadcast_to(np.zeros((), floatx()), (self._depth() or 0,))
        self._build_at_init()
        self._forget_counts()
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer made from a config; one that names a file is refused."""
        refuse_path(config, cls.__name__)
        return super().from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, with the vocabulary if it was given, and its size."""
        return super().get_config() | {"vocabulary_size": self._size}

    # The dtype is that of the vocabulary, whatever the policy.

    @property
    def compute_dtype(self) -> str:
        """The dtype of the terms."""
        return self.vocabulary_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of the terms."""
        return self.vocabulary_dtype

    @property
    def dtype(self) -> str:
        """The dtype of the terms."""
        return self.vocabulary_dtype

    def _input_dtype(self) -> str:
        return "int64" if self.invert else self.vocabulary_dtype

    # The vocabulary.

    @property
    def _first_unknown(self) -> int:
        """The place of the first unknown term, behind that of the mask."""
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def _first_term(self) -> int:
        return self._first_unknown + self.num_oov_indices

    def _depth(self) -> int | None:
        """The size of the vectors."""
        return self.max_tokens if self.pad_to_max_tokens else self._size

    def _special(self) -> list[Any]:
        return [self.mask_token] * self._first_unknown + [self.oov_token] * self.num_oov_indices

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The terms in the order of their numbers.

        Args:
            include_special_tokens: whether the mask token and the places of unknown terms come first, so that a
                term's place is its number.
        """
        terms = list(self._terms or ())
        return self._special() + terms if include_special_tokens else terms

    def vocabulary_size(self) -> int:
        """How many terms there are, with the mask token and the places of unknown terms."""
        return self._first_term + len(self._terms or ())

    @property
    def idf_weights(self) -> Tensor | None:
        """In mode "tf_idf" the weight of each place, else None."""
        return torch.tensor(self._idf) if self.output_mode == "tf_idf" else None

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use these terms, in place of those learned or given before.

        Args:
            vocabulary: the terms, as a list or array, perhaps with the special tokens in front; or the path of a text
                file with a term on each line.
            idf_weights: in mode "tf_idf" the weight of each term.

        Raises:
            ArgumentError: a term stands twice, is a special token, or there are too many; weights are missing.
            FileError: the file cannot be read.
        """
        weighted = self.output_mode == "tf_idf"
        if weighted and idf_weights is None:
            what = "from a file cannot have weights" if is_path(vocabulary) else "needs `idf_weights`"
            raise ArgumentError(
                f"A vocabulary {what} in output_mode='tf_idf'.",
                where=self._where(),
                fix="set_vocabulary(terms, idf_weights=weights), with a weight for each term",
            )
        if not weighted and idf_weights is not None:
            raise ArgumentError(
                "idf_weights are for output_mode='tf_idf'.", where=self._where(), fix="leave idf_weights out"
            )
        terms = self._read(Path(vocabulary)) if is_path(vocabulary) else self._terms_of(_as_list(vocabulary))
        if not terms:
            raise ArgumentError("The vocabulary is empty.", where=self._where(), expected="at least one term")
        weights = None if idf_weights is None else np.asarray(_as_list(idf_weights), dtype=floatx())
        if weights is not None and weights.shape != (len(terms),):
            raise ArgumentError(
                "There is one weight for each term.",
                where=self._where(),
                expected=f"{len(terms)} weights",
                received=f"shape {weights.shape}",
            )
        special = self._special()
        has_special = terms[: len(special)] == special and bool(special)
        self._check_terms(terms[len(special) :] if has_special else terms)
        self._use(terms[len(special) :] if has_special else terms)
        if weights is not None:
            self._weigh(weights[len(special) :] if has_special else weights, weights if has_special else None)

    def _check_terms(self, terms: Sequence[Any]) -> None:
        twice = [term for term, count in Counter(terms).items() if count > 1]
        if twice:
            raise ArgumentError(
                "Terms of the vocabulary are repeated.",
                where=self._where(),
                expected="each term once",
                received=f"{twice[:8]!r}",
            )
        for token, matters in ((self.mask_token, True), (self.oov_token, self.invert)):
            if matters and token is not None and token in terms:
                raise ArgumentError(
                    f"The vocabulary has the special token {token!r} among its terms.",
                    where=self._where(),
                    expected=f"{self._special()!r} in front, or none of them",
                    received=f"{token!r} at index {list(terms).index(token)}",
                    fix="leave the special tokens out; the layer adds them",
                )
        size = self._first_term + len(terms)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ArgumentError(
                "The vocabulary is larger than max_tokens.",
                where=self._where(),
                expected=f"at most {self.max_tokens}, special tokens included",
                received=size,
            )

    def _use(self, terms: list[Any]) -> None:
        """Look terms up in this list from now on."""
        size = self._first_term + len(terms)
        is_sized = self.output_mode != "int" and not self.pad_to_max_tokens
        if is_sized and self._size not in (None, size) and (self._terms is not None or self._inbound_nodes):
            raise StateError(
                "The size of the vocabulary, and so of the output, cannot change any more.",
                where=self._where(),
                expected=self._size,
                received=size,
                fix="make a new layer, or one with max_tokens=... and pad_to_max_tokens=True",
            )
        self._terms, self._size = terms, size
        self._changes += 1
        self._make_table(range(self._first_term, size))

    def _make_table(self, numbers: Iterable[int]) -> None:
        """Prepare looking up."""
        raise NotImplementedError

    def _mask_number(self) -> int:
        """What the mask token becomes: 0 among numbers, nothing in vectors."""
        return 0 if self.output_mode == "int" else DROPPED

    def _weigh(self, weights: np.ndarray, whole: np.ndarray | None = None) -> None:
        """Keep the weights of terms; unknown ones get the mean, places left over nothing."""
        if whole is None:
            mean = weights.mean() if len(weights) else 0.0
            whole = np.concatenate([np.full(self._first_term, mean, weights.dtype), weights])
        self._idf = np.pad(whole, (0, max((self._depth() or 0) - len(whole), 0)))

    # Learning.

    @property
    def learns(self) -> bool:
        """Whether the vocabulary is learned."""
        return not self._is_given

    def reset_state(self) -> None:
        """Forget the terms seen."""
        if self._is_given:
            raise StateError(
                "The layer was given its vocabulary, so there is nothing to adapt.",
                where=self._where(),
                fix="leave out vocabulary=... to learn it, or use set_vocabulary() to replace it",
            )
        self._forget_counts()

    def _forget_counts(self) -> None:
        vars(self).update(_counts=Counter(), _documents=Counter(), _document_count=0)

    def update_state(self, data: Any) -> None:
        """Count the terms of a batch; each row is a document, one row alone is one."""
        terms = self._terms_in(self._taken_in(data))
        self.count(np.atleast_2d(terms).reshape(len(np.atleast_2d(terms)), -1).tolist())

    def _batches(self, data: Any, steps: int | None) -> Any:
        for batch in super()._batches(data, steps):
            if batch is data and np.ndim(batch := self._taken_in(batch)) == 1:
                batch = batch[:, None]  # an array of terms: each is a document
            yield batch

    def count(self, documents: Sequence[Sequence[Any]]) -> None:
        """Count the terms of documents."""
        if self._is_given:
            self.reset_state()
        self._counts.update(itertools.chain.from_iterable(documents))
        if self.output_mode == "tf_idf":
            for document in documents:
                self._documents.update(set(document))
            self._document_count += len(documents)

    def finalize_state(self) -> None:
        """Number the terms seen, the most frequent first."""
        if self._is_given or (not self._counts and self._terms is not None):
            return
        special = {self.mask_token, self.oov_token}
        counted = [(count, term) for term, count in self._counts.items() if term not in special]
        terms = [term for _, term in sorted(counted, reverse=True)]
        if self.max_tokens is not None:
            terms = terms[: max(self.max_tokens - self._first_term, 0)]
        self._use(terms)
        if self.output_mode == "tf_idf":
            seen_in = np.array([self._documents[term] for term in terms], dtype=np.float64)
            self._weigh(np.log1p(self._document_count / (1 + seen_in)).astype(floatx()))
        self._forget_counts()

    # Looking up.

    def call(self, inputs: Any) -> Any:
        """The numbers of terms, or the terms of numbers."""
        self.require_vocabulary()
        return self._named(inputs) if self.invert else self._encode(self._numbers(inputs))

    def require_vocabulary(self) -> None:
        """Raise StateError unless there is a vocabulary."""
        if self._terms is None:
            raise StateError(
                "The layer has no vocabulary yet.",
                where=self._where(),
                fix="call adapt(data) first, or give vocabulary=...",
            )

    def _terms_in(self, inputs: Any) -> np.ndarray:
        """The inputs as an array of terms."""
        raise NotImplementedError

    def _numbers(self, inputs: Any) -> Tensor:
        """The number of each term."""
        raise NotImplementedError

    def _named(self, inputs: Any) -> Any:
        """The term of each number."""
        raise NotImplementedError

    def _spread(self, terms: np.ndarray) -> np.ndarray:
        """The places of unknown terms, where there are several."""
        if terms.dtype.kind != "O" and self.oov_method == "floormod":
            return terms % self.num_oov_indices + self._first_unknown
        return hashing.buckets(as_decimals(terms), self.num_oov_indices, self.salt) + self._first_unknown

    def _refuse_unknown(self, terms: Iterable[Any]) -> None:
        raise DataError(
            "There are terms that the vocabulary does not have, and no place for them.",
            where=self._where(),
            received=listing(map(repr, dict.fromkeys(terms)), 6),
            fix="set num_oov_indices=1",
        )

    def _encode(self, numbers: Tensor) -> Tensor:
        """Numbers as the output mode has them."""
        depth = self._depth()
        if depth is None and self.output_mode != "int":
            self.require_vocabulary()
        if self.output_mode != "tf_idf":
            return encode(numbers, self.output_mode, depth or 0, torch.int64)
        scale = torch.as_tensor(np.array(self._idf), device=numbers.device)
        return encode(numbers, "count", depth or 0, torch_dtype(floatx()), scale=scale)

    def compute_output_spec(self, inputs: Any) -> Any:
        """The symbolic output."""
        if self.invert:
            return KerasTensor(inputs.shape, self.vocabulary_dtype)
        return self._inferred(self._encode, inputs.shape)

    # Saving.

    def save_own_variables(self, store: Any) -> None:
        """Write the weights of the terms, where there are some."""
        if self.output_mode == "tf_idf":
            store["idf_weights"] = np.array(self._idf)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the weights of the terms, where there are some."""
        if self.output_mode == "tf_idf":
            self._idf = np.asarray(store["idf_weights"], dtype=floatx())

    def save_assets(self, dir_path: str) -> None:
        """Write a vocabulary that is not in the config into a folder, a term on each line."""
        if self.vocabulary is not None or self._terms is None:
            return
        lines = [str(term) for term in self.get_vocabulary()]
        if any("\n" in line for line in lines):
            raise FileError(
                "A term with a line break cannot be saved in a file of one term a line.",
                where=self._where(),
                received=repr(next(line for line in lines if "\n" in line)),
                fix="give such a vocabulary to the constructor, which keeps it in the config",
            )
        with open(os.path.join(dir_path, VOCABULARY_FILE), "w", encoding="utf-8", newline="") as file:
            file.write("\n".join(lines))

    def load_assets(self, dir_path: str) -> None:
        """Read the vocabulary that `save_assets` has written."""
        path = Path(dir_path, VOCABULARY_FILE)
        if self.vocabulary is not None or not path.is_file():
            return
        terms = self._read(path)[self._first_term :]
        self._check_terms(terms)
        if terms:
            self._use(terms)

    def _read(self, path: Path) -> list[Any]:
        """The terms in a file; the end of the last line may be there or not."""
        try:
            lines = path.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(
                "The vocabulary cannot be read.",
                where=str(path),
                expected="a text file in UTF-8, one term a line",
                received=str(error),
            ) from None
        while lines and not lines[-1]:
            lines.pop()
        return self._terms_of(lines)

    def _terms_of(self, values: Sequence[Any]) -> list[Any]:
        """Values as terms of the vocabulary's dtype."""
        raise NotImplementedError


def is_path(vocabulary: Any) -> bool:
    """Whether a vocabulary is named by the path of a file."""
    return isinstance(vocabulary, (str, os.PathLike))


def refuse_path(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config that names a file: what is loaded may read nothing but itself.

    Raises:
        FileError: it does.
    """
    if is_path(config.get("vocabulary")):
        raise FileError(
            "A config may not name a file of its own.",
            where=f"{where}, vocabulary",
            received=repr(config["vocabulary"]),
            fix="make the layer without it, and call set_vocabulary(path)",
        )


def _as_list(values: Any) -> list[Any]:
    return convert_to_numpy(values).tolist() if hasattr(values, "__array__") else list(values)
