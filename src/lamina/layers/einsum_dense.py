"""EinsumDense: a dense layer over any axes, told in Einstein's notation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina import activations, constraints, initializers, regularizers
from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.registry import builtin
from lamina.layers.direct import DIRECT
from lamina.layers.input_spec import InputSpec
from lamina.layers.lora import Adapted
from lamina.layers.quantized_kernels import QuantizableKernel
from lamina.ops.affine import LARGE_KERNEL, affine


@builtin("keras.layers")
class EinsumDense(QuantizableKernel):
    """A dense layer over any axes: `activation(einsum(equation, inputs, kernel) + bias)`.

    Args:
        equation: the axes of inputs, kernel and outputs, such as "abc,cd->abd"; "..." at the left or right of inputs
            and outputs stands for any number of axes.
        output_shape: the sizes of the outputs' axes without the batch and those under "..."; None for one that the
            inputs have too.
        activation: a function of the output, or its name.
        bias_axes: those axes of the outputs along which there is a bias, such as "d"; None for no bias.
        kernel_initializer: how the kernel begins.
        bias_initializer: how the bias begins.
        kernel_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        kernel_constraint: what the kernel is put through after each update.
        bias_constraint: what the bias is put through after each update.
        lora_rank: the rank of a low-rank addition to the kernel, which is then frozen.
        lora_alpha: the addition is multiplied by `lora_alpha / lora_rank`.
        gptq_unpacked_column_size: the number of columns of a kernel quantized with GPTQ.
        quantization_config: the settings of a quantized layer; see `quantize`.
        **kwargs: as for `Layer`.

    Raises:
        ArgumentError: the equation has another form, or names an axis that is nowhere else.
        ShapeError: an axis of the inputs and the outputs has two sizes.

    Example:
        >>> layer = EinsumDense("abc,cde->abde", output_shape=(None, 2, 8), bias_axes="de")
        >>> layer(torch.ones(4, 5, 3)).shape, layer.kernel.shape
        (torch.Size([4, 5, 2, 8]), torch.Size([3, 2, 8]))

    Source: https://keras.io/api/layers/core_layers/einsum_dense/
    """

    lora_target, kernel = "kernel", Adapted()

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        gptq_unpacked_column_size: int | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.equation = equation
        self._output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha or lora_rank
        self.gptq_unpacked_column_size = gptq_unpacked_column_size
        self.quantization_config = quantization_config

    @property
    def partial_output_shape(self) -> tuple[int | None, ...]:
        """The argument `output_shape`."""
        return self._output_shape

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel and bias."""
        plan = _planned(self.equation, self.bias_axes, input_shape, self._output_shape, self._where())
        self.input_spec = InputSpec(ndim=len(input_shape))
        initializer = _for_axes(self.kernel_initializer, plan.input_axes, plan.output_axes)
        self._weight_as_told("kernel", plan.kernel_shape, initializer=initializer)
        self.bias = None if plan.bias_shape is None else self._weight_as_told("bias", plan.bias_shape)
        self._meeting = len(plan.input_axes) if plan.is_matrix_product else 0
        self._bias_fits = plan.bias_shape == plan.kernel_shape[self._meeting :]
        self._is_large = math.prod(plan.kernel_shape) >= LARGE_KERNEL
        if self.lora_rank:
            self.enable_lora(self.lora_rank, self.lora_alpha)

    def call(self, inputs: Tensor) -> Tensor:
        """The product with the kernel, plus the bias, activated."""
        if not inputs.is_floating_point():
            inputs = self.cast(inputs)
        kernel, bias, activation = self.kernel, self.bias, self.activation
        if meeting := self._meeting:
            sizes = kernel.shape[meeting:]
            matrix = kernel.view(math.prod(kernel.shape[:meeting]), math.prod(sizes))
            rows = inputs.reshape(-1, matrix.shape[0])
            vector = bias.view(-1) if bias is not None and self._bias_fits else None
            if self._is_large:
                outputs = affine(rows, matrix, vector)
            else:
                outputs = torch.mm(rows, matrix) if vector is None else torch.addmm(vector, rows, matrix)
            bias = bias if vector is None else None
            outputs = outputs.view(*inputs.shape[: inputs.ndim - meeting], *sizes)
        else:
            outputs = torch.einsum(self.equation, inputs, kernel)
        if bias is not None:
            outputs = outputs + bias
        return outputs if activation is activations.linear else DIRECT.get(activation, activation)(outputs)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        config = {"activity_regularizer": regularizers.serialize(self.activity_regularizer)} | super().get_config()
        if not self.gptq_unpacked_column_size:
            del config["gptq_unpacked_column_size"]
        return config


