"""Outlines: tensors of a shape, dtype and device that have no data, and the mode in which functions run on them.

torch's own FakeTensorMode does the same with more care, at a price: it loads the tracer of `torch.compile` (some 800
modules) when the first one is made, and takes milliseconds for each function. Here a function runs on torch's "meta"
device, and whatever that cannot tell for certain is refused with `NeedsData`, for a fake tensor to decide.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from lamina.core.outline_rules import Rule, rule_of

_META = torch.device("meta")
_CPU = torch.device("cpu")
_NO_DISPATCH = getattr(torch.Tensor, "__torch_dispatch__", None)
_REFUSED = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view})
# Told to give results of any size, but that is so for masks only, which the "meta" device refuses.
_ALLOWED = frozenset({"aten.index.Tensor", "aten.repeat_interleave.self_int"})


class NeedsData(RuntimeError):
    """A function cannot be run on outlines."""


class _Local(threading.local):
    def __init__(self) -> None:
        self.paused = False


_local = _Local()


class Outline(torch.Tensor):
    """A tensor without data; `raw` is the tensor on the "meta" device that stands for it."""

    raw: torch.Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Reached only outside the mode."""
        raise NeedsData(f"{func} on a tensor without data")


def _outline_of(raw: torch.Tensor, device: torch.device) -> Outline:
    if raw.layout is not torch.strided:
        raise NeedsData(f"a tensor of layout {raw.layout}")
    if device.index is None and device.type not in ("cpu", "meta"):
        device = torch.device(device.type, torch.accelerator.current_device_index())
    outline = torch.Tensor._make_wrapper_subclass(
        Outline, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=device
    )
    outline.raw = raw
    return outline


class Outlining(TorchDispatchMode):
    """Within it, functions of tensors give outlines, and change nothing.

    Example:
        >>> with Outlining() as mode:
        ...     torch.matmul(mode.empty((2, 3), torch.float32), torch.ones(3, 4)).shape
        torch.Size([2, 4])
    """

    def __init__(self) -> None:
        super().__init__()
        # The tensors with data that were met, kept so that their ids stay theirs.
        self._met: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._outer = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without this torch imports its tracer at the first function called."""
        return False

    def __enter__(self) -> Self:
        """Begin; also where `with_data` is open around it."""
        self._outer, _local.paused = _local.paused, False
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _local.paused = self._outer

    def empty(self, shape: Any, dtype: torch.dtype, device: torch.device = _CPU) -> Outline:
        """The outline of a tensor."""
        with torch._C._DisableTorchDispatch():
            return _outline_of(torch.empty(shape, dtype=dtype, device=_META), device)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One function on outlines, and on tensors with data as if they had none."""
        if _local.paused:
            return func(*args, **(kwargs or {}))
        traits = _functions.get(func) or _traits(func)
        if traits.refused or _autocast_depth():
            raise NeedsData(f"{func} on a tensor without data")
        call = _Call(self._met)
        with torch._C._DisableTorchDispatch():
            raw_args = [call.raw(arg) for arg in args]
            raw_kwargs = {key: call.raw(value) for key, value in kwargs.items()} if kwargs else {}
            device = call.device
            if traits.takes_device:
                device = raw_kwargs.get("device") or device
                raw_kwargs["device"] = _META
            if "generator" in raw_kwargs:
                raw_kwargs["generator"] = None
            result = None if traits.rule is None else traits.rule(*raw_args, **raw_kwargs)
            if result is None:
                result = func(*raw_args, **raw_kwargs)
            return call.outline(result, device or _CPU)


class _Call:
    """The tensors of one call, between outlines and what stands for them."""

    __slots__ = ("device", "known", "met")

    def __init__(self, met: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.met = met
        self.known: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.device: torch.device | None = None

    def raw(self, value: Any) -> Any:
        """An argument with the tensors in it replaced."""
        kind = type(value)
        if kind is Outline:
            raw = value.raw
        elif isinstance(value, torch.Tensor):
            raw = self._of_data(value)
        elif kind is list or kind is tuple:
            return kind([self.raw(part) for part in value])
        else:
            return value
        self.known.append((raw, value))
        if self.device is None or (raw.ndim and value.device != self.device):
            self._meet(value)
        return raw

    def _of_data(self, value: torch.Tensor) -> torch.Tensor:
        if id(value) in self.met:
            return self.met[id(value)][1]
        own_ways = getattr(type(value), "__torch_dispatch__", None) is not _NO_DISPATCH
        if own_ways or value.layout is not torch.strided or value.is_quantized:
            raise NeedsData(f"a tensor of type {type(value).__name__}")
        raw = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_META)
        self.met[id(value)] = value, raw
        return raw

    def _meet(self, value: torch.Tensor) -> None:
        """Find the device of the results: that of the tensors, among which single values count for nothing."""
        if self.device is not None and any(raw.ndim for raw, _ in self.known[:-1]):
            raise NeedsData(f"tensors on {self.device} and {value.device}")
        self.device = value.device

    def outline(self, result: Any, device: torch.device) -> Any:
        """A result with outlines for the tensors in it; an argument that was changed in place is itself."""
        if isinstance(result, torch.Tensor):
            for raw, value in self.known:
                if raw is result:
                    return value
            return _outline_of(result, device)
        if isinstance(result, (list, tuple)):
            return type(result)([self.outline(part, device) for part in result])
        return result


class _Traits(NamedTuple):
    """What is known of a function: whether it needs data, whether it is told where its result shall be, a rule."""

    refused: bool
    takes_device: bool
    rule: Rule | None


def _traits(func: Any) -> _Traits:
    arguments = func._schema.arguments
    refused = not _REFUSED.isdisjoint(func.tags) and str(func) not in _ALLOWED
    if any(argument.is_out for argument in arguments):
        refused = True
    traits = _Traits(refused, any(argument.name == "device" for argument in arguments), rule_of(func))
    _functions[func] = traits
    return traits


_functions: dict[Any, _Traits] = {}


def _autocast_depth() -> int:
    """How many `torch.autocast` are open: they cast by the device tensors are really on."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def can_outline() -> bool:
    """Whether nothing else watches what torch does, such as the tracer of a training step."""
    return all(type(mode) is Outlining for mode in _get_current_dispatch_mode_stack())


@contextlib.contextmanager
def with_data() -> Iterator[None]:
    """Within it, functions are run for real even while shapes are inferred, as weights are made then."""
    saved, _local.paused = _local.paused, True
    try:
        with unset_fake_temporarily():
            yield
    finally:
        _local.paused = saved
