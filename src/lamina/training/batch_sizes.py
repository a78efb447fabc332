"""The search for a batch size: what fits into memory, and what is fast."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lamina.callbacks.doctor import process_memory
from lamina.core import tree
from lamina.core.errors import StateError
from lamina.core.memory import keep_memory, return_memory
from lamina.data.arrays import ArraySource
from lamina.data.feed import Feed
from lamina.data.source import pack_x_y_sample_weight, to_device
from lamina.training.execution import EagerExecutor, MethodExecutor
from lamina.training.prepare import device_of, state_of
from lamina.visualization.learning_rates import plot_batch_sizes

_MOST = 1 << 16
_SHARE, _MARGIN = 0.8, 1.1
"""The part of a machine's memory that may be filled, and by how much more than foretold a batch may take."""
_STEPS, _SECONDS = 5, 0.5
_NEARLY = 0.95
_NO_ROOM = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class BatchSizeTry(NamedTuple):
    """What steps on batches of one size took: the speed of the fastest, and bytes beside what the model keeps."""

    samples_per_second: float
    memory: int


@dataclass(frozen=True)
class BatchSizes:
    """What `find_batch_size` found; printed, it is a table.

    Args:
        table: a `BatchSizeTry` for each size that fits, in rising order.
        failed: the least size known not to fit; None if all did.
        rows: how many different samples the batches were made of.

    Example:
        >>> found = BatchSizes({2: BatchSizeTry(900.0, 1 << 20), 4: BatchSizeTry(1500.0, 2 << 20)}, 8, 100)
        >>> found.largest, found.suggestion
        (4, 4)
        >>> print(found)
        batch size  samples/s      memory
                 2        900       1 MiB
                 4      1,500       2 MiB
        largest 4 (8 does not fit), fastest 4, suggested 4
    """

    table: Mapping[int, BatchSizeTry]
    failed: int | None
    rows: int

    @property
    def largest(self) -> int:
        """The largest size that fits."""
        return max(self.table)

    @property
    def fastest(self) -> int:
        """The size with the most samples in a second."""
        return max(self.table, key=lambda size: self.table[size].samples_per_second)

    @property
    def suggestion(self) -> int:
        """The smallest size that is nearly (95%) as fast as the fastest: more would cost updates and gain no time."""
        enough = _NEARLY * self.table[self.fastest].samples_per_second
        return min(size for size, found in self.table.items() if found.samples_per_second >= enough)

    def plot(self, path: str | os.PathLike[str] | None = None, title: str | None = None) -> Any:
        """Draw it; see `lamina.visualization.plot_batch_sizes`."""
        return plot_batch_sizes(self, path, title)

    def __repr__(self) -> str:
        return f"BatchSizes(largest={self.largest}, fastest={self.fastest}, suggestion={self.suggestion})"

    def __str__(self) -> str:
        lines = ["batch size  samples/s      memory"]
        lines += [f"{n:>10,}  {rate:>9,.0f}  {memory / 2**20:>6,.0f} MiB" for n, (rate, memory) in self.table.items()]
        why = f"{self.failed} does not fit" if self.failed else "no more was tried"
        lines.append(f"largest {self.largest} ({why}), fastest {self.fastest}, suggested {self.suggestion}")
        repeated = [f"Batches of more than {self.rows} were made by repeating samples."]
        return "\n".join(lines + repeated * (self.largest > self.rows))


