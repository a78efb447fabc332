"""Quantized `Dense` and `EinsumDense`: the modes for layers that multiply their inputs with a kernel."""

from __future__ import annotations

import functools
import math
import string
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina import activations
from lamina.core.errors import ArgumentError, UnsupportedError
from lamina.core.policies import QuantizedFloat8DTypePolicy
from lamina.layers.direct import DIRECT
from lamina.layers.quantized_weights import QuantizableWeight, Scheme, held, read, straight_through
from lamina.ops.control import is_recorded
from lamina.quantizers.arithmetic import (
    abs_max_quantize_grouped_with_zero_point,
    compute_float8_amax_history,
    compute_float8_scale,
    dequantize_with_sz_map,
    int_matmul,
    pack_int4,
    quantize_and_dequantize,
    unpack_int4,
)
from lamina.quantizers.base import AbsMaxQuantizer
from lamina.quantizers.configs import QuantizationConfig


class Axes(NamedTuple):
    """The axes of inputs, kernel and outputs, a letter each; there may be more at the left of inputs and outputs."""

    inputs: str
    kernel: str
    outputs: str

    @property
    def met_inputs(self) -> tuple[int, ...]:
        """The axes of the inputs that are summed over, counted from the last."""
        return tuple(i - len(self.inputs) for i, axis in enumerate(self.inputs) if axis not in self.outputs)

    @property
    def met_kernel(self) -> tuple[int, ...]:
        """The axes of the kernel that are summed over."""
        return tuple(i for i, axis in enumerate(self.kernel) if axis not in self.outputs)

    def for_outputs(self, scale: Tensor, axes: str) -> Tensor:
        """A scale with these axes, of size 1 where they are summed over, shaped to broadcast with the outputs."""
        if self == MATRIX:
            return scale if axes == self.inputs else scale.squeeze(0)
        kept = "".join(axis for axis in self.outputs if axis in axes)
        order = tuple(slice(None) if axis in axes else None for axis in self.outputs)
        return torch.einsum(f"...{axes}->...{kept}", scale)[(..., *order)]

    def for_kernel(self, scale: Tensor) -> Tensor:
        """A scale that broadcasts with the outputs, shaped to broadcast with the kernel."""
        if self == MATRIX:
            return scale
        kept = "".join(axis for axis in self.kernel if axis in self.outputs)
        order = tuple(slice(None) if axis in self.outputs else None for axis in self.kernel)
        return torch.einsum(f"{self.outputs}->{kept}", scale)[order]


MATRIX = Axes("c", "cd", "d")


@functools.cache
def axes_of(equation: str, ndim: int) -> Axes:
    """The axes in an equation for inputs of a rank; those under "..." at the right get letters too."""
    left, outputs = equation.replace(" ", "").split("->")
    inputs, kernel = left.split(",")
    if inputs.endswith("..."):
        free = [letter for letter in string.ascii_letters if letter not in equation]
        hidden = "".join(free[: ndim - len(inputs) + 3])
        inputs, outputs = inputs.removesuffix("...") + hidden, outputs.removesuffix("...") + hidden
    return Axes(inputs.removeprefix("..."), kernel, outputs.removeprefix("..."))


class Int8Kernel(Scheme):
    """The kernel as integers of 8 bits, a scale for each output; inputs likewise unless the config says no."""

    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make kernel and scale."""
        axes = layer._axes
        sizes = dict(zip(axes.kernel, shape, strict=True))
        layer.inputs_quantizer = QuantizationConfig.activation_quantizer_or_default(config, AbsMaxQuantizer())
        layer._make("kernel", shape, "int8")
        layer._make("kernel_scale", tuple(sizes.get(axis, 1) for axis in axes.outputs), start="ones")

    def values(self, layer: Any, weight: Tensor, config: Any) -> dict[str, Tensor]:
        """Kernel and scale."""
        axes = layer._axes
        default = AbsMaxQuantizer(axis=axes.met_kernel)
        quantizer = QuantizationConfig.weight_quantizer_or_default(config, default)
        kernel, scale = quantizer(weight, to_numpy=True)
        return {"kernel": kernel, "kernel_scale": axes.for_outputs(scale, axes.kernel)}

    def call(self, layer: Any, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The product of integers, scaled."""
        inputs = inputs if inputs.is_floating_point() else layer.cast(inputs)
        kernel, scale = held(layer, "kernel"), read(layer, "kernel_scale")
        if layer.inputs_quantizer is not None:
            outputs = layer._rounded_product(inputs, kernel, scale)
        else:
            outputs = layer._product(inputs, kernel.to(inputs.dtype)) / scale
        return layer._completed(inputs, outputs)

    def restored(self, layer: Any) -> Tensor:
        """The float kernel."""
        return layer.cast(held(layer, "kernel")) / layer._axes.for_kernel(read(layer, "kernel_scale"))