class _Plan(NamedTuple):
    """What an equation says about weights, for inputs of one shape."""

    kernel_shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None
    input_axes: list[int]
    output_axes: list[int]
    is_matrix_product: bool


_FORM = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


def _planned(
    equation: str, bias_axes: str | None, input_shape: Sequence[int | None], told: Sequence[int | None], where: str
) -> _Plan:
    """Read an equation; the sizes come from the inputs, and from what was told about the outputs."""
    x, w, y, dots = _axes_in(equation, bias_axes or "", where)
    hidden = len(input_shape) - len(x)
    before = hidden if dots == "left" else 0
    sizes_x = input_shape[before : before + len(x)]
    # As in Keras, what is told beyond the outputs' axes is left aside.
    sizes_y = [*input_shape[: max(before, 1)], *told][before : before + len(y)]
    if hidden < 0 or (hidden and not dots) or len(sizes_y) != len(y):
        raise ShapeError(
            "Equation, input shape and output shape have different numbers of axes.",
            where=where,
            expected=f"inputs '{x}' and outputs '{y}' of {equation!r}",
            received=f"input shape {tuple(input_shape)}, output_shape {tuple(told)}",
        )
    of_x, of_y = dict(zip(x, sizes_x, strict=True)), dict(zip(y, sizes_y, strict=True))
    for axis in of_x.keys() & of_y.keys():
        if of_y[axis] not in (None, of_x[axis]):
            raise ShapeError(
                f"Input shape and output shape do not match at axis '{axis}'.",
                where=where,
                received=f"{of_x[axis]} in the inputs, {of_y[axis]} in output_shape",
                fix="write None in output_shape for an axis of the inputs",
            )
    bias_shape = None
    if bias_axes:
        reached = y[min(map(y.index, bias_axes)) :]
        bias_shape = tuple(of_y[axis] if axis in bias_axes else 1 for axis in reached)
        bias_shape += (1,) * hidden if dots == "right" else ()
    input_axes = [index for index, axis in enumerate(w) if axis not in y]
    output_axes = [index for index, axis in enumerate(w) if axis in y]
    kernel_shape = tuple(of_y[axis] if axis in of_y else of_x[axis] for axis in w)
    met, made = w[: len(input_axes)], w[len(input_axes) :]
    free = x.removesuffix(met)
    in_order = met and x == free + met and y == free + made and not set(free) & set(w) and dots != "right"
    return _Plan(kernel_shape, bias_shape, input_axes, output_axes, bool(in_order))  # type: ignore[arg-type]


def _axes_in(equation: str, bias_axes: str, where: str) -> tuple[str, str, str, str]:
    """The axes of inputs, kernel and outputs, and at which side "..." stands, if anywhere."""
    found = _FORM.fullmatch(equation.replace(" ", ""))
    if found is None or (found[1], found[3]) != (found[5], found[7]) or (found[1] and found[3]):
        raise ArgumentError(
            "Invalid einsum equation.",
            where=where,
            expected='"ab,bc->ac", "...ab,bc->...ac" or "ab...,bc->ac..."',
            received=repr(equation),
        )
    x, w, y = found[2], found[4], found[6]
    for axis, others, kind in (
        *((axis, x + w, "output") for axis in y),
        *((axis, x + y, "weight") for axis in w),
        *((axis, y, "bias") for axis in bias_axes),
    ):
        if axis not in others:
            raise ArgumentError(
                f"The {kind} axis '{axis}' stands nowhere else in the equation.",
                where=where,
                expected=f"{axis} in the output" if kind == "bias" else f"{axis} in two of inputs, weight and output",
                received=equation,
            )
    return x, w, y, "left" if found[1] else "right" if found[3] else ""


def _for_axes(initializer: Any, input_axes: list[int], output_axes: list[int]) -> Any:
    """The initializer told which axes of the kernel stand for inputs and outputs, if it asks."""
    if not isinstance(initializer, initializers.VarianceScaling) or None not in (
        initializer.input_axes,
        initializer.output_axes,
    ):
        return initializer
    config = initializer.get_config() | {"seed": initializer.seed}
    return type(initializer).from_config(config | {"input_axes": input_axes, "output_axes": output_axes})
