"""What can be told from the data alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.doctor.finding import Finding

Tensor = torch.Tensor

_FAR = 10.0
"""Inputs of a typical size above this, or as many times their spread away from zero, are not scaled."""
_COLUMNS_DIFFER = 100.0
_RARE, _IMBALANCE = 0.05, 10.0
_HASHED_ROWS, _COMPARED = 100_000, 2**26
_SHOWN = 5


def parts(data: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a structure, each with the expression that gives it."""
    for path, leaf in tree.flatten_with_path(data):
        if isinstance(leaf, Tensor) and leaf.numel():
            yield name + "".join(f"[{step!r}]" for step in path), leaf


def nan_in_data(data: Any, name: str) -> Iterator[Finding]:
    """NaN and infinity, and where they are."""
    for part, leaf in parts(data, name):
        if not leaf.is_floating_point() or bool(torch.isfinite(leaf.sum())):
            continue
        wrong = ~torch.isfinite(leaf).reshape(len(leaf), -1)
        rows, columns = wrong.any(1), wrong.any(0)
        if not bool(rows.any()):
            continue
        count, first = int(rows.sum()), int(rows.nonzero()[0])
        places = columns.nonzero()[:, 0].tolist()
        where = f", in columns {places[:_SHOWN]}" if leaf.ndim == 2 and len(places) < leaf.shape[1] else ""
        axes = ", ".join(map(str, range(1, leaf.ndim)))
        each = f".all(axis=({axes},))" if axes else ""
        yield Finding(
            "nan-in-data",
            "error",
            f"{part} holds NaN or infinity in {count} of {len(rows)} samples, the first at index {first}{where}.",
            f"keep = np.isfinite({part}){each}\nx, y = x[keep], y[keep]",
            evidence={"samples": count, "of": len(rows), "first": first, "columns": places[:_SHOWN]},
        )


def unscaled_inputs(values: Tensor, part: str) -> Iterator[Finding]:
    """Inputs, as the first layer with weights gets them, that are far from zero mean and unit spread."""
    values = values.detach().float()
    if not bool(torch.isfinite(values).all()) or not values.numel():
        return
    low, high, size = float(values.min()), float(values.max()), float(values.square().mean().sqrt())
    spread = float(values.std(correction=0))
    if low >= 0 and 100 < high <= 255 and size > _FAR:
        remedy = "x = x / 255, or begin the model with layers.Rescaling(1/255)"
        message = f"{part} lies between {low:g} and {high:g}, as pixels do, and reaches the first layer unscaled."
        evidence: dict[str, Any] = {"min": low, "max": high, "rms": round(size, 3)}
    elif values.ndim == 2 and (found := _uneven(values)) is not None:
        message = (
            f"Columns of {part} differ widely in scale: column {found['widest']} spans {found['largest']:.3g}, "
            f"column {found['narrowest']} {found['smallest']:.3g}."
        )
        remedy, evidence = _normalization(part), found
    elif size > _FAR:
        message = f"{part} is large: its typical size is {size:.3g}, from {low:g} to {high:g}."
        remedy, evidence = _normalization(part), {"rms": round(size, 3), "spread": round(spread, 3)}
    else:
        return
    yield Finding("unscaled-inputs", "warning", message, remedy, evidence=evidence)


def _uneven(values: Tensor) -> dict[str, Any] | None:
    span = values.amax(0) - values.amin(0)
    moving = span > 0
    if int(moving.sum()) < 2:
        return None
    narrow = torch.where(moving, span, torch.inf)
    largest, smallest = float(span.max()), float(narrow.min())
    if largest <= _COLUMNS_DIFFER * smallest:
        return None
    return {"widest": int(span.argmax()), "largest": largest, "narrowest": int(narrow.argmin()), "smallest": smallest}


def _normalization(part: str) -> str:
    return (
        f"scale = layers.Normalization()\nscale.adapt({part})\nmodel = Sequential([scale, ...])"
        f"  # or {part} = ({part} - mean) / std"
    )


