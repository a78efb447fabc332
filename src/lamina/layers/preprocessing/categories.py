"""Categories as vectors, and put into buckets by hashing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import floatx
from lamina.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from lamina.core.registry import builtin
from lamina.core.tensors import convert_to_tensor
from lamina.graph.tensor import KerasTensor
from lamina.layers.arguments import positive
from lamina.layers.preprocessing import hashing
from lamina.layers.preprocessing.base import PreprocessingLayer, encode


@builtin("keras.layers")
class CategoryEncoding(PreprocessingLayer):
    """Category numbers as vectors.

    Args:
        num_tokens: how many categories there are; numbers outside of 0 to num_tokens - 1 are left out.
        output_mode: "one_hot" gives a vector for each number, "multi_hot" one for each sample (what is in it), "count"
            also (how often it is in it).
        sparse: not supported.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: `num_tokens` or `output_mode` makes no sense, or `count_weights` are given in another mode.

    Example:
        >>> CategoryEncoding(4, output_mode="multi_hot")([[0, 1], [3, 3]])
        tensor([[1., 1., 0., 0.],
                [0., 0., 0., 1.]])

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/category_encoding/
    """

    takes_gaps = False
    _unsaved = frozenset({"sparse"})

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.output_mode = self._check_mode(output_mode, ("count", "one_hot", "multi_hot"), sparse)
        if num_tokens is None:
            fix = "where it is not known, use IntegerLookup and adapt()"
            raise ArgumentError("The number of tokens is missing.", where=self._where(), fix=fix)
        self.num_tokens, self.sparse = positive(num_tokens, f"{self._where()}, num_tokens"), sparse

    def call(self, inputs: Tensor, count_weights: Any = None) -> Tensor:
        """The vectors; in mode "count", each number may be given a weight."""
        if count_weights is None:
            return encode(inputs, self.output_mode, self.num_tokens, self._compute_dtype)
        if self.output_mode != "count":
            raise ArgumentError(
                "count_weights are for output_mode='count'.",
                where=self._where(),
                received=f"output_mode={self.output_mode!r}",
                fix="leave count_weights out, or make the layer with output_mode='count'",
            )
        weights = convert_to_tensor(count_weights, self._compute_dtype, inputs.device)
        return encode(inputs, "count", self.num_tokens, self._compute_dtype, weights)


def checked_salt(salt: Any, where: str) -> list[int] | None:
    """The two numbers of a salt, which may be given as one."""
    if salt is None or (isinstance(salt, (list, tuple)) and len(salt) == 2):
        return salt if salt is None else [int(part) for part in salt]
    if not isinstance(salt, (int, np.integer)):
        raise ArgumentError(
            "The salt cannot be used.", where=where, expected="an integer, or a list of two", received=repr(salt)
        )
    return [int(salt)] * 2


def as_decimals(values: np.ndarray) -> list[str | bytes]:
    """Integers written in decimal, strings as they are."""
    return list(values.flat) if values.dtype.kind == "O" else values.ravel().astype(np.int64).astype("S21").tolist()


class _HashingLayer(PreprocessingLayer):
    """Base of the layers that put strings and integers into buckets."""

    takes_text, takes_gaps = True, False

    def __init__(self, num_bins: int, output_mode: str, modes: tuple[str, ...], sparse: bool, **kwargs: Any) -> None:
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else floatx()
        super().__init__(**kwargs)
        self.output_mode = self._check_mode(output_mode, modes, sparse)
        self.num_bins, self.sparse = positive(num_bins, f"{self._where()}, num_bins"), sparse
        self.autocast = False

    def _encode(self, bins: Tensor) -> Tensor:
        return encode(bins, self.output_mode, self.num_bins, self._compute_dtype)

    def _input_dtype(self) -> str:
        return "string"


@builtin("keras.layers")
class Hashing(_HashingLayer):
    """Strings or integers put into buckets by a hash function: the same buckets everywhere, without a vocabulary.

    Args:
        num_bins: how many buckets there are, that of the mask included.
        mask_value: a value that always goes into bucket 0, where nothing else then goes.
        salt: one or two integers. With a salt the hash is SipHash-2-4 under this key, without one FarmHash64.
        output_mode: "int" gives the number of the bucket; "one_hot", "multi_hot" and "count" give vectors.
        sparse: not supported.
        **kwargs: as for `Layer`; `dtype` is int64 by default in mode "int".

    Raises:
        ArgumentError: an argument makes no sense.

    Example:
        >>> Hashing(num_bins=3)([["A"], ["B"], ["C"]]).flatten()
        tensor([1, 0, 1])

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/hashing/
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: int | Sequence[int] | None = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_bins, output_mode, ("int", "one_hot", "multi_hot", "count"), sparse, **kwargs)
        if output_mode == "int" and self.compute_dtype not in ("int32", "int64"):
            raise ArgumentError(
                "Numbers of buckets are int32 or int64.",
                where=self._where(),
                expected='dtype="int32" or "int64"',
                received=f"dtype {self.compute_dtype}",
                fix='leave dtype out, or choose another output_mode, such as "one_hot"',
            )
        self.mask_value = mask_value
        self.salt = checked_salt(salt, self._where())

    def call(self, inputs: Any) -> Tensor:
        """The buckets of the inputs."""
        device = inputs.device if isinstance(inputs, Tensor) else self._device()
        values = self._on_cpu(inputs) if isinstance(inputs, Tensor) else inputs
        values = values.astype(np.int64) if values.dtype.kind in "fb" else values
        has_mask = self.mask_value is not None and self.num_bins > 1
        bins = hashing.buckets(as_decimals(values), self.num_bins - has_mask, self.salt).reshape(values.shape)
        if has_mask:
            self._check_mask(values)
            bins = np.where(values == self.mask_value, 0, bins + 1)
        return self._encode(torch.from_numpy(np.asarray(bins)).to(device))

    def _check_mask(self, values: np.ndarray) -> None:
        if (values.dtype.kind == "O") != isinstance(self.mask_value, str):
            raise ArgumentTypeError(
                "mask_value and inputs are of different kinds.",
                where=self._where(),
                expected="text for both, or integers for both",
                received=f"mask_value={self.mask_value!r} and {'text' if values.dtype.kind == 'O' else 'numbers'}",
            )

    def compute_output_spec(self, inputs: Any) -> Any:
        """The symbolic buckets."""
        return self._inferred(self._encode, inputs.shape)


