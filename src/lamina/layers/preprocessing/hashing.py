"""The two hash functions by which Keras puts strings into buckets, over many strings at once.

The bytes of all strings stand behind each other; numbers are read from them at a column of positions.
Sources: FarmHash's Fingerprint64, https://github.com/google/farmhash; SipHash-2-4, https://www.131002.net/siphash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]
Pair = tuple[Words, Words]

_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_CAT = np.uint64(0xC6A4A7935BD1E995)
_CROSSING_KEY = np.uint64(0xDECAFCAFFE)
# "somepseudorandomlygeneratedbytes", as SipHash has it.
_SIP = tuple(np.uint64(k) for k in (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573))


class _Strings(NamedTuple):
    """The bytes of strings behind each other, where each begins, and how long it is."""

    content: np.ndarray[Any, np.dtype[np.uint8]]
    starts: np.ndarray[Any, np.dtype[np.int64]]
    lengths: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, strings: Iterable[str | bytes]) -> _Strings:
        encoded = [s if isinstance(s, bytes) else s.encode() for s in strings]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        content = np.frombuffer(b"".join(encoded) + bytes(8), np.uint8)
        return cls(content, np.cumsum(lengths) - lengths, lengths)

    def some(self, chosen: Any) -> _Strings:
        """The strings at some places."""
        return self._replace(starts=self.starts[chosen], lengths=self.lengths[chosen])

    def word(self, offset: Any, size: int = 8) -> Words:
        """In each string, the little-endian number of `size` bytes at an offset from its start."""
        windows = np.lib.stride_tricks.sliding_window_view(self.content, size)[self.starts + offset]
        return np.ascontiguousarray(windows).view(f"<u{size}")[:, 0].astype(np.uint64)


def fingerprint64(strings: Iterable[str | bytes]) -> Words:
    """FarmHash's 64-bit fingerprint of each string.

    Example:
        >>> int(fingerprint64(["a"])[0])
        12917804110809363939
    """
    text = _Strings.of(strings)
    result = np.full(len(text.lengths), _K2, dtype=np.uint64)
    bounds = ((1, 3, _up_to_3), (4, 7, _up_to_7), (8, 16, _up_to_16), (17, 32, _up_to_32), (33, 64, _up_to_64))
    with np.errstate(over="ignore"):
        for low, high, function in (*bounds, (65, np.inf, _long)):
            chosen = np.flatnonzero((text.lengths >= low) & (text.lengths <= high))
            if chosen.size:
                result[chosen] = function(text.some(chosen))
    return result


def _rotate(x: Words, bits: int) -> Words:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


def _mix(x: Words) -> Words:
    return x ^ (x >> np.uint64(47))


def _merge(u: Words, v: Words, factor: Words) -> Words:
    a = _mix((u ^ v) * factor)
    return _mix((v ^ a) * factor) * factor


def _factor(text: _Strings) -> Words:
    return _K2 + text.lengths.astype(np.uint64) * np.uint64(2)


def _up_to_3(text: _Strings) -> Words:
    size = text.lengths.astype(np.uint64)
    first, middle, last = (text.word(at, 1) for at in (0, text.lengths >> 1, text.lengths - 1))
    return _mix(((first + (middle << np.uint64(8))) * _K2) ^ ((size + (last << np.uint64(2))) * _K0)) * _K2


def _up_to_7(text: _Strings) -> Words:
    head = text.lengths.astype(np.uint64) + (text.word(0, 4) << np.uint64(3))
    return _merge(head, text.word(text.lengths - 4, 4), _factor(text))


def _up_to_16(text: _Strings) -> Words:
    factor = _factor(text)
    a, b = text.word(0) + _K2, text.word(text.lengths - 8)
    return _merge(_rotate(b, 37) * factor + a, (_rotate(a, 25) + b) * factor, factor)


def _ends(text: _Strings, first: np.uint64, factor: Words) -> tuple[Words, Words]:
    """Two numbers from 16 bytes at the beginning and 16 at the end."""
    a, b = text.word(0) * first, text.word(8)
    c, d = text.word(text.lengths - 8) * factor, text.word(text.lengths - 16) * _K2
    return _rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + _K2, 18) + c


def _up_to_32(text: _Strings) -> Words:
    factor = _factor(text)
    return _merge(*_ends(text, _K1, factor), factor)


def _up_to_64(text: _Strings) -> Words:
    factor = _factor(text)
    y, z = _ends(text, _K2, factor)
    z = _merge(y, z, factor)
    e, f = text.word(16) * factor, text.word(24)
    g, h = (y + text.word(text.lengths - 32)) * factor, (z + text.word(text.lengths - 24)) * factor
    return _merge(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + text.word(0) * _K2, 18) + g, factor)


def _weak(text: _Strings, at: Any, a: Words, b: Words) -> Pair:
    """Two seeds, with 32 bytes taken in."""
    w, x, y, z = (text.word(at + offset) for offset in (0, 8, 16, 24))
    a = a + w
    b = _rotate(b + a + z, 21)
    inner = a + x + y
    return inner + z, b + _rotate(inner, 44) + a


def _long(text: _Strings) -> Words:
    """Blocks of 64 bytes, then the last 64 bytes once more."""
    count = len(text.lengths)
    seed = np.uint64(81)
    x = seed * _K2 + text.word(0)
    y = np.full(count, seed * _K1 + np.uint64(113), dtype=np.uint64)
    z = _mix(y * _K2 + np.uint64(113)) * _K2
    zeros = np.zeros(count, dtype=np.uint64)
    state = np.stack([x, y, z, zeros, zeros, zeros, zeros])
    blocks = (text.lengths - 1) // 64
    for block in range(int(blocks.max())):
        chosen = np.flatnonzero(blocks > block)
        state[:, chosen] = _block(text.some(chosen), block * 64, state[:, chosen], None)
    rest = ((text.lengths - 1) & 63).astype(np.uint64)
    x, y, z, v1, v2, w1, w2 = state
    factor = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w1 = w1 + rest
    v1 = v1 + w1
    w1 = w1 + v1
    state = _block(text, text.lengths - 64, np.stack([x, y, z, v1, v2, w1, w2]), factor)
    x, y, z, v1, v2, w1, w2 = state
    return _merge(_merge(v1, w1, factor) + _mix(y) * _K0 + z, _merge(v2, w2, factor) + x, factor)


def _block(text: _Strings, at: Any, state: Any, last: Words | None) -> Any:
    """The state with a block of 64 bytes taken in; the last block has a factor of its own."""
    x, y, z, v1, v2, w1, w2 = state
    factor, nine = (_K1, np.uint64(1)) if last is None else (last, np.uint64(9))
    x = _rotate(x + y + v1 + text.word(at + 8), 37) * factor
    y = _rotate(y + v2 + text.word(at + 48), 42) * factor
    x = x ^ (w2 * nine)
    y = y + v1 * nine + text.word(at + 40)
    z = _rotate(z + w1, 33) * factor
    v1, v2 = _weak(text, at, v2 * factor, x + w1)
    w1, w2 = _weak(text, at + 32, z + w2, y + text.word(at + 16))
    return np.stack([z, y, x, v1, v2, w1, w2])


def siphash(strings: Iterable[str | bytes], key: Sequence[int]) -> Words:
    """SipHash-2-4 of each string under a key of two 64-bit numbers.

    Example:
        >>> siphash(["A", "B", "C", "D"], (133, 137)) % 3
        array([1, 2, 1, 0], dtype=uint64)
    """
    text = _Strings.of(strings)
    first, second = (np.uint64(int(part) % 2**64) for part in key)
    keys = (first, second, first, second)
    state = [np.full(len(text.lengths), k ^ s, dtype=np.uint64) for k, s in zip(keys, _SIP, strict=True)]
    whole = text.lengths // 8
    with np.errstate(over="ignore"):
        for block in range(int(whole.max(initial=0)) + 1):
            inside = whole > block
            # The last word of a string: what is left of it, and its length in the highest byte.
            size, left = text.lengths.astype(np.uint64), ((text.lengths - block * 8) % 8).astype(np.uint64)
            word = text.word(np.minimum(block, whole) * 8)
            last = (word & ((np.uint64(1) << (left * np.uint64(8))) - np.uint64(1))) | (size << np.uint64(56))
            word = np.where(inside, word, last)
            state = _where(whole >= block, _absorbed(state, word), state)
        state[2] = state[2] ^ np.uint64(0xFF)
        for _ in range(4):
            state = _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _where(chosen: Any, new: list[Words], old: list[Words]) -> list[Words]:
    return [np.where(chosen, n, o) for n, o in zip(new, old, strict=True)]


def _absorbed(state: list[Words], word: Words) -> list[Words]:
    a, b, c, d = _round(_round([*state[:3], state[3] ^ word]))
    return [a ^ word, b, c, d]


def _round(state: list[Words]) -> list[Words]:
    a, b, c, d = state
    a, c = a + b, c + d
    b, d = _rotate(b, 51) ^ a, _rotate(d, 48) ^ c
    a = _rotate(a, 32)
    c, a = c + b, a + d
    b, d = _rotate(b, 47) ^ c, _rotate(d, 43) ^ a
    return [a, b, _rotate(c, 32), d]


def buckets(strings: Iterable[str | bytes], count: int, key: Sequence[int] | None = None) -> np.ndarray:
    """The bucket, below `count`, of each string: by its fingerprint, or by SipHash where a key is given.

    Example:
        >>> buckets(["A", "B", "C"], 3)
        array([1, 0, 1])
    """
    hashes = fingerprint64(strings) if key is None else siphash(strings, key)
    return (hashes % np.uint64(count)).astype(np.int64)


def crossed(columns: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The bucket of each row of several columns: integers count as they are, strings by their fingerprint.

    Example:
        >>> crossed([np.array(["A", "B"], dtype=object), np.array([101, 101])], 5)
        array([1, 4])
    """
    result = np.full(len(columns[0]), _CROSSING_KEY, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            values = column.astype(np.int64).view(np.uint64) if column.dtype.kind in "iub" else fingerprint64(column)
            result = (result ^ _CAT ^ (_mix(values * _CAT) * _CAT)) * _CAT
            result = _mix(_mix(result) * _CAT)
    return (result % np.uint64(count)).astype(np.int64)