def constant_feature(data: Any, name: str) -> Iterator[Finding]:
    """Columns, or whole inputs, that are the same in all samples."""
    for part, leaf in parts(data, name):
        if len(leaf) < 2:
            continue
        rows = leaf[:: max(1, leaf.numel() // _COMPARED)]
        rows = rows.reshape(len(rows), -1)
        same = (rows == rows[:1]).all(0)
        if bool(same.all()):
            yield Finding(
                "constant-feature",
                "error",
                f"{part} is the same for all {len(leaf)} samples: nothing can be learned from it.",
                f"print({part}[:3])  # look at how it is read",
                evidence={"columns": rows.shape[1], "value": float(rows[0, 0])},
            )
        elif leaf.ndim == 2 and bool(same.any()):
            places = same.nonzero()[:, 0].tolist()
            # Pixels at the border and rare words are zero everywhere in many data sets, without harm.
            severity = "warning" if bool((rows[0] * same != 0).any()) else "note"
            named = str(places) if len(places) <= _SHOWN else f"{places[:_SHOWN]} and {len(places) - _SHOWN} more"
            yield Finding(
                "constant-feature",
                severity,
                f"{len(places)} of {len(same)} columns of {part} never change: {named}.",
                f"{part} = {part}[:, {part}.std(axis=0) > 0]",
                evidence={"columns": places[:_SHOWN], "count": len(places)},
            )


def class_imbalance(classes: Tensor, count: int | None = None) -> Iterator[Finding]:
    """Classes of which there are far fewer samples than of others.

    Args:
        classes: class numbers.
        count: how many classes there are, if known.
    """
    counts = torch.bincount(classes.reshape(-1).long(), minlength=count or 0)
    present = counts[counts > 0]
    total, rarest, most = int(counts.sum()), int(present.min()), int(present.max())
    if len(present) < 2 or most < _IMBALANCE * rarest or rarest >= _RARE * total:
        return
    weights = {
        number: round(total / (len(present) * each), 3) for number, each in enumerate(counts.tolist()) if each > 0
    }
    rare = int(torch.where(counts > 0, counts, total).argmin())
    yield Finding(
        "class-imbalance",
        "warning",
        f"Class {rare} has {rarest} of {total} samples, class {int(counts.argmax())} has {most}.",
        f"model.fit(x, y, class_weight={weights})",
        evidence={"rarest": rarest, "most": most, "ratio": round(most / rarest, 1), "class_weight": weights},
    )


def train_validation_overlap(x: Any, held_out: Any) -> Iterator[Finding]:
    """Samples that are in both sets."""
    known, tested = _hashes(x), _hashes(held_out)
    if known is None or tested is None or not len(tested):
        return
    unique = np.unique(known)
    shared = int(np.isin(tested, unique).sum())
    share = shared / len(tested)
    # Where samples repeat by themselves, as with few categories, they also do across the two sets.
    if share < 0.01 or share <= 2 * (1 - len(unique) / len(known)):
        return
    first = int(np.isin(tested, unique).nonzero()[0][0])
    yield Finding(
        "train-validation-overlap",
        "error" if share > 0.5 else "warning",
        f"{shared} of {len(tested)} validation samples are also in the training data, the first at index {first}: "
        "the validation results are too good.",
        "known = {row.tobytes() for row in x}\n"
        "keep = [row.tobytes() not in known for row in x_val]\nx_val, y_val = x_val[keep], y_val[keep]",
        evidence={"shared": shared, "of": len(tested), "first": first},
    )


def _hashes(data: Any) -> Any:
    """A number for each sample, the same for the same sample."""
    found: Any = None
    for _, leaf in parts(data, ""):
        rows = leaf[:_HASHED_ROWS].detach().cpu().reshape(len(leaf[:_HASHED_ROWS]), -1)
        raw = rows.contiguous().view(torch.uint8).numpy().reshape(len(rows), -1)
        hashes = np.fromiter((hash(row.tobytes()) for row in raw), np.int64, len(raw))
        found = hashes if found is None else found * np.int64(1_000_003) ^ hashes
    return found
