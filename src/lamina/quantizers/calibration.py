"""GPTQ and AWQ for one matrix of weights: what is gathered from its inputs, and how it is then rounded."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, ShapeError
from lamina.quantizers.arithmetic import (
    compute_quantization_parameters,
    dequantize_with_sz_map,
    dequantize_with_zero_point,
    pack_int4,
    quantize_with_sz_map,
    quantize_with_zero_point,
)
from lamina.quantizers.configs import AWQConfig, GPTQConfig


class Calibration(abc.ABC):
    """What is gathered from the inputs of a layer."""

    @abc.abstractmethod
    def update(self, inputs: Tensor) -> None:
        """Take a batch of inputs, of shape (samples, rows of the kernel), into account."""

    @abc.abstractmethod
    def quantize(self, kernel: Tensor) -> dict[str, Tensor]:
        """The weights of the quantized layer by name, from its kernel of shape (rows, columns)."""

    @staticmethod
    def checked(inputs: Tensor, rows: int) -> Tensor:
        """A batch of inputs as a matrix of floats.

        Raises:
            ArgumentError: it is None or empty.
            ShapeError: its size is not that of the kernel.
        """
        if inputs is None or inputs.numel() == 0:
            raise ArgumentError("There is nothing to calibrate with.", where="inputs", expected=f"(..., {rows})")
        if inputs.ndim < 2 or inputs.shape[-1] != rows:
            raise ShapeError(
                "Inputs to calibrate with do not match the kernel.",
                where="inputs",
                expected=f"(..., {rows})",
                received=f"rank {inputs.ndim}, {tuple(inputs.shape)}",
            )
        return inputs.detach().reshape(-1, rows).float()


class GPTQCalibration(Calibration):
    """The Hessian of the squared error, for GPTQ.

    Args:
        rows: the number of rows of the kernel.
        config: the settings.
        device: where to compute.

    Example:
        >>> calibration = GPTQCalibration(4, GPTQConfig(None, None, group_size=-1))
        >>> calibration.update(torch.randn(8, 4))
        >>> calibration.quantize(torch.randn(4, 6))["quantized_kernel"].shape
        torch.Size([3, 4])

    Source: Frantar et al., 2022
    """

    def __init__(self, rows: int, config: GPTQConfig, device: torch.device | None = None) -> None:
        self.config = config
        self.samples = 0
        self.hessian = torch.zeros(rows, rows, device=device)

    def update(self, inputs: Tensor) -> None:
        """Take a batch of inputs into the running mean."""
        x = self.checked(inputs, len(self.hessian))
        total = self.samples + len(x)
        gram = x.T @ x
        self.hessian = self.hessian * (self.samples / total) + (2.0 / total) * ((gram + gram.T) / 2)
        self.samples = total

    def quantize(self, kernel: Tensor) -> dict[str, Tensor]:
        """Quantized kernel, scales, zero points and groups."""
        config = self.config
        diagonal = self.hessian.diagonal()
        diagonal = torch.where(diagonal == 0, 1.0, diagonal)
        diagonal = diagonal + config.hessian_damping * diagonal.mean()
        hessian = self.hessian.clone()
        hessian.diagonal().copy_(diagonal)
        integers, scale, zero, g_idx = gptq_quantize_matrix(
            kernel.detach().T, torch.linalg.inv(hessian), config, order_metric=diagonal
        )
        integers = integers.to(torch.uint8)
        packed = pack_int4(integers, axis=0, dtype="uint8")[0] if config.weight_bits == 4 else integers
        return {"quantized_kernel": packed, "kernel_scale": scale, "kernel_zero": zero, "g_idx": g_idx}


def gptq_quantize_matrix(
    weights: Tensor, inverse_hessian: Tensor, config: GPTQConfig, order_metric: Tensor, block: int = 128
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Round a matrix column by column; columns still to come make up for the error.

    Args:
        weights: the matrix, of shape (outputs, inputs).
        inverse_hessian: the inverse of the Hessian, of shape (inputs, inputs).
        config: the settings.
        order_metric: the importance of each column, for `activation_order`.
        block: columns further away than this are corrected once per block.

    Returns:
        The whole numbers; scales and zero points of shape (outputs, groups); the group of each column, as a float
        whose whole part counts.

    Example:
        >>> matrix, hessian = torch.randn(6, 4), torch.eye(4)
        >>> config = GPTQConfig(None, None, group_size=2)
        >>> gptq_quantize_matrix(matrix, hessian, config, hessian.diagonal())[1].shape
        torch.Size([6, 2])
    """
    inputs = weights.shape[1]
    group = inputs if config.group_size == -1 else config.group_size
    order = torch.arange(inputs, device=weights.device)
    if config.activation_order:
        metric = torch.where(order_metric.isfinite(), order_metric, 0.0).float()
        order = torch.argsort(-(metric + order / inputs * 1e-12), stable=True)
    left = weights[:, order].clone()
    inverse = inverse_hessian[order][:, order]
    integers = torch.zeros_like(left)
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for start in range(0, inputs, block):
        end = min(start + block, inputs)
        columns, errors = left[:, start:end].clone(), left.new_zeros(len(left), end - start)
        for index in range(end - start):
            first = (start + index) // group * group
            if first not in found:
                found[first] = compute_quantization_parameters(
                    left[:, first : first + group],
                    bits=config.weight_bits,
                    symmetric=config.symmetric,
                    per_channel=config.per_channel,
                    group_size=config.group_size,
                )
            scale, zero, maxq = found[first]
            column = columns[:, index : index + 1]
            rounded = quantize_with_zero_point(column, scale, zero, maxq)
            integers[:, start + index] = rounded[:, 0]
            error = (column - dequantize_with_zero_point(rounded, scale, zero)) / inverse[start + index, start + index]
            errors[:, index] = error[:, 0]
            columns[:, index + 1 :] -= error * inverse[start + index, start + index + 1 : end]
        left[:, end:] -= errors @ inverse[start:end, end:]
    back = torch.argsort(order)
    g_idx = torch.arange(inputs, device=weights.device) / group
    scales, zeros = (torch.cat([part[which] for part in found.values()], 1) for which in (0, 1))
    return integers[:, back], scales, zeros, g_idx[back]


