"""Plain data out of the pickle streams in which some old datasets are stored, without the pickle machine.

CIFAR, IMDB and Reuters are published as pickled NumPy arrays. Unpickling can run any code, so nothing here
unpickles: this reader knows the opcodes for numbers, strings, lists and dicts, and recognises the few fixed
phrases with which NumPy describes an array. Anything else is refused. Source of the format: Python's
`pickletools`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from lamina.core.errors import FileError

_RECONSTRUCT = ("_reconstruct",)
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Phrase:
    """A name that NumPy's streams mention. It stands for itself and is never looked up."""

    def __init__(self, module: Any, name: Any) -> None:
        self.name = f"{module}.{name}"
        if module in _MODULES and name in _RECONSTRUCT:
            self.name = "array"


class _DType:
    """A dtype on its way: the code, then the byte order."""

    def __init__(self, code: Any) -> None:
        self.code, self.order = str(_text(code)), "="

    def make(self) -> np.dtype[Any]:
        """The dtype; numbers and objects only."""
        if len(self.code) > 4 or self.code[:1] not in "biufO":
            raise _refusal(f"an array of dtype {self.code!r}")
        return np.dtype(self.order.replace("|", "=") + self.code if self.code[0] != "O" else "O")


class _Array:
    """An array on its way, complete once its state has come."""

    value: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        """Take (version, shape, dtype, is_fortran, content)."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _DType):
            raise _refusal("an array in an unknown form")
        _, shape, dtype, fortran, content = state
        kind = dtype.make()
        count = int(np.prod([int(size) for size in shape], dtype=np.int64)) if shape else 1
        if kind.hasobject:
            if not isinstance(content, list) or len(content) != count:
                raise _refusal("an array whose content does not fill its shape")
            flat = np.empty(count, dtype=object)
            flat[:] = [_finished(item) for item in content]
        else:
            raw = content.encode("latin-1") if isinstance(content, str) else content
            if not isinstance(raw, (bytes, bytearray)) or len(raw) != count * kind.itemsize:
                raise _refusal("an array whose content does not fill its shape")
            flat = np.frombuffer(raw, dtype=kind)
        self.value = flat.reshape(tuple(int(size) for size in shape), order="F" if fortran else "C")


_WHERE = "a pickle stream"
_PENDING = frozenset({_Phrase, _DType, _Array, tuple})


AGAIN = "delete the file so that it is downloaded anew"
"""What helps where a file of a data set is damaged."""


def read_plain(stream: bytes) -> Any:
    """The numbers, strings, lists, dicts and arrays in a pickle stream.

    Args:
        stream: the whole stream.

    Raises:
        FileError: the stream holds anything but plain data, or is damaged.

    Example:
        >>> read_plain(b"\\x80\\x02]q\\x00(K\\x01K\\x02e.")
        [1, 2]
    """
    try:
        return _finished(_Reader(stream).run())
    except (IndexError, struct.error, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise _damaged("The data stream is damaged.", f"{type(error).__name__}: {error}") from error


def read_object_array(file: BinaryIO) -> np.ndarray:
    """An array of lists from an `.npy` stream; arrays of numbers are read as NumPy reads them."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if not dtype.hasobject:
        content = np.frombuffer(file.read(), dtype=dtype)
        return content.reshape(shape, order="F" if fortran else "C")
    array = read_plain(file.read())
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise _damaged(f"The array does not have the shape {shape} its header names.", getattr(array, "shape", None))
    return array


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else value


def _finished(value: Any) -> Any:
    """The value itself; what is only half described is refused."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _refusal("an array without content")
        return value.value
    if isinstance(value, tuple):
        return tuple(map(_finished, value))
    if isinstance(value, (_Phrase, _DType)):
        raise _refusal("the name of a function" if isinstance(value, _Phrase) else "a dtype")
    return value


def _damaged(what: str, received: object) -> FileError:
    return FileError(what, where=_WHERE, expected="the file as published", received=received, fix=AGAIN)


def _refusal(what: str) -> FileError:
    return FileError(
        "The file holds more than plain data, and is not loaded.",
        where=_WHERE,
        expected="numbers, strings, lists, dicts and arrays",
        received=what,
        fix=AGAIN,
    )


def _reduce(function: Any, arguments: Any) -> Any:
    """What one of NumPy's fixed phrases stands for."""
    name = function.name if isinstance(function, _Phrase) else ""
    if name == "array":
        return _Array()
    if name == "numpy.dtype":
        return _DType(arguments[0])
    if name in ("__builtin__.bytes", "builtins.bytes") and arguments == ():
        return b""
    if name == "_codecs.encode" and len(arguments) == 2 and arguments[1] == "latin1":
        return arguments[0].encode("latin-1")
    raise _refusal(f"a call of {name or type(function).__name__}")


def _build(target: Any, state: Any) -> None:
    if isinstance(target, _Array):
        target.fill(state)
    elif isinstance(target, _DType):
        order = _text(state[1])
        target.order = order if order in "<>=|" else "?"
    else:
        raise _refusal("an object with a state")


