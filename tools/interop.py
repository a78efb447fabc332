#!/usr/bin/env python3
"""Carries models between lamina and the real Keras in every kind of file, and compares what they predict.

    python tools/interop.py [WORD ...]

Every layer of the contract stands in a model, then models of every shape, then optimizers whose training goes on. A
word chooses those with it in their names. Prints a table of families, kinds of file and directions, then what failed.
Exits with 1 if anything did.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from tests.contract.harness import LayerCase, find  # noqa: E402
from tests.contract.test_layers import CASES  # noqa: E402
from tests.parity import test_parity_saving as parity  # noqa: E402

import lamina  # noqa: E402

KINDS = (".keras", "folder", ".weights.h5", "shards", ".h5", "JSON")
DIRECTIONS = {"to Keras": (lamina, keras), "from Keras": (keras, lamina)}
# The old format of whole models holds no ops.
UNABLE = {".h5": {"arithmetic"}}
# Layers whose numbers differ between the libraries, files or not, as tests/parity says.
UNLIKE = ("ContrastLimitedAdaptiveHistogramEqualization",)


class PeerError(Exception):
    """Keras itself does not get its own model through this kind of file."""


@dataclass(frozen=True)
class Subject:
    """A model to be carried over.

    Args:
        family: the row of the table.
        name: what it is called in the list of failures.
        build: makes it, of lamina or of Keras.
        data: gives what it predicts from.
        kinds: the kinds of file that can hold it.
        custom: classes and functions that loading needs.
    """

    family: str
    name: str
    build: Callable[[Any], Any]
    data: Callable[[], Any]
    kinds: tuple[str, ...] = KINDS
    tolerance: float = 2e-5


def subjects() -> Iterator[Subject]:
    """Every layer of the contract, and every model of the parity tests."""
    for case in CASES:
        family = find(case.layer).__module__.removeprefix("lamina.layers.").split(".")[0].split("_")[0]
        if not case.peerless:
            kinds = (".weights.h5", "shards") if case.unsaved else KINDS
            yield Subject(family, str(case), _model_of(case), lambda case=case: _data_of(case), kinds)
    for build, data in parity.MODELS.items():
        kinds = tuple(kind for kind in KINDS if build.__name__ not in UNABLE.get(kind, set()))
        yield Subject("whole models", build.__name__, build, data, kinds)


def _model_of(case: LayerCase) -> Callable[[Any], Any]:
    def build(k: Any) -> Any:
        symbols = [k.Input(s[1:], dtype="int32" if case.kind == "ids" else "float32") for s in case.shapes]
        layer = case.make(name="subject") if k is lamina else case.make_peer(name="subject")
        inputs = case.nest(symbols)
        return k.Model(symbols, case.call(layer, inputs))

    return build


def _data_of(case: LayerCase) -> list[Any]:
    generator = np.random.default_rng(1)
    if case.kind == "ids":
        return [generator.integers(0, case.high, shape).astype("int32") for shape in case.shapes]
    if find(case.layer).__module__.startswith("lamina.layers.preprocessing.image"):
        return [generator.uniform(0, 255, shape).astype("float32") for shape in case.shapes]
    return [generator.normal(size=shape).astype("float32") for shape in case.shapes]


def carry(subject: Subject, kind: str, first: Any, second: Any, folder: Path) -> None:
    """One model to the other library in one kind of file; AssertionError if it predicts otherwise there."""
    model, data = subject.build(first), subject.data()
    if kind in (".weights.h5", "shards"):
        path = folder / ("a.weights.h5" if kind == ".weights.h5" else "a.weights.json")
        largest = max((8 * math.prod(weight.shape) for weight in model.weights), default=8)
        model.save_weights(path, **({"max_shard_size": 1.5 * largest / 1024**3} if kind == "shards" else {}))
        other = subject.build(second)
        other.load_weights(path)
    elif kind == "JSON":
        other = second.models.model_from_json(model.to_json())
        other.set_weights(model.get_weights())
    else:
        path = str(folder / ("a" if kind == "folder" else f"a{kind}"))
        first.saving.save_model(model, path, **({"zipped": False} if kind == "folder" else {}))
        other = second.saving.load_model(path)
    expected = subject.build(second) if subject.name.startswith(UNLIKE) else model
    _compare(_predicted(other, data), _predicted(expected, data), subject.tolerance)


def carry_or_blame(subject: Subject, kind: str, first: Any, second: Any, folder: Path) -> None:
    """The same; PeerError where Keras alone fails at it too."""
    try:
        carry(subject, kind, first, second, folder / "a")
    except Exception:
        try:
            carry(subject, kind, keras, keras, folder / "b")
        except Exception as error:
            raise PeerError(f"{type(error).__name__}: {error}") from error
        raise


def _predicted(model: Any, data: Any) -> list[np.ndarray]:
    import torch

    with torch.no_grad():
        result = model(data if not isinstance(data, list) or len(data) > 1 else data[0], training=False)
    return [np.asarray(leaf.detach().float().cpu()) for leaf in keras.tree.flatten(result)]


def _compare(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    assert len(found) == len(expected), f"{len(found)} outputs, not {len(expected)}"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def go_on(name: str, first: Any, second: Any, folder: Path) -> None:
    """A compiled model to the other library after some training; both must train on alike."""
    x, y = parity.batch(16, 6), parity.batch(16, 2)
    model = parity.small(first)
    model.compile(parity.optimizer_of(first, name), loss="mse", metrics=["mae"])
    parity.train(model, x, y)
    model.save(folder / "a.keras")
    other = second.saving.load_model(folder / "a.keras")
    for each in (model, other):
        parity.train(each, x, y)
    parity.assert_same_weights(model, other)


def trials(words: list[str]) -> Iterator[tuple[str, str, str, str, Callable[[Path], None]]]:
    """Family, name, kind, direction, and what to do."""

    def chosen(*names: str) -> bool:
        return not words or any(word.lower() in name.lower() for word in words for name in names)

    for subject in subjects():
        if chosen(subject.family, subject.name):
            for kind in subject.kinds:
                for direction, pair in DIRECTIONS.items():
                    yield (
                        *(subject.family, subject.name, kind, direction),
                        lambda folder, s=subject, k=kind, p=pair: carry_or_blame(s, k, p[0], p[1], folder),
                    )
    for name in parity.OPTIMIZERS:
        if chosen("compiled state", name):
            for direction, pair in DIRECTIONS.items():
                yield "compiled state", name, ".keras", direction, lambda f, n=name, p=pair: go_on(n, p[0], p[1], f)


def main(words: list[str]) -> int:
    """Runs all that was chosen; the exit status."""
    logging.disable(logging.CRITICAL)
    begun = shown = time.monotonic()
    table: dict[str, collections.Counter[tuple[str, str]]] = collections.defaultdict(collections.Counter)
    failures: list[str] = []
    unable: collections.Counter[str] = collections.Counter()
    names: dict[str, set[str]] = collections.defaultdict(set)
    for family, name, kind, direction, run in trials(words):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), open(os.devnull, "w") as null:
            warnings.simplefilter("ignore")
            for part in ("a", "b"):
                Path(folder, part).mkdir()
            try:
                with contextlib.redirect_stdout(null):
                    run(Path(folder))
            except PeerError as error:
                unable[f"{name} in {kind}: {' '.join(str(error).split())[:120]}"] += 1
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                text = " ".join(str(error).split())[:300]
                failures.append(f"{family}: {name}, {kind} {direction}: {type(error).__name__}: {text} [{last.name}]")
            else:
                table[family][kind, direction] += 1
        names[family].add(name)
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(f"{sum(map(len, names.values()))} subjects, {len(failures)} failures", file=sys.stderr, flush=True)
    _print_table(table, names)
    if unable:
        print("\nKeras does not get these through a file of its own:", *sorted(unable), sep="\n  ")
    print(*failures, sep="\n")
    total = sum(sum(row.values()) for row in table.values())
    print(f"interop with Keras {keras.__version__}: {total} trials equal, {len(failures)} failures, ", end="")
    print(f"{sum(unable.values())} that Keras cannot do alone; {time.monotonic() - begun:.0f} s")
    return int(bool(failures))


def _print_table(table: dict[str, collections.Counter[tuple[str, str]]], names: dict[str, set[str]]) -> None:
    """Families down, kinds of file across; in each cell the trials to Keras and from Keras that came out equal."""
    print(f"{'':<18}{'cases':>6}" + "".join(f"{kind:>14}" for kind in KINDS))
    for family, row in table.items():
        cells = (" + ".join(str(row[kind, direction]) for direction in DIRECTIONS) for kind in KINDS)
        print(f"{family:<18}{len(names[family]):>6}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
