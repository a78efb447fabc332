"""`lamina info`: what a report of a problem should say about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil

import torch

from lamina.compat.names import KERAS_VERSION
from lamina.version import __version__

_OPTIONAL = ("matplotlib", "pandas", "pillow", "scikit-learn", "safetensors", "tensorflow", "keras")


def describe() -> str:
    """Versions, devices, threads and the C++ compiler, a line each."""
    rows = {
        "lamina": f"{__version__}, offers the API of Keras {KERAS_VERSION}",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        **{name: _version(name) for name in ("numpy", "optree", "h5py")},
        "optional": ", ".join(f"{name} {v}" for name in _OPTIONAL if (v := _version(name)) != "not installed"),
        "devices": ", ".join(_devices()),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "C++ compiler": _compiler(),
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    found = [f"cpu ({torch.backends.cpu.get_cpu_capability()})"]
    found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _compiler() -> str:
    """The compiler that torch.compile would use on the CPU."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        path = shutil.which(name) if name else None
        if path:
            return path
    return "none: models run, but nothing can be compiled"