class _Reader:
    """The stack on which a stream of opcodes puts its values together."""

    def __init__(self, stream: bytes) -> None:
        self.stream, self.at = stream, 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Read up to the STOP opcode."""
        stream, size = self.stream, len(self.stream)
        steps = {code: step.__get__(self) for code, step in _STEPS.items()}
        while self.at < size:
            code = stream[self.at]
            self.at += 1
            # Lists of small numbers are nearly all there is to read, so these two do not pay for a call.
            if code == 0x4B:
                self.stack.append(stream[self.at])
                self.at += 1
            elif code == 0x4D:
                self.stack.append(stream[self.at] | stream[self.at + 1] << 8)
                self.at += 2
            elif code == 0x2E:
                return self.stack.pop()
            else:
                step = steps.get(code)
                if step is None:
                    raise _refusal(f"opcode {code:#04x}")
                step()
        raise _refusal("a stream without an end")

    def take(self, count: int) -> bytes:
        """The next bytes; a count beyond the stream is an error before anything is made."""
        if count < 0 or self.at + count > len(self.stream):
            raise _damaged("The data stream is cut short.", f"{len(self.stream)} bytes")
        self.at += count
        return self.stream[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """A number in `struct` notation."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def line(self) -> str:
        """Text up to the end of the line."""
        end = self.stream.index(b"\n", self.at)
        text = self.take(end - self.at).decode("ascii")
        self.at += 1
        return text

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a run of items."""
        self.outer.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """The run of items since the mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def tuple(self, count: int) -> None:
        """The last `count` values as a tuple."""
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise _refusal("items for something that is no list")
        target.extend(values if _PENDING.isdisjoint(map(type, values)) else map(_finished, values))

    def set_items(self, values: list[Any]) -> None:
        """Set keys of the dict on the stack."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise _refusal("keys for something that is no dict")
        target.update(zip(map(_finished, values[::2]), map(_finished, values[1::2]), strict=True))

    def reduce(self) -> None:
        """Replace a name and its arguments by what they stand for."""
        arguments = self.stack.pop()
        self.stack[-1] = _reduce(self.stack[-1], arguments)

    def build(self) -> None:
        """Give the object on the stack its state."""
        state = self.stack.pop()
        _build(self.stack[-1], state)

    def name(self) -> None:
        """Two names from the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.push(_Phrase(module, name))

    def remember(self, slot: int) -> None:
        """Keep the top of the stack under a number."""
        self.memo[slot] = self.stack[-1]

    def pair(self) -> list[Any]:
        """The last two values."""
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]


_Step = Callable[[_Reader], Any]
_STEPS: dict[int, _Step] = {
    0x80: lambda r: r.take(1),  # PROTO
    0x95: lambda r: r.take(8),  # FRAME
    ord("("): _Reader.mark,
    ord("]"): lambda r: r.push([]),
    ord("}"): lambda r: r.push({}),
    ord(")"): lambda r: r.push(()),
    ord("N"): lambda r: r.push(None),
    0x88: lambda r: r.push(True),
    0x89: lambda r: r.push(False),
    ord("J"): lambda r: r.push(r.number("i")),
    ord("G"): lambda r: r.push(struct.unpack(">d", r.take(8))[0]),
    0x8A: lambda r: r.push(int.from_bytes(r.take(r.number("B")), "little", signed=True)),
    ord("U"): lambda r: r.push(r.take(r.number("B"))),
    ord("T"): lambda r: r.push(r.take(r.number("i"))),
    ord("C"): lambda r: r.push(r.take(r.number("B"))),
    ord("B"): lambda r: r.push(r.take(r.number("I"))),
    0x8E: lambda r: r.push(r.take(r.number("Q"))),
    0x8C: lambda r: r.push(r.take(r.number("B")).decode("utf-8")),
    ord("X"): lambda r: r.push(r.take(r.number("I")).decode("utf-8")),
    0x8D: lambda r: r.push(r.take(r.number("Q")).decode("utf-8")),
    0x85: lambda r: r.tuple(1),
    0x86: lambda r: r.tuple(2),
    0x87: lambda r: r.tuple(3),
    ord("t"): lambda r: r.push(tuple(r.items())),
    ord("l"): lambda r: r.push(r.items()),
    ord("a"): lambda r: r.append([r.stack.pop()]),
    ord("e"): lambda r: r.append(r.items()),
    ord("s"): lambda r: r.set_items(r.pair()),
    ord("u"): lambda r: r.set_items(r.items()),
    ord("c"): lambda r: r.push(_Phrase(r.line(), r.line())),
    0x93: _Reader.name,
    ord("R"): _Reader.reduce,
    ord("b"): _Reader.build,
    ord("q"): lambda r: r.remember(r.number("B")),
    ord("r"): lambda r: r.remember(r.number("I")),
    0x94: lambda r: r.remember(len(r.memo)),
    ord("h"): lambda r: r.push(r.memo[r.number("B")]),
    ord("j"): lambda r: r.push(r.memo[r.number("I")]),
}