class BatchSizeSearch:
    """Doubles the size of batches until one does not fit, then halves the gap.

    Args:
        model: the model, built; its state will change.
        feed: the data; of what is not in memory the first batch is used.
        memory: bytes that a step may take; by default what is there, of which a CPU keeps a fifth.
    """

    def __init__(self, model: Any, feed: Feed, memory: float | None = None) -> None:
        self._model, self._memory, self._device = model, memory, device_of(model)
        self._executor = MethodExecutor(model) if model._has_own_steps() else EagerExecutor(state_of(model))
        source = feed.source
        held = isinstance(source, ArraySource)
        self._data = pack_x_y_sample_weight(source.x, source.y, source.sample_weight) if held else feed.peek()
        self.rows = len(next(leaf for leaf in tree.flatten(self._data) if np.ndim(leaf)))
        self.samples = self.rows if held else self.rows * source.batches if source.batches else _MOST
        self.tries: dict[int, BatchSizeTry] = {}

    def run(self, start: int, limit: int | None, fineness: float) -> BatchSizes:
        """Find the largest size; see `find_batch_size`."""
        limit, low, high, room = limit or self.samples, 0, None, math.inf
        on_gpu = self._device.type == "cuda"
        # Elsewhere sizes are foretold from smaller ones, for the system ends a process that takes too much.
        size = min(start if on_gpu else 2, limit)
        self._executor.expect("train", None)
        self._try(size)  # what optimizers and kernels make at their first step is not counted
        if not on_gpu:
            keep_memory()  # as in fit
            resident, bound = process_memory() or (0, 0)
            room = _SHARE * bound - resident
        room = room if self._memory is None else self._memory
        while low < limit and (high is None or high - low > max(1.0, fineness * low)):
            found = self._try(size) if self.foretold(size) <= room else None
            if found is None or found.memory > room:
                high = size
            else:
                self.tries[size], low = found, size
            size = min(2 * low, limit) if high is None else (low + high) // 2
        if not low:
            raise StateError(
                "Not even a batch of one sample fits into memory.",
                where="find_batch_size",
                expected=f"a step of at most {room / 2**20:,.0f} MiB",
                fix='use a smaller model or mixed_precision.set_global_policy("mixed_bfloat16")',
            )
        return BatchSizes(dict(sorted(self.tries.items())), high, self.rows)

    def foretold(self, size: int) -> float:
        """The bytes that batches of a size will take at most, judged by the largest two that were tried."""
        points = sorted(self.tries.items())[-2:]
        if not points:
            return 0.0
        (before, one), (last, two) = points[0], points[-1]
        # What a batch takes grows with its size, or steeper, up to its square; it may be hidden at first by gradients.
        rise = math.log(two.memory / one.memory) / math.log(last / before) if len(points) > 1 else 1.0
        return _MARGIN * two.memory * (size / last) ** min(2.0, max(1.0, rise))

    def _try(self, size: int) -> BatchSizeTry | None:
        """Steps on batches of a size; None if they do not fit."""
        found = None
        try:
            found = self._measure(size)
        except Exception as error:
            no_room = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not no_room and not any(text in str(error) for text in _NO_ROOM):
                error.add_note(f"It happened with a batch of {size}; find_batch_size(limit=...) keeps batches smaller.")
                raise
        finally:
            self._model.zero_grad()
            self.release(thorough=found is None)
        return found

    def release(self, thorough: bool = True) -> None:
        """Give memory that is kept back, so that nobody counts it as used."""
        if thorough:
            gc.collect()
        return_memory()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _measure(self, size: int) -> BatchSizeTry:
        """Some steps of training, and one of evaluation."""
        used, rows, times = self._use(begin=True), torch.arange(size) % self.rows, []

        def take(leaf: Any) -> Any:
            if isinstance(leaf, np.ndarray):
                return leaf[rows.numpy()]
            return leaf[rows.to(leaf.device)] if isinstance(leaf, torch.Tensor) and leaf.ndim else leaf

        batch = to_device(tree.map_structure(take, self._data), self._device)
        self._model.train()
        while len(times) <= _STEPS and (len(times) < 2 or sum(times) < _SECONDS):
            start = time.perf_counter()
            self._executor.train(batch)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            times.append(time.perf_counter() - start)
        self._model.eval()
        self._executor.test(batch)
        return BatchSizeTry(size / min(times), max(1, self._use() - used))

    def _use(self, begin: bool = False) -> int:
        """The bytes of memory that were in use at most since the last beginning."""
        if self._device.type == "cuda":
            if begin:
                torch.cuda.reset_peak_memory_stats(self._device)
            return torch.cuda.max_memory_allocated(self._device)
        if (now := process_memory()) is None:
            raise StateError("Memory cannot be watched here.", where="find_batch_size", expected="a GPU, or Linux")
        if begin:
            with contextlib.suppress(OSError):
                _RESET.write_text("5")
            return now[0]
        peaks = [line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        return max([now[0], *(1024 * int(peak) for peak in peaks)])
