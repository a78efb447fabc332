"""Work done before its result is wanted, by threads, in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lamina.core.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int) -> Iterator[R]:
    """The results of some work on each item, in order, made by threads.

    Args:
        work: what is done to an item.
        items: the items.
        workers: how many threads work.
        ahead: how many results are made before they are taken.

    Example:
        >>> list(in_threads(abs, [-1, -2], workers=2, ahead=4))
        [1, 2]
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lamina-data")
    rest = iter(items)
    try:
        pending = deque(pool.submit(work, item) for item in itertools.islice(rest, max(ahead, workers)))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in itertools.islice(rest, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The items, of which a thread draws up to `count` before they are wanted.

    Example:
        >>> list(read_ahead(range(3), 2))
        [0, 1, 2]
    """
    end: Any = object()
    rest = iter(items)
    drawn = in_threads(lambda _: next(rest, end), itertools.repeat(None), workers=1, ahead=count)
    return itertools.takewhile(lambda item: item is not end, drawn)


def living(loader: Iterable[T], name: str) -> Iterator[T]:
    """The batches of a torch DataLoader, with a word of help if one of its processes ends before its work does.

    Args:
        loader: the loader, which looks after its processes every few seconds.
        name: whose data it is.

    Raises:
        DataError: a process has died.
    """
    try:
        yield from loader
    except (RuntimeError, ConnectionError, EOFError) as error:
        # The end of a process is seen by itself, or by what it was about to send.
        has_workers = getattr(loader, "num_workers", 0) or getattr(loader, "_num_workers", 0)
        if not has_workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
            raise
        raise DataError(
            "A process that reads data ended before its work did.",
            where=f"the workers of {name}",
            received=str(error).partition("\n")[0] or type(error).__name__,
            fix="read with workers=1 (num_workers=0) to see the fault; processes that were killed often lacked memory",
        ) from error
