"""What callbacks read: names and values, where a value becomes a number only when someone looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch


class Logs(MutableMapping[str, Any], dict[str, Any]):  # type: ignore[misc]
    """The results of a batch, a dict whose values are computed and fetched from the device at the first look.

    Args:
        compute: gives the values by name, as tensors or numbers.

    Example:
        >>> logs = Logs(lambda: {"loss": torch.tensor(0.5)})
        >>> logs["loss"], dict(logs)
        (0.5, {'loss': 0.5})
    """

    def __init__(self, compute: Callable[[], Mapping[str, Any]]) -> None:
        self._compute: Callable[[], Mapping[str, Any]] | None = compute
        self._tensors: Mapping[str, Any] | None = None
        self._numbers: dict[str, Any] | None = None
        self._added: dict[str, Any] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Put more values in, which are not fetched before someone looks.

        Args:
            values: tensors that do not change any more, or numbers.
        """
        if self._numbers is None:
            self._added.update(values)
        else:
            self._numbers.update(to_numbers(values))

    def settle(self) -> None:
        """Compute the values now, without fetching them; after this, later steps do not change them."""
        if self._compute is not None:
            self._tensors, self._compute = self._compute(), None

    def _read(self) -> dict[str, Any]:
        if self._numbers is None:
            self.settle()
            self._numbers = to_numbers({**(self._tensors or {}), **self._added})
        return self._numbers

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._read()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def copy(self) -> dict[str, Any]:
        """The values as a plain dict."""
        return dict(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def to_numbers(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Results as plain numbers in the order of their names; nested results are laid flat, other values stay.

    All tensors of one device are fetched together.

    Example:
        >>> to_numbers({"loss": torch.tensor(2.0), "all": {"acc": torch.tensor(1.0)}})
        {'acc': 1.0, 'loss': 2.0}
    """
    flat: dict[str, Any] = {}
    _lay_flat(values or {}, flat)
    scalars = {k: v for k, v in flat.items() if isinstance(v, torch.Tensor) and v.numel() == 1}
    if scalars:
        with torch.no_grad():
            fetched = _fetch(list(scalars.values()))
        flat.update(zip(scalars, fetched, strict=True))
    for name, value in flat.items():
        if not isinstance(value, (float, str, bytes, torch.Tensor)):
            flat[name] = _number(value)
    return flat


def _lay_flat(values: Mapping[str, Any], flat: dict[str, Any]) -> None:
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            _lay_flat(value, flat)
        else:
            flat[name] = value


def _fetch(scalars: list[torch.Tensor]) -> list[float]:
    if len(scalars) == 1 or len({(s.device, s.dtype) for s in scalars}) > 1:
        return [float(s) for s in scalars]
    return [float(number) for number in torch.stack([s.detach().reshape(()) for s in scalars]).tolist()]


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
