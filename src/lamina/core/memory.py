"""What becomes of freed memory while training on a CPU.

The GNU C library gives large blocks back to the system as soon as they are freed, and a training step frees them all.
The next step takes them again, page by page, and the system fills each page with zeros first. Where single blocks are
larger than 32 MB, as the gradient of a large weight is, that can take a third of the step. Told to keep what it has,
the library hands out the same memory again instead. The process stays as large as it has once been.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from typing import Any

from lamina.core import config

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}


@dataclass
class _Allocator:
    keeps: bool = False


_allocator = _Allocator()


def keep_memory() -> bool:
    """Have the C library keep freed memory, or no longer, as `lamina.config.set_keep_memory` says.

    It concerns the whole process, and memory from then on, whoever allocates it. Where malloc is not that of the GNU C
    library (other systems, musl, jemalloc, tcmalloc) nothing happens. Calling it again costs nothing.

    Returns:
        Whether memory is kept.

    Example:
        >>> keep_memory() in (True, False)
        True

    Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
    """
    wanted = config.keeps_memory()
    if wanted is not _allocator.keeps and (library := _gnu_malloc()) is not None:
        # Blocks are cut from one growing heap, never mapped one by one; and the end of the heap is not given back.
        settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1} if wanted else _DEFAULTS
        for parameter, value in settings.items():
            library.mallopt(parameter, value)
        if not wanted:
            library.malloc_trim(0)
        _allocator.keeps = wanted
    return _allocator.keeps


def return_memory() -> None:
    """Have the C library give what it keeps back to the system, once.

    Example:
        >>> return_memory()
    """
    if (library := _gnu_malloc()) is not None:
        library.malloc_trim(0)


@functools.cache
def _gnu_malloc() -> Any:
    """The C library, if it is GNU's and it is its malloc that this process uses; else None."""
    if sys.platform != "linux":
        return None
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
        used, own = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
        addresses = {ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (used, own)}
        is_gnu = version.startswith("glibc") and len(addresses) == 1 and hasattr(own, "mallopt")
    except (OSError, ValueError, AttributeError):
        return None
    return own if is_gnu else None