class Int4Kernel(Scheme):
    """The kernel as integers of 4 bits, two in a byte: a scale for each output, or also a zero point for each group."""

    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make kernel and scale, and for groups zero point and group numbers."""
        layer.inputs_quantizer = QuantizationConfig.activation_quantizer_or_default(config, None)
        (rows, columns), size = self.sides(layer), block_size(layer, config)
        layer._make("kernel", (rows, (columns + 1) // 2), "int8")
        scales = (columns,) if size is None else (math.ceil(rows / size), columns)
        layer._make("kernel_scale", scales, start="ones")
        if size is not None:
            layer._make("kernel_zero", scales, "int8")
            layer._make("g_idx", (rows,), "float32", start=functools.partial(group_numbers, size))

    def sides(self, layer: Any) -> tuple[int, int]:
        """The kernel's size as a matrix."""
        shape = layer._weight_shape
        rows = math.prod([shape[axis] for axis in layer._axes.met_kernel])  # Dynamo takes no generator here
        return rows, math.prod(shape) // rows

    def values(self, layer: Any, weight: Tensor, config: Any) -> dict[str, Tensor]:
        """Kernel, scale and zero point."""
        config = config or layer.quantization_config
        layer._weight_shape, size = tuple(weight.shape), block_size(layer, config)
        matrix = weight.reshape(self.sides(layer))
        if size is not None:
            kernel, scale, zero = abs_max_quantize_grouped_with_zero_point(matrix, size, to_numpy=True)
            return {"kernel": pack_int4(kernel, axis=-1)[0], "kernel_scale": scale, "kernel_zero": zero}
        default = AbsMaxQuantizer(axis=0, value_range=(-8, 7))
        quantizer = QuantizationConfig.weight_quantizer_or_default(config, default)
        kernel, scale = quantizer(matrix, to_numpy=True)
        return {"kernel": pack_int4(kernel, axis=-1)[0], "kernel_scale": scale.squeeze(0)}

    def matrix(self, layer: Any) -> Tensor:
        """The kernel as a matrix of integers."""
        return unpack_int4(held(layer, "kernel"), self.sides(layer)[1], axis=-1)

    def read(self, layer: Any) -> Tensor:
        """The kernel as integers."""
        return self.matrix(layer).reshape(layer._weight_shape)

    def restored(self, layer: Any) -> Tensor:
        """The float kernel."""
        matrix, scale = self.matrix(layer), read(layer, "kernel_scale")
        zero = held(layer, "kernel_zero")
        if zero is None:
            return (layer.cast(matrix) / scale).reshape(layer._weight_shape)
        return dequantize_with_sz_map(matrix, scale, zero, held(layer, "g_idx"), 0).reshape(layer._weight_shape)

    def loaded(self, layer: Any) -> None:
        """Look at the group numbers now: compiled steps do not, and are made anew when the answer has changed."""
        size = block_size(layer, layer.quantization_config)
        if size is not None:
            self._in_rows(layer, size)

    def _in_rows(self, layer: Any, size: int) -> bool:
        """Whether a group is as many rows, one after the other: `quantize` makes it so, a file need not.

        Looked up once for each content of the group numbers; not known where no value may be read before that.
        """
        own, numbers = layer.__dict__, held(layer, "g_idx")
        if not torch.compiler.is_compiling() and not torch._C._len_torch_dispatch_stack():
            content = numbers.data_ptr(), 0 if numbers.is_inference() else numbers._version
            if own.get("_groups_seen") != content:
                expected = group_numbers(size, numbers.shape).to(numbers.device)
                own["_groups_seen"] = content
                own["_groups_in_rows"] = len(numbers) % size == 0 and bool((numbers == expected).all())
        return own.get("_groups_in_rows", False)

    def _quick(self, layer: Any, inputs: Tensor, scale: Tensor) -> Tensor:
        """The product with the float kernel, its even columns before the odd ones: results are sorted, not weights."""
        packed, zero = held(layer, "kernel"), held(layer, "kernel_zero")
        (rows, columns), half, meeting = self.sides(layer), packed.shape[1], layer._meeting
        codes = torch.cat(((packed << 4) >> 4, packed >> 4), 1)
        x = inputs.reshape(-1, rows)
        if zero is None:
            outputs = torch.mm(x, codes.to(inputs.dtype))
        else:
            zeros, scales = [
                torch.cat((by[:, ::2], torch.nn.functional.pad(by[:, 1::2], (0, columns % 2))), 1).unsqueeze(1)
                for by in (zero, scale)
            ]
            groups = codes.view(len(scale), -1, 2 * half).sub_(zeros).to(inputs.dtype)
            if not is_recorded() and 4 * len(x) <= groups.shape[1]:  # there are fewer products to scale than weights
                outputs = torch.bmm(x.view(len(x), *groups.shape[:2]).transpose(0, 1), groups).mul(scales).sum(0)
            else:
                outputs = torch.mm(x, groups.mul_(scales).view(rows, 2 * half))
        outputs = outputs.view(-1, 2, half).transpose(1, 2).flatten(1)[:, :columns]
        outputs = outputs / scale if zero is None else outputs
        return outputs.reshape(*inputs.shape[: inputs.ndim - meeting], *layer._weight_shape[meeting:])

    def call(self, layer: Any, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The product with the float kernel, or of integers where inputs are quantized too."""
        inputs = inputs if inputs.is_floating_point() else layer.cast(inputs)
        scale = read(layer, "kernel_scale")
        if layer.inputs_quantizer is None:
            # The quick way scales products, which could leave the range of float16.
            size = block_size(layer, layer.quantization_config)
            quick = (
                layer._meeting and inputs.dtype is not torch.float16 and (size is None or self._in_rows(layer, size))
            )
            outputs = self._quick(layer, inputs, scale) if quick else layer._product(inputs, self.restored(layer))
            return layer._completed(inputs, outputs)
        if layer._axes == MATRIX:
            outputs = layer._rounded_product(inputs, self.matrix(layer), scale)
        else:
            outputs = layer._rounded_product(inputs, self.matrix(layer), scale, self.restored(layer))
        return layer._completed(inputs, outputs)


class Float8Kernel(Scheme):
    """Training with products of 8-bit floats; the kernel stays, and is cast on the way, as inputs and gradients are.

    Scales follow from the largest values of late. Both are variables whose "gradients" are their next values, which
    optimizers put in their place.
    """

    keeps_weight = True

    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make scales and histories."""
        policy = QuantizedFloat8DTypePolicy
        length = getattr(layer._policy(), "amax_history_length", policy.default_amax_history_length)
        for part in ("inputs", "kernel", "outputs_grad"):
            for name, size, start in (("scale", (), "ones"), ("amax_history", (length,), "zeros")):
                key = f"{part}_{name}"
                made = layer.add_weight(size, start, "float32", autocast=False, overwrite_with_gradient=True, name=key)
                setattr(layer, key, made)

    def call(self, layer: Any, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The product of rounded inputs and kernel; its gradient is rounded too."""
        if layer.lora_enabled:
            raise UnsupportedError(
                "LoRA does not go with float8.", where=layer._where(), fix="quantize to int8 or int4, which take LoRA"
            )
        inputs = layer.cast(inputs)
        rounded = [
            _Narrowed.apply(x, held(layer, f"{part}_scale"), held(layer, f"{part}_amax_history"), layer.training)
            for part, x in (("inputs", inputs), ("kernel", layer.plain_weight("kernel")))
        ]
        outputs = layer._product(*rounded)
        history = held(layer, "outputs_grad_amax_history")
        outputs = _NarrowedGradient.apply(outputs, held(layer, "outputs_grad_scale"), history)
        bias = layer.bias
        if bias is not None and layer.compute_dtype == "float32":
            bias = bias.bfloat16().to(bias.dtype)
        return layer._activated(outputs, bias)


class _Narrowed(torch.autograd.Function):
    """A way through float8; the gradient passes, and those of scale and history are their next values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, history: Tensor, training: bool) -> Tensor:
        ctx.following = next_scale(x, scale, history, torch.float8_e4m3fn) if training else (None, None)
        return quantize_and_dequantize(x, scale, torch.float8_e4m3fn, x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return *grad_outputs, *ctx.following, None


class _NarrowedGradient(torch.autograd.Function):
    """The identity, whose gradient goes through float8."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, history: Tensor) -> Tensor:
        ctx.save_for_backward(scale, history)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        gradient, (scale, history) = grad_outputs[0], ctx.saved_tensors
        rounded = quantize_and_dequantize(gradient, scale, torch.float8_e5m2, gradient.dtype)
        return rounded, *next_scale(gradient, scale, history, torch.float8_e5m2)


def next_scale(x: Tensor, scale: Tensor, history: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and history for the next step."""
    largest = torch.finfo(dtype).max
    return compute_float8_scale(history.amax(0), scale, largest), compute_float8_amax_history(x, history)


class CalibratedKernel(Scheme):
    """A kernel that GPTQ or AWQ has rounded: small integers with scale and zero point for each output and group.

    Until a calibration has filled it, the layer computes with its float kernel.
    """

    keeps_weight = False
    takes_lora = False

    def build(self, layer: Any, shape: tuple[int, ...], config: Any) -> None:
        """Make kernel, scale, zero point, group numbers, and for AWQ factors."""
        settings = config if config is not None else layer._policy()
        rows, columns = matrix_sides(layer)
        groups = 1 if settings.group_size == -1 else math.ceil(rows / settings.group_size)
        stored = (columns + 1) // 2 if settings.weight_bits == 4 else columns
        is_einsum = layer._axes is not MATRIX
        layer._make("quantized_kernel", (stored, rows), "uint8", name="kernel")
        layer._make("kernel_scale", (columns, groups), start="ones")
        layer._make("kernel_zero", (columns, groups), "uint8", name="zero_point" if is_einsum else None)
        if self.mode == "awq":
            layer._make("awq_scales", (rows,), start="ones")
        layer._make("g_idx", (rows,), "float32")
        setattr(layer, f"is_{self.mode}_calibrated", False)
        if is_einsum and self.mode == "gptq":
            layer.gptq_unpacked_column_size = columns

    def calibrate(self, layer: Any, calibration: Any) -> None:
        """Fill the weights from what was gathered from inputs, and let the float kernel go."""
        kernel = layer._parameters["kernel"]
        with torch.no_grad():
            layer._fill(calibration.quantize(kernel.detach().reshape(matrix_sides(layer))), kernel.device)
        layer._calibrated()

    def loaded(self, layer: Any) -> None:
        """From now on compute with what the file has given."""
        layer._calibrated()

    def read(self, layer: Any) -> Tensor:
        """The kernel as integers, of shape (columns, rows)."""
        kernel = held(layer, "quantized_kernel")
        columns = matrix_sides(layer)[1]
        return kernel if len(kernel) == columns else unpack_int4(kernel, columns, axis=0, dtype="uint8")

    def restored(self, layer: Any) -> Tensor:
        """The float kernel."""
        scale = read(layer, "kernel_scale")
        kernel = dequantize_with_sz_map(self.read(layer), scale, held(layer, "kernel_zero"), held(layer, "g_idx")).T
        if self.mode == "awq":
            kernel = kernel / read(layer, "awq_scales").unsqueeze(-1)
        return kernel.reshape(layer._weight_shape)

    def call(self, layer: Any, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The product with the float kernel."""
        inputs = inputs if inputs.is_floating_point() else layer.cast(inputs)
        kernel = self.restored(layer) if held(layer, "kernel") is None else layer.plain_weight("kernel")
        return layer._completed(inputs, layer._product(inputs, kernel))


def matrix_sides(layer: Any) -> tuple[int, int]:
    """A kernel's size as a matrix: the largest axis is the model's, the two others belong together.

    Raises:
        ArgumentError: it has more than three axes.
    """
    shape = layer._weight_shape
    if len(shape) not in (2, 3):
        raise ArgumentError(
            "GPTQ and AWQ cannot take a kernel of so many axes.",
            where=layer._where(),
            expected="two or three axes",
            received=f"a kernel of shape {shape}",
        )
    first = 1 if len(shape) == 2 or shape[0] == max(shape) else 2
    return math.prod(shape[:first]), math.prod(shape[first:])


def block_size(layer: Any, config: Any) -> int | None:
    """How many rows share a scale, by a config or the layer's policy; None for all."""
    size = getattr(config if config is not None else layer._policy(), "block_size", None)
    return None if size in (None, -1) else size


def group_numbers(size: int, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """For each row the number of its group, as an initializer."""
    return torch.arange(shape[0]).div(size, rounding_mode="floor").float()


_FLOAT8 = [f"{part}_{name}" for part in ("inputs", "kernel", "outputs_grad") for name in ("scale", "amax_history")]
_CALIBRATED = ("quantized_kernel", "kernel_scale", "kernel_zero")


class QuantizableKernel(QuantizableWeight):
    """Base of `Dense` and `EinsumDense`."""

    bias: Any
    plain_names = ("kernel", "bias")
    schemes = {
        "int8": Int8Kernel("int8", "kernel", "bias", "kernel_scale"),
        "int4": Int4Kernel("int4", "kernel", "bias", "kernel_scale", "kernel_zero", "g_idx"),
        "float8": Float8Kernel("float8", "kernel", "bias", *_FLOAT8),
        "gptq": CalibratedKernel("gptq", "bias", *_CALIBRATED, "g_idx"),
        "awq": CalibratedKernel("awq", "bias", *_CALIBRATED, "awq_scales", "g_idx"),
    }
    _meeting = 1
    """How many axes, the inputs' last and the kernel's first, meet in one product of matrices; 0 if it is another."""

    @property
    def _axes(self) -> Axes:
        equation = getattr(self, "equation", None)
        return MATRIX if equation is None else axes_of(equation, self.input_spec.ndim)

    def _product(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The inputs times a kernel, both floats or both integers of 8 bits."""
        integers = kernel.dtype is torch.int8
        if not (meeting := self._meeting):
            if not integers:
                return torch.einsum(self.equation, inputs, kernel)
            wide = torch.int32 if inputs.device.type == "cpu" else torch.float64
            return torch.einsum(self.equation, inputs.to(wide), kernel.to(wide))
        matrix = kernel.reshape(math.prod(kernel.shape[:meeting]), -1)
        rows = inputs.reshape(-1, matrix.shape[0])
        outputs = int_matmul(rows, matrix) if integers else torch.mm(rows, matrix)
        return outputs.view(*inputs.shape[: inputs.ndim - meeting], *kernel.shape[meeting:])

    def _activated(self, outputs: Tensor, bias: Tensor | None) -> Tensor:
        outputs = outputs if bias is None else outputs + bias
        activation = self.activation
        function: Any = DIRECT.get(activation, activation)
        return outputs if activation is activations.linear else function(outputs)

    def _completed(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The product with what else belongs to the outputs: low-rank addition, bias, activation."""
        if self.lora_enabled:
            first = self._lora_pair()[0]
            outputs = outputs + self._scaled(self._product(inputs.to(first.dtype), first))
        return self._activated(outputs, self.bias)

    def _rounded_product(self, inputs: Tensor, kernel: Tensor, scale: Tensor, restored: Tensor | None = None) -> Tensor:
        """The product with inputs that are quantized on the way; `scale` broadcasts with the outputs."""
        axes, dtype = self._axes, inputs.dtype

        def ahead(inputs: Tensor) -> Tensor:
            integers, by = self.inputs_quantizer(inputs, axis=axes.met_inputs)
            by = axes.for_outputs(by, axes.inputs)
            if restored is None:
                return self._product(integers, kernel).to(dtype) / (by * scale)
            return self._product(integers.to(dtype), restored) / by

        def back(gradient: Tensor) -> Tensor:
            whole = kernel.to(dtype) / axes.for_kernel(scale) if restored is None else restored
            return torch.einsum(f"...{axes.outputs},{axes.kernel}->...{axes.inputs}", gradient, whole)

        return straight_through(inputs, ahead, back)
