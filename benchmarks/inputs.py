"""Rows a second through `fit` for each kind of input, with a model whose step does nothing.

    python -m benchmarks inputs [KIND ...] [--rows 200000] [--columns 32] [--batch 256] [--rounds 5]
                                [--json FILE] [--chart FILE]

All kinds hold the same numbers: float32 columns and a label. Beside them stands torch's DataLoader on the same tensors,
walked by hand. One round is one epoch of every kind, in turn; the first one, which starts threads and caches, is not
counted. What a package is missing for is left out.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import lamina
from benchmarks.command import parser_of
from benchmarks.report import number, print_table, processor_name
from lamina.data import Dataset

REFERENCE = "torch DataLoader, by hand"
Run = Callable[[], None]


class NoOp(lamina.Model):
    """A model that takes whatever it is given and does nothing with it."""

    def train_step(self, data: Any) -> dict[str, float]:
        return {}


class Batches(lamina.utils.PyDataset):
    """The rows as a PyDataset."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int, **options: Any) -> None:
        super().__init__(**options)
        self.x, self.y, self.batch = x, y, batch

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch)

    def __getitem__(self, index: int) -> Any:
        rows = slice(index * self.batch, (index + 1) * self.batch)
        return self.x[rows], self.y[rows]


def runs_of(x: np.ndarray, y: np.ndarray, batch: int, folder: Path) -> dict[str, Run]:
    """What reads all rows once, by kind of input."""
    model = NoOp()
    model.compile()
    tensors = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))

    def fit(data: Any, y: Any = None, **options: Any) -> Run:
        return lambda: model.fit(data() if callable(data) else data, y, batch_size=batch, verbose=0, **options)

    def by_hand() -> None:
        for _ in DataLoader(tensors, batch_size=batch, shuffle=True):
            pass

    def generator() -> Iterator[Any]:
        return ((x[start : start + batch], y[start : start + batch]) for start in range(0, len(x), batch))

    np.save(folder / "x.npy", x)
    rows = Dataset.from_tensor_slices((x, y))
    runs = {
        REFERENCE: by_hand,
        "NumPy": fit(x, y),
        "NumPy, in order": fit(x, y, shuffle=False),
        "torch tensors": fit(torch.from_numpy(x), torch.from_numpy(y)),
        "mapped .npy": fit(np.load(folder / "x.npy", mmap_mode="r"), y),
        "torch DataLoader": fit(DataLoader(tensors, batch_size=batch, shuffle=True)),
        "torch Dataset": fit(tensors),
        "lamina Dataset": fit(rows.shuffle(len(x)).batch(batch)),
        "lamina Dataset, ahead": fit(rows.shuffle(len(x)).batch(batch).prefetch(4)),
        "generator": fit(lambda: generator()),
        "PyDataset": fit(Batches(x, y, batch)),
        "PyDataset, 2 threads": fit(Batches(x, y, batch, workers=2)),
    }
    return runs | tables(x, y, folder, fit)


def tables(x: np.ndarray, y: np.ndarray, folder: Path, fit: Callable[..., Run]) -> dict[str, Run]:
    """The same for tables, as far as packages for them are there."""
    columns = {f"c{index}": np.ascontiguousarray(column) for index, column in enumerate(x.T)} | {"label": y}
    runs: dict[str, Run] = {}
    try:
        import pandas

        runs["pandas"] = fit(pandas.DataFrame(columns), "label")
    except ImportError:
        pass
    try:
        import polars

        runs["polars"] = fit(polars.DataFrame(columns), "label")
    except ImportError:
        pass
    try:
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table(columns)
        parquet.write_table(table, folder / "rows.parquet", row_group_size=2**16)
        runs["Arrow table"] = fit(table, "label")
        runs["Arrow reader"] = fit(table.to_reader, "label")
        runs["Parquet file"] = fit(str(folder / "rows.parquet"), "label")
        import datasets

        hugging_face = datasets.Dataset(table)
        runs["Hugging Face"] = fit(hugging_face, "label")
        runs["Hugging Face, torch"] = fit(hugging_face.with_format("torch"), "label")
        runs["Hugging Face stream"] = fit(hugging_face.to_iterable_dataset(), "label")
    except ImportError:
        pass
    try:
        from scipy import sparse

        runs["SciPy sparse"] = fit(sparse.csr_matrix(x), y)
    except ImportError:
        pass
    return runs


def measured(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by kind; the kinds take turns."""
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    for turn in range(rounds + 1):
        for kind, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                times[kind].append(time.perf_counter() - start)
    return times


def write_chart(path: Path, rates: dict[str, float]) -> None:
    """A bar for each kind, on a logarithmic scale, with a line at the reference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 0.6 + 0.3 * len(rates)), layout="constrained")
    colours = ["tab:blue" if kind == REFERENCE else "tab:orange" for kind in rates]
    axis.barh(list(rates), list(rates.values()), color=colours)
    axis.axvline(rates[REFERENCE], color="black", linestyle=":", linewidth=1.2)
    axis.set_xscale("log")
    axis.set_xlabel("rows a second; dotted: torch's DataLoader, walked by hand", fontsize=9)
    axis.set_title(f"Rows a second through fit, {processor_name()}", fontsize=10)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: list[str]) -> None:
    parser = parser_of("inputs", __doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="parts of names of kinds; by default all")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--chart", type=Path, help="write a picture there")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    random = np.random.default_rng(0)
    x = random.normal(size=(options.rows, options.columns)).astype("float32")
    y = random.integers(0, 2, options.rows)
    with tempfile.TemporaryDirectory() as folder:
        runs = runs_of(x, y, options.batch, Path(folder))
        if options.kinds:
            runs = {kind: runs[kind] for kind in runs if kind == REFERENCE or any(k in kind for k in options.kinds)}
        times = measured(runs, options.rounds)
    base = times[REFERENCE]
    rates = {kind: options.rows / statistics.median(seconds) for kind, seconds in times.items()}
    rows = []
    for kind, seconds in times.items():
        ratio = statistics.median(reference / own for own, reference in zip(seconds, base, strict=True))
        rows.append([kind, f"{rates[kind]:,.0f}", number(ratio), number(statistics.median(seconds), 1e3)])
    shape = f"{options.rows:,} rows of {options.columns} columns, batches of {options.batch}"
    print_table(f"{shape}: one epoch", ["", "rows/s", "to DataLoader", "ms"], rows)
    if options.json:
        content = {"rows": options.rows, "columns": options.columns, "batch": options.batch, "seconds": times}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.chart:
        write_chart(options.chart, rates)
