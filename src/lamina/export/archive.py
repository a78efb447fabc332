"""Several functions of a model in one folder, each a program of torch."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamina.core import tree
from lamina.core.errors import ArgumentError, ArgumentTypeError, StateError, check_type, listing
from lamina.core.registry import builtin
from lamina.export.program import capture, quiet, without_own_operations
from lamina.export.signature import signature_of

_INDEX, _VERSION = "archive.json", 1


@builtin("keras.export")
class ExportArchive:
    """Collects functions of models, and writes each as a `torch.export` program into a folder.

    Keras writes a SavedModel here, which TensorFlow serves. This folder holds `NAME.pt2` for each endpoint, which
    `torch.export.load` reads (which unpickles: load only what you trust), and `archive.json`, which names the inputs.

    Example:
        >>> import tempfile
        >>> from lamina import layers, models
        >>> model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
        >>> archive = ExportArchive()
        >>> archive.track_and_add_endpoint("serve", model, None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     archive.write_out(folder, verbose=False)
        ...     served = torch.export.load(f"{folder}/serve.pt2").module()(torch.ones(3, 4))
        >>> tuple(served.shape)
        (3, 2)

    Source: https://keras.io/api/models/model_saving_apis/export/
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            fix = "archive = ExportArchive(); archive.track(model)"
            raise ArgumentTypeError("An archive takes no arguments.", where="ExportArchive()", fix=fix)
        self._endpoints: dict[str, tuple[Any, list[Any]]] = {}
        self._tracked: list[Any] = []
        self._collections: dict[str, list[Any]] = {}

    def track(self, resource: Any) -> None:
        """Name a model, or another module, whose weights the functions use.

        Args:
            resource: a built layer or model, or any module.

        Raises:
            ArgumentTypeError: something else.
            StateError: it is not built.
        """
        if not isinstance(resource, nn.Module):
            raise ArgumentTypeError(
                "Only layers, models and modules can be tracked.",
                where="ExportArchive.track",
                expected="a lamina layer or model, or a torch.nn.Module",
                received=type(resource).__name__,
            )
        if not getattr(resource, "built", True):
            raise StateError(
                "The layer is not built yet.",
                where="ExportArchive.track",
                received=getattr(resource, "name", type(resource).__name__),
                fix="call it on data once",
            )
        if all(resource is not other for other in self._tracked):
            self._tracked.append(resource)

    def add_endpoint(self, name: str, fn: Any, input_signature: Any = None, **kwargs: Any) -> None:
        """Add a function.

        Args:
            name: its name in the folder.
            fn: a layer or model, or a function of tensors that uses what is tracked.
            input_signature: a spec, as for `Model.export`, for each argument.
            **kwargs: none are known.

        Raises:
            ArgumentError: the name is taken or no file name, or the signature is missing.
        """
        if kwargs:
            expected = "name, fn, input_signature"
            raise ArgumentError("Unknown arguments.", where="add_endpoint", expected=expected, received=listing(kwargs))
        check_type(name, str, "add_endpoint(name=...)", 'a name such as "serve"')
        if name in self._endpoints or not name.isidentifier():
            raise ArgumentError(
                "This name is taken." if name in self._endpoints else "This is no name for an endpoint.",
                where="add_endpoint(name=...)",
                expected="letters, digits and underscores, each name once",
                received=repr(name),
            )
        if isinstance(fn, nn.Module):
            self.track(fn)
            self._endpoints[name] = (fn, signature_of(fn, input_signature))
            return
        if not callable(fn):
            where, expected = "add_endpoint(fn=...)", "a model, a layer or a function"
            raise ArgumentTypeError("An endpoint must be callable.", where=where, expected=expected, received=repr(fn))
        if input_signature is None:
            raise ArgumentError(
                "A plain function does not tell what it takes.",
                where="add_endpoint",
                fix="pass input_signature=[lamina.InputSpec(shape=(None, 4), dtype='float32')]",
            )
        module = _Function(fn, self._tracked)
        self._endpoints[name] = (module, signature_of(module, input_signature))

    def track_and_add_endpoint(self, name: str, resource: Any, input_signature: Any, **kwargs: Any) -> None:
        """Track a layer or model and add its call as a function.

        Args:
            name: the function's name.
            resource: the layer or model.
            input_signature: a spec for each argument; None for what the model knows.
            **kwargs: none are known.
        """
        self.track(resource)
        self.add_endpoint(name, resource, input_signature, **kwargs)

    def add_variable_collection(self, name: str, variables: Any) -> None:
        """Write these variables apart, into `NAME.safetensors`, by their paths.

        Args:
            name: the collection's name.
            variables: a list of variables.
        """
        if not isinstance(variables, (list, tuple, set)) or not name.isidentifier():
            raise ArgumentTypeError(
                "This is no collection of variables.",
                where="add_variable_collection",
                expected='a name and a list: add_variable_collection("weights", model.weights)',
                received=f"{name!r}, {type(variables).__name__}",
            )
        self._collections[name] = list(variables)

    def write_out(self, filepath: Any, options: Any = None, verbose: bool = True) -> None:
        """Write the folder.

        Args:
            filepath: its path; files of the same names are replaced.
            options: known to TensorFlow only; must be None.
            verbose: whether to say what was written.

        Raises:
            StateError: there is no endpoint.
            ArgumentError: options are given.
        """
        if options is not None:
            fix = "leave options out"
            raise ArgumentError("There are no options.", where="write_out", received=repr(options), fix=fix)
        if not self._endpoints:
            raise StateError("There is nothing to write.", where="write_out", fix="archive.add_endpoint(name, model)")
        folder = Path(filepath)
        folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, Any] = {"version": _VERSION, "endpoints": {}, "collections": sorted(self._collections)}
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as beside:
            for name, (module, arguments) in self._endpoints.items():
                program = without_own_operations(capture(module, arguments))
                with quiet():
                    torch.export.save(program, Path(beside) / f"{name}.pt2")
                index["endpoints"][name] = [
                    {"shape": list(spec.shape), "dtype": spec.dtype, "name": spec.name}
                    for spec in tree.flatten(arguments)
                ]
            for name, variables in self._collections.items():
                import safetensors.torch

                state = {v.path: v.detach().as_subclass(torch.Tensor).contiguous() for v in variables}
                safetensors.torch.save_file(state, Path(beside) / f"{name}.safetensors")
            (Path(beside) / _INDEX).write_text(json.dumps(index, indent=2))
            for part in sorted(Path(beside).iterdir(), key=lambda part: part.name == _INDEX):
                os.replace(part, folder / part.name)
        if verbose:
            print(f"Saved {listing(self._endpoints)} at '{filepath}'.")


class _Function(nn.Module):
    """A function, with the modules whose weights it uses."""

    def __init__(self, function: Any, modules: list[Any]) -> None:
        super().__init__()
        self.function = function
        self.modules_used = nn.ModuleList(modules)

    def forward(self, *args: Any) -> Any:
        """What the function gives."""
        return self.function(*args)
