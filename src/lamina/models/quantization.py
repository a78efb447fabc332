"""Surgery on a finished model: its layers are quantized one by one, for some modes with a look at data."""

from __future__ import annotations

import contextlib
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import ArgumentError, ArgumentTypeError, UnsupportedError, listing
from lamina.core.tensors import convert_to_numpy, convert_to_tensor
from lamina.layers.quantized_kernels import CalibratedKernel, QuantizableKernel, matrix_sides
from lamina.quantizers.calibration import AWQCalibration, Calibration, GPTQCalibration
from lamina.quantizers.configs import CalibratedConfig, QuantizationConfig, resolve_config
from lamina.training.adoption import Adoptions

Filters = str | Sequence[str] | Callable[[Any], bool] | None

_CALIBRATIONS: Mapping[str, Callable[..., Calibration]] = {"gptq": GPTQCalibration, "awq": AWQCalibration}


def quantize(model: Any, config: QuantizationConfig, filters: Filters = None, type_check: bool = True) -> None:
    """Quantize the layers of a model; see `Model.quantize`."""
    if filters is not None and not (isinstance(filters, (str, list, tuple)) or callable(filters)):
        raise ArgumentError(
            "The filters are not usable.",
            where="quantize(filters=...)",
            expected="a pattern, a list of patterns, or a function of a layer",
            received=type(filters).__name__,
        )
    structure = _structure(model, config) if isinstance(config, CalibratedConfig) else None
    for layer in model._flatten_layers():
        if not is_chosen(layer, filters) or len(layer._flatten_layers()) > 1:
            continue
        try:
            layer.quantize(config.mode, type_check=type_check, config=config)
        except UnsupportedError as error:
            if layer.weights:
                warnings.warn(str(error), stacklevel=3)
    if structure is not None and isinstance(config, CalibratedConfig):
        calibrate(config, structure, filters)
    for function in ("train_function", "test_function", "predict_function"):
        model.__dict__.pop(function, None)
    model.__dict__.update(_adoptions=Adoptions(), _serving=None)


def is_chosen(layer: Any, filters: Filters) -> bool:
    """Whether filters let a layer through: patterns found in its name, or a function of it."""
    if filters is None:
        return True
    if isinstance(filters, str):
        return re.search(filters, layer.name) is not None
    if isinstance(filters, (list, tuple)):
        return any(re.search(pattern, layer.name) for pattern in filters)
    return bool(filters(layer))  # type: ignore[operator]


def _structure(model: Any, config: CalibratedConfig) -> Mapping[str, Any]:
    structure = config.quantization_layer_structure
    structure = structure if structure is not None else model.get_quantization_layer_structure(config.mode)
    if structure is None:
        raise ArgumentError(
            f"The model does not say which of its layers {config.mode} shall follow.",
            where=f"model '{model.name}'",
            expected='{"pre_block_layers": [...], "sequential_blocks": [...]}',
            fix="name it as config.quantization_layer_structure, or override get_quantization_layer_structure(mode)",
        )
    if not structure.get("sequential_blocks"):
        raise ArgumentError(
            "There are no blocks to quantize.",
            where="quantization_layer_structure",
            expected='{"pre_block_layers": [...], "sequential_blocks": [...]}',
            received=structure,
        )
    if config.dataset is None or config.tokenizer is None:
        name = type(config).__name__
        raise ArgumentError("The dataset or the tokenizer is missing.", where=name, fix=f"{name}(dataset, tokenizer)")
    return structure


def calibrate(config: CalibratedConfig, structure: Mapping[str, Any], filters: Filters = None) -> None:
    """Round the kernels in each block by what its layers get to see, with the blocks before it quantized already.

    Args:
        config: the settings, with dataset and tokenizer.
        structure: "pre_block_layers", called in turn on tokens, and "sequential_blocks", which follow each other.
        filters: which layers to quantize.
    """
    samples = sequences(config.tokenizer, config.sequence_length, config.dataset, config.num_samples)
    with torch.no_grad():
        inputs = []
        for sample in samples:
            x: Any = convert_to_tensor(sample, "int32")
            for layer in structure.get("pre_block_layers", ()):
                x = layer(x)
            inputs.append(x)
        blocks = structure["sequential_blocks"]
        for block in blocks:
            _calibrate_block(block, inputs, config, filters)
            if block is not blocks[-1]:
                inputs = [block(_with_batch(x))[0] for x in inputs]


