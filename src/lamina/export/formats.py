"""`model.export`: which formats there are, how each is written, and how the numbers are compared afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.errors import ArgumentError, LaminaError, UnsupportedError, listing, nearest
from lamina.core.tensors import convert_to_numpy
from lamina.export.onnx import require, to_onnx
from lamina.export.program import Flat, capture, in_evaluation, quiet, step_by_step, without_own_operations
from lamina.export.signature import CHECKED, samples_of, signature_of
from lamina.export.torch_names import torch_state_dict
from lamina.layers.input_spec import InputSpec

Arrays = list[np.ndarray]


class ExportError(LaminaError, RuntimeError):
    """What was written does not compute what the model computes."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        endings: what paths of it end in.
        write: given the model, the signature, a path and options.
        run: given a path and the samples of a call, the outputs of what was written; None where nothing can run it.
        fixed: whether all sizes must be fixed.
    """

    endings: tuple[str, ...]
    write: Callable[..., None]
    run: Callable[[Path, list[Any]], Arrays] | None = None
    fixed: bool = False


def export_model(
    model: Any,
    filepath: str | os.PathLike[str],
    format: str = "tf_saved_model",
    verbose: bool | None = None,
    input_signature: Any = None,
    verify: bool = True,
    **options: Any,
) -> None:
    """Write a model for other programs to run. What is written does what the model does in evaluation mode.

    Sizes that are None in the signature stay open where the format can do that. After writing, the file is run on
    other sizes than it was captured with, and its outputs are compared with the model's.

    Args:
        model: a built model.
        filepath: where to.
        format: "onnx" (".onnx"), "torch" (a `torch.export` program, ".pt2"), "aotinductor" (a compiled package for this
            kind of machine, ".pt2"), "openvino" (".xml" and ".bin"), "litert" (".tflite", all sizes fixed) or
            "state_dict" (weights under the names and in the layouts of torch's modules, ".safetensors" or ".pt").
        verbose: whether to say where the file is; True by default.
        input_signature: shapes and dtypes of the inputs, where they shall differ from what the model knows.
        verify: whether to run what was written and compare. ONNX needs onnxruntime for it.
        **options: for the converter: `opset_version` for ONNX, what `torch.export.export` takes for torch,
            `inductor_configs` for AOTInductor, what the converters of OpenVINO and LiteRT take.

    Raises:
        ArgumentError: an unknown format, or a path of another ending.
        MissingPackageError: the converter is not installed.
        UnsupportedError: the model cannot be written in this format.
        ExportError: what was written computes something else.

    Example:
        >>> from lamina import layers, models
        >>> model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_model(model, f"{folder}/model.pt2", format="torch", verbose=False)
        ...     program = torch.export.load(f"{folder}/model.pt2")
        >>> tuple(program.module()(torch.ones(5, 4)).shape)
        (5, 2)

    Source: https://keras.io/api/models/model_saving_apis/export/
    """
    if format == "tf_saved_model":
        raise UnsupportedError(
            "A SavedModel is a graph of TensorFlow, which is not here.",
            where=f"export of '{model.name}'",
            expected=f"format={listing(FORMATS)}",
            fix='model.export("model.onnx", format="onnx"), or format="litert" for TensorFlow Lite',
        )
    if format not in FORMATS:
        raise ArgumentError(
            f"There is no such format.{nearest(format, FORMATS)}",
            where="export(format=...)",
            expected=listing(FORMATS),
            received=repr(format),
        )
    kind, target = FORMATS[format], Path(filepath)
    if not target.name.endswith(kind.endings):
        raise ArgumentError(
            "The path has the wrong ending for the format.",
            where=f"export(format={format!r})",
            expected=" or ".join(kind.endings),
            received=str(filepath),
        )
    arguments = signature_of(model, input_signature)
    if kind.fixed and any(size is None for spec in tree.flatten(arguments) for size in spec.shape[1:]):
        raise UnsupportedError(
            "This format needs fixed sizes.",
            where=f"export(format={format!r})",
            received=f"inputs of shapes {[tuple(spec.shape) for spec in tree.flatten(arguments)]}",
            fix="pass input_signature=[lamina.InputSpec(shape=(1, 128), dtype=...)]",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written in a folder beside and then moved, so that no half a file is ever under the name.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        written = Path(folder) / target.name
        kind.write(model, arguments, written, **options)
        if verify and kind.run is not None:
            _compare(model, arguments, kind.run, written, format, kind.fixed)
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == written):
            os.replace(part, target.parent / part.name)
    if verbose is not False:
        print(f"Saved the model at '{filepath}' ({format}).")


def _compare(
    model: Any, arguments: list[Any], run: Callable[..., Arrays], path: Path, format: str, fixed: bool
) -> None:
    """Raise ExportError unless the file gives what the model gives, within 1e-3 of the outputs' largest number."""
    samples = samples_of(arguments, (1, 1) if fixed else CHECKED)
    with in_evaluation(model), torch.no_grad():
        wanted = [convert_to_numpy(output) for output in tree.flatten(model(*samples))]
    found = run(path, samples)
    for index, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
        scale = max(1e-6, float(np.abs(ours).max(initial=0.0)))
        off = float(np.abs(ours - theirs).max(initial=0.0)) if ours.shape == theirs.shape else float("inf")
        if not off <= 1e-3 * scale and np.isfinite(ours).all():
            raise ExportError(
                "What was written computes something else than the model.",
                where=f"output {index} of export(format={format!r}), of shapes {ours.shape} and {theirs.shape}",
                expected=f"a difference below {1e-3 * scale:.2g}",
                received=f"{off:.2g}",
                fix="pass verify=False to keep the file as it is",
            )


def _write_program(model: Any, arguments: list[Any], path: Path, **options: Any) -> None:
    program = without_own_operations(capture(model, arguments, **options))
    with quiet():
        torch.export.save(program, path)


def _run_program(path: Path, samples: list[Any]) -> Arrays:
    with torch.no_grad():
        return [convert_to_numpy(output) for output in tree.flatten(torch.export.load(path).module()(*samples))]


def _write_package(model: Any, arguments: list[Any], path: Path, **options: Any) -> None:
    import torch._inductor

    with torch.no_grad(), quiet():
        program = without_own_operations(capture(model, arguments))
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), **options)


