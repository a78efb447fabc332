"""What the machine can do: the rate of matrix products, in operations a second, and of copying, in bytes a second.

    python -m benchmarks machine [--seconds 2] [--threads N]

The best of torch's own product (MKL on most CPUs) and oneDNN's counts. Reading and writing are both counted as moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.command import cores, parser_of

SIZES = (512, 1024, 2048)
DTYPES = {"float32": torch.float32, "mixed_bfloat16": torch.bfloat16}


def matrix_rates(dtype: torch.dtype, seconds: float, device: str = "cpu") -> dict[str, float]:
    """Operations a second, by who computes: the best square product of several sizes, within so many seconds."""
    rates: dict[str, float] = {}
    with torch.inference_mode():
        for size in SIZES if device == "cpu" else (8192,):
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            for name, product in _products(a, b):
                best = fastest(product, seconds / len(SIZES) / 2, device)
                rates[name] = max(rates.get(name, 0.0), 2 * size**3 / best)
    return rates


def _products(a: Tensor, b: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "torch", lambda: a @ b
    if a.device.type == "cpu" and torch.backends.mkldnn.is_available():
        yield "oneDNN", lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def copy_bandwidth(size: float, seconds: float, device: str = "cpu") -> float:
    """Bytes a second, read and written, of copying where source and target together take so many bytes."""
    half = int(min(max(size, 2**16), 2**30)) // 8
    source, target = torch.ones(half, device=device), torch.zeros(half, device=device)
    return 8 * half / fastest(lambda: target.copy_(source), seconds, device)


def fastest(work: Callable[[], object], seconds: float, device: str) -> float:
    """Seconds that the work takes at best, tried for a while; calls are timed in blocks long enough for the clock."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    wait()
    best, calls, end = float("inf"), 1, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        now = time.perf_counter()
        if now - start < 1e-3 and now < end:
            calls *= 2
            continue
        best = min(best, (now - start) / calls)
        if now >= end:
            return best


def main(arguments: list[str]) -> None:
    parser = parser_of("machine", __doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for dtype in DTYPES.values():
        for name, rate in matrix_rates(dtype, options.seconds, options.device).items():
            print(f"matrix products, {str(dtype).removeprefix('torch.'):9} {name:7} {rate / 1e9:10.1f} GFLOP/s")
    for size in (2**18, 2**21, 2**24, 2**28):
        bandwidth = copy_bandwidth(size, options.seconds, options.device)
        print(f"copying within {size / 2**20:6.2f} MiB {bandwidth / 1e9:15.1f} GB/s")
