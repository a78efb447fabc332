"""Quantized `Embedding` and `ReversibleEmbedding`: the modes for layers that look rows of a table up."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError
from lamina.core.serialization import serialize_keras_object
from lamina.layers.quantized_kernels import block_size, group_numbers
from lamina.layers.quantized_weights import QuantizableWeight, Scheme, held, read, straight_through
from lamina.quantizers.arithmetic import (
    abs_max_quantize_grouped_with_zero_point,
    dequantize_with_sz_map,
    int_matmul,
    pack_int4,
    unpack_int4,
)
from lamina.quantizers.base import AbsMaxQuantizer
from lamina.quantizers.configs import QuantizationConfig


class Table(Scheme):
    """Base of the modes: rows of integers, a scale (or several) for each.

    The way back of a `ReversibleEmbedding` multiplies with the same table, or with one of its own that has the scales
    along its other axis.
    """

    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make the table, and the matrix of the way back if there is one."""
        layer.inputs_quantizer = QuantizationConfig.activation_quantizer_or_default(config, AbsMaxQuantizer(axis=-1))
        self.build_table(layer, shape, config)
        if layer._reverse_is_held:
            self.build_reverse(layer, shape[::-1], config)

    def build_table(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make the table."""
        raise NotImplementedError

    def build_reverse(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make the matrix of the way back."""
        raise NotImplementedError

    def values(self, layer: Any, weight: Tensor, config: Any) -> dict[str, Tensor]:
        """The table, and the matrix of the way back if it is another and not quantized yet."""
        found = self.quantized(layer, weight.T, config, AbsMaxQuantizer(axis=-1))
        found = {f"embeddings{key}": value.mT if value.ndim == 2 else value for key, value in found.items()}
        reverse = layer._parameters.get("reverse_embeddings")
        if reverse is not None:
            more = self.quantized(layer, reverse.detach(), config, AbsMaxQuantizer(axis=0))
            found |= {f"reverse_embeddings{key}": value for key, value in more.items()}
        return found

    def quantized(self, layer: Any, matrix: Tensor, config: Any, default: AbsMaxQuantizer) -> dict[str, Tensor]:
        """A matrix of shape (size of vectors, ids) as integers, "", and what goes with it, "_scale" and "_zero"."""
        raise NotImplementedError

    def rows(self, layer: Any, ids: Tensor) -> Tensor:
        """The float rows of the table."""
        raise NotImplementedError

    def call(self, layer: Any, inputs: Tensor, reverse: bool = False) -> Tensor:  # type: ignore[override]
        """The rows, or the logits of the way back."""
        if reverse:
            return layer._capped(self.logits(layer, layer.cast(inputs)))
        ids = inputs if inputs.dtype in (torch.int64, torch.int32) else inputs.int()
        try:
            rows = self.rows(layer, ids)
        except IndexError:
            raise layer._outside(ids) from None
        rows = rows + layer.low_rank_rows(ids) if layer.lora_enabled else rows
        if hasattr(layer, "_with_mask"):
            layer._with_mask(rows, inputs)
        return rows

    def logits(self, layer: Any, inputs: Tensor) -> Tensor:
        """The product with the matrix of the way back."""
        integers, scale = self.way_back(layer)
        whole = layer.cast(integers) / scale if scale is not None else integers
        quantizer = layer.inputs_quantizer
        if quantizer is None:
            return torch.matmul(inputs, whole)

        def ahead(inputs: Tensor) -> Tensor:
            rounded, by = quantizer(inputs)
            if scale is None:
                return torch.matmul(layer.cast(rounded), whole) / by
            product = int_matmul(rounded.reshape(-1, rounded.shape[-1]), integers)
            return layer.cast(product).view(*inputs.shape[:-1], -1) / (by * scale)

        return straight_through(inputs, ahead, lambda gradient: torch.matmul(gradient, whole.T))

    def way_back(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        """The matrix of the way back: integers and their scale, or floats and None."""
        raise NotImplementedError


class Int8Table(Table):
    """The table as integers of 8 bits, a scale for each row."""

    def build_table(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make table and scale."""
        layer._make("embeddings", shape, "int8")
        layer._make("embeddings_scale", shape[:1], start="ones")

    def build_reverse(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make matrix and scale of the way back."""
        layer._make("reverse_embeddings", shape, "int8")
        layer._make("reverse_embeddings_scale", shape[1:], start="ones")

    def quantized(self, layer: Any, matrix: Tensor, config: Any, default: AbsMaxQuantizer) -> dict[str, Tensor]:
        """Integers and scale."""
        return _per_channel(matrix, config, default)

    def rows(self, layer: Any, ids: Tensor) -> Tensor:
        """The float rows."""
        scale = read(layer, "embeddings_scale")[ids]
        return layer.cast(torch.embedding(held(layer, "embeddings"), ids)) / scale.unsqueeze(-1)

    def restored(self, layer: Any) -> Tensor:
        """The float table."""
        return layer.cast(held(layer, "embeddings")) / read(layer, "embeddings_scale").unsqueeze(-1)

    def way_back(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        """Integers and scale."""
        if layer._reverse_is_held:
            return held(layer, "reverse_embeddings"), read(layer, "reverse_embeddings_scale")
        return held(layer, "embeddings").T, read(layer, "embeddings_scale")


class Int4Table(Table):
    """The table as integers of 4 bits, two in a byte: a scale for each row, or also a zero point for parts of it."""

    def build_table(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make table and scale, and for parts of rows zero point and numbers of the parts."""
        ids, size = shape
        block = block_size(layer, config)
        layer._make("embeddings", (ids, (size + 1) // 2), "int8")
        scales = (ids,) if block is None else (ids, math.ceil(size / block))
        layer._make("embeddings_scale", scales, start="ones")
        if block is not None:
            layer._make("embeddings_zero", scales, "int8")
            layer._make("g_idx", (size,), "float32", start=functools.partial(group_numbers, block))

    def build_reverse(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make matrix, scale and zero point of the way back."""
        size, ids = shape
        block = block_size(layer, config)
        layer._make("reverse_embeddings", ((size + 1) // 2, ids), "int8")
        scales = (ids,) if block is None else (math.ceil(size / block), ids)
        layer._make("reverse_embeddings_scale", scales, start="ones")
        if block is not None:
            layer._make("reverse_embeddings_zero", scales)

    def quantized(self, layer: Any, matrix: Tensor, config: Any, default: AbsMaxQuantizer) -> dict[str, Tensor]:
        """Packed integers, scale and zero point."""
        config = config or layer.quantization_config
        block = block_size(layer, config)
        if block is None:
            found = _per_channel(matrix, config, AbsMaxQuantizer(axis=default.axis, value_range=(-8, 7)))
        else:
            parts = abs_max_quantize_grouped_with_zero_point(matrix, block, to_numpy=True)
            found = dict(zip(("", "_scale", "_zero"), parts, strict=True))
        return found | {"": pack_int4(found[""], axis=0)[0]}

    def read(self, layer: Any) -> Tensor:
        """The table as integers."""
        return unpack_int4(held(layer, "embeddings"), layer.output_dim, axis=-1)

    def _floats(self, layer: Any, packed: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
        rows = layer.cast(unpack_int4(packed, layer.output_dim, axis=-1))
        if zero is None:
            return rows / scale.unsqueeze(-1)
        return dequantize_with_sz_map(rows, scale, zero, held(layer, "g_idx"))

    def rows(self, layer: Any, ids: Tensor) -> Tensor:
        """The float rows."""
        zero = held(layer, "embeddings_zero")
        packed = torch.embedding(held(layer, "embeddings"), ids)
        return self._floats(layer, packed, read(layer, "embeddings_scale")[ids], None if zero is None else zero[ids])

    def restored(self, layer: Any) -> Tensor:
        """The float table."""
        zero = held(layer, "embeddings_zero")
        return self._floats(layer, held(layer, "embeddings"), read(layer, "embeddings_scale"), zero)

    def way_back(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        """Integers and scale, or floats where there are zero points."""
        if not layer._reverse_is_held:
            if held(layer, "embeddings_zero") is not None:
                return self.restored(layer).T, None
            return self.read(layer).T, read(layer, "embeddings_scale")
        integers = unpack_int4(held(layer, "reverse_embeddings"), layer.output_dim, axis=0)
        scale, zero = read(layer, "reverse_embeddings_scale"), held(layer, "reverse_embeddings_zero")
        if zero is None:
            return integers, scale
        return dequantize_with_sz_map(layer.cast(integers), scale, zero, held(layer, "g_idx"), 0), None


def _per_channel(matrix: Tensor, config: Any, default: AbsMaxQuantizer) -> dict[str, Tensor]:
    """A matrix of shape (size of vectors, ids) as integers, with a scale for each id."""
    quantizer = QuantizationConfig.weight_quantizer_or_default(config, default)
    by_rows = default.axis == (-1,)
    integers, scale = quantizer(matrix.T if by_rows else matrix, to_numpy=True)
    return {"": integers.T if by_rows else integers, "_scale": scale.reshape(-1)}


_TABLE = ("embeddings", "embeddings_scale")
_REVERSE = ("reverse_embeddings", "reverse_embeddings_scale")


class QuantizableTable(QuantizableWeight):
    """Base of `Embedding` and `ReversibleEmbedding`."""

    input_dim: int
    output_dim: int
    plain_names = ("embeddings",)
    schemes = {
        "int8": Int8Table("int8", *_TABLE),
        "int4": Int4Table("int4", *_TABLE, "embeddings_zero", "g_idx"),
    }
    _reverse_is_held = False
    """Whether there is a matrix for the way back."""

    @property
    def variable_serialization_spec(self) -> dict[str | None, list[str]]:
        """The names of the weights in the order of files, by mode; not every layer has them all."""
        spec = super().variable_serialization_spec
        if self._reverse_is_held:
            more = {None: _REVERSE[:1], "int8": _REVERSE, "int4": (*_REVERSE, "reverse_embeddings_zero")}
            spec = {mode: [*names, *more[mode]] for mode, names in spec.items()}
        return spec

    def quantized_build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, embeddings_shape: Any, mode: str, config: QuantizationConfig | None = None
    ) -> None:
        """Make the weights of a mode, for a float table of a shape."""
        super().quantized_build(embeddings_shape, mode, config)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, the quantization config among them where a subclass does not name it."""
        return super().get_config() | {"quantization_config": serialize_keras_object(self.quantization_config)}

    def _outside(self, ids: Tensor) -> ArgumentError:
        """What is raised for ids outside the table."""
        low, high = int(ids.min()), int(ids.max())
        return ArgumentError(
            f"The id {high if high >= self.input_dim else low} lies outside the table.",
            where=self._where(),
            expected=f"ids from 0 to {self.input_dim - 1} (input_dim={self.input_dim})",
            received=f"ids from {low} to {high}",
            fix=f"set input_dim to {high + 1} or more, or map the ids into the range" if low >= 0 else None,
        )