def _run_package(path: Path, samples: list[Any]) -> Arrays:
    import torch._inductor

    with torch.no_grad(), quiet():
        runner = torch._inductor.aoti_load_package(str(path))
        return [convert_to_numpy(output) for output in tree.flatten(runner(*samples))]


def _write_onnx(model: Any, arguments: list[Any], path: Path, **options: Any) -> None:
    to_onnx(model, arguments, **options).save(str(path))


def _run_onnx(path: Path, samples: list[Any]) -> Arrays:
    require("onnxruntime")
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    leaves = [convert_to_numpy(sample) for sample in tree.flatten(samples)]
    names = [given.name for given in session.get_inputs()]
    return [np.asarray(result) for result in session.run(None, dict(zip(names, leaves, strict=True)))]


def _write_openvino(model: Any, arguments: list[Any], path: Path, **options: Any) -> None:
    require("openvino", extra="openvino")
    import openvino  # pyright: ignore[reportMissingImports]

    between = path.with_suffix(".onnx")
    _write_onnx(model, arguments, between)
    openvino.save_model(openvino.convert_model(str(between), **options), str(path), compress_to_fp16=False)
    for part in path.parent.glob(f"{between.name}*"):
        part.unlink()


def _run_openvino(path: Path, samples: list[Any]) -> Arrays:
    import openvino  # pyright: ignore[reportMissingImports]

    results = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        [convert_to_numpy(s) for s in tree.flatten(samples)]
    )
    return [results[index] for index in range(len(results))]


def _write_litert(model: Any, arguments: list[Any], path: Path, **options: Any) -> None:
    require("litert_torch", extra="litert")
    import litert_torch  # pyright: ignore[reportMissingImports]

    leaves = tree.flatten(arguments)
    samples = tuple(samples_of(leaves, (1, 1)))
    specs = [InputSpec(spec.dtype, tuple(sample.shape)) for spec, sample in zip(leaves, samples, strict=True)]
    module = step_by_step(capture(Flat(model, arguments), specs)).module()
    # The converter copies transposed constants and then takes two for one if the copies lay at one address.
    for constant in module.state_dict(keep_vars=True).values():
        constant.data = constant.data.contiguous()
    with quiet():
        litert_torch.convert(module, samples, **options).export(str(path))


def _run_litert(path: Path, samples: list[Any]) -> Arrays:
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter = Interpreter(model_path=str(path))
    results = interpreter.get_signature_runner()(
        **{f"args_{i}": convert_to_numpy(s) for i, s in enumerate(tree.flatten(samples))}
    )
    return [results[name] for name in sorted(results)]


def _write_state_dict(model: Any, arguments: Sequence[Any], path: Path) -> None:
    state = torch_state_dict(model)
    if path.suffix == ".pt":
        torch.save(state, path)
        return
    require("safetensors")
    import safetensors.torch

    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, str(path))


FORMATS = {
    "onnx": Format((".onnx",), _write_onnx, _run_onnx),
    "torch": Format((".pt2",), _write_program, _run_program),
    "aotinductor": Format((".pt2",), _write_package, _run_package),
    "openvino": Format((".xml",), _write_openvino, _run_openvino),
    "litert": Format((".tflite",), _write_litert, _run_litert, fixed=True),
    "state_dict": Format((".safetensors", ".pt"), _write_state_dict),
}
