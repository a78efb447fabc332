"""ONNX: through torch's exporter, with recurrent layers as ONNX's own."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from typing import Any

from torch import nn

from lamina.core import tree
from lamina.core.errors import MissingPackageError, UnsupportedError
from lamina.export.program import RECURRENCE, Flat, capture, open_sizes, quiet
from lamina.export.signature import CAPTURED, names_of, samples_of


def to_onnx(model: Any, arguments: list[Any], opset_version: int | None = None, **options: Any) -> Any:
    """The `torch.onnx.ONNXProgram` of a model; sizes that the specs leave open stay open.

    Args:
        model: a built model.
        arguments: specs of what it is called with.
        opset_version: of ONNX; torch's default otherwise.
        **options: for `torch.onnx.export`.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
        UnsupportedError: the model cannot be captured, or holds what ONNX has not.
    """
    require("onnx", "onnxscript")
    import torch.onnx

    flat = Flat(model, arguments)
    names, leaves = names_of(arguments), tree.flatten(arguments)
    program = capture(flat, leaves)
    outputs = output_names(model, len(program.graph_signature.user_outputs))
    try:
        with quiet(), _silent():
            return torch.onnx.export(
                program,
                tuple(samples_of(leaves, CAPTURED)),
                dynamo=True,
                verbose=False,
                opset_version=opset_version,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=open_sizes(leaves, _axis_name, flat=True),
                custom_translation_table={RECURRENCE: _recurrence, **options.pop("custom_translation_table", {})},
                **options,
            )
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UnsupportedError(
            f"The model cannot be written as ONNX: {str(cause).strip().splitlines()[0]}",
            where=f"export of '{model.name}'",
            fix="give a translation for the operation: custom_translation_table={torch.ops....default: function}",
        ) from error


def require(*packages: str, extra: str = "export") -> None:
    """Raise MissingPackageError unless the packages are installed."""
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise MissingPackageError(
            f"{' and '.join(missing)} must be installed for this format.",
            where="export",
            fix=f'pip install "lamina[{extra}]"' if extra else f"pip install {' '.join(missing)}",
        )


def output_names(model: nn.Module, count: int) -> list[str]:
    """A name for each output: the model's own where it has them."""
    names: list[str] = list(getattr(model, "output_names", None) or ())
    if len(names) != count or len(set(names)) != count:
        return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    return names


def _axis_name(index: int, axis: int) -> str:
    return "batch" if axis == 0 else f"dim_{index}_{axis}"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what torch's exporter prints and logs on its way."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _recurrence(kind: str, x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any, keep: bool) -> Any:
    """`lamina::recurrence` as ONNX's LSTM, GRU or RNN, whose gates stand as i, o, f, c, and z, r, h."""
    import onnxscript

    op: Any = onnxscript.opset18
    first, direction = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    nothing = op.Constant(value_floats=[])
    w, r = op.Transpose(kernel, perm=[1, 0]), op.Transpose(recurrent_kernel, perm=[1, 0])
    b = op.Reshape(bias, op.Constant(value_ints=[-1]))
    if kind == "lstm":
        w, r, b = _in_onnx_order(op, w), _in_onnx_order(op, r), _in_onnx_order(op, b)
    if kind != "gru":
        b = op.Concat(b, op.Sub(b, b), axis=0)
    units = int(recurrent_kernel.shape[0])
    given = [op.Unsqueeze(t, first) for t in (w, r, b)]
    start = op.Unsqueeze(h, first)
    if kind == "lstm":
        y, last_h, last_c = op.LSTM(x, *given, None, start, op.Unsqueeze(c, first), hidden_size=units)
        return op.Squeeze(y, direction), op.Squeeze(last_h, first), op.Squeeze(last_c, first), nothing
    if kind == "gru":
        y, last_h = op.GRU(x, *given, None, start, hidden_size=units, linear_before_reset=1)
    else:
        y, last_h = op.RNN(x, *given, None, start, hidden_size=units, activations=[kind.title()])
    return op.Squeeze(y, direction), op.Squeeze(last_h, first), nothing, nothing


def _in_onnx_order(op: Any, gates: Any) -> Any:
    i, f, g, o = op.Split(gates, num_outputs=4, axis=0)
    return op.Concat(i, o, f, g, axis=0)
