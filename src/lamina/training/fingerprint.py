"""What the numbers of a run depend on, in short: versions, device, threads, seed, data, configuration."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from lamina.core import tree
from lamina.core.errors import LaminaError
from lamina.core.seeds import is_determinism_enabled, latest_seed
from lamina.data.arrays import ArraySource
from lamina.data.feed import Feed
from lamina.version import __version__

_SAMPLES = 4096


def fingerprint_of(model: Any, feed: Feed, device: torch.device) -> Callable[[], dict[str, Any]]:
    """A function that gives the fingerprint of a run that begins now; most of the work is left to its first call.

    Args:
        model: the model, compiled and built.
        feed: the batches.
        device: where the steps run.
    """
    now = {
        "lamina": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "seed": latest_seed(),
        "deterministic": is_determinism_enabled(),
        "data": data_hash(feed),
    }
    return functools.cache(lambda: {**now, "config": config_hash(model)})


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def data_hash(feed: Feed) -> str:
    """A hash of shapes, dtypes and some thousand values of arrays; of anything else, its kind and length."""
    source = feed.source
    digest = hashlib.sha256(f"{source.kind} {feed.length}".encode())
    if isinstance(source, ArraySource):
        for leaf in tree.flatten((source.x, source.y, source.sample_weight)):
            if isinstance(leaf, (torch.Tensor, np.ndarray)):
                digest.update(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
                digest.update(_sample(leaf))
    return digest.hexdigest()[:16]


def _sample(leaf: Any) -> bytes:
    """Values from all over an array, a few of each row that is looked at."""
    rows = leaf[:: max(1, len(leaf) // 64)]
    rows = rows.reshape(len(rows), -1)
    part = rows[:, :: max(1, rows.shape[1] * len(rows) // _SAMPLES)]
    if isinstance(part, torch.Tensor):
        return part.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
    return repr(part.tolist()).encode()


def config_hash(model: Any) -> str | None:
    """A hash of how the model is made and compiled; None where that cannot be told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = {"class": type(model).__name__, "model": model.get_config(), "compile": model.get_compile_config()}
            text = json.dumps(config, sort_keys=True, default=repr)
    except (LaminaError, NotImplementedError, TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What has changed between two fingerprints, in words; "" if nothing has."""
    changed = [name for name in now if name in before and before[name] != now[name]]
    return ", ".join(f"{name}: {before[name]} before, {now[name]} now" for name in changed)
