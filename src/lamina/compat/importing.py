"""`import keras` gives lamina: a finder of modules that answers for Keras, tf.keras and their older paths."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from lamina.compat.names import KERAS_VERSION, MODULES, NOT_OLD, OBJECTS, Old
from lamina.compat.tensorflow import TensorFlowStandIn, refuse
from lamina.core.errors import nearest, say_once

ROOTS = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")
"""The modules in whose place lamina stands."""


class Facade(types.ModuleType):
    """A module under a Keras name: the namespaces of lamina it stands for, and the old names that belong there.

    Args:
        name: its full name, e.g. "tensorflow.keras.layers".
        path: the same below the root, e.g. "layers".
        sources: the modules in which names are looked up.
    """

    def __init__(self, name: str, path: str, sources: Sequence[types.ModuleType]) -> None:
        super().__init__(name, sources[0].__doc__)
        self.__path__ = []
        self._path = path
        self._sources = tuple(sources)
        self._old: dict[str, Old] = {}
        for owner in (*MODULES.get(path, ()), path):
            self._old |= OBJECTS.get(owner, {})
        if not path:
            self.__version__ = KERAS_VERSION

    @property
    def __all__(self) -> list[str]:
        return [n for n in dir(self) if n not in self._old and not _is_old_module(_join(self._path, n))]

    def __dir__(self) -> list[str]:
        names = {name for source in self._sources for name in dir(source)} | self._old.keys()
        return sorted(name for name in names if not name.startswith("_"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self._path and name == "version":
            return lambda: KERAS_VERSION
        for source in self._sources:
            value = getattr(source, name, None)
            if isinstance(value, types.ModuleType) and name not in self._old:
                return self._below(name)
            if value is not None and not isinstance(value, types.ModuleType):
                return value
        if name in self._old:
            return self._old_object(name)
        if not name.startswith("_") and resolve(_join(self._path, name)) is not None:
            return self._below(name)
        hint = nearest(name, dir(self))
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'.{hint}")

    def _below(self, name: str) -> types.ModuleType:
        return importlib.import_module(f"{self.__name__}.{name}")

    def _old_object(self, name: str) -> Any:
        old = self._old[name]
        shown = _join("keras", self._path, name)
        say_once(f"{shown} is an old name; use {old.replacement}.")
        if not isinstance(old.value, str):
            return old.value
        module, _, attribute = old.value.rpartition(".")
        try:
            return getattr(importlib.import_module(_join("lamina", module)), attribute)
        except (ImportError, AttributeError):
            raise AttributeError(f"{shown} has no counterpart in lamina yet: there is no {old.value}") from None


def resolve(path: str) -> tuple[types.ModuleType, ...] | None:
    """The modules of lamina that a module of Keras stands for, by its path below the root; None if there are none.

    Example:
        >>> [module.__name__ for module in resolve("layers.core")]
        ['lamina.layers']
    """
    owners = MODULES.get(path)
    if owners is None:
        module = _module(path)
        return None if module is None else (module,)
    found = [module for owner in (path, *owners) if (module := _public_module(owner)) is not None]
    return tuple(found) or None


def _public_module(path: str) -> types.ModuleType | None:
    """The module of lamina at a path, unless that path holds an implementation by the name of an old module."""
    return None if _is_old_module(path) else _module(path)


def _module(path: str) -> types.ModuleType | None:
    """The module of lamina at a path; a module that its parent imported under that name counts too."""
    if not path:
        return importlib.import_module("lamina")
    parent, _, name = path.rpartition(".")
    above = _module(parent)
    if above is None:
        return None
    value = getattr(above, name, None)
    if isinstance(value, types.ModuleType):
        return value if value.__name__.startswith("lamina.") else None
    name = f"{above.__name__}.{name}"
    if value is not None or not hasattr(above, "__path__") or importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name)


def _is_old_module(path: str) -> bool:
    return path in MODULES and path not in NOT_OLD


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _below_root(name: str) -> tuple[str, str] | None:
    """Root and path of a module that lamina answers for: ("tensorflow.keras", "layers.core")."""
    for root in ROOTS:
        if name == root or name.startswith(f"{root}."):
            return root, name[len(root) + 1 :]
    return None


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Keras modules in lamina, and TensorFlow where it is installed; else a stand-in that has tf.keras only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module that lamina answers for, else None."""
        if fullname == "tensorflow":
            real = importlib.machinery.PathFinder.find_spec(fullname)
            if real is not None and real.loader is not None:
                real.loader = _WithLaminasKeras(real.loader)
                return real
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        below = _below_root(fullname)
        if below is not None and resolve(below[1]) is not None:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        if below is None and fullname.startswith("tensorflow.") and _is_stand_in():
            if fullname == "tensorflow.python":
                return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            refuse(fullname)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The module: a facade, or the stand-in for TensorFlow."""
        below = _below_root(spec.name)
        if below is None:
            return TensorFlowStandIn(spec.name)
        _, path = below
        if _is_old_module(path):
            owner = MODULES[path][0]
            say_once(f"{_join('keras', path)} is an old module; its names are in {_join('keras', owner)}.")
        return Facade(spec.name, path, resolve(path) or ())

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is left to run."""


class _WithLaminasKeras(importlib.abc.Loader):
    """Loads the real TensorFlow and puts lamina in the place of its `keras`."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        module.keras = importlib.import_module("tensorflow.keras")  # type: ignore[attr-defined]


def _is_stand_in() -> bool:
    return isinstance(sys.modules.get("tensorflow"), TensorFlowStandIn)


_finder = Finder()
_hidden: dict[str, types.ModuleType] = {}


def install_finder() -> None:
    """From now on `import keras` and `import tensorflow.keras` give lamina, even where those packages are there."""
    if _finder not in sys.meta_path:
        _hidden.update({name: sys.modules.pop(name) for name in list(sys.modules) if _is_answered(name)})
        sys.meta_path.insert(0, _finder)


def remove_finder() -> None:
    """Undo `install_finder`."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        for name in [name for name in sys.modules if _is_answered(name)]:
            del sys.modules[name]
        sys.modules.update(_hidden)
        _hidden.clear()


def _is_answered(name: str) -> bool:
    """Whether a module loaded before is one that lamina answers for now."""
    is_ours = _is_stand_in() and name.partition(".")[0] == "tensorflow"
    return is_ours or _below_root(name) is not None