class AWQCalibration(Calibration):
    """The largest value of each input, for AWQ.

    Args:
        rows: the number of rows of the kernel.
        config: the settings.
        device: where to compute.

    Example:
        >>> calibration = AWQCalibration(4, AWQConfig(None, None, group_size=-1))
        >>> calibration.update(torch.randn(8, 4))
        >>> calibration.quantize(torch.randn(4, 6))["awq_scales"].shape
        torch.Size([4])

    Source: Lin et al., 2023
    """

    def __init__(self, rows: int, config: AWQConfig, device: torch.device | None = None) -> None:
        self.config = config
        self.largest = torch.zeros(rows, device=device)

    def update(self, inputs: Tensor) -> None:
        """Take a batch of inputs into account."""
        self.largest = torch.maximum(self.largest, self.checked(inputs, len(self.largest)).abs().amax(0))

    def quantize(self, kernel: Tensor) -> dict[str, Tensor]:
        """Quantized kernel, scales, zero points, factors and groups."""
        weights, size = kernel.detach().T, self.config.group_size
        factors = awq_search_scales(weights, self.largest, self.config.num_grid_points, size)
        g_idx = _groups(weights, size)
        integers, scale, zero = _rounded(weights * factors, size, g_idx)
        packed = pack_int4(integers.to(torch.uint8), axis=0, dtype="uint8")[0]
        return {
            "quantized_kernel": packed,
            "kernel_scale": scale,
            "kernel_zero": zero,
            "awq_scales": factors,
            "g_idx": g_idx.float(),
        }


def awq_search_scales(weights: Tensor, largest: Tensor, points: int = 20, group_size: int = -1) -> Tensor:
    """The factors for inputs, powers of their largest values, with which rounded weights do least harm.

    Args:
        weights: the matrix, of shape (outputs, inputs).
        largest: the largest value of each input.
        points: how many powers between 0 and 1 are tried.
        group_size: how many inputs share a scale; -1 for all.

    Example:
        >>> awq_search_scales(torch.randn(6, 4), torch.ones(4))
        tensor([1., 1., 1., 1.])
    """
    weights, largest = weights.float(), largest.float()
    largest = torch.where(largest < 1e-8, 1.0, largest)
    g_idx = _groups(weights, group_size)
    tried, losses = [], []
    for point in range(points + 1):
        factors = (largest ** (point / points)).clamp(min=1e-4)
        factors = factors / (factors.max() * factors.min()).sqrt().clamp(min=1e-8)
        integers, scale, zero = _rounded(weights * factors, group_size, g_idx)
        error = weights - dequantize_with_sz_map(integers, scale, zero, g_idx) / factors
        tried.append(factors)
        losses.append((error.square() * largest.square()).mean())
    return tried[int(torch.stack(losses).argmin())]


def _groups(weights: Tensor, size: int) -> Tensor:
    """The number of the group of each column."""
    columns = torch.arange(weights.shape[1], device=weights.device)
    return torch.zeros_like(columns) if size == -1 else columns // size


def _rounded(weights: Tensor, size: int, g_idx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix as whole numbers of 4 bits, with scales and zero points."""
    scale, zero, maxq = compute_quantization_parameters(weights, bits=4, per_channel=True, group_size=size)
    return quantize_with_sz_map(weights, scale, zero, g_idx, maxq), scale, zero
