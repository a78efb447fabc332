"""`lamina export`: a saved model as a file for other programs."""

from __future__ import annotations

from pathlib import Path

from lamina.core import tree
from lamina.core.errors import ArgumentError, listing
from lamina.export.formats import FORMATS, export_model
from lamina.export.signature import signature_of
from lamina.layers.input_spec import InputSpec
from lamina.saving.models import load_model


def export_file(source: Path, target: Path, format: str | None, shapes: list[str]) -> str:
    """Load a model, write it in another format, and say so.

    Args:
        source: a `.keras` or `.h5` file.
        target: where to.
        format: as for `Model.export`; by default the first that has the target's ending.
        shapes: a shape such as "1,224,224,3" for each input, "?" for a size left open; none for what the model knows.

    Raises:
        ArgumentError: no format has this ending, or a shape cannot be read.
        LaminaError: the file cannot be loaded, or the model cannot be written so.
    """
    if format is None:
        format = next((name for name, kind in FORMATS.items() if target.name.endswith(kind.endings)), None)
    if format is None:
        raise ArgumentError(
            "No format has this ending.",
            where="lamina export",
            expected=listing({ending for kind in FORMATS.values() for ending in kind.endings}),
            received=target.name,
        )
    model = load_model(source, compile=False)
    signature = None
    if shapes:
        known = tree.flatten(signature_of(model))
        if len(known) != len(shapes):
            expected, received = f"{len(known)} times --shape", f"{len(shapes)} times"
            raise ArgumentError("Each input needs a shape.", where="--shape", expected=expected, received=received)
        signature = [
            InputSpec(spec.dtype, _sizes(shape), name=spec.name) for spec, shape in zip(known, shapes, strict=True)
        ]
    export_model(model, target, format, verbose=False, input_signature=signature)
    return f"{source} -> {target} ({format}, {target.stat().st_size:,} bytes)"


def _sizes(shape: str) -> tuple[int | None, ...]:
    """The sizes of a shape as it is typed: "?,128"."""
    try:
        return tuple(
            None if size.strip() == "?" else int(size) for size in shape.strip("()").split(",") if size.strip()
        )
    except ValueError:
        raise ArgumentError(
            "A shape cannot be read.",
            where="--shape",
            expected='sizes such as "1,224,224,3", "?" for open ones',
            received=shape,
        ) from None