@builtin("keras.layers")
class HashedCrossing(_HashingLayer):
    """Combinations of two or more features put into buckets by a hash function.

    Args:
        num_bins: how many buckets there are.
        output_mode: "int" gives the number of the bucket, "one_hot" a vector.
        sparse: not supported.
        name: its name.
        dtype: int64 by default in mode "int".
        **kwargs: not used.

    Raises:
        ArgumentError: an argument makes no sense, or there are fewer than two features.
        ShapeError: features differ in shape, or are no columns.

    Example:
        >>> HashedCrossing(num_bins=5)((["A", "B", "A"], [101, 101, 101]))
        tensor([1, 4, 1])

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/hashed_crossing/
    """

    _unsaved = frozenset({"trainable"})

    def __init__(
        self,
        num_bins: int,
        output_mode: str = "int",
        sparse: bool = False,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_bins, output_mode, ("int", "one_hot"), sparse, name=name, dtype=dtype)

    def _taken_in(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) < 2:
            raise ArgumentError(
                "Features to cross come as a list of at least two.",
                where=self._where(),
                expected="[first, second, ...]",
                received=f"{value!r:.80}",
            )
        return [super(HashedCrossing, self)._taken_in(part) for part in value]

    def call(self, inputs: Any) -> Tensor:
        """The buckets of the combinations."""
        shape = self._common_shape(inputs)
        first = next((part for part in inputs if isinstance(part, Tensor)), None)
        columns = [self._on_cpu(part) if isinstance(part, Tensor) else part for part in inputs]
        for column in columns:
            if column.dtype.kind not in "iuO":
                raise ArgumentError(
                    "Features to cross are integers or text.",
                    where=self._where(),
                    received=f"dtype {column.dtype}",
                    fix="turn floats into integers or text: x.astype('int64'), or use Discretization first",
                )
        bins = hashing.crossed([column.reshape(-1) for column in columns], self.num_bins).reshape(shape)
        return self._encode(torch.from_numpy(bins).to(self._device() if first is None else first.device))

    def _common_shape(self, inputs: Any) -> Any:
        shapes = [tuple(part.shape) for part in inputs]
        shape = shapes[0]
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or any(other != shape for other in shapes):
            raise ShapeError(
                "Features to cross are columns of one length.",
                where=self._where(),
                expected="shapes (), (batch,) or (batch, 1), the same for all",
                received=", ".join(map(str, shapes)),
            )
        return shape

    def compute_output_spec(self, inputs: Any) -> Any:
        """The symbolic buckets."""
        return self._inferred(self._encode, self._common_shape(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the buckets for the features' shapes."""
        return self.compute_output_spec([KerasTensor(shape) for shape in input_shape]).shape