def _calibrate_block(block: Any, inputs: Sequence[Tensor], config: CalibratedConfig, filters: Filters) -> None:
    layers = [layer for layer in _kernel_layers(block, config.mode) if is_chosen(layer, filters)]
    make = _CALIBRATIONS[config.mode]
    gathered = [
        make(matrix_sides(layer)[0], config=config, device=layer._parameters["kernel"].device) for layer in layers
    ]
    with contextlib.ExitStack() as stack:
        for layer, calibration in zip(layers, gathered, strict=True):
            stack.enter_context(watched(layer, calibration))
        for x in inputs if layers else ():
            block(_with_batch(x))
    for layer, calibration in zip(layers, gathered, strict=True):
        scheme = layer.schemes[config.mode]
        assert isinstance(scheme, CalibratedKernel)
        scheme.calibrate(layer, calibration)


def _kernel_layers(block: Any, mode: str) -> list[Any]:
    """The layers in a block that wait for their calibration."""
    return [
        layer
        for layer in block._flatten_layers()
        if isinstance(layer, QuantizableKernel)
        and layer.quantization_mode == mode
        and layer._parameters.get("kernel") is not None
    ]


@contextlib.contextmanager
def watched(layer: Any, calibration: Calibration) -> Iterator[None]:
    """Within it, what the layer is called with is gathered."""
    rows = matrix_sides(layer)[0]

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = args[0] if args else kwargs["inputs"]
        calibration.update(inputs.reshape(-1, rows))

    hook = layer.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _with_batch(x: Tensor) -> Tensor:
    return x.unsqueeze(0) if x.ndim == 2 else x


def sequences(tokenizer: Any, length: int, dataset: Any, count: int = 128) -> np.ndarray:
    """Sequences of tokens, evenly spread over a dataset, which is repeated if it is too short.

    Args:
        tokenizer: an object with `tokenize(text)`.
        length: tokens per sequence.
        dataset: an iterable of texts, or of arrays of tokens.
        count: how many sequences.

    Returns:
        An array of int32 of shape (count, 1, length).

    Raises:
        ArgumentTypeError: the dataset is no iterable of texts or arrays.
        ArgumentError: it is empty.

    Example:
        >>> sequences(None, 2, [[1, 2, 3, 4]], count=1).shape
        (1, 1, 2)
    """
    if not hasattr(dataset, "__iter__") or isinstance(dataset, (str, bytes)):
        raise ArgumentTypeError(
            "The dataset is not usable.",
            where="dataset",
            expected="an iterable of texts or of arrays of tokens",
            received=type(dataset).__name__,
        )
    pieces = [
        np.asarray(convert_to_numpy(tokenizer.tokenize(piece) if isinstance(piece, str) else piece)).reshape(-1)
        for piece in dataset
    ]
    if not pieces:
        raise ArgumentError("The dataset is empty.", where="dataset", expected="texts, or arrays of tokens")
    tokens = np.concatenate(pieces).astype(np.int32)
    tokens = np.tile(tokens, -(-count * length // max(1, tokens.size))) if tokens.size < count * length else tokens
    places = tokens.size - length + 1
    # Where to begin is arbitrary, but must be the same in every process.
    first = zlib.crc32(b"calibration") % places
    starts = (first + np.arange(count) * max(1, places // count)) % places
    return np.lib.stride_tricks.sliding_window_view(tokens, length)[starts][:, None, :]


def quantize_by(model: Any, mode: str | None, config: Any, filters: Filters, options: dict[str, Any]) -> None:
    """What `Model.quantize` does with its arguments."""
    type_check = options.pop("type_check", True)
    if options:
        raise ArgumentError(
            "Unknown arguments.", where="quantize()", expected="mode, config, filters", received=listing(options)
        )
    quantize(model, resolve_config(mode, config), filters, type_check)
