"""Freed memory: kept for the next step where the C library is GNU's, given back when told so."""

import subprocess
import sys

import pytest

from lamina import config
from lamina.core import memory

FAULTS = """
import resource
import torch
from lamina import config
from lamina.core.memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.empty(2**24).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

earlier = torch.ones(2**24)
without = faults()
assert keep_memory() and keep_memory()
for _ in range(5):
    faults()  # the heap grows until a block of this size, aligned, fits between those in use
kept = faults()
config.set_keep_memory(False)
assert not keep_memory()
print(without, kept, faults())
"""


@pytest.fixture
def allocator(monkeypatch):
    """As in a process that has asked for nothing yet, with a library that only notes what it is told."""

    class Library:
        def __init__(self):
            self.calls = []

        def mallopt(self, parameter, value):
            self.calls.append((parameter, value))

        def malloc_trim(self, pad):
            self.calls.append("trim")

    library = Library()
    monkeypatch.setattr(memory, "_allocator", memory._Allocator())
    monkeypatch.setattr(memory, "_gnu_malloc", lambda: library)
    yield library
    config.set_keep_memory(True)


def test_the_library_is_told_once(allocator):
    assert memory.keep_memory() and memory.keep_memory()
    assert allocator.calls == [(-4, 0), (-1, -1)]


def test_a_switch_keeps_it_from_being_told(allocator):
    config.set_keep_memory(False)
    assert not config.keeps_memory() and not memory.keep_memory()
    assert allocator.calls == []


def test_switching_off_later_gives_memory_back(allocator):
    memory.keep_memory()
    config.set_keep_memory(False)
    allocator.calls.clear()
    assert not memory.keep_memory()
    assert allocator.calls == [(-4, 65536), (-1, 131072), "trim"]


def test_nothing_happens_with_another_allocator(allocator, monkeypatch):
    monkeypatch.setattr(memory, "_gnu_malloc", lambda: None)
    assert not memory.keep_memory()


def test_only_gnu_malloc_is_told(monkeypatch):
    ask = memory._gnu_malloc.__wrapped__
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert ask() is None
    monkeypatch.undo()
    monkeypatch.setattr(memory.os, "confstr", lambda name: None)
    assert ask() is None


@pytest.mark.skipif(memory._gnu_malloc() is None, reason="malloc is not that of the GNU C library")
def test_steps_take_the_same_pages_again():
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    without, kept, again = map(int, run.stdout.split())
    assert kept * 10 < without
    assert kept * 5 < again  # what was free when it was switched off has been given back
