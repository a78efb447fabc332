"""Look into a weights file, change what is in it, and save it anew."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import ArgumentError, ArgumentTypeError, nearest
from lamina.core.limits import DEFAULT, Limits
from lamina.core.tensors import convert_to_numpy
from lamina.saving.archive import CONFIG, METADATA, open_archive, parse_json
from lamina.saving.files import open_file, replacing
from lamina.saving.hdf5 import WeightsReader, WeightsWriter
from lamina.saving.models import open_weights
from lamina.saving.state import Source, expected_variables, walk

Weights = dict[str, Any]


class KerasFileEditor:
    """The weights in a file, to be inspected, renamed, removed and added to, after a model has changed.

    Args:
        filepath: a .keras or .weights.h5 file. It is read whole and not changed.
        limits: bounds on what the file may ask for.

    Raises:
        ArgumentError: the file is of another kind.
        FileError: the file is missing or damaged.

    Example:
        >>> import tempfile
        >>> from lamina import Sequential, layers
        >>> path = tempfile.mkdtemp() + "/model.weights.h5"
        >>> Sequential([layers.Input((3,)), layers.Dense(2)]).save_weights(path)
        >>> editor = KerasFileEditor(path)
        >>> editor.rename_object("dense", "einsum_dense")
        >>> editor.summary()
        layers/einsum_dense
            0: float32 (3, 2)
            1: float32 (2,)

    Source: https://keras.io/api/models/model_saving_apis/
    """

    def __init__(self, filepath: Any, *, limits: Limits | None = None) -> None:
        self.filepath = os.fspath(filepath)
        self.metadata: dict[str, Any] | None = None
        self.config: dict[str, Any] | None = None
        with contextlib.ExitStack() as stack:
            reader = self._reader(Path(self.filepath), stack, limits or DEFAULT)
            self.objects: dict[str, Weights] = {
                path: dict(reader.entries(path).items()) for path in sorted(reader.paths())
            }

    def _reader(self, path: Path, stack: contextlib.ExitStack, limits: Limits) -> Source:
        if path.suffix == ".keras":
            archive = stack.enter_context(open_archive(path, limits))
            self.config = parse_json(archive.text(CONFIG), f"{path}: {CONFIG}", limits)
            self.metadata = parse_json(archive.text(METADATA), f"{path}: {METADATA}", limits)
            return open_weights(archive, str(path), stack, limits)
        if path.name.endswith(".weights.h5"):
            return stack.enter_context(WeightsReader(stack.enter_context(open_file(path)), str(path), limits))
        raise ArgumentError(
            "Files of this kind cannot be edited.",
            where="filepath",
            expected="a .keras or .weights.h5 file",
            received=str(path),
        )

    @property
    def weights_dict(self) -> dict[str, Any]:
        """The weights as nested dicts, as their paths say."""
        tree: dict[str, Any] = {}
        for path, weights in self.objects.items():
            node = tree
            for part in path.split("/") if path else []:
                node = node.setdefault(part, {})
            node.update(weights)
        return tree

    def summary(self) -> None:
        """Print each object with its weights."""
        for path, weights in self.objects.items():
            print(path or "(the model itself)")
            for key, value in weights.items():
                print(f"    {key}: {value.dtype} {np.shape(value)}")

    def compare(self, reference_model: Any) -> dict[str, Any]:
        """Print where the file and a model differ.

        Args:
            reference_model: the model, built.

        Returns:
            `status`, "success" or "error"; `error_count`, the number of differences; `match_count`, the number of
            weights that fit.
        """
        reference = {path: expected_variables(part) or {} for path, part in walk(reference_model, set())}
        reference = {path: weights for path, weights in reference.items() if weights}
        matches, lines = 0, []
        lines += [f"{path}: only in the model" for path in reference if path not in self.objects]
        lines += [f"{path}: only in the file" for path in self.objects if path not in reference]
        for path in reference.keys() & self.objects.keys():
            here, there = self.objects[path], reference[path]
            lines += [f"{path}/{key}: only in the model" for key in there if key not in here]
            lines += [f"{path}/{key}: only in the file" for key in here if key not in there]
            for key in here.keys() & there.keys():
                found, expected = tuple(np.shape(here[key])), tuple(np.shape(there[key]))
                if found == expected:
                    matches += 1
                else:
                    lines.append(f"{path}/{key}: shape {found} in the file, {expected} in the model")
        for line in sorted(lines):
            print(line)
        print(f"{matches} weights fit, {len(lines)} differences")
        return {
            "status": "error" if lines else "success",
            "error_count": len(lines),
            "match_count": matches,
        }

    def rename_object(self, object_name: str, new_name: str) -> None:
        """Give an object another name in its place.

        Args:
            object_name: its path ("layers/dense"), or its last part where that is unique.
            new_name: the new last part of the path.

        Raises:
            ArgumentError: there is no such object, or the new name is a path or taken.
        """
        old = self._find(object_name)
        if "/" in new_name or not new_name:
            raise ArgumentError(
                "A new name is a path.",
                where="rename_object(new_name=...)",
                expected="the last part of the path alone",
                received=repr(new_name),
            )
        new = "/".join([*old.split("/")[:-1], new_name])
        if new in self._places() and new != old:
            raise ArgumentError(
                "There is an object of that name already.",
                where="rename_object(new_name=...)",
                expected="a name that summary() does not show",
                received=new,
            )
        self._change(old, lambda path: new + path[len(old) :])

    def delete_object(self, object_name: str) -> None:
        """Remove an object and everything in it.

        Args:
            object_name: its path, or its last part where that is unique.

        Raises:
            ArgumentError: there is no such object.
        """
        self._change(self._find(object_name), lambda path: None)

    def add_object(self, object_path: str, weights: Mapping[str, Any]) -> None:
        """Add an object.

        Args:
            object_path: its whole path, such as "layers/dense_2".
            weights: its weights by name, usually "0", "1", ...

        Raises:
            ArgumentError: the object that it shall be part of does not exist.
            ArgumentTypeError: the weights are no dict.
        """
        parent = object_path.rpartition("/")[0]
        if parent and parent not in self._places():
            raise ArgumentError(
                f"There is no such place for a new object.{nearest(parent, self._places())}",
                where="add_object(object_path=...)",
                expected="a path in an object that summary() shows",
                received=parent,
            )
        self.objects[object_path] = _checked(weights)

    def delete_weight(self, object_name: str, weight_name: str) -> None:
        """Remove one weight.

        Args:
            object_name: the object's path, or its last part where that is unique.
            weight_name: the weight, such as "0".

        Raises:
            ArgumentError: there is no such object or weight.
        """
        weights = self.objects.get(self._find(object_name), {})
        if weight_name not in weights:
            raise ArgumentError(
                "There is no such weight.", where=object_name, expected=", ".join(weights), received=weight_name
            )
        del weights[weight_name]

    def add_weights(self, object_name: str, weights: Mapping[str, Any]) -> None:
        """Add weights to an object, in place of those of the same name.

        Args:
            object_name: the object's path, or its last part where that is unique.
            weights: the weights by name, usually "0", "1", ...

        Raises:
            ArgumentError: there is no such object.
            ArgumentTypeError: the weights are no dict.
        """
        self.objects.setdefault(self._find(object_name), {}).update(_checked(weights))

    def save(self, filepath: Any) -> None:
        """Write the weights as they are now.

        Args:
            filepath: a path that ends in .weights.h5.

        Raises:
            ArgumentError: the path has another ending.
        """
        path = Path(os.fspath(filepath))
        if not path.name.endswith(".weights.h5"):
            raise ArgumentError(
                "Edited weights are saved on their own.",
                where="filepath",
                expected="a path that ends in .weights.h5",
                received=str(path),
            )
        with replacing(path) as file, WeightsWriter(file) as writer:
            for place, weights in self.objects.items():
                slots = writer.slots(place, None)
                for key, value in weights.items():
                    slots[key] = value

    def resave_weights(self, filepath: Any) -> None:
        """The same as `save`."""
        self.save(filepath)

    def _places(self) -> list[str]:
        """The paths of all objects, those included that only hold others."""
        places: dict[str, None] = {}
        for path in self.objects:
            parts = path.split("/")
            places |= {"/".join(parts[:length]): None for length in range(1, len(parts) + 1)}
        return list(places)

    def _find(self, name: str) -> str:
        """The path that a path or a last part stands for."""
        places = self._places()
        found = [path for path in places if path == name or ("/" not in name and path.rpartition("/")[2] == name)]
        if len(found) != 1:
            raise ArgumentError(
                f"{'More than one object has' if found else 'No object has'} that name."
                + ("" if found else nearest(name, places)),
                where="object_name",
                expected=", ".join(found) if found else "one that summary() shows",
                received=name,
            )
        return found[0]

    def _change(self, place: str, rename: Callable[[str], str | None]) -> None:
        """Rename an object and those in it, or drop them where the new name is None."""
        changed: dict[str, Weights] = {}
        for path, weights in self.objects.items():
            inside = path == place or path.startswith(f"{place}/")
            new = rename(path) if inside else path
            if new is not None:
                changed[new] = weights
        self.objects = changed


def _checked(weights: Mapping[str, Any]) -> Weights:
    if not isinstance(weights, Mapping):
        raise ArgumentTypeError(
            "The weights are no dict.",
            where="weights",
            expected='a dict of arrays, such as {"0": kernel, "1": bias}',
            received=type(weights).__name__,
        )
    arrays = {str(key): convert_to_numpy(value) for key, value in weights.items()}
    for key, value in arrays.items():
        if "/" in key or value.dtype.kind not in "biufc":
            raise ArgumentTypeError(
                "This cannot be a weight.",
                where=f"weights[{key!r}]",
                expected="an array of numbers under a name without '/'",
                received=f"an array of dtype {value.dtype}",
            )
    return arrays
